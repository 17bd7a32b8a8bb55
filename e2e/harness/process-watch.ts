import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { findCanary } from './canary.ts';
import type { Canary, Sighting } from './canary.ts';

/** A running look-out over the processes of every sandbox on this machine. */
export interface ProcessWatch {
  /** Where the canary was seen: `cmdline` and `environ` of processes in a foreign user or PID namespace. */
  readonly sightings: Sighting[];
  /** How many different processes in foreign namespaces were looked at, of those that count: 0 means that the watch proved nothing. */
  readonly watchedCount: number;
  stop(): void;
  [Symbol.dispose](): void;
}

const POLL_INTERVAL_MS = 25;

function readOrNothing(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch {
    return Buffer.alloc(0); // Ended, or not ours to read (then it is not a process of our sandbox).
  }
}

function linkOrNothing(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/**
 * Polls `/proc` until stopped.
 *
 * A process counts as inside when its user or PID namespace is not the host's. The CLI's own environment and command line may hold
 * the value (the user put it there), so the host's namespaces are left out. All are looked at, but with `directory` only those that
 * work below it count, as other tests have sandboxes too.
 */
export function watchProcesses(canary: Canary, directory?: string): ProcessWatch {
  const own = { user: linkOrNothing('/proc/self/ns/user'), pid: linkOrNothing('/proc/self/ns/pid') };
  const watched = new Set<string>();
  const sightings: Sighting[] = [];
  const seen = new Set<string>();

  const poll = (): void => {
    for (const entry of readdirSync('/proc')) {
      if (!/^[0-9]+$/.test(entry)) continue;
      const user = linkOrNothing(`/proc/${entry}/ns/user`);
      const pid = linkOrNothing(`/proc/${entry}/ns/pid`);
      if ((user === undefined || user === own.user) && (pid === undefined || pid === own.pid)) continue;
      const workingDirectory = linkOrNothing(`/proc/${entry}/cwd`);
      if (directory === undefined || workingDirectory?.startsWith(directory) === true) watched.add(`${entry} ${pid}`);
      for (const file of ['cmdline', 'environ']) {
        for (const form of findCanary(canary, readOrNothing(`/proc/${entry}/${file}`))) {
          const name = readOrNothing(`/proc/${entry}/comm`).toString().trim();
          const where = `${file} of process ${entry} (${name})`;
          if (seen.has(where + form)) continue;
          seen.add(where + form);
          sightings.push({ where, form });
        }
      }
    }
  };

  const timer = setInterval(poll, POLL_INTERVAL_MS);
  const stop = (): void => clearInterval(timer);
  poll();
  return {
    sightings,
    get watchedCount() {
      return watched.size;
    },
    stop,
    [Symbol.dispose]: stop,
  };
}
