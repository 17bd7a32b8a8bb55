import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { CHECKOUT, createScene } from '../harness/caller.ts';
import { newCanary } from '../harness/canary.ts';
import { assertRunKeptSecret, sallyport } from '../harness/sallyport.ts';
import type { SallyportResult } from '../harness/sallyport.ts';
import { findProgram, whyNotInside } from '../harness/tools.ts';
import { startUpstream } from '../harness/upstream.ts';
import { receivedCredential } from '../harness/upstream-endpoints.ts';
import { createFamily } from './attack.ts';
import { BOUND } from './attempts.ts';
import { layBait } from './bait.ts';
import { addGauntletAttacks } from './gauntlet.ts';
import { assertOutcomes, equip, readReport } from './scene.ts';
import type { Report } from './scene.ts';

const family = createFamily(
  'gate-from-inside',
  'Around the gate: the kernel, the gate’s process and files, the host’s networks and sockets, the terminal, the neighbor.',
);

const python = whyNotInside('python3');

addGauntletAttacks(family, ['sandbox'], 'each');

/** What the kernel says when it does not let somebody. */
const REFUSED =
  /^(EPERM|EACCES|ENOSYS|ENOSPC|EUSERS|EROFS|ENOENT|ESRCH|EAFNOSUPPORT|EPROTONOSUPPORT|ESOCKTNOSUPPORT|EINVAL|EXDEV|EBUSY|absent|signal:31|ENODEV|EOPNOTSUPP|ENOTSUP)$/;
const HOST = 'files, processes and devices of the host';
const GATE = 'every value: the gate’s memory holds them';
const NETWORK = 'everything that may be read and sent, by a way that no rule governs';

