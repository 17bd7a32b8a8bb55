// The SDK against a real daemon, real sandboxes and a local upstream: what a program writes, and what a sandbox gets to see of it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { Connection, SallyportError, Sandbox, Secret, secrets, type ExecStreamEvent } from 'sallyport';
import { CHECKOUT, createScene, eachCaller, findPresentCaller, type Caller } from './harness/caller.ts';
import { assertNoCanary, newCanary } from './harness/canary.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { headerValues } from './harness/recording.ts';
import { describeRun, sallyport } from './harness/sallyport.ts';
import { SYSTEM_PATH } from './harness/tools.ts';
import { startUpstream, type Upstream } from './harness/upstream.ts';

const HOST = 'api.github.com';
const READ = `curl -sS -m 20 -H "Authorization: Bearer $TOKEN" "https://${HOST}/reflect?as=raw&where=body"`;

interface Stage extends AsyncDisposable {
  readonly scene: DaemonScene;
  readonly connection: Connection;
  /** For calls that make a sandbox. */
  readonly call: { readonly connection: Connection };
}

async function createStage(caller: Caller = findPresentCaller()): Promise<Stage> {
  const scene = await createDaemonScene(caller);
  const connection = new Connection({ socket: scene.socket });
  return {
    scene,
    connection,
    call: { connection },
    async [Symbol.asyncDispose]() {
      await scene[Symbol.asyncDispose]();
    },
  };
}

function networkOf(upstream: Upstream, host = HOST) {
  return { resolve: { [`${host}:443`]: `127.0.0.1:${upstream.httpsPort}` }, upstreamCa: upstream.caFile };
}

function received(upstream: Upstream): string[] {
  return upstream.requests.flatMap((request) => headerValues(request, 'authorization'));
}

async function gather<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** A function that checks a rejection by its code and by what it says. */
function failure(code: string, says = /./): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof SallyportError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, says);
    return true;
  };
}

eachCaller('a program uses a credential that its sandbox never holds', async (caller) => {
  const canary = newCanary();
  await using stage = await createStage(caller);
  await using upstream = await startUpstream({ names: [HOST] });
  const secret = Secret.env('TOKEN', { value: canary.value, allowHosts: [HOST] });
  const outputs: Record<string, string> = {
    secret: inspect(secret, { depth: 9, showHidden: true }) + JSON.stringify(secret),
  };
  {
    await using sandbox = await Sandbox.create(
      { name: 'worker', secrets: [secret], network: networkOf(upstream) },
      stage.call,
    );
    assert.deepEqual([sandbox.name, sandbox.info.state, sandbox.info.gate], ['worker', 'running', 'open']);
    const ran = await sandbox.shell(`${READ}; echo; echo "$TOKEN"; echo err >&2; exit 7`);
    assert.deepEqual(
      [ran.exitCode, ran.success, ran.stderr, ran.timedOut, ran.truncated],
      [7, false, 'err\n', false, false],
    );
    assert.deepEqual(received(upstream), [`Bearer ${canary.value}`]);
    const [reflected = '', placeholder = ''] = ran.stdout.split('\n').filter((line) => line !== '');
    assert.match(placeholder, /^sp_TOKEN_[0-9A-Za-z]{22}$/);
    assert.ok(reflected.includes(placeholder), ran.stdout);
    const [listed] = await sandbox.secrets.list();
    assert.deepEqual([listed?.name, listed?.placeholder, listed?.available], ['TOKEN', placeholder, true]);
    await assert.rejects(sandbox.exec('echo', [canary.value]), (error) => {
      outputs['refused'] = inspect(error, { depth: 9, showHidden: true });
      return failure('SECRET_CONFLICT')(error);
    });
    let logs = '';
    for await (const { data, stream } of sandbox.logs()) if (stream === 'stdout') logs += Buffer.from(data).toString();
    assert.equal(logs, ran.stdout);
    const events = await gather(sandbox.events());
    assert.deepEqual(
      events.slice(0, 3).map(({ type }) => type),
      ['sandbox.created', 'sandbox.starting', 'sandbox.running'],
    );
    const stats = await sandbox.stats();
    assert.ok(stats.names >= 1);
    outputs['all'] = JSON.stringify([
      ran,
      listed,
      logs,
      events,
      stats,
      await sandbox.inspect(),
      inspect(sandbox, { depth: 9 }),
    ]);
    assert.deepEqual(
      (await Sandbox.list(stage.call)).map(({ name }) => name),
      ['worker'],
    );
  }
  assert.deepEqual(await Sandbox.list(stage.call), [], 'going out of scope removes it');
  assertNoCanary(canary, { outputs, files: [stage.scene.root] });
});

