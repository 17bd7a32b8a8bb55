import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { test } from 'node:test';

import { SallyportError } from '@sallyport/sdk';

import { MAX_SYNTHETIC_CAPACITY, SyntheticAddresses, isSyntheticAddress } from './synthetic-addresses.ts';

test('addressesFor() gives each name its own addresses and keeps them', () => {
  const zone = new SyntheticAddresses();
  assert.deepEqual(zone.addressesFor('a.example'), { v4: '198.18.0.1', v6: 'fd53:616c:6c79::1' });
  assert.deepEqual(zone.addressesFor('b.example'), { v4: '198.18.0.2', v6: 'fd53:616c:6c79::2' });
  assert.deepEqual(zone.addressesFor('a.example'), { v4: '198.18.0.1', v6: 'fd53:616c:6c79::1' });
  assert.equal(zone.size, 2);
});

test('addressesFor() fills the whole range without using an address twice', () => {
  const zone = new SyntheticAddresses({ capacity: Infinity });
  const seen = new Set<string>();
  for (let index = 0; index < MAX_SYNTHETIC_CAPACITY; index += 1) {
    const name = `n${index}.example`;
    const pair = zone.addressesFor(name);
    assert.ok(pair !== null);
    seen.add(pair.v4);
    seen.add(pair.v6);
    if (index % 997 === 0 || index > MAX_SYNTHETIC_CAPACITY - 3) {
      assert.ok(isIPv4(pair.v4) && /^198\.1[89]\./.test(pair.v4) && isIPv6(pair.v6), `${pair.v4} ${pair.v6}`);
      // The form in which a socket tells its address.
      assert.equal(new URL(`http://[${pair.v6}]/`).hostname, `[${pair.v6}]`);
      assert.equal(zone.nameOf(pair.v4), name);
      assert.equal(zone.nameOf(pair.v6), name);
    }
  }
  assert.equal(seen.size, 2 * MAX_SYNTHETIC_CAPACITY);
  assert.equal(zone.addressesFor('one-more.example'), null);
});

test('addressesFor() refuses a new name at the capacity and still knows the old ones', () => {
  const zone = new SyntheticAddresses({ capacity: 1 });
  assert.ok(zone.addressesFor('a.example'));
  assert.equal(zone.addressesFor('b.example'), null);
  assert.ok(zone.addressesFor('a.example'));
  assert.equal(zone.nameOf('198.18.0.2'), null);
});

test('nameOf() reads the forms of a socket and nothing else', () => {
  const zone = new SyntheticAddresses();
  zone.addressesFor('a.example');
  for (const [address, name] of [
    ['198.18.0.1', 'a.example'],
    ['::ffff:198.18.0.1', 'a.example'],
    ['fd53:616c:6c79::1', 'a.example'],
    ['198.18.0.2', null],
    ['127.0.0.1', null],
    ['', null],
    ['__proto__', null],
  ] as const) {
    assert.equal(zone.nameOf(address), name, address);
  }
  assert.ok(isSyntheticAddress('198.19.255.254') && isSyntheticAddress('::ffff:198.18.0.9'));
  assert.ok(isSyntheticAddress('fd53:616c:6c79::ffff') && !isSyntheticAddress('198.20.0.1'));
});

test('restore() gives the same addresses, and goes on behind them', () => {
  const before = new SyntheticAddresses({ capacity: 3 });
  for (const name of ['b.example', 'a.example', 'xn--bcher-kva.example']) {
    before.addressesFor(name);
  }
  const after = SyntheticAddresses.restore(JSON.parse(JSON.stringify(before.snapshot())), { capacity: 4 });
  assert.equal(after.nameOf('198.18.0.3'), 'xn--bcher-kva.example');
  assert.equal(after.addressesFor('a.example')?.v4, '198.18.0.2');
  assert.equal(after.addressesFor('new.example')?.v4, '198.18.0.4');
  assert.equal(after.addressesFor('more.example'), null);
});

test('restore() refuses what is no snapshot', () => {
  for (const snapshot of [
    null,
    undefined,
    1,
    {},
    { version: 2, names: [] },
    { version: 1, names: 'a' },
    { version: 1, names: [1] },
    { version: 1, names: ['A.example'] },
    { version: 1, names: ['a.example', 'a.example'] },
    { version: 1, names: ['a b'] },
  ]) {
    assert.throws(
      () => SyntheticAddresses.restore(snapshot),
      (error) => error instanceof SallyportError && error.code === 'INTERNAL',
      JSON.stringify(snapshot),
    );
  }
});
