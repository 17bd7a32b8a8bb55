import tls from 'node:tls';

/** What became of the server's proof. */
export interface ServerProof {
  /** Whether the server's certificate was judged, and found good, before this side answered it. */
  readonly isGiven: boolean;
}

/** The part of Node's TLS sockets that tells how OpenSSL judged the server's chain: `authorized` says so only after the handshake. */
interface JudgedHandle {
  readonly verifyError?: () => (Error & { code?: string }) | null;
}

/**
 * Ends a handshake before a client certificate leaves in it, unless the server has proved to be `host`.
 *
 * Node judges the server only when the handshake is over, and by then the certificate is out (in TLS 1.2 for all to read). OpenSSL's status
 * callback comes between the server's last message and our answer to it, with or without an OCSP response, so the same judgement is
 * made there. To be called before the handshake begins, on a socket with `requestOCSP`.
 *
 * The callback is Node's to keep: whoever presents a certificate has to look at `isGiven` once the connection is there, and to refuse one without.
 * A resumed session has no proof of its own; the first one had.
 */
export function demandProof(socket: tls.TLSSocket, host: string): ServerProof {
  const proof = { isGiven: false };
  socket.on('OCSPResponse', () => {
    const { _handle: handle } = socket as unknown as { readonly _handle?: JudgedHandle | null };
    const failure = judge(socket, handle ?? {}, host);
    if (failure === null) proof.isGiven = true;
    else socket.destroy(failure);
  });
  return proof;
}

function judge(socket: tls.TLSSocket, handle: JudgedHandle, host: string): Error | null {
  if (typeof handle.verifyError !== 'function') return new Error('the server cannot be judged');
  const failure = handle.verifyError();
  if (failure !== null || socket.isSessionReused()) return failure;
  return tls.checkServerIdentity(host, socket.getPeerCertificate()) ?? null;
}
