import type { SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect } from './daemon-connection.ts';

/** Adds `sallyport ls`. */
export function addLsCommand(program: Command): void {
  program
    .command('ls')
    .description('List sandboxes.')
    .option('--json', 'print them as JSON')
    .action(async (flags: { readonly json?: boolean }) => {
      const client = await connect();
      const { sandboxes } = await client.ask<{ sandboxes: SandboxInfo[] }>({ method: 'GET', path: '/v1/sandboxes' });
      process.stdout.write(flags.json === true ? `${JSON.stringify(sandboxes)}\n` : formatTable(sandboxes));
    });
}

/** Columns for people; programs take `--json`. */
function formatTable(sandboxes: readonly SandboxInfo[]): string {
  const rows = [
    ['NAME', 'STATE', 'COMMANDS', 'CREATED', 'SECRETS'],
    ...sandboxes.map(({ name, state, runningExecs, createdAt, secrets }) => [
      name,
      state,
      String(runningExecs),
      createdAt.slice(0, 19).replace('T', ' '),
      secrets.join(','),
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map(
      (row) =>
        `${row
          .map((cell, column) => cell.padEnd(widths[column]!))
          .join('  ')
          .trimEnd()}\n`,
    )
    .join('');
}
