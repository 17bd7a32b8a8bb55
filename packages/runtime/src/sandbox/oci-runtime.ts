import type { ChildProcess } from 'node:child_process';
import { closeSync, constants as fileConstants, openSync, readFileSync, statSync } from 'node:fs';
import { constants, release } from 'node:os';
import { isAbsolute, normalize } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { findGateAddresses } from '../airlock/airlock.ts';
import type { Airlock, PhaseTimings } from '../airlock/airlock.ts';
import { runInside } from '../airlock/holder.ts';
import type { Holder } from '../airlock/holder.ts';
import { printable } from '../airlock/namespace-diagnosis.ts';
import { ROOM_NETWORK_NAMESPACE, STAGE_DIRECTORY } from '../airlock/network.ts';
import { requireTools } from '../airlock/required-tools.ts';
import type { ContainerRecord } from './waiting-container.ts';
import type { ExitStatus, RunningSandbox, SandboxBackend, SandboxSpec } from './backend.ts';
import { layOutTrust, readHostTrust, STAGED_JAVA_TRUST_STORE } from './ca-trust.ts';
import type { Cgroups } from './cgroup.ts';
import { baseEnvironment } from './environment.ts';
import { currentCaller, sandboxIdentity } from './identity.ts';
import { checkMountSources } from './mount-sources.ts';
import { hasSubmounts, lockedOptions, parseMountTable } from './mount-table.ts';
import { buildOciConfig, COMMAND_NAMESPACE_FILE } from './oci-config.ts';
import type { StagedFile } from './staged-files.ts';
import type { ContainerMount } from './oci-config.ts';
import { describeRootFileSystem, SCRATCH_DIRECTORIES } from './root-file-system.ts';
import type { RuntimeChoice } from './runtime-choice.ts';
import { readSeccompProfile, resolveSeccomp } from './seccomp.ts';
import type { GuardFile } from './git-protection.ts';
import { layOutStage, planStage, removeGuardFiles, STAGED_ROOT } from './stage.ts';
import { planStreams, relayStreams } from './streams.ts';
import { isWithin } from './volumes.ts';

/** The container's name to the runtime; each airlock has its own runtime state, so one name serves all. */
const CONTAINER = 'sandbox';
const RUNTIME_STATE = '/run/runtime';
const RUNTIME_LOG = `${STAGE_DIRECTORY}/runtime.log`;
/** Written by the runtime when the command's process has been started. */
const PID_FILE = `${STAGE_DIRECTORY}/command.pid`;

/** A sandbox whose files are laid out and mounted, waiting for its network. */
export interface PreparedSandbox {
  readonly notices: readonly string[];
  readonly timings: PhaseTimings;
  /** Starts the command. The airlock must be open: its listeners are what the command can reach. */
  start(airlock: Airlock): Promise<RunningSandbox>;
  /**
   * Starts a sandbox without a command of its own; it lives as long as the airlock.
   *
   * @param lifeline a pipe that the container's first process holds, so that its end shows.
   */
  startWaiting(airlock: Airlock, lifeline: string): Promise<ContainerRecord>;
}

/** Sandboxes run by an OCI runtime (`runc`, `crun`, `runsc`) in the airlock's namespaces. */
export class OciRuntimeBackend implements SandboxBackend {
  readonly name: string;
  readonly #runtime: RuntimeChoice;
  readonly #cgroups: Cgroups | undefined;
  #guardFiles: readonly GuardFile[] = [];
  #isCleanedUp = false;

  /** @param cgroups groups that the sandbox is put into; made for this one sandbox. */
  constructor(runtime: RuntimeChoice, cgroups?: Cgroups) {
    this.name = runtime.name;
    this.#runtime = runtime;
    this.#cgroups = cgroups;
  }

  async start(spec: SandboxSpec, airlock: Airlock): Promise<RunningSandbox> {
    return await (await this.prepare(spec, airlock.holder)).start(airlock);
  }

