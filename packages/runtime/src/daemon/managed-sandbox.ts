import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  SallyportError,
  type DaemonEvent,
  type ExecCreate,
  type Policy,
  type PolicyRule,
  type SandboxInfo,
  type SandboxStats,
  type SecretInfo,
  type SecretUpdate,
} from '@sallyport/sdk';
import type { GateThreads } from '../engine/gate-threads.ts';
import { LastingSandbox, type SandboxRules } from '../engine/lasting-sandbox.ts';
import { prepareSandbox, type PreparedSandbox } from '../engine/prepared-sandbox.ts';
import { LiveSecrets } from '../engine/live-secrets.ts';
import { isSameBinding, isSameSecrets, type SandboxSecrets } from '../engine/sandbox-secrets.ts';
import type { SecretSources } from '../engine/secret-sources.ts';
import { compilePolicy } from '../engine/sandbox-parts.ts';
import { isHolderAlive } from '../airlock/lasting-holder.ts';
import { listeningPorts } from '../policy/network-policy.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import { refuseExposure } from '../secrets/secret-set-exposure.ts';
import { formatSecretHost } from '../secrets/secret-spec.ts';
import { formatScope, type StoredSecret } from '../secrets/stored-secret.ts';
import type { UpstreamTrust } from '../tls/upstream-trust.ts';
import {
  changeSecret,
  environmentOf,
  lostSecrets,
  networkOf,
  ownSecretsOf,
  removeSecret,
  rulesOf,
  showPins,
  showSecret,
  specOf,
  warningsOf,
  type SandboxDefinition,
  type SecretChange,
  type SecretValues,
} from './definition.ts';
import { nextState, recoveredState } from './lifecycle.ts';
import { showRule } from './api/stored-rules.ts';
import { monotonicMs, type ManagedExec } from './managed-exec.ts';
import type { DaemonPaths } from './paths.ts';
import type { RuleShelf } from './rule-shelf.ts';
import { SandboxExecs } from './sandbox-execs.ts';
import type { SecretShelf } from './secret-shelf.ts';
import { showEffective } from './effective-list.ts';
import type { ExecTable } from './store/exec-table.ts';
import type { SandboxRow, SandboxTable } from './store/sandbox-table.ts';
import type { Turnstile } from './turnstile.ts';
import type { StoredRule } from '../stores/stored-rule.ts';
import { countOutOfMemory, readUsage } from './usage.ts';

/** How long commands have after SIGTERM when a sandbox is stopped, unless something else is asked for, in ms. */
const DEFAULT_STOP_TIMEOUT_MS = 10_000;
const MAX_TIMER_MS = 2 ** 31 - 1;

/** What all sandboxes of a daemon share. */
export interface SandboxSurroundings {
  readonly paths: DaemonPaths;
  readonly sandboxes: SandboxTable;
  readonly execs: ExecTable;
  /** What is stored, for this sandbox and others. */
  readonly shelf: SecretShelf;
  /** Where values come from that are fetched. */
  readonly sources: SecretSources;
  /** Adds an event; never throws. */
  readonly tell: (event: Omit<DaemonEvent, 'id' | 'time'>) => void;
  /** Stored rules of the network policy. */
  readonly rules: RuleShelf;
  /** Where gates are. */
  readonly gates: GateThreads;
  /** Trusted roots for upstreams, with these further files. */
  readonly trust: (upstreamCaFiles: readonly string[]) => Promise<UpstreamTrust>;
  /** Commands that are being started: many at once would only hold each other up. */
  readonly starts: Turnstile;
  /** The sandbox is gone. */
  readonly onRemoved: (sandbox: ManagedSandbox) => void;
}

/** A new identifier: 20 lower-case characters. */
export function newId(): string {
  return randomBytes(10).toString('hex');
}

