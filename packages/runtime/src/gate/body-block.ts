import type { RedactionStream } from '../secrets/redact.ts';

/** The bytes of a block, framing included: as many as four TLS records carry. */
const BLOCK_BYTES = 65_536;
/** Room before and behind the data: for the head of a chunk (`fff6` and a line end) and the line end after it. */
const CHUNK_HEAD_BYTES = 6;
const CHUNK_END_BYTES = 2;
/** Where the room for data ends. */
const DATA_END = BLOCK_BYTES - CHUNK_END_BYTES;

/** Held-back bytes up to this number begin the next block. More would leave it no room. */
const MAX_HELD_BYTES = BLOCK_BYTES / 4;

/** Blocks that nobody uses at present are kept up to this number, for all connections together. */
const MAX_SPARE_BLOCKS = 32;
const spare: Buffer[] = [];

/**
 * A piece of memory in which the parts of a body are joined: few large writes are much cheaper than many small ones. The memory is used again and
 * again, for all connections.
 */
export class BodyBlock {
  readonly #bytes: Buffer = spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
  #end = CHUNK_HEAD_BYTES;

  /** Begins with the bytes that `stream` holds back; false where they are too many. Only while the block is empty. */
  beginWith(stream: RedactionStream): boolean {
    if (stream.heldBytes > MAX_HELD_BYTES) return false;
    this.#end += stream.copyHeld(this.#bytes, this.#end);
    return true;
  }

  /** Takes as much of `data` from `start` on as there is room for; returns where it stopped. */
  append(data: Buffer, start: number): number {
    const copied = data.copy(this.#bytes, this.#end, start, start + DATA_END - this.#end);
    this.#end += copied;
    return start + copied;
  }

  get isFull(): boolean {
    return this.#end === DATA_END;
  }

  /** What has been joined. */
  get data(): Buffer {
    return this.#bytes.subarray(CHUNK_HEAD_BYTES, this.#end);
  }

  /** Whether `bytes` lies in this block. */
  holds(bytes: Buffer): boolean {
    return bytes.buffer === this.#bytes.buffer;
  }

  /** Makes a part of {@link BodyBlock.data} a chunk (RFC 9112 section 7.1), where it lies; whatever was before and behind it may be overwritten. */
  frame(part: Buffer): Buffer {
    const head = `${part.length.toString(16)}\r\n`;
    const start = part.byteOffset - head.length;
    const end = part.byteOffset + part.length;
    this.#bytes.write(head, start, 'latin1');
    this.#bytes[end] = 0x0d;
    this.#bytes[end + 1] = 0x0a;
    return this.#bytes.subarray(start, end + CHUNK_END_BYTES);
  }

  /** Gives the memory back: nobody may look at it any more. */
  release(): void {
    if (spare.length < MAX_SPARE_BLOCKS) spare.push(this.#bytes);
  }
}
