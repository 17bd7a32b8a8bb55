import { join } from 'node:path';
import { requireTools } from '../airlock/required-tools.ts';
import { adoptAirlock, type Airlock } from '../airlock/airlock.ts';
import { adoptHolder, containerLifeline, watchLifeline, type LastingHolder } from '../airlock/lasting-holder.ts';
import type { Problem } from '../gate/problem.ts';
import type { ValueProvider } from '../gate/value-provider.ts';
import { closeDoors } from '../airlock/listeners.ts';
import { listeningPorts, type NetworkPolicy } from '../policy/network-policy.ts';
import { ParkedExec } from '../sandbox/parked-exec.ts';
import { renameSandbox, startSupervisedExec, type SupervisedExecSpec } from '../sandbox/supervised-exec.ts';
import { KnownValues } from '../secrets/known-values.ts';
import type { RedactionRule } from '../secrets/redact.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import type { SecretValue } from '../secrets/secret-value.ts';
import type { StoredRule } from '../stores/stored-rule.ts';
import { CertificateAuthority } from '../tls/certificate-authority.ts';
import { ClientCertificate, loadClientCertificate } from '../tls/client-certificate.ts';
import type { ClientCertificateSpec } from '../tls/client-certificate-spec.ts';
import type { UpstreamTrust } from '../tls/upstream-trust.ts';
import { refuseVisibleKey } from './client-key.ts';
import { COMMON_NAME, FILES, newExecId, type LastingRecord, type PreparedSandbox } from './prepared-sandbox.ts';
import type { GateThreads } from './gate-threads.ts';
import type { GateEnds, GateTraffic, SandboxGate, SandboxGateOptions, SandboxGateRules } from './sandbox-gate.ts';
import { compilePolicy, type PolicySources } from './sandbox-parts.ts';
import { requireRegularFile } from './regular-file.ts';
import { Vault, type VaultContent } from './vault.ts';

/** How long after a command another process is parked: the command goes first, and a row of commands is not slowed down. */
const PARK_DELAY_MS = 250;
/** How long a parked process waits for a command in a sandbox that is in use. */
const PARKED_LIFE_MS = 60_000;

/** What the gate of a sandbox goes by. All of it can change while the sandbox runs. */
export interface SandboxRules {
  readonly secrets: SecretSet;
  /** The values of the sandbox's own secrets: kept for the next process. */
  readonly own: ReadonlyMap<string, SecretValue>;
  readonly network: PolicySources['network'];
  /** The stored rules that count in it. Default: none. */
  readonly stored?: readonly StoredRule[];
  /** The sandbox's name, for what denials say. Default null. */
  readonly sandbox?: string;
  /** What is answered to everything; null for an open gate. */
  readonly closed: Problem | null;
  /** Fetches values that are not at hand; null where all are. */
  readonly provider: ValueProvider | null;
}

/** What {@link LastingSandbox.open} needs beside the prepared sandbox. */
export interface OpeningOptions {
  readonly name: string;
  readonly rules: SandboxRules;
  readonly trust: UpstreamTrust;
  readonly auditFile: string;
  readonly stateDirectory: string;
  /** Where gates are. */
  readonly gates: GateThreads;
  /** The names that have addresses at this moment, in their order. */
  readonly names: () => readonly string[];
  /** Hears of each name that gets an address, before it is used. */
  readonly onName: (name: string, position: number) => void;
  /** The audit log cannot be written any more: the gate is closed by then. */
  readonly onAuditFailure: () => void;
  /** A placeholder was sent where its secret says that the sandbox is to end. */
  readonly onTerminate: (secret: string) => void;
  /** The thread of its gate has ended, which closed the gate: {@link LastingSandbox.reopenGate}. */
  readonly onGateLost: () => void;
}

/** What a gate is opened with, now or again. */
type GateSurroundings = Omit<OpeningOptions, 'rules'>;

/** A sandbox that runs, with its gate open. Whatever becomes of this process, the sandbox goes on, with its gate closed. */
export class LastingSandbox {
  readonly record: LastingRecord;
  readonly #around: GateSurroundings;
  readonly #authority: CertificateAuthority;
  readonly #vault: Vault;
  readonly #values: KnownValues;
  readonly #certificates: readonly ClientCertificate[];
  readonly #named: Promise<void>;
  readonly #ended: Promise<void>;
  #airlock: Airlock;
  #gate: SandboxGate | null = null;
  #rules: SandboxGateRules;
  #parked: ParkedExec | null = null;
  #isGateOpen = false;
  #isOver = false;
  #parking: NodeJS.Timeout | null = null;

