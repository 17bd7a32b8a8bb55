import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHECKOUT, createScene, eachCaller, findPresentCaller } from './harness/caller.ts';
import type { Scene } from './harness/caller.ts';
import { newCanary } from './harness/canary.ts';
import { createAuthority } from './harness/certificates.ts';
import { deterministicBytes, headerValues } from './harness/recording.ts';
import { assertRunKeptSecret, describeRun, sallyport } from './harness/sallyport.ts';
import type { SallyportOptions, SallyportResult } from './harness/sallyport.ts';
import { findProgram, SYSTEM_PATH } from './harness/tools.ts';
import { startUpstream } from './harness/upstream.ts';
import { receivedCredential } from './harness/upstream-endpoints.ts';

const API = 'api.test.example';
const OTHER = 'other.test.example';

/** Runs a shell script in a sandbox and returns what became of it, whatever that is. */
function inside(
  scene: Scene,
  options: readonly string[],
  script: string,
  more: Partial<SallyportOptions> = {},
): Promise<SallyportResult> {
  return sallyport(['run', ...options, '--', 'sh', '-c', script], { scene, ...more });
}

async function output(scene: Scene, options: readonly string[], script: string, more: Partial<SallyportOptions> = {}) {
  const result = await inside(scene, options, script, more);
  assert.equal(result.status, 0, describeRun(result));
  return result.stdout;
}

eachCaller(
  '--secret takes the value from the host variable or from the option, for each of its hosts',
  async (caller) => {
    const canary = newCanary();
    const given = `${newCanary().value}@with=signs`;
    using scene = createScene(caller);
    await using upstream = await startUpstream({ names: [API, OTHER, 'deep.below.test.example'] });
    const result = await inside(
      scene,
      [
        ...upstream.flags(),
        '--secret',
        `FROM_HOST@${API},**.below.test.example`,
        '--secret',
        `GIVEN=${given}@${OTHER}`,
        '--secret',
        `FROM_HOST@http://${OTHER}`,
      ],
      `set -e
     for url in https://${API}/1 https://deep.below.test.example/2 https://${OTHER}/3 http://${OTHER}/4; do
       curl -sS -o /dev/null -H "X-A: $FROM_HOST" -H "X-B: $GIVEN" $url
     done
     case $FROM_HOST$GIVEN in sp_FROM_HOST_*sp_GIVEN_*) ;; *) exit 1 ;; esac`,
      { env: { FROM_HOST: canary.value, GIVEN: 'not this one' }, canary },
    );
    assert.equal(result.status, 0, describeRun(result));
    const received = upstream.requests.map((request) => {
      const [a = '', b = ''] = [headerValues(request, 'x-a')[0], headerValues(request, 'x-b')[0]];
      return `${request.target} ${a === canary.value} ${b === given}`;
    });
    assert.deepEqual(received, ['/1 true false', '/2 true false', '/3 false true', '/4 true false']);
    assert.deepEqual(
      result.audit.map((event) => [event['secrets'], event['stray']]),
      [
        [['FROM_HOST'], ['GIVEN']],
        [['FROM_HOST'], ['GIVEN']],
        [['GIVEN'], ['FROM_HOST']],
        [['FROM_HOST'], ['GIVEN']],
      ],
    );
    assertRunKeptSecret(canary, result, scene);
    assertRunKeptSecret({ value: given }, result, scene);
  },
);

