// Stored secrets as people handle them: every form of the commands, and what sandboxes make of them.
import assert from 'node:assert/strict';
import { chmodSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { StoredSecretInfo } from '@sallyport/sdk';
import { eachCaller, findPresentCaller } from './harness/caller.ts';
import { assertNoCanary, findCanary, newCanary, type Canary } from './harness/canary.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { headerValues } from './harness/recording.ts';
import { describeRun, type SallyportResult } from './harness/sallyport.ts';
import { startUpstream, type Upstream } from './harness/upstream.ts';

const PRESENT = findPresentCaller();
const CUSTOM_HOST = 'api.example.com';
const SERVICE_HOST = 'api.openai.com';
const HOSTS = [CUSTOM_HOST, SERVICE_HOST, 'api.anthropic.com', 'api.github.com'];

/** Looks for canaries in the arguments of every process of this machine, until it is stopped. */
function watchArguments(canaries: readonly Canary[]): { stop(): readonly string[] } {
  const seen = new Set<string>();
  const poll = (): void => {
    for (const entry of readdirSync('/proc')) {
      if (!/^[0-9]+$/.test(entry)) continue;
      try {
        const text = readFileSync(`/proc/${entry}/cmdline`, 'latin1');
        if (canaries.some((canary) => findCanary(canary, text).length > 0)) seen.add(text.split('\0')[0] ?? '');
      } catch {
        // It has ended.
      }
    }
  };
  const timer = setInterval(poll, 10);
  return {
    stop() {
      clearInterval(timer);
      return [...seen];
    },
  };
}

/** Runs a command that must succeed, and show nothing of the canaries. */
async function succeed(
  scene: DaemonScene,
  args: readonly string[],
  canaries: readonly Canary[],
  options: Parameters<DaemonScene['cli']>[1] = {},
): Promise<SallyportResult> {
  const watch = watchArguments(canaries);
  const result = await scene.cli(args, options);
  assert.deepEqual(watch.stop(), [], 'no value is an argument of a process');
  assert.equal(result.status, 0, `${args.join(' ')}: ${describeRun(result)}`);
  for (const canary of canaries) {
    assertNoCanary(canary, { outputs: { stdout: result.stdout, stderr: result.stderr } });
  }
  return result;
}

function authorizationsOf(upstream: Upstream): string[] {
  return upstream.requests.flatMap((request) => headerValues(request, 'authorization'));
}

async function listSecrets(scene: DaemonScene, ...args: string[]): Promise<StoredSecretInfo[]> {
  const { stdout } = await succeed(scene, ['secret', 'ls', '--json', ...args], []);
  return JSON.parse(stdout) as StoredSecretInfo[];
}

eachCaller('stored secrets enter a sandbox as stand-ins, and requests leave with the values', async (caller) => {
  const [service, custom, own, plain] = [newCanary(), newCanary(), newCanary(), newCanary()];
  const hidden = [service, custom, own];
  await using scene = await createDaemonScene(caller);
  await using upstream = await startUpstream({ names: HOSTS });
  const set = await succeed(scene, ['secret', 'set', '-g', 'openai'], hidden, {
    stdin: `${service.value}\n`,
    canary: service,
  });
  assert.match(set.stdout, /^stored openai for all sandboxes: ghp_\S{6}\*{4}\.{3}\*{4}\S{4}\n$/);
  await succeed(scene, ['secret', 'set-custom', '-g', '--host', CUSTOM_HOST, '--env', 'API_KEY'], hidden, { stdin: custom.value }); // prettier-ignore
  await succeed(scene, ['secret', 'set-custom', 'worker', '--host', CUSTOM_HOST, '--env', 'OWN_KEY', '--placeholder', 'own-{rand}'], hidden, { stdin: own.value }); // prettier-ignore
  const warned = await succeed(scene, ['secret', 'set', '--plain', '-g', 'PLAIN_KEY'], hidden, { stdin: plain.value });
  assert.match(warned.stderr, /sees the value itself/);

  const listed = await succeed(scene, ['secret', 'ls'], [...hidden, plain]);
  const rows = listed.stdout.split('\n');
  assert.match(rows[0] ?? '', /^SCOPE +TYPE +NAME +ENV +HOSTS +SECRET$/);
  assert.equal(rows.length, 6, listed.stdout);
  assert.match(listed.stdout, /^\(global\) +service +openai +OPENAI_API_KEY +\S*api\.openai\.com\S* +ghp_/m);
  assert.match(listed.stdout, /^\(global\) +custom +API_KEY +API_KEY +api\.example\.com +ghp_/m);
  assert.match(listed.stdout, /^\(global\) +plain +PLAIN_KEY +PLAIN_KEY +\(any: the sandbox sees the value\)/m);
  assert.match(listed.stdout, /^worker +custom +OWN_KEY/m);
  assert.deepEqual((await listSecrets(scene, 'worker')).map(({ name }) => name), ['OWN_KEY']); // prettier-ignore
  assert.deepEqual((await listSecrets(scene, '-g')).map(({ name }) => name), ['API_KEY', 'PLAIN_KEY', 'openai']); // prettier-ignore

  const created = await succeed(
    scene,
    ['create', '--name', 'worker', '--no-workspace', ...upstream.flags(), '--secret', 'PLAIN_KEY:SEEN'],
    [...hidden, plain],
  );
  assert.equal(created.stdout, 'worker\n');
  const script = [
    `curl -sS -m 20 -H "Authorization: Bearer whatever" https://${SERVICE_HOST}/v1/models`,
    `curl -sS -m 20 -H "Authorization: Bearer $API_KEY" "https://${CUSTOM_HOST}/reflect?as=raw&where=body"`,
    `curl -sS -m 20 "https://${CUSTOM_HOST}/q?key=$OWN_KEY"`,
    'echo; echo "$OPENAI_API_KEY $API_KEY $OWN_KEY"; echo "$SEEN"',
  ].join('; ');
  const ran = await succeed(scene, ['exec', 'worker', '--', 'sh', '-c', script], hidden);
  assert.deepEqual(authorizationsOf(upstream), [`Bearer ${service.value}`, `Bearer ${custom.value}`]);
  assert.equal(upstream.requests.at(-1)?.target, `/q?key=${own.value}`);
  assert.match(ran.stdout, /^sk-\S+ sp_API_KEY_\w{22} own-\w{22}$/m);
  assert.ok(ran.stdout.endsWith(`${plain.value}\n`), 'the plain one was asked for by name');

  await succeed(scene, ['secret', 'rm', '-g', 'API_KEY'], hidden);
  assert.deepEqual((await listSecrets(scene, '-g')).map(({ name }) => name), ['PLAIN_KEY', 'openai']); // prettier-ignore
  // The plain one is in what the command wrote, which is kept.
  for (const canary of hidden) assertNoCanary(canary, { files: [scene.root] });
});

test('secret commands refuse what they cannot take, in words', async () => {
  const canary = newCanary();
  await using scene = await createDaemonScene(PRESENT);
  const cases: readonly (readonly [args: readonly string[], says: RegExp])[] = [
    [['set', 'anthropic'], /for whom.*set -g anthropic.*set my-sandbox openai.*\[USAGE\]/],
    [['set', '-g', 'worker', 'openai'], /either for all sandboxes.*\[USAGE\]/],
    [['set', '-g'], /There is no SERVICE.*set -g anthropic.*\[USAGE\]/],
    [['set', 'a', 'b', 'c'], /too many words.*\[USAGE\]/],
    [['set', 'Worker', 'openai'], /is not usable.*\[INVALID_NAME\]/],
    [['set', '-g', ''], /"" cannot be the name of a secret.*\[USAGE\]/],
    [['set', '-g', 'a/b'], /"a\/b" cannot be the name of a secret.*\[USAGE\]/],
    [['set', '-g', 'openai', '-t', canary.value, '--token', canary.value], /--token is given twice.*\[USAGE\]/],
    [['set', '--registry', 'ghcr.io', '--username', 'me', '--password-stdin'], /registries are not.*\[NOT_SUPPORTED_YET\]/],
    [['set', '-g', 'OpenAI'], /cannot be the name of a service.*\[SERVICE_UNKNOWN\]/],
    [['set', '-g', '--registry', 'ghcr.io'], /registries are not supported yet.*\[NOT_SUPPORTED_YET\]/],
    [['set', '-g', 'openai', '--oauth'], /OAuth is not supported yet.*\[NOT_SUPPORTED_YET\]/],
    [['set', '-g', 'aws'], /not of the form ID:SECRET\[:SESSION_TOKEN\].*\[INVALID_SECRET_VALUE\]/],
    [['set', '-g', 'openai', '--command', 'true', '-t', canary.value], /from one place.*\[USAGE\]/],
    [['set', '-g', 'openai', '--refresh', '1h'], /--command or --ref.*\[USAGE\]/],
    [['set-custom', '--host', 'a.example', '--env', 'A'], /for whom.*set-custom -g.*\[USAGE\]/],
    [['set-custom', '-g', '--host', 'a.example'], /Add --env.*\[USAGE\]/],
    [['set-custom', '-g', '--env', 'A'], /Add --host.*\[USAGE\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a b'], /\[INVALID_HOST_PATTERN\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--in', 'nowhere'], /\[INVALID_LOCATION\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--method', 'GE T'], /\[INVALID_METHOD\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--path', 'v1'], /\[INVALID_PATH_GLOB\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--ref', 'nothing'], /\[INVALID_REFERENCE\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--placeholder', 'a b {rand}'], /\[INVALID_SECRET_SPEC\]/],
    [['set-custom', '-g', '--env', '1A', '--host', 'a.example'], /--env "1A".*\[USAGE\]/],
    [['set-custom', '-g', '--env', '', '--host', 'a.example'], /--env "".*\[USAGE\]/],
    [['set-custom', '-g', '--env', 'PATH', '--host', 'a.example'], /every sandbox needs.*\[INVALID_SECRET_SPEC\]/],
    [['set-custom', '-g', '--env', 'A', '--host', ''], /it is empty.*\[INVALID_HOST_PATTERN\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--name', '..'], /"\.\." cannot be the name.*\[USAGE\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--path', ''], /\[INVALID_PATH_GLOB\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--path', '/a', '--path', '/b'], /--path is given twice.*\[USAGE\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--on-violation', 'shout'], /one of: pass, block, terminate.*\[USAGE\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--placeholder', ''], /too short.*\[INVALID_SECRET_SPEC\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--placeholder', canary.value.slice(0, 12)], /same in part.*\[SECRET_CONFLICT\]/],
    [['set-custom', '-g', '--env', 'A', '--host', 'a.example', '--command', ''], /--command is empty.*\[USAGE\]/],
    [['rm', '-g', 'nothing'], /No secret "nothing" is stored for all sandboxes.*\[SECRET_NOT_FOUND\]/],
    [['rm', '--all'], /whose secrets.*\[USAGE\]/],
    [['test', '-g', 'nothing'], /\[SECRET_NOT_FOUND\]/],
    [['import', 'openai'], /none of its variables is set.*OPENAI_API_KEY.*\[SECRET_SOURCE_UNSET\]/],
    [['import'], /or write --all.*\[USAGE\]/],
    [['store', 'cellar'], /auto, keychain, file, memory.*\[USAGE\]/],
  ]; // prettier-ignore
  for (const [args, says] of cases) {
    const result = await scene.cli(['secret', ...args], { stdin: canary.value });
    assert.equal(result.status, 2, `${args.join(' ')}: ${describeRun(result)}`);
    assert.match(result.stderr, says, args.join(' '));
    assertNoCanary(canary, { outputs: { stdout: result.stdout, stderr: result.stderr } });
  }
  const short = await scene.cli(['secret', 'set', '-g', 'openai'], { stdin: 'short\n' });
  assert.match(short.stderr, /\[SECRET_VALUE_TOO_SHORT\]/);
  assert.deepEqual(await listSecrets(scene), [], 'nothing was stored by any of them');
  const missing = await scene.cli(['create', '--no-workspace', '--secret', 'HF_TOKEN']);
  assert.match(missing.stderr, /No secret "HF_TOKEN" is stored.*\[SECRET_NOT_FOUND\]/);
});

eachCaller('run takes in what is stored, what it names, and services of its environment', async (caller) => {
  const [stored, custom, plain, given] = [newCanary(), newCanary(), newCanary(), newCanary()];
  await using scene = await createDaemonScene(caller);
  await using upstream = await startUpstream({ names: HOSTS });
  const run = async (args: readonly string[], script: string, env: Record<string, string> = {}) => {
    upstream.clear();
    return await scene.cli(['run', '--no-workspace', ...upstream.flags(), ...args, '--', 'sh', '-c', script], { env });
  };
  const ask = (host: string, header: string): string => `curl -sS -m 20 -H "${header}" https://${host}/echo`;
  const nothing = await run(['--secret', 'API_KEY'], 'true');
  assert.equal(nothing.status, 2, describeRun(nothing));
  assert.match(nothing.stderr, /No secret "API_KEY" is stored.*\[SECRET_NOT_FOUND\]/);
  const unset = await run(['--service', 'anthropic'], 'true');
  assert.match(unset.stderr, /set ANTHROPIC_API_KEY and write --service anthropic\. \[SECRET_NOT_FOUND\]/);
  // Before anything was ever stored.
  const early = await run(['--service', 'anthropic'], ask('api.anthropic.com', 'x-api-key: mine'), { ANTHROPIC_API_KEY: given.value }); // prettier-ignore
  assert.equal(early.status, 0, describeRun(early));
  assert.deepEqual(headerValues(upstream.requests[0]!, 'x-api-key'), [given.value]);

  await succeed(scene, ['secret', 'set', '-g', 'openai'], [stored], { stdin: stored.value });
  await succeed(scene, ['secret', 'set-custom', '-g', '--host', CUSTOM_HOST, '--env', 'API_KEY'], [custom], { stdin: custom.value }); // prettier-ignore
  await succeed(scene, ['secret', 'set', '--plain', '-g', 'PLAIN_KEY'], [plain], { stdin: plain.value });
  const both = await run(
    ['--secret', 'API_KEY:OTHER', '--secret', 'PLAIN_KEY'],
    `${ask(SERVICE_HOST, 'Authorization: Bearer x')}; ${ask(CUSTOM_HOST, 'Authorization: Bearer $OTHER')}; echo; echo "$API_KEY,$OTHER,$OPENAI_API_KEY,$PLAIN_KEY"`,
  );
  assert.equal(both.status, 0, describeRun(both));
  assert.deepEqual(authorizationsOf(upstream), [`Bearer ${stored.value}`, `Bearer ${custom.value}`]);
  assert.match(both.stdout, /\n,sp_OTHER_\w{22},sk-\S+,ghp_\w{36}\n$/);
  for (const canary of [stored, custom]) {
    assertNoCanary(canary, { outputs: { stdout: both.stdout, stderr: both.stderr }, files: [scene.root] });
  }
  const without = await run([], `${ask(CUSTOM_HOST, 'Authorization: Bearer $API_KEY')}; echo; echo "[$PLAIN_KEY]"`);
  assert.deepEqual(authorizationsOf(upstream), [`Bearer ${custom.value}`]);
  assert.match(without.stdout, /\[\]\n$/, 'a plain secret enters only by name');
  // What is stored wins over the environment; what is set for the sandbox's name wins over both.
  const scoped = newCanary();
  await succeed(scene, ['secret', 'set', 'worker', 'openai'], [scoped], { stdin: scoped.value });
  await run(['--service', 'openai'], ask(SERVICE_HOST, 'Authorization: Bearer x'), { OPENAI_API_KEY: given.value });
  assert.deepEqual(authorizationsOf(upstream), [`Bearer ${stored.value}`]);
  await run(['--name', 'worker', '--service', 'openai'], ask(SERVICE_HOST, 'a: b'), { OPENAI_API_KEY: given.value });
  assert.deepEqual(authorizationsOf(upstream), [`Bearer ${scoped.value}`]);
  // No key enters unasked.
  await run([], ask('api.anthropic.com', 'x-api-key: mine'), { ANTHROPIC_API_KEY: given.value });
  assert.deepEqual(upstream.requests, []);
});

test('secrets come from the environment, from arguments, from commands, and all go with reset', async () => {
  const [given, token, fetched] = [newCanary(), newCanary(), newCanary()];
  const canaries = [given, token, fetched];
  await using scene = await createDaemonScene(PRESENT);
  const env = { OPENAI_API_KEY: given.value, GH_TOKEN: given.value };
  const dry = await succeed(scene, ['secret', 'import', '--all', '--dry-run'], canaries, { env });
  assert.match(dry.stdout, /^SERVICE +VARIABLE +SECRET\ngithub +GH_TOKEN +ghp_.*\nopenai +OPENAI_API_KEY +ghp_.*\n$/);
  assert.deepEqual(await listSecrets(scene), []);
  await succeed(scene, ['secret', 'import', 'openai'], canaries, { env });
  const replaced = await succeed(scene, ['secret', 'set', '-g', 'openai', '-f', '-t', token.value], []);
  assert.match(replaced.stderr, /process list.*history/);
  assert.match(replaced.stdout, /^replaced openai for all sandboxes: /);
  await succeed(scene, ['secret', 'set', '--sandbox', 'worker', 'aws'], canaries, { stdin: `AKIAIOSFODNN7EXAMPLE:${given.value}\n` }); // prettier-ignore
  const file = `${scene.root}/fetched`;
  const custom = ['secret', 'set-custom', '-g', '--host', CUSTOM_HOST, '--host', '*.example.org', '--env', 'API_KEY'];
  const failing = await scene.cli([...custom, '--command', `cat ${file}`]);
  assert.equal(failing.status, 125, describeRun(failing));
  assert.match(failing.stderr, /\[SOURCE_FAILED\]/);
  const shown = await scene.cli([...custom, '--command', "echo w''hy >&2; exit 3", '--show-error']);
  assert.match(shown.stderr, /why.*\[SOURCE_FAILED\]/);
  await succeed(scene, [...custom, '--command', `cat ${file}`, '--no-verify', '--refresh', 'on-demand'], canaries);
  const untested = await scene.cli(['secret', 'test', '-g', 'API_KEY']);
  assert.match(untested.stderr, /\[SOURCE_FAILED\]/);
  writeFileSync(file, `${fetched.value}\n`);
  const tested = await succeed(scene, ['secret', 'test', '-g', 'API_KEY'], canaries);
  assert.match(tested.stdout, /^API_KEY of all sandboxes works: 40 bytes from its command in \d+ ms: ghp_/);
  const unknown = await succeed(scene, ['secret', 'set', '-g', 'my-service'], canaries, { stdin: given.value });
  assert.match(unknown.stderr, /stored for a kit that declares it/);

  const change = { kind: 'service', value: token.value } as const;
  const put = { method: 'PUT', path: '/v1/secrets/openai?overwrite=false', body: change } as const;
  await assert.rejects(scene.client.ask(put), { code: 'SECRET_EXISTS' });
  for (const body of [
    { ...change, value: undefined, command: 'a', reference: 'env:A' },
    { kind: 'plain' },
    { ...change, hosts: ['a.example'] },
  ]) {
    await assert.rejects(scene.client.ask({ ...put, path: '/v1/secrets/openai', body }), /INVALID_REQUEST|more than one source|no value|not as it should be/); // prettier-ignore
  }

  const listed = await succeed(scene, ['secret', 'ls'], canaries);
  assert.match(listed.stdout, /^worker +service +aws +AWS_ACCESS_KEY_ID,/m);
  assert.match(
    listed.stdout,
    /^\(global\) +custom +API_KEY +API_KEY +api\.example\.com,\*\.example\.org +command: cat /m,
  );
  const [apiKey] = (await listSecrets(scene)).filter(({ name }) => name === 'API_KEY');
  assert.deepEqual(apiKey?.locations, ['header', 'basic', 'query', 'path', 'body']);
  assert.equal(apiKey.refreshMs, null);

  await scene.create({ name: 'worker' });
  const removed = await succeed(scene, ['rm', '-f', 'worker'], canaries);
  assert.match(removed.stderr, /stored for the name worker stays: aws.*secret rm worker --all/);
  const gone = await succeed(scene, ['secret', 'rm', 'worker', '--all'], canaries);
  assert.equal(gone.stdout, 'removed 1 secret of the sandbox worker\n');
  const reset = await succeed(scene, ['reset', '--force'], canaries);
  assert.match(reset.stdout, /removed 0 sandboxes, 3 stored secrets and the daemon's state/);
  await scene.startDaemon();
  assert.deepEqual(await listSecrets(scene), []);
  writeFileSync(file, '');
  for (const canary of canaries) assertNoCanary(canary, { files: [scene.root] });
});

eachCaller(
  'a value that is fetched is asked for when a request needs it, and a source that fails fails closed',
  async (caller) => {
    const [first, second] = [newCanary(), newCanary()];
    await using scene = await createDaemonScene(caller);
    await using upstream = await startUpstream({ names: HOSTS });
    const [file, asked] = [`${scene.root}/value`, `${scene.root}/asked`];
    writeFileSync(file, first.value, { mode: 0o644 });
    writeFileSync(asked, '', { mode: 0o666 });
    chmodSync(asked, 0o666);
    const command = `echo x >> ${asked}; cat ${file}`;
    await succeed(scene, ['secret', 'set-custom', '-g', '--host', CUSTOM_HOST, '--env', 'API_KEY', '--command', command, '--refresh', '1s', '--no-verify'], [first]); // prettier-ignore
    await succeed(scene, ['secret', 'set', '-g', 'openai', '--ref', `file:${file}`, '--refresh', '1s'], [first]);
    await succeed(scene, ['create', '--name', 'worker', '--no-workspace', ...upstream.flags()], [first]);
    const ask = async (): Promise<string> => {
      upstream.clear();
      const script = `curl -sS -m 20 -o /dev/null -w '%{http_code} ' -H "Authorization: Bearer $API_KEY" https://${CUSTOM_HOST}/echo; curl -sS -m 20 https://${SERVICE_HOST}/reflect?as=raw\\&where=body`;
      const { stdout } = await scene.exec('worker', ['sh', '-c', script]);
      return stdout;
    };
    const asks = (): number => readFileSync(asked, 'utf8').length / 2;
    assert.equal(asks(), 0, 'nothing is fetched before a request needs it');
    const before = await ask();
    assert.match(before, /^200 /);
    assert.equal(asks(), 1);
    assert.deepEqual(authorizationsOf(upstream), [`Bearer ${first.value}`, `Bearer ${first.value}`]);
    writeFileSync(file, second.value);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const after = await ask();
    assert.deepEqual(authorizationsOf(upstream), [`Bearer ${second.value}`, `Bearer ${second.value}`]);
    rmSync(file);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const failed = await ask();
    assert.match(failed, /^502 .*"code":"SECRET_UNAVAILABLE"/);
    assert.match(failed, /openai/);
    assert.deepEqual(upstream.requests, [], 'a value whose life is over is never used');
    writeFileSync(file, first.value, { mode: 0o644 });
    await new Promise((resolve) => setTimeout(resolve, 1100));
    assert.match(await ask(), /^200 /);
    // A run fetches for itself.
    const ran = await scene.cli(['run', '--no-workspace', ...upstream.flags(), '--', 'sh', '-c', `curl -sS -m 20 -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $API_KEY" https://${CUSTOM_HOST}/echo`]); // prettier-ignore
    assert.equal(ran.stdout, '200', describeRun(ran));
    assert.deepEqual(authorizationsOf(upstream).slice(-1), [`Bearer ${first.value}`]);
    rmSync(file);
    for (const canary of [first, second]) {
      assertNoCanary(canary, { outputs: { before, after, failed, run: ran.stdout + ran.stderr }, files: [scene.root] });
    }
  },
);

test('a value is kept where it is asked to be, and one that is gone is told of', async () => {
  const canary = newCanary();
  await using scene = await createDaemonScene(PRESENT);
  await using upstream = await startUpstream({ names: HOSTS });
  assert.match((await succeed(scene, ['secret', 'store'], [])).stdout, /^auto \((?:file|keychain)\)\n$/);
  assert.equal((await succeed(scene, ['secret', 'store', 'file'], [])).stdout, 'file (file)\n');
  assert.deepEqual(JSON.parse((await succeed(scene, ['secret', 'store', '--json'], [])).stdout), { setting: 'file', kind: 'file', notices: [] }); // prettier-ignore
  await succeed(scene, ['secret', 'set', '-g', 'openai', '--store', 'memory'], [canary], { stdin: canary.value });
  assert.equal((await succeed(scene, ['secret', 'store'], [])).stdout, 'file (file)\n', 'that was for one value');
  await succeed(scene, ['create', '--name', 'worker', '--no-workspace', ...upstream.flags()], [canary]);
  const script = `curl -sS -m 20 https://${SERVICE_HOST}/echo`;
  await scene.exec('worker', ['sh', '-c', script]);
  assert.deepEqual(authorizationsOf(upstream), [`Bearer ${canary.value}`]);
  await succeed(scene, ['daemon', 'restart'], [canary]);
  upstream.clear();
  const { stdout } = await scene.exec('worker', ['sh', '-c', script]);
  assert.match(stdout, /"code":"SECRET_UNAVAILABLE"/);
  assert.deepEqual(upstream.requests, []);
  assert.match((await scene.inspect('worker')).notices.join('\n'), /openai cannot be used: .*is gone/);
  assert.match((await succeed(scene, ['secret', 'ls'], [canary])).stdout, /openai .*\(The value .* is gone/);
  const tested = await scene.cli(['secret', 'test', '-g', 'openai']);
  assert.equal(tested.status, 125);
  assert.match(tested.stderr, /is gone.*\[STORE_FAILED\]/);
  await succeed(scene, ['secret', 'set', '-g', 'openai'], [canary], { stdin: canary.value });
  await scene.exec('worker', ['sh', '-c', script]);
  assert.deepEqual(authorizationsOf(upstream), [`Bearer ${canary.value}`]);
});

test('a custom secret is for its methods and paths alone, and says what happens elsewhere', async () => {
  const canary = newCanary();
  await using scene = await createDaemonScene(PRESENT);
  await using upstream = await startUpstream({ names: HOSTS });
  const set = ['secret', 'set-custom', '-g', '-f', '--host', CUSTOM_HOST, '--env', 'API_KEY', '--method', 'get,head', '--path', '/v1/**', '--in', 'header:X-Key,query']; // prettier-ignore
  await succeed(scene, set, [canary], { stdin: canary.value });
  await succeed(
    scene,
    ['create', '--name', 'worker', '--no-workspace', '--allow', SERVICE_HOST, ...upstream.flags()],
    [],
  );
  const ask = async (what: string): Promise<string> =>
    (await scene.exec('worker', ['sh', '-c', `curl -sS -m 20 -H "X-Key: $API_KEY" ${what}`])).stdout;
  await ask(`"https://${CUSTOM_HOST}/v1/models?key=$API_KEY"`);
  assert.deepEqual(headerValues(upstream.requests[0]!, 'x-key'), [canary.value]);
  assert.equal(upstream.requests[0]?.target, `/v1/models?key=${canary.value}`);
  for (const what of [
    `-d x https://${CUSTOM_HOST}/v1/models`,
    `https://${CUSTOM_HOST}/v2/models`,
    `https://${SERVICE_HOST}/v1/models`,
  ]) {
    await ask(what);
    assert.match(headerValues(upstream.requests.at(-1)!, 'x-key')[0] ?? '', /^sp_API_KEY_/, what);
  }
  await succeed(scene, [...set, '--on-violation', 'block'], [canary], { stdin: canary.value });
  const count = upstream.requests.length;
  assert.match(await ask(`https://${SERVICE_HOST}/v1/models`), /"code":"PLACEHOLDER_REFUSED"/);
  assert.equal(upstream.requests.length, count);
  const info = await listSecrets(scene);
  assert.deepEqual([info[0]?.methods, info[0]?.path, info[0]?.onViolation], [['GET', 'HEAD'], '/v1/**', 'block']);
  await succeed(scene, [...set, '--on-violation', 'terminate'], [canary], { stdin: canary.value });
  await ask(`https://${SERVICE_HOST}/v1/models`).catch(() => '');
  const endMs = performance.now() + 20_000;
  while ((await scene.inspect('worker')).state === 'running' && performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.notEqual((await scene.inspect('worker')).state, 'running', 'the sandbox is ended');
});
