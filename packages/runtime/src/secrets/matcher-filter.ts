import type { EscapeReader } from './matcher-escape.ts';

/** Forms shorter than this get no filter. */
export const MIN_FILTERED_BYTES = 8;

/** More of a form's beginning than this would hardly make the scan faster, only the tables bigger; with many forms they matter more. */
export const MAX_WINDOW_BYTES = 31;
const MAX_WINDOW_BYTES_OF_MANY = 23;
const MANY_FORMS = 1000;

const LONG_GRAM_BYTES = 8;
const SHORT_GRAM_BYTES = 4;
/** Clears the difference between upper and lower case, for hexadecimal digits. */
const FOLD = 0x20202020;

const MULTIPLIER_LOW = 0x9e3779b1 | 0;
const MULTIPLIER_HIGH = 0x85ebca77 | 0;
const MULTIPLIER_CHECK = 0xc2b2ae3d | 0;

/** Cells for each gram: a rare false alarm costs more than a table in the second-level cache. */
const CELLS_PER_GRAM = 64;
const MIN_TABLE_BITS = 13;
const MAX_TABLE_BITS = 22;

/**
 * Finds quickly where a form might be, and passes over everything else.
 *
 * Of the first `window` bytes of each form all grams (runs of 8 or 4 bytes) are in a bitmap. So a text needs a look only at every
 * (window - gram + 1)-th position: a form cannot pass between two looks. A hit is confirmed by a second, exact-sized hash.
 */
export class GramFilter {
  /** How many first bytes of each form count. */
  readonly window: number;
  /** A form that the look at `t` finds starts at `t - reach` at the earliest. */
  readonly reach: number;

  /** 1 for each byte in the window of a form that may be escaped. */
  readonly gateBytes: Uint8Array = new Uint8Array(256);

  readonly #gram: number;
  readonly #stride: number;
  readonly #shift: number;
  readonly #bitmap: Uint8Array;
  readonly #checks: Int32Array;
  readonly #checkMask: number;
  readonly #gateShift: number;
  readonly #gate: Uint8Array;

  /**
   * @param forms the forms as they stand in a text; none shorter than {@link MIN_FILTERED_BYTES}.
   * @param escapable those whose bytes may be escaped, in any mix.
   */
  constructor(forms: readonly Uint8Array[], escapable: readonly Uint8Array[]) {
    let shortest = forms.length > MANY_FORMS ? MAX_WINDOW_BYTES_OF_MANY : MAX_WINDOW_BYTES;
    for (const form of forms) {
      shortest = Math.min(shortest, form.length);
    }
    this.window = shortest;
    this.#gram = shortest >= LONG_GRAM_BYTES + 7 ? LONG_GRAM_BYTES : SHORT_GRAM_BYTES;
    this.#stride = shortest - this.#gram + 1;
    this.reach = this.#stride - 1;

    const grams = Math.max(1, forms.length * this.#stride);
    const bits = tableBits(grams);
    this.#shift = 32 - bits;
    this.#bitmap = new Uint8Array(1 << (bits - 3));
    const slots = 1 << Math.ceil(Math.log2(grams * 2 + 2));
    this.#checks = new Int32Array(slots);
    this.#checkMask = slots - 1;
    for (const form of forms) {
      this.#add(form);
    }

    const gateBits = tableBits(escapable.length * (shortest - SHORT_GRAM_BYTES + 1));
    this.#gateShift = 32 - gateBits;
    this.#gate = new Uint8Array(1 << (gateBits - 3));
    for (const form of escapable) {
      for (let i = 0; i < shortest; i++) {
        this.gateBytes[form[i]!] = 1;
      }
      for (let i = 0; i + SHORT_GRAM_BYTES <= shortest; i++) {
        const cell = this.#gateCell(form[i]!, form[i + 1]!, form[i + 2]!, form[i + 3]!);
        this.#gate[cell >>> 3]! |= 1 << (cell & 7);
      }
    }
  }

  #add(form: Uint8Array): void {
    const view = new DataView(form.buffer, form.byteOffset, form.byteLength);
    for (let i = 0; i < this.#stride; i++) {
      const low = view.getUint32(i, true) | FOLD;
      const high = this.#gram === LONG_GRAM_BYTES ? view.getUint32(i + 4, true) | FOLD : 0;
      const cell = hashGram(low, high) >>> this.#shift;
      this.#bitmap[cell >>> 3]! |= 1 << (cell & 7);
      const check = checkGram(low, high);
      let slot = (check >>> 7) & this.#checkMask;
      while (this.#checks[slot] !== 0 && this.#checks[slot] !== check) {
        slot = (slot + 1) & this.#checkMask;
      }
      this.#checks[slot] = check;
    }
  }

