import type { Http2Fault } from './error-code.ts';

/**
 * The public interface of this folder, besides the class `Http2Connection` (connection.ts) and the error codes (error-code.ts).
 *
 * Nothing here does input or output or knows the time: bytes and the clock are arguments. All calls are synchronous, and so are the calls of
 * listeners: `closed` can come within `reset`, `sendHead` or `end`. A listener may call anything at any time.
 *
 * A list of fields is flat: name, value, name, value, … Latin-1 strings, one character an octet, pseudo-header fields (`:method`) first.
 */

/** Where a connection writes: a socket's side of it. */
export interface Http2Output {
  /**
   * Takes bytes, which nobody changes any more. False when they fill the socket's buffer: then no body data are written until the owner calls
   * {@link Http2Connection.drained}.
   */
  write(bytes: Buffer): boolean;
  /**
   * Bytes wait to be written: the owner is to call {@link Http2Connection.flush} before it waits for further input (a microtask or the next
   * tick). Called once for each flush, so everything that is written in one turn leaves in one write.
   */
  schedule(): void;
  /** The connection is over and everything is written: the owner ends the socket. Called once. */
  end(): void;
}

/** What the peer has said in its settings (RFC 9113 section 6.5.2, RFC 8441 section 3). */
export interface Http2PeerSettings {
  readonly headerTableSize: number;
  readonly maxConcurrentStreams: number;
  readonly initialWindowSize: number;
  readonly maxFrameSize: number;
  readonly enableConnectProtocol: boolean;
}

/** Bounds of one connection; bytes unless the name says otherwise. */
export interface Http2Limits {
  /** Streams that the peer may have open at a time. */
  readonly maxConcurrentStreams: number;
  /** A list of fields, as RFC 9113 section 6.5.2 counts it: 32 octets for each field besides its name and value. */
  readonly maxHeaderListBytes: number;
  /** Fields of one list. */
  readonly maxHeaderPairs: number;
  /** What one stream may send before its listener takes it; the whole connection, at a time, four times as much. */
  readonly windowBytes: number;
  /** Streams that may be reset at once, by the peer or for a fault of its, and each second after that. Server's side only. */
  readonly streamResetBurst: number;
  readonly streamResetsPerSecond: number;
  /** Interim (1xx) responses to one request, which are together no longer than `maxHeaderListBytes`. Client's side only. */
  readonly maxInterimResponses: number;
}

export interface Http2ConnectionOptions {
  readonly role: 'server' | 'client';
  readonly limits: Http2Limits;
  readonly output: Http2Output;
  readonly listener: Http2ConnectionListener;
  /** Milliseconds of a monotonic clock; a coarse one will do. */
  readonly nowMs: () => number;
  /** Whether a server takes extended CONNECT (RFC 8441). Default false. */
  readonly enableConnectProtocol?: boolean;
}

/** Hears of a connection. */
export interface Http2ConnectionListener {
  /**
   * Server's side: a request has come, checked by RFC 9113 section 8. `ends` tells that it has neither body nor trailers; `end` is called on
   * the stream's listener nevertheless. The listener is to set `stream.listener` before it sends anything or returns.
   */
  stream(stream: Http2Stream, fields: string[], ends: boolean): void;
  /** The peer's settings came, for the first time or anew. */
  settings(settings: Http2PeerSettings): void;
  /**
   * The peer opens or takes no more streams (GOAWAY). Those of ours that it has not begun are reset with `refusedStream`, after this; the
   * others go on.
   */
  goAway(code: number): void;
  /** The peer did what it must not. What that ended is told by `reset` and `closed`, after this. */
  fault(fault: Http2Fault): void;
  /** The connection is over: all its streams were told so before. Called once. */
  closed(): void;
}

/** Hears of a stream. Nothing is called after `closed`. */
export interface Http2StreamListener {
  /** Client's side: an interim response (1xx). */
  interim(fields: string[]): void;
  /** Client's side: the final head. `ends` tells that neither body nor trailers follow; `end` is called nevertheless. */
  head(fields: string[], ends: boolean): void;
  /** A piece of the body; a view of what `receive` was given, or of a queue. Not called while paused. */
  data(bytes: Buffer): void;
  /**
   * The peer's side of the stream has come whole, with these trailers. Called once at most; not called while paused, nor after `reset`. Our own
   * side stays as it is: where it has not ended, somebody has to end or reset it.
   */
  end(trailers: string[]): void;
  /**
   * The stream was cut off: by the peer, for a fault of its, or with its connection (`cancel`). What was not delivered is lost. `closed`
   * follows. Not called for the listener's own `Http2Stream.reset`, nor on the client's side behind a whole response.
   */
  reset(code: number): void;
  /** After `sendData` gave false: there is room again. */
  drain(): void;
  /** Both sides have ended, or the stream was reset by either. Called once. */
  closed(): void;
}

/** One stream: a request and its response. */
export interface Http2Stream {
  readonly id: number;
  listener: Http2StreamListener;
  /** Whether a (final) head has been sent. */
  readonly headSent: boolean;
  /** Whether our side has been ended: by `end`, or a head that ends. What waits for the peer's window may still have to go. */
  readonly sendEnded: boolean;
  /** Whether nothing more can be sent or come: `listener.closed` was called. */
  readonly isClosed: boolean;
  /** The code with which the stream was reset by either side; null when it was not. */
  readonly resetCode: number | null;

  /** Server's side: sends an interim response. @throws {Http2FieldError} */
  sendInterim(fields: readonly string[]): void;
  /**
   * Server's side: sends the final head. Nothing happens on a stream that is closed.
   *
   * @throws {Http2FieldError} for fields that HTTP/2 does not allow (names in upper case too); nothing has been sent then.
   */
  sendHead(fields: readonly string[], options?: SendHeadOptions): void;
  /**
   * Sends a piece of the body, which may be changed afterwards. False when much waits for the peer: more is taken, but the caller had better
   * wait for `drain`. Nothing happens on a stream that is closed or whose side has ended.
   */
  sendData(bytes: Buffer): boolean;
  /** Ends our side, behind all data, with trailers if there are any. @throws {Http2FieldError} as `sendHead`; nothing has ended then. */
  end(trailers?: readonly string[] | null): void;
  /** Cuts the stream off. `listener.closed` is called within. */
  reset(code: number): void;
  /** Stops `data` and `end`: what comes is kept, and the peer is stopped once its window is full. */
  pause(): void;
  /** Lets them go on; what was kept is delivered within the call. */
  resume(): void;
  /**
   * Nobody reads what else the peer sends: it is dropped, and neither `data` nor `end` is called any more. Where our side ends whole before the
   * peer's, the stream is then reset with `noError` (RFC 9113 section 8.1).
   */
  discardRest(): void;
}

export interface SendHeadOptions {
  /** Whether neither body nor trailers follow. Default false. */
  readonly ends?: boolean;
  /** Names of fields that no table of either side or of an intermediary may hold (RFC 7541 section 7.1.3). Default none. */
  readonly neverIndexed?: ReadonlySet<string>;
}
