import { formatAddress, isDecimal, parseDecimal, parseIPv4, parseIPv6 } from './ip-address.ts';
import { decodePunycode, encodePunycode } from './punycode.ts';

const MAX_NAME_CHARACTERS = 253;
const MAX_LABEL_CHARACTERS = 63;
/** Unicode text is longer than its A-labels at most by its surrogates; past this nothing is looked at. */
const MAX_TEXT_CHARACTERS = 2 * MAX_NAME_CHARACTERS + 2;
const MAX_PORT = 65_535;
const A_LABEL_PREFIX = 'xn--';

/** A host in its one canonical form, or why the text is none. `problem` never repeats the text. */
export type HostReading = { readonly host: string } | { readonly problem: string };

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index += 1) if (text.charCodeAt(index) > 0x7f) return false;
  return true;
}

function isLabelCharacter(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x2d ||
    code === 0x5f
  );
}

/** What is wrong with the ASCII characters of a label and where its hyphens stand, or null. */
function shapeProblem(label: string): string | null {
  if (label === '') return 'has an empty label (two dots, or a dot in front)';
  for (let index = 0; index < label.length; index += 1) {
    const code = label.charCodeAt(index);
    if (code > 0x7f || isLabelCharacter(code)) continue;
    if (code === 0x2a) return 'has "*" where none may stand';
    if (code === 0x20) return 'has a space in it';
    if (code < 0x20 || code === 0x7f) return 'has a control character in it';
    if (code === 0x40) return 'has a user part ("@")';
    if (code === 0x2f) return 'has a path or is a URL ("/")';
    return 'has a character that no host name has';
  }
  if (label.startsWith('-') || label.endsWith('-')) return 'has a label that begins or ends with a hyphen';
  return null;
}

/**
 * Converts one label with characters beyond ASCII to its A-label by IDNA (UTS #46, non-transitional).
 *
 * The URL parser does the mapping and the validity checks. Its leniency stays out: the text must already be what the
 * mapping would give but for letter case, which the comparison with an encoding of exactly this text proves. So
 * fullwidth forms, ligatures, U+212A, soft hyphens, joiners and ideographic dots are refused, not folded.
 */
function toALabel(label: string): string | null {
  if (label.length > MAX_LABEL_CHARACTERS || label.normalize('NFKC') !== label) return null;
  if (label.slice(2, 4) === '--') return null;
  let lower = '';
  for (const character of label) {
    const folded = character.toLowerCase();
    // U+0130 becomes two characters, the first of them ASCII.
    if (folded.length !== character.length) return null;
    lower += folded;
  }
  const encoded = A_LABEL_PREFIX + encodePunycode(lower);
  if (encoded.length > MAX_LABEL_CHARACTERS) return null;
  return URL.parse(`http://${lower}.x/`)?.hostname === `${encoded}.x` ? encoded : null;
}

function isALabel(label: string): boolean {
  const unicode = decodePunycode(label.slice(A_LABEL_PREFIX.length));
  return unicode !== null && !isAscii(unicode) && shapeProblem(unicode) === null && toALabel(unicode) === label;
}

/** A last label that a lenient parser reads as a number makes the name look like an address (WHATWG URL, "ends in a number"). */
function looksNumeric(label: string): boolean {
  if (isDecimal(label)) return true;
  if (!label.startsWith('0x')) return false;
  for (const character of label.slice(2)) {
    if (!isDecimal(character) && !(character >= 'a' && character <= 'f')) return false;
  }
  return true;
}

function readLabel(label: string): HostReading {
  const problem = shapeProblem(label);
  if (problem !== null) return { problem };
  if (!isAscii(label)) {
    const encoded = toALabel(label);
    return encoded === null
      ? { problem: 'has a label that is no valid internationalized name, or one that software would fold to another' }
      : { host: encoded };
  }
  if (label.length > MAX_LABEL_CHARACTERS) return { problem: 'has a label of more than 63 characters' };
  const lower = label.toLowerCase();
  if (lower.startsWith(A_LABEL_PREFIX) && !isALabel(lower)) {
    return { problem: 'has a label that begins with "xn--" and is no valid A-label' };
  }
  return { host: lower };
}

function readName(text: string): HostReading {
  const labels = text.split('.');
  if (labels.length > 1 && labels.at(-1) === '') labels.pop();
  const canonical: string[] = [];
  for (const label of labels) {
    const reading = readLabel(label);
    if ('problem' in reading) return reading;
    canonical.push(reading.host);
  }
  if (looksNumeric(canonical.at(-1) ?? '')) {
    return { problem: 'ends in a number and is no IPv4 address in plain dotted decimal' };
  }
  const host = canonical.join('.');
  return host.length > MAX_NAME_CHARACTERS ? { problem: 'is longer than 253 characters' } : { host };
}

