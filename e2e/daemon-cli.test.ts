// The commands for named sandboxes as people and scripts use them: real terminals, pipes, files.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  chownSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { DaemonEvent, ExecInfo, LogEntry, SandboxInfo, SandboxStats } from '@sallyport/sdk';
import { Connection, Sandbox } from 'sallyport';
import { CHECKOUT, eachCaller, findPresentCaller } from './harness/caller.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { describeRun } from './harness/sallyport.ts';
import { SYSTEM_PATH } from './harness/tools.ts';

const PRESENT = findPresentCaller();

/** Waits until something is so. */
async function until(isSo: () => boolean | Promise<boolean>, timeoutMs = 30_000): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  while (!(await isSo())) {
    if (performance.now() > endMs) return false;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return true;
}

/** The command line in a terminal of its own (script(1)), after lines of shell that set the terminal up. */
function atTerminal(scene: DaemonScene, line: string) {
  const child = spawn('script', ['--quiet', '--return', '--command', line, '/dev/null'], {
    cwd: scene.workspace,
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: SYSTEM_PATH, HOME: scene.home, TERM: 'xterm', SHELL: '/bin/sh', SALLYPORT_WARM: '0' },
  });
  let screen = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (screen += text));
  return {
    child,
    get screen() {
      return screen;
    },
    shows: async (text: string) => await until(() => screen.includes(text)),
    type: (keys: string) => void child.stdin.write(keys),
    ended: once(child, 'exit').then(([status]) => status as number),
  };
}

const NO_SCRIPT = existsSync('/usr/bin/script') ? false : 'needs script(1)';
const SALLYPORT = `'${join(CHECKOUT, 'sallyport')}'`;

test("exec -it gives a terminal that is the outer one's size and takes its keys", { skip: NO_SCRIPT }, async () => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker' });
  const inner =
    'tty; stty size; trap "echo interrupted; exit 5" INT; echo ready; read line; trap "stty size" WINCH; echo "line $line"; while :; do sleep 0.1; done';
  const resize = join(scene.tmp, 'resize');
  const terminal = atTerminal(
    scene,
    `stty rows 33 cols 77; (while [ ! -e ${resize} ]; do sleep 0.1; done; stty rows 44 cols 88 < /dev/tty) & ${SALLYPORT} exec -it worker -- sh -c '${inner}'; status=$?; stty -a | grep -o -- '-\\?icanon'; exit $status`,
  );
  assert.ok(await terminal.shows('ready'), terminal.screen);
  terminal.type('hello\r');
  assert.ok(await terminal.shows('line hello'), terminal.screen);
  writeFileSync(resize, '');
  assert.ok(await terminal.shows('44 88'), terminal.screen);
  terminal.type('\x03');
  assert.equal(await terminal.ended, 5, terminal.screen);
  assert.match(terminal.screen, /\/dev\/pts\/\d+\r?\n33 77\r?\n/);
  assert.equal(terminal.screen.match(/interrupted/g)?.length, 1);
  assert.match(terminal.screen, /\bicanon\r?\n$/, 'the terminal is as it was');
  assert.doesNotMatch(terminal.screen, /-icanon/);
});

