import { createReadStream } from 'node:fs';
import {
  chmod,
  link,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readlink,
  rename,
  rm,
  stat,
  symlink,
} from 'node:fs/promises';
import { dirname, join, posix, resolve } from 'node:path';
import type { FileEntry } from '../api/files.ts';
import { SallyportError } from '../errors.ts';
import type { Connection } from './connection.ts';
import type { CallOptions } from './limit.ts';
import { readTar, TAR_END, writeHeader, writePadding, type TarHeader } from './tar.ts';

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
/** A directory is made writable for its owner, or what is in it could not be removed. */
const OWNER_ALL = 0o700;

/** Counts as a copy goes on. */
class Tally implements HostCopy {
  files = 0;
  bytes = 0;
  readonly skipped: string[] = [];

  skip(path: string): void {
    if (this.skipped.length < MAX_SKIPPED) this.skipped.push(path);
  }

  get result(): HostCopy {
    return { files: this.files, bytes: this.bytes, skipped: this.skipped };
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
  const query = { path: posix.dirname(inside) };
  const content = pack(source, posix.basename(inside), tally);
  await connection.ask({ method: 'PUT', path: `${base}/archive`, query, content }, options, Number.POSITIVE_INFINITY);
  return tally.result;
}

/** What is at a path of the host, as an archive. */
async function* pack(source: string, name: string, tally: Tally): AsyncGenerator<Uint8Array, void, undefined> {
  yield* packEntry(source, name, tally);
  yield TAR_END;
}

async function* packEntry(path: string, name: string, tally: Tally): AsyncGenerator<Uint8Array, void, undefined> {
  // Only what the caller named is followed.
  const status = await onHost(path, async () => await (name.includes('/') ? lstat(path) : stat(path)));
  const header = { name, mode: status.mode & PERMISSIONS, size: 0, target: '', modifiedAt: status.mtimeMs / 1000 };
  if (status.isDirectory()) {
    yield writeHeader({ ...header, name: `${name}/`, type: 'directory' });
    const children = await onHost(path, async () => await readdir(path));
    for (const child of children.toSorted()) yield* packEntry(join(path, child), `${name}/${child}`, tally);
  } else if (status.isSymbolicLink()) {
    yield writeHeader({ ...header, type: 'link', target: await onHost(path, async () => await readlink(path)) });
  } else if (status.isFile()) {
    yield writeHeader({ ...header, type: 'file', size: status.size });
    let left = status.size;
    if (left > 0) {
      for await (const chunk of createReadStream(path, { end: status.size - 1 }) as AsyncIterable<Uint8Array>) {
        left -= chunk.length;
        yield chunk;
      }
    }
    if (left > 0) throw new SallyportError('FILE_FAILED', `${JSON.stringify(path)} became shorter while it was read.`);
    yield writePadding(status.size);
    tally.files += 1;
    tally.bytes += status.size;
  } else tally.skip(name);
}

/** Copies out of a sandbox; see `fs.copyOut`. What the sandbox sends is not trusted: everything is made in a new directory beside the target. */
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
  const present = await lstat(target).catch(() => null);
  if (present !== null && (entry.type === 'directory' || present.isDirectory())) {
    throw new SallyportError('FILE_FAILED', `${JSON.stringify(host)} exists already. Name a path that is free.`);
  }
  const fresh = await onHost(host, async () => await mkdtemp(join(dirname(target), '.sallyport-')));
  const made = join(fresh, 'copy');
  const tally = new Tally();
  try {
    if (entry.type === 'file') {
      const question = { method: 'GET', path: `${base}/content`, query: { path: inside } } as const;
      await writeNewFile(made, entry.mode, await connection.bytes(question, options), tally);
    } else {
      const question = { method: 'GET', path: `${base}/archive`, query: { path: inside } } as const;
      await unpack(await connection.bytes(question, options), posix.basename(inside), made, tally);
    }
    await onHost(host, async () => await rename(made, target));
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
  return tally.result;
}

/**
 * Unpacks an archive whose names all begin with `name` into the new directory `root`.
 *
 * Nothing is written outside of it: a parent must be a directory of this very archive, files are made anew, and links come last, when
 * nothing is written any more. Links that lead out are left out, so that nobody follows them later.
 */
export async function unpack(
  archive: AsyncIterable<Uint8Array>,
  name: string,
  root: string,
  tally: { files: number; bytes: number; skip(path: string): void },
): Promise<void> {
  const directories = new Map<string, number>();
  const files = new Set<string>();
  const links: { readonly path: string; readonly target: string }[] = [];
  for await (const entry of readTar(archive)) {
    const path = pathBelow(name, entry.name);
    const parent = posix.dirname(path);
    if (path !== '.' && !directories.has(parent)) throw outOfPlace(entry);
    const onDisk = join(root, path);
    switch (entry.type) {
      case 'directory':
        if (!directories.has(path)) await onHost(onDisk, async () => await mkdir(onDisk, { mode: OWNER_ALL }));
        directories.set(path, entry.mode);
        break;
      case 'file':
        if (path === '.') throw outOfPlace(entry);
        await writeNewFile(onDisk, entry.mode, entry.content, tally);
        files.add(path);
        break;
      case 'hard link': {
        const first = pathBelow(name, entry.target);
        if (!files.has(first)) throw outOfPlace(entry);
        await onHost(onDisk, async () => await link(join(root, first), onDisk));
        files.add(path);
        break;
      }
      case 'link':
        if (staysBelow(parent, entry.target)) links.push({ path, target: entry.target });
        else tally.skip(path);
        break;
      case 'other':
        tally.skip(path);
        break;
      default:
        entry.type satisfies never;
    }
  }
  if (!directories.has('.')) throw new SallyportError('FILE_FAILED', 'The archive that the sandbox made is empty.');
  for (const { path, target } of links) {
    const onDisk = join(root, path);
    await onHost(onDisk, async () => await symlink(target, onDisk));
  }
  for (const [path, mode] of [...directories].toReversed())
    await chmod(join(root, path), (mode & PERMISSIONS) | OWNER_ALL);
}

/** The path of an entry below the first part of all names; `.` for that itself. @throws SallyportError for a path that leads anywhere else */
function pathBelow(name: string, path: string): string {
  const parts = path.replace(/\/$/, '').split('/');
  const [first, ...rest] = parts;
  if (first !== name || rest.some((part) => part === '' || part === '.' || part === '..')) {
    throw new SallyportError(
      'FILE_FAILED',
      `The archive that the sandbox made has a path that leads elsewhere: ${JSON.stringify(path)}.`,
    );
  }
  return rest.length === 0 ? '.' : rest.join('/');
}

/**
 * Whether a link in the directory `parent` of a tree points into that tree: it goes up first, by no more than its own depth, and then only
 * down. What goes down and up again could pass through another link, and end elsewhere than it looks.
 */
export function staysBelow(parent: string, target: string): boolean {
  if (target === '' || target.startsWith('/')) return false;
  const parts = target.split('/');
  const down = parts.findIndex((part) => part !== '..');
  const ups = down < 0 ? parts.length : down;
  const depth = parent === '.' ? 0 : parent.split('/').length;
  return ups <= depth && !parts.slice(ups).includes('..');
}

function outOfPlace(entry: TarHeader): SallyportError {
  return new SallyportError(
    'FILE_FAILED',
    `The archive that the sandbox made has ${JSON.stringify(entry.name)} in the wrong place.`,
  );
}

async function writeNewFile(
  path: string,
  mode: number,
  content: AsyncIterable<Uint8Array>,
  tally: { files: number; bytes: number },
): Promise<void> {
  const file = await onHost(path, async () => await open(path, 'wx', 0o600));
  try {
    for await (const piece of content) {
      await onHost(path, async () => await file.writeFile(piece));
      tally.bytes += piece.length;
    }
    // Neither set-user-id nor its kin come out of a sandbox.
    await file.chmod(mode & PERMISSIONS);
  } finally {
    await file.close();
  }
  tally.files += 1;
}

/** Turns a failure of the host's file system into one of ours. */
async function onHost<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown';
    throw new SallyportError('FILE_FAILED', `${JSON.stringify(path)} on this machine: ${code}.`, { cause });
  }
}
