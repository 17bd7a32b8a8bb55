import type { LogEntry } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect, sandboxPath } from './daemon-connection.ts';

/** Adds `sallyport logs`. */
export function addLogsCommand(program: Command): void {
  program
    .command('logs')
    .description('Print what the commands of a sandbox wrote.')
    .argument('<name>', 'the sandbox')
    .option('-f, --follow', 'go on with what they will write')
    .option('-n, --tail <count>', 'only the last so many pieces')
    .action(async (name: string, flags: { readonly follow?: boolean; readonly tail?: string }) => {
      const client = await connect();
      const query = new URLSearchParams();
      if (flags.follow === true) query.set('follow', 'true');
      if (flags.tail !== undefined) query.set('tail', flags.tail);
      const path = `${sandboxPath(name)}/logs?${query.toString()}`;
      for await (const { data } of client.events({ method: 'GET', path })) {
        const entry = JSON.parse(data) as LogEntry;
        const stream = entry.stream === 'stdout' ? process.stdout : process.stderr;
        await new Promise<void>((resolve) => stream.write(Buffer.from(entry.data, 'base64'), () => resolve()));
      }
    });
}
