import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import type { RequestHead } from '../http/message.ts';
import { bindService, type ServiceInput } from './bound-service.ts';
import type { BoundSecret } from './bound-secret.ts';
import { indexSecrets } from './secret-set.ts';
import { readSecretHosts } from './secret-spec.ts';
import { SecretValue } from './secret-value.ts';
import type { ServiceEndpoint } from './service-definition.ts';
import { overwriteForServices } from './substitute-service.ts';
import { Substituter } from './substitute.ts';

const HOST = 'api.example.com';
const REAL = 'real-service-key-4711';
const FOREIGN = 'foreign-key-of-somebody-else';
const SENTINEL = 'sk-sentinel-0123456789';
const OWN: BoundSecret = {
  name: 'OWN',
  env: 'OWN',
  placeholder: 'sp_OWN_0123456789abcdefghijkl',
  value: new SecretValue('own-value-of-the-user'),
  hosts: readSecretHosts([HOST], 'OWN'),
  locations: [{ kind: 'header' }, { kind: 'basic' }, { kind: 'query' }],
};

function serviceOf(name: string, endpoints: Partial<ServiceEndpoint>[], value: string | null = REAL): ServiceInput {
  return {
    definition: {
      name,
      title: name,
      variables: [{ name: 'KEY', sentinel: SENTINEL }],
      endpoints: endpoints.map((endpoint) => ({
        hosts: [HOST],
        overwrite: [],
        strip: { headers: [], query: [] },
        ...endpoint,
      })),
      documentation: [],
    },
    credential: value === null ? null : { kind: 'token', value: new SecretValue(value) },
    sentinels: new Map([['KEY', `${SENTINEL}-${name}`]]),
  };
}

const VENDOR = serviceOf('vendor', [
  {
    overwrite: [
      { kind: 'header', name: 'x-api-key', text: '{value}' },
      { kind: 'query', name: 'key' },
      { kind: 'subprotocol', prefix: 'insecure-key.' },
    ],
    strip: { headers: ['authorization', 'cookie'], query: ['access_token'] },
  },
]);

/** A request as it would leave, in one text; or why it does not. */
function send(
  fields: readonly string[],
  options: { services?: ServiceInput[]; target?: string; method?: string; secrets?: BoundSecret[] } = {},
): string {
  const { services = [VENDOR], target = '/', method = 'GET', secrets = [OWN] } = options;
  const authority = { scheme: 'https', host: HOST, port: 443 } as const;
  const set = indexSecrets(secrets, services.map(bindService));
  const head: RequestHead = { method, target, minor: 1, fields: [...fields] };
  const carries = method !== 'TRACE';
  const bound = carries ? set.secretsFor(authority) : [];
  const substituted = new Substituter(set.secrets).substituteHead(head, bound);
  assert.ok(substituted.verdict === 'ok');
  const result = overwriteForServices(head, substituted.head, set.servicesFor(authority), bound, carries);
  if (result.verdict === 'failed') return `${result.code} ${result.name}`;
  const lines = [...result.fields, ...result.written];
  return [
    result.target,
    ...lines.flatMap((name, index) => (index % 2 === 0 ? [`${name}: ${lines[index + 1]}`] : [])),
    `released ${result.released.join()}`,
  ].join('\n');
}

test('overwriteForServices() writes the field once, whatever the client sent, and lets no foreign key out beside it', () => {
  const expected = `/\naccept: */*\nx-api-key: ${REAL}\nreleased vendor`;
  const sent: string[][] = [
    [],
    ['x-api-key', SENTINEL],
    ['X-API-KEY', FOREIGN],
    ['X-Api-Key', FOREIGN, 'x-api-key', `${FOREIGN}2`, 'x-api-key', ''],
    ['X_API_KEY', FOREIGN, 'x-api_key', FOREIGN],
    ['Authorization', `Bearer ${FOREIGN}`, 'COOKIE', `session=${FOREIGN}`],
    ['authorization', `Basic ${Buffer.from(`${FOREIGN}:`).toString('base64')}`],
    ['x-api-key', `${FOREIGN} ${OWN.placeholder}`],
    ['authorization', `Bearer ${FOREIGN},${OWN.placeholder}`],
    ['authorization', `Basic ${Buffer.from(`${FOREIGN}:${OWN.placeholder}`).toString('base64')}`],
  ];
  for (const fields of sent) assert.equal(send(['accept', '*/*', ...fields]), expected, fields.join());
});

