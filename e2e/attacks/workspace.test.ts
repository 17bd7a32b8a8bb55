import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { createScene } from '../harness/caller.ts';
import { assertRunKeptSecret, describeRun, sallyport } from '../harness/sallyport.ts';
import { newCanary } from '../harness/canary.ts';
import { whyNotInside } from '../harness/tools.ts';
import { createFamily } from './attack.ts';
import { BOUND } from './attempts.ts';
import { assertOutcomes, equip, readReport } from './scene.ts';

const family = createFamily(
  'workspace',
  'What both sides read and write: links, modes, exchanges by name, and what the host runs of it by itself.',
);

const HOST = 'files of the host, by the rights of its account';
const REFUSED = /^(EPERM|EACCES|EROFS|ENOENT|EINVAL|EXDEV|EBUSY|EOPNOTSUPP|ENOTSUP|ELOOP)$/;

/** Attempts of workspace.py that must all be refused. */
const REFUSALS = [
  { name: 'symbolic links out of the workspace, read and written through', attempts: /^(symlink to shadow|symlink out|write through symlink)/, leaks: HOST },
  { name: 'hard links to the host’s programs, also through /proc', attempts: /^hard link/, leaks: HOST },
  { name: 'the workspace itself, moved or removed', attempts: /^(rename over|remove the workspace)/, leaks: 'nothing; the host works in another directory' },
  { name: 'owners and file capabilities', attempts: /^(give away|xattr)/, leaks: HOST },
  { name: 'set-user-id files', attempts: /^set-user-id file$|^set-id of/, leaks: `${HOST}: a workspace of root’s would hold a program that runs as root` },
  { name: 'hooks and settings of the repository, written', attempts: /^write \.git\/(hooks|config$)/, leaks: 'the host: its git runs what they name' },
  { name: 'hooks and settings of the repository, moved, exchanged, removed', attempts: /^(move|swap|remove|chmod) \.git/, leaks: 'the host: its git runs what they name' },
] as const; // prettier-ignore

family.attacks(
  'a hostile program gets nowhere by the file system',
  async (caller, judge) => {
    using scene = createScene(caller);
    const canary = newCanary();
    const outside = join(scene.root, 'outside.txt');
    writeFileSync(outside, 'not for the sandbox\n', { mode: 0o644 });
    chmodSync(scene.workspace, 0o755);
    execFileSync('git', ['-c', 'safe.directory=*', '-C', scene.workspace, 'init', '-q'], { stdio: 'pipe' });
    // Links that were there before, as a cloned repository has them.
    symlinkSync(outside, join(scene.workspace, 'link-before'));
    symlinkSync(scene.home, join(scene.workspace, 'home-before'));
    execFileSync('chown', ['-hR', `${caller.uid}:${caller.gid}`, scene.workspace]);
    mkdirSync(join(scene.workspace, 'deep'));
    chownSync(join(scene.workspace, 'deep'), caller.uid, caller.gid);
    const facts = { workspace: scene.workspace, outside };
    const before = readdirSync(join(scene.workspace, '.git')).toSorted();
    const command = ['python3', '/assets/workspace.py', '/assets/facts.json'];
    const result = await sallyport(
      ['run', ...equip(scene, { 'facts.json': facts }), '--secret', `API_TOKEN@${BOUND}`, '--', ...command],
      { scene, env: { API_TOKEN: canary.value }, canary },
    );
    const report = readReport(result);
    for (const { name, attempts, leaks } of REFUSALS) {
      await judge({ name, leaks }, () => assertOutcomes(report, attempts, REFUSED));
    }
    assert.doesNotMatch(String(report['set-user-id file by open']), /^mode:10[246]/);
    assert.deepEqual(report['set-id modes'], []);
    await judge({ name: 'links that the repository came with', leaks: HOST }, () =>
      assertOutcomes(report, /^link before/, REFUSED),
    );
    await judge({ name: 'a directory that is exchanged for a link while somebody walks through it', leaks: HOST }, () =>
      assert.deepEqual(report['rename race'], ['inside']),
    );
    await judge({ name: 'the directory above the workspace', leaks: HOST }, () =>
      assert.deepEqual(
        (report['up'] as string[]).filter((name) => !name.endsWith('.sallyport-e2e')),
        [basename(scene.workspace)],
      ),
    );
    await judge({ name: 'what is left behind outside', leaks: 'nothing; the host is changed' }, () => {
      const left = ['assets', 'audit', 'home', 'outside.txt', 'tmp', 'workspace'];
      assert.deepEqual(readdirSync(scene.root).toSorted(), left);
      assert.equal(readFileSync(outside, 'utf8'), 'not for the sandbox\n');
      for (const name of ['config', 'hooks', 'HEAD']) assert.ok(before.includes(name));
    });
    // Positive control: the program could write where it may.
    assert.equal(report['write the index'], 'ok');
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: whyNotInside('python3') ?? whyNotInside('git') },
);

