import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { CachedSource, FAILURE_MS, MIN_DROP_INTERVAL_MS } from './cached-source.ts';
import { sourceFailed } from './fetched-value.ts';
import type { ValueSource } from './value-source.ts';

/** A source whose fetches end when the test says so, and with what. */
class PuppetSource implements ValueSource {
  readonly description = 'a puppet';
  fetches = 0;
  /** What was handed over, in order: the cache's own memory. */
  readonly handed: Uint8Array[] = [];
  signal: AbortSignal | undefined;
  #pending: { resolve: (value: Uint8Array) => void; reject: (error: Error) => void } | undefined;

  get isPending(): boolean {
    return this.#pending !== undefined;
  }

  async fetch(signal: AbortSignal): Promise<Uint8Array> {
    assert.equal(this.#pending, undefined, 'two fetches at once');
    this.fetches += 1;
    this.signal = signal;
    return await new Promise((resolve, reject) => (this.#pending = { resolve, reject }));
  }

  give(text: string): void {
    const value = new TextEncoder().encode(text);
    this.handed.push(value);
    this.#pending?.resolve(value);
    this.#pending = undefined;
  }

  fail(message: string): void {
    this.#pending?.reject(sourceFailed(message));
    this.#pending = undefined;
  }
}

/** Lets every promise that is settled be heard. */
const turn = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve));
const textOf = (value: Uint8Array | null): string | null => (value === null ? null : Buffer.from(value).toString());
const isWiped = (value: Uint8Array | undefined): boolean => value !== undefined && value.every((byte) => byte === 0);

function setUp(refreshMs: number | null): { source: PuppetSource; cached: CachedSource; clock: { nowMs: number } } {
  const clock = { nowMs: 0 };
  const source = new PuppetSource();
  return { source, cached: new CachedSource(source, { refreshMs, now: () => clock.nowMs }), clock };
}

test('CachedSource.get() asks the source once for all who wait, also when the first of them leaves', async () => {
  const { source, cached } = setUp(60_000);
  assert.equal(cached.peek(), null);
  const first = new AbortController();
  const left = assert.rejects(cached.get(first.signal), { code: 'ABORTED' });
  const others = Array.from({ length: 19 }, async () => await cached.get());
  first.abort();
  await left;
  assert.equal(source.signal?.aborted, false);
  source.give('value-1');
  assert.deepEqual(new Set((await Promise.all(others)).map(textOf)), new Set(['value-1']));
  assert.equal(source.fetches, 1);
  assert.equal(textOf(cached.peek()), 'value-1');
  await assert.rejects(cached.get(AbortSignal.abort()), { code: 'ABORTED' });
});

test('CachedSource.get() keeps a value that nobody waits for any more', async () => {
  const { source, cached } = setUp(60_000);
  const only = new AbortController();
  const left = assert.rejects(cached.get(only.signal), { code: 'ABORTED' });
  only.abort();
  await left;
  source.give('value-1');
  await turn();
  assert.equal(textOf(await cached.get()), 'value-1');
  assert.equal(source.fetches, 1);
});

test('CachedSource never gives a value out whose life is over, and wipes it', async () => {
  const { source, cached, clock } = setUp(5000);
  const got = cached.get();
  source.give('value-1');
  const mine = await got;
  clock.nowMs = 4999;
  assert.equal(textOf(cached.peek()), 'value-1');
  clock.nowMs = 5000;
  assert.equal(cached.peek(), null);
  assert.ok(isWiped(source.handed[0]));
  assert.equal(textOf(mine), 'value-1', 'what was given out is its holder’s');
  const failing = assert.rejects(cached.get(), { code: 'SOURCE_FAILED' });
  source.fail('down');
  await failing;
  assert.equal(cached.peek(), null);
});

test('CachedSource.get() lets a failure stand for a moment, then asks again', async () => {
  const { source, cached, clock } = setUp(5000);
  const failing = [cached.get(), cached.get()].map(async (got) => await assert.rejects(got, { message: 'down' }));
  source.fail('down');
  await Promise.all(failing);
  clock.nowMs = FAILURE_MS - 1;
  await assert.rejects(cached.get(), { message: 'down' });
  assert.equal(source.fetches, 1);
  clock.nowMs = FAILURE_MS;
  const got = cached.get();
  source.give('value-1');
  assert.equal(textOf(await got), 'value-1');
});

test('CachedSource.drop() gives a refused value up, but not more often than its interval', async () => {
  const { source, cached, clock } = setUp(null);
  const got = cached.get();
  source.give('value-1');
  const refused = await got;
  clock.nowMs = MIN_DROP_INTERVAL_MS - 1;
  assert.equal(cached.drop(), false);
  assert.equal(textOf(cached.peek()), 'value-1');
  clock.nowMs = MIN_DROP_INTERVAL_MS;
  assert.equal(cached.drop(), true);
  assert.ok(isWiped(source.handed[0]));
  assert.equal(cached.peek(), null);
  assert.equal(cached.drop(), true, 'what is fetched next is another one already');

  const again = cached.get();
  assert.equal(cached.drop(), true, 'it is on its way');
  source.give('value-2');
  await again;
  assert.equal(cached.drop(refused), true, 'another value is there already');
  assert.equal(textOf(cached.peek()), 'value-2');
  assert.equal(cached.drop(Buffer.from('value-2')), false);
  assert.equal(source.fetches, 2);
  clock.nowMs = 1e12;
  assert.equal(textOf(cached.peek()), 'value-2', 'its life ends by a refusal only');
});

test('CachedSource.close() ends a fetch and wipes what it gives all the same', async () => {
  const { source, cached } = setUp(null);
  const waiting = assert.rejects(cached.get(), { code: 'ABORTED' });
  cached.close();
  assert.equal(source.signal?.aborted, true);
  source.give('value-1');
  await waiting;
  assert.ok(isWiped(source.handed[0]));
  await assert.rejects(cached.get(), { code: 'ABORTED' });
  assert.equal(source.fetches, 1);

  const held = setUp(null);
  const got = held.cached.get();
  held.source.give('value-1');
  await got;
  held.cached.close();
  assert.ok(isWiped(held.source.handed[0]));
  assert.equal(held.cached.peek(), null);
});

type Step =
  | { readonly kind: 'get' }
  | { readonly kind: 'leave'; readonly who: number }
  | { readonly kind: 'give' | 'fail' | 'drop' | 'peek' }
  | { readonly kind: 'wait'; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ kind: 'get' } as const) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), who: fc.nat(5) }) },
  {
    weight: 6,
    arbitrary: fc.constantFrom<Step>({ kind: 'give' }, { kind: 'fail' }, { kind: 'drop' }, { kind: 'peek' }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(1, 400, 999, 1000, 5000, 30_000) }),
  },
);

