import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { SallyportError, type DaemonStatus } from '@sallyport/sdk';
import { daemonPaths, type DaemonPaths } from '../daemon/paths.ts';
import { DaemonClient } from './daemon-client.ts';

/** How long a daemon may take to answer after it was started: it finds its sandboxes first. */
const START_TIMEOUT_MS = 60_000;
const MIN_PAUSE_MS = 5;
const MAX_PAUSE_MS = 100;

/** What the daemon gets of its caller's environment. Nothing else does: a key of whoever happened to start it is none of its business. */
const PASSED_ON = [
  'PATH', 'HOME', 'USER', 'LOGNAME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'XDG_STATE_HOME', 'XDG_RUNTIME_DIR', 'SALLYPORT_SOCKET', 'SALLYPORT_WARM',
] as const; // prettier-ignore

/** How this process was started, for another of its kind. */
export interface OwnProgram {
  readonly execPath: string;
  readonly execArgv: readonly string[];
  /** The file of the command line. */
  readonly main: string;
}

/** This process's own. */
export function ownProgram(): OwnProgram {
  return { execPath: process.execPath, execArgv: process.execArgv, main: process.argv[1] ?? '' };
}

/** The daemon's answer, or undefined when there is none. */
export async function findDaemon(client: DaemonClient): Promise<DaemonStatus | undefined> {
  try {
    return await client.ask<DaemonStatus>({ method: 'GET', path: '/v1/daemon' });
  } catch (error) {
    if (error instanceof SallyportError && error.code === 'DAEMON_UNREACHABLE') return undefined;
    throw error;
  }
}

/**
 * A connection to the daemon, which is started where there is none.
 *
 * @throws SallyportError DAEMON_UNREACHABLE when it does not start.
 */
export async function connectDaemon(environment: NodeJS.ProcessEnv, program = ownProgram()): Promise<DaemonClient> {
  const paths = daemonPaths(environment);
  const client = new DaemonClient(paths.socket);
  if ((await findDaemon(client)) === undefined) await startDaemon(paths, client, environment, program);
  return client;
}

/** Starts the daemon, and waits until it answers. */
export async function startDaemon(
  paths: DaemonPaths,
  client: DaemonClient,
  environment: NodeJS.ProcessEnv,
  program: OwnProgram,
): Promise<void> {
  mkdirSync(paths.directory, { recursive: true, mode: 0o700 });
  const log = openSync(paths.log, 'a', 0o600);
  const own: NodeJS.ProcessEnv = {};
  for (const name of PASSED_ON) if (environment[name] !== undefined) own[name] = environment[name];
  const child = spawn(program.execPath, [...program.execArgv, '--', program.main, 'daemon', 'run'], {
    detached: true,
    stdio: ['ignore', log, log],
    cwd: '/',
    env: own,
  });
  closeSync(log);
  child.unref();
  let status: number | null | undefined;
  child.once('exit', (code) => (status = code));
  child.once('error', () => (status = null));
  const endMs = performance.now() + START_TIMEOUT_MS;
  for (let pauseMs = MIN_PAUSE_MS; performance.now() < endMs; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
    if ((await findDaemon(client)) !== undefined) return;
    // 0: another process was first, and will answer.
    if (status !== undefined && status !== 0) break;
  }
  throw new SallyportError('DAEMON_UNREACHABLE', `The daemon did not start: ${lastLine(paths.log)}`);
}

function lastLine(file: string): string {
  try {
    return readFileSync(file, 'utf8').trimEnd().split('\n').at(-1) ?? 'it says nothing';
  } catch {
    return 'it left no log.';
  }
}
