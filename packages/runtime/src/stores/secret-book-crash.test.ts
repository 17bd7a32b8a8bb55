import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcessByStdio } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { SecretBook } from './secret-book.ts';
import { draftSecret, numberedValue, readNumberedValue } from './secret-book-writer.testing.ts';

const WRITER = fileURLToPath(new URL('secret-book-writer.testing.ts', import.meta.url));
const NODE = [process.execPath, '--conditions=sallyport-source', WRITER] as const;
/** How often a writer is killed at a random moment. */
const KILLS = 20;

type Writer = ChildProcessByStdio<null, Readable, null>;

function stateDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-crash-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function startWriter(...operands: readonly string[]): Writer {
  const [node, ...first] = NODE;
  return spawn(node, [...first, ...operands], { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** The lines that it has printed, whole, when it has ended. */
async function linesOf(writer: Writer, onLine: (line: string) => void = () => {}): Promise<string[]> {
  let text = '';
  writer.stdout.setEncoding('utf8');
  for await (const chunk of writer.stdout as AsyncIterable<string>) {
    text += chunk;
    for (const line of chunk.split('\n')) if (line !== '') onLine(line);
  }
  return text.split('\n').slice(0, -1);
}

async function openBook(directory: string, leftoverAgeMs?: number): Promise<SecretBook> {
  return await SecretBook.open({
    stateDirectory: directory,
    environment: {},
    store: 'file',
    ...(leftoverAgeMs === undefined ? {} : { leftoverAgeMs }),
  });
}

async function readNumber(book: SecretBook, name: string): Promise<number> {
  const secret = book.find({ kind: 'global' }, name);
  assert.ok(secret !== undefined, `${name} is there`);
  return readNumberedValue(await book.value(secret));
}

function countValues(directory: string): number {
  return readdirSync(join(directory, 'secrets')).filter((name) => /^[0-9a-f]{32}\.age$/.test(name)).length;
}

test('SecretBook loses and tears nothing that 50 writers of two processes write at once', async (context) => {
  const directory = stateDirectory(context);
  const processes = ['X', 'Y'].map((prefix) => startWriter(directory, 'many', '25', '3', prefix));
  const reader = await openBook(directory);
  let reads = 0;
  const isOver = Promise.all(processes.map(async (writer) => await linesOf(writer)));
  let hasEnded = false;
  void isOver.then(() => (hasEnded = true));
  while (!hasEnded) {
    // oxlint-disable no-await-in-loop
    for (const secret of reader.list().slice(0, 5)) {
      assert.ok(readNumberedValue(await reader.value(secret)) >= 0);
      reads += 1;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
    // oxlint-enable no-await-in-loop
  }
  const lines = (await isOver).flat();
  assert.equal(lines.length, 2 * 25 * 3, 'each write was acknowledged');
  assert.ok(reads > 0);
  assert.equal(reader.list().length, 51);
  for (const prefix of ['X', 'Y']) {
    for (let writer = 0; writer < 25; writer += 1) {
      // oxlint-disable-next-line no-await-in-loop
      assert.equal(await readNumber(reader, `${prefix}${writer}`), 3);
    }
  }
  assert.ok((await readNumber(reader, 'SHARED')) >= 0);
  assert.equal(countValues(directory), 51, 'no value stays that is in no use');
  await reader.close();
});

test('SecretBook has the old or the new value whichever step of a write is the last', async (context) => {
  const directory = stateDirectory(context);
  const first = await openBook(directory);
  await first.set(draftSecret('A'), numberedValue(0));
  await first.close();
  let number = 0;
  for (const step of ['noted', 'created', 'synced', 'renamed', 'written', 'committed', 'removed'] as const) {
    number += 1;
    // oxlint-disable no-await-in-loop
    const writer = startWriter(directory, 'die', step, String(number));
    assert.deepEqual(await linesOf(writer), [], `${step} was reached`);
    const book = await openBook(directory);
    const isCommitted = step === 'committed' || step === 'removed';
    assert.equal(await readNumber(book, 'A'), isCommitted ? number : 0, step);
    await book.set(draftSecret('A'), numberedValue(0));
    await book.close();
    // oxlint-enable no-await-in-loop
  }
  assert.ok(countValues(directory) > 1, 'values are left over');
  const sweeper = await openBook(directory, 0);
  await sweeper.set(draftSecret('B'), numberedValue(0));
  assert.equal(countValues(directory), 2, 'and swept');
  await sweeper.close();
});

test(`SecretBook has every acknowledged value after ${KILLS} kills at random moments`, async (context) => {
  const directory = stateDirectory(context);
  let last = 0;
  for (let kill = 0; kill < KILLS; kill += 1) {
    // oxlint-disable no-await-in-loop
    const writer = startWriter(directory, 'forever', String(last + 1));
    const afterLines = 1 + (kill % 3);
    let seen = 0;
    const lines = await linesOf(writer, () => {
      seen += 1;
      if (seen === afterLines) setTimeout(() => writer.kill('SIGKILL'), Math.random() * 25);
    });
    const acknowledged = Number(lines.at(-1));
    const book = await openBook(directory);
    const number = await readNumber(book, 'A');
    assert.ok(
      number === acknowledged || number === acknowledged + 1,
      `${acknowledged} was acknowledged, ${number} is there`,
    );
    await book.close();
    last = number;
    // oxlint-enable no-await-in-loop
  }
  const sweeper = await openBook(directory, 0);
  await sweeper.set(draftSecret('A'), numberedValue(last));
  assert.equal(countValues(directory), 1);
  await sweeper.close();
});

test('SecretBook.open() says what is wrong with a database, and leaves it alone', async (context) => {
  for (const content of ['garbage '.repeat(1_000), 'SQLite format 3\0'.padEnd(5_000, 'x')]) {
    const directory = stateDirectory(context);
    writeFileSync(join(directory, 'book.db'), content);
    // oxlint-disable-next-line no-await-in-loop
    await assert.rejects(openBook(directory), { code: 'STORE_CORRUPT', message: /move it away/ });
    assert.equal(readdirSync(directory).length, 1);
  }
  const directory = stateDirectory(context);
  mkdirSync(join(directory, 'book.db'));
  await assert.rejects(openBook(directory), { code: 'STORE_FAILED' });
  const newer = stateDirectory(context);
  await (await openBook(newer)).close();
  const { DatabaseSync } = await import('node:sqlite');
  const database = new DatabaseSync(join(newer, 'book.db'));
  database.exec('PRAGMA user_version = 1000');
  database.close();
  await assert.rejects(openBook(newer), { code: 'STORE_FAILED', message: /newer Sallyport/ });
});

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;

test(
  'SecretBook says that it may not read or write',
  isRoot ? {} : { skip: 'root alone can become another user' },
  async (context) => {
    const directory = stateDirectory(context);
    chmodSync(directory, 0o755);
    await (await openBook(directory)).close();
    const [node, ...first] = NODE;
    const attempt = (state: string): string =>
      spawnSync(node, [...first, state, 'once', '10'], { uid: NOBODY, gid: NOBODY, encoding: 'utf8' }).stdout;
    assert.match(attempt(directory), /^STORE_FAILED .*EACCES/);
    assert.match(attempt(join(directory, 'below')), /^STORE_FAILED .*EACCES/);
    chmodSync(join(directory, 'book.db'), 0o666);
    assert.match(attempt(directory), /^STORE_FAILED .*belongs to another user/);
  },
);

test('SecretBook says that the disk is full, and keeps what it has', async (context) => {
  const directory = stateDirectory(context);
  const unshare = ['-rm', 'sh', '-c'];
  if (spawnSync('unshare', [...unshare, 'true']).status !== 0) {
    context.skip('there are no user namespaces');
    return;
  }
  // A value of 60 KB fits in the beginning, and none does in the end: the database of a book alone needs some 100 KB.
  const script = `mount -t tmpfs -o size=400k none "$1" && shift && "$@" once 60000 && head -c 350k /dev/zero > "$FILL"; "$@" once 60000; rm "$FILL"; "$@" once 60000`;
  const fill = join(directory, 'fill');
  const { stdout } = spawnSync('unshare', [...unshare, script, 'sh', directory, ...NODE, directory], {
    env: { PATH: process.env['PATH'], FILL: fill },
    encoding: 'utf8',
  });
  const [before, full, after] = stdout.split('\n');
  assert.equal(before, 'done');
  assert.match(full ?? '', /^STORE_FAILED .*Check that the disk has room/);
  assert.equal(after, 'done');
});
