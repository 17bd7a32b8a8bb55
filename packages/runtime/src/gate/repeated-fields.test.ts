import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeRequestHead } from '../http/encoder.ts';
import { keepsAlive } from '../http/hop-by-hop.ts';
import { HttpSyntaxError } from '../http/http-syntax-error.ts';
import type { Authority, RequestHead } from '../http/message.ts';
import { createNetworkPolicy, parseKeptRule, parseNetworkRule } from '../policy/network-policy.ts';
import { createSecretSet } from '../secrets/secret-set.ts';
import { parseLocations, parseSecretSpec } from '../secrets/secret-spec.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import type { ViolationAction } from '../secrets/stored-secret.ts';
import { BodySubstituter } from '../secrets/substitute-body.ts';
import { Substituter } from '../secrets/substitute.ts';
import { SERVICES } from '../services/catalogue.ts';
import { fillSentinel } from '../services/sentinel.ts';
import { RepeatedFields } from './repeated-fields.ts';
import { rewriteRequest, type RequestContext } from './request-rewrite.ts';
import { createViolationCheck } from './violation.ts';

const placeholderFor = (env: string): string => `sp_${env}_0123456789abcdefghijkl`;
const services = ['github', 'google'].flatMap((name) => SERVICES.filter((definition) => definition.name === name));
const sentinels = services.map(
  ({ variables }, index) =>
    new Map(variables.map(({ name, sentinel }) => [name, fillSentinel(sentinel, new Uint8Array(32).fill(index + 1))])),
);

interface Variant {
  readonly value: string;
  readonly onViolation?: ViolationAction;
  readonly methods?: readonly string[];
  /** What may not be asked for. */
  readonly denied?: readonly string[];
  readonly locations?: string;
}

function contextOf({
  value,
  onViolation = 'pass',
  methods,
  denied,
  locations = 'header,basic',
}: Variant): RequestContext {
  const secrets = createSecretSet({
    inputs: [`ONE=${value}@api.example.com,api.github.com`, 'TWO=canary-two-0815@two.example.com'].map((text) => {
      const spec = parseSecretSpec(text);
      assert.ok(spec.kind === 'bound' && spec.value !== undefined);
      const { env, hosts } = spec;
      return { env, value: spec.value, hosts, onViolation, ...(methods === undefined ? {} : { methods }) };
    }),
    services: services.map((definition, index) => ({
      definition,
      sentinels: sentinels[index]!,
      credential: { kind: 'token', value: new SecretValue(`canary-${definition.name}-4711-real`) },
    })),
    locations: parseLocations([locations]),
    plainNames: [],
    placeholderFor,
  });
  return {
    policy: createNetworkPolicy({
      allow: [parseNetworkRule('--allow', '**')],
      deny: denied === undefined ? [] : [parseKeptRule({ action: 'deny', pattern: '**', methods: denied }, null)],
    }),
    secrets,
    substituter: new Substituter(secrets.secrets),
    bodies: new BodySubstituter(secrets.secrets),
    redacts: true,
    violations: createViolationCheck(secrets),
    signerFor: () => assert.fail('nothing is signed'),
  };
}

const contexts = [
  contextOf({ value: 'canary-one-4711' }),
  contextOf({ value: 'canary-one-rotated' }),
  contextOf({ value: 'canary-one-4711', onViolation: 'block' }),
  contextOf({ value: 'canary-one-4711', methods: ['GET'], denied: ['DELETE'] }),
  contextOf({ value: 'canary-one-4711', denied: ['POST'], locations: 'header,query,path,body' }),
];
const origins: readonly Authority[] = [
  { scheme: 'https', host: 'api.example.com', port: 443 },
  { scheme: 'https', host: 'two.example.com', port: 443 },
  { scheme: 'https', host: 'api.github.com', port: 443 },
  { scheme: 'https', host: 'generativelanguage.googleapis.com', port: 443 },
  { scheme: 'https', host: 'github.com', port: 443 },
];
/** Field sections for a host. */
const sectionsFor = (host: string): readonly (readonly string[])[] => [
    ['Host', host],
    ['Host', host, 'Authorization', `Bearer ${placeholderFor('ONE')}`, 'Accept-Encoding', 'gzip, zz', 'Range', 'bytes=0-1'],
    ['HOST', `${host}:443`, 'X-Key', placeholderFor('TWO'), 'Connection', 'close, x-hop', 'X-Hop', '1', 'TE', 'trailers, deflate'],
    ['host', host, 'Authorization', `Basic ${Buffer.from(`u:${placeholderFor('ONE')}`).toString('base64')}`],
    ['host', host, 'Authorization', `Bearer ${[...sentinels[0]!.values()][0]}`, 'X-HTTP-Method-Override', 'DELETE'],
    ['host', host, 'Content-Length', '3', 'Content-Type', 'application/json', 'Expect', '100-continue'],
    ['host', host, 'Content-Length', '0', 'Proxy-Connection', 'keep-alive', 'Keep-Alive', '1', 'Trailer', 'x'],
    ['host', host, 'Transfer-Encoding', 'chunked', 'Trailer', 'x'],
    ['host', host, 'Connection', 'Upgrade', 'Upgrade', 'websocket', 'Sec-WebSocket-Version', '13', 'Sec-WebSocket-Key', 'MDEyMzQ1Njc4OWFiY2RlZg=='],
    ['host', host, 'Content-Length', '1', 'Transfer-Encoding', 'chunked'],
    ['host', host, 'host', host],
    ['Accept', '*/*'],
    ['Host', 'evil.example'],
]; // prettier-ignore

