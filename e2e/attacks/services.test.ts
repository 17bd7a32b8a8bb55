import assert from 'node:assert/strict';
import { assertNoCanary, newCanary, type Canary } from '../harness/canary.ts';
import { createDaemonScene, type DaemonScene } from '../harness/daemon.ts';
import { headerValues } from '../harness/recording.ts';
import { describeRun } from '../harness/sallyport.ts';
import { whyNotInside } from '../harness/tools.ts';
import { startUpstream } from '../harness/upstream.ts';
import { createFamily } from './attack.ts';
import { BOUND, OTHER, type Job, type JobResult } from './attempts.ts';
import { findReleased, readStatuses } from './jobs.ts';
import { equip } from './scene.ts';

const family = createFamily(
  'services',
  'What a program can do about a service’s credential: put a key of its own beside it, so that what it sends lands in somebody else’s account; have it sent elsewhere; and misuse a placeholder that is guarded.',
);

const python = whyNotInside('python3');
const SERVICE_HOST = 'api.anthropic.com';
/** The key of whoever wrote the program. */
const OWN_KEY = 'attackers-own-key-0123456789';
const encoded = Buffer.from(`${OWN_KEY}:`).toString('base64');

/** Carries out jobs in a sandbox of the daemon. */
async function runInside(
  scene: DaemonScene,
  jobs: readonly Job[],
  canary: Canary,
  options: { readonly flags: readonly string[]; readonly env?: Readonly<Record<string, string>> },
): Promise<ReadonlyMap<string, JobResult>> {
  const { flags, env = {} } = options;
  const assets = equip(scene, { 'jobs.json': jobs });
  const created = await scene.cli(['create', '--name', 'inside', '--no-workspace', ...assets, ...flags], { env });
  assert.equal(created.status, 0, describeRun(created));
  const program =
    'export BASIC=$(printf "u:%s" "$API_TOKEN" | base64 -w0); exec python3 /assets/wire.py /assets/jobs.json';
  const ran = await scene.cli(['exec', 'inside', '--', 'sh', '-c', program]);
  assert.equal(ran.status, 0, describeRun(ran));
  assertNoCanary(canary, { outputs: { stdout: ran.stdout, stderr: ran.stderr }, files: [scene.root] });
  return new Map((JSON.parse(ran.stdout) as JobResult[]).map((answer) => [answer.name, answer]));
}

/** A request to the service with a foreign key somewhere. */
function foreign(
  name: string,
  lines: readonly string[],
  more: { target?: string; method?: string; body?: string; host?: string } = {},
): Job {
  const {
    target = `/foreign/${name.replaceAll(/[^a-z]+/gi, '-')}`,
    method = 'GET',
    body = '',
    host = SERVICE_HOST,
  } = more;
  const head = [`${method} ${target} HTTP/1.1`, `Host: ${host}`, 'Connection: close', ...lines].join('\r\n');
  return { name, host, port: 443, send: [`${head}\r\n\r\n${body}`] };
}

const FOREIGN_KEYS: readonly Job[] = [
  foreign('the header itself', [`x-api-key: ${OWN_KEY}`]),
  foreign('the header in other letters', [`X-API-Key: ${OWN_KEY}`]),
  foreign('the header twice', [`x-api-key: {ANTHROPIC_API_KEY}`, `X-Api-Key: ${OWN_KEY}`]),
  foreign('the header twice, the other way round', [`x-api-key: ${OWN_KEY}`, 'x-api-key: {ANTHROPIC_API_KEY}']),
  foreign('underscores for hyphens', [`X_Api_Key: ${OWN_KEY}`]),
  foreign('Authorization', [`Authorization: Bearer ${OWN_KEY}`]),
  foreign('Basic credentials', [`authorization: Basic ${encoded}`]),
  foreign('a cookie', [`Cookie: sessionKey=${OWN_KEY}`]),
  foreign('a space before the colon', [`X-Api-Key : ${OWN_KEY}`]),
  foreign('a folded line', ['X-Other: a', ` X-Api-Key: ${OWN_KEY}`]),
  foreign('a header that Connection names', ['Connection: x-api-key', `x-api-key: ${OWN_KEY}`]),
  foreign('a query parameter', [], { target: `/foreign/query?key=${OWN_KEY}` }),
  foreign('a query parameter, escaped', [], { target: `/foreign/escaped?%6b%65%79=${OWN_KEY}` }),
  foreign('a trailer', ['Transfer-Encoding: chunked', 'Trailer: X-Api-Key'], { method: 'POST', body: `1\r\nA\r\n0\r\nX-Api-Key: ${OWN_KEY}\r\n\r\n` }),
  foreign('TRACE', [`x-api-key: ${OWN_KEY}`], { method: 'TRACE' }),
  foreign('a WebSocket handshake', [`x-api-key: ${OWN_KEY}`, 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='], { target: '/foreign/ws' }),
]; // prettier-ignore

family.attacks(
  'a service’s requests carry its credential, and no other',
  async (caller, judge) => {
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [SERVICE_HOST, OTHER] });
    const control = foreign('control', ['x-api-key: {ANTHROPIC_API_KEY}']);
    const elsewhere = foreign('elsewhere', ['x-api-key: {ANTHROPIC_API_KEY}'], { host: OTHER, target: '/elsewhere' });
    await using scene = await createDaemonScene(caller);
    await runInside(scene, [control, ...FOREIGN_KEYS, elsewhere], canary, {
      flags: [...upstream.flags(), '--service', 'anthropic', '--allow', OTHER],
      env: { ANTHROPIC_API_KEY: canary.value },
    });
    const seen = upstream.connections.map((connection) => connection.received().toString('latin1'));
    const released = findReleased(upstream, canary);
    assert.ok(
      released.some(({ target }) => target === '/foreign/control'),
      'the positive control',
    );
    const leaks = 'what the program sends with the host’s credential, to the account of another key';
    for (const { name } of FOREIGN_KEYS) {
      await judge({ name: `foreign key: ${name}`, leaks }, () => {
        const about = seen.filter((text) => text.includes(OWN_KEY) || text.includes(encoded.slice(0, 24)));
        assert.deepEqual(about, [], 'the foreign key arrived');
      });
    }
    await judge(
      { name: 'the sentinel, sent to another host', leaks: 'the credential, to a host that is not the service’s' },
      () => {
        const there = upstream.requests.filter(({ target }) => target === '/elsewhere');
        assert.equal(there.length, 1);
        assert.ok(headerValues(there[0]!, 'x-api-key')[0]?.startsWith('sk-ant-'));
        for (const { serverName } of released) assert.equal(serverName, SERVICE_HOST);
      },
    );
    await judge(
      { name: 'TRACE to the service', leaks: 'the credential, in an answer that repeats the request' },
      () => {
        assert.ok(!released.some(({ method }) => method === 'TRACE'));
      },
    );
  },
  { skip: python, callers: 'one' },
);

