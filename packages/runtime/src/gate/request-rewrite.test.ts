import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countField } from '../http/fields.ts';
import type { Authority, RequestHead } from '../http/message.ts';
import { createNetworkPolicy } from '../policy/network-policy.ts';
import { indexSecrets } from '../secrets/secret-set.ts';
import { parseSecretSpec } from '../secrets/secret-spec.ts';
import { BodySubstituter } from '../secrets/substitute-body.ts';
import { Substituter } from '../secrets/substitute.ts';
import { rewriteRequest } from './request-rewrite.ts';

const spec = parseSecretSpec('TOKEN=canary-value-4711@api.example.com,*.wild.example.com');
assert.ok(spec.kind === 'bound' && spec.value !== undefined);
const set = indexSecrets([
  {
    name: 'TOKEN',
    env: 'TOKEN',
    placeholder: 'sp_TOKEN_0123456789abcdefghijkl',
    value: spec.value,
    hosts: spec.hosts,
    locations: [{ kind: 'header' }],
  },
]);
const context = {
  policy: createNetworkPolicy({}),
  secrets: set,
  substituter: new Substituter(set.secrets),
  bodies: new BodySubstituter(set.secrets),
  redacts: true,
  violations: null,
  signerFor: () => assert.fail('nothing is signed'),
};

function fieldsOf(origin: Authority, method = 'GET'): readonly string[] {
  const host = origin.port === (origin.scheme === 'https' ? 443 : 80) ? origin.host : `${origin.host}:${origin.port}`;
  const fields = ['Host', host, 'RANGE', 'bytes=0-4', 'If-Range', '"x"', 'Request-Range', 'bytes=0-4', 'Accept', '*/*'];
  const head: RequestHead = { method, target: '/', minor: 1, fields };
  const verdict = rewriteRequest(context, origin, head);
  assert.ok(verdict.verdict === 'forward');
  assert.equal(countField(verdict.head.fields, 'accept'), 1);
  return verdict.head.fields;
}

test('rewriteRequest() takes ranges off every request of a sandbox that has a secret, on any host and port and by any method', () => {
  const ranges = (fields: readonly string[]) =>
    ['range', 'if-range', 'request-range'].map((name) => countField(fields, name)).join('');
  for (const host of ['api.example.com', 'x.wild.example.com', 'other.example.com']) {
    assert.equal(ranges(fieldsOf({ scheme: 'https', host, port: 443 })), '000');
    assert.equal(ranges(fieldsOf({ scheme: 'https', host, port: 8443 })), '000');
    assert.equal(ranges(fieldsOf({ scheme: 'http', host, port: 80 })), '000');
    assert.equal(ranges(fieldsOf({ scheme: 'https', host, port: 443 }, 'TRACE')), '000');
  }
});
