import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { describe, test } from 'node:test';
import { SallyportError } from '@sallyport/sdk';
import { aws } from './aws.ts';
import { readCredential } from './credential.ts';

const ID = 'AKIAEXAMPLE000000001';
const SECRET = 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY';
const TOKEN = 'IQoJb3JpZ2luX2VjEXAMPLE/+==';

function partsOf(text: string): readonly (string | null)[] {
  const credential = readCredential(aws, text);
  assert.ok(credential.kind === 'aws');
  return [
    credential.accessKeyId,
    credential.secretAccessKey.reveal(),
    credential.sessionToken === null ? null : credential.sessionToken.reveal(),
  ];
}

describe('readCredential', () => {
  test('readCredential() takes AWS keys as one text, or as a credential_process prints them', () => {
    assert.deepEqual(partsOf(`${ID}:${SECRET}`), [ID, SECRET, null]);
    assert.deepEqual(partsOf(`${ID}:${SECRET}:${TOKEN}`), [ID, SECRET, TOKEN]);
    const printed = { Version: 1, AccessKeyId: ID, SecretAccessKey: SECRET };
    assert.deepEqual(partsOf(JSON.stringify(printed, null, 2)), [ID, SECRET, null]);
    assert.deepEqual(partsOf(JSON.stringify({ ...printed, SessionToken: TOKEN })), [ID, SECRET, TOKEN]);
    assert.deepEqual(partsOf(JSON.stringify({ ...printed, SessionToken: '' })), [ID, SECRET, null]);
  });

  test('readCredential() refuses anything else, and quotes nothing of it', () => {
    for (const text of [
      '',
      ID,
      `${ID}:`,
      `:${SECRET}`,
      `${ID}:${SECRET}:`,
      `${ID}:${SECRET}:${TOKEN}:x`,
      `${SECRET}:${ID}`,
      `akia:${SECRET}`,
      '{',
      '{}',
      'null',
      JSON.stringify({ AccessKeyId: ID, SecretAccessKey: [SECRET] }),
      JSON.stringify({ AccessKeyId: ID, SecretAccessKey: SECRET, SessionToken: 1 }),
    ]) {
      assert.throws(
        () => readCredential(aws, text),
        (error: unknown) => {
          assert.ok(error instanceof SallyportError && error.code === 'INVALID_SECRET_VALUE', text);
          const shown = inspect(error, { depth: 9, showHidden: true });
          return !shown.includes(SECRET) && !shown.includes(TOKEN) && !shown.includes(ID);
        },
      );
    }
  });
});
