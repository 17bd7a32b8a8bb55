import type { Command } from 'commander';
import { connect, forEachName, sandboxPath } from './daemon-connection.ts';
import { withProgress } from './progress.ts';

/** Adds `sallyport rm`: one sandbox or many, one after the other. */
export function addRmCommand(program: Command): void {
  program
    .command('rm')
    .description('Remove sandboxes that do not run.')
    .argument('<name...>', 'the sandboxes')
    .option('-f, --force', 'also those that run')
    .action(async (names: readonly string[], flags: { readonly force?: boolean }) => {
      const client = await connect();
      await forEachName(names, async (name) => {
        const path = `${sandboxPath(name)}${flags.force === true ? '?force=true' : ''}`;
        await withProgress(`removing ${JSON.stringify(name.slice(0, 63))}`, client.ask({ method: 'DELETE', path }));
        process.stdout.write(`${name}\n`);
      });
    });
}
