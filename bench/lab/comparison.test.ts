import assert from 'node:assert/strict';
import test from 'node:test';
import type { MeasuredRow, RowResult } from './campaign.ts';
import { compareRows, joinRounds } from './comparison.ts';
import type { Better } from './statistics.ts';

function row(better: Better, ...results: readonly RowResult[]): MeasuredRow {
  return { id: 'r', title: 'R', baseline: 'base', metrics: [{ key: 'v', title: 'v', better }], results };
}

function result(gate: string, ...values: readonly number[]): RowResult {
  return { gate, rounds: values.map((v) => ({ v })) };
}

test('compareRows() fails what lost more than the limit, in either direction of a metric', () => {
  const cases: readonly [string, Better, number, boolean][] = [
    ['a slower rate', 'higher', 89, true],
    ['a rate just within', 'higher', 90.1, false],
    ['a better rate', 'higher', 130, false],
    ['a longer time', 'lower', 111, true],
    ['a time just within', 'lower', 109.9, false],
    ['a shorter time', 'lower', 60, false],
  ];
  for (const [name, better, value, isLost] of cases) {
    const rows = [row(better, result('base', 100, 100, 100), result('this', value, value, value))];
    assert.equal(compareRows(rows, 'base', 'this', 0.1)[0]?.isLost, isLost, name);
  }
});

test('compareRows() goes by rounds, so one that was slow for both changes nothing', () => {
  const rows = [row('higher', result('base', 100, 20, 100), result('this', 99, 19.8, 99))];
  const [change] = compareRows(rows, 'base', 'this', 0.1);
  assert.equal(change?.isLost, false);
  assert.ok(Math.abs((change?.loss ?? 0) - 0.01) < 1e-9);
});

test('compareRows() counts a row that this checkout cannot do as lost, and one that the base could not as nothing', () => {
  const failed = { gate: 'this', missing: 'it hangs', rounds: [] };
  const [lost] = compareRows([row('higher', result('base', 1), failed)], 'base', 'this', 0.1);
  assert.deepEqual([lost?.isLost, lost?.reason], [true, 'it hangs']);
  const newRow = row('higher', { gate: 'base', missing: 'unknown option', rounds: [] }, result('this', 1));
  assert.equal(compareRows([newRow], 'base', 'this', 0.1)[0]?.isLost, false);
  assert.equal(compareRows([row('higher', result('base'), result('this'))], 'base', 'this', 0.1)[0]?.isLost, true);
});

test('joinRounds() keeps the rounds of both measurements side by side', () => {
  const first = row('higher', result('base', 1, 2), result('this', 3, 4));
  const second = row('higher', result('this', 6), result('base', 5));
  assert.deepEqual(
    joinRounds(first, second).results.map(({ gate, rounds }) => [gate, rounds.map(({ v }) => v)]),
    [
      ['this', [3, 4, 6]],
      ['base', [1, 2, 5]],
    ],
  );
});