  private constructor(parts: {
    readonly record: LastingRecord;
    readonly airlock: Airlock;
    readonly around: GateSurroundings;
    readonly authority: CertificateAuthority;
    readonly vault: Vault;
    readonly values: KnownValues;
    readonly clientCertificates: readonly ClientCertificate[];
    readonly rules: SandboxGateRules;
    readonly named: Promise<void>;
  }) {
    this.record = parts.record;
    this.#airlock = parts.airlock;
    this.#around = parts.around;
    this.#authority = parts.authority;
    this.#vault = parts.vault;
    this.#values = parts.values;
    this.#certificates = parts.clientCertificates;
    this.#rules = parts.rules;
    this.#named = parts.named;
    const container = watchLifeline(containerLifeline(parts.record.holder.lifeline));
    this.#ended = Promise.race([parts.airlock.ended, container]);
  }

  /**
   * Opens the gate of a sandbox that has just been prepared.
   *
   * @throws SallyportError AUDIT_REFUSED, or what is wrong with a rule. The prepared sandbox is the caller's to close then.
   */
  static async open(prepared: PreparedSandbox, { rules, ...around }: OpeningOptions): Promise<LastingSandbox> {
    const { airlock, authority, vault, record } = prepared;
    const values = new KnownValues([]);
    values.add(rules.secrets);
    const gateRules = compileGateRules(rules);
    const named = renameSandbox(airlock.holder, around.name);
    // Awaited by the first command.
    named.catch(() => undefined);
    const clientCertificates = await loadClientCertificates(rules.network.clientCertificates);
    await airlock.openPorts(listeningPorts(gateRules.policy));
    // Acknowledged means kept: after a crash the values and the authority must be there.
    vault.write(contentOf(values, rules.own, authority, clientCertificates));
    const parts = { record, airlock, around, authority, vault, values, clientCertificates, rules: gateRules, named };
    const sandbox = new LastingSandbox(parts);
    await sandbox.#openGate(values.rules(), false);
    sandbox.#parked = prepared.parked;
    return sandbox;
  }

  /**
   * Takes over a sandbox that runs, whose gate ended with another process: same addresses, same authority, same values.
   *
   * @param options.rulesFor is given the values of its own secrets that were kept, and null where they are lost: then the gate must be closed.
   * @throws SallyportError AIRLOCK_FAILED when it does not run any more.
   */
  static async adopt(
    record: LastingRecord,
    {
      rulesFor,
      ...around
    }: GateSurroundings & {
      readonly rulesFor: (own: ReadonlyMap<string, SecretValue> | null) => Promise<SandboxRules>;
    },
  ): Promise<LastingSandbox> {
    const holder = adoptHolder(record.holder);
    const { vault, content } = await openVault(join(record.directory, FILES.vault), holder);
    const rules = await rulesFor(content?.own ?? null);
    const gateRules = compileGateRules(rules);
    const values = new KnownValues(content?.values ?? []);
    const authority =
      content === null
        ? await CertificateAuthority.create({ openssl: requireTools(['openssl']).openssl, commonName: COMMON_NAME })
        : CertificateAuthority.restore(content.authority);
    const clientCertificates =
      content?.clientCertificates.map((saved) => new ClientCertificate(saved)) ??
      (await loadClientCertificates(rules.network.clientCertificates));
    const airlock = await adoptAirlock(holder, { ports: listeningPorts(gateRules.policy) });
    const named = Promise.resolve();
    const parts = { record, airlock, around, authority, vault, values, clientCertificates, rules: gateRules, named };
    const sandbox = new LastingSandbox(parts);
    try {
      const earlier = values.rules();
      // What has become a value while nobody was there is one from here on.
      values.add(rules.secrets);
      vault.write(contentOf(values, rules.own, authority, clientCertificates));
      await sandbox.#openGate(earlier, true);
      return sandbox;
    } catch (error) {
      closeEnds(airlock);
      await sandbox.#gate?.end().catch(() => undefined);
      throw error;
    }
  }

