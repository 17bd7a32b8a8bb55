import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { formatHeader, padding, type TarEntry } from '../../packages/sdk/src/client/archive/tar-format.ts';
import { createScene, type Caller, type Scene } from '../harness/caller.ts';
import { createDaemonScene } from '../harness/daemon.ts';
import { describeRun, sallyport, type SallyportResult } from '../harness/sallyport.ts';
import { createFamily } from './attack.ts';

const family = createFamily(
  'copy',
  'What comes out of a sandbox by `sallyport cp`, and what goes in: hostile names, archives and links.',
);

const WRITES = 'nothing; a file of the host outside of the copy would be written: a key, a hook, a start-up file';
const READS = 'a file of the host, to the sandbox';
const LATER = 'a file of the host, by whoever reads or writes the copy later';

/** An entry of a hostile archive. */
type Hostile = Partial<Omit<TarEntry, 'type'>> & {
  readonly name: string;
  readonly type?: string;
  readonly content?: string;
};

function makeArchive(entries: readonly Hostile[]): Buffer {
  const blocks = entries.flatMap(({ content = '', type = '0', ...entry }) => {
    const bytes = Buffer.from(content);
    const header = Buffer.from(
      formatHeader({ mode: 0o644, mtime: 0, size: bytes.length, target: '', ...entry, type: '0' }),
    );
    // The last block is the entry's own; the checksum is of what it says in the end.
    const block = header.subarray(-512);
    block.write(type, 156, 'latin1');
    block.fill(0x20, 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    return [header, bytes, padding(bytes.length)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** A scene with things outside of the copy that must stay as they are. */
function createCopyScene(caller: Caller) {
  const scene = createScene(caller);
  const outside = join(scene.home, 'authorized_keys');
  const folder = join(scene.home, 'folder');
  writeFileSync(outside, 'mine\n', { mode: 0o644 });
  mkdirSync(folder);
  for (const path of [outside, folder]) chownSync(path, caller.uid, caller.gid);
  return { scene, outside, folder };
}

function assertUntouched({ scene, outside, folder }: ReturnType<typeof createCopyScene>): void {
  assert.equal(readFileSync(outside, 'utf8'), 'mine\n');
  assert.deepEqual(readdirSync(folder), []);
  assert.deepEqual(readdirSync(scene.root).toSorted(), ['assets', 'audit', 'home', 'tmp', 'workspace']);
  for (const path of ['/evil', '/tmp/evil', join(scene.home, 'evil')]) assert.equal(existsSync(path), false, path);
}

/** Runs `cp box:/tmp/out TARGET` against a daemon whose archive is the attacker's: whatever runs in the sandbox, it can do no more. */
async function copyHostile(scene: Scene, archive: Buffer, target: string): Promise<SallyportResult> {
  const socket = join(scene.tmp, 's');
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0] ?? '';
    const answer = path.endsWith('/files/entry')
      ? { name: 'out', path: '/tmp/out', type: 'directory', size: 0, mode: 0o755, modifiedAt: '', target: null }
      : { version: '0' };
    response.end(path.endsWith('/files/archive') ? archive : JSON.stringify(answer));
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
  chmodSync(socket, 0o777);
  try {
    return await sallyport(['cp', 'box:/tmp/out', target], { scene, audit: false, env: { SALLYPORT_SOCKET: socket } });
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

/** Archives that must end the copy, each with a hostile entry after a good one. */
const REFUSED: readonly { readonly name: string; readonly entries: (home: string) => readonly Hostile[] }[] = [
  { name: 'a member with an absolute name', entries: (home) => [{ name: `${home}/evil`, content: 'x' }] },
  { name: 'a member with an absolute name behind slashes', entries: () => [{ name: '//evil', content: 'x' }] },
  { name: 'a member that goes up', entries: () => [{ name: 'out/../../home/evil', content: 'x' }] },
  { name: 'a member that goes up at its end', entries: () => [{ name: 'out/deep/..', type: '5' }] },
  { name: 'a member beside what was asked for', entries: () => [{ name: 'evil', content: 'x' }] },
  { name: 'a long name that goes up, in a pax header', entries: () => [{ name: `out/${'a/'.repeat(60)}../../../evil`, content: 'x' }] },
  { name: 'a long name that goes up, in a header of GNU tar', entries: () => [{ name: '././@LongLink', type: 'L', content: 'out/../../home/evil\0' }, { name: 'out/harmless', content: 'x' }] },
  { name: 'a member whose directory is a link of the archive', entries: (home) => [{ name: 'out/link/f', type: '2', target: '.' }, { name: 'out/link', type: '2', target: home }, { name: 'out/link/../../evil', content: 'x' }] },
  { name: 'a name with a NUL in a pax header', entries: () => [{ name: 'pax', type: 'x', content: '20 path=out/a\0/../b\n' }, { name: 'out/a', content: 'x' }] },
  { name: 'an archive that ends in the middle', entries: () => [{ name: 'out/cut', size: 4_000_000 }] },
]; // prettier-ignore

family.attacks(
  'archives that a sandbox could send',
  async (caller, judge) => {
    for (const { name, entries } of REFUSED) {
      await judge({ name, leaks: WRITES }, async () => {
        const copy = createCopyScene(caller);
        using scene = copy.scene;
        const archive = makeArchive([
          { name: 'out/', type: '5' },
          { name: 'out/good', content: 'good' },
          ...entries(scene.home),
        ]);
        const result = await copyHostile(scene, archive, 'copied');
        assert.equal(result.status, 2, describeRun(result));
        assert.match(result.stderr, /\[COPY_REFUSED\]\n$/);
        assertUntouched(copy);
        const copied = readdirSync(join(scene.workspace, 'copied'), { recursive: true, encoding: 'utf8' });
        assert.deepEqual(copied, ['good'], 'what came before is there, and no half of a file');
      });
    }
    await judge({ name: 'links that lead out of the copy, directly and by way of others', leaks: LATER }, async () => {
      const copy = createCopyScene(caller);
      using scene = copy.scene;
      const links: readonly (readonly [string, string])[] = [
        ['absolute', '/etc/passwd'],
        ['up', '../authorized_keys'],
        ['far-up', '../../../../../../etc/passwd'],
        ['deep/up', '../..'],
        ['by-way', 'deep/../../../home/authorized_keys'],
        ['proc', '/proc/self/environ'],
        ['empty-root', '..'],
      ];
      const good: readonly (readonly [string, string])[] = [
        ['sibling', 'good'],
        ['deep/sibling', '../good'],
        ['dangling', 'nothing/there'],
      ];
      const archive = makeArchive([
        { name: 'out/', type: '5' },
        { name: 'out/good', content: 'good' },
        { name: 'out/deep/', type: '5' },
        ...[...links, ...good].map(([name, target]) => ({ name: `out/${name}`, type: '2', target })),
      ]);
      const result = await copyHostile(scene, archive, 'copied');
      assert.equal(result.status, 1, describeRun(result));
      assert.equal(result.stderr.match(/is left out: a link that leads out/g)?.length, links.length);
      const at = (name: string) => join(scene.workspace, 'copied', name);
      for (const [name] of links) assert.equal(lstatSync(at(name), { throwIfNoEntry: false }), undefined, name);
      for (const [name, target] of good) assert.equal(readlinkSync(at(name)), target);
      assertUntouched(copy);
    });
    await judge({ name: 'a file that is written through a link of the same archive', leaks: WRITES }, async () => {
      const copy = createCopyScene(caller);
      using scene = copy.scene;
      const archive = makeArchive([
        { name: 'out/', type: '5' },
        { name: 'out/l', type: '2', target: copy.outside },
        { name: 'out/l', content: 'written' },
        { name: 'out/d', type: '2', target: copy.folder },
        { name: 'out/d/evil', content: 'written' },
      ]);
      const result = await copyHostile(scene, archive, 'copied');
      assert.equal(result.status, 1, describeRun(result));
      assert.equal(readFileSync(join(scene.workspace, 'copied/l'), 'utf8'), 'written');
      assertUntouched(copy);
    });
    await judge({ name: 'a file that is written through a link on the host', leaks: WRITES }, async () => {
      const copy = createCopyScene(caller);
      using scene = copy.scene;
      const copied = join(scene.workspace, 'copied');
      mkdirSync(copied);
      symlinkSync(copy.outside, join(copied, 'out'));
      chownSync(copied, caller.uid, caller.gid);
      const file = await copyHostile(scene, makeArchive([{ name: 'out', content: 'written' }]), 'copied');
      assert.equal(file.status, 0, describeRun(file));
      assertUntouched(copy);
      // The sandbox sees this directory as well, and has put a link where a directory would go.
      execFileSync('rm', [join(copied, 'out')]);
      symlinkSync(copy.folder, join(copied, 'out'));
      const entries = [
        { name: 'out/', type: '5' },
        { name: 'out/evil', content: 'written' },
      ];
      const directory = await copyHostile(scene, makeArchive(entries), 'copied');
      assert.match(directory.stderr, /a link or a file is where the directory.*\[COPY_REFUSED\]\n$/);
      assertUntouched(copy);
    });
    await judge({ name: 'hard links, devices, pipes and set-user-id bits', leaks: LATER }, async () => {
      const copy = createCopyScene(caller);
      using scene = copy.scene;
      const archive = makeArchive([
        { name: 'out/', type: '5', mode: 0o7777 },
        { name: 'out/setuid', content: 'x', mode: 0o6755 },
        { name: 'out/hard', type: '1', target: copy.outside },
        { name: 'out/character', type: '3' },
        { name: 'out/block', type: '4' },
        { name: 'out/pipe', type: '6' },
        { name: 'out/sparse', type: 'S', content: 'x' },
      ]);
      const result = await copyHostile(scene, archive, 'copied');
      assert.equal(result.status, 1, describeRun(result));
      const copied = join(scene.workspace, 'copied');
      assert.deepEqual(readdirSync(copied), ['setuid']);
      assert.deepEqual([lstatSync(join(copied, 'setuid')).mode & 0o7000, lstatSync(copied).mode & 0o7000], [0, 0]);
      assertUntouched(copy);
    });
    await judge({ name: 'names that a terminal would obey', leaks: 'nothing; what is shown could lie' }, async () => {
      const copy = createCopyScene(caller);
      using scene = copy.scene;
      const archive = makeArchive([
        { name: 'out/', type: '5' },
        { name: 'out/\u001b]0;title\u0007\u001b[2J', type: '2', target: '/etc' },
      ]);
      const result = await copyHostile(scene, archive, 'copied');
      assert.equal(result.status, 1, describeRun(result));
      // oxlint-disable-next-line no-control-regex
      assert.doesNotMatch(result.stderr, /[\u0000-\u0009\u000b-\u001f]/);
      assertUntouched(copy);
    });
  },
  { callers: 'one' },
);

family.attacks('a hostile tree in a real sandbox, and a directory that both sides see', async (caller, judge) => {
  await using scene = await createDaemonScene(caller);
  const outside = join(scene.home, 'authorized_keys');
  const folder = join(scene.home, 'folder');
  writeFileSync(outside, 'mine\n');
  mkdirSync(folder);
  writeFileSync(join(folder, 'key'), 'the private key\n');
  mkdirSync(join(scene.workspace, 'shared'));
  for (const path of [outside, folder, join(scene.workspace, 'shared')]) chownSync(path, caller.uid, caller.gid);
  await scene.create({ name: 'box', workspace: scene.workspace });
  const hostile = `mkdir -p /tmp/out/d && cd /tmp/out && ln -s ${outside} link && ln -s ${folder} folder && ln -s / root && mkfifo pipe &&
    echo x > "$(printf 'new\\nline')" && echo x > '..hidden' && echo x > ' -rf' && echo x > '\\..\\back' && ln -s ../../.. d/up && echo whole > good && ln good hard`;
  const made = await scene.exec('box', ['sh', '-c', hostile]);
  assert.equal(made.exitCode, 0, made.stderr);
  await judge({ name: 'a tree of links, pipes and odd names', leaks: LATER }, async () => {
    const result = await scene.cli(['cp', 'box:/tmp/out', join(scene.tmp, 'copied')]);
    assert.equal(result.status, 1, describeRun(result));
    const names = readdirSync(join(scene.tmp, 'copied')).toSorted();
    assert.deepEqual(names, [' -rf', '..hidden', '\\..\\back', 'd', 'good', 'hard', 'new\nline'].toSorted());
    assert.deepEqual(readdirSync(join(scene.tmp, 'copied/d')), []);
    assert.equal(readFileSync(join(scene.tmp, 'copied/hard'), 'utf8'), 'whole\n');
    assert.equal(lstatSync(join(scene.tmp, 'copied/good')).mode & 0o7000, 0);
  });
  await judge(
    { name: 'a link in the sandbox that names a file of the host, copied by its name', leaks: READS },
    async () => {
      const result = await scene.cli(['cp', 'box:/tmp/out/link', join(scene.tmp, 'one')]);
      assert.notEqual(result.status, 0, describeRun(result));
      assert.equal(existsSync(join(scene.tmp, 'one')), false, 'it leads nowhere in the sandbox');
    },
  );
  const swap = (of: string) =>
    `cd ${scene.workspace}/shared && mkdir -p real && echo own > real/key && mv real ${of} && while :; do ln -s ${folder} other; mv -T ${of} kept; mv -T other ${of}; rm ${of}; mv -T kept ${of}; done`;
  await judge(
    { name: 'a directory that is exchanged for a link while a copy goes into it', leaks: WRITES },
    async () => {
      await scene.exec('box', [
        'sh',
        '-c',
        'mkdir -p /tmp/x/d && for i in 1 2 3 4 5 6 7 8; do echo evil > /tmp/x/d/$i; done',
      ]);
      await scene.client.ask({
        method: 'POST',
        path: '/v1/sandboxes/box/execs',
        body: { command: ['sh', '-c', swap('x')] },
      });
      for (let round = 0; round < 6; round += 1) await scene.cli(['cp', 'box:/tmp/x', 'shared']);
      assert.deepEqual(readdirSync(folder), ['key']);
      assert.equal(readFileSync(outside, 'utf8'), 'mine\n');
    },
  );
  await judge(
    { name: 'a directory that is exchanged for a link while it is copied into the sandbox', leaks: READS },
    async () => {
      for (let round = 0; round < 6; round += 1) {
        await scene.cli(['cp', 'shared', `box:/tmp/in${round}`]);
      }
      const found = await scene.exec('box', ['sh', '-c', 'cat /tmp/in*/x/key /tmp/in*/*/key 2>/dev/null; true']);
      assert.doesNotMatch(found.stdout, /private/);
    },
  );
});
