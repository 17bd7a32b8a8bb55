import assert from 'node:assert/strict';
import http2 from 'node:http2';
import type net from 'node:net';
import { before, describe, test } from 'node:test';
import tls from 'node:tls';
import { gzipSync } from 'node:zlib';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { openLoopbackGate, placeholderOf, type LoopbackGate, type LoopbackOptions } from './loopback.testing.ts';

const VALUE = 'canary-value-4711';
const PLACEHOLDER = placeholderOf('TOKEN');
const HOST = 'api.example.com';

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

type StreamHandler = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders, body: Buffer) => void;

interface Upstream extends AsyncDisposable {
  readonly port: number;
  readonly seen: http2.IncomingHttpHeaders[];
  readonly sessions: number;
}

/** An HTTP/2 upstream; the handler is called when the request's body is complete. */
async function startUpstream(handler: StreamHandler, early = false): Promise<Upstream> {
  const seen: http2.IncomingHttpHeaders[] = [];
  const open = new Set<http2.ServerHttp2Session>();
  let sessions = 0;
  const server = http2.createSecureServer({ ...(await authority.issue([HOST])), allowHTTP1: false });
  server.on('session', (session) => {
    sessions += 1;
    open.add(session);
    session.on('error', () => undefined);
  });
  server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    seen.push(headers);
    stream.on('error', () => undefined);
    if (early) {
      handler(stream, headers, Buffer.alloc(0));
      return;
    }
    const pieces: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => pieces.push(chunk));
    stream.on('end', () => handler(stream, headers, Buffer.concat(pieces)));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    seen,
    get sessions() {
      return sessions;
    },
    async [Symbol.asyncDispose]() {
      for (const session of open) session.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function open(upstream: { readonly port: number }, options: LoopbackOptions = {}): Promise<LoopbackGate> {
  return openLoopbackGate({
    secrets: [`TOKEN=${VALUE}@${HOST}`],
    resolve: [`${HOST}:443:127.0.0.1:${upstream.port}`],
    upstreamCa: authority.certificatePem,
    ...options,
  });
}

async function connect(gate: LoopbackGate, alpn: string[] = ['h2', 'http/1.1']): Promise<http2.ClientHttp2Session> {
  const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: alpn });
  assert.equal(socket.alpnProtocol, 'h2');
  const session = http2.connect(`https://${HOST}`, { createConnection: () => socket });
  session.on('error', () => undefined);
  return session;
}

interface Answer {
  readonly headers: http2.IncomingHttpHeaders & { ':status'?: number };
  readonly interim: http2.IncomingHttpHeaders[];
  readonly trailers: http2.IncomingHttpHeaders;
  readonly body: Buffer;
  readonly rstCode: number;
}

function request(
  session: http2.ClientHttp2Session,
  headers: http2.OutgoingHttpHeaders,
  body?: Buffer,
  trailers?: http2.OutgoingHttpHeaders,
): Promise<Answer> {
  return new Promise((resolve) => {
    const stream = session.request(
      { ':path': '/path?q=1', authorization: `Bearer ${PLACEHOLDER}`, ...headers },
      { endStream: body === undefined, waitForTrailers: trailers !== undefined },
    );
    const pieces: Buffer[] = [];
    const interim: http2.IncomingHttpHeaders[] = [];
    let received: http2.IncomingHttpHeaders = {};
    let receivedTrailers: http2.IncomingHttpHeaders = {};
    if (trailers !== undefined) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.on('headers', (fields) => interim.push(fields));
    stream.on('response', (fields) => (received = fields));
    stream.on('trailers', (fields) => (receivedTrailers = fields));
    stream.on('data', (chunk: Buffer) => pieces.push(chunk));
    stream.on('error', () => undefined);
    stream.on('close', () =>
      resolve({
        headers: received,
        interim,
        trailers: receivedTrailers,
        body: Buffer.concat(pieces),
        rstCode: stream.rstCode ?? 0,
      }),
    );
    if (body !== undefined) stream.end(body);
  });
}

