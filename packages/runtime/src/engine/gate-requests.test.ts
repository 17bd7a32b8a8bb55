import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import type net from 'node:net';
import { before, test } from 'node:test';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import type { KeptRule } from '../policy/network-policy.ts';
import { openLoopbackGate, receive, type LoopbackGate, type LoopbackOptions } from './loopback.testing.ts';
import { startRawUpstream, type RawUpstream } from './raw-upstream.testing.ts';
import { acceptFor } from './websocket-peer.testing.ts';

const HOST = 'api.example.com';
const OTHER = 'other.example.com';
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

/** An upstream over HTTP/1 that keeps request lines, and opens a WebSocket where one is asked for. */
async function startUpstream(seen: string[]): Promise<RawUpstream> {
  const answer = (socket: net.Socket): void => {
    let pending = '';
    socket.on('data', (chunk: Buffer) => {
      pending += chunk.toString('latin1');
      for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
        const head = pending.slice(0, end);
        pending = pending.slice(end + 4);
        seen.push(head.slice(0, head.indexOf(' HTTP/1.1')));
        socket.write(
          /^upgrade:/im.test(head)
            ? `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptFor(KEY)}\r\n\r\n`
            : 'HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nend',
        );
      }
    });
  };
  return await startRawUpstream(answer, await authority.issue([HOST, OTHER]));
}

async function open(
  upstream: RawUpstream,
  rules: readonly KeptRule[],
  more: LoopbackOptions = {},
): Promise<LoopbackGate> {
  return await openLoopbackGate(optionsFor(upstream, rules, more));
}

function optionsFor(upstream: RawUpstream, rules: readonly KeptRule[], more: LoopbackOptions = {}): LoopbackOptions {
  const pins = [HOST, OTHER].flatMap((host) => [443, 8443].map((port) => `${host}:${port}:127.0.0.1:${upstream.port}`));
  return { rules, resolve: pins, upstreamCa: authority.certificatePem, ...more };
}

/** Asks on a connection of its own. */
async function ask(gate: LoopbackGate, line: string, fields = '', host = HOST, port = 443): Promise<string> {
  const socket = await gate.connectTls(host, port);
  socket.write(`${line} HTTP/1.1\r\nhost: ${port === 443 ? host : `${host}:${port}`}\r\n${fields}\r\n`);
  const answer = await receive(socket, (text) => /\r\n\r\n[^]*(?:end|\})|^HTTP\/1.1 101/.test(text));
  socket.destroy();
  return answer;
}

const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]);

function problemOf(answer: string): Record<string, unknown> {
  return JSON.parse(answer.slice(answer.indexOf('{'))) as Record<string, unknown>;
}

const READS: KeptRule = { action: 'allow', pattern: HOST, methods: ['GET'], path: '/repos/**' };

test('the gate lets through what a rule with methods and a path allows, and answers everything else with the rule and a remedy', async () => {
  const seen: string[] = [];
  await using upstream = await startUpstream(seen);
  await using gate = await open(upstream, [READS]);
  assert.equal(statusOf(await ask(gate, 'GET /repos/me/one?page=2')), 200);
  assert.equal(statusOf(await ask(gate, 'GET /repos')), 200);
  const denied: readonly (readonly [line: string, fields?: string])[] = [
    ['POST /repos/me/one', 'content-length: 0\r\n'],
    ['HEAD /repos/me/one'],
    ['get /repos/me/one'],
    ['GET /user'],
    ['GET /repositories'],
    ['GET /repos/../user'],
    ['GET /repos/%2e%2e/user'],
    ['GET /repos%2f..%2fuser'],
    ['GET /repos/x', 'X-HTTP-Method-Override: DELETE\r\n'],
    ['GET /repos/x', 'x-method-override: get, PUT\r\n'],
    ['GET /repos/x', 'X_HTTP_Method_Override: DELETE\r\n'],
    ['GET /repos/x?a=1&%5fmethod=delete', ''],
    ['GET /repos/x?X-HTTP-Method-Override=PUT', ''],
  ];
  for (const [line, fields] of denied) {
    const answer = await ask(gate, line, fields);
    assert.equal(statusOf(answer), 403, line);
  }
  const problem = problemOf(await ask(gate, 'POST /repos/me/one', 'content-length: 0\r\n'));
  assert.deepEqual(
    [problem['code'], problem['rule'], problem['remedy']],
    [
      'REQUEST_DENIED',
      'no rule allows this request',
      `sallyport policy allow network ${HOST}:443 --method POST --path /repos/me/one`,
    ],
  );
  assert.match(String(problem['detail']), /POST "\/repos\/me\/one" is none of them/);
  assert.deepEqual(seen, ['GET /repos/me/one?page=2', 'GET /repos'], 'nothing else has left');
  const allowed = gate.events.find(({ decision }) => decision === 'allow');
  assert.equal(allowed?.rule, `policy allow network ${HOST} GET /repos/**`);
  const last = gate.events.at(-1);
  assert.deepEqual([last?.decision, last?.code, last?.rule], ['deny', 'REQUEST_DENIED', 'no rule allows this request']);
});

