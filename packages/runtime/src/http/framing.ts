import { equalsIgnoringCase, hasToken } from './fields.ts';
import { HttpSyntaxError, malformedStatus, type HttpSyntaxStatus, type MessageSide } from './http-syntax-error.ts';
import type { RequestHead, ResponseHead } from './message.ts';

/** How a message says where its body ends (RFC 9112 section 6). */
export type Framing =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked'; readonly codings?: readonly TransferCoding[] }
  | { readonly kind: 'until-close'; readonly codings?: readonly TransferCoding[] };

/** A transfer coding of a response besides `chunked`. In a framing they are in the order in which they come off. */
export type TransferCoding = 'gzip' | 'deflate';

const NONE: Framing = { kind: 'none' };
const CHUNKED: Framing = { kind: 'chunked' };
const UNTIL_CLOSE: Framing = { kind: 'until-close' };

interface FramingFields {
  /** -1 when there is none. */
  readonly contentLength: number;
  /** Null without Transfer-Encoding. */
  readonly transfer: TransferEncoding | null;
}

interface TransferEncoding {
  readonly isChunked: boolean;
  /** In the order in which they come off. */
  readonly codings: readonly TransferCoding[];
}

const ONLY_CHUNKED: TransferEncoding = { isChunked: true, codings: [] };

/**
 * Where the body of a request ends. Whatever recipients are known to read differently is refused rather than repaired:
 *
 * - `Content-Length` with `Transfer-Encoding` (RFC 9112 section 6.3 rule 3 permits either answer);
 * - two `Content-Length` lines or a list in one, equal or not (rule 5 permits repair); anything but decimal digits; leading zeros;
 *   more than 2^53 - 1;
 * - `Transfer-Encoding` twice, in HTTP/1.0, or anything but exactly `chunked`: 501 when another coding comes before a last
 *   `chunked` (section 6.1), else 400;
 * - the same fields spelt with `_`, which CGI-like upstreams cannot tell from the real ones;
 * - either field on CONNECT, whose content has no meaning (RFC 9110 section 9.3.6).
 *
 * @throws {HttpSyntaxError} `CONTENT_LENGTH`, `TRANSFER_ENCODING` or `CONFLICTING_FRAMING`, status 400 or 501.
 */
export function requestFraming(head: RequestHead): Framing {
  const { contentLength, transfer } = readFramingFields(head.fields, head.minor, 'request');
  if (head.method === 'CONNECT' && (transfer !== null || contentLength > 0)) {
    throw new HttpSyntaxError('CONFLICTING_FRAMING', 400, 'A CONNECT request has no body, but its head announces one.');
  }
  if (transfer !== null) return CHUNKED;
  return contentLength === -1 ? NONE : { kind: 'length', bytes: contentLength };
}

/**
 * Where the body of the response to a `requestMethod` request ends, with the strictness of {@link requestFraming}; but `gzip` and
 * `deflate` may come before a last `chunked`, or alone up to the end of the connection (RFC 9112 section 6.3 rule 4).
 *
 * No body, whatever the fields say: the answer to HEAD, 1xx, 204, 304 (RFC 9112 section 6.3 rule 1) and 2xx to CONNECT (rule 2,
 * where the fields are ignored). Besides, `Transfer-Encoding` on 1xx, 204 and 304 and a `Content-Length` above 0 on 1xx and 204
 * are refused: a client behind us might wait for that body, or take the next response for it. So is a 1xx with `Connection: close`,
 * after which some clients read on and others do not.
 *
 * @throws {HttpSyntaxError} with status 502.
 */
export function responseFraming(head: ResponseHead, requestMethod: string): Framing {
  const { status } = head;
  if (requestMethod === 'CONNECT' && status >= 200 && status <= 299) return NONE;
  const { contentLength, transfer } = readFramingFields(head.fields, head.minor, 'response');
  if (status < 200 || status === 204 || status === 304) {
    if (transfer !== null || (contentLength > 0 && status !== 304)) {
      throw new HttpSyntaxError(
        'CONFLICTING_FRAMING',
        502,
        `A ${status} response has no body, but its head announces one.`,
      );
    }
    if (status < 200 && hasToken(head.fields, 'connection', 'close')) {
      throw new HttpSyntaxError(
        'CONFLICTING_FRAMING',
        502,
        `A ${status} response closes the connection before its final one.`,
      );
    }
    return NONE;
  }
  if (requestMethod === 'HEAD') return NONE;
  if (transfer !== null) {
    const { isChunked, codings } = transfer;
    return codings.length === 0 ? CHUNKED : { kind: isChunked ? 'chunked' : 'until-close', codings };
  }
  return contentLength === -1 ? UNTIL_CLOSE : { kind: 'length', bytes: contentLength };
}

