import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SallyportError } from '../errors.ts';
import { HostDirectory } from './archive/host-directory.ts';
import { formatHeader, padding, type TarEntry } from './archive/tar-format.ts';
import { unpackFresh } from './host-copy.ts';

type Part = Partial<Omit<TarEntry, 'type'>> & { readonly name: string; readonly type?: string; readonly text?: string };

const DIRECTORY: Part = { name: 'top/', type: '5', mode: 0o755 };

function archive(...parts: readonly Part[]): Buffer {
  return Buffer.concat([
    ...parts.flatMap(({ text = '', ...part }) => {
      const size = Buffer.byteLength(text);
      const header = { type: '0', mode: 0o644, target: '', mtime: 0, size, ...part };
      return [formatHeader(header as TarEntry), Buffer.from(text), padding(size)];
    }),
    Buffer.alloc(1024),
  ]);
}

async function* inChunks(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += size)
    yield await Promise.resolve(bytes.subarray(offset, offset + size));
}

/** Unpacks to `copy` in a directory inside of another, of which it returns all paths. */
async function attempt(
  bytes: Uint8Array,
): Promise<{ readonly paths: string[]; readonly skipped: string[]; readonly error: unknown }> {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-unpack-'));
  mkdirSync(join(directory, 'parent'));
  const parent = await HostDirectory.open(join(directory, 'parent'));
  const skipped: string[] = [];
  let error: unknown;
  try {
    const tally = { onLeftOut: (path: string) => void skipped.push(path) };
    await unpackFresh(inChunks(bytes, 1000), 'top', parent, 'copy', tally).catch((reason: unknown) => (error = reason));
    return { paths: readdirSync(directory, { recursive: true, encoding: 'utf8' }).toSorted(), skipped, error };
  } finally {
    await parent.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

test('unpackFresh() leaves nothing of an archive that is not as it should be', async () => {
  const hostile: readonly (readonly Part[])[] = [
    [DIRECTORY, { name: 'top/../out', text: 'x' }],
    [DIRECTORY, { name: '/top/out', text: 'x' }],
    [DIRECTORY, { name: '../out', text: 'x' }],
    [DIRECTORY, { name: 'top//out', text: 'x' }],
    [DIRECTORY, { name: 'top/./out', text: 'x' }],
    [DIRECTORY, { name: 'other/out', text: 'x' }],
    [DIRECTORY, { name: 'top/link', type: '2', target: 'down' }, { name: 'top/link/out', text: 'x' }],
    [DIRECTORY, { name: 'top/file', text: 'x' }, { name: 'top/file/out', text: 'x' }],
    [{ name: 'top', text: 'x' }],
    [{ name: 'top', type: '2', target: '/tmp' }],
    [{ name: `top/${'../'.repeat(60)}out`, text: 'x' }],
    [],
  ];
  for (const parts of hostile) {
    const { paths, error } = await attempt(archive(...parts));
    assert.ok(
      error instanceof SallyportError && ['COPY_REFUSED', 'FILE_FAILED'].includes(error.code),
      JSON.stringify(parts),
    );
    assert.deepEqual(paths, ['parent'], JSON.stringify(parts));
  }
  const cut = await attempt(archive(DIRECTORY, { name: 'top/f', text: 'x'.repeat(3000) }).subarray(0, 2500));
  assert.ok(cut.error instanceof SallyportError && cut.error.code === 'COPY_REFUSED', String(cut.error));
  assert.deepEqual(cut.paths, ['parent']);
});

test('unpackFresh() leaves links out that lead out, and what is neither file, directory nor link', async () => {
  const link = (name: string, target: string): Part => ({ name: `top/${name}`, type: '2', target });
  const { paths, skipped, error } = await attempt(
    archive(DIRECTORY, { ...DIRECTORY, name: 'top/d/' }, { name: 'top/f', text: 'x', mode: 0o4755 }, { name: 'top/h', type: '1', target: 'top/f' },
      link('d/up', '../f'), link('d/over', '../../f'), link('abs', '/etc'), link('in', 'd'), link('zig', 'd/../..'), link('none', ''), link('dots', '..')),
  ); // prettier-ignore
  assert.equal(error, undefined);
  assert.deepEqual(skipped, ['top/h', 'top/d/over', 'top/abs', 'top/zig', 'top/none', 'top/dots']);
  assert.deepEqual(
    paths,
    ['', '/copy', '/copy/d', '/copy/d/up', '/copy/f', '/copy/in', '/copy/in/up'].map((path) => `parent${path}`),
  );
});

test('HostDirectory.remove() removes a tree and follows no link of it', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-remove-'));
  const parent = await HostDirectory.open(directory);
  try {
    mkdirSync(join(directory, 'tree/deep/er'), { recursive: true });
    mkdirSync(join(directory, 'kept'));
    writeFileSync(join(directory, 'kept/file'), 'x');
    writeFileSync(join(directory, 'tree/deep/file'), 'x');
    symlinkSync('../../kept', join(directory, 'tree/deep/link'));
    symlinkSync('kept', join(directory, 'link'));
    for (const name of ['tree', 'link', 'none']) await parent.remove(name);
    assert.deepEqual(readdirSync(directory, { recursive: true, encoding: 'utf8' }).toSorted(), ['kept', 'kept/file']);
  } finally {
    await parent.close();
    rmSync(directory, { recursive: true });
  }
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
