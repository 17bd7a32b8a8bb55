import type { AuditDecision, AuditEvent, AuditKind, ErrorCode } from '@sallyport/sdk';
import type { Authority } from '../http/message.ts';
import type { Problem } from './problem.ts';

/** A path is recorded up to this length, in characters. */
const MAX_RECORDED_PATH = 1024;

/** What the audit log fills in itself. */
export type UnsequencedEvent = Omit<AuditEvent, 'seq' | 'mac'>;

/** Where events go. `record` returns at once; writing happens behind it. */
export interface AuditSink {
  record(event: UnsequencedEvent): void;
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
  readonly secrets: readonly string[];
  readonly stray: readonly string[];
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

/** Step 10: turns what happened into audit events of one sandbox. */
export class Recorder {
  readonly #sandbox: string;
  readonly #sink: AuditSink;
  readonly #now: () => Date;

  constructor(sandbox: string, sink: AuditSink, now: () => Date) {
    this.#sandbox = sandbox;
    this.#sink = sink;
    this.#now = now;
  }

  request(outcome: RequestOutcome): void {
    this.#sink.record({
      time: this.#now().toISOString(),
      sandbox: this.#sandbox,
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
      durationMs: roundMs(outcome.durationMs),
      secrets: [...outcome.secrets],
      stray: [...outcome.stray],
      redactions: outcome.redactions,
    });
  }

  /** A request that could not be parsed: there is no method or path to speak of. */
  malformed(origin: Authority, problem: Problem): void {
    this.#sink.record({
      ...EMPTY,
      time: this.#now().toISOString(),
      sandbox: this.#sandbox,
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
      ...EMPTY,
      time: this.#now().toISOString(),
      sandbox: this.#sandbox,
      kind: outcome.kind,
      decision: outcome.decision,
      code: outcome.code,
      rule: outcome.rule,
      host: outcome.host,
      port: outcome.port,
      requestBytes: outcome.requestBytes,
      responseBytes: outcome.responseBytes,
      durationMs: roundMs(outcome.durationMs),
    });
  }

  /** A name was refused an address because the sandbox has looked up too many. */
  dnsCapacity(name: string): void {
    this.#sink.record({
      ...EMPTY,
      time: this.#now().toISOString(),
      sandbox: this.#sandbox,
      kind: 'dns-capacity',
      decision: 'deny',
      code: 'CAPACITY',
      host: name,
    });
  }
}

const EMPTY = {
  rule: null,
  scheme: null,
  host: null,
  port: null,
  method: null,
  path: null,
  status: null,
  requestBytes: 0,
  responseBytes: 0,
  durationMs: 0,
  secrets: [],
  stray: [],
  redactions: 0,
};

/** The path of a target without query; of an absolute-form target too, whose authority is recorded apart. */
function recordedPath(target: string): string {
  const path = target.startsWith('/') ? target : (/^[a-z]+:\/\/[^/?]*(?<path>[^?]*)/i.exec(target)?.groups?.['path'] ?? '');
  const query = path.indexOf('?');
  return (query < 0 ? path : path.slice(0, query)).slice(0, MAX_RECORDED_PATH);
}

function roundMs(durationMs: number): number {
  return Math.round(durationMs * 1000) / 1000;
}
