import { SallyportError, type Policy, type StoredRule, type StoredRuleList } from '@sallyport/sdk';
import type { Command } from 'commander';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import { connect, forEachName, sandboxPath } from './daemon-connection.ts';
import { createReporter } from './report.ts';
import { describeScope, readScope } from './secret-scope.ts';

interface RuleFlags {
  readonly sandbox?: string;
  readonly method?: readonly string[];
  readonly path?: string;
}

const TARGETS = 'HOST[:PORT], *.name, **.name, **, an address or a CIDR range; several, also with commas';

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** Adds `sallyport policy allow network` and `sallyport policy deny network`. */
export function addPolicyRuleCommands(policy: Command): void {
  for (const action of ['allow', 'deny'] as const) {
    policy
      .command(action)
      .summary(action === 'allow' ? 'store rules that allow' : 'store rules that deny, whatever else allows')
      .description(`Store rules that ${action}. They are in force at once, in sandboxes that run as well.`)
      .command('network')
      .summary(action === 'allow' ? 'let sandboxes reach hosts' : 'keep sandboxes from hosts')
      .description(
        action === 'allow'
          ? 'Let sandboxes reach hosts: all sandboxes, or one. Denial wins; rules allow what any of them allows.'
          : 'Keep sandboxes from hosts, whatever else allows them: all sandboxes, or one.',
      )
      .argument('<targets...>', TARGETS)
      .option('--sandbox <name>', 'for this sandbox, which need not exist yet (default: for all)')
      .option(
        '--method <methods>',
        'only requests by these methods, such as GET,HEAD; opens the TLS of the host',
        collect,
      )
      .option('--path <glob>', 'only requests to these paths, such as /repos/**; opens the TLS of the host')
      .action(async (words: readonly string[], flags: RuleFlags) => {
        const hosts = await readTargets(words);
        const [{ parseMethods }, { parsePathGlob }] = await Promise.all([
          import('../policy/method.ts'),
          import('../policy/path-glob.ts'),
        ]);
        const methods = (flags.method ?? []).flatMap((text) => parseMethods(text));
        if (flags.path !== undefined) parsePathGlob(flags.path);
        const scope = readScope([], flags) ?? null;
        const client = await connect();
        const { rules, notices } = await client.ask<StoredRuleList>({
          method: 'POST',
          path: '/v1/policy/rules',
          body: {
            action,
            hosts,
            ...(methods.length === 0 ? {} : { methods }),
            ...(flags.path === undefined ? {} : { path: flags.path }),
            ...(scope === null ? {} : { sandbox: scope }),
          },
        });
        const reporter = createReporter({ quiet: false, verbose: false });
        for (const notice of notices) reporter.notice(notice);
        for (const rule of rules) {
          process.stdout.write(`${describeRule(rule)} for ${describeScope(rule.sandbox)}\n`);
        }
      });
  }
}

/** Adds `sallyport policy rm network`. */
export function addPolicyRemoveCommand(policy: Command): void {
  policy
    .command('rm')
    .summary('remove rules')
    .description('Remove rules. Sandboxes that run follow at once.')
    .command('network')
    .summary('remove the rules for hosts')
    .description('Remove every rule for these hosts, as "policy ls" shows them, whether it allows or denies.')
    .argument('<targets...>', TARGETS)
    .option('--sandbox <name>', "this sandbox's rules (default: those for all)")
    .action(async (words: readonly string[], flags: { readonly sandbox?: string }) => {
      const hosts = await readTargets(words);
      const scope = readScope([], flags) ?? null;
      const client = await connect();
      await forEachName(hosts, async (host) => {
        const own = scope === null ? [] : await removeOwnRules(client, scope, host);
        try {
          const query = new URLSearchParams({ host, ...(scope === null ? {} : { sandbox: scope }) });
          const path = `/v1/policy/rules?${query.toString()}`;
          const { rules } = await client.ask<StoredRuleList>({ method: 'DELETE', path });
          for (const rule of rules) tellRemoved(describeRule(rule), rule.sandbox);
        } catch (error) {
          const isKnown = own.length > 0 && error instanceof SallyportError && error.code === 'RULE_NOT_FOUND';
          if (!isKnown) throw error;
        }
        for (const rule of own) tellRemoved(rule, scope);
      });
    });
}

function tellRemoved(rule: string, scope: string | null): void {
  process.stdout.write(`removed: ${rule} for ${describeScope(scope)}\n`);
}

/** Removes what the sandbox was made with, or got by its own API. */
async function removeOwnRules(client: DaemonClient, sandbox: string, host: string): Promise<string[]> {
  const policy = await policyOf(client, sandbox);
  if (policy === undefined) return [];
  const { parseHostPattern } = await import('../policy/host-pattern.ts');
  const removed: string[] = [];
  for (const action of ['allow', 'deny'] as const) {
    for (const text of policy[action].filter((own) => parseHostPattern(own, 'network').text === host)) {
      const query = new URLSearchParams({ action, host: text });
      // oxlint-disable-next-line no-await-in-loop -- each is a change of its own.
      await client.ask({ method: 'DELETE', path: `${sandboxPath(sandbox)}/policy/rules?${query.toString()}` });
      removed.push(`${action} ${text}`);
    }
  }
  return removed;
}

/** The policy of a sandbox; undefined where there is no such sandbox. */
export async function policyOf(client: DaemonClient, sandbox: string): Promise<Policy | undefined> {
  try {
    return await client.ask<Policy>({ method: 'GET', path: `${sandboxPath(sandbox)}/policy` });
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'SANDBOX_NOT_FOUND') return undefined;
    throw error;
  }
}

/** `a,b c` as a, b and c, in their canonical form. @throws SallyportError INVALID_HOST_PATTERN */
async function readTargets(words: readonly string[]): Promise<string[]> {
  const { parseHostPattern } = await import('../policy/host-pattern.ts');
  return words.flatMap((word) => word.split(',')).map((text) => parseHostPattern(text, 'network').text);
}

/** A rule on a line: `allow example.com GET,POST /v1/**`. */
export function describeRule({
  action,
  host,
  methods,
  path,
}: Omit<StoredRule, 'sandbox' | 'createdAt' | 'preset'>): string {
  return [action, host, methods.join(','), path ?? ''].filter((part) => part !== '').join(' ');
}
