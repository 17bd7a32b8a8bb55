import type net from 'node:net';
import { HttpSyntaxError } from '../http/http-syntax-error.ts';
import type { Authority } from '../http/message.ts';
import { RequestHeads } from '../http/request-heads.ts';
import { noteChunk } from './chunk-memory.ts';
import { Exchange } from './exchange.ts';
import type { GateContext } from './gate-context.ts';
import { MAX_HEAD_BYTES, MAX_LINGER_BYTES, type TimeLimits } from './limits.ts';
import { encodeProblem, type Problem } from './problem.ts';
import { RepeatedFields } from './repeated-fields.ts';
import { CLIENT_MEMORY, SharedInput } from './shared-input.ts';
import type { DialFailure } from './dialer.ts';

/** What a connection was admitted for: an origin to forward to, or one answer to everything. */
export type ConnectionPurpose =
  | { readonly kind: 'forward'; readonly origin: Authority; readonly rule: string }
  | { readonly kind: 'refuse'; readonly origin: Authority; readonly problem: Problem };

/** What the connection waits for; each has its own time limit. */
export type Waiting = 'head' | 'idle' | 'body' | 'secret' | 'response' | 'stream' | 'websocket' | 'websocket-close';

/** The limit of each, in milliseconds. A switch: this runs several times for each request. */
export function limitMsFor(limits: TimeLimits, forWhat: Waiting): number {
  switch (forWhat) {
    case 'head':
      return limits.headMs;
    case 'idle':
      return limits.clientIdleMs;
    case 'body':
      return limits.bodyIdleMs;
    case 'secret':
      return limits.secretMs;
    case 'response':
      return limits.responseHeadMs;
    case 'stream':
      return limits.responseIdleMs;
    case 'websocket':
      return limits.webSocketIdleMs;
    case 'websocket-close':
      return limits.webSocketCloseMs;
    default:
      throw new TypeError(`unknown wait ${String(forWhat satisfies never)}`);
  }
}

/**
 * The client's side of one HTTP/1 connection: heads in, one exchange at a time, responses out.
 *
 * Reading stops while a further request waits behind the present one, so a client that pipelines holds at most one chunk.
 */
export class ClientConnection {
  readonly socket: net.Socket;
  readonly purpose: ConnectionPurpose;
  /** What was made of the fields that this client sends again and again. */
  readonly repeats = new RepeatedFields();
  /** A dial that failed while the connection was opened, told to the first request. */
  failedDial: { readonly failure: DialFailure; readonly atMs: number } | null = null;
  /** Whether any byte of a request has come. */
  hasReceived = false;
  #context: GateContext;
  #deadlineMs: number;
  #waiting: Waiting = 'head';
  readonly #heads = new RequestHeads(MAX_HEAD_BYTES);
  #exchange: Exchange | null = null;
  /** Bytes of a further request, kept while the present exchange goes on. */
  #stashed: Buffer | null = null;
  /** The answer to the last request has not been taken yet, and the next one waits for that. */
  #awaitsDrain = false;
  #lingeredBytes = -1;
  #ended = false;
  /** The client has closed its side: what it has sent is still answered. */
  #inputEnded = false;

