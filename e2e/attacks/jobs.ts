import assert from 'node:assert/strict';
import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createScene } from '../harness/caller.ts';
import type { Caller } from '../harness/caller.ts';
import { findCanary, newCanary } from '../harness/canary.ts';
import type { Canary } from '../harness/canary.ts';
import { headerValues } from '../harness/recording.ts';
import type { RecordedRequest } from '../harness/recording.ts';
import { assertRunKeptSecret, describeRun, sallyport } from '../harness/sallyport.ts';
import type { SallyportResult } from '../harness/sallyport.ts';
import { whyNotInside } from '../harness/tools.ts';
import { startUpstream } from '../harness/upstream.ts';
import type { Upstream } from '../harness/upstream.ts';
import { BOUND, CONTROLS, OTHER, SECOND } from './attempts.ts';
import type { Attempt, Job, JobResult } from './attempts.ts';
import type { Family, Judge } from './attack.ts';
import { PROGRAMS } from './scene.ts';

/** What a run of jobs came to. */
export interface JobsRun {
  readonly result: SallyportResult;
  readonly answers: ReadonlyMap<string, JobResult>;
  /** What the shell's lines printed. */
  readonly output: string;
}

/** Every request that the upstream saw with the value in it. */
export function findReleased(upstream: Upstream, canary: Canary): RecordedRequest[] {
  return upstream.requests.filter(
    (one) =>
      findCanary(canary, `${one.target}\n${one.rawHeaders.join('\n')}\n${one.body.toString('latin1')}`).length > 0,
  );
}

/** Statuses of the responses in what a connection received. */
export function readStatuses(received: string): number[] {
  return [...received.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)].map(([, status]) => Number(status));
}

/** Whether some audit event says this of a host. */
export function isAudited(result: SallyportResult, host: string | undefined, code: string): boolean {
  return result.audit.some((event) => event['code'] === code && (host === undefined || event['host'] === host));
}

/** Runs jobs in one sandbox; `shell` is what it runs afterwards. No canary may turn up in what the run leaves. */
export async function runJobs(
  caller: Caller,
  jobs: readonly Job[],
  options: {
    readonly flags: readonly string[];
    readonly env: Readonly<Record<string, string>>;
    readonly canaries: readonly Canary[];
    readonly shell?: string;
    /** As of `sallyport()`; it takes the caller's rights itself. */
    readonly through?: readonly string[];
  },
): Promise<JobsRun> {
  using scene = createScene(caller);
  writeFileSync(join(scene.assets, 'jobs.json'), JSON.stringify(jobs));
  // A copy: the checkout itself cannot be mounted.
  copyFileSync(join(PROGRAMS, 'wire.py'), join(scene.assets, 'wire.py'));
  const script = `/usr/bin/python3 /assets/wire.py /assets/jobs.json || exit 70\necho; echo @@\n${options.shell ?? 'true'}`;
  const result = await sallyport(
    ['run', '-v', `${scene.assets}:/assets:ro`, ...options.flags, '--', 'sh', '-c', script],
    {
      scene,
      env: options.env,
      timeoutMs: 100_000,
      canary: options.canaries[0]!,
      ...(options.through === undefined ? {} : { through: options.through, throughDropsRights: true }),
    },
  );
  for (const canary of options.canaries) assertRunKeptSecret(canary, result, scene);
  const [json = '', output = ''] = result.stdout.split('\n@@\n');
  assert.equal(result.status, 0, describeRun(result));
  const answers = new Map((JSON.parse(json) as JobResult[]).map((answer) => [answer.name, answer]));
  return { result, answers, output };
}

/** What attempts were made over, for further judgements. */
export interface AttemptsRun extends JobsRun {
  readonly upstream: Upstream;
  readonly canary: Canary;
  readonly second: Canary;
}

