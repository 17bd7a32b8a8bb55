// Named sandboxes and the daemon that keeps them, with real processes, real crashes and real credentials.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { SallyportError, type SandboxInfo } from '@sallyport/sdk';
import { findOrdinaryUser, findPresentCaller, eachCaller } from './harness/caller.ts';
import { assertNoCanary, newCanary } from './harness/canary.ts';
import { collectExec, createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { headerValues } from './harness/recording.ts';
import { describeRun } from './harness/sallyport.ts';
import { startUpstream, type Upstream } from './harness/upstream.ts';

const HOST = 'api.github.com';
const READ = 'curl -sS -m 20 -H "Authorization: Bearer $TOKEN" "https://api.github.com/reflect?as=raw&where=body"';

/** The network of a sandbox that is to find the test's upstream. */
function networkOf(upstream: Upstream) {
  return {
    resolve: { [`${HOST}:443`]: `127.0.0.1:${upstream.httpsPort}` },
    upstreamCa: [upstream.caFile],
  };
}

function secretFor(value: string) {
  return { source: 'value' as const, env: 'TOKEN', value, allowHosts: [HOST] };
}

function received(upstream: Upstream): string[] {
  return upstream.requests.flatMap((request) => headerValues(request, 'authorization'));
}

/** What is in the scene, but for the arguments that the test itself has written. */
function filesOf(scene: DaemonScene): string[] {
  return [scene.root];
}

eachCaller('a named sandbox lives from create to rm, and its credential never enters', async (caller) => {
  const canary = newCanary();
  await using scene = await createDaemonScene(caller);
  await using upstream = await startUpstream({ names: [HOST] });
  const created = await scene.cli(
    ['create', '--name', 'worker', '--no-workspace', ...upstream.flags(), '--secret', `TOKEN@${HOST}`],
    { env: { TOKEN: canary.value } },
  );
  assert.deepEqual([created.status, created.stdout], [0, 'worker\n'], describeRun(created));
  const script = `${READ}; echo; echo "$TOKEN"; hostname; id -u; echo err >&2; exit 7`;
  const ran = await scene.cli(['exec', 'worker', '--', 'sh', '-c', script]);
  assert.equal(ran.status, 7, describeRun(ran));
  assert.deepEqual(received(upstream), [`Bearer ${canary.value}`]);
  const [reflected = '', placeholder = '', hostName] = ran.stdout.split('\n').filter((line) => line !== '');
  assert.match(placeholder, /^sp_TOKEN_[0-9A-Za-z]{22}$/);
  assert.ok(reflected.includes(placeholder), describeRun(ran));
  assert.equal(hostName, 'worker');
  assert.equal(ran.stderr, 'err\n');

  const listed = await scene.cli(['ls']);
  assert.match(listed.stdout, /^NAME +STATE.*\nworker +running +0 .* TOKEN\n$/);
  const inspected = await scene.cli(['inspect', 'worker', '--json']);
  assert.equal((JSON.parse(inspected.stdout) as SandboxInfo).gate, 'open');
  const logs = await scene.cli(['logs', 'worker']);
  assert.deepEqual([logs.stdout, logs.stderr], [ran.stdout, 'err\n']);

  for (const args of [
    ['stop', 'worker'],
    ['start', 'worker'],
  ]) {
    const result = await scene.cli(args);
    assert.deepEqual([result.status, result.stdout], [0, 'worker\n'], describeRun(result));
  }
  const again = await scene.cli([
    'exec',
    '-e',
    'A=b',
    '-w',
    '/tmp',
    'worker',
    '--',
    'sh',
    '-c',
    'echo "$TOKEN $A $PWD"',
  ]);
  assert.equal(again.stdout, `${placeholder} b /tmp\n`, 'the placeholder stays the same');
  const refused = await scene.cli(['rm', 'worker']);
  assert.deepEqual([refused.status, refused.stdout], [2, '']);
  assert.match(refused.stderr, /\[SANDBOX_RUNNING\]/);
  const removed = await scene.cli(['rm', '-f', 'worker']);
  assert.equal(removed.status, 0, describeRun(removed));
  assert.equal((await scene.cli(['ls', '--json'])).stdout, '[]\n');
  assert.deepEqual(readdirSync(join(scene.stateDirectory, 'sandboxes')), []);
  assertNoCanary(canary, {
    outputs: { ran: ran.stdout, stderr: ran.stderr, logs: logs.stdout, inspected: inspected.stdout },
    files: filesOf(scene),
  });
});

eachCaller('a daemon that is killed closes the gate, and the next one opens it as it was', async (caller) => {
  const canary = newCanary();
  await using scene = await createDaemonScene(caller);
  await using upstream = await startUpstream({ names: [HOST] });
  await scene.create({ name: 'worker', secrets: [secretFor(canary.value)], network: networkOf(upstream) });
  const before = await scene.exec('worker', [
    'sh',
    '-c',
    `getent ahosts other.example ${HOST}; ${READ}; echo; echo "$TOKEN"`,
  ]);
  assert.equal(before.exitCode, 0, before.stderr);
  assert.deepEqual(received(upstream), [`Bearer ${canary.value}`]);

  // Counts on while nobody is there, and tries to get out.
  const steps = 30;
  const script = `i=0; while [ $i -lt ${steps} ]; do i=$((i+1)); echo "step $i"; curl -s -m 1 -o /dev/null https://${HOST}/ || echo closed >&2; sleep 0.1; done; exit 5`;
  const running = scene.cli(['exec', 'worker', '--', 'sh', '-c', script]);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await scene.killDaemon();
  const requestsAtDeath = upstream.requests.length;
  await new Promise((resolve) => setTimeout(resolve, 1000));
  assert.equal(upstream.requests.length, requestsAtDeath, 'nothing gets out without a daemon');
  await scene.startDaemon();

  const ran = await running;
  assert.equal(ran.status, 5, describeRun(ran));
  const expected = Array.from({ length: steps }, (_, index) => `step ${index + 1}\n`).join('');
  assert.equal(ran.stdout, expected, 'no output is lost, and none comes twice');
  assert.match(ran.stderr, /closed/);

  const info = await scene.inspect('worker');
  assert.deepEqual([info.state, info.gate], ['running', 'open']);
  upstream.clear();
  const after = await scene.exec('worker', [
    'sh',
    '-c',
    `getent ahosts other.example ${HOST}; ${READ}; echo; echo "$TOKEN"`,
  ]);
  assert.equal(after.stdout, before.stdout, 'same addresses, same authority, same placeholder');
  assert.deepEqual(received(upstream), [`Bearer ${canary.value}`]);
  assertNoCanary(canary, { outputs: { before: before.stdout, after: after.stdout }, files: filesOf(scene) });
});

test('a daemon that is killed at any moment loses nothing that it acknowledged', { timeout: 240_000 }, async () => {
  await using scene = await createDaemonScene(findPresentCaller(), 1);
  const acknowledged = new Set<string>();
  for (let round = 0; round < 6; round += 1) {
    let isOver = false;
    const work = (async () => {
      for (let index = 0; !isOver; index += 1) {
        const name = `r${round}-${index}`;
        await scene.create({ name });
        acknowledged.add(name);
        await scene.exec(name, ['true']);
      }
    })().catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 150 + Math.random() * 900));
    await scene.killDaemon();
    isOver = true;
    await work;
    await scene.startDaemon();
    const { sandboxes } = await scene.client.ask<{ sandboxes: SandboxInfo[] }>({
      method: 'GET',
      path: '/v1/sandboxes',
    });
    const running = new Set(sandboxes.filter(({ state }) => state === 'running').map(({ name }) => name));
    for (const name of acknowledged) assert.ok(running.has(name), `${name} was acknowledged and does not run`);
    for (const { name, state } of sandboxes) {
      if (!acknowledged.has(name)) assert.ok(state === 'running' || state === 'failed', `${name} is ${state}`);
      await scene.client.ask({ method: 'DELETE', path: `/v1/sandboxes/${name}?force=true` });
      acknowledged.delete(name);
    }
  }
  // What was prepared, or under way, has gone with its daemon: nothing but what is prepared by the present one is left.
  const left = readdirSync(join(scene.stateDirectory, 'sandboxes'));
  assert.ok(left.length <= 1, `left: ${left.join(' ')}`);
});

