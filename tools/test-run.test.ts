import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { addCounts, closingLine, readCounts, runTests } from './test-run.ts';

test('closingLine() is the line that CI reads', () => {
  const sum = addCounts({ passed: 1, failed: 2, skipped: 3 }, { passed: 10, failed: 20, skipped: 30 });
  assert.equal(closingLine(sum), '11 passed, 22 failed, 33 skipped');
});

test('readCounts() takes whatever does not fit together for a failure', () => {
  assert.deepEqual(readCounts('passed=3 failed=0 skipped=1\n', 0), { passed: 3, failed: 0, skipped: 1 });
  assert.deepEqual(readCounts('passed=3 failed=2 skipped=1\n', 1), { passed: 3, failed: 2, skipped: 1 });
  assert.deepEqual(
    readCounts('passed=3 failed=0 skipped=1\n', 7),
    { passed: 3, failed: 1, skipped: 1 },
    'a bad status',
  );
  assert.deepEqual(readCounts('passed=3 failed=0 skipped=1\n', null), { passed: 3, failed: 1, skipped: 1 }, 'a signal');
  for (const text of ['', 'passed=3', 'passed=0 failed=0 skipped=0\n', 'passed=-1 failed=0 skipped=0']) {
    assert.deepEqual(readCounts(text, 0), { passed: 0, failed: 1, skipped: 0 }, JSON.stringify(text));
  }
});

test('runTests() counts real runs, and crashes, empty files and absent files as failures', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-test-run-'));
  const file = (name: string, text: string): string => {
    writeFileSync(join(directory, name), `import { test } from 'node:test';\n${text}\n`);
    return join(directory, name);
  };
  const run = (...files: string[]): ReturnType<typeof runTests> =>
    runTests({ node: process.execPath, files, concurrency: 1, reporter: 'none' });
  try {
    const mixed = file(
      'mixed.mjs',
      "test('a', () => {}); test('b', () => { throw 1; }); test.skip('c'); test.todo('d', () => {});",
    );
    assert.deepEqual(await run(mixed), { passed: 1, failed: 1, skipped: 2 });
    assert.deepEqual(await run(file('empty.mjs', '')), { passed: 0, failed: 1, skipped: 0 });
    assert.deepEqual(await run(file('early.mjs', "test('a', () => process.exit(0));")), {
      passed: 0,
      failed: 1,
      skipped: 0,
    });
    assert.deepEqual(await run(file('syntax.mjs', 'test(')), { passed: 0, failed: 1, skipped: 0 });
    assert.deepEqual(await run(), { passed: 0, failed: 1, skipped: 0 });
    const good = file('good.mjs', "test('a', () => {});");
    assert.deepEqual(await run(good, file('empty.mjs', '')), { passed: 1, failed: 1, skipped: 0 });
    const loop = file('loop.mjs', "test('a', () => {}); test('b', () => { for (;;); });");
    const open = file('open.mjs', "test('a', () => {}); setInterval(() => {}, 1000);");
    for (const hung of [loop, open]) {
      const files = [hung, good];
      const counts = await runTests({
        node: process.execPath,
        files,
        concurrency: 2,
        reporter: 'none',
        fileTimeoutMs: 3000,
      });
      assert.equal(counts.failed, 1, `${hung}: a process that does not end is a failure, and the others go on`);
      assert.ok(counts.passed >= 1);
    }
    assert.deepEqual(await runTests({ node: join(directory, 'no-node'), files: [good], concurrency: 1 }), {
      passed: 0,
      failed: 1,
      skipped: 0,
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
