import type { AddressClass } from './address-class.ts';
import { isAddress, type HostAndPort } from './host-name.ts';
import { decideRequest } from './http-policy.ts';
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
  /** Of the request that was asked about; null where it was the host alone. */
  readonly method: string | null;
  readonly path: string | null;
}

/** A request that is asked about. */
export interface CheckedRequest {
  readonly method: string;
  /** As a client sends it: `/` and what follows. */
  readonly path: string;
}

/**
 * Decides about a destination as the gate does: the host first, then for a literal address what kind of address it is, then the request.
 *
 * @param request null for the host alone: then `perRequest` tells that there is more to decide.
 */
export function checkNetwork(
  policy: NetworkPolicy,
  { host, port }: HostAndPort,
  request: CheckedRequest | null = null,
): NetworkCheck {
  const byAddress = isAddress(host) ? decideAddress(policy, host, port, host) : null;
  const about = {
    addressClass: byAddress?.addressClass ?? null,
    method: request?.method ?? null,
    path: request?.path ?? null,
  };
  const deny = ({ rule, remedy }: { readonly rule: string; readonly remedy: string }): NetworkCheck => {
    return { host, port, verdict: 'deny', rule, remedy, protocol: null, tunnel: false, perRequest: false, ...about };
  };
  const byHost = decideHost(policy, host, port);
  if (byHost.verdict === 'deny') return deny(byHost);
  if (byAddress?.verdict === 'deny') return deny(byAddress);
  const asked =
    request === null ? null : { method: request.method, overrides: [], target: request.path, targetOverrides: [] };
  const byRequest = asked === null ? null : decideRequest(policy, host, port, asked);
  if (byRequest?.verdict === 'deny') return deny(byRequest);
  const { verdict, protocol, tunnel, perRequest } = byHost;
  const rule = byRequest?.rule ?? byHost.rule;
  return { host, port, verdict, rule, remedy: null, protocol, tunnel, perRequest, ...about };
}
