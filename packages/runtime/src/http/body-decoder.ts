import { parseTrailerSection } from './head-parser.ts';
import { HttpSyntaxError, malformedStatus, type HttpSyntaxCode, type MessageSide } from './http-syntax-error.ts';
import type { Framing } from './framing.ts';
import { CR, HEX_VALUE, IS_FIELD_VALUE, IS_TOKEN, LF } from './octets.ts';
import { isForbiddenTrailer, isFramingField } from './trailers.ts';

/** Limit for a trailer section, line ends included, in bytes. */
export const MAX_TRAILER_BYTES = 16 * 1024;
/** Limit for all chunk extensions of one body together, in bytes. RFC 9112 section 7.1.1 asks for such a limit. */
export const MAX_CHUNK_EXTENSION_BYTES = 16 * 1024;
/** Limit for the digits of one chunk size, leading zeros included. 2^53 - 1 has 14; some senders pad to 8 or 16. */
export const MAX_CHUNK_SIZE_DIGITS = 16;
/** A chunk at least this long, in bytes, is handed over where it lies; shorter ones are moved together. */
const SEPARATE_CHUNK_BYTES = 1024;

/**
 * Takes the body of one message out of the chunks of a connection.
 *
 * @example
 * ```ts
 * while (offset < chunk.length && !decoder.isDone) {
 *   offset = decoder.decode(chunk, offset);
 *   if (decoder.data !== null) await forward(decoder.data);
 * }
 * ```
 */
export interface BodyDecoder {
  /** The body bytes that the last `decode` found: a view of its chunk, never empty; null when it found none. */
  readonly data: Buffer | null;
  /** Whether the body is complete. Bytes after the offset that `decode` returned belong to the next message. */
  readonly isDone: boolean;
  /** The trailer fields, flattened as in a head, without the forbidden ones. Empty until `isDone`. */
  readonly trailers: string[];
  /**
   * Reads on at `chunk[offset]` and returns the offset after what it took, which is more than `offset` unless the body is done or
   * nothing is there. A decoder that threw throws for ever.
   *
   * The decoder may move bytes inside what it took: only `data` and what comes after the returned offset can be relied on.
   *
   * @throws {HttpSyntaxError} when the body is malformed (400 in requests, 502 in responses).
   */
  decode(chunk: Buffer, offset: number): number;
  /**
   * The connection has ended. Completes a body that runs until then.
   *
   * @throws {HttpSyntaxError} `TRUNCATED_BODY` when a body of any other framing is incomplete.
   */
  end(): void;
}

/** Makes the decoder for one body. `none` is done from the start. */
export function createBodyDecoder(framing: Framing, side: MessageSide): BodyDecoder {
  switch (framing.kind) {
    case 'none':
      return new LengthDecoder(0, side);
    case 'length':
      return new LengthDecoder(framing.bytes, side);
    case 'chunked':
      return new ChunkedDecoder(side);
    case 'until-close':
      return new UntilCloseDecoder();
  }
}

function view(chunk: Buffer, start: number, end: number): Buffer {
  return start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end);
}

function truncated(side: MessageSide): HttpSyntaxError {
  return new HttpSyntaxError('TRUNCATED_BODY', malformedStatus(side), 'The connection ended in the middle of a body.');
}

class LengthDecoder implements BodyDecoder {
  data: Buffer | null = null;
  isDone: boolean;
  readonly trailers: string[] = [];
  readonly #side: MessageSide;
  #left: number;

  constructor(bytes: number, side: MessageSide) {
    this.#side = side;
    this.#left = bytes;
    this.isDone = bytes === 0;
  }

