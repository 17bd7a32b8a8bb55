import { hostFieldFor } from '../http/authority.ts';
import { removeField } from '../http/fields.ts';
import type { Framing } from '../http/framing.ts';
import { setFraming } from '../http/hop-by-hop.ts';
import type { RequestHead } from '../http/message.ts';
import type { GateContext } from './gate-context.ts';
import { Http1UpstreamRequest } from './http1-upstream-request.ts';
import { requestFields } from './http2-fields.ts';
import type { ForwardVerdict } from './request-rewrite.ts';
import type { Lease } from './upstream-pool.ts';
import type { UpstreamAnswer, UpstreamRequest } from './upstream-request.ts';
import { removeHandshakeFields } from './websocket-handshake.ts';

type Connected<P> = Extract<Lease, { outcome: 'connected'; protocol: P }>;

/** A request of an HTTP/2 client that is to be sent. */
export interface Forwarding {
  readonly verdict: ForwardVerdict;
  /** As the client sent it. */
  readonly original: RequestHead;
  readonly kind: 'plain' | 'grpc' | 'websocket';
  /** Whether the client has ended its stream. */
  readonly clientEnded: boolean;
  /** Whether the head is all that is sent. */
  readonly isBodyless: boolean;
}

/**
 * Sends the head of a request on what was leased for it.
 *
 * @throws {HttpSyntaxError} `UNENCODABLE`, or {Http2FieldError}, when the head cannot be written safely; nothing has been sent then.
 */
export function forwardRequest(
  context: GateContext,
  lease: Exclude<Lease, { outcome: 'failed' }>,
  forwarding: Forwarding,
  answer: UpstreamAnswer,
): UpstreamRequest {
  return lease.protocol === 'h2'
    ? forwardOverHttp2(context, lease, forwarding, answer)
    : forwardOverHttp1(context, lease, forwarding, answer);
}

function forwardOverHttp2(
  { redactor }: GateContext,
  { upstream }: Connected<'h2'>,
  { verdict, original, kind, isBodyless }: Forwarding,
  answer: UpstreamAnswer,
): UpstreamRequest {
  const { head, authority } = verdict;
  const host = hostFieldFor(authority);
  if (kind === 'websocket') {
    removeHandshakeFields(head.fields);
    return upstream.request(requestFields(head, authority, host, original, 'websocket'), false, answer, true);
  }
  if (kind === 'grpc' && redactor !== null) {
    // A compressed message could hide a value; an uncompressed one cannot.
    removeField(head.fields, 'grpc-accept-encoding');
    head.fields.push('grpc-accept-encoding', 'identity');
  }
  return upstream.request(requestFields(head, authority, host, original), isBodyless, answer);
}

function forwardOverHttp1(
  { pool }: GateContext,
  { connection }: Connected<'http/1.1'>,
  { verdict, kind, clientEnded, isBodyless }: Forwarding,
  answer: UpstreamAnswer,
): UpstreamRequest {
  const isWebSocket = kind === 'websocket';
  // HTTP/2 needs no length to delimit a body; HTTP/1 does.
  const hasOpenBody = verdict.framing.kind === 'none' && !clientEnded && !isWebSocket;
  const framing: Framing = hasOpenBody ? { kind: 'chunked' } : verdict.framing;
  const head = { ...verdict.head, fields: [...verdict.head.fields] };
  setFraming(head.fields, framing);
  let request: UpstreamRequest;
  try {
    const release = pool.release.bind(pool);
    request = new Http1UpstreamRequest(connection, head, framing, answer, release, isWebSocket);
  } catch (error) {
    pool.release(connection);
    throw error;
  }
  if (isBodyless || isWebSocket) request.finish([]);
  return request;
}
