import { SallyportError, type ErrorCode } from '@sallyport/sdk';

/** The exit status for a failure of Sallyport itself: 2 for bad usage, 125 for anything else. */
export function exitStatusOf(code: ErrorCode): 2 | 125 {
  switch (code) {
    case 'USAGE':
    case 'INVALID_HOST_PATTERN':
    case 'INVALID_SECRET_SPEC':
    case 'INVALID_SECRET_VALUE':
    case 'SECRET_VALUE_TOO_SHORT':
    case 'SECRET_CONFLICT':
    case 'SECRET_SOURCE_UNSET':
    case 'INVALID_LOCATION':
    case 'INVALID_RESOLVE':
    case 'INVALID_MOUNT':
    case 'INVALID_ENVIRONMENT':
    case 'INVALID_LIMIT':
    case 'INVALID_NAME':
    case 'UNREADABLE_FILE':
    case 'WORKSPACE_REFUSED':
    case 'MOUNT_REFUSED':
    case 'AUDIT_REFUSED':
    case 'RUNTIME_UNKNOWN':
    case 'NOT_SUPPORTED_YET':
      return 2;
    default:
      return 125;
  }
}

/** Tells a failure on standard error: the code, what happened, what to do. Never a stack: it could quote an argument. */
export function reportError(error: unknown): void {
  if (error instanceof SallyportError) {
    process.stderr.write(`sallyport: ${error.message} [${error.code}]\n`);
    return;
  }
  const kind = error instanceof Error ? error.name : typeof error;
  const detail = error instanceof Error ? firstFrame(error) : '';
  process.stderr.write(`sallyport: internal error (${kind}${detail}). Please report it with the command's options. [INTERNAL]\n`);
}

function firstFrame(error: Error): string {
  const frame = error.stack?.split('\n').find((line) => line.trimStart().startsWith('at '));
  return frame === undefined ? '' : ` ${frame.trim()}`;
}

export interface Reporter {
  /** A notice that people should see unless they asked for silence. */
  notice(text: string): void;
  /** Detail for `--verbose`. */
  detail(text: string): void;
}

/** Notices and details for people go to standard error; standard output is the command's own. */
export function createReporter(options: { readonly quiet: boolean; readonly verbose: boolean }): Reporter {
  const write = (text: string): void => {
    process.stderr.write(`sallyport: ${text}\n`);
  };
  return {
    notice: options.quiet ? () => undefined : write,
    detail: options.verbose ? write : () => undefined,
  };
}
