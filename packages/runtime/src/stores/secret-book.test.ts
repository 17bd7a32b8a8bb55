import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { SecretScope } from '../secrets/stored-secret.ts';
import { SecretBook, type SecretBookOptions, type SecretDraft } from './secret-book.ts';
import { draftSecret } from './secret-book-writer.testing.ts';

const GLOBAL: SecretScope = { kind: 'global' };
const BOX: SecretScope = { kind: 'sandbox', sandbox: 'box' };

function draft(name: string, scope: SecretScope = GLOBAL, change: Partial<SecretDraft> = {}): SecretDraft {
  return draftSecret(name, { scope, ...change });
}

function stateDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-book-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

async function openBook(
  context: TestContext,
  directory: string,
  options: Partial<SecretBookOptions> = {},
): Promise<SecretBook> {
  const book = await SecretBook.open({ stateDirectory: directory, environment: {}, store: 'file', ...options });
  context.after(async () => await book.close());
  return book;
}

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

async function valueOf(book: SecretBook, scope: SecretScope, name: string): Promise<string> {
  const secret = book.find(scope, name);
  assert.ok(secret !== undefined, `there is no ${name}`);
  return new TextDecoder().decode(await book.value(secret));
}

test('SecretBook.set() keeps what it is given, rotates, and forgets', async (context) => {
  const directory = stateDirectory(context);
  assert.equal(SecretBook.exists(directory), false);
  const book = await openBook(context, directory);
  assert.equal(SecretBook.exists(directory), true);
  const { secret } = await book.set(draft('A'), bytes('first value'));
  assert.deepEqual(book.list(), [secret]);
  assert.equal(await valueOf(book, GLOBAL, 'A'), 'first value');
  await book.set(draft('A', BOX), bytes('box value'));
  assert.equal(await valueOf(book, BOX, 'A'), 'box value');
  const rotated = await book.set(draft('A', GLOBAL, { hosts: ['b.example.com'] }), bytes('second value'));
  assert.equal(rotated.secret.createdAt, secret.createdAt);
  assert.equal(await valueOf(book, GLOBAL, 'A'), 'second value');
  await book.set(draft('A', GLOBAL, { hosts: ['c.example.com'] }), null);
  assert.deepEqual(book.find(GLOBAL, 'A')?.hosts, ['c.example.com']);
  assert.equal(await valueOf(book, GLOBAL, 'A'), 'second value');
  assert.equal(valueFiles(directory).length, 2, 'no value stays that is in no use');

  const other = await openBook(context, directory);
  assert.deepEqual(other.list(), book.list());
  assert.deepEqual(other.placeholderKey, book.placeholderKey);
  assert.equal(await valueOf(other, GLOBAL, 'A'), 'second value');
  assert.equal(await other.remove(GLOBAL, 'A'), true);
  assert.equal(await other.remove(GLOBAL, 'A'), false);
  assert.deepEqual(
    book.list().map(({ scope }) => scope),
    [BOX],
  );
  await assert.rejects(book.value(secret), { code: 'SECRET_NOT_FOUND' });
  assert.equal(await book.removeScope(BOX), 1);
  assert.equal(valueFiles(directory).length, 0);
});

test('SecretBook.set() refuses what has no value, one that is too long, or one too many', async (context) => {
  const book = await openBook(context, stateDirectory(context));
  await assert.rejects(book.set(draft('A'), null), { code: 'INVALID_SECRET_VALUE' });
  await assert.rejects(book.set(draft('A'), new Uint8Array(65_537)), { code: 'INVALID_SECRET_VALUE' });
  const dynamic = draft('A', GLOBAL, { source: { kind: 'reference', reference: 'env:A' } });
  await assert.rejects(book.set(dynamic, bytes('value')), { code: 'INTERNAL' });
  assert.deepEqual(book.list(), []);
  const { secret } = await book.set(dynamic, null);
  await assert.rejects(book.value(secret), { code: 'INTERNAL' });
});

test('SecretBook.watch() hears of changes by this book and by others', async (context) => {
  const directory = stateDirectory(context);
  const [one, two] = [await openBook(context, directory), await openBook(context, directory)];
  const heard: string[] = [];
  const waiting: { resolve: () => void }[] = [];
  const listen = (name: string) => () => {
    heard.push(name);
    for (const { resolve } of waiting.splice(0)) resolve();
  };
  const watches = [one.watch(listen('one')), two.watch(listen('two'))];
  const until = async (name: string): Promise<void> => {
    while (!heard.includes(name)) {
      const { promise, resolve } = Promise.withResolvers<void>();
      waiting.push({ resolve });
      // The watchers keep no process alive.
      const timer = setTimeout(() => {}, 10_000);
      // oxlint-disable-next-line no-await-in-loop
      await promise;
      clearTimeout(timer);
    }
  };
  await one.set(draft('A'), bytes('first value'));
  await Promise.all([until('one'), until('two')]);
  assert.equal(two.list().length, 1);
  for (const watch of watches) watch.close();
});

test('SecretBook.reset() leaves nothing', async (context) => {
  const directory = stateDirectory(context);
  const book = await openBook(context, directory);
  await book.set(draft('A'), bytes('first value'));
  const before = Buffer.from(book.placeholderKey);
  await book.reset();
  assert.deepEqual(book.list(), []);
  assert.ok(!before.equals(book.placeholderKey));
  assert.deepEqual(valueFiles(directory), []);
  await book.set(draft('A'), bytes('another value'));
  assert.equal(await valueOf(book, GLOBAL, 'A'), 'another value');
});

test('SecretBook writes no value into the database, nor a file that others can read', async (context) => {
  const directory = stateDirectory(context);
  const book = await openBook(context, directory);
  await book.set(draft('A'), bytes('canary-5d0cb1'));
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    assert.equal(statSync(path).mode & 0o077, 0, path);
    if (entry.isFile()) assert.ok(!readFileSync(path).includes('canary-5d0cb1'), path);
  }
});

function valueFiles(directory: string): string[] {
  return valuesBelow(join(directory, 'secrets')).filter((name) => /^[0-9a-f]+\.age/.test(name));
}

function valuesBelow(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
