import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import fc from 'fast-check';

import { AuditLog } from './audit-log.ts';
import { verifyAudit } from './verify-audit.ts';

const LINES = 12;
let base: string;
let stateDirectory: string;
let file: string;
let original: Buffer;
let originalLines: string[];

before(async () => {
  base = mkdtempSync(join(tmpdir(), 'sallyport-verify-'));
  stateDirectory = join(base, 'state');
  file = join(base, 'audit.jsonl');
  const log = await AuditLog.open({ file, stateDirectory, sandbox: 'box' });
  for (let index = 0; index < LINES; index += 1) {
    log.record({ kind: 'request', decision: 'allow', host: 'b\u00fccher.example', path: `/${index}` });
  }
  await log.close();
  original = readFileSync(file);
  originalLines = original.toString('utf8').slice(0, -1).split('\n');
});
after(() => rmSync(base, { recursive: true }));

async function verify(bytes: Buffer | string[]): Promise<string[]> {
  writeFileSync(file, Buffer.isBuffer(bytes) ? bytes : bytes.map((line) => `${line}\n`).join(''));
  const result = await verifyAudit({ file, stateDirectory });
  assert.equal(result.ok, result.problems.length === 0);
  assert.equal(result.problemCount, result.problems.length);
  return result.problems.map(({ kind, line }) => `${kind} ${line}`);
}

test('verifyAudit() says what was done to which line', async () => {
  const edited = (index: number, edit: (line: string) => string) =>
    originalLines.with(index, edit(originalLines[index] ?? ''));
  const cases: [string, string[], string[]][] = [
    ['nothing', originalLines, []],
    ['a value', edited(4, (line) => line.replace('"/4"', '"/9"')), ['changed 5']],
    ['white space', edited(4, (line) => line.replace('{', '{ ')), ['changed 5']],
    ['a mac', edited(4, (line) => line.replace(/"mac":"./, '"mac":"g')), ['changed 5']],
    [
      'a mac that looks right',
      edited(4, (line) => line.replace(/[0-9a-f]{64}/, (mac) => mac.replace(/^./, (d) => (d === '0' ? '1' : '0')))),
      ['changed 5'],
    ],
    ['a number', edited(4, (line) => line.replace('"seq":5', '"seq":6')), ['changed 5']],
    ['the first line', edited(0, (line) => line.replace('"/0"', '"/9"')), ['changed 1']],
    ['the last line', edited(LINES - 1, (line) => line.replace('"/11"', '"/9"')), ['changed 12']],
    [
      'two lines',
      edited(4, (line) => line.replace('"/4"', '"/9"')).with(8, (originalLines[8] ?? '').replace('"/8"', '"/9"')),
      ['changed 5', 'changed 9'],
    ],
    ['no JSON', edited(4, () => 'x'), ['not-json 5']],
    ['an empty line more', originalLines.toSpliced(4, 0, ''), ['not-json 5']],
    ['a line removed', originalLines.toSpliced(4, 1), ['removed 5']],
    ['three removed', originalLines.toSpliced(4, 3), ['removed 5']],
    ['the first removed', originalLines.toSpliced(0, 1), ['removed 1']],
    ['the last removed', originalLines.slice(0, -1), ['truncated 11']],
    ['all removed', [], ['truncated null']],
    ['two swapped', originalLines.with(4, originalLines[5] ?? '').with(5, originalLines[4] ?? ''), ['reordered 6']],
    ['the first moved to the end', [...originalLines.slice(1), originalLines[0] ?? ''], ['reordered 12']],
    ['a line twice', originalLines.toSpliced(4, 0, originalLines[3] ?? ''), ['reordered 5']],
    [
      'a line swapped and changed',
      originalLines.with(4, originalLines[5] ?? '').with(5, (originalLines[4] ?? '').replace('"/4"', '"/9"')),
      ['reordered 6', 'changed 6'],
    ],
    [
      'a forged line at the end',
      [...originalLines, (originalLines[11] ?? '').replace('"seq":12', '"seq":13')],
      ['changed 13'],
    ],
    ['a line over 1 MiB', edited(4, () => `{"seq":5,"x":"${'y'.repeat(2_000_000)}"}`), ['too-long 5']],
    ['a line feed for a line', edited(4, (line) => `${line}\r`), ['changed 5']],
  ];
  for (const [what, changed, expected] of cases) {
    assert.deepEqual(await verify(changed), expected, what);
  }
  assert.deepEqual(await verify(original.subarray(0, -1)), ['truncated 12', 'truncated 12']);
});

test('verifyAudit() reports any single changed byte', async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(original.length - 1), fc.integer({ min: 1, max: 255 }), async (offset, flip) => {
      const changed = Buffer.from(original);
      changed[offset] = (changed[offset] ?? 0) ^ flip;
      assert.notDeepEqual(await verify(changed), []);
    }),
    { numRuns: 300 },
  );
});

