import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { CHECKOUT, createScene, eachCaller } from './harness/caller.ts';
import type { Scene } from './harness/caller.ts';
import { assertNoCanary, findCanary, newCanary } from './harness/canary.ts';
import { MIRRORS, bearer, dechunk, reflections } from './hostile/answers.ts';
import { BOUND, SECOND } from './hostile/attempts.ts';
import type { JobResult } from './hostile/attempts.ts';
import { layBait } from './hostile/bait.ts';
import { startMirror } from './hostile/mirror.ts';
import { assertRunKeptSecret, describeRun, sallyport } from './harness/sallyport.ts';
import type { SallyportResult } from './harness/sallyport.ts';
import { findProgram, whyNotInside } from './harness/tools.ts';
import { startUpstream } from './harness/upstream.ts';
import { receivedCredential } from './harness/upstream-endpoints.ts';

const PROGRAMS = fileURLToPath(new URL('hostile', import.meta.url));
/** How much of a value the hostile program is told, so that it can look for the rest. */
const NEEDLE_CHARACTERS = 18;

const python = whyNotInside('python3');

/** The report of a hostile program: what came of each attempt, by its name. */
type Report = Record<string, unknown>;

/** Lays the hostile programs out for a scene's sandbox, with a JSON file for them; they are seen below `/assets`. */
function equip(scene: Scene, files: Readonly<Record<string, unknown>>): string[] {
  cpSync(PROGRAMS, scene.assets, { recursive: true });
  for (const [name, content] of Object.entries(files)) writeFileSync(join(scene.assets, name), JSON.stringify(content));
  return ['-v', `${scene.assets}:/assets:ro`];
}

function reportOf(result: SallyportResult): Report {
  assert.equal(result.status, 0, describeRun(result));
  return JSON.parse(result.stdout) as Report;
}

/** The attempts whose outcome is not as it has to be. */
function wrong(report: Report, names: RegExp, outcome: RegExp): string[] {
  const tried = Object.entries(report).filter(([name]) => names.test(name));
  assert.notDeepEqual(tried, [], `nothing matches ${String(names)}`);
  return tried
    .filter(([, said]) => !outcome.test(String(said)))
    .map(([name, said]) => `${name}: ${String(said).slice(0, 200)}`);
}