test('--secret-in says where placeholders are replaced, and nowhere else', async () => {
  const everywhere = ['authorization', 'x-api-key', 'basic', 'query', 'path'];
  const cases: [string[], string[]][] = [
    [[], ['authorization', 'x-api-key', 'basic']],
    [['header'], ['authorization', 'x-api-key']],
    [['header:X-Api-Key'], ['x-api-key']],
    [['basic'], ['basic']],
    [['query'], ['query']],
    [['path'], ['path']],
    [
      ['query,path', 'basic'],
      ['basic', 'query', 'path'],
    ],
  ];
  const canary = newCanary('awkward');
  using scene = createScene(findPresentCaller());
  await using upstream = await startUpstream({ names: [API] });
  for (const [locations, expected] of cases) {
    upstream.clear();
    const result = await inside(
      scene,
      [...upstream.flags(), '--secret', `T@${API}`, ...locations.flatMap((text) => ['--secret-in', text])],
      `set -e; U=https://${API}; c() { curl -sS -o /dev/null "$@"; }
       c -H "Authorization: Bearer $T" $U/authorization; c -H "X-Api-Key: $T" $U/x-api-key; c -u "me:$T" $U/basic
       c "$U/query?key=$T"; c "$U/path/$T/end"`,
      { env: { T: canary.value }, canary },
    );
    assert.equal(result.status, 0, describeRun(result));
    const replaced = upstream.requests.flatMap((request) => {
      const url = new URL(request.target, 'https://upstream');
      const name = url.pathname.split('/')[1] ?? '';
      const value =
        name === 'path' ? decodeURIComponent(url.pathname.split('/')[2] ?? '') : receivedCredential(request);
      assert.ok(value === canary.value || value.startsWith('sp_T_'), `${name} got something else`);
      return value === canary.value ? [name] : [];
    });
    assert.deepEqual(replaced, expected, `--secret-in ${locations.join(' ')}`);
    assert.equal(upstream.requests.length, everywhere.length);
    assertRunKeptSecret(canary, result, scene);
  }
});

eachCaller('--allow, --deny and --tunnel open exactly what they name', async (caller) => {
  using scene = createScene(caller);
  const authority = await createAuthority();
  const names = [API, OTHER, 'a.wild.test.example', 'b.wild.test.example', 'pinned.test.example', '203.0.113.7'];
  await using upstream = await startUpstream({ names, authority });
  const pins = (host: string, ...ports: number[]) =>
    ports.flatMap((port) => ['--resolve', `${host}:${port}:127.0.0.1:${upstream.httpPort}`]);
  writeFileSync(join(scene.assets, 'root.pem'), authority.certificatePem);
  const probes: [url: string, expected: string][] = [
    [`https://${API}/`, '200'],
    [`http://${API}/`, '200'],
    [`https://${OTHER}/`, '403'], // Allowed on port 80 alone.
    [`http://${OTHER}/`, '200'],
    ['https://a.wild.test.example/', '200'],
    ['https://b.wild.test.example/', '403'], // Denied by name, below a wildcard that allows.
    ['http://wild.test.example/', '403'], // A wildcard is not the bare name.
    ['https://pinned.test.example/', '000'], // The sandbox does not know the upstream's own authority…
    ['http://pinned.test.example/', '403'],
    ['http://203.0.113.7:8080/', '200'],
    ['http://203.0.113.7/', '403'],
    ['http://203.0.113.99:8080/', '000'], // Denied within an allowed network: a raw port is closed, without words.
    [`http://${API}:8081/`, '000'],
    ['http://169.254.169.254/latest/meta-data/', '403'],
    ['https://unheard-of.test.example/', '403'],
  ];
  const result = await inside(
    scene,
    [
      ...upstream.flags(API, OTHER, 'a.wild.test.example', 'b.wild.test.example', 'pinned.test.example'),
      ...pins('203.0.113.7', 80, 8080),
      ...pins('203.0.113.99', 8080),
      ...['--secret', 'UNUSED=some-unused-value@unused.test.example'],
      ...['--allow', API, '--allow', `${OTHER}:80`, '--allow', '*.wild.test.example', '--allow', '203.0.113.0/24:8080'],
      ...['--deny', 'b.wild.test.example', '--deny', '203.0.113.99:8080', '--tunnel', 'pinned.test.example'],
      ...['-v', `${scene.assets}:/assets:ro`],
    ],
    `${probes.map(([url]) => `curl -s -o /dev/null -w '${url} %{http_code}\\n' --max-time 10 ${url}`).join('\n')}
     curl -sS --cacert /assets/root.pem -o /dev/null -w 'tunnel %{http_code}\\n' https://pinned.test.example/`,
  );
  assert.equal(result.status, 0, describeRun(result));
  assert.deepEqual(result.stdout.trim().split('\n'), [...probes.map((probe) => probe.join(' ')), 'tunnel 200']);
  const kinds = result.audit.filter((event) => event['host'] === 'pinned.test.example' && event['port'] === 443);
  assert.deepEqual([...new Set(kinds.map((event) => event['kind']))], ['tunnel']);
});

