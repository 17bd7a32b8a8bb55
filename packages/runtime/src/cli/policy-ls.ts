import type { Policy, StoredRule, StoredRuleList } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect } from './daemon-connection.ts';
import { policyOf } from './policy-rules.ts';
import { readScope } from './secret-scope.ts';
import { formatTable } from './table.ts';

/** A rule as `policy ls --json` prints it. Fields are added, never renamed. */
interface ListedRule {
  /** The sandbox that it is for; null for all. */
  readonly sandbox: string | null;
  readonly action: 'allow' | 'deny' | 'tunnel';
  readonly host: string;
  readonly methods: readonly string[];
  readonly path: string | null;
  /** `stored`, `preset NAME`, `sandbox` (made with it, or by its own API) or `secret NAME`. */
  readonly origin: string;
  /** Null where it is not known. */
  readonly createdAt: string | null;
}

/** Adds `sallyport policy ls`. */
export function addPolicyLsCommand(policy: Command): void {
  policy
    .command('ls')
    .summary('list rules')
    .description('List the stored rules; with --sandbox all rules that count in that sandbox, wherever they come from.')
    .option('--sandbox <name>', 'what counts in this sandbox')
    .option('--json', 'print them as a JSON array')
    .action(async (flags: { readonly sandbox?: string; readonly json?: boolean }) => {
      const scope = readScope([], flags) ?? null;
      const client = await connect();
      const { rules } = await client.ask<StoredRuleList>({ method: 'GET', path: '/v1/policy/rules' });
      const own = scope === null ? undefined : await policyOf(client, scope);
      const listed = [
        ...rules.filter(({ sandbox }) => scope === null || sandbox === null || sandbox === scope).map(listStored),
        ...(own === undefined || scope === null ? [] : listOwn(own, scope)),
      ];
      process.stdout.write(flags.json === true ? `${JSON.stringify(listed)}\n` : describeRules(listed));
    });
}

function listStored({ sandbox, action, host, methods, path, preset, createdAt }: StoredRule): ListedRule {
  return { sandbox, action, host, methods, path, origin: preset === null ? 'stored' : `preset ${preset}`, createdAt };
}

function listOwn({ allow, deny, tunnel, secretHosts }: Policy, sandbox: string): ListedRule[] {
  const list = (action: ListedRule['action'], host: string, origin: string): ListedRule => {
    return { sandbox, action, host, methods: [], path: null, origin, createdAt: null };
  };
  return [
    ...allow.map((host) => list('allow', host, 'sandbox')),
    ...deny.map((host) => list('deny', host, 'sandbox')),
    ...tunnel.map((host) => list('tunnel', host, 'sandbox')),
    ...secretHosts.map(({ host, secret }) => list('allow', host, `secret ${secret}`)),
  ];
}

function describeRules(rules: readonly ListedRule[]): string {
  return formatTable([
    ['SCOPE', 'ACTION', 'HOST', 'METHODS', 'PATH', 'ORIGIN'],
    ...rules.map(({ sandbox, action, host, methods, path, origin }) => [
      sandbox ?? '(global)',
      action,
      host,
      methods.length === 0 ? '(any)' : methods.join(','),
      path ?? '(any)',
      origin,
    ]),
  ]);
}