test('the gate denies what a rule denies, whatever allows the host', async () => {
  const seen: string[] = [];
  await using upstream = await startUpstream(seen);
  const deny: KeptRule = { action: 'deny', pattern: '*.example.com', methods: ['DELETE', 'PUT'], path: '/admin/**' };
  await using gate = await open(upstream, [deny, READS], { allow: [HOST] });
  assert.equal(statusOf(await ask(gate, 'GET /admin/x')), 200);
  assert.equal(statusOf(await ask(gate, 'DELETE /other')), 200);
  const problem = problemOf(await ask(gate, 'DELETE /admin/x'));
  assert.deepEqual(
    [problem['code'], problem['rule'], problem['remedy']],
    [
      'REQUEST_DENIED',
      'policy deny network *.example.com DELETE,PUT /admin/**',
      "sallyport policy rm network '*.example.com'",
    ],
  );
  for (const line of ['delete /admin/x', 'DELETE /%61dmin', 'DELETE /x/../admin/y', 'DELETE //admin']) {
    assert.equal(statusOf(await ask(gate, line)), 403, line);
  }
  assert.equal(statusOf(await ask(gate, 'POST /admin/x', 'X-Http-Method: put\r\ncontent-length: 0\r\n')), 403);
  assert.deepEqual(seen, ['GET /admin/x', 'DELETE /other']);
});

test('the gate opens the TLS of hosts that have such rules, and of no others; a secret opens no more than they', async () => {
  const seen: string[] = [];
  await using upstream = await startUpstream(seen);
  await using gate = await open(upstream, [READS], { allow: [OTHER] });
  const tunnel = await gate.connectTls(OTHER, 443, { ca: authority.certificatePem });
  tunnel.write(`POST /1 HTTP/1.1\r\nhost: ${OTHER}\r\ncontent-length: 0\r\n\r\n`);
  assert.match(await receive(tunnel, 'end'), /^HTTP\/1\.1 200/, 'by the certificate of the upstream');
  tunnel.destroy();
  assert.equal(statusOf(await ask(gate, 'GET /repos')), 200, 'by one of the gate');
  await using bound = await open(upstream, [READS], { secrets: [`TOKEN=canary-value-4711@${HOST}`] });
  assert.equal(statusOf(await ask(bound, 'GET /repos')), 200);
  assert.equal(statusOf(await ask(bound, 'GET /user')), 403);
  // Beside a rule for the whole host a narrower one narrows nothing.
  await using wide = await open(upstream, [READS, { action: 'allow', pattern: '**.example.com' }]);
  assert.equal(statusOf(await ask(wide, 'POST /user', 'content-length: 0\r\n')), 200);
  // A port that such a rule names is HTTPS.
  await using ported = await open(upstream, [{ ...READS, pattern: `${HOST}:8443` }]);
  assert.equal(statusOf(await ask(ported, 'GET /repos', '', HOST, 8443)), 200);
  assert.equal(statusOf(await ask(ported, 'GET /user', '', HOST, 8443)), 403);
});

