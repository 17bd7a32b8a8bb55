import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { KEYLESS_AUTHORITY_PEM } from './harness/certificates.ts';
import { findTool } from '../packages/runtime/src/airlock/required-tools.ts';
import { planCgroups } from '../packages/runtime/src/sandbox/cgroup.ts';
import { findCgroups, findTraces, isRoot, repeatAsOrdinaryUser, run, shell, until } from './isolation-harness.ts';

const FILE = fileURLToPath(import.meta.url);
const CHILD = fileURLToPath(new URL('sandbox-child.ts', import.meta.url));
/** What root's sandboxes run as; an ordinary user keeps its own numbers. */
const INSIDE_UID = isRoot ? 1000 : (process.geteuid?.() ?? 0);
const INSIDE_GID = isRoot ? 1000 : (process.getegid?.() ?? 0);
/** Below a folder that nobody else may enter, as `/root` is. */
const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-sandbox-')));
chmodSync(scratch, 0o700);
after(() => rmSync(scratch, { recursive: true, force: true }));

function makeFolder(name: string): string {
  const path = join(scratch, name);
  mkdirSync(path, { recursive: true });
  return path;
}

test('a command is an ordinary user without any capability, behind a filter', async () => {
  const { stdout, code } = await shell(
    'id -u; id -g; cat /proc/self/uid_map; grep -E "^(Cap|NoNewPrivs|Seccomp:)" /proc/self/status; ulimit -c; ulimit -Hc; hostname; whoami; pwd; echo ~',
    { name: 'cell' },
  );
  const lines = stdout.split('\n').map((line) => line.replaceAll(/\s+/g, ' ').trim());
  assert.deepEqual(lines.slice(0, 3), [`${INSIDE_UID}`, `${INSIDE_GID}`, `${INSIDE_UID} 0 1`]);
  const capabilities = lines.filter((line) => line.startsWith('Cap'));
  assert.equal(capabilities.length, 5);
  for (const line of capabilities) assert.match(line, / 0{16}$/);
  assert.ok(lines.includes('NoNewPrivs: 1'));
  assert.ok(lines.includes('Seccomp: 2'));
  const [core, hardCore, hostName, user, directory, home] = lines.slice(-7);
  assert.deepEqual([core, hardCore, hostName], ['0', '0', 'cell']);
  assert.equal(home, `/home/${user}`);
  assert.equal(directory, home);
  assert.equal(code, 0);
});

test('a sandbox sees programs, generated settings and nothing else of the host', async () => {
  const { stdout } = await shell(
    [
      'ls -A ~ /tmp /var/tmp /run /sys /dev/shm /mnt /opt /srv /home/* | grep -v : ; echo ---',
      'for path in /etc/shadow /etc/gitconfig /etc/ssh /etc/hostname.host /root /var/lib/dpkg /var/run/docker.sock /run/user /boot /sys/kernel /etc/npmrc; do [ -e $path ] && echo "seen $path"; done; echo ---',
      'cat /etc/resolv.conf; echo ---',
      'cut -d: -f1 /etc/passwd; echo ---',
      'find / -xdev -maxdepth 2 -type s 2>/dev/null; find / -maxdepth 3 -perm -4000 -writable 2>/dev/null; ps ax 2>/dev/null | wc -l; ls /proc | grep -c "^[0-9]"',
    ].join('\n'),
  );
  const [scratchList, seen, resolver, accounts] = stdout.split('---\n');
  assert.equal(scratchList?.trim(), '');
  assert.equal(seen, '');
  assert.match(resolver ?? '', /^nameserver 10\.0\.2\.1\n(nameserver fd00::1\n)?options/);
  assert.deepEqual(accounts?.trim().split('\n').length, 3);
  assert.ok(!stdout.includes(homedir()) || homedir().startsWith('/home'));
});

test('a sandbox can change nothing of the host', async () => {
  const before = readFileSync('/proc/sys/kernel/core_pattern', 'latin1');
  const { stdout } = await shell(
    'for path in /proc/sys/kernel/core_pattern /proc/sys/kernel/hostname /proc/sysrq-trigger /usr/x /etc/x /etc/passwd /x /proc/1/oom_score_adj_x /dev/sda /bin/x /sys/x; do ' +
      '(echo probe > $path) 2>/dev/null && echo "written $path"; done; ' +
      'mount -t tmpfs tmpfs /mnt 2>/dev/null && echo mounted; umount /usr 2>/dev/null && echo unmounted; ' +
      'mount -o remount,rw /usr 2>/dev/null && echo remounted; ' +
      'for kind in U n m p i u C; do unshare -$kind true 2>/dev/null && echo "unshared $kind"; done; ' +
      'unshare -Ur true 2>/dev/null && echo nested; nsenter -t 1 -m true 2>/dev/null && echo entered; ' +
      'mknod /tmp/disk b 254 0 2>/dev/null && echo device; chroot / true 2>/dev/null && echo chroot; hostname x 2>/dev/null && echo renamed; true',
  );
  assert.equal(stdout, '');
  assert.equal(readFileSync('/proc/sys/kernel/core_pattern', 'latin1'), before);
});

