import type { DatabaseSync } from 'node:sqlite';
import { SallyportError } from '@sallyport/sdk';
import { openDatabase as openAny } from '../../stores/database.ts';
import { MIGRATIONS } from './migrations.ts';

/**
 * Opens the daemon's state, and brings it to the present version. A commit survives the end of the process at any moment; a power failure
 * may take the last ones, and so it does the sandboxes.
 *
 * @throws SallyportError STATE_FAILED when it cannot be opened, is damaged, or was written by a newer version.
 */
export function openDatabase(file: string): DatabaseSync {
  return openAny({
    file,
    title: "The daemon's state",
    migrations: MIGRATIONS,
    durability: 'process',
    failed: 'STATE_FAILED',
    corrupt: 'STATE_FAILED',
  });
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