test('overwriteForServices() leaves a field to a secret that was put into it, alone and once', () => {
  const own = 'own-value-of-the-user';
  const cases: [fields: string[], expected: string][] = [
    [['X-Api-Key', OWN.placeholder], `X-Api-Key: ${own}`],
    [['X-Api-Key', OWN.placeholder, 'x-api-key', FOREIGN], `X-Api-Key: ${own}`],
    [['x-api-key', FOREIGN, 'X-Api-Key', OWN.placeholder], `X-Api-Key: ${own}`],
    [['X-Api-Key', OWN.placeholder, 'x_api_key', OWN.placeholder], `X-Api-Key: ${own}`],
    [['Authorization', `Bearer ${OWN.placeholder}`], `Authorization: Bearer ${own}\nx-api-key: ${REAL}`],
    [
      ['Authorization', `Basic ${Buffer.from(`git:${OWN.placeholder}`).toString('base64')}`],
      `Authorization: Basic ${Buffer.from(`git:${own}`).toString('base64')}\nx-api-key: ${REAL}`,
    ],
  ];
  for (const [fields, expected] of cases) {
    assert.equal(send(fields), `/\n${expected}\nreleased ${expected.includes(REAL) ? 'vendor' : ''}`, fields.join());
  }
  // Bound elsewhere it is not put in, and the field is the service's.
  const elsewhere = { ...OWN, hosts: readSecretHosts(['elsewhere.example'], 'OWN') };
  const sent = send(['x-api-key', OWN.placeholder], { secrets: [elsewhere] });
  assert.equal(sent, `/\nx-api-key: ${REAL}\nreleased vendor`);
});

test('overwriteForServices() overwrites query parameters where the client sent them, by any spelling of their name', () => {
  const cases: [target: string, expected: string][] = [
    ['/p?a=1', '/p?a=1'],
    ['/p', '/p'],
    [`/p?key=${FOREIGN}`, `/p?key=${REAL}`],
    [`/p?a=1&key=${FOREIGN}&key=${FOREIGN}&b`, `/p?a=1&key=${REAL}&key=${REAL}&b`],
    [`/p?%6bey=${FOREIGN}`, `/p?%6bey=${REAL}`],
    [`/p?KEY=${FOREIGN}&+key=${FOREIGN}`, `/p?KEY=${REAL}&+key=${REAL}`],
    [`/p?a;key=${FOREIGN}`, `/p?a;key=${REAL}`],
    [`/p?key[]=${FOREIGN}&key%00x=${FOREIGN}`, `/p?key[]=${REAL}&key%00x=${REAL}`],
    ['/p?key', `/p?key=${REAL}`],
    [`/p?access_token=${FOREIGN}`, '/p'],
    [`/p?a=1&Access%5Ftoken=${FOREIGN}&b=2`, '/p?a=1&b=2'],
    [`/p?key=${OWN.placeholder}`, '/p?key=own-value-of-the-user'],
    [`/p?key=${OWN.placeholder}&key=${FOREIGN}`, `/p?key=own-value-of-the-user&key=${REAL}`],
    [`/p?key=${FOREIGN}${OWN.placeholder}`, `/p?key=${REAL}`],
    [`/p?x=?key=${FOREIGN}`, `/p?x=?key=${FOREIGN}`],
  ];
  for (const [target, expected] of cases) assert.equal(send([], { target }).split('\n')[0], expected, target);
});

test('overwriteForServices() overwrites the subprotocols that carry a key', () => {
  const field = (text: string) =>
    /sec-websocket-protocol: (.*)\n/i.exec(send(['Sec-WebSocket-Protocol', text]))?.[1] ?? null;
  assert.equal(field(`realtime, insecure-key.${FOREIGN}, beta`), `realtime, insecure-key.${REAL}, beta`);
  assert.equal(field(`INSECURE-KEY.${FOREIGN}`), `insecure-key.${REAL}`);
  assert.equal(field(`insecure-key.${OWN.placeholder}`), 'insecure-key.own-value-of-the-user');
  assert.equal(field('realtime'), 'realtime');
});

test('overwriteForServices() only takes things out of a request that must carry no credential', () => {
  const sent = send(
    ['x-api-key', FOREIGN, 'cookie', 'a=b', 'sec-websocket-protocol', `insecure-key.${FOREIGN}`, 'accept', '*/*'],
    { method: 'TRACE', target: `/?key=${FOREIGN}&a=1` },
  );
  assert.equal(sent, '/?a=1\naccept: */*\nreleased ');
});

