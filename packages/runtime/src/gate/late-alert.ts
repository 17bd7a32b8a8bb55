import type net from 'node:net';
import { explainAlert } from '../tls/tls-error.ts';
import type { UpstreamFault } from './upstream-request.ts';

/** What peers meant by ending TLS connections: the second half of a sentence. */
const REASONS = new WeakMap<net.Socket, string>();

/**
 * Listens for the alert with which a TLS 1.3 server refuses a client certificate, or the lack of one: it comes after the client has done
 * its part of the handshake (RFC 8446 section 4.4.2.4), when requests may be under way. To be called before anybody else listens for errors.
 *
 * @param presented names the client certificate that the connection presents, if asked for one; null for none.
 */
export function watchForAlert(socket: net.Socket, presented: string | null): void {
  // Some servers close instead of saying why.
  if (presented !== null) REASONS.set(socket, `it may not accept the client certificate of ${presented}`);
  socket.on('error', (error) => {
    const alert = explainAlert(error, presented);
    if (alert !== null) REASONS.set(socket, alert);
  });
}

/** Says of a connection that ended without any answer why it did, where TLS tells; else gives `fault` back. */
export function explainEnd(socket: net.Socket, fault: UpstreamFault): UpstreamFault {
  const reason = REASONS.get(socket);
  if (reason === undefined || fault.code !== 'UPSTREAM_UNREACHABLE') return fault;
  return {
    ...fault,
    code: 'UPSTREAM_TLS_FAILED',
    detail: `The upstream ended the TLS connection without an answer: ${reason}.`,
  };
}
