import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import type { ServiceInput } from '../secrets/bound-service.ts';
import { readSecretHosts } from '../secrets/secret-spec.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import { CachedSource } from '../sources/cached-source.ts';
import { LiveValues, type LiveSecret } from './live-values.ts';
import {
  compileRules,
  openLoopbackGate,
  placeholderOf,
  type LoopbackGate,
  type LoopbackOptions,
} from './loopback.testing.ts';
import {
  ask,
  startSeeingUpstream,
  TEST_PROTOCOLS,
  type SeeingUpstream,
  type SeenRequest,
} from './two-protocols.testing.ts';

const HOST = 'api.example.com';
const OTHER = 'other.example.com';
const PLACEHOLDER = placeholderOf('LIVE');

const SIGNED: ServiceInput = {
  definition: {
    name: 'vendor',
    title: 'Vendor',
    variables: [{ name: 'VENDOR_KEY', sentinel: 'sk-sentinel-0123456789' }],
    endpoints: [{ hosts: [HOST], overwrite: [], strip: { headers: [], query: [] }, signer: 'aws' }],
    documentation: [],
  },
  credential: { kind: 'token', value: new SecretValue('real-service-key-4711') },
  sentinels: new Map([['VENDOR_KEY', 'sk-sentinel-0123456789']]),
};

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

/** A source of the values `live-value-0`, `live-value-1`, …, which takes its time. */
function createSource(options: { refreshMs?: number | null; minDropIntervalMs?: number } = {}) {
  const clock = { nowMs: 0 };
  const source = {
    fetches: 0,
    failure: null as Error | null,
    hold: null as Promise<void> | null,
    valueOf: (fetch: number) => Buffer.from(`live-value-${fetch}`),
  };
  const cached = new CachedSource(
    {
      description: 'test',
      fetch: async () => {
        const value = source.valueOf(source.fetches);
        source.fetches += 1;
        await (source.hold ?? new Promise((resolve) => setTimeout(resolve, 10)));
        if (source.failure !== null) throw source.failure;
        return value;
      },
    },
    { refreshMs: options.refreshMs ?? null, minDropIntervalMs: options.minDropIntervalMs ?? 0, now: () => clock.nowMs },
  );
  return Object.assign(source, { cached, clock });
}

interface Live extends AsyncDisposable {
  readonly gate: LoopbackGate;
  readonly upstream: SeeingUpstream;
}

async function openLive(
  source: LiveSecret['source'],
  answer?: Parameters<typeof startSeeingUpstream>[1],
  more: LoopbackOptions = {},
): Promise<Live> {
  const upstream = await startSeeingUpstream(await authority.issue([HOST, OTHER]), answer);
  const options = (value: SecretValue): LoopbackOptions => ({
    secrets: [`LIVE=unused-value@${HOST}`],
    allow: [OTHER],
    resolve: [`${HOST}:443:127.0.0.1:${upstream.port}`, `${OTHER}:443:127.0.0.1:${upstream.port}`],
    upstreamCa: authority.certificatePem,
    ...more,
    more: { LIVE: { value } },
  });
  const provider = new LiveValues({
    secrets: [{ key: 'live', name: 'LIVE', hosts: readSecretHosts([HOST], 'LIVE'), source }],
    apply: async (values) => {
      const text = values.get('live') ?? '';
      if (text.includes('unusable')) throw new TypeError('unusable');
      gate.open.replaceSecrets(compileRules(options(new SecretValue(text))).secrets);
    },
  });
  const gate = await openLoopbackGate({ ...options(SecretValue.UNKNOWN), provider });
  return {
    gate,
    upstream,
    async [Symbol.asyncDispose]() {
      await gate[Symbol.asyncDispose]();
      await upstream[Symbol.asyncDispose]();
    },
  };
}

const credentialOf = (request: SeenRequest | undefined) =>
  request?.fields.find(([name]) => name === 'authorization')?.[1] ?? null;
const withCredential = { authorization: `Bearer ${PLACEHOLDER}` };