/** Attempts of escape.py that must all be refused. */
const REFUSALS: readonly { readonly name: string; readonly leaks: string; readonly attempts: RegExp; readonly outcome?: RegExp }[] = [
  { name: 'mounts: new, bound, moved, remounted, by the old calls and the new', leaks: HOST, attempts: /^(mount |mount_|bind mount|remount|umount|pivot_root|chroot|open_tree|move_mount|fsopen)/ },
  { name: 'user namespaces and all others, by unshare, clone, clone3 and setns', leaks: HOST, attempts: /^(unshare|clone|setns|clone3)/ },
  { name: 'keyrings', leaks: 'keys that the host’s account keeps there', attempts: /^(keyctl|add_key|request_key)/ },
  { name: 'kernel programs, modules and images: bpf, perf, io_uring, userfaultfd, init_module, kexec', leaks: 'the host’s memory', attempts: /^(bpf|perf_event_open|userfaultfd|io_uring|init_module|kexec|iopl|ioperm|modify_ldt|vmsplice)/ },
  { name: 'files by handle, quotas, accounting, the kernel’s log', leaks: HOST, attempts: /^(open_by_handle_at|acct|fanotify_init|syslog|quotactl|swapon)/ },
  { name: 'clock, host name and power of the machine', leaks: 'nothing; the host is changed', attempts: /^(reboot|sethostname|settimeofday|clock_settime)/ },
  { name: 'raw and packet sockets', leaks: NETWORK, attempts: /^socket (stream )?(packet|raw|xdp)/ },
  { name: 'AF_VSOCK: the machine’s own host', leaks: NETWORK, attempts: /^socket (stream )?vsock$/ },
  { name: 'sockets of other families: crypto, keys, RDS, TIPC, Bluetooth, CAN, radio', leaks: NETWORK, attempts: /^socket (stream )?(alg|key|rds|tipc|bluetooth|can|ax25)$/ },
  { name: 'netlink: sockets, packets, audit, devices', leaks: 'sockets and devices of the host', attempts: /^netlink / },
  { name: 'other accounts: setuid, maps of ids, set-user-id files, file capabilities', leaks: HOST, attempts: /^(setuid|setresuid|seteuid|setgroups|uid_map)/ },
  { name: '/proc of the gate', leaks: GATE, attempts: /^(see|open \/proc\/)\/?.*\d/ },
  { name: 'ptrace, memory, descriptors and signals of the gate', leaks: GATE, attempts: /^(signal|ptrace|read memory of|pidfd of|compare|limits of) \d+$/ },
  { name: 'files and sockets of the gate, of the host’s accounts and services', leaks: `${GATE}; ${HOST}`, attempts: /^see \// },
  { name: 'programs and settings of the host, opened for writing', leaks: 'nothing; the host runs what was written', attempts: /^open for writing / },
  { name: 'the kernel’s settings, by /proc', leaks: 'the host’s root: core_pattern and modprobe name programs', attempts: /^write \/proc\/(sys|sysrq|self|mem|1\/)/ },
  { name: 'device files of disks and memory', leaks: 'the host’s disks and memory', attempts: /^mknod / },
  { name: 'the program of the first process; the shadow file', leaks: HOST, attempts: /^(exe of 1|shadow$)/ },
  { name: 'TIOCSTI and TIOCLINUX, on a terminal of one’s own', leaks: 'commands, typed into the caller’s shell', attempts: /^TIOC(STI|LINUX)( with high bits)?$/ },
  ...(process.arch === 'x64'
    ? [{ name: 'system calls by int 0x80 and the x32 table', leaks: 'whatever the filter forbids', attempts: /^(int 0x80|x32)$/, outcome: /^(signal:31|-38|-1)$/ }]
    : []),
  { name: 'privileges by prctl', leaks: HOST, attempts: /^(no_new_privs off|ambient capability)$/, outcome: /^ok:-1$/ },
  { name: 'set-user-id programs', leaks: HOST, attempts: /^set-user-id programs$/, outcome: /^nothing$/ },
  { name: 'capabilities', leaks: HOST, attempts: /^status Cap/, outcome: /^0{16}$/ },
  { name: 'the root of the first process', leaks: HOST, attempts: /^(root of 1|above the root)$/, outcome: /^own$/ },
]; // prettier-ignore

family.attacks(
  'a hostile program gets nowhere by the kernel',
  async (caller, judge) => {
    using scene = createScene(caller);
    const canary = newCanary();
    const outside = join(scene.root, 'outside.txt');
    writeFileSync(outside, 'not for the sandbox\n', { mode: 0o644 });
    const facts = {
      workspace: scene.workspace,
      pids: [process.pid, process.ppid],
      absent: [
        CHECKOUT, join(CHECKOUT, 'sallyport'), scene.home, scene.auditFile, join(scene.home, '.local'), outside, '/root', '/etc/shadow', '/etc/ssh',
        '/run/docker.sock', '/run/dbus', '/run/user', '/var/run/docker.sock', '/sys/kernel', '/sys/fs/cgroup', '/boot', '/lost+found', '/dev/sda', '/dev/vda', '/dev/mem', '/dev/kvm', '/dev/fuse', '/dev/net/tun', '/dev/vsock',
      ],
    }; // prettier-ignore
    const command = ['python3', '/assets/escape.py', '/assets/facts.json'];
    const result = await sallyport(['run', ...equip(scene, {}), '--secret', `API_TOKEN@${BOUND}`, '--', ...command], {
      scene,
      env: { API_TOKEN: canary.value },
      canary,
      // The process that is started is the gate's: the program is told which it is.
      onStart: (gate) => {
        const all = { ...facts, pids: [...facts.pids, gate] };
        writeFileSync(join(scene.assets, 'facts.json'), JSON.stringify(all));
      },
    });
    const report = readReport(result);
    for (const { name, leaks, attempts, outcome = REFUSED } of REFUSALS) {
      await judge({ name, leaks }, () => assertOutcomes(report, attempts, outcome));
    }
    assert.deepEqual([report['status NoNewPrivs'], report['status Seccomp']], ['1', '2']);
    assert.deepEqual(report['sys'], []);
    assert.deepEqual(report['devices'], [
      'fd', 'full', 'null', 'ptmx', 'pts', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'tty', 'urandom', 'zero',
    ]); // prettier-ignore
    assert.match(String(report['controlling terminal']), /^ENXIO$/);

    await judge({ name: 'the host’s uid 0, by the maps of ids', leaks: 'the host’s root' }, () => {
      // The ids of this process on the host are none of the host's accounts' for root, and the caller's own otherwise; never 0.
      const { uid_map: uids, gid_map: gids } = report['maps'] as { uid_map: string[]; gid_map: string[] };
      for (const map of [uids, gids]) assert.deepEqual([map.length, map[2]], [3, '1'], 'one id is mapped, no more');
      assert.notEqual(uids[0], '0');
    });
    await judge({ name: 'file systems of the host that can be written', leaks: 'nothing; the host is changed' }, () => {
      // Every file system but those of its own is read-only, and nothing can be set-user-id or a device.
      const mounts = report['mounts'] as string[][];
      for (const [, , , , point = '', options = '', ...rest] of mounts) {
        const own =
          /^\/(proc|dev\/pts|dev\/shm|tmp|var\/tmp|run|home\/[^/]+)$/.test(point) || point.startsWith(scene.workspace);
        const device =
          rest.includes('devtmpfs') && /^\/(dev\/(null|zero|full|random|urandom|tty)|proc\/.+)$/.test(point);
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
    });
    const left = ['assets', 'audit', 'home', 'outside.txt', 'tmp', 'workspace'];
    assert.deepEqual(readdirSync(scene.root).toSorted(), left);
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python },
);

const WORLD = [
  '1.1.1.1', '8.8.8.8', '169.254.169.254', '100.100.100.200', 'fd00:ec2::254', '2606:4700:4700::1111', 'fe80::1%eth0', '::ffff:127.0.0.1', '64:ff9b::7f00:1',
  '198.18.200.1', '10.0.2.1', '10.0.2.2', '10.0.2.15', 'fd00::1', '192.168.0.1', '172.17.0.1', '0.0.0.0', '255.255.255.255', '224.0.0.1',
]; // prettier-ignore
const UNANSWERED = /^(E[A-Z]+|timeout|TLS [A-Z_]+|closed)$/;
const DENIED = /^HTTP\/1\.1 (403|421) .*"code":"(HOST_DENIED|SNI_MISSING|AUTHORITY_MISMATCH)"/s;

/** Attempts of network.py, and what each must come to. */
const ROADS: readonly { readonly name: string; readonly attempts: RegExp; readonly outcome: RegExp }[] = [
  { name: 'TCP to any address on the gate’s ports', attempts: /^tcp .* (80|443)$/, outcome: new RegExp(`${UNANSWERED.source}|${DENIED.source}`, 's') },
  { name: 'TCP to any address on other ports, the host’s listeners among them', attempts: /^tcp .* (?!80$|443$)\d+$/, outcome: UNANSWERED },
  { name: 'UDP: other name servers, QUIC, the host’s listeners', attempts: /^udp (?!10\.0\.2\.1 dns|fd00::1 dns)/, outcome: UNANSWERED },
  { name: 'Unix sockets of the host: abstract, in its /tmp, in the home directory', attempts: /^unix (?!sockets$)/, outcome: /^(ENOENT|ECONNREFUSED|EACCES)$/ },
  { name: 'ICMP', attempts: /^ping (?!127\.|::1|10\.0\.2\.15|::ffff:127)/, outcome: UNANSWERED },
  { name: 'netlink: a new address, interface flags; marks and transparent sockets', attempts: /^(netlink new address|interface flags|mark|transparent)$/, outcome: /^E/ },
  { name: 'SCTP, DCCP, GRE, multipath TCP; another device', attempts: /^protocol (sctp|dccp|gre|mptcp)$|^bind to device$/, outcome: UNANSWERED },
  { name: 'an address of somebody else, to bind to', attempts: /^bind 8\.8\.8\.8$/, outcome: /^EADDRNOTAVAIL$/ },
]; // prettier-ignore

family.attacks(
  'a hostile program reaches nothing but the gate',
  async (caller, judge) => {
    using scene = createScene(caller);
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND] });
    await using bait = await layBait(scene);
    // The bait is alive.
    await once(connect(bait.tcp, '127.0.0.1').resume(), 'end');
    const { tcp, udp, addresses, names } = bait;
    const facts = { tcp, udp, addresses, names, world: WORLD, gate: '10.0.2.1' };
    const control = `curl -sS -o /dev/null -H "Authorization: Bearer $API_TOKEN" https://${BOUND}/attempt/control`;
    const result = await sallyport(
      [
        'run',
        ...upstream.flags(),
        ...equip(scene, { 'facts.json': facts }),
        ...['--secret', `API_TOKEN@${BOUND}`],
        ...['--', 'sh', '-c', `${control} >&2; python3 /assets/network.py /assets/facts.json`],
      ],
      { scene, env: { API_TOKEN: canary.value }, canary, timeoutMs: 90_000 },
    );
    const report = readReport(result);
    for (const { name, attempts, outcome } of ROADS) {
      await judge({ name, leaks: NETWORK }, () => {
        assert.equal(bait.count(), 1, 'the host was reached from inside');
        assertOutcomes(report, attempts, outcome);
      });
    }
    assert.deepEqual(
      upstream.requests.map((request) => [request.target, receivedCredential(request) === canary.value]),
      [['/attempt/control', true]],
    );
    assert.match(String(report['gate dns']), /^answer /);
    assert.deepEqual(report['interfaces'], ['eth0', 'lo']);
    assert.deepEqual(report['unix sockets'], []);
    assert.ok(result.audit.some((event) => event['host'] === '169.254.169.254' && event['code'] === 'HOST_DENIED'));
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python, timeoutMs: 110_000 },
);

