import { createReadStream, statSync, type Stats } from 'node:fs';
import { basename, posix, resolve } from 'node:path';
import { Readable, Transform } from 'node:stream';
import { SallyportError } from '@sallyport/sdk';
import { HostDirectory, pack } from '@sallyport/sdk/archive';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import {
  filesPath,
  findEntry,
  isDirectory,
  plainPlace,
  type CopyWatch,
  type Operand,
  type SandboxPlace,
} from './copy-operand.ts';

/** Copies a file or a directory of the host into a sandbox. @throws SallyportError UNREADABLE_FILE, FILE_NOT_FOUND, FILE_FAILED */
export async function copyIn(
  client: DaemonClient,
  source: Operand,
  target: SandboxPlace,
  watch: CopyWatch,
): Promise<void> {
  const to = plainPlace(target);
  const intoDirectory = await isDirectory(client, to);
  if (!intoDirectory && /\/\.{0,2}$/.test(target.path)) {
    throw new SallyportError('FILE_NOT_FOUND', `There is no directory ${JSON.stringify(to.path)} in the sandbox.`);
  }
  if (source.kind === 'stream') {
    if (watch.isArchive !== intoDirectory) {
      throw new SallyportError(
        'USAGE',
        watch.isArchive
          ? `There is no directory ${JSON.stringify(to.path)} in the sandbox that the archive could be unpacked in.`
          : `${JSON.stringify(to.path)} is a directory. Name the file that standard input becomes; --archive unpacks one.`,
      );
    }
    const endpoint = watch.isArchive ? 'archive' : 'content';
    await client.ask({
      method: 'PUT',
      path: filesPath(to, endpoint),
      content: process.stdin.pipe(counter(watch.onBytes)),
    });
    return;
  }
  if (source.kind !== 'host') throw new TypeError('a copy from a sandbox');
  // A link that the user names is the user's own, and followed; those below it are copied as links.
  const path = resolve(source.path);
  const status = statOf(path, source.path);
  const name = basename(path);
  if (status.isFile()) {
    const place = intoDirectory ? { ...to, path: posix.join(to.path, name) } : to;
    const mode = (status.mode & 0o777).toString(8).padStart(3, '0');
    const file = createReadStream(path);
    const content = file.pipe(counter(watch.onBytes));
    file.once('error', (error) => content.destroy(error));
    const failure = new Promise<never>((_, reject) => {
      file.once('error', () => reject(unreadable(source.path)));
    });
    failure.catch(() => undefined);
    await Promise.race([client.ask({ method: 'PUT', path: filesPath(place, 'content', { mode }), content }), failure]);
    return;
  }
  if (!status.isDirectory()) {
    throw new SallyportError('UNREADABLE_FILE', `${JSON.stringify(source.path)} is neither a file nor a directory.`);
  }
  await copyDirectory(client, path, { name, to, intoDirectory }, watch);
}

async function copyDirectory(
  client: DaemonClient,
  path: string,
  { name, to, intoDirectory }: { readonly name: string; readonly to: SandboxPlace; readonly intoDirectory: boolean },
  watch: CopyWatch,
): Promise<void> {
  if (!intoDirectory) {
    if ((await findEntry(client, to)) !== undefined) {
      throw new SallyportError(
        'FILE_FAILED',
        `${JSON.stringify(to.path)} is no directory in the sandbox. Remove it first.`,
      );
    }
    await client.ask({ method: 'POST', path: directoriesPath(to), body: { path: to.path } });
  }
  const directory = await HostDirectory.open(name === '' ? '/' : path);
  try {
    let failure: Error | undefined;
    const archive = Readable.from(
      packWhole(directory, intoDirectory && name !== '' ? name : null, watch, (error) => (failure = error)),
      { objectMode: false },
    );
    try {
      await client.ask({ method: 'PUT', path: filesPath(to, 'archive'), content: archive });
    } catch (error) {
      // What kept the archive from being made says more than that it was cut.
      throw failure ?? error;
    }
    if (failure !== undefined) throw failure;
  } finally {
    await directory.close();
  }
}

async function* packWhole(
  directory: HostDirectory,
  as: string | null,
  { onBytes, onLeftOut }: CopyWatch,
  onFailure: (error: Error) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* pack({ directory, name: '.', as, onLeftOut, onBytes });
  } catch (error) {
    if (error instanceof Error) onFailure(error);
    throw error;
  }
}

function directoriesPath(place: SandboxPlace): string {
  return filesPath(place, 'directories').replace(/\?.*$/, '');
}

function statOf(path: string, written: string): Stats {
  try {
    return statSync(path);
  } catch {
    throw unreadable(written);
  }
}

function unreadable(path: string): SallyportError {
  return new SallyportError(
    'UNREADABLE_FILE',
    `${JSON.stringify(path)} cannot be read on the host. Check the path and its permissions.`,
  );
}

function counter(onBytes: (count: number) => void): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      onBytes(chunk.length);
      done(null, chunk);
    },
  });
}
