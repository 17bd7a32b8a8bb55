import { isAbsolute, join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { stateDirectory } from '../engine/state-directory.ts';

/** Where the daemon of a user keeps what. */
export interface DaemonPaths {
  /** The state directory of Sallyport, which everything is below but for a socket of the user's choice. */
  readonly state: string;
  /** 0700: the daemon's own. */
  readonly directory: string;
  readonly socket: string;
  readonly lock: string;
  readonly database: string;
  readonly log: string;
  /** A directory for each sandbox, by its id. */
  readonly sandboxes: string;
  readonly audit: string;
}

/** The kernel's limit, in bytes, with the NUL. */
const MAX_SOCKET_PATH_BYTES = 108;

/**
 * The paths of the daemon: all below the state directory. `SALLYPORT_SOCKET` names another socket.
 *
 * @throws SallyportError USAGE when the path of the socket is relative or longer than the kernel allows.
 */
export function daemonPaths(environment: NodeJS.ProcessEnv): DaemonPaths {
  const state = stateDirectory(environment);
  const directory = join(state, 'daemon');
  const chosen = environment['SALLYPORT_SOCKET'];
  const socket = chosen === undefined || chosen === '' ? join(directory, 'socket') : chosen;
  if (!isAbsolute(socket) || Buffer.byteLength(socket) >= MAX_SOCKET_PATH_BYTES) {
    throw new SallyportError(
      'USAGE',
      `The path of the daemon's socket, ${JSON.stringify(socket)}, must be absolute and shorter than ${MAX_SOCKET_PATH_BYTES} bytes. Name another one with SALLYPORT_SOCKET.`,
    );
  }
  return {
    state,
    directory,
    socket,
    lock: join(directory, 'lock'),
    database: join(directory, 'state.db'),
    log: join(directory, 'log'),
    sandboxes: join(state, 'sandboxes'),
    audit: join(state, 'audit'),
  };
}
