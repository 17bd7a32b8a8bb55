import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
} from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openAirlock } from '../packages/runtime/src/airlock/airlock.ts';
import type { Airlock } from '../packages/runtime/src/airlock/airlock.ts';
import { explainForbiddenNamespaces } from '../packages/runtime/src/airlock/namespace-diagnosis.ts';
import { systemCalls } from '../packages/runtime/src/airlock/system-calls.ts';
import { findTool, requireTools } from '../packages/runtime/src/airlock/required-tools.ts';
import { answerWithDestination, findTraces, isRoot, repeatAsOrdinaryUser, until } from './isolation-harness.ts';

const FILE = fileURLToPath(import.meta.url);

/** A shell function that prints what a TCP connection says, by bash's own sockets. */
const TALK = 'talk() { exec 4<>"/dev/tcp/$1/$2" || return 7; cat <&4; exec 4<&-; }; ';

/** Runs a program in the room, that is, with the sandbox's view of the network but without its other walls. */
async function inRoom(
  airlock: Airlock,
  script: string,
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = airlock.enter(['nsenter', `--net=${airlock.roomNetworkNamespace}`, 'bash', '-c', TALK + script], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, stdout, stderr };
}

test('openAirlock() gives each connection its original destination', async () => {
  const airlock = await openAirlock({ ports: [80, 443, 22] });
  try {
    answerWithDestination(airlock);
    const { stdout, stderr } = await inRoom(
      airlock,
      'talk 93.184.216.34 80; talk 2606:2800:220:1::1 443; talk 169.254.169.254 22; talk 10.0.2.1 80; talk ::ffff:1.2.3.4 80',
    );
    assert.equal(
      stdout,
      '93.184.216.34 80\n2606:2800:220:1::1 443\n169.254.169.254 22\n10.0.2.1 80\n1.2.3.4 80\n',
      stderr,
    );
  } finally {
    await airlock.close();
  }
});

test('the addresses of a room are all there from the start', async () => {
  const airlock = await openAirlock({ ports: [80] });
  try {
    // One that the kernel still checks would be added a second or two later: browsers take that for another network.
    const { stdout, stderr } = await inRoom(airlock, 'ip -o address show eth0');
    assert.match(stdout, /10\.0\.2\.15/, stderr);
    assert.doesNotMatch(stdout, /tentative|scope link/);
  } finally {
    await airlock.close();
  }
});

test(
  'an airlock answers after the kernel has forgotten the neighbors that it may forget',
  { timeout: 60_000 },
  async () => {
    const airlock = await openAirlock({ ports: [80] });
    try {
      answerWithDestination(airlock);
      const talk = 'talk 1.2.3.4 80; talk 2606:2800::1 80; ';
      await inRoom(airlock, talk);
      // On the gate's side alone, as a kernel does that has many neighbors to remember: the room does not ask anew then.
      const flush = airlock.enter(['ip', 'neigh', 'flush', 'dev', 'gate'], { stdio: 'ignore' });
      assert.deepEqual(await once(flush, 'close'), [0, null]);
      // The room's program ends by itself where the answer does not come.
      const { stdout } = await inRoom(airlock, `export -f talk; timeout 3 bash -c '${talk}'`);
      assert.equal(stdout, '1.2.3.4 80\n2606:2800::1 80\n');
    } finally {
      await airlock.close();
    }
  },
);

test('an airlock lets nothing through but its ports and its DNS', async (t) => {
  const host = createServer().listen(0, '127.0.0.1');
  t.after(() => host.close());
  await once(host, 'listening');
  let reached = 0;
  host.on('connection', () => (reached += 1));
  const airlock = await openAirlock({ ports: [80] });
  try {
    const asked: string[] = [];
    for (const socket of airlock.dnsUdp) {
      socket.on('message', (message, peer) => {
        asked.push(message.toString());
        socket.send(`answer ${socket.address().address}`, peer.port, peer.address);
      });
    }
    for (const server of airlock.dnsTcp) server.on('connection', (socket) => socket.end('dns over tcp\n'));
    const port = (host.address() as AddressInfo).port;
    const udp = (address: string, number: number) =>
      `exec 5<>/dev/udp/${address}/${number} && echo question-${number} >&5 && timeout 2 head -c 7 <&5; echo "[$?]"; exec 5<&-; `;
    const { stdout, stderr } = await inRoom(
      airlock,
      // A port without a listener: refused by the kernel, at once.
      `SECONDS=0; talk 1.2.3.4 81; talk 2606:2800::1 8443; talk 8.8.8.8 53; talk 127.0.0.1 ${port}; talk 10.0.2.2 ${port}; ` +
        'if [ $SECONDS -lt 3 ]; then echo quick; fi; ' +
        `${udp('10.0.2.1', 53)}${udp('fd00::1', 53)}${udp('8.8.8.8', 53)}${udp('1.1.1.1', 443)}` +
        'talk 10.0.2.1 53; talk fd00::1 53; ' +
        'for a in 8.8.8.8 10.0.2.1 127.0.0.2; do ping -c 1 -W 1 $a > /dev/null 2>&1 && echo "pong $a"; done; ' +
        'ip -brief link | wc -l',
    );
    const lines = stdout.split('\n');
    assert.equal(lines[0], 'quick', stderr);
    assert.deepEqual(lines.slice(1, 5), ['answer [0]', 'answer [0]', '[1]', '[1]'], stdout + stderr);
    assert.deepEqual(lines.slice(5, 7), ['dns over tcp', 'dns over tcp']);
    // Only the room's own loopback may answer a ping.
    assert.deepEqual(
      lines.slice(7, -2).filter((line) => line !== 'pong 127.0.0.2'),
      [],
    );
    assert.equal(lines.at(-2), '2');
    assert.equal((stderr.match(/Connection refused/g) ?? []).length >= 5, true, stderr);
    assert.equal(asked.length, 2);
    assert.equal(reached, 0);
  } finally {
    await airlock.close();
  }
});

