import { SallyportError, type ExecInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import { followCommand } from './command-streams.ts';
import { connect, sandboxPath } from './daemon-connection.ts';

/** Adds `sallyport attach`. */
export function addAttachCommand(program: Command, settle: (status: number) => void): void {
  program
    .command('attach')
    .summary('take up a command that runs in a named sandbox')
    .description(
      'Take up a command that was begun by "sallyport exec": print what it has written so far, then go on with it until its end. ' +
        "Exit status: the command's own.",
    )
    .argument('<name>', 'the sandbox')
    .argument('[command]', 'the id of the command (default: the one that was begun last and still runs)')
    .option('-i, --interactive', 'pass standard input on; at a terminal Ctrl-P Ctrl-Q leaves the command to itself')
    .option('--no-signals', 'signals (Ctrl-C) end this program alone, not the command')
    .action(
      async (
        name: string,
        id: string | undefined,
        flags: { readonly interactive?: boolean; readonly signals: boolean },
      ) => {
        const client = await connect();
        const exec = await findCommand(client, name, id);
        const status = await followCommand(client, {
          sandboxPath: sandboxPath(name),
          command: { attach: exec },
          passesInput: flags.interactive === true,
          passesSignals: flags.signals,
          canDetach: true,
        });
        if (status === null) process.stderr.write(`\nsallyport: the command ${exec.id} goes on by itself\n`);
        settle(status ?? 0);
      },
    );
}

async function findCommand(client: DaemonClient, name: string, id: string | undefined): Promise<ExecInfo> {
  const path = `${sandboxPath(name)}/execs`;
  if (id !== undefined) return await client.ask<ExecInfo>({ method: 'GET', path: `${path}/${encodeURIComponent(id)}` });
  const { execs } = await client.ask<{ execs: ExecInfo[] }>({ method: 'GET', path });
  const running = execs.findLast(({ state }) => state === 'running');
  if (running !== undefined) return running;
  throw new SallyportError(
    'EXEC_NOT_FOUND',
    `No command runs in the sandbox ${JSON.stringify(name.slice(0, 80))}. "sallyport logs" has what earlier ones wrote; "sallyport exec" begins one.`,
  );
}
