import assert from 'node:assert/strict';
import { assertNoCanary, newCanary } from '../harness/canary.ts';
import { createDaemonScene } from '../harness/daemon.ts';
import { headerValues } from '../harness/recording.ts';
import { describeRun } from '../harness/sallyport.ts';
import { whyNotInside } from '../harness/tools.ts';
import { startUpstream } from '../harness/upstream.ts';
import { createFamily } from './attack.ts';
import { BOUND, OTHER, type Job, type JobResult } from './attempts.ts';
import { readStatuses } from './jobs.ts';
import { equip } from './scene.ts';

const family = createFamily(
  'requests',
  'What a program can do about rules for some methods and paths of a host: name another method or path in a way that the gate and a server might read differently.',
);

const python = whyNotInside('python3');

/** A request that says which attempt it is. */
function ask(
  name: string,
  line: string,
  lines: readonly string[] = [],
  more: { host?: string; body?: string } = {},
): Job {
  const { host = BOUND, body = '' } = more;
  const head = [line, `Host: ${host}`, `X-Attempt: ${name}`, 'Authorization: Bearer {API_TOKEN}', ...lines];
  return { name, host, port: 443, send: [`${head.join('\r\n')}\r\nConnection: close\r\n\r\n${body}`] };
}

const UPGRADE = ['Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='];
const HIDDEN = `DELETE /hidden HTTP/1.1\r\nHost: ${BOUND}\r\nX-Attempt: a request in the body of another\r\n\r\n`;

/** Allowed are GET and POST below /v1; DELETE is denied altogether. */
const AROUND_PERMISSION: readonly Job[] = [
  ask('another path', 'GET /v2/x HTTP/1.1'),
  ask('a path that only begins like it', 'GET /v10/x HTTP/1.1'),
  ask('another case', 'GET /V1/x HTTP/1.1'),
  ask('dot segments', 'GET /v1/../v2/x HTTP/1.1'),
  ask('a dot segment at the end', 'GET /v1/x/../.. HTTP/1.1'),
  ask('escaped dots', 'GET /v1/%2e%2e/v2/x HTTP/1.1'),
  ask('half-escaped dots', 'GET /v1/.%2E/v2/x HTTP/1.1'),
  ask('escaped slashes', 'GET /v1%2f..%2fv2/x HTTP/1.1'),
  ask('a slash that is escaped where the glob has one', 'GET /v1%2fx HTTP/1.1'),
  ask('dots that are escaped twice', 'GET /v1/%252e%252e/v2/x HTTP/1.1'),
  ask('backslashes', 'GET /v1/..\\v2\\x HTTP/1.1'),
  ask('escaped backslashes', 'GET /v1/..%5cv2%5cx HTTP/1.1'),
  ask('a parameter of a segment', 'GET /v1/..;a=b/v2/x HTTP/1.1'),
  ask('a parameter that ends a segment otherwise', 'GET /v2;/v1/x HTTP/1.1'),
  ask('empty segments', 'GET //v1/x HTTP/1.1'),
  ask('an escaped NUL', 'GET /v1/x%00/../../v2 HTTP/1.1'),
  ask('an overlong form of a dot', 'GET /v1/%c0%ae%c0%ae/v2/x HTTP/1.1'),
  ask('the allowed path as a query', 'GET /v2/x?/v1/ HTTP/1.1'),
  ask('the allowed path as a fragment', 'GET /v2/x#/v1/ HTTP/1.1'),
  ask('an absolute target', `GET https://${BOUND}/v2/x HTTP/1.1`),
  ask('an absolute target with the allowed path as its user', `GET https://v1@${BOUND}/v2/x HTTP/1.1`),
  ask('no path', 'OPTIONS * HTTP/1.1'),
  ask('the allowed path beside the target', 'GET / HTTP/1.1', ['X-Original-URL: /v1/x', 'X-Rewrite-URL: /v1/x']),
  ask('another path by X-Original-URL', 'GET /v1/x HTTP/1.1', ['X-Original-URL: /v2/x']),
  ask('another path by X-Rewrite-URL', 'GET /v1/x HTTP/1.1', ['x-rewrite-url: /v2/x']),
  ask('another method', 'PUT /v1/x HTTP/1.1', ['Content-Length: 0']),
  ask('a method in lower case', 'get /v1/x HTTP/1.1'),
  ask('HEAD for GET', 'HEAD /v1/x HTTP/1.1'),
  ask('TRACE', 'TRACE /v1/x HTTP/1.1'),
  ask('CONNECT', `CONNECT ${BOUND}:443 HTTP/1.1`),
  ask('a method of its own', 'GETX /v1/x HTTP/1.1'),
  ask('a WebSocket handshake for another path', 'GET /v2/ws HTTP/1.1', UPGRADE),
  ask('the denied method', 'DELETE /v1/x HTTP/1.1'),
  ask('the denied method in lower case', 'delete /v1/x HTTP/1.1'),
  ask('the denied method by X-HTTP-Method-Override', 'POST /v1/x HTTP/1.1', ['X-HTTP-Method-Override: DELETE', 'Content-Length: 0']),
  ask('the denied method by X-Method-Override', 'POST /v1/x HTTP/1.1', ['x-method-override: delete', 'Content-Length: 0']),
  ask('the denied method by X-HTTP-Method, second of two', 'POST /v1/x HTTP/1.1', ['X-HTTP-Method: GET', 'X-Http-Method: DELETE', 'Content-Length: 0']),
  ask('the denied method in a list', 'POST /v1/x HTTP/1.1', ['X-HTTP-Method-Override: GET, DELETE', 'Content-Length: 0']),
  ask('a request in the body of another', 'POST /v1/smuggler HTTP/1.1', [`Content-Length: ${HIDDEN.length}`, 'Transfer-Encoding: chunked'], { body: `0\r\n\r\n${HIDDEN}` }),
]; // prettier-ignore

