import { MAX_HEAD_BYTES, parseRequestHead, readRequestLine } from './head-parser.ts';
import { HeadReader } from './head-reader.ts';
import type { RequestHead } from './message.ts';
import { CR, LF } from './octets.ts';

/** A longer field section is parsed each time it comes: what is remembered is kept for every connection. */
export const MAX_REMEMBERED_SECTION_BYTES = 4096;

/**
 * Reads the request heads of one connection, one after another.
 *
 * A client sends much the same fields with each request. A field section that is byte for byte the one before it is not parsed again: its
 * head has the same `fields`, the array itself, which also tells whoever worked on them that they are the same. Nobody may change that
 * array. The request line is parsed and checked each time.
 */
export class RequestHeads {
  /** After `read` returned a head: the offset behind it in the chunk. */
  next = 0;

  readonly #reader: HeadReader;
  readonly #maxHeadBytes: number;
  /** All behind the request line of the last head, its last CRLF included. */
  #section: Buffer = EMPTY;
  /** 0 while nothing is remembered. */
  #sectionBytes = 0;
  #fields: readonly string[] = [];
  /** Of the last repetition, flat: a client that asks for the same again costs no further string. */
  #method = '';
  #target = '';

  constructor(maxHeadBytes: number = MAX_HEAD_BYTES) {
    this.#reader = new HeadReader('request', maxHeadBytes);
    this.#maxHeadBytes = maxHeadBytes;
  }

  /** As {@link HeadReader.isPending}. */
  get isPending(): boolean {
    return this.#reader.isPending;
  }

  /**
   * Reads on at `chunk[offset]`. Returns a head and sets `next`; null when the whole chunk was taken and more is needed.
   *
   * @throws {HttpSyntaxError} as `findHeadEnd` and `parseRequestHead`.
   */
  read(chunk: Buffer, offset: number): RequestHead | null {
    const reader = this.#reader;
    if (this.#sectionBytes > 0 && !reader.isPending) {
      const repeated = this.#repeat(chunk, offset);
      if (repeated !== null) return repeated;
    }
    const next = reader.read(chunk, offset);
    if (next === -1) return null;
    const { bytes, start, end } = reader;
    const head = parseRequestHead(bytes, start, end, this.#maxHeadBytes);
    this.#remember(bytes, start, end, head.fields);
    reader.release();
    this.next = next;
    return head;
  }

  /** The head at `chunk[offset]` when the field section behind its first line is the remembered one, else null. */
  #repeat(chunk: Buffer, offset: number): RequestHead | null {
    const section = this.#section;
    const sectionBytes = this.#sectionBytes;
    const last = chunk.length - sectionBytes;
    let start = offset;
    while (start < last && chunk[start] !== LF) start++;
    // A bare LF is told as one by whoever looks for the head's end.
    if (start === offset || chunk[start - 1] !== CR) return null;
    start++;
    if (start > last || start + sectionBytes - offset > this.#maxHeadBytes) return null;
    for (let i = 0; i < sectionBytes; i++) if (chunk[start + i] !== section[i]) return null;
    const line = readRequestLine(chunk, offset);
    if (line.end !== start) return null;
    this.next = start + sectionBytes;
    this.#method = textOf(chunk, offset, line.methodEnd, this.#method);
    this.#target = textOf(chunk, line.methodEnd + 1, line.targetEnd, this.#target);
    return { method: this.#method, target: this.#target, minor: line.minor, fields: this.#fields };
  }

  #remember(bytes: Buffer, start: number, end: number, fields: readonly string[]): void {
    let sectionStart = start;
    while (bytes[sectionStart] !== LF) sectionStart++;
    sectionStart++;
    const length = end - sectionStart;
    // An empty line before the request line: what follows is no field section.
    if (sectionStart - start <= 2 || length > MAX_REMEMBERED_SECTION_BYTES) {
      this.#sectionBytes = 0;
      return;
    }
    if (this.#section.length < length) this.#section = Buffer.allocUnsafeSlow(length);
    bytes.copy(this.#section, 0, sectionStart, end);
    this.#sectionBytes = length;
    this.#fields = fields;
  }
}

const EMPTY = Buffer.alloc(0);

/** The Latin-1 text of `bytes[start, end)`; the one that is `known` already where it is the same. */
function textOf(bytes: Buffer, start: number, end: number, known: string): string {
  const { length } = known;
  if (end - start === length) {
    let i = 0;
    while (i < length && bytes[start + i] === known.charCodeAt(i)) i++;
    if (i === length) return known;
  }
  return bytes.toString('latin1', start, end);
}
