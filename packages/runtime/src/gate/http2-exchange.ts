import type { Duplex } from 'node:stream';
import type { ErrorCode } from '@sallyport/sdk';
import { HttpSyntaxError } from '../http/http-syntax-error.ts';
import type { RequestHead, ResponseHead } from '../http/message.ts';
import { ERROR_CODE, Http2FieldError } from '../http2/error-code.ts';
import type { Http2Stream, Http2StreamListener } from '../http2/types.ts';
import type { Waiting } from './client-connection.ts';
import { removeDigests } from './content-coding.ts';
import { CredentialRound } from './credential-round.ts';
import type { Protocol } from './dialer.ts';
import type { GateContext } from './gate-context.ts';
import { discardSoon } from './http2-early-answer.ts';
import type { Http2ClientConnection } from './http2-client-connection.ts';
import { readRequestHead, readTrailers, type Http2RequestHead } from './http2-fields.ts';
import { forwardRequest } from './http2-forward.ts';
import { isGrpcCall, respondGrpcProblem, respondProblem } from './http2-problem.ts';
import { rewriteHttp2Request } from './http2-request-rewrite.ts';
import { Http2Response, type ResponseOwner } from './http2-response.ts';
import { Http2WebSocket } from './http2-websocket.ts';
import { describeDialFailure, type Problem } from './problem.ts';
import { mergeNames } from './record.ts';
import { setGatheredLength, type RequestBodyPlan, type RequestBodyRelay } from './request-body.ts';
import { openRequestBody, repeatRequestBody } from './request-body-relay.ts';
import { judgeRefused, rewriteTrailers, type ForwardVerdict } from './request-rewrite.ts';
import type { Lease } from './upstream-pool.ts';
import { asksAgain, type UpstreamFault, type UpstreamRequest } from './upstream-request.ts';
import type { WebSocketOffer } from './websocket-handshake.ts';
import { breakOff } from './websocket-relay.ts';

/** Methods that may be sent again when a pooled connection turns out to be closed (RFC 9110 section 9.2.2). */
const REPEATABLE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

/**
 * One HTTP/2 stream of a client and its answer: steps 5 to 10, as `Exchange` does them for HTTP/1.
 *
 * The upstream speaks HTTP/2, or HTTP/1 where it offers nothing else; what it answers is the {@link Http2Response}'s. An exchange ends
 * exactly once, with one audit event.
 */
export class Http2Exchange implements Http2StreamListener, ResponseOwner {
  readonly isGrpc: boolean;
  isEnded = false;
  /** The client has ended its side of the stream. */
  isRequestComplete: boolean;
  upstream: UpstreamRequest | null = null;
  /** As it was when the request began, and had its values: a change is for the next one. */
  context: GateContext;
  readonly #client: Http2ClientConnection;
  readonly #stream: Http2Stream;
  readonly #received: Http2RequestHead;
  /** Whether the head was all of the request. */
  readonly #endedWithHead: boolean;
  /** As the client sent it. */
  readonly #original: RequestHead;
  readonly #response: Http2Response;
  readonly #startedMs = performance.now();
  #deadlineMs = 0;
  #waiting: Waiting = 'response';
  /** Null for a body that is sent as it comes. */
  #requestBody: RequestBodyRelay | null = null;
  #clientTrailers: string[] = [];
  #offer: WebSocketOffer | null = null;
  #upstreamProtocol: Protocol = 'http/1.1';
  #webSocket: Http2WebSocket | null = null;
  /** The client broke HTTP/2 on this stream. */
  #isMalformed = false;
  /** What may be sent once more; null where nothing may. */
  #repeatable: ForwardVerdict | null = null;
  /** Something of the request has been sent. */
  #isSent = false;
  #forward: ForwardVerdict | null = null;
  /** Made when there is something to wait for. */
  #round: CredentialRound | null = null;
  #released: string[] = [];
  #stray: string[] = [];
  #rule: string;
  /** Of the gate's own answer. */
  #status: number | null = null;
  #requestBytes = 0;

