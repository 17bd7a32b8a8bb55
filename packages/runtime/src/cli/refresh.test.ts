import assert from 'node:assert/strict';
import test from 'node:test';
import { parseRefresh } from './refresh.ts';

test('parseRefresh() reads a life of at least a second, or "on-demand"', () => {
  assert.equal(parseRefresh('on-demand'), null);
  assert.equal(parseRefresh('1s'), 1000);
  assert.equal(parseRefresh('1000ms'), 1000);
  assert.equal(parseRefresh('90'), 90_000);
  assert.equal(parseRefresh('1.5h'), 5_400_000);
  for (const text of ['', '0', '999ms', '0.5s', '-1s', 'never', 'On-Demand', 'ondemand']) {
    assert.throws(() => parseRefresh(text), { code: 'INVALID_LIMIT' }, text);
  }
});
