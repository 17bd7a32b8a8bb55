import { ERROR_CODE, Http2ConnectionError } from './error-code.ts';
import type { FieldList } from './field-list.ts';
import { isFieldValue, kindOfName, type NameKind } from './field-rules.ts';
import { decodeHuffman, MAX_HUFFMAN_EXPANSION } from './hpack-huffman.ts';
import { DEFAULT_TABLE_BYTES, ENTRY_OVERHEAD_BYTES, FIRST_DYNAMIC_INDEX, STATIC_TABLE } from './hpack-static-table.ts';

/** An entry of a table. What its name is, and whether its value is one, is found out once, not for each time that it is referred to. */
interface Entry {
  readonly name: string;
  readonly value: string;
  readonly kind: NameKind;
  readonly isValueValid: boolean;
}

const STATIC_ENTRIES: readonly Entry[] = STATIC_TABLE.map(([name, value]) => entryOf(name, value, kindOfName(name)));

/** A ring with room for as many entries as there can be, all of them empty: a power of two. */
const RING_LENGTH = DEFAULT_TABLE_BYTES / ENTRY_OVERHEAD_BYTES;
/** No integer in a header block needs more octets behind its prefix than this: they make 2^28. */
const MAX_INTEGER_OCTETS = 4;
const EMPTY = Buffer.alloc(0);
const SCRATCH_BYTES = 1024;

function entryOf(name: string, value: string, kind: NameKind): Entry {
  return { name, value, kind, isValueValid: isFieldValue(value) };
}

/**
 * Decodes header blocks of one connection (RFC 7541). What goes into the table is made into strings once; what is refused for its length
 * is counted and made into no string.
 *
 * One block after the other: it throws `COMPRESSION_ERROR` for what is none, and cannot be used any further then.
 */
export class HpackDecoder {
  readonly #ring = Array.from<Entry | undefined>({ length: RING_LENGTH });
  /** Where the newest entry is in the ring; older ones follow. */
  #newest = 0;
  #count = 0;
  #bytes = 0;
  #maxBytes = DEFAULT_TABLE_BYTES;
  #source: Buffer = EMPTY;
  #at = 0;
  #end = 0;
  /** Where Huffman strings are decoded to; as long as the longest block asked for. */
  #scratch: Buffer = EMPTY;
  /** The string that was read last, before it is made one: its octets, and where they are. */
  #octets: Buffer = EMPTY;
  #octetsStart = 0;
  #octetsEnd = 0;