family.attack(
  { name: 'TIOCSTI on the terminal that a sandbox is given', leaks: 'commands, typed into the caller’s shell' },
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
    assertOutcomes(report, /^TIOC(STI|LINUX)/, /^(EPERM|EINVAL|ENOTTY)$/);
    assert.equal(report['TIOCSTI of the controlling terminal'], 'EPERM');
  },
  { skip: python ?? (findProgram('script') === undefined ? '"script" is not installed' : undefined) },
);

family.attacks('the pipes of the caller', async (caller, judge) => {
  using scene = createScene(caller);
  const runc = findProgram('runc') ?? assert.fail('runc is not installed');
  // By another name: a runtime of which nothing is known, so that nothing is left to it.
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-runtime-'));
  using stack = new DisposableStack();
  stack.defer(() => rmSync(directory, { recursive: true, force: true }));
  chmodSync(directory, 0o755);
  const unknown = join(directory, 'some-runtime');
  symlinkSync(runc, unknown);
  const attempts = { control: '', default: '', unknown: `--runtime ${unknown}` };
  const run = `${join(CHECKOUT, 'sallyport')} run -q --no-workspace --audit ${scene.auditFile}`;
  for (const [name, option] of Object.entries(attempts)) {
    // A shell that reads its script from a pipe, as those of CI runners do; the command is given that pipe as its standard input.
    const write = `sh -c 'echo "touch ${join(scene.tmp, name)}" >/proc/self/fd/0; echo ran'`;
    const script = join(scene.tmp, `${name}.sh`);
    writeFileSync(script, name === 'control' ? `${write}\n` : `${run} ${option} -- ${write}\n`, { mode: 0o644 });
    const { stdout, stderr } = spawnSync('sh', ['-c', `cat ${script} | sh | cat`], {
        cwd: scene.workspace, encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'pipe'],
        env: { PATH: process.env['PATH'], HOME: scene.home, TMPDIR: scene.tmp },
        ...(process.getuid?.() === caller.uid ? {} : { uid: caller.uid, gid: caller.gid }),
      }); // prettier-ignore
    assert.equal(stdout, 'ran\n', stderr);
    const isWritten = existsSync(join(scene.tmp, name));
    if (name === 'control') {
      assert.ok(isWritten, 'the shell of the test runs nothing that is written into its script');
      continue;
    }
    const what = {
      name: `a script that the caller’s shell reads from a pipe, written to by /proc/self/fd (${name} runtime)`,
      leaks: 'the host: its shell runs what was written',
    };
    await judge(what, () => assert.ok(!isWritten, 'the shell ran it'));
  }
});