/** As {@link canonicalHost}, with the reason in words where the text is no host. */
export function readHost(text: string): HostReading {
  if (text === '') return { problem: 'is empty' };
  if (text.length > MAX_TEXT_CHARACTERS) return { problem: 'is longer than 253 characters' };
  const bracketed = text.startsWith('[');
  if (bracketed || text.includes(':')) {
    if (bracketed && !text.endsWith(']')) return { problem: 'has an IPv6 address with a bracket missing' };
    const bytes = parseIPv6(bracketed ? text.slice(1, -1) : text);
    return bytes === null
      ? { problem: 'is no IPv6 address (zone identifiers are refused)' }
      : { host: formatAddress(bytes) };
  }
  return parseIPv4(text) === null ? readName(text) : { host: text };
}

/**
 * The one canonical form of a host, which is the only form that is ever compared.
 *
 * Names: lower-case A-labels, one trailing dot dropped, labels of letters, digits, hyphen (not at an end) and
 * underscore, at most 63 characters each and 253 in all (RFC 1035, section 2.3.4), last label not numeric. Unicode is
 * converted by IDNA where the conversion only changes letter case. IPv4: plain dotted decimal. IPv6, with or without brackets:
 * RFC 5952 without brackets, mapped addresses as IPv4, no zone.
 *
 * @returns null for everything else. Never throws; applying it twice changes nothing.
 */
export function canonicalHost(text: string): string | null {
  const reading = readHost(text);
  return 'host' in reading ? reading.host : null;
}

/**
 * {@link canonicalHost} for names from the wire (DNS, SNI, Host), where everything is ASCII.
 *
 * A byte above 0x7F there is another name than the A-label that the same character would give in a person's text.
 */
export function canonicalWireHost(text: string): string | null {
  return isAscii(text) ? canonicalHost(text) : null;
}

/** True when a canonical host is an IP address. */
export function isAddress(host: string): boolean {
  return host.includes(':') || parseIPv4(host) !== null;
}

/** A canonical host and a port. */
export interface HostAndPort {
  readonly host: string;
  /** 1 to 65535. */
  readonly port: number;
}

/** Reads a port: 1 to 65535, digits only, no leading zero. */
export function parsePort(text: string): number | null {
  const port = parseDecimal(text, MAX_PORT);
  return port === 0 ? null : port;
}

/**
 * Splits `HOST[:PORT]` at the port's colon without judging either part. IPv6 must be in brackets.
 *
 * @returns null for a colon that belongs to neither; `port` is undefined where there is no colon, and may be empty.
 */
export function splitHostAndPort(text: string): { readonly host: string; readonly port: string | undefined } | null {
  const closing = text.startsWith('[') ? text.indexOf(']') : -1;
  if (text.startsWith('[') && closing < 0) return null;
  const colon = text.indexOf(':', closing + 1);
  if (colon < 0) return closing >= 0 && closing !== text.length - 1 ? null : { host: text, port: undefined };
  if (closing >= 0 && colon !== closing + 1) return null;
  if (text.includes(':', colon + 1)) return null;
  return { host: text.slice(0, colon), port: text.slice(colon + 1) };
}

function readAuthority(text: string, defaultPort: number | null): HostAndPort | null {
  const parts = splitHostAndPort(text);
  if (parts === null) return null;
  const host = canonicalHost(parts.host);
  const port = parts.port === undefined ? defaultPort : parsePort(parts.port);
  return host === null || port === null ? null : { host, port };
}

/**
 * Reads `HOST[:PORT]` as it stands in a Host field, in `:authority`, in an absolute-form target or in CONNECT
 * (RFC 9110, section 7.2), more strictly than the RFC: ASCII, no user, no path, no empty port, no leading zero, IPv6 in brackets.
 *
 * @param defaultPort the port where the text names none.
 * @returns null for everything else.
 */
export function canonicalAuthority(text: string, defaultPort: number): HostAndPort | null {
  return isAscii(text) ? readAuthority(text, defaultPort) : null;
}

/**
 * Reads a `HOST:PORT` that a person wrote (a target of a policy question). Unicode is converted as in {@link canonicalHost}.
 *
 * @returns null for an invalid target, one without a port included.
 */
export function parseTarget(text: string): HostAndPort | null {
  return readAuthority(text, null);
}

/** Prints `HOST:PORT`, IPv6 in brackets. */
export function formatHostAndPort(host: string, port: number): string {
  return `${formatHost(host)}:${port}`;
}

/** Prints a canonical host as it stands before a port: IPv6 in brackets. */
export function formatHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}
