import type { AuditDecision, AuditKind, ErrorCode } from '@sallyport/sdk';
import type { AuditRecord } from '../audit/audit-record.ts';
import type { Authority } from '../http/message.ts';
import type { Problem } from './problem.ts';

/** Where events go. `record` returns at once; writing happens behind it. */
export interface AuditSink {
  record(event: AuditRecord): unknown;
}

/** One request as the exchange saw it. */
export interface RequestOutcome {
  readonly decision: AuditDecision;
  readonly code: ErrorCode | null;
  readonly rule: string | null;
  readonly origin: Authority;
  readonly method: string;
  /** The target as the sandbox sent it: placeholders, never values. */
  readonly target: string;
  readonly status: number | null;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly durationMs: number;
  readonly secrets: string[];
  readonly stray: string[];
  readonly redactions: number;
}

/** One connection that carried no request of its own. */
export interface ConnectionOutcome {
  readonly kind: Exclude<AuditKind, 'request' | 'dns-capacity'>;
  readonly decision: AuditDecision;
  readonly code: ErrorCode | null;
  readonly rule: string | null;
  readonly host: string;
  readonly port: number;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly durationMs: number;
}

/** What is recorded of a request that was not understood. A status is null where the client was told by a reset. */
export type MalformedRequest = Pick<Problem, 'code'> & { readonly status: number | null };

/** Both lists of secrets' names, each once; the first list itself when nothing is added. */
export function mergeNames(names: string[], more: readonly string[] | Iterable<string> | undefined): string[] {
  if (more === undefined || ('length' in more && more.length === 0)) return names;
  return [...new Set([...names, ...more])];
}

/** Step 10: turns what happened into audit events of one sandbox. */
export class Recorder {
  readonly #sink: AuditSink;

  constructor(sink: AuditSink) {
    this.#sink = sink;
  }

  request(outcome: RequestOutcome): void {
    this.#sink.record({
      kind: 'request',
      decision: outcome.decision,
      code: outcome.code,
      rule: outcome.rule,
      scheme: outcome.origin.scheme,
      host: outcome.origin.host,
      port: outcome.origin.port,
      method: outcome.method,
      path: recordedPath(outcome.target),
      status: outcome.status,
      requestBytes: outcome.requestBytes,
      responseBytes: outcome.responseBytes,
      durationMs: outcome.durationMs,
      secrets: outcome.secrets,
      stray: outcome.stray,
      redactions: outcome.redactions,
    });
  }

  /** A request that could not be parsed: there is no method or path to speak of. */
  malformed(origin: Authority, problem: MalformedRequest): void {
    this.#sink.record({
      kind: 'request',
      decision: 'deny',
      code: problem.code,
      scheme: origin.scheme,
      host: origin.host,
      port: origin.port,
      status: problem.status,
    });
  }

  connection(outcome: ConnectionOutcome): void {
    this.#sink.record({
      kind: outcome.kind,
      decision: outcome.decision,
      code: outcome.code,
      rule: outcome.rule,
      host: outcome.host,
      port: outcome.port,
      requestBytes: outcome.requestBytes,
      responseBytes: outcome.responseBytes,
      durationMs: outcome.durationMs,
    });
  }

  /** A name was refused an address because the sandbox has looked up too many. */
  dnsCapacity(name: string): void {
    this.#sink.record({
      kind: 'dns-capacity',
      decision: 'deny',
      code: 'CAPACITY',
      host: name,
    });
  }
}

/** The path of a target without query; of an absolute-form target too, whose authority is recorded apart. */
function recordedPath(target: string): string {
  const path = target.startsWith('/')
    ? target
    : (/^[a-z]+:\/\/[^/?]*(?<path>[^?]*)/i.exec(target)?.groups?.['path'] ?? '');
  const query = path.indexOf('?');
  return query < 0 ? path : path.slice(0, query);
}
