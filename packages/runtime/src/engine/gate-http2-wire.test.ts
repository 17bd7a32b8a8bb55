import assert from 'node:assert/strict';
import http2 from 'node:http2';
import type net from 'node:net';
import { after, before, describe, test } from 'node:test';
import tls from 'node:tls';
import { createAuthority } from '../../../../e2e/harness/certificates.ts';
import {
  encodeFields,
  encodeFrame,
  encodeLiteral,
  FLAG,
  FRAME,
  WireClient,
  type WireField,
} from './http2-wire.testing.ts';
import { openLoopbackGate, placeholderOf, type LoopbackGate } from './loopback.testing.ts';

const VALUE = 'canary-value-4711';
const PLACEHOLDER = placeholderOf('TOKEN');
const HOST = 'api.example.com';
/** RFC 9113 section 7. */
const PROTOCOL_ERROR = 1;

const PLAIN: readonly WireField[] = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':authority', HOST],
  [':path', '/p'],
  ['authorization', `Bearer ${PLACEHOLDER}`],
];
const POST = PLAIN.map(([name, value]): WireField => (name === ':method' ? [name, 'POST'] : [name, value]));

/** The plain request with fields behind it. */
function plus(...fields: readonly WireField[]): readonly WireField[] {
  return [...PLAIN, ...fields];
}

/** The plain request without a field, or with another value of it, or with it several times. */
function withField(name: string, ...values: readonly string[]): readonly WireField[] {
  return PLAIN.flatMap((field) => (field[0] === name ? values.map((value): WireField => [name, value]) : [field]));
}

/** An upstream that notes each request whole, in one text that starts anew with `take`. */
interface Upstream {
  readonly port: number;
  /** How many requests have come since the last call, and what they said: all names and values. */
  take(): { readonly count: number; readonly text: string };
  close(): void;
}

interface Setting {
  readonly upstream: Upstream;
  readonly gate: LoopbackGate;
}

const settings = new Map<string, Setting>();

before(async () => {
  const authority = await createAuthority();
  const identity = await authority.issue([HOST]);
  const note = { count: 0, text: '' };
  const take = (): typeof note => {
    const taken = { ...note };
    Object.assign(note, { count: 0, text: '' });
    return taken;
  };
  const first = tls.createServer({ ...identity, ALPNProtocols: ['http/1.1'] }, (socket) => {
    let pending = '';
    socket.on('error', () => undefined);
    socket.on('data', (chunk: Buffer) => {
      pending += chunk.toString('latin1');
      note.text += chunk.toString('latin1');
      if (!/^GET[^]*\r\n\r\n$|\r\n0\r\n(?:[^]*\r\n)?\r\n$/.test(pending)) return;
      pending = '';
      note.count += 1;
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
  });
  const sessions = new Set<http2.ServerHttp2Session>();
  const second = http2.createSecureServer(identity);
  second.on('session', (session) => void sessions.add(session));
  second.on('stream', (stream: http2.ServerHttp2Stream, _headers, _flags, raw: string[]) => {
    stream.on('error', () => undefined);
    stream.on('trailers', (_trailers, _: number, fields: string[]) => (note.text += fields.join('\n')));
    note.text += raw.join('\n');
    stream.resume();
    stream.on('end', () => {
      note.count += 1;
      if (!stream.destroyed) stream.respond({ ':status': 200 }, { endStream: true });
    });
  });
  for (const [name, server] of Object.entries({ 'HTTP/1.1': first, 'HTTP/2': second })) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    const gate = await openLoopbackGate({
      secrets: [`TOKEN=${VALUE}@${HOST}`],
      upstreamCa: authority.certificatePem,
      resolve: [`${HOST}:443:127.0.0.1:${port}`],
    });
    const close = (): void => {
      for (const session of sessions) session.destroy();
      server.close();
    };
    settings.set(name, { gate, upstream: { port, take, close } });
  }
});

after(async () => {
  for (const { gate, upstream } of settings.values()) {
    await gate[Symbol.asyncDispose]();
    upstream.close();
  }
});

async function connect(gate: LoopbackGate): Promise<WireClient> {
  const client = new WireClient(await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] }));
  await client.until(({ type }) => type === FRAME.settings);
  return client;
}

