/** The most of an unknown error's code that is shown, in characters. */
const MAX_CODE_LENGTH = 64;

const ADD_CA = 'if you trust its authority, give that certificate with --upstream-ca FILE';

const EXPLANATIONS: ReadonlyMap<string, string> = new Map([
  [
    'CERT_HAS_EXPIRED',
    "its certificate, or one above it, has expired; the server needs a new one, or this machine's clock is wrong",
  ],
  ['CERT_NOT_YET_VALID', "its certificate is not valid yet; check this machine's clock"],
  ['CERT_REVOKED', 'its certificate was revoked; do not trust this server'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', `its certificate is self-signed; ${ADD_CA}`],
  ['SELF_SIGNED_CERT_IN_CHAIN', `its chain ends in an authority that this machine does not know; ${ADD_CA}`],
  ['UNABLE_TO_GET_ISSUER_CERT', `an authority in its chain is not known here; ${ADD_CA}`],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', `the authority that issued its certificate is not known here; ${ADD_CA}`],
  [
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    `its certificate cannot be traced to a known authority (the server may leave out an intermediate certificate); ${ADD_CA}`,
  ],
  ['CERT_UNTRUSTED', `its authority is not trusted for TLS servers; ${ADD_CA}`],
  ['CERT_REJECTED', 'its authority rejects this use of the certificate; the server needs another one'],
  ['CERT_SIGNATURE_FAILURE', 'the signature on its certificate is wrong; something may be forging this server'],
  ['CERT_CHAIN_TOO_LONG', "its chain of certificates is too long; the server's operator must shorten it"],
  ['INVALID_CA', "a certificate in its chain is not allowed to sign others; the server's operator must mend the chain"],
  ['INVALID_PURPOSE', 'its certificate is not meant for TLS servers; the server needs another one'],
  [
    'PATH_LENGTH_EXCEEDED',
    "an authority in its chain may not sign this deep; the server's operator must mend the chain",
  ],
  [
    'ERR_TLS_CERT_ALTNAME_INVALID',
    'its certificate is for other names than this host; check the host name, or that --resolve dials the right server',
  ],
  ['ERR_TLS_CERT_ALTNAME_FORMAT', 'the names in its certificate are malformed; the server needs another one'],
  ['HOSTNAME_MISMATCH', 'its certificate is for other names than this host; check the host name'],
  [
    'ERR_SSL_WRONG_VERSION_NUMBER',
    'it does not speak TLS on this port; check the port, or use http:// if clear text is meant',
  ],
  [
    'ERR_SSL_PACKET_LENGTH_TOO_LONG',
    'it does not speak TLS on this port; check the port, or use http:// if clear text is meant',
  ],
  ['ERR_SSL_HTTP_REQUEST', 'it speaks clear-text HTTP on this port; check the port'],
  ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'it only offers TLS versions below 1.2; the server must be updated'],
  ['ERR_SSL_NO_PROTOCOLS_AVAILABLE', 'no TLS version is common to both sides; the server must be updated'],
  ['ERR_SSL_DH_KEY_TOO_SMALL', 'its key exchange is too weak; the server must be updated'],
  ['ERR_SSL_EE_KEY_TOO_SMALL', 'the key of its certificate is too small; the server needs another one'],
  ['ERR_SSL_CA_MD_TOO_WEAK', 'a certificate in its chain is signed with a weak hash; the server needs another one'],
  ['ERR_SSL_UNSAFE_LEGACY_RENEGOTIATION_DISABLED', 'it only offers unsafe renegotiation; the server must be updated'],
  ['ERR_SSL_UNEXPECTED_EOF_WHILE_READING', 'it closed the connection in the middle of the handshake'],
  ['ERR_TLS_HANDSHAKE_TIMEOUT', 'it did not finish the handshake in time'],
  ['ECONNRESET', 'it closed the connection before the handshake was done'],
  ['EPIPE', 'it closed the connection before the handshake was done'],
]);

const GIVE_CERTIFICATE = 'give the one for this host with --client-cert HOST=CERT_FILE,KEY_FILE';

