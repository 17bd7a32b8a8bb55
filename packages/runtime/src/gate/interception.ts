import type { ErrorCode } from '@sallyport/sdk';
import type net from 'node:net';
import tls from 'node:tls';
import { canonicalWireHost } from '../policy/host-name.ts';
import type { HostVerdict } from '../policy/network-policy.ts';
import { offersModernTls, type ClientHello } from '../tls/client-hello.ts';
import type { Protocol } from './dialer.ts';
import { adviceOf, type Problem } from './problem.ts';

/** What step 3 decides about a TLS connection. `leafHost` is the name of the certificate that the gate presents. */
export type InterceptionVerdict =
  | { readonly verdict: 'intercept'; readonly leafHost: string }
  | { readonly verdict: 'tunnel' }
  /** Answered in words, after a handshake. */
  | { readonly verdict: 'refuse'; readonly leafHost: string; readonly problem: Problem }
  /** Nothing can be said but an alert; `reason` is for the audit log. */
  | { readonly verdict: 'alert'; readonly alert: TlsAlert; readonly code: ErrorCode; readonly reason: string };

/** What HTTP is called in ALPN; the last is what some clients of HTTP/1.0 offer, and nothing else. */
const HTTP_PROTOCOLS = ['h2', 'http/1.1', 'http/1.0'];

/**
 * Step 3: decides whether a TLS connection is opened, passed through or refused.
 *
 * The server name must be the name that the sandbox resolved: otherwise it would reach one host under the permission of another. An encrypted
 * ClientHello may name another behind it, so no connection with one is passed through unopened (docs/adr/0007); to a connection that is opened
 * it means nothing, as to any server without a key for it.
 */
export function decideInterception(
  network: HostVerdict,
  destination: { readonly host: string; readonly port: number; readonly named: boolean },
  hello: ClientHello,
  intercepts: boolean,
): InterceptionVerdict {
  if (!offersModernTls(hello)) {
    return {
      verdict: 'alert',
      alert: 'protocol_version',
      code: 'TLS_VERSION_REFUSED',
      reason: 'the client offers neither TLS 1.2 nor 1.3',
    };
  }
  const verdict = decideTermination(network, destination, hello, intercepts);
  if (
    verdict.verdict !== 'tunnel' &&
    hello.alpn.length > 0 &&
    !hello.alpn.some((name) => HTTP_PROTOCOLS.includes(name))
  ) {
    return {
      verdict: 'alert',
      alert: 'no_application_protocol',
      code: 'ALPN_REFUSED',
      reason: 'the client offers no version of HTTP by ALPN',
    };
  }
  return verdict;
}

function decideTermination(
  network: HostVerdict,
  destination: { readonly host: string; readonly port: number; readonly named: boolean },
  hello: ClientHello,
  intercepts: boolean,
): Exclude<InterceptionVerdict, { verdict: 'alert' }> {
  const { host, port, named } = destination;
  const serverName = hello.serverName === null ? null : canonicalServerName(hello.serverName, host);
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
    return { verdict: 'refuse', leafHost, problem: refuseServerName(host, hello.hasEncryptedClientHello) };
  }
  if (network.tunnel) {
    return hello.hasEncryptedClientHello
      ? { verdict: 'refuse', leafHost, problem: refuseHiddenName(host) }
      : { verdict: 'tunnel' };
  }
  return intercepts || hello.hasEncryptedClientHello ? { verdict: 'intercept', leafHost } : { verdict: 'tunnel' };
}

/** What is the canonical host letter by letter is canonical, as it nearly always is. */
function canonicalServerName(serverName: string, host: string): string | null {
  return serverName === host ? host : canonicalWireHost(serverName);
}

function refuseServerName(host: string, hasEncryptedClientHello: boolean): Problem {
  if (!hasEncryptedClientHello) {
    return {
      status: 421,
      code: 'AUTHORITY_MISMATCH',
      detail: `The TLS server name is not ${host}, the host that the connection was opened to.`,
      remedy: 'Connect to the host by its own name.',
    };
  }
  return {
    status: 421,
    code: 'ECH_REFUSED',
    detail: `The TLS connection to ${host} names another host in clear, and perhaps ${host} in an encrypted ClientHello, which the gate cannot read.`,
    remedy: 'Turn encrypted ClientHello (ECH) off in the client.',
  };
}

function refuseHiddenName(host: string): Problem {
  return {
    status: 403,
    code: 'ECH_REFUSED',
    detail: `The connection to ${host} is to be passed through unopened (--tunnel), but carries an encrypted ClientHello, which may name another host.`,
    remedy: 'Turn encrypted ClientHello (ECH) off in the client, or run again without --tunnel for this host.',
  };
}

/** The readable denial of step 2. */
export function denyHost(host: string, port: number, verdict: Extract<HostVerdict, { verdict: 'deny' }>): Problem {
  return {
    status: 403,
    code: 'HOST_DENIED',
    detail: `The network policy of this sandbox does not allow ${host} on port ${port}.`,
    rule: verdict.rule,
    remedy: adviceOf(verdict.remedy),
  };
}

/** What the gate says where TLS is as far as it gets: RFC 8446 section 6.2. */
type TlsAlert = 'protocol_version' | 'no_application_protocol';

const ALERTS: Readonly<Record<TlsAlert, number>> = { protocol_version: 70, no_application_protocol: 120 };

/** A fatal alert as a record, in the version that every client reads before it has settled on one. */
function encodeAlert(alert: TlsAlert): Buffer {
  return Buffer.of(21, 3, 1, 0, 2, 2, ALERTS[alert]);
}

/** The protocol offered, as RFC 7301 section 3.1 has it on the wire: with its length before it. */
const ALPN: Readonly<Record<Protocol, Buffer>> = {
  h2: Buffer.from('\x02h2', 'latin1'),
  // The first that the client offers as well is taken.
  'http/1.1': Buffer.from('\x08http/1.1\x08http/1.0', 'latin1'),
};

/** Takes over the TLS side of an accepted socket whose ClientHello has been put back; offers one protocol. The caller limits the time. */
export function terminateTls(socket: net.Socket, secureContext: tls.SecureContext, protocol: Protocol): tls.TLSSocket {
  return new tls.TLSSocket(socket, {
    isServer: true,
    secureContext,
    ALPNProtocols: ALPN[protocol],
  });
}

/** Ends a connection with a TLS alert; whatever else the client has sent has been read. */
export function sayAlert(socket: net.Socket, alert: TlsAlert): void {
  socket.end(encodeAlert(alert));
  socket.destroySoon();
}

/** The gate's own answers go by HTTP/1.1 where the client takes that. */
export function answerProtocol(hello: ClientHello): Protocol {
  return hello.alpn.includes('h2') && !hello.alpn.includes('http/1.1') ? 'h2' : 'http/1.1';
}
