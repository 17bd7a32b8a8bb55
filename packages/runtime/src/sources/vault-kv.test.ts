import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import {
  ACCESS_CANARY,
  CANARY,
  failureOf,
  fetchText,
  startStandIn,
  type Answer,
  type StandIn,
} from './sources.testing.ts';

const KV2 = { path: 'secret/', type: 'kv', options: { version: '2' } };
const KV1 = { path: 'team/old/', type: 'kv', options: { version: '1' } };

/** What Vault answers, by what its documentation and OpenBao's say. */
function vaultAnswers({ headers, url, method }: StandIn['requests'][number]): Answer {
  assert.equal(method, 'GET');
  assert.equal(headers['x-vault-request'], 'true');
  if (headers['x-vault-token'] !== ACCESS_CANARY)
    return { status: 403, body: { errors: [`permission denied ${CANARY}`] } };
  const path = decodeURIComponent(url);
  if (path.startsWith('/v1/sys/internal/ui/mounts/secret/')) return { status: 200, body: { data: KV2 } };
  if (path.startsWith('/v1/sys/internal/ui/mounts/team/old')) return { status: 200, body: { data: KV1 } };
  if (path.startsWith('/v1/sys/internal/ui/mounts/liar/'))
    return { status: 200, body: { data: { ...KV1, path: 'sys/' } } };
  if (path.startsWith('/v1/sys/internal/ui/mounts/odd/')) return { status: 200, body: { data: null } };
  if (path.startsWith('/v1/sys/')) return { status: 404, body: { errors: [] } };
  const member = { password: CANARY, 'a b': 'spaced', 'ü#': 'sharp', number: 7, newline: 'x\n' };
  switch (path) {
    case '/v1/secret/data/app/db':
      return { status: 200, body: { data: { data: member, metadata: { version: 3 } } } };
    case '/v1/secret/data/with space/ä':
      return { status: 200, body: { data: { data: member } } };
    case '/v1/secret/data/deleted':
      return { status: 404, body: { data: { data: null, metadata: { deletion_time: '2026' } } } };
    case '/v1/secret/data/empty':
      return { status: 200, body: { data: { data: null } } };
    case '/v1/team/old/x':
    case '/v1/ancient/x':
      return { status: 200, body: { data: member } };
    case '/v1/team/old/page':
      return { status: 200, body: `<html>${CANARY}` };
    case '/v1/team/old/huge':
      return { status: 200, body: { data: { password: CANARY.repeat(100_000) } } };
    case '/v1/team/old/sealed':
      return { status: 503, body: { errors: [`Vault is sealed ${CANARY}`] } };
    case '/v1/team/old/broken':
      return { status: 500, body: { errors: [CANARY] } };
    case '/v1/team/old/moved':
      return { status: 307, headers: { location: '/v1/team/old/x' } };
    case '/v1/team/old/circle':
      return { status: 307, headers: { location: '/v1/team/old/circle' } };
    case '/v1/team/old/nowhere':
      return { status: 307 };
    case '/v1/team/old/silence':
      return 'silence';
    default:
      return { status: 404, body: { errors: [] } };
  }
}

test('VaultSource.fetch() reads KV engines of both versions, wherever they are mounted', async (t) => {
  const vault = await startStandIn(vaultAnswers);
  t.after(() => vault.close());
  const environment = { VAULT_ADDR: `${vault.url}/`, VAULT_TOKEN: ACCESS_CANARY };
  assert.equal(await fetchText('vault://secret/app/db#password', { environment }), CANARY);
  assert.deepEqual(
    vault.requests.map(({ url }) => url),
    ['/v1/sys/internal/ui/mounts/secret/app/db', '/v1/secret/data/app/db'],
  );
  assert.equal(await fetchText('vault://secret/with space/ä#a b', { environment }), 'spaced');
  assert.equal(await fetchText('vault://team/old/x#ü#', { environment }), 'sharp');
  assert.equal(await fetchText('vault://ancient/x#newline', { environment }), 'x');
  assert.equal(await fetchText('vault://team/old/moved#password', { environment }), CANARY);
});

