import assert from 'node:assert/strict';
import { test } from 'node:test';
import { composeSecrets } from '../engine/sandbox-secrets.ts';
import {
  changeSecret,
  defineSandbox,
  environmentOf,
  fitsAny,
  ownSecretsOf,
  removeSecret,
  rulesOf,
  showSecret,
  specOf,
} from './definition.ts';

const VALUE = 'canary-value-4711';
const secret = { source: 'value' as const, env: 'TOKEN', value: VALUE, allowHosts: ['api.example.com'] };
const define = (asked: Parameters<typeof defineSandbox>[0]) => defineSandbox(asked, '/audit.jsonl', 1000);

type Definition = ReturnType<typeof define>;
const composed = async ({ definition, values }: Definition) =>
  await composeSecrets({
    sandbox: 'box',
    ...ownSecretsOf(definition, values),
    stored: null,
    placeholderKey: new Uint8Array(32),
  });
const rules = async (made: Definition) => rulesOf(made.definition, made.values, (await composed(made)).set);

test('defineSandbox() keeps values apart from what is written down', async () => {
  const made = define({ secrets: [{ ...secret, name: 'github', locations: ['header:X-Key'] }] });
  const { definition, values } = made;
  assert.ok(!JSON.stringify(definition).includes(VALUE));
  assert.ok(!JSON.stringify([...values]).includes(VALUE));
  const [kept] = definition.secrets;
  assert.ok(kept !== undefined);
  assert.match(kept.placeholder, /^sp_TOKEN_[0-9A-Za-z]{22}$/);
  assert.deepEqual([kept.name, kept.hosts, kept.locations], ['github', ['api.example.com'], ['header:x-key']]);
  assert.deepEqual(environmentOf(definition, 'box', (await composed(made)).variables), {
    SALLYPORT_SANDBOX: 'box',
    TOKEN: kept.placeholder,
  });
  assert.equal(showSecret(kept, values).available, true);
  assert.equal((await rules(made)).closed, null);
});

test('rulesOf() closes the gate where a value is lost, and says whose', async () => {
  const { definition } = define({ secrets: [secret] });
  const { closed, secrets } = await rules({ definition, values: new Map() });
  assert.deepEqual([closed?.status, closed?.code], [502, 'SECRET_VALUE_LOST']);
  assert.match(closed?.detail ?? '', /TOKEN/);
  assert.deepEqual(
    secrets.secrets.map(({ value }) => value.isKnown),
    [false],
  );
});

test('changeSecret() rotates in place, and needs value and hosts for a new one', () => {
  const made = define({ secrets: [secret] });
  const rotated = changeSecret(made, 'TOKEN', { value: 'another-value-0815' }, 2000);
  assert.deepEqual(
    { ...rotated.definition.secrets[0], updatedAt: 0 },
    { ...made.definition.secrets[0], updatedAt: 0 },
    'placeholder, hosts and locations stay',
  );
  const [value] = rotated.values.values();
  assert.equal(value?.equals([...made.values.values()][0]!), false);
  for (const update of [{}, { value: VALUE }, { allowHosts: ['x.example'] }]) {
    assert.throws(() => changeSecret(made, 'NEW', update, 0), { code: 'SECRET_NOT_FOUND' });
  }
  const added = changeSecret(made, 'NEW', { value: VALUE, allowHosts: ['x.example'] }, 0);
  assert.deepEqual(
    added.definition.secrets.map(({ name }) => name),
    ['TOKEN', 'NEW'],
  );
  const removed = removeSecret(added, 'TOKEN');
  assert.deepEqual([removed.definition.secrets.length, removed.values.size], [1, 1]);
  assert.throws(() => removeSecret(removed, 'TOKEN'), { code: 'SECRET_NOT_FOUND' });
});