test('exec passes signals on, keeps the streams apart, and ends with the status of the command', async () => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker' });
  const script = 'trap "echo got TERM; exit 9" TERM; echo ready; while :; do sleep 0.1; done';
  let pid = 0;
  const running = scene.cli(['exec', 'worker', '--', 'sh', '-c', script], { onStart: (started) => (pid = started) });
  assert.ok(await until(async () => (await scene.cli(['logs', 'worker'])).stdout.includes('ready')));
  process.kill(pid, 'SIGTERM');
  const ran = await running;
  assert.deepEqual([ran.status, ran.stdout], [9, 'ready\ngot TERM\n'], describeRun(ran));

  const cases: readonly (readonly [readonly string[], number])[] = [
    [['worker', '--', 'false'], 1],
    [['worker', '--', 'no-such-program'], 127],
    [['worker', '--', '/etc'], 126],
    [['worker', '--', 'sh', '-c', 'kill -KILL $$'], 137],
    [['--timeout', '300ms', 'worker', '--', 'sleep', '60'], 143],
    [['nobody', '--', 'true'], 2],
    [['worker', 'true'], 2],
    [['worker', '--'], 2],
    [['-w', 'relative', 'worker', '--', 'true'], 2],
    [['-e', '1=2', 'worker', '--', 'true'], 2],
    [['-u', 'root', 'worker', '--', 'true'], 2],
    [['--timeout', 'soon', 'worker', '--', 'true'], 2],
  ];
  for (const [args, status] of cases) {
    const result = await scene.cli(['exec', ...args]);
    assert.equal(result.status, status, `${args.join(' ')}: ${describeRun(result)}`);
    if (status === 2) assert.match(result.stderr, /^sallyport: .*\[[A-Z_]+\]\n$/);
  }
  const apart = await scene.cli(['exec', '-e', 'A=b', '-e', 'HOST_ONLY', '-w', '/tmp', 'worker', '--', 'sh', '-c', 'echo "$A $HOST_ONLY $PWD"; echo err >&2'], { env: { HOST_ONLY: 'passed' } }); // prettier-ignore
  assert.deepEqual([apart.stdout, apart.stderr], ['b passed /tmp\n', 'err\n']);
  // A reader that leaves is no failure of the command.
  const cut = await scene.cli(['exec', 'worker', '--', 'sh', '-c', 'yes | head -n 100000; echo done > /tmp/done'], {
    through: ['sh', '-c', '"$@" | head -n 1', 'sh'],
  });
  assert.deepEqual([cut.status, cut.stdout, cut.stderr], [0, 'y\n', ''], describeRun(cut));
  assert.ok(await until(async () => (await scene.exec('worker', ['cat', '/tmp/done'])).stdout === 'done\n'));
});

eachCaller(
  "exec -u takes the sandbox's own user by name and number, and says that there is no other",
  async (caller) => {
    await using scene = await createDaemonScene(caller);
    await scene.create({ name: 'worker' });
    const run = async (user: string) => await scene.cli(['exec', '-u', user, 'worker', '--', 'id', '-un']);
    const facts = await scene.exec('worker', ['sh', '-c', 'echo "$(id -un) $(id -u) $(id -gn) $(id -g)"']);
    const [name = '', uid = '', groupName = '', gid = ''] = facts.stdout.trim().split(' ');
    assert.ok(name !== '' && name !== 'root' && uid !== '0', facts.stdout);
    for (const user of [name, uid, `${uid}:${gid}`, `${name}:${groupName}`, `${uid}:${groupName}`]) {
      const ran = await run(user);
      assert.deepEqual([ran.status, ran.stdout], [0, `${name}\n`], `${user}: ${describeRun(ran)}`);
    }
    const others = [
      'root',
      '0',
      '0:0',
      `${name}:root`,
      `${uid}:0`,
      'nobody',
      '65534',
      ':',
      `${uid}:${gid}:`,
      `0${uid}`,
      ` ${name}`,
    ];
    for (const user of others) {
      const refused = await run(user);
      assert.deepEqual([refused.status, refused.stdout], [2, ''], `${user}: ${describeRun(refused)}`);
      assert.match(
        refused.stderr,
        new RegExp(
          `^sallyport: The command cannot run as .* one user, ${name} \\(${uid}:${gid}\\), and its user namespace no other id\\..*\\[USER_REFUSED\\]\\n$`,
        ),
      );
    }
    await assert.rejects(scene.exec('worker', ['true'], { user: '0' }), { code: 'USER_REFUSED' });
    const sandbox = await Sandbox.get('worker', { connection: new Connection({ socket: scene.socket }) });
    assert.equal((await sandbox.exec('id', ['-u'], { user: uid })).stdout, `${uid}\n`);
    await assert.rejects(sandbox.exec('id', ['-u'], { user: 'root' }), { code: 'USER_REFUSED' });
    const { execs } = await scene.client.ask<{ execs: ExecInfo[] }>({
      method: 'GET',
      path: '/v1/sandboxes/worker/execs',
    });
    assert.ok(
      execs.every(({ state }) => state === 'exited'),
      'what was refused was never a command',
    );
  },
);

