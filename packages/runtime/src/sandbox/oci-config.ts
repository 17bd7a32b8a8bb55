import { COMMAND_USER_NAMESPACE, ROOM_USER_NAMESPACE } from '../airlock/network.ts';
import type { Identity } from './identity.ts';
import type { Limits } from './limits.ts';
import type { SeccompFilter } from './seccomp.ts';

/** A bind mount of the container; the source is a path in the airlock's mount namespace. */
export interface ContainerMount {
  readonly source: string;
  readonly destination: string;
  readonly options: readonly string[];
}

/** What {@link buildOciConfig} is made from. */
export interface ContainerDescription {
  readonly hostName: string;
  readonly identity: Identity;
  /** The command; null for a container that waits for commands to be executed in it ({@link buildExecProcess}). */
  readonly command: readonly string[] | null;
  readonly environment: Readonly<Record<string, string>>;
  readonly workingDirectory: string;
  readonly terminal: boolean;
  readonly mounts: readonly ContainerMount[];
  /** Empty in-memory directories that the command may write to. */
  readonly scratchDirectories: readonly string[];
  readonly roomNetworkNamespace: string;
  readonly seccomp: SeccompFilter;
  readonly limits: Limits;
  readonly tools: ContainerTools;
}

/** The file inside that stands for the user namespace of commands; the root directory is read-only, so it cannot be exchanged. */
export const COMMAND_NAMESPACE_FILE = '/.sallyport-command-namespace';

/** Absolute paths inside the container. */
export interface ContainerTools {
  readonly unshare: string;
  readonly setpriv: string;
  readonly tini: string;
  readonly nsenter: string;
  readonly sleep: string;
}

/** Parts of `/proc` that tell of, or reach, the whole machine; hidden. Those that do not exist are skipped. */
const MASKED_PATHS = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/cmdline',
  '/proc/config.gz',
  '/proc/interrupts',
  '/proc/kallsyms',
  '/proc/kcore',
  '/proc/key-users',
  '/proc/keys',
  '/proc/kmsg',
  '/proc/kpagecgroup',
  '/proc/kpagecount',
  '/proc/kpageflags',
  '/proc/latency_stats',
  '/proc/modules',
  '/proc/partitions',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/vmallocinfo',
];

/** What each in-memory directory may take of the machine's memory. */
const SCRATCH_SIZE = '25%';
const RUN_SIZE = '16m';

const READ_ONLY_PATHS = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/**
 * The OCI runtime's `config.json` (runtime specification 1.0.2).
 *
 * Runtimes insist on uid 0 in the container's user namespace, while the command is to be an ordinary user with a single
 * id to be mapped. So the container maps 0, and its first process makes the command's own user namespace below: `unshare`
 * maps the user's id, `setpriv` drops the capabilities that this brings, `tini` reaps and passes signals on. The one
 * capability given, CAP_SETFCAP, is what the kernel asks for before uid 0 may be mapped to another id (Linux 5.12); the
 * command's namespace does not inherit it. What the command might ever regain, it holds over a namespace that owns nothing.
 */
export function buildOciConfig(description: ContainerDescription): object {
  const { identity, command } = description;
  const idMapping = [{ containerID: 0, hostID: 0, size: 1 }];
  return {
    ociVersion: '1.0.2',
    hostname: description.hostName,
    root: { path: 'rootfs', readonly: true },
    process: {
      ...processOf(description),
      args: command === null ? waitingInit(description.tools) : commandInit(identity, description.tools, command),
    },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'nodev', 'noexec'] },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'ro', 'mode=755', 'size=65536k'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620'],
      },
      ...['/dev/shm', ...description.scratchDirectories].map((destination) => ({
        destination,
        type: 'tmpfs',
        source: 'tmpfs',
        options: [
          'nosuid',
          'nodev',
          `size=${destination === '/run' ? RUN_SIZE : SCRATCH_SIZE}`,
          destination === identity.home || destination === '/run' ? 'mode=755' : 'mode=1777',
        ],
      })),
      ...[...description.mounts, ...(command === null ? [COMMAND_NAMESPACE_MOUNT] : [])].map((mount) => ({
        ...mount,
        type: 'bind',
      })),
    ],
    linux: {
      uidMappings: idMapping,
      gidMappings: idMapping,
      namespaces: [
        command === null ? { type: 'user', path: ROOM_USER_NAMESPACE } : { type: 'user' },
        { type: 'pid' },
        { type: 'mount' },
        { type: 'ipc' },
        { type: 'uts' },
        { type: 'cgroup' },
        { type: 'network', path: description.roomNetworkNamespace },
      ],
      maskedPaths: MASKED_PATHS,
      readonlyPaths: READ_ONLY_PATHS,
      seccomp: description.seccomp,
    },
  };
}

/** Drops every capability, those that could be regained included. */
const dropCapabilities = (tools: ContainerTools) => [
  tools.setpriv,
  '--bounding-set=-all',
  '--inh-caps=-all',
  '--ambient-caps=-all',
];

function commandInit(identity: Identity, tools: ContainerTools, command: readonly string[]): string[] {
  return [
    tools.unshare,
    '--user',
    `--map-user=${identity.uid}`,
    `--map-group=${identity.gid}`,
    '--keep-caps',
    ...dropCapabilities(tools),
    tools.tini,
    '-g',
    '--',
    ...command,
  ];
}

/**
 * The first process of a container that waits: it reaps. It stays in the container's user namespace, into which the runtime follows it and
 * in which commands have no rights; all that they can do to it is to end it, and the sandbox with it.
 */
function waitingInit(tools: ContainerTools): string[] {
  return [...dropCapabilities(tools), tools.tini, '--', tools.sleep, 'infinity'];
}

const COMMAND_NAMESPACE_MOUNT: ContainerMount = {
  source: COMMAND_USER_NAMESPACE,
  destination: COMMAND_NAMESPACE_FILE,
  options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec'],
};

function processOf({ terminal, environment, workingDirectory, limits }: ProcessDescription) {
  const capabilities = ['CAP_SETFCAP'];
  const coreDumps = { type: 'RLIMIT_CORE', hard: 0, soft: 0 };
  // Counted for the command's own user namespace, so exact; a control group would count the runtime's threads as well.
  const processes = { type: 'RLIMIT_NPROC', hard: limits.pids, soft: limits.pids };
  return {
    terminal,
    user: { uid: 0, gid: 0 },
    env: Object.entries(environment).map(([name, value]) => `${name}=${value}`),
    cwd: workingDirectory,
    noNewPrivileges: true,
    capabilities: {
      bounding: capabilities,
      effective: capabilities,
      permitted: capabilities,
      inheritable: capabilities,
      ambient: capabilities,
    },
    rlimits: [coreDumps, processes],
  };
}

/** What is common to a container's first process and to those that are executed in it. */
export type ProcessDescription = Pick<ContainerDescription, 'terminal' | 'environment' | 'workingDirectory' | 'limits'>;

/**
 * The process of a command that is executed in a waiting container, as `runc exec --process` takes it. It enters the user namespace for
 * commands, which its user made and so has every right over, and drops what that brings.
 */
export function buildExecProcess(
  description: ProcessDescription & { readonly tools: ContainerTools; readonly command: readonly string[] },
): object {
  const { tools, command } = description;
  return {
    ...processOf(description),
    args: [
      tools.nsenter,
      `--user=${COMMAND_NAMESPACE_FILE}`,
      '--preserve-credentials',
      '--',
      ...dropCapabilities(tools),
      ...command,
    ],
  };
}
