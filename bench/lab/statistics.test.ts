import assert from 'node:assert/strict';
import test from 'node:test';
import { lossOf, quantile, ratios, summarize } from './statistics.ts';

test('quantile() interpolates between neighbors, whatever the order', () => {
  assert.equal(quantile([3, 1, 2], 0.5), 2);
  assert.equal(quantile([4, 1, 3, 2], 0.5), 2.5);
  assert.equal(quantile([10, 20], 0.25), 12.5);
  assert.equal(quantile([7], 0.99), 7);
  assert.equal(quantile([1, 2, 3], 0), 1);
  assert.equal(quantile([1, 2, 3], 1), 3);
  assert.ok(Number.isNaN(quantile([], 0.5)));
});

test('summarize() gives the middle, the quartiles and the size', () => {
  assert.deepEqual(summarize([5, 1, 4, 2, 3]), { median: 3, low: 2, high: 4, count: 5 });
});

test('ratios() compares rounds with each other and leaves out what lacks a partner', () => {
  assert.deepEqual(ratios([10, 30, undefined, 8], [20, 30, 5, 0]), [0.5, 1]);
  assert.deepEqual(ratios([1, 2], [2]), [0.5]);
});

test('lossOf() is the median of the rounds, not the ratio of medians', () => {
  // The machine was slow in the second round, for both.
  assert.ok(Math.abs(lossOf([90, 45, 91], [100, 50, 100], 'higher') - 0.1) < 1e-9);
  assert.ok(Math.abs(lossOf([110, 55, 111], [100, 50, 100], 'lower') - 0.1) < 1e-9);
  assert.ok(lossOf([120], [100], 'higher') < 0);
  assert.ok(Number.isNaN(lossOf([], [100], 'higher')));
});
