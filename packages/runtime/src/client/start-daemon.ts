import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { SallyportError, type DaemonStatus } from '@sallyport/sdk';
import { daemonPaths, type DaemonPaths } from '../daemon/paths.ts';
import { DaemonClient } from '@sallyport/sdk/daemon-client';

/** How long a daemon may take to answer after it was started: it finds its sandboxes first. */
const START_TIMEOUT_MS = 60_000;
const MIN_PAUSE_MS = 5;
const MAX_PAUSE_MS = 100;

/** Where the sources of values are, and as whom they are asked; never by what. docs/sources.md. */
const SOURCE_SETTINGS = [
  'VAULT_ADDR', 'VAULT_NAMESPACE', 'VAULT_CACERT', 'BAO_ADDR', 'BAO_NAMESPACE', 'BAO_CACERT',
  'AWS_PROFILE', 'AWS_DEFAULT_PROFILE', 'AWS_REGION', 'AWS_DEFAULT_REGION', 'AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE', 'AWS_CA_BUNDLE',
  'AWS_ENDPOINT_URL', 'AWS_ENDPOINT_URL_SECRETS_MANAGER', 'OP_ACCOUNT', 'OP_CONNECT_HOST',
] as const; // prettier-ignore

/**
 * What the daemon gets of its caller's environment. Nothing else does, but what is named on purpose: a key of whoever happened to start it is
 * none of its business.
 */
const PASSED_ON = [
  'PATH', 'HOME', 'USER', 'LOGNAME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'XDG_STATE_HOME', 'XDG_RUNTIME_DIR', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME',
  'DBUS_SESSION_BUS_ADDRESS', 'SALLYPORT_SOCKET', 'SALLYPORT_WARM', 'SALLYPORT_WORKERS', 'SALLYPORT_STORE', 'SALLYPORT_STORE_PASSPHRASE_FILE', ...SOURCE_SETTINGS,
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
  // "./sallyport" names the file to require relative to this directory, and the daemon has another.
  const execArgv = process.execArgv.map((word, index, all) => (all[index - 1] === '--require' ? resolve(word) : word));
  return { execPath: process.execPath, execArgv, main: process.argv[1] ?? '' };
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
 * @param variables Names of further variables that a daemon gets that is started.
 * @throws SallyportError DAEMON_UNREACHABLE when it does not start.
 */
export async function connectDaemon(
  environment: NodeJS.ProcessEnv,
  program = ownProgram(),
  variables: readonly string[] = [],
): Promise<DaemonClient> {
  const paths = daemonPaths(environment);
  const client = new DaemonClient(paths.socket);
  if ((await findDaemon(client)) === undefined) {
    await startDaemon(paths, client, environment, program, variables);
  }
  return client;
}

/** @throws SallyportError STATE_FAILED where the state directory cannot be written: read-only, full, or somebody else's. */
function openLog({ directory, log }: DaemonPaths): number {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    return openSync(log, 'a', 0o600);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new SallyportError(
      'STATE_FAILED',
      `The log of the daemon ${JSON.stringify(log)} cannot be written (${code}). Check that its directory is yours, and that the disk can be written and has room; XDG_STATE_HOME names another place.`,
      { cause: error },
    );
  }
}

/** Starts the daemon, and waits until it answers. @throws SallyportError STATE_FAILED */
export async function startDaemon(
  paths: DaemonPaths,
  client: DaemonClient,
  environment: NodeJS.ProcessEnv,
  program: OwnProgram,
  variables: readonly string[] = [],
): Promise<void> {
  const log = openLog(paths);
  const own: NodeJS.ProcessEnv = {};
  for (const name of [...PASSED_ON, ...variables]) if (environment[name] !== undefined) own[name] = environment[name];
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
