import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, posix, resolve } from 'node:path';
import process from 'node:process';
import type { FileEntry } from '../api/files.ts';
import { SallyportError } from '../errors.ts';
import { codeOf, HostDirectory } from './archive/host-directory.ts';
import { pack } from './archive/pack.ts';
import { counted, explainFailure, unpack } from './archive/unpack.ts';
import type { Connection } from './connection.ts';
import type { CallOptions } from './limit.ts';

/** What a copy came to. */
export interface HostCopy {
  readonly files: number;
  /** Of their contents. */
  readonly bytes: number;
  /** What was left out, by its path in the copy; of very many the first thousand. */
  readonly skipped: readonly string[];
}

const MAX_SKIPPED = 1000;
const PERMISSIONS = 0o777;
/** What the copy is called until it is whole. */
const UNFINISHED = 'copy';

/** Counts as a copy goes on. */
class Tally {
  #files = 0;
  #bytes = 0;
  readonly #skipped: string[] = [];

  readonly onFile = (): void => {
    this.#files += 1;
  };

  readonly onBytes = (count: number): void => {
    this.#bytes += count;
  };

  /** @param path begins with the name of what is copied. */
  readonly onLeftOut = (path: string): void => {
    if (this.#skipped.length < MAX_SKIPPED) this.#skipped.push(path.replace(/^[^/]*\//, ''));
  };

  get result(): HostCopy {
    return { files: this.#files, bytes: this.#bytes, skipped: [...this.#skipped] };
  }
}

/** Copies into a sandbox; see `fs.copyIn`. @param base the path of its files in the API. */
export async function copyFromHost(
  connection: Connection,
  base: string,
  host: string,
  inside: string,
  options: CallOptions,
): Promise<HostCopy> {
  const source = resolve(host);
  const tally = new Tally();
  // What the caller names may be a link, and is followed.
  const status = await onHost(host, async () => await stat(source));
  if (status.isFile()) {
    const query = { path: inside, mode: (status.mode & PERMISSIONS).toString(8).padStart(3, '0') };
    const content = createReadStream(source, { end: Math.max(0, status.size - 1) }) as AsyncIterable<Uint8Array>;
    const question = { method: 'PUT', path: `${base}/content`, query, content, contentLength: status.size } as const;
    await connection.ask(question, options, Number.POSITIVE_INFINITY);
    return { files: 1, bytes: status.size, skipped: [] };
  }
  if (!status.isDirectory()) {
    throw new SallyportError('FILE_FAILED', `${JSON.stringify(host)} is neither a file nor a directory.`);
  }
  const directory = await onHost(host, async () => await HostDirectory.open(source));
  try {
    const query = { path: posix.dirname(inside) };
    const content = pack({ directory, name: '.', as: posix.basename(inside), ...tally });
    await connection.ask({ method: 'PUT', path: `${base}/archive`, query, content }, options, Number.POSITIVE_INFINITY);
  } finally {
    await directory.close();
  }
  return tally.result;
}

/** Copies out of a sandbox; see `fs.copyOut`. What the sandbox sends is not trusted: it is unpacked in a directory that nobody else knows, then moved. */
export async function copyToHost(
  connection: Connection,
  base: string,
  inside: string,
  host: string,
  options: CallOptions,
): Promise<HostCopy> {
  const target = resolve(host);
  const entry = await connection.ask<FileEntry>(
    { method: 'GET', path: `${base}/entry`, query: { path: inside } },
    options,
  );
  if (entry.type !== 'file' && entry.type !== 'directory') {
    const what =
      entry.type === 'link' ? `a link to ${JSON.stringify(entry.target)}: copy what it points to` : 'no file';
    throw new SallyportError('FILE_FAILED', `${JSON.stringify(inside)} is ${what}.`);
  }
  const name = basename(target);
  const parent = await onHost(host, async () => await HostDirectory.open(dirname(target)));
  try {
    const present = await parent.stat(name).catch(() => null);
    if (present !== null && (entry.type === 'directory' || present.isDirectory())) throw exists(host);
    const tally = new Tally();
    const question = (endpoint: string) =>
      ({ method: 'GET', path: `${base}/${endpoint}`, query: { path: inside } }) as const;
    if (entry.type === 'file') {
      const content = counted(await connection.bytes(question('content'), options), tally.onBytes);
      const mode = entry.mode & PERMISSIONS & ~process.umask();
      await onHost(host, async () => await parent.write(name, content, { mode }));
      tally.onFile();
      return tally.result;
    }
    const archive = await connection.bytes(question('archive'), options);
    await unpackFresh(archive, posix.basename(inside), parent, name, tally);
    return tally.result;
  } finally {
    await parent.close();
  }
}

/**
 * Unpacks an archive beside the place where the copy is to be, and moves it there when it is whole.
 *
 * @param base what all names in the archive begin with.
 * @throws SallyportError as {@link unpack}; nothing is left then.
 */
export async function unpackFresh(
  archive: AsyncIterable<Uint8Array>,
  base: string,
  parent: HostDirectory,
  name: string,
  tally: Pick<Parameters<typeof unpack>[1], 'onBytes' | 'onFile' | 'onLeftOut'>,
): Promise<void> {
  const { onBytes, onFile, onLeftOut } = tally;
  const fresh = await onHost(name, async () => await parent.makeFresh());
  try {
    const umask = process.umask();
    await unpack(archive, {
      directory: fresh.directory,
      base,
      as: UNFINISHED,
      umask,
      onLeftOut,
      ...(onBytes === undefined ? {} : { onBytes }),
      ...(onFile === undefined ? {} : { onFile }),
    });
    const made = await fresh.directory.stat(UNFINISHED).catch(() => null);
    if (made?.isDirectory() !== true) {
      throw new SallyportError('COPY_REFUSED', 'What came out of the sandbox is no directory any more. Copy it again.');
    }
    try {
      await fresh.directory.move(UNFINISHED, parent, name);
    } catch (cause) {
      if (codeOf(cause) === 'ENOTEMPTY' || codeOf(cause) === 'ENOTDIR') throw exists(name);
      throw explainFailure(cause, name);
    }
  } finally {
    await fresh.directory.close();
    await parent.remove(fresh.name).catch(() => undefined);
  }
}

function exists(host: string): SallyportError {
  return new SallyportError('FILE_FAILED', `${JSON.stringify(host)} exists already. Name a path that is free.`);
}

/** Turns a failure of the host's file system into one of ours. */
async function onHost<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    const code = codeOf(cause);
    if (cause instanceof SallyportError || code === undefined) throw cause;
    throw new SallyportError('FILE_FAILED', `${JSON.stringify(path)} on this machine: ${code}.`, { cause });
  }
}