eachCaller(
  'a hostile program finds no value: not in files, processes, memory, errors or answers',
  async (caller) => {
    const canary = newCanary();
    const second = newCanary();
    const marker = newCanary();
    using scene = createScene(caller);
    await using upstream = await startMirror();
    const forms = reflections();
    const jobs = [
      ...[...forms, ...MIRRORS.map((path) => ({ name: path, path }))].map(({ name, path }) => ({
        name, host: BOUND, port: 443, timeout: 30,
      send: [`GET ${path} HTTP/1.1\r\n${bearer()}`],
      })),
      { name: 'HEAD', host: BOUND, port: 443, send: [`HEAD /mirror/head HTTP/1.1\r\n${bearer()}`] },
      { name: 'HTTP/1.0', host: BOUND, port: 443, send: [`GET /reflect?split=1 HTTP/1.0\r\n${bearer()}`] },
      { name: 'upgrade', host: BOUND, port: 443, send: [`GET /ws HTTP/1.1\r\nHost: ${BOUND}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nAuthorization: Bearer {API_TOKEN}\r\n\r\n`] },
      { name: 'marker', host: BOUND, port: 443, send: [`GET /echo HTTP/1.1\r\n${bearer('X-Marker: {PLANTED}\r\n')}`] },
      { name: 'second', host: SECOND, port: 443, send: [`GET /reflect HTTP/1.1\r\nHost: ${SECOND}\r\nConnection: close\r\nAuthorization: Bearer {SECOND_TOKEN}\r\n\r\n`] },
    ]; // prettier-ignore
    const needles = Object.fromEntries(
      Object.entries({ canary, second, marker }).map(([name, { value }]) => [name, value.slice(0, NEEDLE_CHARACTERS)]),
    );
    writeFileSync(join(scene.workspace, 'planted.txt'), `a line\n${marker.value}\n`, { mode: 0o644 });
    const script = [
      'python3 /assets/wire.py /assets/jobs.json >/tmp/answers.json 2>/tmp/errors.txt || exit 70',
      // Errors of clients: they repeat what they sent and got.
      `{ curl -v -sS -H "Authorization: Bearer $API_TOKEN" https://${BOUND}/mirror/head; curl -v "https://user:$API_TOKEN@${BOUND}/reflect?as=basic"; git ls-remote "https://x:$API_TOKEN@${BOUND}/mirror/head"; } >/tmp/clients.txt 2>&1`,
      'cat /tmp/answers.json; echo; echo @@; python3 /assets/hunt.py /assets/needles.json 6 /tmp/answers.json /tmp/clients.txt; echo; echo @@; cat /tmp/clients.txt /tmp/errors.txt',
    ].join('\n');
    const result = await sallyport(
      [
        'run',
        ...upstream.flags(),
        ...equip(scene, { 'jobs.json': jobs, 'needles.json': needles }),
        ...['-e', `PLANTED=${marker.value}`, '--secret', `API_TOKEN@${BOUND}`],
        // On the command line of the host, where the host's own process list shows it; inside it is not seen.
        ...['--secret', `SECOND_TOKEN=${second.value}@${SECOND}`],
        ...['--', 'sh', '-c', script],
      ],
      { scene, env: { API_TOKEN: canary.value }, canary, timeoutMs: 100_000 },
    );
    assert.equal(result.status, 0, describeRun(result));
    const [json = '', found = ''] = result.stdout.split('\n@@\n');
    const answers = new Map((JSON.parse(json) as JobResult[]).map((answer) => [answer.name, answer.received]));
    const report = JSON.parse(found) as {
      finds: [string, string, string, string][];
      looked: Record<string, number>;
      core: { raised: boolean; dumped: boolean; files: string[] };
      environment: Record<string, string>;
      pids: number[];
      keys: string[];
      terminal: boolean;
    };

    // The search works: it finds what was planted, in each place and in what the network gave.
    const kinds = new Set(report.finds.filter(([name]) => name === 'marker').map(([, , kind]) => kind));
    for (const kind of ['environ', 'cmdline', 'memory', 'file', 'given', 'proc'])
      assert.ok(kinds.has(kind), `the search has not found the marker by ${kind}`);
    for (const [kind, least] of Object.entries({ file: 1000, proc: 60, memory: 30, fd: 3, link: 100, environ: 4 })) {
      assert.ok((report.looked[kind] ?? 0) >= least, `only ${report.looked[kind]} looked at by ${kind}`);
    }
    assert.deepEqual(
      report.finds.filter(([name]) => name !== 'marker'),
      [],
    );

    // The upstream had the values, and gave them back; what came in is the placeholder, in the form that the value had.
    const carried = upstream.requests.filter((request) => receivedCredential(request) === canary.value);
    assert.ok(carried.length >= jobs.length - 2, `${carried.length} of ${jobs.length} requests carried the value`);
    assert.ok(upstream.requests.some((request) => receivedCredential(request) === second.value));
    const placeholder = { value: report.environment['API_TOKEN'] ?? '' };
    assert.match(placeholder.value, /^sp_API_TOKEN_/);
    // Put together again, as one byte a chunk would hide anything.
    for (const [name, received] of answers) {
      for (const value of [canary, second]) assert.deepEqual(findCanary(value, dechunk(received)), [], name);
    }
    const silent = forms.filter(({ name }) => findCanary(placeholder, dechunk(answers.get(name) ?? '')).length === 0);
    assert.deepEqual(
      silent.map(({ name }) => name),
      [],
      'reflected, but not as a placeholder',
    );
    for (const path of [
      '/mirror/head',
      '/mirror/early-hints',
      '/mirror/chunk-extensions',
      '/mirror/two-members',
      '/mirror/nested',
      '/mirror/coding?as=GZIP',
      '/sse?count=3&reflect',
      'HTTP/1.0',
    ]) {
      assert.notDeepEqual(
        findCanary(placeholder, dechunk(answers.get(path) ?? '')),
        [],
        `${path}: ${answers.get(path)}`,
      );
    }
    // A body that is not what its codings say is cut, and looks cut.
    assert.match(answers.get(`/mirror/coding?as=${encodeURIComponent('gzip, gzip')}`) ?? '', /\r\n\r\n$/);
    assert.doesNotMatch(answers.get(`/mirror/coding?as=${encodeURIComponent('gzip, gzip')}`) ?? '', /\r\n0\r\n\r\n$/);
    for (const as of ['foo', 'compress'])
      assert.match(answers.get(`/mirror/coding?as=${encodeURIComponent(as)}`) ?? '', /^HTTP\/1\.1 502 /, as);
    // The handshake breaks RFC 6455: no version, a key of one byte.
    assert.match(answers.get('upgrade') ?? '', /^HTTP\/1\.1 400 /);

    assert.deepEqual([report.core.raised, report.core.dumped, report.core.files], [false, false, []]);
    assert.deepEqual(report.keys, ['', '']);
    assert.equal(report.terminal, false);
    assert.ok(report.pids.length < 12, `${report.pids.length} processes are visible`);
    assertRunKeptSecret(canary, result, scene);
    assertNoCanary(second, { outputs: { output: result.stdoutBytes, errors: result.stderr }, files: [scene.root] });
  },
  { skip: python, timeoutMs: 110_000 },
);