test('a client that vanishes leaves the command; attach takes it up again', { skip: NO_SCRIPT }, async () => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker' });
  const nothing = await scene.cli(['attach', 'worker']);
  assert.equal(nothing.status, 2);
  assert.match(nothing.stderr, /No command runs.*\[EXEC_NOT_FOUND\]/);
  const child = spawn(
    join(CHECKOUT, 'sallyport'),
    ['exec', '-i', 'worker', '--', 'sh', '-c', 'echo begun; while read line; do echo "got $line"; done; exit 6'],
    { cwd: scene.workspace, env: { PATH: SYSTEM_PATH, HOME: scene.home, SALLYPORT_WARM: '0' } },
  );
  let seen = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (seen += text));
  child.stdin.write('one\n');
  assert.ok(await until(() => seen === 'begun\ngot one\n'), seen);
  child.kill('SIGKILL');
  await once(child, 'exit');
  const { execs } = await scene.client.ask<{ execs: ExecInfo[] }>({
    method: 'GET',
    path: '/v1/sandboxes/worker/execs',
  });
  assert.equal(execs.at(-1)?.state, 'running', 'it goes on, and its input stays open');
  const attached = await scene.cli(['attach', '-i', 'worker'], { stdin: 'two\n' });
  assert.deepEqual([attached.status, attached.stdout], [6, 'begun\ngot one\ngot two\n'], describeRun(attached));

  const terminal = atTerminal(scene, `${SALLYPORT} exec -it worker -- sh -c 'echo at work; sleep 60'`);
  assert.ok(await terminal.shows('at work'), terminal.screen);
  process.kill(terminal.child.pid ?? 0, 'SIGKILL');
  await terminal.ended;
  const second = atTerminal(scene, `${SALLYPORT} attach -i worker`);
  // What hung up may have ended the command by SIGHUP, as a terminal that is closed does.
  if (await until(() => second.screen.includes('at work'), 3_000)) {
    second.type('\x10\x11');
    assert.equal(await second.ended, 0, second.screen);
    assert.match(second.screen, /goes on by itself/);
  } else await second.ended;
});

test(
  'keys for leaving, and signals that are not passed on, leave the command to itself',
  { skip: NO_SCRIPT },
  async () => {
    await using scene = await createDaemonScene(PRESENT);
    await scene.create({ name: 'worker' });
    const path = '/v1/sandboxes/worker/execs';
    const exec = await scene.client.ask<ExecInfo>({
    method: 'POST',
    path,
    body: { command: ['sh', '-c', 'echo ready; read line; echo "line $line"; sleep 60'], stdin: true, terminal: { columns: 50, rows: 10 } },
  }); // prettier-ignore
    const terminal = atTerminal(scene, `${SALLYPORT} attach -i worker ${exec.id}`);
    assert.ok(await terminal.shows('ready'), terminal.screen);
    terminal.type('\x10x\r');
    assert.ok(await terminal.shows('x'), 'one of both keys alone goes to the command');
    terminal.type('\x10');
    terminal.type('\x11');
    assert.equal(await terminal.ended, 0, terminal.screen);
    assert.match(terminal.screen, new RegExp(`the command ${exec.id} goes on by itself`));
    let pid = 0;
    const watching = scene.cli(['attach', '--no-signals', 'worker'], { onStart: (started) => (pid = started) });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    process.kill(pid, 'SIGINT');
    assert.equal((await watching).signal, 'SIGINT');
    const { state } = await scene.client.ask<ExecInfo>({ method: 'GET', path: `${path}/${exec.id}` });
    assert.equal(state, 'running');
  },
);

