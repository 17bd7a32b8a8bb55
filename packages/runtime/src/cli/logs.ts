import { SallyportError, type LogEntry } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect, sandboxPath, writeOut } from './daemon-connection.ts';

/** Adds `sallyport logs`. */
export function addLogsCommand(program: Command): void {
  program
    .command('logs')
    .description('Print what the commands of a sandbox wrote, each stream to its own.')
    .argument('<name>', 'the sandbox')
    .argument('[command]', 'the id of one command (default: all of them, the oldest first)')
    .option('-f, --follow', 'go on with what they will write')
    .option('-n, --tail <count>', 'only the last so many pieces')
    .option('--json', 'print each piece as a line of JSON, its data in base64')
    .action(async (name: string, id: string | undefined, flags: LogFlags) => {
      const client = await connect();
      const query = new URLSearchParams();
      if (id !== undefined) query.set('exec', id);
      if (flags.follow === true) query.set('follow', 'true');
      if (flags.tail !== undefined) query.set('tail', readCount(flags.tail));
      const path = `${sandboxPath(name)}/logs?${query.toString()}`;
      for await (const { type, data } of client.events({ method: 'GET', path })) {
        if (type === 'error') throw streamFailure(data);
        const entry = JSON.parse(data) as LogEntry;
        if (flags.json === true) {
          await writeOut(process.stdout, `${JSON.stringify(entry)}\n`);
          continue;
        }
        const stream = entry.stream === 'stdout' ? process.stdout : process.stderr;
        await writeOut(stream, Buffer.from(entry.data, 'base64'));
      }
    });
}

interface LogFlags {
  readonly follow?: boolean;
  readonly tail?: string;
  readonly json?: boolean;
}

function readCount(text: string): string {
  if (/^\d{1,9}$/.test(text)) return text;
  throw new SallyportError('USAGE', '--tail takes a whole number, such as 100.');
}

/** The problem that the daemon ended an event stream with. */
export function streamFailure(data: string): SallyportError {
  const { problem } = JSON.parse(data) as { problem: { code: SallyportError['code']; detail: string } };
  return new SallyportError(problem.code, problem.detail);
}
