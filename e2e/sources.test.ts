import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { MIN_DROP_INTERVAL_MS } from '../packages/runtime/src/sources/cached-source.ts';
import { startStandIn } from '../packages/runtime/src/sources/sources.testing.ts';
import { eachCaller, findPresentCaller } from './harness/caller.ts';
import { assertNoCanary, newCanary, type Canary } from './harness/canary.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { headerValues } from './harness/recording.ts';
import { describeRun } from './harness/sallyport.ts';
import { startUpstream, type Upstream } from './harness/upstream.ts';

const HOST = 'api.example.com';
const WORKER = 'worker';
/** So many requests with a value that is not accepted have to come before one of them is answered. */
const REFUSED_AT_ONCE = 4;

/** A host that takes some values and no others, and shows in its answer what it was sent. */
interface PickyUpstream extends Upstream {
  readonly accepted: Set<string>;
}

async function startPickyUpstream(): Promise<PickyUpstream> {
  const accepted = new Set<string>();
  const refusals: (() => void)[] = [];
  const upstream = await startUpstream({
    names: [HOST],
    handler: (request, response) => {
      const [, value = ''] = (request.headers.authorization ?? '').split(' ');
      if (accepted.has(value)) {
        response.writeHead(200, { 'X-Sent': value });
        response.end(`accepted ${[...accepted].join(' ')}`);
        return true;
      }
      refusals.push(() => {
        response.writeHead(401, { 'X-Sent': value });
        response.end(`refused ${value}`);
      });
      if (refusals.length === REFUSED_AT_ONCE) {
        const [first, ...others] = refusals.splice(0);
        first?.();
        // These are refused when the first has had another value fetched already.
        setTimeout(() => others.forEach((refuse) => refuse()), 1500);
      }
      return true;
    },
  });
  return Object.assign(upstream, { accepted });
}

/** A command that prints what a file holds, and keeps count. */
class CountedCommand {
  readonly #value: string;
  readonly #count: string;
  readonly text: string;

  constructor(scene: DaemonScene, name: string) {
    this.#value = join(scene.home, `${name}.value`);
    this.#count = join(scene.home, `${name}.count`);
    // Time for others to come.
    this.text = `echo x >> ${this.#count}; sleep 0.3; cat ${this.#value}`;
  }