test('verifyAudit() reports any bytes taken out or put in', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(original.length - 1),
      fc.nat(1000),
      fc.uint8Array({ maxLength: 50 }),
      async (offset, length, bytes) => {
        const changed = Buffer.concat([original.subarray(0, offset), bytes, original.subarray(offset + length)]);
        fc.pre(!changed.equals(original));
        assert.notDeepEqual(await verify(changed), []);
      },
    ),
    { numRuns: 300 },
  );
});

test('verifyAudit() reports any other order or choice of the lines', async () => {
  const orders = fc.array(fc.nat(LINES - 1), { maxLength: 2 * LINES });
  const swaps = fc.tuple(fc.nat(LINES - 1), fc.nat(LINES - 1)).map(([a, b]) => {
    const order = [...originalLines.keys()];
    return order.with(a, b).with(b, a);
  });
  await fc.assert(
    fc.asyncProperty(fc.oneof(orders, swaps), async (order) => {
      const changed = order.map((index) => originalLines[index] ?? '');
      const isOriginal = order.length === LINES && order.every((index, place) => index === place);
      assert.equal((await verify(changed)).length === 0, isOriginal);
    }),
    { numRuns: 300 },
  );
});

test('verifyAudit() says "unanchored" without key or head', async () => {
  writeFileSync(file, original);
  const without = await verifyAudit({ file, stateDirectory: join(base, 'elsewhere') });
  assert.deepEqual(
    without.problems.map(({ kind, line }) => [kind, line]),
    [['unanchored', null]],
  );
  const copy = join(base, 'copy.jsonl');
  writeFileSync(copy, original);
  assert.equal((await verifyAudit({ file: copy, stateDirectory })).ok, true);
  // The first line is what a copy is known by.
  writeFileSync(copy, original.subarray(original.indexOf('\n') + 1));
  assert.deepEqual(
    (await verifyAudit({ file: copy, stateDirectory })).problems.map(({ kind }) => kind),
    ['unanchored', 'removed'],
  );
});

test('verifyAudit() bounds what it lists, and reads large files', async () => {
  const many = join(base, 'many.jsonl');
  const log = await AuditLog.open({ file: many, stateDirectory, sandbox: 'box' });
  for (let index = 0; index < 20_000; index += 1) {
    if (!log.record({ kind: 'tcp', decision: 'deny', path: 'x'.repeat(index % 500) })) {
      await log.drain();
    }
  }
  await log.close();
  assert.deepEqual(await verifyAudit({ file: many, stateDirectory }), {
    ok: true,
    lines: 20_000,
    problems: [],
    problemCount: 0,
  });
  writeFileSync(many, readFileSync(many, 'utf8').split('\n').toReversed().slice(1).join('\n') + '\n');
  const reversed = await verifyAudit({ file: many, stateDirectory });
  assert.equal(reversed.problems.length, 1000);
  assert.ok(reversed.problemCount >= 19_999);
  truncateSync(many, 0);
  assert.equal((await verifyAudit({ file: many, stateDirectory })).problemCount, 1);
});

test('verifyAudit() rejects what it cannot read', async () => {
  for (const path of [join(base, 'missing'), base, 'nul\0']) {
    await assert.rejects(verifyAudit({ file: path, stateDirectory }), { code: 'UNREADABLE_FILE' }, path);
  }
});