eachCaller(
  'a value of awkward characters does not come back in any form',
  async (caller) => {
    const canary = newCanary('awkward');
    using scene = createScene(caller);
    await using upstream = await startMirror();
    const forms = reflections();
    const jobs = forms.map(({ name, path }) => ({
      name,
      host: BOUND,
      port: 443,
      timeout: 30,
      send: [`GET ${path} HTTP/1.1\r\n${bearer()}`],
    }));
    const result = await sallyport(
      [
        'run',
        ...upstream.flags(),
        ...equip(scene, { 'jobs.json': jobs }),
        ...[
          '--secret',
          `API_TOKEN@${BOUND}`,
          '--',
          'sh',
          '-c',
          'echo "$API_TOKEN"; python3 /assets/wire.py /assets/jobs.json',
        ],
      ],
      { scene, env: { API_TOKEN: canary.value }, canary },
    );
    assert.equal(result.status, 0, describeRun(result));
    const [placeholder = '', json = ''] = result.stdout.split('\n');
    assert.ok(upstream.requests.every((request) => receivedCredential(request) === canary.value));
    for (const { name, received } of JSON.parse(json) as JobResult[]) {
      const whole = dechunk(received);
      assert.deepEqual(findCanary(canary, whole), [], name);
      assert.notDeepEqual(findCanary({ value: placeholder }, whole), [], `${name}: ${received}`);
    }
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python },
);

eachCaller(
  'a value that is parked at its host cannot be read back in pieces',
  async (caller) => {
    const canary = newCanary();
    using scene = createScene(caller);
    await using upstream = await startMirror();
    const pieces = (prefix: string, more: object) =>
      Array.from({ length: 12 }, (_, index) => ({
        name: `${prefix} ${index}`, host: BOUND, ...more,
        send: [`GET /mirror/parked HTTP/1.1\r\nHost: ${BOUND}\r\nConnection: close\r\nRange: bytes=${index * 5}-${index * 5 + 4}\r\n\r\n`],
      })); // prettier-ignore
    const result = await sallyport(
      [
        'run',
        ...upstream.flags(),
        ...equip(scene, {
          'park.json': [{ name: 'park', host: BOUND, port: 443, send: [`GET /mirror/park HTTP/1.1\r\n${bearer()}`] }],
          'jobs.json': [...pieces('tls', { port: 443 }), ...pieces('clear', { port: 80, tls: false })],
        }),
        ...['--secret', `API_TOKEN@${BOUND}`, '--allow', BOUND],
        ...[
          '--',
          'sh',
          '-c',
          'python3 /assets/wire.py /assets/park.json >/tmp/park.json && python3 /assets/wire.py /assets/jobs.json',
        ],
      ],
      { scene, env: { API_TOKEN: canary.value }, canary },
    );
    assert.equal(result.status, 0, describeRun(result));
    assert.ok(
      upstream.requests.some((request) => receivedCredential(request) === canary.value),
      'the value was parked',
    );
    const answers = JSON.parse(result.stdout) as JobResult[];
    for (const kind of ['tls', 'clear']) {
      const got = answers.filter(({ name }) => name.startsWith(kind));
      const bodies = got.map(({ received }) => dechunk(received).split('\r\n\r\n')[1] ?? '');
      assert.ok(
        bodies.every((body) => body.includes('before sp_API_TOKEN')),
        `${kind}: ${bodies.join('|').slice(0, 200)}`,
      );
      assert.ok(!bodies.join('').includes(canary.value), `${kind}: put together, the pieces are the value`);
    }
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python },
);

