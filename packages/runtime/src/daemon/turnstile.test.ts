import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Turnstile } from './turnstile.ts';

test('Turnstile.pass() lets so many through at a time, in their order, and goes on after failures', async () => {
  const turnstile = new Turnstile(3);
  const begun: number[] = [];
  let inside = 0;
  let most = 0;
  const results = await Promise.allSettled(
    Array.from({ length: 20 }, async (_, index) =>
      turnstile.pass(async () => {
        begun.push(index);
        inside += 1;
        most = Math.max(most, inside);
        await new Promise((resolve) => setImmediate(resolve));
        inside -= 1;
        if (index % 5 === 0) throw new RangeError('a failure');
        return index;
      }),
    ),
  );
  assert.equal(most, 3);
  assert.deepEqual(
    begun,
    [...begun].sort((a, b) => a - b),
  );
  assert.equal(results.filter(({ status }) => status === 'rejected').length, 4);
});
