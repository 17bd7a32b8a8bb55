import { parseArgs } from 'node:util';

import { Random } from '../http1/random.ts';
import { writeFixture } from './fixtures.ts';
import { shrink, type CaseData } from './shrink.ts';

const MAX_FINDINGS = 10;
const SHRINK_LIMIT_MS = 30_000;

/** One fuzz target, open. `Case` is all that `check` depends on. */
export interface FuzzTarget<Case extends CaseData = CaseData> {
  readonly name: string;
  generate(random: Random): Case;
  /**
   * What is wrong with how a case was treated, or null. What stands before the first colon names the kind of fault. Throwing is a
   * fault as well. `note` counts, by what is said, how cases went.
   */
  check(data: Case, note: (what: string) => void): string | null | Promise<string | null>;
  close?(): void | Promise<void>;
}

/** One case that failed. */
export interface Finding {
  /** The seed of this one case: a run of one iteration with it repeats the case. */
  readonly seed: number;
  readonly problem: string;
  readonly smallest: CaseData;
}

/** What a run did. */
export interface Report {
  readonly cases: number;
  readonly notes: Readonly<Record<string, number>>;
  readonly findings: readonly Finding[];
}

/** The fault in one case, or null; what `check` throws is a fault. */
export async function judge<Case extends CaseData>(
  target: FuzzTarget<Case>,
  data: Case,
  note: (what: string) => void = () => undefined,
): Promise<string | null> {
  try {
    return await target.check(data, note);
  } catch (error) {
    return error instanceof Error ? `threw ${error.name} ${error.message}` : `threw ${String(error)}`;
  }
}

/** Runs cases, the first with the given seed, each later one with the next; ends early after `deadlineMs` or ten findings. */
export async function runCampaign<Case extends CaseData>(
  target: FuzzTarget<Case>,
  { seed, iterations, deadlineMs }: { seed: number; iterations: number; deadlineMs: number },
): Promise<Report> {
  const notes: Record<string, number> = {};
  const note = (what: string): void => void (notes[what] = (notes[what] ?? 0) + 1);
  const findings: Finding[] = [];
  const started = performance.now();
  let cases = 0;
  try {
    while (cases < iterations && findings.length < MAX_FINDINGS && performance.now() - started < deadlineMs) {
      const caseSeed = (seed + cases) >>> 0;
      const data = target.generate(new Random(caseSeed));
      const problem = await judge(target, data, note);
      if (problem !== null) {
        const fails = async (candidate: Case): Promise<boolean> =>
          kindOf((await judge(target, candidate)) ?? '') === kindOf(problem);
        const smallest = await shrink(data, fails, SHRINK_LIMIT_MS);
        findings.push({ seed: caseSeed, problem: (await judge(target, smallest)) ?? problem, smallest });
      }
      cases += 1;
    }
  } finally {
    await target.close?.();
  }
  return { cases, notes, findings };
}

function kindOf(problem: string): string {
  return problem.split(':', 1)[0] ?? '';
}

/**
 * The command line of a target: `--seed S --iterations N --seconds T`. Each finding is made small, printed and kept as a fixture; the
 * exit status is then 1.
 */
export async function runFromCommandLine<Case extends CaseData>(
  openTarget: () => FuzzTarget<Case> | Promise<FuzzTarget<Case>>,
  usualIterations = 10_000,
): Promise<void> {
  const { values } = parseArgs({
    options: { seed: { type: 'string' }, iterations: { type: 'string' }, seconds: { type: 'string' } },
  });
  // The same cases each time unless asked otherwise: the gate must not fail by chance on what it did not change.
  const seed = Number(values.seed ?? 1);
  const seconds = Number(values.seconds ?? Number.POSITIVE_INFINITY);
  const endless = values.seconds === undefined ? usualIterations : Number.POSITIVE_INFINITY;
  const target = await openTarget();
  const { cases, notes, findings } = await runCampaign(target, {
    seed,
    iterations: Number(values.iterations ?? endless),
    deadlineMs: seconds * 1000,
  });
  console.log(`${target.name}: seed ${seed}, ${cases} cases, ${findings.length} findings`);
  for (const [what, count] of Object.entries(notes)) console.log(`  ${count} ${what}`);
  for (const { seed: caseSeed, problem, smallest } of findings) {
    const file = writeFixture(target.name, problem, smallest);
    console.log(`- ${problem}\n  kept as ${file}\n  repeat: --seed ${caseSeed} --iterations 1`);
  }
  if (findings.length > 0) process.exitCode = 1;
}
