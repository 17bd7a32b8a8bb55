import { HttpSyntaxError, malformedStatus, type MessageSide } from './http-syntax-error.ts';
import type { OwnRequestHead, ResponseHead } from './message.ts';
import { CR, HTAB, IS_FIELD_VALUE, IS_TOKEN, IS_VISIBLE, LF, SP } from './octets.ts';

/** Default limit for a whole head, line ends included, in bytes. */
export const MAX_HEAD_BYTES = 64 * 1024;
/** Limit for the field lines of one head or trailer section. */
export const MAX_FIELDS = 256;
/** Limit for a request-target, in bytes. RFC 9112 section 3 asks for at least 8,000 for the request line. */
export const MAX_TARGET_BYTES = 32 * 1024;
/** Limit for a method, in bytes. The longest registered one has 17. */
export const MAX_METHOD_BYTES = 32;

const COLON = 0x3a;
const CRLFCRLF = Buffer.from('\r\n\r\n', 'latin1');

/**
 * Finds where the head that starts at `start` ends: the index after its CRLFCRLF, or -1 while it is incomplete.
 *
 * A caller that comes back with more bytes passes as `scanned` the `end` of the call before: each byte is then looked at once,
 * however slowly the peer sends. Only CRLFCRLF ends a head (RFC 9112 section 2.2 allows a recipient to be lenient; we are not),
 * so a peer that ends its lines otherwise is told so at once instead of being waited for.
 *
 * @throws {HttpSyntaxError} `BARE_LF`, or `HEAD_TOO_LARGE` when the head cannot end within `maxHeadBytes`.
 */
export function findHeadEnd(
  bytes: Buffer,
  start: number,
  end: number,
  scanned: number = start,
  side: MessageSide = 'request',
  maxHeadBytes: number = MAX_HEAD_BYTES,
): number {
  // The native search is three times as fast as the loop, but it always runs to the end of the buffer. A bare line feed
  // inside a head that it finds is the parser's to refuse.
  if (end === bytes.length) {
    const found = bytes.indexOf(CRLFCRLF, Math.max(start, scanned - 3));
    if (found !== -1) {
      if (found + 4 - start > maxHeadBytes) throw headTooLarge(maxHeadBytes, side);
      return found + 4;
    }
  }
  for (let at = scanned; at < end; at++) {
    if (bytes[at] !== LF) continue;
    if (at === start || bytes[at - 1] !== CR) throw bareLineFeed(side);
    if (at - start >= 3 && bytes[at - 2] === LF && bytes[at - 3] === CR) {
      if (at + 1 - start > maxHeadBytes) throw headTooLarge(maxHeadBytes, side);
      return at + 1;
    }
  }
  if (end - start >= maxHeadBytes) throw headTooLarge(maxHeadBytes, side);
  return -1;
}

/**
 * Parses the request head in `bytes[start, end)`, which ends with its CRLFCRLF (RFC 9112 sections 2, 3 and 5).
 *
 * One CRLF before the request line is skipped, as section 2.2 asks for the sake of old clients; a second one is refused. Methods
 * are any token; the form of the target is `requestAuthority`'s business. The strings share memory with one copy of the head.
 *
 * @throws {HttpSyntaxError} status 400; 414 target too long; 431 head or number of fields; 501 method too long; 505 version.
 */
export function parseRequestHead(
  bytes: Buffer,
  start: number,
  end: number,
  maxHeadBytes: number = MAX_HEAD_BYTES,
): OwnRequestHead {
  checkHeadBounds(bytes, start, end, maxHeadBytes, 'request');
  const text = bytes.toString('latin1', start, end);

  const lineStart = bytes[start] === CR && bytes[start + 1] === LF ? start + 2 : start;
  const line = readRequestLine(bytes, lineStart);
  return {
    method: text.slice(lineStart - start, line.methodEnd - start),
    target: text.slice(line.methodEnd + 1 - start, line.targetEnd - start),
    minor: line.minor,
    fields: parseFieldLines(bytes, text, start, line.end, end, 'request'),
  };
}

/** Where the parts of a request line are. */
export interface RequestLine {
  readonly methodEnd: number;
  /** The target begins one byte behind the method. */
  readonly targetEnd: number;
  readonly minor: 0 | 1;
  /** The offset behind the line's CRLF. */
  readonly end: number;
}

/**
 * Reads the request line at `bytes[start]` (RFC 9112 section 3). The caller made sure that a line feed follows: it stops each loop.
 *
 * @throws {HttpSyntaxError} status 400; 414 target too long; 501 method too long; 505 version.
 */
