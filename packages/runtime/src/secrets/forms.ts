import { SallyportError } from '@sallyport/sdk';

import { BASE64_DIGITS, base64Form, base64Text, spliceBase64 } from './base64.ts';
import type { Alignment, Base64Form } from './base64.ts';
import { Automaton, ROOT } from './matcher-automaton.ts';
import { HEX_DIGITS } from './matcher-escape.ts';
import { GramFilter, MAX_WINDOW_BYTES, MIN_FILTERED_BYTES } from './matcher-filter.ts';
import type { SecretValue } from './secret-value.ts';

/** Values under this cannot be taken out of responses without wrecking them. */
export const MIN_VALUE_BYTES = 8;
/** The longest value that forms are compiled for. */
export const MAX_VALUE_BYTES = 65_536;

/** What becomes what: all values (older rotations included) of one secret, and what stands in for them. */
export interface RedactionRule {
  readonly name: string;
  /** URL-safe ASCII. */
  readonly placeholder: string;
  readonly values: readonly SecretValue[];
}

/** One form of one value. */
export interface Form {
  readonly kind: 'text' | 'base64' | 'hex';
  readonly rule: RedactionRule;
  /** How many bytes the form encodes. */
  readonly length: number;
  readonly alignment: Alignment;
  /** Of base64: how many bits the digit before the core carries, and which. */
  readonly leftBits: 0 | 2 | 4;
  readonly left: number;
  /** Of base64: how many bits the last digit carries. */
  readonly rightBits: 0 | 2 | 4;
}

/**
 * One way to read a text, and the strings to look for in it.
 *
 * `symbols` maps a byte (-1: none of this alphabet); `escapes` says whether bytes may be escaped. Of base64, the digit before a form's
 * core is not in the automaton: `leftLow`/`leftHigh` hold, for each node, which digits may stand there (a bit for each), and `noLeft`
 * whether a form goes on from the node that needs none.
 */
export interface View {
  readonly automaton: Automaton;
  readonly symbols: Int16Array;
  readonly escapes: boolean;
  /** For each node at which forms end, one more than where they are in `forms`. */
  readonly formsAt: Int32Array;
  readonly forms: readonly (readonly Form[])[];
  readonly left: { readonly low: Int32Array; readonly high: Int32Array; readonly none: Uint8Array } | undefined;
}

/** Everything that is compiled once for a set of values. */
export interface CompiledForms {
  readonly views: readonly View[];
  /** Absent where a form is too short for one: then every byte is looked at. */
  readonly filter: GramFilter | undefined;
  /** Whether a value has spaces, for which `+` may stand. */
  readonly plus: boolean;
  /** Whether a byte that starts an escape may also stand for itself. */
  readonly ambiguous: boolean;
  /** 1 for each byte that may be part of a form, as itself or in an escape. */
  readonly relevant: Uint8Array;
}

/** Bytes of a value as a form: UTF-8, and Latin-1 where that differs, as header fields carry it. */
export function encodings(value: string): Uint8Array[] {
  const utf8 = Buffer.from(value, 'utf8');
  const forms: Uint8Array[] = [utf8];
  // oxlint-disable-next-line no-control-regex -- the range is Latin-1, controls included
  if (utf8.length !== value.length && /^[\u0000-\u00ff]*$/.test(value)) {
    forms.push(Buffer.from(value, 'latin1'));
  }
  return forms;
}

/**
 * Compiles every form of every value.
 *
 * @throws SallyportError SECRET_VALUE_TOO_SHORT below 8 bytes, INVALID_SECRET_VALUE above 64 KiB.
 */