test('CachedSource holds its promises in every order of events', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60 }),
      fc.constantFrom(1000, 5000, 300_000, null),
      async (steps, refreshMs) => {
        const { source, cached, clock } = setUp(refreshMs);
        // The model: plain facts about what must be so.
        let held: { text: string; fetchedMs: number } | null = null;
        let failedMs = -Infinity;
        let failure = '';
        let isFetching = false;
        let fetches = 0;
        let serial = 0;
        const waiting: { readonly controller: AbortController; readonly outcome: Promise<string> }[] = [];
        const heldText = (): string | null => {
          if (held !== null && refreshMs !== null && clock.nowMs - held.fetchedMs >= refreshMs) held = null;
          return held?.text ?? null;
        };
        const ask = (): { controller: AbortController; outcome: Promise<string> } => {
          const controller = new AbortController();
          const outcome = cached.get(controller.signal).then(
            (value) => `value ${textOf(value)}`,
            (error: unknown) => `failure ${(error as Error & { code: string }).code} ${(error as Error).message}`,
          );
          return { controller, outcome };
        };
        const settleAll = async (expected: string): Promise<void> => {
          for (const { outcome } of waiting.splice(0)) assert.equal(await outcome, expected);
        };

        for (const { kind, ...detail } of steps) {
          if (kind === 'get') {
            const text = heldText();
            const asked = ask();
            if (text !== null) assert.equal(await asked.outcome, `value ${text}`);
            else if (!isFetching && clock.nowMs - failedMs < FAILURE_MS) {
              assert.equal(await asked.outcome, `failure SOURCE_FAILED ${failure}`);
            } else {
              if (!isFetching) fetches += 1;
              isFetching = true;
              waiting.push(asked);
            }
          } else if (kind === 'leave') {
            const { who } = detail as { who: number };
            const [leaver] = waiting.splice(who, 1);
            leaver?.controller.abort();
            if (leaver !== undefined) assert.match(await leaver.outcome, /^failure ABORTED/);
          } else if (kind === 'give' && isFetching) {
            serial += 1;
            held = { text: `value-${serial}`, fetchedMs: clock.nowMs };
            isFetching = false;
            source.give(held.text);
            await turn();
            await settleAll(`value ${held.text}`);
          } else if (kind === 'fail' && isFetching) {
            serial += 1;
            failure = `failure-${serial}`;
            failedMs = clock.nowMs;
            isFetching = false;
            source.fail(failure);
            await turn();
            await settleAll(`failure SOURCE_FAILED ${failure}`);
          } else if (kind === 'drop') {
            const text = heldText();
            const isTooEarly: boolean = held !== null && clock.nowMs - held.fetchedMs < MIN_DROP_INTERVAL_MS;
            assert.equal(cached.drop(), text === null || !isTooEarly);
            if (!isTooEarly) held = null;
          } else if (kind === 'wait') {
            clock.nowMs += (detail as { ms: number }).ms;
          }
          assert.equal(textOf(cached.peek()), heldText());
          assert.equal(source.fetches, fetches);
          assert.equal(source.isPending, isFetching);
          // Of all that was ever fetched, only what is held has not been wiped.
          const kept = source.handed.filter((value) => !isWiped(value));
          assert.deepEqual(kept.map(textOf), held === null ? [] : [held.text]);
        }
        cached.close();
        assert.ok(source.handed.every(isWiped));
        source.fail('ended');
        await settleAll(`failure ABORTED The value is not fetched any more: what it was for has ended.`);
      },
    ),
    { numRuns: 500 },
  );
});
