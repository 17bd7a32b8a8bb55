import { closeSync, openSync } from 'node:fs';
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
  /**
   * Copies what has arrived on a socket and leaves it there (recv(2), MSG_PEEK). As the hottest of these calls it never throws.
   *
   * @returns the bytes copied, 0 at the end of the stream, below 0 where nothing has arrived or the descriptor is no socket.
   */
  peek(socket: number, into: Uint8Array): number;
  /**
   * Does `work` in another mount namespace, and comes back before anything else runs: `work` must not wait for anything.
   *
   * Only the calling thread goes there; from the first call on it has a working directory of its own. Privilege over both namespaces
   * is needed. A thread that could not come back would be lost in a sandbox's files, so the process ends then.
   */
  withinMountNamespace<T>(namespace: number, work: () => T): T;
  /** A copy of the mounts at and below a path, attached nowhere (open_tree(2)). A symbolic link anywhere in the path is refused. */
  copyMounts(path: string): number;
  /** Sets attributes of all mounts of a copy (mount_setattr(2)); `owners` is a descriptor of the user namespace that maps owners. */
  setMountAttributes(mounts: number, attributes: readonly MountAttribute[], owners?: number): void;
  /** Attaches a copy at a path (move_mount(2)). */
  attachMounts(mounts: number, path: string): void;
  /**
   * Keeps the memory of this process out of core dumps, and out of reach of what an ordinary user's other programs may do to it by ptrace(2)
   * and `/proc` (PR_SET_DUMPABLE). Programs that it starts are dumpable, and write no core dump either (RLIMIT_CORE).
   */
  denyCoreDumps(): void;
}

/** What a mount does not let through. */
export type MountAttribute = keyof typeof MOUNT_ATTRIBUTES;

/** A refusal of the kernel. */
export class SystemCallError extends Error {
  override readonly name = 'SystemCallError';
  /** Such as `EPERM`. */
  readonly code: string;
  /** The system call, by its name. */
  readonly call: string;
  readonly errno: number;

  constructor(call: string, errno: number) {
    const code = getSystemErrorName(-errno);
    super(`${call}: ${code}`);
    this.code = code;
    this.call = call;
    this.errno = errno;
  }
}

/** A function of the C library. */
export type ForeignFunction = (...values: unknown[]) => number;

/** The part of koffi that is used. */
export interface ForeignFunctions {
  load(library: null): { func(name: string, result: string, parameters: readonly string[]): ForeignFunction };
  errno(): number;
}

// Calls above 423 have the same number on every architecture.
const OPEN_TREE = 428;
const MOVE_MOUNT = 429;
const PIDFD_OPEN = 434;
const OPENAT2 = 437;
const PIDFD_GETFD = 438;
const MOUNT_SETATTR = 442;

const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const OPEN_TREE_CLONE = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const CLOSE_ON_EXEC = 0o2000000;
const O_PATH = 0o10000000;
const RESOLVE_NO_MAGICLINKS = 0x02n;
const RESOLVE_NO_SYMLINKS = 0x04n;
const MOUNT_ATTRIBUTES = { 'read-only': 0x1n, nosuid: 0x2n, nodev: 0x4n } as const;
const MOUNT_ATTR_IDMAP = 0x10_0000n;
const CLONE_FS = 0x200;
const CLONE_NEWNS = 0x2_0000;

const PR_SET_DUMPABLE = 4;
const RLIMIT_CORE = 4;
/** Smaller than any dump, and what keeps the kernel from starting a program that takes them: 0 does not (core(5), fs/coredump.c). */
const CORE_LIMIT_BYTES = 1n;

const AF_INET = 2;
const AF_INET6 = 10;
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;

const MSG_PEEK = 2;
const MSG_DONTWAIT = 0x40;

let loaded: SystemCalls | undefined;

/**
 * The system calls, loaded on the first call (8 ms).
 *
 * @throws Error where koffi has no binary for this machine
 */
export function systemCalls(): SystemCalls {
  return (loaded ??= describeCalls(loadKoffi()));
}

