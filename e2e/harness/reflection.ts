import * as zlib from 'node:zlib';

/** Every way in which `/reflect?as=` can give a credential back. */
export const REFLECTIONS = [
  'raw',
  'base64',
  'base64-1',
  'base64-2',
  'base64url',
  'base64url-1',
  'base64url-2',
  'basic',
  'hex',
  'hex-upper',
  'hex-mixed',
  'percent',
  'percent-lower',
  'percent-all',
  'percent-mixed',
  'json',
  'json-all',
  'json-mixed',
] as const;

export type Reflection = (typeof REFLECTIONS)[number];

/** Content codings of `/reflect?encoding=`. */
export const ENCODINGS = ['identity', 'gzip', 'deflate', 'br', 'zstd'] as const;

function percent(bytes: Buffer, isPlain: (index: number) => boolean, upper: (index: number) => boolean): string {
  return [...bytes]
    .map((byte, index) => {
      if (isPlain(index) && /[A-Za-z0-9._~-]/.test(String.fromCharCode(byte))) return String.fromCharCode(byte);
      const hex = byte.toString(16).padStart(2, '0');
      return `%${upper(index) ? hex.toUpperCase() : hex}`;
    })
    .join('');
}

function jsonEscapes(value: string, escapesAt: (index: number) => boolean): string {
  return Array.from({ length: value.length }, (_, index) => {
    const unit = value.charCodeAt(index);
    if (escapesAt(index)) return `\\u${unit.toString(16).padStart(4, '0')}`;
    return JSON.stringify(value[index]).slice(1, -1);
  }).join('');
}

/** Writes a credential in one form; `-1` and `-2` put that many foreign bytes before it inside the base64 text. */
export function reflect(value: string, form: Reflection): string {
  const bytes = Buffer.from(value);
  const after = (count: number): Buffer =>
    Buffer.concat([Buffer.from('ab'.slice(0, count)), bytes, Buffer.from('tail')]);
  switch (form) {
    case 'raw':
      return value;
    case 'base64':
      return bytes.toString('base64');
    case 'base64-1':
      return after(1).toString('base64');
    case 'base64-2':
      return after(2).toString('base64');
    case 'base64url':
      return bytes.toString('base64url');
    case 'base64url-1':
      return after(1).toString('base64url');
    case 'base64url-2':
      return after(2).toString('base64url');
    case 'basic':
      return `Basic ${Buffer.from(`x-access-token:${value}`).toString('base64')}`;
    case 'hex':
      return bytes.toString('hex');
    case 'hex-upper':
      return bytes.toString('hex').toUpperCase();
    case 'hex-mixed':
      return [...bytes.toString('hex')].map((digit, index) => (index % 3 === 0 ? digit.toUpperCase() : digit)).join('');
    case 'percent':
      return encodeURIComponent(value);
    case 'percent-lower':
      return percent(
        bytes,
        () => true,
        () => false,
      );
    case 'percent-all':
      return percent(
        bytes,
        () => false,
        () => true,
      );
    case 'percent-mixed':
      return percent(
        bytes,
        (index) => index % 2 === 0,
        (index) => index % 3 === 0,
      );
    case 'json':
      return JSON.stringify(value);
    case 'json-all':
      return `"${jsonEscapes(value, () => true)}"`;
    case 'json-mixed':
      return `"${jsonEscapes(value, (index) => index % 2 === 1)}"`;
  }
}

/** Applies a content coding. */
export function encodeBody(body: Buffer, encoding: string): Buffer {
  switch (encoding) {
    case 'gzip':
      return zlib.gzipSync(body);
    case 'deflate':
      return zlib.deflateSync(body);
    case 'br':
      return zlib.brotliCompressSync(body);
    case 'zstd':
      return zlib.zstdCompressSync(body);
    default:
      return body;
  }
}

/** Cuts a body into pieces of the given sizes, the last size repeating. */
export function splitBody(body: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0, index = 0; at < body.length; index++) {
    const size = Math.max(1, sizes[Math.min(index, sizes.length - 1)] ?? body.length);
    pieces.push(body.subarray(at, at + size));
    at += size;
  }
  return pieces;
}
