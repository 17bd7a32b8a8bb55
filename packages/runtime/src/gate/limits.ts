/** Constant limits of the gate. Times are milliseconds, sizes are bytes; each bounds what one sandbox can hold of the host. */

/** Connections of one sandbox at a time; further ones are closed at once. */
export const MAX_CONNECTIONS = 8192;
/** Time for the ClientHello, the TLS handshake and each request head to arrive whole. */
export const HEAD_TIMEOUT_MS = 30_000;
/** Time that a kept-alive client connection may rest between requests. */
export const CLIENT_IDLE_TIMEOUT_MS = 120_000;
/** Time without a byte in either direction of a request body, and of a response body once its head has come. */
export const BODY_IDLE_TIMEOUT_MS = 300_000;
/** Time without a byte on a connection that is passed through unread. */
export const RELAY_IDLE_TIMEOUT_MS = 3_600_000;
/** Time for an upstream to begin its response: long, because language models think before they answer. */
export const RESPONSE_HEAD_TIMEOUT_MS = 900_000;
/** Time for name resolution, TCP and TLS to one upstream address. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** Addresses of one name that are tried in turn. */
export const MAX_ADDRESSES_TRIED = 6;
/** Time that an upstream connection stays pooled without use. */
export const UPSTREAM_IDLE_TIMEOUT_MS = 30_000;
/** Idle upstream connections kept for one authority. */
export const MAX_IDLE_PER_AUTHORITY = 64;
/** Idle upstream connections kept for one sandbox. */
export const MAX_IDLE_UPSTREAMS = 512;
/** A failed dial is not repeated within this time for the same client connection. */
export const FAILED_DIAL_LIFETIME_MS = 5_000;
/** The longest head, of a request or a response. */
export const MAX_HEAD_BYTES = 64 * 1024;
/** Response bodies of a known length up to this are measured after redaction; longer ones are sent chunked. */
export const MAX_MEASURED_BODY_BYTES = 64 * 1024;
/** Interim (1xx) responses to one request. */
export const MAX_INTERIM_RESPONSES = 32;
/** Request bytes read and dropped after an early answer, so that the client gets to read it. */
export const MAX_LINGER_BYTES = 1024 * 1024;
/** Time for the same. */
export const LINGER_TIMEOUT_MS = 2_000;
/** How often deadlines are looked at. */
export const SWEEP_INTERVAL_MS = 1_000;
