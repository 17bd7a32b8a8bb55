/**
 * Writes DER (ITU-T X.690), the part of it that certificates consist of. Nothing here reads: what others send is parsed by OpenSSL.
 */

const BOOLEAN = 0x01;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const OBJECT_IDENTIFIER = 0x06;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const SEQUENCE = 0x30;
const SET = 0x31;
const CONTEXT_SPECIFIC = 0x80;
const CONSTRUCTED = 0x20;

const MAX_SHORT_LENGTH = 0x7f;
/** The bit of a length's first byte that says that its other bits count the bytes of the length. */
const LONG_LENGTH = 0x80;
/** The first year that RFC 5280 (section 4.1.2.5) wants as GeneralizedTime. */
const FIRST_GENERALIZED_YEAR = 2050;

function encode(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(contents);
  if (body.length <= MAX_SHORT_LENGTH) return Buffer.concat([Buffer.of(tag, body.length), body]);
  const length = minimalBytes(body.length);
  return Buffer.concat([Buffer.of(tag, LONG_LENGTH | length.length), length, body]);
}

/** A positive number, big-endian, in as few bytes as it needs. */
function minimalBytes(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; left > 0; left = Math.floor(left / 256)) bytes.unshift(left % 256);
  return Buffer.from(bytes);
}

/** SEQUENCE. */
export function sequence(...elements: readonly Uint8Array[]): Buffer {
  return encode(SEQUENCE, ...elements);
}

/** SET of one element; of more, DER would want an order. */
export function setOf(element: Uint8Array): Buffer {
  return encode(SET, element);
}

/** BOOLEAN, true. */
export function trueValue(): Buffer {
  return encode(BOOLEAN, Buffer.of(0xff));
}

/** INTEGER that is not negative, from its big-endian bytes. */
export function integer(bytes: Uint8Array): Buffer {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1;
  const minimal = bytes.length === 0 ? Buffer.of(0) : bytes.subarray(start);
  // The first bit is the sign.
  return encode(INTEGER, (minimal[0] ?? 0) >= 0x80 ? Buffer.of(0) : Buffer.alloc(0), minimal);
}

/** BIT STRING; the last `unusedBits` of its last byte do not belong to it. */
export function bitString(bytes: Uint8Array, unusedBits = 0): Buffer {
  return encode(BIT_STRING, Buffer.of(unusedBits), bytes);
}

/** OCTET STRING. */
export function octetString(bytes: Uint8Array): Buffer {
  return encode(OCTET_STRING, bytes);
}

/** UTF8String. */
export function utf8String(text: string): Buffer {
  return encode(UTF8_STRING, Buffer.from(text, 'utf8'));
}

/** OBJECT IDENTIFIER from its dotted form, such as `1.2.840.10045.2.1`. */
export function objectIdentifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...arcs] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second, ...arcs].flatMap((arc) => {
    const groups = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) groups.unshift((left % 128) | 0x80);
    return groups;
  });
  return encode(OBJECT_IDENTIFIER, Buffer.from(bytes));
}

/** UTCTime or GeneralizedTime, whichever RFC 5280 asks for; whole seconds. */
export function time(atMs: number): Buffer {
  const at = new Date(atMs);
  const digits = at.toISOString().replaceAll(/[-:T]|\.\d+/g, '');
  const isGeneralized = at.getUTCFullYear() >= FIRST_GENERALIZED_YEAR;
  return isGeneralized
    ? encode(GENERALIZED_TIME, Buffer.from(digits, 'latin1'))
    : encode(UTC_TIME, Buffer.from(digits.slice(2), 'latin1'));
}

/** A tag of the surrounding structure's own around whole elements (EXPLICIT). */
export function explicitTag(number: number, element: Uint8Array): Buffer {
  return encode(CONTEXT_SPECIFIC | CONSTRUCTED | number, element);
}

/** A tag of the surrounding structure's own in place of a primitive element's (IMPLICIT). */
export function implicitTag(number: number, contents: Uint8Array): Buffer {
  return encode(CONTEXT_SPECIFIC | number, contents);
}
