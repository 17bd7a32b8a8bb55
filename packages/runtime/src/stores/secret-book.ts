import { randomBytes } from 'node:crypto';
import { SallyportError } from '@sallyport/sdk';
import { formatScope, type SecretScope, type StoredSecret } from '../secrets/stored-secret.ts';
import { BookDatabase, type Watch } from './book-database.ts';
import { StoreChooser, type StoreChoice } from './choose-store.ts';
import type { FileStep } from './durable-file.ts';
import type { StoreKind } from './secret-store.ts';
import { SecretTable, type SecretRow, type ValuePlace } from './secret-table.ts';
import { ValueCache } from './value-cache.ts';

/** The longest value, in bytes. */
export const MAX_VALUE_BYTES = 64 * 1024;
/** After this time, in ms, nobody is writing a value any more that no row names. */
const LEFTOVER_AGE_MS = 10 * 60 * 1_000;
/** How often a value is looked for that others keep replacing. */
const MAX_READ_TRIES = 20;

/** What is stored about a secret, by whoever sets it. */
export type SecretDraft = Omit<StoredSecret, 'createdAt' | 'updatedAt'>;

/** How far {@link SecretBook.set} has come; a process may end after any of them. */
export type WriteStep = 'noted' | FileStep | 'written' | 'committed' | 'removed';

/** How a book is opened. */
export interface SecretBookOptions {
  readonly stateDirectory: string;
  /** The store and its parts are found by it. */
  readonly environment: NodeJS.ProcessEnv;
  /** Where values go; without it `SALLYPORT_STORE`, else the setting of the book, else `auto`. */
  readonly store?: StoreChoice;
  /** Asks for the passphrase of the encrypted files; null when nobody answers. */
  readonly askPassphrase?: (() => Promise<string | null>) | undefined;
  /** Hears of each step of a write. For tests. */
  readonly onStep?: ((step: WriteStep) => void) | undefined;
  /** For tests. */
  readonly leftoverAgeMs?: number;
}

/**
 * Stored secrets: what is stored about them in book.db, their values in a secret store.
 *
 * A value is written under a key of its own before the row names it, and removed when no row does: whenever a process ends, there is the
 * old value or the new one. Each process that has a part in it opens it for itself.
 */
export class SecretBook {
  readonly #database: BookDatabase;
  readonly #table: SecretTable;
  readonly #stores: StoreChooser;
  readonly #values = new ValueCache();
  readonly #options: SecretBookOptions;
  #placeholderKey: Uint8Array;
  /** By scope and name, in their order. */
  #rows: ReadonlyMap<string, SecretRow> = new Map();
  #rowsVersion = Number.NaN;

  private constructor(database: BookDatabase, options: SecretBookOptions) {
    this.#database = database;
    this.#options = options;
    this.#table = database.read((connection) => new SecretTable(connection));
    const { placeholderKey, keychainService } = identify(database);
    this.#placeholderKey = placeholderKey;
    this.#stores = new StoreChooser({
      stateDirectory: options.stateDirectory,
      environment: options.environment,
      keychainService,
      askPassphrase: options.askPassphrase,
      choice: options.store,
      onFileStep: options.onStep,
      setting: {
        read: (name) => database.read(() => this.#table.setting(name)),
        write: (name, value) => database.write(() => this.#table.writeSetting(name, value)),
      },
    });
  }

