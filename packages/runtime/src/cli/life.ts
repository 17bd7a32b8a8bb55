import type { SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { parseDuration } from '../sandbox/limits.ts';
import { connect, forEachName, sandboxPath } from './connection.ts';
import { withProgress } from './progress.ts';
import { createReporter } from './report.ts';

/** Adds `start`, `stop` and `rm`: each for one sandbox or many, one after the other. */
export function addLifeCommands(program: Command): void {
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
  program
    .command('stop')
    .description(
      'Stop sandboxes: close their gates, end their commands. Their files are lost, but for the workspace and volumes.',
    )
    .argument('<name...>', 'the sandboxes')
    .option('--timeout <duration>', 'how long commands have after SIGTERM, 0 for none (default: 10s)')
    .action(async (names: readonly string[], flags: { readonly timeout?: string }) => {
      const body =
        flags.timeout === undefined ? {} : { timeoutMs: flags.timeout === '0' ? 0 : parseDuration(flags.timeout) };
      const client = await connect();
      await forEachName(names, async (name) => {
        const stopped = await withProgress(
          `stopping ${JSON.stringify(name.slice(0, 63))}`,
          client.ask<SandboxInfo>({ method: 'POST', path: `${sandboxPath(name)}/stop`, body }),
        );
        process.stdout.write(`${stopped.name}\n`);
      });
    });
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
