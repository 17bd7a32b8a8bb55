import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hostFieldFor } from '../http/authority.ts';
import { encodeRequestHead } from '../http/encoder.ts';
import { parseRequestHead } from '../http/head-parser.ts';
import type { Authority, RequestHead } from '../http/message.ts';
import { createNetworkPolicy } from '../policy/network-policy.ts';
import { Redactor } from '../secrets/redact.ts';
import { createSecretSet } from '../secrets/secret-set.ts';
import { parseLocations, parseSecretSpec } from '../secrets/secret-spec.ts';
import { BodySubstituter } from '../secrets/substitute-body.ts';
import { Substituter } from '../secrets/substitute.ts';
import { readRequestHead, requestFields } from './http2-fields.ts';
import { rewriteRequest } from './request-rewrite.ts';

const VALUES = { ONE: 'canary/one+4711?%"', TWO: 'canary-two-0815-x' } as const;
const BOUND = { ONE: 'api.example.com,*.wild.example.com', TWO: 'two.example.com:8443' } as const;
/** What these mean, of the hosts below. */
const ORIGINS = {
  ONE: ['https://api.example.com:443', 'https://x.wild.example.com:443'],
  TWO: ['https://two.example.com:8443'],
};
const names = Object.keys(VALUES) as (keyof typeof VALUES)[];
const placeholderFor = (env: string): string => `sp_${env}_0123456789abcdefghijkl`;
const secrets = createSecretSet({
  inputs: names.map((env) => {
    const spec = parseSecretSpec(`${env}=${VALUES[env]}@${BOUND[env]}`);
    assert.ok(spec.kind === 'bound' && spec.value !== undefined);
    return { env, value: spec.value, hosts: spec.hosts };
  }),
  locations: parseLocations(['header,basic,query,path']),
  plainNames: [],
  placeholderFor,
});
const context = {
  policy: createNetworkPolicy({}),
  secrets,
  substituter: new Substituter(secrets.secrets),
  bodies: new BodySubstituter(secrets.secrets),
  redacts: true,
  violations: null,
  signerFor: () => assert.fail('nothing is signed'),
};
const redactor = new Redactor(
  secrets.secrets.map(({ env, placeholder, value }) => ({ name: env, placeholder, values: [value] })),
);