eachCaller('cp copies files, directories and streams both ways, byte for byte', async (caller) => {
  await using scene = await createDaemonScene(caller);
  await scene.create({ name: 'worker' });
  const at = (...parts: string[]) => join(scene.workspace, ...parts);
  const own = (path: string) => chownSync(path, caller.uid, caller.gid);
  const bytes = Buffer.from(Array.from({ length: 3_000_000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff));
  const long = `ünï code ${'x'.repeat(150)}`;
  mkdirSync(at('project/deep/empty'), { recursive: true });
  writeFileSync(at('project/run.sh'), '#!/bin/sh\necho ran\n', { mode: 0o755 });
  writeFileSync(at('project/deep', long), bytes);
  symlinkSync('deep', at('project/link'));
  for (const path of ['project', 'project/deep', 'project/deep/empty']) own(at(path));
  const cp = async (...args: string[]) => {
    const result = await scene.cli(['cp', ...args]);
    assert.deepEqual([result.status, result.stderr], [0, ''], `${args.join(' ')}: ${describeRun(result)}`);
    return result;
  };
  await cp('project', 'worker:/tmp');
  await cp('project', 'worker:/tmp/renamed');
  const inside = await scene.exec('worker', [
    'sh',
    '-c',
    '/tmp/project/run.sh; /tmp/renamed/run.sh; readlink /tmp/project/link; ls /tmp/renamed/deep | wc -l',
  ]);
  assert.equal(inside.stdout, 'ran\nran\ndeep\n2\n', inside.stderr);
  await cp('worker:/tmp/project', 'back');
  assert.ok(readFileSync(at('back/deep', long)).equals(bytes));
  assert.deepEqual(readdirSync(at('back')).toSorted(), ['deep', 'link', 'run.sh']);
  const compared = spawnSync('diff', ['-r', '--no-dereference', at('project'), at('back')], { encoding: 'utf8' });
  assert.equal(compared.status, 0, compared.stdout);
  assert.equal(spawnSync(at('back/run.sh'), { encoding: 'utf8' }).stdout, 'ran\n', 'modes come along');

  await cp(`worker:/tmp/project/deep/${long}`, 'one');
  assert.ok(readFileSync(at('one')).equals(bytes));
  const streamed = await scene.cli(['cp', `worker:/tmp/project/deep/${long}`, '-']);
  assert.ok(streamed.stdoutBytes.equals(bytes));
  const sent = await scene.cli(['cp', '-', 'worker:/tmp/sent'], { stdin: bytes });
  assert.equal(sent.status, 0, describeRun(sent));
  const sum = await scene.exec('worker', ['cmp', '/tmp/sent', `/tmp/project/deep/${long}`]);
  assert.equal(sum.exitCode, 0, sum.stdout);
  const archive = await scene.cli(['cp', '--archive', 'worker:/tmp/project', '-']);
  const listed = spawnSync('tar', ['--list'], { input: archive.stdoutBytes, encoding: 'utf8' });
  assert.match(listed.stdout, /^project\/run\.sh$/m);
  const unpacked = await scene.cli(['cp', '-a', '-', 'worker:/var/tmp'], { stdin: archive.stdoutBytes });
  assert.equal(unpacked.status, 0, describeRun(unpacked));
  assert.equal((await scene.exec('worker', ['/var/tmp/project/run.sh'])).stdout, 'ran\n');

  const refusals: readonly (readonly [readonly string[], RegExp])[] = [
    [['a', 'b'], /One of both must be in a sandbox.*USAGE/],
    [['worker:/tmp', 'worker:/x'], /One of both.*USAGE/],
    [['worker:relative', 'x'], /must begin with "\/".*USAGE/],
    [['', 'worker:/x'], /USAGE/],
    [['worker:/nowhere', 'x'], /FILE_NOT_FOUND/],
    [['worker:/', 'x'], /FILE_NOT_FOUND/],
    [['worker:/tmp/project', 'missing/x'], /no directory.*UNREADABLE_FILE/],
    [['missing', 'worker:/tmp'], /UNREADABLE_FILE/],
    [['project/run.sh', 'worker:/nowhere/x'], /FILE_NOT_FOUND/],
    [['project/run.sh', 'worker:/nowhere/'], /FILE_NOT_FOUND/],
    [['project', 'worker:/tmp/sent'], /FILE_FAILED/],
    [['nobody:/tmp', 'x'], /SANDBOX_NOT_FOUND/],
    [['../x:/tmp', 'worker:/tmp'], /UNREADABLE_FILE/],
    [['-a', 'project', 'worker:/tmp'], /--archive is for standard input.*USAGE/],
  ];
  for (const [args, says] of refusals) {
    const result = await scene.cli(['cp', ...args]);
    assert.ok(result.status !== 0 && says.test(result.stderr), `${args.join(' ')}: ${describeRun(result)}`);
  }
  assert.equal(existsSync(at('x')), false);
});

test('lists, facts, statistics, events and logs for people and for programs', async () => {
  await using scene = await createDaemonScene(PRESENT);
  const made = await scene.cli(['create', '--name', 'worker', '--no-workspace', '--memory', '256m', '-e', 'A=b']);
  assert.equal(made.status, 0, describeRun(made));
  await scene.create({ name: 'idle', start: false });
  await scene.cli(['exec', 'worker', '--', 'sh', '-c', 'echo out; echo err >&2; exit 3']);
  const json = async <T>(...args: string[]): Promise<T> =>
    JSON.parse((await scene.cli([...args, '--json'])).stdout) as T;

  assert.equal((await scene.cli(['ls', '-q'])).stdout, 'worker\nidle\n');
  assert.match(
    (await scene.cli(['ls'])).stdout,
    /^NAME +STATE +COMMANDS +CREATED +SECRETS\nworker +running +0 +[\d: -]+\nidle +created .*\n$/,
  );
  assert.deepEqual(
    (await json<SandboxInfo[]>('ls')).map(({ name }) => name),
    ['worker', 'idle'],
  );
  assert.match(
    (await scene.cli(['inspect', 'worker'])).stdout,
    /^name +worker\n[^]*^variables +A\n[^]*^memory +256 MB$/m,
  );
  assert.equal((await json<SandboxInfo>('inspect', 'worker')).limits.memoryBytes, 256 * 1024 * 1024);

  assert.match((await scene.cli(['stats'])).stdout, /^NAME +MEMORY +LIMIT .*\nworker +\S+ .*\n$/);
  const [stats] = await json<({ name: string } & SandboxStats)[]>('stats', 'worker');
  assert.ok(stats?.name === 'worker' && stats.connections === 0, JSON.stringify(stats));
  assert.match((await scene.cli(['stats', 'idle'])).stderr, /SANDBOX_NOT_RUNNING/);

  const events = (await scene.cli(['events', '--json'])).stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as DaemonEvent);
  assert.deepEqual(
    events.filter(({ sandbox }) => sandbox === 'worker').map(({ type }) => type),
    ['sandbox.created', 'sandbox.starting', 'sandbox.running', 'exec.started', 'exec.exited'],
  );
  const after = await scene.cli(['events', 'worker', '--after', String(events[0]?.id), '--json']);
  assert.ok(!after.stdout.includes('sandbox.created'));
  assert.match((await scene.cli(['events', 'worker'])).stdout, /worker {2}exec\.exited {2}[0-9a-f]{20} {2}3\n$/);
  assert.match((await scene.cli(['events', '--after', 'x'])).stderr, /USAGE/);
  assert.match((await scene.cli(['events', 'nobody'])).stderr, /SANDBOX_NOT_FOUND/);

  const lines = (await scene.cli(['logs', 'worker', '--json'])).stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as LogEntry);
  assert.deepEqual(lines.map(({ stream, data }) => `${stream} ${Buffer.from(data, 'base64').toString()}`).toSorted(), [
    'stderr err\n',
    'stdout out\n',
  ]);
  assert.match((await scene.cli(['logs', 'worker', '--tail', '-1'])).stderr, /USAGE/);
  assert.match((await scene.cli(['logs', 'worker', 'nope'])).stderr, /EXEC_NOT_FOUND/);

  const version = await json<{ version: string; daemon: { pid: number } | null }>('version');
  assert.equal(version.daemon?.pid, (await scene.status()).pid);
  assert.match(
    (await scene.cli(['version'])).stdout,
    /^sallyport \S+, API v1, Node \S+\ndaemon \S+, API v1, process \d+\n$/,
  );

  // One that fails keeps none of the others from their turn.
  const several = await scene.cli(['stop', 'nobody', 'worker', 'neither']);
  assert.deepEqual([several.status, several.stdout], [2, 'worker\n'], describeRun(several));
  assert.match(several.stderr, /"nobody"[^]*"neither"/);
});

