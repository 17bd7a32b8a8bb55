import { canonicalHost } from '../policy/host-name.ts';
import { isSyntheticAddress, type SyntheticAddresses } from '../dns/synthetic-addresses.ts';

/** Where a connection wanted to go: the local end of the accepted socket, since every address is local to the airlock. */
export interface OriginalDestination {
  /** An IP address; IPv4 may come in its IPv6-mapped form. */
  readonly address: string;
  readonly port: number;
}

/** Step 1: the host that a connection is for. `named` tells whether the sandbox asked for it by name (so TLS must carry it as SNI). */
export type Destination =
  | { readonly verdict: 'known'; readonly host: string; readonly port: number; readonly named: boolean }
  | { readonly verdict: 'unknown'; readonly address: string; readonly port: number };

/**
 * Names the host behind an original destination: the DNS name of a synthetic address, otherwise the literal address.
 * A synthetic address that was never given out names nothing.
 */
export function identifyDestination(zone: SyntheticAddresses, original: OriginalDestination): Destination {
  const address = canonicalHost(original.address);
  if (address === null) return { verdict: 'unknown', address: original.address, port: original.port };
  const name = zone.nameOf(address);
  if (name !== null) return { verdict: 'known', host: name, port: original.port, named: true };
  if (isSyntheticAddress(address)) return { verdict: 'unknown', address, port: original.port };
  return { verdict: 'known', host: address, port: original.port, named: false };
}
