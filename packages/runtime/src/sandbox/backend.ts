import type { Readable, Writable } from 'node:stream';
import type { Airlock, PhaseTimings } from '../airlock/airlock.ts';
import type { Limits } from './limits.ts';
import type { Volume } from './volumes.ts';

/** One of the command's standard streams: a file descriptor of this process, a stream to this process, or nothing. */
export type StreamChoice = number | 'pipe' | 'ignore';

/** A sandbox to start: everything that a backend must know, and nothing of how it does it. */
export interface SandboxSpec {
  /** Host name inside, and the name in messages: a DNS label. */
  readonly name: string;
  /** The command and its arguments; the first is looked up in the sandbox's PATH. Null: the sandbox waits for commands to be executed. */
  readonly command: readonly string[] | null;
  /** Added to the base environment and the trust variables; wins over both. */
  readonly environment: Readonly<Record<string, string>>;
  /** Absolute, seen from inside. Default: the workspace, else the home directory. */
  readonly workingDirectory?: string | undefined;
  /** The host directory that is mounted read-write at its own path. `undefined`: none. */
  readonly workspace: string | undefined;
  /** Mount a home directory, or one that contains it, as workspace all the same. Default false. */
  readonly forceWorkspace?: boolean;
  /** Let the sandbox write `.git/hooks` and `.git/config`, which the host would act on. Default false. */
  readonly gitWritable?: boolean;
  readonly volumes: readonly Volume[];
  readonly limits: Limits;
  /** Paths that no mount may lie in or contain: the state directory, the audit file, the installation. */
  readonly protectedPaths: readonly string[];
  /** The PEM certificate of the sandbox's own CA, and a JKS trust store that holds it; trusted inside where given. */
  readonly trust?: { readonly caPem: string; readonly javaTrustStore?: Buffer } | undefined;
  /** Default: 0, 1 and 2. */
  readonly streams?: { readonly stdin: StreamChoice; readonly stdout: StreamChoice; readonly stderr: StreamChoice };
}

/** How a sandbox ended. */
export interface ExitStatus {
  /** As a shell gives it: the command's own status, 126 or 127 when it could not be started, 128+n for signal n. */
  readonly code: number;
  /** The kernel killed a process of the sandbox because its memory limit was reached. */
  readonly outOfMemory: boolean;
}

/** A sandbox whose command has been started. */
export interface RunningSandbox {
  /** The OCI runtime's process, as the host numbers it. */
  readonly pid: number;
  /** What could not be done as asked, for people; never a failure that matters to isolation. */
  readonly notices: readonly string[];
  readonly timings: PhaseTimings;
  /** Only for streams that were asked for as `pipe`. */
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /**
   * The command's end; the same promise each time.
   *
   * @throws SallyportError `SANDBOX_FAILED` when the runtime failed before the command could start.
   */
  wait(): Promise<ExitStatus>;
  /** Sends a signal to the command's process group; for SIGKILL, to everything in the sandbox. */
  signal(signal: NodeJS.Signals): Promise<void>;
}

/** A way of running sandboxes in an airlock: an OCI runtime, later a virtual machine or a remote machine. */
export interface SandboxBackend {
  /** `runc`, `crun`, `runsc` or a path. */
  readonly name: string;
  /**
   * Starts a sandbox; it lives no longer than the airlock.
   *
   * @throws SallyportError `MOUNT_REFUSED`, `WORKSPACE_REFUSED`, `INVALID_MOUNT`, `TOOL_MISSING`, `SANDBOX_FAILED`.
   */
  start(spec: SandboxSpec, airlock: Airlock): Promise<RunningSandbox>;
}
