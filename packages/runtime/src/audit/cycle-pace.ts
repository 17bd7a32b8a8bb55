/** Logs of one thread begin their writes this far apart when many have something to write, in ms. */
const SPACING_MS = 3;
/** The longest that a log waits because of others, in ms. */
export const MAX_CYCLE_MS = 500;

/**
 * Shares out among the logs of a thread when they write.
 *
 * A write costs some 0.3 ms of a core however few lines it has: a hundred busy logs that all wrote as often as one does would need much of
 * a core for it. Where many write, each waits longer and writes more at a time.
 */
export class CyclePace {
  /** When the next write may begin. */
  #nextMs = -Infinity;

  /**
   * Takes a turn, and returns when it is: at once while there are few, and never because of others after {@link MAX_CYCLE_MS}.
   *
   * @param nowMs of the monotonic clock
   * @param earliestMs before which this log does not write anyway
   */
  take(nowMs: number, earliestMs: number): number {
    const freeMs = Math.max(this.#nextMs, nowMs);
    this.#nextMs = Math.min(freeMs + SPACING_MS, nowMs + MAX_CYCLE_MS);
    return Math.max(freeMs, earliestMs);
  }
}
