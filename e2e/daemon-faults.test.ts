// What the daemon does when what is asked of it is wrong, and when what is around it fails.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { Agent, request as httpRequest } from 'node:http';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { SallyportError, type ExecInfo, type Problem, type SandboxInfo } from '@sallyport/sdk';
import { CHECKOUT, findPresentCaller } from './harness/caller.ts';
import { collectExec, createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { describeRun } from './harness/sallyport.ts';
import { SYSTEM_PATH } from './harness/tools.ts';

const PRESENT = findPresentCaller();
const NEEDS_ROOT = PRESENT.kind !== 'root' && 'needs root';
const EXECS = '/v1/sandboxes/worker/execs';
/** Nothing here may wait forever. */
const LIMIT = { timeout: 120_000 };

async function until(isSo: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  while (!(await isSo())) {
    if (performance.now() > endMs) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}

/** One request as it goes over the wire. */
async function raw(scene: DaemonScene, method: string, path: string, body?: string) {
  return await new Promise<{ status: number | undefined; type: string | undefined; problem: Problem }>((resolve, reject) => {
    const outgoing = httpRequest({ socketPath: scene.socket, method, path, headers: { connection: 'close' } }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('end', () => {
        const problem = (text === '' ? {} : JSON.parse(text)) as Problem;
        resolve({ status: response.statusCode, type: response.headers['content-type'], problem });
      });
    });
    outgoing.once('error', reject);
    outgoing.end(body);
  }); // prettier-ignore
}

async function execInfo(scene: DaemonScene, id: string): Promise<ExecInfo> {
  return await scene.client.ask<ExecInfo>({ method: 'GET', path: `${EXECS}/${id}` });
}

/** Begins a command without waiting for it. */
async function begin(scene: DaemonScene, command: readonly string[], more: object = {}): Promise<ExecInfo> {
  return await scene.client.ask<ExecInfo>({ method: 'POST', path: EXECS, body: { command, ...more } });
}

/** The process id on the host of a process in a sandbox, by its arguments. */
function findProcess(...words: readonly string[]): number | undefined {
  const wanted = `${words.join('\0')}\0`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .find((pid) => readProc(pid, 'cmdline') === wanted);
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}

/** Whether a process has a file of a command open. */
function holdsExec(pid: number, id: string): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`).includes(`/${id}/`));
  } catch {
    return false;
  }
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)$/m.exec(readProc(pid, 'status'))?.[1]);
}

/** The first process of the same process id namespace: everything in the sandbox ends with it. */
function findInit(pid: number): number {
  const namespace = readlinkSync(`/proc/${pid}/ns/pid`);
  const found = readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number).find((each) => {
    try {
      return readlinkSync(`/proc/${each}/ns/pid`) === namespace && /^NSpid:.*\t1$/m.test(readProc(each, 'status'));
    } catch {
      return false;
    }
  }); // prettier-ignore
  assert.ok(found !== undefined);
  return found;
}

const HOSTILE_NAMES = [
  'a/b',
  '..',
  '../worker',
  '.',
  'Upper',
  'x'.repeat(300),
  '🚀',
  'a b',
  '-rf',
  'a\nb',
  '%2e%2e',
  'wörker',
  '\u202eabc',
];

test('names that are none are refused by every command, in words and with status 2', LIMIT, async () => {
  await using scene = await createDaemonScene(PRESENT);
  for (const name of HOSTILE_NAMES) {
    const created = await scene.cli(['create', '--no-workspace', `--name=${name}`]);
    assert.equal(created.status, 2, describeRun(created));
    assert.match(created.stderr, /\[INVALID_NAME\]\n$/);
    assert.ok(created.stderr.length < 400, 'a long name is cut');
  }
  // Each command once: they find sandboxes in the same way.
  const uses = [['inspect'], ['start'], ['stop'], ['rm', '-f'], ['logs'], ['stats'], ['events'], ['attach'], ['exec']];
  for (const [index, words] of uses.entries()) {
    const name = HOSTILE_NAMES[index] ?? '';
    const result = await scene.cli([...words, ...(words[0] === 'exec' ? [name, '--', 'true'] : [name])]);
    assert.equal(result.status, 2, `${words.join(' ')} ${name}: ${describeRun(result)}`);
    assert.match(result.stderr, /\[(?:SANDBOX_NOT_FOUND|INVALID_REQUEST|USAGE)\]\n$/);
  }
  assert.equal((await scene.cli(['ls', '--json'])).stdout, '[]\n');
});

test('over the wire: 409 for a name that is taken, 400 with the path of each field, 404, 405, 413', LIMIT, async () => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker', start: false });
  const post = async (path: string, body: unknown) => await raw(scene, 'POST', path, JSON.stringify(body));
  const taken = await post('/v1/sandboxes', { name: 'worker' });
  assert.deepEqual([taken.status, taken.type, taken.problem.code], [409, 'application/problem+json', 'SANDBOX_EXISTS']);
  assert.match(taken.problem.detail, /Choose another name, use that one, or remove it: sallyport rm worker/);
  const viaCli = await scene.cli(['create', '--no-workspace', '--name', 'worker']);
  assert.deepEqual([viaCli.status, viaCli.stdout], [2, '']);
  assert.match(viaCli.stderr, /Choose another name.*\[SANDBOX_EXISTS\]/);

  const broken: readonly (readonly [unknown, readonly string[]])[] = [
    [{ name: 7 }, ['name']],
    [{ env: { 'A-B': 'x' } }, ['env.A-B']],
    [{ limits: { pids: 1, cpus: 'many' } }, ['limits.cpus', 'limits.pids']],
    [{ secrets: [{ source: 'value', env: 'A', value: 'long enough', allowHosts: ['x.example', 7] }] }, ['secrets[0].allowHosts[1]']],
    [{ volumes: [{ source: 'relative', destination: '/x' }] }, ['volumes[0].source']],
    [{ unknown: true, lifetimeMs: -1 }, ['', 'lifetimeMs']],
    [[], ['']],
  ]; // prettier-ignore
  for (const [body, paths] of broken) {
    const { status, problem } = await post('/v1/sandboxes', body);
    assert.deepEqual([status, problem.code], [400, 'INVALID_REQUEST'], JSON.stringify(problem));
    assert.deepEqual(problem.errors?.map(({ path }) => path).toSorted(), paths, JSON.stringify(problem));
  }
  assert.equal((await raw(scene, 'POST', '/v1/sandboxes', '{"name": "a"')).status, 400);
  assert.equal((await raw(scene, 'POST', '/v1/sandboxes', '\0')).status, 400);
  const secret = await raw(scene, 'POST', '/v1/sandboxes', '{"secrets": "hunter2-hunter2"');
  assert.ok(!JSON.stringify(secret.problem).includes('hunter2'), 'a body is never quoted');
  assert.equal((await raw(scene, 'GET', '/v1/sandboxes/nobody')).status, 404);
  assert.equal((await raw(scene, 'PUT', '/v1/sandboxes')).status, 405);
  assert.equal((await raw(scene, 'GET', '/v1/sandboxes/%ff')).status, 404);
  assert.equal((await raw(scene, 'GET', '/v1/sandboxes/../daemon')).status, 404);
  assert.equal((await raw(scene, 'POST', '/v1/sandboxes', ' '.repeat(9 * 1024 * 1024))).status, 413);
  const stopped = await post(EXECS, { command: ['true'] });
  assert.deepEqual([stopped.status, stopped.problem.code], [409, 'SANDBOX_NOT_RUNNING']);
  const viaExec = await scene.cli(['exec', 'worker', '--', 'true']);
  assert.equal(viaExec.status, 2);
  assert.match(viaExec.stderr, /does not run \(it is created\). Start it first/);
});

test('of two clients that remove one sandbox, one is told that it is gone', LIMIT, async () => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker' });
  const results = await Promise.all([scene.cli(['rm', '-f', 'worker']), scene.cli(['rm', '-f', 'worker'])]);
  const statuses = results.map(({ status }) => status).toSorted((a, b) => Number(a) - Number(b));
  assert.deepEqual(statuses, [0, 2], results.map((result) => describeRun(result)).join('\n'));
  assert.match(results.map(({ stderr }) => stderr).join(''), /\[(?:SANDBOX_NOT_FOUND|SANDBOX_BUSY)\]\n$/);
  assert.equal((await scene.cli(['ls', '-q'])).stdout, '');
  await scene.create({ name: 'worker', start: false });
});

test('what is killed from outside is told of: a command, its supervisor, a whole sandbox', LIMIT, async () => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker' });
  const markers = [0, 1, 2].map((index) => String(70_000 + index + process.pid / 1_000_000));
  const [command, supervised, inSandbox] = await Promise.all(
    markers.map(async (marker) => await begin(scene, ['sleep', marker])),
  );
  const pidOf = async (marker = ''): Promise<number> => {
    let pid: number | undefined;
    assert.ok(await until(() => (pid = findProcess('sleep', marker)) !== undefined));
    return pid ?? 0;
  };
  process.kill(await pidOf(markers[0]), 'SIGKILL');
  assert.ok(await until(async () => (await execInfo(scene, command!.id)).state === 'exited'));
  assert.equal((await execInfo(scene, command!.id)).exitCode, 137);

  // Its supervisor: what it held is ended, and whoever waits for it is told.
  const waiting = scene.client.events({ method: 'GET', path: `${EXECS}/${supervised!.id}/events` });
  const supervisor = parentOf(await pidOf(markers[1]));
  assert.equal(readProc(supervisor, 'comm'), 'conmon\n');
  process.kill(supervisor, 'SIGKILL');
  const outcome = await collectExec(waiting);
  assert.equal(outcome.exitCode, 137);
  assert.match((await execInfo(scene, supervised!.id)).reason ?? '', /ended from outside/);
  assert.ok(await until(() => findProcess('sleep', markers[1] ?? '') === undefined), 'the command goes with it');

  process.kill(findInit(await pidOf(markers[2])), 'SIGKILL');
  const ended = await scene.client.ask<SandboxInfo>({
    method: 'GET',
    path: '/v1/sandboxes/worker/wait?timeoutMs=20000',
  });
  assert.deepEqual([ended.state, ended.gate], ['failed', 'closed']);
  assert.match(ended.reason ?? '', /killed/);
  assert.equal((await execInfo(scene, inSandbox!.id)).exitCode, 137);
  assert.equal((await scene.cli(['start', 'worker'])).stdout, 'worker\n');
  assert.equal((await scene.exec('worker', ['echo', 'again'])).stdout, 'again\n');
});

test(
  'a supervisor that is killed while no daemon looks, or after the next one came, ends its command',
  LIMIT,
  async () => {
    await using scene = await createDaemonScene(PRESENT);
    await scene.create({ name: 'worker' });
    const markers = [3, 4, 5].map((index) => String(70_000 + index + process.pid / 1_000_000));
    const [away, after, spared] = await Promise.all(
      markers.map(async (marker) => await begin(scene, ['sleep', marker], { stdin: marker === markers[2] })),
    );
    const supervisorOf = async (marker = ''): Promise<number> => {
      let pid: number | undefined;
      assert.ok(await until(() => (pid = findProcess('sleep', marker)) !== undefined));
      const supervisor = parentOf(pid ?? 0);
      assert.equal(readProc(supervisor, 'comm'), 'conmon\n');
      return supervisor;
    };
    const supervisors = await Promise.all(markers.map(supervisorOf));
    await scene.killDaemon();
    process.kill(supervisors[0] ?? 0, 'SIGKILL');
    await scene.startDaemon();
    const waiting = scene.client.events({ method: 'GET', path: `${EXECS}/${after!.id}/events` });
    process.kill(supervisors[1] ?? 0, 'SIGKILL');
    assert.equal((await collectExec(waiting)).exitCode, 137);
    assert.ok(await until(async () => (await execInfo(scene, away!.id)).state === 'exited'));
    for (const exec of [away, after]) {
      const { exitCode, reason } = await execInfo(scene, exec!.id);
      assert.deepEqual([exitCode, /ended from outside/.test(reason ?? '')], [137, true]);
    }
    assert.equal((await execInfo(scene, spared!.id)).state, 'running');
    assert.ok(await until(() => markers.slice(0, 2).every((marker) => findProcess('sleep', marker) === undefined)));
    assert.notEqual(findProcess('sleep', markers[2] ?? ''), undefined);
    await scene.client.ask({ method: 'POST', path: `${EXECS}/${spared!.id}/signal`, body: { signal: 'SIGTERM' } });
    assert.ok(await until(async () => (await execInfo(scene, spared!.id)).exitCode === 143), 'its own is still heard');

    // The container's first process alone, which holds nothing that a command does.
    const marker = String(70_006 + process.pid / 1_000_000);
    await begin(scene, ['sleep', marker]);
    assert.ok(await until(() => findProcess('sleep', marker) !== undefined));
    const first = findInit(findProcess('sleep', marker) ?? 0);
    await scene.killDaemon();
    process.kill(first, 'SIGKILL');
    await scene.startDaemon();
    assert.ok(await until(async () => (await scene.inspect('worker')).state === 'failed'));
  },
);

test('a runtime that fails to start leaves a sandbox that says why, and starts when it is mended', LIMIT, async () => {
  await using scene = await createDaemonScene(PRESENT);
  const runtime = join(scene.tmp, 'runc');
  const runc = spawnSync('sh', ['-c', 'command -v runc'], {
    encoding: 'utf8',
    env: { PATH: SYSTEM_PATH },
  }).stdout.trim();
  const breaks = () => writeFileSync(runtime, '#!/bin/sh\necho "out of order" >&2\nexit 1\n');
  breaks();
  chmodSync(runtime, 0o755);
  // The sandbox's user executes it.
  for (const folder of [scene.root, scene.tmp]) chmodSync(folder, 0o755);
  await scene.create({ name: 'worker', runtime, start: false });
  const failed = await scene.cli(['start', 'worker']);
  assert.deepEqual([failed.status, failed.stdout], [125, ''], describeRun(failed));
  assert.match(failed.stderr, /\[SANDBOX_FAILED\]\n$/);
  const info = await scene.inspect('worker');
  assert.deepEqual([info.state, info.gate], ['failed', 'closed']);
  assert.ok((info.reason ?? '').length > 10);
  writeFileSync(runtime, `#!/bin/sh\nexec ${runc} "$@"\n`);
  const mended = await scene.cli(['start', 'worker']);
  assert.equal(mended.status, 0, describeRun(mended));
  assert.equal((await scene.exec('worker', ['echo', 'mended'])).stdout, 'mended\n');
});

