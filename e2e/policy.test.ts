// The network policy of sandboxes that run, changed from outside, and what was allowed and denied.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { test } from 'node:test';
import type { StoredRuleList } from '@sallyport/sdk';
import { CHECKOUT, createScene, eachCaller, findPresentCaller } from './harness/caller.ts';
import { assertNoCanary, newCanary } from './harness/canary.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { describeRun, sallyport, type SallyportResult } from './harness/sallyport.ts';
import { SYSTEM_PATH } from './harness/tools.ts';
import { startUpstream } from './harness/upstream.ts';

const PRESENT = findPresentCaller();
const HOST = 'api.test.example';
const OTHER = 'other.test.example';

async function succeed(scene: DaemonScene, ...args: readonly string[]): Promise<SallyportResult> {
  const result = await scene.cli(args);
  assert.equal(result.status, 0, `${args.join(' ')}: ${describeRun(result)}`);
  return result;
}

/** What a sandbox gets for a request: the status, and for a denial its code, rule and remedy. */
async function ask(scene: DaemonScene, sandbox: string, url: string, ...options: readonly string[]) {
  // A tunnel shows the certificate of the upstream, which nobody trusts here.
  const command = ['curl', '-sSk', '-m', '20', '-w', '\n%{http_code}', ...options, url];
  const { stdout, stderr } = await scene.exec(sandbox, command);
  const status = Number(stdout.slice(stdout.lastIndexOf('\n') + 1));
  const problem = status === 403 ? (JSON.parse(stdout.slice(0, stdout.lastIndexOf('\n'))) as Problem) : null;
  return { status, problem, stderr };
}

interface Problem {
  readonly code: string;
  readonly rule: string;
  readonly remedy: string;
}

eachCaller('policy allow and deny are in force in sandboxes that run, and say what to do', async (caller) => {
  await using scene = await createDaemonScene(caller);
  await using upstream = await startUpstream({ names: [HOST, OTHER] });
  await succeed(scene, 'create', '--name', 'worker', '--no-workspace', ...upstream.flags());
  const url = `https://${HOST}/x`;
  const denied = await ask(scene, 'worker', url);
  const remedy = `sallyport policy allow network ${HOST}:443 --sandbox worker`;
  assert.deepEqual([denied.status, denied.problem?.code, denied.problem?.remedy], [403, 'HOST_DENIED', remedy]);

  // The remedy is what helps, at once; nobody else has it by that.
  await succeed(scene, ...remedy.split(' ').slice(1));
  assert.equal((await ask(scene, 'worker', url)).status, 200);
  await succeed(scene, 'policy', 'deny', 'network', `${HOST},${OTHER}`);
  const closed = await ask(scene, 'worker', url);
  assert.equal(closed.problem?.rule, `policy deny network ${HOST}`);
  assert.equal(closed.problem?.remedy, `sallyport policy rm network ${HOST}`);
  await succeed(scene, 'policy', 'rm', 'network', HOST, OTHER);
  assert.equal((await ask(scene, 'worker', url)).status, 200);

  // Requests by method and path, over HTTP/1 and HTTP/2.
  await succeed(scene, 'policy', 'allow', 'network', OTHER, '--method', 'get', '--path', '/repos/**');
  const read = await ask(scene, 'worker', `https://${OTHER}/repos/a`);
  assert.equal(read.status, 200, read.stderr);
  const written = await ask(scene, 'worker', `https://${OTHER}/repos/a`, '-X', 'DELETE');
  assert.deepEqual([written.status, written.problem?.code], [403, 'REQUEST_DENIED']);
  assert.equal(
    written.problem?.remedy,
    `sallyport policy allow network ${OTHER}:443 --sandbox worker --method DELETE --path /repos/a`,
  );
  assert.equal((await ask(scene, 'worker', `http://${OTHER}/else`)).status, 403);

  // The daemon that comes after a killed one goes by the same.
  await scene.killDaemon();
  await scene.startDaemon();
  assert.equal((await ask(scene, 'worker', url)).status, 200);
  assert.equal((await ask(scene, 'worker', `https://${OTHER}/repos/a`, '-X', 'PUT')).status, 403);

  const list = await succeed(scene, 'policy', 'ls', '--sandbox', 'worker', '--json');
  const rules = JSON.parse(list.stdout) as { host: string; sandbox: string | null; origin: string }[];
  assert.deepEqual(
    rules.map(({ host, sandbox, origin }) => [host, sandbox, origin]),
    [
      [OTHER, null, 'stored'],
      [`${HOST}:443`, 'worker', 'stored'],
    ],
  );
  const checks: readonly (readonly [readonly string[], number])[] = [
    [[HOST, '--sandbox', 'worker'], 0],
    [[HOST], 1],
    [[OTHER, '--method', 'GET', '--path', '/repos/x'], 0],
    [[OTHER, '--method', 'PUT', '--path', '/repos/x'], 1],
    [[OTHER, '--allow', HOST], 1],
    [[HOST, '--allow', HOST, '--sandbox', 'worker'], 2],
  ];
  for (const [args, status] of checks) {
    const result = await scene.cli(['policy', 'check', 'network', ...args]);
    assert.equal(result.status, status, `${args.join(' ')}: ${describeRun(result)}`);
  }
});