export function compileForms(rules: readonly RedactionRule[]): CompiledForms {
  const values = distinctValues(rules);
  const text = new ViewBuilder(identitySymbols(), true, false, capacity(values, 1, 0));
  const base64 = new ViewBuilder(BASE64_DIGITS, true, true, capacity(values, 4, 48));
  const hex = new ViewBuilder(hexSymbols(), false, false, capacity(values, 2, 0));
  const windows: Uint8Array[] = [];
  const escapable: Uint8Array[] = [];
  const relevant = new Uint8Array(256);
  let plus = false;
  let ambiguous = false;
  let shortest = Number.POSITIVE_INFINITY;

  const addWindow = (window: Uint8Array, mayBeEscaped: boolean): void => {
    windows.push(window);
    if (mayBeEscaped) {
      escapable.push(window);
    }
    shortest = Math.min(shortest, window.length);
  };

  for (const { rule, bytes } of values) {
    text.add(bytes, { ...PLAIN, kind: 'text', rule, length: bytes.length });
    addWindow(bytes, true);
    for (const byte of bytes) {
      relevant[byte] = 1;
      plus ||= byte === 0x20;
      ambiguous ||= byte === 0x20 || byte === 0x25 || byte === 0x5c;
    }
    hex.add(nibbles(bytes), { ...PLAIN, kind: 'hex', rule, length: bytes.length });
    addWindow(Buffer.from(Buffer.from(bytes.subarray(0, MAX_WINDOW_BYTES)).toString('hex'), 'latin1'), false);
    for (const alignment of [0, 1, 2] as const) {
      const form = base64Form(bytes, alignment);
      base64.addBase64(form, { kind: 'base64', rule, length: bytes.length, ...form });
      const head = form.core.subarray(0, MAX_WINDOW_BYTES);
      const standard = base64Text(head, false);
      const urlSafe = base64Text(head, true);
      addWindow(Buffer.from(standard, 'latin1'), true);
      if (urlSafe !== standard) {
        addWindow(Buffer.from(urlSafe, 'latin1'), true);
      }
    }
  }
  if (values.length > 0) {
    for (let byte = 0; byte < 256; byte++) {
      if (BASE64_DIGITS[byte]! >= 0 || HEX_DIGITS[byte]! >= 0 || byte === 0x25 || byte === 0x5c) {
        relevant[byte] = 1;
      }
    }
    relevant[0x2b] = 1;
  }
  return {
    views: [text.finish(), base64.finish(), hex.finish()],
    filter: shortest >= MIN_FILTERED_BYTES ? new GramFilter(windows, escapable) : undefined,
    plus,
    ambiguous,
    relevant,
  };
}

const PLAIN = { alignment: 0, leftBits: 0, left: 0, rightBits: 0 } as const;

interface Value {
  readonly rule: RedactionRule;
  readonly bytes: Uint8Array;
}

/** All values as bytes; of equal ones the first rule's. */
function distinctValues(rules: readonly RedactionRule[]): Value[] {
  const seen = new Set<string>();
  const values: Value[] = [];
  for (const rule of rules) {
    for (const value of rule.values) {
      const [utf8, latin1] = encodings(value.reveal());
      if (utf8!.length < MIN_VALUE_BYTES) {
        throw new SallyportError(
          'SECRET_VALUE_TOO_SHORT',
          `the value of ${JSON.stringify(rule.name)} has ${utf8!.length} bytes, but only values of at least ${MIN_VALUE_BYTES} can be taken out of responses; use a longer one`,
        );
      }
      if (utf8!.length > MAX_VALUE_BYTES) {
        throw new SallyportError(
          'INVALID_SECRET_VALUE',
          `the value of ${JSON.stringify(rule.name)} has ${utf8!.length} bytes, the most is ${MAX_VALUE_BYTES}; use a shorter one`,
        );
      }
      for (const bytes of [utf8!, ...(latin1 === undefined ? [] : [latin1])]) {
        const key = Buffer.from(bytes).toString('latin1');
        if (!seen.has(key)) {
          seen.add(key);
          values.push({ rule, bytes });
        }
      }
    }
  }
  return values;
}

function capacity(values: readonly Value[], symbolsForByte: number, extra: number): number {
  let total = 1;
  for (const { bytes } of values) {
    total += bytes.length * symbolsForByte + extra;
  }
  return total;
}

function identitySymbols(): Int16Array {
  return Int16Array.from({ length: 256 }, (_, byte) => byte);
}

function hexSymbols(): Int16Array {
  return Int16Array.from(HEX_DIGITS);
}

function nibbles(bytes: Uint8Array): Uint8Array {
  const digits = new Uint8Array(bytes.length * 2);
  for (let i = 0; i < bytes.length; i++) {
    digits[2 * i] = bytes[i]! >> 4;
    digits[2 * i + 1] = bytes[i]! & 15;
  }
  return digits;
}

class ViewBuilder {
  readonly #automaton: Automaton;
  readonly #symbols: Int16Array;
  readonly #escapes: boolean;
  readonly #left: boolean;
  readonly #formsAt: Int32Array;
  readonly #forms: Form[][] = [];

