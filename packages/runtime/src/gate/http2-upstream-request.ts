import type net from 'node:net';
import { ERROR_CODE } from '../http2/error-code.ts';
import type { Http2Stream, Http2StreamListener } from '../http2/types.ts';
import { readResponseHead, readTrailers, trailerFields } from './http2-fields.ts';
import { Http2StreamDuplex } from './http2-stream-duplex.ts';
import { explainEnd } from './late-alert.ts';
import type { UpstreamAnswer, UpstreamRequest } from './upstream-request.ts';

/** The connection that carries a request, as far as the request has to tell it of its end. */
export interface StreamCount {
  streamClosed(): void;
}

/** A request over a stream of HTTP/2. */
export class Http2UpstreamRequest implements UpstreamRequest, Http2StreamListener {
  readonly #count: StreamCount;
  readonly #socket: net.Socket;
  readonly #answer: UpstreamAnswer;
  readonly #switches: boolean;
  #stream: Http2Stream | null = null;
  #hasHead = false;
  /** The answer is told of nothing more. */
  #isDone = false;

  constructor(count: StreamCount, socket: net.Socket, answer: UpstreamAnswer, switches: boolean) {
    this.#count = count;
    this.#socket = socket;
    this.#answer = answer;
    this.#switches = switches;
  }

  /** Its head has been sent on that stream. */
  begin(stream: Http2Stream): void {
    this.#stream = stream;
  }

  write(chunk: Buffer): boolean {
    return this.#stream?.sendData(chunk) ?? true;
  }

  finish(trailers: string[]): void {
    this.#stream?.end(trailers.length === 0 ? null : trailerFields(trailers));
  }

  abort(resetCode: number): void {
    this.#isDone = true;
    this.#stream?.reset(resetCode);
  }

  answerTaken(): void {
    // Else the stream would stay half open for as long as the connection lasts.
    if (this.#stream?.sendEnded === false) this.abort(ERROR_CODE.cancel);
  }

  pause(): void {
    this.#stream?.pause();
  }

  resume(): void {
    this.#stream?.resume();
  }

  interim(fields: string[]): void {
    if (!this.#isDone) this.#answer.interim(readResponseHead(fields));
  }

  head(fields: string[], ends: boolean): void {
    if (this.#isDone) return;
    this.#hasHead = true;
    const head = readResponseHead(fields);
    const stream = this.#stream;
    if (this.#switches && head.status >= 200 && head.status < 300 && stream !== null) {
      this.#isDone = true;
      this.#answer.switched(head, new Http2StreamDuplex(stream, () => this.#count.streamClosed()), Buffer.alloc(0));
      return;
    }
    this.#answer.head(head, !ends);
  }

  data(bytes: Buffer): void {
    if (!this.#isDone) this.#answer.data(bytes);
  }

  drain(): void {
    if (!this.#isDone) this.#answer.drain();
  }

  end(trailers: string[]): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.#answer.end(readTrailers(trailers));
  }

  reset(resetCode: number): void {
    if (this.#isDone) return;
    this.#isDone = true;
    const fault = {
      code: this.#hasHead ? 'UPSTREAM_MALFORMED' : 'UPSTREAM_UNREACHABLE',
      detail: `The upstream ended the stream before its answer was complete (HTTP/2 error ${resetCode}).`,
      resetCode,
    } as const;
    this.#answer.failed(explainEnd(this.#socket, fault));
  }

  closed(): void {
    this.#count.streamClosed();
  }
}
