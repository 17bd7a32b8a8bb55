import assert from 'node:assert/strict';
import { once } from 'node:events';
import http2 from 'node:http2';
import type net from 'node:net';
import { before, test } from 'node:test';
import tls from 'node:tls';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { openLoopbackGate, receive, type LoopbackGate } from './loopback.testing.ts';

const HOST = 'api.example.com';

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

/** An upstream whose protocols can be changed, as by a new configuration: all its connections end then. */
interface Upstream extends AsyncDisposable {
  readonly port: number;
  speak(...protocols: string[]): Promise<void>;
}

async function startUpstream(onHttp2?: (stream: http2.ServerHttp2Stream) => void): Promise<Upstream> {
  const identity = await authority.issue([HOST]);
  let port = 0;
  let server: net.Server | null = null;
  const sockets = new Set<net.Socket>();
  const stop = async (): Promise<void> => {
    const old = server;
    server = null;
    for (const socket of sockets) socket.destroy();
    if (old !== null) await new Promise((resolve) => old.close(resolve));
  };
  return {
    get port() {
      return port;
    },
    async speak(...protocols) {
      await stop();
      const next = tls.createServer({ ...identity, ALPNProtocols: protocols }, (socket) => {
        socket.on('error', () => undefined);
        if (socket.alpnProtocol === 'h2') {
          const session = http2.performServerHandshake(socket);
          session.on('error', () => undefined);
          session.on('stream', (stream) => {
            stream.on('error', () => undefined);
            if (onHttp2 !== undefined) onHttp2(stream);
            else stream.respond({ ':status': 200, 'x-over': 'h2' }, { endStream: true });
          });
          return;
        }
        socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nx-over: http/1.1\r\ncontent-length: 0\r\n\r\n'));
      });
      next.on('tlsClientError', () => undefined);
      next.on('connection', (socket) => {
        sockets.add(socket);
        socket.on('close', () => sockets.delete(socket));
      });
      await new Promise<void>((resolve) => next.listen(port, '127.0.0.1', resolve));
      port = (next.address() as net.AddressInfo).port;
      server = next;
      // The gate has to see that its pooled connections have ended.
      await new Promise((resolve) => setTimeout(resolve, 50));
    },
    [Symbol.asyncDispose]: stop,
  };
}

async function openGate(upstream: Upstream): Promise<LoopbackGate> {
  return openLoopbackGate({
    secrets: [`TOKEN=canary-value-4711@${HOST}`],
    resolve: [`${HOST}:443:127.0.0.1:${upstream.port}`],
    upstreamCa: authority.certificatePem,
  });
}

type Client = http2.ClientHttp2Session;

async function connectHttp2(gate: LoopbackGate): Promise<Client> {
  const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] });
  const session = http2.connect(`https://${HOST}`, { createConnection: () => socket });
  session.on('error', () => undefined);
  return session;
}

/** What a request went over, as its answer says; its reset where it has none. */
function ask(session: Client): Promise<string> {
  return new Promise((resolve) => {
    const stream = session.request({ ':path': '/' });
    stream.on('response', (headers) => resolve(String(headers['x-over'] ?? headers[':status'])));
    stream.on('error', () => undefined);
    stream.on('close', () => resolve(`reset ${stream.rstCode}`));
    stream.resume();
  });
}

async function mirrored(gate: LoopbackGate): Promise<string | false | null> {
  const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2', 'http/1.1'] });
  socket.destroy();
  return socket.alpnProtocol;
}

test('an upstream that stops speaking HTTP/2, or begins to, is found out: open connections go on, new ones mirror it', async () => {
  await using upstream = await startUpstream();
  await upstream.speak('h2', 'http/1.1');
  await using gate = await openGate(upstream);
  const client = await connectHttp2(gate);
  assert.equal(await ask(client), 'h2');
  assert.equal(await mirrored(gate), 'h2');

  await upstream.speak('http/1.1');
  // One at a time and many at once: each needs a connection of its own.
  assert.equal(await ask(client), 'http/1.1');
  assert.deepEqual(new Set(await Promise.all(Array.from({ length: 5 }, () => ask(client)))), new Set(['http/1.1']));
  assert.equal(await mirrored(gate), 'http/1.1');

  await upstream.speak('h2', 'http/1.1');
  assert.deepEqual(new Set(await Promise.all(Array.from({ length: 5 }, () => ask(client)))), new Set(['h2']));
  assert.equal(await mirrored(gate), 'h2');
  client.destroy();
});

