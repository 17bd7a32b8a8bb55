import { SallyportError } from '../../errors.ts';
import { codeOf, type HostDirectory } from './host-directory.ts';
import { BLOCK_BYTES, formatHeader, padding } from './tar-format.ts';

const CHUNK_BYTES = 256 * 1024;
const MAX_DEPTH = 512;

/** What {@link pack} needs. */
export interface PackOptions {
  /** Holds what is packed. */
  readonly directory: HostDirectory;
  /** What is packed, in that directory. */
  readonly name: string;
  /** What it is called in the archive; null to pack what is in it, without itself. */
  readonly as: string | null;
  readonly onLeftOut: (path: string, why: string) => void;
  readonly onBytes?: (count: number) => void;
  /** Hears of each file that was packed. */
  readonly onFile?: () => void;
}

/**
 * Packs a file or a directory of the host as a tar archive, as it is read. Links are packed as links and never followed, also where somebody
 * exchanges a directory for one meanwhile.
 *
 * @throws SallyportError FILE_FAILED for what cannot be read.
 */
export async function* pack(options: PackOptions): AsyncGenerator<Uint8Array, void, undefined> {
  yield* packEntry(options.directory, options.name, options.as ?? '', 0, options);
  yield new Uint8Array(2 * BLOCK_BYTES);
}

async function* packEntry(
  directory: HostDirectory,
  name: string,
  path: string,
  depth: number,
  options: PackOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    const status = await directory.stat(name);
    const attributes = { mode: status.mode & 0o777, mtime: Math.floor(status.mtimeMs / 1000) };
    if (status.isSymbolicLink()) {
      const target = await directory.readLink(name);
      yield formatHeader({ ...attributes, name: path, type: '2', size: 0, target });
    } else if (status.isDirectory()) {
      if (depth > MAX_DEPTH) throw new SallyportError('FILE_FAILED', `${JSON.stringify(path)} lies too deep.`);
      if (path !== '') yield formatHeader({ ...attributes, name: `${path}/`, type: '5', size: 0, target: '' });
      const inside = await directory.enter(name);
      try {
        for (const child of await inside.names()) {
          yield* packEntry(inside, child, path === '' ? child : `${path}/${child}`, depth + 1, options);
        }
      } finally {
        await inside.close();
      }
    } else if (status.isFile()) yield* packFile(directory, name, path, attributes, options);
    else options.onLeftOut(path, 'neither a file, nor a directory, nor a symbolic link');
  } catch (cause) {
    const code = codeOf(cause);
    if (cause instanceof SallyportError || code === undefined) throw cause;
    throw new SallyportError('FILE_FAILED', `${JSON.stringify(path)} cannot be read on the host (${code}).`, { cause });
  }
}

async function* packFile(
  directory: HostDirectory,
  name: string,
  path: string,
  attributes: { readonly mode: number; readonly mtime: number },
  { onLeftOut, onBytes, onFile }: PackOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const handle = await directory.read(name);
  if (handle === null) {
    onLeftOut(path, 'no file any more');
    return;
  }
  try {
    const { size } = await handle.stat();
    yield formatHeader({ ...attributes, name: path, type: '0', size, target: '' });
    for (let left = size; left > 0;) {
      const buffer = new Uint8Array(Math.min(CHUNK_BYTES, left));
      const { bytesRead } = await handle.read(buffer, 0, buffer.length);
      if (bytesRead === 0) {
        throw new SallyportError(
          'FILE_FAILED',
          `${JSON.stringify(path)} became shorter while it was read. Copy it again.`,
        );
      }
      left -= bytesRead;
      onBytes?.(bytesRead);
      yield buffer.subarray(0, bytesRead);
    }
    yield padding(size);
    onFile?.();
  } finally {
    await handle.close();
  }
}