test('the builder has the shape that the other products made known', async () => {
  const [github, service] = [newCanary(), newCanary()];
  await using stage = await createStage();
  await using upstream = await startUpstream({ names: [HOST, 'raw.githubusercontent.com', 'api.example.com'] });
  // What `process.env` has in the examples.
  const env: Record<string, string | undefined> = { GITHUB_TOKEN: github.value, SERVICE_API_KEY: service.value };
  const described = () =>
    Sandbox.builder('worker')
      .secret((s) =>
        s
          .env('GITHUB_TOKEN')
          .value(env['GITHUB_TOKEN']!)
          .allowHost('api.github.com')
          .allowHostPattern('*.githubusercontent.com'),
      )
      .secretEnv('SERVICE_API_KEY', env['SERVICE_API_KEY']!, 'api.example.com');
  await assert.rejects(
    described().image('python').create(stage.call),
    failure('NOT_SUPPORTED_YET', /"python".*not supported yet/),
  );
  const pins = ['api.github.com', 'raw.githubusercontent.com', 'api.example.com'].map(
    (host) => networkOf(upstream, host).resolve,
  );
  await using sb = await described()
    .image('host')
    .network({ resolve: Object.assign({}, ...pins), upstreamCa: upstream.caFile })
    .env('PLAIN', 'yes')
    .label('of', 'a test')
    .create(stage.call);
  const script = `for host in api.github.com raw.githubusercontent.com api.example.com; do
    curl -sS -m 20 -o /dev/null -H "Authorization: $GITHUB_TOKEN" "https://$host/" -H "X-Api-Key: $SERVICE_API_KEY"; done; echo $PLAIN`;
  const { stdout, stderr } = await sb.shell(script);
  assert.equal(stdout, 'yes\n', stderr);
  const own = (request: Upstream['requests'][number]): boolean[] => [
    headerValues(request, 'authorization')[0] === github.value,
    headerValues(request, 'x-api-key')[0] === service.value,
  ];
  assert.deepEqual(upstream.requests.map(own), [
    [true, false],
    [true, false],
    [false, true],
  ]);
  assert.deepEqual(sb.info.labels, { of: 'a test' });
  await assert.rejects(
    Sandbox.run({ secrets: [Secret.named('HF_TOKEN', { envVar: 'HUGGINGFACE_TOKEN' })] }, stage.call),
    failure('SECRET_NOT_FOUND', /No secret "HF_TOKEN" is stored/),
  );
  assert.throws(
    () => Secret.env('MISSING', { value: env['NOT_SET']!, allowHosts: ['x.example'] }),
    failure('INVALID_SECRET_VALUE', /"MISSING" has no value/),
  );
});