test('VaultSource.fetch() says what failed, in words that hold neither token nor value', async (t) => {
  const vault = await startStandIn(vaultAnswers);
  t.after(() => vault.close());
  const environment = { VAULT_ADDR: vault.url, VAULT_TOKEN: ACCESS_CANARY };
  const cases: readonly [string, RegExp][] = [
    ['vault://secret/app/db#other', /no key "other"/],
    ['vault://secret/app/db#__proto__', /no key "__proto__"/],
    ['vault://secret/app/db#number', /something else than text/],
    ['vault://secret/none#x', /nothing at/],
    ['vault://secret/data/app/db#x', /nothing at.*Leave out "data"/],
    ['vault://secret/deleted#x', /nothing at/],
    ['vault://secret/empty#x', /nothing at/],
    ['vault://team/old#x', /names a mount/],
    ['vault://liar/x#x', /lies elsewhere/],
    ['vault://odd/x#x', /does not say where/],
    ['vault://team/old/page#x', /else than a JSON object/],
    ['vault://team/old/huge#password', /more than 1024 KiB/],
    ['vault://team/old/sealed#x', /sealed/],
    ['vault://team/old/broken#x', /status 500/],
    ['vault://team/old/circle#x', /sends on to nowhere/],
    ['vault://team/old/nowhere#x', /sends on to nowhere/],
  ];
  for (const [reference, message] of cases)
    assert.match(await failureOf(fetchText(reference, { environment })), message, reference);
  const fails = async (changes: NodeJS.ProcessEnv): Promise<string> =>
    await failureOf(fetchText('vault://secret/app/db#password', { environment: { ...environment, ...changes } }));
  assert.match(await fails({ VAULT_TOKEN: 'another' }), /refused the token.*403/);
  assert.match(await fails({ VAULT_TOKEN: 'a\nb' }), /characters that no token has/);
  assert.match(await fails({ VAULT_TOKEN: '', HOME: '/nonexistent' }), /needs a token/);
  assert.match(await fails({ VAULT_ADDR: '' }), /set VAULT_ADDR/);
  for (const address of ['vault.example:8200', `http://user:${ACCESS_CANARY}@127.0.0.1`, 'unix:///x']) {
    assert.match(await fails({ VAULT_ADDR: address }), /is not a URL such as/);
  }
  assert.match(await fails({ VAULT_ADDR: 'http://127.0.0.1:1' }), /cannot be asked \(ECONNREFUSED\)/);
  const slow = fetchText('vault://team/old/silence#x', { environment, timeLimitMs: 200 });
  assert.match(await failureOf(slow), /within 0\.\d+ s/);
  const controller = new AbortController();
  const calledOff = failureOf(fetchText('vault://team/old/silence#x', { environment, signal: controller.signal }));
  setTimeout(() => controller.abort(), 50);
  assert.match(await calledOff, /called off/);
});

test('VaultSource.fetch() gives its token to no other host', async (t) => {
  const other = await startStandIn(() => ({ status: 200, body: { data: { password: 'theirs' } } }));
  const vault = await startStandIn(() => ({ status: 307, headers: { location: `${other.url}/v1/secret/data/app` } }));
  t.after(() => [other, vault].map((server) => server.close()));
  const environment = { VAULT_ADDR: vault.url, VAULT_TOKEN: ACCESS_CANARY };
  const message = await failureOf(fetchText('vault://secret/app#password', { environment }));
  assert.ok(message.includes(JSON.stringify(other.url)));
  assert.equal(other.requests.length, 0);
});

test('VaultSource.fetch() goes by the variables and the file of Vault and OpenBao, and trusts the file that they name', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-vault-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const file = (name: string): string => join(directory, name);
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=vault',
      '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', file('key.pem'), '-out', file('cert.pem')],
    { stdio: 'ignore' },
  ); // prettier-ignore
  const tls = { key: readFileSync(file('key.pem'), 'utf8'), cert: readFileSync(file('cert.pem'), 'utf8') };
  const vault = await startStandIn(vaultAnswers, tls);
  t.after(() => vault.close());
  writeFileSync(file('.vault-token'), `${ACCESS_CANARY}\n`, { mode: 0o600 });
  const environment: NodeJS.ProcessEnv = {
    VAULT_ADDR: 'https://vault.invalid',
    BAO_ADDR: vault.url,
    BAO_NAMESPACE: 'team-a',
    VAULT_CACERT: file('cert.pem'),
    HOME: directory,
  };
  assert.equal(await fetchText('vault://secret/app/db#password', { environment }), CANARY);
  assert.deepEqual(new Set(vault.requests.map(({ headers }) => headers['x-vault-namespace'])), new Set(['team-a']));

  const count = vault.requests.length;
  const { VAULT_CACERT: _, ...untrusting } = environment;
  const former = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
  t.after(() => {
    if (former === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = former;
  });
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
  const message = await failureOf(
    fetchText('vault://secret/app/db#password', { environment: { ...untrusting, VAULT_SKIP_VERIFY: '1' } }),
  );
  assert.match(message, /SELF_SIGNED/);
  const missing = { ...environment, VAULT_CACERT: file('none.pem') };
  assert.match(await failureOf(fetchText('vault://secret/app/db#password', { environment: missing })), /none\.pem/);
  assert.equal(vault.requests.length, count);
});