/** Allowed is the whole host; /admin is denied. */
const AROUND_PROHIBITION: readonly Job[] = [
  ask('the denied path', 'GET /admin/x HTTP/1.1', [], { host: OTHER }),
  ask('the denied path, escaped', 'GET /%61dmin/x HTTP/1.1', [], { host: OTHER }),
  ask('the denied path in another case', 'GET /ADMIN/x HTTP/1.1', [], { host: OTHER }),
  ask('the denied path with a parameter of its own', 'GET /admin;a=b/x HTTP/1.1', [], { host: OTHER }),
  ask('the denied path behind dot segments', 'GET /x/../admin/x HTTP/1.1', [], { host: OTHER }),
  ask('the denied path behind escaped dot segments', 'GET /x/%2e%2e/admin/x HTTP/1.1', [], { host: OTHER }),
  ask('the denied path behind an empty segment', 'GET //admin/x HTTP/1.1', [], { host: OTHER }),
  ask('the denied path with an escaped slash', 'GET /admin%2fx HTTP/1.1', [], { host: OTHER }),
  ask('the denied path with a backslash', 'GET /admin\\x HTTP/1.1', [], { host: OTHER }),
  ask('the denied path, escaped twice', 'GET /%2561dmin/x HTTP/1.1', [], { host: OTHER }),
  ask('the denied path behind a dot segment with a parameter', 'GET /x/..;/admin/x HTTP/1.1', [], { host: OTHER }),
  ask('the denied path by X-Original-URL', 'GET /x HTTP/1.1', ['X-Original-URL: /admin/x'], { host: OTHER }),
  ask('the denied path in an absolute target', `GET https://${OTHER}/admin/x HTTP/1.1`, [], { host: OTHER }),
]; // prettier-ignore

family.attacks(
  'rules for methods and paths hold, however a request is written',
  async (caller, judge) => {
    const canary = newCanary();
    await using scene = await createDaemonScene(caller);
    await using upstream = await startUpstream({ names: [BOUND, OTHER] });
    const rules = [
      ['allow', 'network', BOUND, '--method', 'GET,POST', '--path', '/v1/**'],
      ['deny', 'network', BOUND, '--method', 'DELETE'],
      ['allow', 'network', OTHER],
      ['deny', 'network', OTHER, '--path', '/admin/**'],
    ];
    for (const rule of rules) {
      // oxlint-disable-next-line no-await-in-loop -- each is a command.
      const stored = await scene.cli(['policy', ...rule]);
      assert.equal(stored.status, 0, describeRun(stored));
    }
    const controls = [
      ask('control', 'GET /v1/x HTTP/1.1'),
      ask('control, elsewhere', 'DELETE /x HTTP/1.1', [], { host: OTHER }),
    ];
    const jobs = [...controls, ...AROUND_PERMISSION, ...AROUND_PROHIBITION];
    const assets = equip(scene, { 'jobs.json': jobs });
    const secret = ['--secret', `API_TOKEN@${BOUND}`];
    const created = await scene.cli(['create', '--name', 'inside', '--no-workspace', ...assets, ...secret, ...upstream.flags()], { env: { API_TOKEN: canary.value } }); // prettier-ignore
    assert.equal(created.status, 0, describeRun(created));
    const ran = await scene.cli(['exec', 'inside', '--', 'python3', '/assets/wire.py', '/assets/jobs.json']);
    assert.equal(ran.status, 0, describeRun(ran));
    assertNoCanary(canary, { outputs: { stdout: ran.stdout, stderr: ran.stderr }, files: [scene.root] });
    const answers = new Map((JSON.parse(ran.stdout) as JobResult[]).map((answer) => [answer.name, answer]));
    const arrived = new Set(upstream.requests.flatMap((request) => headerValues(request, 'x-attempt')));
    for (const { name } of controls) assert.ok(arrived.has(name), `the positive ${name}`);
    const leaks = 'a request that the rules forbid, with the credential of the host';
    for (const { name } of [...AROUND_PERMISSION, ...AROUND_PROHIBITION]) {
      await judge({ name: `around a rule: ${name}`, leaks }, () => {
        assert.ok(!arrived.has(name), 'it arrived');
        const { received = '' } = answers.get(name) ?? {};
        const [status = 0] = readStatuses(received);
        assert.ok(status >= 400 && status < 500, received.slice(0, 300));
      });
    }
    for (const { serverName, method, target } of upstream.requests) {
      const isAllowed =
        serverName === BOUND
          ? ['GET', 'POST'].includes(method) && target.startsWith('/v1/')
          : !target.toLowerCase().includes('admin');
      assert.ok(isAllowed, `${serverName} ${method} ${target}`);
    }
  },
  { skip: python, callers: 'one' },
);
