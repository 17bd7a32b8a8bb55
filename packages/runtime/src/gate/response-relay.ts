import type net from 'node:net';
import type { ErrorCode } from '@sallyport/sdk';
import { createBodyDecoder, type BodyDecoder } from '../http/body-decoder.ts';
import { encodeLastChunk, encodeResponseHead } from '../http/encoder.ts';
import { responseFraming, type Framing } from '../http/framing.ts';
import { parseResponseHead } from '../http/head-parser.ts';
import { HeadReader } from '../http/head-reader.ts';
import { keepsAlive, removeHopByHop, setFraming } from '../http/hop-by-hop.ts';
import { HttpSyntaxError } from '../http/http-syntax-error.ts';
import type { ResponseHead } from '../http/message.ts';
import type { Redactor } from '../secrets/redact.ts';
import type { BodyBlock } from './body-block.ts';
import { MAX_HEAD_BYTES, MAX_INTERIM_RESPONSES, MAX_QUEUED_BYTES } from './limits.ts';
import { readPlainResponse } from './plain-response.ts';
import { ResponseBody, type BodySink } from './response-body.ts';
import {
  markChanged,
  planResponseBody,
  redactHead,
  redactTrailers,
  rewriteResponseHead,
  setResponseFraming,
} from './response-rewrite.ts';
import type { UpstreamConnection } from './upstream-connection.ts';
import { acceptSwitch, type WebSocketOffer } from './websocket-handshake.ts';
import { writeChunk } from './write-chunk.ts';

/** Hears how a response ends. */
export interface ResponseListener {
  /** The upstream has switched to WebSocket, and the client has been told; `rest` is the first of its frames. */
  responseSwitched(compression: boolean, rest: Buffer): void;
  /** The upstream answers 401: true keeps that back until {@link ResponseRelay.goOn}. */
  holdsResponse(): boolean;
  /** The last byte has been given to the client's socket. */
  responseComplete(): void;
  /** The response cannot be passed on (any further). */
  responseFailed(code: ErrorCode, detail: string): void;
}

interface ResponseRelayOptions {
  readonly client: net.Socket;
  readonly upstream: UpstreamConnection;
  readonly method: string;
  readonly minor: 0 | 1;
  readonly keepAlive: boolean;
  readonly redactor: Redactor | null;
  /** What a WebSocket handshake offered; null where switching protocols is no answer. */
  readonly offer: WebSocketOffer | null;
  readonly listener: ResponseListener;
}

/** How the body is framed towards the client. */
type Outgoing = 'none' | 'length' | 'chunked' | 'until-close';

/**
 * Steps 8 and 9 on the way back: reads one response from the upstream, redacts head, body and trailers, and writes it to the client.
 *
 * It holds at most one measured body, or what the redaction stream holds back; a client that does not read stops the upstream.
 */
export class ResponseRelay implements BodySink {
  /** Whether the client's connection can carry another exchange after this one. */
  keepAlive: boolean;
  /** The final status; null until its head has come. */
  status: number | null = null;
  /** Body bytes given to the client. */
  bytes = 0;
  /** Values found and replaced. */
  redactions = 0;
  /** Whether any byte of the upstream has come. */
  hasReceived = false;
  /** Whether the final head has been written to the client. */
  hasBegun = false;
  isComplete = false;
  /** Whether the upstream's connection is between messages and stays open. */
  upstreamReusable = false;

  readonly #options: ResponseRelayOptions;
  /** Made when the response is not a plain one. */
  #heads: HeadReader | null = null;
  #head: ResponseHead | null = null;
  #body: BodyDecoder | null = null;
  #bodyReceived = false;
  #content: ResponseBody | null = null;
  #outgoing: Outgoing = 'none';
  #interim = 0;
  #keepsUpstream = false;
  #disposed = false;
  /** A head that is kept back, and what came with it. */
  #held: { readonly head: ResponseHead; readonly rest: Buffer } | null = null;
  #heldEnd: { readonly clean: boolean } | null = null;
  #isReceiving = false;
  #isCorked = false;