  constructor(socket: net.Socket, context: GateContext, purpose: ConnectionPurpose) {
    this.socket = socket;
    this.#context = context;
    this.purpose = purpose;
    this.#deadlineMs = context.clock.nowMs + context.timeLimits.headMs;
    const input = new SharedInput(CLIENT_MEMORY);
    input.receive = (bytes) => this.#onData(bytes, false);
    input.take(socket);
    // Makes the socket flow; with an input it tells only what came while it did not.
    socket.on('data', (chunk: Buffer) => {
      noteChunk(chunk.length);
      this.#onData(chunk, true);
    });
    socket.on('drain', () => {
      if (this.#awaitsDrain) {
        this.#awaitsDrain = false;
        this.#goOn();
      } else {
        this.#exchange?.clientDrain();
      }
    });
    socket.on('end', () => this.#onEnd());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#ended = true;
      this.#exchange?.clientGone();
      this.#exchange = null;
    });
    socket.resume();
  }

  /** For requests that begin from now on. */
  get context(): GateContext {
    return this.#context;
  }

  set context(context: GateContext) {
    this.#context = context;
    this.repeats.forget();
  }

  /** Whether no request is under way. */
  get isIdle(): boolean {
    return this.#exchange === null;
  }

  /** Whether the time limit of what the connection waits for has passed. */
  isOverdue(nowMs: number): boolean {
    return nowMs > this.#deadlineMs;
  }

  /** Ends an overdue connection, in words where somebody waits for an answer. */
  expire(): void {
    const exchange = this.#exchange;
    if (this.#ended || this.#lingeredBytes >= 0 || this.#awaitsDrain) {
      this.socket.destroy();
    } else if (exchange !== null) {
      exchange.expire(this.#waiting);
    } else if (this.#heads.isPending) {
      this.#refuse({
        status: 408,
        code: 'CLIENT_TIMEOUT',
        detail: `The request head did not arrive whole within ${this.context.timeLimits.headMs / 1000} s.`,
      });
    } else {
      this.socket.end();
      this.socket.destroySoon();
    }
  }

  /** Restarts the time limit. */
  wait(forWhat: Waiting): void {
    this.#waiting = forWhat;
    this.#deadlineMs = this.context.clock.nowMs + limitMsFor(this.context.timeLimits, forWhat);
  }

  pauseReading(): void {
    this.socket.pause();
  }

  resumeReading(): void {
    if (this.#stashed === null && !this.#ended && !this.#awaitsDrain) this.socket.resume();
  }

  /** Goes on with a request that has waited before its body was read. */
  readOn(exchange: Exchange): void {
    if (this.#exchange !== exchange || this.#ended) return;
    const stashed = this.#stashed;
    this.#stashed = null;
    // Whoever reads may pause again.
    this.socket.resume();
    if (stashed !== null) this.#read(stashed, true);
    if (this.#inputEnded) this.#endInput();
  }

  /** Goes on with the present request after it has waited for something: a fault ends it as one in its bytes does. */
  run(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (error instanceof HttpSyntaxError) this.#refuseSyntax(error);
      else this.fail();
    }
  }

  /** Hands over what the client sent behind the present request, which is no request: the exchange has switched protocols. */
  takeStashed(): Buffer | null {
    const stashed = this.#stashed;
    this.#stashed = null;
    return stashed;
  }

  /** Answers in the gate's own words and ends the connection. */
  answer(problem: Problem, bodyless: boolean): void {
    if (this.#ended || this.#lingeredBytes >= 0) return;
    this.socket.write(encodeProblem(problem, bodyless));
    this.#linger();
  }

  /** The exchange is complete. Goes on with the next request, or ends the connection. */
  exchangeDone(exchange: Exchange, keepAlive: boolean): void {
    if (this.#exchange !== exchange) return;
    this.#exchange = null;
    if (this.#ended) return;
    if (!keepAlive) {
      this.#linger();
      return;
    }
    this.wait('idle');
    // A client that asks on and on without reading its answers would have them pile up here.
    this.#awaitsDrain = this.socket.writableNeedDrain;
    if (this.#awaitsDrain) this.socket.pause();
    else this.#goOn();
  }

  /** Takes the next request, of those that wait or those to come. */
  #goOn(): void {
    const stashed = this.#stashed;
    if (stashed === null) {
      if (this.#inputEnded) this.#linger();
      else this.socket.resume();
      return;
    }
    this.#stashed = null;
    // Not from within the exchange's own call: a long pipeline would grow the stack.
    setImmediate(() => {
      if (this.#ended || this.#lingeredBytes >= 0) return;
      this.#read(stashed, true);
      if (this.#inputEnded) this.#endInput();
      else if (this.#stashed === null) this.socket.resume();
    });
  }

  /** @param isOurs whether it is kept as it lies; else it is read over afterwards. */
  #onData(chunk: Buffer, isOurs: boolean): void {
    this.hasReceived = true;
    if (this.#lingeredBytes >= 0) {
      this.#lingeredBytes += chunk.length;
      if (this.#lingeredBytes > MAX_LINGER_BYTES) this.socket.destroy();
      return;
    }
    this.#read(chunk, isOurs);
  }

  /** @param isOurs as in `#onData`; else what is not a head is copied, which nobody keeps otherwise. */
  #read(received: Buffer, isOurs: boolean): void {
    let chunk = received;
    let isKept = isOurs;
    let offset = 0;
    try {
      while (offset < chunk.length) {
        if (this.#exchange !== null) {
          if (!isKept) {
            chunk = Buffer.from(chunk.subarray(offset));
            noteChunk(chunk.length);
            isKept = true;
            offset = 0;
          }
          offset = this.#exchange.clientData(chunk, offset);
          const waits = this.#exchange !== null || this.#awaitsDrain;
          if (!waits && this.#lingeredBytes < 0 && !this.#ended) continue;
          if (offset < chunk.length && waits) {
            this.#stash(chunk.subarray(offset));
          }
          return;
        }
        if (this.#lingeredBytes >= 0 || this.#ended) return;
        if (!this.#heads.isPending) this.wait('head');
        const head = this.#heads.read(chunk, offset);
        if (head === null) return;
        offset = this.#heads.next;
        const exchange = new Exchange(this, head);
        this.#exchange = exchange;
        exchange.start();
      }
    } catch (error) {
      if (error instanceof HttpSyntaxError) this.#refuseSyntax(error);
      else this.fail();
    }
  }

  /** A fault of the gate's own ends this connection and no other. What it was is not told: it could quote a value. */
  fail(): void {
    this.#refuse({ status: 500, code: 'INTERNAL', detail: 'The gate failed on this request.' });
  }

  #refuseSyntax(error: HttpSyntaxError): void {
    this.#refuse({
      status: error.status,
      code: error.code === 'HEAD_TOO_LARGE' ? 'HEAD_TOO_LARGE' : 'MALFORMED_REQUEST',
      detail: error.message,
    });
  }

  /** Ends the connection with one answer and one event: the present exchange's, or the connection's own where there is none. */
  #refuse(problem: Problem): void {
    const exchange = this.#exchange;
    this.#exchange = null;
    if (exchange !== null) {
      exchange.refuse(problem);
      return;
    }
    this.context.record.malformed(this.purpose.origin, problem);
    this.answer(problem, false);
  }

  #stash(rest: Buffer): void {
    this.#stashed = rest;
    this.socket.pause();
  }

  #onEnd(): void {
    this.#inputEnded = true;
    this.#endInput();
  }

  /** Nothing more will come: a request that is whole is answered, one that is not never will be. */
  #endInput(): void {
    const exchange = this.#exchange;
    // What has come of the request has not been read yet.
    if (exchange?.isHeldBack === true) return;
    if (exchange?.isRequestComplete === true) {
      exchange.clientInputEnded();
      return;
    }
    this.#exchange = null;
    exchange?.clientGone();
    if (this.#lingeredBytes < 0) this.#linger();
  }

  /** Ends our side, and reads on for a while: closing with unread bytes would reset the connection under the answer. */
  #linger(): void {
    this.#lingeredBytes = 0;
    this.#stashed = null;
    this.#deadlineMs = this.context.clock.nowMs + this.context.timeLimits.lingerMs;
    this.socket.end();
    this.socket.resume();
  }
}