  /**
   * Decodes a block into a list.
   *
   * @throws {Http2ConnectionError} `COMPRESSION_ERROR`
   */
  decode(source: Buffer, start: number, end: number, list: FieldList): void {
    this.#source = source;
    this.#at = start;
    this.#end = end;
    let mayResize = true;
    while (this.#at < end) {
      const first = source[this.#at]!;
      if ((first & 0x80) !== 0) {
        const entry = this.#entryAt(this.#readInteger(7));
        if (list.count(entry.name.length, entry.value.length)) {
          list.add(entry.name, entry.value, entry.kind, entry.isValueValid);
        }
      } else if ((first & 0xe0) === 0x20) {
        if (!mayResize) fail('the table changes its size within a block');
        this.#resize(this.#readInteger(5));
        continue;
      } else if ((first & 0x40) !== 0) {
        this.#readLiteral(list, this.#readInteger(6), true);
      } else {
        this.#readLiteral(list, this.#readInteger(4), false);
      }
      mayResize = false;
    }
    // Nothing of the peer's chunk is kept.
    this.#source = EMPTY;
    this.#octets = EMPTY;
  }

  #readLiteral(list: FieldList, nameIndex: number, isAdded: boolean): void {
    const known = nameIndex === 0 ? null : this.#entryAt(nameIndex);
    let name = known?.name ?? '';
    let nameLength = name.length;
    if (known === null) {
      this.#readString();
      nameLength = this.#octetsEnd - this.#octetsStart;
      // A longer one fits neither the list nor the table.
      if (nameLength <= Math.max(list.maxBytes, this.#maxBytes)) name = this.#takeString();
    }
    this.#readString();
    const valueLength = this.#octetsEnd - this.#octetsStart;
    const isListed = list.count(nameLength, valueLength);
    const bytes = nameLength + valueLength + ENTRY_OVERHEAD_BYTES;
    const isKept = isAdded && bytes <= this.#maxBytes;
    if (isListed || isKept) {
      const value = this.#takeString();
      const kind = known?.kind ?? kindOfName(name);
      if (isKept) {
        const entry = entryOf(name, value, kind);
        this.#add(entry, bytes);
        if (isListed) list.add(name, value, kind, entry.isValueValid);
        return;
      }
      list.add(name, value, kind, isFieldValue(value));
    }
    // An entry that is larger than the table empties it (RFC 7541 section 4.4).
    if (isAdded) this.#evict(0);
  }

  /** RFC 7541 section 5.1. */
  #readInteger(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = this.#source[this.#at++]! & mask;
    if (value < mask) return value;
    for (let octets = 0; octets < MAX_INTEGER_OCTETS; octets++) {
      if (this.#at >= this.#end) fail('a block ends within an integer');
      const octet = this.#source[this.#at++]!;
      value += (octet & 0x7f) * 2 ** (7 * octets);
      if ((octet & 0x80) === 0) return value;
    }
    return fail('an integer is too long');
  }

  /** RFC 7541 section 5.2. The string is at `#octets` until the next one is read. */
  #readString(): void {
    if (this.#at >= this.#end) fail('a block ends before a string');
    const isHuffman = (this.#source[this.#at]! & 0x80) !== 0;
    const length = this.#readInteger(7);
    const start = this.#at;
    if (length > this.#end - start) fail('a block ends within a string');
    this.#at = start + length;
    if (!isHuffman) {
      this.#octets = this.#source;
      this.#octetsStart = start;
      this.#octetsEnd = start + length;
      return;
    }
    const room = Math.ceil(length * MAX_HUFFMAN_EXPANSION);
    if (this.#scratch.length < room) this.#scratch = Buffer.allocUnsafeSlow(Math.max(room, SCRATCH_BYTES));
    const decoded = decodeHuffman(this.#source, start, start + length, this.#scratch);
    if (decoded < 0) fail('a string is no Huffman code');
    this.#octets = this.#scratch;
    this.#octetsStart = 0;
    this.#octetsEnd = decoded;
  }

  #takeString(): string {
    return this.#octets.toString('latin1', this.#octetsStart, this.#octetsEnd);
  }

  #entryAt(index: number): Entry {
    if (index < FIRST_DYNAMIC_INDEX) return STATIC_ENTRIES[index - 1] ?? fail('an index is 0');
    const age = index - FIRST_DYNAMIC_INDEX;
    if (age >= this.#count) fail('an index lies beyond the table');
    return this.#ring[(this.#newest + age) % RING_LENGTH]!;
  }

  #add(entry: Entry, bytes: number): void {
    this.#evict(this.#maxBytes - bytes);
    this.#newest = (this.#newest + RING_LENGTH - 1) % RING_LENGTH;
    this.#ring[this.#newest] = entry;
    this.#count += 1;
    this.#bytes += bytes;
  }

  /** Takes the oldest entries out until the rest has that size. */
  #evict(toBytes: number): void {
    while (this.#bytes > toBytes) {
      this.#count -= 1;
      const at = (this.#newest + this.#count) % RING_LENGTH;
      const { name, value } = this.#ring[at]!;
      this.#bytes -= name.length + value.length + ENTRY_OVERHEAD_BYTES;
      this.#ring[at] = undefined;
    }
  }

  /** RFC 7541 section 6.3. */
  #resize(bytes: number): void {
    if (bytes > DEFAULT_TABLE_BYTES) fail('the table is made larger than allowed');
    this.#maxBytes = bytes;
    this.#evict(bytes);
  }
}

function fail(reason: string): never {
  throw new Http2ConnectionError(ERROR_CODE.compressionError, `HPACK: ${reason}`);
}
