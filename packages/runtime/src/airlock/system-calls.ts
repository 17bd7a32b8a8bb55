import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import { parseAddress } from '../policy/ip-address.ts';

/** System calls that Node lacks. Each throws a {@link SystemCallError}. */
export interface SystemCalls {
  /** A descriptor of a process, by which its number cannot come to mean another one (pidfd_open(2)). */
  openProcess(pid: number): number;
  /** A copy of a descriptor of another process: the same open file or socket (pidfd_getfd(2)). It is closed on exec. */
  copyDescriptor(process: number, descriptor: number): number;
  /** Binds a socket to an address, or to every one of its family where `address` is `::` (which is IPv4 as well) or `0.0.0.0`. */
  bind(socket: number, address: string, port: number): void;
}

/** A refusal of the kernel. */
export class SystemCallError extends Error {
  override readonly name = 'SystemCallError';
  /** Such as `EPERM`. */
  readonly code: string;

  constructor(call: string, errno: number) {
    const code = getSystemErrorName(-errno);
    super(`${call}: ${code}`);
    this.code = code;
  }
}

type ForeignFunction = (...values: unknown[]) => number;

/** The part of koffi that is used. */
interface ForeignFunctions {
  load(library: null): { func(name: string, result: string, parameters: readonly string[]): ForeignFunction };
  errno(): number;
}

// Calls above 423 have the same number on every architecture.
const PIDFD_OPEN = 434;
const PIDFD_GETFD = 438;

const AF_INET = 2;
const AF_INET6 = 10;
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

let loaded: SystemCalls | undefined;

/**
 * The system calls, loaded on the first call (8 ms).
 *
 * @throws Error where koffi has no binary for this machine
 */
export function systemCalls(): SystemCalls {
  return (loaded ??= describeCalls(loadKoffi()));
}

/**
 * The package of the platform holds the library; the package `koffi` only finds it, which takes longer than all the rest.
 */
function loadKoffi(): ForeignFunctions {
  const require = createRequire(import.meta.url);
  const path = require.resolve('koffi');
  try {
    return createRequire(path)(`@koromix/koffi-linux-${process.arch}`) as ForeignFunctions;
  } catch {
    return require(path) as ForeignFunctions;
  }
}

function describeCalls(koffi: ForeignFunctions): SystemCalls {
  const library = koffi.load(null);
  const call = library.func('syscall', 'long', ['long', 'long', 'long', 'long']);
  const bindCall = library.func('bind', 'int', ['int', 'void *', 'uint']);
  const optionCall = library.func('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint']);
  const check = (name: string, result: number): number => {
    if (result < 0) throw new SystemCallError(name, koffi.errno());
    return result;
  };
  const setOption = (socket: number, level: number, option: number, value: number): void => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    check('setsockopt', optionCall(socket, level, option, bytes, bytes.length));
  };
  return {
    openProcess: (pid) => check('pidfd_open', call(PIDFD_OPEN, pid, 0, 0)),
    copyDescriptor: (process_, descriptor) => check('pidfd_getfd', call(PIDFD_GETFD, process_, descriptor, 0)),
    bind(socket, address, port) {
      const bytes = socketAddress(address, port);
      setOption(socket, SOL_SOCKET, SO_REUSEADDR, 1);
      if (bytes.length === SOCKADDR_IN6_BYTES) setOption(socket, IPPROTO_IPV6, IPV6_V6ONLY, address === '::' ? 0 : 1);
      check('bind', bindCall(socket, bytes, bytes.length));
    },
  };
}

/** `struct sockaddr_in` or `struct sockaddr_in6`. */
function socketAddress(address: string, port: number): Buffer {
  const bytes = parseAddress(address);
  if (bytes === null) throw new RangeError('not an IP address');
  const isV4 = bytes.length === 4;
  const result = Buffer.alloc(isV4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES);
  result.writeUInt16LE(isV4 ? AF_INET : AF_INET6, 0);
  result.writeUInt16BE(port, 2);
  result.set(bytes, isV4 ? 4 : 8);
  return result;
}
