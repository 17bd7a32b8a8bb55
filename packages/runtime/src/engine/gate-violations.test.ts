import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { parsePathGlob } from '../policy/path-glob.ts';
import type { SecretInput } from '../secrets/secret-set.ts';
import { OPCODE } from '../websocket/frame.ts';
import {
  openLoopbackGate,
  placeholderOf,
  receive,
  type LoopbackGate,
  type LoopbackOptions,
} from './loopback.testing.ts';
import { startRawUpstream } from './raw-upstream.testing.ts';
import {
  ask,
  startSeeingUpstream,
  TEST_PROTOCOLS,
  type SeeingUpstream,
  type TestRequest,
} from './two-protocols.testing.ts';
import { acceptFor, closeCode, deflate, Peer } from './websocket-peer.testing.ts';

const HOST = 'api.example.com';
const OTHER = 'other.example.com';
const VALUE = 'guarded-value-4711';
const PLACEHOLDER = placeholderOf('GUARDED');
const ESCAPED = PLACEHOLDER.replace('_', '%5f');
const BASIC = Buffer.from(`user:${PLACEHOLDER}`).toString('base64');

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

interface Guarded extends AsyncDisposable {
  readonly gate: LoopbackGate;
  readonly upstream: SeeingUpstream;
  /** What ended the sandbox. */
  readonly ended: string[];
}