test(
  'a full disk refuses what is new, keeps what is there, and is no end',
  { ...LIMIT, skip: NEEDS_ROOT },
  async () => {
    await using scene = await createDaemonScene(PRESENT);
    assert.equal((await scene.cli(['daemon', 'stop'])).status, 0);
    const state = join(scene.tmp, 'state');
    mkdirSync(state);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=24m,mode=700', 'tmpfs', state], {
      encoding: 'utf8',
    });
    assert.equal(mounted.status, 0, mounted.stderr);
    const env = { XDG_STATE_HOME: state };
    const cli = async (...args: readonly string[]) => await scene.cli(args, { env });
    try {
      const made = await cli('create', '--name', 'worker', '--no-workspace');
      assert.equal(made.status, 0, describeRun(made));
      const filler = join(state, 'filler');
      spawnSync('sh', ['-c', `head -c 64m /dev/zero > ${filler}; while echo x >> ${filler}; do :; done`], {
        stdio: 'ignore',
      });
      for (let round = 0; round < 3; round += 1) {
        const refused = await cli('create', '--name', 'another', '--no-workspace');
        assert.equal(refused.status, 125, describeRun(refused));
        assert.match(refused.stderr, /\[(?:STATE_FAILED|SANDBOX_FAILED|AUDIT_FAILED|AIRLOCK_FAILED)\]\n$/);
      }
      const exec = await cli('exec', 'worker', '--', 'echo', 'out');
      assert.ok(exec.status === 0 ? exec.stdout === 'out\n' : exec.status === 125, describeRun(exec));
      const listed = await cli('ls');
      assert.match(listed.stdout, /^worker +running/m, 'the daemon goes on');
      rmSync(filler);
      const after = await cli('exec', 'worker', '--', 'echo', 'room again');
      assert.equal(after.stdout, 'room again\n', describeRun(after));
      const another = await cli('create', '--name', 'another', '--no-workspace');
      assert.equal(another.status, 0, describeRun(another));
      const restarted = await cli('daemon', 'restart');
      assert.equal(restarted.status, 0, describeRun(restarted));
      assert.equal((await cli('ls', '-q')).stdout, 'worker\nanother\n');
    } finally {
      const stopped = await cli('daemon', 'stop', '--sandboxes');
      spawnSync('umount', ['--lazy', state]);
      assert.equal(stopped.status, 0, describeRun(stopped));
    }
  },
);

