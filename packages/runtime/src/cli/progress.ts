/** How long something may take before it is worth a word, in ms. */
const PATIENCE_MS = 400;
const REFRESH_MS = 250;

/**
 * Waits for something that may take long; while it does, a line on standard error says what and for how long, where a terminal is there. The
 * line goes when it is over.
 */
export async function withProgress<T>(what: string, work: Promise<T>): Promise<T> {
  const progress = showProgress(() => what);
  try {
    return await work;
  } finally {
    progress.end();
  }
}

/** A line on standard error that is written anew until its end, where a terminal is there. */
export function showProgress(text: () => string, stream: NodeJS.WriteStream = process.stderr): { end(): void } {
  if (!stream.isTTY) return { end: () => undefined };
  const startedAtMs = performance.now();
  let isShown = false;
  const write = (): void => {
    const elapsedMs = performance.now() - startedAtMs;
    if (elapsedMs < PATIENCE_MS) return;
    isShown = true;
    const line = `sallyport: ${text()} … ${Math.floor(elapsedMs / 1000)} s`;
    // Cut to the terminal's width: a line that wraps could not be taken back.
    stream.write(`\r\x1b[2K${line.slice(0, Math.max(20, (stream.columns || 80) - 1))}`);
  };
  const timer = setInterval(write, REFRESH_MS);
  timer.unref();
  return {
    end: () => {
      clearInterval(timer);
      if (isShown) stream.write('\r\x1b[2K');
    },
  };
}
