/**
 * Reads the ClientHello with which a TLS client opens, without any answer to it (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2).
 */

/** The most bytes, record headers included, that a ClientHello may take. Post-quantum key shares need about 2 KiB. */
export const MAX_CLIENT_HELLO_BYTES = 64 * 1024;

const RECORD_HEADER_BYTES = 5;
const MAX_RECORD_BYTES = 16 * 1024;
const HANDSHAKE_HEADER_BYTES = 4;
const CONTENT_HANDSHAKE = 22;
const HANDSHAKE_CLIENT_HELLO = 1;
const EXTENSION_SERVER_NAME = 0;
const EXTENSION_ALPN = 16;
const EXTENSION_SUPPORTED_VERSIONS = 43;
const EXTENSION_ENCRYPTED_CLIENT_HELLO = 0xfe0d;
/** The drafts before 7 called it `encrypted_server_name`. */
const EXTENSION_ENCRYPTED_SERVER_NAME = 0xffce;
const MAX_SERVER_NAME_BYTES = 255;

/** What a ClientHello says. */
export interface ClientHello {
  readonly state: 'complete';
  /**
   * The server_name as sent (printable ASCII, case and a trailing dot kept: compare in canonical form), or null if there is none. An IP
   * literal there is null as well: RFC 6066 section 3 forbids it, and it names no host.
   */
  readonly serverName: string | null;
  /** The protocols offered by ALPN in order, one character a byte; GREASE values included. */
  readonly alpn: readonly string[];
  /**
   * Whether an encrypted ClientHello (or ESNI) extension is there. Browsers send a meaningless one to every host (GREASE), so it is
   * no proof that the visible name is a cover.
   */
  readonly hasEncryptedClientHello: boolean;
  /** The versions offered, 0x0304 for TLS 1.3; without GREASE. From the legacy field where the extension is missing. */
  readonly versions: readonly number[];
}

/** Whether a client offers TLS 1.2 or 1.3, the only versions that are spoken; drafts of 1.3 do not count. */
export function offersModernTls(hello: ClientHello): boolean {
  return hello.versions.some((version) => version === 0x0303 || version === 0x0304);
}

/** What is known after some bytes. */
export type ClientHelloResult =
  | { readonly state: 'incomplete' }
  | ClientHello
  | {
      readonly state: 'invalid';
      readonly reason: string;
      /** True for what begins like SSLv2, or a hello in its shape (RFC 5246 appendix E.2). */
      readonly isObsolete: boolean;
    };

const NOTHING = Buffer.alloc(0);
const INCOMPLETE: ClientHelloResult = { state: 'incomplete' };

/**
 * Takes the bytes of a connection as they arrive. Each byte is looked at once, however they are cut.
 *
 * Keep the bytes yourself for whoever answers the handshake; the reader only keeps what it needs.
 */
export class ClientHelloReader {
  #result: ClientHelloResult = INCOMPLETE;
  readonly #recordHeader: number[] = [];
  #recordLeft = 0;
  #message: Buffer = NOTHING;
  #messageLength = 0;
  /** With the handshake header; unknown until that is there. */
  #messageTotal: number | undefined;
  #bytesSeen = 0;

  /** Adds bytes. Once the answer is `complete` or `invalid`, it stays. */
  push(bytes: Uint8Array): ClientHelloResult {
    if (this.#bytesSeen === 0) {
      const message = wholeMessage(bytes);
      if (message !== null) {
        this.#bytesSeen = bytes.length;
        this.#result = parseClientHello(message);
        return this.#result;
      }
    }
    let offset = 0;
    while (this.#result.state === 'incomplete' && offset < bytes.length) {
      offset += this.#recordLeft > 0 ? this.#takeFragment(bytes, offset) : this.#takeRecordHeader(bytes, offset);
    }
    return this.#result;
  }

