import type tls from 'node:tls';
import { ERROR_CODE, type Http2Fault } from '../http2/error-code.ts';
import type { Http2ConnectionListener, Http2Stream } from '../http2/types.ts';
import { limitMsFor, type ConnectionPurpose, type Waiting } from './client-connection.ts';
import type { GateContext } from './gate-context.ts';
import { Http2Exchange } from './http2-exchange.ts';
import { HTTP2_LIMITS } from './http2-limits.ts';
import { Http2Transport } from './http2-transport.ts';

/**
 * The client's side of one HTTP/2 connection: each stream is an exchange of its own, held against the one origin of the connection.
 *
 * The codec bounds what a hostile client can make it hold: header lists, CONTINUATION floods, settings, pings and resets.
 */
export class Http2ClientConnection implements Http2ConnectionListener {
  /** For requests that begin from now on. */
  context: GateContext;
  readonly purpose: ConnectionPurpose;
  readonly #transport: Http2Transport;
  readonly #exchanges = new Set<Http2Exchange>();
  #idleDeadlineMs: number;

  constructor(socket: tls.TLSSocket, context: GateContext, purpose: ConnectionPurpose) {
    this.context = context;
    this.purpose = purpose;
    this.#idleDeadlineMs = this.deadlineFor('head');
    this.#transport = new Http2Transport(socket, {
      role: 'server',
      limits: HTTP2_LIMITS,
      listener: this,
      nowMs: () => this.context.clock.nowMs,
      enableConnectProtocol: true,
    });
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
      // A connection that is over can wait for ever for a client that does not take its end.
      if (this.#transport.connection.isClosed) this.#transport.destroy();
      else this.#transport.connection.close();
      return;
    }
    for (const exchange of this.#exchanges) if (exchange.isOverdue(this.context.clock.nowMs)) exchange.expire();
  }

  exchangeDone(exchange: Http2Exchange): void {
    this.#exchanges.delete(exchange);
    if (this.#exchanges.size === 0) this.#idleDeadlineMs = this.deadlineFor('idle');
  }

  stream(stream: Http2Stream, fields: string[], ends: boolean): void {
    const exchange = new Http2Exchange(this, stream, fields, ends);
    this.#exchanges.add(exchange);
    exchange.start();
  }

  settings(): void {}

  goAway(): void {
    // What the client has asked is answered; it opens no stream any more.
  }

  fault({ scope, streamId, code }: Http2Fault): void {
    if (scope === 'stream') {
      for (const exchange of this.#exchanges) {
        if (exchange.streamId !== streamId) continue;
        exchange.clientAtFault();
        return;
      }
      // Not begun, so the client asks again.
      if (code === ERROR_CODE.refusedStream) return;
    }
    this.context.record.malformed(this.purpose.origin, { code: 'MALFORMED_REQUEST', status: null });
  }

  closed(): void {
    // Each exchange has been told; with the socket the gate's own record of this connection goes.
  }
}
