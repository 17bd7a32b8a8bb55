import { HTAB, IS_FIELD_VALUE, IS_TOKEN, isMadeOf, SP } from '../http/octets.ts';

/** What RFC 9113 section 8 says of a field by its name. */
export const NAME_KIND = {
  /** No name: empty, upper case, or octets that are of no token. */
  malformed: 0,
  ordinary: 1,
  /** Fields of HTTP/1 connections (section 8.2.2). */
  connectionSpecific: 2,
  te: 3,
  contentLength: 4,
  host: 5,
  /** Pseudo-header fields, from here on. */
  unknownPseudo: 16,
  method: 17,
  scheme: 18,
  authority: 19,
  path: 20,
  protocol: 21,
  status: 22,
} as const;

/** One of {@link NAME_KIND}. */
export type NameKind = (typeof NAME_KIND)[keyof typeof NAME_KIND];

const KNOWN_NAMES: ReadonlyMap<string, NameKind> = new Map<string, NameKind>([
  ['connection', NAME_KIND.connectionSpecific],
  ['keep-alive', NAME_KIND.connectionSpecific],
  ['proxy-connection', NAME_KIND.connectionSpecific],
  ['transfer-encoding', NAME_KIND.connectionSpecific],
  ['upgrade', NAME_KIND.connectionSpecific],
  ['te', NAME_KIND.te],
  ['content-length', NAME_KIND.contentLength],
  ['host', NAME_KIND.host],
  [':method', NAME_KIND.method],
  [':scheme', NAME_KIND.scheme],
  [':authority', NAME_KIND.authority],
  [':path', NAME_KIND.path],
  [':protocol', NAME_KIND.protocol],
  [':status', NAME_KIND.status],
]);

/** `tchar` without upper case (RFC 9113 section 8.2.1); a name that is made of these has no colon either. */
const IS_LOWER_TOKEN: Uint8Array = Uint8Array.from(IS_TOKEN);
IS_LOWER_TOKEN.fill(0, 0x41, 0x5b);

/** The octets of a host and a port (RFC 3986 section 3.2): no user information, nothing that ends an authority. */
const IS_AUTHORITY = octetsOf("-._~!$&'()*+,;=:[]%0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
/** Behind the first character of a scheme, which is a letter (RFC 3986 section 3.1). */
const IS_SCHEME = octetsOf('+-.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ');
const MAX_LENGTH_DIGITS = 15;

function octetsOf(members: string): Uint8Array {
  const set = new Uint8Array(256);
  for (let i = 0; i < members.length; i++) set[members.charCodeAt(i)] = 1;
  return set;
}

/** What kind of name this is. */
export function kindOfName(name: string): NameKind {
  const known = KNOWN_NAMES.get(name);
  if (known !== undefined) return known;
  if (name.length === 0) return NAME_KIND.malformed;
  if (name.charCodeAt(0) === 0x3a) return NAME_KIND.unknownPseudo;
  return isMadeOf(name, IS_LOWER_TOKEN) ? NAME_KIND.ordinary : NAME_KIND.malformed;
}

/**
 * Whether a field may have that value (RFC 9113 section 8.2.1, RFC 9110 section 5.5): no control octets but HTAB, and no white space at either
 * end. So it stays one value when it is written in HTTP/1.
 */
export function isFieldValue(value: string): boolean {
  const { length } = value;
  if (length === 0) return true;
  return !isBlank(value.charCodeAt(0)) && !isBlank(value.charCodeAt(length - 1)) && isMadeOf(value, IS_FIELD_VALUE);
}

/** The value without white space at its ends, as HTTP/1 reads it. */
export function trimValue(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && isBlank(value.charCodeAt(start))) start += 1;
  while (end > start && isBlank(value.charCodeAt(end - 1))) end -= 1;
  return value.slice(start, end);
}

function isBlank(octet: number): boolean {
  return octet === SP || octet === HTAB;
}

/** Whether this is a method (RFC 9110 section 9.1). */
export function isMethod(text: string): boolean {
  return text.length > 0 && isMadeOf(text, IS_TOKEN);
}

/** Whether this is an authority without user information. */
export function isAuthority(text: string): boolean {
  return text.length > 0 && isMadeOf(text, IS_AUTHORITY);
}

/** Whether this is a scheme. */
export function isScheme(text: string): boolean {
  const first = text.charCodeAt(0) | 0x20;
  return first >= 0x61 && first <= 0x7a && isMadeOf(text, IS_SCHEME);
}

/** The value of Content-Length; -1 for what is none (RFC 9110 section 8.6). */
export function parseLength(text: string): number {
  if (text.length === 0 || text.length > MAX_LENGTH_DIGITS) return -1;
  let length = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    length = length * 10 + digit;
  }
  return length;
}

/** The value of `:status`: three digits, from 100 on; -1 for what is none. */
export function parseStatus(text: string): number {
  const status = text.length === 3 ? parseLength(text) : -1;
  return status < 100 ? -1 : status;
}