eachCaller('--env and --env-file give plain variables, and nothing else of the host is inside', async (caller) => {
  using scene = createScene(caller);
  const file = join(scene.assets, 'plain.env');
  writeFileSync(
    file,
    '\uFEFF# comment\r\n\n  FIRST=one two\r\nQUOTED="as is"\nOVER=file\nPASSED\nABSENT\nEMPTY=\nEQUALS=a=b\n',
  );
  const text = await output(
    scene,
    ['--env-file', file, '-e', 'OVER=option', '--env', 'ALSO', '-e', 'LINES=a\nb'],
    'env',
    {
      env: { PASSED: 'from the host', ALSO: 'too', HIDDEN: 'stays outside' },
    },
  );
  const lines = text.split('\n');
  for (const line of [
    'FIRST=one two',
    'QUOTED="as is"',
    'OVER=option',
    'PASSED=from the host',
    'ALSO=too',
    'EMPTY=',
    'EQUALS=a=b',
  ]) {
    assert.ok(lines.includes(line), `${line} is missing in\n${text}`);
  }
  assert.ok(text.includes('LINES=a\nb\n'));
  assert.ok(!text.includes('ABSENT') && !text.includes('HIDDEN'), text);
});

test('--env-file is not read by Node itself: a NODE_OPTIONS in it runs nothing on the host', async () => {
  using scene = createScene(findPresentCaller());
  const marker = join(scene.root, 'ran-on-the-host');
  const evil = join(scene.workspace, 'evil.cjs');
  writeFileSync(evil, `require('node:fs').writeFileSync(${JSON.stringify(marker)}, '')`);
  writeFileSync(join(scene.workspace, '.env'), `NODE_OPTIONS=--require=${evil}\n`);
  for (const flags of [['--env-file', '.env'], ['--env-file=.env']]) {
    assert.equal(await output(scene, flags, 'echo $NODE_OPTIONS'), `--require=${evil}\n`);
    assert.ok(!existsSync(marker), 'code of the workspace ran on the host');
  }
});

eachCaller(
  '--volume, --workdir and --no-workspace decide what is mounted and where the command starts',
  async (caller) => {
    using scene = createScene(caller);
    writeFileSync(join(scene.workspace, 'file'), 'of the workspace\n');
    mkdirSync(join(scene.workspace, 'sub'));
    writeFileSync(join(scene.assets, 'data'), 'of the volume\n');
    const make = join(scene.root, 'writable');
    mkdirSync(make);
    if (process.getuid?.() === 0) (await import('node:fs')).chownSync(make, caller.uid, caller.gid);
    assert.equal(await output(scene, [], 'pwd; cat file; echo new > made'), `${scene.workspace}\nof the workspace\n`);
    assert.equal(readFileSync(join(scene.workspace, 'made'), 'utf8'), 'new\n');
    assert.equal(statSync(join(scene.workspace, 'made')).uid, caller.uid);
    const mounted = await output(
      scene,
      ['-v', `${scene.assets}:/data:ro`, '--volume', `../writable:/rw`, '-w', join(scene.workspace, 'sub')],
      'pwd; cat /data/data; (echo x > /data/new) 2>/dev/null || echo kept; echo there > /rw/made',
    );
    assert.equal(mounted, `${join(scene.workspace, 'sub')}\nof the volume\nkept\n`);
    assert.equal(readFileSync(join(make, 'made'), 'utf8'), 'there\n');
    assert.ok(!existsSync(join(scene.assets, 'new')));
    const without = await output(scene, ['--no-workspace'], `pwd; ls -A ~; test -e ${scene.workspace} || echo absent`);
    assert.match(without, /^\/home\/[\w-]+\nabsent\n$/);
    // From another directory, and with one whose name is awkward.
    const awkward = join(scene.root, `it's "awkward", $HOME`);
    mkdirSync(awkward);
    assert.equal(await output(scene, [], 'pwd', { cwd: awkward }), `${awkward}\n`);
  },
);

