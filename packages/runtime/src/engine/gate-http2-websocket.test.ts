import assert from 'node:assert/strict';
import http2 from 'node:http2';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import { before, describe, test } from 'node:test';
import tls from 'node:tls';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { OPCODE } from '../websocket/frame.ts';
import {
  openLoopbackGate,
  placeholderOf,
  receive,
  type LoopbackGate,
  type LoopbackOptions,
} from './loopback.testing.ts';
import { acceptFor, closeCode, deflate, Peer } from './websocket-peer.testing.ts';

const VALUE = 'canary"value-4711';
const PLAIN_VALUE = 'canary-value-4711';
const PLACEHOLDER = placeholderOf('TOKEN');
const HOST = 'ws.example.com';

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

/** What an upstream does with a handshake. */
type Answer =
  | { readonly status?: undefined; readonly fields?: Readonly<Record<string, string>>; readonly early?: Buffer }
  | { readonly status: number; readonly fields?: Readonly<Record<string, string>>; readonly body: string };

interface Handshake {
  /** Header list, or head with lower-case names and the request line as `:line`. */
  readonly fields: Readonly<Record<string, string>>;
  /** Null where the upstream did not open a WebSocket. */
  readonly duplex: Duplex | null;
}

interface Upstream {
  readonly port: number;
  /** All handshakes so far. */
  readonly handshakes: Handshake[];
  next(): Promise<Handshake>;
  close(): void;
}

class Handshakes {
  readonly seen: Handshake[] = [];
  #waiting: ((handshake: Handshake) => void)[] = [];
  #taken = 0;

  add(handshake: Handshake): void {
    this.seen.push(handshake);
    this.#waiting.shift()?.(handshake);
  }

