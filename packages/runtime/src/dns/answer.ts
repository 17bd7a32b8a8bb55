import { canonicalHost } from '../policy/host-name.ts';
import { RCODE, TYPE } from './message.ts';
import type { DnsAnswer, DnsQuery, DnsResponse, Rcode } from './message.ts';
import type { SyntheticAddresses } from './synthetic-addresses.ts';

/** What a question comes to. `capacityReached` names the host that got no address because the sandbox has used up its share. */
export interface Outcome {
  readonly response: DnsResponse;
  readonly capacityReached: string | null;
}

const LOOPBACK_V4 = Buffer.of(127, 0, 0, 1);
const LOOPBACK_V6 = Buffer.from([...Array<number>(15).fill(0), 1]);

/**
 * Names below which there is nothing to find: `onion` (RFC 7686) and `invalid` (RFC 6761) by definition; `alt` (RFC 9476) is not of
 * the DNS; Firefox takes the last one's absence for "do not go round this resolver".
 */
const ABSENT_SUFFIXES = ['onion', 'invalid', 'alt', 'use-application-dns.net'] as const;

/**
 * Answers a question from the sandbox's synthetic zone. No question leaves the machine: every host name has an address, allowed or not,
 * and a denial is said when the connection arrives.
 *
 * A and AAAA get the synthetic address; other types NODATA, HTTPS and SVCB among them, so that no client takes a shortcut past the
 * gate; ANY gets HINFO (RFC 8482). REFUSED is for names that are no host names, NXDOMAIN for those that cannot exist.
 */
export function answerQuery(query: DnsQuery, zone: SyntheticAddresses): Outcome {
  if (query.labels.length === 0) {
    return negative(RCODE.NOERROR);
  }
  const text = query.labels.join('.').toLowerCase();
  // A label may hold any byte, a dot among them: what is no letter, digit, hyphen or underscore could read as another name.
  if (!query.labels.every((label) => /^[A-Za-z0-9_-]+$/.test(label))) {
    return negative(RCODE.REFUSED);
  }
  if (isWithin(text, 'arpa')) {
    return answerReverse(query, text, zone);
  }
  if (isWithin(text, 'localhost')) {
    return answerAddresses(query.type, { v4: LOOPBACK_V4, v6: LOOPBACK_V6 });
  }
  // Service names (_http._tcp.deb.debian.org) are asked for by tools that do well without them, unlike after a REFUSED.
  if (text.includes('_') || ABSENT_SUFFIXES.some((suffix) => isWithin(text, suffix))) {
    return negative(RCODE.NXDOMAIN);
  }
  const name = canonicalHost(text);
  if (name === null) {
    return negative(RCODE.REFUSED);
  }
  // "1.2.3.4" or "0x7f.1" is an address to whoever reads it as a host, so it must not become a name.
  if (/^[0-9.]+$/.test(name) || name.includes(':')) {
    return negative(RCODE.NXDOMAIN);
  }
  switch (query.type) {
    case TYPE.A:
    case TYPE.AAAA: {
      const pair = zone.addressesFor(name);
      if (pair === null) {
        return { response: { rcode: RCODE.SERVFAIL, answers: [], negative: false }, capacityReached: name };
      }
      return answerAddresses(query.type, { v4: v4Bytes(pair.v4), v6: v6Bytes(pair.v6) });
    }
    case TYPE.ANY:
      return positive({ type: 'HINFO' });
    default:
      return negative(RCODE.NOERROR);
  }
}

function answerAddresses(type: number, addresses: { v4: Uint8Array; v6: Uint8Array }): Outcome {
  switch (type) {
    case TYPE.A:
      return positive({ type: 'A', address: addresses.v4 });
    case TYPE.AAAA:
      return positive({ type: 'AAAA', address: addresses.v6 });
    case TYPE.ANY:
      return positive({ type: 'HINFO' });
    default:
      return negative(RCODE.NOERROR);
  }
}

/**
 * The names of synthetic addresses (RFC 1035 section 3.5, RFC 3596 section 2.5). Nothing else exists in `arpa`: not `ipv4only.arpa` (a
 * client would take our addresses for a NAT64), not `resolver.arpa` (there is no encrypted resolver to move to).
 */
function answerReverse(query: DnsQuery, text: string, zone: SyntheticAddresses): Outcome {
  const address = reverseAddress(text);
  const name = address === null ? null : nameOfAddress(address, zone);
  if (name === null) {
    return negative(RCODE.NXDOMAIN);
  }
  return query.type === TYPE.PTR ? positive({ type: 'PTR', name }) : negative(RCODE.NOERROR);
}

function nameOfAddress(address: string, zone: SyntheticAddresses): string | null {
  return address === '127.0.0.1' || address === '::1' ? 'localhost' : zone.nameOf(address);
}

function reverseAddress(text: string): string | null {
  const labels = text.split('.');
  if (text.endsWith('.in-addr.arpa') && labels.length === 6) {
    const octets = labels.slice(0, 4).toReversed();
    return octets.every((octet) => /^(?:0|[1-9][0-9]{0,2})$/.test(octet)) ? octets.join('.') : null;
  }
  if (text.endsWith('.ip6.arpa') && labels.length === 34) {
    const nibbles = labels.slice(0, 32).toReversed();
    return nibbles.every((nibble) => /^[0-9a-f]$/.test(nibble)) ? compressV6(nibbles.join('')) : null;
  }
  return null;
}

/** Enough of RFC 5952 for the addresses that can have a name here: those with one run of zero groups. */
function compressV6(hex: string): string {
  const groups = (hex.match(/.{4}/g) ?? []).map((group) => Number.parseInt(group, 16).toString(16));
  return groups.join(':').replace(/(?:^|:)0(?::0)+(?::|$)/, '::');
}

function v4Bytes(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number));
}

/** The bytes of `prefix::low` or `prefix::high:low`, the only forms that the zone writes. */
function v6Bytes(text: string): Buffer {
  const [head = '', tail = ''] = text.split('::');
  const bytes = Buffer.alloc(16);
  for (const [index, group] of head.split(':').entries()) {
    bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  }
  const last = tail.split(':');
  for (const [index, group] of last.entries()) {
    bytes.writeUInt16BE(Number.parseInt(group, 16), 16 - (last.length - index) * 2);
  }
  return bytes;
}

function isWithin(name: string, suffix: string): boolean {
  return name === suffix || name.endsWith(`.${suffix}`);
}

function positive(answer: DnsAnswer): Outcome {
  return { response: { rcode: RCODE.NOERROR, answers: [answer], negative: false }, capacityReached: null };
}

function negative(rcode: Rcode): Outcome {
  const remembered = rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN;
  return { response: { rcode, answers: [], negative: remembered }, capacityReached: null };
}