/** One attempt is as it has to be: its answer, the audit log, and what the upstream saw. */
function judgeAttempt({ answers, result, upstream, canary }: AttemptsRun, { name, host, expect }: Attempt): void {
  const answer = answers.get(name) ?? assert.fail(`no report of ${name}`);
  const wanted = [expect.status].flat();
  const about = `${name}: ${answer.end} ${answer.received.slice(0, 300)}`;
  assert.ok(wanted.includes(readStatuses(answer.received).at(-1) ?? null), about);
  if (expect.code !== undefined) assert.ok(answer.received.includes(expect.code), about);
  if (expect.audited !== undefined) assert.ok(isAudited(result, host, expect.audited), `not in the log: ${about}`);
  const seen = upstream.requests.filter((one) => one.target === `/attempt/${name}`);
  const { arrives = false } = expect;
  if (arrives === 'perhaps') assert.ok(seen.length <= 1, name);
  else assert.equal(seen.length, arrives ? 1 : 0, `${name} arrived ${seen.length} times`);
  for (const one of seen) {
    const got = headerValues(one, 'authorization')[0] ?? '';
    assert.equal(got === `Bearer ${canary.value}`, expect.released === true, `${name}: ${got.slice(0, 12)}`);
    if (expect.released !== true) assert.match(got, /^Bearer sp_/, name);
  }
}

/** What holds of all attempts together. */
function judgeAll({ result, upstream, canary, second }: AttemptsRun, attempts: readonly Attempt[]): void {
  // Whoever got the value proved by TLS to be the bound host, and was asked for it by its canonical name.
  for (const one of findReleased(upstream, canary)) {
    assert.equal(one.scheme, 'https');
    assert.equal(one.serverName, BOUND);
    assert.deepEqual(headerValues(one, 'host'), [BOUND]);
  }
  assert.deepEqual(
    findReleased(upstream, second),
    [],
    'the second secret was asked for with a foreign placeholder only',
  );
  const targets = upstream.requests.map(({ target }) => target);
  assert.ok(!targets.some((target) => target.includes('smuggled') || target.endsWith('-other')), targets.join(' '));
  // Each refused attempt has an event of its own.
  const codes = Map.groupBy(attempts, ({ expect }) => expect.audited);
  for (const [code, ones] of codes) {
    if (code === undefined) continue;
    const events = result.audit.filter((event) => event['code'] === code).length;
    assert.ok(events >= ones.length, `${code}: ${events} events of ${ones.length} attempts`);
  }
  assert.ok(
    result.audit.every(
      (event) => event['host'] === BOUND || !JSON.stringify(event['secrets'] ?? []).includes('API_TOKEN'),
    ),
  );
}

/**
 * Registers attempts as attacks of a family: all in one sandbox, beside the controls.
 *
 * @param more what else is judged of that run, and the shell lines for it.
 */
export function addAttempts(
  family: Family,
  title: string,
  attempts: readonly Attempt[],
  options: {
    readonly leaks: string;
    readonly callers: 'each' | 'one';
    readonly shell?: readonly string[];
    readonly more?: (run: AttemptsRun, judge: Judge) => Promise<void>;
  },
): void {
  family.attacks(
    title,
    async (caller, judge) => {
      const [canary, second] = [newCanary(), newCanary()];
      await using upstream = await startUpstream({ names: [BOUND, OTHER, SECOND] });
      const pins = [8443, 8080].flatMap((port) => ['--resolve', `${BOUND}:${port}:127.0.0.1:${upstream.httpsPort}`]);
      const made = await runJobs(caller, [...CONTROLS, ...attempts], {
        flags: [
          ...upstream.flags(),
          ...pins,
          ...['--secret', `API_TOKEN@${BOUND}`, '--secret', `SECOND_TOKEN@${SECOND}`],
          ...['--allow', OTHER, '--allow', BOUND, '--allow', `${BOUND}:8443`, '--allow', 'unrelated.example:8080'],
        ],
        env: { API_TOKEN: canary.value, SECOND_TOKEN: second.value },
        canaries: [canary, second],
        shell: (options.shell ?? []).map((line) => `{ ${line}; } 2>&1\n`).join(''),
      });
      const run = { ...made, upstream, canary, second };
      for (const control of CONTROLS) judgeAttempt(run, control);
      for (const attempt of attempts) {
        await judge({ name: attempt.name, leaks: options.leaks }, () => judgeAttempt(run, attempt));
      }
      judgeAll(run, attempts);
      await options.more?.(run, judge);
    },
    { skip: whyNotInside('python3'), timeoutMs: 110_000, callers: options.callers },
  );
}