const step = fc.record({
  method: fc.constantFrom('GET', 'GET', 'GET', 'POST', 'HEAD', 'TRACE', 'CONNECT', 'DELETE', 'OPTIONS'),
  target: fc.constantFrom(
    '/', '/', '/v1/items?x=1', '/v1/items?x=2', '/v2', '/o/r.git/info/refs', '/?key=AIza', '/?a=b;%4bEY=canary-google-4711-real', '/v1?access_token=1&b', '/v1beta/openai/x', '/v1beta/models', '/a%20b', '*', '/#f', '/a\\b', 'https://api.example.com/abs?q', 'https://evil.example/', 'x:443',
    `/?k=${placeholderFor('ONE')}`, `/%73${placeholderFor('ONE').slice(1)}`, '/?_method=DELETE', `/${placeholderFor('TWO')}`,
  ),
  minor: fc.constantFrom<0 | 1>(1, 1, 1, 1, 0),
}); // prettier-ignore
/** Clients go on with the same fields for a while, whatever becomes of the rules meanwhile. */
const phase = fc.record({
  origin: fc.nat(origins.length - 1),
  section: fc.nat(sectionsFor('').length - 1),
  runs: fc.array(
    fc.record({ context: fc.nat(contexts.length - 1), steps: fc.array(step, { minLength: 2, maxLength: 8 }) }),
    { minLength: 1, maxLength: 4 },
  ),
});

/** All that counts of what is made of a request, its bytes included. */
function outcome(context: RequestContext, origin: Authority, head: RequestHead, repeats: RepeatedFields | null) {
  try {
    const verdict = rewriteRequest(context, origin, head, false, repeats);
    if (verdict.verdict === 'answer') return { ...verdict, isRepeated: false };
    const { repeated, ...rest } = verdict;
    return {
      ...rest,
      guards: rest.guards === null ? null : ['x-api-key', 'authorization', 'x-other'].map(rest.guards),
      bytes: encodeRequestHead(verdict.head, repeated?.section),
      keepsAlive: repeated?.keepsAlive ?? keepsAlive(head),
      isRepeated: repeated !== null,
    };
  } catch (error) {
    assert.ok(error instanceof HttpSyntaxError);
    return { verdict: 'fault', code: error.code, status: error.status, isRepeated: false };
  }
}

test('RepeatedFields leaves every verdict and every byte what they are without it', () => {
  const counts = new Map<string, number>();
  fc.assert(
    fc.property(fc.array(phase, { minLength: 1, maxLength: 4 }), (phases) => {
      const repeats = new RepeatedFields();
      for (const { origin: from, section, runs } of phases) {
        const origin = origins[from]!;
        // The same array for the same bytes, as the reader of heads gives it.
        const received: readonly string[] = Object.freeze([...sectionsFor(origin.host)[section]!]);
        for (const { context: at, steps } of runs) {
          const context = contexts[at]!;
          for (const { method, target, minor } of steps) {
            const head: RequestHead = { method, target, minor, fields: received };
            const { isRepeated, ...remembered } = outcome(context, origin, head, repeats);
            const { isRepeated: never, ...anew } = outcome(context, origin, { ...head, fields: [...received] }, null);
            assert.deepEqual(remembered, anew);
            assert.equal(never, false);
            const key = isRepeated ? `repeated ${at}` : anew.verdict;
            if (isRepeated) counts.set(origin.host, (counts.get(origin.host) ?? 0) + 1);
            counts.set(key, (counts.get(key) ?? 0) + 1);
          }
        }
      }
    }),
    { numRuns: 1500 },
  );
  for (const key of [
    'repeated 0',
    'repeated 1',
    'repeated 2',
    'repeated 4',
    'answer',
    'fault',
    'forward',
    ...origins.map((one) => one.host),
  ]) {
    assert.ok((counts.get(key) ?? 0) > 10, JSON.stringify([...counts]));
  }
});

test('RepeatedFields forgets values when it is told to', () => {
  const repeats = new RepeatedFields();
  const [context, origin] = [contexts[0]!, origins[0]!];
  const head: RequestHead = { method: 'GET', target: '/', minor: 1, fields: sectionsFor(origin.host)[1]! };
  const isRepeated = () => outcome(context, origin, head, repeats).isRepeated;
  assert.deepEqual([isRepeated(), isRepeated(), isRepeated()], [false, false, true]);
  repeats.forget();
  assert.equal(repeats.recall(context, origin, head), null);
  assert.deepEqual([isRepeated(), isRepeated(), isRepeated()], [false, false, true]);
});
