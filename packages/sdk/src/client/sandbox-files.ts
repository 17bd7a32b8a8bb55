import type { FileEntry } from '../api/files.ts';
import type { Connection } from './connection.ts';
import { joinBytes, toStream, type Content } from './content.ts';
import { copyFromHost, copyToHost, type HostCopy } from './host-copy.ts';
import type { CallOptions } from './limit.ts';

/** How a file is written. */
export interface WriteOptions extends CallOptions {
  /** Permission bits, such as `0o755`. Default: 644, or those of the file in its place. */
  readonly mode?: number | undefined;
}

/** How a file, a directory or a path is made or removed. */
export interface RecursiveOptions extends CallOptions {
  /** For `mkdir`: make what is missing above, and take what exists for made. For `remove`: also what is in a directory. Default false. */
  readonly recursive?: boolean | undefined;
}

/**
 * The files of a running sandbox, as its commands see them. Paths inside are absolute. Everything is done inside, by the sandbox's own user.
 *
 * All reject with FILE_NOT_FOUND, FILE_FAILED, SANDBOX_NOT_RUNNING.
 */
export class SandboxFiles {
  readonly #connection: Connection;
  readonly #base: string;

  /** @internal */
  constructor(connection: Connection, sandboxPath: string) {
    this.#connection = connection;
    this.#base = `${sandboxPath}/files`;
  }

  /** The whole content of a file. */
  async read(path: string, options: CallOptions = {}): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Uint8Array[] = [];
    for await (const piece of await this.readStream(path, options)) pieces.push(piece);
    return joinBytes(pieces);
  }

  /** The whole content of a file, as UTF-8; what is none becomes U+FFFD. */
  async readText(path: string, options: CallOptions = {}): Promise<string> {
    return new TextDecoder().decode(await this.read(path, options));
  }

  /** The content of a file as it comes: `Readable.from(stream)` makes Node's stream of it. Time and signal are for all of it. */
  async readStream(path: string, options: CallOptions = {}): Promise<AsyncGenerator<Uint8Array, void, undefined>> {
    return await this.#connection.bytes({ method: 'GET', path: `${this.#base}/content`, query: { path } }, options);
  }

  /** Writes a file, whole or not at all, in place of one that is there. Its directory must exist. Streams have no time limit of their own. */
  async write(path: string, content: Content, options: WriteOptions = {}): Promise<void> {
    const { mode, ...call } = options;
    const { length, chunks } = toStream(content);
    const query = { path, mode: mode?.toString(8).padStart(3, '0') };
    await this.#connection.ask(
      { method: 'PUT', path: `${this.#base}/content`, query, content: chunks, contentLength: length },
      call,
      Number.POSITIVE_INFINITY,
    );
  }

  /** What is in a directory, sorted by name. */
  async list(path: string, options: CallOptions = {}): Promise<FileEntry[]> {
    const question = { method: 'GET', path: `${this.#base}/entries`, query: { path } } as const;
    return (await this.#connection.ask<{ entries: FileEntry[] }>(question, options)).entries;
  }

  /** What there is at a path; a link is not followed. */
  async stat(path: string, options: CallOptions = {}): Promise<FileEntry> {
    return await this.#connection.ask({ method: 'GET', path: `${this.#base}/entry`, query: { path } }, options);
  }

  /** Makes a directory. */
  async mkdir(path: string, options: RecursiveOptions = {}): Promise<void> {
    const { recursive = false, ...call } = options;
    await this.#connection.ask({ method: 'POST', path: `${this.#base}/directories`, body: { path, recursive } }, call);
  }

  /** Removes a file or an empty directory; with `recursive`, what is in it as well. */
  async remove(path: string, options: RecursiveOptions = {}): Promise<void> {
    const { recursive = false, ...call } = options;
    await this.#connection.ask({ method: 'DELETE', path: `${this.#base}/entry`, query: { path, recursive } }, call);
  }

  /** Renames or moves. A file in the new place is replaced, a directory there is an error. */
  async rename(from: string, to: string, options: CallOptions = {}): Promise<void> {
    await this.#connection.ask({ method: 'POST', path: `${this.#base}/rename`, body: { from, to } }, options);
  }

  /**
   * Copies a file or a directory of the host into the sandbox, to become what is at `inside`. Its directory must exist. A directory that is
   * there is filled up, with files of the same name replaced. Permission bits and links are kept.
   *
   * @returns how much was copied, and what of it was left out: sockets, pipes and devices.
   */
  async copyIn(host: string, inside: string, options: CallOptions = {}): Promise<HostCopy> {
    return await copyFromHost(this.#connection, this.#base, host, inside, options);
  }

  /**
   * Copies a file or a directory out of the sandbox, to become what is at `host`. A file there is replaced; a directory there is an error.
   * Nothing is written beside it, whatever the sandbox says or does meanwhile. Permission bits are kept, less those of the program's umask.
   *
   * @returns how much was copied, and what of it was left out: links that lead out of the copy, sockets, pipes and devices.
   */
  async copyOut(inside: string, host: string, options: CallOptions = {}): Promise<HostCopy> {
    return await copyToHost(this.#connection, this.#base, inside, host, options);
  }
}