test('openAirlock() serves the same doors where a second Node opens them', async () => {
  const airlock = await openAirlock({ ports: [80, 443], perl: null });
  try {
    answerWithDestination(airlock);
    assert.deepEqual([airlock.dnsUdp.length, airlock.dnsTcp.length], [2, 2]);
    const { stdout, stderr } = await inRoom(airlock, 'talk 93.184.216.34 80; talk 2606:2800:220:1::1 443');
    assert.equal(stdout, '93.184.216.34 80\n2606:2800:220:1::1 443\n', stderr);
  } finally {
    await airlock.close();
  }
});

test(
  'withinMountNamespace() comes back, also from work that fails',
  { skip: !isRoot && 'only root may enter and leave' },
  async () => {
    const place = () => ({
      namespace: readlinkSync('/proc/thread-self/ns/mnt'),
      root: statSync('/').ino,
      cwd: readlinkSync('/proc/thread-self/cwd'),
      relative: statSync('.').ino,
    });
    const airlock = await openAirlock({ ports: [] });
    const namespace = openSync(`/proc/${airlock.holderPid}/ns/mnt`, 'r');
    try {
      const before = place();
      assert.equal(
        systemCalls().withinMountNamespace(namespace, () => existsSync('/run/stage')),
        true,
      );
      assert.deepEqual(place(), before);
      const fail = () =>
        systemCalls().withinMountNamespace(namespace, () => {
          throw new RangeError('no');
        });
      assert.throws(fail, RangeError);
      assert.deepEqual(place(), before);
      assert.equal(existsSync('/run/stage'), false);
    } finally {
      closeSync(namespace);
      await airlock.close();
    }
  },
);

test('an airlock starts no second Node where its sockets can be taken over', async (t) => {
  if (findTool('perl') === undefined) {
    t.skip('perl is not installed');
    return;
  }
  // It would fail: there is no such binary.
  const airlock = await openAirlock({ ports: [80], nodeBinary: '/nonexistent/node' });
  await airlock.openPorts([443]);
  assert.deepEqual([...airlock.servers.keys()], [80, 443]);
  await airlock.close();
});

test('a second Node opens the sockets where Perl does not work', async () => {
  for (const perl of ['/nonexistent/perl', '/bin/false', '/bin/echo']) {
    // It has ended before it is asked for anything.
    const ports = new Promise<number[]>((resolve) => setTimeout(resolve, 200, [80]));
    const airlock = await openAirlock({ ports, perl });
    assert.deepEqual([...airlock.servers.keys()], [80], perl);
    await airlock.close();
    await assert.rejects(openAirlock({ ports: [80], perl, nodeBinary: '/nonexistent/node' }), { code: 'ENOENT' });
  }
});

/** Runs a command with a filter by which pidfd_getfd(2) is refused, as a container's may. prctl(2) is number 157, on x64. */
const WITHOUT_PIDFD_GETFD = `
my $filter = pack('SCCL' x 4, 0x20, 0, 0, 0, 0x15, 0, 1, 438, 0x06, 0, 0, 0x00050001, 0x06, 0, 0, 0x7fff0000);
syscall(157, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
syscall(157, 22, 2, pack('S x6 P', 4, $filter)) == 0 or die "seccomp: $!";
exec @ARGV;`;

