import assert from 'node:assert/strict';
import { PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { noteChunk } from './chunk-memory.ts';

const MIB = 1024 * 1024;

test('noteChunk() has the garbage of large bodies collected, and leaves `gc` to nobody', async () => {
  let collections = 0;
  const observer = new PerformanceObserver((list) => {
    collections += list.getEntries().length;
  });
  // The first one is not counted: making what is needed for it may collect by itself.
  noteChunk(8 * MIB);
  await sleep(20);
  observer.observe({ entryTypes: ['gc'] });
  for (let index = 0; index < 64; index += 1) noteChunk(MIB);
  await sleep(20);
  observer.disconnect();
  assert.ok(collections >= 8, `${collections} collections`);
  assert.ok(!('gc' in globalThis));
});
