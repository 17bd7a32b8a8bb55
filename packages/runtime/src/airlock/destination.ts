import { isIPv4 } from 'node:net';

/** Where a connection from a sandbox was headed. */
export interface OriginalDestination {
  /** Canonical text of the address: IPv4 in dotted form (never IPv4-mapped), IPv6 as the kernel prints it. */
  readonly address: string;
  readonly family: 4 | 6;
  readonly port: number;
}

const MAPPED_PREFIX = '::ffff:';

/**
 * The address and port that the sandbox asked for: with every address local to the airlock, the accepted socket's own end.
 *
 * The listeners are dual-stack, so an IPv4 connection shows as `::ffff:a.b.c.d`; that form is undone here, and nowhere else.
 * `undefined` when the socket is gone already: there is nothing left to serve.
 */
export function originalDestination(socket: {
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
}): OriginalDestination | undefined {
  const { localAddress, localPort } = socket;
  if (localAddress === undefined || localPort === undefined) return undefined;
  const unmapped = localAddress.toLowerCase().startsWith(MAPPED_PREFIX)
    ? localAddress.slice(MAPPED_PREFIX.length)
    : localAddress;
  if (isIPv4(unmapped)) return { address: unmapped, family: 4, port: localPort };
  return { address: localAddress, family: 6, port: localPort };
}
