import { SEAL_ROOM_BYTES } from './chain.ts';

const MIN_BYTES = 64 * 1024;
/** A buffer above this is not used again, even under load. */
const MAX_SPARE_BYTES = 1024 * 1024;

/** Lines that have been taken out: each begins {@link SEAL_ROOM_BYTES} behind where the one before it ends. */
export interface TakenLines {
  readonly bytes: Uint8Array;
  readonly ends: readonly number[];
}

/** Lines that wait to be written, as bytes: as strings they would be copied again and again by the garbage collector. */
export class LineQueue {
  #bytes: Uint8Array = new Uint8Array(MIN_BYTES);
  #length = 0;
  #ends: number[] = [];
  #spare: Uint8Array | null = null;

  get isEmpty(): boolean {
    return this.#ends.length === 0;
  }

  /** Bytes that wait, with what a line needs beside its text. */
  get length(): number {
    return this.#length;
  }

  /** Makes room for a line of up to `maxBytes`. It is written into {@link LineQueue.bytes} from {@link LineQueue.start} on, and then {@link LineQueue.added}. */
  reserve(maxBytes: number): void {
    const needed = this.start + maxBytes;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }

  /** Where lines are written; another one after each {@link LineQueue.reserve}. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Where the next line begins. */
  get start(): number {
    return this.#length + SEAL_ROOM_BYTES;
  }

  /** Takes in the line that has been written up to `end`. */
  added(end: number): void {
    this.#length = end;
    this.#ends.push(end);
  }

  /** Takes all lines out. */
  take(): TakenLines {
    const taken = { bytes: this.#bytes, ends: this.#ends };
    this.#bytes = this.#spare ?? new Uint8Array(MIN_BYTES);
    this.#spare = null;
    this.#length = 0;
    this.#ends = [];
    return taken;
  }

  /** Gives back what has been taken and is written: under load the next lines are put there, as touching memory for the first time costs. */
  reuse({ bytes }: TakenLines): void {
    if (bytes.length <= MAX_SPARE_BYTES) this.#spare = bytes;
  }

  /** Keeps no more memory than a quiet log needs. For an empty queue. */
  trim(): void {
    if (this.#bytes.length > MIN_BYTES) this.#bytes = new Uint8Array(MIN_BYTES);
    if (this.#spare !== null && this.#spare.length > MIN_BYTES) this.#spare = null;
  }

  /** Lets go of everything. */
  clear(): void {
    this.#bytes = new Uint8Array(MIN_BYTES);
    this.#spare = null;
    this.#length = 0;
    this.#ends = [];
  }
}
