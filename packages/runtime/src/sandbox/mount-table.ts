import { isWithin } from './volumes.ts';

/** One mount of `/proc/self/mountinfo`, as far as bind mounts care. */
export interface MountEntry {
  readonly point: string;
  /** Options of this mount, not of its file system: `rw`, `nosuid`, `relatime`, … */
  readonly options: readonly string[];
}

/** Parses `/proc/self/mountinfo` (proc_pid_mountinfo(5)). */
export function parseMountTable(mountinfo: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of mountinfo.split('\n')) {
    const [, , , , point, options] = line.split(' ');
    if (point === undefined || options === undefined) continue;
    const unescaped = point.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    entries.push({ point: unescaped, options: options.split(',') });
  }
  return entries;
}

/** Options that a less privileged user namespace must keep when it mounts a part of such a mount again. */
const LOCKED_OPTIONS = new Set(['ro', 'nosuid', 'nodev', 'noexec', 'noatime', 'nodiratime', 'relatime', 'strictatime']);

/** The options that a bind mount of `path` has to repeat, or the kernel refuses to change any other of them. */
export function lockedOptions(path: string, table: readonly MountEntry[]): string[] {
  let best: MountEntry | undefined;
  for (const entry of table) {
    // A later mount on the same point hides the earlier.
    if (isWithin(path, entry.point) && entry.point.length >= (best?.point.length ?? 0)) best = entry;
  }
  return (best?.options ?? []).filter((option) => LOCKED_OPTIONS.has(option));
}

/** Whether other file systems are mounted below `path`: a read-only bind mount must then be so recursively. */
export function hasSubmounts(path: string, table: readonly MountEntry[]): boolean {
  return table.some((entry) => entry.point !== path && isWithin(entry.point, path));
}
