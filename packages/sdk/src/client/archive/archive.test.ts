import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '../../errors.ts';
import { assert as check, array, asyncProperty, constantFrom, integer, string, tuple, uint8Array } from 'fast-check';
import { readArchive } from './archive-reader.ts';
import { formatHeader, padding, parsePax } from './tar-format.ts';
import { staysInside } from './unpack.ts';

async function* cut(bytes: Buffer, size: number): AsyncGenerator<Buffer, void, undefined> {
  for (let offset = 0; offset < bytes.length; offset += size) yield bytes.subarray(offset, offset + size);
}

async function readAll(chunks: AsyncIterable<Uint8Array>) {
  const entries: { path: string; kind: string; mode: number; target: string; content: string }[] = [];
  for await (const { path, kind, mode, target, content } of readArchive(chunks)) {
    const parts: Uint8Array[] = [];
    for await (const part of content) parts.push(part);
    entries.push({ path: Buffer.from(path).toString(), kind, mode, target: Buffer.from(target).toString(), content: Buffer.concat(parts).toString('latin1') });
  }
  return entries;
} // prettier-ignore

const name = string({ minLength: 1, maxLength: 300, unit: 'grapheme' }).filter((text) => !text.includes('\0'));

test('readArchive() reads what formatHeader() writes, however the bytes are cut', async () => {
  const entry = tuple(name, constantFrom('0', '2', '5'), uint8Array({ maxLength: 1500 }), name);
  await check(
    asyncProperty(array(entry, { maxLength: 6 }), integer({ min: 1, max: 2000 }), async (entries, size) => {
      const expected = entries.map(([path, type, bytes, target]) => ({
        path,
        kind: type === '0' ? 'file' : type === '2' ? 'link' : 'directory',
        mode: 0o640,
        target: type === '2' ? target : '',
        content: type === '0' ? Buffer.from(bytes).toString('latin1') : '',
      }));
      const archive = Buffer.concat([
        ...expected.flatMap(({ path, target, content }, index) => {
          const bytes = Buffer.from(content, 'latin1');
          const type = entries[index]?.[1] ?? '0';
          return [formatHeader({ name: path, type, mode: 0o640, size: bytes.length, mtime: 1, target }), bytes, padding(bytes.length)];
        }),
        Buffer.alloc(1024),
      ]); // prettier-ignore
      assert.deepEqual(await readAll(cut(archive, size)), expected);
    }),
    { numRuns: 100 },
  );
});

test('readArchive() reads any bytes, or refuses them with COPY_REFUSED', async () => {
  const header = formatHeader({ name: 'a', type: '0', mode: 0o644, size: 3, mtime: 0, target: '' });
  const changes = array(tuple(integer({ min: 0, max: 1023 }), integer({ min: 0, max: 255 })), { maxLength: 12 });
  await check(
    asyncProperty(changes, integer({ min: 0, max: 2048 }), async (changed, length) => {
      const archive = Buffer.concat([header, Buffer.from('abc'), padding(3), Buffer.alloc(1024)]);
      for (const [at, value] of changed) archive[at] = value;
      try {
        await readAll(cut(archive.subarray(0, length), 700));
      } catch (error) {
        assert.ok(error instanceof SallyportError && error.code === 'COPY_REFUSED', String(error));
      }
    }),
    { numRuns: 300 },
  );
});

test('parsePax() refuses lengths that do not fit', () => {
  assert.deepEqual(parsePax(Buffer.from('9 path=a\n')).path, Uint8Array.of(0x61));
  for (const text of [
    '9 path=ab\n',
    '0 path=a\n',
    '99 path=a\n',
    'path=a\n',
    '9 path:a\n',
    '12 size=-12\n',
    ' 9 path=a\n',
  ]) {
    assert.throws(() => parsePax(Buffer.from(text)), { code: 'COPY_REFUSED' }, text);
  }
});

test('staysInside() lets a link go up through real directories only, and not out of the copy', () => {
  const cases: readonly (readonly [number, string, boolean])[] = [
    [1, 'a', true],
    [1, './a/b', true],
    [2, '../a', true],
    [3, '../../a', true],
    [0, 'a', false],
    [1, '..', false],
    [1, '../a', false],
    [2, '../..', false],
    [3, 'a/../b', false],
    [3, '../a/..', false],
    [1, '/a', false],
    [1, '', false],
    [1, 'a\0b', false],
  ];
  for (const [depth, target, expected] of cases)
    assert.equal(staysInside(depth, target), expected, `${depth} ${target}`);
});