  #takeRecordHeader(bytes: Uint8Array, offset: number): number {
    const header = this.#recordHeader;
    header.push(bytes[offset] ?? 0);
    const [type = 0, version = 0] = header;
    // Judged byte by byte, so that a client of another protocol is not waited for.
    if (header.length === 1 && type !== CONTENT_HANDSHAKE) {
      const isObsolete = (type & 0x80) !== 0;
      this.#refuse(
        isObsolete ? 'the first byte is one of SSLv2, or of no TLS at all' : 'the first bytes are no TLS handshake',
        isObsolete,
      );
    } else if (header.length === 2 && version !== 3) {
      this.#refuse('the first bytes are no TLS record');
    } else if (header.length === RECORD_HEADER_BYTES) {
      const length = recordLength(header);
      header.length = 0;
      this.#recordLeft = length;
      if (length === 0 || length > MAX_RECORD_BYTES) {
        this.#refuse('a handshake record is empty or longer than 16384 bytes');
      }
    }
    this.#count(1);
    return 1;
  }

  #takeFragment(bytes: Uint8Array, offset: number): number {
    const take = Math.min(this.#recordLeft, bytes.length - offset);
    this.#recordLeft -= take;
    this.#count(take);
    if (this.#result.state !== 'incomplete') {
      return take;
    }
    this.#append(bytes.subarray(offset, offset + take));
    if (this.#messageLength > 0 && this.#message[0] !== HANDSHAKE_CLIENT_HELLO) {
      this.#refuse('the first handshake message is no ClientHello');
      return take;
    }
    if (this.#messageTotal === undefined && this.#messageLength >= HANDSHAKE_HEADER_BYTES) {
      this.#messageTotal = HANDSHAKE_HEADER_BYTES + this.#message.readUIntBE(1, 3);
      if (this.#messageTotal > MAX_CLIENT_HELLO_BYTES) {
        this.#refuse('the ClientHello is longer than 65536 bytes');
      }
    }
    if (this.#messageTotal !== undefined && this.#result.state === 'incomplete') {
      // Judged at the end of the record, or the answer would depend on how the bytes were cut.
      if (this.#messageLength + this.#recordLeft > this.#messageTotal) {
        this.#refuse('something follows the ClientHello in its record');
      } else if (this.#messageLength === this.#messageTotal) {
        this.#result = parseClientHello(new Cursor(this.#message, HANDSHAKE_HEADER_BYTES, this.#messageTotal));
      }
    }
    return take;
  }

  #append(part: Uint8Array): void {
    const needed = this.#messageLength + part.length;
    if (needed > this.#message.length) {
      const grown = Buffer.alloc(Math.max(needed, this.#message.length * 2, 1024));
      this.#message.copy(grown, 0, 0, this.#messageLength);
      this.#message = grown;
    }
    this.#message.set(part, this.#messageLength);
    this.#messageLength = needed;
  }

  #count(bytes: number): void {
    this.#bytesSeen += bytes;
    if (this.#bytesSeen > MAX_CLIENT_HELLO_BYTES) {
      this.#refuse('the ClientHello is longer than 65536 bytes');
    }
  }

  #refuse(reason: string, isObsolete = false): void {
    if (this.#result.state === 'incomplete') {
      this.#result = { state: 'invalid', reason, isObsolete };
    }
  }
}

/** Reads the bytes that a connection began with, all at once. For bytes that arrive in pieces use {@link ClientHelloReader}. */
export function readClientHello(bytes: Uint8Array): ClientHelloResult {
  return new ClientHelloReader().push(bytes);
}

/** The length of a record's content. */
function recordLength(bytes: ArrayLike<number>): number {
  return ((bytes[3] ?? 0) << 8) | (bytes[4] ?? 0);
}

/**
 * A ClientHello that begins with the first of the bytes and lies in one whole record, as almost every one does: read where it lies, without a copy. Null for
 * whatever is anything else, or refused: {@link ClientHelloReader} finds out.
 */
function wholeMessage(bytes: Uint8Array): Cursor | null {
  const length = recordLength(bytes);
  const end = RECORD_HEADER_BYTES + length;
  const start = RECORD_HEADER_BYTES + HANDSHAKE_HEADER_BYTES;
  if (bytes.length < end || end < start || length > MAX_RECORD_BYTES) return null;
  if (bytes[0] !== CONTENT_HANDSHAKE || bytes[1] !== 3 || bytes[RECORD_HEADER_BYTES] !== HANDSHAKE_CLIENT_HELLO) {
    return null;
  }
  const cursor = new Cursor(bytes, RECORD_HEADER_BYTES + 1, end);
  const total = (cursor.number(1) << 16) | cursor.number(2);
  return total === cursor.left ? cursor : null;
}

