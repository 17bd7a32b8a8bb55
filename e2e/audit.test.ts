import assert from 'node:assert/strict';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createScene, eachCaller, findPresentCaller } from './harness/caller.ts';
import type { Scene } from './harness/caller.ts';
import { describeRun, sallyport } from './harness/sallyport.ts';
import type { SallyportOptions } from './harness/sallyport.ts';

const LINES = 8;

/** Runs a command whose denied requests leave `LINES` lines in the scene's audit file. */
async function writeLog(
  scene: Scene,
  options: readonly string[] = [],
  more: Partial<SallyportOptions> = {},
): Promise<void> {
  const script = `curl -s -o /dev/null 'http://h[1-${LINES}].test.example/'`;
  const result = await sallyport(['run', ...options, '--', 'sh', '-c', script], { scene, ...more });
  assert.equal(result.status, 0, describeRun(result));
}

function verify(scene: Scene, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return sallyport(['audit', 'verify', ...args], { scene, env, audit: false });
}

eachCaller('audit verify says in words what was done to which line', async (caller) => {
  using scene = createScene(caller);
  const file = scene.auditFile;
  await writeLog(scene);
  const whole = await verify(scene, [file]);
  assert.deepEqual([whole.status, whole.stdout, whole.stderr], [0, `${file}: whole, ${LINES} lines\n`, '']);

  const lines = readFileSync(file, 'utf8').trimEnd().split('\n');
  const line = (index: number): string => lines[index] ?? assert.fail();
  const cases: [what: string, changed: string[], says: string[]][] = [
    [
      'changed',
      lines.with(3, line(3).replace('h4.test', 'hX.test')),
      ['4: changed: its mac does not belong to what it says'],
    ],
    ['removed', lines.toSpliced(3, 1), ['4: removed: number 4 is missing before this one']],
    ['several removed', lines.toSpliced(2, 3), ['3: removed: numbers 3 to 5 are missing before this one']],
    ['the last removed', lines.slice(0, -1), ['7: truncated: number 8 is missing at the end']],
    ['several removed at the end', lines.slice(0, 5), ['5: truncated: numbers 6 to 8 are missing at the end']],
    ['reordered', lines.with(3, line(4)).with(4, line(3)), ['5: reordered: written as number 4']],
    ['repeated', lines.toSpliced(4, 0, line(3)), ['5: reordered: number 4 again']],
    [
      'added',
      [...lines, line(7).replace('"seq":8', '"seq":9')],
      ['9: changed: its mac does not belong to what it says'],
    ],
    ['no event', lines.with(3, 'nonsense'), ['4: not-json: not a line of an audit log']],
    [
      'two things',
      lines.with(1, line(1).replace('h2.test', 'hX.test')).slice(0, -1),
      ['2: changed: its mac does not belong to what it says', '7: truncated: number 8 is missing at the end'],
    ],
  ];
  for (const [what, changed, says] of cases) {
    writeFileSync(file, changed.map((text) => `${text}\n`).join(''));
    const result = await verify(scene, [file]);
    assert.deepEqual([result.status, result.stdout], [1, says.map((text) => `${file}:${text}\n`).join('')], what);
  }
  writeFileSync(file, '');
  assert.equal((await verify(scene, [file])).stdout, `${file}: truncated: numbers 1 to 8 are missing at the end\n`);
  writeFileSync(file, `${lines.join('\n')}\n`);
  truncateSync(file, Buffer.byteLength(`${lines.join('\n')}\n`) - 5);
  assert.match((await verify(scene, [file])).stdout, /:8: truncated: the last line ends in the middle\n/);
  // A log that was tampered with is not continued: what is appended would vouch for it.
  const continued = await sallyport(['run', '--audit', file, '--', 'true'], { scene, audit: false });
  assert.notEqual(continued.status, 0);
  assert.match(continued.stderr, /\[AUDIT_REFUSED\]\n$/);
  assert.ok([2, 125].includes(continued.status ?? 0));
});

