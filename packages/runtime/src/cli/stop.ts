import type { SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { parseDuration } from '../sandbox/limits.ts';
import { connect, sandboxPath } from './daemon-connection.ts';

/** Adds `sallyport stop`. */
export function addStopCommand(program: Command): void {
  program
    .command('stop')
    .description(
      'Stop sandboxes: close their gates, end their commands. Their files are lost, but for the workspace and volumes.',
    )
    .argument('<name...>', 'the sandboxes')
    .option('--timeout <duration>', 'how long commands have after SIGTERM (default: 10s)')
    .action(async (names: readonly string[], flags: { readonly timeout?: string }) => {
      const body =
        flags.timeout === undefined ? {} : { timeoutMs: flags.timeout === '0' ? 0 : parseDuration(flags.timeout) };
      const client = await connect();
      for (const name of names) {
        const { name: stopped } = await client.ask<SandboxInfo>({
          method: 'POST',
          path: `${sandboxPath(name)}/stop`,
          body,
        });
        process.stdout.write(`${stopped}\n`);
      }
    });
}
