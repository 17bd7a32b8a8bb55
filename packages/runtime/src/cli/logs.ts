import { SallyportError, type ExecInfo, type LogEntry, type SandboxInfo } from '@sallyport/sdk';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import type { Command } from 'commander';
import { connect, sandboxPath, waitForDaemon, writeOut } from './daemon-connection.ts';

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
      const tail = flags.tail === undefined ? undefined : readCount(flags.tail);
      for await (const entry of readLogs(client, sandboxPath(name), {
        exec: id,
        tail,
        follow: flags.follow === true,
      })) {
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

/** What commands wrote. Who follows it waits for a daemon that is restarted; nothing is lost then, and nothing comes twice. */
async function* readLogs(
  client: DaemonClient,
  path: string,
  wanted: { readonly exec: string | undefined; readonly tail: string | undefined; readonly follow: boolean },
): AsyncGenerator<LogEntry, void, undefined> {
  const { exec, tail, follow } = wanted;
  let after: string | undefined;
  for (let isFollowing = follow; ;) {
    const query = { exec, tail: after === undefined ? tail : undefined, after, follow: isFollowing };
    try {
      for await (const { id, type, data } of client.events({ method: 'GET', path: `${path}/logs`, query })) {
        if (type === 'error') throw streamFailure(data);
        after = id ?? after;
        yield JSON.parse(data) as LogEntry;
      }
      // What came between the end of the stream and the end of the command is read by one that does not follow.
      if (!isFollowing) return;
      isFollowing = !(await isOver(client, path, exec));
    } catch (error) {
      if (!follow || !(error instanceof SallyportError) || error.code !== 'DAEMON_UNREACHABLE') throw error;
      await waitForDaemon(client);
    }
  }
}

async function isOver(client: DaemonClient, path: string, exec: string | undefined): Promise<boolean> {
  if (exec !== undefined) {
    const { state } = await client.ask<ExecInfo>({ method: 'GET', path: `${path}/execs/${encodeURIComponent(exec)}` });
    return state === 'exited' || state === 'failed';
  }
  const { state } = await client.ask<SandboxInfo>({ method: 'GET', path });
  return !['starting', 'running', 'stopping'].includes(state);
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