eachCaller(
  'a hostile program gets nowhere by the kernel or the file system',
  async (caller) => {
    using scene = createScene(caller);
    const canary = newCanary();
    const outside = join(scene.root, 'outside.txt');
    writeFileSync(outside, 'not for the sandbox\n', { mode: 0o644 });
    chmodSync(scene.workspace, 0o755);
    const git = (...args: string[]) =>
      execFileSync('git', ['-c', 'safe.directory=*', '-C', scene.workspace, ...args], { stdio: 'pipe' });
    git('init', '-q');
    const give = (path: string): void => {
      chownSync(path, caller.uid, caller.gid);
    };
    execFileSync('chown', ['-R', `${caller.uid}:${caller.gid}`, scene.workspace]);
    mkdirSync(join(scene.workspace, 'deep'));
    give(join(scene.workspace, 'deep'));
    const facts = {
      workspace: scene.workspace,
      outside,
      pids: [process.pid, process.ppid],
      absent: [
        CHECKOUT, join(CHECKOUT, 'sallyport'), scene.home, scene.auditFile, join(scene.home, '.local'), outside, '/root', '/etc/shadow', '/etc/ssh',
        '/run/docker.sock', '/run/dbus', '/run/user', '/var/run/docker.sock', '/sys/kernel', '/sys/fs/cgroup', '/boot', '/lost+found', '/dev/sda', '/dev/vda', '/dev/mem', '/dev/kvm', '/dev/fuse', '/dev/net/tun',
      ],
    }; // prettier-ignore
    const before = readdirSync(join(scene.workspace, '.git')).toSorted();
    const result = await sallyport(
      [
        'run',
        ...equip(scene, { 'facts.json': facts }),
        '--secret',
        `API_TOKEN@${BOUND}`,
        '--',
        'python3',
        '/assets/escape.py',
        '/assets/facts.json',
      ],
      { scene, env: { API_TOKEN: canary.value }, canary },
    );
    const report = reportOf(result);
    const refused =
      /^(EPERM|EACCES|ENOSYS|ENOSPC|EUSERS|EROFS|ENOENT|ESRCH|EAFNOSUPPORT|EPROTONOSUPPORT|ESOCKTNOSUPPORT|EINVAL|EXDEV|EBUSY|absent|signal:31|ENODEV|EOPNOTSUPP|ENOTSUP)$/;
    const refusals = [
      /^(mount |mount_|bind mount|remount|umount|pivot_root|chroot|open_tree|move_mount|fsopen|unshare|clone|setns|clone3)/,
      /^(keyctl|add_key|request_key|bpf|perf_event_open|userfaultfd|io_uring|init_module|kexec|open_by_handle_at|reboot|swapon|sethostname|settimeofday|clock_settime|acct|fanotify_init|syslog|iopl|ioperm|modify_ldt|setgroups|vmsplice|quotactl)/,
      /^(socket|netlink) /,
      /^(setuid|setresuid|seteuid|uid_map|set-user-id file$|give away|xattr)/,
      /^(signal|ptrace|see) \d+$/,
      /^see \//,
      /^open for writing /,
      /^write \/proc\/(sys|sysrq|self|mem|1\/)/,
      /^(exe of 1|shadow|symlink to shadow|symlink out|write through symlink|hard link|rename over|remove the workspace)/,
      /^mknod /,
      /^write \.git\/(hooks|config$)/,
      /^(move|swap|remove|chmod) /,
      /^TIOC(STI|LINUX)( with high bits)?$/,
    ]; // prettier-ignore
    assert.deepEqual(
      refusals.flatMap((names) => wrong(report, names, refused)),
      [],
    );
    if (process.arch === 'x64') assert.deepEqual(wrong(report, /^(int 0x80|x32)$/, /^(signal:31|-38|-1)$/), []);
    assert.deepEqual(wrong(report, /^(no_new_privs off|ambient capability)$/, /^ok:-1$/), []);
    assert.deepEqual(wrong(report, /^set-user-id programs$/, /^nothing$/), []);
    assert.doesNotMatch(String(report['set-user-id file by open']), /^mode:10[246]/);
    assert.deepEqual(wrong(report, /^status Cap/, /^0{16}$/), []);
    assert.deepEqual([report['status NoNewPrivs'], report['status Seccomp']], ['1', '2']);
    assert.deepEqual(
      [report['root of 1'], report['above the root'], report['rename race']],
      ['own', 'own', ['inside']],
    );
    const above = (report['up'] as string[]).filter((name) => !name.endsWith('.sallyport-e2e'));
    assert.deepEqual(above, [basename(scene.workspace)]);
    assert.deepEqual(report['sys'], []);
    assert.deepEqual(report['devices'], [
      'fd',
      'full',
      'null',
      'ptmx',
      'pts',
      'random',
      'shm',
      'stderr',
      'stdin',
      'stdout',
      'tty',
      'urandom',
      'zero',
    ]);
    assert.match(String(report['controlling terminal']), /^ENXIO$/);
    // Positive controls: the program could write where it may, and exchange files by name while it looked.
    assert.equal(report['write the index'], 'ok');

    // The ids of this process on the host are none of the host's accounts' for root, and the caller's own otherwise; never 0.
    const { uid_map: uids, gid_map: gids } = report['maps'] as { uid_map: string[]; gid_map: string[] };
    for (const map of [uids, gids]) assert.deepEqual([map.length, map[2]], [3, '1'], 'one id is mapped, no more');
    assert.notEqual(uids[0], '0');
    // Every file system but those of its own is read-only, and nothing can be set-user-id or a device.
    const mounts = report['mounts'] as string[][];
    for (const [, , , , point = '', options = '', ...rest] of mounts) {
      const own =
        /^\/(proc|dev\/pts|dev\/shm|tmp|var\/tmp|run|home\/[^/]+)$/.test(point) || point.startsWith(scene.workspace);
      const device = rest.includes('devtmpfs') && /^\/(dev\/(null|zero|full|random|urandom|tty)|proc\/.+)$/.test(point);
      if (device) continue;
      assert.ok(own || options.split(',').includes('ro'), `${point} is writable: ${options}`);
      assert.ok(options.includes('nosuid') || options.split(',').includes('ro'), `${point}: ${options}`);
      if (point !== '/dev' && !point.startsWith('/dev/pts'))
        assert.ok(options.includes('nodev') || point.startsWith('/proc/'), `${point}: ${options}`);
    }
    assert.ok(
      !mounts.some((mount) => mount.includes('sysfs') || mount.includes('cgroup2') || mount.includes('cgroup')),
    );
    for (const path of facts.absent) assert.ok(!existsSync(`${path}.sallyport-e2e`), `${path} was written beside`);
    // What it left in the workspace belongs to the caller, and the rest of the scene is as it was.
    assert.deepEqual(readdirSync(scene.root).toSorted(), [
      'assets',
      'audit',
      'home',
      'outside.txt',
      'tmp',
      'workspace',
    ]);
    for (const name of ['config', 'hooks', 'HEAD']) assert.ok(before.includes(name));
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python ?? whyNotInside('git') },
);