  /**
   * Opens the book, and makes it where there is none.
   *
   * @throws SallyportError STORE_FAILED, STORE_CORRUPT; USAGE for an unknown store
   */
  static async open(options: SecretBookOptions): Promise<SecretBook> {
    const database = new BookDatabase(options.stateDirectory);
    try {
      return await Promise.resolve(new SecretBook(database, options));
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** Whether anything was ever stored; loads nothing. */
  static exists(stateDirectory: string): boolean {
    return BookDatabase.exists(stateDirectory);
  }

  /**
   * By this placeholders are derived: whoever has it can guess those of any sandbox, and no value. 32 random bytes, made with the book, which is
   * why book.db is 0600.
   */
  get placeholderKey(): Uint8Array {
    return this.#placeholderKey;
  }

  /** Where the next value goes, as far as that is known without asking the keychain. */
  get storeKind(): StoreKind {
    return this.#stores.likelyKind;
  }

  /** What decides where the next value goes: an option, `SALLYPORT_STORE`, the setting, else `auto`. */
  get storeChoice(): StoreChoice {
    return this.#stores.choice;
  }

  /** Where new values go from here on, for every process: the setting that an option and `SALLYPORT_STORE` override. Null: the choice is automatic. */
  setStore(choice: StoreChoice | null): void {
    this.#stores.setSetting(choice);
  }

  /** All secrets, or those of a scope, by scope and name. @throws SallyportError STORE_FAILED, STORE_CORRUPT */
  list(scope?: SecretScope): readonly StoredSecret[] {
    const secrets = [...this.#read().values()].map(({ secret }) => secret);
    return scope === undefined ? secrets : secrets.filter((secret) => isSameScope(secret.scope, scope));
  }

  /** @throws SallyportError STORE_FAILED, STORE_CORRUPT */
  find(scope: SecretScope, name: string): StoredSecret | undefined {
    return this.#findRow(scope, name)?.secret;
  }

  /**
   * Stores a secret, or what is different about one. A `value` of null keeps the value that is stored. It is durable when this is done.
   *
   * @param store where this one value goes; without it, where all go
   * @returns the secret, and what its owner should know
   * @throws SallyportError INVALID_SECRET_VALUE without a value, or for one that is too long; STORE_LOCKED, STORE_FAILED, STORE_CORRUPT: nothing was changed
   */
  async set(
    draft: SecretDraft,
    value: Uint8Array | null,
    store?: StoreChoice,
  ): Promise<{ secret: StoredSecret; notices: readonly string[] }> {
    this.#checkValue(draft, value);
    const notices: string[] = [];
    const written = value === null ? null : await this.#writeValue(value, notices, store);
    let superseded: ValuePlace | null = null;
    const nowMs = Date.now();
    const secret = this.#database.write(() => {
      const old = this.#table.findPlace(draft.scope, draft.name) ?? null;
      if (written !== null && !this.#table.takeLeftover(written)) throw tookTooLong(draft.name);
      if (value === null && draft.source.kind === 'value' && old === null) throw hasNoValue(draft.name);
      const place = draft.source.kind === 'value' ? (written ?? old) : null;
      this.#table.put({ secret: { ...draft, createdAt: nowMs, updatedAt: nowMs }, place });
      if (old !== null && old.key !== place?.key) {
        superseded = old;
        this.#table.addLeftover(old, nowMs);
      }
      return this.#table.find(draft.scope, draft.name)?.secret;
    });
    this.#options.onStep?.('committed');
    if (secret === undefined) throw new SallyportError('INTERNAL', 'A secret that was stored is not there.');
    if (superseded !== null) {
      const problem = await this.#discard(superseded);
      if (problem !== null) notices.push(`The value that it had before is still in the store: ${problem}`);
    }
    this.#options.onStep?.('removed');
    if (written !== null) await this.#sweep(written.store);
    return { secret, notices };
  }

  /** Whether there was one. @throws SallyportError STORE_FAILED, STORE_CORRUPT */
  async remove(scope: SecretScope, name: string): Promise<boolean> {
    return (await this.#removeRows(scope, () => [name])) > 0;
  }

  /** Removes all secrets of a scope, at once. @returns how many @throws SallyportError STORE_FAILED, STORE_CORRUPT */
  async removeScope(scope: SecretScope): Promise<number> {
    return await this.#removeRows(scope, () => this.#table.namesIn(scope));
  }

  /** @returns how many there were */
  async #removeRows(scope: SecretScope, names: () => readonly string[]): Promise<number> {
    const nowMs = Date.now();
    const found = this.#database.write(() =>
      names().flatMap((name) => {
        const place = this.#table.findPlace(scope, name);
        if (place === undefined) return [];
        this.#table.remove(scope, name);
        if (place !== null) this.#table.addLeftover(place, nowMs);
        return [place];
      }),
    );
    const swept = new Set<StoreKind>();
    for (const place of found) {
      // One after another: each is a write of its own.
      // oxlint-disable-next-line no-await-in-loop
      if (place !== null && (await this.#discard(place)) === null) swept.add(place.store);
    }
    // oxlint-disable-next-line no-await-in-loop -- as above
    for (const store of swept) await this.#sweep(store);
    return found.length;
  }

  /**
   * The value of a secret, as it is stored at this time; a copy that belongs to the caller, who may write over it.
   *
   * @throws SallyportError SECRET_NOT_FOUND, STORE_LOCKED, STORE_CORRUPT, STORE_FAILED; INTERNAL for one whose value is not stored
   */
  async value(secret: StoredSecret): Promise<Uint8Array> {
    for (let tries = 0; tries < MAX_READ_TRIES; tries += 1) {
      const row = this.#findRow(secret.scope, secret.name);
      if (row === undefined) {
        throw new SallyportError('SECRET_NOT_FOUND', `There is no secret ${describe(secret)} any more.`);
      }
      const { place } = row;
      if (place === null) {
        throw new SallyportError('INTERNAL', `The value of ${describe(secret)} is not stored: ask its source.`);
      }
      // oxlint-disable-next-line no-await-in-loop -- it was replaced while it was read: once more.
      const value = await this.#values.get(place.key, async () => await this.#stores.open(place.store).read(place.key));
      if (value !== null) return value;
      if (this.#findRow(secret.scope, secret.name)?.place?.key === place.key) throw lostValue(secret, place.store);
    }
    throw new SallyportError('STORE_FAILED', `${describe(secret)} was replaced each time that it was read. Try again.`);
  }

  /**
   * Removes all secrets of this state directory with their values, keychain items included. Placeholders will be others.
   *
   * @throws SallyportError STORE_LOCKED or STORE_FAILED where values could not be removed: no secret is there any more, and they will be removed when that is possible.
   */
  async reset(): Promise<void> {
    const nowMs = Date.now();
    const leftovers = this.#database.write((connection) => {
      for (const place of this.#table.places()) if (place !== null) this.#table.addLeftover(place, nowMs);
      this.#table.removeAll();
      const all = this.#table.leftovers(nowMs);
      for (const place of all) this.#table.claimLeftover(place);
      connection.prepare('UPDATE book SET placeholder_key = ?').run(randomBytes(32));
      // Here, so that nobody writes a file meanwhile: whoever has begun to finds its leftover claimed, whoever begins later writes after this.
      this.#stores.eraseFiles();
      return all;
    });
    this.#placeholderKey = identify(this.#database).placeholderKey;
    this.#values.clear();
    const problems: string[] = [];
    for (const place of leftovers) {
      // oxlint-disable-next-line no-await-in-loop -- the stores take one at a time.
      const problem = await this.#discard(place);
      if (problem !== null) problems.push(problem);
    }
    try {
      await this.#stores.eraseKeychain((key) => this.#isNamed(key));
    } catch (error) {
      problems.push(messageOf(error));
    }
    const [problem] = problems;
    if (problem !== undefined) {
      throw new SallyportError(
        'STORE_FAILED',
        `No secret is left, but ${problems.length} of the values could not be removed: ${problem}`,
      );
    }
  }

  /** Calls `onChange` soon after each change of the database, whoever made it, this process included. Several changes may be told of at once. */
  watch(onChange: () => void): Watch {
    return this.#database.watch(onChange);
  }

  async close(): Promise<void> {
    this.#values.clear();
    this.#database.close();
    await this.#stores.close();
  }

  #checkValue(draft: SecretDraft, value: Uint8Array | null): void {
    if (value === null) return;
    if (draft.source.kind !== 'value') {
      throw new SallyportError('INTERNAL', `${describe(draft)} gets its value from a source: none can be stored.`);
    }
    if (value.length > MAX_VALUE_BYTES) {
      throw new SallyportError(
        'INVALID_SECRET_VALUE',
        `The value of ${describe(draft)} has ${value.length} bytes; ${MAX_VALUE_BYTES} are possible.`,
      );
    }
  }

  /** Writes a value under a key that no row names yet. */
  async #writeValue(value: Uint8Array, notices: string[], asked: StoreChoice | undefined): Promise<ValuePlace> {
    const { store, notice } = await this.#stores.choose(asked);
    if (notice !== null) notices.push(notice);
    const place: ValuePlace = { store: store.kind, key: randomBytes(16).toString('hex') };
    this.#database.write(() => this.#table.addLeftover(place, Date.now()), { isQuiet: true });
    this.#options.onStep?.('noted');
    try {
      await store.write(place.key, value);
    } catch (error) {
      await this.#discard(place);
      throw error;
    }
    this.#options.onStep?.('written');
    return place;
  }

  /** Removes a value that no row names. @returns what stood in the way; it stays noted then. */
  async #discard(place: ValuePlace): Promise<string | null> {
    try {
      await this.#stores.open(place.store).remove(place.key);
      this.#database.write(() => this.#table.dropLeftover(place), { isQuiet: true });
      return null;
    } catch (error) {
      return messageOf(error);
    }
  }

