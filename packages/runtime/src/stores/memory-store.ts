import type { SecretStore } from './secret-store.ts';

/** Values of this process: they are gone with it. For tests, and for hosts that may keep nothing. */
export class MemoryStore implements SecretStore {
  readonly kind = 'memory';
  readonly #values = new Map<string, Uint8Array>();

  async read(key: string): Promise<Uint8Array | null> {
    const value = this.#values.get(key);
    return await Promise.resolve(value === undefined ? null : Uint8Array.from(value));
  }

  async write(key: string, value: Uint8Array): Promise<void> {
    this.#values.get(key)?.fill(0);
    this.#values.set(key, Uint8Array.from(value));
    await Promise.resolve();
  }

  async remove(key: string): Promise<boolean> {
    this.#values.get(key)?.fill(0);
    return await Promise.resolve(this.#values.delete(key));
  }

  async keys(): Promise<readonly string[]> {
    return await Promise.resolve([...this.#values.keys()]);
  }

  async close(): Promise<void> {
    for (const value of this.#values.values()) value.fill(0);
    this.#values.clear();
    await Promise.resolve();
  }
}
