import type { ChildProcess } from 'node:child_process';
import { constants, createReadStream, createWriteStream, fstatSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { isatty, ReadStream } from 'node:tty';
import type { SandboxSpec, StreamChoice } from './backend.ts';

type Streams = NonNullable<SandboxSpec['streams']>;

/** How a command's standard streams are connected. */
export interface StreamPlan {
  /** The runtime gives the command a terminal of its own, and copies between that and this process's. */
  readonly terminal: boolean;
  /** What the runtime's process is started with. */
  readonly stdio: readonly StreamChoice[];
  /** Descriptors of this process between which and the runtime this process copies, by stream number. */
  readonly relayed: ReadonlyMap<number, number>;
}

/**
 * Decides how to connect streams.
 *
 * The command gets a terminal where all three streams are one: a redirected standard error has to stay apart, which a
 * terminal cannot. Otherwise it gets pipes, and never one of the host's terminals, files or pipes, which it could open again by
 * `/proc/self/fd` with other rights (to write into a script that the caller's shell reads from its standard input): some
 * runtimes see to that; for the others this process copies. A socket cannot be opened again.
 */
export function planStreams(
  streams: Streams,
  copiesStreams: boolean,
  isTerminal: (fd: number) => boolean = isatty,
): StreamPlan {
  const all = [streams.stdin, streams.stdout, streams.stderr];
  if (all.every((choice) => typeof choice === 'number' && isTerminal(choice))) {
    return { terminal: true, stdio: all, relayed: new Map() };
  }
  const relayed = new Map<number, number>();
  const stdio = all.map((choice, index): StreamChoice => {
    if (typeof choice !== 'number' || copiesStreams || fstatSync(choice).isSocket()) return choice;
    relayed.set(index, choice);
    return 'pipe';
  });
  return { terminal: false, stdio, relayed };
}

/**
 * A pipe of the host's as an open file of our own: waiting for it blocks no thread, which would keep this process from its end,
 * and the flag for that is not set for the others who have it. Undefined where it is no pipe, or another account's.
 */
function openPipe(fd: number, direction: 'read' | 'write'): Socket | undefined {
  if (!fstatSync(fd).isFIFO()) return undefined;
  const isRead = direction === 'read';
  try {
    const own = openSync(
      `/proc/self/fd/${fd}`,
      (isRead ? constants.O_RDONLY : constants.O_WRONLY) | constants.O_NONBLOCK,
    );
    return new Socket({ fd: own, readable: isRead, writable: !isRead });
  } catch {
    return undefined;
  }
}

function openSource(fd: number): Readable {
  if (isatty(fd)) return new ReadStream(fd);
  return openPipe(fd, 'read') ?? createReadStream('', { fd, autoClose: false });
}

function openSink(fd: number): Writable {
  return openPipe(fd, 'write') ?? createWriteStream('', { fd, autoClose: false });
}

/** Copies between this process's descriptors and the runtime's pipes; resolves when all output has been passed on. */
export async function relayStreams(child: ChildProcess, plan: StreamPlan): Promise<void> {
  const outputs: Promise<void>[] = [];
  for (const [index, fd] of plan.relayed) {
    if (index === 0 && child.stdin !== null) {
      const source = openSource(fd);
      source.on('error', () => child.stdin?.end());
      child.stdin.on('error', () => source.unpipe());
      const sink = child.stdin;
      child.once('exit', () => {
        source.unpipe(sink);
        // Destroying a file stream would close a descriptor that is not ours; a terminal left open keeps this process.
        if (source instanceof Socket) source.destroy();
      });
      source.pipe(child.stdin);
    }
    const from = index === 1 ? child.stdout : index === 2 ? child.stderr : null;
    if (from === null) continue;
    const sink = openSink(fd);
    outputs.push(
      new Promise((resolve) => {
        // A reader that is gone closes the command's end as well, which then gets SIGPIPE.
        sink.once('error', () => {
          from.destroy();
          resolve();
        });
        sink.once('finish', resolve);
        from.pipe(sink);
      }),
    );
  }
  await Promise.all(outputs);
}
