/** How much is kept, in bytes of values. */
const MAX_CACHED_BYTES = 8 * 1024 * 1024;

/** Values in memory, by key: a key never gets another value. What leaves the cache is written over; what is handed out is a copy. */
export class ValueCache {
  readonly #values = new Map<string, Uint8Array>();
  readonly #reads = new Map<string, Promise<Uint8Array | null>>();
  #bytes = 0;

  /** The value of a key, read once whoever asks at the same time; null as `read` has it, and then not kept. */
  async get(key: string, read: () => Promise<Uint8Array | null>): Promise<Uint8Array | null> {
    const cached = this.#values.get(key);
    if (cached !== undefined) return Uint8Array.from(cached);
    let reading = this.#reads.get(key);
    if (reading === undefined) {
      reading = this.#read(key, read);
      this.#reads.set(key, reading);
    }
    const value = await reading;
    return value === null ? null : Uint8Array.from(value);
  }

  /** Drops what has another key. */
  keep(keys: ReadonlySet<string>): void {
    for (const key of this.#values.keys()) if (!keys.has(key)) this.#drop(key);
  }

  clear(): void {
    this.keep(new Set());
  }

  async #read(key: string, read: () => Promise<Uint8Array | null>): Promise<Uint8Array | null> {
    try {
      const value = await read();
      if (value === null) return null;
      this.#keep(key, Uint8Array.from(value));
      // By then everybody who waits has a copy.
      setImmediate(() => value.fill(0));
      return value;
    } finally {
      this.#reads.delete(key);
    }
  }

  #keep(key: string, value: Uint8Array): void {
    this.#drop(key);
    this.#values.set(key, value);
    this.#bytes += value.length;
    for (const oldest of this.#values.keys()) {
      if (this.#bytes <= MAX_CACHED_BYTES || oldest === key) break;
      this.#drop(oldest);
    }
  }

  #drop(key: string): void {
    const value = this.#values.get(key);
    if (value === undefined) return;
    this.#values.delete(key);
    this.#bytes -= value.length;
    value.fill(0);
  }
}
