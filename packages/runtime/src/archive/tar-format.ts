import { SallyportError } from '@sallyport/sdk';

/** The unit of a tar archive. */
export const BLOCK_BYTES = 512;
/** The most that a pax header or a GNU long name may have; names are a few kilobytes at most. */
export const MAX_EXTENSION_BYTES = 64 * 1024;
/** The largest number of bytes that a ustar header has room for in a name. */
const MAX_NAME_BYTES = 100;
/** The largest size that eleven octal digits can say. */
const MAX_OCTAL_SIZE = 8 ** 11 - 1;

/** One header block (POSIX.1-1988 ustar, with what GNU tar adds). Text is still bytes: what it means is for pax headers to say. */
export interface TarHeader {
  readonly name: Buffer;
  readonly mode: number;
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** `0` and NUL: a file; `1` hard link; `2` symbolic link; `5` directory; `x`, `g`, `L`, `K`: about the next entry; others: special files. */
  readonly type: string;
  readonly target: Buffer;
}

/** The error for an archive that is none. @param why a clause. */
export function malformedArchive(why: string): SallyportError {
  return new SallyportError(
    'COPY_REFUSED',
    `What came out of the sandbox is no proper archive: ${why}. Nothing further was copied.`,
  );
}

/**
 * Reads a header block.
 *
 * @returns null for the block of zeros that ends an archive.
 * @throws SallyportError COPY_REFUSED
 */
export function parseHeader(block: Buffer): TarHeader | null {
  if (block.every((byte) => byte === 0)) return null;
  let sum = 0;
  for (let index = 0; index < BLOCK_BYTES; index += 1) {
    sum += index >= 148 && index < 156 ? 0x20 : (block[index] ?? 0);
  }
  if (sum !== readNumber(block, 148, 8, 'checksum')) throw malformedArchive('a header has a wrong checksum');
  const isUstar = block.toString('latin1', 257, 265) === 'ustar\x0000';
  const name = readText(block, 0, 100);
  const prefix = isUstar ? readText(block, 345, 155) : Buffer.alloc(0);
  return {
    name: prefix.length === 0 ? name : Buffer.concat([prefix, Buffer.from('/'), name]),
    mode: readNumber(block, 100, 8, 'mode'),
    size: readNumber(block, 124, 12, 'size'),
    mtime: readNumber(block, 136, 12, 'time'),
    type: String.fromCharCode(block[156] ?? 0).replace('\0', '0'),
    target: readText(block, 157, 100),
  };
}

function readText(block: Buffer, offset: number, length: number): Buffer {
  const field = block.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return Buffer.from(end < 0 ? field : field.subarray(0, end));
}

/** Octal digits, or GNU's base 256 for what they have no room for. */
function readNumber(block: Buffer, offset: number, length: number, what: string): number {
  const field = block.subarray(offset, offset + length);
  const first = field[0] ?? 0;
  if ((first & 0x80) !== 0) {
    // Negative numbers begin with 0xff; only times are ever so.
    if (first === 0xff) return 0;
    let value = first & 0x7f;
    for (const byte of field.subarray(1)) value = value * 256 + byte;
    if (!Number.isSafeInteger(value)) throw malformedArchive(`a header has an impossible ${what}`);
    return value;
  }
  const text = field
    .toString('latin1')
    .replace(/[\0 ]+$/, '')
    .trimStart();
  if (!/^[0-7]{0,12}$/.test(text)) throw malformedArchive(`a header has no number as its ${what}`);
  return text === '' ? 0 : Number.parseInt(text, 8);
}

/** What a pax header (POSIX.1-2001) says of the next entry, as far as it matters here. */
export interface PaxRecords {
  readonly path?: Buffer;
  readonly linkpath?: Buffer;
  readonly size?: number;
  /** Seconds since 1970. */
  readonly mtime?: number;
}

/** Reads `LENGTH KEY=VALUE` lines. @throws SallyportError COPY_REFUSED */
export function parsePax(content: Buffer): PaxRecords {
  const records: { path?: Buffer; linkpath?: Buffer; size?: number; mtime?: number } = {};
  for (let offset = 0; offset < content.length;) {
    const space = content.indexOf(0x20, offset);
    const digits = space < 0 ? '' : content.toString('latin1', offset, space);
    const length = /^[1-9]\d{0,5}$/.test(digits) ? Number(digits) : 0;
    const equals = content.indexOf(0x3d, space);
    const end = offset + length;
    if (length === 0 || end > content.length || content[end - 1] !== 0x0a || equals < 0 || equals >= end) {
      throw malformedArchive('a pax header is damaged');
    }
    const key = content.toString('latin1', space + 1, equals);
    const value = Buffer.from(content.subarray(equals + 1, end - 1));
    const text = value.toString('latin1');
    switch (key) {
      case 'path':
        records.path = value;
        break;
      case 'linkpath':
        records.linkpath = value;
        break;
      case 'size':
        if (!/^\d{1,15}$/.test(text)) throw malformedArchive('a pax header has an impossible size');
        records.size = Number(text);
        break;
      case 'mtime':
        if (/^\d{1,12}(?:\.\d+)?$/.test(text)) records.mtime = Number(text);
        break;
    }
    offset = end;
  }
  return records;
}

/** An entry to write. */
export interface TarEntry {
  readonly name: string;
  readonly type: '0' | '2' | '5';
  readonly mode: number;
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** Of a symbolic link; empty for anything else. */
  readonly target: string;
}

/** The header of an entry, with a pax header before it where its fields have no room for it. */
export function formatHeader(entry: TarEntry): Buffer {
  const pax = [
    fits(entry.name) ? '' : paxRecord('path', entry.name),
    fits(entry.target) ? '' : paxRecord('linkpath', entry.target),
    entry.size <= MAX_OCTAL_SIZE ? '' : paxRecord('size', String(entry.size)),
  ].join('');
  const header = formatBlock(entry, Math.min(entry.size, MAX_OCTAL_SIZE));
  if (pax === '') return header;
  const content = Buffer.from(pax);
  const extension = formatBlock({ ...entry, name: 'pax', target: '', type: 'x', mode: 0o644 }, content.length);
  return Buffer.concat([extension, content, padding(content.length), header]);
}

/** What stands between the end of a content and the next header. */
export function padding(size: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES);
}

function fits(text: string): boolean {
  return Buffer.byteLength(text) <= MAX_NAME_BYTES && /^[\x20-\x7e]*$/.test(text);
}

function paxRecord(key: string, value: string): string {
  const body = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(body);
  // The length counts its own digits.
  while (length !== Buffer.byteLength(`${length}${body}`)) length = Buffer.byteLength(`${length}${body}`);
  return `${length}${body}`;
}

function formatBlock(entry: Omit<TarEntry, 'type'> & { readonly type: string }, size: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`;
  block.write(entry.name, 0, MAX_NAME_BYTES);
  const mtime = Math.max(0, Math.min(Math.floor(entry.mtime), MAX_OCTAL_SIZE));
  const numbers = `${octal(entry.mode & 0o7777, 8)}${octal(0, 8)}${octal(0, 8)}${octal(size, 12)}${octal(mtime, 12)}`;
  block.write(`${numbers}        ${entry.type}`, 100, 'latin1');
  block.write(entry.target, 157, MAX_NAME_BYTES);
  block.write('ustar\x0000', 257, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
