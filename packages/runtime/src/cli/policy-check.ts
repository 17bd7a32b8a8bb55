import { SallyportError, type Policy } from '@sallyport/sdk';
import type { Command } from 'commander';
import { stateDirectory } from '../engine/state-directory.ts';
import { formatHostAndPort } from '../policy/host-name.ts';
import type { CheckedRequest, NetworkCheck } from '../policy/network-check.ts';
import type { NetworkPolicy } from '../policy/network-policy.ts';
import { connectIfThere } from './daemon-connection.ts';
import { policyOf } from './policy-rules.ts';
import { createReporter } from './report.ts';
import { readScope } from './secret-scope.ts';

interface CheckFlags {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly sandbox?: string;
  readonly method?: string;
  readonly path?: string;
  readonly json?: boolean;
}

const EXAMPLES = `
Examples:
  sallyport policy check network api.example.com --allow '*.example.com'
  sallyport policy check network '[2001:db8::1]:8443' --allow 2001:db8::/32:8443 --json
  sallyport policy check network api.github.com --sandbox worker --method POST --path /repos/me/one/issues

Exit status: 0 allowed, 1 denied, 2 when the host or a rule is malformed.`;

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** Adds `sallyport policy check network`. Exit status: 0 allowed, 1 denied, 2 bad input. */
export function addPolicyCheckCommand(policy: Command, settle: (status: number) => void): void {
  policy
    .command('check')
    .summary('tell whether something would be allowed')
    .description('Tell whether something would be allowed.')
    .command('network')
    .summary('tell whether a host may be reached')
    .description(
      'Tell whether HOST (port 443, or the one that is named) may be reached: by the given rules alone, where there are any; else by the stored ones, ' +
        "with --sandbox by all that count in that sandbox. Denial wins; what no rule allows is denied. Nothing is looked up or dialled: a name's " +
        'addresses are judged when it is dialled.',
    )
    .argument('<host>', 'HOST[:PORT]: a name or an address, IPv6 in brackets')
    .option('--allow <pattern>', 'a rule that allows; repeatable', collect)
    .option('--deny <pattern>', 'a rule that denies; repeatable', collect)
    .option('--sandbox <name>', 'as in this sandbox')
    .option('--method <method>', 'a request by this method (default with --path: GET)')
    .option('--path <path>', 'a request to this path (default with --method: /)')
    .option('--json', 'print the decision as JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (host: string, flags: CheckFlags) => {
      const [{ checkNetwork }, { parseNetworkTarget }] = await Promise.all([
        import('../policy/network-check.ts'),
        import('../policy/network-target.ts'),
      ]);
      const target = parseNetworkTarget(host);
      const request = await readRequest(flags);
      const scope = readScope([], flags) ?? null;
      const rules = await compileRules(flags, scope);
      const reporter = createReporter({ quiet: false, verbose: false });
      for (const warning of rules.warnings) reporter.notice(warning);
      const check = checkNetwork(rules, target, request);
      const remedied = { ...check, remedy: namesOptions(flags) ? check.remedy : asCommand(check.remedy, scope) };
      process.stdout.write(flags.json === true ? `${JSON.stringify(remedied)}\n` : describeCheck(remedied));
      settle(check.verdict === 'allow' ? 0 : 1);
    });
}

const namesOptions = ({ allow, deny }: CheckFlags): boolean => allow !== undefined || deny !== undefined;

async function readRequest({ method, path }: CheckFlags): Promise<CheckedRequest | null> {
  if (method === undefined && path === undefined) return null;
  if (path !== undefined && !path.startsWith('/')) {
    throw new SallyportError('USAGE', '--path is the path of a request, which begins with "/".');
  }
  const { parseMethod } = await import('../policy/method.ts');
  return { method: method === undefined ? 'GET' : parseMethod(method), path: path ?? '/' };
}

/** The rules of the command line alone, or else those that are stored. */
async function compileRules(flags: CheckFlags, scope: string | null): Promise<NetworkPolicy> {
  const { createNetworkPolicy, parseNetworkRule } = await import('../policy/network-policy.ts');
  if (namesOptions(flags)) {
    if (scope !== null) {
      throw new SallyportError(
        'USAGE',
        '--allow and --deny are decided by alone, and --sandbox is for the rules of a sandbox. Leave one of them out.',
      );
    }
    return createNetworkPolicy({
      allow: (flags.allow ?? []).map((text) => parseNetworkRule('--allow', text)),
      deny: (flags.deny ?? []).map((text) => parseNetworkRule('--deny', text)),
    });
  }
  const [{ RuleBook }, { networkRules }, { readSecretHosts }] = await Promise.all([
    import('../stores/rule-book.ts'),
    import('../stores/stored-rule.ts'),
    import('../secrets/secret-spec.ts'),
  ]);
  const state = stateDirectory(process.env);
  const book = RuleBook.exists(state) ? new RuleBook(state) : null;
  const kept = networkRules((book?.list() ?? []).filter(({ sandbox }) => sandbox === null || sandbox === scope));
  book?.close();
  const own = scope === null ? undefined : await ownPolicy(scope);
  const ownRules = (option: '--allow' | '--deny' | '--tunnel', texts: readonly string[] = []) =>
    texts.map((text) => parseNetworkRule(option, text));
  return createNetworkPolicy({
    secretHosts: (own?.secretHosts ?? []).flatMap(({ host, secret }) =>
      readSecretHosts([host], secret).map((parsed) => ({ host: parsed, origin: `--secret ${secret}` })),
    ),
    allow: [...ownRules('--allow', own?.allow), ...kept.allow],
    deny: [...ownRules('--deny', own?.deny), ...kept.deny],
    tunnel: ownRules('--tunnel', own?.tunnel),
    sandbox: scope,
  });
}

/** What the sandbox was made with and got since; undefined where no daemon knows such a sandbox. */
async function ownPolicy(sandbox: string): Promise<Policy | undefined> {
  const client = await connectIfThere();
  return client === undefined ? undefined : await policyOf(client, sandbox);
}

/** Stored rules are changed by commands, not by options. */
function asCommand(remedy: string | null, scope: string | null): string | null {
  const destination = /^--allow (?<destination>.+)$/.exec(remedy ?? '')?.groups?.['destination'];
  if (destination === undefined) return remedy;
  return `sallyport policy allow network ${destination}${scope === null ? '' : ` --sandbox ${scope}`}`;
}

/** One line for people: the verdict, what decided, and what would change a denial. */
function describeCheck(check: NetworkCheck): string {
  const { host, port, verdict, rule, remedy, protocol, tunnel, perRequest, method, path } = check;
  const request = method === null ? '' : ` ${method} ${path}`;
  const destination = `${formatHostAndPort(host, port)}${request}`;
  if (verdict === 'deny') return `denied  ${destination}  ${rule}${remedy === null ? '' : ` (${remedy})`}\n`;
  const how = tunnel ? ' passed through unread' : perRequest && method === null ? ', not for every request' : '';
  return `allowed  ${destination}  ${rule}, ${protocol}${how}\n`;
}
