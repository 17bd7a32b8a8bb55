import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite';
import { SallyportError } from '@sallyport/sdk';
import type { SecretScope, StoredSecret } from '../secrets/stored-secret.ts';
import type { StoreKind } from './secret-store.ts';

/** Which store has a value, and under which key. */
export interface ValuePlace {
  readonly store: StoreKind;
  readonly key: string;
}

/** A stored secret, and where its value is; null where it comes from elsewhere each time. */
export interface SecretRow {
  readonly secret: StoredSecret;
  readonly place: ValuePlace | null;
}

/** A value that no row names. */
interface Leftover extends ValuePlace {
  /** ms since 1970. */
  readonly since: number;
}

/** The rows about secrets in book.db. Whoever writes does so in a transaction. */
export class SecretTable {
  readonly #all: StatementSync;
  readonly #find: StatementSync;
  readonly #upsert: StatementSync;
  readonly #names: StatementSync;
  readonly #remove: StatementSync;
  readonly #removeAll: StatementSync;
  readonly #addLeftover: StatementSync;
  readonly #takeLeftover: StatementSync;
  readonly #claimLeftover: StatementSync;
  readonly #dropLeftover: StatementSync;
  readonly #leftovers: StatementSync;
  readonly #setting: StatementSync;
  readonly #writeSetting: StatementSync;
  readonly #removeSetting: StatementSync;

  constructor(database: DatabaseSync) {
    this.#all = database.prepare('SELECT * FROM secrets ORDER BY sandbox, name');
    this.#find = database.prepare('SELECT * FROM secrets WHERE sandbox = ? AND name = ?');
    this.#upsert = database.prepare(
      `INSERT INTO secrets (sandbox, name, definition, store, key, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (sandbox, name) DO UPDATE SET definition = excluded.definition, store = excluded.store, key = excluded.key, updated_at = excluded.updated_at`,
    );
    this.#names = database.prepare('SELECT name FROM secrets WHERE sandbox = ?');
    this.#remove = database.prepare('DELETE FROM secrets WHERE sandbox = ? AND name = ?');
    this.#removeAll = database.prepare('DELETE FROM secrets');
    this.#addLeftover = database.prepare('INSERT OR REPLACE INTO leftovers (key, store, since) VALUES (?, ?, ?)');
    this.#takeLeftover = database.prepare('DELETE FROM leftovers WHERE key = ? AND is_claimed = 0');
    this.#claimLeftover = database.prepare('UPDATE leftovers SET is_claimed = 1 WHERE key = ?');
    this.#dropLeftover = database.prepare('DELETE FROM leftovers WHERE key = ?');
    this.#leftovers = database.prepare('SELECT key, store, since FROM leftovers WHERE since <= ? ORDER BY since');
    this.#setting = database.prepare('SELECT value FROM settings WHERE name = ?');
    this.#writeSetting = database.prepare('INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)');
    this.#removeSetting = database.prepare('DELETE FROM settings WHERE name = ?');
  }

  all(): SecretRow[] {
    return this.#all.all().map((row) => readRow(row));
  }

  find(scope: SecretScope, name: string): SecretRow | undefined {
    const row = this.#find.get(scopeColumn(scope), name);
    return row === undefined ? undefined : readRow(row);
  }

  /** Where the value is, also of a row that cannot be read; undefined where there is no row. */
  findPlace(scope: SecretScope, name: string): ValuePlace | null | undefined {
    const row = this.#find.get(scopeColumn(scope), name);
    return row === undefined ? undefined : readPlace(row);
  }

  /** Where all values are, and how many rows there are. */
  places(): (ValuePlace | null)[] {
    return this.#all.all().map((row) => readPlace(row));
  }

  /** Writes a row; `createdAt` stays what it was. */
  put({ secret, place }: SecretRow): void {
    const { scope, name, createdAt, updatedAt, ...definition } = secret;
    const { store, key } = place ?? { store: null, key: null };
    this.#upsert.run(scopeColumn(scope), name, JSON.stringify(definition), store, key, createdAt, updatedAt);
  }

  /** The names of a scope, also of rows that cannot be read. */
  namesIn(scope: SecretScope): string[] {
    return this.#names.all(scopeColumn(scope)).map(({ name }) => String(name));
  }

  remove(scope: SecretScope, name: string): void {
    this.#remove.run(scopeColumn(scope), name);
  }

  removeAll(): void {
    this.#removeAll.run();
  }

  /** Notes a value that no row names, so that it does not stay for good whatever happens next. */
  addLeftover({ key, store }: ValuePlace, nowMs: number): void {
    this.#addLeftover.run(key, store, nowMs);
  }

  /** A row will name the value. False when another process has begun to remove it. */
  takeLeftover({ key }: ValuePlace): boolean {
    return this.#takeLeftover.run(key).changes === 1;
  }

  /** From here on no row will come to name the value. */
  claimLeftover({ key }: ValuePlace): void {
    this.#claimLeftover.run(key);
  }

  /** The value is gone. */
  dropLeftover({ key }: ValuePlace): void {
    this.#dropLeftover.run(key);
  }

  /** The leftovers that were noted until then. */
  leftovers(untilMs: number): Leftover[] {
    return this.#leftovers
      .all(untilMs)
      .map(({ key, store, since }) => ({ key: String(key), store: String(store) as StoreKind, since: Number(since) }));
  }

  setting(name: string): string | undefined {
    const row = this.#setting.get(name);
    return row === undefined ? undefined : String(row['value']);
  }

  writeSetting(name: string, value: string | null): void {
    if (value === null) this.#removeSetting.run(name);
    else this.#writeSetting.run(name, value);
  }
}

/** A sandbox has a name, so '' is free for the global scope. */
function scopeColumn(scope: SecretScope): string {
  return scope.kind === 'global' ? '' : scope.sandbox;
}

function readRow(row: Record<string, SQLOutputValue>): SecretRow {
  const sandbox = String(row['sandbox']);
  const name = String(row['name']);
  let definition: Omit<StoredSecret, 'scope' | 'name' | 'createdAt' | 'updatedAt'>;
  try {
    definition = JSON.parse(String(row['definition'])) as typeof definition;
  } catch (cause) {
    throw new SallyportError(
      'STORE_CORRUPT',
      `What is stored about the secret ${JSON.stringify(name)} cannot be read. Remove it and set it again.`,
      { cause },
    );
  }
  return {
    secret: {
      ...definition,
      scope: sandbox === '' ? { kind: 'global' } : { kind: 'sandbox', sandbox },
      name,
      createdAt: Number(row['created_at']),
      updatedAt: Number(row['updated_at']),
    },
    place: readPlace(row),
  };
}

function readPlace(row: Record<string, SQLOutputValue>): ValuePlace | null {
  return row['key'] === null ? null : { store: String(row['store']) as StoreKind, key: String(row['key']) };
}
