import { statSync } from 'node:fs';
import { basename, dirname, posix, resolve } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { counted, explainFailure, HostDirectory, unpack } from '@sallyport/sdk/archive';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import { writeOut } from './daemon-connection.ts';
import { filesPath, findEntry, plainPlace, type CopyWatch, type Operand, type SandboxPlace } from './copy-operand.ts';

/** Copies a file or a directory out of a sandbox. @throws SallyportError FILE_NOT_FOUND, COPY_REFUSED, FILE_FAILED */
export async function copyOut(
  client: DaemonClient,
  source: SandboxPlace,
  target: Operand,
  watch: CopyWatch,
): Promise<void> {
  const from = plainPlace(source);
  if (target.kind === 'stream') {
    const endpoint = watch.isArchive ? 'archive' : 'content';
    const content = await client.bytes({ method: 'GET', path: filesPath(from, endpoint) });
    for await (const chunk of whole(content, from)) {
      watch.onBytes(chunk.length);
      await writeOut(process.stdout, chunk);
    }
    return;
  }
  if (target.kind !== 'host') throw new TypeError('a copy to a sandbox');
  const entry = await findEntry(client, from);
  if (entry === undefined || from.path === '/') {
    throw new SallyportError(
      'FILE_NOT_FOUND',
      entry === undefined
        ? `There is nothing at ${JSON.stringify(from.path)} in the sandbox.`
        : 'The whole file system of a sandbox cannot be copied. Name a directory in it.',
    );
  }
  const base = posix.basename(from.path);
  const { parent, name } = findPlace(target.path, base);
  let directory: HostDirectory;
  try {
    directory = await HostDirectory.open(parent);
  } catch (cause) {
    throw explainFailure(cause, parent);
  }
  try {
    if (entry.type === 'directory') {
      const archive = await client.bytes({ method: 'GET', path: filesPath(from, 'archive') });
      await unpack(whole(archive, from), {
        directory,
        base,
        as: name,
        umask: process.umask(),
        onLeftOut: watch.onLeftOut,
        onBytes: watch.onBytes,
      });
      return;
    }
    // A link is followed inside, by the sandbox's own user: what it leads to is what is copied.
    const content = await client.bytes({ method: 'GET', path: filesPath(from, 'content') });
    const mode = (entry.type === 'file' ? entry.mode & 0o777 : 0o644) & ~process.umask();
    await directory.write(name, counted(whole(content, from), watch.onBytes), { mode }).catch((cause: unknown) => {
      throw explainFailure(cause, name);
    });
  } finally {
    await directory.close();
  }
}

/** Where the copy goes: into a directory that exists, else by that name into the directory above. */
function findPlace(target: string, base: string): { readonly parent: string; readonly name: string } {
  const path = resolve(target);
  const isDirectory = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  if (isDirectory) return { parent: path, name: base };
  if (/\/\.{0,2}$/.test(target)) {
    throw new SallyportError(
      'UNREADABLE_FILE',
      `There is no directory ${JSON.stringify(target)} on the host. Make it first.`,
    );
  }
  const parent = dirname(path);
  if (statSync(parent, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new SallyportError(
      'UNREADABLE_FILE',
      `There is no directory ${JSON.stringify(parent)} on the host. Make it first.`,
    );
  }
  return { parent, name: basename(path) };
}

/** The bytes of an answer, or an error: one that was cut is no success. */
async function* whole(
  content: AsyncIterable<Uint8Array>,
  { path }: SandboxPlace,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* content;
  } catch (cause) {
    throw new SallyportError(
      'FILE_FAILED',
      `Reading ${JSON.stringify(path)} ended in the middle: the sandbox was stopped, something in it cannot be read, or it changed meanwhile.`,
      { cause },
    );
  }
}
