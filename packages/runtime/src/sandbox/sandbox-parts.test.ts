import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { KEYLESS_AUTHORITY_PEM } from '../../../../e2e/harness/certificates.ts';
import { layOutTrust } from './ca-trust.ts';
import { planCgroups } from './cgroup.ts';
import { baseEnvironment } from './environment.ts';
import { protectGit } from './git-protection.ts';
import { checkUser, SANDBOX_USER, sandboxIdentity } from './identity.ts';
import { hasSubmounts, lockedOptions, parseMountTable } from './mount-table.ts';
import { ownerMap } from './owner-map.ts';
import { chooseRuntime } from './runtime-choice.ts';
import { packFiles } from './staged-files.ts';
import type { StagedFile } from './staged-files.ts';
import { planStreams } from './streams.ts';

const root = mkdtempSync(join(tmpdir(), 'sallyport-parts-'));
after(() => rmSync(root, { recursive: true, force: true }));

test('packFiles() makes an archive that tar unpacks to the same files', () => {
  const long = `/deep/${'x'.repeat(80)}/${'y'.repeat(90)}`;
  const files: StagedFile[] = [
    { path: '/etc/a', kind: 'file', content: Buffer.from([0, 255, 10]) },
    { path: '/etc/block', kind: 'file', content: Buffer.alloc(1024, 7), mode: 0o600 },
    { path: '/etc/empty', kind: 'file', content: Buffer.alloc(0) },
    { path: '/bin', kind: 'link', target: 'usr/bin' },
    { path: '/long', kind: 'link', target: `/${'z'.repeat(150)}` },
    { path: '/only', kind: 'directory', mode: 0o700 },
    { path: long, kind: 'file', content: Buffer.from('é') },
  ];
  const to = join(root, 'unpacked');
  mkdirSync(to);
  execFileSync('tar', ['-xf', '-', '--no-same-owner', '-C', to], { input: packFiles(files) });
  for (const file of files) {
    const path = join(to, file.path);
    if (file.kind === 'file') assert.deepEqual(readFileSync(path), file.content);
    if (file.kind === 'link') assert.equal(readlinkSync(path), file.target);
  }
  assert.equal(statSync(join(to, 'etc/block')).mode & 0o777, 0o600);
  assert.equal(statSync(join(to, 'only')).mode & 0o777, 0o700);
});

test('ownerMap() maps the owner to the sandbox and nobody to the host', () => {
  for (const owner of [0, 1, 1000, 65_535, 65_536, 3_000_000]) {
    const extents = ownerMap(owner, 2_000_000_123)
      .split('\n')
      .map((line) => line.split(' ').map(Number) as [number, number, number]);
    const shown = (id: number) => {
      const extent = extents.find(([first, , count]) => id >= first && id < first + count);
      return extent === undefined ? undefined : extent[1] + id - extent[0];
    };
    assert.equal(shown(owner), 2_000_000_123);
    for (const id of [0, 1, 999, 1000, 1001, 65_534, 65_535].filter((one) => one !== owner)) {
      assert.ok((shown(id) ?? 0) >= 2_110_000_000, `${owner}: ${id}`);
    }
    const outside = extents.map(([, first, count]) => [first, first + count] as const);
    for (const [first] of outside) assert.ok(first >= 2_000_000_000);
    assert.equal(new Set(outside.map(([first]) => first)).size, extents.length);
  }
});

test('sandboxIdentity() is never root and never a strange name', () => {
  assert.deepEqual(sandboxIdentity({ uid: 0, gid: 0, name: 'root' }), SANDBOX_USER);
  assert.deepEqual(sandboxIdentity({ uid: 1001, gid: 5, name: 'ann' }), {
    uid: 1001,
    gid: 5,
    userName: 'ann',
    groupName: 'ann',
    home: '/home/ann',
  });
  for (const name of ['', '../x', 'a:b', 'a\nb', 'root']) {
    assert.equal(sandboxIdentity({ uid: 7, gid: 7, name }).home, '/home/sandbox');
  }
});

test('checkUser() takes the one user by name and number, and nobody else', () => {
  const ann = sandboxIdentity({ uid: 1001, gid: 5, name: 'ann' });
  for (const asked of ['ann', '1001', 'ann:ann', '1001:5', 'ann:5', '1001:ann']) checkUser(asked, ann);
  for (const asked of [
    'root',
    '0',
    '1001:0',
    'ann:root',
    '1001:',
    ':5',
    '1001:5:5',
    '01001',
    '1e3',
    'Ann',
    '',
    ' ann',
  ]) {
    assert.throws(() => checkUser(asked, ann), { code: 'USER_REFUSED', message: /one user, ann \(1001:5\)/ }, asked);
  }
});

