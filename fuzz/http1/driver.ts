import { parseArgs } from 'node:util';

/** Cases that are with the oracles at the same time. */
const BATCH_CASES = 128;
const MAX_FINDINGS = 20;

/** One input that parsers read differently, or that only we accept. */
export interface Finding {
  /** The seed of this one case: a run of one iteration with it repeats the case. */
  readonly seed: number;
  readonly problem: string;
  /** The connection's bytes as a Latin-1 string. */
  readonly input: string;
}

/** What a run did. */
export interface Report {
  readonly cases: number;
  /** Messages that we accepted, sentinels included. */
  accepted: number;
  /** How often an oracle refused, for a known reason, what we accept. */
  readonly explained: Record<string, number>;
  readonly oracles: readonly string[];
  readonly findings: readonly Finding[];
}

/** What a case may say about itself while it is judged. */
export interface CaseLog {
  accept(messages: number): void;
  explain(reason: string): void;
  find(problem: string): void;
}

/** A fuzz target: begins a case, so that slow oracles can work on a batch, and gives the function that judges it. */
export interface Target {
  readonly oracles: readonly string[];
  begin(seed: number): { readonly input: string; judge(log: CaseLog): Promise<void> };
  close(): void;
}

/** Runs `iterations` cases, the first with the given seed, each later one with the next; ends early after `deadlineMs` or 20 findings. */
export async function runTarget(target: Target, seed: number, iterations: number, deadlineMs: number): Promise<Report> {
  const findings: Finding[] = [];
  const explained: Record<string, number> = {};
  const started = performance.now();
  let cases = 0;
  let accepted = 0;
  try {
    while (cases < iterations && findings.length < MAX_FINDINGS && performance.now() - started < deadlineMs) {
      const batch = Array.from({ length: Math.min(BATCH_CASES, iterations - cases) }, (_, index) => {
        const caseSeed = (seed + cases + index) >>> 0;
        return { caseSeed, ...target.begin(caseSeed) };
      });
      for (const { caseSeed, input, ...begun } of batch) {
        await begun.judge({
          accept: (messages) => void (accepted += messages),
          explain: (reason) => void (explained[reason] = (explained[reason] ?? 0) + 1),
          find: (problem) => void findings.push({ seed: caseSeed, problem, input }),
        });
      }
      cases += batch.length;
    }
  } finally {
    target.close();
  }
  return { cases, accepted, explained, oracles: target.oracles, findings };
}

/** The command line of a target. The exit status is 1 when something was found, or when nothing was accepted, which proves nothing. */
export async function runFromCommandLine(
  name: string,
  run: (seed: number, iterations: number, deadlineMs: number) => Promise<Report>,
): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      iterations: { type: 'string' },
      seconds: { type: 'string' },
      verbose: { type: 'boolean', default: false },
    },
  });
  // The same cases each time unless asked otherwise: the gate must not fail by chance on what it did not change.
  const seed = Number(values.seed ?? 1);
  const seconds = Number(values.seconds ?? Number.POSITIVE_INFINITY);
  const iterations = Number(values.iterations ?? (values.seconds === undefined ? 10_000 : Number.POSITIVE_INFINITY));
  const { cases, accepted, explained, oracles, findings } = await run(seed, iterations, seconds * 1000);
  console.log(
    `${name}: seed ${seed}, ${cases} cases, ${accepted} messages accepted, oracles ${oracles.join(' and ')}, ${findings.length} findings`,
  );
  if (values.verbose) console.log(explained);
  for (const finding of findings) {
    console.log(
      `- ${finding.problem}\n  ${JSON.stringify(finding.input)}\n  repeat: --seed ${finding.seed} --iterations 1`,
    );
  }
  if (findings.length > 0 || (accepted === 0 && cases > 100)) process.exitCode = 1;
}
