import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePathGlob } from '../policy/path-glob.ts';
import { createSecretSet } from './secret-set.ts';
import { receiveSecrets, transferSecrets } from './secret-set-transfer.ts';
import { readSecretHosts } from './secret-spec.ts';
import { SecretValue } from './secret-value.ts';

const AUTHORITY = { scheme: 'https', host: 'api.example.com', port: 443 } as const;

test('receiveSecrets() makes of what transferSecrets() sends what it was, through a copy of plain data', () => {
  const hosts = readSecretHosts(['*.example.com', 'api.example.com:8443'], 'TOKEN');
  const [token, secretKey] = [new SecretValue('token-canary-4711'), new SecretValue('aws-canary-0815')];
  const definition = {
    name: 'vendor',
    title: 'Vendor',
    variables: [{ name: 'VENDOR_KEY', sentinel: 'vk-{rand}' }],
    endpoints: [{ hosts: ['api.example.com'], overwrite: [], strip: { headers: [], query: [] } }],
    documentation: [],
  };
  const sentinels = new Map([['VENDOR_KEY', 'vk-0123456789abcdefghijkl']]);
  const aws = { kind: 'aws', accessKeyId: 'AKIAEXAMPLE', secretAccessKey: secretKey, sessionToken: null } as const;
  const set = createSecretSet({
    inputs: [
      {
        env: 'TOKEN',
        value: token,
        hosts,
        methods: ['GET'],
        path: parsePathGlob('/v1/**'),
        onViolation: 'block',
      },
      { env: 'LATER', value: SecretValue.UNKNOWN, hosts },
    ],
    locations: [{ kind: 'header' }, { kind: 'body' }],
    plainNames: [],
    placeholderFor: (env) => `sp_${env}_0123456789abcdefghijkl`,
    services: [
      { definition, credential: { kind: 'token', value: new SecretValue('vendor-canary-2342') }, sentinels },
      { definition: { ...definition, name: 'unknown' }, credential: null, sentinels: new Map([['A', 'sentinel-1']]) },
      { definition: { ...definition, name: 'cloud' }, credential: aws, sentinels: new Map([['B', 'sentinel-2']]) },
    ],
  });
  const earlier = [{ name: 'TOKEN', placeholder: 'sp_TOKEN_0123456789abcdefghijkl', values: [token] }];
  const received = receiveSecrets(transferSecrets(set, earlier, (plain) => structuredClone(plain)));
  assert.deepEqual(received.set.secrets, set.secrets);
  assert.deepEqual(received.set.services, set.services);
  assert.deepEqual(received.earlier, earlier);
  // Values are private to their class: comparing the sets does not see them.
  assert.deepEqual(
    received.set.secrets.map(({ value }) => (value.isKnown ? value.reveal() : null)),
    set.secrets.map(({ value }) => (value.isKnown ? value.reveal() : null)),
  );
  assert.equal(received.earlier[0]?.values[0]?.equals(token), true);
  const credential = received.set.services[2]?.credential;
  assert.equal(credential?.kind === 'aws' && credential.secretAccessKey.equals(secretKey), true);
  assert.deepEqual(
    received.set.secretsFor(AUTHORITY).map(({ env }) => env),
    set.secretsFor(AUTHORITY).map(({ env }) => env),
  );
  assert.equal(received.set.servicesFor(AUTHORITY).length, 3);
});
