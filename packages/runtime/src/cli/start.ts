import type { SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect, forEachName, sandboxPath } from './daemon-connection.ts';
import { withProgress } from './progress.ts';
import { createReporter } from './report.ts';

/** Adds `sallyport start`: one sandbox or many, one after the other. */
export function addStartCommand(program: Command): void {
  program
    .command('start')
    .description('Start sandboxes that do not run.')
    .argument('<name...>', 'the sandboxes')
    .action(async (names: readonly string[]) => {
      const client = await connect();
      await forEachName(names, async (name) => {
        const started = await withProgress(
          `starting ${JSON.stringify(name.slice(0, 63))}`,
          client.ask<SandboxInfo>({ method: 'POST', path: `${sandboxPath(name)}/start` }),
        );
        for (const notice of started.notices) createReporter({ quiet: false, verbose: false }).notice(notice);
        process.stdout.write(`${started.name}\n`);
      });
    });
}