eachCaller(
  "a sandbox cannot make the host's git run a program by the repository's own settings",
  async (caller) => {
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
    const broken: string[] = [];
    for (const [name, attack] of Object.entries(attacks)) {
      const result = await sallyport(['run', '--', 'sh', '-c', `${attack}; true`], { scene });
      assert.equal(result.status, 0, describeRun(result));
      const { status, stderr } = git('status');
      git('update-index', '--refresh');
      if (existsSync(proof(name))) broken.push(`${name}: the host's git ran what the sandbox wrote`);
      if (status !== 0) broken.push(`${name}: the host's git fails: ${stderr}`);
      for (const left of ['commondir', 'config.worktree']) rmSync(join(scene.workspace, '.git', left), { force: true });
    }
    assert.deepEqual(broken, []);
    // The control: the same settings do run a program where nothing protects them.
    git('config', 'core.fsmonitor', `touch ${proof('control')}; false`);
    git('status');
    assert.ok(existsSync(proof('control')), 'the settings of the test run nothing');
  },
  { skip: whyNotInside('git') },
);

const WORLD = [
  '1.1.1.1', '8.8.8.8', '169.254.169.254', '100.100.100.200', 'fd00:ec2::254', '2606:4700:4700::1111', 'fe80::1%eth0', '::ffff:127.0.0.1', '64:ff9b::7f00:1',
  '198.18.200.1', '10.0.2.1', '10.0.2.2', '10.0.2.15', 'fd00::1', '192.168.0.1', '172.17.0.1', '0.0.0.0', '255.255.255.255', '224.0.0.1',
]; // prettier-ignore

