import type { DatabaseSync, SQLOutputValue } from 'node:sqlite';
import { SallyportError } from '@sallyport/sdk';
import { parseHostPattern } from '../policy/host-pattern.ts';
import type { Preset } from '../policy/presets.ts';
import { parseRequestLimit } from '../policy/request-limit.ts';
import { BookDatabase, type Watch } from './book-database.ts';
import type { StoredRule } from './stored-rule.ts';

/** A rule as it is asked for. */
export type RuleDraft = Pick<StoredRule, 'sandbox' | 'action' | 'pattern' | 'methods' | 'path'>;

/** The most rules of one book: each sandbox compiles those that are for it. */
export const MAX_STORED_RULES = 4096;

/** Rules of the network policy in book.db. Each process that has a part in it opens it for itself. */
export class RuleBook {
  readonly #database: BookDatabase;
  #rules: readonly StoredRule[] = [];
  #version = Number.NaN;

  /** Opens the book, and makes it where there is none. @throws SallyportError STORE_FAILED, STORE_CORRUPT */
  constructor(stateDirectory: string) {
    this.#database = new BookDatabase(stateDirectory);
  }

  /** Whether anything was ever stored; loads nothing. */
  static exists(stateDirectory: string): boolean {
    return BookDatabase.exists(stateDirectory);
  }

  /** All rules: by sandbox, those for all first, then in the order in which they were made. @throws SallyportError STORE_FAILED, STORE_CORRUPT */
  list(): readonly StoredRule[] {
    return this.#database.read((connection) => {
      const { version } = this.#database;
      if (version !== this.#version) {
        this.#rules = connection.prepare('SELECT * FROM rules ORDER BY sandbox, id').all().map(ruleOf);
        this.#version = version;
      }
      return this.#rules;
    });
  }

  /** The rules for a sandbox: those for all, and its own. */
  listFor(sandbox: string): readonly StoredRule[] {
    return this.list().filter((rule) => rule.sandbox === null || rule.sandbox === sandbox);
  }

  /**
   * Stores rules, all or none. One that is there already stays as it is.
   *
   * @returns the rules as they are stored
   * @throws SallyportError INVALID_HOST_PATTERN, INVALID_METHOD, INVALID_PATH_GLOB, INVALID_RULE, STORE_FAILED, STORE_CORRUPT: nothing was changed
   */
  add(drafts: readonly RuleDraft[]): readonly StoredRule[] {
    const canonical = drafts.map((draft) => canonicalRule(draft));
    const nowMs = Date.now();
    this.#database.write((connection) => {
      for (const rule of canonical) insert(connection, { ...rule, preset: null, createdAt: nowMs });
      refuseTooMany(connection);
    });
    const keys = new Set(canonical.map((rule) => keyOf({ ...rule, preset: null })));
    return this.list().filter((rule) => keys.has(keyOf(rule)));
  }

  /**
   * Removes every rule for a pattern, whatever its methods and path, presets' included.
   *
   * @param action only such rules; null for both kinds.
   * @returns what was removed; empty where there was none
   * @throws SallyportError INVALID_HOST_PATTERN, STORE_FAILED, STORE_CORRUPT
   */
  remove(sandbox: string | null, pattern: string, action: 'allow' | 'deny' | null = null): readonly StoredRule[] {
    const { text } = parseHostPattern(pattern, 'network');
    return this.#database.write((connection) =>
      connection
        .prepare('DELETE FROM rules WHERE sandbox = ? AND pattern = ? AND (?3 IS NULL OR action = ?3) RETURNING *')
        .all(sandbox ?? '', text, action)
        .map(ruleOf),
    );
  }

  /** Puts the rules of a preset in the place of those of another one. @throws SallyportError STORE_FAILED, STORE_CORRUPT */
  usePreset({ name, rules }: Preset): void {
    const nowMs = Date.now();
    this.#database.write((connection) => {
      connection.prepare("DELETE FROM rules WHERE preset <> ''").run();
      for (const { pattern } of rules) {
        const rule = canonicalRule({ sandbox: null, action: 'allow', pattern, methods: [], path: null });
        insert(connection, { ...rule, preset: name, createdAt: nowMs });
      }
      refuseTooMany(connection);
    });
  }

  /** Removes all rules, or those of one sandbox. @returns how many @throws SallyportError STORE_FAILED, STORE_CORRUPT */
  reset(sandbox?: string): number {
    return this.#database.write((connection) => {
      const statement =
        sandbox === undefined
          ? connection.prepare('DELETE FROM rules')
          : connection.prepare('DELETE FROM rules WHERE sandbox = ?');
      return Number(statement.run(...(sandbox === undefined ? [] : [sandbox])).changes);
    });
  }

  /** Calls `onChange` soon after each change of the database, whoever made it, this process included. */
  watch(onChange: () => void): Watch {
    return this.#database.watch(onChange);
  }

  close(): void {
    this.#database.close();
  }
}

function canonicalRule({ sandbox, action, pattern, methods, path }: RuleDraft): RuleDraft {
  const limit = parseRequestLimit({ methods, path });
  return {
    sandbox,
    action,
    pattern: parseHostPattern(pattern, 'network').text,
    methods: limit?.methods ?? [],
    path: limit?.path?.text ?? null,
  };
}

function insert(connection: DatabaseSync, rule: StoredRule): void {
  connection
    .prepare(
      'INSERT OR IGNORE INTO rules (sandbox, action, pattern, methods, path, preset, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
    )
    .run(
      rule.sandbox ?? '',
      rule.action,
      rule.pattern,
      rule.methods.join(','),
      rule.path ?? '',
      rule.preset ?? '',
      rule.createdAt,
    );
}

function refuseTooMany(connection: DatabaseSync): void {
  const { count } = connection.prepare('SELECT count(*) AS count FROM rules').get() as { count: number };
  if (count <= MAX_STORED_RULES) return;
  throw new SallyportError(
    'INVALID_RULE',
    `There would be ${count} rules; ${MAX_STORED_RULES} are possible. Remove some, or write one for many hosts (**.example.com).`,
  );
}

function ruleOf(row: Record<string, SQLOutputValue>): StoredRule {
  const text = (name: string): string | null => {
    const value = row[name];
    return typeof value === 'string' && value !== '' ? value : null;
  };
  return {
    sandbox: text('sandbox'),
    action: row['action'] === 'allow' ? 'allow' : 'deny',
    pattern: text('pattern') ?? '',
    methods: text('methods')?.split(',') ?? [],
    path: text('path'),
    preset: text('preset'),
    createdAt: Number(row['created_at']),
  };
}

function keyOf({ sandbox, action, pattern, methods, path, preset }: Omit<StoredRule, 'createdAt'>): string {
  return JSON.stringify([sandbox, action, pattern, methods, path, preset]);
}
