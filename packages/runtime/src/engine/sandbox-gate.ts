import { threadId } from 'node:worker_threads';
import { closeDoors, closeListeners, listenAt, type Listeners, type OpenDoor } from '../airlock/listeners.ts';
import { AuditLog } from '../audit/audit-log.ts';
import { SyntheticAddresses } from '../dns/synthetic-addresses.ts';
import type { RedactionRule } from '../secrets/redact.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import type { CertificateAuthority } from '../tls/certificate-authority.ts';
import type { ClientCertificate } from '../tls/client-certificate.ts';
import type { UpstreamTrust } from '../tls/upstream-trust.ts';
import { openGate, type GateRules, type ListeningEnds, type OpenGate } from './open-gate.ts';
import type { PolicySources } from './sandbox-parts.ts';

/** Rules of a gate, with what its policy was compiled from: a policy cannot be sent to another thread, that can. */
export interface SandboxGateRules extends GateRules {
  readonly sources: PolicySources;
}

/** Where a gate's connections come from. */
export interface GateEnds {
  /** Bound sockets, which the gate listens on and owns from here on. */
  readonly doors: readonly OpenDoor[];
  /** What this thread listens on already, where the machine gives no doors. */
  readonly listening?: Partial<ListeningEnds>;
}

/** What {@link openSandboxGate} needs. */
export interface SandboxGateOptions {
  /** The sandbox's name. */
  readonly name: string;
  readonly rules: SandboxGateRules;
  /** Values that its secrets had before. */
  readonly earlierValues: readonly RedactionRule[];
  readonly authority: CertificateAuthority;
  readonly trust: UpstreamTrust;
  readonly clientCertificates: readonly ClientCertificate[];
  /** The names that have addresses, in their order. */
  readonly names: readonly string[];
  readonly auditFile: string;
  readonly stateDirectory: string;
  /** The thread of a former gate of this sandbox that has ended in the middle. */
  readonly endedThread?: number | undefined;
  readonly ends: GateEnds;
  /** Hears of each name that gets an address, before it is used; when it throws, the name gets none. */
  readonly onName: (name: string, position: number) => void;
  /** The audit log cannot be written any more: the gate is closed by then. */
  readonly onAuditFailure: () => void;
  /** A placeholder was sent where its secret says that the sandbox is to end. */
  readonly onTerminate: (secret: string) => void;
  /** The thread of the gate has ended, and the gate with it; not called in the caller's own thread. */
  readonly onLost: () => void;
}

/** Connections through a gate at this moment, and names that have addresses. */
export interface GateTraffic {
  readonly connections: number;
  readonly names: number;
}

/** The gate of a sandbox with its resolver and its audit log, in whichever thread of this process. */
export interface SandboxGate {
  /** The thread that it is in. */
  readonly thread: number;
  /** Serves more. */
  serve(ends: GateEnds): Promise<void>;
  /** Takes other rules, all at once; in force when it resolves. A gate that is lost takes none, and lets nothing through either. */
  reconfigure(rules: SandboxGateRules): Promise<void>;
  /** Takes other values of the same secrets: before the gate hears that a value has been fetched, if this is called before that is said. */
  replaceSecrets(secrets: SecretSet): void;
  traffic(): Promise<GateTraffic>;
  /** Lets nothing through any more when it resolves. Never rejects. */
  close(): Promise<void>;
  /** Closes it, and writes the audit log to its end. @throws SallyportError AUDIT_FAILED if lines were lost */
  end(): Promise<void>;
}

/**
 * Opens the gate of a sandbox in this thread.
 *
 * @throws SallyportError AUDIT_REFUSED, AIRLOCK_FAILED; the doors are closed then.
 */
export async function openSandboxGate(options: SandboxGateOptions): Promise<SandboxGate> {
  const { rules, ends, names, onName } = options;
  const opened: { gate?: LocalGate } = {};
  let audit: AuditLog;
  try {
    audit = await AuditLog.open({
      file: options.auditFile,
      stateDirectory: options.stateDirectory,
      sandbox: options.name,
      endedThread: options.endedThread,
      onFailure: () => {
        opened.gate?.closeNow();
        options.onAuditFailure();
      },
    });
  } catch (error) {
    closeDoors(ends.doors);
    throw error;
  }
  const gate = openGate({
    policy: rules.policy,
    secrets: rules.secrets,
    authority: options.authority,
    trust: options.trust,
    clientCertificates: options.clientCertificates,
    audit,
    closed: rules.closed,
    provider: rules.provider ?? null,
    onTerminate: options.onTerminate,
    zone: SyntheticAddresses.restore({ version: 1, names }, { onName }),
    earlierValues: options.earlierValues,
  });
  opened.gate = new LocalGate(gate, audit);
  try {
    await opened.gate.serve(ends);
    return opened.gate;
  } catch (error) {
    await opened.gate.end().catch(() => undefined);
    throw error;
  }
}

class LocalGate implements SandboxGate {
  readonly thread = threadId;
  readonly #gate: OpenGate;
  readonly #audit: AuditLog;
  readonly #listeners: Listeners[] = [];
  #isClosed = false;

  constructor(gate: OpenGate, audit: AuditLog) {
    this.#gate = gate;
    this.#audit = audit;
  }

  async serve({ doors, listening }: GateEnds): Promise<void> {
    if (listening !== undefined) this.#gate.serve(listening);
    if (doors.length === 0) return;
    const listeners = await listenAt(doors);
    this.#listeners.push(listeners);
    if (this.#isClosed) closeListeners(listeners);
    else this.#gate.serve(listeners);
  }

  async reconfigure(rules: SandboxGateRules): Promise<void> {
    this.#gate.reconfigure(rules);
  }

  replaceSecrets(secrets: SecretSet): void {
    this.#gate.replaceSecrets(secrets);
  }

  async traffic(): Promise<GateTraffic> {
    return { connections: this.#gate.gate.connectionCount, names: this.#gate.zone.size };
  }

  closeNow(): void {
    this.#isClosed = true;
    this.#gate.close();
    for (const listeners of this.#listeners) closeListeners(listeners);
  }

  async close(): Promise<void> {
    this.closeNow();
  }

  async end(): Promise<void> {
    this.closeNow();
    await this.#audit.close();
  }
}