  constructor(client: Http2ClientConnection, stream: Http2Stream, fields: readonly string[], ends: boolean) {
    this.#client = client;
    this.context = client.context;
    this.#stream = stream;
    const received = readRequestHead(fields);
    this.#received = received;
    this.#original = received.head;
    this.isGrpc = received.protocol === null && isGrpcCall(received.head);
    this.#endedWithHead = ends;
    this.isRequestComplete = ends;
    this.#rule = client.purpose.kind === 'forward' ? client.purpose.rule : '';
    this.#response = new Http2Response(this, stream);
    this.#wait('response');
    stream.listener = this;
  }

  get streamId(): number {
    return this.#stream.id;
  }

  get method(): string {
    return this.#original.method;
  }

  start(): void {
    const { purpose } = this.#client;
    if (purpose.kind === 'refuse') {
      const { problem, stray } = judgeRefused(this.context, purpose.origin, this.#original, purpose.problem);
      this.#stray = stray;
      this.#answer(problem, 'deny');
      return;
    }
    // Nothing is read until there is somewhere to send it to.
    if (!this.isRequestComplete) this.#stream.pause();
    try {
      if (this.context.provider === null || !this.#credentials().awaitValues()) this.#beginRequest();
    } catch (error) {
      this.broke(error);
    }
  }

  /** Whether the time limit of what the stream waits for has passed. */
  isOverdue(nowMs: number): boolean {
    return nowMs > this.#deadlineMs;
  }

  expire(): void {
    if (this.isEnded) {
      // The answer is not taken, or the client does not end its side.
      this.#stream.reset(ERROR_CODE.cancel);
      return;
    }
    if (this.#webSocket !== null) {
      this.#webSocket.expire(this.#waiting);
      return;
    }
    if (this.#round?.expire() === true) return;
    if (!this.isRequestComplete && this.#waiting === 'body') {
      this.#refuse({ status: 408, code: 'CLIENT_TIMEOUT', detail: 'The request body stopped coming.' });
      return;
    }
    this.fail({ code: 'UPSTREAM_TIMEOUT', detail: 'The upstream did not answer within the time limit.' });
  }

  /** The client broke HTTP/2 on this stream, which is reset for that. */
  clientAtFault(): void {
    this.#isMalformed = true;
  }

  // A server's streams have no responses.
  interim(): void {}
  head(): void {}

  data(chunk: Buffer): void {
    if (this.isEnded) return;
    this.#wait('body');
    this.#requestBytes += chunk.length;
    try {
      const isFlowing = this.#requestBody === null ? this.upstream?.write(chunk) : this.#requestBody.push(chunk);
      if (isFlowing === false) this.#stream.pause();
    } catch (error) {
      this.broke(error);
    }
  }

  end(trailers: string[]): void {
    if (this.isRequestComplete || this.isEnded) return;
    this.isRequestComplete = true;
    if (trailers.length > 0) this.#clientTrailers = readTrailers(trailers);
    try {
      if (this.#requestBody === null) this.#endRequest();
      else this.#requestBody.end();
    } catch (error) {
      this.broke(error);
    }
  }

  /** `closed` follows. */
  reset(): void {}

  drain(): void {
    this.#response.drained();
  }

  /** The stream is over. */
  closed(): void {
    this.#client.exchangeDone(this);
    if (this.#response.isComplete) this.complete();
    if (this.isEnded) return;
    this.#abort();
    if (this.#isMalformed) this.#conclude('deny', 'MALFORMED_REQUEST');
    else this.#conclude('error', null);
  }

  answered(): void {
    this.#wait('stream');
  }

  holds401(): boolean {
    if (this.#round === null) return false;
    const isRepeatable = this.#requestBody === null ? this.#repeatable !== null : this.#requestBody.canRepeat;
    return this.#round.holds401(this.context, mergeNames(this.#released, this.#requestBody?.released), isRepeatable);
  }

  accept(head: ResponseHead): UpstreamFault | null {
    this.#requestBody?.forget();
    if (this.#offer === null || head.status >= 300) return null;
    // Passed on, it would tell the client that a WebSocket was opened.
    return { code: 'UPSTREAM_MALFORMED', detail: 'The upstream took the WebSocket handshake for another request.' };
  }

  switched(head: ResponseHead, upstream: Duplex, rest: Buffer): void {
    this.upstream = null;
    const offer = this.#offer;
    if (this.isEnded || offer === null) {
      breakOff(upstream);
      return;
    }
    try {
      const opened = Http2WebSocket.open(head, upstream, {
        client: this.#client,
        stream: this.#stream,
        offer,
        protocol: this.#upstreamProtocol,
        context: this.context,
        bound: this.#forward?.bound ?? [],
        wait: (forWhat) => this.#wait(forWhat),
        onOver: () => {
          // What has come on the stream is still to be passed on.
          if (this.isEnded) this.#client.exchangeDone(this);
        },
        onEnd: ({ decision, code, misuse }) => {
          if (misuse !== undefined) this.#stray = mergeNames(this.#stray, [misuse.secret]);
          this.#endWebSocket(decision, code);
          if (misuse?.terminates === true) this.context.terminate(misuse.secret);
        },
      });
      if (opened.verdict === 'ok') {
        this.#status = 200;
        this.#webSocket = opened.webSocket;
        this.#webSocket.upstreamEarly(rest);
      } else {
        const detail = `The answer to the WebSocket handshake is malformed: ${opened.reason}.`;
        this.fail({ code: 'UPSTREAM_MALFORMED', detail });
      }
    } catch (error) {
      this.broke(error);
    }
    if (this.#webSocket === null) breakOff(upstream);
  }

  upstreamDrained(): void {
    const takesMore = this.#requestBody?.resume() ?? true;
    if (takesMore && !this.isRequestComplete) this.#stream.resume();
  }

  fail(fault: UpstreamFault): void {
    if (this.isEnded) return;
    this.#abort();
    if (fault.isStale === true && this.#repeatable !== null) {
      this.#lease(this.#repeatable);
      return;
    }
    const stream = this.#stream;
    if (!stream.headSent && !asksAgain(fault)) {
      const status = fault.code === 'UPSTREAM_TIMEOUT' ? 504 : 502;
      this.#answer({ status, code: fault.code, detail: fault.detail }, 'error');
      return;
    }
    // The client must not take what it got for the whole.
    this.#conclude('error', fault.code);
    const hasCode = fault.resetCode !== undefined && fault.resetCode !== ERROR_CODE.noError;
    stream.reset(hasCode ? fault.resetCode : ERROR_CODE.internalError);
  }

  /** A fault of the gate's own ends this stream and no other. What it was is not told: it could quote a value. */
  broke(error: unknown): void {
    const isTheirs = error instanceof HttpSyntaxError || error instanceof Http2FieldError;
    const code = isTheirs ? 'UPSTREAM_MALFORMED' : 'INTERNAL';
    this.fail({ code, detail: 'The message cannot be passed on safely.' });
  }

  complete(): void {
    if (this.isEnded) return;
    const { upstream } = this;
    this.upstream = null;
    upstream?.answerTaken();
    if (this.#response.isBroken) this.#conclude('error', 'RESPONSE_UNREDACTABLE');
    else this.#conclude('allow', null);
  }

  #credentials(): CredentialRound {
    this.#round ??= new CredentialRound(this.#client, {
      waits: () => this.#wait('secret'),
      goOn: (context) => {
        this.context = context;
        this.#wait('response');
        try {
          this.#beginRequest();
        } catch (error) {
          this.broke(error);
        }
      },
      refuse: (problem, decision) => this.#answer(problem, decision),
      startOver: () => {
        this.#response.startOver();
        this.#abort();
      },
      passOn: () => this.#response.passOn401(),
    });
    return this.#round;
  }

  #beginRequest(): void {
    const { origin } = this.#client.purpose;
    const verdict = rewriteHttp2Request(this.context, origin, this.#received, this.#endedWithHead);
    if (verdict.verdict === 'answer') {
      this.#answer(verdict.problem, 'deny');
      return;
    }
    if (verdict.rule !== null) this.#rule = verdict.rule;
    this.#forward = verdict;
    this.#offer = this.#received.protocol === null ? null : verdict.offer;
    // Of a request that is sent once more, what it had at first counts as well.
    const isRepetition = this.#round?.isRepetition === true;
    this.#released = isRepetition ? mergeNames(this.#released, verdict.released) : verdict.released;
    this.#stray = isRepetition ? mergeNames(this.#stray, verdict.stray) : verdict.stray;
    if (isRepetition) {
      if (this.#requestBody === null) this.#sign(verdict, null);
      else repeatRequestBody(this.context, verdict.authority, verdict.body, this.#requestBody);
      return;
    }
    if (verdict.body.kind !== 'verbatim' && !this.#openBody(verdict, verdict.body)) return;
    if (this.#requestBody?.gathers !== true) this.#sign(verdict, null);
    else if (this.isRequestComplete) this.#requestBody.end();
    else this.#stream.resume();
  }

  /** Prepares for a body into which values may be put; false when it is refused. */
  #openBody({ authority }: ForwardVerdict, plan: Exclude<RequestBodyPlan, { kind: 'verbatim' }>): boolean {
    const opened = openRequestBody(this.context, authority, plan, {
      ready: ({ bytes, isChanged, sha256 }) => {
        const forward = this.#forward;
        if (forward === null || this.isEnded) return;
        setGatheredLength(forward.head.fields, bytes, isChanged);
        try {
          this.#sign({ ...forward, framing: { kind: 'length', bytes } }, sha256);
        } catch (error) {
          this.broke(error);
        }
      },
      write: (data) => {
        this.#wait(this.isRequestComplete ? 'response' : 'body');
        return this.upstream?.write(data) ?? true;
      },
      end: () => {
        removeDigests(this.#clientTrailers);
        this.#endRequest();
      },
      refuse: (problem) => this.#refuse(problem),
      drain: () => {
        if (!this.isEnded && !this.isRequestComplete) this.#stream.resume();
      },
    });
    if (opened.verdict === 'refused') {
      this.#answer(opened.problem, 'deny');
      return false;
    }
    this.#requestBody = opened.body;
    if (plan.kind === 'gathered' && plan.expectsContinue) this.#stream.sendInterim([':status', '100']);
    return true;
  }

  #sign(verdict: ForwardVerdict, bodySha256: string | null): void {
    if (verdict.signing === null) {
      this.#lease(verdict);
      return;
    }
    this.#credentials().sign(this.context, verdict, bodySha256, this.#released, (head, released) => {
      this.#released = released;
      this.#lease({ ...verdict, head });
    });
  }

  #lease(verdict: ForwardVerdict): void {
    const { pool } = this.context;
    const upstream = this.#offer === null ? pool.takeStream(verdict.authority) : null;
    if (upstream !== null) {
      this.#send({ outcome: 'connected', protocol: 'h2', upstream }, verdict);
      return;
    }
    const leased = this.#offer === null ? pool.lease(verdict.authority) : pool.leaseForTunnel(verdict.authority);
    void leased.then((lease) => this.#send(lease, verdict));
  }

  #send(lease: Lease, verdict: ForwardVerdict): void {
    if (this.isEnded) {
      if (lease.outcome === 'connected' && lease.protocol === 'http/1.1') this.context.pool.release(lease.connection);
      return;
    }
    if (lease.outcome === 'failed') {
      const { problem, decision } = describeDialFailure(lease);
      this.#answer(problem, decision);
      return;
    }
    if (lease.protocol === 'h2' && !lease.upstream.hasRoom) {
      // Others that waited for the same connection were quicker.
      this.#lease(verdict);
      return;
    }
    try {
      this.#isSent = true;
      this.#upstreamProtocol = lease.protocol;
      const isBodyless = this.isRequestComplete && this.#requestBody === null;
      this.#repeatable = isBodyless && REPEATABLE_METHODS.has(verdict.head.method) ? verdict : null;
      const forwarding = {
        verdict,
        original: this.#original,
        kind: this.#offer !== null ? 'websocket' : this.isGrpc ? 'grpc' : 'plain',
        clientEnded: this.isRequestComplete,
        isBodyless,
      } as const;
      this.upstream = forwardRequest(this.context, lease, forwarding, this.#response);
      if (this.#offer !== null) this.#wait('response');
      else if (this.#requestBody?.gathers === true) this.#requestBody.send();
      else if (!this.isRequestComplete) this.#stream.resume();
      else this.#requestBody?.end();
    } catch (error) {
      this.broke(error);
    }
  }

  #endRequest(): void {
    this.#wait('response');
    const problem = this.#forward === null ? null : rewriteTrailers(this.context, this.#forward, this.#clientTrailers);
    if (problem === null) this.upstream?.finish(this.#clientTrailers);
    else this.#refuse(problem);
  }

  /** The request turned out, by its body, to be one that cannot be sent (any further). */
  #refuse(problem: Problem): void {
    if (this.isEnded) return;
    this.#abort();
    if (!this.#stream.headSent) {
      this.#answer(problem, 'deny');
      return;
    }
    if (problem.misuse !== undefined) this.#stray = mergeNames(this.#stray, [problem.misuse.secret]);
    this.#conclude('deny', problem.code);
    this.#stream.reset(ERROR_CODE.internalError);
    if (problem.misuse?.terminates === true) this.context.terminate(problem.misuse.secret);
  }

  /** Answers in the gate's own words: as problem+json, or as a gRPC status where the client speaks gRPC. */
  #answer(problem: Problem, decision: 'deny' | 'error'): void {
    if (this.isEnded) return;
    if (problem.rule !== undefined) this.#rule = problem.rule;
    if (problem.misuse !== undefined) this.#stray = mergeNames(this.#stray, [problem.misuse.secret]);
    this.#status = problem.status;
    this.#abort();
    this.#conclude(decision, problem.code);
    if (problem.misuse?.terminates === true) this.context.terminate(problem.misuse.secret);
    const stream = this.#stream;
    if (this.isGrpc) respondGrpcProblem(stream, problem, decision);
    else respondProblem(stream, problem, this.method === 'HEAD');
    if (!this.isRequestComplete) discardSoon(stream);
  }

  #abort(): void {
    const upstream = this.upstream;
    this.upstream = null;
    upstream?.abort(ERROR_CODE.cancel);
  }

  /** Ends our side; the client has a while to end its own. */
  #endWebSocket(decision: 'allow' | 'deny' | 'error', code: ErrorCode | null): void {
    this.#conclude(decision, code);
    this.#webSocket?.end();
    if (this.#stream.isClosed) this.#client.exchangeDone(this);
    this.#deadlineMs = this.context.clock.nowMs + this.context.timeLimits.lingerMs;
  }

  #wait(forWhat: Waiting): void {
    this.#waiting = forWhat;
    this.#deadlineMs = this.#client.deadlineFor(forWhat);
  }

  #conclude(decision: 'allow' | 'deny' | 'error', code: ErrorCode | null): void {
    this.isEnded = true;
    this.#round?.close();
    const webSocket = this.#webSocket;
    const response = this.#response;
    const substituted = webSocket ?? this.#requestBody;
    this.context.record.request({
      decision,
      code,
      rule: this.#rule === '' ? null : this.#rule,
      origin: this.#client.purpose.origin,
      method: this.#original.method,
      target: this.#original.target,
      status: this.#status ?? response.status,
      requestBytes: webSocket?.sentBytes ?? this.#requestBytes,
      responseBytes: webSocket?.receivedBytes ?? response.bytes,
      durationMs: performance.now() - this.#startedMs,
      secrets: this.#isSent ? mergeNames(this.#released, substituted?.released) : [],
      stray: mergeNames(this.#stray, substituted?.stray),
      redactions: response.redactions + (webSocket?.redactions ?? 0),
    });
    response.dispose();
    this.#requestBody?.dispose();
  }
}