test(
  'the filter refuses what a sandbox has no need of',
  { skip: (process.arch !== 'x64' || findTool('perl') === undefined) && 'needs perl on x86-64' },
  async () => {
    const call = (what: string, ...args: (number | string)[]) =>
      `$r = syscall(${args.map((value) => (typeof value === 'string' ? `my $s${what} = "${value}"` : value)).join(',')}); print "${what} ", ($r < 0 ? $!+0 : "done"), "\\n";`;
    const script = [
      call('mount', 165, 'none', '/mnt', 'tmpfs', 0, 0),
      call('unshare_net', 272, 0x4000_0000),
      call('unshare_user_mount', 272, 0x1002_0000),
      call('bpf', 321, 0, 0, 0),
      call('kexec_load', 246, 0, 0, 0, 0),
      call('keyctl', 250, 0, 0),
      call('add_key', 248, 'user', 'd', 'p', 1, 0),
      call('io_uring', 425, 8, 0),
      call('userfaultfd', 323, 0),
      call('perf_event_open', 298, 0, 0, 0, 0, 0),
      call('clone3', 435, 0, 0),
      call('openat2', 437, -100, '/', 0, 24),
      call('vsock', 41, 40, 1, 0),
      call('alg', 41, 38, 5, 0),
      call('packet', 41, 17, 3, 0),
      call('raw', 41, 2, 3, 1),
      call('netlink_audit', 41, 16, 3, 9),
      call('tiocsti', 16, 0, 0x5412, 'x'),
      'my $request = 4294988818; my $x = "x"; $r = syscall(16, 0, $request, $x); print "tiocsti_high ", ($r < 0 ? $!+0 : "done"), "\\n";',
      call('creat_setuid', 257, -100, '/tmp/setuid', 0o101, 0o4755),
      call('netlink_route', 41, 16, 3, 0),
      call('ptrace', 101, 0, 0, 0, 0),
      'close(F) if open(F, ">", "/tmp/file"); print "chmod ", (chmod(04755, "/tmp/file") ? "done" : $!+0), "\\n"; print "plain ", (chmod(0755, "/tmp/file") ? "done" : $!+0), "\\n";',
    ].join('\n');
    const { stdout, stderr } = await run(['perl', '-e', script]);
    const results = new Map(
      stdout
        .trim()
        .split('\n')
        .map((line) => line.split(' ') as [string, string]),
    );
    assert.equal(results.size, 25 - 1, stdout + stderr);
    const [EPERM, ENOSYS, EAFNOSUPPORT] = ['1', '38', '97'];
    for (const name of ['mount', 'unshare_net', 'unshare_user_mount', 'bpf', 'kexec_load', 'keyctl', 'add_key']) {
      assert.equal(results.get(name), EPERM, name);
    }
    for (const name of ['userfaultfd', 'perf_event_open', 'raw', 'tiocsti', 'tiocsti_high', 'chmod']) {
      assert.equal(results.get(name), EPERM, name);
    }
    for (const name of ['io_uring', 'clone3', 'openat2', 'creat_setuid']) assert.equal(results.get(name), ENOSYS, name);
    for (const name of ['vsock', 'alg', 'packet', 'netlink_audit']) assert.equal(results.get(name), EAFNOSUPPORT, name);
    for (const name of ['netlink_route', 'ptrace', 'plain']) assert.equal(results.get(name), 'done', name);
  },
);