eachCaller(
  '--name is the host name and in every audit event; --runtime and --timeout do as they say',
  async (caller) => {
    using scene = createScene(caller);
    const named = await inside(
      scene,
      ['--name', 'worker-7'],
      'hostname; curl -s http://denied.test.example/ >/dev/null',
    );
    assert.equal(named.stdout, 'worker-7\n');
    assert.deepEqual(
      named.audit.map((event) => event['sandbox']),
      ['worker-7'],
    );
    const runc = findProgram('runc');
    for (const runtime of [
      ...(runc === undefined ? [] : ['runc', runc]),
      ...(findProgram('crun') === undefined ? [] : ['crun']),
    ]) {
      assert.equal(await output(scene, ['--runtime', runtime, '-q'], 'echo runs'), 'runs\n', runtime);
    }
    const patient = await inside(scene, ['--timeout', '1h'], 'echo in time');
    assert.deepEqual([patient.status, patient.stdout, patient.stderr], [0, 'in time\n', '']);
    const late = await inside(scene, ['--timeout', '300ms'], 'echo started; exec sleep 60');
    assert.deepEqual([late.status, late.stdout], [143, 'started\n'], describeRun(late));
    assert.match(late.stderr, /time limit has passed/);
    const polite = await inside(scene, ['--timeout', '300ms'], 'trap "echo bye; exit 3" TERM; sleep 60 & wait');
    assert.deepEqual([polite.status, polite.stdout], [3, 'bye\n'], describeRun(polite));
  },
);

test('--resolve and --upstream-ca change the address and the roots, not the checks', async () => {
  using scene = createScene(findPresentCaller());
  await using right = await startUpstream({ names: [API] });
  await using foreign = await startUpstream({ names: [OTHER] });
  const get = (host: string) => `curl -s https://${host}/`;
  const options = ['--secret', `T=a-value-that-counts@${API},${OTHER}`];
  const pin = ['--resolve', `${API}:443:127.0.0.1:${right.httpsPort}`];
  assert.match(await output(scene, [...options, ...pin], get(API)), /UPSTREAM_TLS_FAILED/);
  assert.match(await output(scene, [...options, ...pin, '--upstream-ca', right.caFile], get(API)), /"method":"GET"/);
  // Several roots; a pin to an upstream that proves to be somebody else.
  const both = ['--upstream-ca', right.caFile, '--upstream-ca', foreign.caFile];
  const crossed = ['--resolve', `${OTHER}:443:127.0.0.1:${right.httpsPort}`];
  const answer = await output(scene, [...options, ...pin, ...crossed, ...both], `${get(API)}; ${get(OTHER)}`);
  assert.match(answer, /"method":"GET"[^]*UPSTREAM_TLS_FAILED/);
  assert.equal(right.requests.length, 2);
  // IPv6, where the machine has it.
  const v6 = await inside(scene, [...options, '--resolve', `${API}:443:[::1]:9`], get(API));
  assert.match(v6.stdout, /UPSTREAM_UNREACHABLE/);
});

