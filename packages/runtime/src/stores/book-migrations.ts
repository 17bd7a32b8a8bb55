/**
 * What leads from one version of book.db to the next, the first to version 1. Append-only: what has been released is never changed.
 * The value of a secret is never in here.
 */
export const BOOK_MIGRATIONS: readonly string[] = [
  // 1: secrets (secret-table.ts). `sandbox` is '' for the global scope, `key` names the value in `store`. A leftover is a value that no row
  // names: one that is being written, or has to be removed yet.
  `
  CREATE TABLE book (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    placeholder_key BLOB NOT NULL,
    keychain_service TEXT NOT NULL
  ) STRICT;
  CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE secrets (
    sandbox TEXT NOT NULL,
    name TEXT NOT NULL,
    definition TEXT NOT NULL,
    store TEXT,
    key TEXT UNIQUE,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (sandbox, name),
    CHECK ((store IS NULL) = (key IS NULL))
  ) STRICT;
  CREATE TABLE leftovers (
    key TEXT PRIMARY KEY,
    store TEXT NOT NULL,
    since INTEGER NOT NULL,
    is_claimed INTEGER NOT NULL DEFAULT 0
  ) STRICT, WITHOUT ROWID;
  `,
  // 2: policy rules (rule-book.ts). `sandbox`, `methods`, `path` and `preset` are '' for: all sandboxes, any, any, none.
  `
  CREATE TABLE rules (
    id INTEGER PRIMARY KEY,
    sandbox TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('allow', 'deny')),
    pattern TEXT NOT NULL,
    methods TEXT NOT NULL,
    path TEXT NOT NULL,
    preset TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (sandbox, action, pattern, methods, path, preset)
  ) STRICT;
  `,
];