test(
  'a second Node opens the sockets where they cannot be taken over',
  { skip: (process.arch !== 'x64' || findTool('perl') === undefined) && 'needs perl on x86-64' },
  () => {
    const module = fileURLToPath(new URL('../packages/runtime/src/airlock/airlock.ts', import.meta.url));
    const open = (options: object): string => {
      const program = `import { openAirlock } from ${JSON.stringify(module)};
        const airlock = await openAirlock(${JSON.stringify({ ports: [80], ...options })}).catch(({ code }) => console.log(code));
        console.log(...(airlock?.servers.keys() ?? []));
        await airlock?.close();`;
      const node = [process.execPath, '--conditions=sallyport-source', '--input-type=module', '-e', program];
      const { stdout, stderr } = spawnSync('perl', ['-e', WITHOUT_PIDFD_GETFD, ...node], { encoding: 'utf8' });
      assert.equal(stderr, '');
      return stdout.trim();
    };
    assert.equal(open({}), '80');
    assert.equal(open({ nodeBinary: '/nonexistent/node' }), 'ENOENT');
  },
);

test('openAirlock() serves port 53 to others beside its own DNS', async () => {
  const airlock = await openAirlock({ ports: [53] });
  try {
    answerWithDestination(airlock);
    for (const server of airlock.dnsTcp) server.on('connection', (socket) => socket.end('dns\n'));
    const { stdout } = await inRoom(airlock, 'talk 10.0.2.1 53; talk 8.8.8.8 53');
    assert.equal(stdout, 'dns\n8.8.8.8 53\n');
  } finally {
    await airlock.close();
  }
});

test('openPorts() opens more ports, once, while connections go on', async () => {
  const airlock = await openAirlock({ ports: [80] });
  try {
    answerWithDestination(airlock);
    const before = await inRoom(airlock, 'talk 1.2.3.4 5432');
    assert.match(before.stderr, /refused/);
    const [one, two] = await Promise.all([airlock.openPorts([5432, 80]), airlock.openPorts([5432])]);
    assert.equal(one.get(5432), two.get(5432));
    assert.equal(one.size, 2);
    one.get(5432)?.on('connection', (socket) => socket.end('postgres\n'));
    // Not one of many connections may end up at a copy of the listener that the helper still held.
    const after = await inRoom(airlock, 'for i in 1 2 3 4 5 6 7 8 9 10; do talk 1.2.3.4 5432; done; talk 1.2.3.4 80');
    assert.equal(after.stdout, `${'postgres\n'.repeat(10)}1.2.3.4 80\n`);
    await assert.rejects(airlock.openPorts([0]), { code: 'AIRLOCK_FAILED' });
  } finally {
    await airlock.close();
  }
});

test('the map of an airlock holds one id, never the uid 0 of the host', async () => {
  const airlocks = await Promise.all([openAirlock({ ports: [] }), openAirlock({ ports: [] })]);
  try {
    const maps = airlocks.map(({ holderPid }) =>
      ['uid_map', 'gid_map'].map((file) =>
        readFileSync(`/proc/${holderPid}/${file}`, 'latin1').trim().split(/\s+/).map(Number),
      ),
    );
    for (const [uid = [], gid = []] of maps) {
      assert.deepEqual([uid[0], uid[2], gid[0], gid[2], uid.length], [0, 1, 0, 1, 3]);
      if (isRoot) assert.ok((uid[1] ?? 0) >= 2_000_000_000 && (gid[1] ?? 0) >= 2_000_000_000);
      else assert.equal(uid[1], process.geteuid?.());
    }
    if (isRoot) assert.notDeepEqual(maps[0], maps[1]);
  } finally {
    await Promise.all(airlocks.map((airlock) => airlock.close()));
  }
});

test('close() leaves no process, and enter() refuses afterwards', async () => {
  const airlock = await openAirlock({ ports: [80] });
  const pid = airlock.holderPid;
  airlock.enter(['sleep', '1000.125']);
  await until(() => findTraces((line) => line === 'sleep 1000.125').processes.length === 1);
  await airlock.close();
  await airlock.close();
  await airlock.ended;
  assert.deepEqual(findTraces((line) => line === 'sleep 1000.125').processes, []);
  assert.throws(() => readFileSync(`/proc/${pid}/cmdline`));
  assert.throws(() => airlock.enter(['true']), { code: 'AIRLOCK_FAILED' });
});

