import http2 from 'node:http2';
import type net from 'node:net';
import { explainEnd } from './late-alert.ts';
import {
  CONNECT_TIMEOUT_MS,
  MAX_CONCURRENT_STREAMS,
  MAX_HEAD_BYTES,
  MAX_HEADER_PAIRS,
  MAX_INTERIM_RESPONSES,
  MAX_SESSION_MEGABYTES,
  WINDOW_BYTES,
} from './limits.ts';
import { readResponseHead, readTrailers, sendTrailers, type HeaderList } from './http2-fields.ts';
import type { UpstreamAnswer, UpstreamRequest } from './upstream-request.ts';

/** One HTTP/2 connection to an upstream, shared by the streams of a sandbox to that authority. */
export class Http2Upstream {
  readonly key: string;
  /** When its last stream ended, in milliseconds of the monotonic clock. */
  idleSinceMs: number;
  #session: http2.ClientHttp2Session;
  #streams = 0;
  #refusesMore = false;
  #hasSettings = false;
  readonly #socket: net.Socket;
  readonly #nowMs: () => number;

  constructor(socket: net.Socket, key: string, nowMs: () => number, onClosed: (upstream: Http2Upstream) => void) {
    this.key = key;
    this.#socket = socket;
    this.#nowMs = nowMs;
    this.idleSinceMs = nowMs();
    const options: http2.ClientSessionOptions & { strictSingleValueFields: boolean } = {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: WINDOW_BYTES, maxHeaderListSize: MAX_HEAD_BYTES },
      maxHeaderListPairs: MAX_HEADER_PAIRS,
      maxSessionMemory: MAX_SESSION_MEGABYTES,
      maxOutstandingPings: 10,
      maxSettings: 32,
      // A field that is there twice goes on as it came, as over HTTP/1.
      strictSingleValueFields: false,
    };
    this.#session = http2.connect(key, options);
    this.#session.once('connect', () => this.#session.setLocalWindowSize(WINDOW_BYTES * 4));
    this.#session.once('remoteSettings', () => {
      this.#hasSettings = true;
    });
    this.#session.on('goaway', () => {
      this.#refusesMore = true;
      onClosed(this);
    });
    this.#session.on('error', () => this.#session.destroy());
    this.#session.on('close', () => {
      this.#refusesMore = true;
      onClosed(this);
    });
    // A resting connection keeps no process alive; the client's connection does.
    this.#session.on('stream', (stream: http2.ClientHttp2Stream) =>
      stream.close(http2.constants.NGHTTP2_REFUSED_STREAM),
    );
  }

  /** Whether a further stream can be opened at this moment. */
  get hasRoom(): boolean {
    const limit = this.#session.remoteSettings?.maxConcurrentStreams ?? MAX_CONCURRENT_STREAMS;
    return !this.#refusesMore && !this.#session.closed && !this.#session.destroyed && this.#streams < limit;
  }

  get isIdle(): boolean {
    return this.#streams === 0;
  }

  /** Whether it takes an extended CONNECT, which it says in its settings (RFC 8441 section 3); waits for these. */
  async takesExtendedConnect(): Promise<boolean> {
    if (!this.#hasSettings && !this.#refusesMore) {
      await new Promise<void>((resolve) => {
        const settle = (): void => {
          clearTimeout(timer);
          resolve();
        };
        const timer = setTimeout(settle, CONNECT_TIMEOUT_MS).unref();
        this.#session.once('remoteSettings', settle);
        this.#session.once('close', settle);
      });
    }
    return this.hasRoom && this.#hasSettings && this.#session.remoteSettings.enableConnectProtocol === true;
  }

  /** Opens a stream. `ends` tells that the request has no body, `switches` that it is an extended CONNECT. */
  request(headers: HeaderList, ends: boolean, answer: UpstreamAnswer, switches = false): UpstreamRequest {
    this.#streams += 1;
    const stream = this.#session.request(headers, { endStream: ends, waitForTrailers: !ends && !switches });
    stream.once('close', () => {
      this.#streams -= 1;
      this.idleSinceMs = this.#nowMs();
    });
    return new Http2UpstreamRequest(stream, this.#socket, answer, switches);
  }

  destroy(): void {
    this.#refusesMore = true;
    this.#session.destroy();
  }
}

/**
 * Tells whether END_STREAM came: `node:http2` ends the body of a stream that was reset with NO_ERROR just the same, and what was cut off
 * must not pass for a whole. A reset behind END_STREAM changes nothing (RFC 9113 section 8.1).
 */
function watchEndOfStream(stream: http2.ClientHttp2Stream): () => boolean {
  let isWhole = false;
  const push = stream.push.bind(stream);
  stream.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (chunk === null && !stream.closed) isWhole = true;
    return push(chunk, encoding);
  };
  return () => isWhole;
}

class Http2UpstreamRequest implements UpstreamRequest {
  readonly #stream: http2.ClientHttp2Stream;
  #trailersToSend: string[] = [];
  #trailers: string[] = [];
  #interim = 0;
  #hasHead = false;
  #done = false;

  constructor(stream: http2.ClientHttp2Stream, socket: net.Socket, answer: UpstreamAnswer, switches: boolean) {
    this.#stream = stream;
    const isWhole = watchEndOfStream(stream);
    stream.on('wantTrailers', () => sendTrailers(stream, this.#trailersToSend));
    stream.on('headers', (_, __, raw: string[]) => {
      this.#interim += 1;
      if (this.#interim > MAX_INTERIM_RESPONSES) stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
      else if (!this.#done) answer.interim(readResponseHead(raw));
    });
    stream.on('response', (_, flags: number, raw: string[]) => {
      if (this.#done) return;
      this.#hasHead = true;
      const head = readResponseHead(raw);
      if (switches && head.status >= 200 && head.status < 300) {
        this.#done = true;
        answer.switched(head, stream, Buffer.alloc(0));
        return;
      }
      answer.head(head, (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) === 0);
    });
    stream.on('data', (chunk: Buffer) => {
      if (!this.#done) answer.data(chunk);
    });
    stream.on('trailers', (_, __, raw: string[]) => {
      this.#trailers = readTrailers(raw);
    });
    stream.on('end', () => {
      if (this.#done || !isWhole()) return;
      this.#done = true;
      answer.end(this.#trailers);
    });
    stream.on('drain', () => {
      if (!this.#done) answer.drain();
    });
    // 'close' follows every error and tells its code.
    stream.on('error', () => undefined);
    stream.on('close', () => {
      if (this.#done) return;
      this.#done = true;
      const resetCode = stream.rstCode;
      answer.fail(
        explainEnd(socket, {
          code: this.#hasHead ? 'UPSTREAM_MALFORMED' : 'UPSTREAM_UNREACHABLE',
          detail: `The upstream ended the stream before its answer was complete (HTTP/2 error ${resetCode}).`,
          resetCode,
        }),
      );
    });
  }

  write(chunk: Buffer): boolean {
    return this.#stream.write(chunk);
  }

  end(trailers: string[]): void {
    this.#trailersToSend = trailers;
    if (!this.#stream.writableEnded) this.#stream.end();
  }

  abort(resetCode: number): void {
    this.#done = true;
    this.#stream.close(resetCode);
  }

  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }
}
