import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { countField, equalsIgnoringCase, fieldValue, fieldValues, hasToken, removeField, setField } from './fields.ts';

describe('equalsIgnoringCase()', () => {
  test('folds ASCII letters and nothing else', () => {
    for (let octet = 0; octet < 256; octet++) {
      const name = String.fromCharCode(octet);
      for (const other of ['a', 'z', '@', '[', '`', '{', '-', '_', '\xe0']) {
        const folded = /[A-Z]/.test(name) ? name.toLowerCase() : name;
        assert.equal(equalsIgnoringCase(name, other), folded === other, JSON.stringify([name, other]));
      }
    }
    assert.equal(equalsIgnoringCase('Host', 'host-'), false);
    assert.equal(equalsIgnoringCase('\u212aeep', 'keep'), false);
  });
});

describe('fieldValue(), fieldValues(), countField(), removeField(), setField()', () => {
  const fields = () => ['Host', 'h', 'A', '1', 'a', '2', 'B', 'a', 'A', '3'];

  test('find names in any case, and never values', () => {
    assert.equal(fieldValue(fields(), 'a'), '1');
    assert.equal(fieldValue(fields(), 'h'), undefined);
    assert.deepEqual(fieldValues(fields(), 'a'), ['1', '2', '3']);
    assert.equal(countField(fields(), 'a'), 3);
    assert.equal(countField(fields(), 'h'), 0);
  });

  test('change in place', () => {
    const removed = fields();
    assert.equal(removeField(removed, 'a'), 3);
    assert.deepEqual(removed, ['Host', 'h', 'B', 'a']);
    assert.equal(removeField(removed, 'a'), 0);

    const set = fields();
    setField(set, 'A', '9');
    assert.deepEqual(set, ['Host', 'h', 'A', '9', 'B', 'a']);
    setField(set, 'C', 'x');
    assert.deepEqual(set, ['Host', 'h', 'A', '9', 'B', 'a', 'C', 'x']);
  });

  test('setField() leaves exactly one line, and the others as they were', () => {
    const name = fc.constantFrom('A', 'a', 'B', 'C');
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.string())), name, (pairs, chosen) => {
        const lower = chosen.toLowerCase();
        const all = pairs.flat();
        setField(all, chosen, 'value');
        assert.deepEqual(fieldValues(all, lower), ['value']);
        assert.equal(removeField(all, lower), 1);
        assert.deepEqual(all, pairs.filter(([each]) => each.toLowerCase() !== lower).flat());
      }),
    );
  });
});

describe('hasToken()', () => {
  test('finds whole members over all lines', () => {
    const has = (...values: string[]) =>
      hasToken(
        values.flatMap((value) => ['Connection', value]),
        'connection',
        'close',
      );
    for (const value of ['close', 'Close', 'a, close', 'close,a', ' ,\t close\t,', 'a,CLOSE ,b'])
      assert.ok(has(value), value);
    assert.ok(has('a', 'close'));
    for (const value of ['', ',', 'closed', 'xclose', 'clo,se', 'close a', '"close"']) assert.ok(!has(value), value);
    assert.equal(hasToken(['Other', 'close'], 'connection', 'close'), false);
  });
});
