import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Authority, RequestHead } from '../http/message.ts';
import { matchesPath, parsePathGlob } from '../policy/path-glob.ts';
import { createNetworkPolicy } from '../policy/network-policy.ts';
import { createSecretSet } from '../secrets/secret-set.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import { BodySubstituter } from '../secrets/substitute-body.ts';
import { Substituter } from '../secrets/substitute.ts';
import { SERVICES } from '../services/catalogue.ts';
import { fillSentinel } from '../services/sentinel.ts';
import { rewriteRequest, rewriteTrailers } from './request-rewrite.ts';

const valueOf = (service: string): string => `canary-${service}-4711-real`;
const sentinels = SERVICES.map(
  ({ variables }, index) =>
    new Map(
      variables.map(({ name, sentinel }, at) => [
        name,
        fillSentinel(sentinel, new Uint8Array(32).fill(index * 8 + at + 1)),
      ]),
    ),
);
const secrets = createSecretSet({
  inputs: [],
  services: SERVICES.map((definition, index) => ({
    definition,
    sentinels: sentinels[index]!,
    credential:
      definition.name === 'aws'
        ? {
            kind: 'aws',
            accessKeyId: 'AKIAREALREALREALREAL',
            secretAccessKey: new SecretValue('canary-aws-4711-real'),
            sessionToken: null,
          }
        : { kind: 'token', value: new SecretValue(valueOf(definition.name)) },
  })),
  locations: [],
  plainNames: [],
  placeholderFor: () => assert.fail('there is no secret'),
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

const bearer = (service: string): string => `authorization: Bearer ${valueOf(service)}`;
const basic = (user: string, service: string): string =>
  `authorization: Basic ${Buffer.from(`${user}:${valueOf(service)}`).toString('base64')}`;

/** What leaves for each host of the catalogue: by host and path, the fields that the gate writes. */
const WRITTEN: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  anthropic: { 'api.anthropic.com/v1/messages': `x-api-key: ${valueOf('anthropic')}` },
  cursor: { 'api.cursor.com/v1/agents': bearer('cursor') },
  github: {
    'api.github.com/user': bearer('github'),
    'uploads.github.com/repos/o/r/releases/1/assets': bearer('github'),
    'github.com/o/r.git/info/refs': basic('x-access-token', 'github'),
    'gist.github.com/1.git/git-upload-pack': basic('x-access-token', 'github'),
  },
  gitlab: {
    'gitlab.com/api/v4/user': bearer('gitlab'),
    'gitlab.com/api/graphql': bearer('gitlab'),
    'gitlab.com/g/s/p.git/info/refs': basic('oauth2', 'gitlab'),
    'gitlab.com/g/s/p.git/git-receive-pack': basic('oauth2', 'gitlab'),
    'gitlab.com/g/p.git/info/lfs/objects/batch': basic('oauth2', 'gitlab'),
  },
  google: {
    'generativelanguage.googleapis.com/v1beta/models': `x-goog-api-key: ${valueOf('google')}`,
    'generativelanguage.googleapis.com/v1beta/openai/chat/completions': bearer('google'),
  },
  groq: { 'api.groq.com/openai/v1/models': bearer('groq') },
  huggingface: {
    'huggingface.co/api/whoami-v2': bearer('huggingface'),
    'huggingface.co/o/m/info/refs': basic('hf_user', 'huggingface'),
    'huggingface.co/o/m/git-upload-pack': basic('hf_user', 'huggingface'),
    'router.huggingface.co/v1/chat/completions': bearer('huggingface'),
    'api-inference.huggingface.co/models/m': bearer('huggingface'),
  },
  mistral: { 'api.mistral.ai/v1/models': bearer('mistral') },
  nebius: {
    'api.tokenfactory.nebius.com/v1/models': bearer('nebius'),
    'api.studio.nebius.com/v1/models': bearer('nebius'),
    'api.studio.nebius.ai/v1/models': bearer('nebius'),
  },
  npm: { 'registry.npmjs.org/thing': bearer('npm') },
  openai: { 'api.openai.com/v1/models': bearer('openai') },
  openrouter: { 'openrouter.ai/api/v1/models': bearer('openrouter') },
  pypi: { 'upload.pypi.org/legacy/': basic('__token__', 'pypi') },
  xai: { 'api.x.ai/v1/models': bearer('xai') },
};

interface Sent {
  readonly target: string;
  readonly fields: readonly string[];
  readonly released: readonly string[];
}

function send(origin: Authority, target: string, ...fields: string[]): Sent {
  const head: RequestHead = { method: 'GET', target, minor: 1, fields: ['Host', hostField(origin), ...fields] };
  const verdict = rewriteRequest(context, origin, head);
  assert.ok(verdict.verdict === 'forward', JSON.stringify(verdict));
  const lines = verdict.head.fields.flatMap((name, index) =>
    index % 2 === 0 ? [`${name.toLowerCase()}: ${verdict.head.fields[index + 1]}`] : [],
  );
  return {
    target: verdict.head.target,
    fields: lines.filter((line) => !line.startsWith('host: ')),
    released: verdict.released,
  };
}

function hostField({ scheme, host, port }: Authority): string {
  return port === (scheme === 'https' ? 443 : 80) ? host : `${host}:${port}`;
}

const rows = Object.entries(WRITTEN).flatMap(([service, endpoints]) =>
  Object.entries(endpoints).map(([url, written]) => {
    const slash = url.indexOf('/');
    const [host, path] = [url.slice(0, slash), url.slice(slash)];
    const definition = SERVICES.find(({ name }) => name === service)!;
    const endpoint = definition.endpoints.find(
      ({ hosts, paths }) =>
        hosts.includes(host) && (paths?.some((glob) => matchesPath(parsePathGlob(glob), path)) ?? true),
    );
    assert.ok(endpoint !== undefined, url);
    return { service, definition, endpoint, host, path, written };
  }),
);

test('rewriteRequest() writes what each service wants at each of its hosts, whatever the client sent', () => {
  const covered = new Set(rows.map(({ host }) => host));
  for (const { name, endpoints } of SERVICES) {
    if (name !== 'aws') for (const host of endpoints.flatMap(({ hosts }) => hosts)) assert.ok(covered.has(host), host);
  }
  for (const { service, definition, endpoint, host, path, written } of rows) {
    const origin: Authority = { scheme: 'https', host, port: 443 };
    const expected = { target: path, fields: ['accept: */*', written], released: [service] };
    const [sentinel = ''] = sentinels[SERVICES.indexOf(definition)]!.values();
    const encoded = Buffer.from(`someone:${sentinel}`).toString('base64');
    for (const fields of [
      [],
      ['Authorization', `Bearer ${sentinel}`],
      ['authorization', `Basic ${encoded}`],
      ['AUTHORIZATION', 'token somebody-elses-key'],
      ['Authorization', 'Bearer one', 'Authorization', 'Bearer two', 'X-Api-Key', 'three', 'x-goog-api-key', 'four'],
    ]) {
      const known = [
        'authorization',
        ...endpoint.strip.headers,
        ...endpoint.overwrite.flatMap((place) => (place.kind === 'header' ? [place.name] : [])),
      ];
      // Fields that are no key of this vendor's pass as they are.
      const passing = fields.flatMap((name, index) =>
        index % 2 === 0 && !known.includes(name.toLowerCase()) ? [`${name.toLowerCase()}: ${fields[index + 1]}`] : [],
      );
      assert.deepEqual(
        send(origin, path, 'Accept', '*/*', ...fields),
        { ...expected, fields: ['accept: */*', ...passing, written] },
        `${host}${path} with ${fields.join(' ')}`,
      );
    }
  }
});

test("rewriteRequest() lets no key of anybody else's leave, in any place that an entry names or spelling of it", () => {
  for (const { service, endpoint, host, path, written } of rows) {
    const origin: Authority = { scheme: 'https', host, port: 443 };
    const { overwrite, strip } = endpoint;
    const spellings = (name: string): string[] => [name, name.toUpperCase(), name.replaceAll('-', '_')];
    const fields = [...strip.headers, 'authorization'].flatMap((name) =>
      spellings(name).flatMap((spelled) => [spelled, 'foreign']),
    );
    assert.deepEqual(send(origin, path, ...fields).fields, [written], host);

    const escaped = (name: string): string =>
      name.replaceAll(/./gu, (character) => `%${character.charCodeAt(0).toString(16)}`);
    const queries = strip.query.flatMap((name) => [
      `${name}=foreign`,
      `${escaped(name)}=foreign`,
      `${name.toUpperCase()}=foreign`,
      `${name}[]=foreign`,
      `a=1;${name}=foreign;b=2`,
    ]);
    for (const query of queries) {
      const { target } = send(origin, `${path}?page=2&${query}&per_page=3`);
      assert.ok(!target.includes('foreign'), `${host} with ${query}: ${target}`);
      assert.ok(target.startsWith(`${path}?page=2`) && target.endsWith('per_page=3'), target);
    }
    for (const place of overwrite) {
      if (place.kind !== 'query') continue;
      const { target } = send(origin, `${path}?${place.name}=foreign&x=1&${escaped(place.name)}=foreign`);
      assert.deepEqual(
        [...new URLSearchParams(target.split('?')[1])],
        [
          [place.name, valueOf(service)],
          ['x', '1'],
          [place.name, valueOf(service)],
        ],
      );
    }
  }
});

test('rewriteTrailers() lets no key of AWS leave behind a body, where the signer does not look', () => {
  const authority: Authority = { scheme: 'https', host: 'bucket.s3.us-east-1.amazonaws.com', port: 443 };
  const fields = ['Host', authority.host, 'Transfer-Encoding', 'chunked'];
  const forward = rewriteRequest(
    { ...context, signerFor: () => ({ plan: () => ({ kind: 'streamed' }), sign: () => assert.fail('not here') }) },
    authority,
    { method: 'PUT', target: '/key', minor: 1, fields },
  );
  assert.ok(forward.verdict === 'forward');
  const foreign = ['X-Amz-Security-Token', 'x_amz_s3session_token', 'X-Amz-Date', 'x-amz-sso_bearer-token'];
  const trailers = [...foreign, 'x-amz-checksum-crc32'].flatMap((name) => [name, 'of somebody else']);
  assert.equal(rewriteTrailers(context, forward, trailers), null);
  assert.deepEqual(trailers, ['x-amz-checksum-crc32', 'of somebody else']);
});

test('rewriteRequest() overwrites the keys that browsers offer as subprotocols', () => {
  const handshake = (host: string, path: string, protocols: string): string[] =>
    send(
      { scheme: 'https', host, port: 443 },
      path,
      ...['Upgrade', 'websocket', 'Connection', 'Upgrade', 'Sec-WebSocket-Version', '13'],
      ...['Sec-WebSocket-Key', Buffer.alloc(16).toString('base64'), 'Sec-WebSocket-Protocol', protocols],
    ).fields.filter((line) => line.startsWith('sec-websocket-protocol'));
  assert.deepEqual(handshake('api.openai.com', '/v1/realtime', 'realtime, openai-insecure-api-key.foreign,x'), [
    `sec-websocket-protocol: realtime, openai-insecure-api-key.${valueOf('openai')}, x`,
  ]);
  assert.deepEqual(handshake('api.x.ai', '/v1/realtime', 'xai-client-secret.foreign'), [
    `sec-websocket-protocol: xai-client-secret.${valueOf('xai')}`,
  ]);
  assert.deepEqual(handshake('api.openai.com', '/v1/realtime', 'realtime'), ['sec-websocket-protocol: realtime']);
});

test('rewriteRequest() puts nothing of a service into requests to any other host, port or scheme, and takes nothing out there', () => {
  const others = rows.flatMap(({ host }): Authority[] => [
    { scheme: 'https', host: `${host}.evil.example`, port: 443 },
    { scheme: 'https', host: `x.${host}`, port: 443 },
    { scheme: 'https', host: `x-${host}`, port: 443 },
    { scheme: 'https', host: host.slice(host.indexOf('.') + 1), port: 443 },
    { scheme: 'https', host, port: 8443 },
    { scheme: 'http', host, port: 80 },
    { scheme: 'http', host, port: 443 },
  ]);
  const hosts = new Set(rows.map(({ host }) => host));
  let tried = 0;
  for (const origin of others) {
    if (origin.scheme === 'https' && origin.port === 443 && hosts.has(origin.host)) continue;
    tried += 1;
    const fields = ['Authorization', 'Bearer mine', 'X-Api-Key', 'mine', 'Cookie', 'a=b'];
    assert.deepEqual(send(origin, '/o/r.git/info/refs?key=mine&private_token=mine', ...fields), {
      target: '/o/r.git/info/refs?key=mine&private_token=mine',
      fields: ['authorization: Bearer mine', 'x-api-key: mine', 'cookie: a=b'],
      released: [],
    });
  }
  assert.ok(tried > 100);
});

test('rewriteRequest() takes foreign keys out of a TRACE, and puts no value into what comes back as it is', () => {
  for (const { host, path } of rows) {
    const head: RequestHead = {
      method: 'TRACE',
      target: path,
      minor: 1,
      fields: ['Host', host, 'Authorization', 'Bearer foreign', 'Cookie', 'foreign'],
    };
    const verdict = rewriteRequest(context, { scheme: 'https', host, port: 443 }, head);
    assert.ok(verdict.verdict === 'forward');
    assert.ok(!/canary|foreign/u.test([verdict.head.target, ...verdict.head.fields].join('\n')), host);
  }
});

test('rewriteRequest() signs for the hosts of AWS and no others', () => {
  const uses = (host: string): string[] =>
    secrets.servicesFor({ scheme: 'https', host, port: 443 }).map(({ service }) => service.name);
  for (const host of [
    'sts.amazonaws.com',
    'bedrock-runtime.us-east-1.amazonaws.com',
    'b.s3.eu-central-1.amazonaws.com',
    'ec2.us-east-1.api.aws',
    'sts.cn-north-1.amazonaws.com.cn',
  ]) {
    assert.deepEqual(uses(host), ['aws'], host);
  }
  for (const host of [
    'amazonaws.com',
    'sts.amazonaws.com.evil.example',
    'xamazonaws.com',
    'api.aws',
    'aws.amazon.com',
  ]) {
    assert.deepEqual(uses(host), [], host);
  }
});
