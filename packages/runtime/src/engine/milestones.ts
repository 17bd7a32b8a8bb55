/** A phase of a run: what it is called, when it was complete and how much later than the one before, in ms. */
export interface Phase {
  readonly name: string;
  readonly atMs: number;
  readonly shareMs: number;
}

/**
 * What a run has reached and when, counted from the start of the process. Phases overlap; each one's share is the time since the last
 * milestone before its own, so that shares sum up to the whole.
 */
export class Milestones {
  readonly #reached: { readonly name: string; readonly atMs: number }[] = [];

  /** Notes that a phase is complete. `atMs` counts from the start of the process; default: this moment. */
  mark(name: string, atMs = performance.now()): void {
    this.#reached.push({ name, atMs });
  }

  /** Marks the end of `work`, if it succeeds. */
  async after<T>(name: string, work: Promise<T>): Promise<T> {
    const result = await work;
    this.mark(name);
    return result;
  }

  /** The phases in the order of their ends. */
  phases(): Phase[] {
    let before = 0;
    return this.#reached
      .toSorted((a, b) => a.atMs - b.atMs)
      .map(({ name, atMs }) => {
        const shareMs = atMs - before;
        before = atMs;
        return { name, atMs, shareMs };
      });
  }
}

/** The phases as lines of text: share, name, moment; the whole at the end. Tenths of a ms are rounded so that the shares still sum up. */
export function formatPhases(phases: readonly Phase[]): string {
  const width = Math.max(0, ...phases.map(({ name }) => name.length));
  let before = 0;
  const lines = phases.map(({ name, atMs }) => {
    const tenths = Math.round(atMs * 10);
    const line = `${formatTenths(tenths - before)} ms  ${name.padEnd(width)}  at ${formatTenths(tenths)}`;
    before = tenths;
    return line;
  });
  return [...lines, `${formatTenths(before)} ms  in all`].map((line) => `${line}\n`).join('');
}

function formatTenths(tenths: number): string {
  return (tenths / 10).toFixed(1).padStart(9);
}