  decode(chunk: Buffer, offset: number): number {
    const end = Math.min(chunk.length, offset + this.#left);
    if (end === offset) {
      this.data = null;
      return offset;
    }
    this.#left -= end - offset;
    this.isDone = this.#left === 0;
    this.data = view(chunk, offset, end);
    return end;
  }

  end(): void {
    if (!this.isDone) throw truncated(this.#side);
  }
}

class UntilCloseDecoder implements BodyDecoder {
  data: Buffer | null = null;
  isDone = false;
  readonly trailers: string[] = [];

  decode(chunk: Buffer, offset: number): number {
    if (this.isDone || offset === chunk.length) {
      this.data = null;
      return offset;
    }
    this.data = view(chunk, offset, chunk.length);
    return chunk.length;
  }

  end(): void {
    this.isDone = true;
  }
}

// What the chunked decoder expects next. Sizes and extensions: RFC 9112 section 7.1 and 7.1.1.
const SIZE_FIRST = 0;
const SIZE = 1;
const EXTENSION_NAME_FIRST = 2;
const EXTENSION_NAME = 3;
const EXTENSION_VALUE_FIRST = 4;
const EXTENSION_VALUE = 5;
const EXTENSION_QUOTED = 6;
const EXTENSION_ESCAPED = 7;
const EXTENSION_END = 8;
const SIZE_LF = 9;
const DATA = 10;
const DATA_CR = 11;
const DATA_LF = 12;
const TRAILER = 13;
const DONE = 14;
const FAILED = 15;

const SEMICOLON = 0x3b;
const EQUALS = 0x3d;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * The chunked coding (RFC 9112 section 7.1).
 *
 * Extensions are checked against the grammar (without its "bad white space") and dropped: no use of them on the open web is known,
 * section 7.1.1 asks to ignore unknown ones, and the body is chunked anew behind us, so that none can be read in two ways.
 * Chunks shorter than 1 KiB are moved together inside the input, so that a body of one-byte chunks comes out as one view per
 * input instead of thousands.
 */
class ChunkedDecoder implements BodyDecoder {
  data: Buffer | null = null;
  isDone = false;
  trailers: string[] = [];
  readonly #side: MessageSide;
  #state = SIZE_FIRST;
  /** The size being read, then the bytes left of the chunk. */
  #left = 0;
  #digits = 0;
  #extensionBytes = 0;
  #trailerSection = EMPTY;
  #trailerBytes = 0;

  constructor(side: MessageSide) {
    this.#side = side;
  }

  decode(chunk: Buffer, offset: number): number {
    const end = chunk.length;
    let at = offset;
    let dataStart = offset;
    let dataEnd = offset;
    this.data = null;

    while (at < end && this.#state !== DONE) {
      if (this.#state === DATA) {
        const length = Math.min(this.#left, end - at);
        if (dataEnd === dataStart) {
          dataStart = at;
          dataEnd = at + length;
        } else if (length < SEPARATE_CHUNK_BYTES) {
          dataEnd = moveDown(chunk, at, length, dataEnd);
        } else {
          break;
        }
        at += length;
        this.#left -= length;
        if (this.#left === 0) this.#state = DATA_CR;
      } else if (this.#state === TRAILER) {
        at = this.#readTrailers(chunk, at);
      } else {
        this.#readFramingByte(chunk[at]!);
        at++;
      }
    }
    if (dataEnd !== dataStart) this.data = view(chunk, dataStart, dataEnd);
    return at;
  }

  end(): void {
    if (!this.isDone) throw truncated(this.#side);
  }

  #readFramingByte(octet: number): void {
    switch (this.#state) {
      case SIZE_FIRST:
        this.#left = 0;
        this.#digits = 0;
        if (HEX_VALUE[octet] === 255)
          throw this.#fail('CHUNK_SIZE', 'A chunk does not start with its hexadecimal size.');
        this.#readSizeDigit(octet);
        this.#state = SIZE;
        return;
      case SIZE:
        if (octet === CR) this.#state = SIZE_LF;
        else if (octet === SEMICOLON) this.#state = EXTENSION_NAME_FIRST;
        else if (HEX_VALUE[octet] !== 255) this.#readSizeDigit(octet);
        else throw this.#fail('CHUNK_SIZE', 'A chunk size is followed by something else than CRLF or an extension.');
        return;
      case SIZE_LF:
        if (octet !== LF)
          throw this.#fail('BARE_CR', 'A chunk size line holds a carriage return without its line feed.');
        this.#state = this.#left === 0 ? TRAILER : DATA;
        return;
      case DATA_CR:
        if (octet !== CR) throw this.#fail('CHUNK_DATA', 'The data of a chunk is not followed by CRLF.');
        this.#state = DATA_LF;
        return;
      case DATA_LF:
        if (octet !== LF) throw this.#fail('CHUNK_DATA', 'The data of a chunk is not followed by CRLF.');
        this.#state = SIZE_FIRST;
        return;
      case FAILED:
        throw this.#fail('CHUNK_DATA', 'The body was malformed before this point.');
      default:
        this.#readExtensionByte(octet);
    }
  }

  #readSizeDigit(octet: number): void {
    this.#left = this.#left * 16 + HEX_VALUE[octet]!;
    this.#digits++;
    if (this.#digits > MAX_CHUNK_SIZE_DIGITS || this.#left > Number.MAX_SAFE_INTEGER) {
      throw this.#fail('CHUNK_SIZE', `A chunk size is above 2^53 - 1 or longer than ${MAX_CHUNK_SIZE_DIGITS} digits.`);
    }
  }

  /** `*( ";" token [ "=" ( token / quoted-string ) ] )` */
  #readExtensionByte(octet: number): void {
    if (++this.#extensionBytes > MAX_CHUNK_EXTENSION_BYTES) {
      throw this.#fail('CHUNK_EXTENSION', `The chunk extensions are longer than ${MAX_CHUNK_EXTENSION_BYTES} bytes.`);
    }
    const isToken = IS_TOKEN[octet] === 1;
    switch (this.#state) {
      case EXTENSION_NAME_FIRST:
        if (isToken) this.#state = EXTENSION_NAME;
        else throw this.#badExtension();
        return;
      case EXTENSION_NAME:
        if (isToken) return;
        if (octet === EQUALS) this.#state = EXTENSION_VALUE_FIRST;
        else this.#endExtension(octet);
        return;
      case EXTENSION_VALUE_FIRST:
        if (isToken) this.#state = EXTENSION_VALUE;
        else if (octet === QUOTE) this.#state = EXTENSION_QUOTED;
        else throw this.#badExtension();
        return;
      case EXTENSION_VALUE:
        if (!isToken) this.#endExtension(octet);
        return;
      case EXTENSION_QUOTED:
        if (octet === QUOTE) this.#state = EXTENSION_END;
        else if (octet === BACKSLASH) this.#state = EXTENSION_ESCAPED;
        else if (IS_FIELD_VALUE[octet] !== 1) throw this.#badExtension();
        return;
      case EXTENSION_ESCAPED:
        if (IS_FIELD_VALUE[octet] !== 1) throw this.#badExtension();
        this.#state = EXTENSION_QUOTED;
        return;
      case EXTENSION_END:
        this.#endExtension(octet);
    }
  }

  #endExtension(octet: number): void {
    if (octet === CR) this.#state = SIZE_LF;
    else if (octet === SEMICOLON) this.#state = EXTENSION_NAME_FIRST;
    else throw this.#badExtension();
  }

  #badExtension(): HttpSyntaxError {
    return this.#fail('CHUNK_EXTENSION', 'A chunk extension is not of the form ";name=value".');
  }

