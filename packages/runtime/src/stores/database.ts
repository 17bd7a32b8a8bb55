import { chmodSync, closeSync, fstatSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { SallyportError, type ErrorCode } from '@sallyport/sdk';

/** How long other processes may hold up a transaction, in ms. */
const BUSY_TIMEOUT_MS = 5_000;
/** SQLite does not wait by itself where two processes make a file a WAL database at once, nor where one closes it. */
const BUSY_RETRY_MS = 10;

const SQLITE_BUSY = 5;
const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/** A file of SQLite's, and how to speak of it. */
export interface DatabaseDescription {
  /** Its path, or `:memory:`. */
  readonly file: string;
  /** The beginning of a sentence, such as `The daemon's state`. */
  readonly title: string;
  /**
   * What leads from one version to the next, the first to version 1. Append-only: what has been released is never changed.
   */
  readonly migrations: readonly string[];
  /**
   * - `process`: a commit survives the end of the process at any moment; a power failure may take the last ones;
   * - `power`: it survives that as well.
   */
  readonly durability: 'process' | 'power';
  /** The code of a failure. */
  readonly failed: ErrorCode;
  /** The code where the file is damaged. */
  readonly corrupt: ErrorCode;
}

/**
 * Opens a database (WAL, 0600), makes it where it is missing, and brings it to the present version. Several processes may do so at once.
 *
 * @throws SallyportError `failed` when it cannot be opened, belongs to somebody else or was written by a newer version, `corrupt` when it is damaged.
 */
export function openDatabase(description: DatabaseDescription): DatabaseSync {
  const { file, title, migrations, durability, failed, corrupt } = description;
  let database: DatabaseSync | undefined;
  try {
    if (file !== ':memory:') claimFile(description);
    database = new DatabaseSync(file, { timeout: BUSY_TIMEOUT_MS });
    const opened = database;
    insist(() => opened.exec('PRAGMA journal_mode = WAL'));
    opened.exec(`PRAGMA synchronous = ${durability === 'power' ? 'FULL' : 'NORMAL'}; PRAGMA foreign_keys = ON;`);
    migrate(opened, title, migrations, failed);
    return opened;
  } catch (cause) {
    if (database?.isOpen === true) database.close();
    if (cause instanceof SallyportError) throw cause;
    if (isCorruption(cause)) {
      throw new SallyportError(
        corrupt,
        `${title} ${JSON.stringify(file)} cannot be opened: it is damaged, or no database at all. It was left as it is: move it away (with the files "-wal" and "-shm" beside it), or put a copy in its place.`,
        { cause },
      );
    }
    throw new SallyportError(
      failed,
      `${title} ${JSON.stringify(file)} cannot be opened (${reasonOf(cause)}). Check that the disk has room and that the directory is yours; if the file is damaged, move it away.`,
      { cause },
    );
  }
}

/** Makes the file 0600 before SQLite writes to it; the files that SQLite puts beside it are like it. */
function claimFile({ file, title, failed }: DatabaseDescription): void {
  const descriptor = openSync(file, 'a', 0o600);
  try {
    const { uid, mode } = fstatSync(descriptor);
    const user = process.geteuid?.();
    if (user !== undefined && uid !== user) {
      throw new SallyportError(
        failed,
        `${title} ${JSON.stringify(file)} belongs to another user (${uid}, and this is ${user}), who could have put anything into it. Move it away, or name another state directory with XDG_STATE_HOME.`,
      );
    }
    if ((mode & 0o077) !== 0) chmodSync(file, 0o600);
  } finally {
    closeSync(descriptor);
  }
}

/** Tries again while another process has the database to itself. */
function insist(work: () => void): void {
  const end = performance.now() + BUSY_TIMEOUT_MS;
  for (;;) {
    try {
      work();
      return;
    } catch (error) {
      if (resultCode(error) !== SQLITE_BUSY || performance.now() > end) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BUSY_RETRY_MS);
    }
  }
}

function migrate(database: DatabaseSync, title: string, migrations: readonly string[], failed: ErrorCode): void {
  const readVersion = (): number => {
    const row = database.prepare('PRAGMA user_version').get() as { user_version: number };
    return row.user_version;
  };
  const version = readVersion();
  if (version > migrations.length) {
    throw new SallyportError(
      failed,
      `${title} was written by a newer Sallyport (version ${version}, this one knows ${migrations.length}). Use that one.`,
    );
  }
  if (version === migrations.length) return;
  transact(database, () => {
    // Another process may have been faster.
    for (const [index, migration] of migrations.entries()) {
      if (index < readVersion()) continue;
      database.exec(migration);
      database.exec(`PRAGMA user_version = ${index + 1}`);
    }
  });
}

/** Does `work` in one transaction, which is rolled back when it throws. */
export function transact<T>(database: DatabaseSync, work: () => T): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    // Some failures (a full disk) have rolled it back by themselves.
    if (database.isTransaction) database.exec('ROLLBACK');
    throw error;
  }
}

/** Whether SQLite said that the file is damaged. */
export function isCorruption(error: unknown): boolean {
  const code = resultCode(error);
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB;
}

/** SQLite's primary result code; undefined for an error of another kind. */
function resultCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('errcode' in error) || typeof error.errcode !== 'number') return undefined;
  return error.errcode & 0xff;
}

/** SQLite's words, or the code of a system call: neither has a value of ours in it. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  if ('errstr' in error && typeof error.errstr === 'string') return error.errstr;
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name;
}