  constructor(options: ResponseRelayOptions) {
    this.#options = options;
    this.keepAlive = options.keepAlive;
  }

  /** Takes bytes of the upstream, which are read over afterwards. */
  receive(chunk: Buffer): void {
    const isFirst = !this.hasReceived;
    this.hasReceived = true;
    this.#isReceiving = true;
    try {
      if (isFirst && this.#passPlain(chunk)) return;
      this.#heads ??= new HeadReader('response', MAX_HEAD_BYTES);
      let offset = 0;
      while (offset < chunk.length && !this.#disposed) {
        if (this.#body === null) {
          const next = this.#heads.read(chunk, offset);
          if (next === -1) break;
          offset = next;
          const head = parseResponseHead(this.#heads.bytes, this.#heads.start, this.#heads.end);
          if (head.status === 101) {
            this.#switch(head, Buffer.from(chunk.subarray(offset)));
            break;
          }
          if (head.status === 401 && this.#options.listener.holdsResponse()) {
            this.#held = { head, rest: Buffer.from(chunk.subarray(offset)) };
            this.#options.upstream.hold();
            break;
          }
          this.#begin(head, offset < chunk.length);
        } else if (this.#bodyReceived) {
          // More than was announced: whatever it is, it is not the answer to another request.
          this.#keepsUpstream = false;
          this.upstreamReusable = false;
          break;
        } else {
          offset = this.#body.decode(chunk, offset);
          if (this.#body.data !== null) this.#content?.pushBorrowed(this.#body.data);
        }
        if (this.#body?.isDone === true && !this.#bodyReceived && !this.#disposed) {
          if (offset < chunk.length) this.#keepsUpstream = false;
          this.#bodyEnd();
        }
      }
      this.#content?.keep();
    } catch (error) {
      this.#failBy(error);
    } finally {
      this.#isReceiving = false;
      if (this.#isCorked) {
        this.#isCorked = false;
        this.#options.client.uncork();
      }
    }
  }

  /** Passes on a response as it came, but for a few lines, if it is one for that. */
  #passPlain(chunk: Buffer): boolean {
    const { redactor, method, client, listener } = this.#options;
    if (redactor === null || !this.keepAlive || method === 'HEAD' || method === 'CONNECT') return false;
    const plain = readPlainResponse(chunk, redactor);
    if (plain === null) return false;
    this.status = plain.status;
    this.bytes = plain.bodyBytes;
    this.hasBegun = true;
    this.#bodyReceived = true;
    this.upstreamReusable = true;
    this.isComplete = true;
    client.write(plain.bytes);
    listener.responseComplete();
    return true;
  }

  /** Passes on what was kept back. */
  goOn(): void {
    const held = this.#held;
    if (held === null || this.#disposed) return;
    this.#held = null;
    // The memory in which its bytes came has been read over since: they can tell nothing about the head any more.
    this.#heads = null;
    try {
      this.#begin(held.head, held.rest.length > 0);
    } catch (error) {
      this.#failBy(error);
    }
    this.receive(held.rest);
    if (!this.#disposed) this.#options.upstream.resume();
    if (this.#heldEnd !== null) this.end(this.#heldEnd.clean);
  }

  /** The upstream's connection has ended. */
  end(clean: boolean): void {
    if (this.#held !== null) {
      this.#heldEnd = { clean };
      return;
    }
    if (this.#disposed || this.#bodyReceived) return;
    this.#keepsUpstream = false;
    if (this.#body === null) {
      this.#options.listener.responseFailed(
        'UPSTREAM_MALFORMED',
        'The upstream closed the connection in the middle of a response head.',
      );
      return;
    }
    try {
      if (!clean)
        throw new HttpSyntaxError(
          'TRUNCATED_BODY',
          502,
          'The upstream broke the connection in the middle of a response.',
        );
      this.#body.end();
      this.#bodyEnd();
    } catch (error) {
      this.#failBy(error);
    }
  }

  /** The client can take more. */
  clientDrain(): void {
    // What is kept back goes on by `goOn`.
    if (this.#disposed || this.#held !== null) return;
    if (this.#content === null) this.#options.upstream.resume();
    else this.#content.drained();
  }

  /** Lets go of everything; nothing is written afterwards. */
  dispose(): void {
    this.#disposed = true;
    this.#content?.dispose();
    // The upstream may be pooled: its next exchange must find it flowing.
    this.#options.upstream.resume();
  }

  /** @param hasMore whether bytes have come behind the head. */
  #begin(head: ResponseHead, hasMore: boolean): void {
    const { redactor, minor, method } = this.#options;
    if (head.status < 200) {
      this.#passInterim(head);
      return;
    }
    const framing = responseFraming(head, method);
    const plan = planResponseBody(head, framing, redactor !== null);
    this.#keepsUpstream = keepsAlive(head) && framing.kind !== 'until-close';
    this.status = head.status;
    if (plan.kind === 'refused') {
      this.#options.listener.responseFailed(
        'RESPONSE_UNREDACTABLE',
        `The response cannot be searched for credentials: ${plan.reason}.`,
      );
      return;
    }
    // The length of an answer to HEAD, or of a 304, speaks of another message.
    const bodyless = framing.kind === 'none';
    const heads = this.#heads;
    const isClean = heads !== null && redactor?.isClean(heads.bytes, heads.start, heads.end) === true;
    this.redactions += rewriteResponseHead(head, plan, redactor, isClean);
    this.#head = head;
    this.#body = createBodyDecoder(framing, 'response');
    switch (plan.kind) {
      case 'none':
        this.#writeHead(bodyless ? null : { kind: 'length', bytes: 0 });
        break;
      case 'verbatim':
        this.#writeHead(clientFraming(framing, minor));
        break;
      case 'measured':
        break;
      case 'streamed':
        this.#writeHead(clientFraming({ kind: 'chunked' }, minor));
        break;
      default:
        throw new TypeError(`unknown plan ${String(plan satisfies never)}`);
    }
    if (plan.kind !== 'none') {
      this.#content = new ResponseBody(plan, redactor, this.#options.upstream, this);
    }
    if (!this.#body.isDone) return;
    // Nothing was announced: what is there all the same is not the answer to another request.
    if (hasMore) this.#keepsUpstream = false;
    this.#bodyEnd();
  }

  #switch(head: ResponseHead, rest: Buffer): void {
    const { client, offer, redactor, listener } = this.#options;
    if (offer === null) {
      listener.responseFailed('UPSTREAM_MALFORMED', 'The upstream switched protocols without being asked.');
      return;
    }
    responseFraming(head, this.#options.method);
    const outgoing: ResponseHead = { ...head, fields: [...head.fields] };
    removeHopByHop(outgoing.fields);
    if (redactor !== null) this.redactions += redactHead(outgoing, redactor);
    const accepted = acceptSwitch(head, outgoing.fields, offer);
    if (accepted.verdict === 'malformed') {
      listener.responseFailed(
        'UPSTREAM_MALFORMED',
        `The answer to the WebSocket handshake is malformed: ${accepted.reason}.`,
      );
      return;
    }
    setFraming(outgoing.fields, { kind: 'none' });
    const text = encodeResponseHead(outgoing);
    this.status = head.status;
    this.hasBegun = true;
    client.write(text, 'latin1');
    listener.responseSwitched(accepted.compression, rest);
  }

  #passInterim(head: ResponseHead): void {
    this.#interim += 1;
    if (this.#interim > MAX_INTERIM_RESPONSES) {
      this.#options.listener.responseFailed(
        'UPSTREAM_MALFORMED',
        `The upstream sent more than ${MAX_INTERIM_RESPONSES} interim responses.`,
      );
      return;
    }
    // An HTTP/1.0 client knows no interim responses (RFC 9110 section 15.2).
    if (this.#options.minor === 0) return;
    responseFraming(head, this.#options.method);
    removeHopByHop(head.fields);
    if (this.#options.redactor !== null) this.redactions += redactHead(head, this.#options.redactor);
    head.minor = 1;
    this.#options.client.write(encodeResponseHead(head), 'latin1');
  }

  /** Writes the final head; `framing` null leaves the framing fields as the upstream set them. */
  #writeHead(framing: Framing | null): void {
    const head = this.#head;
    if (head === null) throw new TypeError('a response head is written before it came');
    const text = this.#encodeHead(head, framing);
    this.hasBegun = true;
    // The head goes out with what has come of the body.
    this.#cork();
    this.#options.client.write(text, 'latin1');
  }

  #cork(): void {
    if (this.#isCorked || !this.#isReceiving) return;
    this.#isCorked = true;
    this.#options.client.cork();
  }

  #encodeHead(head: ResponseHead, framing: Framing | null): string {
    if (framing === null) {
      head.minor = 1;
      if (!this.keepAlive) head.fields.push('Connection', 'close');
    } else {
      if (framing.kind === 'until-close') this.keepAlive = false;
      this.#outgoing = framing.kind;
      setResponseFraming(head, framing, { minor: this.#options.minor, keepAlive: this.keepAlive });
    }
    return encodeResponseHead(head);
  }

  /** Writes a piece of the body. */
  write(data: Buffer): boolean {
    this.bytes += data.length;
    const { client } = this.#options;
    return this.#outgoing === 'chunked' ? writeChunk(client, data) : client.write(data);
  }

  /** Writes a piece of the body out of the block in which it was gathered. */
  writeBlock(data: Buffer, block: BodyBlock): boolean {
    this.bytes += data.length;
    const { client } = this.#options;
    const framed = this.#outgoing === 'chunked' ? block.frame(data) : data;
    client.write(framed, (error) => {
      if (!error) block.release();
    });
    return client.writableLength < MAX_QUEUED_BYTES;
  }

  #bodyEnd(): void {
    this.#bodyReceived = true;
    this.upstreamReusable = this.#keepsUpstream;
    if (this.#content === null) this.finish();
    else this.#content.end();
  }

  /** The body has been written whole. */
  finish(): void {
    this.redactions += this.#content?.matches ?? 0;
    if (this.#outgoing === 'chunked') this.#options.client.write(encodeLastChunk(this.#cleanTrailers()), 'latin1');
    this.isComplete = true;
    this.#options.listener.responseComplete();
  }

  /** Writes the head and a body whose length is known. */
  measured(body: Buffer): void {
    const { client } = this.#options;
    const head = this.#head;
    if (head === null) throw new TypeError('a body is measured before its head came');
    if ((this.#content?.matches ?? 0) > 0) markChanged(head.fields);
    const text = this.#encodeHead(head, { kind: 'length', bytes: body.length });
    this.hasBegun = true;
    this.bytes += body.length;
    const joined = Buffer.allocUnsafe(text.length + body.length);
    joined.write(text, 0, 'latin1');
    body.copy(joined, text.length);
    client.write(joined);
  }

  /** The body cannot be passed on (any further). */
  fail(code: ErrorCode, detail: string): void {
    this.#options.listener.responseFailed(code, detail);
  }

  #cleanTrailers(): string[] {
    const trailers = this.#body?.trailers ?? [];
    const { redactor } = this.#options;
    if (redactor !== null) this.redactions += redactTrailers(trailers, redactor);
    return trailers;
  }

  #failBy(error: unknown): void {
    if (this.#disposed) return;
    if (error instanceof HttpSyntaxError) {
      this.#options.listener.responseFailed(
        'UPSTREAM_MALFORMED',
        `The upstream's response breaks HTTP: ${error.message}`,
      );
    } else {
      // What went wrong is not told: it could quote a value.
      this.#options.listener.responseFailed('INTERNAL', 'The gate failed on this response.');
    }
  }
}

/** An HTTP/1.0 client gets a body of unknown length until the connection closes. */
function clientFraming(framing: Framing, minor: 0 | 1): Framing {
  if (framing.kind === 'length') return framing;
  return minor === 0 ? { kind: 'until-close' } : { kind: 'chunked' };
}
