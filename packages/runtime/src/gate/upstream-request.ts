import type { Duplex } from 'node:stream';
import type { ErrorCode } from '@sallyport/sdk';
import type { ResponseHead } from '../http/message.ts';
import { ERROR_CODE } from '../http2/error-code.ts';

/** Why a request got no (whole) answer from its upstream. */
export interface UpstreamFault {
  readonly code: ErrorCode;
  readonly detail: string;
  /** The HTTP/2 error code that ended the stream, where there was one (RFC 9113 section 7). */
  readonly resetCode?: number;
  /** Not a byte came, on a connection that had served before: it was closed while it rested, most likely. */
  readonly isStale?: boolean;
}

/**
 * Whether an upstream said by a reset that it has done nothing yet (RFC 9113 section 8.7). Told so, a client asks again, and over HTTP/1.1
 * where that is asked for, on a connection of its own.
 */
export function asksAgain({ resetCode }: UpstreamFault): boolean {
  return resetCode === ERROR_CODE.refusedStream || resetCode === ERROR_CODE.http11Required;
}

/** Receives the answer to one request, whatever protocol it comes by. After `end`, `switched` or `failed` nothing more is called. */
export interface UpstreamAnswer {
  /** A 1xx response. */
  interim(head: ResponseHead): void;
  /** The final head. `hasBody` tells whether data or trailers may follow. */
  head(head: ResponseHead, hasBody: boolean): void;
  /**
   * The upstream has switched protocols, as only a request that asked for it lets it: `stream` belongs to the receiver, and `rest` is what
   * has come on it already. Nothing else is called afterwards.
   */
  switched(head: ResponseHead, stream: Duplex, rest: Buffer): void;
  data(chunk: Buffer): void;
  /** The body is complete; trailer fields flattened as in a head. */
  end(trailers: string[]): void;
  failed(fault: UpstreamFault): void;
  /** The request's body may go on. */
  drain(): void;
}

/** One request on its way to an upstream. */
export interface UpstreamRequest {
  /** Sends body bytes; false asks to wait for `drain`. */
  write(chunk: Buffer): boolean;
  /** Completes the request. */
  finish(trailers: string[]): void;
  /** Gives the request up; nothing more is called. */
  abort(resetCode: number): void;
  /** The whole answer has been passed on: what was not sent of the request by then is not sent any more. */
  answerTaken(): void;
  /** Stops and restarts the answer's data. */
  pause(): void;
  resume(): void;
}
