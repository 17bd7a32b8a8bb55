import { Http2FieldError } from './error-code.ts';
import { isFieldValue, kindOfName, NAME_KIND } from './field-rules.ts';
import { DEFAULT_TABLE_BYTES, ENTRY_OVERHEAD_BYTES, FIRST_DYNAMIC_INDEX, STATIC_TABLE } from './hpack-static-table.ts';

/** What is known of a name: where it is in the tables. Dynamic entries are numbered in the order in which they were added. */
interface KnownName {
  /** Index in the static table; 0 for none. */
  readonly staticIndex: number;
  /** Indices of whole static entries, negative, by value. */
  readonly staticValues: ReadonlyMap<string, number> | null;
  /** The numbers of the dynamic entries of that name, by value. */
  readonly numbers: Map<string, number>;
  /** The number of the newest one. */
  newest: number;
}

interface Entry {
  readonly name: string;
  readonly value: string;
  readonly number: number;
}

/** Stands for a field that no table has; entries are numbered from 1. */
const UNKNOWN = 0;
const NEVER_INDEXED: ReadonlySet<string> = new Set();
/** Fields that hardly ever come again with the same value: in the table they would take the place of others. */
const SELDOM_REPEATED: ReadonlySet<string> = new Set([
  ':path', 'age', 'content-length', 'content-range', 'etag', 'if-modified-since', 'if-none-match', 'location', 'set-cookie',
]); // prettier-ignore
/** An entry that would fill more than this share of the table is not put there. */
const MAX_ENTRY_SHARE = 4;
/** An index or a length, with its octets behind the prefix. */
const MAX_INTEGER_OCTETS = 6;
/** Up to this length a loop is faster than a call of `Buffer`. */
const SHORT_LENGTH = 24;

const STATIC_NAMES: ReadonlyMap<string, readonly [index: number, values: ReadonlyMap<string, number>]> = indexStatic();

function indexStatic(): Map<string, [number, Map<string, number>]> {
  const names = new Map<string, [number, Map<string, number>]>();
  for (const [at, [name, value]] of STATIC_TABLE.entries()) {
    const known = names.get(name) ?? [at + 1, new Map<string, number>()];
    // Negative, so that it is told from the number of a dynamic entry.
    if (value !== '') known[1].set(value, -(at + 1));
    names.set(name, known);
  }
  return names;
}

/**
 * Encodes header blocks of one connection (RFC 7541), without Huffman coding: it would save the network a third and cost us more than all the
 * rest. Ordinary fields enter the dynamic table, so that one that comes again costs an octet.
 */
export class HpackEncoder {
  readonly #names = new Map<string, KnownName>();
  /** Oldest first, from `#oldestAt` on. */
  #entries: Entry[] = [];
  #oldestAt = 0;
  #bytes = 0;
  #maxBytes = DEFAULT_TABLE_BYTES;
  /** How many entries there ever were. */
  #added = 0;
  /** The smallest size since the last block, when the peer has to be told of a change; -1 for none. */
  #smallestBytes = -1;
  /** For each field of the list that was checked: its static index, negative, or its number where the tables have it whole. */
  readonly #found: number[] = [];

  constructor() {
    for (const [name, [staticIndex, staticValues]] of STATIC_NAMES) {
      this.#names.set(name, { staticIndex, staticValues, numbers: new Map(), newest: -1 });
    }
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. We use no more than the default. */
  resize(peerBytes: number): void {
    const bytes = Math.min(peerBytes, DEFAULT_TABLE_BYTES);
    if (bytes === this.#maxBytes) return;
    this.#smallestBytes = this.#smallestBytes === -1 ? bytes : Math.min(this.#smallestBytes, bytes);
    this.#maxBytes = bytes;
    this.#evict(bytes);
  }

  /**
   * Checks a list before anything is done: names in lower case, no fields of HTTP/1 connections, values of their octets, pseudo-header fields
   * first. What the tables have is known to be well.
   *
   * @returns the most octets that the block can take.
   * @throws {Http2FieldError}
   */
  check(fields: readonly string[], isTrailers: boolean): number {
    let room = 2 * MAX_INTEGER_OCTETS;
    let hasOrdinary = isTrailers;
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!;
      const value = fields[i + 1]!;
      room += name.length + value.length + 3 * MAX_INTEGER_OCTETS;
      const known = this.#names.get(name);
      const number = known === undefined ? undefined : (known.staticValues?.get(value) ?? known.numbers.get(value));
      const isPseudo = name.charCodeAt(0) === 0x3a;
      if (isPseudo && hasOrdinary) throw new Http2FieldError('A pseudo-header field stands behind other fields.');
      hasOrdinary = !isPseudo;
      if (number === undefined) checkField(name, value);
      this.#found[i >> 1] = number ?? UNKNOWN;
    }
    return room;
  }

  /** Writes the block of the list that was checked last; returns where it ends. */
  write(
    fields: readonly string[],
    neverIndexed: ReadonlySet<string> = NEVER_INDEXED,
    out: Buffer,
    start: number,
  ): number {
    let at = this.#writeResize(out, start);
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i]!;
      const value = fields[i + 1]!;
      const isSensitive = neverIndexed.has(name);
      const found = this.#found[i >> 1]!;
      if (!isSensitive && found < 0) {
        at = writeInteger(out, at, 0x80, 7, -found);
        continue;
      }
      // An entry may have left the table since, for one that was put there.
      if (!isSensitive && found !== UNKNOWN && found > this.#added - this.#count) {
        at = writeInteger(out, at, 0x80, 7, this.#indexOf(found));
        continue;
      }
      const bytes = name.length + value.length + ENTRY_OVERHEAD_BYTES;
      const isAdded = !isSensitive && bytes * MAX_ENTRY_SHARE <= this.#maxBytes && !SELDOM_REPEATED.has(name);
      const nameIndex = this.#nameIndex(name);
      if (isAdded) at = writeInteger(out, at, 0x40, 6, nameIndex);
      else at = writeInteger(out, at, isSensitive ? 0x10 : 0x00, 4, nameIndex);
      if (nameIndex === 0) at = writeString(out, at, name);
      at = writeString(out, at, value);
      if (isAdded) this.#add(name, value, bytes);
    }
    return at;
  }