family.attack(
  {
    name: 'a hard link that the workspace came with, to a file outside of another owner',
    leaks: 'what the caller itself could not write; the file’s owner and mode stay what they are',
  },
  async (caller) => {
    using scene = createScene(caller);
    const outside = join(scene.root, 'linked.txt');
    writeFileSync(outside, 'not for the sandbox\n', { mode: 0o600 });
    chownSync(outside, 0, 0);
    linkSync(outside, join(scene.workspace, 'linked.txt'));
    const attempts = 'echo owned >>linked.txt; chmod 4777 linked.txt; chown 0:0 linked.txt; cat linked.txt';
    const result = await sallyport(['run', '--', 'sh', '-c', `( ${attempts} ) 2>/dev/null; true`], { scene });
    assert.equal(result.status, 0, describeRun(result));
    const after = statSync(outside);
    assert.deepEqual([after.uid, after.gid, (after.mode & 0o7777).toString(8)], [0, 0, '600']);
    // A link to a file of the caller's own is a file of the workspace.
    if (caller.kind === 'root') return;
    assert.equal(readFileSync(outside, 'utf8'), 'not for the sandbox\n');
    assert.equal(result.stdout, '');
  },
  { skip: process.geteuid?.() === 0 ? undefined : 'only root can make a file of another account' },
);

const GIT = whyNotInside('git');

family.attacks(
  'the repository’s own settings',
  async (caller, judge) => {
    using scene = createScene(caller);
    const git = (...args: string[]) =>
      spawnSync('git', ['-c', 'safe.directory=*', '-c', 'user.name=a', '-c', 'user.email=a@b.example', '-C', scene.workspace, ...args], {
        encoding: 'utf8', env: { PATH: process.env['PATH'], HOME: scene.home },
      }); // prettier-ignore
    git('init', '-q');
    git('config', 'extensions.worktreeConfig', 'true');
    git('commit', '-q', '--allow-empty', '-m', 'first');
    execFileSync('chown', ['-R', `${caller.uid}:${caller.gid}`, scene.workspace]);
    const proof = (name: string): string => join(scene.tmp, name);
    chmodSync(scene.tmp, 0o777);
    const settings = (name: string): string =>
      `printf "[core]\\n\\trepositoryformatversion = 0\\n\\tfsmonitor = touch %s; false\\n" ${proof(name)}`;
    const attacks = {
      'by-config': `${settings('by-config')} >.git/config`,
      'by-worktree-config': `${settings('by-worktree-config')} >.git/config.worktree`,
      // Another place for settings and hooks.
      'by-commondir': `git init -q evil && ${settings('by-commondir')} >evil/.git/config && echo ../evil/.git >.git/commondir`,
      'by-hook': `printf '#!/bin/sh\\ntouch ${proof('by-hook')}\\n' >.git/hooks/post-index-change; chmod 755 .git/hooks/post-index-change`,
    };
    for (const [name, attack] of Object.entries(attacks)) {
      const result = await sallyport(['run', '--', 'sh', '-c', `${attack}; true`], { scene });
      assert.equal(result.status, 0, describeRun(result));
      const { status, stderr } = git('status');
      git('update-index', '--refresh');
      const leaks = 'the host: its git runs what the sandbox wrote';
      await judge(
        { name: `the host’s git is made to run a program, ${name.replace('-', ' ').replaceAll('-', ' ')}`, leaks },
        () => {
          assert.ok(!existsSync(proof(name)), "the host's git ran what the sandbox wrote");
          assert.equal(status, 0, `the host's git fails: ${stderr}`);
        },
      );
      for (const left of ['commondir', 'config.worktree']) rmSync(join(scene.workspace, '.git', left), { force: true });
    }
    // The control: the same settings do run a program where nothing protects them.
    git('config', 'core.fsmonitor', `touch ${proof('control')}; false`);
    git('status');
    assert.ok(existsSync(proof('control')), 'the settings of the test run nothing');
  },
  { skip: GIT },
);
