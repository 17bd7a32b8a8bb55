import http2 from 'node:http2';
import type { Duplex } from 'node:stream';
import type { ErrorCode } from '@sallyport/sdk';
import { removeField } from '../http/fields.ts';
import type { Framing } from '../http/framing.ts';
import { responseFraming } from '../http/framing.ts';
import { removeHopByHop, setFraming } from '../http/hop-by-hop.ts';
import { HttpSyntaxError } from '../http/http-syntax-error.ts';
import type { RequestHead, ResponseHead } from '../http/message.ts';
import type { Waiting } from './client-connection.ts';
import { removeDigests } from './content-coding.ts';
import { CredentialRound } from './credential-round.ts';
import type { DialFailure, Protocol } from './dialer.ts';
import { readRequestHead, readTrailers, responseHeaderList, sendTrailers } from './http2-fields.ts';
import type { GateContext } from './gate-context.ts';
import { forwardRequest } from './http2-forward.ts';
import type { Http2ClientConnection } from './http2-client-connection.ts';
import { BROKEN_CALL_TRAILERS, isGrpcCall, isPlainGrpc, respondGrpcProblem, respondProblem } from './http2-problem.ts';
import { Http2WebSocket, readTunnelRequest } from './http2-websocket.ts';
import { describeDialFailure, type Problem } from './problem.ts';
import { mergeNames } from './record.ts';
import { setGatheredLength, type RequestBodyRelay } from './request-body.ts';
import { openRequestBody, repeatRequestBody } from './request-body-relay.ts';
import {
  judgeRefused,
  rewriteRequest,
  rewriteTrailers,
  type ForwardVerdict,
  type RequestVerdict,
} from './request-rewrite.ts';
import { ResponseBody } from './response-body.ts';
import { markChanged, planResponseBody, redactHead, redactTrailers, rewriteResponseHead } from './response-rewrite.ts';
import type { Lease } from './upstream-pool.ts';
import type { UpstreamAnswer, UpstreamFault, UpstreamRequest } from './upstream-request.ts';
import type { WebSocketOffer } from './websocket-handshake.ts';
import { breakOff } from './websocket-relay.ts';

/** Methods that may be sent again when a pooled connection turns out to be closed (RFC 9110 section 9.2.2). */
const REPEATABLE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

/**
 * Resets of an upstream by which it says that it has done nothing yet (RFC 9113 section 8.7). Told so, a client asks again, and over
 * HTTP/1.1 where that is asked for, on a connection of its own.
 */
const ASK_AGAIN_CODES: ReadonlySet<number> = new Set([
  http2.constants.NGHTTP2_REFUSED_STREAM,
  http2.constants.NGHTTP2_HTTP_1_1_REQUIRED,
]);

/**
 * One HTTP/2 stream of a client and its answer: steps 5 to 10, as `Exchange` does them for HTTP/1.
 *
 * The upstream speaks HTTP/2, or HTTP/1 where it offers nothing else. An exchange ends exactly once, with one audit event.
 */
export class Http2Exchange implements UpstreamAnswer {
  readonly #client: Http2ClientConnection;
  /** As it was when the request began, and had its values: a change is for the next one. */
  #context: GateContext;
  readonly #stream: http2.ServerHttp2Stream;
  readonly #original: RequestHead;
  readonly #scheme: string;
  /** `:protocol` of an extended CONNECT (RFC 8441). */
  readonly #protocol: string | null;
  readonly #isGrpc: boolean;
  readonly #startedMs = performance.now();
  #deadlineMs: number;
  #waiting: Waiting = 'response';
  #upstream: UpstreamRequest | null = null;
  /** Null for a body that is sent as it comes. */
  #requestBody: RequestBodyRelay | null = null;
  #clientEnded: boolean;
  #clientTrailers: string[] = [];
  #body: ResponseBody | null = null;
  #head: ResponseHead | null = null;
  #offer: WebSocketOffer | null = null;
  #upstreamProtocol: Protocol = 'http/1.1';
  #webSocket: Http2WebSocket | null = null;
  /** Sends the request once more; null where it must not be. */
  #repeat: (() => void) | null = null;
  #isMeasured = false;
  #trailers: string[] = [];
  #sent = false;
  #ended = false;
  #forward: ForwardVerdict | null = null;
  /** Made when there is something to wait for. */
  #round: CredentialRound | null = null;
  /** What the upstream has done since it answered 401, while it is not known whether the request is sent once more. */
  #held: (() => void)[] | null = null;
  #released: string[] = [];
  #stray: string[] = [];
  #rule: string;
  #status: number | null = null;
  #requestBytes = 0;
  #responseBytes = 0;
  #redactions = 0;

