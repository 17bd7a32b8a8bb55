import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { BodyStores, type BodyStore } from './body-store.ts';
import { MAX_GATHERED_FILE_BYTES, MAX_GATHERED_MEMORY_BYTES, MAX_MEASURED_REQUEST_BYTES } from './limits.ts';

function opened(store: BodyStore | null): BodyStore {
  assert.ok(store !== null);
  return store;
}

/** Opens a store as soon as what was closed has given its room back. */
async function openSoon(stores: BodyStores, bytes: number): Promise<BodyStore> {
  for (;;) {
    const store = stores.open(bytes, () => undefined);
    if (store !== null) return store;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe('BodyStores', () => {
  it('gives back what was written, from memory and from files without a name', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'body-store-'));
    const stores = new BodyStores(directory);
    for (const bytes of [1000, MAX_MEASURED_REQUEST_BYTES + 1000]) {
      let drained = 0;
      const store = opened(stores.open(bytes, () => (drained += 1)));
      const body = Buffer.alloc(bytes, '0123456789');
      let refused = 0;
      for (let at = 0; at < bytes; at += 333) if (!store.write(body.subarray(at, at + 333))) refused += 1;
      await store.written();
      assert.deepEqual(await readdir(directory), []);
      const pieces: Buffer[] = [];
      for (let at = 0; ;) {
        const piece = await store.read(at, 70_001);
        if (piece.length === 0) break;
        pieces.push(Buffer.from(piece));
        at += piece.length;
      }
      assert.ok(Buffer.concat(pieces).equals(body));
      assert.equal(refused > 0, drained > 0);
      store.close();
    }
    (await openSoon(stores, MAX_GATHERED_FILE_BYTES)).close();
    await rm(directory, { recursive: true });
  });

  it('has room for so much, and takes it back once', async () => {
    const stores = new BodyStores();
    const small = Array.from({ length: MAX_GATHERED_MEMORY_BYTES / MAX_MEASURED_REQUEST_BYTES }, () =>
      opened(stores.open(MAX_MEASURED_REQUEST_BYTES, () => undefined)),
    );
    // The next small one goes into a file.
    const spilled = opened(stores.open(1, () => undefined));
    assert.equal(
      stores.open(MAX_GATHERED_FILE_BYTES, () => undefined),
      null,
    );
    spilled.close();
    spilled.close();
    const whole = await openSoon(stores, MAX_GATHERED_FILE_BYTES);
    assert.equal(
      stores.open(1, () => undefined),
      null,
    );
    for (const store of small) {
      store.close();
      store.close();
    }
    opened(stores.open(MAX_MEASURED_REQUEST_BYTES, () => undefined)).close();
    whole.close();
  });

  it('says that a body could not be kept', async () => {
    const stores = new BodyStores(join(tmpdir(), 'there-is-no-such-directory', 'here'));
    const store = opened(stores.open(MAX_MEASURED_REQUEST_BYTES + 1, () => undefined));
    store.write(Buffer.from('x'));
    await assert.rejects(store.written());
    store.close();
    (await openSoon(stores, MAX_GATHERED_FILE_BYTES)).close();
  });
});
