// How a run starts and ends: what it loads first, what `--timings` tells, and that nothing keeps it from ending.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHECKOUT, createScene, eachCaller, findPresentCaller } from './harness/caller.ts';
import type { Scene } from './harness/caller.ts';
import { describeRun, sallyport } from './harness/sallyport.ts';
import { SYSTEM_PATH } from './harness/tools.ts';

const RUN_TIMEOUT_MS = 120_000;
const PHASES = [
  'node start',
  'plan made',
  'namespaces',
  'network',
  'listeners',
  'CA',
  'trust',
  'audit log',
  'container started',
  'command',
  'clean-up',
];

/** Runs the command line on this Node, with a module loaded before it. */
function runWith(scene: Scene, preload: string, args: readonly string[]): ReturnType<typeof spawnSync> {
  const file = join(scene.root, 'preload.cjs');
  writeFileSync(file, preload, { mode: 0o644 });
  const program = join(CHECKOUT, 'packages/runtime/src/cli/main.ts');
  return spawnSync(process.execPath, ['--conditions=sallyport-source', '--require', file, '--', program, ...args], {
    cwd: scene.workspace,
    encoding: 'utf8',
    env: { PATH: SYSTEM_PATH, HOME: scene.home },
    timeout: RUN_TIMEOUT_MS,
    maxBuffer: 16 << 20,
    ...(process.getuid?.() === scene.caller.uid ? {} : { uid: scene.caller.uid, gid: scene.caller.gid }),
  });
}

eachCaller('--timings prints every phase in its order, with shares that sum up to the whole', async (caller) => {
  using scene = createScene(caller);
  const result = await sallyport(['run', '--timings', '--', 'sleep', '0.2'], { scene });
  assert.equal(result.status, 0, describeRun(result));
  assert.equal(result.stdout, '');
  const lines = result.stderr.trimEnd().split('\n');
  const phases = lines.slice(0, -1).map((line) => {
    const [, share, name, at] = /^ *(\d+\.\d) ms {2}(\S.*?) +at +(\d+\.\d)$/.exec(line) ?? [];
    assert.ok(share !== undefined && name !== undefined && at !== undefined, line);
    return { name, share: Math.round(Number(share) * 10), at: Math.round(Number(at) * 10) };
  });
  for (const name of PHASES) {
    assert.equal(phases.filter((phase) => phase.name === name).length, 1, `${name}\n${result.stderr}`);
  }
  let sum = 0;
  for (const { name, share, at } of phases) {
    sum += share;
    assert.equal(sum, at, `${name}\n${result.stderr}`);
  }
  const [, whole] = /^ *(\d+\.\d) ms {2}in all$/.exec(lines.at(-1) ?? '') ?? [];
  assert.equal(Math.round(Number(whole) * 10), sum, result.stderr);
  assert.equal(phases[0]?.name, 'node start');
  assert.equal(phases.at(-1)?.name, 'clean-up');
  const momentOf = (wanted: string): number => phases.find(({ name }) => name === wanted)?.at ?? Number.NaN;
  // Tenths of a ms; the command sleeps for 200 ms.
  assert.ok(momentOf('command') - momentOf('runtime started') >= 2_000, result.stderr);
});

test('the start loads no schema, no certificate library and no HTTP of Node in the main thread', () => {
  using scene = createScene(findPresentCaller());
  const result = runWith(
    scene,
    `if (require('node:worker_threads').isMainThread) {
       const loaded = [];
       require('node:module').registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
       process.on('exit', () => require('node:fs').writeSync(2, loaded.join('\\n')));
     }`,
    ['run', '--', 'true'],
  );
  assert.equal(result.status, 0, String(result.stderr));
  const loaded = String(result.stderr).split('\n');
  assert.ok(
    loaded.some((url) => url.endsWith('/engine/run.ts')),
    'the hook saw modules',
  );
  assert.deepEqual(
    loaded.filter((url) => /\/zod\/|\/@peculiar\/|^node:https?2?$/.test(url)),
    [],
  );
});

test('a run ends although a library keeps a handle open', () => {
  using scene = createScene(findPresentCaller());
  const result = runWith(scene, 'setInterval(() => {}, 1000);', ['run', '--', 'sh', '-c', 'echo out; exit 7']);
  assert.deepEqual([result.status, result.signal, result.stdout], [7, null, 'out\n'], String(result.stderr));
});

test('what was written is with a slow reader before the process ends', () => {
  using scene = createScene(findPresentCaller());
  const preload = join(scene.root, 'preload.cjs');
  writeFileSync(preload, "process.stdout.write('x'.repeat(1_000_000));");
  const program = join(CHECKOUT, 'packages/runtime/src/cli/main.ts');
  const command = [process.execPath, '--conditions=sallyport-source', '--require', preload, '--', program, '--version'];
  const result = spawnSync('/bin/sh', ['-c', '"$@" | { sleep 1; wc -c; }', 'sh', ...command], {
    encoding: 'utf8',
    timeout: RUN_TIMEOUT_MS,
  });
  assert.equal(result.stderr, '');
  assert.ok(Number(result.stdout) > 1_000_000, result.stdout);
});