/** What becomes of a request. `dropped`: it goes on as if it were the plain one. */
type Fate = 'reset' | 'dropped' | 'refused' | readonly [passed: string];

const CASES: Readonly<Record<string, readonly [fields: readonly WireField[], fate: Fate]>> = {
  'nothing odd': [PLAIN, 'dropped'],
  // Names (RFC 9113 section 8.2.1).
  'a name in upper case': [plus(['X-Upper', '1']), 'reset'],
  'a Host in upper case': [plus(['Host', 'evil.example']), 'reset'],
  'a space in a name': [plus(['x a', '1']), 'reset'],
  'a colon in a name': [plus(['x-a:', '1']), 'reset'],
  'a line break in a name': [plus(['x-a: 1\r\nx-b', '1']), 'reset'],
  'a NUL in a name': [plus(['x\0', '1']), 'reset'],
  'an empty name': [plus(['', '1']), 'reset'],
  'a name beyond ASCII': [plus(['x\xe9', '1']), 'reset'],
  'a framing field spelt with _': [plus(['content_length', '5']), 'refused'],
  // Values.
  'a space before a value': [plus(['x-a', ' a']), 'reset'],
  'a space behind a value': [plus(['x-a', 'a ']), 'reset'],
  'tabs around a value': [plus(['x-a', '\ta\t']), 'reset'],
  'CR in a value': [plus(['x-a', 'a\rx-b: 1']), 'reset'],
  'LF in a value': [plus(['x-a', 'a\nx-b: 1']), 'reset'],
  'CRLF in a value': [plus(['x-a', 'a\r\nhost: evil.example\r\n\r\nGET / HTTP/1.1']), 'reset'],
  'NUL in a value': [plus(['x-a', 'a\0b']), 'reset'],
  'a control character in a value': [plus(['x-a', 'a\x1bb\x7f']), 'reset'],
  'CRLF in the credential': [withField('authorization', `Bearer ${PLACEHOLDER}\r\nx-b: 1`), 'reset'],
  'a space behind the credential': [withField('authorization', `Bearer ${PLACEHOLDER} `), 'reset'],
  'a value beyond ASCII': [plus(['x-a', 'a\xe9']), ['a\xe9']],
  // Connection-specific fields (section 8.2.2).
  connection: [plus(['connection', 'close']), 'reset'],
  'keep-alive': [plus(['keep-alive', '1']), 'reset'],
  'proxy-connection': [plus(['proxy-connection', 'close']), 'reset'],
  'transfer-encoding': [plus(['transfer-encoding', 'chunked']), 'reset'],
  upgrade: [plus(['upgrade', 'websocket']), 'reset'],
  'http2-settings': [plus(['http2-settings', 'AAMAAABk']), 'dropped'],
  'te: gzip': [plus(['te', 'gzip']), 'reset'],
  'te: trailers, gzip': [plus(['te', 'trailers, gzip']), 'reset'],
  'te: trailers': [plus(['te', 'trailers']), ['trailers']],
  // Pseudo-header fields (section 8.3).
  'no :method': [withField(':method'), 'reset'],
  'no :scheme': [withField(':scheme'), 'reset'],
  'no :path': [withField(':path'), 'reset'],
  'no :authority and no host': [withField(':authority'), 'reset'],
  'two :method': [withField(':method', 'GET', 'POST'), 'reset'],
  'two :scheme': [withField(':scheme', 'https', 'http'), 'reset'],
  'two :path': [withField(':path', '/p', '/q'), 'reset'],
  'two :authority': [withField(':authority', HOST, 'evil.example'), 'reset'],
  'two equal :authority': [withField(':authority', HOST, HOST), 'reset'],
  'a pseudo-header behind a field': [plus([':path', '/q']), 'reset'],
  'a pseudo-header that is unknown': [[[':x', '1'], ...PLAIN], 'reset'],
  ':status': [[[':status', '200'], ...PLAIN], 'reset'],
  ':protocol with GET': [[[':protocol', 'websocket'], ...PLAIN], 'reset'],
  'a host that agrees': [plus(['host', HOST]), 'dropped'],
  'another host': [plus(['host', 'evil.example']), 'refused'],
  'two hosts': [plus(['host', HOST], ['host', 'evil.example']), 'reset'],
  'another host for an :authority': [[...withField(':authority'), ['host', 'evil.example']], 'refused'],
  'user information': [withField(':authority', `x@${HOST}`), 'reset'],
  'CRLF in :authority': [withField(':authority', `${HOST}\r\nx-b: 1`), 'reset'],
  'a space in :authority': [withField(':authority', `${HOST} `), 'reset'],
  'an empty :authority': [withField(':authority', ''), 'reset'],
  'CRLF in :path': [withField(':path', '/ HTTP/1.1\r\nHost: evil.example\r\n\r\n'), 'reset'],
  'a space in :path': [withField(':path', '/a b'), 'reset'],
  'NUL in :path': [withField(':path', '/\0'), 'reset'],
  'an empty :path': [withField(':path', ''), 'reset'],
  'a :path without a slash': [withField(':path', 'p'), 'reset'],
  'CRLF in :method': [withField(':method', 'GET / HTTP/1.1\r\nx-b: 1\r\n\r\n'), 'reset'],
  'a space in :method': [withField(':method', 'GET '), 'reset'],
  'another :scheme': [withField(':scheme', 'http'), 'refused'],
  'a :scheme that is none': [withField(':scheme', 'https://evil.example'), 'reset'],
  // Lengths (section 8.1.1).
  'a length that is none': [plus(['content-length', 'x']), 'reset'],
  'two lengths': [plus(['content-length', '0'], ['content-length', '1']), 'reset'],
  'a length without a body': [plus(['content-length', '5']), 'reset'],
};