  /** Removes what was made on the host for the sandbox; call it when the sandbox has ended. */
  cleanUp(): void {
    this.#isCleanedUp = true;
    removeGuardFiles(this.#guardFiles);
    this.#guardFiles = [];
  }

  /**
   * As the first half of {@link start}, overlapping with the airlock: what needs only this machine's files is done at
   * once, the rest when the stage is there.
   *
   * @param trust takes the place of `spec.trust`, for a CA that is still being made.
   */
  async prepare(
    spec: SandboxSpec,
    staged: Promise<Holder> | Holder,
    trust?: Promise<SandboxSpec['trust']>,
  ): Promise<PreparedSandbox> {
    const timings: PhaseTimings = {};
    const tools = requireTools(['unshare', 'setpriv', 'tini', 'mount', 'tar', 'nsenter', 'sleep']);
    checkNames(spec);
    const identity = sandboxIdentity(currentCaller());
    const sources = checkMountSources(spec);
    const workspace = sources.find((source) => source.isWorkspace)?.destination;
    const table = parseMountTable(readFileSync('/proc/self/mountinfo', 'latin1'));
    const seccomp = resolveSeccomp(
      readSeccompProfile(),
      { arch: process.arch, kernel: release() },
      { joinsUserNamespace: spec.command === null },
    );
    const root = describeRootFileSystem(identity, spec.name, findGateAddresses());
    const hostTrust = readHostTrust();
    timings['description'] = performance.now();

    const holder = await staged;
    const layOutFiles = async () => layOutTrust(trust === undefined ? spec.trust : await trust, hostTrust);
    const trusted = layOutFiles();
    const own: StagedFile[] =
      spec.command === null ? [{ path: COMMAND_NAMESPACE_FILE, kind: 'file', content: Buffer.alloc(0) }] : [];
    const files = trusted.then((laidOut) => [...root.files, ...laidOut.files, ...own]);
    if (this.#isCleanedUp) throw new SallyportError('SANDBOX_FAILED', 'The sandbox has ended already. Start it again.');
    const plan = planStage(sources, spec.gitWritable ?? false);
    this.#guardFiles = plan.guardFiles;
    const stage = await layOutStage(holder, plan, files, table, tools);
    const trustFiles = await trusted;
    timings['stage files'] = performance.now();

    const streams = planStreams(spec.streams ?? { stdin: 0, stdout: 1, stderr: 2 }, this.#runtime.copiesStreams);
    const hostMounts = root.hostDirectories.map((path): ContainerMount => ({
      source: path,
      destination: path,
      options: [
        ...new Set([
          'rbind',
          hasSubmounts(path, table) ? 'rro' : 'ro',
          'nosuid',
          'nodev',
          ...lockedOptions(path, table),
        ]),
      ],
    }));
    const javaMounts = trustFiles.javaTrustStores.map((path): ContainerMount => ({
      source: `${STAGED_ROOT}${STAGED_JAVA_TRUST_STORE}`,
      destination: path,
      options: ['bind', 'ro', 'nosuid', 'nodev'],
    }));
    const workingDirectory = spec.workingDirectory ?? workspace ?? identity.home;
    const environment = { ...baseEnvironment(identity, spec.name, streams.terminal), ...trustFiles.environment };
    const config = buildOciConfig({
      hostName: spec.name,
      identity,
      command: spec.command,
      environment: { ...environment, ...spec.environment },
      // What waits must not keep the workspace's directory in use.
      workingDirectory: spec.command === null ? '/' : workingDirectory,
      terminal: streams.terminal,
      mounts: [...hostMounts, ...javaMounts, ...stage.mounts],
      scratchDirectories: [...SCRATCH_DIRECTORIES, identity.home],
      roomNetworkNamespace: ROOM_NETWORK_NAMESPACE,
      seccomp,
      limits: spec.limits,
      tools,
    });
    const notices = [...this.#runtime.notices, ...(this.#cgroups?.notices ?? []), ...stage.notices];
    return {
      notices,
      timings,
      start: async (airlock) => await this.#launch(airlock, config, streams, notices, timings),
      startWaiting: async (airlock, lifeline) => {
        await this.#launchWaiting(airlock, config, lifeline);
        const { path, globalArguments } = this.#runtime;
        return {
          runtime: path,
          runtimeArguments: [...globalArguments, '--root', RUNTIME_STATE],
          container: CONTAINER,
          environment,
          workingDirectory,
          limits: spec.limits,
          cgroupProcs: this.#cgroups?.procsFiles ?? [],
          tools,
        };
      },
    };
  }

  async #launch(
    airlock: Airlock,
    config: object,
    streams: ReturnType<typeof planStreams>,
    notices: readonly string[],
    timings: PhaseTimings,
  ): Promise<RunningSandbox> {
    const runtime = this.#runtime;
    const global = [...runtime.globalArguments, '--root', RUNTIME_STATE, '--log', RUNTIME_LOG];
    const child = airlock.enter(
      [
        '/bin/sh',
        '-ec',
        LAUNCH_PROGRAM,
        'sallyport-runtime',
        runtime.path,
        ...global,
        'run',
        '--bundle',
        STAGE_DIRECTORY,
        '--pid-file',
        PID_FILE,
        CONTAINER,
      ],
      {
        stdio: [...streams.stdio, 'pipe'],
        env: { ...RUNTIME_ENVIRONMENT },
        detached: !streams.terminal,
        cgroupProcs: this.#cgroups?.procsFiles ?? [],
      },
    );
    const configuration = child.stdio[3];
    if (configuration !== null && configuration !== undefined && 'end' in configuration) {
      configuration.on('error', () => undefined);
      configuration.end(JSON.stringify(config));
    }
    const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
      child.once('error', () => resolve({ code: 125, signal: null }));
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
    const relayed = relayStreams(child, streams);
    timings['runtime started'] = performance.now();
    let waiting: Promise<ExitStatus> | undefined;
    const wait = async (): Promise<ExitStatus> => {
      const { code, signal } = await exited;
      const startedAt = readStartMoment(airlock.holderPid);
      if (startedAt !== undefined) timings['container started'] = startedAt;
      await relayed;
      const status = code ?? 128 + (signal === null ? 0 : (constants.signals[signal] ?? 0));
      if (status !== 0) await this.#throwRuntimeFailure(airlock);
      return { code: status, outOfMemory: this.#cgroups?.outOfMemory() ?? false };
    };
    return {
      pid: child.pid ?? 0,
      notices,
      timings,
      stdin: streams.relayed.has(0) ? undefined : (child.stdin ?? undefined),
      stdout: streams.relayed.has(1) ? undefined : (child.stdout ?? undefined),
      stderr: streams.relayed.has(2) ? undefined : (child.stderr ?? undefined),
      wait: () => (waiting ??= wait()),
      signal: async (signal) => await this.#signal(airlock, child, signal),
    };
  }

  async #launchWaiting(airlock: Airlock, config: object, lifeline: string): Promise<void> {
    // Without O_RDWR it would wait for a reader.
    const held = openSync(lifeline, fileConstants.O_RDWR);
    const child = airlock.enter(
      [
        '/bin/sh',
        '-ec',
        LAUNCH_PROGRAM,
        'sallyport-runtime',
        this.#runtime.path,
        ...[...this.#runtime.globalArguments, '--root', RUNTIME_STATE, '--log', RUNTIME_LOG],
        'run',
        '--detach',
        '--bundle',
        STAGE_DIRECTORY,
        '--pid-file',
        PID_FILE,
        CONTAINER,
      ],
      {
        stdio: ['ignore', held, 'ignore', 'pipe'],
        env: { ...RUNTIME_ENVIRONMENT },
        detached: true,
        cgroupProcs: this.#cgroups?.procsFiles ?? [],
      },
    );
    closeSync(held);
    const configuration = child.stdio[3];
    if (configuration !== null && configuration !== undefined && 'end' in configuration) {
      configuration.on('error', () => undefined);
      configuration.end(JSON.stringify(config));
    }
    const status = await new Promise<number | null>((resolve) => {
      child.once('error', () => resolve(125));
      child.once('exit', (code) => resolve(code));
    });
    if (status === 0) return;
    await this.#throwRuntimeFailure(airlock);
    throw new SallyportError(
      'SANDBOX_FAILED',
      `${this.name} could not start the sandbox (exit status ${status ?? 'none'}).`,
    );
  }

  /** The runtime's log has errors only when the command never ran: everything else it says by its exit status. */
  async #throwRuntimeFailure(airlock: Airlock): Promise<void> {
    let log: string;
    try {
      log = (await runInside(airlock.holder, ['cat', RUNTIME_LOG])).stdout;
    } catch {
      // The airlock is gone, and the sandbox with it: it was ended from outside, which its status says.
      return;
    }
    const messages = log.split('\n').flatMap((line) => errorMessage(line));
    const [message] = messages;
    if (message === undefined) return;
    throw new SallyportError(
      'SANDBOX_FAILED',
      `${this.name} could not start the sandbox: ${JSON.stringify(printable(message))}. ` +
        'Check the working directory and the volumes; "--verbose" tells more.',
    );
  }

  async #signal(airlock: Airlock, child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    const isOver = () => child.exitCode !== null || child.signalCode !== null;
    const runtimePid = await findRuntime(child.pid ?? 0, isOver);
    if (runtimePid === undefined || isOver()) return;
    if (signal === 'SIGKILL') {
      const argv = [
        this.#runtime.path,
        ...this.#runtime.globalArguments,
        '--root',
        RUNTIME_STATE,
        'kill',
        CONTAINER,
        'KILL',
      ];
      const { status } = await runInside(airlock.holder, argv);
      if (status === 0 || isOver()) return;
    }
    try {
      process.kill(runtimePid, signal);
    } catch {
      // It has ended in between.
    }
  }
}

/**
 * Writes the configuration, which comes on a descriptor of its own (standard input is the command's), and becomes the
 * runtime. Root's sandboxes run as an id that may not reach every folder of root's.
 */
const LAUNCH_PROGRAM = `
cd ${STAGE_DIRECTORY}
cat <&3 > config.json
exec 3<&-
if [ ! -x "$1" ]; then
  echo "the runtime's file may not be executed by the sandbox's user" > ${RUNTIME_LOG}
  exit 126
fi
exec "$@"
`;

/** `XDG_RUNTIME_DIR` is where rootless runtimes keep state; `USER` is absent, or runc would take itself for the host's root. */
export const RUNTIME_ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  XDG_RUNTIME_DIR: '/run',
  LC_ALL: 'C',
};

/** Both end up in files and paths of the sandbox. */
function checkNames({ name, workingDirectory }: SandboxSpec): void {
  if (!/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(name)) {
    throw new SallyportError(
      'INVALID_NAME',
      `${JSON.stringify(name)} is not a name for a sandbox. Use at most 63 letters, digits and hyphens.`,
    );
  }
  if (workingDirectory !== undefined) checkWorkingDirectory(workingDirectory);
}

/** @throws SallyportError `USAGE` for a directory below `/proc`, which may lead to the runtime's own files, and the like. */
export function checkWorkingDirectory(workingDirectory: string): void {
  const path = normalize(workingDirectory);
  if (!isAbsolute(path) || ['/proc', '/sys', '/dev'].some((folder) => isWithin(path, folder))) {
    throw new SallyportError(
      'USAGE',
      `The command cannot start in ${JSON.stringify(workingDirectory)}. Give an absolute path inside the sandbox, outside of /proc, /sys and /dev.`,
    );
  }
}

/** When the command was started, in ms since the start of this process; the clock of files is some ms coarse. */
function readStartMoment(holderPid: number): number | undefined {
  try {
    const { mtimeMs } = statSync(`/proc/${holderPid}/root${PID_FILE}`);
    return Math.min(mtimeMs - performance.timeOrigin, performance.now());
  } catch {
    // The command never started, or everything is gone already.
    return undefined;
  }
}

const FIND_INTERVAL_MS = 5;
const FIND_ATTEMPTS = 400;

/** `nsenter` forks, does not pass signals on, and so has one child: the runtime. */
async function findRuntime(nsenterPid: number, isOver: () => boolean): Promise<number | undefined> {
  for (let attempt = 0; attempt < FIND_ATTEMPTS && !isOver(); attempt++) {
    try {
      const children = readFileSync(`/proc/${nsenterPid}/task/${nsenterPid}/children`, 'latin1').trim();
      const pid = Number(children.split(' ')[0]);
      if (children !== '' && Number.isSafeInteger(pid)) return pid;
    } catch {
      return undefined;
    }
    await new Promise((resolve) => setTimeout(resolve, FIND_INTERVAL_MS));
  }
  return undefined;
}

function errorMessage(line: string): string[] {
  if (line.trim() === '') return [];
  try {
    const { level, msg } = JSON.parse(line) as { level?: unknown; msg?: unknown };
    return (level === 'error' || level === 'fatal') && typeof msg === 'string' ? [msg] : [];
  } catch {
    // A runtime that logs plain text logs nothing but failures.
    return [line];
  }
}
