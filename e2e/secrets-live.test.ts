// Stored secrets change while sandboxes run: whatever begins after a change was acknowledged has it, and nothing fails meanwhile.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { StoredSecretChange, StoredSecretResult } from '@sallyport/sdk';
import { eachCaller, findPresentCaller } from './harness/caller.ts';
import { assertNoCanary, newCanary } from './harness/canary.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { headerValues } from './harness/recording.ts';
import { describeRun } from './harness/sallyport.ts';
import { startUpstream, type Upstream } from './harness/upstream.ts';

const HOST = 'api.example.com';
const SERVICE_HOST = 'api.openai.com';

function networkOf(upstream: Upstream) {
  return {
    allow: [HOST],
    resolve: Object.fromEntries([HOST, SERVICE_HOST].map((host) => [`${host}:443`, `127.0.0.1:${upstream.httpsPort}`])),
    upstreamCa: [upstream.caFile],
  };
}

/** Stores a secret as a client of the API, and tells how long it took until that was acknowledged, in ms. */
async function put(scene: DaemonScene, name: string, sandbox: string | null, body: StoredSecretChange) {
  const startedMs = performance.now();
  const path = `/v1/secrets/${name}${sandbox === null ? '' : `?sandbox=${sandbox}`}`;
  const result = await scene.client.ask<StoredSecretResult>({ method: 'PUT', path, body });
  return { ...result, milliseconds: performance.now() - startedMs };
}

async function remove(scene: DaemonScene, name: string, sandbox: string | null): Promise<void> {
  const path = `/v1/secrets/${name}${sandbox === null ? '' : `?sandbox=${sandbox}`}`;
  await scene.client.ask({ method: 'DELETE', path });
}

const custom = (value: string): StoredSecretChange => ({ kind: 'custom', env: 'API_KEY', hosts: [HOST], value });

/** Requests one after the other until there is a file, each with the placeholder; one line with the status of each. */
const loop = (stopFile: string): string =>
  `while [ ! -e ${stopFile} ]; do curl -sS -m 20 -o /dev/null -w '%{http_code}\\n' -H "Authorization: Bearer $API_KEY" https://${HOST}/echo || echo failed; done`;

