import { accessSync, constants, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Limits } from './limits.ts';

/** A control group directory to be, with what is written into it. */
interface PlannedGroup {
  readonly directory: string;
  readonly version: 1 | 2;
  readonly controllers: readonly Controller[];
}

type Controller = 'memory' | 'cpu' | 'pids';

const CONTROLLERS: readonly Controller[] = ['memory', 'cpu', 'pids'];

/** Which control groups a sandbox gets: decided before anything is made, so that whoever cleans up knows the names. */
export interface CgroupPlan {
  /** Empty where this caller may make none. */
  readonly directories: readonly string[];
  readonly groups: readonly PlannedGroup[];
}

/** Control groups that exist. */
export interface Cgroups {
  /** The files into which the sandbox's first process writes itself. */
  readonly procsFiles: readonly string[];
  readonly notices: readonly string[];
  /** Whether the kernel has killed a process of the group for its memory limit. */
  outOfMemory(): boolean;
  /** Removes the groups; for when no process was ever put in. */
  remove(): void;
}

/** How control groups are mounted and where this process is, as the kernel tells it. */
export interface CgroupView {
  /** `/proc/self/mountinfo`. */
  readonly mountinfo: string;
  /** `/proc/self/cgroup`. */
  readonly membership: string;
  /** Controllers of a version 2 directory (`cgroup.controllers`), or undefined when it cannot be read. */
  readonly controllersOf: (directory: string) => readonly string[] | undefined;
  /** Whether this caller may make groups in a directory and move processes into them. */
  readonly isWritable: (directory: string) => boolean;
}

/**
 * Finds where this caller can limit a sandbox: version 1 hierarchies, version 2, or the mixture of both.
 *
 * Version 2 allows processes only in leaves, so the group is made beside the caller's own or further up, at the first
 * directory that the caller may write to and that has the controllers: a delegated subtree for ordinary users.
 */
