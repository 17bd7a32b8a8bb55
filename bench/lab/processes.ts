import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
/** What the kernel takes in `/proc/PID/clear_refs` for "the peak starts anew". */
const RESET_PEAK = '5';

/** Processor time out of the text of a `/proc/PID/stat`, in ms: own or that of children that have ended, user and system. */
export function cpuMsOfStat(stat: string, of: 'own' | 'children'): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const first = of === 'own' ? 11 : 13;
  return ((Number(fields[first]) + Number(fields[first + 1])) * 1000) / TICKS_PER_SECOND;
}

/** The processor time of this process's children that have ended, and of theirs, in ms. */
export function childrenCpuMs(): number {
  return cpuMsOfStat(readFileSync('/proc/self/stat', 'latin1'), 'children');
}

/** A process and its descendants that share its process id namespace: what a sandbox runs is in another one. */
export function familyOf(pid: number): readonly number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const stat = attempt(() => readFileSync(`/proc/${name}/stat`, 'latin1'));
    if (stat === undefined) continue;
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const space = namespaceOf(pid);
  const family = [pid];
  for (const member of family) {
    family.push(...(children.get(member) ?? []).filter((child) => namespaceOf(child) === space));
  }
  return family;
}

/** The processor time of processes so far, all threads, in ms; those that are gone count as nothing. */
export function cpuMsOf(pids: readonly number[]): number {
  return sum(pids, (pid) => cpuMsOfStat(readFileSync(`/proc/${pid}/stat`, 'latin1'), 'own'));
}

/** Lets the peaks of {@link peakBytesOf} begin with what is resident at this moment. */
export function resetPeaks(pids: readonly number[]): void {
  for (const pid of pids) attempt(() => writeFileSync(`/proc/${pid}/clear_refs`, RESET_PEAK));
}

/** The most memory that was resident, summed over processes, in bytes. */
export function peakBytesOf(pids: readonly number[]): number {
  return sum(pids, (pid) => kilobytesOf(pid, 'VmHWM') * 1024);
}

/** The memory that is resident, summed over processes, in bytes. */
export function residentBytesOf(pids: readonly number[]): number {
  return sum(pids, (pid) => kilobytesOf(pid, 'VmRSS') * 1024);
}

function kilobytesOf(pid: number, field: 'VmHWM' | 'VmRSS'): number {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1] ?? 0);
}

function namespaceOf(pid: number): string | undefined {
  return attempt(() => readlinkSync(`/proc/${pid}/ns/pid`));
}

function sum(pids: readonly number[], read: (pid: number) => number): number {
  return pids.reduce((total, pid) => total + (attempt(() => read(pid)) ?? 0), 0);
}

/** Undefined for a process that has ended meanwhile. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