test(
  'clocks that jump end no command and no sandbox early and none late, also where the daemon is restarted in between',
  LIMIT,
  async () => {
    await using scene = await createDaemonScene(PRESENT);
    const offset = join(scene.tmp, 'clock-offset');
    /** The daemon, with a time of day that the test sets. */
    const restart = async (): Promise<void> => {
      assert.equal((await scene.cli(['daemon', 'stop'])).status, 0);
      const child = spawn(
      process.execPath,
      ['--conditions=sallyport-source', '--import', join(import.meta.dirname, 'harness/fake-clock.mjs'), '--', join(CHECKOUT, 'packages/runtime/src/cli/main.ts'), 'daemon', 'run'],
      { cwd: '/', detached: true, stdio: 'ignore', env: { PATH: SYSTEM_PATH, HOME: scene.home, TMPDIR: scene.tmp, SALLYPORT_WARM: '0' } },
    ); // prettier-ignore
      child.unref();
      assert.ok(await until(async () => await scene.status().then(() => true, () => false)), 'the daemon answers'); // prettier-ignore
    };
    await restart();
    await scene.create({ name: 'worker' });
    await scene.create({ name: 'longer', lifetimeMs: 600_000 });
    await scene.create({ name: 'brief', lifetimeMs: 9_000 });
    const DAY_MS = 86_400_000;
    const first = await begin(scene, ['sleep', '600'], { timeoutMs: 600_000 });
    const soon = await begin(scene, ['sleep', '600'], { timeoutMs: 4_000 });
    for (const jump of [DAY_MS, -3 * DAY_MS]) {
      writeFileSync(offset, String(jump));
      await restart();
      assert.equal((await execInfo(scene, first.id)).state, 'running', `after a jump of ${jump} ms`);
      assert.equal((await scene.inspect('longer')).state, 'running', `after a jump of ${jump} ms`);
      assert.equal((await scene.exec('worker', ['echo', 'fine'], { timeoutMs: 30_000 })).stdout, 'fine\n');
    }
    assert.ok(await until(async () => (await execInfo(scene, soon.id)).timedOut), 'its time passes all the same');
    assert.ok(
      await until(async () => (await scene.inspect('brief')).state === 'stopped'),
      'and so does that of a sandbox',
    );
    assert.equal((await scene.inspect('longer')).state, 'running');
    assert.equal((await scene.cli(['ls', '-q'])).stdout, 'worker\nlonger\nbrief\n', 'in the order of their making');
    const { execs } = await scene.client.ask<{ execs: ExecInfo[] }>({ method: 'GET', path: EXECS });
    assert.deepEqual(
      execs.slice(0, 2).map(({ id }) => id),
      [first.id, soon.id],
      'the order is that of their beginning',
    );
    const events: number[] = [];
    for await (const { data } of scene.client.events({ method: 'GET', path: '/v1/events' }))
      events.push((JSON.parse(data) as { id: number }).id);
    assert.deepEqual(
      events,
      events.toSorted((a, b) => a - b),
    );
  },
);

