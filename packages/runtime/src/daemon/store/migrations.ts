/**
 * What leads from one version of the state to the next, the first to version 1. Append-only: what has been released is never changed.
 * Nothing secret is ever in here.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE sandboxes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    reason TEXT,
    definition TEXT NOT NULL,
    record TEXT,
    notices TEXT NOT NULL DEFAULT '[]',
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    stopped_at INTEGER
  ) STRICT;
  CREATE TABLE names (
    sandbox_id TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (sandbox_id, position)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE execs (
    id TEXT PRIMARY KEY,
    sandbox_id TEXT NOT NULL REFERENCES sandboxes (id) ON DELETE CASCADE,
    state TEXT NOT NULL,
    command TEXT NOT NULL,
    terminal INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    deadline_at INTEGER,
    ended_at INTEGER,
    exit_code INTEGER,
    timed_out INTEGER NOT NULL DEFAULT 0,
    reason TEXT
  ) STRICT;
  CREATE INDEX execs_of_sandbox ON execs (sandbox_id, created_at);
  CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    type TEXT NOT NULL,
    sandbox TEXT NOT NULL,
    sandbox_id TEXT NOT NULL,
    exec TEXT,
    detail TEXT
  ) STRICT;
  `,
  'ALTER TABLE sandboxes ADD COLUMN lifetime_ends_at INTEGER',
];