  /** Collects the trailer section up to its empty line, then parses it. Returns the offset after what it took. */
  #readTrailers(chunk: Buffer, offset: number): number {
    let at = offset;
    while (at < chunk.length) {
      const octet = chunk[at++]!;
      if (this.#trailerBytes === MAX_TRAILER_BYTES) {
        throw this.#fail('TRAILERS_TOO_LARGE', `The trailer section is longer than ${MAX_TRAILER_BYTES} bytes.`);
      }
      this.#appendTrailerByte(octet);
      if (octet !== LF) continue;

      const section = this.#trailerSection;
      const length = this.#trailerBytes;
      if (length < 2 || section[length - 2] !== CR) {
        throw this.#fail('BARE_LF', 'A line of the trailer section ends with a bare line feed instead of CRLF.');
      }
      if (length === 2 || (length >= 4 && section[length - 3] === LF)) {
        if (length > 2) this.trailers = this.#parseTrailers();
        this.#trailerSection = EMPTY;
        this.#state = DONE;
        this.isDone = true;
        return at;
      }
    }
    return at;
  }

  #parseTrailers(): string[] {
    this.#state = FAILED;
    const fields = parseTrailerSection(this.#trailerSection, 0, this.#trailerBytes, this.#side);
    const kept: string[] = [];
    for (let i = 0; i < fields.length; i += 2) {
      if (isFramingField(fields[i]!)) throw this.#fail('TRAILER_FIELD', 'A trailer field would frame the message.');
      if (!isForbiddenTrailer(fields[i]!)) kept.push(fields[i]!, fields[i + 1]!);
    }
    return kept;
  }

  #appendTrailerByte(octet: number): void {
    if (this.#trailerBytes === this.#trailerSection.length) {
      const grown = Buffer.allocUnsafe(Math.min(MAX_TRAILER_BYTES, Math.max(64, 2 * this.#trailerBytes)));
      this.#trailerSection.copy(grown, 0, 0, this.#trailerBytes);
      this.#trailerSection = grown;
    }
    this.#trailerSection[this.#trailerBytes++] = octet;
  }

  #fail(code: HttpSyntaxCode, message: string): HttpSyntaxError {
    this.#state = FAILED;
    return new HttpSyntaxError(code, malformedStatus(this.#side), message);
  }
}

/** Moves `length` bytes at `from` down to `to` and returns the end of the copy. A loop beats the native call on tiny chunks. */
function moveDown(chunk: Buffer, from: number, length: number, to: number): number {
  if (length > 32) chunk.copyWithin(to, from, from + length);
  else for (let i = 0; i < length; i++) chunk[to + i] = chunk[from + i]!;
  return to + length;
}

const EMPTY = Buffer.alloc(0);
