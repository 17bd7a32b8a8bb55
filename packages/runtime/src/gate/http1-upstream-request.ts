import { createBodyDecoder, type BodyDecoder } from '../http/body-decoder.ts';
import { encodeLastChunk, encodeRequestHead } from '../http/encoder.ts';
import { responseFraming, type Framing } from '../http/framing.ts';
import { parseResponseHead } from '../http/head-parser.ts';
import { HeadReader } from '../http/head-reader.ts';
import { keepsAlive } from '../http/hop-by-hop.ts';
import { HttpSyntaxError } from '../http/http-syntax-error.ts';
import type { RequestHead, ResponseHead } from '../http/message.ts';
import { explainEnd } from './late-alert.ts';
import { MAX_HEAD_BYTES, MAX_INTERIM_RESPONSES } from './limits.ts';
import type { UpstreamConnection, UpstreamListener } from './upstream-connection.ts';
import type { UpstreamAnswer, UpstreamRequest } from './upstream-request.ts';
import { writeChunk } from './write-chunk.ts';

/** A request over an HTTP/1 connection, for a client that speaks HTTP/2. */
export class Http1UpstreamRequest implements UpstreamRequest, UpstreamListener {
  readonly #connection: UpstreamConnection;
  readonly #answer: UpstreamAnswer;
  readonly #method: string;
  readonly #framing: Framing;
  readonly #release: (connection: UpstreamConnection) => void;
  readonly #switches: boolean;
  readonly #heads = new HeadReader('response', MAX_HEAD_BYTES);
  #body: BodyDecoder | null = null;
  #interim = 0;
  #hasReceived = false;
  #reusable = false;
  #requestEnded = false;
  #done = false;

  /**
   * Sends `head` at once. `release` takes the connection back when both sides are complete. `switches` tells that the request asks for
   * another protocol.
   *
   * @throws {HttpSyntaxError} `UNENCODABLE` when the head cannot be written safely; nothing has been sent then.
   */
  constructor(
    connection: UpstreamConnection,
    head: RequestHead,
    framing: Framing,
    answer: UpstreamAnswer,
    release: (connection: UpstreamConnection) => void,
    switches = false,
  ) {
    this.#connection = connection;
    this.#method = head.method;
    this.#framing = framing;
    this.#answer = answer;
    this.#release = release;
    this.#switches = switches;
    const text = encodeRequestHead(head);
    connection.lend(this);
    connection.socket.write(text, 'latin1');
  }

  write(chunk: Buffer): boolean {
    const { socket } = this.#connection;
    return this.#framing.kind === 'chunked' ? writeChunk(socket, chunk) : socket.write(chunk);
  }

  finish(trailers: string[]): void {
    this.#requestEnded = true;
    if (this.#framing.kind === 'chunked') this.#connection.socket.write(encodeLastChunk(trailers), 'latin1');
    if (this.#done) this.#giveBack();
  }

  abort(): void {
    this.#done = true;
    this.#connection.destroy();
  }

  answerTaken(): void {
    // Else nobody would give the connection back.
    if (!this.#requestEnded) this.abort();
  }

  pause(): void {
    this.#connection.socket.pause();
  }

  resume(): void {
    this.#connection.socket.resume();
  }

  upstreamData(chunk: Buffer): void {
    this.#hasReceived = true;
    try {
      let offset = 0;
      while (offset < chunk.length && !this.#done) {
        if (this.#body === null) {
          const next = this.#heads.read(chunk, offset);
          if (next === -1) return;
          offset = next;
          const head = parseResponseHead(this.#heads.bytes, this.#heads.start, this.#heads.end);
          if (head.status === 101 && this.#switches) this.#switch(head, chunk.subarray(offset));
          else this.#begin(head);
        } else {
          offset = this.#body.decode(chunk, offset);
          if (this.#body.data !== null) this.#answer.data(this.#body.data);
        }
        if (this.#body?.isDone === true && !this.#done) this.#finish(offset === chunk.length);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  upstreamEnd(clean: boolean): void {
    if (this.#done) return;
    try {
      if (this.#body === null || !clean) {
        this.#done = true;
        const fault = explainEnd(this.#connection.socket, {
          code: this.#heads.isPending ? 'UPSTREAM_MALFORMED' : 'UPSTREAM_UNREACHABLE',
          detail: 'The upstream closed the connection before its answer was complete.',
        });
        this.#answer.failed({ ...fault, isStale: this.#connection.used && !this.#hasReceived });
        return;
      }
      this.#body.end();
      this.#finish(false);
    } catch (error) {
      this.#fail(error);
    }
  }

  upstreamDrain(): void {
    if (!this.#done) this.#answer.drain();
  }

  #switch(head: ResponseHead, rest: Buffer): void {
    responseFraming(head, this.#method);
    this.#done = true;
    this.#answer.switched(head, this.#connection.detach(), rest);
  }

  #begin(head: ResponseHead): void {
    if (head.status < 200) {
      this.#interim += 1;
      if (head.status === 101 || this.#interim > MAX_INTERIM_RESPONSES) {
        throw new HttpSyntaxError(
          'STATUS_LINE',
          502,
          'The upstream switched protocols unasked, or sent too many interim responses.',
        );
      }
      responseFraming(head, this.#method);
      this.#answer.interim(head);
      return;
    }
    const framing = responseFraming(head, this.#method);
    this.#reusable = keepsAlive(head) && framing.kind !== 'until-close';
    this.#body = createBodyDecoder(framing, 'response');
    this.#answer.head(head, !this.#body.isDone);
  }

  #finish(isExact: boolean): void {
    this.#done = true;
    this.#reusable &&= isExact;
    this.#answer.end(this.#body?.trailers ?? []);
    if (this.#requestEnded) this.#giveBack();
  }

  #giveBack(): void {
    const connection = this.#connection;
    connection.lend(null);
    connection.socket.resume();
    if (this.#reusable && !connection.closed) {
      connection.used = true;
      this.#release(connection);
    } else {
      connection.destroy();
    }
  }

  #fail(error: unknown): void {
    if (this.#done) return;
    this.#done = true;
    this.#connection.destroy();
    this.#answer.failed(
      error instanceof HttpSyntaxError
        ? { code: 'UPSTREAM_MALFORMED', detail: `The upstream's response breaks HTTP: ${error.message}` }
        : { code: 'INTERNAL', detail: 'The gate failed on this response.' },
    );
  }
}
