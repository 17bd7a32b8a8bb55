import { z } from 'zod';

import { ERROR_CODES } from './errors.ts';

/** What an audit event is about. */
export const AUDIT_KINDS = [
  /** One HTTP request on an intercepted connection. */
  'request',
  /** A TLS connection that was passed through without being opened. */
  'tunnel',
  /** A TCP connection that was passed through, neither TLS nor HTTP. */
  'tcp',
  /** A connection that ended before it became any of these: denied, or broken in its handshake. */
  'connection',
  /** A name that got no address because the sandbox has looked up too many. */
  'dns-capacity',
] as const;

/** What became of it: let through, refused by a rule, or failed. */
export const AUDIT_DECISIONS = ['allow', 'deny', 'error'] as const;

const count = z.int().nonnegative();

/**
 * One line of an audit log. What does not apply to a kind is null, 0 or empty; no member is ever left out.
 *
 * Never in it: secret values, header values, bodies, queries. A path is the one that the sandbox sent, placeholders included.
 */
export const auditEventSchema = z.strictObject({
  /** When the event was recorded, at the end of what it is about (ISO 8601, UTC, ms). */
  time: z.iso.datetime({ precision: 3 }),
  /** 1 for the first line of a file, then one more for each. */
  seq: z.int().positive(),
  sandbox: z.string(),
  kind: z.enum(AUDIT_KINDS),
  decision: z.enum(AUDIT_DECISIONS),
  /** Why, where it was not allowed or failed. */
  code: z.enum(ERROR_CODES).nullable(),
  /** The network or HTTP rule that decided, as its author wrote it. */
  rule: z.string().nullable(),
  scheme: z.enum(['https', 'http']).nullable(),
  /** Canonical host name or address. */
  host: z.string().nullable(),
  port: z.int().min(0).max(65535).nullable(),
  method: z.string().nullable(),
  /** Without query. */
  path: z.string().nullable(),
  /** The status that the sandbox got. */
  status: z.int().min(100).max(999).nullable(),
  /** Bytes that the sandbox sent: of the body, or of the connection where that was not opened. */
  requestBytes: count,
  /** Bytes that the sandbox got, likewise. */
  responseBytes: count,
  durationMs: z.number().nonnegative(),
  /** The names of the secrets whose values left with it. */
  secrets: z.array(z.string()),
  /** The names of the secrets whose placeholders were in it although they are not bound to this destination; they were not replaced. */
  stray: z.array(z.string()),
  /** How many occurrences of values were taken out of the response. */
  redactions: count,
  /** HMAC-SHA256 over the mac of the line before and this line without its mac, in hex. */
  mac: z.string().regex(/^[0-9a-f]{64}$/),
});

/** One event of an audit log, see {@link auditEventSchema}. */
export type AuditEvent = z.infer<typeof auditEventSchema>;
export type AuditKind = AuditEvent['kind'];
export type AuditDecision = AuditEvent['decision'];
