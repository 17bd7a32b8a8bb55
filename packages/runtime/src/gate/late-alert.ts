import type net from 'node:net';
import { explainAlert } from '../tls/tls-error.ts';

/** What peers said by a TLS alert after their handshakes, in words. */
const ALERTS = new WeakMap<net.Socket, string>();

/**
 * Listens for the alert with which a TLS 1.3 server refuses a client certificate, or the lack of one: it comes after the client has done
 * its part of the handshake (RFC 8446 section 4.4.2.4), when requests may be under way. To be called before anybody else listens for errors.
 *
 * @param presented names the client certificate that the connection presents, if asked for one; null for none.
 */
export function watchForAlert(socket: net.Socket, presented: string | null): void {
  socket.on('error', (error) => {
    const alert = explainAlert(error, presented);
    if (alert !== null) ALERTS.set(socket, alert);
  });
}

/** Why the upstream ended this connection, where it said so by an alert: the second half of a sentence. Null if it did not. */
export function lateAlert(socket: net.Socket): string | null {
  return ALERTS.get(socket) ?? null;
}