test(
  'openAirlock() works with a Node below a folder that others cannot enter',
  { skip: !isRoot && 'only root has mapped ids' },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-private-'));
    try {
      mkdirSync(join(folder, 'bin'), { mode: 0o700 });
      const nodeBinary = join(folder, 'bin/node');
      copyFileSync(process.execPath, nodeBinary);
      const airlock = await openAirlock({ ports: [80], perl: null, nodeBinary });
      assert.equal(airlock.servers.size, 1);
      await airlock.close();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
);

test('openAirlock() names the setting where user namespaces are forbidden', { timeout: 60_000 }, () => {
  const module = fileURLToPath(new URL('../packages/runtime/src/airlock/airlock.ts', import.meta.url));
  const program = `import { openAirlock } from ${JSON.stringify(module)};
    await openAirlock({ ports: [80] }).then(() => console.log('opened'), (error) => console.log(error.code, error.message));`;
  const { stdout, stderr } = spawnSync(
    'unshare',
    [
      ...['--user', '--map-root-user', '--', 'sh', '-c'],
      'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"',
      ...['sh', process.execPath, '--conditions=sallyport-source', '--input-type=module', '-e', program],
    ],
    { encoding: 'utf8', cwd: '/' },
  );
  assert.match(stdout, /^USER_NAMESPACES_FORBIDDEN .*user\.max_user_namespaces is 0\. Raise it: "sysctl -w/, stderr);
});

test('openAirlock() works, or says what is wrong, inside a container of its own kind', { timeout: 60_000 }, () => {
  const module = fileURLToPath(new URL('../packages/runtime/src/airlock/airlock.ts', import.meta.url));
  const program = `import { openAirlock } from ${JSON.stringify(module)};
    await openAirlock({ ports: [80] }).then(
      async (airlock) => { console.log('opened'); await airlock.close(); },
      (error) => console.log(error.code, error.message));`;
  const inside = (before: string) => {
    const node = [process.execPath, '--conditions=sallyport-source', '--input-type=module', '-e', program];
    const container = ['--user', '--map-root-user', '--mount', '--pid', '--fork', '--mount-proc'];
    const script = `${before} exec "$@"`;
    return spawnSync('unshare', [...container, '--', 'sh', '-ec', script, 'sh', ...node], {
      encoding: 'utf8',
      cwd: '/',
    });
  };
  const plain = inside('');
  assert.equal(plain.stdout, 'opened\n', plain.stderr);
  const masked = inside('mount --bind /dev/null /proc/version;');
  assert.match(masked.stdout, /^AIRLOCK_FAILED A private \/proc cannot be mounted here/, masked.stderr);
});

test('explainForbiddenNamespaces() names each setting that forbids', () => {
  const machine = (settings: Record<string, string>) => (path: string) =>
    ({ '/proc/self/uid_map': '0 0 1', '/proc/self/status': 'Seccomp:\t0', ...settings })[path];
  assert.equal(explainForbiddenNamespaces(false, machine({})), undefined);
  const cases: [Record<string, string>, RegExp][] = [
    [{ '/proc/sys/user/max_net_namespaces': '0' }, /max_net_namespaces is 0/],
    [{ '/proc/sys/kernel/unprivileged_userns_clone': '0' }, /unprivileged_userns_clone=1/],
    [{ '/proc/sys/kernel/apparmor_restrict_unprivileged_userns': '1' }, /apparmor_restrict_unprivileged_userns=0/],
    [{ '/proc/self/status': 'Name:\tx\nSeccomp:\t2\n' }, /seccomp/],
  ];
  for (const [settings, expected] of cases)
    assert.match(explainForbiddenNamespaces(false, machine(settings)) ?? '', expected);
  assert.match(explainForbiddenNamespaces(true, () => undefined) ?? '', /CONFIG_USER_NS/);
});

test('requireTools() names every missing tool and its packages', () => {
  assert.throws(
    () => requireTools(['ip', 'runc', 'unshare'], (name) => (name === 'unshare' ? '/usr/bin/unshare' : undefined)),
    { code: 'TOOL_MISSING', message: /ip, runc.*apt-get install iproute2 runc/ },
  );
});

test('a killed parent leaves no process, mount or namespace of its airlock', { timeout: 60_000 }, async () => {
  const module = fileURLToPath(new URL('../packages/runtime/src/airlock/airlock.ts', import.meta.url));
  const marker = `sleep ${3000 + process.pid}.5`;
  const program = `import { openAirlock } from ${JSON.stringify(module)};
    const airlock = await openAirlock({ ports: [80] });
    airlock.enter(${JSON.stringify(marker.split(' '))}, { stdio: 'ignore' });
    console.log(airlock.holderPid);
    setInterval(() => {}, 1000);`;
  const parent = spawn(process.execPath, ['--conditions=sallyport-source', '--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: '/',
  });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const holder = Number(line.toString());
  assert.ok(await until(() => findTraces((text) => text === marker).processes.length === 1));
  parent.kill('SIGKILL');
  await once(parent, 'exit');
  const isGone = () => {
    try {
      readFileSync(`/proc/${holder}/cmdline`);
      return false;
    } catch {
      return findTraces((text) => text === marker).processes.length === 0;
    }
  };
  assert.ok(await until(isGone), JSON.stringify(findTraces((text) => text === marker)));
  assert.deepEqual(findTraces(() => false).mounts, []);
});

repeatAsOrdinaryUser(FILE);
