import { ERROR_CODE, Http2ConnectionError } from './error-code.ts';
import { FRAME_HEAD_BYTES, MAX_FRAME_BYTES, PREFACE } from './frame.ts';

/** Takes a frame whose payload is `source` from `start` to `end`. False: nothing more is to be read. */
export type FrameSink = (
  type: number,
  flags: number,
  streamId: number,
  source: Buffer,
  start: number,
  end: number,
) => boolean;

const EMPTY = Buffer.alloc(0);

/** Cuts what a peer sends into frames. A frame that came in one chunk is read where it is; one in several is put together first. */
export class FrameReader {
  readonly #sink: FrameSink;
  /** Octets of the client's preface that have to come yet. */
  #prefaceLeft: number;
  /** The beginning of a frame that has not come whole. */
  #partial: Buffer = EMPTY;
  #partialBytes = 0;

  /** `expectsPreface` is for the server's side. */
  constructor(expectsPreface: boolean, sink: FrameSink) {
    this.#prefaceLeft = expectsPreface ? PREFACE.length : 0;
    this.#sink = sink;
  }

  /**
   * Reads a chunk.
   *
   * @throws {Http2ConnectionError} for another preface, a frame that is too long, and whatever the sink throws.
   */
  read(chunk: Buffer): void {
    let at = this.#prefaceLeft > 0 ? this.#readPreface(chunk) : 0;
    if (this.#partialBytes > 0) {
      at = this.#complete(chunk, at);
      if (at < 0) return;
    }
    while (chunk.length - at >= FRAME_HEAD_BYTES) {
      const length = lengthAt(chunk, at);
      const end = at + FRAME_HEAD_BYTES + length;
      if (end > chunk.length) break;
      if (!this.#give(chunk, at, end)) return;
      at = end;
    }
    if (at < chunk.length) this.#keep(chunk, at);
  }

  #readPreface(chunk: Buffer): number {
    const from = PREFACE.length - this.#prefaceLeft;
    const count = Math.min(this.#prefaceLeft, chunk.length);
    if (chunk.compare(PREFACE, from, from + count, 0, count) !== 0) {
      throw new Http2ConnectionError(ERROR_CODE.protocolError, 'the connection does not begin with the preface');
    }
    this.#prefaceLeft -= count;
    return count;
  }

  /** Adds to the partial frame; returns where the chunk goes on, or -1 when it is at its end or nothing more is to be read. */
  #complete(chunk: Buffer, start: number): number {
    let at = start;
    if (this.#partialBytes < FRAME_HEAD_BYTES) {
      const count = Math.min(FRAME_HEAD_BYTES - this.#partialBytes, chunk.length - at);
      chunk.copy(this.#partial, this.#partialBytes, at, at + count);
      this.#partialBytes += count;
      at += count;
      if (this.#partialBytes < FRAME_HEAD_BYTES) return -1;
      this.#widen();
    }
    const count = Math.min(this.#partial.length - this.#partialBytes, chunk.length - at);
    chunk.copy(this.#partial, this.#partialBytes, at, at + count);
    this.#partialBytes += count;
    if (this.#partialBytes < this.#partial.length) return -1;
    const frame = this.#partial;
    this.#partial = EMPTY;
    this.#partialBytes = 0;
    return this.#give(frame, 0, frame.length) ? at + count : -1;
  }

  /** Keeps the beginning of a frame. */
  #keep(chunk: Buffer, start: number): void {
    this.#partial = Buffer.allocUnsafe(FRAME_HEAD_BYTES);
    const count = Math.min(FRAME_HEAD_BYTES, chunk.length - start);
    chunk.copy(this.#partial, 0, start, start + count);
    this.#partialBytes = count;
    if (count < FRAME_HEAD_BYTES) return;
    this.#widen();
    chunk.copy(this.#partial, count, start + count, chunk.length);
    this.#partialBytes = chunk.length - start;
  }

  /** Makes room for the whole frame, whose head is there. It is a buffer of its own: DATA is handed out as a view of it. */
  #widen(): void {
    const whole = Buffer.allocUnsafe(FRAME_HEAD_BYTES + lengthAt(this.#partial, 0));
    this.#partial.copy(whole, 0, 0, FRAME_HEAD_BYTES);
    this.#partial = whole;
  }

  #give(source: Buffer, at: number, end: number): boolean {
    const streamId =
      ((source[at + 5]! & 0x7f) << 24) | (source[at + 6]! << 16) | (source[at + 7]! << 8) | source[at + 8]!;
    return this.#sink(source[at + 3]!, source[at + 4]!, streamId, source, at + FRAME_HEAD_BYTES, end);
  }
}

function lengthAt(source: Buffer, at: number): number {
  const length = (source[at]! << 16) | (source[at + 1]! << 8) | source[at + 2]!;
  if (length > MAX_FRAME_BYTES) throw new Http2ConnectionError(ERROR_CODE.frameSizeError, 'a frame is too long');
  return length;
}