test('stop gives commands the time that it is told, and events are followed over a restart', async () => {
  await using scene = await createDaemonScene(PRESENT);
  let follower = 0;
  const following = scene.cli(['events', '-f', '--json'], { onStart: (pid) => (follower = pid) });
  for (const name of ['deaf', 'hears']) await scene.create({ name });
  const own = scene.cli(['events', '--follow', 'hears']);
  const start = async (name: string, script: string): Promise<ExecInfo> =>
    await scene.client.ask({
      method: 'POST',
      path: `/v1/sandboxes/${name}/execs`,
      body: { command: ['sh', '-c', script] },
    });
  const hears = await start(
    'hears',
    'trap "sleep 0.5; echo tidied; exit 3" TERM; echo ready; while :; do sleep 0.1; done',
  );
  const deaf = await start('deaf', 'trap "" TERM; echo ready; while :; do sleep 0.1; done');
  for (const name of ['deaf', 'hears'])
    assert.ok(await until(async () => (await scene.cli(['logs', name])).stdout === 'ready\n'));
  const stopped = await scene.cli(['stop', '--timeout', '1s', 'deaf', 'hears']);
  assert.deepEqual([stopped.status, stopped.stdout], [0, 'deaf\nhears\n'], describeRun(stopped));
  assert.ok(stopped.milliseconds > 1_000, 'the deaf one had its time');
  assert.equal((await scene.cli(['logs', 'hears'])).stdout, 'ready\ntidied\n');
  const codeOf = async (name: string, { id }: ExecInfo): Promise<number | null> =>
    (await scene.client.ask<ExecInfo>({ method: 'GET', path: `/v1/sandboxes/${name}/execs/${id}` })).exitCode;
  assert.deepEqual([await codeOf('hears', hears), await codeOf('deaf', deaf)], [3, 137]);
  assert.equal((await scene.cli(['stop', '--timeout', 'soon', 'deaf'])).status, 2);

  await scene.killDaemon();
  await scene.startDaemon();
  assert.equal((await scene.cli(['start', 'deaf'])).status, 0);
  const again = await start('deaf', 'trap "" TERM; sleep 600');
  assert.equal((await scene.cli(['stop', '--timeout', '0', 'deaf'])).status, 0);
  assert.equal(await codeOf('deaf', again), 137);
  assert.equal((await scene.cli(['rm', 'hears', 'deaf'])).stdout, 'hears\ndeaf\n');
  const ended = await own;
  assert.deepEqual([ended.status, ended.stdout.trimEnd().split('\n').at(-1)?.includes('sandbox.removed')], [0, true]);
  const all = await scene.cli(['events', '--json']);
  assert.match(all.stdout, /"sandbox\.removed".*\n$/);
  await new Promise((resolve) => setTimeout(resolve, 500));
  process.kill(follower, 'SIGINT');
  assert.equal((await following).stdout, all.stdout, 'nothing is missing, and nothing comes twice');
});

