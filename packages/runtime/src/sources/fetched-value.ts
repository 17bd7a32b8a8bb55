import { isUtf8 } from 'node:buffer';
import { SallyportError } from '@sallyport/sdk';

/** The longest value of a source, as of a stored secret. */
export const MAX_VALUE_BYTES = 64 * 1024;

/** How long a source may take to give its value, unless it is told otherwise. */
export const DEFAULT_TIME_LIMIT_MS = 10_000;
/** The longest that a source can be allowed: a request of a sandbox waits for it. */
export const MAX_TIME_LIMIT_MS = 30_000;

const LINE_FEED = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/**
 * What a source gave, as a value: without the line breaks at its end, which commands, editors and consoles put there.
 *
 * `bytes` is wiped; the value is memory of its own.
 *
 * @param subject Who gave it, as a message begins: "The command".
 * @throws SallyportError SOURCE_FAILED when nothing is left, or too much, or what is not UTF-8.
 */
export function finishValue(bytes: Uint8Array, subject: string): Uint8Array {
  try {
    let end = bytes.length;
    while (end > 0 && (bytes[end - 1] === LINE_FEED || bytes[end - 1] === CARRIAGE_RETURN)) end -= 1;
    const value = bytes.subarray(0, end);
    if (end === 0) throw sourceFailed(`${subject} gave an empty value.`);
    if (end > MAX_VALUE_BYTES) throw tooLong(subject);
    if (!isUtf8(value))
      throw sourceFailed(`${subject} gave a value that is not UTF-8 text. Encode it, in base64 for instance.`);
    return Uint8Array.from(value);
  } finally {
    bytes.fill(0);
  }
}

/** The failure of a source. `message` may hold nothing that a source wrote. */
export function sourceFailed(message: string, options?: { cause?: unknown }): SallyportError {
  return new SallyportError('SOURCE_FAILED', message, options);
}

/** The failure of a source that gives more than a value may have. */
export function tooLong(subject: string): SallyportError {
  return sourceFailed(`${subject} gave more than ${MAX_VALUE_BYTES / 1024} KiB. A value has at most that.`);
}

/** The failure of a source that was not waited for any longer. */
export function tooLate(subject: string, timeLimitMs: number): SallyportError {
  return sourceFailed(`${subject} gave no value within ${timeLimitMs / 1000} s.`);
}

/** The failure of a source that whoever asked for its value has called off. */
export function calledOff(subject: string, signal: AbortSignal): SallyportError {
  return sourceFailed(`${subject} was called off.`, { cause: signal.reason });
}