const host = fc.constantFrom(
  'api.example.com', 'x.wild.example.com', 'y.x.wild.example.com', 'wild.example.com', 'two.example.com', 'evil.example', 'xapi.example.com', '192.0.2.7',
); // prettier-ignore
const origin: fc.Arbitrary<Authority> = fc.oneof(
  fc.constantFrom<Authority>(
    { scheme: 'https', host: 'api.example.com', port: 443 },
    { scheme: 'https', host: 'x.wild.example.com', port: 443 },
    { scheme: 'https', host: 'two.example.com', port: 8443 },
  ),
  fc.record({ scheme: fc.constantFrom('https', 'http'), host, port: fc.constantFrom(443, 80, 8443) }),
);
const piece = fc.oneof(
  fc.constantFrom(...names.map(placeholderFor)),
  fc.constantFrom('Bearer ', 'a', '=', '&', 'sp_ONE_', Buffer.from(`u:${placeholderFor('ONE')}`).toString('base64')),
  fc.stringMatching(/^[!-~]{1,6}$/),
);
const text = fc.array(piece, { minLength: 1, maxLength: 4 }).map((pieces) => pieces.join('').trim());
const field = fc.tuple(
  fc.oneof(fc.constantFrom('authorization', 'x-api-key', 'cookie', 'referer', 'x-forwarded-host', 'origin'), fc.stringMatching(/^x-[a-z]{1,5}$/)),
  fc.oneof(text, text.map((end) => `Basic ${Buffer.from(`u:${end}`).toString('base64')}`)),
); // prettier-ignore
const target = text.map((end) => `/${end.replaceAll(/[ #"<>\\^`{|}]/g, '')}`);
const request = fc.record({
  origin,
  method: fc.constantFrom('GET', 'POST', 'TRACE', 'DELETE'),
  target,
  fields: fc.array(field, { maxLength: 5 }),
});

/** Whether a text holds a value, as it is, or as a part of a URL or Basic credential has it. */
function holds(whole: string, env: keyof typeof VALUES): boolean {
  const value = VALUES[env];
  if (whole.includes(value) || whole.includes(encodeURIComponent(value))) return true;
  return [...whole.matchAll(/basic ([\w+/=-]+)/gi)].some(([, coded = '']) =>
    Buffer.from(coded, 'base64').toString('latin1').includes(value),
  );
}

/** What a request came to, over HTTP/1 and over HTTP/2, as its bytes and names and values say. */
function rewritten(one: { origin: Authority; method: string; target: string; fields: readonly [string, string][] }) {
  const fields = ['host', hostFieldFor(one.origin), ...one.fields.flat()];
  const head: RequestHead = { method: one.method, target: one.target, minor: 1, fields };
  const verdict = rewriteRequest(context, one.origin, { ...head, fields: [...fields] });
  if (verdict.verdict === 'answer') return null;
  const { fields: http2 } = requestFields(verdict.head, verdict.authority, hostFieldFor(verdict.authority), head);
  return { verdict, http1: encodeRequestHead(verdict.head), http2 };
}

test('rewriteRequest() puts a value nowhere but into requests for its own hosts, over either protocol', () => {
  const counts = { with: 0, without: 0 };
  fc.assert(
    fc.property(request, (one) => {
      const result = rewritten(one);
      if (result === null) return;
      const { verdict, http1, http2 } = result;
      for (const env of names) {
        const isBound = ORIGINS[env].includes(`${one.origin.scheme}://${one.origin.host}:${one.origin.port}`);
        const has = [holds(http1, env), holds(http2.join('\n'), env)];
        if (!isBound || one.method === 'TRACE') assert.deepEqual(has, [false, false]);
        assert.ok(
          !has.includes(true) || verdict.released.includes(env),
          'a value went out that the verdict does not name',
        );
        assert.ok(has[0] || !verdict.released.includes(env), 'the verdict names a value that did not go out');
        counts[has[0] === true ? 'with' : 'without'] += 1;
      }
    }),
    { numRuns: 3000 },
  );
  assert.ok(counts.with > 100 && counts.without > 100, JSON.stringify(counts));
});

test('rewriteRequest() gives heads that read as they were printed, over either protocol', () => {
  fc.assert(
    fc.property(request, (one) => {
      const result = rewritten(one);
      if (result === null) return;
      const { verdict, http1, http2 } = result;
      const bytes = Buffer.from(http1, 'latin1');
      const { method, target, minor, fields } = parseRequestHead(bytes, 0, bytes.length);
      assert.deepEqual({ method, target, minor, fields }, { ...verdict.head, fields: [...verdict.head.fields] });
      const { head, scheme } = readRequestHead(http2);
      assert.deepEqual(
        [head.method, head.target, scheme, head.fields[1]],
        [verdict.head.method, verdict.head.target, verdict.authority.scheme, hostFieldFor(verdict.authority)],
      );
    }),
    { numRuns: 1500 },
  );
});

test('rewriteRequest() and redaction leave no value, wherever the request is reflected', () => {
  fc.assert(
    fc.property(request, (one) => {
      const result = rewritten(one);
      if (result === null) return;
      for (const reflected of [result.http1, JSON.stringify(result.http2), encodeURIComponent(result.http1)]) {
        const redacted = redactor.redactText(reflected);
        for (const env of names) {
          assert.ok(!holds(redacted, env));
          assert.ok(!redacted.includes(JSON.stringify(VALUES[env]).slice(1, -1)));
        }
      }
    }),
    { numRuns: 1000 },
  );
});
