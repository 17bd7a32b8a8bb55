import type { Figures } from './measure.ts';
import type { Contender, Metric, Row, Setting } from './row.ts';

/** What one contender did in one row. */
export interface RowResult {
  readonly gate: string;
  /** Why there are no figures. */
  readonly missing?: string;
  /** One element a round. */
  readonly rounds: readonly Figures[];
}

/** One row with everybody's figures. */
export interface MeasuredRow {
  readonly id: string;
  readonly title: string;
  readonly baseline: string;
  readonly metrics: readonly Metric[];
  readonly results: readonly RowResult[];
}

/** How much is measured. */
export interface Effort {
  readonly rounds: number;
  /** Of one contender in one round, where a row can be as long as one wants. */
  readonly seconds: number;
  /** How often a contender works before that at most: a program that compiles itself while it runs gets the time that it uses for that. */
  readonly warmUps: number;
}

const WARM_UP_SECONDS = 1;
/** Better than the best so far by less than this is no progress. */
const WARM_UP_PROGRESS = 0.03;

/** A machine that is busy with something else for a second shall not cost a contender its row: the second failure counts. */
async function measureTwice(contender: Contender, seconds: number, say: (line: string) => void): Promise<Figures> {
  try {
    return await contender.measure(seconds);
  } catch (error) {
    say(`${contender.name}, once more after: ${firstLine(error)}`);
    return contender.measure(seconds);
  }
}

/** Lets a contender work until its main figure gets no better for two times. What it does meanwhile does not count. */
async function warmUp(
  contender: Contender,
  { key, better }: Metric,
  most: number,
  say: (line: string) => void,
): Promise<void> {
  let best: number | undefined;
  let without = 0;
  for (let time = 0; time < most && without < 2; time += 1) {
    const figure = (await measureTwice(contender, WARM_UP_SECONDS, say))[key];
    if (figure === undefined) return;
    const progress = best === undefined ? Infinity : better === 'higher' ? figure / best - 1 : best / figure - 1;
    without = progress > WARM_UP_PROGRESS ? 0 : without + 1;
    if (progress > 0) best = figure;
  }
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
}

/**
 * Measures one row: every contender once a round, each round beginning with another one, after a warm-up that does not count (see {@link warmUp}). A contender
 * that fails twice is left out from there on, and the row says why.
 */
export async function measureRow(
  row: Row,
  setting: Setting,
  { rounds, seconds, warmUps }: Effort,
  say: (line: string) => void,
): Promise<MeasuredRow> {
  const contenders = row.contenders(setting).map((contender) => ({
    contender,
    figures: [] as Figures[],
    missing: undefined as string | undefined,
  }));
  const count = Math.min(rounds, row.maxRounds ?? rounds);
  for (let round = row.warmsUp === false ? 0 : -1; round < count; round += 1) {
    const start = Math.max(round, 0) % contenders.length;
    for (const each of [...contenders.slice(start), ...contenders.slice(0, start)]) {
      if (each.missing !== undefined) continue;
      try {
        if (round < 0) await warmUp(each.contender, row.metrics[0], warmUps, say);
        else each.figures.push(await measureTwice(each.contender, seconds, say));
      } catch (error) {
        each.missing = error instanceof Error ? error.message : String(error);
        say(`${row.id}: ${each.contender.name}: ${each.missing}`);
      }
    }
  }
  return {
    id: row.id,
    title: row.title,
    baseline: row.baseline,
    metrics: row.metrics,
    results: contenders.map(({ contender: { name }, figures, missing }) =>
      missing === undefined ? { gate: name, rounds: figures } : { gate: name, missing, rounds: [] },
    ),
  };
}