eachCaller('audit events go to --audit, or to one file a run below the state directory', async (caller) => {
  using scene = createScene(caller);
  const file = join(scene.tmp, 'own.jsonl');
  for (const expected of [1, 2]) {
    await output(scene, ['--audit', file], 'curl -s -o /dev/null http://denied.test.example/');
    assert.equal(readFileSync(file, 'utf8').trim().split('\n').length, expected, 'a second run goes on with the chain');
  }
  assert.equal(statSync(file).mode & 0o777, 0o600);
  const state = join(scene.root, 'state');
  for (const [base, env] of [
    [join(scene.home, '.local/state'), {}],
    [state, { XDG_STATE_HOME: state }],
    [join(scene.home, '.local/state'), { XDG_STATE_HOME: 'relative/is/ignored' }],
  ] as const) {
    const directory = join(base, 'sallyport/audit');
    const before = existsSync(directory) ? readdirSync(directory) : [];
    await output(scene, ['--name', 'kept'], 'curl -s -o /dev/null http://denied.test.example/', { audit: false, env });
    const added = readdirSync(directory).filter((name) => name.endsWith('.jsonl') && !before.includes(name));
    assert.equal(added.length, 1);
    assert.match(added[0] ?? '', /^\d{4}-\d\d-\d\dT\d{9}Z-kept\.jsonl$/);
    assert.equal(
      readFileSync(join(directory, added[0] ?? ''), 'utf8')
        .trim()
        .split('\n').length,
      1,
    );
    assert.equal(statSync(directory).mode & 0o777, 0o700);
  }
});

test("notices are for people: -q silences them, --verbose and --timings add to them, standard output stays the command's", async () => {
  using scene = createScene(findPresentCaller());
  const shared = ['--secret', 'T=a-value-that-counts@gist.github.com'];
  const plain = await inside(scene, shared, 'echo out; echo err >&2');
  assert.match(plain.stderr, /^sallyport: .*gist\.github\.com.*\n(sallyport: .*\n)*err\n$/);
  const quiet = await inside(scene, [...shared, '--quiet'], 'echo out; echo err >&2');
  assert.equal(quiet.stderr, 'err\n');
  const verbose = await inside(scene, [...shared, '--verbose'], 'echo out; sleep 0.2; echo err >&2');
  assert.match(verbose.stderr, /sallyport: sandbox run-[0-9a-f]{8} runs; audit events go to /);
  const timed = await inside(scene, ['--timings'], 'echo out; sleep 0.2');
  assert.match(timed.stderr, /^ +\d+\.\d ms  \w/m);
  for (const { stdout } of [plain, quiet, verbose, timed]) assert.equal(stdout, 'out\n');
  const failed = await inside(scene, ['-q', '--name', 'Not A Name'], 'true');
  assert.match(failed.stderr, /\[INVALID_NAME\]\n$/, 'a failure is never silent');
});

test('the command stands after "--", and what stands elsewhere is explained', async () => {
  using scene = createScene(findPresentCaller());
  const secret = 'a-secret-value-0815';
  const cases: [string[], RegExp][] = [
    [['run'], /There is no command\. Write sallyport run \[options\] -- COMMAND/],
    [['run', '--'], /There is no command/],
    [['run', 'claude'], /"claude" stands before the command.*run \[options\] -- COMMAND.*images and agents/],
    [['run', 'claude', '--', 'true'], /"claude" stands before/],
    [['run', '-q', 'debian:12', 'true'], /stands before the command/],
    [['exec', 'worker'], /There is no command\. Write sallyport exec \[options\] NAME -- COMMAND/],
    [['run', 'curl', '-s', 'https://x'], /no option "-s"\. If it belongs to the command, put -- before the command/],
    [['run', 'curl', '--silent', 'https://x'], /no option "--silent"\. If it belongs to the command, put --/],
    [['run', '--sercet', 'T@h', '--', 'true'], /no option "--sercet"\. Did you mean --secret\?/],
    [['run', `--secrets=T=${secret}@h.example`, '--', 'true'], /no option "--secrets"/],
    [['run', `-sT=${secret}@h.example`, '--', 'true'], /no option "-s"/],
    [['run', `T=${secret}@h.example`, '--', 'true'], /A word that belongs to no option/],
    [['run', '--secret', '--', 'true'], /The option --secret <spec> has no value/],
    [['run', '--audit', '--', 'true'], /The option --audit <file> has no value/],
    [['run', '-e', '--', 'true'], /The option -e, --env <variable> has no value/],
    [['run', '--quiet=yes', '--', 'true'], /option/],
    [[`T=${secret}@h.example`], /There is no command of that name/],
    [['rnu'], /There is no command "rnu"\. Did you mean run\?/],
    [['audit', 'verify'], /The argument <file> is missing/],
    [['audit', 'verify', 'a', 'b'], /more arguments/],
  ];
  for (const [args, expected] of cases) {
    const result = await sallyport(args, { scene, audit: false });
    assert.deepEqual([result.status, result.stdout], [2, ''], describeRun(result));
    assert.match(result.stderr, expected, args.join(' '));
    assert.match(result.stderr, /^sallyport: .* \[(USAGE|NOT_SUPPORTED_YET)\]\n$/, args.join(' '));
    assert.ok(!result.stderr.includes(secret));
  }
  // Words after "--" are the command's, whatever they look like.
  assert.equal(await output(scene, [], 'echo ok'), 'ok\n');
  const words = await sallyport(['run', '--', 'printf', '%s|', '--', '-q', '--help', ''], { scene });
  assert.equal(words.stdout, '--|-q|--help||');
});

