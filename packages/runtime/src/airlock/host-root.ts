import { readFileSync } from 'node:fs';

/**
 * Whether this process is the machine's root: uid 0 where every id is mapped to itself.
 *
 * Uid 0 of a rootless container is an ordinary user in disguise: it can map only ids that it was given, and mounts on the
 * host's file systems are not its to change.
 */
export function isHostRoot(): boolean {
  if (process.geteuid?.() !== 0) return false;
  try {
    return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync('/proc/self/uid_map', 'latin1'));
  } catch {
    return true;
  }
}
