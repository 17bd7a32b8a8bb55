import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createCanary, createSeededRandom, findForms } from './canary.ts';

const VALUE = createCanary(createSeededRandom(7));

test('createCanary() repeats by its seed', () => {
  assert.equal(createCanary(createSeededRandom(7)), VALUE);
  assert.notEqual(createCanary(createSeededRandom(8)), VALUE);
});

test('findForms() finds every form wherever it lies, and nothing in other data', () => {
  const letters = [...VALUE];
  const forms: readonly (readonly [RegExp, (before: string) => Buffer])[] = [
    [/^raw$/, (before) => Buffer.from(`${before}${VALUE}x`)],
    [/^base64/, (before) => Buffer.from(Buffer.from(`${before}${VALUE}tail`).toString('base64'))],
    [/^base64/, (before) => Buffer.from(Buffer.from(`${before}${VALUE}`).toString('base64url'))],
    [/^hex$/, (before) => Buffer.from(before + Buffer.from(VALUE).toString('hex').toUpperCase())],
    [/^percent/, (before) => Buffer.from(before + letters.map((one, i) => (i % 2 ? one : `%${one.charCodeAt(0).toString(16)}`)).join(''))],
    [/^JSON/, (before) => Buffer.from(before + letters.map((one, i) => (i % 2 ? one : `\\u00${one.charCodeAt(0).toString(16)}`)).join(''))],
    [/^HTML/, (before) => Buffer.from(before + letters.map((one) => `&#x${one.charCodeAt(0).toString(16)};`).join(''))],
    [/^UTF-16LE$/, (before) => Buffer.from(before.length % 2 ? `${before}x${VALUE}` : before + VALUE, 'utf16le')],
  ]; // prettier-ignore
  fc.assert(
    fc.property(fc.stringMatching(/^[a-z ]{0,8}$/), fc.constantFrom(...forms), (before, [name, write]) => {
      assert.ok(
        findForms(VALUE, write(before)).some((form) => name.test(form)),
        String(name),
      );
    }),
  );
  assert.deepEqual(findForms(VALUE, Buffer.from(`${VALUE.slice(0, -1)} ${VALUE.toLowerCase()}`)), []);
});
