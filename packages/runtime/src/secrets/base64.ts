/** Marks a byte that is no base64 digit in {@link BASE64_DIGITS}. */
export const NO_DIGIT = -1;

const STANDARD = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const URL_SAFE = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** The six-bit digit of each byte, both alphabets of RFC 4648 (sections 4 and 5) as one; {@link NO_DIGIT} elsewhere. */
export const BASE64_DIGITS: Int16Array = digits();

function digits(): Int16Array {
  const table = new Int16Array(256).fill(NO_DIGIT);
  for (const alphabet of [STANDARD, URL_SAFE]) {
    for (let digit = 0; digit < 64; digit++) {
      table[alphabet.charCodeAt(digit)] = digit;
    }
  }
  return table;
}

/** How many bits of the value the digit before the core carries, by alignment. */
const LEFT_BITS = [0, 4, 2] as const;

export type Alignment = 0 | 1 | 2;

/**
 * The base64 form of some bytes inside something longer, at one alignment.
 *
 * `core` are the digits that the bytes determine fully. The digit before it carries `leftBits` low bits (`left`) of the bytes
 * below the neighbour's, the digit after it `rightBits` high bits (`right`) above the neighbour's; 0 bits means there is no such digit.
 */
export interface Base64Form {
  readonly alignment: Alignment;
  readonly leftBits: 0 | 2 | 4;
  readonly left: number;
  readonly core: Uint8Array;
  readonly rightBits: 0 | 2 | 4;
  readonly right: number;
}

/** The base64 form of `bytes` where `alignment` bytes (mod 3) precede them. */
export function base64Form(bytes: Uint8Array, alignment: Alignment): Base64Form {
  const leftBits = LEFT_BITS[alignment];
  const bits = bytes.length * 8;
  const core = new Uint8Array(Math.floor((bits - leftBits) / 6));
  for (let i = 0; i < core.length; i++) {
    core[i] = takeBits(bytes, leftBits + i * 6, 6);
  }
  const rightBits = ((bits - leftBits) % 6) as 0 | 2 | 4;
  return {
    alignment,
    leftBits,
    left: takeBits(bytes, 0, leftBits),
    core,
    rightBits,
    right: takeBits(bytes, bits - rightBits, rightBits),
  };
}

function takeBits(bytes: Uint8Array, offset: number, count: number): number {
  const index = offset >> 3;
  const pair = ((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0);
  return (pair >> (16 - (offset & 7) - count)) & ((1 << count) - 1);
}

/** Digits as text in the standard or the URL-safe alphabet. */
export function base64Text(form: Uint8Array, urlSafe: boolean): string {
  const alphabet = urlSafe ? URL_SAFE : STANDARD;
  let text = '';
  for (const digit of form) {
    text += alphabet[digit];
  }
  return text;
}

/**
 * Encodes `bytes` at `alignment` between two neighbours, so that what is around it decodes as before.
 *
 * `leftDigit` is the digit whose high bits belong to what precedes, `rightDigit` the one whose low bits belong to what follows;
 * without `rightDigit` the last, partly filled digit is left out, for the caller to write together with what follows.
 */
export function spliceBase64(
  bytes: Uint8Array,
  alignment: Alignment,
  leftDigit: number,
  rightDigit: number | undefined,
  urlSafe: boolean,
): string {
  const form = base64Form(bytes, alignment);
  const alphabet = urlSafe ? URL_SAFE : STANDARD;
  let text = '';
  if (form.leftBits > 0) {
    const own = (1 << form.leftBits) - 1;
    text += alphabet[(leftDigit & ~own & 63) | form.left];
  }
  text += base64Text(form.core, urlSafe);
  if (form.rightBits > 0 && rightDigit !== undefined) {
    const free = 6 - form.rightBits;
    text += alphabet[(form.right << free) | (rightDigit & ((1 << free) - 1))];
  }
  return text;
}

/** What a decoded base64 text looked like, so that another can be written the same way. */
export interface Base64Style {
  readonly urlSafe: boolean;
  readonly padded: boolean;
}

/**
 * Decodes base64 as lenient servers do: either alphabet, padding optional, unused trailing bits ignored.
 *
 * @returns the bytes as Latin-1 text and the style, or undefined when a character or the length is impossible.
 */
export function decodeBase64(text: string): { readonly text: string; readonly style: Base64Style } | undefined {
  let end = text.length;
  while (end > 0 && text.length - end < 2 && text.charCodeAt(end - 1) === 0x3d) {
    end--;
  }
  if (end % 4 === 1) {
    return undefined;
  }
  let urlSafe = false;
  for (let i = 0; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code > 255 || BASE64_DIGITS[code] === NO_DIGIT) {
      return undefined;
    }
    urlSafe ||= code === 0x2d || code === 0x5f;
  }
  const decoded = Buffer.from(text.slice(0, end), 'base64').toString('latin1');
  return { text: decoded, style: { urlSafe, padded: end < text.length || end % 4 === 0 } };
}

/** Encodes Latin-1 text, one byte a character, in the given style. */
export function encodeBase64(latin1: string, style: Base64Style): string {
  const bytes = Buffer.from(latin1, 'latin1');
  const text = style.urlSafe ? bytes.toString('base64url') : bytes.toString('base64');
  if (style.urlSafe) {
    return style.padded ? text.padEnd(Math.ceil(text.length / 4) * 4, '=') : text;
  }
  return style.padded ? text : text.replace(/=+$/, '');
}
