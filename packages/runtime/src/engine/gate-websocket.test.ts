import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type net from 'node:net';
import { before, describe, test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { OPCODE, type MessageOpcode } from '../websocket/frame.ts';
import { acceptFor, closeCode, deflate, frameBytes, Peer } from './websocket-peer.testing.ts';
import {
  openLoopbackGate,
  placeholderOf,
  receive,
  type LoopbackGate,
  type LoopbackOptions,
} from './loopback.testing.ts';
import { startRawUpstream } from './raw-upstream.testing.ts';

const VALUE = 'canary"value-4711';
const PLACEHOLDER = placeholderOf('TOKEN');
const HOST = 'ws.example.com';
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

function accept(key = KEY): string {
  return acceptFor(key);
}

function switching(fields = ''): string {
  return `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept()}\r\n${fields}\r\n`;
}

function handshake(fields = '', target = '/chat'): string {
  return `GET ${target} HTTP/1.1\r\nHost: ${HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${KEY}\r\nSec-WebSocket-Version: 13\r\n${fields}\r\n`;
}

interface Session extends AsyncDisposable {
  readonly gate: LoopbackGate;
  readonly client: Peer;
  readonly server: Peer;
  /** The handshake as the server got it. */
  readonly request: string;
  /** The answer as the client got it. */
  readonly response: string;
}

interface SessionOptions extends LoopbackOptions {
  /** Further fields of the handshake and of its answer. */
  readonly fields?: string;
  readonly target?: string;
  readonly answer?: string;
  readonly compression?: boolean;
  readonly secure?: boolean;
  /** Sent with the handshake, and with its answer. */
  readonly clientEarly?: Buffer;
  readonly serverEarly?: Buffer;
}

const DEFLATE = 'Sec-WebSocket-Extensions: permessage-deflate\r\n';

async function openGate(
  handler: (socket: net.Socket) => void,
  { secure = true, ...options }: SessionOptions = {},
): Promise<LoopbackGate & { closeServer: () => PromiseLike<void> }> {
  const upstream = await startRawUpstream(handler, secure ? await authority.issue([HOST]) : null);
  const gate = await openLoopbackGate({
    secrets: [`TOKEN=${VALUE}@${HOST}`],
    upstreamCa: authority.certificatePem,
    resolve: [`${HOST}:${secure ? 443 : 80}:127.0.0.1:${upstream.port}`],
    ...options,
  });
  return Object.assign(gate, { closeServer: () => upstream[Symbol.asyncDispose]() });
}

/** Opens a WebSocket from a client through the gate to a server, both of which are the test's. */
async function open(options: SessionOptions = {}): Promise<Session> {
  const { promise: accepted, resolve: onAccept } = Promise.withResolvers<{ socket: net.Socket; request: string }>();
  const gate = await openGate((socket) => {
    socket.on('error', () => undefined);
    void receive(socket, '\r\n\r\n').then((request) => {
      socket.write(
        Buffer.concat([Buffer.from(switching(options.answer ?? ''), 'latin1'), options.serverEarly ?? Buffer.alloc(0)]),
      );
      const rest = request.slice(request.indexOf('\r\n\r\n') + 4);
      if (rest !== '') socket.unshift(Buffer.from(rest, 'latin1'));
      onAccept({ socket, request });
    });
  }, options);
  const socket = await (options.secure === false ? gate.connect(HOST, 80) : gate.connectTls(HOST, 443));
  socket.setNoDelay(true);
  socket.write(
    Buffer.concat([
      Buffer.from(handshake(options.fields, options.target), 'latin1'),
      options.clientEarly ?? Buffer.alloc(0),
    ]),
  );
  const text = await receive(socket, '\r\n\r\n');
  const end = text.indexOf('\r\n\r\n') + 4;
  if (end < text.length) socket.unshift(Buffer.from(text.slice(end), 'latin1'));
  const { socket: upstream, request } = await accepted;
  const client = new Peer(socket, 'client', options.compression);
  const server = new Peer(upstream, 'server', options.compression);
  return {
    gate,
    client,
    server,
    request,
    response: text.slice(0, end),
    async [Symbol.asyncDispose]() {
      client.socket.destroy();
      server.socket.destroy();
      await gate.closeServer();
      await gate[Symbol.asyncDispose]();
    },
  };
}

/** Ends a session from the client's side and gives its audit event. */
async function finish({ client, server, gate }: Session) {
  client.send(OPCODE.close, Buffer.from([0x03, 0xe8]));
  await server.until(() => server.seen.at(-1)?.startsWith('8 ') === true);
  server.send(OPCODE.close, Buffer.from([0x03, 0xe8]));
  server.socket.end();
  await client.untilEnd();
  client.socket.end();
  return eventOf(gate);
}

async function eventOf(gate: LoopbackGate) {
  for (let turn = 0; turn < 500 && gate.events.length === 0; turn += 1)
    await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(gate.events.length, 1);
  return gate.events[0]!;
}

describe('the handshake', () => {
  test('placeholders are replaced in it, its answer is redacted, both are one request', async () => {
    await using session = await open({
      secrets: [`TOKEN=canary-value-4711@${HOST}`],
      secretIn: ['header,query'],
      target: `/chat?key=${PLACEHOLDER}`,
      fields: `Authorization: Bearer ${PLACEHOLDER}\r\nSec-WebSocket-Protocol: chat, key.${PLACEHOLDER}\r\nOrigin: https://${HOST}\r\n`,
      answer: 'Sec-WebSocket-Protocol: key.canary-value-4711\r\nX-Echo: canary-value-4711\r\n',
    });
    const { request, response } = session;
    assert.match(request, /^GET \/chat\?key=canary-value-4711 HTTP\/1\.1\r\n/);
    assert.match(request, /\r\nAuthorization: Bearer canary-value-4711\r\n/);
    assert.match(request, /\r\nSec-WebSocket-Protocol: chat, key\.canary-value-4711\r\n/);
    assert.match(request, /\r\nOrigin: https:\/\/ws\.example\.com\r\n/);
    assert.match(request, new RegExp(`\r\nSec-WebSocket-Key: ${KEY}\r\n`));
    assert.match(request, /\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n/);
    assert.match(response, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
    assert.ok(response.includes(`\r\nSec-WebSocket-Accept: ${accept()}\r\n`));
    assert.ok(response.includes(`\r\nSec-WebSocket-Protocol: key.${PLACEHOLDER}\r\nX-Echo: ${PLACEHOLDER}\r\n`));
    assert.ok(!response.includes('canary'));
    session.server.send(OPCODE.text, 'hi canary-value-4711');
    assert.deepEqual(await session.client.take(1), [`1 hi ${PLACEHOLDER}`]);
    const { durationMs, ...event } = await finish(session);
    assert.ok(durationMs !== undefined && durationMs > 0);
    assert.deepEqual(event, {
      kind: 'request', decision: 'allow', code: null, rule: '--secret TOKEN', scheme: 'https', host: HOST, port: 443,
      method: 'GET', path: '/chat', status: 101, requestBytes: 8, responseBytes: 2 + 3 + PLACEHOLDER.length + 4,
      secrets: ['TOKEN'], stray: [], redactions: 3,
    }); // prettier-ignore
  });

  test('extensions are reduced to permessage-deflate', async () => {
    for (const [offered, sent, answer, got] of [
      ['x-a, permessage-deflate;client_max_window_bits, x-b', 'permessage-deflate; client_max_window_bits', 'permessage-deflate; client_max_window_bits=12', 'permessage-deflate; client_max_window_bits=12'],
      ['x-a', undefined, '', undefined],
      ['permessage-deflate', 'permessage-deflate', '', undefined],
    ] as const) {
      await using session = await open({
        fields: `Sec-WebSocket-Extensions: ${offered}\r\n`,
        answer: answer === '' ? '' : `Sec-WebSocket-Extensions: ${answer}\r\n`,
      });
      const find = (text: string) => /\r\nSec-WebSocket-Extensions: ([^\r]*)/.exec(text)?.[1];
      assert.equal(find(session.request), sent);
      assert.equal(find(session.response), got);
    }
  }); // prettier-ignore

  const malformed: readonly (readonly [string, string])[] = [
    ['POST', handshake().replace('GET', 'POST')],
    ['no key', handshake().replace(/Sec-WebSocket-Key.*\r\n/, '')],
    ['two keys', handshake(`Sec-WebSocket-Key: ${KEY}\r\n`)],
    ['a short key', handshake().replace(KEY, 'dGhlIA==')],
    ['a placeholder for a key', handshake().replace(KEY, PLACEHOLDER)],
    ['version 8', handshake().replace('Version: 13', 'Version: 8')],
    ['a body', handshake('Content-Length: 3\r\n') + 'abc'],
  ];
  for (const [name, request] of malformed) {
    test(`a handshake with ${name} is refused`, async () => {
      let asked = 0;
      const gate = await openGate((socket) => socket.on('data', () => void (asked += 1)));
      const socket = await gate.connectTls(HOST, 443);
      socket.end(request);
      assert.match(await receive(socket), /^HTTP\/1\.1 400 .*MALFORMED_REQUEST/s);
      assert.equal(asked, 0);
      await gate.closeServer();
      await gate[Symbol.asyncDispose]();
    });
  }

  test('what is no upgrade to websocket passes as an ordinary request without it', async () => {
    for (const request of [
      handshake().replace('Upgrade: websocket', 'Upgrade: h2c'),
      handshake().replace('Connection: Upgrade', 'Connection: keep-alive'),
      handshake().replace('HTTP/1.1', 'HTTP/1.0'),
    ]) {
      let seen = '';
      const gate = await openGate((socket) => {
        socket.on('data', (chunk: Buffer) => {
          seen += chunk.toString('latin1');
          socket.write('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok');
        });
      });
      const socket = await gate.connectTls(HOST, 443);
      socket.end(request);
      assert.match(await receive(socket), /^HTTP\/1\.1 200 .*ok$/s);
      assert.doesNotMatch(seen, /\r\nupgrade:/i);
      assert.doesNotMatch(seen, /\r\nconnection:/i);
      await gate.closeServer();
      await gate[Symbol.asyncDispose]();
    }
  });

  test('an answer that is not 101 is an ordinary response, and the connection goes on', async () => {
    const gate = await openGate((socket) => {
      socket.on('data', () => socket.write(`HTTP/1.1 401 No\r\ncontent-length: ${VALUE.length}\r\n\r\n${VALUE}`));
    });
    const socket = await gate.connectTls(HOST, 443);
    socket.write(handshake());
    assert.match(await receive(socket, PLACEHOLDER), /^HTTP\/1\.1 401 No\r\n/);
    socket.write(handshake());
    assert.match(await receive(socket, PLACEHOLDER), /^HTTP\/1\.1 401 No\r\n/);
    socket.destroy();
    await gate.closeServer();
    await gate[Symbol.asyncDispose]();
  });

  const answers: readonly (readonly [string, string])[] = [
    ['another key answered', switching().replace(accept(), accept('x'))],
    ['no Accept', switching().replace(/Sec-WebSocket-Accept.*\r\n/, '')],
    ['two Accepts', switching(`Sec-WebSocket-Accept: ${accept()}\r\n`)],
    ['another protocol', switching().replace('Upgrade: websocket', 'Upgrade: h2c')],
    ['no Connection', switching().replace('Connection: Upgrade', 'X: y')],
    ['HTTP/1.0', switching().replace('HTTP/1.1', 'HTTP/1.0')],
    ['an extension not offered', switching(DEFLATE)],
    ['a body', switching('Content-Length: 5\r\n')],
  ];
  for (const [name, answer] of answers) {
    test(`a 101 response with ${name} is not passed on`, async () => {
      const gate = await openGate((socket) => void socket.on('data', () => socket.write(answer)));
      const socket = await gate.connectTls(HOST, 443);
      socket.end(handshake());
      assert.match(await receive(socket), /^HTTP\/1\.1 502 .*UPSTREAM_MALFORMED/s);
      assert.equal(gate.events.at(-1)?.code, 'UPSTREAM_MALFORMED');
      await gate.closeServer();
      await gate[Symbol.asyncDispose]();
    });
  }

  test('a 101 response that nobody asked for is not passed on', async () => {
    const gate = await openGate((socket) => void socket.on('data', () => socket.write(switching())));
    const socket = await gate.connectTls(HOST, 443);
    socket.end(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
    assert.match(await receive(socket), /^HTTP\/1\.1 502 .*UPSTREAM_MALFORMED/s);
    await gate.closeServer();
    await gate[Symbol.asyncDispose]();
  });

  test('frames that come with the handshake, from either side, are not lost', async () => {
    await using session = await open({
      clientEarly: frameBytes('client', OPCODE.text, 'early'),
      serverEarly: frameBytes('server', OPCODE.text, `soon ${VALUE}`),
    });
    assert.deepEqual(await session.server.take(1), ['1 early']);
    assert.deepEqual(await session.client.take(1), [`1 soon ${PLACEHOLDER}`]);
  });
});

describe('in clear', () => {
  const inClear = async (options: SessionOptions): Promise<string> => {
    const seen: string[] = [];
    await using session = await open({ secure: false, ...options, fields: `Authorization: Bearer ${PLACEHOLDER}\r\n` });
    seen.push(/Authorization: Bearer ([^\r]*)/.exec(session.request)?.[1] ?? '');
    session.client.send(OPCODE.text, PLACEHOLDER);
    seen.push(...(await session.server.take(1)));
    session.server.send(OPCODE.text, 'canary-value-4711');
    seen.push(...(await session.client.take(1)));
    await finish(session);
    return seen.join(' ');
  };

  test('a credential is in it only where the secret names http://HOST', async () => {
    const secretIn = ['header,websocket'];
    const [bound, unbound] = [`TOKEN=canary-value-4711@http://${HOST}`, `TOKEN=canary-value-4711@${HOST}`];
    assert.equal(
      await inClear({ secrets: [bound], secretIn }),
      `canary-value-4711 1 canary-value-4711 1 ${PLACEHOLDER}`,
    );
    assert.equal(
      await inClear({ secrets: [unbound], secretIn, allow: [HOST] }),
      `${PLACEHOLDER} 1 ${PLACEHOLDER} 1 ${PLACEHOLDER}`,
    );
  });

  test('without a secret nothing is read: any bytes pass, extensions too', async () => {
    await using session = await open({
      secure: false,
      secrets: [],
      allow: [HOST],
      fields: 'Sec-WebSocket-Extensions: x-other\r\n',
      answer: 'Sec-WebSocket-Extensions: x-other\r\n',
    });
    assert.match(session.request, /Sec-WebSocket-Extensions: x-other\r\n/);
    session.client.socket.removeAllListeners('data');
    let received = '';
    const { promise, resolve } = Promise.withResolvers<undefined>();
    session.client.socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('hex');
      if (received.length === 6) resolve(undefined);
    });
    session.server.socket.write(Buffer.from('f3ffff', 'hex'));
    await promise;
    assert.equal(received, 'f3ffff');
  });
});

describe('server to client', () => {
  test('values are redacted in text and binary messages, over fragments, and nowhere across messages', async () => {
    await using session = await open();
    const { server, client } = session;
    const base64 = Buffer.from(`x${VALUE}`).toString('base64');
    server.send(OPCODE.text, `a ${VALUE} b`);
    server.send(OPCODE.binary, Buffer.concat([Buffer.from([0, 255]), Buffer.from(VALUE)]));
    server.send(OPCODE.text, base64);
    assert.deepEqual(await client.take(2), [`1 a ${PLACEHOLDER} b`, `2 \0\xff${PLACEHOLDER}`]);
    const [encoded = ''] = await client.take(1);
    assert.match(Buffer.from(encoded.slice(2), 'base64').toString(), new RegExp(`^x${PLACEHOLDER}`));
    for (let at = 1; at < VALUE.length; at += 3) {
      server.send(OPCODE.text, `<${VALUE.slice(0, at)}`, { isFinal: false });
      server.send(OPCODE.ping, String(at));
      server.send(OPCODE.continuation, '', { isFinal: false });
      server.send(OPCODE.continuation, `${VALUE.slice(at)}>`);
      const [ping, message = ''] = await client.take(2);
      assert.equal(ping, `9 ${at}`);
      assert.equal(message.replaceAll('|', ''), `1 <${PLACEHOLDER}>`);
      // The number of fragments stays.
      assert.equal(message.split('|').length, 3);
    }
    server.send(OPCODE.text, VALUE.slice(0, 9));
    server.send(OPCODE.text, VALUE.slice(9));
    assert.deepEqual(await client.take(2), [`1 ${VALUE.slice(0, 9)}`, `1 ${VALUE.slice(9)}`]);
    assert.ok(!client.raw.includes(VALUE));
    assert.ok((await finish(session)).redactions! >= 8);
  });

  test('any chunking of the frames gives the same messages', async () => {
    await using session = await open();
    const { server, client } = session;
    const bytes = Buffer.concat([
      server.frame(OPCODE.text, `${VALUE}-${VALUE}`),
      server.frame(OPCODE.ping, 'p'),
      server.frame(OPCODE.binary, 'b'.repeat(300) + VALUE, { isFinal: false }),
      server.frame(OPCODE.continuation, ''),
    ]);
    for (const size of [1, 2, 5, 29]) {
      for (let at = 0; at < bytes.length; at += size) server.socket.write(bytes.subarray(at, at + size));
      assert.deepEqual(await client.take(3), [
        `1 ${PLACEHOLDER}-${PLACEHOLDER}`,
        '9 p',
        `2 ${'b'.repeat(300)}${PLACEHOLDER}|`,
      ]);
    }
  });

  test('a complete message and a fragment go out at once', async () => {
    await using session = await open();
    const { server, client } = session;
    // The end of the first is the beginning of a value: only the next fragment can tell.
    server.send(OPCODE.text, `abc ${VALUE.slice(0, 5)}`, { isFinal: false });
    await client.until(() => client.raw.includes('abc '));
    server.send(OPCODE.continuation, 'def');
    assert.deepEqual(await client.take(1), [`1 abc |${VALUE.slice(0, 5)}def`]);
    for (let index = 0; index < 20; index += 1) {
      server.send(OPCODE.text, VALUE.slice(0, -1));
      assert.deepEqual(await client.take(1), [`1 ${VALUE.slice(0, -1)}`]);
    }
  });

  test('a value in a control frame is redacted; what does not fit is cut', async () => {
    await using session = await open({ secrets: [`TOKEN=canary-value-4711@${HOST}`] });
    const { server, client } = session;
    server.send(OPCODE.ping, 'canary-value-4711');
    const reason = `ü${'é'.repeat(40)}canary-value-4711 is no key`;
    server.send(OPCODE.close, Buffer.concat([Buffer.from([0x0f, 0xa0]), Buffer.from(reason)]));
    const [ping, close = ''] = await client.take(2);
    assert.equal(ping, `9 ${PLACEHOLDER}`);
    const bytes = Buffer.from(close.slice(2), 'latin1');
    assert.equal(bytes.readUInt16BE(0), 4000);
    assert.ok(bytes.length <= 125);
    assert.equal(
      bytes.subarray(2).toString(),
      `ü${'é'.repeat(40)}${PLACEHOLDER} is no key`.slice(0, bytes.subarray(2).toString().length),
    );
    assert.ok(!client.raw.includes('canary-value'));
  });

  test('compressed messages are redacted and sent on uncompressed, with and without context takeover', async () => {
    await using session = await open({ fields: DEFLATE, answer: DEFLATE, compression: true });
    const { server, client } = session;
    server.send(OPCODE.text, deflate(`z ${VALUE}`), { rsv1: true });
    server.send(OPCODE.ping, 'p');
    server.send(OPCODE.text, `plain ${VALUE}`);
    assert.deepEqual(await client.take(3), [`1 z ${PLACEHOLDER}`, '9 p', `1 plain ${PLACEHOLDER}`]);
    // Fragments cut the compressed bytes, not the text.
    const bytes = deflate(Buffer.from(`many ${VALUE} ${VALUE}`));
    server.send(OPCODE.binary, bytes.subarray(0, 7), { isFinal: false, rsv1: true });
    server.send(OPCODE.ping, 'q');
    server.send(OPCODE.continuation, bytes.subarray(7, 7), { isFinal: false });
    server.send(OPCODE.continuation, bytes.subarray(7));
    const [ping, message = ''] = await client.take(2);
    assert.equal(ping, '9 q');
    assert.equal(message.replaceAll('|', ''), `2 many ${PLACEHOLDER} ${PLACEHOLDER}`);
    // An empty message, one with a final block (RFC 7692 section 7.2.3.4), and another after it.
    server.send(OPCODE.text, Buffer.from([0]), { rsv1: true });
    server.send(OPCODE.text, Buffer.concat([deflateRawSync(`final ${VALUE}`), Buffer.from([0])]), { rsv1: true });
    server.send(OPCODE.text, deflate('after'), { rsv1: true });
    assert.deepEqual(await client.take(3), ['1 ', `1 final ${PLACEHOLDER}`, '1 after']);
  });

  test('a compressed message of 64 MiB passes in bounded memory, in fragments', async () => {
    await using session = await open({ fields: DEFLATE, answer: DEFLATE, compression: true });
    const { server, client } = session;
    const bomb = deflate(Buffer.alloc(64 * 1024 * 1024, 'a'));
    const before = process.memoryUsage().arrayBuffers;
    let peak = 0;
    let received = 0;
    client.socket.removeAllListeners('data');
    client.socket.on('data', (chunk: Buffer) => {
      received += chunk.length;
      peak = Math.max(peak, process.memoryUsage().arrayBuffers);
    });
    server.send(OPCODE.binary, bomb, { rsv1: true });
    while (received < 64 * 1024 * 1024) await new Promise((resolve) => client.socket.once('data', resolve));
    assert.ok(peak - before < 40 * 1024 * 1024, `${peak - before} bytes more`);
  });

  const violations: readonly (readonly [string, (server: Peer) => Buffer])[] = [
    ['a masked frame', () => frameBytes('client', OPCODE.text, 'x')],
    ['an unknown opcode', () => Buffer.from([0x83, 0])],
    ['a long ping', () => Buffer.from([0x89, 126, 0, 200])],
    ['a reserved bit', () => Buffer.from([0xc1, 0])],
    ['a continuation of nothing', () => Buffer.from([0x80, 0])],
  ];
  for (const [name, bytes] of violations) {
    test(`${name} of a server ends the connection with 1002 on both sides`, async () => {
      await using session = await open();
      const { server, client, gate } = session;
      server.send(OPCODE.text, 'before');
      server.socket.write(bytes(server));
      const [message, close = ''] = await client.take(2);
      assert.equal(message, '1 before');
      assert.equal(closeCode(close), 1002);
      assert.ok(close.length > 10, 'no reason is given');
      assert.equal(closeCode((await server.take(1))[0]), 1002);
      await client.untilEnd();
      await server.untilEnd();
      const event = await eventOf(gate);
      assert.deepEqual([event.decision, event.code, event.status], ['error', 'WEBSOCKET_MALFORMED', 101]);
    });
  }

  test('a message that does not decompress ends the connection', async () => {
    await using session = await open({ fields: DEFLATE, answer: DEFLATE, compression: true });
    session.server.send(OPCODE.text, Buffer.from('ffffff', 'hex'), { rsv1: true });
    assert.equal(closeCode((await session.client.take(1))[0]), 1002);
    assert.equal((await eventOf(session.gate)).code, 'WEBSOCKET_MALFORMED');
  });

  test('a client that does not read stops the server', async () => {
    for (const compression of [false, true]) {
      await using session = await open(compression ? { fields: DEFLATE, answer: DEFLATE, compression: true } : {});
      const { server, client } = session;
      client.socket.pause();
      const frame = compression
        ? server.frame(OPCODE.binary, deflate(randomBytes(60_000)), { rsv1: true })
        : server.frame(OPCODE.binary, Buffer.alloc(60_000));
      let written = 0;
      const produce = (): void => {
        while (written < 512 * 1024 * 1024) {
          written += frame.length;
          if (!server.socket.write(frame)) return;
        }
      };
      server.socket.on('drain', produce);
      produce();
      let last = -1;
      while (last !== written) {
        last = written;
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
      assert.ok(written < 64 * 1024 * 1024, `the server could write ${written} bytes`);
      // And it goes on when the client reads.
      client.socket.resume();
      await new Promise((resolve) => server.socket.once('drain', resolve));
    }
  });
});

describe('client to server', () => {
  test('frames pass byte for byte where no secret asks for more', async () => {
    await using session = await open({ fields: DEFLATE, answer: DEFLATE, compression: true });
    const { server, client } = session;
    const bytes = Buffer.concat([
      client.frame(OPCODE.text, PLACEHOLDER, { isFinal: false }),
      client.frame(OPCODE.ping, 'p'),
      client.frame(OPCODE.continuation, ''),
      client.frame(OPCODE.binary, deflate(PLACEHOLDER), { rsv1: true }),
    ]);
    for (let at = 0; at < bytes.length; at += 7) client.socket.write(bytes.subarray(at, at + 7));
    await server.until(() => server.raw.length === bytes.length);
    assert.ok(server.raw === bytes.toString('latin1'));
  });

  test('placeholders are replaced in messages: text, JSON, binary, fragmented, compressed', async () => {
    await using session = await open({ secretIn: ['websocket'], fields: DEFLATE, answer: DEFLATE, compression: true });
    const { server, client } = session;
    const json = JSON.stringify({ token: VALUE });
    const send = async (opcode: MessageOpcode, payload: string | Buffer, options = {}): Promise<string> => {
      client.send(opcode, payload, options);
      return (await server.take(1))[0] ?? '';
    };
    assert.equal(await send(OPCODE.text, `token ${PLACEHOLDER}!`), `1 token ${VALUE}!`);
    assert.equal(await send(OPCODE.text, json.replace(JSON.stringify(VALUE).slice(1, -1), PLACEHOLDER)), `1 ${json}`);
    assert.equal(await send(OPCODE.text, ` \n["${PLACEHOLDER}"]`), `1  \n${JSON.stringify([VALUE])}`);
    assert.equal(await send(OPCODE.binary, `{"${PLACEHOLDER}"}`), `2 {"${VALUE}"}`);
    assert.equal(
      await send(OPCODE.text, deflate(`[1, "${PLACEHOLDER}"]`), { rsv1: true }),
      `1 [1, ${JSON.stringify(VALUE)}]`,
    );
    client.send(OPCODE.text, '{"a":"', { isFinal: false });
    client.send(OPCODE.continuation, PLACEHOLDER.slice(0, 7), { isFinal: false });
    client.send(OPCODE.ping, 'p');
    client.send(OPCODE.continuation, `${PLACEHOLDER.slice(7)}"}`);
    const [ping, message = ''] = await server.take(2);
    assert.equal(ping, '9 p');
    assert.equal(message.replaceAll('|', ''), `1 ${JSON.stringify({ a: VALUE })}`);
    // Not across messages.
    client.send(OPCODE.text, PLACEHOLDER.slice(0, 9));
    client.send(OPCODE.text, PLACEHOLDER.slice(9));
    assert.deepEqual(await server.take(2), [`1 ${PLACEHOLDER.slice(0, 9)}`, `1 ${PLACEHOLDER.slice(9)}`]);
    server.send(OPCODE.text, `you said ${VALUE}`);
    assert.deepEqual(await client.take(1), [`1 you said ${PLACEHOLDER}`]);
    const event = await finish(session);
    assert.deepEqual([event.decision, event.secrets, event.stray, event.redactions], ['allow', ['TOKEN'], [], 1]);
  });

  test('masks are fresh', async () => {
    await using session = await open({ secretIn: ['websocket'] });
    const { server, client } = session;
    const frame = client.frame(OPCODE.text, 'same');
    for (let index = 0; index < 8; index += 1) client.socket.write(frame);
    await server.take(8);
    const masks = new Set(Array.from({ length: 8 }, (_, index) => server.raw.slice(index * 10 + 2, index * 10 + 6)));
    assert.equal(masks.size, 8);
  });

  test('a long message passes in fragments, its values included', async () => {
    await using session = await open({ secretIn: ['websocket'] });
    const { server, client } = session;
    const filler = 'f'.repeat(65_500);
    client.send(OPCODE.text, Array.from({ length: 10 }, () => filler + PLACEHOLDER).join(''));
    const [message = ''] = await server.take(1);
    assert.equal(message.replaceAll('|', ''), `1 ${Array.from({ length: 10 }, () => filler + VALUE).join('')}`);
  });

  test('a placeholder that is not bound here stays, and is recorded', async () => {
    await using session = await open({
      secrets: [`TOKEN=${VALUE}@${HOST}`, 'OTHER=other-value-0815@other.example.com'],
      secretIn: ['websocket'],
    });
    session.client.send(OPCODE.text, placeholderOf('OTHER'));
    assert.deepEqual(await session.server.take(1), [`1 ${placeholderOf('OTHER')}`]);
    assert.deepEqual((await finish(session)).stray, ['OTHER']);
  });

  test('a client that breaks the protocol is ended with 1002 where its frames are read', async () => {
    await using session = await open({ secretIn: ['websocket'] });
    const { server, client, gate } = session;
    client.socket.write(frameBytes('server', OPCODE.text, 'no mask'));
    assert.equal(closeCode((await client.take(1))[0]), 1002);
    assert.equal(closeCode((await server.take(1))[0]), 1002);
    assert.deepEqual([(await eventOf(gate)).decision, gate.events[0]?.code], ['deny', 'WEBSOCKET_MALFORMED']);
  });

  test('a close frame of the gate is not put into the middle of a frame', async () => {
    await using session = await open();
    const { server, client } = session;
    const frame = client.frame(OPCODE.text, 'half of this');
    client.socket.write(frame.subarray(0, 9));
    await server.until(() => server.raw.length === 9);
    server.socket.write(Buffer.from([0x83, 0]));
    assert.equal(closeCode((await client.take(1))[0]), 1002);
    await server.untilEnd();
    assert.equal(server.raw.length, 9);
  });

  test('a server that does not read stops the client', async () => {
    for (const secretIn of [[], ['websocket']]) {
      await using session = await open({ secretIn });
      const { server, client } = session;
      server.socket.pause();
      const frame = client.frame(OPCODE.binary, Buffer.alloc(60_000));
      let written = 0;
      const produce = (): void => {
        while (written < 512 * 1024 * 1024) {
          written += frame.length;
          if (!client.socket.write(Buffer.from(frame))) return;
        }
      };
      client.socket.on('drain', produce);
      produce();
      let last = -1;
      while (last !== written) {
        last = written;
        await new Promise((resolve) => setTimeout(resolve, 300));
      }
      assert.ok(written < 64 * 1024 * 1024, `the client could write ${written} bytes`);
    }
  });
});

describe('the end', () => {
  test('a close handshake passes from either side', async () => {
    for (const secretIn of [[], ['websocket']]) {
      await using session = await open({ secretIn });
      const { server, client, gate } = session;
      // The server begins and ends its side before the client answers.
      server.send(OPCODE.close, Buffer.concat([Buffer.from([0x03, 0xe9]), Buffer.from('bye')]));
      server.socket.end();
      assert.deepEqual(await client.take(1), ['8 \x03\xe9bye']);
      await client.untilEnd();
      client.send(OPCODE.close, Buffer.from([0x03, 0xe9]));
      client.socket.end();
      assert.deepEqual(await server.take(1), ['8 \x03\xe9']);
      const event = await eventOf(gate);
      assert.deepEqual([event.decision, event.code, event.status], ['allow', null, 101]);
    }
  });

  test('a client that goes away without a word takes the server along, and the other way round', async () => {
    for (const side of ['client', 'server'] as const) {
      await using session = await open();
      const other = side === 'client' ? 'server' : 'client';
      session[side].socket.destroy();
      await session[other].untilEnd();
      session[other].socket.end();
      const event = await eventOf(session.gate);
      assert.deepEqual([event.decision, event.code, event.status], ['allow', null, 101]);
    }
  });

  test('what was sent before the end arrives', async () => {
    for (const compression of [false, true]) {
      await using session = await open(compression ? { fields: DEFLATE, answer: DEFLATE, compression } : {});
      const { server, client } = session;
      for (let index = 0; index < 50; index += 1) {
        if (compression) server.send(OPCODE.text, deflate(`${index} ${VALUE}`), { rsv1: true });
        else server.send(OPCODE.text, `${index} ${VALUE}`);
      }
      server.socket.end();
      await client.untilEnd();
      assert.deepEqual(
        client.seen,
        Array.from({ length: 50 }, (_, index) => `1 ${index} ${PLACEHOLDER}`),
      );
    }
  });

  test('a ping keeps it open, silence ends it', async () => {
    await using session = await open({ timeLimits: { webSocketIdleMs: 400, sweepMs: 50, lingerMs: 200 } });
    const { server, client, gate } = session;
    for (let index = 0; index < 10; index += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      if (index % 2 === 0) client.send(OPCODE.ping, 'p');
      else server.send(OPCODE.pong, 'p');
    }
    assert.equal(gate.events.length, 0);
    await client.until(() => client.seen.some((text) => closeCode(text) === 1001));
    await server.until(() => server.seen.some((text) => closeCode(text) === 1001));
    await client.untilEnd();
    assert.deepEqual([(await eventOf(gate)).decision, gate.events[0]?.code], ['error', 'WEBSOCKET_TIMEOUT']);
  });

  test('a client that does not end after the server has is ended soon', async () => {
    await using session = await open({ timeLimits: { webSocketCloseMs: 100, sweepMs: 50, lingerMs: 100 } });
    const { server, client, gate } = session;
    server.send(OPCODE.close, Buffer.from([0x03, 0xe8]));
    server.socket.end();
    await client.untilEnd();
    assert.deepEqual([(await eventOf(gate)).decision, gate.events[0]?.code], ['allow', null]);
  });

  test('closing the gate ends it', async () => {
    await using session = await open();
    session.gate.open.close();
    await session.client.untilEnd();
    await session.server.untilEnd();
    assert.equal((await eventOf(session.gate)).status, 101);
  });
});
