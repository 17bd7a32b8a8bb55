/** The middle of a sample and how far it spreads. */
export interface Summary {
  readonly median: number;
  /** First and third quartile: half of the sample lies between. */
  readonly low: number;
  readonly high: number;
  readonly count: number;
}

/**
 * The value below which `share` (0 to 1) of a sample lies, interpolated between neighbors; NaN for an empty sample.
 */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? Number.NaN;
  return below + (above - below) * (position - Math.floor(position));
}

/** Median and quartiles of a sample. */
export function summarize(values: readonly number[]): Summary {
  return {
    median: quantile(values, 0.5),
    low: quantile(values, 0.25),
    high: quantile(values, 0.75),
    count: values.length,
  };
}

/**
 * What one contender has of another, round by round: each round's two figures were measured within seconds of each other, so that a
 * machine that is slow for a while is slow for both. Rounds that lack one of them are left out.
 */
export function ratios(
  values: readonly (number | undefined)[],
  bases: readonly (number | undefined)[],
): readonly number[] {
  return values.flatMap((value, round) => {
    const base = bases[round];
    return value === undefined || base === undefined || base === 0 ? [] : [value / base];
  });
}

/** Which way a figure is better. */
export type Better = 'higher' | 'lower';

/**
 * The share that was lost from base to candidate, over the rounds' median ratio: 0.1 is a tenth slower, below 0 is a gain. NaN without
 * a common round.
 */
export function lossOf(
  candidate: readonly (number | undefined)[],
  base: readonly (number | undefined)[],
  better: Better,
): number {
  const median = quantile(ratios(candidate, base), 0.5);
  return better === 'higher' ? 1 - median : median - 1;
}