  set value(text: string) {
    writeFileSync(this.#value, `${text}\n`, { mode: 0o644 });
  }

  get count(): number {
    return existsSync(this.#count) ? readFileSync(this.#count, 'utf8').length / 2 : 0;
  }
}

async function succeed(scene: DaemonScene, args: readonly string[]): Promise<string> {
  const result = await scene.cli(args);
  assert.equal(result.status, 0, `${args.join(' ')}: ${describeRun(result)}`);
  return result.stdout + result.stderr;
}

async function setCommand(scene: DaemonScene, command: string, ...more: string[]): Promise<string> {
  return await succeed(scene, [
    'secret', 'set-custom', '-g', '--force', '--host', HOST, '--env', 'API_KEY', '--command', command, ...more,
  ]); // prettier-ignore
}

/** Requests from inside, all at once; their statuses and bodies. */
async function ask(scene: DaemonScene, count = 1, method = 'GET'): Promise<{ statuses: number[]; text: string }> {
  const curl = `curl -sS -m 20 -X ${method} -w '\n@@%{http_code}\n' -H "Authorization: Bearer $API_KEY" https://${HOST}/`;
  const script = `for i in $(seq ${count}); do (${curl}) > /tmp/out.$i 2>&1 & done; wait; cat /tmp/out.*; rm /tmp/out.*`;
  const { stdout, stderr, exitCode } = await scene.exec(WORKER, ['sh', '-c', script]);
  assert.equal(exitCode, 0, stdout + stderr);
  const statuses = [...stdout.matchAll(/^@@(\d+)$/gm)].map(([, status]) => Number(status));
  assert.equal(statuses.length, count, stdout + stderr);
  return { statuses, text: stdout + stderr };
}

const sentValues = (upstream: Upstream): string[] =>
  upstream.requests.flatMap((request) =>
    headerValues(request, 'authorization').map((text) => text.replace('Bearer ', '')),
  );

/** Nothing of the values, and nothing that a command printed, is in what the sandbox saw or what Sallyport wrote. */
function assertHidden(scene: DaemonScene, canaries: readonly Canary[], texts: Record<string, string>): void {
  for (const canary of canaries) assertNoCanary(canary, { outputs: texts, files: [scene.stateDirectory] });
}

/** The names of the variables that the daemon has. */
async function daemonVariables(scene: DaemonScene): Promise<Set<string>> {
  const { pid } = await scene.status();
  const lines = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  return new Set(lines.map((line) => line.slice(0, line.indexOf('='))));
}

eachCaller('the daemon gets the settings of sources, and of credentials what is named', async (caller) => {
  await using scene = await createDaemonScene(caller);
  const env = { VAULT_ADDR: 'https://vault.example', VAULT_TOKEN: 'first', OP_SERVICE_ACCOUNT_TOKEN: 'second' };
  const restart = async (...args: string[]): Promise<Set<string>> => {
    const result = await scene.cli(['daemon', 'restart', ...args], { env });
    assert.equal(result.status, 0, describeRun(result));
    return await daemonVariables(scene);
  };
  const plain = await restart();
  assert.deepEqual(
    Object.keys(env).map((name) => plain.has(name)),
    [true, false, false],
  );
  const named = await restart('--env', 'VAULT_TOKEN');
  assert.deepEqual(
    Object.keys(env).map((name) => named.has(name)),
    [true, true, false],
  );

  const running = await scene.cli(['daemon', 'start', '--env', 'VAULT_TOKEN'], { env });
  assert.equal(running.status, 2, describeRun(running));
  assert.match(running.stderr, /runs already.*daemon restart/);
  const { pid } = await scene.status();
  for (const word of ['UNSET_VARIABLE', 'VAULT_TOKEN=canary-of-a-command-line']) {
    const refused = await scene.cli(['daemon', 'restart', '--env', word], { env });
    assert.equal(refused.status, 2, describeRun(refused));
    assert.doesNotMatch(refused.stderr, /canary-of-a/);
  }
  assert.equal((await scene.status()).pid, pid, 'a daemon was stopped for nothing');
});

eachCaller(
  'a command is asked once for all requests that wait, and again when its value has had its time',
  async (caller) => {
    const [first, second] = [newCanary(), newCanary()];
    await using scene = await createDaemonScene(caller);
    await using upstream = await startPickyUpstream();
    const source = new CountedCommand(scene, 'key');
    source.value = first.value;
    upstream.accepted.add(first.value);
    await setCommand(scene, source.text, '--no-verify', '--refresh', '2s');
    await succeed(scene, ['create', '--name', WORKER, '--no-workspace', ...upstream.flags()]);
    await scene.exec(WORKER, ['true']);
    assert.equal(source.count, 0, 'it is not asked before a request needs it');

    const many = await ask(scene, 20);
    assert.deepEqual(
      many.statuses,
      Array.from({ length: 20 }, () => 200),
    );
    assert.deepEqual(new Set(sentValues(upstream)), new Set([first.value]));
    assert.equal(source.count, 1);

    source.value = second.value;
    upstream.accepted.add(second.value);
    upstream.clear();
    await wait(2100);
    const later = await ask(scene, 5);
    assert.equal(source.count, 2);
    assert.deepEqual(
      new Set(sentValues(upstream)),
      new Set([second.value]),
      'the value whose time is over is not sent',
    );
    assert.match(later.text, /accepted sp_API_KEY_\w{22} sp_API_KEY_\w{22}/, 'both values are redacted');

    const tested = await succeed(scene, ['secret', 'test', '-g', 'API_KEY']);
    const listed = await succeed(scene, ['secret', 'ls']);
    assertHidden(scene, [first, second], { many: many.text, later: later.text, tested, listed });
  },
);

eachCaller('a command that fails is a 502 that names the secret, and nothing that it printed', async (caller) => {
  const [value, noise] = [newCanary(), newCanary()];
  await using scene = await createDaemonScene(caller);
  await using upstream = await startPickyUpstream();
  upstream.accepted.add(value.value);
  const count = join(scene.home, 'count');
  const failing = `echo x >> ${count}; echo ${noise.value.slice(0, 9)}''${noise.value.slice(9)}; echo ${noise.value.slice(0, 9)}''${noise.value.slice(9)} >&2; exit 3`;
  const refused = await scene.cli([
    'secret',
    'set-custom',
    '-g',
    '--host',
    HOST,
    '--env',
    'API_KEY',
    '--command',
    failing,
  ]);
  assert.equal(refused.status, 125, describeRun(refused));
  assert.match(refused.stderr, /status 3.*hidden.*\[SOURCE_FAILED\]/);
  await setCommand(scene, failing, '--no-verify');
  await succeed(scene, ['create', '--name', WORKER, '--no-workspace', ...upstream.flags()]);

  const before = readFileSync(count, 'utf8').length;
  const failed = await ask(scene, 10);
  assert.deepEqual(
    failed.statuses,
    Array.from({ length: 10 }, () => 502),
  );
  assert.match(failed.text, /"code":"SECRET_UNAVAILABLE"/);
  assert.match(failed.text, /API_KEY/);
  assert.equal(upstream.requests.length, 0);
  assert.ok(readFileSync(count, 'utf8').length - before <= 2 * 3, 'a failure stands for a moment');
  const tested = await scene.cli(['secret', 'test', '-g', 'API_KEY']);
  assert.equal(tested.status, 125, describeRun(tested));
  const logs = await succeed(scene, ['daemon', 'logs']);
  assertHidden(scene, [noise], {
    failed: failed.text,
    refused: describeRun(refused),
    tested: describeRun(tested),
    logs,
  });

  const source = new CountedCommand(scene, 'key');
  source.value = value.value;
  await setCommand(scene, source.text);
  assert.deepEqual((await ask(scene)).statuses, [200], 'another command counts at once');
});

test('a value that an upstream refuses is fetched again, not too often, and the request is sent once more', async () => {
  const [first, second, third] = [newCanary(), newCanary(), newCanary()];
  await using scene = await createDaemonScene(findPresentCaller());
  await using upstream = await startPickyUpstream();
  const source = new CountedCommand(scene, 'key');
  source.value = first.value;
  upstream.accepted.add(first.value);
  await setCommand(scene, source.text, '--no-verify', '--refresh', 'on-demand');
  await succeed(scene, ['create', '--name', WORKER, '--no-workspace', ...upstream.flags()]);
  assert.deepEqual((await ask(scene)).statuses, [200]);

  // It was rotated too early: the value was fetched a moment ago.
  upstream.accepted.delete(first.value);
  upstream.accepted.add(second.value);
  source.value = second.value;
  const early = await ask(scene, REFUSED_AT_ONCE);
  assert.deepEqual(new Set(early.statuses), new Set([401]));
  assert.equal(source.count, 1);

  await wait(MIN_DROP_INTERVAL_MS);
  upstream.clear();
  const late = await ask(scene, REFUSED_AT_ONCE);
  assert.deepEqual(new Set(late.statuses), new Set([200]));
  const expected = [first.value, second.value].flatMap((text) => Array.from({ length: REFUSED_AT_ONCE }, () => text));
  assert.deepEqual(sentValues(upstream), expected, 'each request was sent once more');
  assert.equal(source.count, 2);

  upstream.accepted.delete(second.value);
  upstream.accepted.add(third.value);
  source.value = third.value;
  const again = await ask(scene, REFUSED_AT_ONCE);
  assert.deepEqual(new Set(again.statuses), new Set([401]));
  assert.equal(source.count, 2, 'once in the interval');
  assertHidden(scene, [first, second], { early: early.text, late: late.text, again: again.text });
});

test('references are asked by the daemon and by a run of its own alike', async (t) => {
  const values = { FILE_KEY: newCanary(), OP_KEY: newCanary(), VAULT_KEY: newCanary() };
  const token = newCanary();
  const canaries = [...Object.values(values), token];
  await using scene = await createDaemonScene(findPresentCaller());
  await using upstream = await startUpstream({ names: [HOST] });
  const vault = await startStandIn(({ url, headers }) =>
    headers['x-vault-token'] !== token.value
      ? { status: 403 }
      : url.startsWith('/v1/sys/')
        ? { status: 200, body: { data: { path: 'secret/', options: { version: '2' } } } }
        : { status: 200, body: { data: { data: { key: values.VAULT_KEY.value } } } },
  );
  t.after(() => vault.close());
  const bin = join(scene.home, 'bin');
  mkdirSync(bin, { mode: 0o755 });
  writeFileSync(join(bin, 'op'), `#!/bin/sh\ntest "$3" = -- && cat ${bin}/value\n`, { mode: 0o755 });
  writeFileSync(join(bin, 'value'), values.OP_KEY.value, { mode: 0o644 });
  writeFileSync(join(scene.home, 'file-key'), `${values.FILE_KEY.value}\n`, { mode: 0o644 });
  writeFileSync(join(scene.home, '.vault-token'), token.value, { mode: 0o644 });
  const env = { PATH: `${bin}:${process.env['PATH'] ?? ''}`, VAULT_ADDR: vault.url };
  const run = async (...args: string[]): Promise<string> => {
    const result = await scene.cli(args, { env });
    assert.equal(result.status, 0, `${args.join(' ')}: ${describeRun(result)}`);
    return result.stdout + result.stderr;
  };
  await run('daemon', 'restart');
  const references = {
    FILE_KEY: 'file:~/file-key',
    OP_KEY: 'op://Private/Item/key',
    VAULT_KEY: 'vault://secret/x#key',
  };
  const told: string[] = [];
  for (const [variable, reference] of Object.entries(references)) {
    told.push(await run('secret', 'set-custom', '-g', '--host', HOST, '--env', variable, '--ref', reference));
  }
  assert.match(told[0] ?? '', /Every user of this machine may read/);

  const flags = ['--no-workspace', ...upstream.flags()];
  const script = `curl -sS -H "X-A: $FILE_KEY" -H "X-B: $OP_KEY" -H "X-C: $VAULT_KEY" https://${HOST}/echo`;
  await run('create', '--name', WORKER, ...flags);
  const outputs = [
    await run('exec', WORKER, '--', 'sh', '-c', script),
    await run('run', ...flags, '--', 'sh', '-c', script),
  ];
  const expected = Object.values(values).map(({ value }) => value);
  const received = upstream.requests.map((request) =>
    ['x-a', 'x-b', 'x-c'].flatMap((name) => headerValues(request, name)),
  );
  assert.deepEqual(received, [expected, expected]);
  assertHidden(scene, canaries, Object.fromEntries([...told, ...outputs].map((text, index) => [String(index), text])));
});
