import assert from 'node:assert/strict';
import test from 'node:test';
import { barsOf, formatBarChart } from './chart.ts';

const metrics = [{ key: 'rate', title: 'req/s', better: 'higher' }] as const;

test('barsOf() leaves out who has no figures', () => {
  const row = {
    id: 'r',
    title: 'R',
    baseline: 'a',
    metrics,
    results: [
      { gate: 'a', rounds: [{ rate: 1 }, { rate: 3 }] },
      { gate: 'b', missing: 'is not installed', rounds: [] },
    ],
  };
  assert.deepEqual(
    barsOf(row, (gate) => gate === 'a').map(({ label, median, isOurs }) => [label, median, isOurs]),
    [['a', 2, true]],
  );
});

test('formatBarChart() draws the longest bar to the end of its room, others in proportion, and escapes names', () => {
  const bar = { low: 100, high: 100, isOurs: false };
  const svg = formatBarChart('A < B', 'req/s', [
    { ...bar, label: 'x & y', median: 100 },
    { ...bar, label: 'half', median: 50, low: 50, high: 50 },
  ]);
  const widths = [...svg.matchAll(/<rect x="\d+" y="\d+" width="([\d.]+)"/g)].map(([, width]) => Number(width));
  assert.equal(widths.length, 2);
  assert.ok(Math.abs((widths[0] ?? 0) - 2 * (widths[1] ?? 0)) < 0.2, String(widths));
  assert.match(svg, /A &lt; B/);
  assert.match(svg, /x &amp; y/);
  assert.doesNotMatch(svg, /NaN|undefined|Infinity/);
});

test('formatBarChart() of nothing, or of zeros, is still a document', () => {
  assert.match(formatBarChart('t', 'u', []), /^<svg .*<\/svg>\n$/s);
  const zero = { label: 'z', median: 0, low: 0, high: 0, isOurs: true };
  assert.doesNotMatch(formatBarChart('t', 'u', [zero]), /NaN|Infinity/);
});
