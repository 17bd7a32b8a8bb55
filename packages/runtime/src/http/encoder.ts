import { equalsIgnoringCase } from './fields.ts';
import { HttpSyntaxError } from './http-syntax-error.ts';
import type { RequestHead, ResponseHead } from './message.ts';
import { IS_FIELD_VALUE, IS_TOKEN, IS_VISIBLE, isMadeOf } from './octets.ts';
import { isForbiddenTrailer } from './trailers.ts';

/**
 * Renders a request head as a Latin-1 string for `socket.write(text, 'latin1')`.
 *
 * The last line of defense against splitting and smuggling: whatever earlier steps did, no head is written that holds a control
 * byte, a character above 0xff, a name that is no token, or framing or `Host` fields that two recipients could read differently.
 *
 * @param section what {@link encodeRequestFields} gave for the same fields before, if that is known.
 * @throws {HttpSyntaxError} `UNENCODABLE`, status 500.
 */
export function encodeRequestHead(head: RequestHead, section?: string): string {
  if (head.method.length === 0 || !isMadeOf(head.method, IS_TOKEN)) throw unencodable('The method is not a token.');
  if (head.target.length === 0 || !isMadeOf(head.target, IS_VISIBLE)) {
    throw unencodable('The request-target is not visible ASCII.');
  }
  checkMinor(head.minor);
  const line = `${head.method} ${head.target} HTTP/1.${head.minor}\r\n`;
  return section === undefined ? encodeFields(line, head.fields, true) + '\r\n' : line + section;
}

/**
 * Renders the field section of a request, with the empty line behind it and the checks of {@link encodeRequestHead}.
 *
 * @throws {HttpSyntaxError} `UNENCODABLE`, status 500.
 */
export function encodeRequestFields(fields: readonly string[]): string {
  return encodeFields('', fields, true) + '\r\n';
}

/**
 * Renders a response head as a Latin-1 string, with the checks of {@link encodeRequestHead}.
 *
 * @throws {HttpSyntaxError} `UNENCODABLE`, status 500.
 */
export function encodeResponseHead(head: ResponseHead): string {
  if (!Number.isInteger(head.status) || head.status < 100 || head.status > 599) {
    throw unencodable('The status is not from 100 to 599.');
  }
  if (!isMadeOf(head.reason, IS_FIELD_VALUE)) throw unencodable('The reason holds a control byte.');
  checkMinor(head.minor);
  return encodeFields(`HTTP/1.${head.minor} ${head.status} ${head.reason}\r\n`, head.fields, false) + '\r\n';
}

/** What goes after the data of every chunk. */
export const CHUNK_END = '\r\n';

/**
 * The size line of a chunk of `bytes` bytes, its data and {@link CHUNK_END} follow.
 *
 * @throws {HttpSyntaxError} `UNENCODABLE` for 0, which would end the body, and for what is no length.
 */
export function encodeChunkHead(bytes: number): string {
  if (!Number.isSafeInteger(bytes) || bytes <= 0) throw unencodable('A chunk needs a length above 0.');
  return `${bytes.toString(16)}\r\n`;
}

/**
 * The last chunk and the trailer section, which end a chunked body.
 *
 * @throws {HttpSyntaxError} `UNENCODABLE` for a malformed trailer field or one that is forbidden there.
 */
export function encodeLastChunk(trailers: readonly string[] = []): string {
  for (let i = 0; i < trailers.length; i += 2) {
    if (isForbiddenTrailer(trailers[i]!)) throw unencodable('A trailer field is one that is forbidden in trailers.');
  }
  return encodeFields('0\r\n', trailers, false) + '\r\n';
}

function encodeFields(startLine: string, fields: readonly string[], isRequest: boolean): string {
  if (fields.length % 2 !== 0) throw unencodable('A field has a name but no value.');
  let text = startLine;
  let hosts = 0;
  let lengths = 0;
  let codings = 0;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    switch (name.length) {
      case 0:
        throw unencodable('A field name is not a token.');
      case 4:
        if (equalsIgnoringCase(name, 'host')) hosts++;
        break;
      case 14:
        if (equalsIgnoringCase(name, 'content-length')) lengths++;
        break;
      case 17:
        if (equalsIgnoringCase(name, 'transfer-encoding')) codings++;
        break;
    }
    text += `${name}: ${fields[i + 1]!}\r\n`;
  }
  checkFields(text, startLine.length, fields);
  if (lengths + codings > 1) throw unencodable('The framing fields contradict each other.');
  if (isRequest && hosts > 1) throw unencodable('There is more than one Host field.');
  return text;
}

/** Looks at the characters of all names and values where they stand in `text`: in one flat string that is faster than in each of them. */
function checkFields(text: string, start: number, fields: readonly string[]): void {
  let at = start;
  for (let i = 0; i < fields.length; i += 2) {
    const nameEnd = at + fields[i]!.length;
    for (; at < nameEnd; at++) {
      if (IS_TOKEN[text.charCodeAt(at)] !== 1) throw unencodable('A field name is not a token.');
    }
    at += ': '.length;
    const valueEnd = at + fields[i + 1]!.length;
    for (; at < valueEnd; at++) {
      if (IS_FIELD_VALUE[text.charCodeAt(at)] !== 1) throw unencodable('A field value holds a control byte.');
    }
    at += '\r\n'.length;
  }
}

function checkMinor(minor: number): void {
  if (minor !== 0 && minor !== 1) throw unencodable('The version is neither HTTP/1.0 nor HTTP/1.1.');
}

function unencodable(message: string): HttpSyntaxError {
  return new HttpSyntaxError('UNENCODABLE', 500, message);
}
