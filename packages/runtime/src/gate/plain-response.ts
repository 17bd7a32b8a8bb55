import { CR, HTAB, IS_FIELD_VALUE, IS_TOKEN, LF, SP } from '../http/octets.ts';
import type { Redactor } from '../secrets/redact.ts';
import { MAX_HEAD_BYTES, MAX_MEASURED_BODY_BYTES } from './limits.ts';

/** A response that needs hardly any change, as it goes to the client. */
export interface PlainResponse {
  readonly status: number;
  readonly bodyBytes: number;
  /** Head and body, in memory of their own. */
  readonly bytes: Buffer;
}

/** Lines of one head that are left out; there are few in any. */
const MAX_DROPPED_LINES = 8;
const MAX_PLAIN_FIELDS = 128;
const MAX_LENGTH_DIGITS = 9;

/** Where the lines begin and end that are left out. One head is read at a time. */
const droppedStarts = new Uint32Array(MAX_DROPPED_LINES);
const droppedEnds = new Uint32Array(MAX_DROPPED_LINES);

const COLON = 0x3a;
const ZERO = 0x30;
const LOWER_CASE = 0x20;
const LETTER_A = 0x61;
const LETTER_P = 0x70;

/** `HTTP/1.1 ` */
const VERSION = [0x48, 0x54, 0x54, 0x50, 0x2f, 0x31, 0x2e, 0x31, 0x20] as const;

/**
 * Reads a response that lies in `chunk` whole, and is what most are: HTTP/1.1 that stays open, a body of a known length to be measured, no
 * coding, and nothing that looks like a value anywhere. All that is done about such a one is to leave some lines out. It comes out as by
 * the way of all others ({@link planResponseBody}, {@link rewriteResponseHead}), for a small part of the cost; only the line with the
 * length stays where it is, as it is spelt.
 *
 * Null for anything else: the way of all others decides what that is. It is not for answers to HEAD or CONNECT.
 */
export function readPlainResponse(chunk: Buffer, redactor: Redactor): PlainResponse | null {
  for (let i = 0; i < VERSION.length; i++) if (chunk[i] !== VERSION[i]) return null;
  const status = readStatus(chunk);
  if (status === -1) return null;

  let at = VERSION.length + 4;
  while (IS_FIELD_VALUE[chunk[at]!] === 1) at++;
  if (chunk[at] !== CR || chunk[at + 1] !== LF) return null;
  at += 2;

  let fields = 0;
  let dropped = 0;
  let bodyBytes = -1;
  while (chunk[at] !== CR) {
    const nameStart = at;
    while (IS_TOKEN[chunk[at]!] === 1) at++;
    const nameEnd = at;
    // Only lines that are written as we would write them: one space, and none at the end.
    if (nameEnd === nameStart || chunk[at] !== COLON || chunk[at + 1] !== SP) return null;
    at += 2;
    const valueStart = at;
    while (IS_FIELD_VALUE[chunk[at]!] === 1) at++;
    if (at === valueStart || chunk[at] !== CR || chunk[at + 1] !== LF) return null;
    if (isBlank(chunk[valueStart]!) || isBlank(chunk[at - 1]!)) return null;

    switch (fieldUse(chunk, nameStart, nameEnd, valueStart, at)) {
      case 'pass':
        break;
      case 'drop':
        if (dropped === MAX_DROPPED_LINES) return null;
        droppedStarts[dropped] = nameStart;
        droppedEnds[dropped] = at + 2;
        dropped += 1;
        break;
      case 'length':
        if (bodyBytes !== -1) return null;
        bodyBytes = readLength(chunk, valueStart, at);
        if (bodyBytes === -1) return null;
        break;
      case 'other':
        return null;
    }
    at += 2;
    fields += 1;
    if (fields > MAX_PLAIN_FIELDS || at > MAX_HEAD_BYTES - 2) return null;
  }
  if (chunk[at + 1] !== LF || bodyBytes !== chunk.length - (at + 2)) return null;
  // A form that would lie across head and body is not there for anybody: such a response just takes the other way.
  if (!redactor.isClean(chunk)) return null;

  return { status, bodyBytes, bytes: withoutDropped(chunk, dropped) };
}