  #confirm(low: number, high: number): boolean {
    const check = checkGram(low, high);
    let slot = (check >>> 7) & this.#checkMask;
    for (;;) {
      const entry = this.#checks[slot]!;
      if (entry === check) {
        return true;
      }
      if (entry === 0) {
        return false;
      }
      slot = (slot + 1) & this.#checkMask;
    }
  }

  /** The next position from `from` on whose gram is one of the table, or -1. `view` is over the bytes. */
  find(view: DataView, from: number, end: number): number {
    const isLong = this.#gram === LONG_GRAM_BYTES;
    const look = isLong ? findLongGram : findShortGram;
    let at = from;
    for (;;) {
      at = look(view, at, end, this.#stride, this.#bitmap, this.#shift);
      if (at === -1) {
        return -1;
      }
      const low = view.getUint32(at, true) | FOLD;
      if (this.#confirm(low, isLong ? view.getUint32(at + 4, true) | FOLD : 0)) {
        return at;
      }
      at += this.#stride;
    }
  }

  /** Whether a Latin-1 text may hold a form without escapes. */
  mayOccurIn(text: string): boolean {
    const long = this.#gram === LONG_GRAM_BYTES;
    const last = text.length - this.#gram;
    for (let i = 0; i <= last; i += this.#stride) {
      const low = fourOf(text, i) | FOLD;
      const high = long ? fourOf(text, i + 4) | FOLD : 0;
      const cell = hashGram(low, high) >>> this.#shift;
      if ((this.#bitmap[cell >>> 3]! & (1 << (cell & 7))) !== 0 && this.#confirm(low, high)) {
        return true;
      }
    }
    return false;
  }

  /**
   * Whether the escape at `at`, just read by `reader` with `length`, may be the first in a form's window.
   *
   * Either the three bytes before it belong to the form as they are, or the form begins so late that the three symbols after it do.
   *
   * @param ambiguous whether a byte that starts an escape may also stand for itself.
   */
  mayHoldEscape(
    data: Uint8Array,
    at: number,
    end: number,
    length: number,
    reader: EscapeReader,
    ambiguous: boolean,
  ): boolean {
    const decoded = reader.bytes[0]!;
    if (this.gateBytes[decoded] === 0) {
      return false;
    }
    if (at >= 3 && this.#inGate(data[at - 3]!, data[at - 2]!, data[at - 1]!, decoded)) {
      return true;
    }
    let gram = decoded;
    let filled = 1;
    for (let i = 1; i < reader.count && filled < SHORT_GRAM_BYTES; i++) {
      gram = (gram << 8) | reader.bytes[i]!;
      filled++;
    }
    let position = at + length;
    while (filled < SHORT_GRAM_BYTES) {
      if (position >= end) {
        return true;
      }
      let width = 0;
      if (reader.starts(data[position]!)) {
        if (ambiguous) {
          return true;
        }
        width = reader.read(data, position, end);
        if (width < 0) {
          return true;
        }
      }
      if (width === 0) {
        gram = (gram << 8) | data[position]!;
        filled++;
        position++;
      } else {
        for (let i = 0; i < reader.count && filled < SHORT_GRAM_BYTES; i++) {
          gram = (gram << 8) | reader.bytes[i]!;
          filled++;
        }
        position += width;
      }
    }
    return this.#inGate(gram >>> 24, (gram >>> 16) & 255, (gram >>> 8) & 255, gram & 255);
  }

  #inGate(a: number, b: number, c: number, d: number): boolean {
    const cell = this.#gateCell(a, b, c, d);
    return (this.#gate[cell >>> 3]! & (1 << (cell & 7))) !== 0;
  }

  #gateCell(a: number, b: number, c: number, d: number): number {
    return Math.imul((a << 24) | (b << 16) | (c << 8) | d, MULTIPLIER_LOW) >>> this.#gateShift;
  }
}

function tableBits(grams: number): number {
  const wanted = Math.ceil(Math.log2(Math.max(1, grams) * CELLS_PER_GRAM));
  return Math.min(MAX_TABLE_BITS, Math.max(MIN_TABLE_BITS, wanted));
}

function hashGram(low: number, high: number): number {
  return Math.imul(low, MULTIPLIER_LOW) ^ Math.imul(high, MULTIPLIER_HIGH);
}

/** A second hash, never 0. */
function checkGram(low: number, high: number): number {
  const mixed = Math.imul(low ^ (low >>> 15), MULTIPLIER_CHECK) + Math.imul(high ^ (high >>> 13), MULTIPLIER_LOW);
  return (mixed ^ (mixed >>> 16)) | 1;
}

function fourOf(text: string, at: number): number {
  return (
    text.charCodeAt(at) |
    (text.charCodeAt(at + 1) << 8) |
    (text.charCodeAt(at + 2) << 16) |
    (text.charCodeAt(at + 3) << 24)
  );
}

// The two loops that every body passes through: functions of their own, as small as can be, for the optimizing compiler.

function findLongGram(
  view: DataView,
  from: number,
  end: number,
  stride: number,
  bitmap: Uint8Array,
  shift: number,
): number {
  const last = end - LONG_GRAM_BYTES;
  for (let i = from; i <= last; i += stride) {
    const low = view.getUint32(i, true) | FOLD;
    const high = view.getUint32(i + 4, true) | FOLD;
    const cell = (Math.imul(low, MULTIPLIER_LOW) ^ Math.imul(high, MULTIPLIER_HIGH)) >>> shift;
    if ((bitmap[cell >>> 3]! & (1 << (cell & 7))) !== 0) {
      return i;
    }
  }
  return -1;
}

function findShortGram(
  view: DataView,
  from: number,
  end: number,
  stride: number,
  bitmap: Uint8Array,
  shift: number,
): number {
  const last = end - SHORT_GRAM_BYTES;
  for (let i = from; i <= last; i += stride) {
    const cell = Math.imul(view.getUint32(i, true) | FOLD, MULTIPLIER_LOW) >>> shift;
    if ((bitmap[cell >>> 3]! & (1 << (cell & 7))) !== 0) {
      return i;
    }
  }
  return -1;
}