test('a thousand commands, many at a time', { timeout: 600_000 }, async (context) => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker' });
  const total = Number(process.env['SALLYPORT_TEST_EXECS'] ?? 1_000);
  const atATime = Math.min(total, 50 * availableParallelism());
  const startedAtMs = performance.now();
  let next = 0;
  const failures: string[] = [];
  await Promise.all(
    Array.from({ length: atATime }, async () => {
      while (next < total) {
        const index = next++;
        const { exitCode, stdout } = await scene.exec('worker', ['sh', '-c', `echo ${index}; exit ${index % 100}`]);
        if (exitCode !== index % 100 || stdout !== `${index}\n`) failures.push(`${index}: ${exitCode} ${stdout}`);
      }
    }),
  );
  assert.deepEqual(failures, []);
  const seconds = (performance.now() - startedAtMs) / 1000;
  context.diagnostic(`${total} commands, ${atATime} at a time: ${seconds.toFixed(1)} s`);
  const status = await scene.status();
  assert.equal(status.runningExecs, 0);
  const { execs } = await scene.client.ask<{ execs: ExecInfo[] }>({ method: 'GET', path: EXECS });
  assert.ok(execs.length <= 200 + 1, `${execs.length} are kept`);
});

test(
  '10 MB a second into a reader that stops reading: the memory of the daemon stays flat',
  { timeout: 180_000 },
  async (context) => {
    await using scene = await createDaemonScene(PRESENT);
    await scene.create({ name: 'worker' });
    const stop = new AbortController();
    const command = [
      'sh',
      '-c',
      'i=0; while [ $i -lt 100 ]; do head -c 1000000 /dev/zero | tr "\\\\0" x; echo; i=$((i+1)); sleep 0.08; done; echo end > /tmp/end',
    ];
    const events = scene.client.events({ method: 'POST', path: EXECS, body: { command }, signal: stop.signal });
    const first = await events.next();
    assert.ok(first.done !== true && first.value.type === 'started');
    const { exec } = JSON.parse(first.value.data) as { exec: ExecInfo };
    const samples: number[] = [];
    while ((await execInfo(scene, exec.id)).state === 'running' && samples.length < 240) {
      samples.push((await scene.status()).memoryBytes);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    assert.equal((await execInfo(scene, exec.id)).exitCode, 0, 'the command is not held up');
    const quarter = Math.ceil(samples.length / 4);
    const early = Math.max(...samples.slice(0, quarter));
    const late = Math.max(...samples.slice(-quarter));
    context.diagnostic(`100 MB; the daemon had ${Math.round(early / 1e6)} MB early, ${Math.round(late / 1e6)} MB late`);
    assert.ok(late - early < 30_000_000, samples.join(' '));
    stop.abort();
    await events.return?.().catch(() => undefined);
    assert.equal((await scene.exec('worker', ['cat', '/tmp/end'])).stdout, 'end\n');
    assert.ok(existsSync(join(scene.stateDirectory, 'sandboxes')));
  },
);

test('input that comes when a command has ended is told so, however late it comes', LIMIT, async () => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker' });
  for (const terminal of [undefined, { columns: 80, rows: 24 }]) {
    const exec = await begin(scene, ['sh', '-c', 'read line; exit 4'], { stdin: true, terminal });
    let status: number | undefined;
    let text = '';
    const outgoing = httpRequest({ socketPath: scene.socket, method: 'POST', path: `${EXECS}/${exec.id}/stdin` });
    outgoing.on('response', (response) => {
      status = response.statusCode;
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
    });
    outgoing.on('error', () => undefined);
    outgoing.write('one\n');
    assert.ok(await until(async () => (await execInfo(scene, exec.id)).exitCode === 4));
    outgoing.end('two\n');
    assert.ok(await until(() => status !== undefined && text.endsWith('}')));
    assert.deepEqual([status, (JSON.parse(text) as Problem).code], [409, 'EXEC_ENDED']);
  }
});