/** A final status whose response has a body that is passed on without further ado; -1 for any other. */
function readStatus(chunk: Buffer): number {
  const hundreds = chunk[VERSION.length]! - ZERO;
  const tens = chunk[VERSION.length + 1]! - ZERO;
  const units = chunk[VERSION.length + 2]! - ZERO;
  const isNumber = hundreds >= 2 && hundreds <= 5 && tens >= 0 && tens <= 9 && units >= 0 && units <= 9;
  if (!isNumber || chunk[VERSION.length + 3] !== SP) return -1;
  const status = hundreds * 100 + tens * 10 + units;
  // No body; a part of one; to be kept back.
  return status === 204 || status === 304 || status === 206 || status === 401 ? -1 : status;
}

/** What to do with a field line. By length and first letter, because this looks at every field of every head. */
function fieldUse(
  chunk: Buffer,
  nameStart: number,
  nameEnd: number,
  valueStart: number,
  valueEnd: number,
): 'pass' | 'drop' | 'length' | 'other' {
  const length = nameEnd - nameStart;
  switch (length) {
    case 2:
      if (isText(chunk, nameStart, 'te')) return 'other';
      break;
    case 7:
      if (isText(chunk, nameStart, 'alt-svc')) return 'drop';
      if (isText(chunk, nameStart, 'upgrade') || isText(chunk, nameStart, 'trailer')) return 'other';
      break;
    case 10:
      if (isText(chunk, nameStart, 'keep-alive')) return 'drop';
      if (isText(chunk, nameStart, 'connection')) {
        const isUsual = valueEnd - valueStart === length && isText(chunk, valueStart, 'keep-alive');
        return isUsual ? 'drop' : 'other';
      }
      break;
    case 12:
      // Streams of events are not measured.
      if (isText(chunk, nameStart, 'content-type') && isText(chunk, valueStart, 'text/event-')) return 'other';
      break;
    case 13:
      if (isText(chunk, nameStart, 'accept-ranges')) return 'drop';
      break;
    case 14:
      if (isText(chunk, nameStart, 'content-length')) return 'length';
      if (isText(chunk, nameStart, 'content_length') || isText(chunk, nameStart, 'http2-settings')) return 'other';
      break;
    case 16:
      if (isText(chunk, nameStart, 'content-encoding')) return 'other';
      break;
    case 17:
      if (isText(chunk, nameStart, 'transfer-encoding') || isText(chunk, nameStart, 'transfer_encoding'))
        return 'other';
      break;
    case 18:
      if (isText(chunk, nameStart, 'alternate-protocol')) return 'drop';
      break;
  }
  if (length > 6 && (chunk[nameStart]! | LOWER_CASE) === LETTER_P && isText(chunk, nameStart, 'proxy-')) return 'other';
  return 'pass';
}

/** Whether `lowerText` is at that place in any mix of ASCII case.  */
function isText(chunk: Buffer, start: number, lowerText: string): boolean {
  for (let i = 0; i < lowerText.length; i++) {
    const wanted = lowerText.charCodeAt(i);
    const octet = chunk[start + i]!;
    if (octet !== wanted && !(wanted >= LETTER_A && (octet | LOWER_CASE) === wanted)) return false;
  }
  return true;
}

/** A length from 1 up to what is measured, in digits without a leading zero; -1 for anything else. */
function readLength(chunk: Buffer, start: number, end: number): number {
  if (end - start > MAX_LENGTH_DIGITS || chunk[start] === ZERO) return -1;
  let length = 0;
  for (let i = start; i < end; i++) {
    const digit = chunk[i]! - ZERO;
    if (!(digit >= 0 && digit <= 9)) return -1;
    length = length * 10 + digit;
  }
  return length <= MAX_MEASURED_BODY_BYTES ? length : -1;
}

function withoutDropped(chunk: Buffer, dropped: number): Buffer {
  let length = chunk.length;
  for (let i = 0; i < dropped; i++) length -= droppedEnds[i]! - droppedStarts[i]!;
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  let from = 0;
  for (let i = 0; i < dropped; i++) {
    at += chunk.copy(bytes, at, from, droppedStarts[i]);
    from = droppedEnds[i]!;
  }
  chunk.copy(bytes, at, from);
  return bytes;
}

function isBlank(octet: number): boolean {
  return octet === SP || octet === HTAB;
}
