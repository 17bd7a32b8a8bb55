import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { before, test } from 'node:test';
import { DEFAULT_CIPHERS, TLSSocket, connect } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';

import { CertificateAuthority, LEAF_LIFE_MS } from './certificate-authority.ts';
import { LeafContexts, TICKET_KEY_LIFE_MS } from './secure-contexts.ts';

let authority: CertificateAuthority;
before(async () => {
  authority = await CertificateAuthority.create({ openssl: 'openssl', commonName: 'Test CA' });
});

/** Counts issued leaves. */
function counting(now?: () => number) {
  const issued: string[] = [];
  const counted = {
    issueLeaf: async (host: string) => {
      issued.push(host);
      if (host === 'bad.example') {
        throw new Error('no');
      }
      return authority.issueLeaf(host);
    },
  } as unknown as CertificateAuthority;
  return {
    issued,
    contexts: new LeafContexts({ authority: counted, capacity: 2, ...(now === undefined ? {} : { now }) }),
  };
}

test('contextFor() makes one context for a host, also when asked twice at once', async () => {
  const { issued, contexts } = counting();
  const [first, second] = await Promise.all([contexts.contextFor('a.example'), contexts.contextFor('a.example')]);
  assert.equal(first, second);
  assert.equal(await contexts.contextFor('a.example'), first);
  assert.deepEqual(issued, ['a.example']);
});

test('contextFor() forgets the host that was used least recently', async () => {
  const { issued, contexts } = counting();
  for (const host of ['a.example', 'b.example', 'a.example', 'c.example', 'a.example', 'b.example']) {
    await contexts.contextFor(host);
    assert.ok(contexts.size <= 2);
  }
  assert.deepEqual(issued, ['a.example', 'b.example', 'c.example', 'b.example']);
});

test('contextFor() tries again after a failure, and issues anew before a leaf ends', async () => {
  let now = Date.now();
  const { issued, contexts } = counting(() => now);
  await assert.rejects(contexts.contextFor('bad.example'));
  await assert.rejects(contexts.contextFor('bad.example'));
  assert.equal(contexts.size, 0);
  await contexts.contextFor('a.example');
  now += LEAF_LIFE_MS - 3_600_000;
  await contexts.contextFor('a.example');
  assert.deepEqual(issued, ['bad.example', 'bad.example', 'a.example', 'a.example']);
});

test('contextFor() lets no session of an earlier ticket key be resumed', async () => {
  for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
    let now = Date.now();
    const { issued, contexts } = counting(() => now);
    const server = createServer((socket) => {
      void contexts.contextFor('a.example').then((secureContext) => {
        const tls = new TLSSocket(socket, { isServer: true, secureContext });
        tls.on('error', () => undefined);
        tls.end('x');
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    let session: Buffer | undefined;
    const isReused = async (): Promise<boolean> => {
      const socket = connect({
        ...{ port, host: '127.0.0.1', servername: 'a.example', ca: authority.certificatePem, maxVersion },
        ...(session === undefined ? {} : { session }),
      });
      socket.on('session', (bytes: Buffer) => (session ??= bytes));
      await once(socket, 'secureConnect');
      const reused = socket.isSessionReused();
      socket.resume();
      await once(socket, 'close');
      return reused;
    };
    try {
      assert.deepEqual([await isReused(), await isReused()], [false, true], maxVersion);
      now += TICKET_KEY_LIFE_MS - 1;
      assert.equal(await isReused(), true, maxVersion);
      now += 1;
      assert.equal(await isReused(), false, maxVersion);
      assert.deepEqual(issued, ['a.example', 'a.example']);
    } finally {
      server.close();
    }
  }
});

test('contextFor() prefers the cheapest suite of TLS 1.3, and takes every other that Node takes', async () => {
  const contexts = new LeafContexts({ authority });
  const server = createServer((socket) => {
    void contexts.contextFor('a.example').then((secureContext) => {
      const tls = new TLSSocket(socket, { isServer: true, secureContext });
      tls.on('error', () => undefined);
      tls.end('x');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const [fast, strong, chacha] = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'];
  const tls12 = 'ECDHE-ECDSA-AES256-GCM-SHA384';
  const cases: readonly [offered: string, chosen: string][] = [
    [DEFAULT_CIPHERS, fast ?? ''],
    [`${strong}:${chacha}:${fast}`, fast ?? ''],
    [`${strong}:${chacha}`, strong ?? ''],
    [`${chacha}:${strong}:${fast}`, chacha ?? ''],
    [tls12, tls12],
  ];
  try {
    for (const [ciphers, chosen] of cases) {
      const maxVersion = ciphers === tls12 ? 'TLSv1.2' : 'TLSv1.3';
      const options = { port, host: '127.0.0.1', servername: 'a.example', ca: authority.certificatePem };
      const socket = connect({ ...options, ciphers, maxVersion });
      await once(socket, 'secureConnect');
      assert.equal(socket.getCipher().name, chosen, ciphers);
      socket.resume();
      await once(socket, 'close');
    }
  } finally {
    server.close();
  }
});

test('contextFor() serves real clients: TLS 1.2 and up, resumption for the same host alone', async () => {
  const contexts = new LeafContexts({ authority, capacity: 1 });
  let host = 'a.example';
  async function serve(socket: Socket): Promise<void> {
    const tls = new TLSSocket(socket, { isServer: true, secureContext: await contexts.contextFor(host) });
    tls.on('error', () => undefined);
    tls.end('x');
  }
  const server = createServer((socket) => void serve(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;

  async function visit(
    options: ConnectionOptions,
  ): Promise<{ reused: boolean; session: Buffer | undefined; names: string | undefined }> {
    const socket = connect({ port, host: '127.0.0.1', servername: host, ca: authority.certificatePem, ...options });
    let session: Buffer | undefined;
    socket.on('session', (bytes: Buffer) => (session = bytes));
    try {
      await once(socket, 'secureConnect');
      const reused = socket.isSessionReused();
      // A resumed session brings no certificate.
      const names = socket.getPeerX509Certificate()?.subjectAltName;
      socket.resume();
      await once(socket, 'close');
      return { reused, session, names };
    } finally {
      socket.destroy();
    }
  }

  try {
    for (const maxVersion of ['TLSv1.3', 'TLSv1.2'] as const) {
      host = 'a.example';
      const first = await visit({ maxVersion });
      assert.deepEqual([first.reused, first.names], [false, 'DNS:a.example']);
      assert.ok(first.session !== undefined);
      // Evicts the first context: the ticket key stays.
      host = 'b.example';
      const other = await visit({ maxVersion, session: first.session });
      assert.deepEqual([other.reused, other.names], [false, 'DNS:b.example'], maxVersion);
      host = 'a.example';
      assert.equal((await visit({ maxVersion, session: first.session })).reused, true, maxVersion);
    }
    await assert.rejects(visit({ minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' }));
  } finally {
    server.close();
  }
});
