import { SallyportError } from '../errors.ts';

/** How long a call may take, and what ends it early. Every call of the SDK takes these. */
export interface CallOptions {
  /** Ends the call: it rejects with ABORTED, or with TIMED_OUT for a signal of `AbortSignal.timeout()`. */
  readonly signal?: AbortSignal | undefined;
  /** Time for the whole call, in ms; then it rejects with TIMED_OUT. Default: 120 s for a question, none for streams and waits. */
  readonly timeoutMs?: number | undefined;
}

/** How long a question to the daemon may take unless its caller says something else, in ms: a start is the longest. */
export const DEFAULT_TIMEOUT_MS = 120_000;
/** The longest that a timer can wait, in ms. */
const MAX_TIMER_MS = 2_147_483_647;

/** The end of a call's time, as a signal whose reason is the SallyportError to throw. */
export interface Limit extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * Starts the time of a call. Dispose it when the call is over, or its timer goes on.
 *
 * @param defaultMs used where the options have no `timeoutMs`; undefined for no limit.
 * @throws SallyportError ABORTED or TIMED_OUT at once when the signal is aborted already; USAGE for a time that is none.
 */
export function startLimit(options: CallOptions, defaultMs?: number): Limit {
  const { signal, timeoutMs = defaultMs } = options;
  if (signal?.aborted === true) throw interruption(signal.reason);
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(interruption(signal?.reason));
  signal?.addEventListener('abort', onAbort, { once: true });
  let timer: ReturnType<typeof setTimeout> | undefined;
  if (timeoutMs !== undefined && timeoutMs !== Number.POSITIVE_INFINITY) {
    if (!(timeoutMs >= 0)) throw new SallyportError('USAGE', `timeoutMs: ${String(timeoutMs)} is no time in ms.`);
    const expire = (): void =>
      controller.abort(new SallyportError('TIMED_OUT', `The call took longer than its ${timeoutMs} ms.`));
    timer = setTimeout(expire, Math.min(timeoutMs, MAX_TIMER_MS));
  }
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    },
  };
}

function interruption(reason: unknown): SallyportError {
  if (reason instanceof SallyportError) return reason;
  const isTimeout = reason instanceof Error && reason.name === 'TimeoutError';
  return isTimeout
    ? new SallyportError('TIMED_OUT', 'The time of the signal that was given to the call is over.', { cause: reason })
    : new SallyportError('ABORTED', 'The call was aborted by the signal that was given to it.', { cause: reason });
}

/** The promise, or the rejection with the signal's reason, whichever is first. The promise's own fate is then nobody's concern. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return await new Promise<T>((resolve, reject) => {
    // The reason is an error: it comes from a limit.
    const onAbort = (): void => reject(signal.reason as Error);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