/** A named sandbox, whether it runs or not. Changes of its state happen one after the other. */
export class ManagedSandbox {
  readonly #around: SandboxSurroundings;
  #row: SandboxRow;
  /** Whether it is not known any more which values its secrets have had. */
  #isLost = false;
  /** The stored rules that its gate goes by. */
  #stored: readonly StoredRule[] = [];
  #values: SecretValues;
  #live: LastingSandbox | null = null;
  readonly #liveSecrets: LiveSecrets;
  /** What is in force while it runs. */
  #secrets: SandboxSecrets | null = null;
  /** Why a change of what is stored is not in force here; for people. */
  #staleness: string | null = null;
  readonly #execs: SandboxExecs;
  #queue: Promise<unknown> = Promise.resolve();
  #lifetime: NodeJS.Timeout | null = null;
  #outOfMemoryBefore = 0;
  /** The daemon stops, and leaves it to another. */
  #hasLeft = false;
  readonly #waiters = new Set<() => void>();

  constructor(row: SandboxRow, values: SecretValues, around: SandboxSurroundings) {
    this.#row = row;
    this.#values = values;
    this.#around = around;
    this.#liveSecrets = new LiveSecrets({
      sources: around.sources,
      stored: () => around.shelf.stored,
      enforce: async (fetched) => await this.#enforceFetched(fetched),
    });
    this.#execs = new SandboxExecs({
      sandboxId: row.id,
      sandboxName: row.name,
      directory: join(around.paths.sandboxes, row.id),
      table: around.execs,
      starts: around.starts,
      onStart: (exec) => this.#tell('exec.started', { exec: exec.id }),
      onEnd: ({ id, row: { exitCode, reason } }) =>
        this.#tell('exec.exited', { exec: id, detail: String(exitCode ?? reason ?? '') }),
    });
  }

  get id(): string {
    return this.#row.id;
  }

  get name(): string {
    return this.#row.name;
  }

  get isRunning(): boolean {
    return this.#row.state === 'running';
  }

  get hasProcesses(): boolean {
    return this.#row.record !== null;
  }

  get directory(): string {
    return this.#row.record?.directory ?? this.#ownDirectory;
  }

  get runningExecs(): number {
    return this.#execs.runningCount;
  }

  /** The commands, the oldest first. */
  get execs(): readonly ManagedExec[] {
    return this.#execs.all;
  }

  /** As the API shows it. */
  get info(): SandboxInfo {
    const { id, name, state, reason, definition, notices, createdAt, startedAt, stoppedAt } = this.#row;
    const lost = lostSecrets(definition, this.#values).length > 0;
    const effective = this.#secrets?.effective.map((secret) => showEffective(secret, this.#secrets).name) ?? [];
    return {
      id,
      name,
      state,
      reason,
      image: definition.image,
      runtime: definition.runtime,
      createdAt: new Date(createdAt).toISOString(),
      startedAt: startedAt === null ? null : new Date(startedAt).toISOString(),
      stoppedAt: stoppedAt === null ? null : new Date(stoppedAt).toISOString(),
      env: { ...definition.env },
      secrets: [...new Set([...definition.secrets.map((secret) => secret.name), ...effective])],
      workspace: definition.workspace,
      volumes: definition.volumes.map((volume) => ({ ...volume })),
      workdir: definition.workdir,
      limits: { ...definition.limits },
      labels: { ...definition.labels },
      autoRemove: definition.autoRemove,
      lifetimeMs: definition.lifetimeMs,
      auditFile: definition.auditFile,
      notices: [
        ...new Set([
          ...notices,
          ...warningsOf(definition),
          ...(this.#live?.warnings ?? []),
          ...(this.#secrets?.notices ?? []),
          ...(this.#secrets?.refusals.map(({ message }) => message) ?? []),
          ...(this.#staleness === null ? [] : [this.#staleness]),
        ]),
      ],
      runningExecs: this.runningExecs,
      gate: this.#live?.isGateOpen === true && !lost ? 'open' : 'closed',
    };
  }

  /** Starts it. @param prepared a container that is ready already. @throws SallyportError */
  async start(prepared?: PreparedSandbox): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#enter('start') === 'running') return;
      await this.#launch(prepared);
    });
  }

  /** The first start of a sandbox, whose row says `starting` already. @throws SallyportError */
  async startFirst(prepared?: PreparedSandbox): Promise<void> {
    await this.#inTurn(async () => {
      this.#tell('sandbox.starting');
      await this.#launch(prepared);
    });
  }

  /**
   * Stops it: the gate first, then commands by SIGTERM, and what is left after `timeoutMs` at once.
   *
   * @param reason what is shown of it afterwards; null where somebody asked for it.
   */
  async stop(timeoutMs = DEFAULT_STOP_TIMEOUT_MS, reason: string | null = null): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#enter('stop') !== 'stopping') return;
      // Before the vault goes with its key.
      const kept = await this.#keepOwn();
      await this.#end(timeoutMs);
      this.#enter('stopped', { record: null, stoppedAt: Date.now(), reason, ...kept });
    });
    if (this.#row.definition.autoRemove && !this.isRunning) await this.remove(true);
  }

  /** Removes it. @throws SallyportError SANDBOX_RUNNING unless forced */
  async remove(force: boolean): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#row.state === 'removing') throw notFound(this.name);
      this.#enter(force ? 'force remove' : 'remove');
      await this.#end(0);
      await this.#forget();
    });
  }

  /**
   * Runs a command.
   *
   * @throws SallyportError SANDBOX_NOT_RUNNING, EXEC_FAILED, SECRET_CONFLICT when the command holds a secret's value.
   */
  async exec(asked: ExecCreate): Promise<ManagedExec> {
    this.#running();
    const { definition } = this.#row;
    const { set, variables } = this.#secrets ?? (await this.#compose(definition, this.#values));
    refuseExposure(set, asked.command, new Map(Object.entries(asked.env ?? {})));
    const environment = { ...environmentOf(definition, this.name, variables), ...asked.env };
    return await this.within(async (live) => await this.#execs.start(live, asked, environment));
  }

  /** @throws SallyportError EXEC_NOT_FOUND */
  findExec(id: string): ManagedExec {
    return this.#execs.find(id);
  }

  /** Its own secrets, and those that are stored for it. */
  async listSecrets(): Promise<SecretInfo[]> {
    const { definition } = this.#row;
    const composed = this.#secrets ?? (await this.#compose(definition, this.#values));
    return [
      ...definition.secrets.map((secret) => showSecret(secret, this.#values)),
      ...composed.effective.map((secret) => showEffective(secret, composed)),
    ];
  }

  /** Sets, changes or rotates a secret; in force when it resolves. */
  async setSecret(name: string, update: SecretUpdate): Promise<SecretInfo> {
    await this.#change(() => {
      const change = changeSecret(this.#secretChange(), name, update, Date.now());
      // Who sets a secret anew has been told why the gate is closed; it stays so while any of its own is without a value.
      if (update.value !== undefined) this.#isLost = false;
      return change;
    });
    this.#tell('secret.set', { detail: name });
    const changed = this.#row.definition.secrets.find((secret) => secret.name === name);
    if (changed === undefined)
      throw new SallyportError('SECRET_NOT_FOUND', `The secret ${JSON.stringify(name)} is gone.`);
    return showSecret(changed, this.#values);
  }

  async removeSecret(name: string): Promise<void> {
    await this.#change(() => removeSecret(this.#secretChange(), name));
    this.#tell('secret.removed', { detail: name });
  }

  /** The whole policy, with what secrets open. */
  async policy(): Promise<Policy> {
    const { definition } = this.#row;
    const { network } = definition;
    const { set } = this.#secrets ?? (await this.#compose(definition, this.#values));
    const rules = this.#withStored(rulesOf(definition, this.#values, set));
    const { warnings } = LastingSandbox.checkRules(rules);
    return {
      allow: [...network.allow],
      deny: [...network.deny],
      tunnel: [...network.tunnel],
      resolve: showPins(network.resolve),
      secretHosts: [
        ...set.secrets.flatMap(({ name, hosts }) =>
          hosts.map((host) => ({ host: formatSecretHost(host), secret: name })),
        ),
        ...set.services.flatMap(({ name, endpoints }) =>
          endpoints.flatMap(({ hosts }) => hosts.map((host) => ({ host: formatSecretHost(host), secret: name }))),
        ),
      ],
      stored: rules.stored.map(showRule),
      warnings: [...warnings],
    };
  }

  /** Follows the rules that are stored at this moment, where it runs; whatever keeps stored secrets from being taken in. */
  async applyRules(): Promise<void> {
    if (!['starting', 'running'].includes(this.#row.state)) return;
    await this.#inSecretTurn(async () => {
      const live = this.#live;
      if (live === null) return;
      const { definition } = this.#row;
      const secrets = this.#secrets ?? (await this.#compose(definition, this.#values));
      const provider = this.#liveSecrets.providerFor(secrets);
      const rules = this.#withStored(rulesOf(definition, this.#values, secrets.set, provider));
      if (JSON.stringify(rules.stored) === JSON.stringify(this.#stored)) return;
      await live.reconfigure(rules, () => {
        this.#stored = rules.stored;
      });
      this.#tell('policy.changed', { detail: 'stored rules' });
    });
  }

  /** Adds the stored rules that count at this moment, and closes the gate where nobody knows what must not come back. */
  #withStored(rules: SandboxRules): SandboxRules & { readonly stored: readonly StoredRule[] } {
    return { ...this.#closeWhereLost(rules), stored: this.#around.rules.listFor(this.name), sandbox: this.name };
  }

  async addRule({ action, host }: PolicyRule): Promise<void> {
    await this.#changeRules(action, (rules) => (rules.includes(host) ? rules : [...rules, host]));
    this.#tell('policy.changed', { detail: `${action} ${host}` });
  }

  /** @throws SallyportError RULE_NOT_FOUND */
  async removeRule({ action, host }: PolicyRule): Promise<void> {
    await this.#changeRules(action, (rules) => {
      if (rules.includes(host)) return rules.filter((rule) => rule !== host);
      throw new SallyportError(
        'RULE_NOT_FOUND',
        `The sandbox has no rule "${action}" for ${JSON.stringify(host)}. The policy lists rules as they were written.`,
      );
    });
    this.#tell('policy.changed', { detail: `no more ${action} ${host}` });
  }

  /** @throws SallyportError SANDBOX_NOT_RUNNING */
  async stats(): Promise<SandboxStats> {
    const live = this.#running();
    const traffic = await live.traffic();
    return { time: new Date().toISOString(), ...readUsage(live.record.cgroupDirectories), ...traffic };
  }

  /** Reaches into the running sandbox; what fails because it is stopped meanwhile says so. @throws SallyportError SANDBOX_NOT_RUNNING */
  async within<T>(work: (live: LastingSandbox) => Promise<T>): Promise<T> {
    const live = this.#running();
    try {
      return await work(live);
    } catch (error) {
      throw this.#live === live ? error : this.#notRunning(error);
    }
  }

  /** Whether the kernel has ended a process of this sandbox for its memory limit since it was last asked. */
  takeOutOfMemory(): boolean {
    if (this.#live === null) return false;
    const count = countOutOfMemory(this.#live.record.cgroupDirectories);
    const isNew = count > this.#outOfMemoryBefore;
    this.#outOfMemoryBefore = count;
    return isNew;
  }

  /** Resolves when it does not run, or `signal` is aborted. */
  async waitUntilStopped(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && ['starting', 'running', 'stopping'].includes(this.#row.state)) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          this.#waiters.delete(done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        this.#waiters.add(done);
        signal.addEventListener('abort', done, { once: true });
      });
    }
  }

  /** Finds it again after the daemon was away: a gate for what still runs, an end for what does not. */
  async recover(): Promise<void> {
    await this.#inTurn(async () => {
      const { record, state } = this.#row;
      const isAlive = record !== null && isHolderAlive(record.holder);
      const found = recoveredState(state, isAlive);
      if (found !== 'removing') this.#values = await this.#around.shelf.ownValues(this.id);
      if (found === 'removing') {
        if (record !== null && isAlive) await this.#endUnknown(record);
        await this.#forget();
        return;
      }
      if (found === 'running' && record !== null) {
        await this.#readopt(record);
        return;
      }
      if (record !== null && isAlive) await this.#endUnknown(record);
      this.#execs.endWithSandbox(record?.container.container ?? '');
      if (found === state && record === null) return;
      const reason =
        found === 'failed' && state !== 'failed'
          ? `It ended while no daemon was there; it was ${state} before.`
          : this.#row.reason;
      this.#set({ state: found, record: null, reason, stoppedAt: this.#row.stoppedAt ?? Date.now() });
    });
  }

  /** Lets it run on without this daemon, with its gate closed. */
  async leave(): Promise<void> {
    await this.#inTurn(async () => {
      const live = this.#live;
      this.#live = null;
      this.#hasLeft = true;
      if (this.#lifetime !== null) clearTimeout(this.#lifetime);
      this.#execs.leave();
      await live?.leave();
    });
  }

  get #ownDirectory(): string {
    return join(this.#around.paths.sandboxes, this.id);
  }

  async #launch(warm: PreparedSandbox | undefined): Promise<void> {
    const { definition, name } = this.#row;
    let prepared = warm;
    try {
      const secrets = await this.#compose({ ...definition, placeholders: {} }, this.#values);
      const [refusal] = secrets.refusals;
      if (refusal !== undefined) throw refusal;
      this.#isLost = false;
      const provider = this.#liveSecrets.providerFor(secrets);
      const rules = this.#withStored(rulesOf(definition, this.#values, secrets.set, provider));
      const policy = LastingSandbox.checkRules(rules);
      const trust = await this.#around.trust(definition.network.upstreamCa);
      if (prepared === undefined) {
        removeLifelines(this.#ownDirectory);
        mkdirSync(this.#ownDirectory, { recursive: true, mode: 0o700 });
        prepared = await prepareSandbox({
          directory: this.#ownDirectory,
          spec: specOf(definition, name, this.#around.paths.state),
          ports: listeningPorts(policy),
          runtime: definition.runtime,
          trust,
          parks: false,
        });
      }
      this.#around.sandboxes.clearNames(this.id);
      // From here on it would be found again.
      this.#set({ record: prepared.record });
      const live = await LastingSandbox.open(prepared, { ...this.#opening(), rules, trust });
      this.#putInForce(secrets);
      this.#set({ definition: { ...definition, placeholders: Object.fromEntries(secrets.placeholders) } });
      this.#stored = rules.stored;
      this.#enter('started', {
        startedAt: Date.now(),
        stoppedAt: null,
        lifetimeEndsAt: definition.lifetimeMs === null ? null : monotonicMs() + definition.lifetimeMs,
        reason: null,
        notices: prepared.notices,
      });
      this.#attach(live);
    } catch (error) {
      await prepared?.close().catch(() => undefined);
      const reason = error instanceof SallyportError ? error.message : 'It failed for a reason that is a defect.';
      this.#enter('start failed', { record: null, reason, stoppedAt: Date.now() });
      throw error;
    }
  }

  async #readopt(record: NonNullable<SandboxRow['record']>): Promise<void> {
    const { definition } = this.#row;
    try {
      const trust = await this.#around.trust(definition.network.upstreamCa);
      const live = await LastingSandbox.adopt(record, {
        ...this.#opening(),
        trust,
        rulesFor: async (kept) => {
          if (kept !== null) this.#values = kept;
          this.#isLost = kept === null;
          const secrets = await this.#compose(definition, this.#values);
          this.#putInForce(secrets);
          const provider = this.#liveSecrets.providerFor(secrets);
          const rules = this.#withStored(rulesOf(definition, this.#values, secrets.set, provider));
          this.#stored = rules.stored;
          return rules;
        },
      });
      this.#tell('sandbox.recovered');
      this.#attach(live);
      this.#execs.recover(live);
    } catch (error) {
      const reason = error instanceof SallyportError ? error.message : 'It could not be taken over, which is a defect.';
      await this.#endUnknown(record);
      this.#execs.endWithSandbox(record.container.container);
      this.#set({ state: 'failed', record: null, reason, stoppedAt: Date.now() });
      this.#tell('sandbox.failed', { detail: reason });
    }
  }

  #opening() {
    const { id, name, definition } = this.#row;
    return {
      name,
      auditFile: definition.auditFile,
      stateDirectory: this.#around.paths.state,
      gates: this.#around.gates,
      names: () => this.#around.sandboxes.names(id),
      onName: (host: string, position: number) => this.#around.sandboxes.addName(id, position, host),
      onAuditFailure: () =>
        this.#tell('sandbox.failed', { detail: 'The audit log cannot be written: the gate is closed.' }),
      onTerminate: (secret: string) => {
        const reason = `It was ended: the placeholder of ${secret} was sent where it is not for.`;
        this.#tell('sandbox.failed', { detail: reason });
        void this.stop(0, reason).catch(() => undefined);
      },
      onGateLost: () => void this.#reopenGate(),
    };
  }

  /** Its gate has gone with the thread that it was in; connections through it have ended. */
  async #reopenGate(): Promise<void> {
    this.#tell('sandbox.failed', { detail: 'The thread of its gate has ended: the gate is closed, and opened anew.' });
    try {
      await this.#inSecretTurn(async () => await this.#live?.reopenGate());
      if (this.#live?.isGateOpen === true) this.#tell('sandbox.recovered', { detail: 'Its gate is open again.' });
    } catch (error) {
      const why = error instanceof SallyportError ? error.message : 'that failed, which is a defect.';
      this.#tell('sandbox.failed', {
        detail: `Its gate could not be opened anew: ${why} Stop the sandbox and start it again.`,
      });
    }
  }

  #attach(live: LastingSandbox): void {
    this.#live = live;
    this.#outOfMemoryBefore = countOutOfMemory(live.record.cgroupDirectories);
    void live.ended.then(() => this.#endedByItself(live));
    const { lifetimeEndsAt } = this.#row;
    if (lifetimeEndsAt === null) return;
    const leftMs = Math.min(Math.max(0, lifetimeEndsAt - monotonicMs()), MAX_TIMER_MS);
    this.#lifetime = setTimeout(() => void this.stop().catch(() => undefined), leftMs).unref();
  }

  async #endedByItself(live: LastingSandbox): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#live !== live) return;
      const kept = await this.#keepOwn();
      await this.#end(0);
      const reason = 'Its processes ended: something inside or outside has killed them.';
      this.#enter('ended', { record: null, stoppedAt: Date.now(), reason, ...kept });
    }).catch(() => undefined);
    if (this.#row.definition.autoRemove && this.#row.state === 'failed') await this.remove(true).catch(() => undefined);
  }

  async #forget(): Promise<void> {
    // What is stored under its name was there before it, or may be meant for the next one of that name: it stays.
    await this.#around.shelf.forgetOwn(this.id).catch(() => undefined);
    this.#around.sandboxes.remove(this.id);
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
    rmSync(this.#ownDirectory, { recursive: true, force: true, maxRetries: 5 });
    this.#around.onRemoved(this);
    this.#tell('sandbox.removed');
    this.#wake();
  }

  /** Ends whatever runs, and waits until nothing is left. */
  async #end(timeoutMs: number): Promise<void> {
    const live = this.#live;
    this.#live = null;
    this.#secrets = null;
    this.#staleness = null;
    if (this.#lifetime !== null) clearTimeout(this.#lifetime);
    const { record } = this.#row;
    if (live !== null) {
      // No credential leaves from here on.
      await live.closeGate();
      if (timeoutMs > 0) await this.#execs.end(timeoutMs);
      await live.close();
    } else if (record !== null) {
      await this.#endUnknown(record);
    }
    this.#execs.endWithSandbox(record?.container.container ?? '');
    removeLifelines(this.directory);
  }

  async #endUnknown(record: NonNullable<SandboxRow['record']>): Promise<void> {
    const { adoptHolder } = await import('../airlock/lasting-holder.ts');
    if (isHolderAlive(record.holder)) await adoptHolder(record.holder).close();
  }

  #secretChange(): SecretChange {
    return { definition: this.#row.definition, values: this.#values };
  }

  async #changeRules(
    action: PolicyRule['action'],
    change: (rules: readonly string[]) => readonly string[],
  ): Promise<void> {
    await this.#change(() => {
      const { definition } = this.#row;
      const network = { ...definition.network, [action]: change(definition.network[action]) };
      return { definition: { ...definition, network }, values: this.#values };
    });
  }

  /** A change of rules or secrets: kept first, then in force at once where the sandbox runs. */
  async #change(make: () => SecretChange): Promise<void> {
    await this.#inSecretTurn(async () => {
      const { definition, values } = make();
      const secrets = await this.#compose(definition, values);
      LastingSandbox.checkRules(this.#withStored(rulesOf(definition, values, secrets.set)));
      // Before it is acknowledged: whoever finds them later must not find the former ones.
      if (this.#live === null || this.#around.shelf.hasOwn(this.id)) {
        await this.#around.shelf.keepOwn(this.id, values);
      }
      await this.#apply(definition, values, secrets);
    });
  }

  /** Takes in what is stored at this moment, where it runs. What keeps it from that; null when all is well. */
  async applyStored(): Promise<string | null> {
    if (!['starting', 'running'].includes(this.#row.state)) return null;
    await this.#inSecretTurn(async () => {
      if (this.#live === null) return;
      const { definition } = this.#row;
      try {
        const secrets = await this.#compose(definition, this.#values);
        this.#staleness = null;
        if (this.#secrets !== null && isSameSecrets(secrets, this.#secrets)) return;
        await this.#apply(definition, this.#values, secrets);
        this.#tell('secret.set', { detail: 'stored secrets' });
      } catch (error) {
        if (!(error instanceof SallyportError)) throw error;
        // What it has been given stays in force; whoever made the change is told.
        this.#staleness = `what is stored has changed, but not for the sandbox ${this.name}: ${error.message}`;
      }
    });
    return this.#staleness;
  }

  /** Whether it runs with a stored secret. */
  hasStored({ scope, name }: Pick<StoredSecret, 'scope' | 'name'>): boolean {
    return (
      this.#secrets?.effective.some(
        ({ secret }) => secret !== null && secret.name === name && formatScope(secret.scope) === formatScope(scope),
      ) === true
    );
  }

  /** Takes in a value that was fetched for a request, which waits for it. */
  async #enforceFetched(fetched: ReadonlyMap<string, string>): Promise<void> {
    // Not in the turn of states: a sandbox that is being stopped answers its last requests.
    await this.#liveSecrets.inTurn(async () => {
      const live = this.#live;
      if (live === null || this.#secrets === null) return;
      const { definition } = this.#row;
      const secrets = await this.#compose(definition, this.#values, fetched);
      if (isSameBinding(secrets, this.#secrets)) {
        live.replaceSecrets(secrets.set, this.#values);
        this.#secrets = secrets;
      } else await this.#apply(definition, this.#values, secrets);
    });
  }

  async #apply(definition: SandboxDefinition, values: SecretValues, secrets: SandboxSecrets): Promise<void> {
    const live = this.#live;
    const placeholders = live === null ? {} : Object.fromEntries(secrets.placeholders);
    const provider = this.#liveSecrets.providerFor(secrets);
    const rules = this.#withStored(rulesOf(definition, values, secrets.set, provider));
    const keep = (): void => {
      this.#set({ definition: { ...definition, placeholders } });
      this.#values = values;
      this.#stored = rules.stored;
      if (live !== null) this.#putInForce(secrets);
    };
    if (live === null) keep();
    else await live.reconfigure(rules, keep);
  }

  #putInForce(secrets: SandboxSecrets): void {
    this.#secrets = secrets;
    this.#liveSecrets.use(secrets);
  }

  async #inSecretTurn<T>(work: () => Promise<T>): Promise<T> {
    return await this.#inTurn(async () => await this.#liveSecrets.inTurn(work));
  }

  async #compose(
    definition: SandboxDefinition,
    values: SecretValues,
    fetched?: ReadonlyMap<string, string>,
  ): Promise<SandboxSecrets> {
    const { placeholderKey } = this.#around.shelf;
    const network = networkOf(definition);
    const stored = this.#around.rules.listFor(this.name);
    const check = (set: SecretSet): void => {
      compilePolicy({ secrets: set, network, stored });
      // What runs goes on without a secret that it has been shown otherwise; what starts is refused.
      if (this.#live !== null) refuseExposure(set, [], new Map(Object.entries(definition.env)));
    };
    const input = { sandbox: this.name, ...ownSecretsOf(definition, values), placeholderKey, check };
    return await this.#liveSecrets.compose(input, fetched);
  }

  /** Where nobody knows what the values were, the gate is closed: what comes back could not be judged. */
  #closeWhereLost(rules: SandboxRules): SandboxRules {
    const hadSecrets = Object.keys(this.#row.definition.placeholders ?? {}).length > 0;
    if (!this.#isLost || !hadSecrets || rules.closed !== null) return rules;
    return {
      ...rules,
      closed: {
        status: 502,
        code: 'SECRET_VALUE_LOST',
        detail:
          'The gate of this sandbox is closed, because it is not known any more which values its secrets have had.',
        remedy: 'Stop the sandbox and start it again, from outside.',
      },
    };
  }

  /** Keeps the values of its own secrets in the store, for it will not run any more; what to note where that fails. */
  async #keepOwn(): Promise<Partial<SandboxRow>> {
    if (this.#row.definition.autoRemove) return {};
    try {
      await this.#around.shelf.keepOwn(this.id, this.#values);
      return {};
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error;
      const notice = `the values of its own secrets will be lost with the daemon, because they could not be stored: ${error.message}`;
      return { notices: [...this.#row.notices.filter((text) => text !== notice), notice] };
    }
  }

  /** Keeps the values of a sandbox that is not to be started yet. @throws SallyportError STORE_LOCKED, STORE_FAILED */
  async keepValues(): Promise<void> {
    await this.#inTurn(async () => await this.#around.shelf.keepOwn(this.id, this.#values));
  }

  #running(): LastingSandbox {
    if (this.#live !== null && this.#row.state === 'running') return this.#live;
    throw this.#notRunning();
  }

  #notRunning(cause?: unknown): SallyportError {
    const quoted = JSON.stringify(this.name);
    if (this.#hasLeft) {
      return new SallyportError(
        'DAEMON_STOPPING',
        `The daemon stops, and the sandbox ${quoted} goes on without it. Ask again in a moment.`,
        { cause },
      );
    }
    const { state } = this.#row;
    return new SallyportError(
      'SANDBOX_NOT_RUNNING',
      `The sandbox ${quoted} does not run (it is ${state === 'running' ? 'just ending, or another run' : state}). Start it first.`,
      { cause },
    );
  }

  /** Changes of one sandbox happen one after the other. */
  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => undefined);
    return await result;
  }

  #enter(event: Parameters<typeof nextState>[2], change: Partial<SandboxRow> = {}): SandboxRow['state'] {
    const state = nextState(this.name, this.#row.state, event);
    if (state === this.#row.state && Object.keys(change).length === 0) return state;
    this.#set({ ...change, state });
    const type = `sandbox.${state}`;
    if (state !== 'removing') this.#tell(type as DaemonEvent['type'], { detail: this.#row.reason });
    return state;
  }

  #set(change: Partial<SandboxRow>): void {
    const row = { ...this.#row, ...change };
    // What somebody asked for is only so when it is kept; what has happened has happened.
    if (change.definition === undefined) this.#row = row;
    this.#around.sandboxes.update(row);
    this.#row = row;
    this.#wake();
  }

  #tell(type: DaemonEvent['type'], more: { readonly exec?: string; readonly detail?: string | null } = {}): void {
    this.#around.tell({
      type,
      sandbox: this.name,
      sandboxId: this.id,
      exec: more.exec ?? null,
      detail: more.detail ?? null,
    });
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }
}

/** Pipes cannot be made where there are some already. */
function removeLifelines(directory: string): void {
  for (const name of ['lifeline', 'lifeline-container', 'lifeline.pid']) rmSync(join(directory, name), { force: true });
}

/** @returns the error for a sandbox that does not exist. */
export function notFound(name: string): SallyportError {
  return new SallyportError(
    'SANDBOX_NOT_FOUND',
    `There is no sandbox ${JSON.stringify(name.slice(0, 80))}. "sallyport ls" lists those that there are.`,
  );
}
