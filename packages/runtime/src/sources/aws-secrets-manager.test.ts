import assert from 'node:assert/strict';
import { createHash, createHmac } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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

const KEY_ID = 'AKIDEXAMPLE';

/** Checks a signature by the text of AWS's documentation, apart from the library that made it. */
function isSigned({ headers, body, method, url }: StandIn['requests'][number]): boolean {
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
      headers.authorization ?? '',
    );
  if (match === null) return false;
  const [, keyId = '', day = '', region = '', service = '', names = '', signature = ''] = match;
  const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
  const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
  const fields = names.split(';').map((name) => `${name}:${String(headers[name]).trim()}\n`);
  const canonical = [method, url, '', fields.join(''), names, sha256(body)].join('\n');
  const scope = `${day}/${region}/${service}/aws4_request`;
  const text = ['AWS4-HMAC-SHA256', headers['x-amz-date'], scope, sha256(canonical)].join('\n');
  const signingKey = [region, service, 'aws4_request'].reduce<Buffer>(hmac, hmac(`AWS4${ACCESS_CANARY}`, day));
  return keyId === KEY_ID && names.split(';').includes('host') && hmac(signingKey, text).toString('hex') === signature;
}

function awsAnswers(request: StandIn['requests'][number]): Answer {
  assert.equal(request.headers['x-amz-target'], 'secretsmanager.GetSecretValue');
  assert.equal(request.headers['content-type'], 'application/x-amz-json-1.1');
  const refuse = (type: string): Answer => ({ status: 400, body: { __type: type, Message: CANARY } });
  if (!isSigned(request)) return refuse('InvalidSignatureException');
  const {
    SecretId: id,
    VersionId: versionId,
    VersionStage: stage,
  } = JSON.parse(request.body) as Record<string, string>;
  if (versionId !== undefined) return { status: 200, body: { SecretString: `id ${versionId}` } };
  if (stage !== undefined) return { status: 200, body: { SecretString: `stage ${stage}` } };
  switch (id) {
    case 'prod/key':
      return { status: 200, body: { SecretString: `${CANARY}\n` } };
    case 'json':
      return { status: 200, body: { SecretString: JSON.stringify({ token: CANARY, port: 1 }) } };
    case 'binary':
      return { status: 200, body: { SecretBinary: Buffer.from(CANARY).toString('base64') } };
    case 'neither':
      return { status: 200, body: {} };
    case 'page':
      return { status: 200, body: `<html>${CANARY}` };
    case 'strange':
      return refuse(`x ${CANARY}`);
    case 'moved':
      return { status: 307, headers: { location: 'http://127.0.0.1:1/' } };
    default:
      return refuse('com.amazonaws.secretsmanager#ResourceNotFoundException');
  }
}

test('AwsSecretSource.fetch() asks with a signature, for texts, members of JSON, bytes and versions', async (t) => {
  const aws = await startStandIn(awsAnswers);
  t.after(() => aws.close());
  const environment: NodeJS.ProcessEnv = {
    AWS_ACCESS_KEY_ID: KEY_ID,
    AWS_SECRET_ACCESS_KEY: ACCESS_CANARY,
    AWS_SESSION_TOKEN: 'session',
    AWS_ENDPOINT_URL_SECRETS_MANAGER: aws.url,
    AWS_REGION: 'eu-west-1',
  };
  const uuid = '01234567-89ab-cdef-0123-456789abcdef';
  const values: readonly [string, string][] = [
    ['aws-sm://prod/key', CANARY],
    ['aws-sm://prod/key?region=us-gov-west-1', CANARY],
    ['aws-sm://json#token', CANARY],
    ['aws-sm://binary', CANARY],
    ['aws-sm://prod/key?version=AWSPREVIOUS', 'stage AWSPREVIOUS'],
    [`aws-sm://prod/key?version=${uuid}`, `id ${uuid}`],
  ];
  for (const [reference, value] of values) assert.equal(await fetchText(reference, { environment }), value, reference);
  const scopes = aws.requests.map(({ headers }) => headers.authorization?.split('/').slice(2, 4).join('/'));
  assert.deepEqual(new Set(scopes), new Set(['eu-west-1/secretsmanager', 'us-gov-west-1/secretsmanager']));
  assert.ok(aws.requests.every(({ headers }) => headers['x-amz-security-token'] === 'session'));

  const failures: readonly [string, RegExp][] = [
    ['aws-sm://none', /ResourceNotFoundException/],
    ['aws-sm://json#none', /no key "none"/],
    ['aws-sm://json#port', /something else than text/],
    ['aws-sm://prod/key#x', /no JSON object/],
    ['aws-sm://binary#x', /binary/],
    ['aws-sm://neither', /no value/],
    ['aws-sm://page', /else than a JSON object/],
    ['aws-sm://strange', /status 400/],
    ['aws-sm://moved', /status 307/],
  ];
  for (const [reference, message] of failures)
    assert.match(await failureOf(fetchText(reference, { environment })), message, reference);

  const fails = async (changes: NodeJS.ProcessEnv): Promise<string> =>
    await failureOf(fetchText('aws-sm://prod/key', { environment: { ...environment, ...changes } }));
  assert.match(await fails({ AWS_SECRET_ACCESS_KEY: 'another' }), /InvalidSignatureException/);
  assert.match(await fails({ AWS_ACCESS_KEY_ID: '' }), /needs credentials/);
  assert.match(await fails({ AWS_ACCESS_KEY_ID: '', AWS_PROFILE: 'none' }), /no AWS profile "none"/);
  assert.match(await fails({ AWS_REGION: '' }), /needs a region/);
  assert.match(await fails({ AWS_REGION: 'x/y', AWS_ENDPOINT_URL_SECRETS_MANAGER: '' }), /is no region/);
  assert.match(
    await fails({ AWS_ENDPOINT_URL_SECRETS_MANAGER: 'nonsense' }),
    /AWS_ENDPOINT_URL_SECRETS_MANAGER gives no usable URL/,
  );

  const home = mkdtempSync(join(tmpdir(), 'sallyport-aws-'));
  t.after(() => rmSync(home, { recursive: true }));
  mkdirSync(join(home, '.aws'));
  const profile = `[profile team]\nregion = ap-south-1\naws_access_key_id = ${KEY_ID}\naws_secret_access_key = ${ACCESS_CANARY}\n`;
  writeFileSync(join(home, '.aws', 'config'), profile);
  const byProfile = { HOME: home, AWS_PROFILE: 'team', AWS_ENDPOINT_URL: aws.url };
  assert.equal(await fetchText('aws-sm://prod/key', { environment: byProfile }), CANARY);
  assert.match(aws.requests.at(-1)?.headers.authorization ?? '', /\/ap-south-1\/secretsmanager\//);
});