test('a client whose connection has HTTP/1.1 is told of an upstream that speaks HTTP/2 alone by then, and the next gets it', async () => {
  await using upstream = await startUpstream();
  await upstream.speak('http/1.1');
  await using gate = await openGate(upstream);
  const old = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2', 'http/1.1'] });
  assert.equal(old.alpnProtocol, 'http/1.1');
  old.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  assert.match(await receive(old, '\r\n\r\n'), /^HTTP\/1\.1 200 /);
  await upstream.speak('h2');
  old.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  assert.match(await receive(old), /^HTTP\/1\.1 502 [^]*UPSTREAM_TLS_FAILED/);
  assert.equal(await mirrored(gate), 'h2');
  const client = await connectHttp2(gate);
  assert.equal(await ask(client), 'h2');
  client.destroy();
});

test('a WebSocket finds out as well that an upstream speaks HTTP/2 alone by then', async () => {
  await using upstream = await startUpstream();
  await upstream.speak('http/1.1');
  await using gate = await openGate(upstream);
  const client = await connectHttp2(gate);
  assert.equal(await ask(client), 'http/1.1');
  await upstream.speak('h2');
  const stream = client.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':path': '/',
    'sec-websocket-version': '13',
  });
  stream.on('error', () => undefined);
  let body = '';
  for await (const piece of stream) body += String(piece);
  assert.match(body, /takes no WebSocket over HTTP\/2 .*does not offer HTTP\/1\.1.*UPGRADE_NOT_SUPPORTED/);
  client.destroy();
});

test('that an upstream wants HTTP/1.1 is told to the client by the same reset, which may then ask so', async () => {
  await using upstream = await startUpstream((stream) => stream.close(http2.constants.NGHTTP2_HTTP_1_1_REQUIRED));
  await upstream.speak('h2', 'http/1.1');
  await using gate = await openGate(upstream);
  const client = await connectHttp2(gate);
  assert.equal(await ask(client), `reset ${http2.constants.NGHTTP2_HTTP_1_1_REQUIRED}`);
  assert.deepEqual(
    gate.events.map(({ decision, code }) => [decision, code]),
    [['error', 'UPSTREAM_UNREACHABLE']],
  );
  const again = await gate.connectTls(HOST, 443, { ALPNProtocols: ['http/1.1'] });
  again.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  assert.match(await receive(again, '\r\n\r\n'), /^HTTP\/1\.1 200 [^]*x-over: http\/1\.1/i);
  again.destroy();
  client.destroy();
});

test('a request that an upstream has not begun is refused by the same reset, so that the client can ask again', async () => {
  let asked = 0;
  await using upstream = await startUpstream((stream) => {
    asked += 1;
    if (asked === 1) stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    else stream.respond({ ':status': 200, 'x-over': 'h2' }, { endStream: true });
  });
  await upstream.speak('h2');
  await using gate = await openGate(upstream);
  const client = await connectHttp2(gate);
  assert.equal(await ask(client), `reset ${http2.constants.NGHTTP2_REFUSED_STREAM}`);
  assert.equal(await ask(client), 'h2');
  client.destroy();
});

test('a connection of HTTP/1.1 that was closed while it rested is found out, and the request sent on another', async () => {
  const identity = await authority.issue([HOST]);
  let connections = 0;
  const received: string[] = [];
  const server = tls.createServer({ ...identity, ALPNProtocols: ['http/1.1'] }, (socket) => {
    connections += 1;
    let answered = 0;
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      received.push(chunk.toString('latin1').split(' ')[0] ?? '');
      answered += 1;
      // As a server does whose time for an idle connection is over at the very moment that a request comes.
      if (answered === 2) socket.destroy();
      else socket.write('HTTP/1.1 200 OK\r\nx-over: http/1.1\r\ncontent-length: 0\r\n\r\n');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  {
    await using gate = await openLoopbackGate({
      secrets: [`TOKEN=canary-value-4711@${HOST}`],
      resolve: [`${HOST}:443:127.0.0.1:${port}`],
      upstreamCa: authority.certificatePem,
    });
    const client = await connectHttp2(gate);
    assert.equal(await ask(client), 'http/1.1');
    assert.equal(await ask(client), 'http/1.1');
    assert.equal(connections, 2);
    assert.deepEqual(received, ['GET', 'GET', 'GET']);
    assert.equal(gate.events.length, 2);
    // What may have been done is not done twice.
    const post = client.request({ ':method': 'POST', ':path': '/' }, { endStream: true });
    const [headers] = (await once(post, 'response')) as [http2.IncomingHttpHeaders & { ':status': number }];
    assert.equal(headers[':status'], 502);
    assert.deepEqual(received, ['GET', 'GET', 'GET', 'POST']);
    client.destroy();
  }
  server.close();
});