  next(): Promise<Handshake> {
    const known = this.seen[this.#taken];
    this.#taken += 1;
    if (known !== undefined) return Promise.resolve(known);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** An upstream on HTTP/2, which takes extended CONNECT where `extended` says so. */
async function startHttp2(answer: Answer, extended: boolean): Promise<Upstream> {
  const handshakes = new Handshakes();
  const sessions = new Set<http2.ServerHttp2Session>();
  const server = http2.createSecureServer({
    ...(await authority.issue([HOST])),
    settings: { enableConnectProtocol: extended },
  });
  server.on('session', (session) => {
    sessions.add(session);
    session.on('error', () => undefined);
  });
  server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
    stream.on('error', () => undefined);
    const fields = headers as Record<string, string>;
    if (answer.status !== undefined) {
      handshakes.add({ fields, duplex: null });
      stream.respond({ ':status': answer.status, ...answer.fields });
      stream.end(answer.body);
      return;
    }
    stream.respond({ ':status': 200, ...answer.fields });
    if (answer.early !== undefined) stream.write(answer.early);
    handshakes.add({ fields, duplex: stream });
  });
  return listen(server, handshakes, () => {
    for (const session of sessions) session.destroy();
  });
}

/** An upstream on HTTP/1.1 that is found by ALPN; `alpn` may name HTTP/2 as well, which then opens no WebSocket. */
async function startHttp1(answer: Answer): Promise<Upstream> {
  const handshakes = new Handshakes();
  const server = tls.createServer(
    { ...(await authority.issue([HOST])), ALPNProtocols: ['http/1.1'], allowHalfOpen: true },
    (socket) => serveHttp1(socket, answer, handshakes),
  );
  server.on('tlsClientError', () => undefined);
  return listen(server, handshakes, () => undefined);
}

function serveHttp1(socket: tls.TLSSocket, answer: Answer, handshakes: Handshakes): void {
  socket.on('error', () => undefined);
  void receive(socket, '\r\n\r\n').then((text) => {
    const [line = '', ...lines] = text.slice(0, text.indexOf('\r\n\r\n')).split('\r\n');
    const fields: Record<string, string> = { ':line': line };
    for (const field of lines) {
      const colon = field.indexOf(':');
      fields[field.slice(0, colon).toLowerCase()] = field.slice(colon + 1).trim();
    }
    const more = Object.entries(answer.fields ?? {}).map(([name, value]) => `${name}: ${value}\r\n`);
    if (answer.status !== undefined) {
      handshakes.add({ fields, duplex: null });
      socket.end(
        `HTTP/1.1 ${answer.status} X\r\n${more.join('')}content-length: ${answer.body.length}\r\n\r\n${answer.body}`,
      );
      return;
    }
    const accept = acceptFor(fields['sec-websocket-key'] ?? '');
    const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n${more.join('')}\r\n`;
    socket.write(Buffer.concat([Buffer.from(head, 'latin1'), answer.early ?? Buffer.alloc(0)]));
    const rest = text.slice(text.indexOf('\r\n\r\n') + 4);
    if (rest !== '') socket.unshift(Buffer.from(rest, 'latin1'));
    handshakes.add({ fields, duplex: socket });
  });
}

/** An upstream that prefers HTTP/2, where it opens no WebSocket, and has HTTP/1.1 as well. */
async function startBoth(answer: Answer): Promise<Upstream> {
  const handshakes = new Handshakes();
  const sessions = new Set<http2.Http2Session>();
  const server = tls.createServer(
    { ...(await authority.issue([HOST])), ALPNProtocols: ['h2', 'http/1.1'], allowHalfOpen: true },
    (socket) => {
      if (socket.alpnProtocol !== 'h2') {
        serveHttp1(socket, answer, handshakes);
        return;
      }
      const session = http2.performServerHandshake(socket);
      session.on('error', () => undefined);
      session.on('stream', (stream) => stream.respond({ ':status': 200 }, { endStream: true }));
      sessions.add(session);
    },
  );
  return listen(server, handshakes, () => {
    for (const session of sessions) session.destroy();
  });
}

/** What TLS runs on, in the order of arrival: only these can be reset. */
const rawSockets: net.Socket[] = [];

async function listen(server: net.Server, handshakes: Handshakes, stop: () => void): Promise<Upstream> {
  server.on('connection', (socket) => rawSockets.push(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    handshakes: handshakes.seen,
    next: () => handshakes.next(),
    close() {
      stop();
      server.close();
    },
  };
}

const UPSTREAMS = {
  'HTTP/2': (answer: Answer) => startHttp2(answer, true),
  'HTTP/1.1': (answer: Answer) => startHttp1(answer),
  'HTTP/2 without WebSocket, and HTTP/1.1': (answer: Answer) => startBoth(answer),
} as const;

async function openGate(upstream: { readonly port: number }, options: LoopbackOptions = {}): Promise<LoopbackGate> {
  return openLoopbackGate({
    secrets: [`TOKEN=${VALUE}@${HOST}`],
    upstreamCa: authority.certificatePem,
    resolve: [`${HOST}:443:127.0.0.1:${upstream.port}`],
    ...options,
  });
}

/** Connects as a browser does: it waits for the settings before it asks for a WebSocket. */
async function connect(gate: LoopbackGate): Promise<http2.ClientHttp2Session> {
  const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] });
  const session = http2.connect(`https://${HOST}`, { createConnection: () => socket });
  session.on('error', () => undefined);
  await new Promise((resolve) => session.once('remoteSettings', resolve));
  assert.equal(session.remoteSettings.enableConnectProtocol, true);
  return session;
}

function ask(session: http2.ClientHttp2Session, fields: http2.OutgoingHttpHeaders = {}): http2.ClientHttp2Stream {
  const stream = session.request({
    ':method': 'CONNECT',
    ':protocol': 'websocket',
    ':path': '/chat',
    'sec-websocket-version': '13',
    ...fields,
  });
  stream.on('error', () => undefined);
  return stream;
}

function answerTo(stream: http2.ClientHttp2Stream): Promise<Readonly<Record<string, string | number>>> {
  return new Promise((resolve) => {
    stream.once('response', (headers) => resolve(headers as Record<string, string | number>));
    stream.once('close', () => resolve({ ':reset': stream.rstCode ?? -1 }));
  });
}

async function bodyOf(stream: http2.ClientHttp2Stream): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of stream) pieces.push(piece as Buffer);
  return Buffer.concat(pieces).toString('latin1');
}

interface Session extends AsyncDisposable {
  readonly gate: LoopbackGate;
  readonly upstream: Upstream;
  readonly session: http2.ClientHttp2Session;
  readonly stream: http2.ClientHttp2Stream;
  /** The handshake as the server got it, and its answer as the client got it. */
  readonly request: Readonly<Record<string, string>>;
  readonly response: Readonly<Record<string, string | number>>;
  readonly client: Peer;
  readonly server: Peer;
}

interface SessionOptions extends LoopbackOptions {
  readonly fields?: http2.OutgoingHttpHeaders;
  readonly answer?: Answer;
  readonly compression?: boolean;
}

async function open(kind: keyof typeof UPSTREAMS, options: SessionOptions = {}): Promise<Session> {
  const upstream = await UPSTREAMS[kind](options.answer ?? {});
  const gate = await openGate(upstream, options);
  const session = await connect(gate);
  const stream = ask(session, options.fields);
  const response = await answerTo(stream);
  assert.equal(response[':status'], 200);
  const { fields: request, duplex } = await upstream.next();
  assert.ok(duplex !== null);
  return {
    gate,
    upstream,
    session,
    stream,
    request,
    response,
    client: new Peer(stream, 'client', options.compression),
    server: new Peer(duplex, 'server', options.compression),
    async [Symbol.asyncDispose]() {
      session.destroy();
      duplex.destroy();
      upstream.close();
      await gate[Symbol.asyncDispose]();
    },
  };
}

/** Ends a WebSocket from the client's side, in good order, and gives its audit event. */
async function finish({ client, server, gate, stream }: Session) {
  client.send(OPCODE.close, Buffer.from([0x03, 0xe8]));
  await server.until(() => server.seen.at(-1)?.startsWith('8 ') === true);
  server.send(OPCODE.close, Buffer.from([0x03, 0xe8]));
  server.socket.end();
  await client.untilEnd();
  stream.end();
  return eventOf(gate);
}

async function until(isDone: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000 && !isDone(); turn += 1) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(isDone());
}