test('secrets and rules change for the next request', async () => {
  const [first, second, third] = [newCanary(), newCanary(), newCanary()];
  await using scene = await createDaemonScene(findPresentCaller());
  await using upstream = await startUpstream({ names: [HOST] });
  await scene.create({ name: 'worker', network: networkOf(upstream) });
  const path = '/v1/sandboxes/worker';
  const denied = await scene.exec('worker', [
    'sh',
    '-c',
    `curl -s -m 20 -o /dev/null -w '%{http_code}' https://${HOST}/`,
  ]);
  assert.equal(denied.stdout, '403');
  await scene.client.ask({ method: 'POST', path: `${path}/policy/rules`, body: { action: 'allow', host: HOST } });
  const tunneled = await scene.exec('worker', [
    'sh',
    '-c',
    `curl -ks -m 20 -o /dev/null -w '%{http_code}' https://${HOST}/`,
  ]);
  assert.equal(tunneled.stdout, '200');

  // One long connection: the changes come between its requests.
  await scene.client.ask({
    method: 'PUT',
    path: `${path}/secrets/TOKEN`,
    body: { value: first.value, allowHosts: [HOST] },
  });
  upstream.clear();
  const script = `import http.client, os, ssl, sys
c = http.client.HTTPSConnection('${HOST}', timeout=20)
for line in sys.stdin:
    c.request('GET', '/reflect?as=raw&where=body', headers={'Authorization': 'Bearer ' + os.environ['TOKEN']})
    r = c.getresponse(); print(r.status, r.read().decode(), flush=True)
`;
  const exec = await scene.client.ask<{ id: string }>({
    method: 'POST',
    path: `${path}/execs`,
    body: { command: ['python3', '-c', script], stdin: true },
  });
  const { Readable } = await import('node:stream');
  const ask = async (end: boolean): Promise<void> => {
    const seen = upstream.requests.length;
    await scene.client.ask({
      method: 'POST',
      path: `${path}/execs/${exec.id}/stdin?end=${end}`,
      content: Readable.from([Buffer.from('go\n')]),
    });
    for (let tries = 0; upstream.requests.length === seen && tries < 100; tries += 1) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };
  await ask(false);
  await scene.client.ask({ method: 'PUT', path: `${path}/secrets/TOKEN`, body: { value: second.value } });
  await ask(false);
  await scene.client.ask({ method: 'PUT', path: `${path}/secrets/TOKEN`, body: { value: third.value } });
  await scene.client.ask({ method: 'DELETE', path: `${path}/secrets/TOKEN` });
  await ask(true);
  const { stdout, exitCode, stderr } = await collectExec(
    scene.client.events({ method: 'GET', path: `${path}/execs/${exec.id}/events` }),
  );
  assert.equal(exitCode, 0, stderr);
  const values = received(upstream);
  assert.deepEqual(values.slice(0, 2), [`Bearer ${first.value}`, `Bearer ${second.value}`]);
  assert.match(values[2] ?? '', /^Bearer sp_TOKEN_/, 'a removed secret leaves no more');
  assert.equal(stdout.split('before').length, 4);
  await scene.client.ask({ method: 'POST', path: `${path}/policy/rules`, body: { action: 'deny', host: HOST } });
  const again = await scene.exec('worker', [
    'sh',
    '-c',
    `curl -s -m 20 -o /dev/null -w '%{http_code}' https://${HOST}/`,
  ]);
  assert.equal(again.stdout, '403');
  for (const canary of [first, second, third]) assertNoCanary(canary, { outputs: { stdout }, files: filesOf(scene) });
});

