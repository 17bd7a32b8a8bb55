import { SallyportError } from '../../errors.ts';
import { readArchive, type ArchiveEntry } from './archive-reader.ts';
import { codeOf, type HostDirectory } from './host-directory.ts';
import { malformedArchive } from './tar-format.ts';

/** Longer ones the kernel refuses as well. */
const MAX_NAME_BYTES = 255;
const MAX_PATH_BYTES = 4096;
const MAX_DEPTH = 512;
/** Links are made last, so they are remembered. */
const MAX_LINKS = 100_000;

/** What {@link unpack} needs. */
export interface UnpackOptions {
  /** Where it goes. */
  readonly directory: HostDirectory;
  /** Every name in the archive begins with this part. */
  readonly base: string;
  /** What that part is called on the host. */
  readonly as: string;
  /** Permission bits that nothing gets. */
  readonly umask: number;
  /** Hears of what is left out, and why. */
  readonly onLeftOut: (path: string, why: string) => void;
  /** Hears of bytes that were written. */
  readonly onBytes?: (count: number) => void;
  /** Hears of each file that was written. */
  readonly onFile?: () => void;
}

/**
 * Unpacks an archive that a sandbox has made, so that nothing in it reaches beyond the directory that it is to go to:
 *
 * - a name that is absolute, has `..`, or does not begin as it has to ends it all: no honest archive has one;
 * - links are made last, and only those that lead to something within what is copied;
 * - files replace a link that is in their place, and never write through one;
 * - devices, pipes, sockets and hard links are left out; set-user-id bits do not come along, nor do owners.
 *
 * @throws SallyportError COPY_REFUSED, and FILE_FAILED for what the host refuses.
 */
export async function unpack(archive: AsyncIterable<Uint8Array>, options: UnpackOptions): Promise<void> {
  const links: { readonly parts: readonly string[]; readonly target: string }[] = [];
  const tree = new Tree(options);
  try {
    for await (const entry of readArchive(archive)) {
      const parts = checkPath(entry.path, options.base);
      if (parts === null) {
        options.onLeftOut(showBytes(entry.path), 'its name is no UTF-8');
        continue;
      }
      const shown = parts.join('/');
      switch (entry.kind) {
        case 'directory':
          await tree.directory(parts, entry.mode);
          break;
        case 'file':
          await tree.file(parts, entry);
          break;
        case 'link': {
          const target = decode(entry.target);
          if (target === null || !staysInside(parts.length - 1, target)) {
            options.onLeftOut(shown, 'a link that leads out of what is copied');
          } else if (links.length >= MAX_LINKS) {
            throw new SallyportError(
              'COPY_REFUSED',
              `There are more than ${MAX_LINKS} links in there. Copy parts of it.`,
            );
          } else links.push({ parts, target });
          break;
        }
        case 'other':
          options.onLeftOut(shown, 'neither a file, nor a directory, nor a symbolic link');
          break;
        default:
          entry.kind satisfies never;
      }
    }
    for (const { parts, target } of links) await tree.link(parts, target);
  } finally {
    await tree.close();
  }
}

/** The parts of a name, the first being `base`. Null for one that is no text. @throws SallyportError COPY_REFUSED */
function checkPath(bytes: Uint8Array, base: string): string[] | null {
  if (bytes.length > MAX_PATH_BYTES) throw malformedArchive('a name is too long');
  const path = decode(bytes);
  if (path === null) return null;
  const parts = path.replace(/\/+$/, '').split('/');
  const quoted = JSON.stringify(path.slice(0, 200));
  if (parts.length > MAX_DEPTH) throw malformedArchive('a name has too many parts');
  if (path.includes('\0') || parts.some((part) => part === '' || part === '.' || part === '..')) {
    throw malformedArchive(`the name ${quoted} leads elsewhere`);
  }
  if (parts[0] !== base) throw malformedArchive(`the name ${quoted} does not begin with ${JSON.stringify(base)}`);
  if (parts.some((part) => ENCODER.encode(part).length > MAX_NAME_BYTES)) throw malformedArchive('a name is too long');
  return parts;
}

const ENCODER = new TextEncoder();
const MAX_SHOWN_BYTES = 200;

/** Bytes that are no text, for people. */
function showBytes(bytes: Uint8Array): string {
  return JSON.stringify(new TextDecoder('latin1').decode(bytes.subarray(0, MAX_SHOWN_BYTES)));
}

