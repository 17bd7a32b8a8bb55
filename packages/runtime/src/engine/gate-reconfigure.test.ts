import assert from 'node:assert/strict';
import { once } from 'node:events';
import type net from 'node:net';
import { before, test } from 'node:test';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { compileRules, openLoopbackGate, placeholderOf, receive, type LoopbackOptions } from './loopback.testing.ts';
import { startRawUpstream, type RawUpstream } from './raw-upstream.testing.ts';

const HOST = 'api.example.com';
const OTHER = 'other.example.com';
const [FIRST, SECOND] = ['first-canary-4711', 'second-canary-0815'];
const PLACEHOLDER = placeholderOf('TOKEN');

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

/** An upstream that keeps the heads it got, and answers with the body of the day. */
async function startUpstream(seen: string[], body: () => string): Promise<RawUpstream> {
  const answer = (socket: net.Socket): void => {
    let pending = '';
    socket.on('data', (chunk: Buffer) => {
      pending += chunk.toString('latin1');
      for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
        seen.push(pending.slice(0, end + 4));
        pending = pending.slice(end + 4);
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body().length}\r\n\r\n${body()}`);
      }
    });
  };
  return await startRawUpstream(answer, await authority.issue([HOST, OTHER]));
}

function optionsFor(upstream: RawUpstream, more: LoopbackOptions = {}): LoopbackOptions {
  return {
    secrets: [`TOKEN=${FIRST}@${HOST}`],
    resolve: [`${HOST}:443:127.0.0.1:${upstream.port}`, `${OTHER}:443:127.0.0.1:${upstream.port}`],
    upstreamCa: authority.certificatePem,
    ...more,
  };
}

const request = (host: string) => `GET / HTTP/1.1\r\nhost: ${host}\r\nauthorization: Bearer ${PLACEHOLDER}\r\n\r\n`;

/** Asks on a connection that stays, and reads the whole answer. */
async function ask(socket: net.Socket, host = HOST): Promise<string> {
  socket.write(request(host));
  return await receive(socket, (text) => /\r\n\r\n[^]*end/.test(text));
}

async function ended(socket: net.Socket): Promise<void> {
  socket.resume();
  await Promise.race([once(socket, 'end'), once(socket, 'close')]);
  socket.destroy();
}

test('OpenGate.reconfigure() is for the next request of a connection that is open', async () => {
  const seen: string[] = [];
  await using upstream = await startUpstream(seen, () => `${FIRST} ${SECOND} end`);
  await using gate = await openLoopbackGate(optionsFor(upstream));
  const socket = await gate.connectTls(HOST, 443);
  const before_ = await ask(socket);
  assert.ok(before_.includes(`${PLACEHOLDER} ${SECOND} end`), 'what is no secret yet comes back');

  gate.reconfigure(optionsFor(upstream, { secrets: [`TOKEN=${SECOND}@${HOST}`] }));
  const rotated = await ask(socket);
  assert.ok(rotated.includes(`${PLACEHOLDER} ${PLACEHOLDER} end`), 'the older value is redacted as well');

  gate.reconfigure(optionsFor(upstream, { secrets: [], allow: [HOST] }));
  const removed = await ask(socket);
  assert.ok(removed.includes(`${PLACEHOLDER} ${PLACEHOLDER} end`), 'and so it is when the secret is gone');
  assert.deepEqual(
    seen.map((head) => /^authorization: Bearer (.*)\r$/im.exec(head)?.[1]),
    [FIRST, SECOND, PLACEHOLDER],
  );
  socket.destroy();
});

test('OpenGate.reconfigure() ends connections about which it would be decided otherwise, and no others', async () => {
  const seen: string[] = [];
  await using upstream = await startUpstream(seen, () => 'end');
  await using gate = await openLoopbackGate(optionsFor(upstream, { allow: [OTHER] }));
  const [kept, denied] = await Promise.all([gate.connectTls(HOST, 443), gate.connectTls(OTHER, 443)]);
  await ask(kept);
  await ask(denied, OTHER);
  const gone = ended(denied);
  gate.reconfigure(optionsFor(upstream, { deny: [OTHER] }));
  await gone;
  assert.ok((await ask(kept)).endsWith('end'));
  const refused = await gate.connectTls(OTHER, 443);
  refused.write(request(OTHER));
  assert.match(await receive(refused), /^HTTP\/1\.1 403 /);
  kept.destroy();
});

test('OpenGate.reconfigure() intercepts from the first secret on: tunnels end', async () => {
  const seen: string[] = [];
  await using upstream = await startUpstream(seen, () => 'end');
  const without = optionsFor(upstream, { secrets: [], allow: [HOST] });
  await using gate = await openLoopbackGate(without);
  const tunnel = await gate.connectTls(HOST, 443, { ca: authority.certificatePem });
  await ask(tunnel);
  const gone = ended(tunnel);
  gate.reconfigure(optionsFor(upstream));
  await gone;
  const intercepted = await gate.connectTls(HOST, 443);
  await ask(intercepted);
  assert.match(seen.at(-1) ?? '', new RegExp(`Bearer ${FIRST}`));
  intercepted.destroy();
});

test('a gate that is closed answers everything in words, and opens again', async () => {
  const seen: string[] = [];
  await using upstream = await startUpstream(seen, () => 'end');
  const closed = { status: 502, code: 'SECRET_VALUE_LOST', detail: 'The values are lost.' } as const;
  await using gate = await openLoopbackGate(optionsFor(upstream, { closed, allow: [OTHER] }));
  for (const host of [HOST, OTHER]) {
    const socket = await gate.connectTls(host, 443);
    socket.write(request(host));
    const answer = await receive(socket);
    assert.match(answer, /^HTTP\/1\.1 502 [^]*"code":"SECRET_VALUE_LOST"/);
  }
  const plain = await gate.connect(HOST, 80);
  plain.write(request(HOST));
  assert.match(await receive(plain), /^HTTP\/1\.1 (?:403|502) /);
  assert.deepEqual(seen, []);
  gate.reconfigure(optionsFor(upstream));
  const socket = await gate.connectTls(HOST, 443);
  assert.ok((await ask(socket)).endsWith('end'));
  socket.destroy();
});

test('OpenGate.replaceSecrets() is for the next request, and leaves every connection as it is', async () => {
  const seen: string[] = [];
  await using upstream = await startUpstream(seen, () => `${FIRST} ${SECOND} end`);
  await using gate = await openLoopbackGate(optionsFor(upstream));
  const socket = await gate.connectTls(HOST, 443);
  await ask(socket);
  gate.open.replaceSecrets(compileRules(optionsFor(upstream, { secrets: [`TOKEN=${SECOND}@${HOST}`] })).secrets);
  assert.ok((await ask(socket)).includes(`${PLACEHOLDER} ${PLACEHOLDER} end`));
  assert.deepEqual(
    seen.map((head) => /^authorization: Bearer (.*)\r$/im.exec(head)?.[1]),
    [FIRST, SECOND],
  );
  assert.equal(upstream.connections, 1, 'the upstream is not dialled anew');
  socket.destroy();
});

test('OpenGate.reconfigure() closes what began when there was nothing to protect, and leaves what waits for a request', async () => {
  const streams: net.Socket[] = [];
  await using upstream = await startRawUpstream((socket) => {
    socket.on('data', () => {
      streams.push(socket);
      socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: begun\n\n');
    });
  }, null);
  const options: LoopbackOptions = { allow: [`${HOST}:80`], resolve: [`${HOST}:80:127.0.0.1:${upstream.port}`] };
  await using gate = await openLoopbackGate(options);
  const [listening, waiting] = [await gate.connect(HOST, 80), await gate.connect(HOST, 80)];
  listening.write(`GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`);
  await receive(listening, 'begun');
  gate.reconfigure({ ...options, secrets: [`TOKEN=${FIRST}@http://${HOST}`] });
  streams[0]?.write(`data: ${FIRST}\n\n`);
  assert.equal(await receive(listening), '');
  waiting.write(`GET / HTTP/1.1\r\nhost: ${HOST}\r\n\r\n`);
  await receive(waiting, 'begun');
  streams[1]?.write(`data: ${FIRST} end\n\n`);
  assert.match(await receive(waiting, 'end'), new RegExp(`${PLACEHOLDER} end`));
  for (const socket of [listening, waiting]) socket.destroy();
});
