import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { missingKeyringPrograms, startKeyringSession } from './keyring-session.testing.ts';
import { SecretBook, type SecretBookOptions } from './secret-book.ts';
import { draftSecret } from './secret-book-writer.testing.ts';

const missing = missingKeyringPrograms();
const needsKeyring = missing.length === 0 ? {} : { skip: `there is no ${missing.join(', ')}` };

function temporaryDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-choose-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function openBook(
  context: TestContext,
  stateDirectory: string,
  environment: NodeJS.ProcessEnv,
  store?: SecretBookOptions['store'],
): Promise<SecretBook> {
  const book = await SecretBook.open({ stateDirectory, environment, ...(store === undefined ? {} : { store }) });
  context.after(async () => await book.close());
  return book;
}

const VALUE = new TextEncoder().encode('some value');

async function valueOf(book: SecretBook, name: string): Promise<string> {
  const secret = book.find({ kind: 'global' }, name);
  assert.ok(secret !== undefined);
  return new TextDecoder().decode(await book.value(secret));
}

test(
  'SecretBook.set() takes the keychain, a file with a notice where there is none, and the keychain again',
  needsKeyring,
  async (context) => {
    const directory = temporaryDirectory(context);
    const runtimeDirectory = join(directory, 'run');
    // As a daemon has it, which was there before the session.
    const environment = { PATH: process.env['PATH'], XDG_RUNTIME_DIR: runtimeDirectory };
    const book = await openBook(context, join(directory, 'state'), environment);
    assert.equal(book.storeKind, 'file');
    const { notices } = await book.set(draftSecret('A'), VALUE);
    assert.match(notices.join(), /^No keychain detected: this secret is stored in an encrypted file on disk/);

    const session = await startKeyringSession(runtimeDirectory);
    try {
      assert.deepEqual((await book.set(draftSecret('B'), VALUE)).notices, []);
      assert.equal(book.storeKind, 'keychain');
      const other = await openBook(context, join(directory, 'state'), environment);
      assert.equal(await valueOf(other, 'A'), 'some value', 'the file');
      assert.equal(await valueOf(other, 'B'), 'some value', 'the keychain');

      session.lock();
      const third = await openBook(context, join(directory, 'state'), environment);
      assert.equal(await valueOf(third, 'A'), 'some value');
      await assert.rejects(valueOf(third, 'B'), { code: 'STORE_LOCKED' });
      await assert.rejects(third.set(draftSecret('C'), VALUE), { code: 'STORE_LOCKED' }, 'no file takes its place');
      const { notices: kept } = await (
        await openBook(context, join(directory, 'state'), { ...environment, SALLYPORT_STORE: 'file' })
      ).set(draftSecret('B'), VALUE);
      assert.match(kept.join(), /^The value that it had before is still in the store: The keychain is locked/);
      await session.unlock();
      await third.reset();
      assert.deepEqual(third.list(), []);
    } finally {
      await session.stop();
    }
    const again = await openBook(context, join(directory, 'state'), environment);
    assert.match((await again.set(draftSecret('D'), VALUE)).notices.join(), /^No keychain detected/);
  },
);

test(
  'SecretBook.set() takes the file with a notice where a session keeps no secrets',
  needsKeyring,
  async (context) => {
    const directory = temporaryDirectory(context);
    const session = await startKeyringSession(join(directory, 'run'), { hasKeyring: false });
    try {
      const environment = { PATH: process.env['PATH'], XDG_RUNTIME_DIR: join(directory, 'run') };
      const book = await openBook(context, join(directory, 'state'), environment);
      const { notices } = await book.set(draftSecret('A'), VALUE);
      assert.match(notices.join(), /^No keychain detected.*not provided by any/);
      const chosen = await openBook(context, join(directory, 'state'), environment, 'keychain');
      await assert.rejects(chosen.set(draftSecret('B'), VALUE), {
        code: 'STORE_FAILED',
        message: /SALLYPORT_STORE=file/,
      });
      assert.equal(chosen.find({ kind: 'global' }, 'B'), undefined);
    } finally {
      await session.stop();
    }
  },
);

test('SecretBook.open() takes the store of the option, the variable, the setting, in this order', async (context) => {
  const state = temporaryDirectory(context);
  const book = await openBook(context, state, {});
  assert.equal(book.storeKind, 'file');
  book.setStore('memory');
  assert.equal(book.storeKind, 'memory');
  assert.equal((await openBook(context, state, {})).storeKind, 'memory');
  assert.equal((await openBook(context, state, { SALLYPORT_STORE: 'keychain' })).storeKind, 'keychain');
  assert.equal((await openBook(context, state, { SALLYPORT_STORE: 'keychain' }, 'file')).storeKind, 'file');
  assert.equal((await openBook(context, state, { SALLYPORT_STORE: 'auto' })).storeKind, 'file');
  await assert.rejects(openBook(context, state, { SALLYPORT_STORE: 'vault' }), { code: 'USAGE' });
  await book.set(draftSecret('A'), VALUE);
  const elsewhere = await openBook(context, state, {});
  await assert.rejects(valueOf(elsewhere, 'A'), { code: 'STORE_FAILED', message: /the memory of another process/ });
  book.setStore(null);
  assert.equal(elsewhere.storeKind, 'file');
});
