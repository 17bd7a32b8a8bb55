import assert from 'node:assert/strict';
import http2 from 'node:http2';
import type net from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';

import { createAuthority } from '../../../../e2e/harness/certificates.ts';
import { openLoopbackGate, type LoopbackGate } from './loopback.testing.ts';

// What is cut off must not arrive as a whole: half of a request could be carried out, half of an answer be taken for all of it.

const HOST = 'api.test.example';
const CODES = [http2.constants.NGHTTP2_NO_ERROR, http2.constants.NGHTTP2_CANCEL];
const authority = await createAuthority();
const identity = await authority.issue([HOST]);

const [DATA, HEADERS, RST_STREAM, SETTINGS] = [0, 1, 3, 4];
const END_HEADERS = 4;

/** A frame of stream 1, or of the connection; Latin-1. Node's client would end a stream before it resets it. */
function frame(type: number, flags: number, payload: string): string {
  const stream = type === SETTINGS ? 0 : 1;
  return String.fromCharCode(0, 0, payload.length, type, flags, 0, 0, 0, stream) + payload;
}

/** A POST to `/` whose body goes on: fields of the static table, and `:authority` as a literal (RFC 7541). */
const POST_HALF =
  'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' +
  frame(SETTINGS, 0, '') +
  frame(HEADERS, END_HEADERS, `\x83\x87\x84\x01${String.fromCharCode(HOST.length)}${HOST}`) +
  frame(DATA, 0, 'half');

async function openGateTo(server: net.Server): Promise<LoopbackGate> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  return openLoopbackGate({
    allow: [HOST],
    secrets: ['TOKEN=zqw9erty-8765-xyz@bound.example'],
    resolve: [`${HOST}:443:127.0.0.1:${port}`],
    upstreamCa: authority.certificatePem,
  });
}

async function connectThrough(gate: LoopbackGate): Promise<http2.ClientHttp2Session> {
  const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] });
  const session = http2.connect(`https://${HOST}`, { createConnection: () => socket });
  session.on('error', () => undefined);
  return session;
}

for (const code of CODES) {
  test(`a request that its client resets with code ${code} does not end at an upstream of HTTP/1`, async () => {
    let reached = '';
    const ended = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const server = tls.createServer({ ...identity, ALPNProtocols: ['http/1.1'] }, (socket) => {
      socket.on('error', () => undefined);
      socket.on('close', () => ended.resolve());
      socket.on('data', (chunk: Buffer) => {
        reached += chunk.toString('latin1');
        if (reached.includes('half')) begun.resolve();
      });
    });
    await using gate = await openGateTo(server);
    const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] });
    socket.on('error', () => undefined).resume();
    socket.write(POST_HALF, 'latin1');
    await begun.promise;
    socket.write(frame(RST_STREAM, 0, `\0\0\0${String.fromCharCode(code)}`), 'latin1');
    await ended.promise;
    socket.destroy();
    server.close();
    assert.match(reached, /4\r\nhalf\r\n$/);
    assert.deepEqual(
      gate.events.map(({ decision }) => decision),
      ['error'],
    );
  });

  test(`an answer that its upstream resets with code ${code} does not end at the client`, async () => {
    const server = http2.createSecureServer(identity);
    let reset = (): void => undefined;
    server.on('stream', (stream: http2.ServerHttp2Stream) => {
      stream.on('error', () => undefined);
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.write('half');
      reset = () => stream.close(code);
    });
    await using gate = await openGateTo(server);
    const session = await connectThrough(gate);
    const stream = session.request({ ':path': '/' });
    stream.once('data', () => reset());
    stream.on('error', () => undefined);
    await new Promise((resolve) => stream.on('close', resolve));
    assert.notEqual(stream.rstCode, http2.constants.NGHTTP2_NO_ERROR);
    session.destroy();
    server.close();
    assert.deepEqual(
      gate.events.map(({ decision, code: why }) => [decision, why]),
      [['error', 'UPSTREAM_MALFORMED']],
    );
  });
}

test('a whole answer with a reset behind it is whole: the upstream wants no more of the request', async () => {
  const server = http2.createSecureServer(identity);
  server.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.on('error', () => undefined);
    stream.respond({ ':status': 413 });
    stream.end('too much', () => setImmediate(() => stream.close(http2.constants.NGHTTP2_NO_ERROR)));
  });
  await using gate = await openGateTo(server);
  const session = await connectThrough(gate);
  const stream = session.request({ ':method': 'POST', ':path': '/' });
  stream.on('error', () => undefined);
  stream.write('half');
  let body = '';
  stream.on('data', (chunk: Buffer) => (body += chunk.toString()));
  await new Promise((resolve) => stream.on('close', resolve));
  session.destroy();
  server.close();
  assert.equal(body, 'too much');
  assert.deepEqual(
    gate.events.map(({ decision, status }) => [decision, status]),
    [['allow', 413]],
  );
});
