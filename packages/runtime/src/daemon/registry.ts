import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SallyportError, type SandboxCreate } from '@sallyport/sdk';
import { endForsakenHolder } from '../airlock/lasting-holder.ts';
import { checkAuditFile } from '../engine/audit-file.ts';
import { LastingSandbox } from '../engine/lasting-sandbox.ts';
import { prepareSandbox } from '../engine/prepared-sandbox.ts';
import { compilePolicy } from '../engine/sandbox-parts.ts';
import { composeSecrets } from '../engine/sandbox-secrets.ts';
import { checkMountSources } from '../sandbox/mount-sources.ts';
import { DEFAULT_PIDS } from '../sandbox/limits.ts';
import { chooseRuntime } from '../sandbox/runtime-choice.ts';
import { installationDirectory } from '../engine/installation.ts';
import { defineSandbox, fitsAny, networkOf, ownSecretsOf, rulesOf, specOf } from './definition.ts';
import type { StoredSecret } from '../secrets/stored-secret.ts';
import { ManagedSandbox, newId, notFound, type SandboxSurroundings } from './managed-sandbox.ts';
import type { SandboxRow } from './store/sandbox-table.ts';
import { WarmPool, type WarmSandbox } from './warm-pool.ts';

/** The ports that every airlock listens on. */
const DEFAULT_PORTS = [80, 443];

/** All sandboxes of a daemon, by name and by id. */
export class SandboxRegistry {
  readonly #around: SandboxSurroundings;
  readonly #byName = new Map<string, ManagedSandbox>();
  readonly #pool: WarmPool;

  /** @param warmSandboxes how many are prepared before they are asked for. */
  constructor(around: Omit<SandboxSurroundings, 'onRemoved'>, warmSandboxes: number) {
    this.#around = { ...around, onRemoved: (sandbox) => void this.#byName.delete(sandbox.name) };
    this.#pool = new WarmPool(warmSandboxes, async () => await this.#prepareWarm());
  }

