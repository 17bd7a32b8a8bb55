import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { SallyportError } from '../errors.ts';
import { staysBelow, unpack } from './host-copy.ts';
import { readTar, TAR_END, writeHeader, writePadding, type TarHeader } from './tar.ts';

type Part = Partial<TarHeader> & { readonly name: string; readonly text?: string };

const DIRECTORY: Part = { name: 'top/', type: 'directory', mode: 0o755 };

function archive(...parts: readonly Part[]): Buffer {
  return Buffer.concat([
    ...parts.flatMap(({ text = '', ...part }) => {
      const size = Buffer.byteLength(text);
      const header = { type: 'file', mode: 0o644, target: '', modifiedAt: 0, size, ...part } as const;
      return [writeHeader(header), Buffer.from(text), writePadding(size)];
    }),
    TAR_END,
  ]);
}

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += size)
    yield await Promise.resolve(bytes.subarray(offset, offset + size));
}

/** Unpacks into a directory inside of another, of which it returns all paths. */
async function attempt(
  bytes: Uint8Array,
): Promise<{ readonly paths: string[]; readonly skipped: string[]; readonly error: unknown }> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-unpack-'));
  const skipped: string[] = [];
  let error: unknown;
  try {
    const tally = { files: 0, bytes: 0, skip: (path: string) => void skipped.push(path) };
    await unpack(inChunks(bytes, 1000), 'top', join(directory, 'copy'), tally).catch(
      (reason: unknown) => (error = reason),
    );
    return { paths: readdirSync(directory, { recursive: true, encoding: 'utf8' }).toSorted(), skipped, error };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test('unpack() writes nowhere but into its directory, whatever an archive says', async () => {
  const hostile: readonly (readonly Part[])[] = [
    [DIRECTORY, { name: 'top/../out', text: 'x' }],
    [DIRECTORY, { name: '/top/out', text: 'x' }],
    [DIRECTORY, { name: '../out', text: 'x' }],
    [DIRECTORY, { name: 'top//out', text: 'x' }],
    [DIRECTORY, { name: 'top/./out', text: 'x' }],
    [DIRECTORY, { name: 'other/out', text: 'x' }],
    [DIRECTORY, { name: 'top/none/out', text: 'x' }],
    [DIRECTORY, { name: 'top/link', type: 'link', target: '/tmp' }, { name: 'top/link/out', text: 'x' }],
    [DIRECTORY, { name: 'top/link', type: 'link', target: 'down' }, { name: 'top/link/out', text: 'x' }],
    [DIRECTORY, { name: 'top/file', text: 'x' }, { name: 'top/file/out', text: 'x' }],
    [DIRECTORY, { name: 'top/same', text: 'x' }, { name: 'top/same', text: 'y' }],
    [DIRECTORY, { name: 'top/hard', type: 'hard link', target: '/etc/passwd' }],
    [DIRECTORY, { name: 'top/hard', type: 'hard link', target: 'top/none' }],
    [DIRECTORY, { name: 'top/l', type: 'link', target: 'x' }, { name: 'top/hard', type: 'hard link', target: 'top/l' }],
    [{ name: 'top', text: 'x' }],
    [{ name: `top/${'../'.repeat(60)}out`, text: 'x' }],
    [],
  ];
  for (const parts of hostile) {
    const { paths, error } = await attempt(archive(...parts));
    assert.ok(error instanceof SallyportError && error.code === 'FILE_FAILED', JSON.stringify(parts));
    for (const path of paths) assert.match(path, /^copy(?:\/|$)/);
    assert.ok(!paths.some((path) => path.endsWith('out')), JSON.stringify([parts, paths]));
  }
});

test('unpack() leaves links out that lead out, and special files', async () => {
  const link = (name: string, target: string): Part => ({ name: `top/${name}`, type: 'link', target });
  const { paths, skipped, error } = await attempt(
    archive(DIRECTORY, { ...DIRECTORY, name: 'top/d/' }, { name: 'top/f', text: 'x', mode: 0o4755 }, { name: 'top/h', type: 'hard link', target: 'top/f' },
      link('d/up', '../f'), link('d/over', '../../f'), link('abs', '/etc'), link('in', 'd'), link('zig', 'd/../..'), link('none', ''), link('dots', '..')),
  ); // prettier-ignore
  assert.equal(error, undefined);
  assert.deepEqual(skipped, ['d/over', 'abs', 'zig', 'none', 'dots']);
  assert.deepEqual(paths, ['copy', 'copy/d', 'copy/d/up', 'copy/f', 'copy/h', 'copy/in', 'copy/in/up']);
});

test('staysBelow() goes up by no more than its depth, and only first', () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['.', 'a', true], ['.', 'a/b', true], ['.', '..', false], ['.', '../a', false], ['.', 'a/../b', false], ['.', './a', true],
    ['a', '..', true], ['a', '../b', true], ['a', '../..', false], ['a/b', '../../c', true], ['a/b', '../../../c', false], ['a', '/x', false], ['a', '', false],
  ]; // prettier-ignore
  for (const [parent, target, expected] of cases)
    assert.equal(staysBelow(parent, target), expected, `${parent} ${target}`);
});

