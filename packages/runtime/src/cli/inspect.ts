import type { SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect, sandboxPath } from './daemon-connection.ts';

/** Adds `sallyport inspect`. */
export function addInspectCommand(program: Command): void {
  program
    .command('inspect')
    .description('Tell everything about a sandbox but the values of its secrets.')
    .argument('<name>', 'the sandbox')
    .option('--json', 'print it as JSON on one line')
    .action(async (name: string, flags: { readonly json?: boolean }) => {
      const client = await connect();
      const path = sandboxPath(name);
      const sandbox = await client.ask<SandboxInfo>({ method: 'GET', path });
      process.stdout.write(`${JSON.stringify(sandbox, null, flags.json === true ? 0 : 2)}\n`);
    });
}