test('a tunnel ends when its host is denied, and rules for a sandbox may precede it', async () => {
  await using scene = await createDaemonScene(PRESENT);
  await using upstream = await startUpstream({ names: [HOST] });
  await succeed(scene, 'policy', 'allow', 'network', HOST, '--sandbox', 'later');
  await succeed(scene, 'create', '--name', 'later', '--no-workspace', ...upstream.flags());
  const url = `https://${HOST}/hang`;
  const stream = scene.exec('later', ['curl', '-sSk', '-m', '60', url]); // prettier-ignore
  for (let count = 0; count === 0; count = (await connections(scene, 'later')) > 0 ? 1 : 0) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await succeed(scene, 'policy', 'deny', 'network', HOST);
  const ended = await stream;
  assert.notEqual(ended.exitCode, 0, 'the tunnel has ended');
  assert.equal((await ask(scene, 'later', `https://${HOST}/x`)).problem?.rule, `policy deny network ${HOST}`);

  // A rule that its own API has made is its own, and is removed as well.
  await scene.client.ask({ method: 'POST', path: '/v1/sandboxes/later/policy/rules', body: { action: 'deny', host: HOST } }); // prettier-ignore
  const removed = await succeed(scene, 'policy', 'rm', 'network', HOST, '--sandbox', 'later');
  assert.equal(removed.stdout, `removed: allow ${HOST} for the sandbox later\nremoved: deny ${HOST} for the sandbox later\n`); // prettier-ignore
});

async function connections(scene: DaemonScene, sandbox: string): Promise<number> {
  const stats = await scene.client.ask<{ connections: number }>({
    method: 'GET',
    path: `/v1/sandboxes/${sandbox}/stats`,
  });
  return stats.connections;
}

