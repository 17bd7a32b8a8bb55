import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { maskValue } from './mask-value.ts';

const GAP = '****...****';

test('maskValue() shows the vendor and a few characters, and of short or strange values nothing', () => {
  const cases: readonly (readonly [value: string, mask: string])[] = [
    ['gho_GCaw4oABCDEFGHIJKLMNOPQRSTUVWXYZ43qy', `gho_GCaw4o${GAP}43qy`],
    [`sk-ant-api03-${'abcdefghij'.repeat(9)}`, `sk-ant-api03-abcdef${GAP}ghij`],
    ['12345678901234567890123456789012', `1234${GAP}9012`],
    ['abcdefghijklmnopqrst', `abc${GAP}st`],
    ['abcdefghijklmnopqrs', GAP],
    ['hunter2!', GAP],
    ['', GAP],
    ['ghp_short-rest-of-it', `ghp_${GAP}`],
    ['-----BEGIN KEY-----\nabcdefghijklmnopqrstuvwxyz\n-----END KEY-----', GAP],
    [`pässword-${'x'.repeat(40)}`, GAP],
    ['with a space in the middle of it', GAP],
  ];
  for (const [value, mask] of cases) assert.equal(maskValue(value), mask);
});

test('maskValue() never shows more than a quarter of a value that has no known prefix', () => {
  const value = fc.string({ unit: fc.constantFrom(...'QWRTZPqwrtzp0246'), maxLength: 400 });
  fc.assert(
    fc.property(value, (text) => {
      const mask = maskValue(text);
      const [head = '', tail = ''] = mask.split(GAP);
      assert.ok(head.length + tail.length <= Math.min(text.length / 4, 10));
      assert.ok(text.startsWith(head) && text.endsWith(tail));
    }),
  );
});
