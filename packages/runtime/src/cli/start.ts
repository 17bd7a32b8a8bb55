import type { SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect, sandboxPath } from './daemon-connection.ts';

/** Adds `sallyport start`. */
export function addStartCommand(program: Command): void {
  program
    .command('start')
    .description('Start sandboxes that do not run.')
    .argument('<name...>', 'the sandboxes')
    .action(async (names: readonly string[]) => {
      const client = await connect();
      for (const name of names) {
        const { name: started } = await client.ask<SandboxInfo>({ method: 'POST', path: `${sandboxPath(name)}/start` });
        process.stdout.write(`${started}\n`);
      }
    });
}