for (const upstreamKind of ['HTTP/1.1', 'HTTP/2']) {
  describe(`a malformed header list brings nothing dangerous to an upstream on ${upstreamKind}`, () => {
    for (const [name, [fields, fate]] of Object.entries(CASES)) {
      test(name, async () => {
        const { gate, upstream } = settings.get(upstreamKind)!;
        const client = await connect(gate);
        client.request(1, PLAIN);
        assert.equal(await client.outcomeOf(1), '200');
        const plain = upstream.take();
        assert.ok(plain.text.includes(`Bearer ${VALUE}`));
        gate.events.splice(0);
        client.request(3, fields);
        const outcome = await client.outcomeOf(3);
        const got = upstream.take();
        const [event] = gate.events;
        switch (fate) {
          case 'reset':
            assert.equal(outcome, `reset ${PROTOCOL_ERROR}`);
            assert.deepEqual(got, { count: 0, text: '' });
            assert.deepEqual(
              gate.events.map(({ decision, code, status }) => [decision, code, status]),
              [['deny', 'MALFORMED_REQUEST', null]],
            );
            break;
          case 'refused':
            assert.notEqual(outcome, '200');
            assert.deepEqual(got, { count: 0, text: '' });
            assert.equal(event?.decision, 'deny');
            break;
          case 'dropped':
            assert.equal(outcome, '200');
            assert.deepEqual(got, plain);
            break;
          default:
            assert.equal(outcome, '200');
            assert.ok(got.text.includes(fate[0]), got.text);
        }
        client.destroy();
      });
    }

    test('in trailers', async () => {
      const { gate, upstream } = settings.get(upstreamKind)!;
      const trailers: readonly (readonly [fields: readonly WireField[], outcome: string])[] = [
        [[['x-a', '1'], ['host', 'evil.example']], '200'],
        [[['x-a', '1'], ['x-b', '2\r\nx-c: 3']], `reset ${PROTOCOL_ERROR}`],
        [[['x d', '4']], `reset ${PROTOCOL_ERROR}`],
        [[['x-e', ' 5']], `reset ${PROTOCOL_ERROR}`],
        [[[':path', '/q']], `reset ${PROTOCOL_ERROR}`],
        [[['connection', 'close']], `reset ${PROTOCOL_ERROR}`],
        [[['X-Upper', '1']], `reset ${PROTOCOL_ERROR}`],
      ]; // prettier-ignore
      for (const [fields, outcome] of trailers) {
        const client = await connect(gate);
        client.send(FRAME.headers, FLAG.endHeaders, 1, encodeFields(POST));
        client.send(FRAME.data, 0, 1, Buffer.from('body'));
        client.send(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 1, encodeFields(fields));
        assert.equal(await client.outcomeOf(1), outcome);
        const { text } = upstream.take();
        assert.ok(!/x-b|x-c|x d|x-e|evil|\/q|Upper/.test(text), text);
        if (outcome === '200') assert.match(text, /x-a/);
        else assert.deepEqual([gate.events.at(-1)?.decision, gate.events.at(-1)?.code], ['deny', 'MALFORMED_REQUEST']);
        client.destroy();
      }
    });
  });
}