async function eventOf(gate: LoopbackGate) {
  await until(() => gate.events.length > 0);
  assert.equal(gate.events.length, 1);
  return gate.events[0]!;
}

for (const kind of Object.keys(UPSTREAMS) as (keyof typeof UPSTREAMS)[]) {
  describe(`a WebSocket of an HTTP/2 client, to an upstream on ${kind}`, () => {
    const isHttp2 = kind === 'HTTP/2';

    test('placeholders are replaced in its handshake, its answer is redacted, both are one request', async () => {
      await using session = await open(kind, {
        secrets: [`TOKEN=${PLAIN_VALUE}@${HOST}`],
        secretIn: ['header,query,path'],
        fields: {
          ':path': `/chat/${PLACEHOLDER}?key=${PLACEHOLDER}`,
          authorization: `Bearer ${PLACEHOLDER}`,
          'sec-websocket-protocol': `chat, key.${PLACEHOLDER}`,
          'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
          origin: `https://${HOST}`,
        },
        answer: { fields: { 'sec-websocket-protocol': `key.${PLAIN_VALUE}`, 'x-echo': PLAIN_VALUE } },
      });
      const { request, response } = session;
      const target = `/chat/${PLAIN_VALUE}?key=${PLAIN_VALUE}`;
      if (isHttp2) {
        assert.deepEqual(
          [':method', ':protocol', ':scheme', ':authority', ':path'].map((name) => request[name]),
          ['CONNECT', 'websocket', 'https', HOST, target],
        );
        assert.equal(request['sec-websocket-key'], undefined);
        assert.equal(request['upgrade'], undefined);
      } else {
        assert.equal(request[':line'], `GET ${target} HTTP/1.1`);
        assert.equal(request['host'], HOST);
        assert.equal(request['upgrade'], 'websocket');
        assert.notEqual(request['sec-websocket-key'], 'dGhlIHNhbXBsZSBub25jZQ==');
      }
      assert.equal(request['sec-websocket-version'], '13');
      assert.equal(request['authorization'], `Bearer ${PLAIN_VALUE}`);
      assert.equal(request['sec-websocket-protocol'], `chat, key.${PLAIN_VALUE}`);
      assert.equal(request['origin'], `https://${HOST}`);
      assert.equal(response['sec-websocket-protocol'], `key.${PLACEHOLDER}`);
      assert.equal(response['x-echo'], PLACEHOLDER);
      for (const name of ['connection', 'upgrade', 'sec-websocket-accept']) assert.equal(response[name], undefined);
      session.server.send(OPCODE.text, `hi ${PLAIN_VALUE}`);
      assert.deepEqual(await session.client.take(1), [`1 hi ${PLACEHOLDER}`]);
      const { durationMs, ...event } = await finish(session);
      assert.ok(durationMs !== undefined && durationMs > 0);
      assert.ok(!`${JSON.stringify(response)}${session.client.raw}${JSON.stringify(event)}`.includes('canary'));
      assert.deepEqual(event, {
        kind: 'request', decision: 'allow', code: null, rule: '--secret TOKEN', scheme: 'https', host: HOST, port: 443,
        method: 'CONNECT', path: `/chat/${PLACEHOLDER}`, status: 200, requestBytes: 8,
        responseBytes: 2 + 3 + PLACEHOLDER.length + 4, secrets: ['TOKEN'], stray: [], redactions: 3,
      }); // prettier-ignore
    });

    test('with location websocket placeholders are replaced in what the client sends, and only then', async () => {
      for (const secretIn of [['header,websocket'], ['header']]) {
        await using session = await open(kind, { secretIn });
        const { client, server, gate } = session;
        const isIn = secretIn[0] !== 'header';
        client.send(OPCODE.text, `{"key":"${PLACEHOLDER}"}`);
        client.send(OPCODE.text, `key ${PLACEHOLDER.slice(0, 9)}`, { isFinal: false });
        client.send(OPCODE.continuation, PLACEHOLDER.slice(9));
        client.send(OPCODE.binary, Buffer.from(`\0${PLACEHOLDER}`));
        client.send(OPCODE.ping, 'p');
        const inText = isIn ? VALUE : PLACEHOLDER;
        assert.deepEqual(
          (await server.take(4)).map((seen) => seen.replace('|', '')),
          [`1 {"key":${JSON.stringify(inText)}}`, `1 key ${inText}`, `2 \0${inText}`, '9 p'],
        );
        server.send(OPCODE.pong, 'p');
        assert.deepEqual(await client.take(1), ['10 p']);
        const event = await finish(session);
        assert.deepEqual(event.secrets, isIn ? ['TOKEN'] : []);
        assert.equal(gate.events.length, 1);
      }
    });

    test('what the server sends is redacted: fragments, compressed messages, reasons, and what came with its answer', async () => {
      const first = Buffer.from(`\x81${String.fromCharCode(VALUE.length)}${VALUE}`, 'latin1');
      await using session = await open(kind, {
        compression: true,
        fields: { 'sec-websocket-extensions': 'x-other, permessage-deflate; client_max_window_bits' },
        answer: { fields: { 'sec-websocket-extensions': 'permessage-deflate' }, early: first },
      });
      const { client, server, request, response } = session;
      assert.equal(request['sec-websocket-extensions'], 'permessage-deflate; client_max_window_bits');
      assert.equal(response['sec-websocket-extensions'], 'permessage-deflate');
      server.send(OPCODE.text, VALUE.slice(0, 6), { isFinal: false });
      server.send(OPCODE.continuation, VALUE.slice(6));
      server.send(OPCODE.text, deflate(JSON.stringify({ key: VALUE })), { rsv1: true });
      server.send(OPCODE.ping, VALUE);
      assert.deepEqual(
        (await client.take(4)).map((seen) => seen.replace('|', '')),
        [`1 ${PLACEHOLDER}`, `1 ${PLACEHOLDER}`, `1 {"key":"${PLACEHOLDER}"}`, `9 ${PLACEHOLDER}`],
      );
      server.send(OPCODE.close, Buffer.concat([Buffer.from([0x03, 0xe8]), Buffer.from(`no ${VALUE}`)]));
      const [close] = await client.take(1);
      assert.equal(closeCode(close), 1000);
      assert.ok(close?.includes(PLACEHOLDER));
      assert.ok(!client.raw.includes('canary'));
    });

    test('an answer that opens no WebSocket is an ordinary response, redacted', async () => {
      const upstream = await UPSTREAMS[kind]({ status: 401, fields: { 'x-why': PLAIN_VALUE }, body: PLAIN_VALUE });
      const gate = await openGate(upstream, { secrets: [`TOKEN=${PLAIN_VALUE}@${HOST}`] });
      const session = await connect(gate);
      const stream = ask(session, { authorization: `Bearer ${PLACEHOLDER}` });
      const answer = await answerTo(stream);
      assert.equal(answer[':status'], 401);
      assert.equal(answer['x-why'], PLACEHOLDER);
      assert.equal(await bodyOf(stream), PLACEHOLDER);
      const event = await eventOf(gate);
      assert.deepEqual([event.decision, event.status, event.secrets], ['allow', 401, ['TOKEN']]);
      session.destroy();
      upstream.close();
      await gate[Symbol.asyncDispose]();
    });

    test('many share a connection with ordinary requests, each by itself', async () => {
      const upstream = await UPSTREAMS[kind]({});
      const gate = await openGate(upstream, { secretIn: ['websocket'] });
      const session = await connect(gate);
      const streams = Array.from({ length: 20 }, (_, index) => ask(session, { ':path': `/${index}` }));
      for (const stream of streams) assert.equal((await answerTo(stream))[':status'], 200);
      const clients = streams.map((stream) => new Peer(stream, 'client'));
      await until(() => upstream.handshakes.length === 20);
      for (const { fields, duplex } of upstream.handshakes) {
        const server = new Peer(duplex!, 'server');
        void server
          .take(1)
          .then(([seen = '']) =>
            server.send(OPCODE.text, `${fields[':path'] ?? fields[':line']?.split(' ')[1]} ${seen}`),
          );
      }
      for (const [index, client] of clients.entries()) client.send(OPCODE.text, `${index} ${PLACEHOLDER}`);
      for (const [index, client] of clients.entries()) {
        assert.deepEqual(await client.take(1), [`1 /${index} 1 ${index} ${PLACEHOLDER}`]);
      }
      session.destroy();
      await until(() => gate.events.length === 20);
      upstream.close();
      await gate[Symbol.asyncDispose]();
    });

    test('either side stops the other while it does not read', async () => {
      for (const direction of ['up', 'down'] as const) {
        await using session = await open(kind);
        const { client, server } = session;
        const [from, to] = direction === 'up' ? [client, server] : [server, client];
        const { promise: settled, resolve } = Promise.withResolvers<number>();
        to.socket.pause();
        const frame = from.frame(OPCODE.binary, Buffer.alloc(64 * 1024, 7));
        let written = 0;
        let last = -1;
        const produce = (): void => {
          while (written < 256 * 1024 * 1024) {
            written += frame.length;
            if (!from.socket.write(frame)) return;
          }
        };
        from.socket.on('drain', produce);
        produce();
        const watch = setInterval(() => {
          if (written === last) resolve(written);
          last = written;
        }, 300);
        const bytes = await settled;
        clearInterval(watch);
        assert.ok(bytes < 32 * 1024 * 1024, `${direction}: ${bytes} bytes were written`);
        from.socket.off('drain', produce);
        const frames = Math.round(written / frame.length);
        to.socket.resume();
        await to.until(() => to.seen.length === frames);
      }
    });

    test('a reset of the client breaks the upstream, and a broken upstream resets the client', async () => {
      {
        await using session = await open(kind);
        session.stream.close(http2.constants.NGHTTP2_CANCEL);
        const gone = session.server.socket;
        await until(() => gone.destroyed || gone.readableEnded);
        assert.equal((await eventOf(session.gate)).decision, 'allow');
      }
      {
        await using session = await open(kind);
        const { socket } = session.server;
        if (socket instanceof tls.TLSSocket) rawSockets.at(-1)?.resetAndDestroy();
        else (socket as http2.ServerHttp2Stream).close(http2.constants.NGHTTP2_INTERNAL_ERROR);
        await session.client.untilEnd();
        await until(() => session.stream.destroyed);
        assert.equal(session.stream.rstCode, http2.constants.NGHTTP2_CANCEL);
        await eventOf(session.gate);
      }
    });

    test('a side that breaks the protocol ends both with 1002', async () => {
      await using session = await open(kind);
      const { client, server, gate } = session;
      // A server masks nothing.
      server.socket.write(client.frame(OPCODE.text, 'masked'));
      assert.equal(closeCode((await client.take(1))[0]), 1002);
      assert.equal(closeCode((await server.take(1))[0]), 1002);
      const event = await eventOf(gate);
      assert.deepEqual([event.decision, event.code], ['error', 'WEBSOCKET_MALFORMED']);
    });

    test('one that rests too long is ended in words, and one whose client never ends its side is reset', async () => {
      await using session = await open(kind, {
        timeLimits: { webSocketIdleMs: 50, webSocketCloseMs: 50, lingerMs: 50, sweepMs: 20 },
      });
      const { client, gate, stream } = session;
      assert.equal(closeCode((await client.take(1))[0]), 1001);
      const event = await eventOf(gate);
      assert.deepEqual([event.decision, event.code], ['error', 'WEBSOCKET_TIMEOUT']);
      await until(() => stream.destroyed);
    });
  });
}