test('bad input is refused in words, with the field that it is about', async () => {
  await using scene = await createDaemonScene(findPresentCaller());
  const refuse = async (request: Parameters<typeof scene.client.ask>[0], code: string, says: RegExp): Promise<void> => {
    await assert.rejects(scene.client.ask(request), (error: unknown) => {
      assert.ok(error instanceof SallyportError);
      assert.equal(error.code, code, error.message);
      assert.match(error.message, says);
      return true;
    });
  };
  const post = (path: string, body: unknown) => ({ method: 'POST', path, body }) as const;
  await scene.create({ name: 'worker', start: false });
  for (const name of ['a/b', '..', 'Upper', 'x'.repeat(300), '🚀', '']) {
    await refuse(post('/v1/sandboxes', { name }), 'INVALID_REQUEST', /name: A name has 1 to 63/);
    if (name === '') continue;
    const path = `/v1/sandboxes/${encodeURIComponent(name)}`;
    await refuse({ method: 'GET', path }, 'SANDBOX_NOT_FOUND', /There is no sandbox/);
  }
  await refuse(post('/v1/sandboxes', { name: 'worker' }), 'SANDBOX_EXISTS', /Choose another name.*sallyport rm worker/);
  await refuse(post('/v1/sandboxes', { nmae: 'x' }), 'INVALID_REQUEST', /nmae/);
  await refuse(
    post('/v1/sandboxes', {
      secrets: [{ source: 'value', env: 'A', value: 'long enough', allowHosts: ['x.example', 7] }],
    }),
    'INVALID_REQUEST',
    /secrets\[0\]\.allowHosts\[1\]/,
  );
  await refuse(post('/v1/sandboxes', { image: 'python' }), 'NOT_SUPPORTED_YET', /images are not supported yet/);
  await refuse(
    post('/v1/sandboxes', { secrets: [{ source: 'value', env: 'A', value: 'short', allowHosts: ['x.example'] }] }),
    'SECRET_VALUE_TOO_SHORT',
    /at least 8/,
  );
  await refuse(post('/v1/sandboxes', { workspace: '/etc' }), 'WORKSPACE_REFUSED', /no sandbox may see/);
  await refuse(post('/v1/sandboxes', { auditFile: '/nonexistent/a/b' }), 'AUDIT_REFUSED', /./);
  await refuse(post('/v1/sandboxes/worker/execs', { command: ['true'] }), 'SANDBOX_NOT_RUNNING', /Start it first/);
  await refuse(post('/v1/sandboxes/worker/execs', { command: [] }), 'INVALID_REQUEST', /command/);
  await refuse({ method: 'GET', path: '/v1/sandboxes/worker/execs/nope' }, 'EXEC_NOT_FOUND', /no command/);
  await refuse({ method: 'GET', path: '/v1/nope' }, 'ENDPOINT_NOT_FOUND', /openapi/);
  await refuse({ method: 'DELETE', path: '/v1/sandboxes' }, 'METHOD_NOT_ALLOWED', /not for the method/);
  await refuse({ method: 'GET', path: '/v1/sandboxes?x=1' }, 'INVALID_REQUEST', /x/);
  await refuse(
    { method: 'PUT', path: '/v1/sandboxes/worker/secrets/T', body: {} },
    'SECRET_NOT_FOUND',
    /needs a value/,
  );
  await refuse(
    { method: 'DELETE', path: '/v1/sandboxes/worker/policy/rules?action=allow&host=x.example' },
    'RULE_NOT_FOUND',
    /no rule/,
  );
  const { sandboxes } = await scene.client.ask<{ sandboxes: SandboxInfo[] }>({ method: 'GET', path: '/v1/sandboxes' });
  assert.deepEqual(
    sandboxes.map(({ name }) => name),
    ['worker'],
    'nothing that was refused is left behind',
  );
  const document = await scene.client.ask<{ openapi: string }>({ method: 'GET', path: '/v1/openapi.json' });
  assert.equal(document.openapi, '3.1.0');
});