export function readRequestLine(bytes: Buffer, start: number): RequestLine {
  let at = start;
  while (IS_TOKEN[bytes[at]!] === 1) at++;
  const methodEnd = at;
  if (methodEnd === start || bytes[at] !== SP) {
    throw new HttpSyntaxError('METHOD', 400, 'The request does not start with a method and one space.');
  }
  if (methodEnd - start > MAX_METHOD_BYTES) {
    throw new HttpSyntaxError('METHOD', 501, `The method is longer than ${MAX_METHOD_BYTES} bytes.`);
  }

  const targetStart = ++at;
  while (IS_VISIBLE[bytes[at]!] === 1) at++;
  const targetEnd = at;
  if (targetEnd - targetStart > MAX_TARGET_BYTES) {
    throw new HttpSyntaxError('TARGET', 414, `The request-target is longer than ${MAX_TARGET_BYTES} bytes.`);
  }
  if (targetEnd === targetStart) {
    throw new HttpSyntaxError('REQUEST_LINE', 400, 'The request line needs exactly one space between its three parts.');
  }
  if (bytes[at] !== SP) {
    if (bytes[at] === CR) throw new HttpSyntaxError('VERSION', 400, 'The request line names no HTTP version.');
    throw new HttpSyntaxError('TARGET', 400, 'The request-target holds a byte that is not visible ASCII.');
  }

  const minor = parseRequestVersion(bytes, at + 1);
  at += 9;
  if (bytes[at] !== CR || bytes[at + 1] !== LF) {
    throw new HttpSyntaxError('REQUEST_LINE', 400, 'The request line does not end with CRLF after the HTTP version.');
  }
  return { methodEnd, targetEnd, minor, end: at + 2 };
}

/**
 * Parses the response head in `bytes[start, end)`, which ends with its CRLFCRLF (RFC 9112 sections 2, 4 and 5).
 *
 * Nothing may stand before the status line. The space before an empty reason may be missing: servers that forget it are common
 * and nothing else can be meant.
 *
 * @throws {HttpSyntaxError} always with status 502.
 */
export function parseResponseHead(
  bytes: Buffer,
  start: number,
  end: number,
  maxHeadBytes: number = MAX_HEAD_BYTES,
): ResponseHead {
  checkHeadBounds(bytes, start, end, maxHeadBytes, 'response');
  const text = bytes.toString('latin1', start, end);

  const minor = versionMinor(bytes, start);
  if (minor === -1) {
    throw new HttpSyntaxError('VERSION', 502, 'The response does not start with HTTP/1.0 or HTTP/1.1.');
  }
  let at = start + 8;
  const hundreds = digitAt(bytes, at + 1);
  const tens = digitAt(bytes, at + 2);
  const units = digitAt(bytes, at + 3);
  if (bytes[at] !== SP || hundreds < 1 || hundreds > 5 || tens === -1 || units === -1) {
    throw new HttpSyntaxError('STATUS_LINE', 502, 'The status line has no status code from 100 to 599.');
  }
  // HTTP/1.0 knows no interim responses (RFC 9110 section 15.2): some clients take one for the final response.
  if (hundreds === 1 && minor === 0) {
    throw new HttpSyntaxError('STATUS_LINE', 502, 'The status line announces an interim response in HTTP/1.0.');
  }
  at += 4;

  let reasonStart = at;
  if (bytes[at] === SP) {
    reasonStart = ++at;
    while (IS_FIELD_VALUE[bytes[at]!] === 1) at++;
  }
  if (bytes[at] !== CR || bytes[at + 1] !== LF) {
    throw new HttpSyntaxError('STATUS_LINE', 502, 'The status line does not end with CRLF after the reason.');
  }
  return {
    status: hundreds * 100 + tens * 10 + units,
    reason: text.slice(reasonStart - start, at - start),
    minor,
    fields: parseFieldLines(bytes, text, start, at + 2, end, 'response'),
  };
}

/**
 * Parses the trailer section in `bytes[start, end)`: field lines and the empty line that ends them (RFC 9112 section 7.1.2), with
 * the same strictness as a head.
 *
 * @throws {HttpSyntaxError} as for the head of that side.
 */
export function parseTrailerSection(bytes: Buffer, start: number, end: number, side: MessageSide): string[] {
  if (end - start < 2 || bytes[end - 2] !== CR || bytes[end - 1] !== LF) throw headIncomplete(side);
  return parseFieldLines(bytes, bytes.toString('latin1', start, end), start, start, end, side);
}

/**
 * The caller made sure that `bytes[start, end)` ends with an empty line, so that no loop can run past `end`: the CR before it
 * stops each of them. `text` is the Latin-1 copy of `bytes[base, end)`.
 */
