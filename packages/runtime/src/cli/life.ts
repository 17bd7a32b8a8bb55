import type { SandboxInfo } from '@sallyport/sdk';
import type { Command } from 'commander';
import { parseDuration } from '../sandbox/limits.ts';

const pathOf = (name: string): string => `/v1/sandboxes/${encodeURIComponent(name)}`;

async function connect() {
  const { connectDaemon } = await import('../client/start-daemon.ts');
  return await connectDaemon(process.env);
}

/** Adds `start`, `stop` and `rm`: each for one sandbox or many, one after the other. */
export function addLifeCommands(program: Command): void {
  program
    .command('start')
    .description('Start sandboxes that do not run.')
    .argument('<name...>', 'the sandboxes')
    .action(async (names: readonly string[]) => {
      const client = await connect();
      for (const name of names) {
        const { name: started } = await client.ask<SandboxInfo>({ method: 'POST', path: `${pathOf(name)}/start` });
        process.stdout.write(`${started}\n`);
      }
    });
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
        const { name: stopped } = await client.ask<SandboxInfo>({ method: 'POST', path: `${pathOf(name)}/stop`, body });
        process.stdout.write(`${stopped}\n`);
      }
    });
  program
    .command('rm')
    .description('Remove sandboxes that do not run.')
    .argument('<name...>', 'the sandboxes')
    .option('-f, --force', 'also those that run')
    .action(async (names: readonly string[], flags: { readonly force?: boolean }) => {
      const client = await connect();
      for (const name of names) {
        await client.ask({ method: 'DELETE', path: `${pathOf(name)}${flags.force === true ? '?force=true' : ''}` });
        process.stdout.write(`${name}\n`);
      }
    });
}