test('a connection is good for another request after one whose body nobody took', LIMIT, async () => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker' });
  const exec = await begin(scene, ['sh', '-c', 'exec <&-; sleep 1'], { stdin: true });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = async (method: string, path: string, body?: Buffer): Promise<number | undefined> =>
    await new Promise((resolve, reject) => {
      const outgoing = httpRequest({ socketPath: scene.socket, agent, method, path }, (response) => {
        response.resume().once('end', () => resolve(response.statusCode));
      });
      outgoing.once('error', reject);
      outgoing.end(body);
    });
  try {
    assert.equal(await ask('POST', `${EXECS}/${exec.id}/stdin?end=false`, Buffer.alloc(3_000_000, 'x')), 409);
    assert.equal(await ask('GET', `${EXECS}/${exec.id}`), 200);
    assert.equal(await ask('POST', '/v1/sandboxes', Buffer.alloc(12_000_000, ' ')), 413);
    assert.equal(await ask('GET', `${EXECS}/${exec.id}`), 200);
  } finally {
    agent.destroy();
  }
});

test('a command whose arguments the kernel would not take is refused in words', LIMIT, async () => {
  await using scene = await createDaemonScene(PRESENT, 1);
  await scene.create({ name: 'worker' });
  const most = 128 * 1024 - 1;
  const length = await scene.exec('worker', ['sh', '-c', 'echo ${#1}', 'sh', 'x'.repeat(most)]);
  assert.equal(length.stdout, `${most}\n`, length.stderr);
  for (const more of [{}, { workdir: '/tmp' }, { terminal: { columns: 80, rows: 24 } }]) {
    for (const command of [
      ['true', 'x'.repeat(most + 1)],
      ['true', 'é'.repeat(most / 2 + 1)],
      ['true', ...Array.from({ length: 20 }, () => 'x'.repeat(100_000))],
    ]) {
      await assert.rejects(scene.exec('worker', command, more), {
        code: 'EXEC_FAILED',
        message: /bytes.*standard input/,
      });
    }
    const env = { LONG: 'x'.repeat(most) };
    await assert.rejects(scene.exec('worker', ['true'], { env, ...more }), { code: 'EXEC_FAILED' });
    const many = Array.from({ length: 15 }, () => 'x'.repeat(100_000));
    assert.equal((await scene.exec('worker', ['sh', '-c', 'exit $#', 'sh', ...many], more)).exitCode, 15);
  }
});

