import type { StoredSecretInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect } from './daemon-connection.ts';
import { addScopeOptions, readScope, secretsPath, type ScopeFlags } from './secret-scope.ts';
import { formatTable } from './table.ts';

/** Adds `sallyport secret ls`. */
export function addSecretLsCommand(secret: Command): void {
  const command = secret
    .command('ls')
    .usage('[options] [-g | SANDBOX]')
    .summary('list stored secrets')
    .description(
      'List stored secrets, without their values: all, those for all sandboxes (-g), or those for one. A service or custom secret is a stand-in in ' +
        'the sandbox; of a plain one, a sandbox that asks for it sees the value.',
    )
    .argument('[name]', 'the sandbox');
  addScopeOptions(command)
    .option('--json', 'print them as a JSON array')
    .action(async (name: string | undefined, flags: ScopeFlags & { readonly json?: boolean }) => {
      const scope = readScope(name === undefined ? [] : [name], flags);
      const client = await connect();
      const { secrets } = await client.ask<{ secrets: StoredSecretInfo[] }>({
        method: 'GET',
        path: secretsPath(scope),
      });
      if (flags.json === true) process.stdout.write(`${JSON.stringify(secrets)}\n`);
      else process.stdout.write(describeSecrets(secrets));
    });
}

function describeSecrets(secrets: readonly StoredSecretInfo[]): string {
  return formatTable([
    ['SCOPE', 'TYPE', 'NAME', 'ENV', 'HOSTS', 'SECRET'],
    ...secrets.map((secret) => [
      secret.sandbox ?? '(global)',
      secret.kind,
      secret.name,
      secret.env.join(','),
      hostsOf(secret),
      valueOf(secret),
    ]),
  ]);
}

function hostsOf({ kind, hosts }: StoredSecretInfo): string {
  if (kind === 'plain') return '(any: the sandbox sees the value)';
  return hosts.length === 0 ? '(none: nothing declares this service)' : hosts.join(',');
}

function valueOf({ mask, from, source, problem }: StoredSecretInfo): string {
  if (mask !== null) return mask;
  if (from !== null) return source === 'command' ? `command: ${from}` : from;
  return `(${problem ?? 'not at hand'})`;
}
