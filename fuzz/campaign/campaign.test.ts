import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { runCampaign, type FuzzTarget } from './campaign.ts';
import { writeFixture } from './fixtures.ts';
import { shrink } from './shrink.ts';
import { targetOfThrows } from './thrown.ts';

const ALWAYS = { seed: 1, iterations: 500, deadlineMs: Number.POSITIVE_INFINITY };

test('runCampaign() finds a planted fault, makes it small, and repeats it from its seed', async () => {
  const target: FuzzTarget<{ text: string; count: number }> = {
    name: 'planted',
    generate: (random) => ({
      text: Array.from({ length: 30 }, () => random.pick(['a', 'b', 'c', 'XY'])).join(''),
      count: random.below(100),
    }),
    check: ({ text, count }) => (text.includes('XYXY') && count > 10 ? `planted: ${text}` : null),
  };
  const { findings, cases } = await runCampaign(target, ALWAYS);
  assert.equal(findings.length, 10);
  assert.ok(cases < 500);
  for (const finding of findings) assert.deepEqual(finding.smallest, { text: 'XYXY', count: 11 });
  const again = await runCampaign(target, { ...ALWAYS, seed: findings[3]!.seed, iterations: 1 });
  assert.deepEqual(again.findings[0], findings[3]);
});

test('runCampaign() takes what is thrown for a fault, and closes the target', async () => {
  let closed = 0;
  const target: FuzzTarget<number> = {
    name: 'thrower',
    generate: (random) => random.below(1000),
    check(data) {
      if (data >= 20) throw new RangeError('too large');
      return null;
    },
    close: () => void (closed += 1),
  };
  const { findings } = await runCampaign(target, ALWAYS);
  assert.deepEqual(findings[0]?.smallest, 20);
  assert.equal(findings[0].problem, 'threw RangeError too large');
  assert.equal(closed, 1);
});

test('targetOfThrows() keeps how the dice fell', async () => {
  const target = targetOfThrows('dice', (dice) => {
    const faces = Array.from({ length: dice.below(20) }, () => dice.below(6));
    if (faces.filter((face) => face === 5).length >= 2) throw new Error(`two fives: ${faces.join()}`);
  });
  const { findings } = await runCampaign(target, { ...ALWAYS, iterations: 50 });
  assert.deepEqual(findings[0]?.smallest, { dice: [2, 5, 5] });
  assert.equal(findings[0].problem, 'threw Error two fives: 5,5');
});

test('shrink() keeps to its time, and to a case that still fails', async () => {
  const failing = 'x'.repeat(5000);
  assert.equal(await shrink(failing, () => Promise.resolve(true), -1), failing);
  assert.equal(await shrink(failing, (text) => Promise.resolve(text.length > 2)), 'xxx');
});

test('writeFixture() keeps one case once', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-fixtures-'));
  try {
    const file = writeFixture('t', 'a fault', { bytes: '\xff\0' }, directory);
    assert.equal(writeFixture('t', 'another word', { bytes: '\xff\0' }, directory), file);
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')), { problem: 'another word', case: { bytes: '\xff\0' } });
  } finally {
    rmSync(directory, { recursive: true });
  }
});
