import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import type { SecretStore } from './secret-store.ts';

/** A store to be tried, and what it is capable of. */
export interface StoreUnderTest {
  readonly name: string;
  /** A store over the same values as the last one of the same test had, empty in the first one. */
  readonly open: (context: TestContext) => Promise<() => SecretStore>;
  /** How many values it is tried with. */
  readonly manyValues: number;
  /** Why it is not tried; null where it is. */
  readonly skip: string | null;
  /** Whether values outlive the store. */
  readonly isLasting: boolean;
}

const LARGE_BYTES = 64 * 1024;

/** What every store promises. Each runs it in a test file of its own. */
export function testSecretStore({ name, open, manyValues, skip, isLasting }: StoreUnderTest): void {
  const check = (title: string, body: (context: TestContext) => Promise<void>): void => {
    void test(`${name} ${title}`, skip === null ? {} : { skip }, body);
  };

  check('read() gives back any bytes, as long as a value may be', async (context) => {
    const store = (await open(context))();
    const values: [string, Uint8Array][] = [
      ['empty', new Uint8Array()],
      ['zero', new Uint8Array([0])],
      ['octets', Uint8Array.from({ length: 256 }, (_, index) => index)],
      ['line', new TextEncoder().encode('one line\n')],
      ['wide', new TextEncoder().encode('Grüße 🔑 \u{0}\r\n')],
      ['large', pseudoRandom('large', LARGE_BYTES)],
    ];
    for (const [key, value] of values) {
      // oxlint-disable-next-line no-await-in-loop
      await store.write(key, value);
    }
    for (const [key, value] of values) {
      // oxlint-disable-next-line no-await-in-loop
      const read = await store.read(key);
      assert.ok(read !== null && Buffer.compare(read, value) === 0, key);
      // What is handed out belongs to whoever asked.
      read.fill(0xff);
      // oxlint-disable-next-line no-await-in-loop
      assert.equal(Buffer.compare((await store.read(key)) ?? new Uint8Array(), value), 0, `${key} again`);
    }
    assert.deepEqual((await store.keys()).toSorted(), values.map(([key]) => key).toSorted());
  });

  check('write() keeps a copy, and replaces as a whole', async (context) => {
    const store = (await open(context))();
    const value = new Uint8Array([1, 2, 3]);
    await store.write('k', value);
    value.fill(0);
    assert.deepEqual([...((await store.read('k')) ?? [])], [1, 2, 3]);
    for (const length of [LARGE_BYTES, 5_000, 0, 9]) {
      const next = pseudoRandom(String(length), length);
      // oxlint-disable-next-line no-await-in-loop
      await store.write('k', next);
      // oxlint-disable-next-line no-await-in-loop
      assert.equal(Buffer.compare((await store.read('k')) ?? new Uint8Array([0]), next), 0, String(length));
    }
    assert.deepEqual(await store.keys(), ['k']);
  });

  check('read() and remove() know what is not there', async (context) => {
    const store = (await open(context))();
    assert.equal(await store.read('k'), null);
    assert.equal(await store.remove('k'), false);
    assert.deepEqual(await store.keys(), []);
    await store.write('k', new Uint8Array(3_000));
    assert.equal(await store.read('kk'), null);
    assert.equal(await store.remove('k'), true);
    assert.equal(await store.remove('k'), false);
    assert.equal(await store.read('k'), null);
    assert.deepEqual(await store.keys(), []);
  });

  check(`keeps ${manyValues} values, asked for at once`, async (context) => {
    const openAgain = await open(context);
    const store = openAgain();
    const keys = Array.from({ length: manyValues }, (_, index) => `key${index}`);
    await Promise.all(keys.map(async (key) => await store.write(key, pseudoRandom(key, 40))));
    const reader = isLasting ? openAgain() : store;
    const read = await Promise.all(keys.map(async (key) => await reader.read(key)));
    for (const [index, key] of keys.entries()) {
      assert.equal(Buffer.compare(read[index] ?? new Uint8Array(), pseudoRandom(key, 40)), 0, key);
    }
    assert.equal((await reader.keys()).length, manyValues);
  });
}

/** Bytes that look random, and are the same each time. */
function pseudoRandom(seed: string, length: number): Uint8Array {
  return createHash('shake256', { outputLength: Math.max(length, 1) })
    .update(seed)
    .digest()
    .subarray(0, length);
}