eachCaller(
  'a hostile program reaches nothing but the gate',
  async (caller) => {
    using scene = createScene(caller);
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND] });
    await using bait = await layBait(scene);
    // The bait is alive.
    await once(connect(bait.tcp, '127.0.0.1').resume(), 'end');
    const facts = {
      tcp: bait.tcp,
      udp: bait.udp,
      addresses: bait.addresses,
      names: bait.names,
      world: WORLD,
      gate: '10.0.2.1',
    };
    const control = `curl -sS -o /dev/null -H "Authorization: Bearer $API_TOKEN" https://${BOUND}/attempt/control`;
    const result = await sallyport(
      [
        'run',
        ...upstream.flags(),
        ...equip(scene, { 'facts.json': facts }),
        '--secret',
        `API_TOKEN@${BOUND}`,
        '--',
        'sh',
        '-c',
        `${control} >&2; python3 /assets/network.py /assets/facts.json`,
      ],
      { scene, env: { API_TOKEN: canary.value }, canary, timeoutMs: 90_000 },
    );
    const report = reportOf(result);
    assert.equal(bait.count(), 1, 'the host was reached from inside');
    assert.deepEqual(
      upstream.requests.map((request) => [request.target, receivedCredential(request) === canary.value]),
      [['/attempt/control', true]],
    );
    const unanswered = /^(E[A-Z]+|timeout|TLS [A-Z_]+|closed)$/;
    const denied = /^HTTP\/1\.1 (403|421) .*"code":"(HOST_DENIED|SNI_MISSING|AUTHORITY_MISMATCH)"/s;
    assert.deepEqual(wrong(report, /^tcp .* (80|443)$/, new RegExp(`${unanswered.source}|${denied.source}`, 's')), []);
    assert.deepEqual(wrong(report, /^tcp .* (?!80$|443$)\d+$/, unanswered), []);
    assert.deepEqual(wrong(report, /^udp (?!10\.0\.2\.1 dns|fd00::1 dns)/, unanswered), []);
    assert.deepEqual(wrong(report, /^unix (?!sockets$)/, /^(ENOENT|ECONNREFUSED|EACCES)$/), []);
    assert.deepEqual(wrong(report, /^ping (?!127\.|::1|10\.0\.2\.15|::ffff:127)/, unanswered), []);
    assert.deepEqual(wrong(report, /^(netlink new address|interface flags|mark|transparent)$/, /^E/), []);
    assert.deepEqual(wrong(report, /^protocol (sctp|dccp|gre|mptcp)$|^bind to device$/, unanswered), []);
    assert.deepEqual(wrong(report, /^bind 8\.8\.8\.8$/, /^EADDRNOTAVAIL$/), []);
    assert.match(String(report['gate dns']), /^answer /);
    assert.deepEqual(report['interfaces'], ['eth0', 'lo']);
    assert.deepEqual(report['unix sockets'], []);
    assert.ok(result.audit.some((event) => event['host'] === '169.254.169.254' && event['code'] === 'HOST_DENIED'));
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python, timeoutMs: 110_000 },
);

