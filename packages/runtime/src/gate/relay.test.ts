import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { relay, RelayInput, type RelayCounts } from './relay.ts';

const CHUNK_BYTES = 300_000;
const CHUNKS = 60;

async function listen(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Sends random bytes, each piece when the last one is with the kernel. Resolves to their digest. */
async function sendRandom(socket: net.Socket): Promise<string> {
  const hash = createHash('sha256');
  for (let index = 0; index < CHUNKS; index += 1) {
    const chunk = randomBytes(CHUNK_BYTES);
    hash.update(chunk);
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  socket.end();
  return hash.digest('hex');
}

/** Reads to the end, with a pause now and then that is long enough for every buffer on the way to fill. */
async function receiveSlowly(socket: net.Socket): Promise<string> {
  const hash = createHash('sha256');
  let reads = 0;
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    reads += 1;
    if (reads % 50 !== 0) return;
    socket.pause();
    setTimeout(() => socket.resume(), 5);
  });
  await once(socket, 'end');
  return hash.digest('hex');
}

test('relay() passes on what it was given, both ways, whoever is slow', async () => {
  const sent: Promise<string>[] = [];
  const received: Promise<string>[] = [];
  const serve = (socket: net.Socket): void => {
    sent.push(sendRandom(socket));
    received.push(receiveSlowly(socket));
  };
  const upstreamServer = net.createServer({ allowHalfOpen: true }, serve);
  const upstreamPort = await listen(upstreamServer);
  const ended: Promise<RelayCounts>[] = [];
  const front = net.createServer({ allowHalfOpen: true, pauseOnConnect: true }, (client) => {
    const input = new RelayInput();
    const upstream = net.connect({ host: '127.0.0.1', port: upstreamPort, allowHalfOpen: true, onread: input }).pause();
    ended.push(new Promise((resolve) => relay(client, upstream, input, () => undefined, resolve)));
  });
  const port = await listen(front);
  for (let index = 0; index < 3; index += 1) serve(net.connect({ host: '127.0.0.1', port, allowHalfOpen: true }));
  try {
    await Promise.all(received.slice(0, 3));
    assert.deepEqual((await Promise.all(received)).toSorted(), (await Promise.all(sent)).toSorted());
    for (const counts of await Promise.all(ended)) {
      assert.deepEqual(counts, { sent: CHUNKS * CHUNK_BYTES, received: CHUNKS * CHUNK_BYTES });
    }
  } finally {
    front.close();
    upstreamServer.close();
  }
});
