import { STATUS_CODES } from 'node:http';
import { SallyportError, type ErrorCode, type Problem } from '@sallyport/sdk';

/** The HTTP status of a failure. */
export function statusOf(code: ErrorCode): number {
  switch (code) {
    case 'SANDBOX_NOT_FOUND':
    case 'EXEC_NOT_FOUND':
    case 'SECRET_NOT_FOUND':
    case 'RULE_NOT_FOUND':
    case 'FILE_NOT_FOUND':
    case 'ENDPOINT_NOT_FOUND':
      return 404;
    case 'METHOD_NOT_ALLOWED':
      return 405;
    case 'SANDBOX_EXISTS':
    case 'SANDBOX_RUNNING':
    case 'SANDBOX_NOT_RUNNING':
    case 'SANDBOX_BUSY':
    case 'EXEC_ENDED':
    case 'SECRET_VALUE_LOST':
    case 'SECRET_EXISTS':
      return 409;
    case 'BODY_TOO_LARGE':
      return 413;
    case 'STORE_LOCKED':
      return 423;
    case 'DAEMON_REFUSED':
      return 403;
    case 'CAPACITY':
    case 'DAEMON_STOPPING':
      return 503;
    case 'STATE_FAILED':
      return 507;
    case 'NOT_SUPPORTED_YET':
      return 501;
    case 'TOOL_MISSING':
    case 'USER_NAMESPACES_FORBIDDEN':
    case 'AIRLOCK_FAILED':
    case 'SANDBOX_FAILED':
    case 'AUDIT_FAILED':
    case 'STORE_CORRUPT':
    case 'STORE_FAILED':
    case 'INTERNAL':
      return 500;
    case 'SOURCE_FAILED':
      return 502;
    default:
      // Everything else is about what was asked for.
      return 400;
  }
}

/** A field of a request that breaks its schema. */
export interface FieldProblem {
  readonly path: string;
  readonly message: string;
}

/** A request that breaks its schema. */
export class InvalidRequest extends SallyportError {
  readonly fields: readonly FieldProblem[];

  constructor(what: string, fields: readonly FieldProblem[]) {
    const [first] = fields;
    const where = first === undefined ? '' : `: ${first.path === '' ? '' : `${first.path}: `}${first.message}`;
    super('INVALID_REQUEST', `The ${what} is not as it should be${where}.`);
    this.fields = fields;
  }
}

/** What a failure is to a client. A defect says nothing of itself: its message could quote anything. */
export function describeProblem(error: unknown): Problem {
  const known = error instanceof SallyportError ? error : undefined;
  const code = known?.code ?? 'INTERNAL';
  const status = statusOf(code);
  return {
    type: `urn:sallyport:problem:${code.toLowerCase().replaceAll('_', '-')}`,
    title: STATUS_CODES[status] ?? 'Error',
    status,
    code,
    detail:
      known?.message ?? 'The daemon failed on this request, which is a defect. "sallyport daemon logs" tells more.',
    ...(error instanceof InvalidRequest ? { errors: error.fields.map((field) => ({ ...field })) } : {}),
  };
}
