import type { AddressClass } from './address-class.ts';
import { isAddress, type HostAndPort } from './host-name.ts';
import { decideAddress, decideHost, type NetworkPolicy } from './network-policy.ts';

/** What a policy says about one destination, as `policy check --json` prints it. Fields are added, never renamed. */
export interface NetworkCheck {
  /** Canonical: lower case, A-labels, no trailing dot; an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
  readonly verdict: 'allow' | 'deny';
  /** The rule that decided, as people wrote it; or why none did. */
  readonly rule: string;
  /** What would change a denial; null where it is allowed. */
  readonly remedy: string | null;
  /** How the gate would speak; null where it would not. */
  readonly protocol: 'tls' | 'http' | 'tcp' | null;
  /** True where TLS would pass through unread. */
  readonly tunnel: boolean;
  /** True where methods and paths are decided about as well, request by request. */
  readonly perRequest: boolean;
  /** What kind of address a literal one is; null for a name, whose addresses are judged when they are dialled. */
  readonly addressClass: AddressClass | null;
}

/** Decides about a destination as the gate does: the host first, and for a literal address what kind of address it is. */
export function checkNetwork(policy: NetworkPolicy, { host, port }: HostAndPort): NetworkCheck {
  const byAddress = isAddress(host) ? decideAddress(policy, host, port, host) : null;
  const addressClass = byAddress?.addressClass ?? null;
  const deny = ({ rule, remedy }: { readonly rule: string; readonly remedy: string }): NetworkCheck => {
    return {
      host,
      port,
      verdict: 'deny',
      rule,
      remedy,
      protocol: null,
      tunnel: false,
      perRequest: false,
      addressClass,
    };
  };
  const byHost = decideHost(policy, host, port);
  if (byHost.verdict === 'deny') return deny(byHost);
  if (byAddress?.verdict === 'deny') return deny(byAddress);
  const { verdict, rule, protocol, tunnel, perRequest } = byHost;
  return { host, port, verdict, rule, remedy: null, protocol, tunnel, perRequest, addressClass };
}
