import { writeSync } from 'node:fs';
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
    case 'INVALID_CLIENT_CERTIFICATE':
    case 'INVALID_REFERENCE':
    case 'INVALID_RULE':
    case 'INVALID_METHOD':
    case 'INVALID_PATH_GLOB':
    case 'SERVICE_UNKNOWN':
    case 'WORKSPACE_REFUSED':
    case 'MOUNT_REFUSED':
    case 'AUDIT_REFUSED':
    case 'RUNTIME_UNKNOWN':
    case 'NOT_SUPPORTED_YET':
    case 'INVALID_REQUEST':
    case 'SANDBOX_NOT_FOUND':
    case 'SANDBOX_EXISTS':
    case 'SANDBOX_RUNNING':
    case 'SANDBOX_NOT_RUNNING':
    case 'SANDBOX_BUSY':
    case 'EXEC_NOT_FOUND':
    case 'EXEC_ENDED':
    case 'FILE_NOT_FOUND':
    case 'RULE_NOT_FOUND':
    case 'COPY_REFUSED':
    case 'SECRET_EXISTS':
    case 'SECRET_NOT_FOUND':
    case 'USER_REFUSED':
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
  process.stderr.write(
    `sallyport: internal error (${kind}${detail}). Please report it with the command's options. [INTERNAL]\n`,
  );
}

function firstFrame(error: Error): string {
  const frame = error.stack?.split('\n').find((line) => line.trimStart().startsWith('at '));
  return frame === undefined ? '' : ` ${frame.trim()}`;
}

/** The longest word of the command line that a message quotes. */
const MAX_QUOTED_WORD_CHARACTERS = 24;

/**
 * A word of the command line for a message, or `instead` where it may be a secret that slipped out of its option: anything but a short
 * name.
 */
function showWord(word: string, instead: string): string {
  const isName = word.length <= MAX_QUOTED_WORD_CHARACTERS && /^[a-z][a-z0-9._/-]*$/i.test(word);
  return isName ? JSON.stringify(word) : instead;
}

/** The refusal of a word that stands before `--`. */
export function refuseBareWord(word: string): SallyportError {
  return new SallyportError(
    'USAGE',
    `${showWord(word, 'A word that belongs to no option')} stands before the command. Write sallyport run [options] -- COMMAND [ARG...]; ` +
      'a bare first word is kept for images and agents, which are not supported yet.',
  );
}

/** The name of an option without its value: what follows a mistyped `--secret=` or `-x` is a secret. */
function showOption(word: string): string {
  const name = /^--[a-z][a-z-]{0,30}(?==|$)/.exec(word)?.[0] ?? /^-[a-zA-Z0-9]/.exec(word)?.[0];
  return name === undefined ? 'of that name' : JSON.stringify(name);
}

/**
 * Says what Commander refused, without the words that it quotes.
 *
 * @param lacksSeparator whether this is `run` without `--`, so that an unknown option is probably the command's.
 */
export function explainUsage(
  failure: { readonly code: string; readonly message: string },
  lacksSeparator: boolean,
): SallyportError {
  const quoted = /'(?<word>[^']*)/.exec(failure.message)?.groups?.['word'] ?? '';
  const suggestion = /\(Did you mean (?<word>[a-z-]+)\?\)/.exec(failure.message)?.groups?.['word'];
  const meant = suggestion === undefined ? '' : ` Did you mean ${suggestion}?`;
  switch (failure.code) {
    case 'commander.unknownOption':
      return new SallyportError(
        'USAGE',
        `There is no option ${showOption(quoted)}.${meant} ` +
          (lacksSeparator
            ? 'If it belongs to the command, put -- before the command: sallyport run [options] -- COMMAND [ARG...].'
            : '"--help" after the command lists its options.'),
      );
    case 'commander.optionMissingArgument':
      return new SallyportError('USAGE', `The option ${quoted} has no value.`);
    case 'commander.unknownCommand':
      return new SallyportError(
        'USAGE',
        `There is no command ${showWord(quoted, 'of that name')}.${meant} sallyport --help lists the commands.`,
      );
    case 'commander.invalidArgument': {
      const choices = /Allowed choices are (?<choices>[a-z, -]+)\.$/.exec(failure.message)?.groups?.['choices'];
      const fix = choices === undefined ? '"--help" after the command tells more.' : `Write one of: ${choices}.`;
      return new SallyportError('USAGE', `The option ${quoted} cannot have that value. ${fix}`);
    }
    case 'commander.missingArgument':
      return new SallyportError('USAGE', `The argument <${quoted}> is missing. "--help" after the command tells more.`);
    case 'commander.excessArguments':
      return new SallyportError(
        'USAGE',
        'There are more arguments than the command takes. "--help" after it tells more.',
      );
    default:
      return new SallyportError(
        'USAGE',
        'The command line cannot be understood. sallyport --help tells what there is.',
      );
  }
}

const STDERR_FD = 2;

export interface Reporter {
  /** A notice that people should see unless they asked for silence. */
  notice(text: string): void;
  /** Detail for `--verbose`. */
  detail(text: string): void;
}

/** Notices and details for people go to standard error; standard output is the command's own. */
export function createReporter(options: { readonly quiet: boolean; readonly verbose: boolean }): Reporter {
  const write = (text: string): void => {
    const line = `sallyport: ${text}\n`;
    try {
      // Not by `process.stderr`, which would make the stream non-blocking under the runtime, which writes to it as well.
      writeSync(STDERR_FD, line);
    } catch (error) {
      // Somebody else has made it so, and it is full.
      if ((error as { code?: unknown }).code === 'EAGAIN') process.stderr.write(line);
    }
  };
  return {
    notice: options.quiet ? () => undefined : write,
    detail: options.verbose ? write : () => undefined,
  };
}