/** What a peer said by an alert, under the last part of OpenSSL's name for it. */
const ALERTS: ReadonlyMap<string, string> = new Map([
  ['PROTOCOL_VERSION', 'it refuses TLS 1.2 and 1.3; the server must be updated'],
  [
    'HANDSHAKE_FAILURE',
    `it refused the handshake; if it wants a client certificate, ${GIVE_CERTIFICATE}; it may also want other ciphers (see --tunnel)`,
  ],
  ['CERTIFICATE_REQUIRED', `it wants a client certificate; ${GIVE_CERTIFICATE}`],
  ['UNRECOGNIZED_NAME', 'it does not serve this host name; check the name, or that --resolve dials the right server'],
  ['INTERNAL_ERROR', 'it reported an internal error in the handshake; try again later'],
  ['NO_APPLICATION_PROTOCOL', 'it does not offer HTTP/1.1 over TLS'],
]);

/** What a peer that was offered a client certificate means by an alert (RFC 8446 section 6.2): the reason in brackets. */
const REJECTIONS: ReadonlyMap<string, string> = new Map([
  ['CERTIFICATE_REQUIRED', 'it got none, so it names no authority or key type of this one'],
  ['HANDSHAKE_FAILURE', 'its reason is not told'],
  ['BAD_CERTIFICATE', 'bad certificate'],
  ['UNSUPPORTED_CERTIFICATE', 'unsupported certificate'],
  ['CERTIFICATE_REVOKED', 'certificate revoked'],
  ['CERTIFICATE_EXPIRED', 'certificate expired'],
  ['CERTIFICATE_UNKNOWN', 'certificate not acceptable'],
  ['UNKNOWN_CA', 'unknown authority; the file may lack an intermediate certificate'],
  ['ACCESS_DENIED', 'access denied'],
  ['DECRYPT_ERROR', 'its signature was not accepted'],
  ['INSUFFICIENT_SECURITY', 'insufficient security'],
]);

/** The name of the alert that a peer sent, out of OpenSSL's code for its arrival (`ERR_SSL_TLSV1_ALERT_UNKNOWN_CA`); null for any other code. */
function alertName(code: string): string | null {
  if (code === 'ERR_SSL_TLSV1_UNRECOGNIZED_NAME') return 'UNRECOGNIZED_NAME';
  return /^ERR_SSL_(?:SSLV3|TLSV1|TLSV13|SSL\/TLS)_ALERT_(?<name>[A-Z_]{1,48})$/.exec(code)?.groups?.['name'] ?? null;
}

/**
 * Says in words what a peer meant by the TLS alert that it ended a connection with: the second half of a sentence that begins with the
 * host. Null for any other error.
 *
 * @param presented names the client certificate that was there for it; null for none.
 */
export function explainAlert(error: unknown, presented: string | null): string | null {
  const code = (error as { code?: unknown } | null)?.code;
  const name = typeof code === 'string' ? alertName(code) : null;
  if (name === null) return null;
  const rejection = presented === null ? undefined : REJECTIONS.get(name);
  if (rejection !== undefined) {
    return `it did not accept the client certificate of ${presented} (${rejection}); check with the server's operator which one it takes`;
  }
  const known = ALERTS.get(name);
  if (known !== undefined) return known;
  return REJECTIONS.has(name)
    ? `it refused the connection (TLS alert ${name.toLowerCase()}); if it wants a client certificate, ${GIVE_CERTIFICATE}`
    : `it ended the connection with the TLS alert ${name.toLowerCase()}`;
}

/**
 * Says in words why a TLS handshake with an upstream failed, and what to do: the second half of a sentence that begins with the host.
 *
 * Only Node's and OpenSSL's own codes choose the text. The error's message is never shown, since it can quote names out of the peer's certificate.
 *
 * @param presented names the client certificate that was there for the upstream; null for none.
 */
export function explainTlsError(error: unknown, presented: string | null = null): string {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code !== 'string') {
    return 'the TLS handshake failed for a reason that has no code';
  }
  const known = EXPLANATIONS.get(code) ?? explainAlert(error, presented);
  if (presented !== null && (code === 'ECONNRESET' || code === 'EPIPE')) {
    return `${known}; it may not accept the client certificate of ${presented}`;
  }
  if (known !== null) {
    return known;
  }
  const shown = code.slice(0, MAX_CODE_LENGTH).replaceAll(/[^A-Za-z0-9_/.-]/g, '?');
  return `the TLS handshake failed (${shown}); try the host with: openssl s_client -connect HOST:PORT`;
}
