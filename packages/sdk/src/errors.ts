/**
 * Stable error codes, append-only: a code is never renamed or reused.
 *
 * Callers and tests match on the code; the message is for people.
 */
export const ERROR_CODES = [
  // Usage: the command line or a file that it names is wrong (exit status 2).
  'USAGE',
  'INVALID_HOST_PATTERN',
  'INVALID_SECRET_SPEC',
  'INVALID_SECRET_VALUE',
  'SECRET_VALUE_TOO_SHORT',
  'SECRET_CONFLICT',
  'SECRET_SOURCE_UNSET',
  'INVALID_LOCATION',
  'INVALID_RESOLVE',
  'INVALID_MOUNT',
  'INVALID_ENVIRONMENT',
  'INVALID_LIMIT',
  'INVALID_NAME',
  'UNREADABLE_FILE',
  'WORKSPACE_REFUSED',
  'MOUNT_REFUSED',
  'AUDIT_REFUSED',
  'NOT_SUPPORTED_YET',
  // Set-up: the machine lacks something (exit status 125).
  'TOOL_MISSING',
  'RUNTIME_UNKNOWN',
  'USER_NAMESPACES_FORBIDDEN',
  'AIRLOCK_FAILED',
  'SANDBOX_FAILED',
  'AUDIT_FAILED',
  'INTERNAL',
  // Verdicts of the gate, seen in problem+json bodies and in the audit log.
  'HOST_DENIED',
  'ADDRESS_DENIED',
  'SNI_MISSING',
  'AUTHORITY_MISMATCH',
  'METHOD_REFUSED',
  'MALFORMED_REQUEST',
  'HEAD_TOO_LARGE',
  'UPGRADE_NOT_SUPPORTED',
  'UPSTREAM_UNRESOLVED',
  'UPSTREAM_UNREACHABLE',
  'UPSTREAM_TLS_FAILED',
  'UPSTREAM_MALFORMED',
  'UPSTREAM_TIMEOUT',
  'RESPONSE_UNREDACTABLE',
  'VALUE_NOT_CARRIABLE',
  'CAPACITY',
  'CLIENT_TIMEOUT',
  'WEBSOCKET_MALFORMED',
  'WEBSOCKET_TIMEOUT',
  'BODY_TOO_LARGE',
  'ECH_REFUSED',
  'TLS_VERSION_REFUSED',
  'ALPN_REFUSED',
  'INVALID_CLIENT_CERTIFICATE',
  // The daemon and its API.
  'INVALID_REQUEST',
  'ENDPOINT_NOT_FOUND',
  'METHOD_NOT_ALLOWED',
  'SANDBOX_NOT_FOUND',
  'SANDBOX_EXISTS',
  'SANDBOX_RUNNING',
  'SANDBOX_NOT_RUNNING',
  'SANDBOX_BUSY',
  'EXEC_NOT_FOUND',
  'EXEC_ENDED',
  'EXEC_FAILED',
  'SECRET_NOT_FOUND',
  'SECRET_VALUE_LOST',
  'RULE_NOT_FOUND',
  'FILE_NOT_FOUND',
  'FILE_FAILED',
  'STATE_FAILED',
  'DAEMON_REFUSED',
  'DAEMON_UNREACHABLE',
  'DAEMON_STOPPING',
  'TIMED_OUT',
  'ABORTED',
  'PROTOCOL_FAILED',
  // What comes out of a sandbox as files is not what was asked for, or would lead elsewhere on the host.
  'COPY_REFUSED',
  // Stored secrets, their stores and sources, services and stored rules.
  'STORE_LOCKED',
  'STORE_CORRUPT',
  'STORE_FAILED',
  'INVALID_REFERENCE',
  'SOURCE_FAILED',
  'SERVICE_UNKNOWN',
  'INVALID_RULE',
  'INVALID_METHOD',
  'INVALID_PATH_GLOB',
  // Verdicts of the gate about them.
  'SECRET_UNAVAILABLE',
  'PLACEHOLDER_REFUSED',
  'REQUEST_DENIED',
  'SIGNATURE_REFUSED',
  // A command was to run as somebody whom the sandbox does not have.
  'USER_REFUSED',
  // The API: a secret of that name is stored already, and was not to be replaced.
  'SECRET_EXISTS',
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/**
 * The one error class of Sallyport.
 *
 * `message` is always safe to show: it never holds a header value, a body or a secret, and it says what to do next.
 */
export class SallyportError extends Error {
  override readonly name = 'SallyportError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}
