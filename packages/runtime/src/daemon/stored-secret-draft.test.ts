import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type StoredSecretChange } from '@sallyport/sdk';
import type { SecretScope, StoredSecret } from '../secrets/stored-secret.ts';
import { draftSecret, refuseSamePlaceholder } from './stored-secret-draft.ts';

const GLOBAL: SecretScope = { kind: 'global' };
const VALUE = 'the-value-of-a-secret';

function custom(env: string, rest: Partial<Extract<StoredSecretChange, { kind: 'custom' }>> = {}) {
  const change: StoredSecretChange = { kind: 'custom', env, value: VALUE, hosts: ['api.example.com'], ...rest };
  return draftSecret(GLOBAL, env, change, undefined);
}

function stored(scope: SecretScope, env: string, placeholder: string | null): StoredSecret {
  return { ...custom(env, { placeholder }).draft, scope, createdAt: 0, updatedAt: 0 };
}

test('draftSecret() refuses a variable that every sandbox needs itself', () => {
  for (const env of ['PATH', 'HOME', 'LD_PRELOAD', 'SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS', 'SALLYPORT_SANDBOX']) {
    assert.throws(() => custom(env), { code: 'INVALID_SECRET_SPEC', message: new RegExp(`variable ${env} is`, 'u') });
  }
  assert.equal(custom('MY_PATH').draft.env, 'MY_PATH');
});

test('draftSecret() refuses a placeholder that shows the value, and one that ordinary text could hold', () => {
  for (const placeholder of [VALUE, `x-${VALUE}-{rand}`, VALUE.slice(0, 10)]) {
    assert.throws(
      () => custom('A', { placeholder }),
      (error: { code: string; message: string }) => {
        assert.equal(error.code, 'SECRET_CONFLICT');
        assert.ok(!error.message.includes(VALUE.slice(0, 10)));
        return true;
      },
    );
  }
  for (const placeholder of ['', 'short']) {
    assert.throws(() => custom('A', { placeholder }), { code: 'INVALID_SECRET_SPEC', message: /too short/ });
  }
  for (const placeholder of ['{rand}', 'sk-{rand}', 'eight-ok']) {
    assert.equal(custom('A', { placeholder }).draft.placeholder, placeholder);
  }
});

test('draftSecret() takes 64 KiB for bodies alone, and says where less is possible', () => {
  const value = 'v'.repeat(65_536);
  assert.equal(custom('A', { value, locations: ['body', 'websocket'] }).value, value);
  assert.throws(() => custom('A', { value }), { code: 'INVALID_SECRET_VALUE', message: /32768 bytes.*body/ });
  assert.throws(() => custom('A', { value: `${value}v`, locations: ['body'] }), { code: 'INVALID_SECRET_VALUE' });
});

test('draftSecret() refuses the key of a service that begins or ends with a blank', () => {
  for (const value of ['sk-0123456789abcdef ', '\tsk-0123456789abcdef']) {
    const draft = () => draftSecret(GLOBAL, 'openai', { kind: 'service', value }, undefined);
    assert.throws(draft, { code: 'INVALID_SECRET_VALUE', message: /blank/ });
  }
});

test('refuseSamePlaceholder() refuses those that meet in a sandbox, not those that replace one another', () => {
  const one: SecretScope = { kind: 'sandbox', sandbox: 'one' };
  const two: SecretScope = { kind: 'sandbox', sandbox: 'two' };
  const cases: readonly [SecretScope, string, SecretScope, string, boolean][] = [
    [GLOBAL, 'fixed-mark', GLOBAL, 'fixed-mark', true],
    [GLOBAL, 'fixed-mark', GLOBAL, 'fixed-mark-2', true],
    [GLOBAL, 'fixed-mark-{rand}', GLOBAL, 'fixed-mark', true],
    [GLOBAL, 'fixed-mark', one, 'fixed-mark', true],
    [one, 'fixed-mark', two, 'fixed-mark', false],
    [GLOBAL, 'mark-{rand}', GLOBAL, 'mark-{rand}', false],
    [GLOBAL, 'fixed-mark', GLOBAL, 'other-mark', false],
  ];
  for (const [scope, placeholder, otherScope, other, isRefused] of cases) {
    const check = () => refuseSamePlaceholder(stored(scope, 'A', placeholder), [stored(otherScope, 'B', other)]);
    if (isRefused) assert.throws(check, { code: 'SECRET_CONFLICT' }, `${placeholder} ${other}`);
    else check();
  }
  // The sandbox's own takes the place of the one for all.
  refuseSamePlaceholder(stored(one, 'A', 'fixed-mark'), [stored(GLOBAL, 'A', 'fixed-mark')]);
  refuseSamePlaceholder(stored(GLOBAL, 'A', 'fixed-mark'), [stored(GLOBAL, 'B', null)]);
});