eachCaller(
  'floods of names, garbage and half-open connections end, and an honest request works again',
  async (caller) => {
    using scene = createScene(caller);
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND] });
    const result = await sallyport(
      [
        'run',
        ...upstream.flags(),
        ...equip(scene, {}),
        '--secret',
        `API_TOKEN@${BOUND}`,
        '--',
        'python3',
        '/assets/flood.py',
        BOUND,
        '10000',
        '3000',
      ],
      { scene, env: { API_TOKEN: canary.value }, canary, timeoutMs: 90_000 },
    );
    const report = reportOf(result);
    for (const when of ['before', 'after garbage', 'after names', 'afterwards'])
      assert.equal(report[when], 'HTTP/1.1 200 OK', `${when}: ${result.stdout}`);
    // While the connections hang it works, or fails at once and in words.
    assert.match(
      String(report['while half open']),
      /^(HTTP\/1\.1 200 OK|ConnectionResetError|HTTP\/1\.1 5)/,
      result.stdout,
    );
    const codes = report['name codes'] as Record<string, number>;
    assert.ok((codes['0'] ?? 0) >= 4000 && (codes['2'] ?? 0) >= 5000, `names: ${JSON.stringify(codes)}`);
    assert.doesNotMatch(String(report['new name']), /resolved/);
    const noticed = result.audit.filter((event) => event['code'] === 'CAPACITY').length;
    assert.ok(noticed >= 1 && noticed < 100, `${noticed} events of the capacity`);
    assert.ok(upstream.requests.every((request) => receivedCredential(request) === canary.value));
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python, timeoutMs: 110_000 },
);

eachCaller(
  'a terminal of the sandbox is its own',
  async (caller) => {
    using scene = createScene(caller);
    equip(scene, { 'facts.json': { workspace: scene.workspace, outside: '/none', pids: [], absent: [] } });
    const inside = 'tty; python3 /assets/escape.py /assets/facts.json >report.json; echo ended';
    const command = `${join(CHECKOUT, 'sallyport')} run --audit ${scene.auditFile} -v ${scene.assets}:/assets:ro -- sh -c '${inside}'`;
    const run = spawnSync('script', ['-qec', command, '/dev/null'], {
      cwd: scene.workspace, encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], HOME: scene.home, TMPDIR: scene.tmp, TERM: 'xterm' },
      ...(process.getuid?.() === caller.uid ? {} : { uid: caller.uid, gid: caller.gid }),
    }); // prettier-ignore
    assert.match(run.stdout, /\/dev\/pts\/0\r?$/m, `${run.stdout}${run.stderr}`);
    assert.match(run.stdout, /ended/);
    const report = JSON.parse(
      execFileSync('cat', [join(scene.workspace, 'report.json')], { encoding: 'utf8' }),
    ) as Report;
    assert.match(String(report['controlling terminal']), /^\/dev\/(pts\/0|console|tty)$/);
    assert.deepEqual(wrong(report, /^TIOC(STI|LINUX)/, /^(EPERM|EINVAL|ENOTTY)$/), []);
    assert.equal(report['TIOCSTI of the controlling terminal'], 'EPERM');
  },
  { skip: python ?? (findProgram('script') === undefined ? '"script" is not installed' : undefined) },
);

