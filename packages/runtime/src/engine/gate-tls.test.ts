import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { before, describe, test } from 'node:test';
import { duplexPair } from 'node:stream';
import tls from 'node:tls';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { readClientHello } from '../tls/client-hello.ts';
import { openLoopbackGate, receive, type LoopbackGate, type LoopbackOptions } from './loopback.testing.ts';

const HOST = 'api.example.com';
const GET = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;
/** What old versions need of today's OpenSSL. */
const OLD = { ciphers: 'DEFAULT:@SECLEVEL=0' } as const;

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

interface Upstream extends AsyncDisposable {
  readonly port: number;
  readonly seen: { readonly resumed: boolean; readonly version: string | null }[];
  /** The first bytes of each connection. */
  readonly hellos: Buffer[];
}

/** An upstream that answers every request and then closes. */
async function startUpstream(options: tls.TlsOptions = {}, names = [HOST]): Promise<Upstream> {
  const seen: Upstream['seen'] = [];
  const hellos: Buffer[] = [];
  const sockets = new Set<net.Socket>();
  const server = tls.createServer({ ...(await authority.issue(names)), ...options }, (socket) => {
    seen.push({ resumed: socket.isSessionReused(), version: socket.getProtocol() });
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.end('HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nfine');
    });
  });
  server.on('tlsClientError', () => undefined);
  // In front of it, who sees what comes first.
  const front = net.createServer((socket) => {
    const inner = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
    for (const [one, other] of [
      [socket, inner],
      [inner, socket],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.pipe(other);
    }
    socket.once('data', (chunk: Buffer) => hellos.push(chunk));
  });
  const servers = [server, front];
  await Promise.all(
    servers.map((each) => new Promise<void>((resolve) => each.listen(0, '127.0.0.1', () => resolve()))),
  );
  return {
    port: (front.address() as net.AddressInfo).port,
    seen,
    hellos,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map((each) => new Promise((resolve) => each.close(resolve))));
    },
  };
}

async function open(upstream: { readonly port: number }, options: LoopbackOptions = {}): Promise<LoopbackGate> {
  return openLoopbackGate({
    secrets: [`TOKEN=canary-value-4711@${HOST}`],
    resolve: [`${HOST}:443:127.0.0.1:${upstream.port}`],
    upstreamCa: authority.certificatePem,
    ...options,
  });
}

async function ask(gate: LoopbackGate, options: tls.ConnectionOptions = {}, host = HOST): Promise<string> {
  const socket = await gate.connectTls(host, 443, options);
  socket.end(GET.replace(HOST, host));
  const text = await receive(socket);
  socket.destroy();
  return text;
}