/** A cursor over a part of some bytes; whatever asks for more than there is makes it `broken`, and it yields nothing from then on. */
class Cursor {
  readonly #bytes: Uint8Array;
  #offset: number;
  readonly #end: number;
  broken = false;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#offset = start;
    this.#end = end;
  }

  get left(): number {
    return this.broken ? 0 : this.#end - this.#offset;
  }

  number(size: 1 | 2): number {
    const offset = this.#offset;
    if (!this.skip(size)) return 0;
    const first = this.#bytes[offset] ?? 0;
    return size === 1 ? first : (first << 8) | (this.#bytes[offset + 1] ?? 0);
  }

  /** Goes on behind so many bytes; false where there are not as many. */
  skip(length: number): boolean {
    if (this.broken || this.#end - this.#offset < length) {
      this.broken = true;
      return false;
    }
    this.#offset += length;
    return true;
  }

  /** What the length before it spans, as a cursor of its own: an empty one where this is broken. */
  vector(lengthSize: 1 | 2): Cursor {
    const length = this.number(lengthSize);
    const start = this.#offset;
    return this.skip(length) ? new Cursor(this.#bytes, start, start + length) : new Cursor(this.#bytes, 0, 0);
  }

  /** As {@link Cursor.vector}, for what is not looked into: its length. */
  skipVector(lengthSize: 1 | 2): number {
    const length = this.number(lengthSize);
    return this.skip(length) ? length : 0;
  }

  /** Whether every byte that is left passes. */
  every(passes: (byte: number) => boolean): boolean {
    for (let offset = this.#offset; offset < this.#end; offset += 1)
      if (!passes(this.#bytes[offset] ?? 0)) return false;
    return true;
  }

  /** What is left, one character a byte. */
  text(): string {
    let text = '';
    for (let offset = this.#offset; offset < this.#end; offset += 1)
      text += String.fromCharCode(this.#bytes[offset] ?? 0);
    return text;
  }
}

function invalid(reason: string): ClientHelloResult {
  return { state: 'invalid', reason, isObsolete: false };
}

function parseClientHello(cursor: Cursor): ClientHelloResult {
  const legacyVersion = cursor.number(2);
  cursor.skip(32);
  const sessionIdLength = cursor.skipVector(1);
  const cipherSuitesLength = cursor.skipVector(2);
  const compressionMethodsLength = cursor.skipVector(1);
  if (cursor.broken || sessionIdLength > 32 || compressionMethodsLength === 0) {
    return invalid('the ClientHello is malformed');
  }
  if (cipherSuitesLength < 2 || cipherSuitesLength % 2 !== 0) {
    return invalid('the list of cipher suites is malformed');
  }
  const extensions = cursor.left === 0 ? cursor : cursor.vector(2);
  if (cursor.broken || cursor.left > 0) {
    return invalid('the ClientHello is malformed');
  }
  return parseExtensions(extensions, legacyVersion);
}

function parseExtensions(cursor: Cursor, legacyVersion: number): ClientHelloResult {
  const seen = new Set<number>();
  let serverName: string | null = null;
  let alpn: string[] = [];
  let versions: number[] = [legacyVersion];
  let hasEncryptedClientHello = false;
  while (cursor.left > 0) {
    const type = cursor.number(2);
    const data = cursor.vector(2);
    if (cursor.broken) {
      return invalid('an extension is malformed');
    }
    // RFC 8446 section 4.2: one of each type. With two of them, the one that is checked need not be the one that counts.
    if (seen.has(type)) {
      return invalid('an extension occurs twice');
    }
    seen.add(type);
    switch (type) {
      case EXTENSION_SERVER_NAME: {
        const name = parseServerName(data);
        if (name === undefined) {
          return invalid('the server name is malformed');
        }
        serverName = isAddressLiteral(name) ? null : name;
        break;
      }
      case EXTENSION_ALPN: {
        const protocols = parseAlpn(data);
        if (protocols === undefined) {
          return invalid('the list of application protocols is malformed');
        }
        alpn = protocols;
        break;
      }
      case EXTENSION_SUPPORTED_VERSIONS: {
        const list = parseVersions(data);
        if (list === undefined) {
          return invalid('the list of versions is malformed');
        }
        versions = list;
        break;
      }
      case EXTENSION_ENCRYPTED_CLIENT_HELLO:
      case EXTENSION_ENCRYPTED_SERVER_NAME:
        hasEncryptedClientHello = true;
        break;
      default:
        break;
    }
  }
  return cursor.broken
    ? invalid('an extension is malformed')
    : { state: 'complete', serverName, alpn, hasEncryptedClientHello, versions };
}

/** RFC 6066 section 3, stricter: exactly one name, of type host_name, in printable ASCII. Undefined if it is anything else. */
function parseServerName(outer: Cursor): string | undefined {
  const list = outer.vector(2);
  const type = list.number(1);
  const name = list.vector(2);
  if (outer.broken || outer.left > 0 || list.broken || list.left > 0 || type !== 0) {
    return undefined;
  }
  if (name.left === 0 || name.left > MAX_SERVER_NAME_BYTES) {
    return undefined;
  }
  return name.every((byte) => byte > 0x20 && byte < 0x7f) ? name.text() : undefined;
}

function isAddressLiteral(name: string): boolean {
  if (name.includes(':')) {
    return true;
  }
  const labels = name.split('.');
  return labels.length === 4 && labels.every((label) => /^[0-9]{1,3}$/.test(label));
}

/** RFC 7301 section 3.1. */
function parseAlpn(outer: Cursor): string[] | undefined {
  const list = outer.vector(2);
  if (outer.broken || outer.left > 0) {
    return undefined;
  }
  const protocols: string[] = [];
  while (list.left > 0) {
    const protocol = list.vector(1);
    if (protocol.left === 0) {
      return undefined;
    }
    protocols.push(protocol.text());
  }
  return list.broken || protocols.length === 0 ? undefined : protocols;
}

/** RFC 8446 section 4.2.1. */
function parseVersions(outer: Cursor): number[] | undefined {
  const list = outer.vector(1);
  if (outer.broken || outer.left > 0 || list.left === 0 || list.left % 2 !== 0) {
    return undefined;
  }
  const versions: number[] = [];
  while (list.left > 0) {
    const version = list.number(2);
    if (!isGrease(version)) {
      versions.push(version);
    }
  }
  return versions;
}

/** RFC 8701 section 2: 0x0A0A, 0x1A1A, … 0xFAFA. */
function isGrease(value: number): boolean {
  return (value & 0x0f0f) === 0x0a0a && value >>> 8 === (value & 0xff);
}
