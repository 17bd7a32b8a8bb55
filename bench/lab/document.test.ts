import assert from 'node:assert/strict';
import test from 'node:test';
import { fillDocument, mergeReports } from './document.ts';
import type { Report } from './document.ts';

const MACHINE = {
  processors: 2,
  model: 'a processor',
  memoryGb: 24,
  kernel: '6.1',
  system: 'a system',
  node: '26',
  openssl: '3',
  summary: '2 × a processor',
};

const REPORT: Report = {
  startedAt: '2026-01-02T03:04:05.000Z',
  machine: MACHINE,
  loadAtStart: 0.25,
  versions: { peer: '1.2' },
  cores: { gate: 0, client: 1 },
  rounds: 5,
  seconds: 2,
  rows: [
    {
      id: 'row',
      title: 'A row',
      baseline: 'peer',
      metrics: [{ key: 'v', title: 'v', better: 'higher' }],
      results: [{ gate: 'peer', rounds: [{ v: 1 }] }],
    },
  ],
};

test('fillDocument() replaces what stands between the marks, and nothing else, any number of times', () => {
  const text = 'before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n';
  const filled = fillDocument(text, REPORT, 'charts');
  assert.match(filled, /^before\n<!-- bench:begin -->\n\n.*<!-- bench:end -->\nafter\n$/s);
  assert.match(filled, /2026-01-02: 2 × a processor/);
  assert.match(filled, /peer 1\.2/);
  assert.match(filled, /!\[A row\]\(charts\/row\.svg\)/);
  assert.doesNotMatch(filled, /old/);
  assert.equal(fillDocument(filled, REPORT, 'charts'), filled);
});

test('fillDocument() refuses a document without marks, or with them the wrong way around', () => {
  assert.throws(() => fillDocument('nothing', REPORT, 'charts'), /bench:begin/);
  assert.throws(() => fillDocument('<!-- bench:end --><!-- bench:begin -->', REPORT, 'charts'), /bench:begin/);
});

test('mergeReports() keeps rows that were not measured, in their order, and says where they are from', () => {
  const [row] = REPORT.rows;
  assert.ok(row !== undefined);
  const later: Report = {
    ...REPORT,
    startedAt: '2026-02-03T04:05:06.000Z',
    versions: { other: '2' },
    rows: [{ ...row, id: 'more', title: 'More' }],
  };
  const merged = mergeReports(REPORT, later, ['row', 'more']);
  assert.deepEqual(
    merged.rows.map(({ id, from }) => [id, from?.startedAt]),
    [
      ['row', REPORT.startedAt],
      ['more', undefined],
    ],
  );
  assert.deepEqual(merged.versions, { peer: '1.2', other: '2' });
  // A row that was kept once already stays what it was.
  const again = mergeReports(merged, { ...later, startedAt: '2026-03-04T05:06:07.000Z' }, ['row', 'more']);
  assert.equal(again.rows[0]?.from?.startedAt, REPORT.startedAt);
  assert.deepEqual(
    mergeReports(merged, later, ['more']).rows.map(({ id }) => id),
    ['more'],
  );
  const text = fillDocument('<!-- bench:begin --><!-- bench:end -->', merged, 'charts');
  assert.match(text, /Of a run of 2026-01-02, 03:04 UTC: 5 rounds of 2 s\./);
});
