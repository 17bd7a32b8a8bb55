import type net from 'node:net';
import { HttpSyntaxError } from '../http/http-syntax-error.ts';
import { HeadReader } from '../http/head-reader.ts';
import { parseRequestHead } from '../http/head-parser.ts';
import type { Authority } from '../http/message.ts';
import { Exchange } from './exchange.ts';
import type { GateContext } from './gate-context.ts';
import {
  BODY_IDLE_TIMEOUT_MS,
  CLIENT_IDLE_TIMEOUT_MS,
  HEAD_TIMEOUT_MS,
  LINGER_TIMEOUT_MS,
  MAX_HEAD_BYTES,
  MAX_LINGER_BYTES,
  RESPONSE_HEAD_TIMEOUT_MS,
} from './limits.ts';
import { encodeProblem, type Problem } from './problem.ts';
import type { DialFailure } from './dialer.ts';

/** What a connection was admitted for: an origin to forward to, or one answer to everything. */
export type ConnectionPurpose =
  | { readonly kind: 'forward'; readonly origin: Authority; readonly rule: string }
  | { readonly kind: 'refuse'; readonly origin: Authority; readonly problem: Problem };

/** What the connection waits for; each state has its own time limit. */
export type Waiting = 'head' | 'idle' | 'body' | 'response';

/**
 * The client's side of one HTTP/1 connection: heads in, one exchange at a time, responses out.
 *
 * Reading stops while a further request waits behind the present one, so a client that pipelines holds at most one chunk.
 */
export class ClientConnection {
  readonly socket: net.Socket;
  readonly context: GateContext;
  readonly purpose: ConnectionPurpose;
  /** A dial that failed while the connection was opened, told to the first request. */
  failedDial: { readonly failure: DialFailure; readonly atMs: number } | null = null;
  #deadlineMs: number;
  readonly #heads = new HeadReader('request', MAX_HEAD_BYTES);
  #exchange: Exchange | null = null;
  /** Bytes of a further request, kept while the present exchange goes on. */
  #stashed: Buffer | null = null;
  #lingeredBytes = -1;
  #ended = false;

  constructor(socket: net.Socket, context: GateContext, purpose: ConnectionPurpose) {
    this.socket = socket;
    this.context = context;
    this.purpose = purpose;
    this.#deadlineMs = context.clock.nowMs + HEAD_TIMEOUT_MS;
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('drain', () => this.#exchange?.clientDrain());
    socket.on('end', () => this.#onEnd());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#ended = true;
      this.#exchange?.clientGone();
      this.#exchange = null;
    });
    socket.resume();
  }

  /** Whether the time limit of what the connection waits for has passed. */
  isOverdue(nowMs: number): boolean {
    return nowMs > this.#deadlineMs;
  }

  /** Ends an overdue connection: a request head that never came whole is answered with 408, anything else is cut. */
  expire(): void {
    if (this.#exchange === null && this.#heads.isPending && this.#lingeredBytes < 0) {
      this.answer(
        { status: 408, code: 'MALFORMED_REQUEST', detail: `The request head did not arrive within ${HEAD_TIMEOUT_MS / 1000} s.` },
        false,
      );
      return;
    }
    const exchange = this.#exchange;
    this.#exchange = null;
    exchange?.expire();
    this.socket.destroy();
  }

  /** Restarts the time limit. */
  wait(forWhat: Waiting): void {
    const now = this.context.clock.nowMs;
    switch (forWhat) {
      case 'head':
        this.#deadlineMs = now + HEAD_TIMEOUT_MS;
        return;
      case 'idle':
        this.#deadlineMs = now + CLIENT_IDLE_TIMEOUT_MS;
        return;
      case 'body':
        this.#deadlineMs = now + BODY_IDLE_TIMEOUT_MS;
        return;
      case 'response':
        this.#deadlineMs = now + RESPONSE_HEAD_TIMEOUT_MS;
        return;
      default:
        throw new TypeError(`unknown wait ${String(forWhat satisfies never)}`);
    }
  }

  pauseReading(): void {
    this.socket.pause();
  }

  resumeReading(): void {
    if (this.#stashed === null && !this.#ended) this.socket.resume();
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
    const stashed = this.#stashed;
    if (stashed === null) {
      this.socket.resume();
      return;
    }
    this.#stashed = null;
    // Not from within the exchange's own call: a long pipeline would grow the stack.
    setImmediate(() => {
      if (this.#ended || this.#lingeredBytes >= 0) return;
      this.#read(stashed, 0);
      if (this.#stashed === null) this.socket.resume();
    });
  }

  #onData(chunk: Buffer): void {
    if (this.#lingeredBytes >= 0) {
      this.#lingeredBytes += chunk.length;
      if (this.#lingeredBytes > MAX_LINGER_BYTES) this.socket.destroy();
      return;
    }
    this.#read(chunk, 0);
  }

  #read(chunk: Buffer, start: number): void {
    let offset = start;
    try {
      while (offset < chunk.length) {
        if (this.#exchange !== null) {
          offset = this.#exchange.clientData(chunk, offset);
          if (this.#exchange === null && this.#lingeredBytes < 0 && !this.#ended) continue;
          if (offset < chunk.length && this.#exchange !== null) {
            this.#stash(chunk.subarray(offset));
          }
          return;
        }
        if (this.#lingeredBytes >= 0 || this.#ended) return;
        if (!this.#heads.isPending) this.wait('head');
        const next = this.#heads.read(chunk, offset);
        if (next === -1) return;
        offset = next;
        const head = parseRequestHead(this.#heads.bytes, this.#heads.start, this.#heads.end);
        const exchange = new Exchange(this, head);
        this.#exchange = exchange;
        exchange.start();
      }
    } catch (error) {
      if (!(error instanceof HttpSyntaxError)) throw error;
      this.#refuseSyntax(error);
    }
  }

  #refuseSyntax(error: HttpSyntaxError): void {
    const problem: Problem = {
      status: error.status,
      code: error.code === 'HEAD_TOO_LARGE' ? 'HEAD_TOO_LARGE' : 'MALFORMED_REQUEST',
      detail: error.message,
    };
    const exchange = this.#exchange;
    this.#exchange = null;
    if (exchange !== null && exchange.refuse(problem)) return;
    this.context.record.malformed(this.purpose.origin, problem);
    this.answer(problem, false);
  }

  #stash(rest: Buffer): void {
    this.#stashed = rest;
    this.socket.pause();
  }

  #onEnd(): void {
    if (this.#exchange === null || !this.#exchange.isRequestComplete) {
      // Nothing more can be asked for, or a request stays incomplete for ever.
      const exchange = this.#exchange;
      this.#exchange = null;
      exchange?.clientGone();
      this.socket.end();
      return;
    }
    // A client may close its side after the request and still wait for the answer.
    this.#exchange.closeAfterResponse();
  }

  /** Ends our side, and reads on for a while: closing with unread bytes would reset the connection under the answer. */
  #linger(): void {
    this.#lingeredBytes = 0;
    this.#stashed = null;
    this.#deadlineMs = this.context.clock.nowMs + LINGER_TIMEOUT_MS;
    this.socket.end();
    this.socket.resume();
  }
}