test('OpenGate.reconfigure() judges the next request of an open connection by other rules, and ends tunnels', async () => {
  const seen: string[] = [];
  await using upstream = await startUpstream(seen);
  const anything: KeptRule = { action: 'allow', pattern: HOST };
  await using gate = await open(upstream, [anything]);
  const tunnel = await gate.connectTls(HOST, 443, { ca: authority.certificatePem });
  tunnel.write(`POST /1 HTTP/1.1\r\nhost: ${HOST}\r\ncontent-length: 0\r\n\r\n`);
  assert.match(await receive(tunnel, 'end'), /^HTTP\/1\.1 200/);
  tunnel.resume();
  const gone = Promise.race([once(tunnel, 'end'), once(tunnel, 'close')]);
  gate.reconfigure(optionsFor(upstream, [anything, { action: 'deny', pattern: HOST, methods: ['POST'] }]));
  await gone;
  tunnel.destroy();
  const socket = await gate.connectTls(HOST, 443);
  const get = `GET /2 HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`;
  socket.write(get);
  assert.match(await receive(socket, 'end'), /^HTTP\/1\.1 200/);
  gate.reconfigure(optionsFor(upstream, [anything, { action: 'deny', pattern: HOST, methods: ['GET'] }]));
  socket.write(get);
  assert.match(await receive(socket), /^HTTP\/1\.1 403 [^]*REQUEST_DENIED/);
  socket.destroy();
});

test('the gate judges WebSocket handshakes as the GET that they are', async () => {
  const seen: string[] = [];
  await using upstream = await startUpstream(seen);
  await using gate = await open(upstream, [{ action: 'allow', pattern: HOST, methods: ['GET'], path: '/chat' }]);
  const fields = `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n`;
  assert.equal(statusOf(await ask(gate, 'GET /chat', fields)), 101);
  assert.equal(statusOf(await ask(gate, 'GET /other', fields)), 403);
  assert.deepEqual(seen, ['GET /chat']);
});

test('the gate judges the streams of HTTP/2 one by one, extended CONNECT included', async () => {
  const seen: string[] = [];
  const sessions = new Set<http2.ServerHttp2Session>();
  const server = http2.createSecureServer({
    ...(await authority.issue([HOST])),
    settings: { enableConnectProtocol: true },
  });
  server.on('session', (session) => sessions.add(session.on('error', () => undefined)));
  server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    stream.on('error', () => undefined);
    seen.push(`${headers[':method']} ${headers[':path']}`);
    stream.respond({ ':status': 200 });
    if (headers[':protocol'] === undefined) stream.end('end');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await using gate = await openLoopbackGate({
    rules: [READS, { action: 'allow', pattern: HOST, methods: ['GET'], path: '/chat' }],
    resolve: [`${HOST}:443:127.0.0.1:${port}`],
    upstreamCa: authority.certificatePem,
  });
  const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] });
  const session = http2.connect(`https://${HOST}`, { createConnection: () => socket });
  session.on('error', () => undefined);
  await once(session, 'remoteSettings');
  const request = async (headers: http2.OutgoingHttpHeaders) => {
    const stream = session.request(headers, { endStream: headers[':protocol'] === undefined });
    stream.on('error', () => undefined);
    const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders];
    let body = '';
    stream.setEncoding('utf8').on('data', (text: string) => (body += text));
    if (headers[':protocol'] === undefined || Number(answer[':status']) !== 200) await once(stream, 'close');
    else stream.destroy();
    return { status: Number(answer[':status']), grpc: answer['grpc-status'], body };
  };
  const chat = { ':method': 'CONNECT', ':protocol': 'websocket', 'sec-websocket-version': '13' };
  assert.equal((await request({ ':path': '/repos/a' })).status, 200);
  const denied = await request({ ':path': '/repos/a', ':method': 'DELETE' });
  assert.equal(denied.status, 403);
  assert.match(denied.body, /REQUEST_DENIED.*--method DELETE --path \/repos\/a/);
  const call = await request({ ':path': '/pkg.Service/Call', ':method': 'POST', 'content-type': 'application/grpc' });
  assert.equal(call.grpc, '7', 'permission denied');
  assert.equal((await request({ ':path': '/chat', ...chat })).status, 200);
  assert.equal((await request({ ':path': '/other', ...chat })).status, 403);
  assert.deepEqual(seen, ['GET /repos/a', 'CONNECT /chat']);
  session.destroy();
  for (const each of sessions) each.destroy();
  await new Promise((resolve) => server.close(resolve));
});