test('presets, reset and refusals', async () => {
  await using scene = await createDaemonScene(PRESENT);
  await succeed(scene, 'policy', 'allow', 'network', 'mine.example');
  const balanced = await succeed(scene, 'policy', 'init', 'balanced');
  assert.match(balanced.stdout, /^preset balanced: \d{2,} rules for all sandboxes\n$/);
  assert.equal((await scene.cli(['policy', 'check', 'network', 'pypi.org'])).status, 0);
  const opened = await succeed(scene, 'policy', 'init', 'open');
  assert.match(opened.stderr, /can send to anybody/);
  assert.match(
    (await succeed(scene, 'policy', 'ls')).stdout,
    /^\(global\) +allow +\*\* +\(any\) +\(any\) +preset open$/m,
  );
  await succeed(scene, 'policy', 'init', 'locked');
  assert.match(
    (await succeed(scene, 'policy', 'ls')).stdout,
    /^SCOPE[^\n]*\n\(global\) +allow +mine\.example [^\n]*\n$/,
  );
  const refusals: readonly (readonly [readonly string[], RegExp])[] = [
    [['init', 'half'], /presets locked, balanced, open.*\[USAGE\]/],
    [['allow', 'network', '*'], /"\*" alone is no host.*\[INVALID_HOST_PATTERN\]/],
    [['allow', 'network', 'a.example,'], /it is empty.*\[INVALID_HOST_PATTERN\]/],
    [['allow', 'network'], /argument <targets> is missing.*\[USAGE\]/],
    [['allow', 'network', 'a.example', '--sandbox', 'No Name'], /\[INVALID_NAME\]/],
    [['allow', 'network', 'a.example', '--method', 'GE T'], /\[INVALID_METHOD\]/],
    [['deny', 'network', 'a.example', '--path', 'x'], /\[INVALID_PATH_GLOB\]/],
    [['rm', 'network', 'nobody.example'], /No rule is stored.*\[RULE_NOT_FOUND\]/],
    [['reset'], /Add --force.*\[USAGE\]/],
  ];
  for (const [args, says] of refusals) {
    const result = await scene.cli(['policy', ...args]);
    assert.equal(result.status, 2, `${args.join(' ')}: ${describeRun(result)}`);
    assert.match(result.stderr, says, args.join(' '));
  }
  await succeed(scene, 'policy', 'allow', 'network', 'db.example:5432');
  const raw = await scene.cli(['policy', 'deny', 'network', 'db.example:5432', '--method', 'POST']);
  assert.equal(raw.status, 2, describeRun(raw));
  assert.match(raw.stderr, /opens port 5432 for any protocol.*\[INVALID_RULE\]/);
  const narrow = await succeed(scene, 'policy', 'allow', 'network', 'mine.example', '--method', 'GET');
  assert.match(narrow.stderr, /policy allow network mine\.example allows more/);
  const reset = await succeed(scene, 'policy', 'reset', '--force');
  assert.equal(reset.stdout, 'removed 3 rules\n');
  const rules = await scene.client.ask<StoredRuleList>({ method: 'GET', path: '/v1/policy/rules' });
  assert.deepEqual(rules, { rules: [], notices: [] });
});