  /** All, the oldest first. */
  get all(): readonly ManagedSandbox[] {
    return [...this.#byName.values()];
  }

  get warmCount(): number {
    return this.#pool.count;
  }

  /** By name or by id. @throws SallyportError SANDBOX_NOT_FOUND */
  find(nameOrId: string): ManagedSandbox {
    const sandbox = this.#byName.get(nameOrId) ?? this.all.find(({ id }) => id === nameOrId);
    if (sandbox === undefined) throw notFound(nameOrId);
    return sandbox;
  }

  /**
   * Makes a sandbox, and starts it unless asked not to. One that cannot be started is not left behind.
   *
   * @throws SallyportError SANDBOX_EXISTS, and whatever is wrong with what is asked for.
   */
  async create(asked: SandboxCreate): Promise<ManagedSandbox> {
    const name = asked.name ?? this.#freeName();
    if (this.#byName.has(name)) throw exists(name);
    const nowMs = Date.now();
    const stamp = new Date(nowMs).toISOString().replaceAll(':', '').replace('.', '');
    const auditFile = join(this.#around.paths.audit, `${stamp}-${name}.jsonl`);
    const { definition, values } = defineSandbox(asked, auditFile, nowMs);
    // Whatever can be told at once is told before anything is made.
    const { stored, placeholderKey } = this.#around.shelf;
    const network = networkOf(definition);
    const rules = this.#around.rules.listFor(name);
    const secrets = await composeSecrets({
      sandbox: name,
      ...ownSecretsOf(definition, values),
      stored,
      placeholderKey,
      check: (set) => void compilePolicy({ secrets: set, network, stored: rules }),
    });
    const [refusal] = secrets.refusals;
    if (refusal !== undefined) throw refusal;
    LastingSandbox.checkRules({
      ...rulesOf(definition, values, secrets.set),
      stored: rules,
    });
    // Somebody else may have been as quick.
    if (this.#byName.has(name)) throw exists(name);
    const spec = specOf(definition, name, this.#around.paths.state);
    checkMountSources(spec);
    chooseRuntime(definition.runtime, '/');
    if (asked.auditFile !== undefined) {
      checkAuditFile(asked.auditFile, '/', { ...spec, command: null, environment: {} });
    }
    const starts = asked.start ?? true;
    const warm = starts && fitsAny(definition) ? this.#pool.take() : undefined;
    const row: SandboxRow = {
      id: warm?.id ?? newId(),
      name,
      state: starts ? 'starting' : 'created',
      reason: null,
      definition,
      record: null,
      notices: [],
      createdAt: nowMs,
      startedAt: null,
      stoppedAt: null,
      lifetimeEndsAt: null,
    };
    let sandbox: ManagedSandbox;
    try {
      this.#around.sandboxes.insert(row);
      sandbox = new ManagedSandbox(row, values, this.#around);
    } catch (error) {
      await warm?.prepared.close();
      throw error;
    }
    this.#byName.set(name, sandbox);
    this.#around.tell({ type: 'sandbox.created', sandbox: name, sandboxId: row.id, exec: null, detail: null });
    if (!starts) {
      try {
        await sandbox.keepValues();
        return sandbox;
      } catch (error) {
        await sandbox.remove(true).catch(() => undefined);
        throw error;
      }
    }
    try {
      await sandbox.startFirst(warm?.prepared);
    } catch (error) {
      await sandbox.remove(true).catch(() => undefined);
      throw error;
    }
    return sandbox;
  }

  /** Finds again what a former daemon has left, ends what nobody knows of, and begins to prepare sandboxes. */
  async recover(): Promise<void> {
    const known = new Set<string>();
    for (const row of this.#around.sandboxes.all()) {
      const sandbox = new ManagedSandbox(row, new Map(), this.#around);
      this.#byName.set(row.name, sandbox);
      known.add(row.id);
    }
    await Promise.all([...this.all.map(async (sandbox) => await sandbox.recover()), this.#endForsaken(known)]);
  }

  /** Takes in what is stored at this moment, wherever a sandbox runs; in force when it resolves. Where it is not, and why. */
  async applyStored(): Promise<readonly string[]> {
    const problems = await Promise.all(this.all.map(async (sandbox) => await sandbox.applyStored()));
    this.#around.sources.keep(this.#around.shelf.list());
    return problems.filter((problem) => problem !== null);
  }

  /** The sandboxes that run and have a stored secret, by name. */
  runningWith(secret: Pick<StoredSecret, 'scope' | 'name'>): readonly string[] {
    return this.all.filter((sandbox) => sandbox.hasStored(secret)).map(({ name }) => name);
  }

  /** Has every sandbox that runs follow the stored rules as they are at this moment. */
  async applyRules(): Promise<void> {
    await Promise.all(this.all.map(async (sandbox) => await sandbox.applyRules()));
  }

  /** Begins to prepare sandboxes for whoever will ask. */
  warmUp(): void {
    this.#pool.open();
  }

  /** Leaves the sandboxes to a daemon to come, or ends them. */
  async close(endSandboxes: boolean): Promise<void> {
    await Promise.all([
      this.#pool.close(),
      ...this.all.map(async (sandbox) => {
        // In its turn: one that is being started is stopped after that.
        if (endSandboxes) await sandbox.stop().catch(() => undefined);
        await sandbox.leave();
      }),
    ]);
  }

  /** What a daemon that was killed had begun and not noted yet, and what it had prepared. */
  async #endForsaken(known: ReadonlySet<string>): Promise<void> {
    const { paths } = this.#around;
    mkdirSync(paths.sandboxes, { recursive: true, mode: 0o700 });
    for (const id of readdirSync(paths.sandboxes)) {
      const directory = join(paths.sandboxes, id);
      const sandbox = known.has(id) ? this.all.find((each) => each.id === id) : undefined;
      if (sandbox?.hasProcesses === true) continue;
      await endForsakenHolder(join(directory, 'lifeline'));
      if (sandbox === undefined) rmSync(directory, { recursive: true, force: true });
    }
  }

  async #prepareWarm(): Promise<WarmSandbox> {
    const id = newId();
    const { paths, trust } = this.#around;
    const prepared = await prepareSandbox({
      directory: join(paths.sandboxes, id),
      spec: {
        name: 'sandbox',
        workspace: undefined,
        volumes: [],
        limits: { pids: DEFAULT_PIDS },
        protectedPaths: [paths.state, installationDirectory()],
      },
      ports: DEFAULT_PORTS,
      runtime: 'runc',
      trust: await trust([]),
      parks: true,
    });
    return { id, prepared };
  }

  #freeName(): string {
    for (;;) {
      const name = `box-${randomBytes(4).toString('hex')}`;
      if (!this.#byName.has(name)) return name;
    }
  }
}

function exists(name: string): SallyportError {
  return new SallyportError(
    'SANDBOX_EXISTS',
    `There is a sandbox ${JSON.stringify(name)} already. Choose another name, use that one, or remove it: sallyport rm ${name}.`,
  );
}
