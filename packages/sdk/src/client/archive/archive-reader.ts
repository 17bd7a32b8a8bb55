import { joinBytes } from '../content.ts';
import {
  BLOCK_BYTES,
  malformedArchive,
  MAX_EXTENSION_BYTES,
  parseHeader,
  parsePax,
  type PaxRecords,
} from './tar-format.ts';

/** One entry of an archive, as it claims to be: nothing of it has been judged. */
export interface ArchiveEntry {
  /** Bytes, for names need not be text. */
  readonly path: Uint8Array;
  readonly kind: 'file' | 'directory' | 'link' | 'other';
  readonly mode: number;
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Where a link points. */
  readonly target: Uint8Array;
  /** The content of a file, to be read before the next entry is asked for; what is left of it then is passed over. */
  readonly content: AsyncIterable<Uint8Array>;
}

/**
 * Reads a tar archive as it comes: ustar, pax and GNU's long names. No more than one header is kept in memory.
 *
 * @throws SallyportError COPY_REFUSED for what is no archive, or ends in the middle.
 */
export async function* readArchive(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<ArchiveEntry, void, undefined> {
  const source = new ByteSource(chunks);
  let pax: PaxRecords = {};
  let longName: Uint8Array | undefined;
  let longTarget: Uint8Array | undefined;
  try {
    for (;;) {
      const header = parseHeader(await source.take(BLOCK_BYTES));
      if (header === null) break;
      if ('xgLK'.includes(header.type)) {
        if (header.size > MAX_EXTENSION_BYTES) throw malformedArchive('a header is too long');
        const content = await source.take(header.size);
        await source.skip(paddingBytes(header.size));
        // A global header says nothing that an entry needs.
        if (header.type === 'x') pax = parsePax(content);
        else if (header.type === 'L') longName = withoutNul(content);
        else if (header.type === 'K') longTarget = withoutNul(content);
        continue;
      }
      const kind = kindOf(header.type);
      const claimed = pax.size ?? header.size;
      // Links and directories have no content, whatever their size says.
      const size = header.type === '2' || header.type === '5' || header.type === '1' ? 0 : claimed;
      let left = size;
      const content = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
        while (left > 0) {
          const chunk = await source.some(left);
          left -= chunk.length;
          yield chunk;
        }
      };
      yield {
        path: pax.path ?? longName ?? header.name,
        kind,
        mode: header.mode & 0o7777,
        size,
        mtime: pax.mtime ?? header.mtime,
        target: pax.linkpath ?? longTarget ?? header.target,
        content: content(),
      };
      await source.skip(left + paddingBytes(size));
      pax = {};
      longName = undefined;
      longTarget = undefined;
    }
    // Whoever writes it must be able to end.
    await source.drain();
  } finally {
    await source.close();
  }
}

function kindOf(type: string): ArchiveEntry['kind'] {
  switch (type) {
    case '0':
    case '7':
      return 'file';
    case '2':
      return 'link';
    case '5':
      return 'directory';
    default:
      return 'other';
  }
}

function paddingBytes(size: number): number {
  return (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES;
}

function withoutNul(content: Uint8Array): Uint8Array {
  const end = content.indexOf(0);
  return end < 0 ? content : content.subarray(0, end);
}

/** Takes bytes of a stream in the portions that a reader wants. */
class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Exactly so many bytes; for few. */
  async take(count: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for (let left = count; left > 0;) {
      const part = await this.some(left);
      parts.push(part);
      left -= part.length;
    }
    return parts.length === 1 ? parts[0]! : joinBytes(parts);
  }

  /** At least one byte and at most so many. */
  async some(most: number): Promise<Uint8Array> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) throw malformedArchive('it ends in the middle');
      this.#rest = next.value;
    }
    const part = this.#rest.subarray(0, most);
    this.#rest = this.#rest.subarray(part.length);
    return part;
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0;) left -= (await this.some(left)).length;
  }

  /** Reads to the end: after its last block tar fills up to a round number. */
  async drain(): Promise<void> {
    for (;;) {
      const { done } = await this.#chunks.next();
      if (done === true) return;
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}
