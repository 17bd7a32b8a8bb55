import { findHeadEnd, MAX_HEAD_BYTES } from './head-parser.ts';
import type { MessageSide } from './http-syntax-error.ts';

/**
 * Collects one head after another from the chunks of a connection.
 *
 * A head that lies in one chunk, as nearly all do, is not copied. One that comes in pieces is copied once into a buffer that
 * doubles up to `maxHeadBytes`, so a peer that sends byte by byte costs linear time and bounded memory.
 *
 * @example
 * ```ts
 * const next = reader.read(chunk, offset);
 * if (next === -1) return; // every byte is taken, wait for more
 * const head = parseRequestHead(reader.bytes, reader.start, reader.end);
 * ```
 */
export class HeadReader {
  /** After `read` found a head: it is `bytes[start, end)`. */
  bytes: Buffer = EMPTY;
  start = 0;
  end = 0;

  readonly #side: MessageSide;
  readonly #maxHeadBytes: number;
  #pending: Buffer = EMPTY;
  #pendingBytes = 0;

  constructor(side: MessageSide, maxHeadBytes: number = MAX_HEAD_BYTES) {
    this.#side = side;
    this.#maxHeadBytes = maxHeadBytes;
  }

  /** Whether part of a head has been read: a connection that ends here was cut, one that ends elsewhere just ended. */
  get isPending(): boolean {
    return this.#pendingBytes > 0;
  }

  /**
   * Reads on at `chunk[offset]`. Returns the offset after the head, or -1 when the whole chunk was taken and more is needed.
   *
   * @throws {HttpSyntaxError} as `findHeadEnd`.
   */
  read(chunk: Buffer, offset: number): number {
    if (this.#pendingBytes === 0) {
      const end = findHeadEnd(chunk, offset, chunk.length, offset, this.#side, this.#maxHeadBytes);
      if (end === -1) {
        this.#append(chunk, offset, chunk.length);
        return -1;
      }
      this.#found(chunk, offset, end);
      return end;
    }

    const scanned = this.#pendingBytes;
    // One byte more than a head may have is enough to see that it is too long.
    const taken = Math.min(chunk.length - offset, this.#maxHeadBytes + 1 - scanned);
    this.#append(chunk, offset, offset + taken);
    const pending = this.#pending;
    const end = findHeadEnd(pending, 0, this.#pendingBytes, scanned, this.#side, this.#maxHeadBytes);
    if (end === -1) return -1;
    this.#pending = EMPTY;
    this.#pendingBytes = 0;
    this.#found(pending, 0, end);
    return offset + (end - scanned);
  }

  /** Lets go of the head that was found: it may be a small part of a large buffer, and a connection can rest for long. */
  release(): void {
    this.bytes = EMPTY;
    this.start = 0;
    this.end = 0;
  }

  #found(bytes: Buffer, start: number, end: number): void {
    this.bytes = bytes;
    this.start = start;
    this.end = end;
  }

  #append(chunk: Buffer, start: number, end: number): void {
    const needed = this.#pendingBytes + (end - start);
    if (needed > this.#pending.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#pending.length, MIN_PENDING_BYTES));
      this.#pending.copy(grown, 0, 0, this.#pendingBytes);
      this.#pending = grown;
    }
    chunk.copy(this.#pending, this.#pendingBytes, start, end);
    this.#pendingBytes = needed;
  }
}

const EMPTY = Buffer.alloc(0);
const MIN_PENDING_BYTES = 1024;
