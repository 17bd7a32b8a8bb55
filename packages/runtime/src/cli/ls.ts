import type { SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect } from './daemon-connection.ts';
import { formatMoment, formatTable } from './table.ts';

/** Adds `sallyport ls`. */
export function addLsCommand(program: Command): void {
  program
    .command('ls')
    .description('List sandboxes, the oldest first.')
    .option('--json', 'print them as a JSON array')
    .option('-q, --quiet', 'print their names alone')
    .action(async (flags: { readonly json?: boolean; readonly quiet?: boolean }) => {
      const client = await connect();
      const { sandboxes } = await client.ask<{ sandboxes: SandboxInfo[] }>({ method: 'GET', path: '/v1/sandboxes' });
      if (flags.json === true) process.stdout.write(`${JSON.stringify(sandboxes)}\n`);
      else if (flags.quiet === true) process.stdout.write(sandboxes.map(({ name }) => `${name}\n`).join(''));
      else process.stdout.write(describeSandboxes(sandboxes));
    });
}

function describeSandboxes(sandboxes: readonly SandboxInfo[]): string {
  return formatTable([
    ['NAME', 'STATE', 'COMMANDS', 'CREATED', 'SECRETS'],
    ...sandboxes.map(({ name, state, runningExecs, createdAt, secrets }) => [
      name,
      state,
      String(runningExecs),
      formatMoment(createdAt),
      secrets.join(','),
    ]),
  ]);
}