/** As {@link SystemCalls.denyCoreDumps}, where koffi has a binary for this machine: what it guards against is not worth a failure. */
export function denyCoreDumps(): void {
  try {
    systemCalls().denyCoreDumps();
  } catch {
    // The system's own limits hold.
  }
}

/**
 * The package of the platform holds the library; the package `koffi` only finds it, which takes longer than all the rest.
 */
export function loadKoffi(): ForeignFunctions {
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
  const receiveCall = library.func('recv', 'long', ['int', 'void *', 'size_t', 'int']);
  const unshareCall = library.func('unshare', 'int', ['int']);
  const setnsCall = library.func('setns', 'int', ['int', 'int']);
  const fchdirCall = library.func('fchdir', 'int', ['int']);
  const chrootCall = library.func('chroot', 'int', ['str']);
  const openCall = library.func('syscall', 'long', ['long', 'int', 'str', 'void *', 'size_t']);
  const treeCall = library.func('syscall', 'long', ['long', 'int', 'str', 'uint']);
  const attributeCall = library.func('syscall', 'long', ['long', 'int', 'str', 'uint', 'void *', 'size_t']);
  const moveCall = library.func('syscall', 'long', ['long', 'int', 'str', 'int', 'str', 'uint']);
  const prctlCall = library.func('prctl', 'int', ['int', 'ulong', 'ulong', 'ulong', 'ulong']);
  const setrlimitCall = library.func('setrlimit', 'int', ['int', 'void *']);
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
    peek: (socket, into) => receiveCall(socket, into, into.length, MSG_PEEK | MSG_DONTWAIT),
    withinMountNamespace(namespace, work) {
      const own = openSync('/proc/thread-self/ns/mnt', 'r');
      const [root, directory] = [openSync('/', O_PATH), openSync('.', O_PATH)];
      try {
        check('unshare', unshareCall(CLONE_FS));
        check('setns', setnsCall(namespace, CLONE_NEWNS));
        try {
          return work();
        } finally {
          const isBack =
            setnsCall(own, CLONE_NEWNS) === 0 &&
            // The root and the working directory are those of the namespace's own root by then.
            fchdirCall(root) === 0 &&
            chrootCall('.') === 0 &&
            fchdirCall(directory) === 0;
          if (!isBack) process.abort();
        }
      } finally {
        for (const descriptor of [own, root, directory]) closeSync(descriptor);
      }
    },
    copyMounts(path) {
      const how = longs(BigInt(O_PATH | CLOSE_ON_EXEC), 0n, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
      const opened = check('open', openCall(OPENAT2, AT_FDCWD, path, how, how.length));
      try {
        const flags = OPEN_TREE_CLONE | CLOSE_ON_EXEC | AT_EMPTY_PATH | AT_RECURSIVE;
        return check('open_tree', treeCall(OPEN_TREE, opened, '', flags));
      } finally {
        closeSync(opened);
      }
    },
    setMountAttributes(mounts, attributes, owners) {
      const set = attributes.reduce((flags, name) => flags | MOUNT_ATTRIBUTES[name], 0n);
      const attr = longs(owners === undefined ? set : set | MOUNT_ATTR_IDMAP, 0n, 0n, BigInt(owners ?? 0));
      check('mount_setattr', attributeCall(MOUNT_SETATTR, mounts, '', AT_EMPTY_PATH | AT_RECURSIVE, attr, attr.length));
    },
    attachMounts(mounts, path) {
      check('move_mount', moveCall(MOVE_MOUNT, mounts, '', AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
    },
    denyCoreDumps() {
      check('setrlimit', setrlimitCall(RLIMIT_CORE, longs(CORE_LIMIT_BYTES, CORE_LIMIT_BYTES)));
      check('prctl', prctlCall(PR_SET_DUMPABLE, 0, 0, 0, 0));
    },
  };
}

/** A struct of 64-bit fields. */
function longs(...values: readonly bigint[]): Buffer {
  const buffer = Buffer.alloc(values.length * 8);
  for (const [index, value] of values.entries()) buffer.writeBigUInt64LE(value, index * 8);
  return buffer;
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
