import { existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { BookDatabase } from './book-database.ts';
import { SecretBook } from './secret-book.ts';

/** What belongs to the book in the state directory, but for the files of values. */
const BOOK_FILES = ['book.db', 'book.db-wal', 'book.db-shm', 'book.changed'];
const VALUES = 'secrets';

/**
 * Removes everything that is stored: secrets, their values wherever they are, and rules. No other process may have the book open.
 *
 * @throws SallyportError STORE_LOCKED or STORE_FAILED where values could not be removed: the book stays, without secrets, and knows of them.
 */
export async function eraseBook(stateDirectory: string, environment: NodeJS.ProcessEnv): Promise<void> {
  setAsideDamagedBook(stateDirectory);
  if (SecretBook.exists(stateDirectory)) {
    // What an option or a variable says of new values has nothing to do with it.
    const book = await SecretBook.open({ stateDirectory, environment, store: 'auto' });
    try {
      await book.reset();
    } finally {
      await book.close();
    }
  }
  for (const name of BOOK_FILES) rmSync(join(stateDirectory, name), { force: true });
  rmSync(join(stateDirectory, VALUES), { recursive: true, force: true });
}

/** Moves a book away that is damaged, since nothing works with it. @returns where to; null when there is nothing wrong with it */
export function setAsideDamagedBook(stateDirectory: string): string | null {
  if (!BookDatabase.exists(stateDirectory)) return null;
  try {
    new BookDatabase(stateDirectory).close();
    return null;
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'STORE_CORRUPT') throw error;
  }
  const suffix = `.corrupt-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`;
  for (const name of BOOK_FILES) {
    const path = join(stateDirectory, name);
    if (existsSync(path)) renameSync(path, `${path}${suffix}`);
  }
  return join(stateDirectory, `book.db${suffix}`);
}