test('secrets and rules change under a running command', async () => {
  const [first, second] = [newCanary(), newCanary()];
  await using stage = await createStage();
  await using upstream = await startUpstream({ names: [HOST] });
  await using sandbox = await Sandbox.create({ network: networkOf(upstream) }, stage.call);
  const status = async (): Promise<string> =>
    (
      await sandbox.shell(
        `curl -ksS -m 20 -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $TOKEN" https://${HOST}/`,
      )
    ).stdout;
  assert.equal(await status(), '403');
  assert.deepEqual((await sandbox.policy.allow(HOST)).allow, [HOST]);
  assert.equal(await status(), '200');
  await sandbox.secrets.set(Secret.env('TOKEN', { value: first.value, allowHosts: [HOST] }));
  upstream.clear();
  await status();
  await sandbox.secrets.set('TOKEN', { value: second.value });
  await status();
  assert.deepEqual(received(upstream), [`Bearer ${first.value}`, `Bearer ${second.value}`]);
  await sandbox.secrets.remove('TOKEN');
  assert.deepEqual(await sandbox.secrets.list(), []);
  await assert.rejects(sandbox.secrets.remove('TOKEN'), failure('SECRET_NOT_FOUND'));
  await assert.rejects(sandbox.secrets.set('TOKEN', { value: undefined! }), failure('INVALID_SECRET_VALUE'));
  await sandbox.policy.deny(HOST);
  assert.equal(await status(), '403');
  await sandbox.policy.remove('deny', HOST);
  assert.equal(await status(), '200');
  assert.deepEqual((await sandbox.policy.list()).deny, []);
  await assert.rejects(sandbox.policy.allow('*.com'), failure('INVALID_HOST_PATTERN'));
});

