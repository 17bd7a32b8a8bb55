import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatPhases, Milestones } from './milestones.ts';

test('phases() puts overlapping phases into order, and their shares sum up to the last moment', async () => {
  const milestones = new Milestones();
  milestones.mark('second', 20.06);
  milestones.mark('first', 12.34);
  milestones.mark('third', 20.06);
  assert.equal(await milestones.after('last', Promise.resolve(7)), 7);
  await assert.rejects(milestones.after('never', Promise.reject(new Error('no'))));
  const phases = milestones.phases();
  assert.deepEqual(
    phases.map(({ name }) => name),
    ['first', 'second', 'third', 'last'],
  );
  assert.ok(phases.every(({ shareMs }) => shareMs >= 0));
  const sum = phases.reduce((total, { shareMs }) => total + shareMs, 0);
  assert.ok(Math.abs(sum - (phases.at(-1)?.atMs ?? 0)) < 1e-6);
});

test('formatPhases() prints shares that sum up in print as well', () => {
  const milestones = new Milestones();
  for (const [index, at] of [0.06, 0.12, 10.149, 10.151, 250.05].entries()) milestones.mark(`phase ${index}`, at);
  const text = formatPhases(milestones.phases());
  assert.equal(
    text,
    [
      '      0.1 ms  phase 0  at       0.1',
      '      0.0 ms  phase 1  at       0.1',
      '     10.0 ms  phase 2  at      10.1',
      '      0.1 ms  phase 3  at      10.2',
      '    239.9 ms  phase 4  at     250.1',
      '    250.1 ms  in all',
      '',
    ].join('\n'),
  );
});