  /** Whether a row names the key, or will. */
  #isNamed(key: string): boolean {
    return this.#database.read(() =>
      [...this.#table.places(), ...this.#table.leftovers(Number.MAX_SAFE_INTEGER)].some((place) => place?.key === key),
    );
  }

  /** Removes what others that ended in the middle have left in a store. */
  async #sweep(store: StoreKind): Promise<void> {
    try {
      const untilMs = Date.now() - (this.#options.leftoverAgeMs ?? LEFTOVER_AGE_MS);
      const old = this.#database.read(() => this.#table.leftovers(untilMs)).filter((place) => place.store === store);
      for (const place of old) {
        // Whoever is still writing it finds out by this, and fails.
        this.#database.write(() => this.#table.claimLeftover(place), { isQuiet: true });
        // oxlint-disable-next-line no-await-in-loop -- the stores take one at a time.
        await this.#discard(place);
      }
    } catch {
      // The next write tries it again.
    }
  }

  #findRow(scope: SecretScope, name: string): SecretRow | undefined {
    return this.#read().get(rowKey(scope, name));
  }

  #read(): ReadonlyMap<string, SecretRow> {
    return this.#database.read(() => {
      const { version } = this.#database;
      if (version !== this.#rowsVersion) {
        const rows = this.#table.all();
        this.#rows = new Map(rows.map((row) => [rowKey(row.secret.scope, row.secret.name), row]));
        this.#rowsVersion = version;
        this.#values.keep(new Set(rows.flatMap(({ place }) => (place === null ? [] : [place.key]))));
      }
      return this.#rows;
    });
  }
}

