import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CyclePace, MAX_CYCLE_MS } from './cycle-pace.ts';

/** Has logs that always have lines write for a second of made-up time, each again as soon as it may; returns the longest that one waited, and all writes. */
function simulate(logs: number, cycleMs: number): { readonly longestMs: number; readonly writes: number } {
  const pace = new CyclePace();
  const next = Array.from({ length: logs }, () => pace.take(0, 0));
  let longestMs = 0;
  let writes = 0;
  for (let nowMs = 0; nowMs <= 1000; nowMs++) {
    for (const [log, atMs] of next.entries()) {
      if (atMs > nowMs) continue;
      writes += 1;
      const turnMs = pace.take(nowMs, nowMs + cycleMs);
      longestMs = Math.max(longestMs, turnMs - nowMs);
      next[log] = turnMs;
    }
  }
  return { longestMs, writes };
}

void describe('the pace of audit logs', () => {
  void it('lets a log that has not written for a while write at once', () => {
    const pace = new CyclePace();
    assert.equal(pace.take(1000, 0), 1000);
    assert.equal(pace.take(2000, 1050), 2000);
  });

  void it('leaves a few logs to their own interval', () => {
    const { longestMs, writes } = simulate(10, 50);
    assert.ok(longestMs <= 50, `one waited ${longestMs} ms`);
    assert.ok(writes >= 10 * 19, `${writes} writes`);
  });

  void it('has many logs write a few hundred times a second together, each in its turn', () => {
    const { longestMs, writes } = simulate(100, 50);
    assert.ok(writes <= 450, `${writes} writes`);
    assert.ok(writes >= 300, `${writes} writes`);
    assert.ok(longestMs <= 310, `one waited ${longestMs} ms`);
  });

  void it('has none wait longer than its limit, however many there are', () => {
    const { longestMs } = simulate(5000, 50);
    assert.equal(longestMs, MAX_CYCLE_MS);
  });

  void it('forgets a rush once it is over', () => {
    const pace = new CyclePace();
    for (let i = 0; i < 10_000; i++) pace.take(0, 0);
    assert.equal(pace.take(MAX_CYCLE_MS, 0), MAX_CYCLE_MS);
  });
});
