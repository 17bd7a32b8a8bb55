import { readdirSync, readFileSync } from 'node:fs';

/** A process that forks while it is being ended can be a step ahead; a family that never ends is given up. */
const MAX_ROUNDS = 8;

interface ProcessEntry {
  readonly pid: number;
  readonly isDead: boolean;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
}

/**
 * Ends a process that was started as the leader of a session (`detached`), and all that came of it, at once: its group, what has made a group of
 * its own in the session (`timeout`, job control), also when its parent is gone, and descendants that have left the session.
 */
export function endFamily(leader: number): void {
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const members = findFamily(leader);
    kill(-leader);
    if (members.length === 0) return;
    for (const pid of members) kill(pid);
  }
}

/** Ends what is left of a session leader's own process group. */
export function endGroup(leader: number): void {
  kill(-leader);
}

function findFamily(leader: number): number[] {
  const entries = listProcesses();
  const family = new Set<number>([leader]);
  for (const { pid, group, session } of entries) if (session === leader || group === leader) family.add(pid);
  for (let size = 0; size !== family.size;) {
    size = family.size;
    for (const { pid, parent } of entries) if (family.has(parent)) family.add(pid);
  }
  return entries.filter(({ pid, isDead }) => !isDead && family.has(pid)).map(({ pid }) => pid);
}

/** The processes of the machine; none where there is no `/proc`, so that only the group is ended there. */
function listProcesses(): ProcessEntry[] {
  const entries: ProcessEntry[] = [];
  let names: string[];
  try {
    names = readdirSync('/proc');
  } catch {
    return entries;
  }
  for (const name of names) {
    if (!/^[1-9]\d*$/.test(name)) continue;
    try {
      // proc_pid_stat(5): pid (name) state ppid pgrp session; the name may hold anything, parentheses too.
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      const [state = '', parent, group, session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ', 4);
      entries.push({
        pid: Number(name),
        isDead: state === 'Z' || state === 'X',
        parent: Number(parent),
        group: Number(group),
        session: Number(session),
      });
    } catch {
      continue;
    }
  }
  return entries;
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended already, or has become another user's, who alone can end it.
  }
}
