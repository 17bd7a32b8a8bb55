import { ERROR_CODE, Http2ConnectionError } from './error-code.ts';

/** CONTINUATION frames of one header block; one for every 16 KiB would do. */
const MAX_CONTINUATIONS = 16;
const EMPTY = Buffer.alloc(0);

/** A header block that comes in HEADERS and CONTINUATION frames: nothing else may come before its end (RFC 9113 section 6.10). */
export class HeaderBlock {
  /** The stream whose block is not whole; 0 for none. */
  streamId = 0;
  /** Whether its HEADERS frame ends the stream. */
  ends = false;
  bytes: Buffer = EMPTY;
  length = 0;
  readonly #maxBytes: number;
  #continuations = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  begin(streamId: number, ends: boolean, source: Buffer, start: number, end: number): void {
    this.streamId = streamId;
    this.ends = ends;
    this.length = 0;
    this.#continuations = 0;
    this.bytes = Buffer.allocUnsafe(2 * (end - start));
    this.#append(source, start, end);
  }

  /** Adds a CONTINUATION frame. @throws {Http2ConnectionError} where there are too many, or too long ones. */
  add(source: Buffer, start: number, end: number): void {
    this.#continuations += 1;
    if (this.#continuations > MAX_CONTINUATIONS || this.length + end - start > this.#maxBytes) {
      throw new Http2ConnectionError(ERROR_CODE.enhanceYourCalm, 'a header block is too long');
    }
    this.#append(source, start, end);
  }

  /** The block is whole and has been read. */
  clear(): void {
    this.streamId = 0;
    this.bytes = EMPTY;
  }

  #append(source: Buffer, start: number, end: number): void {
    const length = this.length + end - start;
    if (length > this.bytes.length) {
      const wider = Buffer.allocUnsafe(2 * length);
      this.bytes.copy(wider, 0, 0, this.length);
      this.bytes = wider;
    }
    source.copy(this.bytes, this.length, start, end);
    this.length = length;
  }
}