eachCaller("the exit status is the command's own, as a shell gives it", async (caller) => {
  using scene = createScene(caller);
  writeFileSync(join(scene.workspace, 'not-executable'), 'data');
  const cases: [string[], number][] = [
    [['true'], 0],
    [['sh', '-c', 'exit 1'], 1],
    [['sh', '-c', 'exit 2'], 2],
    [['sh', '-c', 'exit 125'], 125],
    [['sh', '-c', 'exit 255'], 255],
    [['sh', '-c', 'kill -TERM $$'], 143],
    [['sh', '-c', 'kill -KILL $$'], 137],
    [['sh', '-c', 'kill -SEGV $$'], 139],
    [['./not-executable'], 126],
    [[scene.workspace], 126],
    [['no-such-command'], 127],
    [['./no-such-file'], 127],
  ];
  for (const [command, expected] of cases) {
    const result = await sallyport(['run', '--', ...command], { scene });
    assert.equal(result.status, expected, `${command.join(' ')}: ${describeRun(result)}`);
  }
});

test('help is true: it lists the options, and each that it lists is known', async () => {
  using scene = createScene(findPresentCaller());
  const help = async (...args: string[]) => {
    const result = await sallyport([...args, '--help'], { scene, audit: false });
    assert.deepEqual([result.status, result.stderr], [0, ''], describeRun(result));
    return result.stdout;
  };
  const run = await help('run');
  const listed = [...run.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)(?: <\w+>)?/gm)].map(([, name]) => name ?? '');
  for (const name of [
    '--secret',
    '--secret-in',
    '--allow',
    '--deny',
    '--tunnel',
    '--env',
    '--env-file',
    '--volume',
    '--workdir',
    '--no-workspace',
    '--force-workspace',
    '--name',
    '--memory',
    '--cpus',
    '--pids',
    '--timeout',
    '--runtime',
    '--resolve',
    '--upstream-ca',
    '--audit',
    '--quiet',
    '--verbose',
    '--timings',
  ]) {
    assert.ok(listed.includes(name), `${name} is not in the help`);
  }
  assert.ok(!run.includes('default: []'), run);
  for (const name of listed.filter((name) => name !== '--help')) {
    const result = await sallyport(['run', name, 'x', '--', 'true'], { scene, audit: false });
    assert.doesNotMatch(result.stderr, /There is no option/, name);
  }
  assert.match(await help(), /\n {2}run .*\n[^]*\n {2}audit /);
  assert.match(await help('audit'), /verify/);
  assert.match(await help('audit', 'verify'), /0 whole, 1 changed, removed, reordered or unanchored, 2[^]*--json/);
  const version = await sallyport(['--version'], { scene, audit: false });
  const manifest = JSON.parse(readFileSync(join(CHECKOUT, 'packages/runtime/package.json'), 'utf8')) as {
    version: string;
  };
  assert.equal(version.stdout, `sallyport ${manifest.version}\n`);
  const nothing = await sallyport([], { scene, audit: false });
  assert.deepEqual([nothing.status, nothing.stdout], [2, '']);
  assert.match(nothing.stderr, /Usage: sallyport/);
});

