export { ERROR_CODES, SallyportError } from './errors.ts';
export type { ErrorCode } from './errors.ts';
export { AUDIT_DECISIONS, AUDIT_KINDS, auditEventSchema } from './audit-event.ts';
export type { AuditDecision, AuditEvent, AuditKind } from './audit-event.ts';