test('files go in and out as they are', async () => {
  await using stage = await createStage();
  await using sandbox = await Sandbox.create({}, stage.call);
  const { fs } = sandbox;
  const bytes = Uint8Array.from({ length: 300_000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff);
  await fs.mkdir('/tmp/a/b', { recursive: true });
  await fs.write('/tmp/a/b/bin', bytes, { mode: 0o750 });
  assert.ok(Buffer.from(await fs.read('/tmp/a/b/bin')).equals(bytes));
  await fs.write(
    '/tmp/a/stream',
    (async function* () {
      yield 'né';
      yield bytes;
    })(),
  );
  assert.equal((await fs.read('/tmp/a/stream')).length, 3 + bytes.length);
  await fs.write('/tmp/a/empty', '');
  assert.equal(await fs.readText('/tmp/a/empty'), '');
  let streamed = 0;
  for await (const piece of await fs.readStream('/tmp/a/stream')) streamed += piece.length;
  assert.equal(streamed, 3 + bytes.length);
  const entry = await fs.stat('/tmp/a/b/bin');
  assert.deepEqual([entry.name, entry.type, entry.size, entry.mode], ['bin', 'file', bytes.length, 0o750]);
  await fs.rename('/tmp/a/empty', '/tmp/a/zero');
  assert.deepEqual(
    (await fs.list('/tmp/a')).map(({ name }) => name),
    ['b', 'stream', 'zero'],
  );
  await assert.rejects(fs.remove('/tmp/a'), failure('FILE_FAILED'));
  await fs.remove('/tmp/a', { recursive: true });
  await assert.rejects(fs.stat('/tmp/a'), failure('FILE_NOT_FOUND'));
  await assert.rejects(fs.read('/tmp/none'), failure('FILE_NOT_FOUND', /nothing at "\/tmp\/none"/));
  await assert.rejects(fs.write('/nowhere/x', 'x'), failure('FILE_NOT_FOUND'));
  await assert.rejects(
    fs.write(
      '/tmp/half',
      (async function* () {
        yield 'x';
        throw new RangeError('own');
      })(),
    ),
    RangeError,
  );
  await assert.rejects(fs.stat('/tmp/half'), failure('FILE_NOT_FOUND'));
});

test('copies keep trees whole, and what comes out of a sandbox stays in its place', async () => {
  await using stage = await createStage();
  await using sandbox = await Sandbox.create({}, stage.call);
  const host = mkdtempSync(join(tmpdir(), 'sallyport-copy-'));
  try {
    const long = `${'x'.repeat(120)}é`;
    mkdirSync(join(host, 'tree/deep', long), { recursive: true });
    writeFileSync(join(host, 'tree/deep', long, 'file'), Buffer.from([0, 255, 10, 13]));
    writeFileSync(join(host, 'tree/run'), '#!/bin/sh\necho it runs\n');
    chmodSync(join(host, 'tree/run'), 0o755);
    writeFileSync(join(host, 'tree/empty'), '');
    symlinkSync('deep', join(host, 'tree/link'));
    const went = await sandbox.fs.copyIn(join(host, 'tree'), '/tmp/inside');
    assert.deepEqual(went, { files: 3, bytes: 4 + 23, skipped: [] });
    assert.equal((await sandbox.exec('/tmp/inside/run')).stdout, 'it runs\n');
    await sandbox.shell(
      'cd /tmp/inside && ln run same && ln -s /etc/passwd out && ln -s ../../x up && ln -s link/../.. through && mkfifo pipe && chmod u+s run',
    );
    const came = await sandbox.fs.copyOut('/tmp/inside', join(host, 'back'));
    // A hard link comes out as a file of its own.
    assert.deepEqual([came.files, came.skipped.toSorted()], [4, ['out', 'pipe', 'through', 'up']]);
    assert.deepEqual(readdirSync(join(host, 'back')), ['deep', 'empty', 'link', 'run', 'same']);
    assert.deepEqual([...readFileSync(join(host, 'back/deep', long, 'file'))], [0, 255, 10, 13]);
    assert.equal(readlinkSync(join(host, 'back/link')), 'deep');
    assert.equal(statSync(join(host, 'back/run')).mode & 0o7777, 0o755);
    await assert.rejects(
      sandbox.fs.copyOut('/tmp/inside', join(host, 'back')),
      failure('FILE_FAILED', /exists already/),
    );
    await sandbox.fs.copyOut('/tmp/inside/run', join(host, 'one'));
    assert.equal(readFileSync(join(host, 'one'), 'utf8'), '#!/bin/sh\necho it runs\n');
    await sandbox.fs.copyIn(join(host, 'one'), '/tmp/one');
    assert.equal((await sandbox.exec('/tmp/one')).stdout, 'it runs\n');
    await assert.rejects(
      sandbox.fs.copyOut('/tmp/inside/link', join(host, 'x')),
      failure('FILE_FAILED', /a link to "deep"/),
    );
    await assert.rejects(sandbox.fs.copyIn(join(host, 'none'), '/tmp/x'), failure('FILE_FAILED', /ENOENT/));
    assert.deepEqual(readdirSync(host).toSorted(), ['back', 'one', 'tree'], 'nothing is left beside');
  } finally {
    rmSync(host, { recursive: true, force: true });
  }
});

test('a stream of a command takes input, sizes, signals, and an end', async () => {
  await using stage = await createStage();
  await using sandbox = await Sandbox.create({}, stage.call);
  const bytes = Uint8Array.from({ length: 200_000 }, (_, index) => (index * 11) & 0xff);
  const echoed = await sandbox.exec('cat', [], { stdin: bytes });
  assert.ok(Buffer.from(echoed.stdoutBytes).equals(bytes));
  assert.equal((await sandbox.exec('head', ['-c', '3'], { stdin: [bytes, bytes] })).stdoutBytes.length, 3);

  const dialogue = sandbox.execStream(
    'sh',
    ['-c', 'while read line; do echo "got $line"; done; echo over >&2; exit 3'],
    { stdin: true },
  );
  const events: ExecStreamEvent[] = [];
  for await (const event of dialogue) {
    events.push(event);
    if (event.type === 'started') {
      assert.equal(event.id, await dialogue.id);
      await dialogue.stdin.write('one\n');
    } else if (event.type === 'stdout' && Buffer.from(event.data).toString() === 'got one\n') {
      await dialogue.stdin.write(['two', '\n']);
      await dialogue.stdin.end();
    }
  }
  assert.deepEqual(events.map((event) => ('data' in event ? `${event.type} ${Buffer.from(event.data).toString()}` : event.type)), [
    'started', 'stdout got one\n', 'stdout got two\n', 'stderr over\n', 'exit',
  ]); // prettier-ignore
  assert.deepEqual(events.at(-1), { type: 'exit', exitCode: 3, timedOut: false, outOfMemory: false });
  await assert.rejects(dialogue.stdin.write('late'), failure('EXEC_ENDED'));
  await assert.rejects(dialogue.signal('SIGTERM'), failure('EXEC_ENDED'));
  await dialogue.kill();
  assert.throws(() => dialogue[Symbol.asyncIterator](), failure('USAGE', /once/));

  const trapped = sandbox.execStream('sh', [
    '-c',
    'trap "echo caught; exit 9" TERM; echo ready; while :; do sleep 0.1; done',
  ]);
  let said = '';
  let status: number | undefined;
  for await (const event of trapped) {
    if (event.type === 'exit') status = event.exitCode;
    if (event.type !== 'stdout') continue;
    said += Buffer.from(event.data).toString();
    if (said === 'ready\n') await trapped.signal('SIGTERM');
  }
  assert.deepEqual([said, status], ['ready\ncaught\n', 9]);

  const killed = sandbox.execStream('sleep', ['600']);
  await killed.kill();
  assert.equal((await killed.result()).exitCode, 137);
  const missing = sandbox.execStream('true', [], { workdir: '/nowhere' });
  await assert.rejects(missing.result(), failure('EXEC_FAILED'));
  assert.equal((await sandbox.exec('no-such-program')).exitCode, 127);
  const limited = await sandbox.shell('head -c 100 /dev/zero; echo x >&2', { maxOutputBytes: 10 });
  assert.deepEqual([limited.stdoutBytes.length, limited.stderr, limited.truncated], [10, 'x\n', true]);
});

test('a terminal gets its size, and the last of those that follow, however soon they come', async () => {
  await using stage = await createStage();
  await using sandbox = await Sandbox.create({}, stage.call);
  const script = 'stty size; while [ "$(stty size)" != "30 100" ]; do sleep 0.05; done; echo resized';
  const run = async (sizesBefore: number): Promise<string> => {
    const terminal = sandbox.execStream('sh', ['-c', script], {
      terminal: { columns: 80, rows: 24 },
      timeoutMs: 30_000,
    });
    let screen = '';
    for await (const event of terminal) {
      if (event.type === 'stdout') screen += Buffer.from(event.data).toString();
      if (event.type !== 'started') continue;
      for (let rows = 0; rows < sizesBefore; rows += 1) void terminal.resize({ columns: 50, rows: rows + 1 });
      await terminal.resize({ columns: 100, rows: 30 });
    }
    return screen.replace(/^.*\r\n/, '');
  };
  for (let round = 0; round < 25; round += 1) {
    const screens = await Promise.all([0, 0, 1, 5].map(async (sizesBefore) => await run(sizesBefore)));
    assert.deepEqual(
      screens,
      Array.from({ length: 4 }, () => 'resized\r\n'),
      `round ${round}`,
    );
  }
});

test('a call ends with its signal or its time, and its command with it', async () => {
  await using stage = await createStage();
  await using sandbox = await Sandbox.create({}, stage.call);
  const running = async (): Promise<number> => (await sandbox.inspect()).runningExecs;
  const abort = new AbortController();
  const slow = sandbox.exec('sleep', ['600'], { signal: abort.signal });
  while ((await running()) === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  abort.abort();
  await assert.rejects(slow, failure('ABORTED'));
  while ((await running()) > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  await assert.rejects(sandbox.exec('true', [], { signal: abort.signal }), failure('ABORTED'));
  await assert.rejects(sandbox.exec('sleep', ['600'], { signal: AbortSignal.timeout(300) }), failure('TIMED_OUT'));
  const late = await sandbox.exec('sleep', ['600'], { timeoutMs: 300 });
  assert.deepEqual([late.timedOut, late.success, late.exitCode], [true, false, 143]);
  while ((await running()) > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  {
    await using stream = sandbox.execStream('sleep', ['600']);
    await stream.id;
  }
  while ((await running()) > 0) await new Promise((resolve) => setTimeout(resolve, 20));
  await assert.rejects(sandbox.waitUntilStopped({ timeoutMs: 200 }), failure('TIMED_OUT', /200 ms/));
  await assert.rejects(sandbox.inspect({ signal: AbortSignal.abort() }), failure('ABORTED'));
  await assert.rejects(gather(sandbox.logs({ follow: true, timeoutMs: 200 })), failure('TIMED_OUT'));
});

test('a sandbox stops, starts and goes, and each state says so', async () => {
  await using stage = await createStage();
  const { call } = stage;
  await using sandbox = await Sandbox.create({ name: 'worker' }, call);
  await assert.rejects(Sandbox.create({ name: 'worker' }, call), failure('SANDBOX_EXISTS', /Choose another name/));
  await assert.rejects(Sandbox.create({ name: 'No' }, call), failure('INVALID_REQUEST', /name/));
  await assert.rejects(Sandbox.get('other', call), failure('SANDBOX_NOT_FOUND'));
  const stopped = sandbox.waitUntilStopped();
  assert.equal((await sandbox.stop({ timeoutMs: 0 })).state, 'stopped');
  assert.equal((await stopped)?.state, 'stopped');
  await assert.rejects(sandbox.exec('true'), failure('SANDBOX_NOT_RUNNING', /Start it first/));
  assert.equal((await sandbox.start()).state, 'running');
  {
    await using same = await Sandbox.get('worker', call);
    assert.equal(same.id, sandbox.id);
  }
  assert.equal((await sandbox.inspect()).state, 'running', 'whoever only got it leaves it');
  await assert.rejects(Sandbox.remove('worker', call), failure('SANDBOX_RUNNING'));
  assert.equal((await sandbox.kill()).state, 'stopped');
  await Sandbox.remove('worker', call);
  assert.equal(await sandbox.waitUntilStopped(), null);
  await assert.rejects(sandbox.remove(), failure('SANDBOX_NOT_FOUND'));
  const once = await Sandbox.run({}, call);
  const events = gather(once.events({ follow: true }));
  await once.stop({ timeoutMs: 0 });
  assert.equal(await once.waitUntilStopped(), null);
  assert.equal((await events).at(-1)?.type, 'sandbox.removed');
});

test('a daemon that is killed is waited for, and what a command wrote comes once', async () => {
  await using stage = await createStage();
  await using sandbox = await Sandbox.create({}, stage.call);
  const steps = 20;
  const result = sandbox.shell(
    `i=0; while [ $i -lt ${steps} ]; do i=$((i+1)); echo "step $i"; sleep 0.1; done; exit 5`,
  );
  await new Promise((resolve) => setTimeout(resolve, 700));
  await stage.scene.killDaemon();
  await assert.rejects(sandbox.inspect(), failure('DAEMON_UNREACHABLE', /sallyport daemon status/));
  await stage.scene.startDaemon();
  const { exitCode, stdout } = await result;
  assert.equal(stdout, Array.from({ length: steps }, (_, index) => `step ${index + 1}\n`).join(''));
  assert.equal(exitCode, 5);
});

test('a command is taken up by its id: its output, its input and its end, and it goes on without its reader', async () => {
  await using stage = await createStage();
  await using sandbox = await Sandbox.create({}, stage.call);
  const script = 'echo begun; while read line; do echo "got $line"; done; exit 6';
  const first = sandbox.execStream('sh', ['-c', script], { stdin: true });
  const id = await first.id;
  {
    await using second = sandbox.attach(id);
    assert.equal(await second.id, id);
    await second.stdin.write('one\n');
    let seen = '';
    for await (const event of second) {
      if (event.type === 'stdout') seen += Buffer.from(event.data).toString();
      if (seen === 'begun\ngot one\n') break;
    }
  }
  const abort = new AbortController();
  const third = sandbox.attach(id, { signal: abort.signal }).result();
  setTimeout(() => abort.abort(), 300);
  await assert.rejects(third, failure('ABORTED'));
  const [info] = await sandbox.execs();
  assert.deepEqual([info?.id, info?.state], [id, 'running']);
  await stage.scene.killDaemon();
  await stage.scene.startDaemon();
  const other = (await Sandbox.get(sandbox.name, stage.call)).attach(id);
  await other.kill('SIGTERM');
  const { exitCode, stdout } = await other.result();
  assert.deepEqual([exitCode, stdout], [143, 'begun\ngot one\n']);
  assert.equal((await first.result()).exitCode, 143);
  assert.equal((await sandbox.attach(id).result()).stdout, stdout, 'also when it is over');
  await assert.rejects(sandbox.attach('nope').result(), failure('EXEC_NOT_FOUND'));
  await assert.rejects(sandbox.attach('../x').id, failure('EXEC_NOT_FOUND'));
});

test('logs are followed over a restart of the daemon, from any piece on, and end with the sandbox', async () => {
  await using stage = await createStage();
  await using sandbox = await Sandbox.create({}, stage.call);
  const text = (pieces: readonly { readonly data: Uint8Array }[]): string =>
    pieces.map(({ data }) => Buffer.from(data).toString()).join('');
  await sandbox.shell('echo early; echo wrong >&2');
  const steps = 30;
  const script = `i=0; while [ $i -lt ${steps} ]; do i=$((i+1)); echo "step $i"; sleep 0.1; done`;
  const running = sandbox.execStream('sh', ['-c', script]);
  const id = await running.id;
  const all = gather(sandbox.logs({ follow: true }));
  const one = gather(sandbox.logs({ follow: true, exec: id, tail: 1 }));
  const cli = stage.scene.cli(['logs', '-f', sandbox.name]);
  await new Promise((resolve) => setTimeout(resolve, 800));
  await stage.scene.killDaemon();
  await new Promise((resolve) => setTimeout(resolve, 500));
  await stage.scene.startDaemon();
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal((await stage.scene.cli(['daemon', 'restart'])).status, 0);
  assert.equal((await running.result()).exitCode, 0);
  const expected = Array.from({ length: steps }, (_, index) => `step ${index + 1}\n`).join('');
  const tail = text(await one);
  assert.ok(tail.length > 0 && expected.endsWith(tail), tail);
  await sandbox.shell('echo late');
  await sandbox.stop({ timeoutMs: 0 });
  const pieces = await all;
  assert.equal(text(pieces.filter(({ stream }) => stream === 'stdout')), `early\n${expected}late\n`);
  const followed = await cli;
  assert.deepEqual([followed.status, followed.stdout, followed.stderr], [0, `early\n${expected}late\n`, 'wrong\n']);
  for (const index of [0, 1, 5, pieces.length - 1]) {
    const rest = await gather(sandbox.logs({ after: pieces[index]?.position }));
    assert.equal(text(rest), text(pieces.slice(index + 1)), `after ${index}`);
  }
  await assert.rejects(gather(sandbox.logs({ after: 'nonsense' })), failure('INVALID_REQUEST', /log event/));
  await assert.rejects(gather(sandbox.logs({ after: 'nope:1-2' })), failure('EXEC_NOT_FOUND'));
});

eachCaller('without a daemon one is started, by the first call', async (caller) => {
  using scene = createScene(caller);
  const program = `
    import { Connection, Sandbox } from 'sallyport';
    const connection = new Connection({ program: ${JSON.stringify(join(CHECKOUT, 'sallyport'))} });
    const [one, two] = await Promise.all([Sandbox.run({}, { connection }), Sandbox.list({ connection })]);
    const { stdout } = await one.exec('id', ['-u']);
    await one[Symbol.asyncDispose]();
    console.log(stdout.trim(), two.length <= 1, (await connection.status()).sandboxes, connection.socket);`;
  const child = spawn(process.execPath, ['--conditions=sallyport-source', '--input-type=module', '-e', program], {
    cwd: CHECKOUT,
    env: { PATH: SYSTEM_PATH, HOME: scene.home, TMPDIR: scene.tmp, SALLYPORT_WARM: '0' },
    stdio: ['ignore', 'pipe', 'inherit'],
    ...(process.getuid?.() === caller.uid ? {} : { uid: caller.uid, gid: caller.gid }),
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => (output += part));
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  const stopped = await sallyport(['daemon', 'stop', '--sandboxes'], { scene, audit: false });
  assert.equal(status, 0, output);
  const [uid, couldList, left, socket] = output.trim().split(' ');
  assert.match(uid ?? '', /^\d+$/);
  assert.deepEqual([couldList, left, socket], ['true', '0', join(scene.home, '.local/state/sallyport/daemon/socket')]);
  assert.equal(stopped.status, 0, describeRun(stopped));
});

test('stored secrets, named ones and services work from a program, and show no value', async () => {
  await using stage = await createStage();
  const [stored, service, plain] = [newCanary(), newCanary(), newCanary()];
  const hosts = [HOST, 'api.openai.com'];
  await using upstream = await startUpstream({ names: hosts });
  const { connection, call } = stage;
  const set = await secrets.set('API_KEY', { value: stored.value, hosts: [HOST] }, { connection, sandbox: 'worker' });
  assert.deepEqual([set.created, set.secret.sandbox, set.secret.source], [true, 'worker', 'stored']);
  await secrets.set('HF_TOKEN', { plain: true, value: plain.value }, call);
  const listed = await secrets.list(call);
  assert.deepEqual(
    listed.map(({ name, sandbox, kind }) => [name, sandbox, kind]),
    [
      ['HF_TOKEN', null, 'plain'],
      ['API_KEY', 'worker', 'custom'],
    ],
  );
  for (const canary of [stored, plain])
    assertNoCanary(canary, { outputs: { set: inspect(set), listed: inspect(listed) } });
  await assert.rejects(Sandbox.create({ secrets: [Secret.named('NOTHING')] }, call), { code: 'SECRET_NOT_FOUND' });
  await assert.rejects(Sandbox.create({ secrets: [Secret.service('nobody', { value: 'x'.repeat(9) })] }, call), {
    code: 'SERVICE_UNKNOWN',
  });
  await using sandbox = await Sandbox.create(
    {
      name: 'worker',
      secrets: [
        Secret.named('API_KEY', { envVar: 'TOKEN' }),
        Secret.named('HF_TOKEN', { envVar: 'HUGGINGFACE_TOKEN' }),
        Secret.service('openai', { value: service.value }),
      ],
      network: {
        resolve: Object.fromEntries(hosts.map((host) => [`${host}:443`, `127.0.0.1:${upstream.httpsPort}`])),
        upstreamCa: upstream.caFile,
      },
    },
    call,
  );
  const { stdout } = await sandbox.shell(
    `${READ}; curl -sS -m 20 https://api.openai.com/echo > /dev/null; echo "$HUGGINGFACE_TOKEN"`,
  );
  assert.deepEqual(received(upstream), [`Bearer ${stored.value}`, `Bearer ${service.value}`]);
  assert.ok(stdout.endsWith(`${plain.value}\n`));
  const inside = await sandbox.secrets.list();
  assert.deepEqual(
    inside.map(({ name, env, kind, origin }) => [name, env, kind, origin]),
    [
      ['API_KEY', 'TOKEN', 'custom', 'sandbox'],
      ['HF_TOKEN', 'HUGGINGFACE_TOKEN', 'plain', 'global'],
      ['openai', 'OPENAI_API_KEY', 'service', 'environment'],
    ],
  );
  await secrets.remove('API_KEY', { connection, sandbox: 'worker' });
  await assert.rejects(secrets.remove('API_KEY', { connection, sandbox: 'worker' }), { code: 'SECRET_NOT_FOUND' });
  for (const canary of [stored, service]) assertNoCanary(canary, { outputs: { stdout, inside: inspect(inside) } });
});
