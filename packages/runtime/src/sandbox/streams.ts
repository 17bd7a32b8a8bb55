import type { ChildProcess } from 'node:child_process';
import { fstatSync } from 'node:fs';
import { createReadStream, createWriteStream } from 'node:fs';
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
 * terminal cannot. Otherwise it gets pipes, and never one of the host's terminals or files, which it could open again by
 * `/proc/self/fd` with other rights: some runtimes see to that; for the others this process copies.
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
    if (typeof choice !== 'number' || copiesStreams || isPipe(choice)) return choice;
    relayed.set(index, choice);
    return 'pipe';
  });
  return { terminal: false, stdio, relayed };
}

function isPipe(fd: number): boolean {
  const status = fstatSync(fd);
  return status.isFIFO() || status.isSocket();
}

/** Copies between this process's descriptors and the runtime's pipes; resolves when all output has been passed on. */
export async function relayStreams(child: ChildProcess, plan: StreamPlan): Promise<void> {
  const outputs: Promise<void>[] = [];
  for (const [index, fd] of plan.relayed) {
    if (index === 0 && child.stdin !== null) {
      const source = isatty(fd) ? new ReadStream(fd) : createReadStream('', { fd, autoClose: false });
      source.on('error', () => child.stdin?.end());
      child.stdin.on('error', () => source.unpipe());
      const sink = child.stdin;
      child.once('exit', () => {
        source.unpipe(sink);
        // Destroying a file stream would close a descriptor that is not ours; a terminal left open keeps this process.
        if (source instanceof ReadStream) source.destroy();
      });
      source.pipe(child.stdin);
    }
    const from = index === 1 ? child.stdout : index === 2 ? child.stderr : null;
    if (from === null) continue;
    const sink = createWriteStream('', { fd, autoClose: false });
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
