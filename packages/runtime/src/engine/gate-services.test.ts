import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, describe, test } from 'node:test';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { MAX_MEASURED_REQUEST_BYTES } from '../gate/limits.ts';
import type { ServiceInput } from '../secrets/bound-service.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import type { RequestSigner } from '../services/request-signer.ts';
import { openLoopbackGate, placeholderOf, receive, type LoopbackOptions } from './loopback.testing.ts';
import { startRawUpstream } from './raw-upstream.testing.ts';
import {
  ask,
  startSeeingUpstream,
  TEST_PROTOCOLS,
  type SeeingUpstream,
  type SeenRequest,
} from './two-protocols.testing.ts';

const HOST = 'api.example.com';
const OTHER = 'other.example.com';
const REAL = 'real-service-key-4711';
const SENTINEL = 'sk-sentinel-0123456789';
const FOREIGN = 'foreign-key-of-somebody';

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

const VENDOR: ServiceInput = {
  definition: {
    name: 'vendor',
    title: 'Vendor',
    variables: [{ name: 'VENDOR_KEY', sentinel: SENTINEL }],
    endpoints: [
      {
        hosts: [HOST],
        overwrite: [{ kind: 'header', name: 'x-api-key', text: '{value}' }],
        strip: { headers: ['authorization'], query: ['token'] },
      },
    ],
    documentation: [],
  },
  credential: { kind: 'token', value: new SecretValue(REAL) },
  sentinels: new Map([['VENDOR_KEY', SENTINEL]]),
};

function optionsFor(upstream: { readonly port: number }, more: LoopbackOptions = {}): LoopbackOptions {
  return {
    services: [VENDOR],
    allow: [OTHER],
    resolve: [`${HOST}:443:127.0.0.1:${upstream.port}`, `${OTHER}:443:127.0.0.1:${upstream.port}`],
    upstreamCa: authority.certificatePem,
    ...more,
  };
}

async function start(answer?: Parameters<typeof startSeeingUpstream>[1]): Promise<SeeingUpstream> {
  return await startSeeingUpstream(await authority.issue([HOST, OTHER]), answer);
}

const valuesOf = (request: SeenRequest | undefined, name: string) =>
  (request?.fields ?? []).filter(([field]) => field === name).map(([, value]) => value);