/** The same bytes many times, with each time's number. */
function times(count: number, make: (index: number) => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => make(index)));
}

function integer(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

const BLOCK = encodeFields(PLAIN);
const POST_BLOCK = encodeFields(POST);
const WHOLE = FLAG.endHeaders | FLAG.endStream;
const OPEN_POST = encodeFrame(FRAME.headers, FLAG.endHeaders, 1, POST_BLOCK);

/** What ends a connection: it floods, or breaks the framing. */
const ATTACKS: Readonly<Record<string, () => Buffer>> = {
  'a CONTINUATION flood': () =>
    Buffer.concat([
      encodeFrame(FRAME.headers, 0, 1, BLOCK),
      times(10_000, () => encodeFrame(FRAME.continuation, 0, 1, encodeFields([['x-a', 'b']]))),
    ]),
  'a flood of empty CONTINUATIONs': () =>
    Buffer.concat([
      encodeFrame(FRAME.headers, 0, 1, BLOCK),
      times(10_000, () => encodeFrame(FRAME.continuation, 0, 1)),
    ]),
  'rapid reset': () =>
    times(5000, (index) =>
      Buffer.concat([
        encodeFrame(FRAME.headers, WHOLE, 2 * index + 1, BLOCK),
        encodeFrame(FRAME.reset, 0, 2 * index + 1, integer(8)),
      ]),
    ),
  'rapid reset of requests with a body': () =>
    times(5000, (index) =>
      Buffer.concat([
        encodeFrame(FRAME.headers, FLAG.endHeaders, 2 * index + 1, POST_BLOCK),
        encodeFrame(FRAME.reset, 0, 2 * index + 1, integer(8)),
      ]),
    ),
  'resets that the gate is made to send': () =>
    times(5000, (index) =>
      Buffer.concat([
        encodeFrame(FRAME.headers, FLAG.endHeaders, 2 * index + 1, POST_BLOCK),
        encodeFrame(FRAME.window, 0, 2 * index + 1, integer(0)),
      ]),
    ),
  'more streams than are allowed': () =>
    times(1000, (index) => encodeFrame(FRAME.headers, FLAG.endHeaders, 2 * index + 1, POST_BLOCK)),
  'a SETTINGS flood': () => times(50_000, () => encodeFrame(FRAME.settings, 0, 0)),
  'SETTINGS of many entries': () =>
    encodeFrame(
      FRAME.settings,
      0,
      0,
      times(200, () => Buffer.of(0, 4, 0, 0, 0xff, 0xff)),
    ),
  'a PRIORITY flood': () => times(50_000, () => encodeFrame(FRAME.priority, 0, 1, Buffer.alloc(5, 1))),
  'a flood of empty DATA': () => Buffer.concat([OPEN_POST, times(50_000, () => encodeFrame(FRAME.data, 0, 1))]),
  'a flood of unknown frames': () => times(50_000, () => encodeFrame(0x42, 0, 0, Buffer.from('x'))),
  'a window of nothing': () => encodeFrame(FRAME.window, 0, 0, integer(0)),
  'a window beyond all': () => encodeFrame(FRAME.window, 0, 0, integer(0x7fff_ffff)),
  'a push': () => encodeFrame(FRAME.push, FLAG.endHeaders, 1, Buffer.concat([integer(2), BLOCK])),
  'DATA of no stream': () => encodeFrame(FRAME.data, FLAG.endStream, 1, Buffer.from('x')),
  'DATA of the connection': () => encodeFrame(FRAME.data, FLAG.endStream, 0, Buffer.from('x')),
  'HEADERS of the connection': () => encodeFrame(FRAME.headers, WHOLE, 0, BLOCK),
  "a stream of the server's": () => encodeFrame(FRAME.headers, WHOLE, 2, BLOCK),
  'a frame that is too long': () => encodeFrame(FRAME.headers, WHOLE, 1, Buffer.alloc(20_000)),
  'another frame for a CONTINUATION': () =>
    Buffer.concat([encodeFrame(FRAME.headers, FLAG.endStream, 1, BLOCK), encodeFrame(FRAME.headers, WHOLE, 3, BLOCK)]),
  'HPACK that is none': () => encodeFrame(FRAME.headers, WHOLE, 1, Buffer.alloc(6, 0xff)),
  'an HPACK table without bounds': () => encodeFrame(FRAME.headers, WHOLE, 1, Buffer.of(0x3f, 0xff, 0xff, 0xff, 0x0f)),
};

/** What ends its stream only: lists that are too long once decoded. */
const LONG_LISTS: Readonly<Record<string, () => Buffer>> = {
  'an HPACK bomb': () =>
    // One long field into the dynamic table, then a byte for each repetition.
    Buffer.concat([
      BLOCK,
      Buffer.of(0x40),
      encodeLiteral('x-big'),
      encodeLiteral('y'.repeat(3500)),
      Buffer.alloc(8000, 0xbe),
    ]),
  'a thousand fields': () =>
    Buffer.concat([BLOCK, encodeFields(Array.from({ length: 1000 }, (_, index): WireField => [`x${index}`, '']))]),
};

describe('a hostile connection', () => {
  for (const [name, attack] of Object.entries(ATTACKS)) {
    test(`${name} ends it, and nothing else`, async () => {
      const { gate, upstream } = settings.get('HTTP/1.1')!;
      upstream.take();
      gate.events.splice(0);
      const honest = await connect(gate);
      const client = await connect(gate);
      client.sendRaw(attack());
      await client.untilEnd();
      assert.ok(gate.events.some(({ code }) => code === 'MALFORMED_REQUEST'));
      assert.ok(upstream.take().count <= 128);
      honest.request(1, PLAIN);
      assert.equal(await honest.outcomeOf(1), '200');
      honest.destroy();
    });
  }

  test('a PING flood of a client that does not read its answers ends it or is read no further, and harms nothing else', async () => {
    const { gate } = settings.get('HTTP/1.1')!;
    const honest = await connect(gate);
    const client = await connect(gate);
    client.pause();
    const pings = times(10_000, () => encodeFrame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    // What is not read piles up here once the buffers on the way are full; were it read on, answers would pile up in the gate.
    while (gate.open.gate.connectionCount > 1 && client.queuedBytes < 16 * 1024 * 1024) {
      client.sendRaw(pings);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    client.destroy();
    honest.request(1, PLAIN);
    assert.equal(await honest.outcomeOf(1), '200');
    honest.destroy();
  });

  for (const [name, block] of Object.entries(LONG_LISTS)) {
    test(`${name} ends its stream`, async () => {
      const { gate, upstream } = settings.get('HTTP/1.1')!;
      upstream.take();
      gate.events.splice(0);
      const client = await connect(gate);
      client.send(FRAME.headers, WHOLE, 1, block());
      assert.match(await client.outcomeOf(1), /^reset /);
      assert.deepEqual(
        gate.events.map(({ code }) => code),
        ['MALFORMED_REQUEST'],
      );
      assert.equal(upstream.take().count, 0);
      client.request(3, PLAIN);
      assert.equal(await client.outcomeOf(3), '200');
      client.destroy();
    });
  }
});
