import type * as fs from 'node:fs';

/** One mount to be staged by the mapped mount helper. */
export interface MappedMountRequest {
  /** Canonical path without any symbolic link; opening it through one fails. */
  readonly source: string;
  /** An existing directory or file in the stage. */
  readonly target: string;
  readonly readOnly: boolean;
  /** A descriptor of the user namespace whose map the mount gets; absent: the source is staged already, or as it is. */
  readonly mapFd?: number;
}

/** What became of a request, one JSON line each, in their order. */
export type MappedMountReport =
  | { readonly kind: 'mapped' }
  /** The file system refuses id maps: mounted, but read-only, for nothing written would have the right owner. */
  | { readonly kind: 'read-only'; readonly step: string; readonly errno: number }
  | { readonly kind: 'failed'; readonly step: string; readonly errno: number };

/** The part of koffi that the helper uses. */
interface ForeignFunctions {
  load(library: null): { func(name: string, result: string, parameters: string[]): (...values: unknown[]) => number };
  errno(): number;
}

/**
 * The helper that mounts host directories with a map of owners; it runs as `node -e` text, as the host's root inside the
 * airlock's mount namespace: only that may attach an id map to a mount of the host's file systems, and reach sources
 * below a folder such as `/root`.
 *
 * What can be done ahead is; the mounts are put in place once a line on standard input says that the stage exists.
 */
export function mappedMountProgram(
  koffi: ForeignFunctions,
  fsModule: typeof fs,
  self: NodeJS.Process,
  requests: readonly MappedMountRequest[],
): void {
  // The same numbers on every architecture: system calls above 423 are common to all.
  const OPEN_TREE = 428;
  const MOVE_MOUNT = 429;
  const OPENAT2 = 437;
  const MOUNT_SETATTR = 442;
  const AT_FDCWD = -100;
  const AT_EMPTY_PATH = 0x1000;
  const AT_RECURSIVE = 0x8000;
  const OPEN_TREE_CLONE = 1;
  const CLOSE_ON_EXEC = 0o2000000;
  const O_PATH = 0o10000000;
  const RESOLVE_NO_SYMLINKS = 0x04n;
  const RESOLVE_NO_MAGICLINKS = 0x02n;
  const MOVE_MOUNT_F_EMPTY_PATH = 4;
  const MOUNT_ATTR_RDONLY = 0x1n;
  const MOUNT_ATTR_NOSUID = 0x2n;
  const MOUNT_ATTR_NODEV = 0x4n;
  const MOUNT_ATTR_IDMAP = 0x10_0000n;

  const library = koffi.load(null);
  const openCall = library.func('syscall', 'long', ['long', 'int', 'str', 'void *', 'size_t']);
  const treeCall = library.func('syscall', 'long', ['long', 'int', 'str', 'uint']);
  const attributeCall = library.func('syscall', 'long', ['long', 'int', 'str', 'uint', 'void *', 'size_t']);
  const moveCall = library.func('syscall', 'long', ['long', 'int', 'str', 'int', 'str', 'uint']);

  const longs = (...values: bigint[]) => {
    const buffer = Buffer.alloc(values.length * 8);
    values.forEach((value, index) => buffer.writeBigUInt64LE(value, index * 8));
    return buffer;
  };
  const fail = (step: string): MappedMountReport => ({ kind: 'failed', step, errno: koffi.errno() });
  const setAttributes = (tree: number, flags: bigint, mapFd: number) =>
    attributeCall(MOUNT_SETATTR, tree, '', AT_EMPTY_PATH | AT_RECURSIVE, longs(flags, 0n, 0n, BigInt(mapFd)), 32);

  const take = (request: MappedMountRequest): { tree: number; report: MappedMountReport } => {
    const how = longs(BigInt(O_PATH | CLOSE_ON_EXEC), 0n, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
    const opened = openCall(OPENAT2, AT_FDCWD, request.source, how, 24);
    if (opened < 0) return { tree: -1, report: fail('open') };
    const flags = OPEN_TREE_CLONE | CLOSE_ON_EXEC | AT_EMPTY_PATH | AT_RECURSIVE;
    const tree = treeCall(OPEN_TREE, opened, '', flags);
    const report = tree < 0 ? fail('open_tree') : undefined;
    fsModule.closeSync(opened);
    if (report !== undefined) return { tree: -1, report };
    const always = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (request.readOnly ? MOUNT_ATTR_RDONLY : 0n);
    if (request.mapFd === undefined) {
      return setAttributes(tree, always, 0) < 0
        ? { tree, report: fail('mount_setattr') }
        : { tree, report: { kind: 'mapped' } };
    }
    if (setAttributes(tree, always | MOUNT_ATTR_IDMAP, request.mapFd) === 0)
      return { tree, report: { kind: 'mapped' } };
    const errno = koffi.errno();
    if (setAttributes(tree, always | MOUNT_ATTR_RDONLY, 0) < 0) return { tree, report: fail('mount_setattr') };
    return { tree, report: { kind: 'read-only', step: 'mount_setattr', errno } };
  };

  const isStaged = (request: MappedMountRequest) => request.mapFd === undefined;
  const early = requests.map((request) => (isStaged(request) ? undefined : take(request)));
  const say = (report: MappedMountReport) => fsModule.writeSync(1, `${JSON.stringify(report)}\n`);
  self.stdin.once('data', () => {
    requests.forEach((request, index) => {
      const { tree, report } = early[index] ?? take(request);
      if (report.kind === 'failed') {
        say(report);
        return;
      }
      const moved = moveCall(MOVE_MOUNT, tree, '', AT_FDCWD, request.target, MOVE_MOUNT_F_EMPTY_PATH);
      say(moved < 0 ? fail('move_mount') : report);
      fsModule.closeSync(tree);
    });
    self.exit(0);
  });
  self.stdin.once('end', () => self.exit(1));
}

/** The helper as text for `node -e`. */
export function mappedMountSource(koffiPath: string, requests: readonly MappedMountRequest[]): string {
  const koffi = `require(${JSON.stringify(koffiPath)})`;
  return `(${mappedMountProgram.toString()})(${koffi}, require('node:fs'), process, ${JSON.stringify(requests)})`;
}
