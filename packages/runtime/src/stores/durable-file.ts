import { randomBytes } from 'node:crypto';
import { link, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** How far a write has come. */
export type FileStep = 'created' | 'synced' | 'renamed';

/** The files that a write makes first end like this. */
export const PARTIAL_SUFFIX = '.partial';

/**
 * Writes a file (0600) so that it is there as a whole or not at all, whenever the process or the machine ends, and for good when this is done.
 *
 * @param isExclusive Fails with EEXIST where there is one, instead of replacing it.
 */
export async function writeDurably(
  path: string,
  content: Uint8Array,
  options: { readonly isExclusive?: boolean; readonly onStep?: ((step: FileStep) => void) | undefined } = {},
): Promise<void> {
  const directory = dirname(path);
  const partial = join(directory, `.${basename(path)}.${randomBytes(6).toString('hex')}${PARTIAL_SUFFIX}`);
  try {
    const file = await open(partial, 'wx', 0o600);
    try {
      options.onStep?.('created');
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    options.onStep?.('synced');
    if (options.isExclusive === true) await link(partial, path);
    else await rename(partial, path);
    options.onStep?.('renamed');
  } finally {
    await rm(partial, { force: true });
  }
  await syncDirectory(directory);
}

/** Makes what was made, renamed or removed in a directory durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
