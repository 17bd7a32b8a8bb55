import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseCpus, parseDuration, parseMemory, parsePids } from './limits.ts';

const rejects = (parse: (text: string) => number, texts: readonly string[]) => {
  for (const text of texts) assert.throws(() => parse(text), { code: 'INVALID_LIMIT' }, JSON.stringify(text));
};

test('parseMemory() reads sizes in powers of 1024 and refuses anything else', () => {
  assert.equal(parseMemory('2g'), 2 * 1024 ** 3);
  assert.equal(parseMemory('512M'), 512 * 1024 ** 2);
  assert.equal(parseMemory('1.5GiB'), 1.5 * 1024 ** 3);
  assert.equal(parseMemory('64mb'), 64 * 1024 ** 2);
  assert.equal(parseMemory('33554432'), 33_554_432);
  assert.equal(parseMemory('65536k'), 65_536 * 1024);
  rejects(parseMemory, ['', '0', '1m', '-1g', '2 g', '2x', 'g', '1e9', '0x10000000', '2gg', '99999999t', '١g', '2g\n']);
});

test('parseCpus() reads a number of processors and refuses anything else', () => {
  assert.equal(parseCpus('1.5'), 1.5);
  assert.equal(parseCpus('4'), 4);
  rejects(parseCpus, ['', '0', '-1', '1,5', 'all', '1e3', 'Infinity', '100000', '1.', '.5']);
});

test('parsePids() reads a whole number that a sandbox can live with', () => {
  assert.equal(parsePids('100'), 100);
  rejects(parsePids, ['', '0', '15', '1.5', '-1', '99999999', '1e3', 'x']);
});

test('parseDuration() reads milliseconds with or without a unit', () => {
  assert.equal(parseDuration('10m'), 600_000);
  assert.equal(parseDuration('90'), 90_000);
  assert.equal(parseDuration('1.5h'), 5_400_000);
  assert.equal(parseDuration('500ms'), 500);
  assert.equal(parseDuration('20d'), 20 * 86_400_000);
  rejects(parseDuration, ['', '0', '0s', '-1s', '1w', '1 m', '25d', '9999999999h', 'm', '1m30s']);
});
