import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startStandIn } from './stand-in.testing.ts';
import { policy } from './stored-rules.ts';

test('StoredRules asks what the API takes, for all sandboxes and for one', async () => {
  const rule = { sandbox: null, action: 'allow', host: 'a.example', methods: [], path: null, preset: null, createdAt: '2026-01-02T03:04:05.678Z' }; // prettier-ignore
  await using standIn = await startStandIn((_, response) => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ rules: [rule], notices: [] }));
  });
  const { connection, asked } = standIn;
  assert.deepEqual(await policy.allow('a.example', { connection }), [rule]);
  await policy.deny(['a.example', 'b.example'], { connection, sandbox: 'worker', methods: ['POST'], path: '/x/**' });
  await policy.list({ connection });
  await policy.list({ connection, sandbox: 'worker' });
  await policy.remove('*.a.example', { connection, action: 'deny', sandbox: 'worker' });
  await policy.reset({ connection });
  await policy.usePreset('balanced', { connection });
  assert.deepEqual(
    asked.map(({ method, url, body }) => [method, url, body === '' ? null : (JSON.parse(body) as unknown)]),
    [
      ['POST', '/v1/policy/rules', { action: 'allow', hosts: ['a.example'] }],
      ['POST', '/v1/policy/rules', { action: 'deny', hosts: ['a.example', 'b.example'], methods: ['POST'], path: '/x/**', sandbox: 'worker' }],
      ['GET', '/v1/policy/rules', null],
      ['GET', '/v1/policy/rules?sandbox=worker', null],
      ['DELETE', '/v1/policy/rules?host=*.a.example&action=deny&sandbox=worker', null],
      ['POST', '/v1/policy/reset', {}],
      ['PUT', '/v1/policy/preset', { preset: 'balanced' }],
    ],
  ); // prettier-ignore
});
