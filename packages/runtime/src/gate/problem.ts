import type { AuditDecision, ErrorCode } from '@sallyport/sdk';
import type { DialFailure } from './dialer.ts';

/** RFC 9110 section 15 (and 6585 for 431). `node:http` has them all, and takes 20 ms to load. */
const REASONS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  403: 'Forbidden',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  413: 'Content Too Large',
  417: 'Expectation Failed',
  421: 'Misdirected Request',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
};

/**
 * An answer of the gate itself: `application/problem+json` by RFC 9457.
 *
 * Every text is the gate's own or canonical (a host name, a rule of the command line), so a problem never reflects a value.
 */
export interface Problem {
  readonly status: number;
  readonly code: ErrorCode;
  /** What happened, for people. */
  readonly detail: string;
  /** The rule that decided, where one did. */
  readonly rule?: string;
  /** What would change the outcome. */
  readonly remedy?: string;
  /** The secret whose placeholder was met where it is not for, and whether that ends the sandbox; not part of the answer. */
  readonly misuse?: { readonly secret: string; readonly terminates: boolean };
}

/** What a policy says would help, as an advice: it names the option where people have to run something again, else the command. */
export function adviceOf(remedy: string): string {
  return remedy.startsWith('--') ? `Run again with ${remedy}` : remedy;
}

/** Renders the body of a problem. */
export function encodeProblemBody(problem: Problem): Buffer {
  return Buffer.from(
    `${JSON.stringify({
      type: `urn:sallyport:problem:${problem.code.toLowerCase().replaceAll('_', '-')}`,
      title: titleOf(problem),
      status: problem.status,
      detail: problem.detail,
      code: problem.code,
      ...(problem.rule === undefined ? {} : { rule: problem.rule }),
      ...(problem.remedy === undefined ? {} : { remedy: problem.remedy }),
    })}\n`,
  );
}

function titleOf(problem: Problem): string {
  return REASONS[problem.status] ?? 'Error';
}

/** Renders a problem as a complete HTTP/1.1 response that ends its connection. `bodyless` is for HEAD requests. */
export function encodeProblem(problem: Problem, bodyless: boolean): Buffer {
  const title = titleOf(problem);
  const body = encodeProblemBody(problem);
  const head = Buffer.from(
    `HTTP/1.1 ${problem.status} ${title}\r\n` +
      'content-type: application/problem+json\r\n' +
      `content-length: ${body.length}\r\n` +
      'cache-control: no-store\r\n' +
      'connection: close\r\n\r\n',
    'latin1',
  );
  return bodyless ? head : Buffer.concat([head, body]);
}

/** What the client is told of a value that cannot be put into its request. */
export function describeUnusableValue(
  failure: {
    readonly code: 'VALUE_NOT_CARRIABLE' | 'SECRET_UNAVAILABLE';
    readonly name: string;
    readonly reason: string;
  },
  place: string,
): Problem {
  const { code, name, reason } = failure;
  return code === 'SECRET_UNAVAILABLE'
    ? {
        status: 502,
        code,
        detail: `The value of the secret ${name} is not available: ${reason}.`,
        remedy: `Look on the host what is wrong with it: sallyport secret test ${name}`,
      }
    : { status: 502, code, detail: `The value of ${name} cannot be carried ${place}: ${reason}.` };
}

/** What the client is told of an upstream that could not be reached, and what the audit log calls it. */
export function describeDialFailure(failure: DialFailure): {
  readonly problem: Problem;
  readonly decision: Exclude<AuditDecision, 'allow'>;
} {
  const isDenied = failure.code === 'ADDRESS_DENIED';
  return {
    problem: {
      status: isDenied ? 403 : failure.code === 'UPSTREAM_TIMEOUT' ? 504 : 502,
      code: failure.code,
      detail: failure.detail,
      ...(failure.remedy === undefined ? {} : { remedy: failure.remedy }),
    },
    decision: isDenied ? 'deny' : 'error',
  };
}
