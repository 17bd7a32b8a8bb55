import type { Command } from 'commander';
import { connect, sandboxPath } from './daemon-connection.ts';

/** Adds `sallyport rm`. */
export function addRmCommand(program: Command): void {
  program
    .command('rm')
    .description('Remove sandboxes that do not run.')
    .argument('<name...>', 'the sandboxes')
    .option('-f, --force', 'also those that run')
    .action(async (names: readonly string[], flags: { readonly force?: boolean }) => {
      const client = await connect();
      for (const name of names) {
        await client.ask({
          method: 'DELETE',
          path: `${sandboxPath(name)}${flags.force === true ? '?force=true' : ''}`,
        });
        process.stdout.write(`${name}\n`);
      }
    });
}