eachCaller('run goes by stored rules, and follows changes while it runs', async (caller) => {
  using scene = createScene(caller);
  await using upstream = await startUpstream({ names: [HOST, OTHER] });
  const policy = async (...args: readonly string[]): Promise<void> => {
    const result = await sallyport(['policy', ...args], { scene, audit: false, env: { SALLYPORT_WARM: '0' } });
    assert.equal(result.status, 0, describeRun(result));
  };
  const loop = `for host in ${HOST} ${OTHER}; do n=0; until [ "$(curl -sk -m 5 -o /dev/null -w '%{http_code}' https://$host/x)" = 200 ]; do n=$((n+1)); [ $n -lt 200 ] || exit 1; sleep 0.1; done; echo open $host; done
    until [ "$(curl -sk -m 5 -o /dev/null -w '%{http_code}' https://${HOST}/x)" = 403 ]; do sleep 0.1; done; echo closed`;
  try {
    // Nothing is stored when it begins.
    const child = spawn(
      join(CHECKOUT, 'sallyport'),
      ['run', '--name', 'live', ...upstream.flags(), '--', 'sh', '-c', loop],
      {
        cwd: scene.workspace,
        uid: caller.uid,
        gid: caller.gid,
        env: { PATH: SYSTEM_PATH, HOME: scene.home },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    let seen = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (seen += text));
    const ended = once(child, 'exit');
    await policy('allow', 'network', HOST);
    while (!seen.includes(`open ${HOST}`)) await new Promise((resolve) => setTimeout(resolve, 50));
    await policy('allow', 'network', OTHER, '--sandbox', 'live');
    while (!seen.includes(`open ${OTHER}`)) await new Promise((resolve) => setTimeout(resolve, 50));
    await policy('deny', 'network', HOST);
    assert.deepEqual(await ended, [0, null]);
    assert.ok(seen.endsWith('closed\n'));
    const again = await sallyport(['run', ...upstream.flags(), '--', 'curl', '-sS', `https://${HOST}/x`], { scene });
    assert.match(again.stdout, /"rule":"policy deny network api\.test\.example"/, describeRun(again));
  } finally {
    await sallyport(['daemon', 'stop'], { scene, audit: false });
  }
});

test('policy log tells who was allowed and denied, goes on with what will happen, and never has a value', async () => {
  const canary = newCanary();
  await using scene = await createDaemonScene(PRESENT);
  await using upstream = await startUpstream({ names: [HOST] });
  const nobody = await scene.cli(['policy', 'log', 'nobody']);
  assert.equal(nobody.status, 2);
  assert.match(nobody.stderr, /\[SANDBOX_NOT_FOUND\]/);
  const created = await scene.cli(
    ['create', '--name', 'worker', '--no-workspace', ...upstream.flags(), '--secret', `TOKEN@${HOST}`],
    { env: { TOKEN: canary.value } },
  );
  assert.equal(created.status, 0, describeRun(created));
  const send = [
    'sh',
    '-c',
    `curl -sS -H "Authorization: Bearer $TOKEN" "https://${HOST}/a?x=$TOKEN" https://${HOST}/b https://denied.example/`,
  ];
  await scene.exec('worker', send);
  const table = await succeed(scene, 'policy', 'log', 'worker');
  const rows = table.stdout.split('\n');
  assert.match(rows[0] ?? '', /^LAST +COUNT +SANDBOX +DECISION +DESTINATION +WHY$/);
  assert.match(rows[1] ?? '', /^\d{4}-\S+ \S+ +2 +worker +allow +api\.test\.example:443 +--secret TOKEN$/);
  assert.match(
    rows[2] ?? '',
    /^\d{4}-\S+ \S+ +1 +worker +deny +denied\.example:443 +no rule allows it \[HOST_DENIED\]$/,
  );
  const follower = spawn(join(CHECKOUT, 'sallyport'), ['policy', 'log', '-f', '--json'], {
    cwd: scene.workspace,
    env: { PATH: SYSTEM_PATH, HOME: scene.home },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let seen = '';
  follower.stdout.setEncoding('utf8').on('data', (text: string) => (seen += text));
  const events = () => seen.split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Record<string, unknown>); // prettier-ignore
  const until = async (count: number): Promise<void> => {
    while (events().length < count) await new Promise((resolve) => setTimeout(resolve, 50));
  };
  try {
    await until(3);
    await succeed(scene, 'policy', 'deny', 'network', HOST, '--path', '/a');
    await scene.exec('worker', send);
    // A log that comes to be meanwhile is read as well.
    await sallyport(['run', '--name', 'other', '--', 'curl', '-sS', 'https://denied.example/'], {
      scene,
      audit: false,
    });
    await until(7);
  } finally {
    follower.kill();
    await once(follower, 'exit');
  }
  assert.deepEqual(
    events().map(({ sandbox, decision, host, path, code }) => [sandbox, decision, host, path, code]),
    [
      ['worker', 'allow', HOST, '/a', null],
      ['worker', 'allow', HOST, '/b', null],
      ['worker', 'deny', 'denied.example', '/', 'HOST_DENIED'],
      ['worker', 'deny', HOST, '/a', 'REQUEST_DENIED'],
      ['worker', 'allow', HOST, '/b', null],
      ['worker', 'deny', 'denied.example', '/', 'HOST_DENIED'],
      ['other', 'deny', 'denied.example', '/', 'HOST_DENIED'],
    ],
  );
  const recent = await succeed(scene, 'policy', 'log', '-n', '1', '--json');
  assert.equal((JSON.parse(recent.stdout) as { sandbox: string }).sandbox, 'other');
  assertNoCanary(canary, { outputs: { table: table.stdout, events: seen, recent: recent.stdout } });
});
