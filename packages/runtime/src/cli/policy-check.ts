import type { Command } from 'commander';
import { formatHostAndPort } from '../policy/host-name.ts';
import type { NetworkCheck } from '../policy/network-check.ts';
import { createReporter } from './report.ts';

interface CheckFlags {
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly json?: boolean;
}

const EXAMPLES = `
Examples:
  sallyport policy check network api.example.com --allow '*.example.com'
  sallyport policy check network '[2001:db8::1]:8443' --allow 2001:db8::/32:8443 --json

Exit status: 0 allowed, 1 denied, 2 when the host or a rule is malformed.`;

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** Adds `sallyport policy check network`. Exit status: 0 allowed, 1 denied, 2 bad input. */
export function addPolicyCheckCommand(policy: Command, settle: (status: number) => void): void {
  policy
    .command('check')
    .description('Tell whether something would be allowed, without a sandbox.')
    .command('network')
    .summary('tell whether a host may be reached')
    .description(
      'Tell whether HOST (port 443, or the one that is named) may be reached by the given rules. Denial wins; what no rule allows is denied. ' +
        'Nothing is looked up or dialled.',
    )
    .argument('<host>', 'HOST[:PORT]: a name or an address, IPv6 in brackets')
    .option('--allow <pattern>', 'a rule that allows; repeatable', collect)
    .option('--deny <pattern>', 'a rule that denies; repeatable', collect)
    .option('--json', 'print the decision as JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (host: string, flags: CheckFlags) => {
      const [{ checkNetwork }, { parseNetworkTarget }, { createNetworkPolicy, parseNetworkRule }] = await Promise.all([
        import('../policy/network-check.ts'),
        import('../policy/network-target.ts'),
        import('../policy/network-policy.ts'),
      ]);
      const target = parseNetworkTarget(host);
      const rules = createNetworkPolicy({
        allow: (flags.allow ?? []).map((text) => parseNetworkRule('--allow', text)),
        deny: (flags.deny ?? []).map((text) => parseNetworkRule('--deny', text)),
      });
      const reporter = createReporter({ quiet: false, verbose: false });
      for (const warning of rules.warnings) reporter.notice(warning);
      const check = checkNetwork(rules, target);
      process.stdout.write(flags.json === true ? `${JSON.stringify(check)}\n` : describeCheck(check));
      settle(check.verdict === 'allow' ? 0 : 1);
    });
}

/** One line for people: the verdict, what decided, and what would change a denial. */
function describeCheck({ host, port, verdict, rule, remedy, protocol, tunnel }: NetworkCheck): string {
  const destination = formatHostAndPort(host, port);
  if (verdict === 'deny') return `denied  ${destination}  ${rule}${remedy === null ? '' : ` (${remedy})`}\n`;
  return `allowed  ${destination}  ${rule}, ${protocol}${tunnel ? ' passed through unread' : ''}\n`;
}
