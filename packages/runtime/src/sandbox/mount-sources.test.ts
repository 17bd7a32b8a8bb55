import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { checkMountSources } from './mount-sources.ts';
import type { Volume } from './volumes.ts';

const root = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-sources-')));
after(() => rmSync(root, { recursive: true, force: true }));
const home = join(root, 'home/ann');
const state = join(home, '.local/state/sallyport');
for (const folder of [`${home}/.ssh/keys`, `${home}/project/src`, state, `${root}/elsewhere`])
  mkdirSync(folder, { recursive: true });
for (const file of [`${home}/.netrc`, `${home}/.ssh/keys/client.key`, `${state}/audit.jsonl`]) writeFileSync(file, '');
writeFileSync(`${home}/project/file`, '');
symlinkSync(`${home}/.ssh`, `${home}/project/link`);
symlinkSync('/etc', `${root}/etc`);
const host = { homes: [home], allHomes: [home] };

const check = (workspace: string | undefined, volumes: readonly Volume[] = [], forceWorkspace = false) =>
  checkMountSources({ workspace, volumes, forceWorkspace, protectedPaths: [state] }, host);
const volume = (source: string, destination = '/data'): Volume => ({ source, destination, readOnly: false });

test('checkMountSources() accepts a project, resolves it, and tells its owner', () => {
  const found = check(`${home}/project/src/..`, [volume(`${home}/project/file`, '/data/file')]);
  const source = found.find(({ destination }) => destination === `${home}/project`);
  const file = found.find(({ destination }) => destination === '/data/file');
  assert.equal(source?.source, `${home}/project`);
  assert.equal(source?.destination, `${home}/project`);
  assert.equal(source?.uid, process.geteuid?.());
  assert.equal(file?.isDirectory, false);
});

test('checkMountSources() refuses workspaces that are too much', () => {
  for (const path of [
    '/',
    '/usr',
    '/etc',
    '/proc/self',
    home,
    `${root}/home`,
    root,
    `${home}/.ssh`,
    `${home}/.ssh/keys`,
    state,
  ]) {
    assert.throws(() => check(path), { code: 'WORKSPACE_REFUSED' }, path);
  }
  assert.throws(() => check(`${home}/project/link`), { code: 'WORKSPACE_REFUSED' });
  assert.throws(() => check(`${home}/project/file`), { code: 'WORKSPACE_REFUSED' });
  assert.throws(() => check(`${root}/absent`), { code: 'WORKSPACE_REFUSED' });
});

test('checkMountSources() hides credentials in a workspace that was forced, and forces nothing else', () => {
  const [source] = checkMountSources(
    // Two of them lie in what is hidden as a whole.
    {
      workspace: home,
      volumes: [],
      forceWorkspace: true,
      protectedPaths: [`${home}/.ssh/keys/client.key`, state, `${state}/audit.jsonl`],
    },
    host,
  );
  assert.deepEqual(source?.hidden.map(({ path }) => path).toSorted(), [
    `${home}/.local/state/sallyport`,
    `${home}/.netrc`,
    `${home}/.ssh`,
  ]);
  for (const path of ['/', '/etc', `${home}/.ssh/keys`]) {
    assert.throws(() => check(path, [], true), { code: 'WORKSPACE_REFUSED' }, path);
  }
});

test('checkMountSources() refuses volumes that reach the host', async (t) => {
  for (const path of [
    '/etc',
    '/etc/hostname',
    '/run',
    '/proc',
    '/sys',
    '/',
    '/dev',
    home,
    `${home}/.ssh`,
    `${home}/project/link`,
    state,
    `${root}/etc`,
  ]) {
    assert.throws(() => check(undefined, [volume(path)]), { code: 'MOUNT_REFUSED' }, path);
  }
  const socket = join(root, 'elsewhere/socket');
  const server = createServer().listen(socket);
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  assert.throws(() => check(undefined, [volume(socket)]), { code: 'MOUNT_REFUSED' });
  assert.throws(() => check(undefined, [volume(`${root}/absent`)]), { code: 'INVALID_MOUNT' });
  const two = [volume(`${root}/elsewhere`), volume(`${home}/project`)];
  assert.throws(() => check(undefined, two), { code: 'INVALID_MOUNT' });
});