function decode(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/**
 * Whether a link leads to something within what is copied, whatever other links of the copy it passes: it may go up first, through directories
 * that are real, and then only down.
 *
 * @param depth how many directories of the copy the link lies in; 0 for the copy itself, beside which nothing is the copy's.
 */
export function staysInside(depth: number, target: string): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0') || target.length > MAX_PATH_BYTES) return false;
  const parts = target.split('/').filter((part) => part !== '' && part !== '.');
  const ups = parts.findIndex((part) => part !== '..');
  const climbed = ups < 0 ? parts.length : ups;
  if (parts.slice(climbed).includes('..')) return false;
  // One up from a link in the topmost directory would be the directory that the copy lies in.
  return climbed < depth;
}

/** The copy on the host; the directory that was used last stays open. */
class Tree {
  readonly #options: UnpackOptions;
  #open: { readonly path: string; readonly directory: HostDirectory } | null = null;

  constructor(options: UnpackOptions) {
    this.#options = options;
  }

  async directory(parts: readonly string[], mode: number): Promise<void> {
    await this.#attempt(parts, async () => void (await this.#enter(parts, mode)));
  }

  async file(parts: readonly string[], { content, mode, mtime }: ArchiveEntry): Promise<void> {
    const { umask, onBytes, onFile } = this.#options;
    await this.#attempt(parts, async () => {
      const directory = await this.#enter(parts.slice(0, -1));
      const attributes = { mode: mode & 0o777 & ~umask, ...(mtime > 0 ? { mtime } : {}) };
      await directory.write(this.#nameOf(parts), counted(content, onBytes), attributes);
      onFile?.();
    });
  }

  async link(parts: readonly string[], target: string): Promise<void> {
    await this.#attempt(parts, async () => {
      const directory = await this.#enter(parts.slice(0, -1));
      await directory.link(this.#nameOf(parts), target);
    });
  }

  async close(): Promise<void> {
    await this.#open?.directory.close();
    this.#open = null;
  }

  /** The first part has another name on the host, perhaps. */
  #nameOf(parts: readonly string[]): string {
    return parts.length === 1 ? this.#options.as : (parts.at(-1) ?? '');
  }

  /** Opens a directory of the copy, and makes what is missing. The directory that the copy goes to for no parts at all. */
  async #enter(parts: readonly string[], mode = 0o777): Promise<HostDirectory> {
    const { directory: top, as, umask } = this.#options;
    if (parts.length === 0) return top;
    const path = parts.join('/');
    if (this.#open?.path === path) return this.#open.directory;
    let at = top;
    for (const [index, part] of parts.entries()) {
      const isLast = index === parts.length - 1;
      // Its owner can always write to it, or what is in it could not be copied.
      const bits = (((isLast ? mode : 0o777) & 0o777) | 0o700) & ~umask;
      try {
        const next = await at.make(index === 0 ? as : part, bits);
        if (at !== top) await at.close();
        at = next;
      } catch (error) {
        if (at !== top) await at.close();
        throw error;
      }
    }
    await this.close();
    this.#open = { path, directory: at };
    return at;
  }

  async #attempt(parts: readonly string[], work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (cause) {
      throw explainFailure(cause, [this.#options.as, ...parts.slice(1)].join('/'));
    }
  }
}

/** The same bytes, whose counts somebody hears of. */
export async function* counted(
  content: AsyncIterable<Uint8Array>,
  onBytes: ((count: number) => void) | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of content) {
    onBytes?.(chunk.length);
    yield chunk;
  }
}

/** A failure of the host's file system in words. */
export function explainFailure(cause: unknown, path: string): unknown {
  const code = codeOf(cause);
  if (cause instanceof SallyportError || code === undefined) return cause;
  const quoted = JSON.stringify(path);
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new SallyportError('FILE_FAILED', `The disk is full: ${quoted} was not written. Make room.`, { cause });
    case 'ELOOP':
    case 'ENOTDIR':
      return new SallyportError(
        'COPY_REFUSED',
        `On the host a link or a file is where the directory of ${quoted} would be. Remove it, or copy to another place.`,
        { cause },
      );
    case 'EISDIR':
    case 'ENOTEMPTY':
    case 'EEXIST':
      return new SallyportError(
        'FILE_FAILED',
        `On the host a directory is in the place of ${quoted}. Remove it first.`,
        {
          cause,
        },
      );
    default:
      return new SallyportError('FILE_FAILED', `${quoted} could not be written on the host (${code}).`, { cause });
  }
}