test('a command at a terminal takes keys from the next daemon as well', LIMIT, async () => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker' });
  const script = 'while read line; do echo "got $line"; done; echo over';
  const exec = await begin(scene, ['sh', '-c', script], { stdin: true, terminal: { columns: 80, rows: 24 } });
  const type = async (text: string, end = false): Promise<void> => {
    const content = Readable.from([Buffer.from(text)]);
    await scene.client.ask({ method: 'POST', path: `${EXECS}/${exec.id}/stdin?end=${end}`, content });
  };
  const screen = async (): Promise<string> => (await scene.cli(['logs', 'worker'])).stdout;
  await type('one\n');
  assert.ok(await until(async () => (await screen()).includes('got one')));
  await scene.killDaemon();
  await scene.startDaemon();
  await type('two\n');
  assert.ok(await until(async () => (await screen()).includes('got two')));
  assert.equal((await scene.cli(['daemon', 'restart'])).status, 0);
  assert.equal((await execInfo(scene, exec.id)).state, 'running');
  await type('three\n', true);
  assert.ok(await until(async () => (await execInfo(scene, exec.id)).state === 'exited'));
  assert.match(await screen(), /got one\r\n[^]*got two\r\n[^]*got three\r\nover/);
});

test(
  'what reads a pipe gets the rest of its input from the next daemons, and its end from nobody but a client',
  LIMIT,
  async () => {
    await using scene = await createDaemonScene(PRESENT, 1);
    await scene.create({ name: 'worker' });
    const commands = [['sh', '-c', 'cat; echo over'], ['cat']];
    const execs = await Promise.all(commands.map(async (command) => await begin(scene, command, { stdin: true })));
    const write = async (text: string, end = false): Promise<void> => {
      for (const { id } of execs) {
        const content = Readable.from([Buffer.from(text)]);
        await scene.client.ask({ method: 'POST', path: `${EXECS}/${id}/stdin?end=${end}`, content });
      }
    };
    await write('one\n');
    for (const text of ['two\n', 'three\n']) {
      await scene.killDaemon();
      await scene.startDaemon();
      for (const { id } of execs) assert.equal((await execInfo(scene, id)).state, 'running');
      await write(text);
    }
    assert.equal((await scene.cli(['daemon', 'restart'])).status, 0);
    await write('four\n', true);
    const outcomes = await Promise.all(
      execs.map(
        async ({ id }) => await collectExec(scene.client.events({ method: 'GET', path: `${EXECS}/${id}/events` })),
      ),
    );
    assert.deepEqual(
      outcomes.map(({ exitCode, stdout }) => [exitCode, stdout]),
      [
        [0, 'one\ntwo\nthree\nfour\nover\n'],
        [0, 'one\ntwo\nthree\nfour\n'],
      ],
    );
    // What has kept it goes with the command.
    const keeper = (): boolean =>
      readdirSync('/proc').some((name) => /^\d+$/.test(name) && holdsExec(Number(name), execs[0]!.id));
    assert.ok(await until(() => !keeper()), 'nothing is left');
  },
);

