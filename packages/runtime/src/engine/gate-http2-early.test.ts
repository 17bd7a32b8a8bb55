import assert from 'node:assert/strict';
import type net from 'node:net';
import { describe, test } from 'node:test';
import tls from 'node:tls';

import { createAuthority } from '../../../../e2e/harness/certificates.ts';
import { encodeFields, encodeFrame, FLAG, FRAME, WireClient, type WireField } from './http2-wire.testing.ts';
import { openLoopbackGate, type LoopbackGate, type LoopbackOptions } from './loopback.testing.ts';

// An upstream that answers before the request has come whole.

const HOST = 'api.test.example';
const POST: readonly WireField[] = [
  [':method', 'POST'],
  [':scheme', 'https'],
  [':authority', HOST],
  [':path', '/'],
];
const authority = await createAuthority();
const identity = await authority.issue([HOST]);

/** What an upstream saw, and the end of its connection. */
interface Upstream extends AsyncDisposable {
  readonly gate: LoopbackGate;
  readonly client: WireClient;
  readonly received: () => Buffer;
  /** Waits until what came fits, or the connection is over. */
  readonly until: (fits: (received: Buffer) => boolean) => Promise<'came' | 'closed'>;
}

/** Sends half of a request through a gate to an upstream that answers its head with these bytes. */
async function openHalf(alpn: string, answer: Buffer, options: LoopbackOptions = {}): Promise<Upstream> {
  let received = Buffer.alloc(0);
  let isClosed = false;
  let wake: () => void = () => undefined;
  const server = tls.createServer({ ...identity, ALPNProtocols: [alpn] }, (socket) => {
    let hasAnswered = false;
    socket.on('error', () => undefined);
    socket.on('close', () => {
      isClosed = true;
      wake();
    });
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (!hasAnswered && received.includes('half')) {
        hasAnswered = true;
        socket.write(answer);
      }
      wake();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const gate = await openLoopbackGate({
    allow: [HOST],
    secrets: ['TOKEN=zqw9erty-8765-xyz@bound.example'],
    resolve: [`${HOST}:443:127.0.0.1:${port}`],
    upstreamCa: authority.certificatePem,
    ...options,
  });
  const client = new WireClient(await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] }));
  client.send(FRAME.headers, FLAG.endHeaders, 1, encodeFields(POST));
  client.send(FRAME.data, 0, 1, Buffer.from('half'));
  return {
    gate,
    client,
    received: () => received,
    until: async (fits) => {
      while (!isClosed && !fits(received)) await new Promise<void>((resolve) => (wake = resolve));
      return fits(received) ? 'came' : 'closed';
    },
    [Symbol.asyncDispose]: async () => {
      client.destroy();
      await gate[Symbol.asyncDispose]();
      server.close();
    },
  };
}

const SETTINGS = encodeFrame(FRAME.settings, 0, 0);
const HTTP2_HEAD = encodeFields([[':status', '200']]);

describe('a whole answer to half of a request', () => {
  test('leaves no stream open at an upstream of HTTP/2', async () => {
    const head = encodeFrame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 1, HTTP2_HEAD);
    await using upstream = await openHalf('h2', Buffer.concat([SETTINGS, head]));
    assert.equal(await upstream.client.outcomeOf(1), '200');
    const cancel = encodeFrame(FRAME.reset, 0, 1, Buffer.of(0, 0, 0, 8));
    assert.equal(await upstream.until((received) => received.includes(cancel)), 'came');
  });

  test('leaves no connection open at an upstream of HTTP/1', async () => {
    await using upstream = await openHalf('http/1.1', Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
    assert.equal(await upstream.client.outcomeOf(1), '200');
    assert.equal(await upstream.until(() => false), 'closed');
    assert.doesNotMatch(upstream.received().toString('latin1'), /\r\n0\r\n/);
  });
});

test('a request that stops coming behind the beginning of its answer cuts that off, and nothing stands in for the rest', async () => {
  const head = encodeFrame(FRAME.headers, FLAG.endHeaders, 1, HTTP2_HEAD);
  const data = encodeFrame(FRAME.data, 0, 1, Buffer.from('the beginning'));
  await using upstream = await openHalf('h2', Buffer.concat([SETTINGS, head, data]), {
    timeLimits: { bodyIdleMs: 50, sweepMs: 20 },
  });
  const { client, gate } = upstream;
  await client.until(({ type }) => type === FRAME.data);
  client.send(FRAME.data, 0, 1, Buffer.from('more'));
  const last = await client.until(
    ({ type, flags, stream }) => stream === 1 && (type === FRAME.reset || (flags & FLAG.endStream) !== 0),
  );
  assert.equal(last?.type, FRAME.reset);
  const body = client.frames.filter(({ type }) => type === FRAME.data).map(({ payload }) => payload.toString());
  assert.equal(body.join(''), 'the beginning');
  assert.deepEqual(
    gate.events.map(({ decision, code }) => [decision, code]),
    [['deny', 'CLIENT_TIMEOUT']],
  );
});
