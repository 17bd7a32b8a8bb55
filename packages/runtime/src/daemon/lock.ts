import { chmodSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { SallyportError } from '@sallyport/sdk';

/** The right to be the daemon of a state directory. */
export interface DaemonLock {
  release(): void;
}

/**
 * Takes the lock, which is the kernel's (a POSIX record lock of SQLite's), so that it goes with the process however that ends, and nothing
 * stale is ever left. Only one process of a machine holds it.
 *
 * @returns null when another process has it.
 * @throws SallyportError STATE_FAILED when the file cannot be used.
 */
export function takeDaemonLock(file: string): DaemonLock | null {
  let database: DatabaseSync;
  try {
    database = new DatabaseSync(file, { timeout: 0 });
  } catch (cause) {
    throw failed(file, cause);
  }
  try {
    chmodSync(file, 0o600);
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE;');
  } catch (cause) {
    database.close();
    if (cause instanceof Error && /locked|busy/i.test(cause.message)) return null;
    throw failed(file, cause);
  }
  return { release: () => database.close() };
}

function failed(file: string, cause: unknown): SallyportError {
  return new SallyportError(
    'STATE_FAILED',
    `The daemon's lock ${JSON.stringify(file)} cannot be taken. Check that its directory is yours and that the disk has room.`,
    { cause },
  );
}