/** What a terminal acts upon: ESC, CSI, OSC, DCS, DEL, bells and returns, raw and by C1. */
const ESCAPES = '\x1b]52;c;ZWNobyBvd25lZAo=\x07\x1b[2J\x9b31m\x7f\r';

family.attack(
  {
    name: 'terminal escapes in names, targets and fields, through what the gate itself tells and records',
    leaks: 'the caller’s clipboard and screen, to who chooses a host name',
  },
  async (caller) => {
    using scene = createScene(caller);
    const canary = newCanary();
    await using upstream = await startUpstream({ names: [BOUND] });
    const hex = Buffer.from(ESCAPES, 'latin1')
      .toString('hex')
      .replaceAll(/../g, String.raw`\x$&`);
    // A name by DNS, a server name, a Host, a target, a method and an upgrade, each with escapes; and names that are refused by a rule.
    const program = [
      'import os, socket, ssl, struct',
      `evil = b"${hex}"`,
      `host = "${BOUND}"`,
      'labels = lambda *parts: b"".join(bytes([len(p)]) + p for p in parts) + b"\\0"',
      'udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); udp.settimeout(2); udp.connect(("10.0.2.1", 53))',
      'for kind in (1, 28, 16):',
      '    udp.send(struct.pack(">HHHHHH", kind, 0x100, 1, 0, 0, 0) + labels(evil, b"evil", b"example") + struct.pack(">HH", kind, 1))',
      '    try: udp.recv(512)',
      '    except OSError: pass',
      'def send(port, data):',
      '    try:',
      '        with socket.create_connection((host, port), 5) as plain:',
      '            channel = plain',
      '            if port == 443:',
      '                context = ssl._create_unverified_context(); channel = context.wrap_socket(plain, server_hostname=host)',
      '            channel.sendall(data); channel.settimeout(2); channel.recv(4096)',
      '    except OSError: pass',
      'token = os.environ["API_TOKEN"].encode()',
      'for port in (80, 443):',
      '    for data in (b"GET / HTTP/1.1\\r\\nHost: " + evil + b"\\r\\n\\r\\n", b"GET /" + evil + b" HTTP/1.1\\r\\nHost: " + host.encode() + b"\\r\\n\\r\\n",',
      '        evil + b" / HTTP/1.1\\r\\nHost: " + host.encode() + b"\\r\\n\\r\\n", b"GET / HTTP/1.1\\r\\nHost: " + host.encode() + b"\\r\\nX-" + evil + b": " + evil + b"\\r\\n\\r\\n",',
      '        b"GET / HTTP/1.1\\r\\nHost: " + host.encode() + b"\\r\\nX-A: " + evil + token + b"\\r\\n\\r\\n", b"GET http://" + evil + b"/ HTTP/1.1\\r\\nHost: " + evil + b"\\r\\n\\r\\n",',
      '        b"GET / HTTP/1.1\\r\\nHost: denied.example\\r\\n\\r\\n", b"GET / HTTP/1.1\\r\\nHost: " + host.encode() + b"\\r\\nConnection: Upgrade\\r\\nUpgrade: " + evil + b"\\r\\n\\r\\n"):',
      '        send(port, data)',
      'hello = socket.create_connection((host, 443), 5)',
      'name = b"\\0" + struct.pack(">H", len(evil)) + evil; ext = struct.pack(">HHH", 0, len(name) + 2, len(name)) + name',
      'body = b"\\3\\3" + b"7" * 32 + b"\\0\\0\\2\\x13\\1\\1\\0" + struct.pack(">H", len(ext)) + ext',
      'shake = b"\\1" + struct.pack(">I", len(body))[1:] + body; hello.sendall(b"\\x16\\3\\1" + struct.pack(">H", len(shake)) + shake)',
      'hello.settimeout(2)',
      'try: hello.recv(100)',
      'except OSError: pass',
    ].join('\n');
    writeFileSync(join(scene.assets, 'escapes.py'), program);
    const result = await sallyport(
      [
        ...['run', '--verbose', ...upstream.flags(), '-v', `${scene.assets}:/assets:ro`],
        ...['--secret', `API_TOKEN@${BOUND}`, '--', 'python3', '/assets/escapes.py'],
      ],
      { scene, env: { API_TOKEN: canary.value }, canary },
    );
    assert.equal(result.status, 0, result.stderr);
    const log = readFileSync(scene.auditFile);
    assert.ok(result.audit.length >= 10, `only ${result.audit.length} events`);
    // Controls but line feeds, as bytes and as C1 in UTF-8.
    const isControl = /[\x00-\x09\x0b-\x1f\x7f-\x9f]/; // eslint-disable-line no-control-regex -- controls are what is looked for
    for (const [where, text] of [
      ['what the command line tells', result.stderr],
      ['the audit log', log.toString()],
    ] as const) {
      assert.doesNotMatch(text, isControl, where);
      assert.ok(!text.includes('\x1b'), where);
    }
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: python },
);

family.attack(
  {
    name: 'a neighbor’s sockets, files, processes and placeholder',
    leaks: 'what another sandbox has, and the use of its credentials',
  },
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
    const { pids, ...report } = readReport(result) as Record<string, string>;
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
