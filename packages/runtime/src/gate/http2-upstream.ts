import type net from 'node:net';
import { ERROR_CODE, type Http2Fault } from '../http2/error-code.ts';
import type { Http2ConnectionListener, Http2Stream } from '../http2/types.ts';
import type { FieldList } from './http2-fields.ts';
import { HTTP2_LIMITS } from './http2-limits.ts';
import { Http2Transport } from './http2-transport.ts';
import { Http2UpstreamRequest } from './http2-upstream-request.ts';
import { CONNECT_TIMEOUT_MS, MAX_CONCURRENT_STREAMS, UPSTREAM_END_MS } from './limits.ts';
import type { UpstreamAnswer, UpstreamRequest } from './upstream-request.ts';

/** One HTTP/2 connection to an upstream, shared by the streams of a sandbox to that authority. */
export class Http2Upstream implements Http2ConnectionListener {
  readonly key: string;
  /** When its last stream ended, in milliseconds of the monotonic clock. */
  idleSinceMs: number;
  readonly #transport: Http2Transport;
  readonly #socket: net.Socket;
  readonly #nowMs: () => number;
  readonly #onClosed: (upstream: Http2Upstream) => void;
  #streams = 0;
  #refusesMore = false;
  /** Who waits for the settings. */
  #waiting: (() => void)[] = [];

  constructor(socket: net.Socket, key: string, nowMs: () => number, onClosed: (upstream: Http2Upstream) => void) {
    this.key = key;
    this.#socket = socket;
    this.#nowMs = nowMs;
    this.#onClosed = onClosed;
    this.idleSinceMs = nowMs();
    this.#transport = new Http2Transport(socket, { role: 'client', limits: HTTP2_LIMITS, listener: this, nowMs });
  }

  /** Whether a further stream can be opened at this moment. */
  get hasRoom(): boolean {
    const { connection } = this.#transport;
    if (this.#refusesMore || !connection.hasRoom) return false;
    return connection.hasPeerSettings || this.#streams < MAX_CONCURRENT_STREAMS;
  }

  get isIdle(): boolean {
    return this.#streams === 0;
  }

  /** Whether it takes an extended CONNECT, which it says in its settings (RFC 8441 section 3); waits for these. */
  async takesExtendedConnect(): Promise<boolean> {
    const { connection } = this.#transport;
    if (!connection.hasPeerSettings && !this.#refusesMore) {
      await new Promise<void>((resolve) => {
        const settle = (): void => {
          clearTimeout(timer);
          resolve();
        };
        const timer = setTimeout(settle, CONNECT_TIMEOUT_MS).unref();
        this.#waiting.push(settle);
      });
    }
    return this.hasRoom && connection.peerSettings.enableConnectProtocol;
  }

  /**
   * Opens a stream. `ends` tells that the request has no body, `switches` that it is an extended CONNECT.
   *
   * @throws {Http2FieldError} when the head cannot be written safely; nothing has been sent then.
   */
  request({ fields, sensitive }: FieldList, ends: boolean, answer: UpstreamAnswer, switches = false): UpstreamRequest {
    const request = new Http2UpstreamRequest(this, this.#socket, answer, switches);
    // Counted before: `closed` can come at once.
    this.#streams += 1;
    try {
      request.begin(this.#transport.connection.request(fields, { ends, neverIndexed: sensitive }, request));
    } catch (error) {
      this.#streams -= 1;
      throw error;
    }
    return request;
  }

  /** A stream is over. */
  streamClosed(): void {
    this.#streams -= 1;
    this.idleSinceMs = this.#nowMs();
  }

  destroy(): void {
    this.#refusesMore = true;
    this.#transport.connection.destroy();
  }

  stream(stream: Http2Stream): void {
    // Pushes are not allowed, and nothing else opens a stream from that side.
    stream.reset(ERROR_CODE.refusedStream);
  }

  settings(): void {
    this.#settle();
  }

  goAway(): void {
    this.#refusesMore = true;
    this.#onClosed(this);
    // It ends once its last stream has.
    this.#transport.connection.close();
  }

  fault(_fault: Http2Fault): void {}

  closed(): void {
    this.#refusesMore = true;
    this.#onClosed(this);
    this.#settle();
    // What was written last may have to leave yet, but an upstream that takes nothing more must not keep the socket.
    setTimeout(() => this.#transport.destroy(), UPSTREAM_END_MS).unref();
  }

  #settle(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const settle of waiting) settle();
  }
}
