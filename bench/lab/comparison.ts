import type { MeasuredRow, RowResult } from './campaign.ts';
import { lossOf } from './statistics.ts';
import type { Better } from './statistics.ts';

/** How one row changed from the base to the candidate. */
export interface RowChange {
  readonly id: string;
  readonly metric: string;
  readonly better: Better;
  /** The share that was lost: 0.1 is a tenth worse, below 0 better. NaN where one of both has no figures. */
  readonly loss: number;
  /** Whether the loss is above the limit; what could not be measured for the candidate is lost altogether. */
  readonly isLost: boolean;
  /** Why there are no figures. */
  readonly reason?: string;
}

/**
 * Holds the first metric of each row against the limit.
 *
 * @param base and `candidate` are what the contenders' names begin with.
 * @param limit the share that may be lost, 0 to 1.
 */
export function compareRows(
  rows: readonly MeasuredRow[],
  base: string,
  candidate: string,
  limit: number,
): readonly RowChange[] {
  return rows.map((row) => {
    const [first] = row.metrics;
    if (first === undefined) throw new Error(`The row ${row.id} has no metric.`);
    const ours = resultOf(row, candidate);
    const theirs = resultOf(row, base);
    const common = { id: row.id, metric: first.title, better: first.better };
    if (ours?.missing !== undefined || ours === undefined) {
      return { ...common, loss: Number.NaN, isLost: true, reason: ours?.missing ?? 'was not measured' };
    }
    if (theirs?.missing !== undefined || theirs === undefined) {
      return {
        ...common,
        loss: Number.NaN,
        isLost: false,
        reason: `the base: ${theirs?.missing ?? 'was not measured'}`,
      };
    }
    const loss = lossOf(
      ours.rounds.map((figures) => figures[first.key]),
      theirs.rounds.map((figures) => figures[first.key]),
      first.better,
    );
    return { ...common, loss, isLost: !(loss <= limit) };
  });
}

/** A row measured twice, as one with all rounds of both. */
export function joinRounds(first: MeasuredRow, second: MeasuredRow): MeasuredRow {
  return {
    ...second,
    results: second.results.map((result) => {
      const before = first.results.find(({ gate }) => gate === result.gate);
      return { ...result, rounds: [...(before?.rounds ?? []), ...result.rounds] };
    }),
  };
}

function resultOf(row: MeasuredRow, name: string): RowResult | undefined {
  return row.results.find(({ gate }) => gate.startsWith(name));
}