test('the network is the gate, and the host is not on it', async (t) => {
  const host = createServer().listen(0);
  t.after(() => host.close());
  await once(host, 'listening');
  const port = (host.address() as AddressInfo).port;
  let reached = 0;
  host.on('connection', () => (reached += 1));
  const { stdout } = await run([
    'bash',
    '-c',
    `talk() { exec 4<>"/dev/tcp/$1/$2" || return; cat <&4; exec 4<&-; }
     { talk 93.184.216.34 80; talk 2606:2800::1 80; talk 127.0.0.1 ${port}; talk ::1 ${port}; talk 10.0.2.1 ${port}; talk 169.254.169.254 81; } 2>/dev/null
     ping -c 1 -W 1 8.8.8.8 >/dev/null 2>&1 && echo pong; true`,
  ]);
  assert.equal(stdout, '93.184.216.34 80\n2606:2800::1 80\n');
  assert.equal(reached, 0);
});

test('a workspace belongs to the right user, inside and outside', async () => {
  const workspace = makeFolder('ownership/project');
  writeFileSync(join(workspace, 'theirs'), 'from outside');
  writeFileSync(join(workspace, 'secret'), 'x', { mode: 0o600 });
  const { stdout, stderr, code } = await shell(
    'pwd; stat -c "%u %g" . theirs; cat theirs secret; echo more >> theirs; mkdir -p a/b; echo x > a/b/new; chmod 700 a; mv secret moved; stat -c "%u %g" a/b/new; ls -d ../*',
    { workspace },
  );
  const owner = `${INSIDE_UID} ${INSIDE_GID}`;
  assert.equal(stdout, `${workspace}\n${owner}\n${owner}\nfrom outsidex${owner}\n../project\n`, stderr);
  assert.equal(code, 0);
  assert.equal(readFileSync(join(workspace, 'theirs'), 'utf8'), 'from outsidemore\n');
  for (const path of ['theirs', 'moved', 'a', 'a/b/new']) {
    const { uid, gid } = statSync(join(workspace, path));
    assert.deepEqual([uid, gid], [process.geteuid?.(), process.getegid?.()], path);
  }
});

test("root's workspace of another user stays that user's", { skip: !isRoot && 'only root can have one' }, async () => {
  const workspace = makeFolder('foreign/project');
  writeFileSync(join(workspace, 'roots'), '', { mode: 0o644 });
  writeFileSync(join(workspace, 'private'), '', { mode: 0o600 });
  spawnSync('chown', ['4242:4243', workspace]);
  const { stdout } = await shell(
    'touch new; stat -c "%u %g" . new roots; (echo x > roots) 2>/dev/null || echo kept; cat private 2>/dev/null || echo hidden',
    { workspace },
  );
  assert.equal(stdout, '1000 1000\n1000 1000\n65534 65534\nkept\nhidden\n');
  assert.deepEqual([statSync(join(workspace, 'new')).uid, statSync(join(workspace, 'new')).gid], [4242, 4243]);
});

test('volumes are mounted as asked, read-only recursively kept', async () => {
  const data = makeFolder('volumes/data');
  writeFileSync(join(data, 'file'), 'content');
  const { stdout, stderr } = await shell(
    'cat /data/file /one; (echo x > /data/new) 2>/dev/null || echo read-only; echo y > /rw/deep/er/new && cat /rw/deep/er/new',
    {
      volumes: [
        { source: data, destination: '/data', readOnly: true },
        { source: data, destination: '/rw/deep/er', readOnly: false },
        { source: join(data, 'file'), destination: '/one', readOnly: true },
      ],
    },
  );
  assert.equal(stdout, 'contentcontentread-only\ny\n', stderr);
  assert.equal(statSync(join(data, 'new')).uid, process.geteuid?.());
});

test('what the host would act on in a repository is read-only, and cannot be moved away', async () => {
  const workspace = makeFolder('repository');
  mkdirSync(join(workspace, '.git/objects'), { recursive: true });
  writeFileSync(join(workspace, '.git/config'), '[core]\n');
  const attack =
    '(echo x > .git/hooks/pre-commit) 2>/dev/null && echo hook; (echo x >> .git/config) 2>/dev/null && echo config; ' +
    'mv .git/hooks .git/h 2>/dev/null && echo moved; rm -rf .git 2>/dev/null && echo removed; mv .git g 2>/dev/null && echo renamed; ' +
    'ln -sfn /tmp .git/hooks 2>/dev/null; (echo ok > .git/index) && cat .git/index';
  const { stdout } = await shell(attack.replace('rm -rf .git 2>/dev/null && echo removed; ', ''), { workspace });
  assert.equal(stdout, 'ok\n');
  assert.equal(readFileSync(join(workspace, '.git/config'), 'utf8'), '[core]\n');
  assert.equal(existsSync(join(workspace, '.git/hooks/pre-commit')), false);
  const open = await shell('echo x > .git/hooks/pre-commit && echo x >> .git/config && echo written', {
    workspace,
    gitWritable: true,
  });
  assert.equal(open.stdout, 'written\n');
});

