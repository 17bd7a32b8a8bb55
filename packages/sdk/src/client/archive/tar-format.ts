import { SallyportError } from '../../errors.ts';
import { joinBytes } from '../content.ts';

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
  readonly name: Uint8Array;
  readonly mode: number;
  readonly size: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  /** `0` and NUL: a file; `1` hard link; `2` symbolic link; `5` directory; `x`, `g`, `L`, `K`: about the next entry; others: special files. */
  readonly type: string;
  readonly target: Uint8Array;
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
export function parseHeader(block: Uint8Array): TarHeader | null {
  if (block.every((byte) => byte === 0)) return null;
  let sum = 0;
  for (let index = 0; index < BLOCK_BYTES; index += 1) {
    sum += index >= 148 && index < 156 ? 0x20 : (block[index] ?? 0);
  }
  if (sum !== readNumber(block, 148, 8, 'checksum')) throw malformedArchive('a header has a wrong checksum');
  const isUstar = asciiOf(block.subarray(257, 265)) === 'ustar\x0000';
  const name = readText(block, 0, 100);
  const prefix = isUstar ? readText(block, 345, 155) : new Uint8Array(0);
  return {
    name: prefix.length === 0 ? name : joinBytes([prefix, SLASH, name]),
    mode: readNumber(block, 100, 8, 'mode'),
    size: readNumber(block, 124, 12, 'size'),
    mtime: readNumber(block, 136, 12, 'time'),
    type: String.fromCharCode(block[156] ?? 0).replace('\0', '0'),
    target: readText(block, 157, 100),
  };
}

const SLASH = Uint8Array.of(0x2f);

function readText(block: Uint8Array, offset: number, length: number): Uint8Array {
  const field = block.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return new Uint8Array(field.subarray(0, end < 0 ? field.length : end));
}

/** Few bytes as text, one character for each. */
function asciiOf(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

/** Octal digits, or GNU's base 256 for what they have no room for. */
function readNumber(block: Uint8Array, offset: number, length: number, what: string): number {
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
  const text = asciiOf(field)
    .replace(/[\0 ]+$/, '')
    .trimStart();
  if (!/^[0-7]{0,12}$/.test(text)) throw malformedArchive(`a header has no number as its ${what}`);
  return text === '' ? 0 : Number.parseInt(text, 8);
}

/** What a pax header (POSIX.1-2001) says of the next entry, as far as it matters here. */
export interface PaxRecords {
  readonly path?: Uint8Array;
  readonly linkpath?: Uint8Array;
  readonly size?: number;
  /** Seconds since 1970. */
  readonly mtime?: number;
}

/** More digits than the length of a record can have. */
const MAX_LENGTH_DIGITS = 6;
/** Longer than any number of a record, and any key that matters. */
const MAX_SHORT_BYTES = 64;

function shortText(bytes: Uint8Array): string {
  return asciiOf(bytes.subarray(0, MAX_SHORT_BYTES));
}

function keyOf(bytes: Uint8Array): string {
  return bytes.length > MAX_SHORT_BYTES ? '' : asciiOf(bytes);
}

/** Reads `LENGTH KEY=VALUE` lines. @throws SallyportError COPY_REFUSED */
export function parsePax(content: Uint8Array): PaxRecords {
  const records: { path?: Uint8Array; linkpath?: Uint8Array; size?: number; mtime?: number } = {};
  for (let offset = 0; offset < content.length;) {
    const space = content.indexOf(0x20, offset);
    const digits = space < 0 || space > offset + MAX_LENGTH_DIGITS ? '' : asciiOf(content.subarray(offset, space));
    const length = /^[1-9]\d{0,5}$/.test(digits) ? Number(digits) : 0;
    const equals = content.indexOf(0x3d, space);
    const end = offset + length;
    if (length === 0 || end > content.length || content[end - 1] !== 0x0a || equals < 0 || equals >= end) {
      throw malformedArchive('a pax header is damaged');
    }
    const value = new Uint8Array(content.subarray(equals + 1, end - 1));
    switch (keyOf(content.subarray(space + 1, equals))) {
      case 'path':
        records.path = value;
        break;
      case 'linkpath':
        records.linkpath = value;
        break;
      case 'size': {
        const text = shortText(value);
        if (!/^\d{1,15}$/.test(text)) throw malformedArchive('a pax header has an impossible size');
        records.size = Number(text);
        break;
      }
      case 'mtime': {
        const text = shortText(value);
        if (/^\d{1,12}(?:\.\d+)?$/.test(text)) records.mtime = Number(text);
        break;
      }
      default:
      // What nobody asked for.
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
export function formatHeader(entry: TarEntry): Uint8Array<ArrayBuffer> {
  const pax = [
    fits(entry.name) ? '' : paxRecord('path', entry.name),
    fits(entry.target) ? '' : paxRecord('linkpath', entry.target),
    entry.size <= MAX_OCTAL_SIZE ? '' : paxRecord('size', String(entry.size)),
  ].join('');
  const header = formatBlock(entry, Math.min(entry.size, MAX_OCTAL_SIZE));
  if (pax === '') return header;
  const content = ENCODER.encode(pax);
  const extension = formatBlock({ ...entry, name: 'pax', target: '', type: 'x', mode: 0o644 }, content.length);
  return joinBytes([extension, content, padding(content.length), header]);
}

/** What stands between the end of a content and the next header. */
export function padding(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES);
}

const ENCODER = new TextEncoder();

function fits(text: string): boolean {
  return text.length <= MAX_NAME_BYTES && /^[\x20-\x7e]*$/.test(text);
}

function paxRecord(key: string, value: string): string {
  const body = ` ${key}=${value}\n`;
  const bytes = ENCODER.encode(body).length;
  let length = bytes;
  // The length counts its own digits.
  while (length !== String(length).length + bytes) length = String(length).length + bytes;
  return `${length}${body}`;
}

function formatBlock(entry: Omit<TarEntry, 'type'> & { readonly type: string }, size: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK_BYTES);
  const put = (offset: number, text: string): void => {
    block.set(ENCODER.encode(text).subarray(0, MAX_NAME_BYTES), offset);
  };
  const octal = (value: number, width: number) => `${value.toString(8).padStart(width - 1, '0')}\0`;
  put(0, entry.name);
  const mtime = Math.max(0, Math.min(Math.floor(entry.mtime), MAX_OCTAL_SIZE));
  const numbers = `${octal(entry.mode & 0o7777, 8)}${octal(0, 8)}${octal(0, 8)}${octal(size, 12)}${octal(mtime, 12)}`;
  put(100, `${numbers}        ${entry.type}`);
  put(157, entry.target);
  put(257, 'ustar\x0000');
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(148, `${sum.toString(8).padStart(6, '0')}\0 `);
  return block;
}