describe('an extended CONNECT', () => {
  const refused: readonly (readonly [string, http2.OutgoingHttpHeaders, number, string])[] = [
    ['for another protocol', { ':protocol': 'connect-udp' }, 501, 'UPGRADE_NOT_SUPPORTED'],
    ['for WebTransport', { ':protocol': 'webtransport' }, 501, 'UPGRADE_NOT_SUPPORTED'],
    ['for another host', { ':authority': 'evil.example.com' }, 421, 'AUTHORITY_MISMATCH'],
    ['for another port', { ':authority': `${HOST}:8443` }, 421, 'AUTHORITY_MISMATCH'],
    ['by another scheme', { ':scheme': 'http' }, 421, 'AUTHORITY_MISMATCH'],
    ['with another Host field', { ':authority': HOST, host: 'evil.example.com' }, 400, 'MALFORMED_REQUEST'],
    ['without a version', { 'sec-websocket-version': '' }, 400, 'MALFORMED_REQUEST'],
    ['of another version', { 'sec-websocket-version': '8' }, 400, 'MALFORMED_REQUEST'],
    ['with a length', { 'content-length': '3' }, 400, 'MALFORMED_REQUEST'],
    ['with a fragment in its path', { ':path': '/chat#x' }, 400, 'MALFORMED_REQUEST'],
  ];
  for (const [name, fields, status, code] of refused) {
    test(`${name} is refused in words`, async () => {
      const upstream = await startHttp2({}, true);
      const gate = await openGate(upstream);
      const session = await connect(gate);
      const stream = ask(session, { authorization: `Bearer ${PLACEHOLDER}`, ...fields });
      const answer = await answerTo(stream);
      assert.equal(answer[':status'], status, JSON.stringify(answer));
      assert.match(await bodyOf(stream), new RegExp(`"code":"${code}"`));
      assert.equal(upstream.handshakes.length, 0);
      const event = await eventOf(gate);
      assert.deepEqual([event.decision, event.code, event.secrets], ['deny', code, []]);
      session.destroy();
      upstream.close();
      await gate[Symbol.asyncDispose]();
    });
  }

  test('that ends its stream, and a CONNECT without a protocol, are refused', async () => {
    const upstream = await startHttp2({}, true);
    const gate = await openGate(upstream);
    const session = await connect(gate);
    const ended = session.request(
      { ':method': 'CONNECT', ':protocol': 'websocket', ':path': '/', 'sec-websocket-version': '13' },
      { endStream: true },
    );
    assert.equal((await answerTo(ended))[':status'], 400);
    const plain = session.request({ ':method': 'CONNECT', ':authority': `${HOST}:443` });
    assert.equal((await answerTo(plain))[':status'], 405);
    assert.equal(upstream.handshakes.length, 0);
    session.destroy();
    upstream.close();
    await gate[Symbol.asyncDispose]();
  });

  test('of a client that leaves without a word ends, and so do its other streams', async () => {
    const upstream = await startHttp2({}, true);
    const gate = await openGate(upstream);
    const session = await connect(gate);
    assert.equal((await answerTo(ask(session)))[':status'], 200);
    const plain = session.request({ ':path': '/' });
    plain.on('error', () => undefined);
    assert.equal((await answerTo(plain))[':status'], 200);
    session.socket.destroy();
    await until(() => gate.events.length === 2);
    const gone = upstream.handshakes.map(({ duplex }) => duplex);
    await until(() => gone.every((duplex) => duplex?.destroyed === true));
    assert.deepEqual(new Set(gate.events.map(({ method }) => method)), new Set(['CONNECT', 'GET']));
    upstream.close();
    await gate[Symbol.asyncDispose]();
  });

  test('to an upstream that speaks HTTP/2 alone and takes no WebSocket over it is refused in words', async () => {
    const upstream = await startHttp2({}, false);
    const gate = await openGate(upstream);
    const session = await connect(gate);
    const stream = ask(session, { authorization: `Bearer ${PLACEHOLDER}` });
    assert.equal((await answerTo(stream))[':status'], 502);
    assert.match(await bodyOf(stream), /takes no WebSocket over HTTP\/2.*UPGRADE_NOT_SUPPORTED/);
    const event = await eventOf(gate);
    assert.deepEqual([event.decision, event.code, event.secrets], ['error', 'UPGRADE_NOT_SUPPORTED', []]);
    session.destroy();
    upstream.close();
    await gate[Symbol.asyncDispose]();
  });

  const answers: readonly (readonly [string, keyof typeof UPSTREAMS, Answer])[] = [
    ['2xx of HTTP/1.1', 'HTTP/1.1', { status: 200, body: VALUE }],
    ['two Accepts', 'HTTP/1.1', { fields: { 'sec-websocket-accept': 'x' } }],
    ['an extension not offered', 'HTTP/1.1', { fields: { 'sec-websocket-extensions': 'permessage-deflate' } }],
    ['an extension not offered, over HTTP/2', 'HTTP/2', { fields: { 'sec-websocket-extensions': 'x-other' } }],
  ];
  for (const [name, kind, answer] of answers) {
    test(`that is answered with ${name} opens nothing`, async () => {
      const upstream = await UPSTREAMS[kind](answer);
      const gate = await openGate(upstream);
      const session = await connect(gate);
      const stream = ask(session);
      assert.equal((await answerTo(stream))[':status'], 502);
      assert.match(await bodyOf(stream), /UPSTREAM_MALFORMED/);
      const { duplex } = await upstream.next();
      await until(() => duplex === null || duplex.destroyed || duplex.readableEnded);
      session.destroy();
      upstream.close();
      await gate[Symbol.asyncDispose]();
    });
  }
});
