import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** What a sandbox uses, as its control groups tell; null for what they do not. */
export interface Usage {
  readonly memoryBytes: number | null;
  readonly memoryLimitBytes: number | null;
  readonly cpuMs: number | null;
  readonly processes: number | null;
}

/** Version 1 says "no limit" by a number near 2^63. */
const NO_LIMIT_BYTES = 2 ** 60;

/** Reads what the control groups in these directories tell, of either version. */
export function readUsage(directories: readonly string[]): Usage {
  const find = (...files: readonly string[]): string | null => {
    for (const directory of directories) {
      for (const file of files) {
        const text = readText(join(directory, file));
        if (text !== null) return text;
      }
    }
    return null;
  };
  const limit = toNumber(find('memory.max', 'memory.limit_in_bytes'));
  const microseconds = toNumber(/^usage_usec (\d+)$/m.exec(find('cpu.stat') ?? '')?.[1] ?? null);
  const nanoseconds = toNumber(find('cpuacct.usage'));
  return {
    memoryBytes: toNumber(find('memory.current', 'memory.usage_in_bytes')),
    memoryLimitBytes: limit === null || limit > NO_LIMIT_BYTES ? null : limit,
    cpuMs:
      microseconds !== null
        ? Math.round(microseconds / 1000)
        : nanoseconds === null
          ? null
          : Math.round(nanoseconds / 1_000_000),
    processes: toNumber(find('pids.current')),
  };
}

/** How often the kernel has ended a process of these groups for their memory limit. */
export function countOutOfMemory(directories: readonly string[]): number {
  let count = 0;
  for (const directory of directories) {
    for (const file of ['memory.events', 'memory.oom_control']) {
      count += toNumber(/^oom_kill (\d+)$/m.exec(readText(join(directory, file)) ?? '')?.[1] ?? null) ?? 0;
    }
  }
  return count;
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return null;
  }
}

function toNumber(text: string | null): number | null {
  return text !== null && /^\d+$/.test(text) ? Number(text) : null;
}