  async #openGate(earlierValues: readonly RedactionRule[], isPatient: boolean, endedThread?: number): Promise<void> {
    const { gates, trust, name, auditFile, stateDirectory, names, onName, onAuditFailure, onTerminate } = this.#around;
    const opened: { gate?: SandboxGate } = {};
    const options: SandboxGateOptions = {
      name,
      rules: this.#rules,
      earlierValues,
      authority: this.#authority,
      trust,
      clientCertificates: this.#certificates,
      names: names(),
      auditFile,
      stateDirectory,
      endedThread,
      ends: takeEnds(this.#airlock),
      onName,
      onAuditFailure: () => {
        this.#shut();
        onAuditFailure();
      },
      onTerminate,
      onLost: () => {
        // One that is lost while it is opened is told by that failing.
        if (opened.gate === undefined || this.#gate !== opened.gate || this.#isOver) return;
        this.#isGateOpen = false;
        this.#around.onGateLost();
      },
    };
    opened.gate = await gates.open(options, isPatient);
    this.#gate = opened.gate;
    this.#isGateOpen = true;
  }

  /**
   * Opens the gate anew whose thread has ended: same addresses, same authority, same values, in another thread. Must not overlap a change of
   * rules.
   *
   * @throws SallyportError AUDIT_REFUSED, AIRLOCK_FAILED; the gate stays closed then.
   */
  async reopenGate(): Promise<void> {
    if (this.#isOver || this.#isGateOpen) return;
    const { holder, ports } = this.#airlock;
    closeEnds(this.#airlock);
    this.#airlock = await adoptAirlock(holder, { ports: [...ports] });
    await this.#openGate(this.#values.rules(), true, this.#gate?.thread);
    // It has been stopped meanwhile.
    if (this.#isOver) await this.closeGate();
  }

  /** Its namespaces. */
  get airlock(): Airlock {
    return this.#airlock;
  }

  /** Whether a gate is there: what it lets through is for its rules to say. */
  get isGateOpen(): boolean {
    return this.#isGateOpen;
  }

  /** Where the directories of its commands are. */
  get execsDirectory(): string {
    return join(this.record.directory, FILES.execs);
  }

  /**
   * A process that can become a command at once, where one is ready. It is the caller's from then on; another one takes its place a little
   * later, and leaves when nobody wants it for {@link PARKED_LIFE_MS}.
   */
  takeParked(): ParkedExec | null {
    const taken = this.#parked;
    this.#parked = null;
    this.#park(PARK_DELAY_MS);
    return taken?.isReady === true ? taken : null;
  }

  /** Starts a command. @throws SallyportError EXEC_FAILED, USAGE. */
  async startCommand(spec: SupervisedExecSpec, onEnd: () => void): Promise<void> {
    await this.#named;
    await startSupervisedExec(this.airlock.holder, this.record.container, this.execsDirectory, spec, onEnd);
  }

  /** Settles when the sandbox has its name: a command that begins before would see another one. */
  get named(): Promise<void> {
    return this.#named;
  }

  #park(delayMs: number): void {
    if (this.#parking !== null) clearTimeout(this.#parking);
    this.#parking = setTimeout(() => {
      const id = newExecId();
      const { holder } = this.airlock;
      ParkedExec.start(holder, this.record.container, this.execsDirectory, id).then(
        (parked) => {
          if (this.#isOver || this.#parked !== null) parked.close();
          else {
            this.#parked = parked;
            this.#parking = setTimeout(() => this.#unpark(), PARKED_LIFE_MS).unref();
          }
        },
        // A command that is asked for tells what is wrong.
        () => undefined,
      );
    }, delayMs);
    this.#parking.unref();
  }

  #unpark(): void {
    if (this.#parking !== null) clearTimeout(this.#parking);
    this.#parked?.close();
    this.#parked = null;
  }

  /** Settles when the sandbox has ended, whoever ended it. */
  get ended(): Promise<void> {
    return this.#ended;
  }

  get warnings(): readonly string[] {
    return this.#rules.policy.warnings;
  }

  /** Connections through the gate at this moment, and names that have addresses. */
  async traffic(): Promise<GateTraffic> {
    return (await this.#gate?.traffic()) ?? { connections: 0, names: 0 };
  }

  /** What is wrong with rules, before anything is changed. @throws SallyportError */
  static checkRules(rules: SandboxRules): NetworkPolicy {
    return compilePolicy(rules);
  }

  /**
   * Takes other rules, all at once, for requests that begin from then on. Their values are kept before.
   *
   * @param keep keeps the rules themselves; where it throws, nothing has changed.
   * @throws SallyportError for what is wrong with a rule; nothing has changed then.
   */
  async reconfigure(rules: SandboxRules, keep: () => void): Promise<void> {
    const gateRules = compileGateRules(rules);
    this.#values.add(rules.secrets);
    this.#vault.write(contentOf(this.#values, rules.own, this.#authority, this.#certificates));
    const missing = listeningPorts(gateRules.policy).filter((port) => !this.#airlock.ports.has(port));
    const opened = missing.length === 0 ? undefined : await this.#airlock.openPorts(missing);
    keep();
    this.#rules = gateRules;
    await this.#gate?.reconfigure(gateRules);
    if (opened === undefined) return;
    const doors = this.#airlock.takeDoors();
    await this.#gate?.serve(doors.length > 0 ? { doors } : { doors, listening: { servers: opened } });
  }

  /** Takes other values of the same secrets, which were fetched, and keeps them before. */
  replaceSecrets(secrets: SecretSet, own: ReadonlyMap<string, SecretValue>): void {
    this.#values.add(secrets);
    this.#vault.write(contentOf(this.#values, own, this.#authority, this.#certificates));
    this.#rules = { ...this.#rules, secrets, sources: { ...this.#rules.sources, secrets } };
    this.#gate?.replaceSecrets(secrets);
  }

  /** Lets nothing through any more when it resolves. The sandbox itself goes on. */
  async closeGate(): Promise<void> {
    this.#shut();
    await this.#gate?.close();
  }

  #shut(): void {
    this.#isOver = true;
    this.#isGateOpen = false;
    this.#unpark();
    closeEnds(this.#airlock);
  }

  /** Closes the gate and writes the audit log to its end; the sandbox goes on for another process to take over. */
  async leave(): Promise<void> {
    await this.closeGate();
    this.#authority.close();
    await this.#gate?.end();
  }

  /** Closes the gate, ends the sandbox, and waits until nothing is left of it. */
  async close(): Promise<void> {
    await this.closeGate();
    await this.#airlock.close();
    this.#authority.close();
    Vault.remove(join(this.record.directory, FILES.vault));
    await this.#gate?.end();
  }
}

function compileGateRules(rules: SandboxRules): SandboxGateRules {
  const { secrets, network, stored = [], sandbox = null, closed, provider } = rules;
  return { policy: compilePolicy(rules), secrets, closed, provider, sources: { secrets, network, stored, sandbox } };
}

/** What an airlock listens on, or could: a gate's from here on. */
function takeEnds(airlock: Airlock): GateEnds {
  const doors = airlock.takeDoors();
  return doors.length > 0 ? { doors } : { doors, listening: airlock };
}

/** Reads client certificates, from files that a long-lived process can read: it would wait at a pipe for ever. */
async function loadClientCertificates(specs: readonly ClientCertificateSpec[]): Promise<readonly ClientCertificate[]> {
  if (specs.length === 0) return [];
  for (const spec of specs) {
    for (const file of [spec.certificateFile, spec.keyFile]) requireRegularFile(file, spec.origin);
    refuseVisibleKey(spec);
  }
  return await Promise.all(specs.map((spec) => loadClientCertificate(spec, Date.now())));
}

function contentOf(
  values: KnownValues,
  own: ReadonlyMap<string, SecretValue>,
  authority: CertificateAuthority,
  clientCertificates: readonly ClientCertificate[],
): VaultContent {
  return {
    values: values.rules(),
    own,
    authority: authority.save(),
    clientCertificates: clientCertificates.map((certificate) => certificate.save()),
  };
}

/** The vault of a sandbox that runs; a new one, without content, where that is lost. */
async function openVault(file: string, holder: LastingHolder) {
  try {
    const vault = Vault.open(file, holder);
    return { vault, content: vault.read() };
  } catch {
    return { vault: await Vault.create(file, holder), content: null };
  }
}

/** What this thread listens on itself; doors that were given away are their owner's to close. */
function closeEnds(airlock: Airlock): void {
  for (const server of [...airlock.servers.values(), ...airlock.dnsTcp]) server.close(() => undefined);
  closeDoors(airlock.takeDoors());
}
