import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findService } from './catalogue.ts';
import { credentialInEnvironment, readCredential } from './credential.ts';

const [openai, aws, github] = [findService('openai')!, findService('aws')!, findService('github')!];
const [ID, SECRET] = ['AKIAIOSFODNN7EXAMPLE', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY'];

test('readCredential() takes tokens, and AWS keys as one text', () => {
  assert.equal(readCredential(openai, 'sk-canary-4711').kind, 'token');
  const keys = readCredential(aws, `${ID}:${SECRET}`);
  assert.deepEqual(keys.kind === 'aws' && [keys.accessKeyId, keys.sessionToken], [ID, null]);
  const session = readCredential(aws, `${ID}:${SECRET}:token-of-a-session`);
  assert.ok(session.kind === 'aws' && session.sessionToken !== null);
  for (const text of [
    '',
    ID,
    `${ID}:`,
    `:${SECRET}`,
    `${ID}:${SECRET}:`,
    `${ID}:${SECRET}:t-t-t-t-t:x`,
    `akia:${SECRET}`,
  ]) {
    assert.throws(
      () => readCredential(aws, text),
      (error: Error & { code: string }) => error.code === 'INVALID_SECRET_VALUE' && !error.message.includes(SECRET),
    );
  }
  assert.throws(() => readCredential(openai, 'short'), { code: 'SECRET_VALUE_TOO_SHORT' });
  assert.throws(() => readCredential(openai, 'two\nlines-of-it'), { code: 'INVALID_SECRET_VALUE' });
});

test('credentialInEnvironment() takes the first variable that is set, and all of the AWS keys', () => {
  const variable = (environment: Record<string, string>): string | undefined =>
    credentialInEnvironment(github, environment)?.variable;
  assert.equal(variable({ GITHUB_TOKEN: 'a', GH_TOKEN: 'b' }), 'GH_TOKEN');
  assert.equal(variable({ GITHUB_TOKEN: 'a', GH_TOKEN: '' }), 'GITHUB_TOKEN');
  assert.equal(variable({}), undefined);
  assert.equal(credentialInEnvironment(aws, { AWS_ACCESS_KEY_ID: ID }), null);
  const keys = { AWS_ACCESS_KEY_ID: ID, AWS_SECRET_ACCESS_KEY: SECRET };
  assert.equal(credentialInEnvironment(aws, keys)?.text, `${ID}:${SECRET}`);
  assert.equal(credentialInEnvironment(aws, { ...keys, AWS_SESSION_TOKEN: 't' })?.text, `${ID}:${SECRET}:t`);
});