eachCaller('standard streams pass bytes as they are, and their ends', async (caller) => {
  using scene = createScene(caller);
  const bytes = deterministicBytes(8 * 1024 * 1024);
  const digest = createHash('sha256').update(bytes).digest('hex');
  const copied = await sallyport(['run', '--', 'cat'], { scene, stdin: bytes });
  assert.equal(copied.status, 0, describeRun(copied));
  assert.equal(createHash('sha256').update(copied.stdoutBytes).digest('hex'), digest);
  const read = await inside(scene, [], 'sha256sum; echo after the end; cat', { stdin: bytes });
  assert.equal(read.stdout, `${digest}  -\nafter the end\n`);
  const empty = await inside(scene, [], 'wc -c; echo text >&2', { stdin: '' });
  assert.deepEqual([empty.stdout.trim(), empty.stderr], ['0', 'text\n']);
  // Input that nobody reads does not hold the end up.
  const unread = await sallyport(['run', '--', 'true'], { scene, stdin: bytes });
  assert.deepEqual([unread.status, unread.stderr], [0, '']);
});

test(
  'a reader that leaves, an input that never ends and closed streams hang nothing',
  { timeout: 60_000 },
  async () => {
    using scene = createScene(findPresentCaller());
    const start = (command: string, stdio: ('pipe' | 'ignore')[]) =>
      spawn('sh', ['-c', command, 'sh', join(CHECKOUT, 'sallyport'), scene.auditFile], {
        cwd: scene.workspace,
        env: { PATH: SYSTEM_PATH, HOME: scene.home },
        stdio,
      });
    const leaving = start('exec "$1" run --audit "$2" -- yes', ['ignore', 'pipe', 'pipe']);
    await once(leaving.stdout!, 'data');
    leaving.stdout!.destroy();
    assert.deepEqual(await once(leaving, 'exit'), [141, null], 'yes(1) ends by SIGPIPE');
    const open = start('exec "$1" run --audit "$2" -- true', ['pipe', 'ignore', 'pipe']);
    assert.deepEqual(await once(open, 'exit'), [0, null]);
    open.stdin!.destroy();
    const cases: [string, number][] = [
      ['"$1" run --audit "$2" -- cat <&-', 0],
      ['"$1" run --audit "$2" -- sh -c "echo x; exit 4" >&-', 4],
      ['"$1" run --audit "$2" -- sh -c "echo x >&2; exit 5" 2>&-', 5],
      ['"$1" run --audit "$2" -- sh -c "cat; exit 6" <&- >&- 2>&-', 6],
      ['"$1" run --audit "$2" -- yes >/dev/full 2>/dev/null', 141],
    ];
    for (const [command, expected] of cases) {
      assert.deepEqual(await once(start(command, ['ignore', 'ignore', 'ignore']), 'exit'), [expected, null], command);
    }
  },
);

eachCaller('nothing is lost of what a command writes faster than it is read, with secrets as well', async (caller) => {
  using scene = createScene(caller);
  const canary = newCanary();
  const result = await sallyport(
    ['run', '--secret', `TOKEN@${API}`, '--', 'sh', '-c', 'head -c 3000000 /dev/zero | tr "\\0" a'],
    {
      scene,
      canary,
      env: { TOKEN: canary.value },
      through: ['sh', '-c', '{ "$@"; echo "status $?" >&2; } | { sleep 2; wc -c; }', 'sh'],
    },
  );
  assert.deepEqual([result.stdout.trim(), result.stderr.includes('status 0')], ['3000000', true], describeRun(result));
});
