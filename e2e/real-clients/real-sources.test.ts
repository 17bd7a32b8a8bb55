import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { AwsSecretSource } from '../../packages/runtime/src/sources/aws-secrets-manager.ts';
import { createValueSource } from '../../packages/runtime/src/sources/value-source.ts';
import { newCanary } from '../harness/canary.ts';
import { CACHE, Installer, installPythonPackages } from '../harness/client-cache.ts';

const SET_UP_LIMIT_MS = 4 * 60 * 1000;
const START_LIMIT_MS = 60_000;
/** A stand-in for AWS's services that others wrote, from the same descriptions as AWS's own clients. */
const MOTO_PACKAGES = ['moto[server]==5.2.5'];
const MOTO_PROGRAM = 'from moto.server import main; main(["-H", "127.0.0.1", "-p", "0"])';

/** Starts moto, and gives its URL. */
async function startMoto(t: TestContext): Promise<string> {
  const child = spawn('/usr/bin/python3', ['-c', MOTO_PROGRAM], {
    env: { ...process.env, PYTHONPATH: join(CACHE, 'moto'), PYTHONUNBUFFERED: '1' },
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: START_LIMIT_MS * 2,
  });
  t.after(() => child.kill('SIGKILL'));
  const said: string[] = [];
  for await (const line of createInterface({ input: child.stderr })) {
    said.push(line);
    const url = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1];
    if (url === undefined) continue;
    child.stderr.resume();
    return url;
  }
  return assert.fail(`moto does not start: ${said.join('\n')}`);
}

async function create(url: string, parameters: object): Promise<Record<string, string>> {
  const answer = await fetch(url, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/x-amz-json-1.1',
      'X-Amz-Target': 'secretsmanager.CreateSecret',
      Authorization:
        'AWS4-HMAC-SHA256 Credential=x/20260101/eu-west-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0',
    },
    body: JSON.stringify(parameters),
  });
  assert.equal(answer.status, 200);
  return (await answer.json()) as Record<string, string>;
}

test('aws-sm:// references are answered by moto', { timeout: SET_UP_LIMIT_MS + START_LIMIT_MS * 2 }, async (t) => {
  const missing = installPythonPackages(new Installer(SET_UP_LIMIT_MS), 'moto', MOTO_PACKAGES);
  if (missing !== undefined) return t.skip(missing);
  const url = await startMoto(t);
  const canary = newCanary();
  const text = await create(url, { Name: 'prod/text', SecretString: canary.value });
  await create(url, { Name: 'prod/json', SecretString: JSON.stringify({ token: canary.value }) });
  await create(url, { Name: 'prod/bytes', SecretBinary: Buffer.from(canary.value).toString('base64') });
  const environment = {
    AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'example',
    AWS_REGION: 'eu-west-1',
    AWS_ENDPOINT_URL_SECRETS_MANAGER: url,
  };
  const fetchText = async (reference: string): Promise<string> => {
    const source = createValueSource({ kind: 'reference', reference }, { environment, directory: '/' });
    assert.ok(source instanceof AwsSecretSource);
    return Buffer.from(await source.fetch(AbortSignal.timeout(START_LIMIT_MS))).toString('utf8');
  };
  const references = [
    'aws-sm://prod/text',
    `aws-sm://${text['ARN']}`,
    `aws-sm://prod/text?region=eu-west-1&version=${text['VersionId']}`,
    'aws-sm://prod/text?version=AWSCURRENT',
    'aws-sm://prod/json#token',
    'aws-sm://prod/bytes',
  ];
  for (const reference of references) assert.equal(await fetchText(reference), canary.value, reference);
  await assert.rejects(fetchText('aws-sm://prod/none'), {
    code: 'SOURCE_FAILED',
    message: /ResourceNotFoundException/,
  });
  await assert.rejects(fetchText('aws-sm://prod/text?region=us-east-1'), { message: /ResourceNotFoundException/ });
});
