import { inBlock, parseAddress, parseBlock, type AddressBlock, type AddressBytes } from './ip-address.ts';

/** What kind of address it is. Everything but `public` is denied unless the operator names it. */
export type AddressClass =
  | 'public'
  | 'loopback'
  | 'unspecified'
  | 'this-network'
  | 'private'
  | 'link-local'
  | 'site-local'
  | 'metadata'
  | 'cgnat'
  | 'benchmark'
  | 'documentation'
  | 'multicast'
  | 'broadcast'
  | 'ipv4-compatible'
  | 'ipv4-translated'
  | 'nat64'
  | '6to4'
  | 'teredo'
  | 'discard'
  | 'reserved'
  | 'invalid';

/**
 * The blocks of the IANA special-purpose registries (RFC 6890 and its successors), and the addresses where clouds
 * hand out credentials. A few blocks that the registries call reachable (AS112, AMT) count as reserved: no API is there.
 */
const SPECIAL_BLOCKS: readonly (readonly [block: string, addressClass: AddressClass])[] = [
  ['0.0.0.0/32', 'unspecified'],
  ['0.0.0.0/8', 'this-network'],
  ['10.0.0.0/8', 'private'],
  ['100.64.0.0/10', 'cgnat'],
  ['100.100.100.200/32', 'metadata'], // Alibaba Cloud
  ['127.0.0.0/8', 'loopback'],
  ['168.63.129.16/32', 'metadata'], // Azure's wire server, in a public block
  ['169.254.0.0/16', 'link-local'],
  ['169.254.0.23/32', 'metadata'], // Tencent Cloud
  ['169.254.42.42/32', 'metadata'], // Scaleway
  ['169.254.169.254/32', 'metadata'], // AWS, Google Cloud, Azure, Oracle, DigitalOcean, …
  ['169.254.170.2/32', 'metadata'], // Amazon ECS task credentials
  ['169.254.170.23/32', 'metadata'], // Amazon EKS Pod Identity
  ['172.16.0.0/12', 'private'],
  ['192.0.0.0/24', 'reserved'],
  ['192.0.0.192/32', 'metadata'], // Oracle Cloud Classic
  ['192.0.2.0/24', 'documentation'],
  ['192.31.196.0/24', 'reserved'], // AS112
  ['192.52.193.0/24', 'reserved'], // AMT
  ['192.88.99.0/24', '6to4'], // relay anycast, RFC 7526
  ['192.168.0.0/16', 'private'],
  ['192.175.48.0/24', 'reserved'], // AS112
  ['198.18.0.0/15', 'benchmark'], // also where the airlock's own synthetic addresses are
  ['198.51.100.0/24', 'documentation'],
  ['203.0.113.0/24', 'documentation'],
  ['224.0.0.0/4', 'multicast'],
  ['240.0.0.0/4', 'reserved'],
  ['255.255.255.255/32', 'broadcast'],
  ['::/128', 'unspecified'],
  ['::1/128', 'loopback'],
  ['::/96', 'ipv4-compatible'], // RFC 4291, section 2.5.5.1
  ['::ffff:0:0:0/96', 'ipv4-translated'], // RFC 2765
  ['64:ff9b::/96', 'nat64'], // RFC 6052: reaches any IPv4 address, the private ones included
  ['64:ff9b:1::/48', 'nat64'], // RFC 8215
  ['100::/64', 'discard'],
  ['100:0:0:1::/64', 'discard'],
  ['2001::/23', 'reserved'],
  ['2001::/32', 'teredo'],
  ['2001:2::/48', 'benchmark'],
  ['2001:db8::/32', 'documentation'],
  ['2002::/16', '6to4'], // RFC 3056: reaches any IPv4 address
  ['2620:4f:8000::/48', 'reserved'], // AS112
  ['3fff::/20', 'documentation'],
  ['fc00::/7', 'private'],
  ['fd00:42::42/128', 'metadata'], // Scaleway
  ['fd00:ec2::23/128', 'metadata'], // Amazon EKS Pod Identity
  ['fd00:ec2::254/128', 'metadata'], // AWS
  ['fd20:ce::254/128', 'metadata'], // Google Cloud
  ['fe80::/10', 'link-local'],
  ['fec0::/10', 'site-local'], // RFC 3879
  ['ff00::/8', 'multicast'],
];

interface SpecialBlock extends AddressBlock {
  readonly addressClass: AddressClass;
}

function compileBlock(text: string, addressClass: AddressClass): SpecialBlock {
  const reading = parseBlock(text);
  if (!('block' in reading)) throw new TypeError(`"${text}" in the table of special addresses is no block`);
  return { ...reading.block, addressClass };
}

/** The narrowest block first, so that the first hit is the class. */
const COMPILED_BLOCKS: readonly SpecialBlock[] = SPECIAL_BLOCKS.map(([text, addressClass]) =>
  compileBlock(text, addressClass),
).toSorted((a, b) => b.prefixBits - a.prefixBits);

/** The only IPv6 space that is handed out for public use (RFC 4291, section 2.4; IANA). */
const GLOBAL_UNICAST = compileBlock('2000::/3', 'public');

/** An address's class, and the prefix length of the block that gave it. */
export interface ClassifiedAddress {
  readonly addressClass: AddressClass;
  /** A rule opens the address only when it is at least this narrow: a wider one did not mean this block. */
  readonly blockBits: number;
}

/** Classifies parsed bytes; see {@link classifyAddress}. */
export function classifyBytes(bytes: AddressBytes): ClassifiedAddress {
  const special = COMPILED_BLOCKS.find((block) => inBlock(bytes, block));
  if (special !== undefined) return { addressClass: special.addressClass, blockBits: special.prefixBits };
  if (bytes.length === 4 || inBlock(bytes, GLOBAL_UNICAST)) return { addressClass: 'public', blockBits: 0 };
  return { addressClass: 'reserved', blockBits: bytes.length * 8 };
}

/**
 * Classifies an IP address (canonical or not, no brackets). IPv4-mapped addresses are classified as their IPv4 address.
 *
 * Addresses that carry an IPv4 address (NAT64, 6to4, Teredo, compatible, translated) have a class of their own,
 * whatever they carry. Text that is no address, or has a zone, is `invalid`.
 */
export function classifyAddress(ip: string): AddressClass {
  const bytes = parseAddress(ip);
  return bytes === null ? 'invalid' : classifyBytes(bytes).addressClass;
}
