/** Constant limits of the gate, in bytes unless a name says otherwise; each bounds what one sandbox can hold of the host. */

/** Connections of one sandbox at a time; further ones are closed at once. */
export const MAX_CONNECTIONS = 8192;
/** Time for TCP and TLS to one upstream address, in ms. */
export const CONNECT_TIMEOUT_MS = 10_000;
/** Time for all addresses of one upstream together, in ms; below {@link TimeLimits.headMs}, so that the client is told. */
export const DIAL_TIMEOUT_MS = 20_000;
/** Addresses of one name that are tried in turn. */
export const MAX_ADDRESSES_TRIED = 6;
/** Idle upstream connections kept for one authority: a client with more of its own at work would have some dialed anew for each request. */
export const MAX_IDLE_PER_AUTHORITY = 256;
/** Idle upstream connections kept for one sandbox. */
export const MAX_IDLE_UPSTREAMS = 512;
/** TLS sessions remembered for resumption, one for each authority. */
export const MAX_REMEMBERED_SESSIONS = 1024;
/** Destinations of one sandbox about which is remembered what was decided. */
export const MAX_REMEMBERED_ROUTES = 1024;
/** The longest head, of a request or a response. */
export const MAX_HEAD_BYTES = 64 * 1024;
/** Response bodies of a known length up to this are measured after redaction; longer ones are sent chunked. */
export const MAX_MEASURED_BODY_BYTES = 64 * 1024;
/** What of a response may wait for its client to read before the upstream is not read any further. Not below what a socket asks to wait at. */
export const MAX_QUEUED_BYTES = 128 * 1024;
/** A WebSocket frame up to this length is sent on as one frame; of a longer one each such piece, as fragments. */
export const MAX_GATHERED_FRAME_BYTES = 64 * 1024;
/** Request bodies of a known length up to this, into which values may be put, are gathered in memory; longer ones in a file. */
export const MAX_MEASURED_REQUEST_BYTES = 1024 * 1024;
/** A request body of a known length above this, into which values may be put, is refused: it has to be sent chunked. */
export const MAX_SPOOLED_REQUEST_BYTES = 256 * 1024 * 1024;
/** Memory for gathered request bodies of one sandbox at a time; further ones go into files. */
export const MAX_GATHERED_MEMORY_BYTES = 64 * 1024 * 1024;
/** Room in files for gathered request bodies of one sandbox at a time. */
export const MAX_GATHERED_FILE_BYTES = 1024 * 1024 * 1024;
/** What a gathered request body may decode to, when it has a content coding. */
export const MAX_DECODED_REQUEST_BYTES = 256 * 1024 * 1024;
/** By how much values may make one request body longer. */
export const MAX_ADDED_REQUEST_BYTES = 4 * 1024 * 1024;
/** Content codings of one message that are taken off. */
export const MAX_CONTENT_CODINGS = 2;
/** A body may decode to this many times what was received; more is a bomb. A factor. */
export const MAX_EXPANSION_RATIO = 250;
/** Up to this size {@link MAX_EXPANSION_RATIO} is not asked for. */
export const FREE_EXPANSION_BYTES = 16 * 1024 * 1024;
/** Interim (1xx) responses to one request. */
export const MAX_INTERIM_RESPONSES = 32;
/** Request bytes read and dropped after an early answer, so that the client gets to read it. */
export const MAX_LINGER_BYTES = 1024 * 1024;

/** HTTP/2 streams that one client connection may have open, and that an upstream is taken to allow before it says so. */
export const MAX_CONCURRENT_STREAMS = 128;
/** Fields of one HTTP/2 header list. */
export const MAX_HEADER_PAIRS = 256;
/** What one HTTP/2 stream may send before it waits for the other side to read. */
export const WINDOW_BYTES = 256 * 1024;
/** What waits to be taken by one HTTP/2 peer, beside bodies, before nothing more is read of it. */
export const MAX_UNSENT_BYTES = 1024 * 1024;
/** Time for an HTTP/2 upstream to take the end of its connection, in ms. */
export const UPSTREAM_END_MS = 2000;
/** HTTP/2 streams that a client may open and reset at once, and each second after that (CVE-2023-44487). */
export const STREAM_RESET_BURST = 200;
export const STREAM_RESETS_PER_SECOND = 33;

/** How long the gate waits for what, in milliseconds; good to `sweepMs`. */
export interface TimeLimits {
  /** For the ClientHello, the TLS handshake and each request head to arrive whole. */
  readonly headMs: number;
  /** A kept-alive client connection may rest this long between requests. */
  readonly clientIdleMs: number;
  /** Without a byte of a request body. */
  readonly bodyIdleMs: number;
  /** Without a byte of a response once it has begun: event streams rest for long. */
  readonly responseIdleMs: number;
  /** For the values of secrets to be fetched: somebody may have to unlock something. */
  readonly secretMs: number;
  /** For an upstream to begin its response: long, because language models think before they answer. */
  readonly responseHeadMs: number;
  /** Without a byte on a connection that is passed through unread. */
  readonly relayIdleMs: number;
  /** Without a byte on a WebSocket in either direction; a ping and its pong are bytes as well. */
  readonly webSocketIdleMs: number;
  /** For a WebSocket to end once one side has ended it. */
  readonly webSocketCloseMs: number;
  /** An upstream connection stays pooled this long without use. */
  readonly upstreamIdleMs: number;
  /** A failed dial is not repeated within this time for the same client connection. */
  readonly failedDialMs: number;
  /** For the client to read an early answer. */
  readonly lingerMs: number;
  /** How often the limits are looked at. */
  readonly sweepMs: number;
}

export const TIME_LIMITS: TimeLimits = {
  headMs: 30_000,
  clientIdleMs: 120_000,
  bodyIdleMs: 300_000,
  responseIdleMs: 3_600_000,
  secretMs: 60_000,
  responseHeadMs: 900_000,
  relayIdleMs: 3_600_000,
  webSocketIdleMs: 3_600_000,
  webSocketCloseMs: 10_000,
  upstreamIdleMs: 30_000,
  failedDialMs: 5_000,
  lingerMs: 2_000,
  sweepMs: 1_000,
};
