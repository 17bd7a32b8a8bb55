import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import type { Airlock } from '../airlock/airlock.ts';
import { containerLifeline, type LastingHolder, type LastingHolderRecord } from '../airlock/lasting-holder.ts';
import { requireTools } from '../airlock/required-tools.ts';
import type { SandboxSpec } from '../sandbox/backend.ts';
import { currentCaller, sandboxIdentity } from '../sandbox/identity.ts';
import { ParkedExec } from '../sandbox/parked-exec.ts';
import { launchSandbox } from '../sandbox/sandbox.ts';
import { SandboxOpening } from '../sandbox/sandbox-opening.ts';
import { mountExecs } from '../sandbox/supervised-exec.ts';
import type { ContainerRecord } from '../sandbox/waiting-container.ts';
import { CertificateAuthority } from '../tls/certificate-authority.ts';
import type { UpstreamTrust } from '../tls/upstream-trust.ts';
import { makeTrustFiles } from './sandbox-parts.ts';
import { Vault } from './vault.ts';

/** What a process must know to take a running sandbox over; plain JSON, and nothing secret. */
export interface LastingRecord {
  readonly holder: LastingHolderRecord;
  readonly container: ContainerRecord;
  readonly cgroupDirectories: readonly string[];
  /** Files of the sandbox on the host. */
  readonly directory: string;
}

/** What people see in their client's certificate dialogs. */
export const COMMON_NAME = 'Sallyport sandbox';

/** Files in the directory of a sandbox. */
export const FILES = { lifeline: 'lifeline', execs: 'execs', vault: 'vault' } as const;

/** A new identifier of a command. */
export function newExecId(): string {
  return randomBytes(10).toString('hex');
}

/** A sandbox whose container waits for commands, and that nothing is known of yet but what cannot be changed later. */
export interface PreparedSandbox {
  readonly record: LastingRecord;
  readonly airlock: Airlock;
  readonly authority: CertificateAuthority;
  readonly vault: Vault;
  readonly notices: readonly string[];
  /** Where one was asked for. */
  readonly parked: ParkedExec | null;
  /** Ends it, and waits until nothing is left. */
  close(): Promise<void>;
}

/** What {@link prepareSandbox} needs. */
export interface PreparationOptions {
  /** A directory that does not exist, for the files of the sandbox. Its parent does. */
  readonly directory: string;
  readonly spec: Omit<SandboxSpec, 'command' | 'streams' | 'environment' | 'trust'>;
  readonly ports: readonly number[];
  /** The OCI runtime: a name or a path. */
  readonly runtime: string;
  readonly trust: UpstreamTrust;
  /** Park a process for the first command. */
  readonly parks: boolean;
}

/**
 * Opens an airlock and starts a container in it that waits for commands. Both outlive this process.
 *
 * @throws SallyportError as `launchSandbox`; nothing is left behind then.
 */
export async function prepareSandbox(options: PreparationOptions): Promise<PreparedSandbox> {
  const { directory, spec, trust } = options;
  mkdirSync(join(directory, FILES.execs), { recursive: true, mode: 0o700 });
  const { uid, gid } = sandboxIdentity(currentCaller());
  const lifeline = join(directory, FILES.lifeline);
  const opening = new SandboxOpening({ lifeline, uid, gid });
  const made = CertificateAuthority.create({ openssl: requireTools(['openssl']).openssl, commonName: COMMON_NAME });
  // Told by whoever waits for the files.
  made.catch(() => undefined);
  const trustFiles = makeTrustFiles(made, trust);
  trustFiles.catch(() => undefined);
  let launch: ReturnType<typeof launchSandbox>;
  try {
    launch = launchSandbox(
      {
        ...spec,
        command: null,
        environment: {},
        streams: { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' },
      },
      { ports: options.ports, opening, runtime: options.runtime },
      trustFiles,
    );
  } catch (error) {
    await opening.close();
    throw error;
  }
  const close = async (): Promise<void> => {
    await made.then(
      (authority) => authority.close(),
      () => undefined,
    );
    await launch.close();
  };
  try {
    const airlock = await launch.airlock;
    // Both need nothing but the namespaces.
    const files = Promise.all([
      mountExecs(airlock.holder, join(directory, FILES.execs)),
      Vault.create(join(directory, FILES.vault), airlock.holder),
    ]);
    files.catch(() => undefined);
    const { container, notices } = await launch.startWaiting(containerLifeline(lifeline));
    const [, vault] = await files;
    const authority = await made;
    // One thread for all sandboxes of this process.
    authority.prepare();
    const record: LastingRecord = {
      holder: recordOf(airlock),
      container,
      cgroupDirectories: opening.cgroups.directories,
      directory,
    };
    const parked = options.parks
      ? await ParkedExec.start(airlock.holder, container, join(directory, FILES.execs), newExecId())
      : null;
    return { record, airlock, authority, vault, notices, parked, close };
  } catch (error) {
    await close();
    throw error;
  }
}

function recordOf({ holder }: Airlock): LastingHolderRecord {
  if (!('record' in holder))
    throw new SallyportError('INTERNAL', 'An airlock that ends with its process cannot be kept.');
  return (holder as LastingHolder).record;
}
