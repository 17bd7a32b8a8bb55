import assert from 'node:assert/strict';
import http2 from 'node:http2';
import type net from 'node:net';
import { test } from 'node:test';

import { createAuthority } from '../../../../e2e/harness/certificates.ts';
import { encodeFields, encodeFrame, FLAG, FRAME, WireClient } from './http2-wire.testing.ts';
import { openLoopbackGate } from './loopback.testing.ts';

const HOST = 'api.test.example';
const CLIENTS = 3;
const STREAMS = 100;

test('more requests at once than one upstream connection has room for go on several', async () => {
  const authority = await createAuthority();
  const server = http2.createSecureServer(await authority.issue([HOST]));
  const waiting: http2.ServerHttp2Stream[] = [];
  server.on('stream', (stream: http2.ServerHttp2Stream) => {
    stream.on('error', () => undefined);
    waiting.push(stream);
    if (waiting.length < CLIENTS * STREAMS) return;
    for (const each of waiting) each.respond({ ':status': 200 }, { endStream: true });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await using gate = await openLoopbackGate({
    allow: [HOST],
    secrets: ['TOKEN=zqw9erty-8765-xyz@bound.example'],
    resolve: [`${HOST}:443:127.0.0.1:${port}`],
    upstreamCa: authority.certificatePem,
  });
  const block = encodeFields([
    [':method', 'GET'],
    [':scheme', 'https'],
    [':authority', HOST],
    [':path', '/'],
  ]);
  const ids = Array.from({ length: STREAMS }, (_, index) => 2 * index + 1);
  const sockets = await Promise.all(
    Array.from({ length: CLIENTS }, () => gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] })),
  );
  const clients = sockets.map((socket) => new WireClient(socket));
  const flags = FLAG.endHeaders | FLAG.endStream;
  for (const client of clients) {
    client.sendRaw(Buffer.concat(ids.map((id) => encodeFrame(FRAME.headers, flags, id, block))));
  }
  const outcomes = await Promise.all(clients.flatMap((client) => ids.map((id) => client.outcomeOf(id))));
  assert.deepEqual(new Set(outcomes), new Set(['200']));
  for (const client of clients) client.destroy();
  server.close();
});