test('overwriteForServices() picks the first endpoint whose paths fit, and fails where a credential is wanted that is not known', () => {
  const basic = [{ kind: 'basic', user: 'oauth2' } as const];
  const bearer = [{ kind: 'header', name: 'authorization', text: 'Bearer {value}' } as const];
  const paths = [{ paths: ['/**/info/refs'], overwrite: basic }, { overwrite: bearer }];
  const authorization = (target: string) =>
    /authorization: (.*)\n/.exec(send([], { target, services: [serviceOf('git', paths)] }))?.[1];
  assert.equal(authorization('/a/b/info/refs?service=x'), `Basic ${Buffer.from(`oauth2:${REAL}`).toString('base64')}`);
  assert.equal(authorization('/a/../b/info/refs'), `Bearer ${REAL}`);
  assert.equal(authorization('/api'), `Bearer ${REAL}`);

  assert.equal(send([], { services: [serviceOf('later', [{ overwrite: bearer }], null)] }), 'SECRET_UNAVAILABLE later');
  assert.equal(send([], { services: [serviceOf('none', [{}], null)] }), '/\nreleased ');
  assert.equal(send([], { services: [serviceOf('odd', [{ overwrite: bearer }], 'a\nb')] }), 'VALUE_NOT_CARRIABLE odd');
  // The first that writes a field counts.
  const two = [serviceOf('one', [{ overwrite: bearer }], 'value-of-one'), serviceOf('two', [{ overwrite: bearer }])];
  assert.equal(send([], { services: two }), '/\nauthorization: Bearer value-of-one\nreleased one');
});

test('overwriteForServices() never lets a foreign key out in a field that it overwrites or strips', () => {
  const mixedCase = (name: string) =>
    fc.tuple(...[...name].map((letter) => fc.constantFrom(letter, letter.toUpperCase()))).map((all) => all.join(''));
  const names = fc.oneof(
    ...['x-api-key', 'x_api_key', 'authorization', 'cookie', 'accept'].map((name) => mixedCase(name)),
  );
  const values = fc.constantFrom(
    FOREIGN,
    SENTINEL,
    OWN.placeholder,
    `Bearer ${OWN.placeholder}`,
    `Bearer ${FOREIGN}`,
    `${OWN.placeholder}${FOREIGN}`,
    `${FOREIGN}${OWN.placeholder}`,
    `Bearer ${FOREIGN} ${OWN.placeholder}`,
    `Basic ${Buffer.from(`${FOREIGN}:${OWN.placeholder}`).toString('base64')}`,
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(names, values), { maxLength: 6 }), (pairs) => {
      const sent = send(pairs.flat());
      for (const line of sent.split('\n').slice(1)) {
        if (/^accept:/i.test(line)) continue;
        assert.ok(!line.includes(FOREIGN), line);
        assert.ok(!line.includes(Buffer.from(FOREIGN).toString('base64').slice(0, 20)), line);
      }
      assert.equal(sent.match(/^x[-_]api[-_]key:/gim)?.length, 1, sent);
    }),
  );
});

test('overwriteForServices() leaves no foreign key in a query as another parser reads it', () => {
  const escaped = (name: string) =>
    fc
      .tuple(
        ...[...name].map((letter) =>
          fc.constantFrom(letter, letter.toUpperCase(), `%${letter.charCodeAt(0).toString(16)}`),
        ),
      )
      .map((letters) => letters.join(''));
  const names = fc.oneof(
    ...['key', 'access_token', 'other', ' key', 'key[]', 'key[a]'].map((name) => escaped(name.replaceAll(' ', '+'))),
  );
  const pieces = fc.oneof(
    fc
      .tuple(names, fc.constantFrom(FOREIGN, OWN.placeholder, `${FOREIGN}${OWN.placeholder}`, ''))
      .map((pair) => pair.join('=')),
    fc.constantFrom('', '=', '&', ';', '%', '%4', 'key', '=x'),
  );
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 6 }), fc.constantFrom('&', ';', '&&'), (all, separator) => {
      const [target = ''] = send([], { target: `/p?${all.join(separator)}` }).split('\n');
      for (const [name, value] of new URLSearchParams(target.slice(2).replaceAll(';', '&'))) {
        const plain = name.trim().toLowerCase().replace(/\[.*$/, '');
        if (plain === 'key' || plain === 'access_token') assert.ok(!value.includes(FOREIGN), target);
      }
    }),
    { numRuns: 1000 },
  );
});
