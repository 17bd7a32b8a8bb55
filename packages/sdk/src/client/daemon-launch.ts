import { spawn } from 'node:child_process';
import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import process from 'node:process';
import { SallyportError } from '../errors.ts';

/** What of the environment says where the daemon is. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Where the daemon of this user listens: `SALLYPORT_SOCKET`, else `daemon/socket` below `$XDG_STATE_HOME/sallyport` or
 * `~/.local/state/sallyport`.
 *
 * @throws SallyportError USAGE when SALLYPORT_SOCKET is a relative path.
 */
export function daemonSocket(environment: Environment): string {
  const { SALLYPORT_SOCKET: chosen, XDG_STATE_HOME: base } = environment;
  if (chosen !== undefined && chosen !== '') {
    if (isAbsolute(chosen)) return chosen;
    throw new SallyportError('USAGE', `SALLYPORT_SOCKET: the path ${JSON.stringify(chosen)} must be absolute.`);
  }
  const state = base !== undefined && isAbsolute(base) ? base : join(homedir(), '.local', 'state');
  return join(state, 'sallyport', 'daemon', 'socket');
}

let known = 'sallyport';

/**
 * Says which `sallyport` command starts the daemon. The package `sallyport` names its own when it is loaded; without it the command is
 * looked up in PATH.
 */
export function setDaemonProgram(program: string): void {
  known = program;
}

/** The most of what the command said that is kept, in characters. */
const MAX_REPORT_CHARACTERS = 4096;

/** Runs `sallyport daemon start`, which returns when the daemon answers. @throws SallyportError DAEMON_UNREACHABLE */
export async function launchDaemon(program = known): Promise<void> {
  const child = spawn(program, ['daemon', 'start'], { stdio: ['ignore', 'ignore', 'pipe'], env: process.env });
  let report = '';
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    report = (report + part).slice(-MAX_REPORT_CHARACTERS);
  });
  const status = await new Promise<number | string | null>((resolve) => {
    child.once('error', (error) => resolve('code' in error ? String(error.code) : error.name));
    child.once('close', resolve);
  });
  if (status === 0) return;
  if (typeof status === 'string') {
    throw new SallyportError(
      'DAEMON_UNREACHABLE',
      `There is no daemon, and ${JSON.stringify(program)} could not be run to start one (${status}). Install the package "sallyport", or name the socket of a daemon with SALLYPORT_SOCKET.`,
    );
  }
  const said = report.trimEnd().split('\n').at(-1) ?? '';
  throw new SallyportError(
    'DAEMON_UNREACHABLE',
    `The daemon did not start: ${said === '' ? `"sallyport daemon start" ended with ${status ?? 'a signal'}.` : said}`,
  );
}