test('readTar() takes back what writeHeader() wrote, in any chunks, and refuses what was cut', async () => {
  const name = fc
    .string({ unit: 'grapheme', minLength: 1, maxLength: 200 })
    .filter((text) => !text.includes('\0') && text.isWellFormed());
  const part = fc.record({ name, mode: fc.nat(0o777), text: fc.string({ maxLength: 1500 }), modifiedAt: fc.nat() });
  await fc.assert(
    fc.asyncProperty(fc.array(part, { maxLength: 5 }), fc.integer({ min: 1, max: 1200 }), fc.double({ min: 0, max: 0.999, noNaN: true }), async (parts, size, where) => {
      const bytes = archive(...parts);
      const read: object[] = [];
      for await (const { content, ...entry } of readTar(inChunks(bytes, size))) {
        const pieces: Uint8Array[] = [];
        for await (const piece of content) pieces.push(piece);
        read.push({ name: entry.name, mode: entry.mode, modifiedAt: entry.modifiedAt, text: Buffer.concat(pieces).toString() });
      }
      const wellFormed = parts.map((one) => ({ name: one.name, mode: one.mode, modifiedAt: one.modifiedAt, text: Buffer.from(one.text).toString() }));
      assert.deepEqual(read, wellFormed);
      const cut = bytes.subarray(0, Math.floor((bytes.length - TAR_END.length) * where));
      await assert.rejects(async () => {
        for await (const _entry of readTar(inChunks(cut, size)));
      }, { code: 'FILE_FAILED' });
    }),
    { numRuns: 60 },
  ); // prettier-ignore
});

test('readTar() ends with an error or an end for any bytes', async () => {
  const valid = archive(DIRECTORY, { name: `top/${'n'.repeat(150)}`, text: 'content' });
  const change = fc.record({ offset: fc.nat(valid.length - 1), byte: fc.nat(255) });
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 4 }), async (changes) => {
      const bytes = Buffer.from(valid);
      for (const { offset, byte } of changes) bytes[offset] = byte;
      try {
        for await (const _entry of readTar(inChunks(bytes, 300)));
      } catch (error) {
        assert.ok(error instanceof SallyportError && error.code === 'FILE_FAILED', String(error));
      }
    }),
    { numRuns: 200 },
  );
});

for (const format of ['gnu', 'posix', 'ustar'] as const) {
  test(
    `tar's ${format} format is read, and tar reads ours`,
    { skip: spawnSync('tar', ['--version']).status !== 0 && 'no tar' },
    async () => {
      const directory = mkdtempSync(join(tmpdir(), 'sallyport-tar-'));
      try {
        const deep = join(directory, 'top', 'd'.repeat(90), format === 'ustar' ? 'e' : 'é'.repeat(90));
        mkdirSync(deep, { recursive: true });
        writeFileSync(join(deep, 'file'), 'text');
        const packed = spawnSync('tar', ['-C', directory, `--format=${format}`, '-cf', '-', 'top']).stdout;
        const { paths, error } = await attempt(packed);
        assert.equal(error, undefined);
        assert.ok(paths.some((path) => path.endsWith('/file')));
        const long = 'x'.repeat(240);
        const ours = archive(DIRECTORY, { name: `top/${long}`, text: 'ours' });
        mkdirSync(join(directory, 'to'));
        assert.equal(spawnSync('tar', ['-C', join(directory, 'to'), '-xf', '-'], { input: ours }).status, 0);
        assert.equal(readFileSync(join(directory, 'to/top', long), 'utf8'), 'ours');
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    },
  );
}