eachCaller(
  'a sandbox neither sees, reaches nor uses what its neighbor has',
  async (caller) => {
    const [first, second] = [newCanary(), newCanary()];
    using scene = createScene(caller);
    using other = createScene(caller);
    await using upstream = await startUpstream({ names: [BOUND] });
    const placeholderFile = join(scene.workspace, 'placeholder');
    // The first one serves on every address it has, and waits for its end.
    const server = [
      'import os, socket, time',
      'tcp = socket.create_server(("::", 8099), family=socket.AF_INET6, dualstack_ipv6=True)',
      'unix = socket.socket(socket.AF_UNIX); unix.bind("\\0neighbor"); unix.listen()',
      'open("/dev/shm/neighbor", "w").write("here"); open("/tmp/neighbor", "w").write("here")',
      'control = socket.create_connection(("127.0.0.1", 8099), 5)',
      'open("placeholder.new", "w").write(os.environ["API_TOKEN"]); os.rename("placeholder.new", "placeholder")',
      'while not os.path.exists("stop"): time.sleep(0.05)',
    ].join('\n');
    const running = sallyport(
      ['run', ...upstream.flags(), '--secret', `API_TOKEN@${BOUND}`, '--', 'python3', '-c', server],
      {
        scene,
        env: { API_TOKEN: first.value },
      },
    );
    let result: SallyportResult;
    try {
      for (let tries = 0; tries < 400 && !existsSync(placeholderFile); tries++) await setTimeout(50);
      const stolen = readFileSync(placeholderFile, 'utf8');
      assert.match(stolen, /^sp_API_TOKEN_/);
      const jobs = ['STOLEN', 'API_TOKEN'].map((variable) => ({
        name: variable,
        host: BOUND,
        port: 443,
        send: [
          `GET /attempt/${variable} HTTP/1.1\r\nHost: ${BOUND}\r\nConnection: close\r\nAuthorization: Bearer {${variable}}\r\n\r\n`,
        ],
      }));
      const probe = [
        'import os, socket, json',
        'def said(f):',
        '    try: return str(f())',
        '    except OSError as error: return type(error).__name__',
        'def unix(): s = socket.socket(socket.AF_UNIX); s.connect("\\0neighbor"); return "connected"',
        'print(json.dumps({**{a: said(lambda: socket.create_connection((a, 8099), 2)) for a in ("127.0.0.1", "10.0.2.15", "10.0.2.1", "::1", "fd00::15", "fd00::1", "10.0.2.16")},',
        '  "unix": said(unix), "shm": str(os.path.exists("/dev/shm/neighbor")), "tmp": str(os.path.exists("/tmp/neighbor")), "pids": str(len([p for p in os.listdir("/proc") if p.isdigit()]))}))',
      ].join('\n');
      writeFileSync(join(other.assets, 'probe.py'), probe);
      result = await sallyport(
        [
          'run',
          ...upstream.flags(),
          ...equip(other, { 'jobs.json': jobs }),
          ...['-e', `STOLEN=${stolen}`, '--secret', `API_TOKEN@${BOUND}`],
          ...[
            '--',
            'sh',
            '-c',
            'python3 /assets/wire.py /assets/jobs.json >/dev/null && exec python3 /assets/probe.py',
          ],
        ],
        { scene: other, env: { API_TOKEN: second.value }, canary: first },
      );
    } finally {
      writeFileSync(join(scene.workspace, 'stop'), '');
    }
    assert.equal((await running).status, 0);
    const { pids, ...report } = reportOf(result) as Record<string, string>;
    assert.ok(Number(pids) <= 4, `${pids} processes are visible`);
    assert.deepEqual([report['shm'], report['tmp']], ['False', 'False']);
    for (const [where, outcome] of Object.entries(report)) {
      if (where !== 'shm' && where !== 'tmp') assert.match(outcome, /Error$/, `${where}: ${outcome}`);
    }
    const got = (name: string) =>
      upstream.requests.filter(({ target }) => target === `/attempt/${name}`).map(receivedCredential);
    assert.deepEqual(
      got('API_TOKEN').map((value) => value === second.value),
      [true],
      'its own credential works',
    );
    assert.match(got('STOLEN').join(), /^sp_API_TOKEN_/);
    assertRunKeptSecret(first, result, other);
  },
  { skip: python },
);