test('run --keep leaves the sandbox behind, and nothing without it', async () => {
  await using scene = await createDaemonScene(PRESENT);
  const args = ['--name', 'worker', '--no-workspace', '-e', 'A=b'];
  const gone = await scene.cli(['run', ...args, '--', 'true']);
  assert.equal(gone.status, 0, describeRun(gone));
  assert.equal((await scene.cli(['ls', '-q'])).stdout, '');
  const kept = await scene.cli(
    ['run', ...args, '--keep', '--', 'sh', '-c', 'cat > /tmp/input; echo "$A" >&2; exit 4'],
    {
      stdin: 'some input',
    },
  );
  assert.equal(kept.status, 4, describeRun(kept));
  assert.match(kept.stderr, /the sandbox worker stays[^]*\nb\n$/);
  assert.equal((await scene.exec('worker', ['cat', '/tmp/input'])).stdout, 'some input');
  const again = await scene.cli(['run', ...args, '--keep', '--', 'true']);
  assert.equal(again.status, 2);
  assert.match(again.stderr, /Choose another name.*\[SANDBOX_EXISTS\]/);
  const both = await scene.cli(['run', '--keep', '--timings', '--', 'true']);
  assert.match(both.stderr, /\[USAGE\]/);
  const failed = await scene.cli([
    'run',
    '--keep',
    '--name',
    'other',
    '--no-workspace',
    '--runtime',
    '/bin/false',
    '--',
    'true',
  ]);
  assert.equal(failed.status, 125, describeRun(failed));
  assert.equal((await scene.cli(['ls', '-q'])).stdout, 'worker\n');
});

