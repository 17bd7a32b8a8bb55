import { SallyportError } from '../errors.ts';

/** What an archive has for one path. */
export interface TarHeader {
  /** As the archive has it. */
  readonly name: string;
  readonly type: 'file' | 'directory' | 'link' | 'hard link' | 'other';
  /** Permission bits. */
  readonly mode: number;
  /** Of the content, in bytes; 0 for anything but a file. */
  readonly size: number;
  /** Where a link points, or which former entry a hard link is; empty for anything else. */
  readonly target: string;
  /** Seconds since 1970. */
  readonly modifiedAt: number;
}

/** An entry that is read. Its content is there until the next entry is asked for. */
export interface TarEntry extends TarHeader {
  readonly content: AsyncIterable<Uint8Array>;
}

const BLOCK_BYTES = 512;
/** The most that a long name or a list of attributes may have: names are shorter on every file system. */
const MAX_EXTENSION_BYTES = 64 * 1024;
const CHECKSUM_OFFSET = 148;
const CHECKSUM_BYTES = 8;

const TYPES: Readonly<Record<string, TarHeader['type']>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  '5': 'directory',
  '2': 'link',
  '1': 'hard link',
};
const FLAGS: Readonly<Record<TarHeader['type'], string>> = {
  file: '0',
  directory: '5',
  link: '2',
  'hard link': '1',
  other: '',
};

function malformed(what: string): SallyportError {
  return new SallyportError('FILE_FAILED', `The archive that the sandbox made is malformed: ${what}.`);
}

/** Bytes in portions of one's own choice. */
class ByteSource {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** At most so many bytes; null at the end. */
  async some(limit: number): Promise<Uint8Array | null> {
    while (this.#rest.length === 0) {
      const next = await this.#chunks.next();
      if (next.done === true) return null;
      this.#rest = next.value;
    }
    const piece = this.#rest.subarray(0, limit);
    this.#rest = this.#rest.subarray(piece.length);
    return piece;
  }