for (const protocol of TEST_PROTOCOLS) {
  describe(`the gate and services over ${protocol}`, () => {
    test('a service is overwritten on its host, and nothing of it is anywhere else', async () => {
      await using upstream = await start(() => ({ body: `you said ${REAL}`, headers: { 'x-echo': REAL } }));
      await using gate = await openLoopbackGate(optionsFor(upstream));
      const headers = { 'x-api-key': SENTINEL, authorization: `Bearer ${FOREIGN}` };
      const answer = await ask(protocol, gate, { host: HOST, path: `/a?token=${FOREIGN}&b=1`, headers });
      assert.deepEqual([answer.status, answer.body, answer.headers['x-echo']], [200, `you said ${SENTINEL}`, SENTINEL]);
      await ask(protocol, gate, { host: OTHER, path: '/?token=x', headers });
      const [here, there] = upstream.seen;
      assert.deepEqual(
        [valuesOf(here, 'x-api-key'), valuesOf(here, 'authorization'), here?.target],
        [[REAL], [], '/a?b=1'],
      );
      assert.deepEqual(
        [valuesOf(there, 'x-api-key'), valuesOf(there, 'authorization'), there?.target],
        [[SENTINEL], [`Bearer ${FOREIGN}`], '/?token=x'],
      );
      assert.deepEqual(
        gate.events.filter(({ kind }) => kind === 'request').map(({ secrets, stray, rule }) => [secrets, stray, rule]),
        [
          [['vendor'], [], 'service vendor'],
          [[], ['vendor'], `--allow ${OTHER}`],
        ],
      );
      assert.ok(!JSON.stringify(gate.events).includes(REAL));
    });

    test('a field that a service strips is in no trailer either', async () => {
      await using upstream = await start();
      await using gate = await openLoopbackGate(optionsFor(upstream));
      const trailers = { 'x-api_key': FOREIGN, 'X-Api-Key': FOREIGN, 'x-checksum': '1' };
      await ask(protocol, gate, { host: HOST, method: 'POST', body: ['a', 'b'], trailers });
      assert.equal(upstream.seen[0]?.body, 'ab');
      assert.ok(!JSON.stringify(upstream.seen[0]).includes(FOREIGN));
      assert.equal(upstream.seen[0]?.trailers['x-checksum'], '1');
    });

    test('a secret of the sandbox wins over a service in the same field', async () => {
      await using upstream = await start();
      await using gate = await openLoopbackGate(optionsFor(upstream, { secrets: [`OWN=own-value-4711@${HOST}`] }));
      await ask(protocol, gate, { host: HOST, headers: { 'x-api-key': placeholderOf('OWN') } });
      assert.deepEqual(valuesOf(upstream.seen[0], 'x-api-key'), ['own-value-4711']);
      assert.deepEqual(gate.events[0]?.secrets, ['OWN']);
    });

    test('a credential that is not known fails the request, and no other', async () => {
      await using upstream = await start();
      await using gate = await openLoopbackGate(optionsFor(upstream, { services: [{ ...VENDOR, credential: null }] }));
      const answer = await ask(protocol, gate, { host: HOST });
      assert.equal(answer.status, 502);
      assert.match(answer.body, /"SECRET_UNAVAILABLE".*vendor|vendor.*"SECRET_UNAVAILABLE"/);
      assert.equal((await ask(protocol, gate, { host: OTHER })).status, 200);
    });

    const signed = (hashes: boolean): { calls: unknown[]; signer: RequestSigner } => {
      const calls: unknown[] = [];
      return {
        calls,
        signer: {
          plan: ({ head }) =>
            head.target === '/refused'
              ? { kind: 'refused', detail: 'Presigned.' }
              : { kind: hashes ? 'hashed' : 'streamed' },
          sign: async ({ head, bodySha256, authority: { host } }) => {
            calls.push([host, bodySha256]);
            if (head.target === '/late') return { verdict: 'refused', detail: 'Not like this.' };
            return {
              verdict: 'signed',
              head: { ...head, fields: [...head.fields, 'x-signature', bodySha256 ?? 'none'] },
            };
          },
        },
      };
    };
    const SIGNED: ServiceInput = {
      ...VENDOR,
      definition: {
        ...VENDOR.definition,
        endpoints: [{ hosts: [HOST], overwrite: [], strip: { headers: [], query: [] }, signer: 'aws' }],
      },
    };
    const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

    test('requests are signed with the hash of the body as it is sent, whatever its framing', async () => {
      await using upstream = await start();
      const { calls, signer } = signed(true);
      const secrets = [`OWN=own-value-4711@${HOST}`];
      const options = optionsFor(upstream, {
        services: [SIGNED],
        signerFor: () => signer,
        secrets,
        secretIn: ['body'],
      });
      await using gate = await openLoopbackGate(options);
      const long = 'x'.repeat(MAX_MEASURED_REQUEST_BYTES + 1);
      const bodies = [undefined, 'whole', ['in ', 'pieces'], long, `with ${placeholderOf('OWN')}`];
      for (const body of bodies) {
        const answer = await ask(protocol, gate, {
          host: HOST,
          method: 'POST',
          headers: {},
          ...(body === undefined ? {} : { body }),
        });
        assert.equal(answer.status, 200, answer.body);
      }
      const sent = ['', 'whole', 'in pieces', long, 'with own-value-4711'];
      assert.deepEqual(
        upstream.seen.map(({ body }) => sha256(body)),
        sent.map(sha256),
      );
      assert.deepEqual(
        upstream.seen.flatMap((request) => valuesOf(request, 'x-signature')),
        sent.map(sha256),
      );
      assert.deepEqual(calls.length, sent.length);
      assert.deepEqual(gate.events.at(-1)?.secrets, ['vendor', 'OWN']);
      const tooLong = await ask(protocol, gate, { host: HOST, method: 'POST', body: [long, long] });
      assert.equal(tooLong.status, 413, tooLong.body);
    });

    test('a body that need not be hashed streams; a request that cannot be signed is refused in words', async () => {
      await using upstream = await start();
      const { signer } = signed(false);
      await using gate = await openLoopbackGate(optionsFor(upstream, { services: [SIGNED], signerFor: () => signer }));
      await ask(protocol, gate, { host: HOST, method: 'PUT', body: ['a', 'b'] });
      assert.deepEqual([upstream.seen[0]?.body, valuesOf(upstream.seen[0], 'x-signature')], ['ab', ['none']]);
      for (const [path, why] of [
        ['/refused', 'Presigned.'],
        ['/late', 'Not like this.'],
      ] as const) {
        const answer = await ask(protocol, gate, { host: HOST, path });
        assert.equal(answer.status, 403);
        assert.ok(answer.body.includes('SIGNATURE_REFUSED') && answer.body.includes(why), answer.body);
      }
      assert.equal(upstream.seen.length, 1);
    });
  });
}

test('TRACE carries no credential of a service, and no foreign one', async () => {
  await using upstream = await start();
  await using gate = await openLoopbackGate(optionsFor(upstream));
  await ask('HTTP/1.1', gate, { host: HOST, method: 'TRACE', headers: { 'x-api-key': FOREIGN } });
  assert.deepEqual(valuesOf(upstream.seen[0], 'x-api-key'), []);
  assert.deepEqual(gate.events[0]?.secrets, []);
});

test('a WebSocket handshake is overwritten, and what the server says is redacted', async () => {
  const heads: string[] = [];
  await using upstream = await startRawUpstream(
    (socket) => {
      socket.once('data', (chunk: Buffer) => {
        heads.push(chunk.toString('latin1'));
        socket.write(
          'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
            'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
        );
        socket.write(Buffer.concat([Buffer.from([0x81, REAL.length]), Buffer.from(REAL)]));
      });
    },
    await authority.issue([HOST]),
  );
  await using gate = await openLoopbackGate(optionsFor(upstream));
  const socket = await gate.connectTls(HOST, 443);
  socket.write(
    `GET /chat HTTP/1.1\r\nHost: ${HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade, x-api-key\r\n` +
      `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nX-Api-Key: ${FOREIGN}\r\n\r\n`,
  );
  const text = await receive(socket, SENTINEL);
  assert.ok(!text.includes(REAL));
  assert.match(heads[0] ?? '', new RegExp(`\\r\\nx-api-key: ${REAL}\\r\\n`));
  assert.ok(!heads[0]?.includes(FOREIGN));
  socket.destroy();
});

test('a client that names the field as hop-by-hop gets it overwritten all the same', async () => {
  await using upstream = await start();
  await using gate = await openLoopbackGate(optionsFor(upstream));
  await ask('HTTP/1.1', gate, { host: HOST, headers: { connection: 'close, x-api-key', 'x-api-key': SENTINEL } });
  assert.deepEqual(valuesOf(upstream.seen[0], 'x-api-key'), [REAL]);
});
