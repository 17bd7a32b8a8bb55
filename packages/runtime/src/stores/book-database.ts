import { existsSync, mkdirSync, utimesSync, watch as watchDirectory, writeFileSync, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { SallyportError } from '@sallyport/sdk';
import { BOOK_MIGRATIONS } from './book-migrations.ts';
import { isCorruption, openDatabase, reasonOf, transact } from './database.ts';

const DATABASE = 'book.db';
/** Its times change after each commit: a change of the database's own files is seen before the commit can be read. */
const CHANGE_MARK = 'book.changed';

/** How often a watcher looks although nothing was heard, in ms: a process that was killed after its commit has told nobody. */
const SAFETY_INTERVAL_MS = 1_000;
/** How often it looks where the system gives no notices (no inotify instance is left), in ms. */
const POLL_INTERVAL_MS = 40;

/** Something that goes on until it is closed. */
export interface Watch {
  close(): void;
}

/**
 * `book.db` in the state directory: what is stored about secrets, and stored rules; never a value. Each process that has a part in it opens it for
 * itself. A commit survives a power failure.
 */
export class BookDatabase {
  readonly connection: DatabaseSync;
  readonly #directory: string;
  readonly #dataVersion: StatementSync;
  readonly #listeners = new Set<() => void>();
  #ownWrites = 0;
  #heard = 0;
  #watcher: FSWatcher | null = null;
  #timer: NodeJS.Timeout | null = null;

  /**
   * Opens it, and makes it, with its directory (0700), where it is missing.
   *
   * @throws SallyportError STORE_FAILED when it cannot be opened or was written by a newer version, STORE_CORRUPT when it is damaged.
   */
  constructor(stateDirectory: string) {
    this.#directory = stateDirectory;
    try {
      mkdirSync(stateDirectory, { recursive: true, mode: 0o700 });
    } catch (cause) {
      throw new SallyportError(
        'STORE_FAILED',
        `The state directory ${JSON.stringify(stateDirectory)} cannot be made (${reasonOf(cause)}). Name another one with XDG_STATE_HOME.`,
        { cause },
      );
    }
    this.connection = openDatabase({
      file: join(stateDirectory, DATABASE),
      title: 'The book of secrets and rules',
      migrations: BOOK_MIGRATIONS,
      durability: 'power',
      failed: 'STORE_FAILED',
      corrupt: 'STORE_CORRUPT',
    });
    // What was removed is written over, not only given up.
    this.connection.exec('PRAGMA secure_delete = ON');
    this.#dataVersion = this.connection.prepare('PRAGMA data_version');
  }

  /** Whether there is one; loads nothing. */
  static exists(stateDirectory: string): boolean {
    return existsSync(join(stateDirectory, DATABASE));
  }

  /** A number that is another one after each commit, whoever made it. */
  get version(): number {
    // Counts the commits of others alone.
    const { data_version: others } = this.#dataVersion.get() as { data_version: number };
    return others + this.#ownWrites;
  }

  /**
   * Does `work` in one transaction, and tells everybody who watches, in this process and others. `work` must not wait for anything.
   *
   * @param options.isQuiet Tells nobody, at least not at once: it changes nothing that anybody watches for.
   * @throws SallyportError STORE_FAILED when it cannot be written, STORE_CORRUPT when the file is damaged, and what `work` throws.
   */
  write<T>(work: (connection: DatabaseSync) => T, options: { readonly isQuiet?: boolean } = {}): T {
    const result = this.#guard(() => transact(this.connection, () => work(this.connection)));
    this.#ownWrites += 1;
    if (options.isQuiet === true) return result;
    this.#mark();
    queueMicrotask(() => this.#look());
    return result;
  }

  /**
   * Reads.
   *
   * @throws SallyportError STORE_FAILED, STORE_CORRUPT
   */
  read<T>(work: (connection: DatabaseSync) => T): T {
    return this.#guard(() => work(this.connection));
  }

  /** Calls `onChange` after each commit, soon (inotify), its own included. Several changes may be told of at once. */
  watch(onChange: () => void): Watch {
    // The same function may watch twice.
    const listener = (): void => onChange();
    if (this.#listeners.size === 0) this.#startWatching();
    this.#listeners.add(listener);
    return {
      close: () => {
        if (this.#listeners.delete(listener) && this.#listeners.size === 0) this.#stopWatching();
      },
    };
  }

  close(): void {
    this.#listeners.clear();
    this.#stopWatching();
    if (this.connection.isOpen) this.connection.close();
  }

  #startWatching(): void {
    this.#heard = this.version;
    let intervalMs = SAFETY_INTERVAL_MS;
    try {
      this.#watcher = watchDirectory(this.#directory, { persistent: false }, (_event, name) => {
        if (name === null || name === CHANGE_MARK) this.#look();
      });
      this.#watcher.on('error', () => this.#poll(POLL_INTERVAL_MS));
    } catch {
      intervalMs = POLL_INTERVAL_MS;
    }
    this.#poll(intervalMs);
  }

  #poll(intervalMs: number): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#look(), intervalMs);
    this.#timer.unref();
  }

  #stopWatching(): void {
    this.#watcher?.close();
    this.#watcher = null;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #look(): void {
    if (!this.connection.isOpen || this.#listeners.size === 0) return;
    let version: number;
    try {
      version = this.version;
    } catch {
      // Whoever reads next is told.
      return;
    }
    if (version === this.#heard) return;
    this.#heard = version;
    for (const listener of this.#listeners) listener();
  }

  /** Tells other processes. What was committed is committed, so a failure is none of it: they look from time to time as well. */
  #mark(): void {
    const mark = join(this.#directory, CHANGE_MARK);
    const now = new Date();
    try {
      utimesSync(mark, now, now);
    } catch {
      try {
        writeFileSync(mark, '', { mode: 0o600 });
      } catch {
        // As above.
      }
    }
  }

  #guard<T>(work: () => T): T {
    try {
      return work();
    } catch (cause) {
      if (cause instanceof SallyportError) throw cause;
      if (isCorruption(cause)) {
        throw new SallyportError(
          'STORE_CORRUPT',
          `The book of secrets and rules, ${JSON.stringify(join(this.#directory, DATABASE))}, is damaged. It was left as it is: move it away, or put a copy in its place.`,
          { cause },
        );
      }
      throw new SallyportError(
        'STORE_FAILED',
        `The book of secrets and rules, ${JSON.stringify(join(this.#directory, DATABASE))}, cannot be read or written (${reasonOf(cause)}); nothing was changed. Check that the disk has room and that the directory is yours.`,
        { cause },
      );
    }
  }
}