  /** Exactly so many bytes. */
  async exactly(count: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(count);
    for (let offset = 0; offset < count;) {
      const piece = await this.some(count - offset);
      if (piece === null) throw malformed('it ends too early');
      bytes.set(piece, offset);
      offset += piece.length;
    }
    return bytes;
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/**
 * Reads an archive as GNU tar and POSIX pax write it (POSIX.1-2017, pax, "ustar Interchange Format"). The archive comes from the sandbox:
 * nothing in it is believed, names least of all, which whoever takes them must check.
 *
 * @throws SallyportError FILE_FAILED where it is malformed or ends before its end.
 */
export async function* readTar(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<TarEntry, void, undefined> {
  const source = new ByteSource(chunks);
  try {
    let longName: string | undefined;
    let longTarget: string | undefined;
    let attributes = new Map<string, string>();
    for (;;) {
      const block = await source.exactly(BLOCK_BYTES);
      if (block.every((byte) => byte === 0)) break;
      checkSum(block);
      const flag = String.fromCharCode(block[156] ?? 0);
      const size = readSize(attributes.get('size'), block);
      if (flag === 'L' || flag === 'K' || flag === 'x' || flag === 'g') {
        if (size > MAX_EXTENSION_BYTES) throw malformed('a name is too long');
        const bytes = (await source.exactly(padded(size))).subarray(0, size);
        if (flag === 'L') longName = textOf(bytes);
        if (flag === 'K') longTarget = textOf(bytes);
        if (flag === 'x') attributes = readAttributes(bytes);
        continue;
      }
      const type = TYPES[flag] ?? 'other';
      const isFile = type === 'file';
      let left = isFile || type === 'other' ? size : 0;
      const padding = padded(left) - left;
      const content = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
        while (left > 0) {
          const piece = await source.some(left);
          if (piece === null) throw malformed('it ends too early');
          left -= piece.length;
          yield piece;
        }
      };
      yield {
        // A long name is cut in its old field, perhaps within a character.
        name: attributes.get('path') ?? longName ?? shortName(block),
        type,
        mode: readNumber(block.subarray(100, 108)) & 0o7777,
        size: isFile ? size : 0,
        target: attributes.get('linkpath') ?? longTarget ?? textOf(block.subarray(157, 257)),
        modifiedAt: readNumber(block.subarray(136, 148)),
        content: content(),
      };
      // What was not read is passed over; the generator may have been closed.
      while (left > 0) {
        const piece = await source.some(left);
        if (piece === null) throw malformed('it ends too early');
        left -= piece.length;
      }
      await source.exactly(padding);
      [longName, longTarget] = [undefined, undefined];
      attributes = new Map<string, string>();
    }
    // To the end, where the sender tells whether all went well.
    while ((await source.some(BLOCK_BYTES)) !== null);
  } finally {
    await source.close();
  }
}

function padded(size: number): number {
  return Math.ceil(size / BLOCK_BYTES) * BLOCK_BYTES;
}

function shortName(block: Uint8Array): string {
  const prefix = isUstar(block) ? textOf(block.subarray(345, 500)) : '';
  const name = textOf(block.subarray(0, 100));
  return prefix === '' ? name : `${prefix}/${name}`;
}

/** GNU's own format has other fields where ustar has the prefix. */
function isUstar(block: Uint8Array): boolean {
  return block[257] === 0x75 && block[262] === 0;
}

function sumOf(block: Uint8Array): number {
  let sum = 0;
  for (let index = 0; index < BLOCK_BYTES; index += 1) {
    const isChecksum = index >= CHECKSUM_OFFSET && index < CHECKSUM_OFFSET + CHECKSUM_BYTES;
    sum += isChecksum ? 0x20 : (block[index] ?? 0);
  }
  return sum;
}

function checkSum(block: Uint8Array): void {
  if (readNumber(block.subarray(CHECKSUM_OFFSET, CHECKSUM_OFFSET + CHECKSUM_BYTES)) !== sumOf(block)) {
    throw malformed('a checksum is wrong');
  }
}

/** Octal text, or GNU's base 256 for what does not fit in it. */
function readNumber(field: Uint8Array): number {
  const [first = 0, ...others] = field;
  if (first >= 0x80) {
    // Numbers below zero are of no use here.
    if (first !== 0x80) throw malformed('a number is out of range');
    const value = others.reduce((sum, byte) => sum * 256 + byte, 0);
    if (!Number.isSafeInteger(value)) throw malformed('a number is out of range');
    return value;
  }
  const text = textOf(field).trim();
  if (!/^[0-7]*$/.test(text)) throw malformed('a number is none');
  return text === '' ? 0 : Number.parseInt(text, 8);
}

function readSize(attribute: string | undefined, block: Uint8Array): number {
  if (attribute === undefined) return readNumber(block.subarray(124, 136));
  const size = Number(attribute);
  if (!/^\d+$/.test(attribute) || !Number.isSafeInteger(size)) throw malformed('a number is none');
  return size;
}

/** `LENGTH NAME=VALUE\n`, again and again. */
function readAttributes(bytes: Uint8Array): Map<string, string> {
  const attributes = new Map<string, string>();
  for (let offset = 0; offset < bytes.length;) {
    const space = bytes.indexOf(0x20, offset);
    const length = Number(textOf(bytes.subarray(offset, Math.max(space, offset))));
    if (space < 0 || !Number.isInteger(length) || length <= space - offset || offset + length > bytes.length) {
      throw malformed('an attribute is none');
    }
    const record = textOf(bytes.subarray(space + 1, offset + length - 1));
    const equals = record.indexOf('=');
    if (equals < 1) throw malformed('an attribute is none');
    attributes.set(record.slice(0, equals), record.slice(equals + 1));
    offset += length;
  }
  return attributes;
}

function textOf(field: Uint8Array): string {
  const end = field.indexOf(0);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(end < 0 ? field : field.subarray(0, end));
  } catch {
    throw malformed('a name is no UTF-8');
  }
}

const MAX_OCTAL_SIZE = 0o77777777777;

/** The blocks before the content of an entry; what does not fit in the old fields is in attributes (pax). */
export function writeHeader(header: TarHeader): Uint8Array {
  const attributes: string[] = [];
  const encoder = new TextEncoder();
  if (encoder.encode(header.name).length > 100) attributes.push(attribute('path', header.name));
  if (encoder.encode(header.target).length > 100) attributes.push(attribute('linkpath', header.target));
  if (header.size > MAX_OCTAL_SIZE) attributes.push(attribute('size', String(header.size)));
  const own = block(header, FLAGS[header.type]);
  if (attributes.length === 0) return own;
  const list = encoder.encode(attributes.join(''));
  const extension = { ...header, name: 'attributes', target: '', size: list.length, mode: 0o644 };
  const whole = new Uint8Array(BLOCK_BYTES + padded(list.length) + BLOCK_BYTES);
  whole.set(block(extension, 'x'), 0);
  whole.set(list, BLOCK_BYTES);
  whole.set(own, BLOCK_BYTES + padded(list.length));
  return whole;
}

/** The zeros after a content of this size. */
export function writePadding(size: number): Uint8Array {
  return new Uint8Array(padded(size) - size);
}

/** The end of an archive. */
export const TAR_END = new Uint8Array(2 * BLOCK_BYTES);

/** Its length is a part of itself. */
function attribute(name: string, value: string): string {
  const rest = new TextEncoder().encode(` ${name}=${value}\n`).length;
  let length = rest + 1;
  while (String(length).length + rest !== length) length = String(length).length + rest;
  return `${length} ${name}=${value}\n`;
}

function block({ name, target, mode, size, modifiedAt }: TarHeader, flag: string): Uint8Array {
  const bytes = new Uint8Array(BLOCK_BYTES);
  const encoder = new TextEncoder();
  const put = (offset: number, length: number, text: string): void => {
    bytes.set(encoder.encode(text).subarray(0, length), offset);
  };
  const octal = (value: number, digits: number): string => Math.max(0, value).toString(8).padStart(digits, '0');
  put(0, 100, name);
  put(100, 8, octal(mode, 7));
  put(108, 8, octal(0, 7));
  put(116, 8, octal(0, 7));
  put(124, 12, octal(Math.min(size, MAX_OCTAL_SIZE), 11));
  put(136, 12, octal(Math.floor(modifiedAt), 11));
  put(156, 1, flag);
  put(157, 100, target);
  put(257, 8, 'ustar\x0000');
  put(CHECKSUM_OFFSET, CHECKSUM_BYTES, `${octal(sumOf(bytes), 6)}\0 `);
  return bytes;
}
