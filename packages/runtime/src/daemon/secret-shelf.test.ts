import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SecretValue } from '../secrets/secret-value.ts';
import { SecretBook } from '../stores/secret-book.ts';
import { SecretShelf } from './secret-shelf.ts';

const environment = { SALLYPORT_STORE: 'file' };

function valuesOf(prefix: string, count: number): Map<string, SecretValue> {
  return new Map(
    Array.from({ length: count }, (_, index) => [
      `sp_KEY_${index}`,
      new SecretValue(`${prefix}-${index}-ü\n"${'x'.repeat(index % 100)}`),
    ]),
  );
}

function assertSame(actual: ReadonlyMap<string, SecretValue>, expected: ReadonlyMap<string, SecretValue>): void {
  assert.deepEqual([...actual.keys()].toSorted(), [...expected.keys()].toSorted());
  for (const [placeholder, value] of expected) assert.ok(actual.get(placeholder)?.equals(value) === true, placeholder);
}

test('SecretShelf.keepOwn() keeps the values of a sandbox for the next daemon, however many, and the last ones alone', async () => {
  const stateDirectory = mkdtempSync(join(tmpdir(), 'shelf-'));
  const options = { stateDirectory, environment, onChange: () => undefined };
  try {
    const shelf = await SecretShelf.open(options);
    await shelf.keepOwn('one', valuesOf('former', 5));
    await shelf.keepOwn('one', valuesOf('present', 2000));
    await shelf.keepOwn('two', valuesOf('other', 1));
    assert.deepEqual(shelf.list(), [], 'nobody has stored them');
    await shelf.close();

    const next = await SecretShelf.open(options);
    assertSame(await next.ownValues('one'), valuesOf('present', 2000));
    assertSame(await next.ownValues('two'), valuesOf('other', 1));
    assertSame(await next.ownValues('three'), new Map());

    // As a process leaves them that ended while it wrote the next ones: what it had begun does not count.
    const book = await SecretBook.open({ stateDirectory, environment });
    const [known] = book.list({ kind: 'sandbox', sandbox: 'own:two' });
    assert.ok(known !== undefined);
    await book.set({ ...known, name: `${'0'.repeat(16)}.1.2` }, Buffer.from('[["sp_KEY_0","half'));
    assertSame(await next.ownValues('two'), valuesOf('other', 1));
    await next.keepOwn('two', valuesOf('third', 3));
    assertSame(await next.ownValues('two'), valuesOf('third', 3));
    assert.equal(book.list({ kind: 'sandbox', sandbox: 'own:two' }).length, 1);

    await next.forgetOwn('one');
    assertSame(await next.ownValues('one'), new Map());
    await next.keepOwn('two', new Map());
    assert.equal(next.hasOwn('two'), false);
    await book.close();
    await next.close();
  } finally {
    rmSync(stateDirectory, { recursive: true, force: true });
  }
});
