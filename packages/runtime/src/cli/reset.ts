import { existsSync, rmSync } from 'node:fs';
import { SallyportError, type SandboxInfo, type StoredSecretInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import { daemonPaths, type DaemonPaths } from '../daemon/paths.ts';
import { connect, sandboxPath } from './daemon-connection.ts';
import { stopDaemon } from './daemon.ts';
import { askYesNo } from './hidden-prompt.ts';
import { withProgress } from './progress.ts';

/** Adds `sallyport reset`. */
export function addResetCommand(program: Command, settle: (status: number) => void): void {
  program
    .command('reset')
    .summary('remove all sandboxes, stored secrets, and what else the daemon keeps')
    .description(
      'Remove all sandboxes, whether they run or not, all stored secrets (those in the keychain, too) and stored rules, stop the daemon, and remove its ' +
        'state, even where that is damaged. Audit logs stay. Exit status: 1 when the question was answered with no.',
    )
    .option('-f, --force', 'do not ask')
    .action(async (flags: { readonly force?: boolean }) => {
      if (flags.force !== true && !(process.stdin.isTTY && process.stderr.isTTY)) {
        throw new SallyportError('USAGE', 'reset asks first, and there is no terminal to ask at. Add --force.');
      }
      const paths = daemonPaths(process.env);
      const client = await connectWhatever(paths);
      const { sandboxes } = await client.ask<{ sandboxes: SandboxInfo[] }>({ method: 'GET', path: '/v1/sandboxes' });
      const { secrets } = await client.ask<{ secrets: StoredSecretInfo[] }>({ method: 'GET', path: '/v1/secrets' });
      if (flags.force !== true && !(await isConfirmed(sandboxes, secrets.length))) {
        process.stderr.write('sallyport: nothing was removed\n');
        settle(1);
        return;
      }
      await withProgress('removing sandboxes', removeAll(client, sandboxes));
      const { removed } = await withProgress(
        'removing secrets',
        client.ask<{ removed: number }>({ method: 'DELETE', path: '/v1/secrets' }),
      );
      await withProgress('stopping the daemon', stopDaemon(true));
      removeState(paths);
      const { eraseBook } = await import('../stores/erase-book.ts');
      await eraseBook(paths.state, process.env);
      const count = `${sandboxes.length} ${sandboxes.length === 1 ? 'sandbox' : 'sandboxes'}`;
      const secretCount = removed === 0 ? '' : `, ${removed} stored ${removed === 1 ? 'secret' : 'secrets'}`;
      process.stdout.write(
        `removed ${count}${secretCount} and the daemon's state; audit logs stay in ${paths.audit}\n`,
      );
    });
}

/**
 * The daemon, also where its state keeps it from starting: without it the next daemon takes all sandboxes for forsaken, and ends them. A book
 * of secrets that cannot be read is put aside.
 */
async function connectWhatever(paths: DaemonPaths): Promise<DaemonClient> {
  try {
    return await connect();
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'DAEMON_UNREACHABLE') throw error;
    process.stderr.write(`sallyport: ${error.message}\n`);
    const { setAsideDamagedBook } = await import('../stores/erase-book.ts');
    const aside = setAsideDamagedBook(paths.state);
    if (aside !== null) {
      // Somebody may still find out by it which items of the keychain were meant.
      process.stderr.write(`sallyport: what it has stored is put aside as ${JSON.stringify(aside)}\n`);
      return await connectWhatever(paths);
    }
    if (!existsSync(paths.database)) throw error;
    process.stderr.write('sallyport: its state is removed before it is started again\n');
    removeDatabase(paths);
    return await connect();
  }
}

async function isConfirmed(sandboxes: readonly SandboxInfo[], secretCount: number): Promise<boolean> {
  const names = sandboxes.map(({ name }) => name).join(', ');
  const what = sandboxes.length === 0 ? 'There are no sandboxes.' : `This removes ${sandboxes.length}: ${names}.`;
  const secrets =
    secretCount === 0
      ? ''
      : ` All ${secretCount} stored ${secretCount === 1 ? 'secret is' : 'secrets are'} removed as well: they would have to be set again.`;
  return await askYesNo(`${what} Commands in them end, and their files are lost.${secrets} Go on?`);
}

async function removeAll(client: DaemonClient, sandboxes: readonly SandboxInfo[]): Promise<void> {
  await Promise.all(
    sandboxes.map(async ({ name }) => {
      try {
        await client.ask({ method: 'DELETE', path: `${sandboxPath(name)}?force=true` });
      } catch (error) {
        // Somebody else was quicker.
        if (!(error instanceof SallyportError) || error.code !== 'SANDBOX_NOT_FOUND') throw error;
      }
    }),
  );
}

function removeDatabase({ database }: DaemonPaths): void {
  for (const suffix of ['', '-wal', '-shm', '-journal']) rmSync(`${database}${suffix}`, { force: true });
}

function removeState(paths: DaemonPaths): void {
  removeDatabase(paths);
  rmSync(paths.log, { force: true });
  rmSync(paths.sandboxes, { recursive: true, force: true });
}
