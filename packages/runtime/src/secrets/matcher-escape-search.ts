import type { CompiledForms } from './forms.ts';
import { HEX_DIGITS, INCOMPLETE_ESCAPE, SHORT_ESCAPES } from './matcher-escape.ts';
import type { EscapeReader } from './matcher-escape.ts';
import type { GramFilter } from './matcher-filter.ts';

const PERCENT = 0x25;
const PLUS = 0x2b;
const BACKSLASH = 0x5c;
const LETTER_U = 0x75;

/** How far behind an escape the next one is looked for byte by byte. */
const ESCAPE_LOOKAHEAD_BYTES = 16;

/** Finds the escapes in one piece of data that may belong to the first bytes of a form. */
export class EscapeSearch {
  readonly #filter: GramFilter;
  readonly #reader: EscapeReader;
  readonly #ambiguous: boolean;
  readonly #data: Buffer;
  // The next one of each kind; -1 when there is none: kept, or each call would search all of the data again.
  #percent = -2;
  #backslash = -2;
  #plus: number;

  constructor(forms: CompiledForms, filter: GramFilter, reader: EscapeReader, data: Buffer) {
    this.#filter = filter;
    this.#reader = reader;
    this.#ambiguous = forms.ambiguous;
    this.#data = data;
    this.#plus = forms.plus ? -2 : -1;
  }

  /** The next escape from `from` on, or -1. `from` never goes back. */
  next(from: number): number {
    const data = this.#data;
    const filter = this.#filter;
    const { gateBytes } = filter;
    let index = from;
    for (;;) {
      if (this.#percent !== -1 && this.#percent < index) {
        this.#percent = nextPercent(data, index, gateBytes);
      }
      if (this.#backslash !== -1 && this.#backslash < index) {
        this.#backslash = nextBackslash(data, index, gateBytes);
      }
      if (this.#plus !== -1 && this.#plus < index) {
        this.#plus = data.indexOf(PLUS, index);
      }
      index = earliest(earliest(this.#percent, this.#backslash), this.#plus);
      if (index === -1) {
        return -1;
      }
      const length = this.#reader.read(data, index, data.length);
      if (length === INCOMPLETE_ESCAPE) {
        // The tail of the data is searched by itself.
        return -1;
      }
      if (length > 0 && filter.mayHoldEscape(data, index, data.length, length, this.#reader, this.#ambiguous)) {
        return index;
      }
      index++;
    }
  }
}

function earliest(a: number, b: number): number {
  if (a === -1) {
    return b;
  }
  return b === -1 ? a : Math.min(a, b);
}

// The two loops that every body passes through. `indexOf` is by far the fastest way to the next escape, but each call has its price, so
// behind an escape, where there are often more, the next bytes are looked at one by one.

/** The next JSON escape from `from` on that may stand for one of `gateBytes`, or the last byte when it is a backslash, or -1. */
function nextBackslash(data: Buffer, from: number, gateBytes: Uint8Array): number {
  const last = data.length - 1;
  let i = from;
  for (;;) {
    i = data.indexOf(BACKSLASH, i);
    if (i === -1) {
      return -1;
    }
    let until = i + 1;
    for (; i < until; i++) {
      if (data[i] === BACKSLASH) {
        if (i === last) {
          return i;
        }
        const letter = data[i + 1]!;
        const short = SHORT_ESCAPES[letter]!;
        if (short < 0) {
          if (letter === LETTER_U) {
            return i;
          }
        } else if (gateBytes[short] === 1) {
          return i;
        } else {
          until = Math.min(last + 1, i + ESCAPE_LOOKAHEAD_BYTES);
        }
      }
    }
  }
}

/** The next percent escape from `from` on of one of `gateBytes`, or one that may not be complete, or -1. */
function nextPercent(data: Buffer, from: number, gateBytes: Uint8Array): number {
  const last = data.length - 1;
  let i = from;
  for (;;) {
    i = data.indexOf(PERCENT, i);
    if (i === -1) {
      return -1;
    }
    let until = i + 1;
    for (; i < until; i++) {
      if (data[i] === PERCENT) {
        if (i + 1 >= last) {
          return i;
        }
        const high = HEX_DIGITS[data[i + 1]!]!;
        const low = HEX_DIGITS[data[i + 2]!]!;
        if (high >= 0 && low >= 0) {
          if (gateBytes[(high << 4) | low] === 1) {
            return i;
          }
          until = Math.min(last + 1, i + ESCAPE_LOOKAHEAD_BYTES);
        }
      }
    }
  }
}