test('baseEnvironment() takes only harmless variables from the caller', () => {
  const caller = {
    LANG: 'de_DE.UTF-8',
    TZ: 'Europe/Berlin',
    TERM: 'xterm',
    TOKEN: 'x',
    PATH: '/evil',
    LC_ALL: 'a b;c',
  };
  const environment = baseEnvironment(SANDBOX_USER, 'box', false, caller);
  assert.equal(environment['LANG'], 'de_DE.UTF-8');
  for (const name of ['TOKEN', 'TERM', 'LC_ALL']) assert.equal(environment[name], undefined);
  assert.ok(!environment['PATH']?.includes('evil'));
  assert.equal(baseEnvironment(SANDBOX_USER, 'box', true, caller)['TERM'], 'xterm');
});

test('protectGit() guards a repository, a worktree inside, and refuses links', () => {
  const plain = join(root, 'plain');
  mkdirSync(plain);
  assert.deepEqual(protectGit(plain).mounts, []);
  const repository = join(root, 'repository');
  mkdirSync(join(repository, '.git'), { recursive: true });
  writeFileSync(join(repository, '.git/config'), '');
  assert.deepEqual(protectGit(repository), {
    mounts: [
      { path: join(repository, '.git'), readOnly: false },
      { path: join(repository, '.git/hooks'), readOnly: true },
      { path: join(repository, '.git/config'), readOnly: true },
      { path: join(repository, '.git/config.worktree'), readOnly: true },
      { path: join(repository, '.git/commondir'), readOnly: true },
    ],
    directoriesToMake: [join(repository, '.git/hooks')],
    guardFiles: [
      { path: join(repository, '.git/config.worktree'), content: '' },
      { path: join(repository, '.git/commondir'), content: '.\n' },
    ],
    notices: [],
  });
  const outside = join(root, 'worktree');
  mkdirSync(outside);
  writeFileSync(join(outside, '.git'), `gitdir: ${repository}/.git\n`);
  assert.deepEqual(protectGit(outside).mounts, [{ path: join(outside, '.git'), readOnly: true }]);
  assert.equal(protectGit(outside).notices.length, 1);
  const linked = join(root, 'linked');
  mkdirSync(linked);
  symlinkSync(join(repository, '.git'), join(linked, '.git'));
  assert.throws(() => protectGit(linked), { code: 'WORKSPACE_REFUSED' });
});

test('lockedOptions() takes the innermost mount, hasSubmounts() only what is below', () => {
  const table = parseMountTable(
    [
      '22 1 8:1 / / rw,relatime - ext4 /dev/a rw',
      '23 22 8:2 / /home rw,nosuid,nodev,noatime shared:1 - ext4 /dev/b rw',
      '24 23 8:3 / /home/a\\040b ro,noexec - ext4 /dev/c rw',
    ].join('\n'),
  );
  assert.deepEqual(lockedOptions('/usr', table), ['relatime']);
  assert.deepEqual(lockedOptions('/home/x', table), ['nosuid', 'nodev', 'noatime']);
  assert.deepEqual(lockedOptions('/home/a b/c', table), ['ro', 'noexec']);
  assert.equal(hasSubmounts('/home', table), true);
  assert.equal(hasSubmounts('/home/a b', table), false);
});

test('planCgroups() finds version 1, version 2 and mixed hierarchies', () => {
  const v1 =
    '30 1 0:1 / /cg/memory rw - cgroup cgroup rw,memory\n31 1 0:2 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n';
  const mixed = planCgroups('box', {
    mountinfo: `${v1}32 1 0:3 / /cg/unified rw - cgroup2 cgroup2 rw`,
    membership: '4:memory:/a\n3:cpu,cpuacct:/\n0::/u',
    controllersOf: () => [''],
    isWritable: () => true,
  });
  assert.deepEqual(mixed.directories, ['/cg/memory/a/box', '/cg/cpu/box']);
  const unified = {
    mountinfo: '32 1 0:3 / /cg rw - cgroup2 cgroup2 rw',
    membership: '0::/user.slice/session.scope',
    controllersOf: () => ['cpu', 'memory', 'pids', 'io'],
    isWritable: (directory: string) => directory.startsWith('/cg/user.slice'),
  };
  assert.deepEqual(planCgroups('box', unified).directories, ['/cg/user.slice/box']);
  assert.deepEqual(planCgroups('box', { ...unified, isWritable: () => false }).directories, []);
});