const SIZE = 'sp_API_TOKEN_'.length + 22;
/** Requests with a guarded placeholder where it is not for. */
const MISUSES: readonly Job[] = [
  foreign('a header of another host', ['X-Note: {API_TOKEN}'], { host: OTHER }),
  foreign('the query of another host', [], { host: OTHER, target: '/misuse?q={API_TOKEN}' }),
  foreign('the path of another host', [], { host: OTHER, target: '/misuse/{API_TOKEN}' }),
  foreign('Basic credentials for another host', ['Authorization: Basic {BASIC}'], { host: OTHER }),
  foreign('a body for another host', [`Content-Length: ${SIZE}`], { host: OTHER, method: 'POST', body: '{API_TOKEN}' }),
  foreign('chunks for another host', ['Transfer-Encoding: chunked'], { host: OTHER, method: 'POST', body: `${SIZE.toString(16)}\r\n{API_TOKEN}\r\n0\r\n\r\n` }),
  foreign('a trailer for another host', ['Transfer-Encoding: chunked'], { host: OTHER, method: 'POST', body: '1\r\na\r\n0\r\nX-Note: {API_TOKEN}\r\n\r\n' }),
  foreign('another method', ['Authorization: Bearer {API_TOKEN}'], { host: BOUND, method: 'DELETE', target: '/v1/x' }),
  foreign('another method, by a header', ['Authorization: Bearer {API_TOKEN}', 'X-HTTP-Method-Override: DELETE'], { host: BOUND, target: '/v1/x' }),
  foreign('another path', ['Authorization: Bearer {API_TOKEN}'], { host: BOUND, target: '/v2/x' }),
  foreign('another path, by a header', ['Authorization: Bearer {API_TOKEN}', 'X-Original-URL: /v2/x'], { host: BOUND, target: '/v1/x' }),
  foreign('another path, by dot segments', ['Authorization: Bearer {API_TOKEN}'], { host: BOUND, target: '/v1/../v2/x' }),
  foreign('another path, by escapes', ['Authorization: Bearer {API_TOKEN}'], { host: BOUND, target: '/v1/%2e%2e%2fv2/x' }),
]; // prettier-ignore

family.attacks(
  'a guarded placeholder is refused wherever it is not for',
  async (caller, judge) => {
    const canary = newCanary();
    await using scene = await createDaemonScene(caller);
    await using upstream = await startUpstream({ names: [BOUND, OTHER] });
    const guard = ['--method', 'GET', '--path', '/v1/**', '--in', 'header,basic', '--on-violation', 'block'];
    const stored = await scene.cli(['secret', 'set-custom', '-g', '--host', BOUND, '--env', 'API_TOKEN', ...guard], {
      stdin: canary.value,
    });
    assert.equal(stored.status, 0, describeRun(stored));
    const control = foreign('control', ['Authorization: Bearer {API_TOKEN}'], { host: BOUND, target: '/v1/control' });
    const answers = await runInside(scene, [control, ...MISUSES], canary, {
      flags: [...upstream.flags(), '--allow', OTHER],
    });
    assert.deepEqual(
      findReleased(upstream, canary).map(({ target }) => target),
      ['/v1/control'],
    );
    for (const { name } of MISUSES) {
      await judge(
        { name: `guarded placeholder: ${name}`, leaks: 'where the value would go, had the host been bound to it' },
        () => {
          const { received = '' } = answers.get(name) ?? {};
          assert.deepEqual(readStatuses(received), [403], received.slice(0, 300));
          assert.match(received, /PLACEHOLDER_REFUSED/);
        },
      );
    }
    const seen = upstream.connections.map((connection) => connection.received().toString('latin1')).join('');
    assert.ok(!seen.includes('sp_API_TOKEN_'), 'not even the placeholder arrived');
  },
  { skip: python, callers: 'one' },
);
