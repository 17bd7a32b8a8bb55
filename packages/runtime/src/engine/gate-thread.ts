import { getCompileCacheDir } from 'node:module';
import { dirname, extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { SallyportError } from '@sallyport/sdk';
import { closeDoors } from '../airlock/listeners.ts';
import type { RedactionRule } from '../secrets/redact.ts';
import { transferSecrets } from '../secrets/secret-set-transfer.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import type { UpstreamTrust } from '../tls/upstream-trust.ts';
import {
  NAME_STATES,
  type FromGateThread,
  type GateQuestion,
  type GateTask,
  type RulesMessage,
  type ToGateThread,
} from './gate-message.ts';
import type { GateEnds, GateTraffic, SandboxGate, SandboxGateOptions, SandboxGateRules } from './sandbox-gate.ts';

/** How long a thread may take to change or close a gate, or to write an audit log to its end; one that takes longer is ended, with its gates. */
const CHANGE_TIMEOUT_MS = 30_000;
const END_TIMEOUT_MS = 60_000;

/** A thread has no cache of compiled code of its own accord. */
const WORKER_SOURCE = `
const { workerData } = require('node:worker_threads');
if (workerData.cacheDirectory !== undefined) require('node:module').enableCompileCache(workerData.cacheDirectory);
require(workerData.program);`;

function startWorker(): Worker {
  // Beside this module as a source, beside the bundle as a bundle of its own (tools/bundle.ts).
  const program = fileURLToPath(new URL(`gate-worker${extname(import.meta.url)}`, import.meta.url));
  const versioned = getCompileCacheDir();
  const cacheDirectory = versioned === undefined ? undefined : dirname(versioned);
  return new Worker(WORKER_SOURCE, {
    eval: true,
    execArgv: process.execArgv.filter((word) => word.startsWith('--conditions=')),
    env: {},
    workerData: { program, cacheDirectory },
    // Else Node opens the streams of this process for it, and makes them non-blocking.
    stdout: true,
    stderr: true,
  });
}

interface Waiter {
  readonly resolve: (result: GateTraffic | null) => void;
  readonly reject: (error: SallyportError) => void;
}

/** What the thread tells about one of its gates. */
interface GateListener {
  readonly options: SandboxGateOptions;
  /** The rules that were sent last. */
  rules: SandboxGateRules;
}

/**
 * A thread that has the gates of some sandboxes. Descriptors, values and keys stay within this process. Whatever ends the thread closes its
 * gates: their sockets go with it.
 */
export class GateThread {
  readonly #worker: Worker;
  readonly #id: number;
  readonly #gates = new Map<number, GateListener>();
  readonly #waiters = new Map<number, Waiter>();
  readonly #ready = Promise.withResolvers<boolean>();
  readonly #ended: Promise<void>;
  #calls = 0;
  #gateCount = 0;
  #trust: UpstreamTrust | null = null;
  #isReady = false;
  #isOver = false;

  /** @param onEnd it has ended, before its gates hear of it. */
  constructor(onEnd: (thread: GateThread) => void) {
    this.#worker = startWorker();
    this.#id = this.#worker.threadId;
    this.#worker.on('message', (message: FromGateThread) => this.#hear(message));
    // What it says could quote what a sandbox has sent; the end follows.
    this.#worker.on('error', () => undefined);
    this.#ended = new Promise((resolve) => {
      this.#worker.on('exit', () => {
        onEnd(this);
        this.#forsake();
        resolve();
      });
    });
  }

  /** The gates that it has, or is about to have. */
  get size(): number {
    return this.#gates.size;
  }

  /** Whether it can be given gates. */
  get isReady(): boolean {
    return this.#isReady && !this.#isOver;
  }

  /** Whether it could once be given gates. */
  get wasReady(): boolean {
    return this.#isReady;
  }

  /** Resolves when it can be given gates: to false when it has ended before. */
  get ready(): Promise<boolean> {
    return this.#ready.promise;
  }

  /** The thread as the process numbers it. */
  get id(): number {
    return this.#id;
  }

  /**
   * Opens the gate of a sandbox in this thread.
   *
   * @throws SallyportError AUDIT_REFUSED, AIRLOCK_FAILED; INTERNAL where the thread ends meanwhile.
   */
  async open(options: SandboxGateOptions): Promise<SandboxGate> {
    const { rules, trust, ends } = options;
    const gate = (this.#gateCount += 1);
    const listener: GateListener = { options, rules };
    this.#gates.set(gate, listener);
    const isSameTrust = this.#trust === trust;
    this.#trust = trust;
    const { source, systemPem, extraPem } = trust;
    const task = (message: RulesMessage): GateTask => ({
      kind: 'open',
      open: {
        name: options.name,
        rules: message,
        authority: options.authority.save(),
        trust: isSameTrust ? null : { source, systemPem, extraPem },
        clientCertificates: options.clientCertificates.map((certificate) => certificate.save()),
        names: options.names,
        auditFile: options.auditFile,
        stateDirectory: options.stateDirectory,
        endedThread: options.endedThread,
        doors: ends.doors,
      },
    });
    try {
      await this.#call(gate, describeRules(rules, options.earlierValues, task));
    } catch (error) {
      this.#gates.delete(gate);
      throw error;
    }
    return this.#handleOf(gate, listener);
  }

  /** Ends the thread, whatever it does; its gates hear that they are lost. */
  async end(): Promise<void> {
    await this.#worker.terminate();
    await this.#ended;
  }

  #handleOf(gate: number, listener: GateListener): SandboxGate {
    const ignoreLoss = (): void => undefined;
    return {
      thread: this.#id,
      serve: async ({ doors }: GateEnds) => {
        if (this.#isOver) closeDoors(doors);
        else if (doors.length > 0) await this.#unlessLost(this.#call(gate, { kind: 'serve', doors }));
      },
      reconfigure: async (rules) => {
        listener.rules = rules;
        const task = describeRules(rules, [], (message): GateTask => ({ kind: 'reconfigure', rules: message }));
        await this.#unlessLost(this.#callInTime(gate, task, CHANGE_TIMEOUT_MS));
      },
      replaceSecrets: (secrets: SecretSet) => {
        const task = transferSecrets(secrets, [], (plain): GateTask => ({ kind: 'secrets', secrets: plain }));
        // Nobody must go on with the former values.
        this.#call(gate, task).catch(() => void this.end());
      },
      traffic: async () =>
        (await this.#call(gate, { kind: 'traffic' }).catch(ignoreLoss)) ?? { connections: 0, names: 0 },
      close: async () => {
        await this.#callInTime(gate, { kind: 'close' }, CHANGE_TIMEOUT_MS).catch(ignoreLoss);
      },
      end: async () => {
        try {
          await this.#unlessLost(this.#callInTime(gate, { kind: 'end' }, END_TIMEOUT_MS));
        } finally {
          this.#gates.delete(gate);
        }
      },
    };
  }

  /** A gate whose thread has ended lets nothing through, and needs nothing more. */
  async #unlessLost(call: Promise<unknown>): Promise<void> {
    await call.catch((error: unknown) => {
      if (!this.#isOver) throw error;
    });
  }

  async #callInTime(gate: number, task: GateTask, timeoutMs: number): Promise<void> {
    const timer = setTimeout(() => void this.end(), timeoutMs);
    try {
      await this.#call(gate, task);
    } finally {
      clearTimeout(timer);
    }
  }

  async #call(gate: number, task: GateTask): Promise<GateTraffic | null> {
    if (this.#isOver) throw lost();
    const call = (this.#calls += 1);
    return await new Promise((resolve, reject) => {
      this.#waiters.set(call, { resolve, reject });
      this.#send({ kind: 'task', gate, call, task });
    });
  }

  #send(message: ToGateThread): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none.
    this.#worker.postMessage(message);
  }

  #hear(message: FromGateThread): void {
    switch (message.kind) {
      case 'ready':
        this.#isReady = true;
        this.#ready.resolve(true);
        return;
      case 'done':
      case 'failed': {
        const waiter = this.#waiters.get(message.call);
        this.#waiters.delete(message.call);
        if (message.kind === 'done') waiter?.resolve(message.result);
        else if (message.code !== null) waiter?.reject(new SallyportError(message.code, message.message));
        else waiter?.reject(new SallyportError('INTERNAL', `A gate failed: ${message.message}. Please report it.`));
        return;
      }
      case 'question':
        void this.#answer(message.gate, message.question).then((answer) => {
          if (!this.#isOver) this.#send({ kind: 'answer', call: message.call, answer });
        });
        return;
      case 'name': {
        const { state, name, position } = message;
        Atomics.store(state, 0, this.#keepName(message.gate, name, position));
        Atomics.notify(state, 0);
        return;
      }
      case 'audit failure':
        this.#gates.get(message.gate)?.options.onAuditFailure();
        return;
      case 'terminate':
        this.#gates.get(message.gate)?.options.onTerminate(message.secret);
        return;
      default:
        throw new TypeError(`unknown message ${String(message satisfies never)}`);
    }
  }

  #keepName(gate: number, name: string, position: number): number {
    try {
      const listener = this.#gates.get(gate);
      if (listener === undefined) return NAME_STATES.refused;
      listener.options.onName(name, position);
      return NAME_STATES.kept;
    } catch {
      return NAME_STATES.refused;
    }
  }

  async #answer(gate: number, question: GateQuestion) {
    const provider = this.#gates.get(gate)?.rules.provider ?? null;
    if (question.kind === 'refused') return provider === null ? false : await provider.refused(question.names);
    return provider === null ? null : await provider.prepare(question.authority);
  }

  #forsake(): void {
    this.#isOver = true;
    this.#ready.resolve(false);
    for (const waiter of this.#waiters.values()) waiter.reject(lost());
    this.#waiters.clear();
    for (const { options } of this.#gates.values()) options.onLost();
    this.#gates.clear();
  }
}

function describeRules<T>(
  { sources, secrets, closed, provider = null }: SandboxGateRules,
  earlier: readonly RedactionRule[],
  use: (message: RulesMessage) => T,
): T {
  const { network, stored = [], sandbox = null } = sources;
  return transferSecrets(secrets, earlier, (plain) =>
    use({ sources: { network, stored, sandbox }, secrets: plain, closed, asks: provider !== null }),
  );
}

function lost(): SallyportError {
  return new SallyportError('INTERNAL', 'The thread of this gate has ended. Try again in a moment.');
}
