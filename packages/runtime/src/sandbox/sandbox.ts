import type { Airlock } from '../airlock/airlock.ts';
import type { RunningSandbox, SandboxSpec } from './backend.ts';
import { createCgroups } from './cgroup.ts';
import { checkMountSources } from './mount-sources.ts';
import { OciRuntimeBackend } from './oci-runtime.ts';
import type { PreparedSandbox } from './oci-runtime.ts';
import { chooseRuntime } from './runtime-choice.ts';
import { SandboxOpening } from './sandbox-opening.ts';
import type { ContainerRecord } from './waiting-container.ts';

/** A sandbox being started: its airlock opens while its files are laid out. */
export interface SandboxLaunch {
  /** The airlock, for the gate to attach to before {@link start}. */
  readonly airlock: Promise<Airlock>;
  /**
   * Starts the command; call it once the gate serves the airlock's sockets.
   *
   * @throws SallyportError whatever {@link launchSandbox} lists. The airlock is closed then.
   */
  start(): Promise<RunningSandbox>;
  /** As {@link start}, for a sandbox without a command (`spec.command` is null) in a lasting airlock, whose first process is to hold a pipe. */
  startWaiting(lifeline: string): Promise<{ readonly container: ContainerRecord; readonly notices: readonly string[] }>;
  /** Ends everything and waits until nothing is left: processes, mounts, namespaces, control groups. */
  close(): Promise<void>;
}

/** What {@link launchSandbox} needs beside the sandbox itself. */
export interface LaunchOptions {
  /** `runc`, `crun`, `runsc` or a path. Default `runc`. */
  readonly runtime?: string;
  /** Where a relative runtime path starts. Default: this process's working directory. */
  readonly directory?: string;
  /** TCP ports that the policy can use. */
  readonly ports: readonly number[];
  /** An airlock that is being opened already. Default: one is begun. When this function throws, it is still the caller's. */
  readonly opening?: SandboxOpening;
}

/**
 * Begins a sandbox. Bad input is reported at once; the rest happens in parallel, in the background, until `start` is called.
 *
 * @param trust takes the place of `spec.trust`, for a CA that is still being made: the airlock is opened meanwhile.
 * @throws SallyportError `WORKSPACE_REFUSED`, `MOUNT_REFUSED`, `INVALID_MOUNT`, `RUNTIME_UNKNOWN`, `TOOL_MISSING`; later, by
 *   the promises, also `USER_NAMESPACES_FORBIDDEN`, `AIRLOCK_FAILED`, `SANDBOX_FAILED`.
 */
export function launchSandbox(
  spec: SandboxSpec,
  options: LaunchOptions,
  trust?: Promise<SandboxSpec['trust']>,
): SandboxLaunch {
  const runtime = chooseRuntime(options.runtime ?? 'runc', options.directory ?? process.cwd());
  checkMountSources(spec);
  const begun = options.opening ?? new SandboxOpening();
  begun.usePorts(options.ports);
  const opening = begun.airlock;
  const cgroups = createCgroups(begun.cgroups, spec.limits);
  const backend = new OciRuntimeBackend(runtime, cgroups);
  const prepared = opening.underWay.then(async () => await backend.prepare(spec, opening.staged, trust));
  prepared.catch(() => undefined);
  opening.opened.catch(() => cgroups.remove());
  const close = async () => {
    await opening.opened.then((airlock) => airlock.close()).catch(() => undefined);
    cgroups.remove();
    backend.cleanUp();
  };
  const startOrClose = async <T>(start: (sandbox: PreparedSandbox, airlock: Airlock) => Promise<T>): Promise<T> => {
    try {
      const airlock = await opening.opened;
      return await start(await prepared, airlock);
    } catch (error) {
      await close();
      throw error;
    }
  };
  return {
    airlock: opening.opened,
    close,
    start: async () => await startOrClose(async (sandbox, airlock) => await sandbox.start(airlock)),
    startWaiting: async (lifeline) =>
      await startOrClose(async (sandbox, airlock) => ({
        container: await sandbox.startWaiting(airlock, lifeline),
        notices: sandbox.notices,
      })),
  };
}
