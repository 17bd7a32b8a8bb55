import { chmodSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { SallyportError } from '@sallyport/sdk';
import { MIGRATIONS } from './migrations.ts';

/** How long a reader of the file may hold up the daemon, in ms. */
const BUSY_TIMEOUT_MS = 2_000;

/**
 * Opens the daemon's state, and brings it to the present version. A commit survives the end of the process at any moment; a power failure
 * may take the last ones, and so it does the sandboxes.
 *
 * @throws SallyportError STATE_FAILED when it cannot be opened, is damaged, or was written by a newer version.
 */
export function openDatabase(file: string): DatabaseSync {
  try {
    const database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
    if (file !== ':memory:') chmodSync(file, 0o600);
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;');
    migrate(database);
    return database;
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause;
    throw new SallyportError(
      'STATE_FAILED',
      `The daemon's state ${JSON.stringify(file)} cannot be opened. Check that the disk has room; if the file is damaged, move it away.`,
      { cause },
    );
  }
}

function migrate(database: DatabaseSync): void {
  const row = database.prepare('PRAGMA user_version').get() as { user_version: number };
  const version = row.user_version;
  if (version > MIGRATIONS.length) {
    throw new SallyportError(
      'STATE_FAILED',
      `The daemon's state was written by a newer Sallyport (version ${version}, this one knows ${MIGRATIONS.length}). Use that one.`,
    );
  }
  for (const [index, migration] of MIGRATIONS.entries()) {
    if (index < version) continue;
    database.exec('BEGIN IMMEDIATE');
    try {
      database.exec(migration);
      database.exec(`PRAGMA user_version = ${index + 1}`);
      database.exec('COMMIT');
    } catch (error) {
      database.exec('ROLLBACK');
      throw error;
    }
  }
}

/** Runs a write, and tells of a failure (a full disk, say) as one of the state. @throws SallyportError STATE_FAILED */
export function writeState<T>(write: () => T): T {
  try {
    return write();
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause;
    throw new SallyportError(
      'STATE_FAILED',
      "The daemon's state cannot be written, so nothing was changed. Check that the disk has room.",
      { cause },
    );
  }
}
