import assert from 'node:assert/strict';
import test from 'node:test';
import type { MeasuredRow } from './campaign.ts';
import { formatFigure, formatMarkdownTable, formatTable, tableCells } from './table.ts';

const ROW: MeasuredRow = {
  id: 'row',
  title: 'A row',
  baseline: 'peer',
  metrics: [
    { key: 'rate', title: 'req/s', better: 'higher' },
    { key: 'gateCpuUs', title: 'gate CPU µs', better: 'lower' },
    { key: 'absent', title: 'absent', better: 'lower' },
  ],
  results: [
    { gate: 'direct', rounds: [{ rate: 400 }, { rate: 200 }] },
    {
      gate: 'peer',
      rounds: [
        { rate: 200, gateCpuUs: 5 },
        { rate: 100, gateCpuUs: 7 },
      ],
    },
    { gate: 'absentee', missing: 'is not | installed\nmore', rounds: [] },
  ],
};

test('formatFigure() keeps few digits', () => {
  const cases: readonly [number, string][] = [
    [31_234.56, '31,235'],
    [999.4, '999'],
    [12.34, '12.3'],
    [0.8649, '0.86'],
    [0, '0.00'],
    [Number.NaN, '–'],
  ];
  for (const [value, expected] of cases) assert.equal(formatFigure(value), expected);
});

test('tableCells() has medians, quartiles of the first metric, and ratios by round', () => {
  const [head, direct, peer, absentee] = tableCells(ROW);
  assert.deepEqual(head, ['gate', 'req/s', '× peer', 'gate CPU µs']);
  assert.deepEqual(direct, ['direct', '300 (250–350)', '2.00 (2.00–2.00)', '']);
  assert.deepEqual(peer, ['peer', '150 (125–175)', '1.00 (1.00–1.00)', '6.00']);
  assert.deepEqual(absentee, ['absentee', 'not measured: is not | installed']);
});

test('tableCells() without the baseline has no ratios', () => {
  const [head] = tableCells({ ...ROW, baseline: 'nobody' });
  assert.deepEqual(head, ['gate', 'req/s', 'gate CPU µs']);
});

test('formatTable() aligns columns and lets the reason of a missing one run on', () => {
  const lines = formatTable(ROW).split('\n');
  assert.equal(lines[0], 'A row  [row]');
  assert.equal(
    lines[1]?.indexOf('× peer'),
    (lines[2]?.indexOf('2.00 (2') ?? 0) + '2.00 (2.00–2.00)'.length - '× peer'.length,
  );
  assert.match(lines[4] ?? '', /absentee +not measured: is not \| installed$/);
});

test('formatMarkdownTable() gives every line as many cells', () => {
  const lines = formatMarkdownTable(ROW)
    .split('\n')
    .filter((line) => line.startsWith('|'));
  assert.equal(lines.length, 5);
  for (const line of lines) assert.equal(line.replaceAll('\\|', '').split('|').length, 6, line);
});
