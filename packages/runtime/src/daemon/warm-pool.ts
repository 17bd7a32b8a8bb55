import { rmSync } from 'node:fs';
import type { PreparedSandbox } from '../engine/prepared-sandbox.ts';

/** A sandbox that was prepared before anybody asked for it, and the id that it has got by that. */
export interface WarmSandbox {
  readonly id: string;
  readonly prepared: PreparedSandbox;
}

/** How long the pool waits after a sandbox was taken, so that its refilling does not slow down the first command there, in ms. */
const REFILL_DELAY_MS = 150;
/** How long it waits after a failure, in ms; each further one doubles that. */
const RETRY_DELAY_MS = 5_000;
const MAX_RETRY_DELAY_MS = 300_000;

/** Sandboxes that wait for somebody who wants one. */
export class WarmPool {
  readonly #size: number;
  readonly #prepare: () => Promise<WarmSandbox>;
  readonly #waiting: WarmSandbox[] = [];
  #filling: Promise<void> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #failures = 0;
  #closed = false;

  /** @param size how many wait; 0 for none. */
  constructor(size: number, prepare: () => Promise<WarmSandbox>) {
    this.#size = size;
    this.#prepare = prepare;
  }

  get count(): number {
    return this.#waiting.length;
  }

  /** Begins to fill the pool. */
  open(): void {
    this.#schedule(0);
  }

  /** Takes a sandbox out; undefined when none is ready. It is the caller's from then on. */
  take(): WarmSandbox | undefined {
    const taken = this.#waiting.shift();
    this.#schedule(REFILL_DELAY_MS);
    return taken;
  }

  /** Ends all that wait. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#filling;
    await Promise.all(this.#waiting.splice(0).map(async (warm) => await discard(warm)));
  }

  #schedule(delayMs: number): void {
    if (this.#closed || this.#waiting.length >= this.#size) return;
    // A sandbox that is taken shortly after another puts the refilling off.
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#filling ??= this.#fill().finally(() => (this.#filling = null));
    }, delayMs);
    this.#timer.unref();
  }

  async #fill(): Promise<void> {
    while (!this.#closed && this.#waiting.length < this.#size) {
      try {
        const warm = await this.#prepare();
        this.#failures = 0;
        this.#waiting.push(warm);
        // One that ends by itself is no use to anybody.
        void warm.prepared.airlock.ended.then(() => this.#forget(warm));
      } catch {
        // Told to whoever asks for a sandbox: the same will happen there.
        this.#failures += 1;
        this.#schedule(Math.min(RETRY_DELAY_MS * 2 ** (this.#failures - 1), MAX_RETRY_DELAY_MS));
        return;
      }
    }
  }

  #forget(warm: WarmSandbox): void {
    const index = this.#waiting.indexOf(warm);
    if (index < 0) return;
    this.#waiting.splice(index, 1);
    void discard(warm).catch(() => undefined);
    this.#schedule(RETRY_DELAY_MS);
  }
}

/** Ends one that nobody has taken, and removes its files. */
async function discard({ prepared }: WarmSandbox): Promise<void> {
  await prepared.close();
  rmSync(prepared.record.directory, { recursive: true, force: true, maxRetries: 5 });
}
