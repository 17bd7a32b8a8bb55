import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError, type ErrorCode } from '@sallyport/sdk';
import type { ServiceInput } from './bound-service.ts';
import { KnownValues } from './known-values.ts';
import { createSecretSet, type SecretInput } from './secret-set.ts';
import { refuseExposure } from './secret-set-exposure.ts';
import { readSecretHosts } from './secret-spec.ts';
import { SecretValue } from './secret-value.ts';

function serviceOf(name: string, options: { hosts?: string[]; value?: string | null; sentinel?: string } = {}) {
  const { hosts = ['api.example.com'], value = `${name}-real-value`, sentinel = `sk-${name}-sentinel` } = options;
  const service: ServiceInput = {
    definition: {
      name,
      title: name,
      variables: [{ name: `${name.toUpperCase()}_KEY`, sentinel }],
      endpoints: hosts.map((host) => ({
        hosts: [host],
        overwrite: [{ kind: 'header', name: 'x-api-key', text: '{value}' }],
        strip: { headers: [], query: [] },
      })),
      documentation: [],
    },
    credential: value === null ? null : { kind: 'token', value: new SecretValue(value) },
    sentinels: new Map([[`${name.toUpperCase()}_KEY`, sentinel]]),
  };
  return service;
}

function setOf(services: readonly ServiceInput[], inputs: readonly SecretInput[] = []) {
  return createSecretSet({
    inputs,
    locations: [{ kind: 'header' }],
    plainNames: ['PLAIN'],
    placeholderFor: (env) => `sp_${env}_0123456789`,
    services,
  });
}

function hasCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof SallyportError && error.code === code;
}

test('servicesFor() finds endpoints by host over TLS, in the order given', () => {
  const set = setOf([
    serviceOf('wide', { hosts: ['**.example.com', 'api.example.com', '*.example.com'] }),
    serviceOf('other', { hosts: ['api.example.com:8443'] }),
    serviceOf('narrow'),
  ]);
  const cases: [scheme: 'https' | 'http', host: string, port: number, expected: string][] = [
    [
      'https',
      'api.example.com',
      443,
      'wide **.example.com,wide api.example.com,wide *.example.com,narrow api.example.com',
    ],
    ['https', 'x.example.com', 443, 'wide **.example.com,wide *.example.com'],
    ['https', 'a.b.example.com', 443, 'wide **.example.com'],
    ['https', 'example.com', 443, ''],
    ['https', 'api.example.com', 8443, 'other api.example.com:8443'],
    ['http', 'api.example.com', 80, ''],
    ['http', 'api.example.com', 443, ''],
  ];
  for (const [scheme, host, port, expected] of cases) {
    const uses = set.servicesFor({ scheme, host, port });
    assert.equal(uses.map(({ service, endpoint }) => `${service.name} ${endpoint.hosts[0]}`).join(), expected);
    assert.equal(set.servicesFor({ scheme, host, port }), uses, 'remembered');
  }
});

test('createSecretSet() refuses services that could not be told apart, and hosts in clear', () => {
  const secret = (env: string, value: string): SecretInput => ({
    env,
    value: new SecretValue(value),
    hosts: readSecretHosts(['h.example'], env),
  });
  const wrong: [services: ServiceInput[], inputs: SecretInput[]][] = [
    [[serviceOf('a'), serviceOf('a', { sentinel: 'another-sentinel' })], []],
    [[serviceOf('a', { sentinel: 'same-sentinel' }), serviceOf('b', { sentinel: 'same-sentinel' })], []],
    [[serviceOf('a', { sentinel: 'short' })], []],
    [[serviceOf('a', { sentinel: 'sp_TOKEN_0123456789' })], [secret('TOKEN', 'value-value')]],
    [[serviceOf('a', { sentinel: 'sk-with-value-value' })], [secret('TOKEN', 'value-value')]],
    [[serviceOf('a', { value: 'x-sp_TOKEN_0123456789' })], [secret('TOKEN', 'value-value')]],
    [[serviceOf('a', { value: 'sk-a-sentinel' })], []],
  ];
  for (const [services, inputs] of wrong) assert.throws(() => setOf(services, inputs), hasCode('SECRET_CONFLICT'));
  assert.throws(() => setOf([serviceOf('a', { hosts: ['http://h.example'] })]), hasCode('INVALID_HOST_PATTERN'));
  // A variable of a service may be a secret's, or a plain one: the value goes where the service says in any case.
  setOf([serviceOf('token')], [secret('TOKEN_KEY', 'value-value')]);
});

test('values of services are known, become sentinels, and are refused in plain sight', () => {
  const aws: ServiceInput = {
    ...serviceOf('aws'),
    credential: {
      kind: 'aws',
      accessKeyId: 'AKIAREALREALREAL1234',
      secretAccessKey: new SecretValue('real-secret-access-key'),
      sessionToken: new SecretValue('real-session-token'),
    },
    sentinels: new Map([
      ['AWS_ACCESS_KEY_ID', 'AKIASENTINEL00000000'],
      ['AWS_SECRET_ACCESS_KEY', 'sentinel-of-the-secret-key'],
      ['AWS_SESSION_TOKEN', 'sentinel-of-the-session'],
    ]),
  };
  const set = setOf([serviceOf('a'), aws, serviceOf('unknown', { value: null })]);
  const known = new KnownValues([]);
  known.add(set);
  assert.deepEqual(
    known.rules().map(({ placeholder, values }) => [placeholder, ...values.map((value) => value.reveal())]),
    [
      ['sk-a-sentinel', 'a-real-value'],
      ['AKIASENTINEL00000000', 'AKIAREALREALREAL1234'],
      ['sentinel-of-the-secret-key', 'real-secret-access-key'],
      ['sentinel-of-the-session', 'real-session-token'],
    ],
  );
  for (const text of ['x a-real-value x', 'real-session-token']) {
    assert.throws(() => refuseExposure(set, ['echo', text], new Map()), hasCode('SECRET_CONFLICT'));
    assert.throws(() => refuseExposure(set, [], new Map([['PLAIN', text]])), hasCode('SECRET_CONFLICT'));
  }
  refuseExposure(set, ['echo', 'AKIAREALREALREAL1234'], new Map());
});

test('a value that is not known is never revealed', () => {
  const hosts = readSecretHosts(['h.example'], 'LATER');
  const set = setOf([], [{ env: 'LATER', value: SecretValue.UNKNOWN, hosts }]);
  assert.equal(set.secretsFor({ scheme: 'https', host: 'h.example', port: 443 }).length, 1);
  assert.throws(() => SecretValue.UNKNOWN.reveal(), TypeError);
  const known = new KnownValues([]);
  known.add(set);
  assert.deepEqual(known.rules(), []);
});