/** Waits until the upstream has got so many requests more, and returns what they carried. */
async function nextRequests(upstream: Upstream, count: number): Promise<string[]> {
  const from = upstream.requests.length;
  const endMs = performance.now() + 30_000;
  while (upstream.requests.length < from + count) {
    assert.ok(performance.now() < endMs, 'no more requests arrive');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return upstream.requests.slice(from).flatMap((request) => headerValues(request, 'authorization'));
}

eachCaller(
  'every change of a stored secret is there for the next request, and no request fails',
  async (caller, context) => {
    const [first, second, third, fourth] = [newCanary(), newCanary(), newCanary(), newCanary()];
    const released = Promise.withResolvers<void>();
    const seen = { late: 0 };
    await using scene = await createDaemonScene(caller);
    await using upstream = await startUpstream({
      names: [HOST, SERVICE_HOST],
      handler: (request, response) => {
        if (request.url !== '/late') return false;
        seen.late += 1;
        const text = request.headers.authorization ?? '';
        void released.promise.then(() => response.end(`late ${text}`));
        return true;
      },
    });
    await put(scene, 'API_KEY', null, custom(first.value));
    await scene.create({ name: 'worker', network: networkOf(upstream) });
    await scene.create({ name: 'other', network: networkOf(upstream) });
    const shown = async (): Promise<string> => (await scene.exec('worker', ['sh', '-c', 'echo "$API_KEY"'])).stdout;
    const placeholder = await shown();
    assert.match(placeholder, /^sp_API_KEY_\w{22}\n$/);
    const ask = async (name: string): Promise<string | undefined> => {
      const script = `curl -sS -m 20 -H "Authorization: Bearer $API_KEY" https://${HOST}/only?from=${name}`;
      await scene.exec(name, ['sh', '-c', script]);
      const request = upstream.requests.findLast(({ target }) => target === `/only?from=${name}`);
      return request === undefined ? undefined : headerValues(request, 'authorization')[0];
    };
    const looping = scene.exec('worker', ['sh', '-c', loop('/tmp/stop')]);
    // Where the test fails they end with the daemon.
    looping.catch(() => undefined);
    const late = scene.exec('worker', [
      'sh',
      '-c',
      `curl -sS -m 60 -H "Authorization: Bearer $API_KEY" https://${HOST}/late`,
    ]);
    late.catch(() => undefined);
    while (seen.late === 0) await nextRequests(upstream, 1);

    /** What a change leads to: the next request of each sandbox, and all those of the loop but one that was under way. */
    const expectValues = async (worker: string, other: string): Promise<void> => {
      assert.equal(await ask('worker'), `Bearer ${worker}`);
      assert.equal(await ask('other'), `Bearer ${other}`);
      const values = await nextRequests(upstream, 4);
      assert.deepEqual([...new Set(values)], [`Bearer ${worker}`]);
      assert.equal(await shown(), placeholder, 'the placeholder stays');
    };
    await expectValues(first.value, first.value);
    const rotated = await put(scene, 'API_KEY', null, custom(second.value));
    assert.deepEqual([rotated.created, [...rotated.sandboxes].sort()], [false, ['other', 'worker']]);
    await expectValues(second.value, second.value);
    const scoped = await put(scene, 'API_KEY', 'worker', custom(third.value));
    assert.deepEqual(scoped.sandboxes, ['worker']);
    await expectValues(third.value, second.value);
    const again = await put(scene, 'API_KEY', 'worker', custom(fourth.value));
    await expectValues(fourth.value, second.value);
    context.diagnostic(`acknowledged after ${[rotated, scoped, again].map(({ milliseconds }) => Math.round(milliseconds)).join(', ')} ms`); // prettier-ignore
    released.resolve();
    const answered = await late;
    assert.equal(
      answered.stdout,
      `late Bearer ${placeholder.trim()}`,
      'a value of the past is redacted from late answers',
    );
    await remove(scene, 'API_KEY', 'worker');
    await expectValues(second.value, second.value);
    await remove(scene, 'API_KEY', null);
    assert.equal(await ask('worker'), 'Bearer', 'new commands have no such variable any more');
    const values = await nextRequests(upstream, 4);
    assert.deepEqual([...new Set(values)], [`Bearer ${placeholder.trim()}`]);
    await put(scene, 'API_KEY', null, custom(first.value));
    await expectValues(first.value, first.value);

    await scene.exec('worker', ['touch', '/tmp/stop']);
    const { stdout, stderr } = await looping;
    assert.deepEqual([...new Set(stdout.trim().split('\n'))], ['200'], 'no request fails');
    for (const canary of [first, second, third, fourth]) {
      assertNoCanary(canary, { outputs: { stdout, stderr, late: answered.stdout }, files: [scene.root] });
    }
  },
);

eachCaller('the key of a service changes, comes and goes in the same way, in run as well', async (caller) => {
  const [first, second, third] = [newCanary(), newCanary(), newCanary()];
  await using scene = await createDaemonScene(caller);
  await using upstream = await startUpstream({ names: [HOST, SERVICE_HOST] });
  await scene.create({ name: 'worker', network: networkOf(upstream) });
  const ask = async (): Promise<string> => {
    const script = `curl -sS -m 20 -H 'Authorization: Bearer mine' https://${SERVICE_HOST}/echo`;
    const { stdout } = await scene.exec('worker', ['sh', '-c', script]);
    if (stdout.includes('"HOST_DENIED"')) return 'denied';
    return upstream.requests.at(-1) === undefined
      ? ''
      : (headerValues(upstream.requests.at(-1)!, 'authorization')[0] ?? '');
  };
  const service = (value: string): StoredSecretChange => ({ kind: 'service', value });
  assert.equal(await ask(), 'denied');
  await put(scene, 'openai', null, service(first.value));
  assert.equal(await ask(), `Bearer ${first.value}`);
  await put(scene, 'openai', 'worker', service(second.value));
  assert.equal(await ask(), `Bearer ${second.value}`);
  await remove(scene, 'openai', 'worker');
  assert.equal(await ask(), `Bearer ${first.value}`);

  // A run is another process: it hears of changes by the book itself.
  upstream.clear();
  const script = `while [ ! -e stop ]; do curl -sS -m 20 -o /dev/null -w '%{http_code}\\n' https://${SERVICE_HOST}/run || echo failed; done`;
  const running = scene.cli(['run', ...upstream.flags(HOST, SERVICE_HOST), '--', 'sh', '-c', script], { timeoutMs: 120_000 }); // prettier-ignore
  const until = async (value: string): Promise<void> => {
    const endMs = performance.now() + 30_000;
    for (;;) {
      const values = await nextRequests(upstream, 1);
      if (values.at(-1) === `Bearer ${value}`) return;
      assert.ok(performance.now() < endMs, 'the run takes the change in');
    }
  };
  await until(first.value);
  await put(scene, 'openai', null, service(third.value));
  await until(third.value);
  assert.deepEqual([...new Set(await nextRequests(upstream, 5))], [`Bearer ${third.value}`]);
  await scene.exec('worker', ['true']);
  writeFileSync(`${scene.workspace}/stop`, '');
  const ran = await running;
  assert.equal(ran.status, 0, describeRun(ran));
  assert.deepEqual([...new Set(ran.stdout.trim().split('\n'))], ['200'], 'no request fails');
  for (const canary of [first, second, third]) {
    assertNoCanary(canary, { outputs: { stdout: ran.stdout, stderr: ran.stderr }, files: [scene.root] });
  }
});

test('a secret that a sandbox has been shown otherwise is left out there, and keeps no other change from it', async () => {
  const [shown, first, second] = [newCanary(), newCanary(), newCanary()];
  await using scene = await createDaemonScene(findPresentCaller());
  await using upstream = await startUpstream({ names: [HOST, SERVICE_HOST] });
  await scene.create({ name: 'worker', network: networkOf(upstream), env: { COPY: shown.value } });
  const exposing = await put(scene, 'openai', null, { kind: 'service', value: shown.value });
  assert.deepEqual(exposing.sandboxes, []);
  assert.match(
    (await scene.inspect('worker')).notices.join('\n'),
    /secret openai is left out: The plain variable COPY holds/,
  );
  const ask = async (): Promise<string | undefined> => {
    const script = `curl -sS -m 20 -o /dev/null -H "Authorization: Bearer $API_KEY" https://${HOST}/echo`;
    await scene.exec('worker', ['sh', '-c', script]);
    return headerValues(upstream.requests.at(-1)!, 'authorization')[0];
  };
  for (const { value } of [first, second]) {
    const result = await put(scene, 'API_KEY', null, custom(value));
    assert.deepEqual(result.sandboxes, ['worker']);
    assert.equal(await ask(), `Bearer ${value}`);
  }
  await remove(scene, 'openai', null);
  await remove(scene, 'API_KEY', null);
  assert.equal(await ask(), 'Bearer');
  await put(scene, 'openai', null, { kind: 'service', value: shown.value });
  const refused = scene.create({ name: 'other', network: networkOf(upstream), env: { COPY: shown.value } });
  await assert.rejects(refused, { code: 'SECRET_CONFLICT' });
});

test('a run takes the first secret in that is ever stored, and leaves out what does not go with its tunnels', async () => {
  const [key, other] = [newCanary(), newCanary()];
  await using scene = await createDaemonScene(findPresentCaller());
  await using upstream = await startUpstream({ names: [HOST, SERVICE_HOST] });
  const script = `while [ ! -e stop ]; do curl -sS -m 20 -o /dev/null https://${SERVICE_HOST}/first; sleep 0.2; done`;
  const running = scene.cli(['run', '--tunnel', HOST, ...upstream.flags(HOST, SERVICE_HOST), '--', 'sh', '-c', script]);
  await new Promise((resolve) => setTimeout(resolve, 3000));
  assert.deepEqual(upstream.requests, [], 'the host is denied');
  await put(scene, 'openai', null, { kind: 'service', value: key.value });
  assert.deepEqual(await nextRequests(upstream, 1), [`Bearer ${key.value}`]);
  await put(scene, 'API_KEY', null, custom(other.value));
  assert.deepEqual([...new Set(await nextRequests(upstream, 2))], [`Bearer ${key.value}`]);
  writeFileSync(`${scene.workspace}/stop`, '');
  const ran = await running;
  assert.equal(ran.status, 0, describeRun(ran));

  const tunnelled = ['run', '--no-workspace', '--tunnel', HOST, ...upstream.flags(HOST)];
  const stored = await scene.cli([...tunnelled, '--', 'sh', '-c', 'echo "[$API_KEY]"']);
  assert.equal(stored.stdout, '[]\n', describeRun(stored));
  assert.match(stored.stderr, /the stored secret API_KEY is left out: --tunnel/);
  const asked = await scene.cli([...tunnelled, '--secret', 'API_KEY', '--', 'true']);
  assert.deepEqual([asked.status, asked.stdout], [2, ''], describeRun(asked));
  assert.match(asked.stderr, /--tunnel .*\[USAGE\]/);
});

test('changes outlive the daemon, and so do the values of a sandbox that does not run', async () => {
  const [own, stored, rotated] = [newCanary(), newCanary(), newCanary()];
  await using scene = await createDaemonScene(findPresentCaller());
  await using upstream = await startUpstream({ names: [HOST, SERVICE_HOST] });
  const ownSecret = { source: 'value' as const, env: 'OWN', value: own.value, allowHosts: [HOST] };
  await put(scene, 'API_KEY', null, custom(stored.value));
  await scene.create({ name: 'worker', network: networkOf(upstream), secrets: [ownSecret, { source: 'service', service: 'openai', value: own.value }] }); // prettier-ignore
  const ask = async (): Promise<string[]> => {
    upstream.clear();
    const script = `for key in "$OWN" "$API_KEY"; do curl -sS -m 20 -o /dev/null -H "Authorization: Bearer $key" https://${HOST}/echo; done; curl -sS -m 20 -o /dev/null https://${SERVICE_HOST}/echo; echo "$OWN $API_KEY $OPENAI_API_KEY"`;
    const { stdout } = await scene.exec('worker', ['sh', '-c', script]);
    return [stdout, ...upstream.requests.flatMap((request) => headerValues(request, 'authorization'))];
  };
  const before = await ask();
  assert.deepEqual(
    before.slice(1),
    [own.value, stored.value, own.value].map((value) => `Bearer ${value}`),
  );
  await scene.killDaemon();
  await scene.startDaemon();
  assert.deepEqual(await ask(), before, 'a daemon that was killed: same placeholders, same values');

  const restart = async (): Promise<void> => {
    await scene.client.ask({ method: 'POST', path: '/v1/sandboxes/worker/stop', body: {} });
    const restarted = await scene.cli(['daemon', 'restart']);
    assert.equal(restarted.status, 0, describeRun(restarted));
  };
  await restart();
  await scene.client.ask({ method: 'PUT', path: '/v1/sandboxes/worker/secrets/OWN', body: { value: rotated.value } });
  const again = await scene.cli(['daemon', 'restart']);
  assert.equal(again.status, 0, describeRun(again));
  await scene.client.ask({ method: 'POST', path: '/v1/sandboxes/worker/start' });
  assert.equal((await scene.inspect('worker')).gate, 'open');
  const after = await ask();
  assert.deepEqual(
    after.slice(1),
    [rotated.value, stored.value, own.value].map((value) => `Bearer ${value}`),
  );
  assert.equal(after[0], before[0], 'the placeholders are the same');
  await scene.client.ask({ method: 'DELETE', path: '/v1/sandboxes/worker?force=true' });
  const { secrets } = await scene.client.ask<{ secrets: unknown[] }>({ method: 'GET', path: '/v1/secrets' });
  assert.equal(secrets.length, 1, 'what belongs to the sandbox is no stored secret, and gone with it');
  for (const canary of [own, stored, rotated]) assertNoCanary(canary, { files: [scene.root] });
});