function readFramingFields(fields: readonly string[], minor: 0 | 1, side: MessageSide): FramingFields {
  let contentLength = -1;
  let transfer: TransferEncoding | null = null;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    if (name.length === 14) {
      if (equalsIgnoringCase(name, 'content-length')) {
        if (contentLength !== -1) throw fault('CONTENT_LENGTH', side, 'Content-Length is given more than once.');
        contentLength = parseContentLength(fields[i + 1]!, side);
      } else if (equalsIgnoringCase(name, 'content_length')) {
        throw fault('CONTENT_LENGTH', side, 'Content-Length is spelt with an underscore.');
      }
    } else if (name.length === 17) {
      if (equalsIgnoringCase(name, 'transfer-encoding')) {
        if (transfer !== null) throw fault('TRANSFER_ENCODING', side, 'Transfer-Encoding is given more than once.');
        transfer = parseTransferEncoding(fields[i + 1]!, minor, side);
      } else if (equalsIgnoringCase(name, 'transfer_encoding')) {
        throw fault('TRANSFER_ENCODING', side, 'Transfer-Encoding is spelt with an underscore.');
      }
    }
  }
  if (transfer !== null && contentLength !== -1) {
    throw fault('CONFLICTING_FRAMING', side, 'Content-Length and Transfer-Encoding are given together.');
  }
  return { contentLength, transfer };
}

function parseContentLength(value: string, side: MessageSide): number {
  let length = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 0x30;
    if (!(digit >= 0 && digit <= 9)) throw fault('CONTENT_LENGTH', side, 'Content-Length is not one decimal number.');
    length = length * 10 + digit;
    if (length > Number.MAX_SAFE_INTEGER) throw fault('CONTENT_LENGTH', side, 'Content-Length is above 2^53 - 1.');
  }
  if (value.length === 0) throw fault('CONTENT_LENGTH', side, 'Content-Length is empty.');
  // Legal by the grammar, octal to some.
  if (value.length > 1 && value.charCodeAt(0) === 0x30) {
    throw fault('CONTENT_LENGTH', side, 'Content-Length has leading zeros.');
  }
  return length;
}

function parseTransferEncoding(value: string, minor: 0 | 1, side: MessageSide): TransferEncoding {
  if (minor === 0) throw fault('TRANSFER_ENCODING', side, 'Transfer-Encoding does not exist in HTTP/1.0.');
  if (equalsIgnoringCase(value, 'chunked')) return ONLY_CHUNKED;
  const codings = value.split(',').map((coding) => coding.trim());
  if (side === 'response') {
    const isChunked = equalsIgnoringCase(codings.at(-1)!, 'chunked');
    if (isChunked) codings.pop();
    const known = codings.map(knownCoding);
    if (known.length <= MAX_TRANSFER_CODINGS && known.every((coding) => coding !== null)) {
      return { isChunked, codings: known.toReversed() };
    }
    throw fault('TRANSFER_ENCODING', side, 'Transfer-Encoding holds more than gzip or deflate and a last "chunked".');
  }
  const last = codings.pop()!;
  const isUnknownCoding =
    equalsIgnoringCase(last, 'chunked') &&
    codings.every((coding) => coding !== '' && !equalsIgnoringCase(coding, 'chunked'));
  throw fault(
    'TRANSFER_ENCODING',
    side,
    'Transfer-Encoding is not exactly "chunked", the only transfer coding that is supported in requests.',
    isUnknownCoding && codings.length > 0 ? 501 : undefined,
  );
}

/** Transfer codings of one response besides `chunked`. */
const MAX_TRANSFER_CODINGS = 2;

/** RFC 9112 section 7.2. */
function knownCoding(name: string): TransferCoding | null {
  if (equalsIgnoringCase(name, 'gzip') || equalsIgnoringCase(name, 'x-gzip')) return 'gzip';
  return equalsIgnoringCase(name, 'deflate') ? 'deflate' : null;
}

function fault(
  code: 'CONTENT_LENGTH' | 'TRANSFER_ENCODING' | 'CONFLICTING_FRAMING',
  side: MessageSide,
  message: string,
  status: HttpSyntaxStatus = malformedStatus(side),
): HttpSyntaxError {
  return new HttpSyntaxError(code, status, message);
}
