import { FLAG, FRAME, FRAME_HEAD_BYTES, writeUint32 } from './frame.ts';

/** Room that is taken at a time; for bodies, and for connections that have little to say. */
const LARGE_CHUNK_BYTES = 64 * 1024;
const SMALL_CHUNK_BYTES = 8 * 1024;
const EMPTY = Buffer.alloc(0);

/**
 * The frames that wait to be written, one behind the other in one buffer, so that they leave in one write.
 *
 * What was taken for writing is not touched again: further frames are put behind it, until the buffer is full and another one is begun.
 */
export class FrameWriter {
  /** Where a frame's payload can be written after {@link reserve}, from `at + FRAME_HEAD_BYTES` on. */
  buffer: Buffer = EMPTY;
  at = 0;
  /** How many bytes wait. */
  waitingBytes = 0;
  /** Buffers that are full, to be written before what waits in the present one. */
  #full: Buffer[] = [];
  /** What waits begins here. */
  #from = 0;
  /** Where the last HEADERS or DATA frame begins, and its stream; 0 for none that could still end its stream. */
  #lastAt = 0;
  #lastStream = 0;

  /** Makes room for a frame with a payload of up to that many bytes, and more such frames if `expectedBytes` is more. */
  reserve(payloadBytes: number, expectedBytes: number = payloadBytes): void {
    const wanted = FRAME_HEAD_BYTES + payloadBytes;
    if (this.buffer.length - this.at >= wanted) return;
    this.#setAside();
    const usual = expectedBytes > SMALL_CHUNK_BYTES / 2 ? LARGE_CHUNK_BYTES : SMALL_CHUNK_BYTES;
    this.buffer = Buffer.allocUnsafeSlow(Math.max(usual, wanted));
    this.at = 0;
    this.#from = 0;
  }

  /** Puts a frame's head before its payload, which has been written up to `end`. */
  finish(type: number, flags: number, streamId: number, end: number): void {
    const { buffer, at } = this;
    const length = end - at - FRAME_HEAD_BYTES;
    buffer[at] = length >>> 16;
    buffer[at + 1] = length >>> 8;
    buffer[at + 2] = length;
    buffer[at + 3] = type;
    buffer[at + 4] = flags;
    writeUint32(buffer, at + 5, streamId);
    if (type === FRAME.data || type === FRAME.headers) {
      this.#lastAt = at;
      // A block that goes on in CONTINUATION is left alone.
      this.#lastStream = type === FRAME.data || (flags & FLAG.endHeaders) !== 0 ? streamId : 0;
    }
    this.waitingBytes += end - at;
    this.at = end;
  }

  /** Puts bytes there that are no frame: the preface. */
  raw(bytes: Buffer): void {
    this.reserve(bytes.length);
    bytes.copy(this.buffer, this.at);
    this.at += bytes.length;
    this.waitingBytes += bytes.length;
  }

  /** Ends a stream with a frame of it that waits, if the last one is such; false when it needs a frame of its own. */
  endLast(streamId: number): boolean {
    if (this.#lastStream !== streamId) return false;
    this.buffer[this.#lastAt + 4]! |= FLAG.endStream;
    this.#lastStream = 0;
    return true;
  }

  /** Takes what waits, for writing: one buffer unless there was much. */
  take(): readonly Buffer[] {
    this.#setAside();
    const buffers = this.#full;
    if (buffers.length > 0) this.#full = [];
    this.waitingBytes = 0;
    return buffers;
  }

  #setAside(): void {
    this.#lastStream = 0;
    if (this.at === this.#from) return;
    this.#full.push(this.buffer.subarray(this.#from, this.at));
    this.#from = this.at;
  }
}
