import type { Socket } from 'node:net';
import { loadKoffi, type ForeignFunction } from '../../airlock/system-calls.ts';

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** `struct ucred`: pid, uid, gid. */
const UCRED_BYTES = 12;

let loaded: ForeignFunction | null | undefined;

function getSockOpt(): ForeignFunction | null {
  if (loaded !== undefined) return loaded;
  try {
    loaded = loadKoffi().load(null).func('getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *']);
  } catch {
    // Without the library the modes of the socket and its directory stand alone.
    loaded = null;
  }
  return loaded;
}

/** The user id of the process at the other end of a Unix socket, as the kernel tells it; null when it does not. */
export function peerUid(socket: Socket): number | null {
  const call = getSockOpt();
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: unknown } | null };
  const fd = handle?.fd;
  if (call === null || typeof fd !== 'number' || fd < 0) return null;
  const credentials = Buffer.alloc(UCRED_BYTES);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(UCRED_BYTES);
  return call(fd, SOL_SOCKET, SO_PEERCRED, credentials, length) === 0 ? credentials.readUInt32LE(4) : null;
}