test('defineSandbox() refuses what cannot be', async () => {
  const cases: [Parameters<typeof define>[0], string][] = [
    [{ image: 'python' }, 'NOT_SUPPORTED_YET'],
    [{ runtime: './runc' }, 'RUNTIME_UNKNOWN'],
    [{ secrets: [{ source: 'service', service: 'nobody', value: VALUE }] }, 'SERVICE_UNKNOWN'],
    [{ secrets: [{ source: 'service', service: 'aws', value: VALUE }] }, 'INVALID_SECRET_VALUE'],
    [{ secrets: [{ ...secret, methods: ['GE T'] }] }, 'INVALID_METHOD'],
    [{ secrets: [{ ...secret, path: 'v1' }] }, 'INVALID_PATH_GLOB'],
    [{ secrets: [{ ...secret, allowHosts: [] }] }, 'INVALID_SECRET_SPEC'],
    [{ secrets: [{ ...secret, allowHosts: ['*.example.com'] }] }, 'INVALID_HOST_PATTERN'],
    [{ secrets: [{ ...secret, allowHosts: ['exa mple.com'] }] }, 'INVALID_HOST_PATTERN'],
    [{ secrets: [{ ...secret, placeholder: 'with space {rand}' }] }, 'INVALID_SECRET_SPEC'],
    [{ secrets: [{ ...secret, value: 'short' }] }, 'SECRET_VALUE_TOO_SHORT'],
    [{ secrets: [{ ...secret, locations: ['nowhere'] }] }, 'INVALID_LOCATION'],
    [{ network: { clientCertificates: [{ host: '*.a.example', certificate: '/c' }] } }, 'INVALID_HOST_PATTERN'],
    [{ network: { clientCertificates: [{ host: 'a.example:80', certificate: '/c' }] } }, 'INVALID_HOST_PATTERN'],
    [
      { network: { clientCertificates: ['a.example', 'A.example:443'].map((host) => ({ host, certificate: '/c' })) } },
      'INVALID_CLIENT_CERTIFICATE',
    ],
    [{ network: { resolve: { 'a.example:443': 'nowhere' } } }, 'INVALID_RESOLVE'],
    [{ volumes: [{ source: '/x', destination: '/usr/x' }] }, 'INVALID_MOUNT'],
    [{ volumes: [{ source: '/x:y', destination: '/z' }] }, 'INVALID_MOUNT'],
  ];
  for (const [asked, code] of cases) assert.throws(() => define(asked), { code }, JSON.stringify(asked));
  const twice = define({ secrets: [secret, { ...secret, allowHosts: ['b.example.com'] }] });
  await assert.rejects(rules(twice), { code: 'SECRET_CONFLICT' });
  const exposed = define({ env: { COPY: `x${VALUE}` }, secrets: [secret] });
  await assert.rejects(rules(exposed), { code: 'SECRET_CONFLICT' });
});

test('a client certificate opens its host, and no mount may show its key', async () => {
  const certificate = '/keys/a,b.crt';
  const { definition } = define({
    network: { clientCertificates: [{ host: 'A.example', certificate, key: '/keys/a.key' }] },
  });
  const { network } = await rules({ definition, values: new Map() });
  assert.deepEqual(network.clientCertificates, [
    {
      host: 'a.example',
      port: 443,
      origin: '--client-cert a.example',
      certificateFile: certificate,
      keyFile: '/keys/a.key',
    },
  ]);
  assert.ok(specOf(definition, 'box', '/state').protectedPaths.includes('/keys/a.key'));
});

test('a custom placeholder carries random characters where it says so', () => {
  const { definition } = define({ secrets: [{ ...secret, placeholder: 'sk-ant-api03-{rand}' }] });
  assert.match(definition.secrets[0]?.placeholder ?? '', /^sk-ant-api03-[0-9A-Za-z]{22}$/);
});

test('fitsAny() is for sandboxes whose container needs nothing of its own', () => {
  assert.equal(
    fitsAny(define({ secrets: [secret], env: { A: 'b' }, network: { allow: ['x.example'] } }).definition),
    true,
  );
  for (const asked of [{ workspace: '/tmp/x' }, { limits: { cpus: 1 } }, { runtime: 'crun' }, { workdir: '/tmp' }]) {
    assert.equal(fitsAny(define(asked).definition), false, JSON.stringify(asked));
  }
});
