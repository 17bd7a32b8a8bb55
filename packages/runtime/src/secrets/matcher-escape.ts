/** What {@link EscapeReader.read} says where the bytes are no escape. */
export const NO_ESCAPE = 0;
/** What {@link EscapeReader.read} says where the bytes end before the escape does. */
export const INCOMPLETE_ESCAPE = -1;

/** The longest escape: a surrogate pair, `\ud83d\ude00`. */
export const MAX_ESCAPE_BYTES = 12;

const PERCENT = 0x25;
const PLUS = 0x2b;
const BACKSLASH = 0x5c;

const HEX = new Int8Array(256).fill(-1);
for (let digit = 0; digit < 16; digit++) {
  HEX[digit.toString(16).charCodeAt(0)] = digit;
  HEX[digit.toString(16).toUpperCase().charCodeAt(0)] = digit;
}

/** The value of each byte as a hexadecimal digit, -1 elsewhere. */
export const HEX_DIGITS: Int8Array = HEX;

/** What each letter of a two-character JSON escape stands for, -1 elsewhere. */
export const SHORT_ESCAPES: Int16Array = new Int16Array(256).fill(-1);
for (const [letter, code] of [
  ['"', 0x22],
  ['\\', 0x5c],
  ['/', 0x2f],
  ['b', 8],
  ['f', 12],
  ['n', 10],
  ['r', 13],
  ['t', 9],
] as const) {
  SHORT_ESCAPES[letter.charCodeAt(0)] = code;
}

/**
 * Reads percent escapes (RFC 3986 section 2.1) and JSON escapes (RFC 8259 section 7), and `+` as a space where asked.
 *
 * What was read last is in `bytes[0..count)`: one byte, or the UTF-8 of a `\u` escape.
 */
export class EscapeReader {
  readonly bytes: Uint8Array = new Uint8Array(4);
  count = 0;

  readonly #plus: boolean;

  /** @param plus whether `+` may stand for a space. */
  constructor(plus: boolean) {
    this.#plus = plus;
  }

  /** Whether an escape can start with `byte`. */
  starts(byte: number): boolean {
    return byte === PERCENT || byte === BACKSLASH || (byte === PLUS && this.#plus);
  }

  /** Reads the escape at `at`; its length in bytes, {@link NO_ESCAPE} or {@link INCOMPLETE_ESCAPE}. */
  read(data: Uint8Array, at: number, end: number): number {
    const lead = data[at]!;
    if (lead === PERCENT) {
      return this.#readPercent(data, at, end);
    }
    if (lead === BACKSLASH) {
      return this.#readJson(data, at, end);
    }
    if (lead === PLUS && this.#plus) {
      this.bytes[0] = 0x20;
      this.count = 1;
      return 1;
    }
    return NO_ESCAPE;
  }

  #readPercent(data: Uint8Array, at: number, end: number): number {
    if (at + 1 >= end) {
      return INCOMPLETE_ESCAPE;
    }
    const high = HEX[data[at + 1]!]!;
    if (high < 0) {
      return NO_ESCAPE;
    }
    if (at + 2 >= end) {
      return INCOMPLETE_ESCAPE;
    }
    const low = HEX[data[at + 2]!]!;
    if (low < 0) {
      return NO_ESCAPE;
    }
    this.bytes[0] = (high << 4) | low;
    this.count = 1;
    return 3;
  }

  #readJson(data: Uint8Array, at: number, end: number): number {
    if (at + 1 >= end) {
      return INCOMPLETE_ESCAPE;
    }
    const short = SHORT_ESCAPES[data[at + 1]!]!;
    if (short >= 0) {
      this.bytes[0] = short;
      this.count = 1;
      return 2;
    }
    const unit = readUnit(data, at, end);
    if (unit < 0) {
      return unit === -1 ? NO_ESCAPE : INCOMPLETE_ESCAPE;
    }
    if (unit < 0xd800 || unit > 0xdfff) {
      this.#encode(unit);
      return 6;
    }
    if (unit >= 0xdc00) {
      return NO_ESCAPE;
    }
    if (at + 6 >= end) {
      return INCOMPLETE_ESCAPE;
    }
    if (data[at + 6] !== BACKSLASH) {
      return NO_ESCAPE;
    }
    const low = readUnit(data, at + 6, end);
    if (low === -2) {
      return INCOMPLETE_ESCAPE;
    }
    if (low < 0xdc00 || low > 0xdfff) {
      return NO_ESCAPE;
    }
    this.#encode(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00));
    return 12;
  }

  #encode(code: number): void {
    const bytes = this.bytes;
    if (code < 0x80) {
      bytes[0] = code;
      this.count = 1;
    } else if (code < 0x800) {
      bytes[0] = 0xc0 | (code >> 6);
      bytes[1] = 0x80 | (code & 63);
      this.count = 2;
    } else if (code < 0x10000) {
      bytes[0] = 0xe0 | (code >> 12);
      bytes[1] = 0x80 | ((code >> 6) & 63);
      bytes[2] = 0x80 | (code & 63);
      this.count = 3;
    } else {
      bytes[0] = 0xf0 | (code >> 18);
      bytes[1] = 0x80 | ((code >> 12) & 63);
      bytes[2] = 0x80 | ((code >> 6) & 63);
      bytes[3] = 0x80 | (code & 63);
      this.count = 4;
    }
  }
}

/** The code unit of `\uXXXX` at `at`, -1 when it is none, -2 when the bytes end too early. */
function readUnit(data: Uint8Array, at: number, end: number): number {
  if (at + 1 >= end) {
    return -2;
  }
  if (data[at + 1] !== 0x75) {
    return -1;
  }
  let unit = 0;
  for (let i = at + 2; i < at + 6; i++) {
    if (i >= end) {
      return -2;
    }
    const digit = HEX[data[i]!]!;
    if (digit < 0) {
      return -1;
    }
    unit = (unit << 4) | digit;
  }
  return unit;
}

/**
 * The first bytes that an escape can decode to, whose beginning is `data[at..end)`: pairs of lowest and highest.
 */
export function possibleFirstBytes(data: Uint8Array, at: number, end: number): readonly (readonly [number, number])[] {
  const length = end - at;
  if (data[at] === PERCENT) {
    const high = length > 1 ? HEX[data[at + 1]!]! : 0;
    return length > 1 ? [[high << 4, (high << 4) | 15]] : [[0, 255]];
  }
  if (length <= 2) {
    return [[0, 255]];
  }
  let low = 0;
  const digits = Math.min(length - 2, 4);
  for (let i = 0; i < digits; i++) {
    low = (low << 4) | HEX[data[at + 2 + i]!]!;
  }
  const free = 4 * (4 - digits);
  low <<= free;
  const high = low | ((1 << free) - 1);
  if (low >= 0xdc00 && high <= 0xdfff) {
    return [];
  }
  if (low > 0xdbff || high < 0xd800) {
    return [[leadByte(low), leadByte(high)]];
  }
  const first = leadByte(0x10000 + ((Math.max(low, 0xd800) - 0xd800) << 10));
  const last = leadByte(0x10000 + ((Math.min(high, 0xdbff) - 0xd800) << 10) + 0x3ff);
  // A range that reaches beyond the high surrogates has three-byte characters, too.
  return low < 0xd800 ? [[leadByte(low), last]] : [[first, last]];
}

function leadByte(code: number): number {
  if (code < 0x80) {
    return code;
  }
  if (code < 0x800) {
    return 0xc0 | (code >> 6);
  }
  return code < 0x10000 ? 0xe0 | (code >> 12) : 0xf0 | (code >> 18);
}