test('audit verify --json is stable, and files that cannot be verified are told apart', async () => {
  using scene = createScene(findPresentCaller());
  const file = scene.auditFile;
  await writeLog(scene);
  const json = async (...args: string[]) => {
    const result = await verify(scene, ['--json', ...args]);
    return { status: result.status, value: JSON.parse(result.stdout) as unknown };
  };
  assert.deepEqual(await json(file), { status: 0, value: { ok: true, lines: LINES, problems: [], problemCount: 0 } });
  writeFileSync(file, readFileSync(file, 'utf8').replace('h3.test', 'hX.test'));
  assert.deepEqual(await json(file), {
    status: 1,
    value: {
      ok: false,
      lines: LINES,
      problems: [{ kind: 'changed', line: 3, detail: 'its mac does not belong to what it says' }],
      problemCount: 1,
    },
  });
  for (const path of [join(scene.root, 'absent'), scene.root]) {
    const result = await verify(scene, [path]);
    assert.deepEqual([result.status, result.stdout], [2, '']);
    assert.match(result.stderr, /^sallyport: The audit file ".*" could not be read .*\[UNREADABLE_FILE\]\n$/);
  }
});

eachCaller('a log without its key or head is unanchored, wherever it lies', async (caller) => {
  using scene = createScene(caller);
  const file = scene.auditFile;
  await writeLog(scene);
  const elsewhere = { XDG_STATE_HOME: join(scene.root, 'another-state') };
  const unanchored = await verify(scene, [file], elsewhere);
  assert.equal(unanchored.status, 1);
  assert.equal(
    unanchored.stdout,
    `${file}: unanchored: the key is not in this state directory: a changed line would not show\n`,
  );
  // Another state directory with a key of its own.
  await writeLog(scene, ['--audit', join(scene.tmp, 'other.jsonl')], { env: elsewhere });
  assert.match((await verify(scene, [file], elsewhere)).stdout, /: unanchored: .*\n[^]*:1: changed: /);
  // A copy is known by its first line; a copy without its end as well.
  const copy = join(scene.tmp, 'copy.jsonl');
  copyFileSync(file, copy);
  assert.equal((await verify(scene, [copy])).stdout, `${copy}: whole, ${LINES} lines\n`);
  writeFileSync(copy, readFileSync(copy, 'utf8').split('\n').slice(0, 3).join('\n').concat('\n'));
  assert.equal((await verify(scene, [copy])).stdout, `${copy}:3: truncated: numbers 4 to 8 are missing at the end\n`);
  // A key that others may read vouches for nothing.
  const state = join(scene.home, '.local/state/sallyport/audit');
  chmodSync(join(state, 'key'), 0o644);
  assert.match((await verify(scene, [file])).stdout, /: unanchored: /);
  chmodSync(join(state, 'key'), 0o600);
  rmSync(join(state, 'heads'), { recursive: true });
  assert.equal(
    (await verify(scene, [file])).stdout,
    `${file}: unanchored: this state directory does not know the log: missing lines at its end would not show\n`,
  );
});

eachCaller('runs at the same time have logs of their own, and one log has one writer', async (caller) => {
  using scene = createScene(caller);
  await Promise.all(Array.from({ length: 4 }, () => writeLog(scene, [], { audit: false })));
  const directory = join(scene.home, '.local/state/sallyport/audit');
  const logs = readdirSync(directory).filter((name) => name.endsWith('.jsonl'));
  assert.equal(logs.length, 4);
  for (const log of logs) {
    const result = await verify(scene, [join(directory, log)]);
    assert.equal(result.stdout, `${join(directory, log)}: whole, ${LINES} lines\n`);
  }
  const first = sallyport(['run', '--', 'sh', '-c', 'while [ ! -e go ]; do sleep 0.1; done'], { scene });
  while (!existsSync(scene.auditFile)) await sleep(20);
  const second = await sallyport(['run', '--', 'true'], { scene });
  writeFileSync(join(scene.workspace, 'go'), '');
  assert.notEqual(second.status, 0);
  assert.match(second.stderr, /audit file.*\[AUDIT_REFUSED\]\n$/);
  assert.equal((await first).status, 0);
  const third = await sallyport(['run', '--', 'true'], { scene });
  assert.equal(third.status, 0, describeRun(third));
});