test('a path that is exchanged for a link after its check is not mounted', async () => {
  const workspace = makeFolder('exchange/project');
  const target = makeFolder('exchange/target');
  const { launchSandbox } = await import('../packages/runtime/src/sandbox/sandbox.ts');
  const launch = launchSandbox(
    {
      ...{
        name: 'box',
        command: ['true'],
        environment: {},
        workspace,
        volumes: [],
        limits: { pids: 100 },
        protectedPaths: [target],
      },
      streams: { stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' },
    },
    { ports: [] },
  );
  rmSync(workspace, { recursive: true });
  symlinkSync(target, workspace);
  await assert.rejects(launch.start(), { code: /MOUNT_REFUSED|WORKSPACE_REFUSED/ });
});

test("the exit status is the command's own, as a shell gives it", async () => {
  const notExecutable = makeFolder('status');
  writeFileSync(join(notExecutable, 'data'), 'x', { mode: 0o644 });
  const cases: [string[], number][] = [
    [['true'], 0],
    [['sh', '-c', 'exit 42'], 42],
    [['sh', '-c', 'kill -TERM $$'], 143],
    [['sh', '-c', 'kill -KILL $$'], 137],
    [['no-such-command'], 127],
    [['./data'], 126],
  ];
  for (const [command, expected] of cases) {
    const { code } = await run(command, { workspace: notExecutable });
    assert.equal(code, expected, command.join(' '));
  }
});

test('a runtime that fails is an error with its words, not a status', async () => {
  await assert.rejects(run(['true'], { workingDirectory: '/usr/absent' }), {
    code: 'SANDBOX_FAILED',
    message: /could not start the sandbox/,
  });
});

test('names and working directories that would reach further are refused', async () => {
  for (const name of ['', 'a b', 'a\nb', '../x', '-a', 'x'.repeat(64)]) {
    await assert.rejects(run(['true'], { name }), { code: 'INVALID_NAME' }, name);
  }
  for (const workingDirectory of ['tmp', '/proc/self/fd/7', '/tmp/../proc/1', '/dev']) {
    await assert.rejects(run(['true'], { workingDirectory }), { code: 'USAGE' }, workingDirectory);
  }
  const { stdout } = await shell('pwd; ls -l /proc/self/fd | grep -c " -> "', { workingDirectory: '/var/tmp' });
  // Standard streams and the directory that ls reads: nothing else is inherited.
  assert.equal(stdout, '/var/tmp\n4\n');
});

test('streams pass any bytes, and their ends', async () => {
  const { stdout, stderr } = await shell(
    'wc -c; echo err >&2; head -c 3000000 /dev/zero | tr "\\0" x',
    {},
    { input: 'a'.repeat(300_000) },
  );
  assert.equal(stdout.slice(0, 7), '300000\n');
  assert.equal(stdout.length, 3_000_007);
  assert.equal(stderr, 'err\n');
  const early = await shell('exec >&-; sleep 0.2; echo late >&2', {});
  assert.equal(early.stderr, 'late\n');
});

test('signal() reaches the command once, and SIGKILL ends everything', async () => {
  const trapped = await shell(
    'trap "echo got" INT; trap "echo bye; exit 9" TERM; echo ready; while :; do sleep 0.05; done',
    {},
    {
      meanwhile: async (sandbox) => {
        await once(sandbox.stdout ?? assert.fail(), 'data');
        await sandbox.signal('SIGINT');
        await new Promise((resolve) => setTimeout(resolve, 300));
        await sandbox.signal('SIGTERM');
      },
    },
  );
  assert.equal(trapped.stdout.replace('ready\n', ''), 'got\nbye\n');
  assert.equal(trapped.code, 9);
  const killed = await shell(
    'trap "" TERM INT; echo ready; sleep 1000 & wait; sleep 1000',
    {},
    {
      meanwhile: async (sandbox) => {
        await once(sandbox.stdout ?? assert.fail(), 'data');
        await sandbox.signal('SIGTERM');
        await sandbox.signal('SIGKILL');
      },
    },
  );
  assert.equal(killed.code, 137);
});

test('limits hold, or a notice says that they do not', async () => {
  const groups = planCgroups('sallyport-probe').groups.flatMap((group) => group.controllers);
  const hungry = await run(['perl', '-e', 'my $x = "a" x (400 * 1024 * 1024); print length $x'], {
    limits: { pids: 4096, memoryBytes: 128 * 1024 * 1024, cpus: 0.5 },
  });
  if (groups.includes('memory')) {
    assert.equal(hungry.stdout, '');
    assert.notEqual(hungry.code, 0);
    assert.equal(hungry.outOfMemory, true);
  } else {
    assert.match(hungry.notices.join(), /memory limit/);
  }
  assert.equal(
    hungry.notices.some((notice) => notice.includes('CPU limit')),
    !groups.includes('cpu'),
  );
  const crowd = await run(
    [
      'perl',
      '-e',
      '$| = 1; $n = 0; while ($n < 200) { my $p = fork(); last unless defined $p; if ($p == 0) { sleep 60; exit } $n++ } print $n; kill 9, -getpgrp()',
    ],
    { limits: { pids: 40 } },
  );
  assert.ok(Number(crowd.stdout) < 40 && Number(crowd.stdout) > 10, crowd.stdout + crowd.stderr);
});

test('the environment is what was given, the trust variables, and nothing of the caller', async (t) => {
  process.env['SALLYPORT_TEST_CANARY'] = 'canary-in-the-environment';
  t.after(() => delete process.env['SALLYPORT_TEST_CANARY']);
  const { stdout } = await shell('env; cat /proc/[0-9]*/environ | tr "\\0" "\\n"', {
    environment: { GIVEN: 'a=b c', HOME: '/tmp' },
  });
  assert.ok(!stdout.includes('canary'));
  assert.match(stdout, /^GIVEN=a=b c$/m);
  assert.match(stdout, /^HOME=\/tmp$/m);
  const names = new Set(stdout.split('\n').map((line) => line.split('=')[0]));
  const known = [
    'PATH',
    'HOME',
    'USER',
    'LOGNAME',
    'SHELL',
    'SALLYPORT_SANDBOX',
    'GIVEN',
    'PWD',
    'LANG',
    'LC_ALL',
    'LC_CTYPE',
    'TZ',
    'OLDPWD',
    '_',
    '',
  ];
  assert.deepEqual(
    [...names].filter((name) => !known.includes(name ?? '')),
    [],
  );
});

test("clients are told of the sandbox's CA, and Java's trust stores are replaced", async () => {
  const jvms = existsSync('/usr/lib/jvm') ? readdirSync('/usr/lib/jvm') : [];
  const stores = jvms.map((name) => `/usr/lib/jvm/${name}/lib/security/cacerts`).filter((path) => existsSync(path));
  const { stdout, stderr } = await shell(
    'tail -n 12 "$SSL_CERT_FILE"; echo "==="; cmp "$SSL_CERT_FILE" "$CURL_CA_BUNDLE" && cmp "$GIT_SSL_CAINFO" /etc/pki/tls/certs/ca-bundle.crt && echo same; ' +
      `for store in /etc/ssl/certs/java/cacerts ${stores.join(' ')}; do cat $store; done; (echo x > "$SSL_CERT_FILE") 2>/dev/null || echo kept`,
    { trust: { caPem: KEYLESS_AUTHORITY_PEM, javaTrustStore: Buffer.from('a trust store\n') } },
  );
  const [tail = '', rest] = stdout.split('===\n');
  assert.ok(KEYLESS_AUTHORITY_PEM.endsWith(tail) || tail.endsWith(KEYLESS_AUTHORITY_PEM), stderr);
  assert.equal(rest, `same\n${'a trust store\n'.repeat(stores.length + 1)}kept\n`, stderr);
});

test('another OCI runtime may be named by its path, and the host keeps its files to itself', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-runtime-'));
  try {
    chmodSync(folder, 0o755);
    const runtime = join(folder, 'my-runtime');
    writeFileSync(runtime, `#!/bin/sh\nexec ${findTool('runc')} "$@"\n`, { mode: 0o755 });
    const input = join(folder, 'input');
    writeFileSync(input, 'from a file\n');
    const descriptor = openSync(input, 'r+');
    const { stdout, code } = await run(
      ['sh', '-c', 'cat; readlink /proc/self/fd/0; exit 3'],
      { streams: { stdin: descriptor, stdout: 'pipe', stderr: 'pipe' } },
      { runtime },
    );
    closeSync(descriptor);
    assert.match(stdout, /^from a file\n(pipe|socket):/);
    assert.equal(code, 3);
    const broken =
      'while [ $# -gt 0 ]; do [ "$1" = --log ] && log=$2; shift; done; printf "it broke \\033[31m" > $log; exit 1';
    writeFileSync(runtime, `#!/bin/sh\n${broken}\n`);
    await assert.rejects(run(['true'], {}, { runtime }), {
      code: 'SANDBOX_FAILED',
      message: /my-runtime could not start the sandbox: "it broke +\[31m"/,
    });
    if (!isRoot) return;
    chmodSync(folder, 0o700);
    await assert.rejects(run(['true'], {}, { runtime }), { code: 'SANDBOX_FAILED', message: /may not be executed/ });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('sandboxes run side by side without seeing each other', async () => {
  const script =
    'hostname; ls /tmp; echo x > /tmp/mine; sleep 1 & sleep 0.4; grep -l "^sleep" /proc/[0-9]*/cmdline 2>/dev/null | wc -l';
  const runs = await Promise.all(
    Array.from({ length: 6 }, async (_, index) => await shell(script, { name: `box-${index}` })),
  );
  runs.forEach(({ stdout }, index) => assert.equal(stdout, `box-${index}\n1\n`));
});

test(
  "a terminal inside is the command's own, with the size and the keys of the outer",
  { skip: findTool('script') === undefined && 'needs script(1)', timeout: 60_000 },
  async () => {
    const resize = join(makeFolder('terminal'), 'resize');
    const quote = (words: readonly string[]) => words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
    const inner =
      'tty; stty size; trap "echo interrupted; exit 5" INT; trap "stty size" WINCH; echo ready; read line; echo "line $line"; while :; do sleep 0.1; done';
    const command = quote([process.execPath, '--conditions=sallyport-source', CHILD, '{}', 'sh', '-c', inner]);
    const child = spawn(
      'script',
      [
        '--quiet',
        '--return',
        '--command',
        `stty rows 33 cols 77; (while [ ! -e ${resize} ]; do sleep 0.1; done; stty rows 44 cols 88 < /dev/tty) & ${command}`,
        '/dev/null',
      ],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
        env: { PATH: process.env['PATH'], TERM: 'xterm', SHELL: '/bin/sh' },
      },
    );
    let screen = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (screen += text));
    const shows = (text: string) => until(() => screen.includes(text), 20_000);
    assert.ok(await shows('ready'), screen);
    child.stdin.write('hello\n');
    assert.ok(await shows('line hello'), screen);
    writeFileSync(resize, '');
    assert.ok(await shows('44 88'), screen);
    child.stdin.write('\x03');
    const [status] = (await once(child, 'exit')) as [number];
    assert.match(screen, /\/dev\/pts\/0\r?\n33 77\r?\n/);
    assert.equal(screen.match(/interrupted/g)?.length, 1);
    assert.equal(status, 5, screen);
  },
);

test(
  'a killed parent leaves nothing: no process, mount, namespace, control group or file',
  { timeout: 60_000 },
  async () => {
    const workspace = makeFolder('killed');
    const marker = `sleep ${5000 + process.pid}.25`;
    const cgroupsBefore = findCgroups();
    const parent = spawn(
      process.execPath,
      [
        '--conditions=sallyport-source',
        CHILD,
        JSON.stringify({ workspace }),
        'sh',
        '-c',
        `setsid ${marker} & exec ${marker}`,
      ],
      { stdio: ['ignore', 'ignore', 'inherit', 'pipe'], cwd: '/' },
    );
    const [line] = (await once(parent.stdio[3] as NodeJS.ReadableStream, 'data')) as [Buffer];
    const holder = Number(line.toString().split(' ')[1]);
    const isOurs = (text: string) => text === marker;
    assert.ok(await until(() => findTraces(isOurs).processes.length === 2), JSON.stringify(findTraces(isOurs)));
    if (isRoot) assert.notDeepEqual(findCgroups(), cgroupsBefore);
    parent.kill('SIGKILL');
    await once(parent, 'exit');
    const isGone = () => findTraces(isOurs).processes.length === 0 && !existsSync(`/proc/${holder}`);
    assert.ok(await until(isGone), JSON.stringify(findTraces(isOurs)));
    assert.ok(
      await until(() =>
        findCgroups().every((path) => cgroupsBefore.includes(path) || !path.includes(`sallyport-${parent.pid}-`)),
      ),
    );
    assert.deepEqual(findTraces(isOurs).mounts, []);
    rmSync(workspace, { recursive: true });
  },
);

repeatAsOrdinaryUser(FILE);
