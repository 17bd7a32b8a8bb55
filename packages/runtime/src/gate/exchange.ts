import type { ErrorCode } from '@sallyport/sdk';
import { createBodyDecoder, type BodyDecoder } from '../http/body-decoder.ts';
import { encodeLastChunk, encodeRequestHead } from '../http/encoder.ts';
import type { Framing } from '../http/framing.ts';
import { keepsAlive } from '../http/hop-by-hop.ts';
import { HttpSyntaxError } from '../http/http-syntax-error.ts';
import type { RequestHead } from '../http/message.ts';
import type { ConnectionSubstitution } from '../secrets/substitute-message.ts';
import { CLOSE_CODE } from '../websocket/frame.ts';
import type { ClientConnection, Waiting } from './client-connection.ts';
import { removeDigests } from './content-coding.ts';
import { CredentialRound } from './credential-round.ts';
import type { DialFailure } from './dialer.ts';
import type { GateContext } from './gate-context.ts';
import { explainEnd } from './late-alert.ts';
import { describeDialFailure, type Problem } from './problem.ts';
import { mergeNames } from './record.ts';
import { setGatheredLength, type RequestBodyPlan, type RequestBodyRelay } from './request-body.ts';
import { openRequestBody, repeatRequestBody } from './request-body-relay.ts';
import { judgeRefused, rewriteRequest, rewriteTrailers, type ForwardVerdict } from './request-rewrite.ts';
import { ResponseRelay, type ResponseListener } from './response-relay.ts';
import type { UpstreamConnection, UpstreamListener } from './upstream-connection.ts';
import type { WebSocketOffer } from './websocket-handshake.ts';
import type { WebSocketEnd, WebSocketRelay } from './websocket-relay.ts';
import { openWebSocketSession } from './websocket-session.ts';
import { writeChunk } from './write-chunk.ts';

/** Methods that may be sent again when a pooled connection turns out to be closed (RFC 9110 section 9.2.2). */
const REPEATABLE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

/**
 * One request and its response: steps 5 to 10.
 *
 * The request's body streams to the upstream while the {@link ResponseRelay} streams back; either side that cannot take more stops
 * the other's reading. An exchange ends exactly once, with one audit event.
 */
export class Exchange implements UpstreamListener, ResponseListener {
  readonly copiesChunks = true;
  readonly #client: ClientConnection;
  /** As it was when the request began, and had its values: a change is for the next one. */
  #context: GateContext;
  readonly #head: RequestHead;
  readonly #startedMs = performance.now();
  #framing: Framing = { kind: 'none' };
  #forward: ForwardVerdict | null = null;
  #outgoing: RequestHead | null = null;
  #decoder: BodyDecoder | null = null;
  #upstream: UpstreamConnection | null = null;
  #response: ResponseRelay | null = null;
  #offer: WebSocketOffer | null = null;
  #webSocket: WebSocketRelay | null = null;
  #substitution: ConnectionSubstitution | null = null;
  #clientInputEnded = false;
  /** Null for a body that is sent as it comes. */
  #body: RequestBodyRelay | null = null;
  /** Body bytes that came before the upstream was reached; reading is paused meanwhile. */
  #early: Buffer[] = [];
  #requestSent = false;
  /** Something of the request has been sent, be it at a try that is to be repeated. */
  #everSent = false;
  /** The request has been read whole. */
  #requestComplete = false;
  /** The body has been given to the upstream whole. */
  #bodySent = false;
  #ended = false;
  /** Made when there is something to wait for. */
  #round: CredentialRound | null = null;
  #released: string[] = [];
  #stray: string[] = [];
  #rule: string;
  #requestBytes = 0;

  constructor(client: ClientConnection, head: RequestHead) {
    this.#client = client;
    this.#context = client.context;
    this.#head = head;
    this.#rule = client.purpose.kind === 'forward' ? client.purpose.rule : '';
  }

  /** Whether the request has been read whole. */
  get isRequestComplete(): boolean {
    return this.#requestComplete;
  }

  /** Whether nothing behind its head is read until it goes on, with {@link ClientConnection.readOn}. */
  get isHeldBack(): boolean {
    return this.#round?.isWaiting === true;
  }

