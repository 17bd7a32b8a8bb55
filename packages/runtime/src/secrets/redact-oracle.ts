/**
 * What redaction should do, written down naively and slowly, for tests and fuzzing only: it shares no code with the real one.
 */

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** A form found in a text. */
export interface OracleMatch {
  readonly start: number;
  readonly end: number;
  readonly kind: 'text' | 'base64' | 'hex';
  readonly value: number;
  /** Of base64: bits of the digit before the core, and of the last digit, that belong to the value. */
  readonly leftBits: number;
  readonly rightBits: number;
}

interface Reading {
  readonly length: number;
  /** Decoded bytes; undefined where the text ends inside the escape. */
  readonly bytes: readonly number[] | undefined;
}

/** All ways to read the beginning of `text.slice(at)`: as itself, as a percent escape, as a JSON escape, as a form's space. */
function readings(text: string, at: number, plus: boolean): Reading[] {
  const found: Reading[] = [{ length: 1, bytes: [text.charCodeAt(at)] }];
  const rest = text.slice(at, at + 12);
  if (plus && rest.startsWith('+')) {
    found.push({ length: 1, bytes: [0x20] });
  }
  const percent = /^%([0-9a-f]{2})/i.exec(rest);
  if (percent) {
    found.push({ length: 3, bytes: [Number.parseInt(percent[1]!, 16)] });
  }
  const json = /^\\(?:["\\/bfnrt]|u[0-9a-f]{4})/i.exec(rest);
  if (json && !/^\\[BFNRTU]/.test(rest)) {
    const pair = /^\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}/.exec(rest);
    const whole = pair?.[0] ?? json[0];
    const decoded = JSON.parse(`"${whole}"`) as string;
    if (!/[\ud800-\udfff]/u.test(decoded)) {
      found.push({ length: whole.length, bytes: [...Buffer.from(decoded, 'utf8')] });
    }
  }
  if (at + rest.length === text.length && !percent && /^%[0-9a-fA-F]?$/.test(rest)) {
    found.push({ length: rest.length, bytes: undefined });
  }
  if (/^\\(u([0-9a-fA-F]{0,3}|[dD][89abAB][0-9a-fA-F]{2}(\\(u([dD]([c-fC-F][0-9a-fA-F]?)?)?)?)?))?$/.test(rest)) {
    found.push({ length: rest.length, bytes: undefined });
  }
  return found;
}

/** Whether one byte of the text can be the `index`-th unit of a form. */
type Fits = (byte: number, index: number) => boolean;

interface Outcome {
  readonly ends: ReadonlySet<number>;
  /** Whether the text ended in the middle of the form. */
  readonly live: boolean;
}

/** Follows every reading from `start`. */
function follow(text: string, start: number, units: number, fits: Fits, escapes: boolean, plus: boolean): Outcome {
  const ends = new Set<number>();
  let live = false;
  const seen = new Set<number>();
  const open: [number, number][] = [[start, 0]];
  while (open.length > 0) {
    const [at, index] = open.pop()!;
    const key = at * (units + 1) + index;
    if (seen.has(key)) {
      continue;
    }
    seen.add(key);
    if (index === units) {
      ends.add(at);
      continue;
    }
    if (at === text.length) {
      live ||= at > start;
      continue;
    }
    const all = readings(text, at, plus);
    for (const { length, bytes } of escapes ? all : all.slice(0, 1)) {
      if (bytes === undefined) {
        live ||= possible(text.slice(at), index, fits);
      } else if (index + bytes.length <= units && bytes.every((byte, i) => fits(byte, index + i))) {
        open.push([at + length, index + bytes.length]);
      }
    }
  }
  return { ends, live };
}

/** Whether some completion of the escape that begins with `rest` fits. */
function possible(rest: string, index: number, fits: Fits): boolean {
  for (let byte = 0; byte < 256; byte++) {
    if (fits(byte, index)) {
      const hex = byte.toString(16).padStart(2, '0');
      if (rest.startsWith('%')) {
        if (`%${hex}`.startsWith(rest.toLowerCase())) {
          return true;
        }
      } else if (byte < 0x80 ? `\\u00${hex}`.startsWith(rest.toLowerCase()) || rest === '\\' : true) {
        // Characters beyond ASCII: only roughly, by their first byte.
        return true;
      }
    }
  }
  return false;
}

/** Everything that can be said about `text` (Latin-1) with regard to `values` (bytes as Latin-1). */
export class RedactionOracle {
  readonly matches: OracleMatch[] = [];
  /** The earliest start of a form that the text ends in the middle of, or the text's length. */
  live: number;

  constructor(text: string, values: readonly string[]) {
    this.live = text.length;
    const plus = values.some((value) => value.includes(' '));
    for (let start = 0; start < text.length; start++) {
      for (const [value, bytes] of values.entries()) {
        this.#try(text, start, bytes, value, plus);
      }
    }
  }

  #try(text: string, start: number, bytes: string, value: number, plus: boolean): void {
    const take = (kind: OracleMatch['kind'], outcome: Outcome, leftBits: number, rightBits: number): void => {
      for (const end of outcome.ends) {
        this.matches.push({ start, end, kind, value, leftBits, rightBits });
      }
      if (outcome.live) {
        this.live = Math.min(this.live, start);
      }
    };
    const raw: Fits = (byte, index) => byte === bytes.charCodeAt(index);
    take('text', follow(text, start, bytes.length, raw, true, plus), 0, 0);

    const hex = Buffer.from(bytes, 'latin1').toString('hex');
    const nibble: Fits = (byte, index) => String.fromCharCode(byte).toLowerCase() === hex[index];
    take('hex', follow(text, start, hex.length, nibble, false, false), 0, 0);

    for (let alignment = 0; alignment < 3; alignment++) {
      let bits = '?'.repeat(alignment * 8);
      for (const char of bytes) {
        bits += char.charCodeAt(0).toString(2).padStart(8, '0');
      }
      const first = Math.floor((alignment * 8) / 6);
      const rightBits = bits.length % 6;
      bits += '?'.repeat((6 - rightBits) % 6);
      const digits = bits.match(/.{6}/g)!.slice(first);
      const digit: Fits = (byte, index) => {
        const char = byte === 0x2d ? '+' : byte === 0x5f ? '/' : String.fromCharCode(byte);
        const number = ALPHABET.indexOf(char);
        const own = number.toString(2).padStart(6, '0');
        return number >= 0 && [...digits[index]!].every((bit, i) => bit === '?' || bit === own[i]);
      };
      take('base64', follow(text, start, digits.length, digit, true, plus), [0, 4, 2][alignment]!, rightBits);
    }
  }

  /**
   * The parts of the text that are replaced, each with the form that gives the placeholder: of overlapping forms the leftmost, then the longest.
   * Base64 forms that share one digit are two parts.
   */
  clusters(): { start: number; end: number; match: OracleMatch }[] {
    const sorted = this.matches.toSorted((a, b) => a.start - b.start || b.end - a.end);
    const clusters: { start: number; end: number; match: OracleMatch }[] = [];
    for (const match of sorted) {
      const last = clusters.at(-1);
      if (last === undefined || match.start >= last.end) {
        clusters.push({ start: match.start, end: match.end, match });
      } else {
        last.end = Math.max(last.end, match.end);
      }
    }
    return clusters;
  }
}
