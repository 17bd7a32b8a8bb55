import { HttpSyntaxError } from '../http/http-syntax-error.ts';
import type { Authority } from '../http/message.ts';
import type { Http2RequestHead } from './http2-fields.ts';
import { readTunnelRequest } from './http2-websocket.ts';
import type { Problem } from './problem.ts';
import { rewriteRequest, type RequestContext, type RequestVerdict } from './request-rewrite.ts';

/**
 * Steps 5 to 7 for a request of an HTTP/2 client: what HTTP/2 has of its own is held against the origin, the rest is as in HTTP/1.
 *
 * @param ends whether neither body nor trailers follow.
 */
export function rewriteHttp2Request(
  context: RequestContext,
  origin: Authority,
  { head: received, scheme, protocol }: Http2RequestHead,
  ends: boolean,
): RequestVerdict {
  let head = received;
  if (protocol !== null) {
    const read = readTunnelRequest(head, protocol, ends);
    if (read.verdict === 'answer') return read;
    head = read.head;
  }
  if (head.method !== 'CONNECT' && scheme !== origin.scheme) {
    return refuse(421, 'AUTHORITY_MISMATCH', 'The request names another scheme than its connection.');
  }
  try {
    return rewriteRequest(context, origin, head, protocol === null && !ends);
  } catch (error) {
    if (!(error instanceof HttpSyntaxError)) throw error;
    return refuse(error.status, 'MALFORMED_REQUEST', error.message);
  }
}

function refuse(status: number, code: Problem['code'], detail: string): RequestVerdict {
  return { verdict: 'answer', problem: { status, code, detail } };
}