  start(): void {
    const { purpose } = this.#client;
    if (purpose.kind === 'refuse') {
      const { problem, stray } = judgeRefused(this.#context, purpose.origin, this.#head, purpose.problem);
      this.#stray = stray;
      this.#answer(problem, 'deny');
      return;
    }
    if (this.#context.provider === null || !this.#credentials().awaitValues()) this.#begin();
  }

  /** HTTP/1.0 clients get their answer on a connection of its own: they know no chunks. */
  #keepsAlive(): boolean {
    return this.#head.minor === 1 && (this.#forward?.repeated?.keepsAlive ?? keepsAlive(this.#head));
  }

  #isRepetition(): boolean {
    return this.#round?.isRepetition === true;
  }

  #credentials(): CredentialRound {
    const client = this.#client;
    this.#round ??= new CredentialRound(client, {
      waits: () => client.wait('secret'),
      goOn: (context) => {
        this.#context = context;
        client.wait('body');
        client.run(() => this.#begin());
        client.readOn(this);
      },
      refuse: (problem, decision) => this.#answer(problem, decision),
      startOver: () => this.#startOver(),
      passOn: () => {
        client.wait('stream');
        this.#response?.goOn();
        client.readOn(this);
      },
    });
    return this.#round;
  }

  #begin(): void {
    const client = this.#client;
    const verdict = rewriteRequest(this.#context, client.purpose.origin, this.#head, false, client.repeats);
    if (verdict.verdict === 'answer') {
      this.#answer(verdict.problem, 'deny');
      return;
    }
    if (verdict.rule !== null) this.#rule = verdict.rule;
    this.#forward = verdict;
    // Of a request that is sent once more, what it had at first counts as well.
    this.#released = this.#isRepetition() ? mergeNames(this.#released, verdict.released) : verdict.released;
    this.#stray = this.#isRepetition() ? mergeNames(this.#stray, verdict.stray) : verdict.stray;
    this.#outgoing = verdict.head;
    this.#framing = verdict.framing;
    this.#offer = verdict.offer;
    if (this.#isRepetition()) {
      if (this.#body === null) this.#sign(verdict, null);
      else repeatRequestBody(this.#context, verdict.authority, verdict.body, this.#body);
      return;
    }
    this.#decoder = createBodyDecoder(verdict.framing, 'request');
    this.#requestComplete = this.#decoder.isDone;
    if (verdict.body.kind !== 'verbatim' && !this.#openBody(verdict, verdict.body)) return;
    if (this.#body?.gathers !== true) this.#sign(verdict, null);
  }

  #sign(verdict: ForwardVerdict, bodySha256: string | null): void {
    if (verdict.signing === null) {
      this.#connect();
      return;
    }
    this.#credentials().sign(this.#context, verdict, bodySha256, this.#released, (head, released) => {
      this.#outgoing = head;
      this.#released = released;
      this.#client.run(() => this.#connect());
    });
  }

  /** Takes body bytes of the client. Returns the offset after what belongs to this request. */
  clientData(chunk: Buffer, start: number): number {
    if (this.#webSocket !== null) {
      this.#webSocket.clientData(start === 0 ? chunk : chunk.subarray(start));
      return chunk.length;
    }
    // The client keeps it, and stops reading.
    if (this.#round?.isWaiting === true) return start;
    const decoder = this.#decoder;
    let offset = start;
    if (decoder === null || this.#ended) return chunk.length;
    this.#client.wait('body');
    while (offset < chunk.length && !decoder.isDone) {
      offset = decoder.decode(chunk, offset);
      if (decoder.data !== null) {
        this.#requestBytes += decoder.data.length;
        if (this.#requestSent || this.#body?.gathers === true) this.#passData(decoder.data);
        else this.#early.push(decoder.data);
        if (this.#ended) return chunk.length;
      }
    }
    if (!this.#requestSent && this.#body?.gathers !== true) this.#client.pauseReading();
    if (decoder.isDone && !this.#requestComplete) {
      this.#requestComplete = true;
      if (this.#requestSent || this.#body?.gathers === true) this.#endData();
    }
    return offset;
  }

  clientDrain(): void {
    if (this.#webSocket === null) this.#response?.clientDrain();
    else this.#webSocket.clientDrain();
  }

  /** The client has ended its side after a whole request. */
  clientInputEnded(): void {
    this.#clientInputEnded = true;
    this.#webSocket?.clientEnd();
  }

  /** The client has left: nobody waits for the response. */
  clientGone(): void {
    if (this.#ended) return;
    if (this.#webSocket !== null) {
      this.#webSocket.clientGone();
      return;
    }
    this.#upstream?.destroy();
    this.#end('error', null);
  }

  /** A time limit has passed. */
  expire(waiting: Waiting): void {
    if (this.#ended) return;
    if (this.#webSocket !== null) {
      const end: WebSocketEnd =
        waiting === 'websocket-close'
          ? { decision: 'allow', code: null }
          : { decision: 'error', code: 'WEBSOCKET_TIMEOUT' };
      this.#webSocket.close(end, CLOSE_CODE.goingAway, 'nothing was sent within the time limit');
      return;
    }
    if (this.#round?.expire() === true) return;
    if (!this.#requestComplete) {
      this.refuse({ status: 408, code: 'CLIENT_TIMEOUT', detail: 'The request body stopped coming.' });
    } else {
      const what = waiting === 'response' ? 'did not answer' : 'stopped in the middle of its answer';
      this.responseFailed('UPSTREAM_TIMEOUT', `The upstream ${what} within the time limit.`, 504);
    }
  }

  /** The request turned out to be malformed in its body, or a limit or fault ends it. */
  refuse(problem: Problem): void {
    if (this.#ended) return;
    if (this.#webSocket !== null) {
      this.#webSocket.close({ decision: 'error', code: problem.code }, CLOSE_CODE.internalError, 'the gate failed');
      this.#client.socket.destroy();
      return;
    }
    this.#upstream?.destroy();
    if (this.#response?.hasBegun === true) {
      this.#client.socket.destroy();
    } else {
      this.#client.answer(problem, false);
    }
    if (problem.misuse !== undefined) this.#stray = mergeNames(this.#stray, [problem.misuse.secret]);
    this.#end(problem.code === 'INTERNAL' ? 'error' : 'deny', problem.code, problem.status);
    if (problem.misuse?.terminates === true) this.#context.terminate(problem.misuse.secret);
  }

  upstreamData(chunk: Buffer): void {
    const response = this.#response;
    if (response === null) {
      // Bytes before the request was sent cannot be its answer.
      this.responseFailed('UPSTREAM_MALFORMED', 'The upstream spoke before it was asked.');
      return;
    }
    this.#client.wait('stream');
    response.receive(chunk);
    if (response.status !== null) this.#body?.forget();
  }

  holdsResponse(): boolean {
    if (this.#round === null) return false;
    const isRepeatable =
      this.#bodySent &&
      (this.#body === null
        ? this.#framing.kind === 'none' && REPEATABLE_METHODS.has(this.#head.method)
        : this.#body.canRepeat);
    return this.#round.holds401(this.#context, mergeNames(this.#released, this.#body?.released), isRepeatable);
  }

  #startOver(): void {
    this.#response?.dispose();
    this.#response = null;
    this.#upstream?.destroy();
    this.#upstream = null;
    this.#requestSent = false;
    this.#bodySent = false;
  }

  upstreamEnd(clean: boolean): void {
    if (this.#ended) return;
    const response = this.#response;
    if (response === null || !response.hasReceived) {
      const upstream = this.#upstream;
      const retriable =
        upstream?.used === true && this.#framing.kind === 'none' && REPEATABLE_METHODS.has(this.#head.method);
      this.#upstream = null;
      if (retriable) {
        this.#requestSent = false;
        this.#response = null;
        this.#dial();
      } else {
        const fault = {
          code: 'UPSTREAM_UNREACHABLE',
          detail: 'The upstream closed the connection without an answer.',
        } as const;
        const { code, detail } = upstream?.used === false ? explainEnd(upstream.socket, fault) : fault;
        this.responseFailed(code, detail);
      }
      return;
    }
    response.end(clean);
  }

  upstreamDrain(): void {
    const takesMore = this.#body?.resume() ?? true;
    if (takesMore && !this.#requestComplete) this.#client.resumeReading();
  }

  /** Prepares for a body into which values may be put; false when it is refused. */
  #openBody({ authority }: ForwardVerdict, plan: Exclude<RequestBodyPlan, { kind: 'verbatim' }>): boolean {
    const opened = openRequestBody(this.#context, authority, plan, {
      ready: ({ bytes, isChanged, sha256 }) => {
        const forward = this.#forward;
        if (forward === null || this.#ended) return;
        this.#framing = { kind: 'length', bytes };
        setGatheredLength(forward.head.fields, bytes, isChanged);
        this.#sign(forward, sha256);
      },
      write: (data) => this.#sendData(data),
      end: () => this.#finishRequest(),
      refuse: (problem) => this.refuse(problem),
      drain: () => {
        if (!this.#ended && !this.#requestComplete) this.#client.resumeReading();
      },
    });
    if (opened.verdict === 'refused') {
      this.#answer(opened.problem, 'deny');
      return false;
    }
    this.#body = opened.body;
    if (opened.body.gathers && plan.kind === 'gathered' && plan.expectsContinue && this.#head.minor === 1) {
      this.#client.socket.write(CONTINUE, 'latin1');
    }
    return true;
  }

  #connect(): void {
    const context = this.#context;
    const { purpose } = this.#client;
    const idle = context.pool.takeIdle(purpose.origin);
    if (idle === null) this.#dial();
    else this.#attach(idle);
  }

  #dial(): void {
    const context = this.#context;
    const { purpose } = this.#client;
    const failed = this.#client.failedDial;
    if (failed !== null && context.clock.nowMs - failed.atMs < context.timeLimits.failedDialMs) {
      this.#failDial(failed.failure);
      return;
    }
    void context.pool.connect(purpose.origin).then((lease) => {
      if (lease.outcome === 'failed') {
        if (!this.#ended) this.#failDial(lease);
      } else if (this.#ended) {
        context.pool.release(lease.connection);
      } else {
        this.#client.run(() => this.#attach(lease.connection));
      }
    });
  }

  #attach(upstream: UpstreamConnection): void {
    this.#upstream = upstream;
    upstream.lend(this);
    const outgoing = this.#outgoing;
    if (outgoing === null) throw new TypeError('a request is sent before it was rewritten');
    this.#response = new ResponseRelay({
      client: this.#client.socket,
      upstream,
      method: this.#head.method,
      minor: this.#head.minor,
      keepAlive: this.#keepsAlive(),
      redactor: this.#context.redactor,
      offer: this.#offer,
      listener: this,
    });
    let head: string;
    try {
      head = encodeRequestHead(outgoing, this.#forward?.repeated?.section);
    } catch (error) {
      if (!(error instanceof HttpSyntaxError)) throw error;
      // The last line of defense: nothing of this head has been written.
      upstream.lend(null);
      this.#context.pool.release(upstream);
      this.#answer({ status: 500, code: 'INTERNAL', detail: 'The request cannot be written safely.' }, 'error');
      return;
    }
    this.#requestSent = true;
    this.#everSent = true;
    this.#client.wait('response');
    const early = this.#early;
    if (early.length === 0 && this.#framing.kind === 'none') {
      upstream.socket.write(head, 'latin1');
      this.#bodySent = true;
      return;
    }
    upstream.socket.cork();
    upstream.socket.write(head, 'latin1');
    this.#early = [];
    for (const data of early) this.#passData(data);
    if (this.#body?.gathers === true) this.#body.send();
    else if (this.#requestComplete) this.#endData();
    upstream.socket.uncork();
    if (!this.#requestComplete) this.#client.resumeReading();
  }

  /** Takes body bytes as they came. */
  #passData(data: Buffer): void {
    const isFlowing = this.#body === null ? this.#sendData(data) : this.#body.push(data);
    if (!isFlowing) this.#client.pauseReading();
  }

  /** The body is whole. */
  #endData(): void {
    if (this.#body === null) this.#finishRequest();
    else this.#body.end();
  }

  /** Sends body bytes; false asks to wait for the upstream. */
  #sendData(data: Buffer): boolean {
    const socket = this.#upstream?.socket;
    if (socket === undefined) return true;
    this.#client.wait(this.#requestComplete ? 'response' : 'body');
    const isFlowing = this.#framing.kind === 'chunked' ? writeChunk(socket, data) : socket.write(data);
    return isFlowing || !socket.writableNeedDrain;
  }

  #finishRequest(): void {
    this.#bodySent = true;
    if (this.#framing.kind === 'chunked') {
      const trailers = this.#decoder?.trailers ?? [];
      if (this.#body !== null) removeDigests(trailers);
      const problem = this.#forward === null ? null : rewriteTrailers(this.#context, this.#forward, trailers);
      if (problem !== null) {
        this.refuse(problem);
        return;
      }
      this.#upstream?.socket.write(encodeLastChunk(trailers), 'latin1');
    }
    this.#client.wait('response');
    if (this.#response?.isComplete === true) this.responseComplete();
  }

  /** Both sides speak WebSocket from here on. The exchange goes on until they have ended. */
  responseSwitched(compression: boolean, rest: Buffer): void {
    const upstream = this.#upstream;
    if (upstream === null) throw new TypeError('an upstream switched protocols that is not there');
    const client = this.#client;
    const context = this.#context;
    this.#upstream = null;
    this.#response?.dispose();
    const { relay: webSocket, substitution } = openWebSocketSession(context, {
      client: client.socket,
      upstream: upstream.detach(),
      compression,
      authority: client.purpose.origin,
      bound: this.#forward?.bound ?? [],
      wait: (forWhat) => client.wait(forWhat),
      onEnd: ({ decision, code, misuse }) => {
        if (misuse !== undefined) this.#stray = mergeNames(this.#stray, [misuse.secret]);
        this.#end(decision, code);
        client.exchangeDone(this, false);
        if (misuse?.terminates === true) context.terminate(misuse.secret);
      },
    });
    this.#substitution = substitution;
    this.#webSocket = webSocket;
    webSocket.upstreamEarly(rest);
    const early = client.takeStashed();
    if (early !== null) webSocket.clientData(early);
    if (this.#clientInputEnded) webSocket.clientEnd();
  }

  responseComplete(): void {
    if (this.#ended) return;
    const upstream = this.#upstream;
    const response = this.#response;
    if (upstream === null || response === null) return;
    this.#upstream = null;
    if (this.#bodySent && response.upstreamReusable) {
      upstream.used = true;
      this.#context.pool.release(upstream);
    } else {
      upstream.destroy();
    }
    this.#end('allow', null);
    // An answer that came before the request was whole leaves bytes behind which nobody will read.
    this.#client.exchangeDone(this, response.keepAlive && this.#requestComplete);
  }

  #failDial(failure: DialFailure): void {
    const { problem, decision } = describeDialFailure(failure);
    this.#answer(problem, decision);
  }

  /** The upstream's answer cannot be passed on: said in words while that is possible, cut otherwise. */
  responseFailed(code: ErrorCode, detail: string, status = 502): void {
    if (this.#ended) return;
    this.#upstream?.destroy();
    this.#upstream = null;
    if (this.#response?.hasBegun === true) {
      // The client must not take what it got for the whole.
      this.#end('error', code);
      this.#client.socket.destroy();
      return;
    }
    this.#answer({ status, code, detail }, 'error');
  }

  #answer(problem: Problem, decision: 'deny' | 'error'): void {
    if (this.#ended) return;
    if (problem.rule !== undefined) this.#rule = problem.rule;
    if (problem.misuse !== undefined) this.#stray = mergeNames(this.#stray, [problem.misuse.secret]);
    this.#end(decision, problem.code, problem.status);
    this.#client.answer(problem, this.#head.method === 'HEAD');
    this.#client.exchangeDone(this, false);
    if (problem.misuse?.terminates === true) this.#context.terminate(problem.misuse.secret);
  }

  #end(decision: 'allow' | 'deny' | 'error', code: ErrorCode | null, status?: number): void {
    this.#ended = true;
    this.#round?.close();
    this.#response?.dispose();
    this.#body?.dispose();
    const origin = this.#client.purpose.origin;
    const webSocket = this.#webSocket;
    const substituted = this.#substitution ?? this.#body;
    this.#context.record.request({
      decision,
      code,
      rule: this.#rule === '' ? null : this.#rule,
      origin,
      method: this.#head.method,
      target: this.#head.target,
      status: status ?? this.#response?.status ?? null,
      requestBytes: webSocket?.sentBytes ?? this.#requestBytes,
      responseBytes: webSocket?.receivedBytes ?? this.#response?.bytes ?? 0,
      durationMs: performance.now() - this.#startedMs,
      secrets: this.#everSent ? mergeNames(this.#released, substituted?.released) : [],
      stray: mergeNames(this.#stray, substituted?.stray),
      redactions: (this.#response?.redactions ?? 0) + (webSocket?.redactions ?? 0),
    });
  }
}
