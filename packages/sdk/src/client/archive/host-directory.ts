import { constants } from 'node:fs';
import {
  lstat,
  mkdir,
  open,
  readdir,
  readlink,
  rename,
  rmdir,
  symlink,
  unlink,
  type FileHandle,
} from 'node:fs/promises';

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY;

/**
 * A directory of the host (Linux; Deno wants `--allow-all` for it) that is held open. Whatever is done in it is done by its descriptor and never by a path, and no link in it is ever
 * followed: a sandbox that writes to it as well cannot lead us elsewhere by exchanging a directory for a link.
 */
export class HostDirectory {
  readonly #handle: FileHandle;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  /** Opens a directory that the user has named; links in its path are the user's own. */
  static async open(path: string): Promise<HostDirectory> {
    return new HostDirectory(await open(path, DIRECTORY));
  }

  /** Opens a directory in this one. */
  async enter(name: string): Promise<HostDirectory> {
    return new HostDirectory(await open(this.#at(name), DIRECTORY | constants.O_NOFOLLOW));
  }

  /** Opens a directory in this one, and makes it where there is none. */
  async make(name: string, mode: number): Promise<HostDirectory> {
    try {
      await mkdir(this.#at(name), { mode });
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error;
    }
    return await this.enter(name);
  }

  async names(): Promise<string[]> {
    return (await readdir(this.#at('.'))).toSorted();
  }

  /** What there is; a link is not followed. */
  async stat(name: string): Promise<FileStatus> {
    return await lstat(this.#at(name));
  }

  async readLink(name: string): Promise<string> {
    return await readlink(this.#at(name));
  }

  /** Opens a file to read; anything else that has taken its place is refused. */
  async read(name: string): Promise<HostFile | null> {
    // A pipe without a writer would keep us waiting.
    const handle = await open(this.#at(name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
    return null;
  }

  /** Writes a file as a whole, in place of a file or a link that is there; when it fails, what was there stays. */
  async write(name: string, content: AsyncIterable<Uint8Array>, attributes: FileAttributes): Promise<void> {
    const partial = this.#at(freshName());
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const handle = await open(partial, flags, 0o600);
    try {
      try {
        for await (const chunk of content) await handle.writeFile(chunk);
        await handle.chmod(attributes.mode);
        if (attributes.mtime !== undefined) await handle.utimes(attributes.mtime, attributes.mtime);
      } finally {
        await handle.close();
      }
      await rename(partial, this.#at(name));
    } catch (error) {
      await unlink(partial).catch(() => undefined);
      throw error;
    }
  }

  /** Makes a link, in place of a file or a link that is there. */
  async link(name: string, target: string): Promise<void> {
    const partial = this.#at(freshName());
    await symlink(target, partial);
    try {
      await rename(partial, this.#at(name));
    } catch (error) {
      await unlink(partial).catch(() => undefined);
      throw error;
    }
  }

  /** Makes a directory under a name that nobody has, for the caller alone. */
  async makeFresh(): Promise<{ readonly name: string; readonly directory: HostDirectory }> {
    const name = freshName();
    await mkdir(this.#at(name), { mode: 0o700 });
    return { name, directory: await this.enter(name) };
  }

  /** Moves what is here to another directory of the same file system. */
  async move(name: string, to: HostDirectory, as: string): Promise<void> {
    await rename(this.#at(name), to.#at(as));
  }

  /** Removes what is there, and all that is in it; a link is removed and not followed. */
  async remove(name: string): Promise<void> {
    try {
      await unlink(this.#at(name));
      return;
    } catch (error) {
      const code = codeOf(error);
      if (code === 'ENOENT') return;
      if (code !== 'EISDIR' && code !== 'EPERM') throw error;
    }
    const inside = await this.enter(name);
    try {
      for (const child of await inside.names()) await inside.remove(child);
    } finally {
      await inside.close();
    }
    await rmdir(this.#at(name));
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  /** By the descriptor, as `openat` does it. `name` is one part of a path. */
  #at(name: string): string {
    return `/proc/self/fd/${this.#handle.fd}/${name}`;
  }
}

const FRESH_BYTES = 8;

function freshName(): string {
  const random = crypto.getRandomValues(new Uint8Array(FRESH_BYTES));
  return `.sallyport-${[...random].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** What there is at a name. (Types of Node's own are not everywhere where this package is used.) */
export interface FileStatus {
  readonly mode: number;
  /** In bytes. */
  readonly size: number;
  readonly mtimeMs: number;
  isFile(): boolean;
  isDirectory(): boolean;
  isSymbolicLink(): boolean;
}

/** A file that is open to be read. */
export interface HostFile {
  stat(): Promise<FileStatus>;
  read(buffer: Uint8Array, offset: number, length: number): Promise<{ readonly bytesRead: number }>;
  close(): Promise<void>;
}

/** What a file gets beside its content. */
export interface FileAttributes {
  readonly mode: number;
  /** Seconds since 1970. */
  readonly mtime?: number;
}

/** The code of a system error; undefined for another. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}