  constructor(symbols: Int16Array, escapes: boolean, left: boolean, nodes: number) {
    this.#symbols = symbols;
    this.#escapes = escapes;
    this.#left = left;
    this.#automaton = new Automaton(nodes);
    this.#formsAt = new Int32Array(nodes);
  }

  add(symbols: Uint8Array, form: Form): void {
    this.#end(this.#walk(symbols), this.#forms.push([form]), form);
  }

  addBase64(encoded: Base64Form, form: Form): void {
    const node = this.#walk(encoded.core);
    const place = this.#forms.push([form]);
    if (encoded.rightBits === 0) {
      this.#end(node, place, form);
      return;
    }
    const free = 6 - encoded.rightBits;
    for (let low = 0; low < 1 << free; low++) {
      this.#end(this.#automaton.extend(node, (encoded.right << free) | low), place, form);
    }
  }

  #walk(symbols: Uint8Array): number {
    let node = ROOT;
    for (const symbol of symbols) {
      node = this.#automaton.extend(node, symbol);
    }
    return node;
  }

  #end(node: number, place: number, form: Form): void {
    const taken = this.#formsAt[node]!;
    if (taken === 0) {
      this.#automaton.end(node);
      this.#formsAt[node] = place;
    } else {
      // The place may be shared with other nodes, which must not change.
      this.#formsAt[node] = this.#forms.push([...this.#forms[taken - 1]!, form]);
    }
  }

  finish(): View {
    this.#automaton.link();
    return {
      automaton: this.#automaton,
      symbols: this.#symbols,
      escapes: this.#escapes,
      formsAt: this.#formsAt,
      forms: this.#forms,
      left: this.#left ? this.#leftDigits() : undefined,
    };
  }

  #leftDigits(): NonNullable<View['left']> {
    const size = this.#automaton.size;
    const low = new Int32Array(size);
    const high = new Int32Array(size);
    const none = new Uint8Array(size);
    for (let node = 1; node < size; node++) {
      const place = this.#formsAt[node]!;
      if (place === 0) {
        continue;
      }
      for (const { leftBits, left } of this.#forms[place - 1]!) {
        if (leftBits === 0) {
          none[node] = 1;
        }
        for (let digit = left; leftBits > 0 && digit < 64; digit += 1 << leftBits) {
          if (digit < 32) {
            low[node]! |= 1 << digit;
          } else {
            high[node]! |= 1 << (digit - 32);
          }
        }
      }
    }
    // Children come after their parents, so one pass backwards carries everything up.
    for (let node = size - 1; node > ROOT; node--) {
      const parent = this.#automaton.parent[node]!;
      low[parent]! |= low[node]!;
      high[parent]! |= high[node]!;
      none[parent]! |= none[node]!;
    }
    return { low, high, none };
  }
}

/**
 * What replaces a form, so that what is around it decodes as before.
 *
 * `matched` is the text that is replaced (its letters' case and alphabet are kept); of base64, `leftDigit` and `rightDigit` are the
 * digits shared with the neighbours, as in {@link spliceBase64}.
 */
export function renderReplacement(
  form: Form,
  matched: Uint8Array,
  leftDigit: number,
  rightDigit: number | undefined,
): Buffer {
  switch (form.kind) {
    case 'text':
      return Buffer.from(form.rule.placeholder, 'latin1');
    case 'hex': {
      const hex = Buffer.from(form.rule.placeholder, 'latin1').toString('hex');
      return Buffer.from(isUpperHex(matched) ? hex.toUpperCase() : hex, 'latin1');
    }
    case 'base64': {
      const urlSafe = matched.includes(0x2d) || matched.includes(0x5f);
      const bytes = alignedPlaceholder(form);
      return Buffer.from(spliceBase64(bytes, form.alignment, leftDigit, rightDigit, urlSafe), 'latin1');
    }
    default:
      return form.kind satisfies never;
  }
}

/** The placeholder, padded with `_` to the value's length modulo 3, so that what follows keeps its alignment. */
export function alignedPlaceholder(form: Form): Buffer {
  const { placeholder } = form.rule;
  const padding = (((form.length - placeholder.length) % 3) + 3) % 3;
  return Buffer.from(placeholder + '_'.repeat(padding), 'latin1');
}

function isUpperHex(matched: Uint8Array): boolean {
  let upper = false;
  for (const byte of matched) {
    if (byte >= 0x61) {
      return false;
    }
    upper ||= byte >= 0x41;
  }
  return upper;
}
