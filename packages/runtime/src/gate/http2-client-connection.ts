import http2 from 'node:http2';
import type tls from 'node:tls';
import { limitMsFor, type ConnectionPurpose, type Waiting } from './client-connection.ts';
import type { GateContext } from './gate-context.ts';
import { Http2Exchange } from './http2-exchange.ts';
import {
  MAX_CONCURRENT_STREAMS,
  MAX_HEAD_BYTES,
  MAX_HEADER_PAIRS,
  MAX_SESSION_MEGABYTES,
  STREAM_RESET_BURST,
  STREAM_RESETS_PER_SECOND,
  WINDOW_BYTES,
} from './limits.ts';

/**
 * The client's side of one HTTP/2 connection: each stream is an exchange of its own, held against the one origin of the connection.
 *
 * nghttp2 bounds what a hostile client can make it hold: header lists, CONTINUATION floods, settings, pings and resets.
 */
export class Http2ClientConnection {
  /** For requests that begin from now on. */
  context: GateContext;
  readonly purpose: ConnectionPurpose;
  readonly #socket: tls.TLSSocket;
  readonly #session: http2.ServerHttp2Session;
  readonly #exchanges = new Set<Http2Exchange>();
  #idleDeadlineMs: number;

  constructor(socket: tls.TLSSocket, context: GateContext, purpose: ConnectionPurpose) {
    this.#socket = socket;
    this.context = context;
    this.purpose = purpose;
    this.#idleDeadlineMs = this.deadlineFor('head');
    this.#session = http2.performServerHandshake(socket, {
      settings: {
        maxConcurrentStreams: MAX_CONCURRENT_STREAMS,
        initialWindowSize: WINDOW_BYTES,
        maxHeaderListSize: MAX_HEAD_BYTES,
        enableConnectProtocol: true,
      },
      // A field that is there twice goes on as it came, as over HTTP/1.
      strictSingleValueFields: false,
      maxHeaderListPairs: MAX_HEADER_PAIRS,
      maxSessionMemory: MAX_SESSION_MEGABYTES,
      maxOutstandingPings: 10,
      maxSettings: 32,
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
      streamResetBurst: STREAM_RESET_BURST,
      streamResetRate: STREAM_RESETS_PER_SECOND,
    });
    this.#session.once('connect', () => this.#session.setLocalWindowSize(WINDOW_BYTES * 4));
    this.#session.on('stream', (stream, _, flags, raw) => this.#onStream(stream, flags, raw));
    this.#session.on('error', () => this.#session.destroy());
    this.#session.on('close', () => socket.destroy());
    // The socket may be half open for HTTP/1's sake; a client of HTTP/2 that has ended its side has left.
    socket.once('end', () => this.#session.destroy());
  }

  /** Whether no stream is open. */
  get isIdle(): boolean {
    return this.#exchanges.size === 0;
  }

  deadlineFor(forWhat: Waiting): number {
    return this.context.clock.nowMs + limitMsFor(this.context.timeLimits, forWhat);
  }

  /** Whether the connection, or one of its streams, has waited too long. */
  isOverdue(nowMs: number): boolean {
    if (this.#exchanges.size === 0) return nowMs > this.#idleDeadlineMs;
    for (const exchange of this.#exchanges) if (exchange.isOverdue(nowMs)) return true;
    return false;
  }

  /** Ends what is overdue: streams in words, an idle connection with GOAWAY. */
  expire(): void {
    if (this.#exchanges.size === 0) {
      // A session that is over can wait for ever for the end of a socket whose client has left.
      if (this.#session.closed || this.#session.destroyed) this.#socket.destroy();
      else this.#session.close();
      return;
    }
    for (const exchange of this.#exchanges) if (exchange.isOverdue(this.context.clock.nowMs)) exchange.expire();
  }

  exchangeDone(exchange: Http2Exchange): void {
    this.#exchanges.delete(exchange);
    if (this.#exchanges.size === 0) this.#idleDeadlineMs = this.deadlineFor('idle');
  }

  #onStream(stream: http2.ServerHttp2Stream, flags: number, raw: readonly string[]): void {
    const exchange = new Http2Exchange(this, stream, flags, raw);
    this.#exchanges.add(exchange);
    exchange.start();
  }
}
