import { SallyportError } from '@sallyport/sdk';
import { sourceFailed } from './fetched-value.ts';
import type { ValueSource } from './value-source.ts';

/** How long a fetched value is used, unless a secret says otherwise. */
export const DEFAULT_REFRESH_MS = 5 * 60_000;
/** The shortest life of a value: each end of one makes the host fetch again. */
export const MIN_REFRESH_MS = 1000;
/** How long a value that was fetched stays, at least, though an upstream refuses it. */
export const MIN_DROP_INTERVAL_MS = 30_000;
/** How long a failure stands before the source is asked again. */
export const FAILURE_MS = 1000;

export interface CachedSourceOptions {
  /** The life of a value in ms; null: until {@link CachedSource.drop}. */
  readonly refreshMs: number | null;
  /** Default {@link MIN_DROP_INTERVAL_MS}. */
  readonly minDropIntervalMs?: number;
  /** A clock that never goes back, in ms. Default `performance.now`. */
  readonly now?: () => number;
}

/** The value of a source that is at hand, and until when. */
interface Held {
  /** Nobody else's memory: what is given out are copies. */
  readonly value: Uint8Array;
  readonly fetchedMs: number;
  readonly endMs: number;
}

type Outcome =
  | { readonly kind: 'value'; readonly value: Uint8Array }
  | { readonly kind: 'failure'; readonly error: Error };

/** Somebody who waits for a fetch. */
interface Waiter {
  /** Copies a value at once: it may be wiped right after. */
  readonly settle: (outcome: Outcome) => void;
}

/**
 * A source whose value is kept for its life, and which is asked by one request at a time.
 *
 * What a sandbox can bring about: one fetch for each life of a value, one for each {@link MIN_DROP_INTERVAL_MS} while upstreams refuse it, and one
 * for each {@link FAILURE_MS} while the source fails. A value whose life is over is never given out, also not when the source fails.
 */
export class CachedSource {
  readonly #source: ValueSource;
  readonly #refreshMs: number | null;
  readonly #minDropIntervalMs: number;
  readonly #now: () => number;
  readonly #closing = new AbortController();
  #held: Held | null = null;
  #failure: { readonly error: Error; readonly endMs: number } | null = null;
  #isFetching = false;
  readonly #waiters = new Set<Waiter>();

  constructor(source: ValueSource, { refreshMs, minDropIntervalMs, now }: CachedSourceOptions) {
    this.#source = source;
    this.#refreshMs = refreshMs;
    this.#minDropIntervalMs = minDropIntervalMs ?? MIN_DROP_INTERVAL_MS;
    this.#now = now ?? ((): number => performance.now());
  }

  /** A copy of the value while its life lasts, else null. */
  peek(): Uint8Array | null {
    const held = this.#fresh();
    return held === null ? null : Uint8Array.from(held.value);
  }

  /**
   * A copy of the value, fetched when there is none. All who ask meanwhile wait for the same fetch, which goes on when any of them, or all, have left.
   *
   * @param signal Ends this caller's waiting.
   * @throws SallyportError SOURCE_FAILED, for {@link FAILURE_MS} the same one; ABORTED by the signal or {@link close}.
   */
  async get(signal?: AbortSignal): Promise<Uint8Array> {
    if (signal?.aborted === true) throw notAwaited(signal);
    const fresh = this.peek();
    if (fresh !== null) return fresh;
    if (this.#closing.signal.aborted) throw closed();
    if (this.#failure !== null) {
      if (this.#now() < this.#failure.endMs) throw this.#failure.error;
      this.#failure = null;
    }
    return await new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiters.delete(waiter);
        reject(notAwaited(signal));
      };
      const waiter: Waiter = {
        settle: (outcome) => {
          signal?.removeEventListener('abort', leave);
          if (outcome.kind === 'value') resolve(Uint8Array.from(outcome.value));
          else reject(outcome.error);
        },
      };
      signal?.addEventListener('abort', leave, { once: true });
      this.#waiters.add(waiter);
      if (this.#isFetching) return;
      this.#isFetching = true;
      void this.#fetch();
    });
  }

  /**
   * Gives the value up, because an upstream refused it.
   *
   * @param refused The value that was refused, where that is known: when another one has been fetched since, that one stays.
   * @returns Whether asking again makes sense: false when the value was fetched less than `minDropIntervalMs` ago, so that it stays.
   */
  drop(refused?: Uint8Array): boolean {
    const held = this.#fresh();
    // Gone already: what is asked for next is fetched, or is on its way.
    if (held === null) return true;
    if (refused !== undefined && !isEqual(refused, held.value)) return true;
    if (this.#now() - held.fetchedMs < this.#minDropIntervalMs) return false;
    this.#release();
    return true;
  }

  /** Ends a fetch that is under way, and wipes the value. Nothing is fetched any more. */
  close(): void {
    this.#closing.abort(closed());
    this.#release();
  }

  #fresh(): Held | null {
    if (this.#held !== null && this.#now() >= this.#held.endMs) this.#release();
    return this.#held;
  }

  #release(): void {
    this.#held?.value.fill(0);
    this.#held = null;
  }

  /** Never rejects: whoever waits is told. */
  async #fetch(): Promise<void> {
    let outcome: Outcome;
    try {
      const value = await this.#source.fetch(this.#closing.signal);
      if (this.#closing.signal.aborted) {
        value.fill(0);
        outcome = { kind: 'failure', error: closed() };
      } else {
        const fetchedMs = this.#now();
        this.#held = { value, fetchedMs, endMs: this.#refreshMs === null ? Infinity : fetchedMs + this.#refreshMs };
        outcome = { kind: 'value', value };
      }
    } catch (caught) {
      const error = this.#closing.signal.aborted ? closed() : asError(caught);
      this.#failure = { error, endMs: this.#now() + FAILURE_MS };
      outcome = { kind: 'failure', error };
    }
    this.#isFetching = false;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const { settle } of waiters) settle(outcome);
  }
}

function asError(caught: unknown): Error {
  return caught instanceof Error ? caught : sourceFailed('The source failed.', { cause: caught });
}

function closed(): SallyportError {
  return new SallyportError('ABORTED', 'The value is not fetched any more: what it was for has ended.');
}

function notAwaited(signal: AbortSignal | undefined): SallyportError {
  return new SallyportError('ABORTED', 'The value of a source is not waited for any more.', { cause: signal?.reason });
}

function isEqual(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}
