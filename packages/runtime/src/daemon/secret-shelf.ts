import { randomBytes } from 'node:crypto';
import { SallyportError } from '@sallyport/sdk';
import type { StoredSecrets } from '../engine/sandbox-secrets.ts';
import { handOverValue } from '../secrets/secret-set-sealing.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import type { SecretScope, StoredSecret } from '../secrets/stored-secret.ts';
import { MAX_VALUE_BYTES, SecretBook } from '../stores/secret-book.ts';
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
    const former = book.list(scope).map(({ name }) => name);
    if (values.size > 0) {
      const texts = [...values].map(([placeholder, value]) => [placeholder, handOverValue(value, (text) => text)]);
      const content = Buffer.from(JSON.stringify(texts));
      const parts = Math.ceil(content.length / MAX_VALUE_BYTES);
      const edition = randomBytes(8).toString('hex');
      for (let part = 0; part < parts; part += 1) {
        const piece = content.subarray(part * MAX_VALUE_BYTES, (part + 1) * MAX_VALUE_BYTES);
        // One after the other: each is a write of its own.
        // oxlint-disable-next-line no-await-in-loop
        await book.set(ownDraft(scope, `${edition}.${part + 1}.${parts}`), piece);
      }
      content.fill(0);
    }
    // oxlint-disable-next-line no-await-in-loop -- as above
    for (const name of former) await book.remove(scope, name);
  }

  /** Whether values of a sandbox's own secrets are kept here. */
  hasOwn(id: string): boolean {
    return (this.#book?.list(ownScope(id)).length ?? 0) > 0;
  }

  /** The values of a sandbox's own secrets; none where they cannot be read: they count as lost, and its gate stays closed until they are set again. */
  async ownValues(id: string): Promise<SecretValues> {
    const book = this.#book;
    const [edition] = wholeEditions(book?.list(ownScope(id)) ?? []);
    if (book === null || edition === undefined) return new Map();
    try {
      const pieces = await Promise.all(edition.map(async (secret) => await book.value(secret)));
      const texts = JSON.parse(Buffer.concat(pieces).toString('utf8')) as [string, string][];
      return new Map(texts.map(([placeholder, text]) => [placeholder, new SecretValue(text)]));
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error;
      return new Map();
    }
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

/**
 * The parts of what was kept, in order, the newest first: a process that ended between two writes has left parts of an edition, or the one
 * before beside it.
 */
function wholeEditions(secrets: readonly StoredSecret[]): StoredSecret[][] {
  const editions = Map.groupBy(secrets, ({ name }) => name.slice(0, name.indexOf('.')));
  const partOf = ({ name }: StoredSecret): number => Number(name.split('.')[1]);
  return [...editions.values()]
    .filter((parts) => parts.every(({ name }) => name.endsWith(`.${parts.length}`)))
    .map((parts) => parts.toSorted((a, b) => partOf(a) - partOf(b)))
    .toSorted(([a], [b]) => (b?.updatedAt ?? 0) - (a?.updatedAt ?? 0));
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