describe('HTTP/2 on both sides', () => {
  test('the upstream gets the value, the client its placeholder back, in headers, data and trailers', async () => {
    await using upstream = await startUpstream((stream, headers) => {
      stream.additionalHeaders({ ':status': 103, link: `<${VALUE}>` });
      stream.respond({ ':status': 200, 'x-echo': String(headers.authorization) }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': VALUE }));
      stream.write(`data ${VALUE.slice(0, 5)}`);
      setTimeout(() => stream.end(`${VALUE.slice(5)} end`), 20);
    });
    await using gate = await open(upstream);
    const session = await connect(gate);
    const answer = await request(session, {});
    assert.equal(upstream.seen[0]?.authorization, `Bearer ${VALUE}`);
    assert.equal(upstream.seen[0]?.[':authority'], HOST);
    assert.equal(upstream.seen[0]?.[':path'], '/path?q=1');
    assert.equal(answer.headers[':status'], 200);
    assert.equal(answer.headers['x-echo'], `Bearer ${PLACEHOLDER}`);
    assert.equal(answer.interim[0]?.['link'], `<${PLACEHOLDER}>`);
    assert.equal(answer.body.toString(), `data ${PLACEHOLDER} end`);
    assert.equal(answer.trailers['x-sum'], PLACEHOLDER);
    const event = gate.events[0];
    assert.deepEqual(
      [event?.decision, event?.status, event?.path, event?.secrets, event?.redactions],
      ['allow', 200, '/path', ['TOKEN'], 4],
    );
    session.destroy();
  });

  test('what was put in is never indexed', async () => {
    await using upstream = await startUpstream((stream, headers) => {
      const marked = (headers as { [http2.sensitiveHeaders]?: string[] })[http2.sensitiveHeaders];
      stream.respond({ ':status': 200, 'x-marked': (marked ?? []).join() }, { endStream: true });
    });
    await using gate = await open(upstream);
    const session = await connect(gate);
    const answer = await request(session, { 'x-token': PLACEHOLDER });
    assert.match(String(answer.headers['x-marked']), /authorization/);
    assert.match(String(answer.headers['x-marked']), /x-token/);
    session.destroy();
  });

  test('bodies of every size arrive as sent, many streams share one upstream connection', async () => {
    await using upstream = await startUpstream((stream, _, body) => {
      stream.respond({ ':status': 200 });
      stream.end(body);
    });
    await using gate = await open(upstream);
    const session = await connect(gate);
    const bodies = Array.from({ length: 40 }, (_, index) => Buffer.alloc(1 + index * index * 200, `${index}.`));
    const answers = await Promise.all(bodies.map((body) => request(session, { ':method': 'POST' }, body)));
    for (const [index, answer] of answers.entries()) {
      assert.ok(
        answer.body.equals(bodies[index] as Buffer),
        `body ${index}: ${answer.headers[':status']} ${answer.rstCode} ${answer.body.length} ${answer.body.toString('latin1', 0, 300)}`,
      );
    }
    assert.equal(upstream.sessions, 1);
    session.destroy();
  });

  test('a compressed body is decoded, redacted and passed on as identity', async () => {
    await using upstream = await startUpstream((stream) => {
      const body = gzipSync(`${'x'.repeat(3000)}${VALUE}`);
      stream.respond({ ':status': 200, 'content-encoding': 'gzip', 'content-length': body.length });
      stream.end(body);
    });
    await using gate = await open(upstream);
    const session = await connect(gate);
    const answer = await request(session, {});
    assert.equal(answer.headers['content-encoding'], undefined);
    assert.equal(answer.headers['content-length'], undefined);
    assert.equal(answer.body.toString(), `${'x'.repeat(3000)}${PLACEHOLDER}`);
    session.destroy();
  });

  test('a measured body has its own length', async () => {
    await using upstream = await startUpstream((stream) => {
      stream.respond({ ':status': 200, 'content-length': VALUE.length + 2 });
      stream.end(`"${VALUE}"`);
    });
    await using gate = await open(upstream);
    const session = await connect(gate);
    const answer = await request(session, {});
    assert.equal(answer.body.toString(), `"${PLACEHOLDER}"`);
    assert.equal(answer.headers['content-length'], String(PLACEHOLDER.length + 2));
    session.destroy();
  });

  test('request trailers and HEAD, 204 and 304 are carried', async () => {
    let trailers: http2.IncomingHttpHeaders = {};
    await using upstream = await startUpstream((stream, headers) => {
      if (headers[':method'] === 'POST') {
        stream.on('trailers', (fields) => (trailers = fields));
        stream.resume();
        stream.on('end', () => stream.respond({ ':status': 200 }, { endStream: true }));
        return;
      }
      const status = Number(headers['x-status'] ?? 200);
      stream.respond(
        { ':status': status, ...(headers[':method'] === 'HEAD' ? { 'content-length': 77 } : {}) },
        { endStream: true },
      );
    }, true);
    await using gate = await open(upstream);
    const session = await connect(gate);
    assert.equal((await request(session, { ':method': 'HEAD' })).headers['content-length'], '77');
    assert.equal((await request(session, { 'x-status': '204' })).headers[':status'], 204);
    assert.equal((await request(session, { 'x-status': '304' })).headers[':status'], 304);
    await request(session, { ':method': 'POST' }, Buffer.from('x'), { 'x-checksum': 'abc' });
    assert.equal(trailers['x-checksum'], 'abc');
    session.destroy();
  });

  test('each stream is held against the origin of its connection', async () => {
    await using upstream = await startUpstream((stream) => stream.respond({ ':status': 200 }, { endStream: true }));
    await using gate = await open(upstream);
    const session = await connect(gate);
    for (const [headers, status] of [
      [{ ':authority': 'evil.example.com' }, 421],
      [{ ':authority': `${HOST}:8443` }, 421],
      [{ ':scheme': 'http' }, 421],
      [{ ':authority': HOST, host: 'evil.example.com' }, 400],
    ] as const) {
      const answer = await request(session, headers);
      assert.equal(answer.headers[':status'], status, JSON.stringify(headers));
      assert.match(answer.body.toString(), /"code":"(AUTHORITY_MISMATCH|MALFORMED_REQUEST)"/);
    }
    assert.equal(upstream.seen.length, 0);
    assert.equal((await request(session, { ':authority': HOST.toUpperCase() })).headers[':status'], 200);
    session.destroy();
  });

  test('a field that is there twice goes on as it came', async () => {
    await using upstream = await startUpstream((stream) =>
      stream.respond({ ':status': 200, 'www-authenticate': ['a', 'b'] }, { endStream: true }),
    );
    await using gate = await open(upstream);
    const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] });
    const lenient = { createConnection: () => socket, strictSingleValueFields: false };
    const session = http2.connect(`https://${HOST}`, lenient);
    const answer = await request(session, { authorization: ['a', PLACEHOLDER] as unknown as string });
    assert.equal(answer.headers[':status'], 200);
    assert.deepEqual(gate.events[0]?.secrets, ['TOKEN']);
    session.destroy();
  });

  test('a reset is carried both ways', async () => {
    let closed = 0;
    await using upstream = await startUpstream((stream, headers) => {
      if (headers['x-mode'] === 'reset') {
        stream.respond({ ':status': 200 }, { waitForTrailers: true });
        stream.write('x');
        setTimeout(() => stream.close(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM), 20);
      } else {
        stream.respond({ ':status': 200 });
        stream.on('close', () => (closed = stream.rstCode ?? -1));
      }
    }, true);
    await using gate = await open(upstream);
    const session = await connect(gate);
    assert.equal((await request(session, { 'x-mode': 'reset' })).rstCode, http2.constants.NGHTTP2_ENHANCE_YOUR_CALM);
    const stream = session.request({ ':path': '/' });
    stream.on('error', () => undefined);
    await new Promise((resolve) => stream.once('response', resolve));
    stream.close(http2.constants.NGHTTP2_CANCEL);
    while (closed === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.equal(closed, http2.constants.NGHTTP2_CANCEL);
    session.destroy();
  });

  test('a client that does not read stops the upstream', async () => {
    let written = 0;
    await using upstream = await startUpstream((stream) => {
      stream.respond({ ':status': 200 });
      const piece = Buffer.alloc(64 * 1024, 'z');
      const produce = (): void => {
        while (!stream.destroyed && written < 256 * 1024 * 1024) {
          written += piece.length;
          if (!stream.write(piece)) return;
        }
      };
      stream.on('drain', produce);
      produce();
    });
    await using gate = await open(upstream);
    const session = await connect(gate);
    const stream = session.request({ ':path': '/' });
    stream.on('error', () => undefined);
    stream.pause();
    let last = -1;
    while (last !== written || written === 0) {
      last = written;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    assert.ok(written < 16 * 1024 * 1024, `the upstream could write ${written} bytes`);
    session.destroy();
  });

  test('a gRPC call carries messages and status; a value in a message ends it', async () => {
    await using upstream = await startUpstream((stream, headers, body) => {
      assert.equal(headers['te'], 'trailers');
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(
        headers['x-leak'] === undefined
          ? body
          : Buffer.concat([Buffer.from([0, 0, 0, 0, VALUE.length]), Buffer.from(VALUE)]),
      );
    });
    await using gate = await open(upstream);
    const session = await connect(gate);
    const message = Buffer.concat([Buffer.from([0, 0, 0, 0, 3]), Buffer.from('abc')]);
    const grpc = { ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' };
    const fine = await request(session, grpc, message);
    assert.ok(fine.body.equals(message));
    assert.equal(fine.trailers['grpc-status'], '0');
    const leak = await request(session, { ...grpc, 'x-leak': '1' }, message);
    assert.equal(leak.trailers['grpc-status'], '13');
    assert.ok(!leak.body.includes(VALUE));
    const denied = await request(session, { ...grpc, ':authority': 'evil.example.com' }, message);
    assert.equal(denied.headers[':status'], 200);
    assert.equal(denied.headers['grpc-status'], '7');
    session.destroy();
  });

  test('an upstream that offers no HTTP/2 is mirrored; a client that speaks nothing else is translated for', async () => {
    const received: string[] = [];
    const server = tls.createServer({ ...(await authority.issue([HOST])), ALPNProtocols: ['http/1.1'] }, (socket) => {
      socket.on('error', () => undefined);
      let pending = '';
      socket.on('data', (chunk: Buffer) => {
        pending += chunk.toString('latin1');
        if (!(pending.startsWith('GET') ? pending.endsWith('\r\n\r\n') : pending.endsWith('\r\n0\r\n\r\n'))) return;
        received.push(pending);
        pending = '';
        socket.write(
          `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-echo: ${VALUE}\r\nconnection: keep-alive\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n`,
        );
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    {
      await using gate = await open({ port });
      const mirrored = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2', 'http/1.1'] });
      assert.equal(mirrored.alpnProtocol, 'http/1.1');
      mirrored.destroy();
      const session = await connect(gate, ['h2']);
      const got = await request(session, { cookie: 'a=1' });
      assert.equal(got.headers['x-echo'], PLACEHOLDER);
      assert.equal(got.headers['connection'], undefined);
      assert.equal(got.body.toString(), 'abc');
      assert.equal(got.trailers['x-sum'], '1');
      assert.match(received[0] ?? '', new RegExp(`^GET /path\\?q=1 HTTP/1\\.1\r\nHost: ${HOST}\r\n`));
      assert.ok(received[0]?.includes(`authorization: Bearer ${VALUE}\r\n`));
      const posted = await request(session, { ':method': 'POST' }, Buffer.from('hello'));
      assert.equal(posted.body.toString(), 'abc');
      assert.match(received[1] ?? '', /Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n$/);
      session.destroy();
    }
    server.close();
  });

  test('trailers that no message may have, or twice what is had once, do not end the gate', async () => {
    // Found by fuzz/gate-http2.ts: each of these ended the process, and either side can send them.
    const server = tls.createServer({ ...(await authority.issue([HOST])), ALPNProtocols: ['http/1.1'] }, (socket) => {
      socket.on('error', () => undefined);
      let pending = '';
      socket.on('data', (chunk: Buffer) => {
        pending += chunk.toString('latin1');
        if (!/^GET[^]*\r\n\r\n$|^POST[^]*\r\n0\r\n[^]*\r\n$/.test(pending)) return;
        const trailers = pending.includes('x-twice') ? 'ETag: "a"\r\nETag: "b"\r\n' : '';
        pending = '';
        socket.write(
          `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: etag\r\n\r\n2\r\nok\r\n0\r\n${trailers}\r\n`,
        );
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    {
      await using gate = await open({ port: (server.address() as net.AddressInfo).port });
      const session = await connect(gate, ['h2']);
      const forbidden = { 'proxy-authorization': 'x', 'x-forwarded-host': 'evil.example.com', 'x-sum': '1' };
      const posted = await request(session, { ':method': 'POST' }, Buffer.from('hello'), forbidden);
      assert.equal(posted.body.toString(), 'ok');
      const twice = await request(session, { 'x-twice': '1' });
      assert.equal(twice.trailers.etag, '"a"');
      assert.equal((await request(session, {})).body.toString(), 'ok');
      session.destroy();
    }
    server.close();
  });

  test('an upstream that cannot be reached is told in words, over HTTP/2 as well', async () => {
    const upstream = await startUpstream(() => undefined);
    await upstream[Symbol.asyncDispose]();
    await using gate = await open(upstream);
    const session = await connect(gate, ['h2']);
    const answer = await request(session, {});
    assert.equal(answer.headers[':status'], 502);
    assert.match(answer.body.toString(), /UPSTREAM_UNREACHABLE/);
    session.destroy();
  });

  test('a denied host is told what would allow it, over HTTP/2 as well', async () => {
    await using upstream = await startUpstream(() => undefined);
    await using gate = await open(upstream);
    const socket = await gate.connectTls('example.org', 443, { ALPNProtocols: ['h2'] });
    const session = http2.connect('https://example.org', { createConnection: () => socket });
    const answer = await request(session, {});
    assert.equal(answer.headers[':status'], 403);
    assert.match(answer.body.toString(), /--allow example\.org:443/);
    session.destroy();
  });

  test('rapid resets and header floods end the connection and nothing else', async () => {
    await using upstream = await startUpstream((stream) => stream.respond({ ':status': 200 }, { endStream: true }));
    await using gate = await open(upstream);
    const hostile = await connect(gate);
    for (let index = 0; index < 3000 && !hostile.closed && !hostile.destroyed; index += 1) {
      const stream = hostile.request({ ':path': '/' });
      stream.on('error', () => undefined);
      stream.close(http2.constants.NGHTTP2_CANCEL);
      if (index % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    const flood = await connect(gate);
    const flooded = await request(
      flood,
      Object.fromEntries(Array.from({ length: 400 }, (_, index) => [`x-${index}`, 'y'.repeat(400)])),
    );
    assert.notEqual(flooded.headers[':status'], 200);
    const honest = await connect(gate);
    assert.equal((await request(honest, {})).headers[':status'], 200);
    for (const session of [hostile, flood, honest]) session.destroy();
  });
});