function parseFieldLines(
  bytes: Buffer,
  text: string,
  base: number,
  start: number,
  end: number,
  side: MessageSide,
): string[] {
  const fields: string[] = [];
  let at = start;
  while (bytes[at] !== CR) {
    const nameStart = at;
    while (IS_TOKEN[bytes[at]!] === 1) at++;
    const nameEnd = at;
    if (nameEnd === nameStart || bytes[at] !== COLON) throw badFieldName(bytes, nameStart, at, side);

    at++;
    while (bytes[at] === SP || bytes[at] === HTAB) at++;
    const valueStart = at;
    while (IS_FIELD_VALUE[bytes[at]!] === 1) at++;
    if (bytes[at] !== CR || bytes[at + 1] !== LF) throw badFieldValue(bytes, at, side);
    let valueEnd = at;
    while (valueEnd > valueStart && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HTAB)) valueEnd--;

    if (fields.length === 2 * MAX_FIELDS) {
      const status = side === 'request' ? 431 : 502;
      throw new HttpSyntaxError('TOO_MANY_FIELDS', status, `The message has more than ${MAX_FIELDS} field lines.`);
    }
    fields.push(text.slice(nameStart - base, nameEnd - base), text.slice(valueStart - base, valueEnd - base));
    at += 2;
  }
  if (bytes[at + 1] !== LF) throw bareCarriageReturn(side);
  // Bytes after the empty line are another message's: a caller that passes them has lost count.
  if (at + 2 !== end) throw headIncomplete(side);
  return fields;
}

function checkHeadBounds(bytes: Buffer, start: number, end: number, maxHeadBytes: number, side: MessageSide): void {
  if (end - start > maxHeadBytes) throw headTooLarge(maxHeadBytes, side);
  if (
    end - start < 4 ||
    bytes[end - 4] !== CR ||
    bytes[end - 3] !== LF ||
    bytes[end - 2] !== CR ||
    bytes[end - 1] !== LF
  ) {
    throw headIncomplete(side);
  }
}

/** The minor version of `HTTP/1.0` or `HTTP/1.1` at `at`; -1 for anything else. The name is case-sensitive (section 2.3). */
function versionMinor(bytes: Buffer, at: number): 0 | 1 | -1 {
  if (
    bytes[at] !== 0x48 ||
    bytes[at + 1] !== 0x54 ||
    bytes[at + 2] !== 0x54 ||
    bytes[at + 3] !== 0x50 ||
    bytes[at + 4] !== 0x2f ||
    bytes[at + 5] !== 0x31 ||
    bytes[at + 6] !== 0x2e
  ) {
    return -1;
  }
  if (bytes[at + 7] === 0x31) return 1;
  return bytes[at + 7] === 0x30 ? 0 : -1;
}

function parseRequestVersion(bytes: Buffer, at: number): 0 | 1 {
  const minor = versionMinor(bytes, at);
  if (minor !== -1) return minor;
  const isVersion =
    bytes.toString('latin1', at, at + 5) === 'HTTP/' &&
    digitAt(bytes, at + 5) !== -1 &&
    bytes[at + 6] === 0x2e &&
    digitAt(bytes, at + 7) !== -1 &&
    bytes[at + 8] === CR;
  if (isVersion) throw new HttpSyntaxError('VERSION', 505, 'Only HTTP/1.0 and HTTP/1.1 are spoken on this connection.');
  throw new HttpSyntaxError('VERSION', 400, 'The request line does not end with one space and an HTTP version.');
}

function digitAt(bytes: Buffer, at: number): number {
  const octet = bytes[at]!;
  return octet >= 0x30 && octet <= 0x39 ? octet - 0x30 : -1;
}

function badFieldName(bytes: Buffer, lineStart: number, at: number, side: MessageSide): HttpSyntaxError {
  const status = malformedStatus(side);
  const octet = bytes[at];
  if (octet === SP || octet === HTAB) {
    return at === lineStart
      ? new HttpSyntaxError('OBS_FOLD', status, 'A field line starts with white space (obsolete line folding).')
      : new HttpSyntaxError('SPACE_BEFORE_COLON', status, 'White space stands between a field name and its colon.');
  }
  if (octet === LF) return bareLineFeed(side);
  return new HttpSyntaxError('FIELD_NAME', status, 'A field line does not start with a field name and a colon.');
}

function badFieldValue(bytes: Buffer, at: number, side: MessageSide): HttpSyntaxError {
  if (bytes[at] === CR) return bareCarriageReturn(side);
  if (bytes[at] === LF) return bareLineFeed(side);
  return new HttpSyntaxError('FIELD_VALUE', malformedStatus(side), 'A field value holds a control byte.');
}

function bareCarriageReturn(side: MessageSide): HttpSyntaxError {
  return new HttpSyntaxError('BARE_CR', malformedStatus(side), 'A carriage return stands without its line feed.');
}

function bareLineFeed(side: MessageSide): HttpSyntaxError {
  return new HttpSyntaxError('BARE_LF', malformedStatus(side), 'A line ends with a bare line feed instead of CRLF.');
}

function headTooLarge(maxHeadBytes: number, side: MessageSide): HttpSyntaxError {
  const status = side === 'request' ? 431 : 502;
  return new HttpSyntaxError('HEAD_TOO_LARGE', status, `The head is longer than ${maxHeadBytes} bytes.`);
}

function headIncomplete(side: MessageSide): HttpSyntaxError {
  return new HttpSyntaxError('HEAD_INCOMPLETE', malformedStatus(side), 'The head does not end with one empty line.');
}