/** Reads what makes a book this one, and makes it up for a new one. */
function identify(database: BookDatabase): { placeholderKey: Uint8Array; keychainService: string } {
  const read = (): Record<string, unknown> | undefined =>
    database.read((connection) => connection.prepare('SELECT placeholder_key, keychain_service FROM book').get());
  let row = read();
  if (row === undefined) {
    // Another state directory has other items in the same keychain.
    const service = `sallyport-${randomBytes(6).toString('hex')}`;
    database.write((connection) => {
      const insert = 'INSERT OR IGNORE INTO book (id, placeholder_key, keychain_service) VALUES (1, ?, ?)';
      connection.prepare(insert).run(randomBytes(32), service);
    });
    row = read();
  }
  const key = row?.['placeholder_key'];
  if (!(key instanceof Uint8Array) || key.length !== 32) {
    throw new SallyportError('STORE_CORRUPT', 'The book of secrets and rules has no key for placeholders. Reset it.');
  }
  return { placeholderKey: key, keychainService: String(row?.['keychain_service']) };
}

function rowKey(scope: SecretScope, name: string): string {
  return `${scope.kind === 'global' ? '' : scope.sandbox}\0${name}`;
}

function isSameScope(one: SecretScope, other: SecretScope): boolean {
  if (one.kind === 'global' || other.kind === 'global') return one.kind === other.kind;
  return one.sandbox === other.sandbox;
}

function describe({ scope, name }: Pick<StoredSecret, 'scope' | 'name'>): string {
  return `${JSON.stringify(name)} of ${formatScope(scope)}`;
}

function messageOf(error: unknown): string {
  return error instanceof SallyportError ? error.message : 'it could not be removed.';
}

function hasNoValue(name: string): SallyportError {
  return new SallyportError(
    'INVALID_SECRET_VALUE',
    `The secret ${JSON.stringify(name)} has no value yet: give it one.`,
  );
}

function tookTooLong(name: string): SallyportError {
  return new SallyportError(
    'STORE_FAILED',
    `Writing the value of ${JSON.stringify(name)} took so long that another process took it for a leftover. Nothing was changed; set it again.`,
  );
}

function lostValue(secret: StoredSecret, store: StoreKind): SallyportError {
  const detail = {
    keychain: 'The keychain has no item for it: it was removed there, or this is another keychain.',
    file: 'Its encrypted file is not in the directory "secrets" of the state directory.',
    memory: 'It was in the memory of another process.',
  }[store];
  return new SallyportError('STORE_FAILED', `The value of ${describe(secret)} is gone. ${detail} Set it again.`);
}