test('a command that holds a secret is refused, one that cannot start says why', async () => {
  const canary = newCanary();
  await using scene = await createDaemonScene(findPresentCaller());
  await scene.create({ name: 'worker', secrets: [secretFor(canary.value)] });
  await assert.rejects(scene.exec('worker', ['echo', canary.value]), { code: 'SECRET_CONFLICT' });
  await assert.rejects(scene.exec('worker', ['true'], { env: { X: `a${canary.value}` } }), { code: 'SECRET_CONFLICT' });
  await assert.rejects(scene.exec('worker', ['true'], { workdir: '/nowhere' }), { code: 'EXEC_FAILED' });
  await assert.rejects(scene.exec('worker', ['true'], { workdir: '/proc/1' }), { code: 'USAGE' });
  const missing = await scene.exec('worker', ['no-such-program']);
  assert.equal(missing.exitCode, 127, missing.stderr);
  const slow = await scene.exec('worker', ['sleep', '60'], { timeoutMs: 500 });
  const exit = slow.events.at(-1);
  assert.deepEqual(exit, { type: 'exit', exitCode: 143, timedOut: true, outOfMemory: false });
});

test('standard input, output and terminals carry every byte', async () => {
  await using scene = await createDaemonScene(findPresentCaller());
  await scene.create({ name: 'worker' });
  const bytes = Buffer.from(Array.from({ length: 1_000_000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff));
  // The second one has a process parked for it, perhaps.
  for (let round = 0; round < 2; round += 1) {
    const ran = await scene.cli(['exec', '-i', 'worker', '--', 'cat'], { stdin: bytes });
    assert.equal(ran.status, 0, ran.stderr);
    assert.ok(ran.stdoutBytes.equals(bytes), `round ${round}: ${ran.stdoutBytes.length} bytes came back`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  const awkward = await scene.exec('worker', ['printf', '%s|', "it's", 'two\nlines', '$HOME', 'a"b\\c', '']);
  assert.equal(awkward.stdout, `it's|two\nlines|$HOME|a"b\\c||`);
  const terminal = await scene.exec(
    'worker',
    ['sh', '-c', 'stty size; test -t 0 && test -t 1 && echo tty; echo $TERM'],
    {
      terminal: { columns: 101, rows: 37 },
    },
  );
  assert.equal(terminal.stdout, '37 101\r\ntty\r\nxterm-256color\r\n', JSON.stringify(terminal));
});

test('output that nobody reads does not pile up in memory, and a client that vanishes leaves the command', async () => {
  await using scene = await createDaemonScene(findPresentCaller());
  await scene.create({ name: 'worker' });
  const path = '/v1/sandboxes/worker/execs';
  const before = (await scene.status()).memoryBytes;
  const megabytes = 60;
  const command = ['sh', '-c', `head -c ${megabytes}000000 /dev/zero | tr '\\0' x | fold -w 1000; echo end > /tmp/end`];
  const stop = new AbortController();
  const events = scene.client.events({ method: 'POST', path, body: { command }, signal: stop.signal });
  const first = await events.next();
  assert.ok(first.done !== true && first.value.type === 'started');
  const { exec } = JSON.parse(first.value.data) as { exec: { id: string } };
  // Stops reading in mid-stream; the command goes on all the same.
  for (let tries = 0; tries < 200; tries += 1) {
    const { state } = await scene.client.ask<{ state: string }>({ method: 'GET', path: `${path}/${exec.id}` });
    if (state === 'exited') break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const grown = (await scene.status()).memoryBytes - before;
  stop.abort();
  await events.return?.().catch(() => undefined);
  assert.equal((await scene.exec('worker', ['cat', '/tmp/end'])).stdout, 'end\n');
  assert.ok(grown < 40_000_000, `the daemon grew by ${grown} bytes`);
  let size = 0;
  for await (const { data } of scene.client.events({ method: 'GET', path: `${path}/${exec.id}/events` })) {
    const event = JSON.parse(data) as { type: string; data?: string };
    if (event.type === 'stdout') size += Buffer.from(event.data ?? '', 'base64').length;
    if (event.type === 'gap') size = Number.POSITIVE_INFINITY;
  }
  assert.equal(size, megabytes * 1_001_000 - 1, 'whoever comes later reads all of it');
});

test('many commands at a time, two that remove one sandbox, and one that is killed from outside', async () => {
  await using scene = await createDaemonScene(findPresentCaller());
  await scene.create({ name: 'worker' });
  const outcomes = await Promise.all(
    Array.from(
      { length: 40 },
      async (_, index) => await scene.exec('worker', ['sh', '-c', `echo ${index}; exit ${index}`]),
    ),
  );
  for (const [index, { exitCode, stdout }] of outcomes.entries()) {
    assert.deepEqual([exitCode, stdout], [index, `${index}\n`]);
  }
  const removal = () => scene.client.ask({ method: 'DELETE', path: '/v1/sandboxes/worker?force=true' });
  const removals = await Promise.allSettled([removal(), removal()]);
  assert.deepEqual(removals.map(({ status }) => status).toSorted(), ['fulfilled', 'rejected']);

  await scene.create({ name: 'victim' });
  const suicide = await scene.exec('victim', ['sh', '-c', 'sleep 30 & kill -9 -1; sleep 5']);
  assert.equal(suicide.exitCode, 137);
  const ended = await scene.client.ask<SandboxInfo>({
    method: 'GET',
    path: '/v1/sandboxes/victim/wait?timeoutMs=20000',
  });
  assert.equal(ended.state, 'failed');
  assert.match(ended.reason ?? '', /killed/);
  const revived = await scene.client.ask<SandboxInfo>({ method: 'POST', path: '/v1/sandboxes/victim/start' });
  assert.equal(revived.state, 'running');
});

test('a runtime that fails leaves nothing behind', async () => {
  await using scene = await createDaemonScene(findPresentCaller());
  await assert.rejects(scene.create({ name: 'worker', runtime: '/bin/false' }), { code: 'SANDBOX_FAILED' });
  await assert.rejects(scene.inspect('worker'), { code: 'SANDBOX_NOT_FOUND' });
  assert.deepEqual(readdirSync(join(scene.stateDirectory, 'sandboxes')), []);
});

test('files go in and out as the sandbox sees them', async () => {
  await using scene = await createDaemonScene(findPresentCaller());
  await scene.create({ name: 'worker' });
  const { Readable } = await import('node:stream');
  const base = '/v1/sandboxes/worker/files';
  const content = Buffer.from(Array.from({ length: 300_000 }, (_, index) => index & 0xff));
  const at = (path: string) => `path=${encodeURIComponent(path)}`;
  await scene.client.ask({ method: 'POST', path: `${base}/directories`, body: { path: '/tmp/a/b', recursive: true } });
  await scene.client.ask({
    method: 'PUT',
    path: `${base}/content?${at('/tmp/a/b/file one')}&mode=750`,
    content: Readable.from([content]),
  });
  const entry = await scene.client.ask<object>({ method: 'GET', path: `${base}/entry?${at('/tmp/a/b/file one')}` });
  assert.deepEqual({ ...entry, modifiedAt: '' }, {
    name: 'file one', path: '/tmp/a/b/file one', type: 'file', size: content.length, mode: 0o750, modifiedAt: '', target: null,
  }); // prettier-ignore
  const read = async (path: string): Promise<Buffer> => {
    const chunks: Buffer[] = [];
    for await (const chunk of await scene.client.bytes({ method: 'GET', path })) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
  };
  assert.ok((await read(`${base}/content?${at('/tmp/a/b/file one')}`)).equals(content));
  const archive = await read(`${base}/archive?${at('/tmp/a')}`);
  await scene.client.ask({ method: 'POST', path: `${base}/directories`, body: { path: '/tmp/copy' } });
  await scene.client.ask({
    method: 'PUT',
    path: `${base}/archive?${at('/tmp/copy')}`,
    content: Readable.from([archive]),
  });
  assert.ok((await read(`${base}/content?${at('/tmp/copy/a/b/file one')}`)).equals(content));
  await scene.client.ask({ method: 'POST', path: `${base}/rename`, body: { from: '/tmp/a/b', to: '/tmp/a/c' } });
  const { entries } = await scene.client.ask<{ entries: { name: string; type: string }[] }>({
    method: 'GET',
    path: `${base}/entries?${at('/tmp/a')}`,
  });
  assert.deepEqual(
    entries.map(({ name, type }) => [name, type]),
    [['c', 'directory']],
  );
  await scene.client.ask({ method: 'DELETE', path: `${base}/entry?${at('/tmp/a')}&recursive=true` });
  for (const path of ['/tmp/a', '/nowhere/x']) {
    await assert.rejects(scene.client.bytes({ method: 'GET', path: `${base}/content?${at(path)}` }), {
      code: 'FILE_NOT_FOUND',
    });
    await assert.rejects(scene.client.ask({ method: 'GET', path: `${base}/entry?${at(path)}` }), {
      code: 'FILE_NOT_FOUND',
    });
  }
  await assert.rejects(scene.client.bytes({ method: 'GET', path: `${base}/content?${at('/tmp')}` }), {
    code: 'FILE_FAILED',
  });
});

test(
  'nobody else reaches the daemon',
  { skip: findPresentCaller().kind !== 'root' && 'needs root, to be two users' },
  async () => {
    const other = findOrdinaryUser();
    assert.ok(other !== undefined);
    await using scene = await createDaemonScene(findPresentCaller());
    assert.equal(statSync(scene.socket).mode & 0o777, 0o600);
    assert.equal(statSync(dirname(scene.socket)).mode & 0o777, 0o700);
    const program = `
    const socket = require('node:net').connect(process.argv[1]);
    let text = '';
    socket.on('connect', () => socket.write('GET /v1/daemon HTTP/1.1\\r\\nhost: daemon\\r\\nconnection: close\\r\\n\\r\\n'));
    socket.on('data', (chunk) => (text += chunk));
    socket.on('error', (error) => console.log(error.code));
    socket.on('close', () => console.log('got ' + text.length));
  `;
    const attempt = async (): Promise<string> => {
      const child = spawn(process.execPath, ['-e', program, scene.socket], {
        uid: other.uid,
        gid: other.gid,
        cwd: '/',
      });
      let text = '';
      child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
      await new Promise((resolve) => child.once('close', resolve));
      return text;
    };
    assert.match(await attempt(), /^EACCES\n/);
    // Somebody opens the doors: the kernel still tells who comes.
    for (let path = scene.socket; path !== dirname(scene.home); path = dirname(path)) chmodSync(path, 0o777);
    assert.match(await attempt(), /got 0\n$/);
    assert.ok((await scene.status()).pid > 0);
  },
);

test('one daemon at a time; restart and stop leave sandboxes be', async () => {
  await using scene = await createDaemonScene(findPresentCaller(), 1);
  await scene.create({ name: 'worker' });
  const first = await scene.status();
  const second = await scene.cli(['daemon', 'run']);
  assert.equal(second.status, 0, 'another daemon sees that there is one, and leaves');
  assert.equal((await scene.status()).pid, first.pid);
  const running = scene.cli([
    'exec',
    'worker',
    '--',
    'sh',
    '-c',
    'for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.3; done',
  ]);
  await new Promise((resolve) => setTimeout(resolve, 1200));
  const restarted = await scene.cli(['daemon', 'restart']);
  assert.equal(restarted.status, 0, describeRun(restarted));
  const ran = await running;
  assert.deepEqual([ran.status, ran.stdout], [0, '1\n2\n3\n4\n5\n6\n7\n8\n'], describeRun(ran));
  assert.notEqual((await scene.status()).pid, first.pid);
  const status = await scene.cli(['daemon', 'status']);
  assert.match(status.stdout, /1 of 1 sandboxes run/);
  assert.equal((await scene.cli(['daemon', 'stop'])).status, 0);
  assert.equal(existsSync(scene.socket), false);
  assert.equal((await scene.cli(['daemon', 'status'])).status, 1);
  // A command that needs the daemon starts it.
  const again = await scene.cli(['exec', 'worker', '--', 'echo', 'still here']);
  assert.equal(again.stdout, 'still here\n', describeRun(again));
  const log = await scene.cli(['daemon', 'logs']);
  assert.match(log.stdout, /the daemon runs/);
});

test('a connection that says nothing does not hold the daemon up', async () => {
  await using scene = await createDaemonScene(findPresentCaller());
  const socket = connect(scene.socket);
  await new Promise((resolve) => socket.once('connect', resolve));
  const stopped = await scene.cli(['daemon', 'stop']);
  assert.equal(stopped.status, 0, describeRun(stopped));
  socket.destroy();
});
