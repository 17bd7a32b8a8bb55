import type { StoredSecret } from '../secrets/stored-secret.ts';
import { CachedSource } from '../sources/cached-source.ts';
import { createValueSource, type ValueSource } from '../sources/value-source.ts';
import { fetchedKey, type StoredSecrets } from './sandbox-secrets.ts';

/** Where commands of secrets run. */
const COMMAND_DIRECTORY = '/';

/** The sources of stored secrets, each one for all sandboxes of this process: a value is fetched once for all of them. */
export class SecretSources {
  readonly #environment: NodeJS.ProcessEnv;
  readonly #sources = new Map<string, CachedSource>();

  /** @param environment of the host: what commands see, and where references look for their settings. */
  constructor(environment: NodeJS.ProcessEnv) {
    this.#environment = environment;
  }

  /**
   * The source of a secret; of one whose value is stored, its store, which could not give it before.
   *
   * @throws SallyportError INVALID_REFERENCE
   */
  of(secret: StoredSecret, stored: StoredSecrets | null): CachedSource {
    const key = fetchedKey(secret);
    const known = this.#sources.get(key);
    if (known !== undefined) return known;
    const source = new CachedSource(this.#open(secret, stored), { refreshMs: secret.refreshMs });
    this.#sources.set(key, source);
    return source;
  }

  /** Forgets sources of secrets that are not stored any more, with their values. */
  keep(secrets: readonly StoredSecret[]): void {
    const keys = new Set(secrets.map(fetchedKey));
    for (const [key, source] of this.#sources) {
      if (keys.has(key)) continue;
      source.close();
      this.#sources.delete(key);
    }
  }

  close(): void {
    this.keep([]);
  }

  #open(secret: StoredSecret, stored: StoredSecrets | null): ValueSource {
    if (secret.source.kind !== 'value') {
      return createValueSource(secret.source, { environment: this.#environment, directory: COMMAND_DIRECTORY });
    }
    return {
      description: 'the secret store',
      fetch: async () => {
        if (stored === null) throw new TypeError('a stored value without a store');
        return await stored.value(secret);
      },
    };
  }
}
