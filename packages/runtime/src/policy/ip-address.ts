import ipaddr from 'ipaddr.js';

/** An IP address as its bytes in network order: 4 for IPv4, 16 for IPv6. */
export type AddressBytes = readonly number[];

const IPV6_GROUPS = 8;
const MAX_IPV6_CHARACTERS = 45;

function isDigit(character: string): boolean {
  return character >= '0' && character <= '9';
}

function isHexDigit(character: string): boolean {
  return isDigit(character) || (character >= 'a' && character <= 'f') || (character >= 'A' && character <= 'F');
}

/** True when the text is one or more ASCII digits and nothing else. */
export function isDecimal(text: string): boolean {
  for (const character of text) if (!isDigit(character)) return false;
  return text.length > 0;
}

/**
 * Reads a decimal number without sign, leading zero, white space or exponent.
 *
 * @returns null when the text is anything else or the number is above `max`.
 */
export function parseDecimal(text: string, max: number): number | null {
  if (!isDecimal(text) || text.length > 6 || (text.length > 1 && text.startsWith('0'))) return null;
  const value = Number(text);
  return value <= max ? value : null;
}

/** Reads IPv4 in plain dotted decimal: four parts, no leading zeros, no octal, hexadecimal or short form. */
export function parseIPv4(text: string): AddressBytes | null {
  if (text.length > 15) return null;
  const parts = text.split('.');
  if (parts.length !== 4) return null;
  const bytes: number[] = [];
  for (const part of parts) {
    const byte = parseDecimal(part, 255);
    if (byte === null) return null;
    bytes.push(byte);
  }
  return bytes;
}

function parseGroups(text: string): number[] | null {
  if (text === '') return [];
  const groups: number[] = [];
  for (const group of text.split(':')) {
    if (group.length === 0 || group.length > 4) return null;
    for (const character of group) if (!isHexDigit(character)) return null;
    groups.push(Number.parseInt(group, 16));
  }
  return groups;
}

/** Turns a dotted-decimal tail into two groups, so that only groups are left to read. */
function withoutDottedTail(text: string): string | null {
  if (!text.includes('.')) return text;
  const lastColon = text.lastIndexOf(':');
  const tail = parseIPv4(text.slice(lastColon + 1));
  if (lastColon < 0 || tail === null) return null;
  const [a = 0, b = 0, c = 0, d = 0] = tail;
  return `${text.slice(0, lastColon + 1)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}

/**
 * Reads IPv6 text without brackets (RFC 4291, section 2.2). Zone identifiers are refused.
 *
 * An IPv4-mapped address comes back as the 4 bytes of its IPv4 address: a dialled socket makes no difference either.
 */
export function parseIPv6(text: string): AddressBytes | null {
  if (text.length > MAX_IPV6_CHARACTERS || !text.includes(':')) return null;
  const plain = withoutDottedTail(text);
  if (plain === null) return null;
  const gap = plain.indexOf('::');
  const head = parseGroups(gap < 0 ? plain : plain.slice(0, gap));
  const tail = gap < 0 ? [] : parseGroups(plain.slice(gap + 2));
  if (head === null || tail === null) return null;
  const given = head.length + tail.length;
  if (gap < 0 ? given !== IPV6_GROUPS : given >= IPV6_GROUPS) return null;
  const groups = [...head, ...Array<number>(IPV6_GROUPS - given).fill(0), ...tail];
  const bytes = groups.flatMap((group) => [group >> 8, group & 0xff]);
  return isMapped(bytes) ? bytes.slice(12) : bytes;
}

function isMapped(bytes: AddressBytes): boolean {
  return bytes.every((byte, index) => (index < 10 ? byte === 0 : index < 12 ? byte === 0xff : true));
}

/** Reads an IPv4 or IPv6 address without brackets; mapped addresses become IPv4. */
export function parseAddress(text: string): AddressBytes | null {
  return parseIPv4(text) ?? parseIPv6(text);
}

/** Prints dotted decimal, or IPv6 by RFC 5952 without brackets. */
export function formatAddress(bytes: AddressBytes): string {
  return bytes.length === 4 ? bytes.join('.') : new ipaddr.IPv6([...bytes]).toRFC5952String();
}

/** A CIDR block whose host bits are zero. */
export interface AddressBlock {
  readonly bytes: AddressBytes;
  readonly prefixBits: number;
}

/** Clears the bits after the prefix. */
export function networkOf(bytes: AddressBytes, prefixBits: number): AddressBytes {
  return bytes.map((byte, index) => byte & ((0xff00 >> Math.min(8, Math.max(0, prefixBits - index * 8))) & 0xff));
}

/** True when the address lies in the block. IPv4 is never in an IPv6 block, not even in `::/0`. */
export function inBlock(address: AddressBytes, block: AddressBlock): boolean {
  if (address.length !== block.bytes.length) return false;
  let bits = block.prefixBits;
  for (let index = 0; bits > 0; index += 1, bits -= 8) {
    const mask = bits >= 8 ? 0xff : (0xff00 >> bits) & 0xff;
    if ((((address[index] ?? 0) ^ (block.bytes[index] ?? 0)) & mask) !== 0) return false;
  }
  return true;
}

/**
 * Reads `ADDRESS/BITS`, with IPv6 bare or in brackets. A block of mapped addresses is the IPv4 block.
 *
 * @returns the block, or the part that is wrong; for set host bits also the block that was probably meant.
 */
export function parseBlock(
  text: string,
): { readonly block: AddressBlock } | { readonly wrong: 'address' | 'prefix' } | { readonly meant: AddressBlock } {
  const slash = text.indexOf('/');
  let addressText = text.slice(0, slash);
  if (addressText.startsWith('[') && addressText.endsWith(']') && addressText.includes(':')) {
    addressText = addressText.slice(1, -1);
  }
  const bytes = parseAddress(addressText);
  if (slash < 0 || bytes === null) return { wrong: 'address' };
  const mapped = bytes.length === 4 && addressText.includes(':');
  const written = parseDecimal(text.slice(slash + 1), mapped ? 128 : bytes.length * 8);
  const prefixBits = written === null || !mapped ? written : written - 96;
  if (prefixBits === null || prefixBits < 0) return { wrong: 'prefix' };
  const network = networkOf(bytes, prefixBits);
  const block = { bytes: network, prefixBits };
  return network.every((byte, index) => byte === bytes[index]) ? { block } : { meant: block };
}

/** Prints a block as `ADDRESS/BITS`, IPv6 without brackets. */
export function formatBlock(block: AddressBlock): string {
  return `${formatAddress(block.bytes)}/${block.prefixBits}`;
}
