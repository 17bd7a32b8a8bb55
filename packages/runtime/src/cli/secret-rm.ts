import { SallyportError, type StoredSecretInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect } from './daemon-connection.ts';
import { askYesNo, hasTerminal } from './hidden-prompt.ts';
import {
  addScopeOptions,
  describeScope,
  readScope,
  readScopeAndName,
  secretPath,
  secretsPath,
  type ScopeFlags,
} from './secret-scope.ts';

interface RmFlags extends ScopeFlags {
  readonly force?: boolean;
  readonly all?: boolean;
  readonly registry?: string;
}

/** Adds `sallyport secret rm`. */
export function addSecretRmCommand(secret: Command, settle: (status: number) => void): void {
  const command = secret
    .command('rm')
    .usage('[options] -g NAME | SANDBOX NAME')
    .summary('remove a stored secret')
    .description(
      'Remove a stored secret. Running sandboxes lose it at once; what comes back stays redacted there. Where a sandbox had one of its own, the one ' +
        'for all sandboxes counts again. Exit status: 1 when the question was answered with no.',
    )
    .argument('[words...]', 'NAME, or SANDBOX NAME');
  addScopeOptions(command)
    .option('-f, --force', 'do not ask')
    .option('--all', 'every secret of that scope')
    .option('--registry <host>', 'credentials of an image registry (not supported yet)')
    .action(async (words: readonly string[], flags: RmFlags) => {
      if (flags.registry !== undefined) {
        throw new SallyportError(
          'NOT_SUPPORTED_YET',
          '--registry: credentials of image registries are not supported yet.',
        );
      }
      if (flags.all === true) {
        settle(await removeScope(words, flags));
        return;
      }
      const { scope, name } = readScopeAndName(words, flags, 'secret rm', 'NAME');
      const client = await connect();
      if (!isConfirmed(flags) && !(await askYesNo(`Remove ${name} of ${describeScope(scope)}?`))) {
        process.stderr.write('sallyport: nothing was removed\n');
        settle(1);
        return;
      }
      await client.ask({ method: 'DELETE', path: secretPath(scope, name) });
      process.stdout.write(`removed ${name} of ${describeScope(scope)}\n`);
    });
}

function isConfirmed({ force }: RmFlags): boolean {
  return force === true || !hasTerminal();
}

async function removeScope(words: readonly string[], flags: RmFlags): Promise<number> {
  const scope = readScope(words, flags);
  if (scope === undefined) {
    throw new SallyportError(
      'USAGE',
      'It is not said whose secrets are to go. Write sallyport secret rm -g --all, or sallyport secret rm SANDBOX --all; "sallyport reset" removes everything.',
    );
  }
  const client = await connect();
  const path = secretsPath(scope);
  if (!isConfirmed(flags)) {
    const { secrets } = await client.ask<{ secrets: StoredSecretInfo[] }>({ method: 'GET', path });
    const names = secrets.map(({ name }) => name).join(', ');
    if (!(await askYesNo(`Remove ${secrets.length} of ${describeScope(scope)}: ${names}?`))) {
      process.stderr.write('sallyport: nothing was removed\n');
      return 1;
    }
  }
  const { removed } = await client.ask<{ removed: number }>({ method: 'DELETE', path });
  process.stdout.write(`removed ${removed} ${removed === 1 ? 'secret' : 'secrets'} of ${describeScope(scope)}\n`);
  return 0;
}
