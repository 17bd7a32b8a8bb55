import { SallyportError, type DaemonEvent } from '@sallyport/sdk';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import type { Command } from 'commander';
import { connect, waitForDaemon, writeOut } from './daemon-connection.ts';
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
        const after = flags.after === undefined ? undefined : readId(flags.after);
        const client = await connect();
        for await (const event of readEvents(client, { sandbox: name, after, follow: flags.follow === true })) {
          await writeOut(process.stdout, flags.json === true ? `${JSON.stringify(event)}\n` : describe(event));
        }
      },
    );
}

/** Who follows events waits for a daemon that is restarted, and misses nothing; those of one sandbox end with its removal. */
async function* readEvents(
  client: DaemonClient,
  wanted: { readonly sandbox: string | undefined; readonly after: string | undefined; readonly follow: boolean },
): AsyncGenerator<DaemonEvent, void, undefined> {
  const { sandbox, follow } = wanted;
  let { after } = wanted;
  for (;;) {
    try {
      const query = { sandbox, after, follow };
      for await (const { type, data } of client.events({ method: 'GET', path: '/v1/events', query })) {
        if (type === 'error') throw streamFailure(data);
        const event = JSON.parse(data) as DaemonEvent;
        after = String(event.id);
        yield event;
        if (follow && sandbox !== undefined && event.type === 'sandbox.removed') return;
      }
    } catch (error) {
      if (!follow || !(error instanceof SallyportError) || error.code !== 'DAEMON_UNREACHABLE') throw error;
    }
    if (!follow) return;
    await waitForDaemon(client);
  }
}

function readId(text: string): string {
  if (/^\d{1,15}$/.test(text)) return text;
  throw new SallyportError('USAGE', '--after takes the number of an event, as --json shows it.');
}

function describe({ time, sandbox, type, exec, detail }: DaemonEvent): string {
  const words = [formatMoment(time), sandbox, type, exec ?? '', detail ?? ''].filter((word) => word !== '');
  return `${showText(words.join('  '))}\n`;
}
