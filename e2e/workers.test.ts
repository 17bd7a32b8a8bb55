// Threads that share out the gates of named sandboxes: what holds for one thread holds for several, and for the end of one of them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { DaemonEvent } from '@sallyport/sdk';
import { CHECKOUT, findPresentCaller } from './harness/caller.ts';
import { assertNoCanary, newCanary, type Canary } from './harness/canary.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { headerValues } from './harness/recording.ts';
import { describeRun } from './harness/sallyport.ts';
import { SYSTEM_PATH } from './harness/tools.ts';
import { startUpstream, type Upstream } from './harness/upstream.ts';

const HOST = 'api.github.com';
const NAMES = ['first', 'second', 'third'];
const READ = `curl -sS -m 20 -H "Authorization: Bearer $TOKEN" "https://${HOST}/reflect?as=raw&where=body"`;
const LOOK = `getent ahosts other.example ${HOST}; ${READ}; echo; echo "$TOKEN"`;
const LIMIT = { timeout: 240_000 };

async function until(isTrue: () => Promise<boolean>): Promise<boolean> {
  const endMs = performance.now() + 30_000;
  while (performance.now() < endMs) {
    if (await isTrue()) return true;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

async function create(scene: DaemonScene, upstream: Upstream, name: string, { value }: Canary): Promise<void> {
  await scene.create({
    name,
    secrets: [{ source: 'value', env: 'TOKEN', value, allowHosts: [HOST] }],
    network: { resolve: { [`${HOST}:443`]: `127.0.0.1:${upstream.httpsPort}` }, upstreamCa: [upstream.caFile] },
  });
}

async function eventsOf(scene: DaemonScene): Promise<DaemonEvent[]> {
  const events: DaemonEvent[] = [];
  for await (const { data } of scene.client.events({ method: 'GET', path: '/v1/events' })) {
    events.push(JSON.parse(data) as DaemonEvent);
  }
  return events;
}

/** Requests of a sandbox that were recorded, where its log is whole. */
async function auditedRequests(scene: DaemonScene, name: string): Promise<number> {
  const { auditFile } = await scene.inspect(name);
  const verified = await scene.cli(['audit', 'verify', auditFile]);
  assert.equal(verified.status, 0, describeRun(verified));
  return readFileSync(auditFile, 'utf8').match(/"kind":"request"/g)?.length ?? 0;
}

/** The daemon with two threads, one of which ends by SIGUSR2. */
async function startKillable(scene: DaemonScene): Promise<void> {
  assert.equal((await scene.cli(['daemon', 'stop'])).status, 0);
  const main = join(CHECKOUT, 'packages/runtime/src/cli/main.ts');
  const argv = ['--conditions=sallyport-source', '--import', join(import.meta.dirname, 'harness/thread-killer.mjs')];
  const env = { PATH: SYSTEM_PATH, HOME: scene.home, TMPDIR: scene.tmp, SALLYPORT_WARM: '0', SALLYPORT_WORKERS: '2' };
  const child = spawn(process.execPath, [...argv, '--', main, 'daemon', 'run'], {
    cwd: '/',
    detached: true,
    stdio: 'ignore',
    env,
  });
  child.unref();
  const answers = async (): Promise<boolean> =>
    await scene.status().then(
      () => true,
      () => false,
    );
  assert.ok(await until(answers), 'the daemon answers');
}

test('a thread that ends closes its gates and no others, and they are opened anew as they were', LIMIT, async () => {
  const canaries = NAMES.map(() => newCanary());
  const rotated = newCanary();
  const scene = await createDaemonScene(findPresentCaller());
  await using _ = scene;
  await using upstream = await startUpstream({ names: [HOST] });
  await startKillable(scene);
  for (const [index, name] of NAMES.entries()) await create(scene, upstream, name, canaries[index] ?? rotated);
  const look = async (): Promise<string[]> =>
    await Promise.all(NAMES.map(async (name) => (await scene.exec(name, ['sh', '-c', LOOK])).stdout));
  const before = await look();
  assert.deepEqual(
    upstream.requests.flatMap((request) => headerValues(request, 'authorization')).toSorted(),
    canaries.map(({ value }) => `Bearer ${value}`).toSorted(),
  );

  const { pid } = await scene.status();
  const detailOf = (words: string): ((event: DaemonEvent) => boolean) => {
    return ({ detail }) => detail?.includes(words) === true;
  };
  const seen: string[] = [];
  for (let round = 1; round <= 3; round += 1) {
    process.kill(pid, 'SIGUSR2');
    const isMended = async (): Promise<boolean> => {
      const events = await eventsOf(scene);
      const lost = events.filter(detailOf('The thread of its gate has ended'));
      return lost.length > seen.length && events.filter(detailOf('open again')).length === lost.length;
    };
    assert.ok(await until(isMended), 'the gates are open again');
    const lost = (await eventsOf(scene)).filter(detailOf('The thread of its gate has ended'));
    const now = lost.slice(seen.length).map(({ sandbox }) => sandbox ?? '');
    assert.ok(now.length > 0 && now.length < NAMES.length, `gates of ${now.join(' ')} were shared out`);
    seen.push(...now);
    assert.deepEqual(await look(), before, 'same addresses, same authority, same placeholder');
  }
  assert.equal((await scene.status()).pid, pid, 'the daemon is the same');

  // What changes from here on reaches gates that were opened anew as well.
  for (const name of NAMES) {
    const path = `/v1/sandboxes/${name}`;
    const value = `${rotated.value}-${name}`;
    await scene.client.ask({ method: 'PUT', path: `${path}/secrets/TOKEN`, body: { value } });
    upstream.clear();
    const { stdout } = await scene.exec(name, ['sh', '-c', `${READ}; echo; echo "$TOKEN"`]);
    assert.deepEqual(
      upstream.requests.flatMap((request) => headerValues(request, 'authorization')),
      [`Bearer ${value}`],
    );
    const placeholder = stdout.trimEnd().split('\n').at(-1) ?? '';
    assert.ok(stdout.indexOf(placeholder) < stdout.lastIndexOf(placeholder), 'it came back redacted');
    await scene.client.ask({ method: 'POST', path: `${path}/policy/rules`, body: { action: 'deny', host: HOST } });
    const denied = await scene.exec(name, ['sh', '-c', READ]);
    assert.match(denied.stdout, /POLICY_DENIED|"status":403/, 'the rule is in force');
    // Four times before, one with the other value, one that was denied.
    assert.equal(await auditedRequests(scene, name), 6);
  }
  for (const canary of [...canaries, rotated]) {
    assertNoCanary(canary, { outputs: { before: before.join('\n') }, files: [scene.root] });
  }
});

test(
  'the same threads serve after a restart of the daemon, after its crash, and for sandboxes without any',
  LIMIT,
  async () => {
    const canary = newCanary();
    await using scene = await createDaemonScene(findPresentCaller(), 1, '2');
    await using upstream = await startUpstream({ names: [HOST] });
    for (const name of NAMES) await create(scene, upstream, name, canary);
    const look = async (): Promise<string[]> =>
      await Promise.all(NAMES.map(async (name) => (await scene.exec(name, ['sh', '-c', LOOK])).stdout));
    const before = await look();
    const restarted = await scene.cli(['daemon', 'restart', '--workers', '1']);
    assert.equal(restarted.status, 0, describeRun(restarted));
    assert.deepEqual(await look(), before);
    await scene.killDaemon();
    const started = await scene.cli(['daemon', 'start', '--workers', '0']);
    assert.equal(started.status, 0, describeRun(started));
    assert.deepEqual(await look(), before);
    const refused = await scene.cli(['daemon', 'start', '--workers', '3']);
    assert.deepEqual([refused.status, refused.stdout], [2, ''], describeRun(refused));
    assert.match(refused.stderr, /runs already.*sallyport daemon restart/);
    const wrong = await scene.cli(['daemon', 'restart', '--workers', 'many']);
    assert.match(wrong.stderr, /--workers takes a number from 0 to 64, not "many".*\[USAGE\]/);
    for (const name of NAMES) assert.equal(await auditedRequests(scene, name), 3);
    assertNoCanary(canary, { outputs: { before: before.join('\n') }, files: [scene.root] });
  },
);
