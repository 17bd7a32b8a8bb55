import { Unsupported } from './attack.ts';
import type { Attack, AttackResult, Need, Outcome } from './attack.ts';
import { createSeededRandom, findForms } from './canary.ts';
import type { Client } from './client.ts';
import { judge } from './judge.ts';
import { Session } from './session.ts';
import type { Target } from './session.ts';
import type { Upstreams } from './upstreams.ts';

/** One run over a gate. */
export interface RunOptions {
  readonly attacks: readonly Attack[];
  readonly client: Client;
  readonly upstreams: Upstreams;
  readonly target: Target;
  /** Features that the gate is stated not to have: what presumes them is reported as unsupported. */
  readonly without: ReadonlySet<Need>;
  readonly seed: number;
  /** Called after each attack. */
  readonly onResult?: (result: AttackResult) => void;
}

/** What a run came to. `inconclusive`: a positive control failed, so no other result means anything. */
export type Verdict = 'passed' | 'failed' | 'inconclusive';

/** The results of a run. */
export interface GauntletReport {
  readonly verdict: Verdict;
  readonly seed: number;
  readonly without: readonly Need[];
  readonly counts: Readonly<Record<Outcome, number>>;
  readonly results: readonly AttackResult[];
}

/** No attack may take longer. */
export const ATTACK_TIMEOUT_MS = 10_000;

/** Nor a run: what is left then is reported as an error. */
export const RUN_TIMEOUT_MS = 120_000;

/** What a gate sends on after its client has gone arrives within this. */
const SETTLE_MS = 40;

const MAX_EVIDENCE = 20;

async function runAttack(attack: Attack, options: RunOptions, timeoutMs: number): Promise<AttackResult> {
  const startedAt = performance.now();
  const finish = (outcome: Outcome, evidence: readonly string[]): AttackResult => {
    const { id, title, category, reference, leak, informational = false } = attack;
    const milliseconds = Math.round(performance.now() - startedAt);
    const safe = evidence.slice(0, MAX_EVIDENCE).map((line) => hideValues(line, options.target));
    return { id, title, category, reference, leak, informational, outcome, evidence: safe, milliseconds };
  };
  const missing = (attack.needs ?? []).filter((need) => options.without.has(need));
  if (missing.length > 0)
    return finish(
      'unsupported',
      missing.map((need) => `the gate has no ${need}`),
    );
  if (timeoutMs <= 0) return finish('error', ['the time of the run was over before']);
  const signal = AbortSignal.timeout(Math.min(timeoutMs, ATTACK_TIMEOUT_MS));
  const { client, upstreams, target, seed } = options;
  const session = new Session({ client, upstreams, target, random: createSeededRandom(seed), signal });
  let failure: Error | undefined;
  try {
    await attack.run(session);
  } catch (error) {
    failure = error instanceof Error ? error : new Error('the attack threw no error');
  }
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  // What leaked before the attack broke off has leaked.
  const findings = judge(session);
  if (findings.length > 0) return finish('fail', findings);
  if (failure instanceof Unsupported) return finish('unsupported', [failure.message]);
  if (failure !== undefined) return finish('error', [failure.message]);
  return finish('pass', describeTraffic(session));
}

/** How the gate took it, so that a pass can be told from an attack that hit nothing. */
function describeTraffic(session: Session): string[] {
  const statuses = session.exchanges.flatMap(({ responses }) =>
    responses.map(({ startLine }) => startLine.split(' ')[1] ?? '?'),
  );
  const closed = session.exchanges.filter(({ responses }) => responses.length === 0).length;
  const counts = Map.groupBy(statuses, (status) => status);
  const answers = [...counts]
    .sort(([one], [other]) => one.localeCompare(other))
    .map(([status, all]) => `${all.length} × ${status}`);
  if (closed > 0) answers.push(`${closed} × no answer`);
  return [`${session.requests.length} requests arrived; answers: ${answers.join(', ') || 'none'}`];
}

function hideValues(line: string, target: Target): string {
  const values = [target.value, ...(target.second === undefined ? [] : [target.second.value])];
  return values.some((value) => findForms(value, Buffer.from(line)).length > 0) ? '(a line that holds a value)' : line;
}

/** Runs attacks one after another. Controls that fail end the run at once. */
export async function runGauntlet(options: RunOptions): Promise<GauntletReport> {
  const results: AttackResult[] = [];
  const endsAt = performance.now() + RUN_TIMEOUT_MS;
  let isConclusive = true;
  for (const attack of options.attacks) {
    const result = await runAttack(attack, options, endsAt - performance.now());
    results.push(result);
    options.onResult?.(result);
    if (attack.category !== 'control' || result.outcome === 'pass' || result.outcome === 'unsupported') continue;
    isConclusive = false;
    break;
  }
  const counts: Record<Outcome, number> = { pass: 0, fail: 0, unsupported: 0, error: 0 };
  for (const { outcome, informational } of results) if (!informational) counts[outcome] += 1;
  const failed = counts.fail + counts.error > 0;
  const verdict = !isConclusive ? 'inconclusive' : failed ? 'failed' : 'passed';
  return { verdict, seed: options.seed, without: [...options.without].sort(), counts, results };
}
