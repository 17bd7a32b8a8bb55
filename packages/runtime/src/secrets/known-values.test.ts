import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KnownValues } from './known-values.ts';
import { createSecretSet } from './secret-set.ts';
import { sealValues, unsealValues } from './secret-set-sealing.ts';
import { readSecretHosts } from './secret-spec.ts';
import { SecretValue } from './secret-value.ts';

function setOf(value: string) {
  return createSecretSet({
    inputs: [{ env: 'TOKEN', value: new SecretValue(value), hosts: readSecretHosts(['api.example.com'], 'TOKEN') }],
    locations: [{ kind: 'header' }],
    plainNames: [],
    placeholderFor: (env) => `sp_${env}_0123456789`,
  });
}

test('KnownValues keeps former values, and has the present value first', () => {
  const known = new KnownValues([]);
  for (const value of ['value-one-1', 'value-two-2', 'value-one-1']) known.add(setOf(value));
  const shown = sealValues(
    { rules: known.rules(), own: new Map() },
    null,
    (text) => JSON.parse(text) as { values: { values: string[] }[] },
  );
  assert.deepEqual(
    shown.values.map(({ values }) => values),
    [['value-one-1', 'value-two-2']],
  );
  const own = new Map([['sp_TOKEN_0123456789', new SecretValue('value-one-1')]]);
  const sealed = sealValues({ rules: known.rules(), own }, { key: 'k' }, (text) => text);
  const { rules, own: restoredOwn, attachment } = unsealValues(sealed);
  assert.deepEqual(attachment, { key: 'k' });
  assert.ok(restoredOwn.get('sp_TOKEN_0123456789')?.equals(new SecretValue('value-one-1')));
  // A former version kept no values apart.
  const former = unsealValues(JSON.stringify({ ...JSON.parse(sealed), own: undefined }));
  assert.ok(former.own.get('sp_TOKEN_0123456789')?.equals(new SecretValue('value-one-1')));
  const restored = new KnownValues(rules);
  restored.add(setOf('value-new-3'));
  assert.equal(restored.rules()[0]?.values.length, 3);
  assert.ok(restored.rules()[0]?.values[0]?.equals(new SecretValue('value-new-3')));
});

test('KnownValues is bounded, however often a value changes', () => {
  const known = new KnownValues([]);
  for (let index = 0; index < 600; index += 1) known.add(setOf(`value-number-${index}`));
  const values = known.rules()[0]?.values.map((value) => value.reveal()) ?? [];
  assert.deepEqual([values.length, values[0], values.at(-1)], [513, 'value-number-599', 'value-number-87']);
  const long = new KnownValues([]);
  for (let index = 0; index < 9; index += 1) long.add(setOf(`${index}`.repeat(60_000)));
  assert.equal(long.rules()[0]?.values.length, 1 + 4);
});

test('unsealValues() tells nothing of what it cannot read', () => {
  for (const text of ['', '{"secret-text":1}', 'null', '{"version":2,"values":[]}', '{"version":1}']) {
    assert.throws(
      () => unsealValues(text),
      (error: Error) => !error.message.includes('secret-text'),
    );
  }
});