/** Sends raw bytes in place of a ClientHello; gives what comes back until the end. */
async function sendRaw(
  gate: LoopbackGate,
  pieces: readonly Buffer[],
  until?: (text: string) => boolean,
): Promise<Buffer> {
  const socket = await gate.connect(HOST, 443);
  socket.setNoDelay(true);
  socket.on('error', () => undefined);
  for (const piece of pieces) {
    socket.write(piece);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const text = await receive(socket, until);
  socket.destroy();
  return Buffer.from(text, 'latin1');
}

async function nextEvent(gate: LoopbackGate) {
  while (gate.events.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
  const [event] = gate.events.splice(0);
  return { decision: event?.decision, code: event?.code, rule: event?.rule };
}

/** What Node's client says first, as one record. */
async function captureHello(options: tls.ConnectionOptions = {}): Promise<Buffer> {
  const [near, far] = duplexPair();
  const socket = tls.connect({ socket: near, servername: HOST, ...options });
  socket.on('error', () => undefined);
  const chunk = await new Promise<Buffer>((resolve) => far.once('data', resolve));
  socket.destroy();
  far.destroy();
  return chunk;
}

/** Cuts a TLS record into records of at most `size` bytes of content. */
function splitRecord(record: Buffer, size: number): Buffer {
  const content = record.subarray(5);
  const parts: Buffer[] = [];
  for (let offset = 0; offset < content.length; offset += size) {
    const part = content.subarray(offset, offset + size);
    parts.push(Buffer.of(...record.subarray(0, 3), part.length >>> 8, part.length & 0xff), part);
  }
  return Buffer.concat(parts);
}

/** Adds an extension to a ClientHello that is one record. */
function addExtension(record: Buffer, type: number, data: Buffer): Buffer {
  const body = record.subarray(9);
  // Version and random, then session id, cipher suites and compression methods, each with its length.
  let offset = 34;
  offset += 1 + (body[offset] ?? 0);
  offset += 2 + body.readUInt16BE(offset);
  offset += 1 + (body[offset] ?? 0);
  const extension = Buffer.concat([Buffer.of(type >>> 8, type & 0xff, data.length >>> 8, data.length & 0xff), data]);
  const extensions = Buffer.concat([extension, body.subarray(offset + 2)]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(extensions.length);
  const message = Buffer.concat([body.subarray(0, offset), length, extensions]);
  const head = Buffer.of(22, 3, 1, 0, 0, 1, 0, 0, 0);
  head.writeUInt16BE(message.length + 4, 3);
  head.writeUIntBE(message.length, 6, 3);
  return Buffer.concat([head, message]);
}

/** Lets a client's first flight through as records of `size` bytes, in writes of `cut` bytes; whatever follows as it comes. */
async function connectInPieces(
  gate: LoopbackGate,
  size: number,
  cut: number,
  options: tls.ConnectionOptions = {},
): Promise<tls.TLSSocket> {
  const raw = await gate.connect(HOST, 443);
  raw.setNoDelay(true);
  const [near, far] = duplexPair();
  let isFirst = true;
  let sending = Promise.resolve();
  far.on('data', (chunk: Buffer) => {
    const bytes = isFirst ? splitRecord(chunk, size) : chunk;
    const step = isFirst ? cut : bytes.length;
    isFirst = false;
    sending = sending.then(async () => {
      for (let offset = 0; offset < bytes.length; offset += step) {
        raw.write(bytes.subarray(offset, offset + step));
        await new Promise((resolve) => setImmediate(resolve));
      }
    });
  });
  raw.pipe(far);
  const secure = tls.connect({ socket: near, servername: HOST, ca: gate.caPem, ...options });
  await new Promise((resolve, reject) => secure.once('secureConnect', resolve).once('error', reject));
  return secure;
}

describe('versions of TLS', () => {
  test('1.2 and 1.3 are spoken on both sides', async () => {
    for (const version of VERSIONS) {
      await using upstream = await startUpstream({ minVersion: version, maxVersion: version });
      await using gate = await open(upstream);
      for (const own of VERSIONS) assert.match(await ask(gate, { minVersion: own, maxVersion: own }), /fine$/);
      assert.deepEqual(
        upstream.seen.map((connection) => connection.version),
        [version, version],
      );
    }
  });

  test('a client with an older one is refused by an alert, and the log says why', async () => {
    await using upstream = await startUpstream();
    await using gate = await open(upstream, { allow: ['pinned.example.com'], tunnel: ['pinned.example.com'] });
    for (const version of ['TLSv1', 'TLSv1.1'] as const) {
      for (const host of [HOST, 'pinned.example.com', 'denied.example.com']) {
        await assert.rejects(gate.connectTls(host, 443, { ...OLD, minVersion: version, maxVersion: version }), {
          code: /PROTOCOL_VERSION/,
        });
        assert.deepEqual(await nextEvent(gate), {
          decision: 'deny',
          code: 'TLS_VERSION_REFUSED',
          rule: 'the client offers neither TLS 1.2 nor 1.3',
        });
      }
    }
    assert.deepEqual(upstream.hellos, []);
  });

  test('so is one of SSL 3 or SSL 2, in either shape', async () => {
    await using upstream = await startUpstream();
    await using gate = await open(upstream);
    const modern = await captureHello({ maxVersion: 'TLSv1.2' });
    const ssl3 = Buffer.from(modern);
    ssl3.writeUInt16BE(0x0300, 9);
    const cipherSuites = Buffer.of(0x01, 0x00, 0x80);
    // SSL 2, and TLS 1.0 in a hello of that shape (RFC 5246 appendix E.2).
    const shaped = [0x0002, 0x0301].map((version) =>
      Buffer.concat([
        Buffer.of(
          0x80,
          9 + cipherSuites.length + 16,
          1,
          version >>> 8,
          version & 0xff,
          0,
          cipherSuites.length,
          0,
          0,
          0,
          16,
        ),
        cipherSuites,
        randomBytes(16),
      ]),
    );
    for (const hello of [ssl3, ...shaped]) {
      const answer = await sendRaw(gate, [hello]);
      assert.deepEqual(answer, Buffer.of(21, 3, 1, 0, 2, 2, 70));
      assert.equal((await nextEvent(gate)).code, 'TLS_VERSION_REFUSED');
    }
  });

  test('an upstream with an older one is told of in words', async () => {
    for (const version of ['TLSv1', 'TLSv1.1'] as const) {
      await using upstream = await startUpstream({ ...OLD, minVersion: version, maxVersion: version });
      await using gate = await open(upstream);
      const text = await ask(gate);
      assert.match(text, /^HTTP\/1\.1 502 [^]*UPSTREAM_TLS_FAILED/);
      assert.match(text, /refuses TLS 1\.2 and 1\.3|only offers TLS versions below 1\.2/);
      assert.deepEqual(upstream.seen, []);
    }
  });

  test('an upstream that answers with an older one though it was not offered is told of in words', async () => {
    // A ServerHello of TLS 1.0, and one of SSL 3.
    for (const minor of [1, 0]) {
      const server = net.createServer((socket) => {
        socket.on('error', () => undefined);
        socket.once('data', () => {
          const body = Buffer.concat([Buffer.of(3, minor), randomBytes(32), Buffer.of(0, 0, 0x2f, 0)]);
          socket.write(Buffer.concat([Buffer.of(22, 3, minor, 0, body.length + 4, 2, 0, 0, body.length), body]));
        });
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      await using gate = await open({ port: (server.address() as net.AddressInfo).port });
      const text = await ask(gate);
      assert.match(text, /^HTTP\/1\.1 502 [^]*UPSTREAM_TLS_FAILED/);
      assert.match(text, /only offers TLS versions below 1\.2/);
      server.close();
    }
  });
});

describe('session resumption', () => {
  test('a client resumes its session at the gate, for the same host and sandbox alone', async () => {
    await using upstream = await startUpstream({}, [HOST, 'other.example.com']);
    const options = {
      allow: ['other.example.com'],
      resolve: [HOST, 'other.example.com'].map((host) => `${host}:443:127.0.0.1:${upstream.port}`),
    };
    await using gate = await open(upstream, options);
    await using neighbor = await open(upstream, options);
    for (const maxVersion of VERSIONS) {
      const visit = async (where: LoopbackGate, host: string, session?: Buffer) => {
        const socket = await where.connectTls(host, 443, { maxVersion, ...(session === undefined ? {} : { session }) });
        // TLS 1.2 gives its ticket within the handshake, 1.3 after it.
        let ticket: Buffer | undefined = maxVersion === 'TLSv1.2' ? socket.getSession() : undefined;
        socket.on('session', (bytes: Buffer) => (ticket = bytes));
        const isResumed = socket.isSessionReused();
        socket.end(GET.replace(HOST, host));
        assert.match(await receive(socket), /fine$/);
        socket.destroy();
        return { isResumed, ticket };
      };
      const first = await visit(gate, HOST);
      assert.equal(first.isResumed, false, maxVersion);
      assert.equal((await visit(gate, HOST, first.ticket)).isResumed, true, maxVersion);
      assert.equal((await visit(gate, 'other.example.com', first.ticket)).isResumed, false, maxVersion);
      assert.equal((await visit(neighbor, HOST, first.ticket)).isResumed, false, maxVersion);
    }
  });

  test('the gate resumes its session at the upstream, for the same origin and sandbox alone', async () => {
    for (const maxVersion of VERSIONS) {
      // One server, so that a ticket would be good for either name and sandbox.
      await using upstream = await startUpstream({ maxVersion }, [HOST, 'other.example.com']);
      const options = {
        allow: ['other.example.com'],
        resolve: [HOST, 'other.example.com'].map((host) => `${host}:443:127.0.0.1:${upstream.port}`),
      };
      await using gate = await open(upstream, options);
      await using neighbor = await open(upstream, options);
      await ask(gate);
      await ask(gate);
      await ask(gate, {}, 'other.example.com');
      await ask(neighbor);
      await ask(gate);
      assert.deepEqual(
        upstream.seen.map(({ resumed }) => resumed),
        [false, true, false, false, true],
        maxVersion,
      );
    }
  });

  test('a session of a certificate that was refused is not kept', async () => {
    for (const maxVersion of VERSIONS) {
      await using upstream = await startUpstream({ maxVersion }, ['somebody-else.example']);
      await using gate = await open(upstream);
      for (let round = 0; round < 3; round += 1) assert.match(await ask(gate), /^HTTP\/1\.1 502 /);
      assert.ok(upstream.seen.every(({ resumed }) => !resumed));
    }
  });
});

describe('server names', () => {
  test('a literal address needs none, on either side', async () => {
    await using upstream = await startUpstream({}, ['192.0.2.7']);
    await using gate = await open(upstream, {
      secrets: ['TOKEN=canary-value-4711@192.0.2.7'],
      resolve: [`192.0.2.7:443:127.0.0.1:${upstream.port}`],
    });
    assert.match(await ask(gate, {}, '192.0.2.7'), /fine$/);
    const hello = readClientHello(upstream.hellos[0] ?? Buffer.alloc(0));
    assert.equal(hello.state === 'complete' ? hello.serverName : undefined, null);
  });

  test('none at a name is refused in words, in a handshake with that name', async () => {
    await using upstream = await startUpstream();
    await using gate = await open(upstream, { allow: ['pinned.example.com'], tunnel: ['pinned.example.com'] });
    for (const host of [HOST, 'pinned.example.com']) {
      const socket = await gate.connectTls(host, 443, {
        servername: '',
        checkServerIdentity: (_, certificate) => tls.checkServerIdentity(host, certificate),
      });
      socket.end(GET);
      assert.match(await receive(socket), /^HTTP\/1\.1 421 [^]*carries no server name[^]*SNI_MISSING/);
    }
    assert.deepEqual(upstream.hellos, []);
  });
});

describe('an encrypted ClientHello', () => {
  // What browsers send to every host: a config id that nobody has, and noise.
  const grease = Buffer.concat([
    Buffer.of(0, 0, 1, 0, 1, 7, 0, 32),
    randomBytes(32),
    Buffer.of(0, 144),
    randomBytes(144),
  ]);

  test('is nothing to a host whose TLS is opened, nor where nothing else would be', async () => {
    await using upstream = await startUpstream();
    for (const options of [{}, { secrets: [], allow: [HOST] }]) {
      await using gate = await open(upstream, options);
      const hello = addExtension(await captureHello({ maxVersion: 'TLSv1.2' }), 0xfe0d, grease);
      // In TLS 1.2 the certificate is readable: the gate's.
      const answer = await sendRaw(gate, [hello], (text) => text.includes('Sallyport'));
      assert.deepEqual([...answer.subarray(0, 2)], [22, 3]);
      const modern = addExtension(await captureHello(), 0xfe0d, grease);
      const accepted = await sendRaw(gate, [modern], (text) => text.length > 100);
      assert.deepEqual([accepted[0], accepted[5]], [22, 2], 'a ServerHello');
    }
  });

  test('never goes through a tunnel', async () => {
    await using upstream = await startUpstream();
    for (const options of [{ tunnel: [HOST] }, { tunnel: ['**'], allow: [HOST] }, { allow: [HOST] }]) {
      await using gate = await open(upstream, { secrets: [], ...options });
      const before = upstream.hellos.length;
      const hello = await captureHello({ maxVersion: 'TLSv1.2' });
      await sendRaw(gate, [addExtension(hello, 0xfe0d, grease)], (text) => text.includes('Sallyport'));
      await sendRaw(gate, [addExtension(hello, 0xffce, grease)], (text) => text.includes('Sallyport'));
      if ('tunnel' in options) assert.equal((await nextEvent(gate)).code, 'ECH_REFUSED');
      for (const seen of upstream.hellos.slice(before)) {
        const read = readClientHello(seen);
        assert.ok(read.state === 'complete' && !read.hasEncryptedClientHello);
      }
      // Without one the same client gets through.
      if ('tunnel' in options) {
        const socket = await gate.connectTls(HOST, 443, { ca: authority.certificatePem });
        socket.destroy();
      }
    }
  });
});

describe('ALPN', () => {
  test('whatever a client of HTTP offers, it is answered', async () => {
    await using upstream = await startUpstream();
    await using gate = await open(upstream);
    const many = Array.from({ length: 100 }, (_, index) => `protocol-${index}`);
    const cases: [offered: string[] | undefined, chosen: string | false][] = [
      [undefined, false],
      [['http/1.1'], 'http/1.1'],
      [['http/1.0'], 'http/1.0'],
      [['http/1.0', 'http/1.1'], 'http/1.1'],
      [['h2', 'http/1.1'], 'http/1.1'],
      [['h2', 'http/1.0'], 'h2'],
      [['http/1.1', 'http/1.1', 'http/1.1'], 'http/1.1'],
      [['acme-tls/1', 'http/1.1'], 'http/1.1'],
      [[...many, 'http/1.1'], 'http/1.1'],
      [['\0', 'x'.repeat(255), 'http/1.1'], 'http/1.1'],
      [['h2'], 'h2'],
      [['h2', 'h2'], 'h2'],
    ];
    for (const [offered, chosen] of cases) {
      const socket = await gate.connectTls(HOST, 443, offered === undefined ? {} : { ALPNProtocols: offered });
      assert.equal(socket.alpnProtocol, chosen, String(offered?.slice(0, 4)));
      if (chosen !== 'h2') {
        socket.end(GET);
        assert.match(await receive(socket), /fine$/);
      }
      socket.destroy();
    }
  });

  test('one who offers no HTTP is refused by an alert, and the log says why', async () => {
    await using upstream = await startUpstream();
    await using gate = await open(upstream);
    const many = Array.from({ length: 100 }, (_, index) => `protocol-${index}`);
    for (const offered of [['acme-tls/1'], ['spdy/3.1', 'h3'], many]) {
      for (const host of [HOST, 'denied.example.com']) {
        await assert.rejects(gate.connectTls(host, 443, { ALPNProtocols: offered }), {
          code: /NO_APPLICATION_PROTOCOL/,
        });
        assert.deepEqual(await nextEvent(gate), {
          decision: 'deny',
          code: 'ALPN_REFUSED',
          rule: 'the client offers no version of HTTP by ALPN',
        });
      }
    }
    assert.deepEqual(upstream.hellos, []);
  });

  test('an empty list, or an empty name in it, is no ClientHello', async () => {
    await using upstream = await startUpstream();
    await using gate = await open(upstream);
    const hello = await captureHello();
    for (const list of [Buffer.of(0, 0), Buffer.of(0, 1, 0), Buffer.of(0, 4, 2, 0x68, 0x32, 0), Buffer.alloc(0)]) {
      assert.deepEqual(await sendRaw(gate, [addExtension(hello, 16, list)]), Buffer.alloc(0));
      const event = await nextEvent(gate);
      assert.equal(event.code, 'MALFORMED_REQUEST');
      assert.match(event.rule ?? '', /list of application protocols is malformed/);
    }
  });
});

describe('a ClientHello in pieces', () => {
  test('is read from records and segments of any size, post-quantum key shares included', async () => {
    await using upstream = await startUpstream();
    await using gate = await open(upstream);
    const big = { ALPNProtocols: Array.from({ length: 200 }, (_, index) => `protocol-${index}`).concat('http/1.1') };
    for (const options of [{ ecdhCurve: 'X25519MLKEM768' }, { ecdhCurve: 'X25519' }, big]) {
      for (const [size, cut] of [
        [16384, 7],
        [100, 33],
        [1, 6],
        [1, 1000],
        [5, 4096],
      ] as const) {
        const socket = await connectInPieces(gate, size, cut, options);
        socket.end(GET);
        assert.match(await receive(socket), /fine$/, `${size} ${cut}`);
        socket.destroy();
      }
    }
    const hello = readClientHello(await captureHello({ ecdhCurve: 'X25519MLKEM768' }));
    assert.equal(hello.state, 'complete');
    assert.ok((await captureHello({ ecdhCurve: 'X25519MLKEM768' })).length > 1300, 'the key share is large');
  });

  test('goes through a tunnel as it came', async () => {
    await using upstream = await startUpstream();
    await using gate = await open(upstream, { secrets: [], tunnel: [HOST] });
    const socket = await connectInPieces(gate, 1, 9, { ca: authority.certificatePem });
    socket.write(GET);
    assert.match(await receive(socket), /fine$/);
    socket.destroy();
    assert.deepEqual([...(upstream.hellos[0]?.subarray(3, 5) ?? [])], [0, 1], 'a record of one byte');
  });

  test('post-quantum keys are exchanged with upstreams that have them, and with those that have not', async () => {
    for (const ecdhCurve of ['X25519MLKEM768', 'X25519', 'prime256v1']) {
      await using upstream = await startUpstream({ ecdhCurve, minVersion: 'TLSv1.3' });
      await using gate = await open(upstream);
      assert.match(await ask(gate), /fine$/, ecdhCurve);
    }
  });

  test('is refused above the limit, and when it never ends', async () => {
    await using upstream = await startUpstream();
    await using gate = await open(upstream);
    const hello = addExtension(await captureHello(), 0xfafa, Buffer.alloc(60_000));
    const large = splitRecord(hello, 16384);
    assert.ok((await sendRaw(gate, [large], (text) => text.length > 100)).length > 100, '60 KB are fine');
    assert.equal((await nextEvent(gate)).rule, 'the client ended the TLS handshake');
    // The same in records so small that their headers count for more than the message.
    const small = splitRecord(hello, 1);
    assert.deepEqual(await sendRaw(gate, [small]), Buffer.alloc(0));
    const event = await nextEvent(gate);
    assert.equal(event.code, 'MALFORMED_REQUEST');
    assert.match(event.rule ?? '', /longer than 65536 bytes/);
    assert.deepEqual(await sendRaw(gate, [Buffer.of(22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff)]), Buffer.alloc(0));
    assert.match((await nextEvent(gate)).rule ?? '', /longer than 65536 bytes/);
  });
});