async function openGuarded(more: Partial<SecretInput>, options: LoopbackOptions = {}): Promise<Guarded> {
  const upstream = await startSeeingUpstream(await authority.issue([HOST, OTHER]));
  const ended: string[] = [];
  const gate = await openLoopbackGate({
    secrets: [`GUARDED=${VALUE}@${HOST}`, `LOOSE=loose-value-4711@${HOST}`],
    more: { GUARDED: more },
    allow: [OTHER],
    resolve: [`${HOST}:443:127.0.0.1:${upstream.port}`, `${OTHER}:443:127.0.0.1:${upstream.port}`],
    upstreamCa: authority.certificatePem,
    onTerminate: (name) => ended.push(name),
    ...options,
  });
  return {
    gate,
    upstream,
    ended,
    async [Symbol.asyncDispose]() {
      await gate[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

const LONG = 'x'.repeat(100_000);
const HALF = PLACEHOLDER.length / 2;

/** Requests in which the placeholder is where it is not for. */
const VIOLATIONS: [what: string, request: TestRequest][] = [
  ['a field of another host', { host: OTHER, headers: { 'x-note': `see ${PLACEHOLDER}` } }],
  ['Basic credentials for another host', { host: OTHER, headers: { authorization: `Basic ${BASIC}` } }],
  ['the query', { host: HOST, path: `/?q=${PLACEHOLDER}` }],
  ['the query, escaped', { host: OTHER, path: `/?q=${ESCAPED}` }],
  ['the path', { host: HOST, path: `/a/${PLACEHOLDER}/b` }],
  ['a body', { host: HOST, method: 'POST', body: `a ${PLACEHOLDER}` }],
  ['a long body', { host: OTHER, method: 'PUT', body: `${LONG}${PLACEHOLDER}${LONG}` }],
  [
    'a body, split',
    { host: OTHER, method: 'PUT', body: [LONG, PLACEHOLDER.slice(0, HALF), PLACEHOLDER.slice(HALF), LONG] },
  ],
  [
    'a form',
    {
      host: OTHER,
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: `a=1&b=${ESCAPED}`,
    },
  ],
  [
    'JSON with escapes',
    {
      host: OTHER,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: `{"a":"${PLACEHOLDER.replace('_', '\\u005f')}"}`,
    },
  ],
  [
    'a compressed body',
    { host: OTHER, method: 'POST', headers: { 'content-encoding': 'gzip' }, body: gzipSync(LONG + PLACEHOLDER) },
  ],
  ['the end of a body', { host: OTHER, method: 'POST', body: [LONG, PLACEHOLDER] }],
  ['a trailer', { host: OTHER, method: 'POST', body: ['a'], trailers: { 'x-note': PLACEHOLDER } }],
];

for (const protocol of TEST_PROTOCOLS) {
  describe(`the gate and misused placeholders over ${protocol}`, () => {
    for (const [what, request] of VIOLATIONS) {
      test(`a placeholder in ${what} refuses the request`, async () => {
        await using guarded = await openGuarded({ onViolation: 'block' });
        const answer = await ask(protocol, guarded.gate, request);
        // A client that still sends may see no answer.
        if (answer.status !== 0) {
          assert.equal(answer.status, 403);
          assert.match(answer.body, /PLACEHOLDER_REFUSED/);
          assert.ok(answer.body.includes('GUARDED') && answer.body.includes(request.host), answer.body);
        }
        assert.equal(guarded.upstream.seen.length, 0);
        const events = guarded.gate.events.filter(({ kind }) => kind === 'request');
        assert.deepEqual(
          events.map(({ code, decision, stray }) => [code, decision, stray]),
          [['PLACEHOLDER_REFUSED', 'deny', ['GUARDED']]],
        );
        assert.deepEqual(guarded.ended, []);
      });
    }

    test('what is no misuse goes through as it is, whatever is looked into', async () => {
      await using guarded = await openGuarded({ onViolation: 'terminate' });
      const zipped = gzipSync(LONG);
      const harmless: TestRequest[] = [
        { host: HOST, headers: { authorization: `Bearer ${PLACEHOLDER}` } },
        { host: OTHER, headers: { 'x-note': placeholderOf('LOOSE') } },
        { host: OTHER, method: 'POST', body: [PLACEHOLDER.slice(0, -1), ' ', LONG] },
        { host: OTHER, method: 'POST', headers: { 'content-encoding': 'gzip' }, body: zipped },
        { host: OTHER, method: 'POST', headers: { 'content-encoding': 'unheard-of' }, body: 'abc' },
      ];
      for (const request of harmless) assert.equal((await ask(protocol, guarded.gate, request)).status, 200);
      const { seen } = guarded.upstream;
      assert.ok(seen[0]?.fields.some(([, value]) => value === `Bearer ${VALUE}`));
      assert.deepEqual(
        seen.slice(2).map(({ body }) => body),
        [`${PLACEHOLDER.slice(0, -1)} ${LONG}`, zipped.toString('latin1'), 'abc'],
      );
      assert.deepEqual(guarded.ended, []);
    });

    test('a secret is for its methods and paths only; elsewhere its placeholder stays, or refuses the request', async () => {
      const limits = { methods: ['GET', 'POST'], path: parsePathGlob('/v1/**') };
      const cases: (readonly [method: string, path: string, headers: Record<string, string>, isFor: boolean])[] = [
        ['GET', '/v1/models', {}, true],
        ['POST', '/v1', {}, true],
        ['GET', '/%76%31/x', {}, true],
        ['DELETE', '/v1/models', {}, false],
        // Node's client of HTTP/1 would make it GET.
        ...(protocol === 'HTTP/2' ? [['get', '/v1/models', {}, false] as const] : []),
        ['GET', '/v2/models', {}, false],
        ['GET', '/v1/../v2', {}, false],
        ['GET', '/v1/%2e%2e/v2', {}, false],
        ['GET', '/v1/models', { 'x-http-method-override': 'DELETE' }, false],
      ];
      for (const onViolation of ['pass', 'block'] as const) {
        await using guarded = await openGuarded({ ...limits, onViolation });
        for (const [method, path, headers, isFor] of cases) {
          const before_ = guarded.upstream.seen.length;
          const authorization = `Bearer ${PLACEHOLDER}`;
          const answer = await ask(protocol, guarded.gate, {
            host: HOST,
            method,
            path,
            headers: { ...headers, authorization },
          });
          const what = `${onViolation} ${method} ${path}`;
          if (!isFor && onViolation === 'block') {
            assert.equal(answer.status, 403, what);
            assert.equal(guarded.upstream.seen.length, before_, what);
            continue;
          }
          assert.equal(answer.status, 200, what);
          const sent = guarded.upstream.seen.at(-1)?.fields.find(([name]) => name === 'authorization')?.[1];
          assert.equal(sent, isFor ? `Bearer ${VALUE}` : authorization, what);
        }
      }
    });

    test('terminate ends the sandbox, once, after the client was told', async () => {
      await using guarded = await openGuarded({ onViolation: 'terminate' });
      for (let count = 0; count < 2; count += 1) {
        const answer = await ask(protocol, guarded.gate, { host: OTHER, path: `/${PLACEHOLDER}` });
        assert.match(answer.body, /The sandbox is ended/);
      }
      assert.deepEqual(guarded.ended, ['GUARDED']);
    });

    test('a placeholder on its way to a host that is denied is recorded, and can end the sandbox', async () => {
      for (const [onViolation, code] of [
        ['block', 'HOST_DENIED'],
        ['terminate', 'PLACEHOLDER_REFUSED'],
      ] as const) {
        await using guarded = await openGuarded({ onViolation });
        const answer = await ask(protocol, guarded.gate, { host: 'denied.example.com', path: `/${PLACEHOLDER}` });
        assert.equal(answer.status, 403);
        await new Promise((resolve) => setImmediate(resolve));
        const { code: recorded, stray } = guarded.gate.events.at(-1) ?? {};
        assert.deepEqual([recorded, stray], [code, ['GUARDED']]);
        assert.equal(guarded.ended.length, onViolation === 'terminate' ? 1 : 0);
      }
    });
  });
}

test('a body that is looked into streams: what came so far is sent before the rest', async () => {
  let received = '';
  await using upstream = await startRawUpstream(
    (socket) => {
      socket.on('data', (chunk: Buffer) => {
        received += chunk.toString('latin1');
        if (received.includes('first')) socket.write('HTTP/1.1 100 Continue\r\n\r\n');
      });
    },
    await authority.issue([OTHER]),
  );
  await using guarded = await openGuarded(
    { onViolation: 'block' },
    { resolve: [`${OTHER}:443:127.0.0.1:${upstream.port}`] },
  );
  const socket = await guarded.gate.connectTls(OTHER, 443);
  socket.write(`POST / HTTP/1.1\r\nhost: ${OTHER}\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n`);
  await receive(socket, '100 Continue');
  socket.write(`${PLACEHOLDER.length.toString(16)}\r\n${PLACEHOLDER}\r\n0\r\n\r\n`);
  assert.match(await receive(socket), /403 Forbidden[^]*PLACEHOLDER_REFUSED/);
  assert.ok(!received.includes(PLACEHOLDER) && !received.includes('\r\n0\r\n'), received);
});

for (const compression of [false, true]) {
  test(`a placeholder in a WebSocket message ends the connection${compression ? ', compressed as well' : ''}`, async () => {
    let received = '';
    await using upstream = await startRawUpstream(
      (socket) => {
        socket.on('data', (chunk: Buffer) => {
          received += chunk.toString('latin1');
          if (!received.includes('\r\n\r\n') || received.includes('switched')) return;
          received = 'switched ';
          socket.write(
            'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
              `Sec-WebSocket-Accept: ${acceptFor('dGhlIHNhbXBsZSBub25jZQ==')}\r\n` +
              (compression ? 'Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n' : '\r\n'),
          );
        });
      },
      await authority.issue([OTHER]),
    );
    await using guarded = await openGuarded(
      { onViolation: 'terminate' },
      { resolve: [`${OTHER}:443:127.0.0.1:${upstream.port}`] },
    );
    const socket = await guarded.gate.connectTls(OTHER, 443);
    socket.write(
      `GET / HTTP/1.1\r\nHost: ${OTHER}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n` +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n',
    );
    await receive(socket, '\r\n\r\n');
    const client = new Peer(socket, 'client');
    const message = `note ${PLACEHOLDER}`;
    client.send(OPCODE.text, compression ? deflate(message) : message, { rsv1: compression });
    await client.untilEnd();
    assert.equal(closeCode(client.seen[0]), 1008);
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(guarded.ended, ['GUARDED']);
    assert.equal(guarded.gate.events.at(-1)?.code, 'PLACEHOLDER_REFUSED');
  });
}
