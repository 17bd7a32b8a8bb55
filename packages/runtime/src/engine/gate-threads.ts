import { SallyportError } from '@sallyport/sdk';
import { GateThread } from './gate-thread.ts';
import { openSandboxGate, type SandboxGate, type SandboxGateOptions } from './sandbox-gate.ts';

/** The most threads that a daemon has for gates where nothing else is said. */
const MAX_DEFAULT_THREADS = 8;
/** On this many processors or fewer there are none where nothing else is said: the daemon and the sandboxes themselves need them. */
const FEW_PROCESSORS = 2;
/** The most that can be asked for. */
const MAX_THREADS = 64;
/** How long after a gate was opened another thread is started, so that the first command there is not slowed down, in ms. */
const GROWTH_DELAY_MS = 500;
/** After a thread could not be started, none is for so long, in ms. */
const PAUSE_AFTER_FAILURE_MS = 60_000;

/** How many threads share out the gates of sandboxes on a machine with so many processors, where nothing else is said. */
export function defaultGateThreads(processors: number): number {
  return processors <= FEW_PROCESSORS ? 0 : Math.min(processors - 1, MAX_DEFAULT_THREADS);
}

/**
 * Reads how many threads share out gates.
 *
 * @param origin the option or variable that says so.
 * @throws SallyportError USAGE
 */
export function parseGateThreads(text: string, origin: string): number {
  if (/^\d{1,2}$/.test(text) && Number(text) <= MAX_THREADS) return Number(text);
  throw new SallyportError(
    'USAGE',
    `${origin} takes a number from 0 to ${MAX_THREADS}, not ${JSON.stringify(text)}. 0 leaves all gates in one thread.`,
  );
}

/** How {@link GateThreads} work. */
export interface GateThreadsOptions {
  /** The most threads; with 0 all gates are in the caller's own. */
  readonly limit: number;
  /** Start them all at once, and have all gates in them. Default: as many as there are gates, and some time after a gate was opened. */
  readonly isEager?: boolean;
  /** Hears that a thread has ended which was not asked to. For the log. */
  readonly onLoss: (gates: number) => void;
}

/**
 * Shares out the gates of sandboxes among threads, so that they use the processors of the machine; each gate is in one thread. A gate that
 * cannot wait for a thread is opened in the caller's.
 */
export class GateThreads {
  readonly #options: GateThreadsOptions;
  readonly #threads: GateThread[] = [];
  /** Gates that are in the caller's thread. */
  #own = 0;
  /** Gates that are about to be opened. */
  #opening = 0;
  #growth: NodeJS.Timeout | null = null;
  #pausedUntilMs = -Infinity;
  #isClosed = false;

  constructor(options: GateThreadsOptions) {
    this.#options = options;
    if (options.isEager === true) void this.#grow();
  }

  /** The threads that there are, the oldest first. */
  get threads(): readonly GateThread[] {
    return this.#threads;
  }

  /**
   * Opens a gate where the fewest are.
   *
   * @param isPatient whether to wait for a thread to start.
   * @throws SallyportError AUDIT_REFUSED, AIRLOCK_FAILED; the doors are closed then. INTERNAL where its thread ends meanwhile.
   */
  async open(options: SandboxGateOptions, isPatient: boolean): Promise<SandboxGate> {
    this.#opening += 1;
    try {
      // What this thread listens on already cannot be handed on.
      const canMove = options.ends.listening === undefined;
      if ((isPatient || this.#options.isEager === true) && canMove) await this.#grow();
      const thread = canMove ? this.#leastBusy() : undefined;
      return thread === undefined ? this.#keepHere(await openSandboxGate(options)) : await thread.open(options);
    } finally {
      this.#opening -= 1;
      this.#growSoon();
    }
  }

  /** Ends all threads, whose gates have been closed before. */
  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#growth !== null) clearTimeout(this.#growth);
    await Promise.all(this.#threads.map(async (thread) => await thread.end()));
  }

  get #gateCount(): number {
    return this.#threads.reduce((sum, { size }) => sum + size, this.#own + this.#opening);
  }

  #leastBusy(): GateThread | undefined {
    return this.#threads.filter(({ isReady }) => isReady).toSorted((one, other) => one.size - other.size)[0];
  }

  #keepHere(gate: SandboxGate): SandboxGate {
    this.#own += 1;
    let isHere = true;
    return {
      thread: gate.thread,
      serve: async (ends) => await gate.serve(ends),
      reconfigure: async (rules) => await gate.reconfigure(rules),
      replaceSecrets: (secrets) => gate.replaceSecrets(secrets),
      traffic: async () => await gate.traffic(),
      close: async () => await gate.close(),
      end: async () => {
        if (isHere) this.#own -= 1;
        isHere = false;
        await gate.end();
      },
    };
  }

  #growSoon(): void {
    if (this.#growth !== null || this.#missing <= 0) return;
    this.#growth = setTimeout(() => {
      this.#growth = null;
      void this.#grow();
    }, GROWTH_DELAY_MS).unref();
  }

  get #missing(): number {
    if (this.#isClosed || performance.now() < this.#pausedUntilMs) return 0;
    const { limit, isEager = false } = this.#options;
    return (isEager ? limit : Math.min(limit, this.#gateCount)) - this.#threads.length;
  }

  /** Starts the threads that are missing, and waits for all that are starting. */
  async #grow(): Promise<void> {
    while (this.#missing > 0) this.#threads.push(new GateThread((thread) => this.#forget(thread)));
    await Promise.all(this.#threads.map(async ({ ready }) => await ready));
  }

  #forget(thread: GateThread): void {
    this.#threads.splice(this.#threads.indexOf(thread), 1);
    if (this.#isClosed) return;
    if (!thread.wasReady) this.#pausedUntilMs = performance.now() + PAUSE_AFTER_FAILURE_MS;
    this.#options.onLoss(thread.size);
  }
}
