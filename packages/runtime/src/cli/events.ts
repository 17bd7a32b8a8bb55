import { SallyportError, type DaemonEvent } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect, writeOut } from './daemon-connection.ts';
import { streamFailure } from './logs.ts';
import { formatMoment, showText } from './table.ts';

/** Adds `sallyport events`. */
export function addEventsCommand(program: Command): void {
  program
    .command('events')
    .summary('tell what the daemon did')
    .description('Tell what happened to sandboxes: one line for each event, the oldest first.')
    .argument('[name]', 'the sandbox (default: all)')
    .option('-f, --follow', 'go on with what will happen')
    .option('--after <id>', 'only events after the one with this number')
    .option('--json', 'print each event as a line of JSON')
    .action(
      async (
        name: string | undefined,
        flags: { readonly follow?: boolean; readonly after?: string; readonly json?: boolean },
      ) => {
        const query = new URLSearchParams();
        if (name !== undefined) query.set('sandbox', name);
        if (flags.follow === true) query.set('follow', 'true');
        if (flags.after !== undefined) query.set('after', readId(flags.after));
        const client = await connect();
        for await (const { type, data } of client.events({ method: 'GET', path: `/v1/events?${query.toString()}` })) {
          if (type === 'error') throw streamFailure(data);
          const event = JSON.parse(data) as DaemonEvent;
          await writeOut(process.stdout, flags.json === true ? `${JSON.stringify(event)}\n` : describe(event));
        }
      },
    );
}

function readId(text: string): string {
  if (/^\d{1,15}$/.test(text)) return text;
  throw new SallyportError('USAGE', '--after takes the number of an event, as --json shows it.');
}

function describe({ time, sandbox, type, exec, detail }: DaemonEvent): string {
  const words = [formatMoment(time), sandbox, type, exec ?? '', detail ?? ''].filter((word) => word !== '');
  return `${showText(words.join('  '))}\n`;
}
