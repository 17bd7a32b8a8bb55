const MIN_BYTES = 64 * 1024;

/** Lines that wait to be written, as bytes: as strings they would be copied again and again by the garbage collector. */
export class LineQueue {
  #bytes: Buffer = Buffer.allocUnsafe(MIN_BYTES);
  #length = 0;
  #ends: number[] = [];

  get isEmpty(): boolean {
    return this.#ends.length === 0;
  }

  /** Bytes that wait. */
  get length(): number {
    return this.#length;
  }

  add(text: string): void {
    // A character of a string has three bytes at most.
    const needed = this.#length + text.length * 3;
    if (needed > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#bytes.length));
      this.#bytes.copy(grown, 0, 0, this.#length);
      this.#bytes = grown;
    }
    this.#length += this.#bytes.write(text, this.#length, 'utf8');
    this.#ends.push(this.#length);
  }

  /** Takes all lines out: each begins where the one before it ends. */
  take(): { readonly bytes: Buffer; readonly ends: readonly number[] } {
    const taken = { bytes: this.#bytes, ends: this.#ends };
    this.clear();
    return taken;
  }

  clear(): void {
    this.#bytes = Buffer.allocUnsafe(MIN_BYTES);
    this.#length = 0;
    this.#ends = [];
  }
}
