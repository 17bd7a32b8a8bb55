const MIN_BLOCK_BYTES = 4096;
const MAX_BLOCK_BYTES = 64 * 1024;

/**
 * Bytes that wait: for their reader to go on, or for the peer's window. They are copies, so that many small pieces take no more memory than
 * they have bytes, and keep no larger buffer that they are views of.
 */
export class ByteQueue {
  /** How many bytes wait. */
  length = 0;
  #blocks: Buffer[] = [];
  /** Where the first block begins, and where the last one ends. */
  #start = 0;
  #end = 0;

  push(source: Buffer, from: number, to: number): void {
    let at = from;
    while (at < to) {
      let last = this.#blocks.at(-1);
      if (last === undefined || this.#end === last.length) {
        const usual = Math.min(MAX_BLOCK_BYTES, Math.max(MIN_BLOCK_BYTES, this.length));
        last = Buffer.allocUnsafeSlow(Math.max(usual, Math.min(to - at, MAX_BLOCK_BYTES)));
        if (this.#blocks.length === 0) this.#start = 0;
        this.#blocks.push(last);
        this.#end = 0;
      }
      const count = Math.min(to - at, last.length - this.#end);
      source.copy(last, this.#end, at, at + count);
      this.#end += count;
      this.length += count;
      at += count;
    }
  }

  /** Takes at most `maxBytes` from the front; they belong to the caller. Only called when bytes wait. */
  take(maxBytes: number): Buffer {
    const first = this.#blocks[0]!;
    const limit = this.#blocks.length === 1 ? this.#end : first.length;
    const end = Math.min(limit, this.#start + maxBytes);
    const bytes = first.subarray(this.#start, end);
    this.length -= bytes.length;
    this.#start = end;
    if (end === limit) {
      this.#blocks.shift();
      this.#start = 0;
    }
    return bytes;
  }

  /** Drops everything; returns how much that was. */
  clear(): number {
    const { length } = this;
    this.#blocks = [];
    this.length = 0;
    return length;
  }
}
