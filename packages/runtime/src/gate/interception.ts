import type net from 'node:net';
import tls from 'node:tls';
import { canonicalWireHost } from '../policy/host-name.ts';
import type { HostVerdict } from '../policy/network-policy.ts';
import type { ClientHello } from '../tls/client-hello.ts';
import type { Protocol } from './dialer.ts';
import type { Problem } from './problem.ts';

/** What step 3 decides about a TLS connection. `leafHost` is the name of the certificate that the gate presents. */
export type InterceptionVerdict =
  | { readonly verdict: 'intercept'; readonly leafHost: string }
  | { readonly verdict: 'tunnel' }
  | { readonly verdict: 'refuse'; readonly leafHost: string; readonly problem: Problem };

/**
 * Step 3: decides whether a TLS connection is opened, passed through or refused.
 *
 * The server name must be the name that the sandbox resolved: otherwise it would reach one host under the permission of another.
 */
export function decideInterception(
  network: HostVerdict,
  destination: { readonly host: string; readonly port: number; readonly named: boolean },
  hello: ClientHello,
  intercepts: boolean,
): InterceptionVerdict {
  const { host, port, named } = destination;
  const serverName = hello.serverName === null ? null : canonicalWireHost(hello.serverName);
  const leafHost = serverName ?? host;
  if (network.verdict === 'deny') return { verdict: 'refuse', leafHost, problem: denyHost(host, port, network) };
  if (named && hello.serverName === null) {
    return {
      verdict: 'refuse',
      leafHost,
      problem: {
        status: 421,
        code: 'SNI_MISSING',
        detail: `The TLS connection to ${host} carries no server name, so it does not prove which host it is for.`,
        remedy: 'Use a client that sends SNI (openssl s_client: -servername NAME).',
      },
    };
  }
  // A literal address has no name to send; a client that sends one wants a host that it did not resolve.
  if ((named && serverName !== host) || (!named && hello.serverName !== null)) {
    return {
      verdict: 'refuse',
      leafHost,
      problem: {
        status: 421,
        code: 'AUTHORITY_MISMATCH',
        detail: `The TLS server name is not ${host}, the host that the connection was opened to.`,
        remedy: 'Connect to the host by its own name.',
      },
    };
  }
  return network.tunnel || !intercepts ? { verdict: 'tunnel' } : { verdict: 'intercept', leafHost };
}

/** The readable denial of step 2. */
export function denyHost(host: string, port: number, verdict: Extract<HostVerdict, { verdict: 'deny' }>): Problem {
  return {
    status: 403,
    code: 'HOST_DENIED',
    detail: `The network policy of this sandbox does not allow ${host} on port ${port}.`,
    rule: verdict.rule,
    remedy: verdict.remedy.startsWith('--') ? `Run again with ${verdict.remedy}` : verdict.remedy,
  };
}

/** The protocol offered, as RFC 7301 section 3.1 has it on the wire: with its length before it. */
const ALPN: Readonly<Record<Protocol, Buffer>> = {
  h2: Buffer.from('\x02h2', 'latin1'),
  'http/1.1': Buffer.from('\x08http/1.1', 'latin1'),
};

/** Takes over the TLS side of an accepted socket whose ClientHello has been put back; offers one protocol. The caller limits the time. */
export function terminateTls(socket: net.Socket, secureContext: tls.SecureContext, protocol: Protocol): tls.TLSSocket {
  return new tls.TLSSocket(socket, {
    isServer: true,
    secureContext,
    ALPNProtocols: ALPN[protocol],
  });
}
