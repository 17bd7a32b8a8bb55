import { fieldValue } from '../http/fields.ts';
import type { RequestHead, ResponseHead } from '../http/message.ts';
import type { Http2Stream } from '../http2/types.ts';
import { encodeProblemBody, type Problem } from './problem.ts';

/** gRPC status codes (grpc/grpc doc/statuscodes.md) that the gate answers with. */
const GRPC_STATUS = { internal: 13, unavailable: 14, permissionDenied: 7, unimplemented: 12 } as const;

/** The trailers of a gRPC call in whose messages a value turned up: it must not succeed. */
export const BROKEN_CALL_TRAILERS: readonly string[] = [
  'grpc-status',
  String(GRPC_STATUS.internal),
  'grpc-message',
  'a message held a credential',
];

/** Whether a request is a gRPC call. */
export function isGrpcCall(head: RequestHead): boolean {
  return fieldValue(head.fields, 'content-type')?.toLowerCase().startsWith('application/grpc') === true;
}

/** Whether the messages of a gRPC response are not compressed. */
export function isPlainGrpc(head: ResponseHead): boolean {
  const encoding = fieldValue(head.fields, 'grpc-encoding');
  return encoding === undefined || encoding.toLowerCase() === 'identity';
}

/** Sends a problem on a stream that has no answer yet, as problem+json. `bodyless` is for HEAD requests. */
export function respondProblem(stream: Http2Stream, problem: Problem, bodyless: boolean): void {
  const body = encodeProblemBody(problem);
  stream.sendHead(
    [
      ...[':status', String(problem.status), 'content-type', 'application/problem+json'],
      ...['content-length', String(body.length), 'cache-control', 'no-store'],
    ],
    { ends: bodyless },
  );
  if (bodyless) return;
  stream.sendData(body);
  stream.end();
}

/** The same for a client that speaks gRPC: as a status of the call. */
export function respondGrpcProblem(stream: Http2Stream, problem: Problem, decision: 'deny' | 'error'): void {
  const text = problem.remedy === undefined ? problem.detail : `${problem.detail} ${problem.remedy}`;
  stream.sendHead(
    [
      ...[':status', '200', 'content-type', 'application/grpc'],
      ...['grpc-status', String(grpcStatusOf(problem, decision)), 'grpc-message', encodeURIComponent(text)],
    ],
    { ends: true },
  );
}

function grpcStatusOf(problem: Problem, decision: 'deny' | 'error'): number {
  if (decision === 'deny') return problem.status === 501 ? GRPC_STATUS.unimplemented : GRPC_STATUS.permissionDenied;
  return problem.code === 'INTERNAL' || problem.code === 'RESPONSE_UNREDACTABLE'
    ? GRPC_STATUS.internal
    : GRPC_STATUS.unavailable;
}
