import { SallyportError } from '@sallyport/sdk';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import { withProgress } from './progress.ts';

/** The status of a program whose reader has gone: 128 and SIGPIPE, as a shell gives it. */
const BROKEN_PIPE_STATUS = 141;

/**
 * A connection to the daemon, which is started where there is none.
 *
 * @param variables Names of further variables that a daemon gets that is started.
 * @param settings Variables that it gets with these values.
 */
export async function connect(
  variables: readonly string[] = [],
  settings: Readonly<Record<string, string>> = {},
): Promise<DaemonClient> {
  leaveQuietlyWithoutReader();
  const { connectDaemon, ownProgram } = await import('../client/start-daemon.ts');
  return await withProgress(
    'starting the daemon',
    connectDaemon({ ...process.env, ...settings }, ownProgram(), variables),
  );
}

/** A connection to the daemon where there is one. */
export async function connectIfThere(): Promise<DaemonClient | undefined> {
  leaveQuietlyWithoutReader();
  const [{ DaemonClient: Client }, { findDaemon }, { daemonPaths }] = await Promise.all([
    import('@sallyport/sdk/daemon-client'),
    import('../client/start-daemon.ts'),
    import('../daemon/paths.ts'),
  ]);
  const client = new Client(daemonPaths(process.env).socket);
  return (await findDaemon(client)) === undefined ? undefined : client;
}

/** How long a daemon that is restarted may be away while somebody waits for it, in ms. */
const RECONNECT_MS = 60_000;
const RECONNECT_PAUSE_MS = 100;

/** Waits until a daemon that went away is back. @throws SallyportError DAEMON_UNREACHABLE when it does not come. */
export async function waitForDaemon(client: DaemonClient): Promise<void> {
  const { findDaemon } = await import('../client/start-daemon.ts');
  const endMs = performance.now() + RECONNECT_MS;
  while ((await findDaemon(client)) === undefined) {
    if (performance.now() > endMs) {
      throw new SallyportError(
        'DAEMON_UNREACHABLE',
        'The daemon has ended; sandboxes and their commands go on without it. Start it again: sallyport daemon start.',
      );
    }
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_PAUSE_MS));
  }
}

/** The path of a sandbox in the API. */
export function sandboxPath(name: string): string {
  return `/v1/sandboxes/${encodeURIComponent(name)}`;
}

/** Writes, and waits until there is room for more. */
export async function writeOut(stream: NodeJS.WriteStream, bytes: Uint8Array | string): Promise<void> {
  await new Promise<void>((resolve) => stream.write(bytes, () => resolve()));
}

/**
 * Does something for each of several names, one after the other; a failure is told at the end, and keeps none of the others from their turn.
 *
 * @throws SallyportError of the first failure; the messages of all are in it.
 */
export async function forEachName(names: readonly string[], act: (name: string) => Promise<void>): Promise<void> {
  const failures: SallyportError[] = [];
  for (const name of names) {
    try {
      await act(name);
    } catch (error) {
      if (!(error instanceof SallyportError) || error.code === 'DAEMON_UNREACHABLE') throw error;
      failures.push(error);
    }
  }
  const [first] = failures;
  if (first === undefined) return;
  if (failures.length === 1) throw first;
  throw new SallyportError(first.code, failures.map(({ message }) => message).join('\n'), { cause: first });
}

let isQuiet = false;

/** `sallyport logs … | head` is no failure. What runs in the sandbox goes on. */
function leaveQuietlyWithoutReader(): void {
  if (isQuiet) return;
  isQuiet = true;
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit(BROKEN_PIPE_STATUS);
      throw error;
    });
  }
}