for (const protocol of TEST_PROTOCOLS) {
  describe(`LiveValues over ${protocol}`, () => {
    test('a value is fetched for the first request that needs it, once for all, and redacted in its very answer', async () => {
      const source = createSource();
      await using live = await openLive(source.cached, (request) => ({ body: `got ${credentialOf(request)}` }));
      assert.equal(
        (await ask(protocol, live.gate, { host: OTHER, headers: withCredential })).body,
        `got Bearer ${PLACEHOLDER}`,
      );
      assert.equal(source.fetches, 0, 'nobody needed it');
      const asked = { host: HOST, method: 'POST', headers: withCredential, body: ['streamed ', 'body'] };
      const answers = await Promise.all(Array.from({ length: 8 }, async () => await ask(protocol, live.gate, asked)));
      for (const { body } of answers) assert.equal(body, `got Bearer ${PLACEHOLDER}`);
      assert.equal(source.fetches, 1);
      assert.deepEqual(
        new Set(live.upstream.seen.slice(1).map((request) => [credentialOf(request), request.body].join())),
        new Set(['Bearer live-value-0,streamed body']),
      );
    });

    test('a value whose life is over is fetched anew, and the older one is redacted for ever', async () => {
      const source = createSource({ refreshMs: 1000 });
      await using live = await openLive(source.cached, () => ({ body: 'live-value-0 live-value-1' }));
      await ask(protocol, live.gate, { host: HOST, headers: withCredential });
      source.clock.nowMs = 999;
      await ask(protocol, live.gate, { host: HOST, headers: withCredential });
      source.clock.nowMs = 1000;
      const { body } = await ask(protocol, live.gate, { host: HOST, headers: withCredential });
      assert.deepEqual(
        live.upstream.seen.map(credentialOf),
        [0, 0, 1].map((fetch) => `Bearer live-value-${fetch}`),
      );
      assert.equal(body, `${PLACEHOLDER} ${PLACEHOLDER}`);
    });

    test('a source that fails, is late or gives nonsense fails the request, by the name of the secret alone', async () => {
      const source = createSource();
      source.failure = new Error('/home/somebody is not there');
      await using live = await openLive(source.cached, undefined, { timeLimits: { secretMs: 300, sweepMs: 50 } });
      const refused = async (): Promise<void> => {
        const { status, body } = await ask(protocol, live.gate, { host: HOST, headers: withCredential });
        assert.equal(status, 502);
        assert.match(body, /SECRET_UNAVAILABLE/);
        assert.ok(!body.includes('somebody'), body);
        source.clock.nowMs += 10_000;
      };
      await refused();
      source.failure = null;
      source.valueOf = () => Buffer.from([0xff, 0xfe]);
      await refused();
      source.cached.drop();
      source.valueOf = () => Buffer.from('unusable value');
      await refused();
      source.cached.drop();
      const { promise, resolve } = Promise.withResolvers<void>();
      source.hold = promise;
      source.valueOf = () => Buffer.from('usable-at-last');
      await refused();
      resolve();
      source.hold = null;
      assert.equal(live.upstream.seen.length, 0);
      assert.equal((await ask(protocol, live.gate, { host: HOST, headers: withCredential })).status, 200);
      assert.equal(credentialOf(live.upstream.seen[0]), 'Bearer usable-at-last');
    });

    test('a 401 has the value fetched anew, and what can be repeated is sent once more', async () => {
      const source = createSource();
      await using live = await openLive(source.cached, (request) =>
        credentialOf(request) === 'Bearer live-value-0' ? { status: 401, body: 'who?' } : { body: 'fine' },
      );
      assert.equal((await ask(protocol, live.gate, { host: HOST, headers: withCredential })).body, 'fine');
      assert.deepEqual(live.upstream.seen.map(credentialOf), ['Bearer live-value-0', 'Bearer live-value-1']);
      const events = live.gate.events.filter(({ kind }) => kind === 'request');
      assert.deepEqual(
        events.map(({ status, secrets }) => [status, secrets]),
        [[200, ['LIVE']]],
      );
    });

    test('a 401 is passed on when it comes again, when the request cannot be repeated, and when the value is too new', async () => {
      const source = createSource({ minDropIntervalMs: 1000 });
      const unauthorized = { status: 401, body: 'live-value-0', headers: { 'www-authenticate': 'Bearer' } };
      await using live = await openLive(source.cached, () => unauthorized);
      const isPassedOn = async (method: string, body?: string): Promise<void> => {
        const answer = await ask(protocol, live.gate, {
          host: HOST,
          method,
          headers: withCredential,
          ...(body === undefined ? {} : { body }),
        });
        assert.deepEqual(
          [answer.status, answer.headers['www-authenticate'], answer.body],
          [401, 'Bearer', PLACEHOLDER],
          method,
        );
      };
      await isPassedOn('GET');
      assert.deepEqual([live.upstream.seen.length, source.fetches], [1, 1], 'too new');
      source.clock.nowMs = 1000;
      await isPassedOn('GET');
      assert.deepEqual([live.upstream.seen.length, source.fetches], [3, 2], 'once more');
      source.clock.nowMs = 2000;
      await isPassedOn('POST', 'a body');
      assert.deepEqual([live.upstream.seen.length, source.fetches], [4, 2], 'the value is given up all the same');
      await isPassedOn('GET');
      assert.deepEqual([live.upstream.seen.length, source.fetches], [5, 3], 'the new one is too new');
      await isPassedOn('DELETE');
      assert.equal(live.upstream.seen.length, 6);
    });

    test('an audit event names what was sent, also when the second try never is', async () => {
      const source = createSource();
      await using live = await openLive(source.cached, () => {
        source.failure = new Error('the source is gone');
        return { status: 401 };
      });
      const answer = await ask(protocol, live.gate, { host: HOST, headers: withCredential });
      assert.equal(answer.status, 502);
      assert.deepEqual(
        live.gate.events.map((event) => (event.kind === 'request' ? [event.code, event.secrets] : event)),
        [['SECRET_UNAVAILABLE', ['LIVE']]],
      );
    });

    test('a body that is kept is sent once more, with the new value in it', async () => {
      const source = createSource();
      source.valueOf = (fetch) => Buffer.from(`live-value-${'x'.repeat(fetch * 5)}${fetch}`);
      await using live = await openLive(
        source.cached,
        ({ body }) => (body.includes('live-value-0') ? { status: 401 } : { body: 'fine' }),
        { secretIn: ['body'] },
      );
      const body = `{"token":"${PLACEHOLDER}"}`;
      const answer = await ask(protocol, live.gate, {
        host: HOST,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      assert.equal(answer.body, 'fine');
      assert.deepEqual(
        live.upstream.seen.map((request) => request.body),
        ['{"token":"live-value-0"}', '{"token":"live-value-xxxxx1"}'],
      );
    });

    test('so is one that is kept to be signed, whose length nothing tells', async () => {
      const source = createSource();
      const plan = { kind: 'hashed' } as const;
      await using live = await openLive(
        source.cached,
        ({ body }) => (body.includes('live-value-1') ? { body: 'fine' } : { status: 401 }),
        {
          secretIn: ['body'],
          services: [SIGNED],
          signerFor: () => ({ plan: () => plan, sign: ({ head }) => Promise.resolve({ verdict: 'signed', head }) }),
        },
      );
      const answer = await ask(protocol, live.gate, {
        host: HOST,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: ['{"token":', `"${PLACEHOLDER}"}`],
      });
      assert.equal(answer.body, 'fine');
      assert.deepEqual(
        live.upstream.seen.map((request) => request.body),
        ['{"token":"live-value-0"}', '{"token":"live-value-1"}'],
      );
    });
  });
}

test('requests that are pipelined behind one that waits for its value are answered in order', async () => {
  const source = createSource();
  await using live = await openLive(source.cached, (request) => ({ body: `${request.target} ${request.body}`.trim() }));
  const socket = await live.gate.connectTls(HOST, 443);
  const head = (path: string, more = '') => `POST ${path} HTTP/1.1\r\nhost: ${HOST}\r\n${more}\r\n`;
  socket.end(
    `${head('/1', 'content-length: 3\r\n')}abc${head('/2', 'content-length: 3\r\n')}def${head('/3', 'content-length: 0\r\n')}`,
  );
  const pieces: Buffer[] = [];
  for await (const chunk of socket) pieces.push(chunk as Buffer);
  const text = Buffer.concat(pieces).toString('latin1');
  assert.deepEqual(text.match(/\/\d( \w+)?$/gm) ?? [], ['/1 abc', '/2 def', '/3'].slice(0, 3), text);
});