  constructor(client: Http2ClientConnection, stream: http2.ServerHttp2Stream, flags: number, raw: readonly string[]) {
    this.#client = client;
    this.#context = client.context;
    this.#stream = stream;
    const { head, scheme, protocol } = readRequestHead(raw);
    this.#original = head;
    this.#scheme = scheme;
    this.#protocol = protocol;
    this.#isGrpc = protocol === null && isGrpcCall(head);
    this.#clientEnded = (flags & http2.constants.NGHTTP2_FLAG_END_STREAM) !== 0;
    this.#rule = client.purpose.kind === 'forward' ? client.purpose.rule : '';
    this.#deadlineMs = 0;
    this.#wait('response');
    stream.on('trailers', (_, __, trailers: string[]) => {
      this.#clientTrailers = readTrailers(trailers);
    });
    stream.on('drain', () => this.#body?.drained());
    stream.on('wantTrailers', () => sendTrailers(stream, this.#trailers));
    // 'close' follows every error.
    stream.on('error', () => undefined);
    stream.on('close', () => this.#clientGone());
  }

  start(): void {
    const { purpose } = this.#client;
    if (purpose.kind === 'refuse') {
      const { problem, stray } = judgeRefused(this.#context, purpose.origin, this.#original, purpose.problem);
      this.#stray = stray;
      this.#answer(problem, 'deny');
      return;
    }
    if (!this.#clientEnded) this.#stream.pause();
    if (this.#context.provider === null || !this.#credentials().awaitValues()) this.#beginRequest();
  }

  #credentials(): CredentialRound {
    this.#round ??= new CredentialRound(this.#client, {
      waits: () => this.#wait('secret'),
      goOn: (context) => {
        this.#context = context;
        this.#wait('response');
        this.#guard(() => this.#beginRequest());
      },
      refuse: (problem, decision) => this.#answer(problem, decision),
      startOver: () => {
        this.#held = null;
        this.#upstream?.abort(http2.constants.NGHTTP2_CANCEL);
        this.#upstream = null;
      },
      passOn: () => this.#passOn401(),
    });
    return this.#round;
  }

  #beginRequest(): void {
    const verdict = this.#judge();
    if (verdict.verdict === 'answer') {
      this.#answer(verdict.problem, 'deny');
      return;
    }
    if (verdict.rule !== null) this.#rule = verdict.rule;
    this.#forward = verdict;
    this.#released = mergeNames(this.#released, verdict.released);
    this.#stray = mergeNames(this.#stray, verdict.stray);
    this.#offer = this.#protocol === null ? null : verdict.offer;
    if (this.#round?.isRepetition === true) {
      if (this.#requestBody === null) this.#sign(verdict, null);
      else repeatRequestBody(this.#context, verdict.authority, verdict.body, this.#requestBody);
      return;
    }
    if (!this.#openBody(verdict)) return;
    if (this.#requestBody?.gathers === true) {
      this.#pumpRequest();
      return;
    }
    if (!this.#clientEnded) this.#stream.pause();
    this.#sign(verdict, null);
  }

  #sign(verdict: ForwardVerdict, bodySha256: string | null): void {
    if (verdict.signing === null) {
      this.#lease(verdict);
      return;
    }
    this.#credentials().sign(this.#context, verdict, bodySha256, this.#released, (head, released) => {
      this.#released = released;
      this.#guard(() => this.#lease({ ...verdict, head }));
    });
  }

  /** Whether the time limit of what the stream waits for has passed. */
  isOverdue(nowMs: number): boolean {
    return nowMs > this.#deadlineMs;
  }

  expire(): void {
    if (this.#ended) {
      // The answer is not taken, or the client does not end its side.
      this.#stream.close(http2.constants.NGHTTP2_CANCEL);
      return;
    }
    if (this.#webSocket !== null) {
      this.#webSocket.expire(this.#waiting);
      return;
    }
    if (this.#round?.expire() === true) return;
    if (!this.#clientEnded && this.#waiting === 'body') {
      this.#answer({ status: 408, code: 'CLIENT_TIMEOUT', detail: 'The request body stopped coming.' }, 'deny');
      return;
    }
    this.fail({ code: 'UPSTREAM_TIMEOUT', detail: 'The upstream did not answer within the time limit.' });
  }

  interim(head: ResponseHead): void {
    if (this.#ended) return;
    removeHopByHop(head.fields);
    const { redactor } = this.#context;
    if (redactor !== null) this.#redactions += redactHead(head, redactor);
    this.#guard(() => this.#stream.additionalHeaders(responseHeaderList(head)));
  }

  head(head: ResponseHead, hasBody: boolean): void {
    if (this.#ended) return;
    this.#wait('stream');
    if (head.status === 401 && this.#holdsResponse()) {
      this.#held?.push(() => this.head(head, hasBody));
      return;
    }
    this.#requestBody?.forget();
    if (this.#offer !== null && head.status < 300) {
      // Passed on, it would tell the client that a WebSocket was opened.
      this.fail({
        code: 'UPSTREAM_MALFORMED',
        detail: 'The upstream took the WebSocket handshake for another request.',
      });
      return;
    }
    this.#guard(() => this.#begin(head, hasBody));
  }

  switched(head: ResponseHead, upstream: Duplex, rest: Buffer): void {
    this.#upstream = null;
    const offer = this.#offer;
    if (this.#ended || offer === null) {
      breakOff(upstream);
      return;
    }
    this.#guard(() => {
      const opened = Http2WebSocket.open(head, upstream, {
        client: this.#client,
        stream: this.#stream,
        offer,
        protocol: this.#upstreamProtocol,
        context: this.#context,
        bound: this.#forward?.bound ?? [],
        wait: (forWhat) => this.#wait(forWhat),
        onEnd: ({ decision, code, misuse }) => {
          if (misuse !== undefined) this.#stray = mergeNames(this.#stray, [misuse.secret]);
          this.#endWebSocket(decision, code);
          if (misuse?.terminates === true) this.#context.terminate(misuse.secret);
        },
      });
      if (opened.verdict === 'ok') {
        this.#status = 200;
        this.#webSocket = opened.webSocket;
        this.#webSocket.upstreamEarly(rest);
        return;
      }
      this.fail({
        code: 'UPSTREAM_MALFORMED',
        detail: `The answer to the WebSocket handshake is malformed: ${opened.reason}.`,
      });
    });
    if (this.#webSocket === null) breakOff(upstream);
  }

  #holdsResponse(): boolean {
    if (this.#round === null) return false;
    const isRepeatable = this.#requestBody === null ? this.#repeat !== null : this.#requestBody.canRepeat;
    const held = this.#round.holds401(
      this.#context,
      mergeNames(this.#released, this.#requestBody?.released),
      isRepeatable,
    );
    if (!held) return false;
    this.#held = [];
    this.#upstream?.pause();
    return true;
  }

  #passOn401(): void {
    const held = this.#held ?? [];
    this.#held = null;
    this.#upstream?.resume();
    for (const happen of held) happen();
  }

  data(chunk: Buffer): void {
    if (this.#ended) return;
    if (this.#held !== null) {
      this.#held.push(() => this.data(chunk));
      return;
    }
    this.#wait('stream');
    this.#guard(() => this.#body?.push(chunk));
  }

  end(trailers: string[]): void {
    if (this.#ended) return;
    if (this.#held !== null) {
      this.#held.push(() => this.end(trailers));
      return;
    }
    const { redactor } = this.#context;
    if (redactor !== null) this.#redactions += redactTrailers(trailers, redactor);
    this.#trailers = trailers;
    this.#guard(() => {
      if (this.#body === null) this.#finish();
      else this.#body.end();
    });
  }

  fail(fault: UpstreamFault): void {
    if (this.#ended) return;
    if (this.#held !== null) {
      this.#held.push(() => this.fail(fault));
      return;
    }
    this.#upstream?.abort(http2.constants.NGHTTP2_CANCEL);
    this.#upstream = null;
    if (fault.isStale === true && this.#repeat !== null) {
      this.#repeat();
      return;
    }
    if (fault.resetCode !== undefined && ASK_AGAIN_CODES.has(fault.resetCode) && !this.#stream.headersSent) {
      this.#conclude('error', fault.code);
      this.#stream.close(fault.resetCode);
      return;
    }
    if (!this.#stream.headersSent) {
      const status = fault.code === 'UPSTREAM_TIMEOUT' ? 504 : 502;
      this.#answer({ status, code: fault.code, detail: fault.detail }, 'error');
      return;
    }
    // The client must not take what it got for the whole.
    this.#conclude('error', fault.code);
    this.#stream.close(
      fault.resetCode === undefined || fault.resetCode === 0 ? http2.constants.NGHTTP2_INTERNAL_ERROR : fault.resetCode,
    );
  }

  drain(): void {
    const takesMore = this.#requestBody?.resume() ?? true;
    if (takesMore && !this.#clientEnded) this.#stream.resume();
  }

  /** Steps 5 to 7. */
  #judge(): RequestVerdict {
    const context = this.#context;
    const { purpose } = this.#client;
    let head = this.#original;
    if (this.#protocol !== null) {
      const read = readTunnelRequest(head, this.#protocol, this.#clientEnded);
      if (read.verdict === 'answer') return read;
      head = read.head;
    }
    if (head.method !== 'CONNECT' && this.#scheme !== purpose.origin.scheme) {
      return {
        verdict: 'answer',
        problem: {
          status: 421,
          code: 'AUTHORITY_MISMATCH',
          detail: 'The request names another scheme than its connection.',
        },
      };
    }
    try {
      return rewriteRequest(context, purpose.origin, head, this.#protocol === null && !this.#clientEnded);
    } catch (error) {
      if (!(error instanceof HttpSyntaxError)) throw error;
      return { verdict: 'answer', problem: { status: error.status, code: 'MALFORMED_REQUEST', detail: error.message } };
    }
  }

  /** Prepares for a body into which values may be put; false when it is refused. */
  #openBody(verdict: ForwardVerdict): boolean {
    const plan = verdict.body;
    if (plan.kind === 'verbatim') return true;
    const opened = openRequestBody(this.#context, verdict.authority, plan, {
      ready: ({ bytes, isChanged, sha256 }) => {
        const forward = this.#forward;
        if (forward === null || this.#ended) return;
        setGatheredLength(forward.head.fields, bytes, isChanged);
        this.#guard(() => this.#sign({ ...forward, framing: { kind: 'length', bytes } }, sha256));
      },
      write: (data) => {
        this.#wait(this.#clientEnded ? 'response' : 'body');
        return this.#upstream?.write(data) ?? true;
      },
      end: () => {
        removeDigests(this.#clientTrailers);
        this.#endRequest();
      },
      refuse: (problem) => this.#refuse(problem),
      drain: () => {
        if (!this.#ended && !this.#clientEnded) this.#stream.resume();
      },
    });
    if (opened.verdict === 'refused') {
      this.#answer(opened.problem, 'deny');
      return false;
    }
    this.#requestBody = opened.body;
    if (plan.kind === 'gathered' && plan.expectsContinue) this.#stream.additionalHeaders({ ':status': 100 });
    return true;
  }

  #lease(verdict: ForwardVerdict): void {
    const { pool } = this.#context;
    const upstream = this.#offer === null ? pool.takeStream(verdict.authority) : null;
    if (upstream !== null) {
      this.#send({ outcome: 'connected', protocol: 'h2', upstream }, verdict);
      return;
    }
    const leased = this.#offer === null ? pool.lease(verdict.authority) : pool.leaseForTunnel(verdict.authority);
    void leased.then((lease) => this.#send(lease, verdict));
  }

  #send(lease: Lease, verdict: ForwardVerdict): void {
    if (this.#ended) {
      if (lease.outcome === 'connected' && lease.protocol === 'http/1.1') this.#context.pool.release(lease.connection);
      return;
    }
    if (lease.outcome === 'failed') {
      this.#failDial(lease);
      return;
    }
    this.#guard(() => {
      this.#sent = true;
      this.#upstreamProtocol = lease.protocol;
      const isBodyless = this.#clientEnded && this.#requestBody === null;
      const isRepeatable = isBodyless && REPEATABLE_METHODS.has(verdict.head.method);
      this.#repeat = isRepeatable ? () => this.#lease(verdict) : null;
      this.#upstream = forwardRequest(
        this.#context,
        lease,
        {
          verdict,
          original: this.#original,
          kind: this.#offer !== null ? 'websocket' : this.#isGrpc ? 'grpc' : 'plain',
          clientEnded: this.#clientEnded,
          isBodyless,
        },
        this,
      );
      if (this.#offer !== null) this.#wait('response');
      else if (this.#requestBody?.gathers === true) this.#requestBody.send();
      else this.#pumpRequest();
    });
  }

  #pumpRequest(): void {
    if (this.#clientEnded) return;
    const stream = this.#stream;
    stream.on('data', (chunk: Buffer) => {
      if (this.#ended) return;
      this.#wait('body');
      this.#requestBytes += chunk.length;
      this.#guard(() => {
        const isFlowing = this.#requestBody === null ? this.#upstream?.write(chunk) : this.#requestBody.push(chunk);
        if (isFlowing === false) stream.pause();
      });
    });
    stream.on('end', () => {
      // node:http2 ends the body of a stream that was reset as well: what was cut off must not arrive as a whole. 'close' follows.
      if (stream.closed && !this.#ended) return;
      this.#clientEnded = true;
      if (this.#ended) return;
      this.#guard(() => {
        if (this.#requestBody === null) this.#endRequest();
        else this.#requestBody.end();
      });
    });
    stream.resume();
  }

  #endRequest(): void {
    this.#wait('response');
    const problem = this.#forward === null ? null : rewriteTrailers(this.#context, this.#forward, this.#clientTrailers);
    if (problem === null) this.#upstream?.end(this.#clientTrailers);
    else this.#refuse(problem);
  }

  /** The request turned out, in its body, to be one that cannot be sent (any further). */
  #refuse(problem: Problem): void {
    if (this.#ended) return;
    this.#upstream?.abort(http2.constants.NGHTTP2_CANCEL);
    this.#upstream = null;
    if (!this.#stream.headersSent) {
      this.#answer(problem, 'deny');
      return;
    }
    if (problem.misuse !== undefined) this.#stray = mergeNames(this.#stray, [problem.misuse.secret]);
    this.#conclude('deny', problem.code);
    this.#stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    if (problem.misuse?.terminates === true) this.#context.terminate(problem.misuse.secret);
  }

  #begin(head: ResponseHead, hasBody: boolean): void {
    const { redactor } = this.#context;
    const announced = responseFraming(head, this.#original.method);
    const framing: Framing = !hasBody || announced.kind === 'none' ? { kind: 'none' } : announced;
    const plan = planResponseBody(head, framing, redactor !== null);
    this.#status = head.status;
    if (plan.kind === 'refused') {
      this.fail({
        code: 'RESPONSE_UNREDACTABLE',
        detail: `The response cannot be searched for credentials: ${plan.reason}.`,
      });
      return;
    }
    if (this.#isGrpc && redactor !== null && !isPlainGrpc(head)) {
      this.fail({
        code: 'RESPONSE_UNREDACTABLE',
        detail: 'The response holds compressed messages although none were asked for.',
      });
      return;
    }
    this.#redactions += rewriteResponseHead(head, plan, redactor);
    this.#head = head;
    if (plan.kind === 'none') {
      this.#respond(head, !hasBody);
      if (hasBody) this.#body = null;
      return;
    }
    this.#isMeasured = plan.kind === 'measured';
    const upstream = this.#upstream;
    this.#body = new ResponseBody(
      plan,
      redactor,
      { pause: () => upstream?.pause(), resume: () => upstream?.resume() },
      {
        write: (data) => this.#write(data),
        measured: (body) => this.#writeMeasured(body),
        finish: () => this.#finish(),
        fail: (code, detail) => this.fail({ code, detail }),
      },
    );
    if (this.#isMeasured) return;
    if (plan.kind === 'streamed') removeField(head.fields, 'content-length');
    this.#respond(head, false);
  }

  #respond(head: ResponseHead, ends: boolean): void {
    this.#stream.respond(responseHeaderList(head), { endStream: ends, waitForTrailers: !ends });
  }

  #write(data: Buffer): boolean {
    if (this.#isGrpc && (this.#body?.matches ?? 0) > 0) {
      // A message carries its own length: with the value taken out it is no message any more, so the call must not succeed.
      this.#upstream?.abort(http2.constants.NGHTTP2_CANCEL);
      this.#finish();
      return true;
    }
    this.#responseBytes += data.length;
    return this.#stream.write(data);
  }

  #writeMeasured(body: Buffer): void {
    const head = this.#head;
    if (head === null) throw new TypeError('a body is measured before its head came');
    if ((this.#body?.matches ?? 0) > 0) markChanged(head.fields);
    setFraming(head.fields, { kind: 'length', bytes: body.length });
    if (this.#trailers.length > 0 || this.#isGrpc) {
      this.#respond(head, false);
      this.#write(body);
      return;
    }
    // Without trailers to wait for, head and body leave together.
    this.#responseBytes += body.length;
    this.#stream.respond(responseHeaderList(head), { endStream: false });
    this.#stream.end(body);
  }

  #finish(): void {
    if (this.#ended) return;
    const matches = this.#body?.matches ?? 0;
    this.#redactions += matches;
    this.#upstream = null;
    const broken = this.#isGrpc && matches > 0;
    this.#conclude(broken ? 'error' : 'allow', broken ? 'RESPONSE_UNREDACTABLE' : null);
    if (broken) this.#trailers = [...BROKEN_CALL_TRAILERS];
    if (!this.#stream.writableEnded) this.#stream.end();
    this.#stopRequest();
  }

  /** After an answer that came before the request was whole, nobody reads the rest (RFC 9113 section 8.1). */
  #stopRequest(): void {
    if (this.#clientEnded) return;
    const stream = this.#stream;
    // After the answer itself has been handed to nghttp2, which sends a reset before anything that waits.
    const stop = (): void => void setImmediate(() => stream.close(http2.constants.NGHTTP2_NO_ERROR));
    if (stream.writableFinished) stop();
    else stream.once('finish', stop);
  }

  #failDial(failure: DialFailure): void {
    const { problem, decision } = describeDialFailure(failure);
    this.#answer(problem, decision);
  }

  /** Answers in the gate's own words: as problem+json, or as a gRPC status where the client speaks gRPC. */
  #answer(problem: Problem, decision: 'deny' | 'error'): void {
    if (this.#ended) return;
    if (problem.rule !== undefined) this.#rule = problem.rule;
    if (problem.misuse !== undefined) this.#stray = mergeNames(this.#stray, [problem.misuse.secret]);
    this.#status = problem.status;
    this.#conclude(decision, problem.code);
    if (problem.misuse?.terminates === true) this.#context.terminate(problem.misuse.secret);
    const stream = this.#stream;
    if (stream.destroyed || stream.closed) return;
    stream.resume();
    if (this.#isGrpc) respondGrpcProblem(stream, problem, decision);
    else respondProblem(stream, problem, this.#original.method === 'HEAD');
    this.#stopRequest();
  }

  #clientGone(): void {
    this.#client.exchangeDone(this);
    if (this.#ended) return;
    if (this.#webSocket !== null) {
      this.#webSocket.clientGone();
      return;
    }
    this.#upstream?.abort(http2.constants.NGHTTP2_CANCEL);
    this.#upstream = null;
    this.#conclude('error', null);
  }

  /** Ends our side; the client has a while to end its own. */
  #endWebSocket(decision: 'allow' | 'deny' | 'error', code: ErrorCode | null): void {
    this.#conclude(decision, code);
    if (!this.#stream.writableEnded) this.#stream.end();
    const { clock, timeLimits } = this.#context;
    this.#deadlineMs = clock.nowMs + timeLimits.lingerMs;
  }

  #wait(forWhat: Waiting): void {
    this.#waiting = forWhat;
    this.#deadlineMs = this.#client.deadlineFor(forWhat);
  }

  /** A fault of the gate's own ends this stream and no other. What it was is not told: it could quote a value. */
  #guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      const code: ErrorCode = error instanceof HttpSyntaxError ? 'UPSTREAM_MALFORMED' : 'INTERNAL';
      this.fail({ code, detail: 'The message cannot be passed on safely.' });
    }
  }

  #conclude(decision: 'allow' | 'deny' | 'error', code: ErrorCode | null): void {
    this.#ended = true;
    this.#round?.close();
    const origin = this.#client.purpose.origin;
    const webSocket = this.#webSocket;
    const substituted = webSocket ?? this.#requestBody;
    this.#context.record.request({
      decision,
      code,
      rule: this.#rule === '' ? null : this.#rule,
      origin,
      method: this.#original.method,
      target: this.#original.target,
      status: this.#status,
      requestBytes: webSocket?.sentBytes ?? this.#requestBytes,
      responseBytes: webSocket?.receivedBytes ?? this.#responseBytes,
      durationMs: performance.now() - this.#startedMs,
      secrets: this.#sent ? mergeNames(this.#released, substituted?.released) : [],
      stray: mergeNames(this.#stray, substituted?.stray),
      redactions: this.#redactions + (webSocket?.redactions ?? 0),
    });
    this.#body?.dispose();
    this.#requestBody?.dispose();
  }
}
