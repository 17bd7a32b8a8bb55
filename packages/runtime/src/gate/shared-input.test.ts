import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';
import { CertificateAuthority } from '../tls/certificate-authority.ts';
import { CLIENT_MEMORY, SharedInput, UPSTREAM_MEMORY } from './shared-input.ts';
import { UpstreamConnection } from './upstream-connection.ts';

const CONNECTIONS = 3;
const BYTES = 8_000_000;

async function open(port: number): Promise<UpstreamConnection> {
  const input = new SharedInput(UPSTREAM_MEMORY);
  const socket = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true, onread: input });
  input.attach(socket);
  await once(socket, 'connect');
  return new UpstreamConnection(socket, 'key', input, () => undefined);
}

/** Reads to the end; `pauses` says how reading is interrupted now and then. Resolves to a digest. */
async function digest(upstream: UpstreamConnection, pauses: 'pause' | 'hold', copiesChunks: boolean): Promise<string> {
  const hash = createHash('sha256');
  const kept: Buffer[] = [];
  let reads = 0;
  let isHeld = false;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  upstream.lend({
    ...(copiesChunks ? { copiesChunks } : {}),
    upstreamData: (chunk) => {
      assert.ok(!isHeld, 'nothing comes while it is held');
      if (copiesChunks) hash.update(chunk);
      else kept.push(chunk);
      reads += 1;
      if (reads % 7 !== 0) return;
      upstream[pauses]();
      isHeld = pauses === 'hold';
      setTimeout(() => {
        isHeld = false;
        upstream.resume();
      }, 1);
    },
    upstreamEnd: resolve,
    upstreamDrain: () => undefined,
  });
  assert.ok(await promise, 'the end is clean');
  for (const chunk of kept) hash.update(chunk);
  return hash.digest('hex');
}

for (const pauses of ['pause', 'hold'] as const) {
  for (const copiesChunks of [true, false]) {
    test(`SharedInput gives each connection its own bytes, in order (${pauses}, ${copiesChunks ? 'read at once' : 'kept'})`, async () => {
      const sent: string[] = [];
      const server = net.createServer((socket) => {
        const bytes = randomBytes(BYTES);
        sent.push(createHash('sha256').update(bytes).digest('hex'));
        socket.end(bytes);
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      try {
        const upstreams = await Promise.all(Array.from({ length: CONNECTIONS }, async () => open(port)));
        const received = await Promise.all(upstreams.map(async (upstream) => digest(upstream, pauses, copiesChunks)));
        assert.deepEqual(received.toSorted(), sent.toSorted());
      } finally {
        server.close();
      }
    });
  }
}

test('UpstreamConnection.detach() hands over a socket that tells of its bytes by `data`', async () => {
  const server = net.createServer((socket) => socket.end('first'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const upstream = await open((server.address() as AddressInfo).port);
    const socket = upstream.detach();
    await new Promise((resolve) => setTimeout(resolve, 20));
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    socket.resume();
    await once(socket, 'end');
    assert.equal(text, 'first');
    socket.destroy();
  } finally {
    server.close();
  }
});

test('SharedInput.take() has a TLS server read into the shared memory, and tells all that it is sent', async () => {
  const authority = await CertificateAuthority.create({ openssl: 'openssl', commonName: 'Test CA' });
  const { certPem: cert, keyPem: key } = await authority.issueLeaf('localhost');
  const { promise, resolve } = Promise.withResolvers<string>();
  const server = net.createServer({ pauseOnConnect: true }, (raw) => {
    const socket = new tls.TLSSocket(raw, { isServer: true, key, cert });
    const hash = createHash('sha256');
    const input = new SharedInput(CLIENT_MEMORY);
    input.receive = (bytes) => {
      assert.equal(bytes.buffer, CLIENT_MEMORY.buffer.buffer);
      hash.update(bytes);
    };
    input.take(socket);
    socket.on('data', () => assert.fail('a socket that flows needs no chunk of its own'));
    socket.on('end', () => resolve(hash.digest('hex')));
    socket.resume();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  try {
    const bytes = randomBytes(BYTES);
    client.end(bytes);
    assert.equal(await promise, createHash('sha256').update(bytes).digest('hex'));
  } finally {
    client.destroy();
    server.close();
  }
});
