import { randomBytes } from 'node:crypto';
import { SallyportError } from '@sallyport/sdk';
import type { StoredSecrets } from '../engine/sandbox-secrets.ts';
import { handOverValue } from '../secrets/secret-set-sealing.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import type { SecretScope, StoredSecret } from '../secrets/stored-secret.ts';
import { SecretBook } from '../stores/secret-book.ts';
import type { SecretValues } from './definition.ts';

/** What {@link SecretShelf.open} needs. */
export interface SecretShelfOptions {
  readonly stateDirectory: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Hears of each change of what is stored, whoever made it. */
  readonly onChange: () => void;
}

/** Sandboxes that do not run have the values of their own secrets here, under a scope that no name of a sandbox can be. */
const OWN_SCOPE = 'own:';

/** The daemon's view of what is stored. The book is opened when there is one, and made when something is to be stored. */
export class SecretShelf {
  readonly #options: SecretShelfOptions;
  readonly #ownKey = randomBytes(32);
  #book: SecretBook | null = null;
  #opening: Promise<SecretBook> | null = null;
  #watch: { close(): void } | null = null;

  private constructor(options: SecretShelfOptions) {
    this.#options = options;
  }

  /** @throws SallyportError STORE_CORRUPT, STORE_FAILED when what is stored cannot be read. */
  static async open(options: SecretShelfOptions): Promise<SecretShelf> {
    const shelf = new SecretShelf(options);
    if (SecretBook.exists(options.stateDirectory)) await shelf.book();
    return shelf;
  }

  /** The book; made where there is none. @throws SallyportError STORE_CORRUPT, STORE_FAILED */
  async book(): Promise<SecretBook> {
    if (this.#book !== null) return this.#book;
    const { stateDirectory, environment, onChange } = this.#options;
    this.#opening ??= SecretBook.open({ stateDirectory, environment })
      .then((book) => {
        this.#book = book;
        this.#watch = book.watch(onChange);
        return book;
      })
      .finally(() => (this.#opening = null));
    return await this.#opening;
  }

  /** What is stored for sandboxes; null where nothing ever was. */
  get stored(): StoredSecrets | null {
    const book = this.#book;
    if (book === null) return null;
    return { list: () => this.list(), value: async (secret) => await book.value(secret) };
  }

  /** What people have stored: all, or one scope's. */
  list(scope?: SecretScope): readonly StoredSecret[] {
    return this.#book?.list(scope).filter((secret) => !isOwnScope(secret.scope)) ?? [];
  }

  /** From which placeholders are derived. */
  get placeholderKey(): Uint8Array {
    return this.#book?.placeholderKey ?? this.#ownKey;
  }

  /** Keeps the values of a sandbox's own secrets, in place of those that were kept before. @throws SallyportError STORE_LOCKED, STORE_FAILED */
  async keepOwn(id: string, values: SecretValues): Promise<void> {
    if (values.size === 0 && !this.hasOwn(id)) return;
    const book = await this.book();
    const scope = ownScope(id);
    const old = new Set(book.list(scope).map(({ name }) => name));
    for (const [name, value] of values) {
      old.delete(name);
      // One after the other: each is a write of its own.
      // oxlint-disable-next-line no-await-in-loop
      await handOverValue(value, async (text) => await book.set(ownDraft(scope, name), Buffer.from(text)));
    }
    // oxlint-disable-next-line no-await-in-loop -- as above
    for (const name of old) await book.remove(scope, name);
  }

  /** Whether values of a sandbox's own secrets are kept here. */
  hasOwn(id: string): boolean {
    return (this.#book?.list(ownScope(id)).length ?? 0) > 0;
  }

  /** The values of a sandbox's own secrets as far as they are here. */
  async ownValues(id: string): Promise<SecretValues> {
    const book = this.#book;
    const values = new Map<string, SecretValue>();
    if (book === null) return values;
    await Promise.all(
      book.list(ownScope(id)).map(async (secret) => {
        try {
          values.set(secret.name, new SecretValue(Buffer.from(await book.value(secret)).toString('utf8')));
        } catch (error) {
          // It counts as lost: the gate stays closed until it is set again.
          if (!(error instanceof SallyportError)) throw error;
        }
      }),
    );
    return values;
  }

  /** Forgets the values of a sandbox that is gone. */
  async forgetOwn(id: string): Promise<void> {
    if (this.hasOwn(id)) await this.#book?.removeScope(ownScope(id));
  }

  async close(): Promise<void> {
    this.#watch?.close();
    await this.#book?.close();
    this.#book = null;
  }
}

function ownScope(id: string): SecretScope {
  return { kind: 'sandbox', sandbox: `${OWN_SCOPE}${id}` };
}

function isOwnScope(scope: SecretScope): boolean {
  return scope.kind === 'sandbox' && scope.sandbox.startsWith(OWN_SCOPE);
}

function ownDraft(scope: SecretScope, name: string) {
  return {
    scope,
    name,
    kind: 'custom',
    env: null,
    hosts: [],
    locations: [],
    methods: [],
    path: null,
    onViolation: 'pass',
    placeholder: null,
    source: { kind: 'value' },
    refreshMs: null,
  } as const;
}