  get #count(): number {
    return this.#entries.length - this.#oldestAt;
  }

  #indexOf(number: number): number {
    return FIRST_DYNAMIC_INDEX + this.#added - number;
  }

  #nameIndex(name: string): number {
    const known = this.#names.get(name);
    if (known === undefined) return 0;
    if (known.staticIndex !== 0) return known.staticIndex;
    return this.#indexOf(known.newest);
  }

  #add(name: string, value: string, bytes: number): void {
    this.#evict(this.#maxBytes - bytes);
    this.#added += 1;
    this.#bytes += bytes;
    this.#entries.push({ name, value, number: this.#added });
    let known = this.#names.get(name);
    if (known === undefined) {
      known = { staticIndex: 0, staticValues: null, numbers: new Map(), newest: 0 };
      this.#names.set(name, known);
    }
    known.numbers.set(value, this.#added);
    known.newest = this.#added;
  }

  #evict(toBytes: number): void {
    while (this.#bytes > toBytes) {
      const { name, value, number } = this.#entries[this.#oldestAt]!;
      this.#oldestAt += 1;
      this.#bytes -= name.length + value.length + ENTRY_OVERHEAD_BYTES;
      const known = this.#names.get(name)!;
      // The same field may have been added again.
      if (known.numbers.get(value) === number) known.numbers.delete(value);
      if (known.numbers.size === 0 && known.staticIndex === 0) this.#names.delete(name);
    }
    if (this.#oldestAt > 256) {
      this.#entries = this.#entries.slice(this.#oldestAt);
      this.#oldestAt = 0;
    }
  }

  /** RFC 7541 section 4.2: the smallest size first, then the one that holds. */
  #writeResize(out: Buffer, start: number): number {
    if (this.#smallestBytes === -1) return start;
    let at = start;
    if (this.#smallestBytes < this.#maxBytes) at = writeInteger(out, at, 0x20, 5, this.#smallestBytes);
    this.#smallestBytes = -1;
    return writeInteger(out, at, 0x20, 5, this.#maxBytes);
  }
}

function checkField(name: string, value: string): void {
  const kind = kindOfName(name);
  if (kind === NAME_KIND.malformed || kind === NAME_KIND.unknownPseudo || kind === NAME_KIND.connectionSpecific) {
    throw new Http2FieldError('A field name is none of HTTP/2.');
  }
  if (!isFieldValue(value)) throw new Http2FieldError('A field value has octets that it must not have.');
}

/** RFC 7541 section 5.1. */
function writeInteger(out: Buffer, at: number, first: number, prefixBits: number, value: number): number {
  const mask = (1 << prefixBits) - 1;
  if (value < mask) {
    out[at] = first | value;
    return at + 1;
  }
  out[at] = first | mask;
  let rest = value - mask;
  let next = at + 1;
  for (; rest >= 0x80; rest >>>= 7) out[next++] = (rest & 0x7f) | 0x80;
  out[next] = rest;
  return next + 1;
}

/** RFC 7541 section 5.2. */
function writeString(out: Buffer, start: number, text: string): number {
  const { length } = text;
  const at = writeInteger(out, start, 0, 7, length);
  if (length > SHORT_LENGTH) {
    out.write(text, at, 'latin1');
  } else {
    for (let i = 0; i < length; i++) out[at + i] = text.charCodeAt(i);
  }
  return at + length;
}