export function planCgroups(name: string, view: CgroupView = readCgroupView()): CgroupPlan {
  const own = new Map<string, string>();
  for (const line of view.membership.split('\n')) {
    const [, kinds, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (kinds === undefined || path === undefined) continue;
    for (const kind of kinds.split(',')) own.set(kind, path);
  }
  const groups: PlannedGroup[] = [];
  const left = new Set<Controller>(CONTROLLERS);
  for (const mount of cgroupMounts(view.mountinfo)) {
    if (mount.version === 2) {
      const start = join(mount.point, own.get('') ?? '/');
      for (let parent = start; parent.startsWith(mount.point); parent = dirname(parent)) {
        const here = (view.controllersOf(parent) ?? []).filter((name_) =>
          left.has(name_ as Controller),
        ) as Controller[];
        const isOwn = parent === start && parent !== mount.point;
        if (!isOwn && here.length > 0 && view.isWritable(parent)) {
          groups.push({ directory: join(parent, name), version: 2, controllers: here });
          for (const controller of here) left.delete(controller);
          break;
        }
      }
      continue;
    }
    const here = mount.controllers.filter((controller) => left.has(controller));
    const parent = join(mount.point, own.get(mount.controllers[0] ?? '') ?? '/');
    if (here.length > 0 && view.isWritable(parent)) {
      groups.push({ directory: join(parent, name), version: 1, controllers: here });
      for (const controller of here) left.delete(controller);
    }
  }
  return { groups, directories: groups.map((group) => group.directory) };
}

/** Makes the planned groups and sets their limits; what cannot be set is named in `notices`. */
export function createCgroups(plan: CgroupPlan, limits: Limits): Cgroups {
  const set = new Set<Controller>();
  const made: PlannedGroup[] = [];
  for (const group of plan.groups) {
    try {
      if (group.version === 2) enableControllers(dirname(group.directory), group.controllers);
      mkdirSync(group.directory, { mode: 0o755 });
      made.push(group);
    } catch {
      continue;
    }
    for (const controller of group.controllers) {
      if (setLimit(group, controller, limits)) set.add(controller);
    }
  }
  const notices: string[] = [];
  const unset = [
    limits.memoryBytes !== undefined && !set.has('memory') ? 'the memory limit' : '',
    limits.cpus !== undefined && !set.has('cpu') ? 'the CPU limit' : '',
  ].filter((text) => text !== '');
  if (unset.length > 0) {
    notices.push(
      `${unset.join(' and ')} cannot be set: this account has no control group of its own. ` +
        'Start Sallyport by "systemd-run --user --scope -p Delegate=yes", or as root.',
    );
  }
  return {
    procsFiles: made.map((group) => join(group.directory, 'cgroup.procs')),
    notices,
    outOfMemory: () => made.some((group) => group.controllers.includes('memory') && countOomKills(group) > 0),
    remove() {
      for (const group of made) {
        try {
          rmdirSync(group.directory);
        } catch {
          // Still in use or gone: the airlock's wrapper removes it later.
        }
      }
    },
  };
}

/** Threads of the OCI runtime, which counts in the same group: RLIMIT_NPROC is exact, the group is there for every way around it. */
const RUNTIME_TASKS = 64;

/** The period over which the kernel deals out a CPU limit, its own default. */
const CPU_PERIOD_US = 100_000;

function setLimit(group: PlannedGroup, controller: Controller, limits: Limits): boolean {
  const write = (file: string, value: string) => writeFileSync(join(group.directory, file), value);
  const tryWrite = (file: string, value: string) => {
    try {
      write(file, value);
    } catch {
      // Swap accounting may be switched off; the limit itself holds without it.
    }
  };
  try {
    switch (controller) {
      case 'pids':
        write('pids.max', String(limits.pids + RUNTIME_TASKS));
        return true;
      case 'cpu': {
        if (limits.cpus === undefined) return true;
        const quota = Math.max(1000, Math.round(limits.cpus * CPU_PERIOD_US));
        if (group.version === 2) write('cpu.max', `${quota} ${CPU_PERIOD_US}`);
        else {
          write('cpu.cfs_period_us', String(CPU_PERIOD_US));
          write('cpu.cfs_quota_us', String(quota));
        }
        return true;
      }
      case 'memory': {
        if (limits.memoryBytes === undefined) return true;
        const bytes = String(limits.memoryBytes);
        if (group.version === 2) {
          write('memory.max', bytes);
          tryWrite('memory.swap.max', '0');
        } else {
          write('memory.limit_in_bytes', bytes);
          tryWrite('memory.memsw.limit_in_bytes', bytes);
        }
        return true;
      }
      default:
        controller satisfies never;
        return false;
    }
  } catch {
    return false;
  }
}

function countOomKills(group: PlannedGroup): number {
  try {
    const file = group.version === 2 ? 'memory.events' : 'memory.oom_control';
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(join(group.directory, file), 'latin1'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function enableControllers(directory: string, controllers: readonly Controller[]): void {
  const file = join(directory, 'cgroup.subtree_control');
  const enabled = readFileSync(file, 'latin1').trim().split(' ');
  const missing = controllers.filter((controller) => !enabled.includes(controller));
  if (missing.length > 0) writeFileSync(file, missing.map((controller) => `+${controller}`).join(' '));
}

interface CgroupMount {
  readonly version: 1 | 2;
  readonly point: string;
  readonly controllers: readonly Controller[];
}

function cgroupMounts(mountinfo: string): CgroupMount[] {
  const mounts: CgroupMount[] = [];
  for (const line of mountinfo.split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root, point] = before.split(' ');
    const [type, , options = ''] = after.split(' ');
    // A mount of a part of the hierarchy does not lead from our path in it to a directory.
    if (root !== '/' || point === undefined) continue;
    if (type === 'cgroup2') mounts.push({ version: 2, point, controllers: [] });
    if (type === 'cgroup') {
      const names = options.split(',');
      mounts.push({ version: 1, point, controllers: CONTROLLERS.filter((name) => names.includes(name)) });
    }
  }
  return mounts;
}

/** The machine's own control groups. */
export function readCgroupView(): CgroupView {
  const read = (path: string) => {
    try {
      return readFileSync(path, 'latin1');
    } catch {
      return undefined;
    }
  };
  return {
    mountinfo: read('/proc/self/mountinfo') ?? '',
    membership: read('/proc/self/cgroup') ?? '',
    controllersOf: (directory) => read(join(directory, 'cgroup.controllers'))?.trim().split(' '),
    isWritable(directory) {
      try {
        accessSync(directory, constants.W_OK);
        accessSync(join(directory, 'cgroup.procs'), constants.W_OK);
        return true;
      } catch {
        return false;
      }
    },
  };
}