test('a client that vanishes in the middle of its own request leaves nothing half done', LIMIT, async () => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker' });
  const send = async (method: string, path: string, part: string): Promise<void> => {
    const outgoing = httpRequest({ socketPath: scene.socket, method, path, headers: { 'content-length': 1_000_000 } });
    outgoing.on('error', () => undefined);
    outgoing.write(part);
    await new Promise((resolve) => setTimeout(resolve, 700));
    outgoing.destroy();
  };
  await scene.exec('worker', ['sh', '-c', 'echo before > /tmp/file']);
  await send('POST', '/v1/sandboxes', '{"name": "half');
  await send('PUT', '/v1/sandboxes/worker/files/content?path=/tmp/file', 'half of it');
  assert.ok(
    await until(
      async () => (await scene.exec('worker', ['sh', '-c', 'ls -A /tmp; cat /tmp/file'])).stdout === 'file\nbefore\n',
    ),
  );
  // Of unknown length, with a beginning that was taken already.
  const chunked = httpRequest({
    socketPath: scene.socket,
    method: 'PUT',
    path: '/v1/sandboxes/worker/files/content?path=/tmp/file',
    headers: { 'transfer-encoding': 'chunked' },
  });
  chunked.on('error', () => undefined);
  chunked.write('half of it');
  const half = async (): Promise<string> =>
    (await scene.exec('worker', ['sh', '-c', 'ls -A /tmp; cat /tmp/file'])).stdout;
  assert.ok(await until(async () => (await half()).includes('.sallyport-')));
  chunked.destroy();
  assert.ok(await until(async () => (await half()) === 'file\nbefore\n'), await half());

  // What nobody will ever write to cannot be read; what is exchanged for it meanwhile is nobody's wait.
  await scene.exec('worker', ['mkfifo', '/tmp/pipe']);
  const content = '/v1/sandboxes/worker/files/content?path=/tmp/pipe';
  await assert.rejects(scene.client.bytes({ method: 'GET', path: content }), {
    code: 'FILE_FAILED',
    message: /is a pipe/,
  });
  await scene.exec('worker', ['rm', '/tmp/pipe']);
  // A directory that may not be looked into is not one with itself in it.
  await scene.exec('worker', ['mkdir', '-m', '0', '/tmp/closed']);
  const entries = '/v1/sandboxes/worker/files/entries?path=/tmp/closed';
  await assert.rejects(scene.client.ask({ method: 'GET', path: entries }), { code: 'FILE_FAILED', message: /closed/ });
  await scene.exec('worker', ['rmdir', '/tmp/closed']);
  const cat = await begin(scene, ['sh', '-c', 'head -n 1; head -n 1'], { stdin: true });
  await send('POST', `${EXECS}/${cat.id}/stdin`, 'one\n');
  assert.equal((await execInfo(scene, cat.id)).state, 'running', 'its input is still open');
  const rest = await scene.cli(['attach', '-i', 'worker', cat.id], { stdin: 'two\n' });
  assert.deepEqual([rest.status, rest.stdout], [0, 'one\ntwo\n'], describeRun(rest));
  await assert.rejects(
    scene.inspect('half'),
    (error: unknown) => error instanceof SallyportError && error.code === 'SANDBOX_NOT_FOUND',
  );
});