test('chooseRuntime() knows names and paths, and falls back only where crun cannot start', () => {
  const find = (name: string) => (name === 'runsc' ? undefined : `/usr/bin/${name}`);
  const hybrid = '1 1 0:1 / /c rw - cgroup cgroup rw,cpu\n2 1 0:2 / /u rw - cgroup2 cgroup2 rw';
  assert.equal(chooseRuntime('runc', '/', find, hybrid).path, '/usr/bin/runc');
  assert.equal(chooseRuntime('crun', '/', find, '').name, 'crun');
  const fallen = chooseRuntime('crun', '/', find, hybrid);
  assert.equal(fallen.name, 'runc');
  assert.equal(fallen.notices.length, 1);
  assert.equal(chooseRuntime('/bin/sh', '/').path, '/bin/sh');
  assert.throws(() => chooseRuntime('docker', '/', find, ''), { code: 'RUNTIME_UNKNOWN' });
  assert.throws(() => chooseRuntime('./absent', '/', find, ''), { code: 'RUNTIME_UNKNOWN' });
  assert.throws(() => chooseRuntime('/etc', '/', find, ''), { code: 'RUNTIME_UNKNOWN' });
  assert.throws(() => chooseRuntime('runsc', '/', find, ''), { code: 'TOOL_MISSING' });
  assert.throws(() => chooseRuntime('runc', '/', () => undefined, ''), {
    code: 'TOOL_MISSING',
    message: /apt-get install runc/,
  });
});

test('planStreams() gives a terminal only where all three streams are, and hands no host file to the sandbox', () => {
  const numbers = { stdin: 0, stdout: 1, stderr: 2 };
  assert.equal(planStreams(numbers, true, () => true).terminal, true);
  const part = planStreams(numbers, true, (fd) => fd !== 2);
  assert.deepEqual([part.terminal, part.relayed.size], [false, 0]);
  const pipes = planStreams({ stdin: 'ignore', stdout: 'pipe', stderr: 'pipe' }, false, () => true);
  assert.deepEqual(pipes, { terminal: false, stdio: ['ignore', 'pipe', 'pipe'], relayed: new Map() });
});

test('layOutTrust() adds the certificate to the bundle and refuses anything that is not one', () => {
  const host = {
    bundle: Buffer.from('SYSTEM'),
    links: [{ name: 'x.0', target: '/usr/x' }],
    javaTrustStores: ['/usr/j'],
  };
  assert.deepEqual(layOutTrust(undefined, host).environment, {});
  const trust = layOutTrust({ caPem: KEYLESS_AUTHORITY_PEM, javaTrustStore: Buffer.from('JKS') }, host);
  const bundle = trust.files.find(({ path }) => path === '/etc/ssl/certs/ca-certificates.crt');
  assert.equal(bundle?.kind === 'file' && bundle.content.toString(), `SYSTEM\n${KEYLESS_AUTHORITY_PEM}`);
  assert.deepEqual(trust.javaTrustStores, ['/usr/j']);
  for (const name of ['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS', 'CURL_CA_BUNDLE']) {
    assert.equal(trust.environment[name], '/etc/ssl/certs/ca-certificates.crt');
  }
  const policy = trust.files.find(({ path }) => path === '/etc/chromium/policies/managed/sallyport.json');
  const roots = (JSON.parse(policy?.kind === 'file' ? policy.content.toString() : '') as { CACertificates: string[] })
    .CACertificates;
  assert.deepEqual(roots, [KEYLESS_AUTHORITY_PEM.replaceAll(/-----[A-Z ]+-----|\n/g, '')]);
  assert.throws(() => layOutTrust({ caPem: KEYLESS_AUTHORITY_PEM + KEYLESS_AUTHORITY_PEM }, host), {
    code: 'SANDBOX_FAILED',
  });
  for (const caPem of [
    '',
    'x',
    '-----BEGIN PRIVATE KEY-----\n',
    '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n',
  ]) {
    assert.throws(() => layOutTrust({ caPem }, host), { code: 'SANDBOX_FAILED' }, caPem);
  }
});