test(
  'reset asks, then removes everything but audit logs, also where the state is damaged',
  { skip: NO_SCRIPT },
  async () => {
    await using scene = await createDaemonScene(PRESENT);
    await scene.create({ name: 'worker' });
    await scene.create({ name: 'other', start: false });
    const unasked = await scene.cli(['reset']);
    assert.deepEqual([unasked.status, unasked.stdout], [2, '']);
    assert.match(unasked.stderr, /Add --force.*\[USAGE\]/);
    const no = atTerminal(scene, `${SALLYPORT} reset`);
    assert.ok(await no.shows('This removes 2: worker, other.'), no.screen);
    no.type('n\r');
    assert.equal(await no.ended, 1, no.screen);
    assert.equal((await scene.cli(['ls', '-q'])).stdout, 'worker\nother\n');
    const yes = atTerminal(scene, `${SALLYPORT} reset`);
    assert.ok(await yes.shows('[y/N]'), yes.screen);
    yes.type('y\r');
    assert.equal(await yes.ended, 0, yes.screen);
    assert.equal((await scene.cli(['daemon', 'status'])).status, 1);
    assert.ok(readdirSync(join(scene.stateDirectory, 'audit')).some((name) => name.includes('worker')));
    assert.equal(existsSync(join(scene.stateDirectory, 'sandboxes')), false);

    await scene.startDaemon();
    await scene.create({ name: 'worker', env: { MARK: 'reset' } });
    const sleeping = scene.cli(['exec', 'worker', '--', 'sleep', '300']);
    assert.ok(await until(async () => (await scene.status()).runningExecs === 1));
    await scene.killDaemon();
    for (const name of ['state.db-wal', 'state.db-shm'])
      rmSync(join(scene.stateDirectory, 'daemon', name), { force: true });
    writeFileSync(join(scene.stateDirectory, 'daemon', 'state.db'), 'no database'.repeat(1000));
    const reset = await scene.cli(['reset', '--force']);
    assert.equal(reset.status, 0, describeRun(reset));
    assert.match(reset.stderr, /state\.db" (?:cannot be opened|is damaged)[^]*its state is removed/);
    const cut = await sleeping;
    assert.notEqual(cut.status, 0, 'its sandbox is gone');
    assert.equal(existsSync(join(scene.stateDirectory, 'sandboxes')), false);
  },
);

eachCaller('doctor passes where sandboxes can be made, and says what to do where not', async (caller) => {
  await using scene = await createDaemonScene(caller);
  const good = await scene.cli(['doctor', '--json']);
  const { ok, checks } = JSON.parse(good.stdout) as {
    ok: boolean;
    checks: { id: string; status: string; detail: string }[];
  };
  assert.equal(good.status, 0, describeRun(good));
  assert.ok(ok && checks.every(({ status }) => status !== 'fail'));
  assert.deepEqual(checks.map(({ id }) => id), [
    'kernel', 'node', 'tool-unshare', 'tool-nsenter', 'tool-mount', 'tool-ip', 'tool-tar', 'tool-tini', 'tool-conmon', 'runtime', 'seccomp',
    'roots', 'library', 'namespaces', 'limits', 'state', 'sandbox',
  ]); // prettier-ignore
  writeFileSync(join(scene.tmp, 'file'), '');
  const bad = await scene.cli(['doctor'], { env: { XDG_STATE_HOME: join(scene.tmp, 'file') } });
  assert.equal(bad.status, 1, describeRun(bad));
  assert.match(bad.stdout, /^FAIL {2}state directory: .*XDG_STATE_HOME/m);
  assert.match(bad.stdout, /see FAIL above\.\n$/);
});

/** Where a shell is, if anywhere. */
function findShell(name: string): string | undefined {
  return SYSTEM_PATH.split(':')
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
}

const COMPLETIONS: Readonly<Record<string, (script: string, words: readonly string[]) => readonly string[]>> = {
  bash: (script, words) => [
    '--norc', '-c', `source '${script}'; COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _sallyport; printf '%s\\n' "\${COMPREPLY[@]}"`,
  ],
  // What zsh itself does with a list (`_describe`) is left to it: the lists are printed.
  zsh: (script, words) => [
    '-f', '-c', `compdef() { }; _files() { }; _describe() { print -rl -- "\${(@P)2}" }; source '${script}'; words=(${words.map((word) => `'${word}'`).join(' ')}); CURRENT=${words.length}; _sallyport`,
  ],
  fish: (script, words) => ['--no-config', '-c', `source '${script}'; complete -C '${words.join(' ')}'`],
}; // prettier-ignore

for (const shell of ['bash', 'zsh', 'fish']) {
  const program = findShell(shell);
  test(
    `completion ${shell} is a script that ${shell} reads, and completes`,
    { skip: program === undefined && `needs ${shell}` },
    async () => {
      assert.ok(program !== undefined);
      await using scene = await createDaemonScene(PRESENT);
      await scene.create({ name: 'worker', start: false });
      const script = join(scene.tmp, shell);
      const made = await scene.cli(['completion', shell]);
      writeFileSync(script, made.stdout);
      const run = (...args: string[]) =>
        spawnSync(program, args, {
          encoding: 'utf8',
          env: { PATH: `${CHECKOUT}:${SYSTEM_PATH}`, HOME: scene.home, TERM: 'dumb' },
        });
      const parsed = run('-n', script);
      assert.deepEqual([parsed.status, parsed.stderr], [0, '']);
      const complete = COMPLETIONS[shell];
      assert.ok(complete !== undefined);
      const found = (...words: string[]): string[] =>
        run(...complete(script, words))
          .stdout.split('\n')
          .map((line) => line.split(shell === 'zsh' ? ':' : '\t')[0] ?? '')
          .filter((line) => line !== '' && line.startsWith(words.at(-1) ?? ''));
      assert.deepEqual(found('sallyport', 'ex'), ['exec']);
      assert.deepEqual(found('sallyport', 'daemon', '').toSorted(), ['logs', 'restart', 'start', 'status', 'stop']);
      assert.deepEqual(found('sallyport', 'exec', '--ti'), ['--timeout']);
      assert.deepEqual(found('sallyport', 'completion', 'z'), ['zsh']);
      assert.ok(found('sallyport', 'inspect', 'wor').includes('worker'));
      assert.deepEqual(found('sallyport', 'secret', 'set', 'openr'), ['openrouter']);
    },
  );
}

test('long steps show their progress at a terminal, and nowhere else', { skip: NO_SCRIPT }, async () => {
  await using scene = await createDaemonScene(PRESENT);
  await scene.create({ name: 'worker' });
  // A command that does not listen to SIGTERM makes the end of its sandbox take a while.
  await scene.client.ask({
    method: 'POST',
    path: '/v1/sandboxes/worker/execs',
    body: { command: ['sh', '-c', 'trap "" TERM; while :; do sleep 0.2; done'] },
  });
  const terminal = atTerminal(scene, `${SALLYPORT} stop --timeout 2s worker`);
  assert.equal(await terminal.ended, 0, terminal.screen);
  assert.match(terminal.screen, /sallyport: stopping "worker" … 1 s/);
  assert.ok(terminal.screen.trimEnd().endsWith('\u001b[2Kworker'), 'the line is gone in the end');
});
