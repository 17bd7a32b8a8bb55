import assert from 'node:assert/strict';
import { test } from 'node:test';
import { storedSecretChangeSchema } from '../api/stored-secrets.ts';
import { secrets, type StoredSecretOptions } from './stored-secrets.ts';
import { sendJson, startStandIn } from './stand-in.testing.ts';

const VALUE = 'canary-value-4711';

test('StoredSecrets sends what the contract takes', async () => {
  await using daemon = await startStandIn((_asked, response) => sendJson(response, { secrets: [] }));
  const { connection } = daemon;
  await secrets.set('openai', { value: VALUE }, { connection });
  await secrets.set('A', { value: VALUE, hosts: ['a.example'], path: undefined }, { connection, sandbox: 'worker' });
  await secrets.set('B.c', { plain: true, value: VALUE, env: 'B' }, { connection });
  await secrets.set('aws', { reference: 'vault://a/b#c', refreshMs: null, verify: false }, { connection });
  assert.deepEqual(
    daemon.asked.map(({ method, url, body }) => [method, url, storedSecretChangeSchema.parse(JSON.parse(body))]),
    [
      ['PUT', '/v1/secrets/openai', { kind: 'service', value: VALUE }],
      ['PUT', '/v1/secrets/A?sandbox=worker', { kind: 'custom', value: VALUE, hosts: ['a.example'] }],
      ['PUT', '/v1/secrets/B.c', { kind: 'plain', value: VALUE, env: 'B' }],
      ['PUT', '/v1/secrets/aws', { kind: 'service', reference: 'vault://a/b#c', refreshMs: null, verify: false }],
    ],
  );
  await secrets.list({ connection });
  await secrets.list({ connection, global: true });
  await secrets.list({ connection, sandbox: 'worker' });
  await secrets.test('A', { connection });
  await secrets.remove('A', { connection, sandbox: 'worker' });
  assert.deepEqual(
    daemon.asked.slice(4).map(({ method, url }) => `${method} ${url}`),
    [
      'GET /v1/secrets',
      'GET /v1/secrets?global=true',
      'GET /v1/secrets?sandbox=worker',
      'POST /v1/secrets/A/test',
      'DELETE /v1/secrets/A?sandbox=worker',
    ],
  );
});

test('StoredSecrets.set() refuses a value that is not there', async () => {
  await using daemon = await startStandIn((_asked, response) => sendJson(response, {}));
  const unset = process.env['SALLYPORT_TEST_NO_SUCH_VARIABLE'];
  for (const secret of [
    { value: unset },
    { value: '' },
    { value: unset, hosts: ['a.example'] },
  ] as StoredSecretOptions[]) {
    await assert.rejects(secrets.set('openai', secret, daemon), { code: 'INVALID_SECRET_VALUE' });
  }
  assert.deepEqual(daemon.asked, []);
});
