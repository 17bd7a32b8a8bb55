import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chownSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHECKOUT, createScene, eachCaller, findPresentCaller } from './harness/caller.ts';
import type { Scene } from './harness/caller.ts';
import { newCanary } from './harness/canary.ts';
import { createAuthority } from './harness/certificates.ts';
import type { CertificateKind } from './harness/certificates.ts';
import { assertRunKeptSecret, describeRun, sallyport } from './harness/sallyport.ts';
import type { SallyportOptions } from './harness/sallyport.ts';
import { findProgram, SYSTEM_PATH } from './harness/tools.ts';
import { startRawUpstream, startUpstream } from './harness/upstream.ts';

const HOST = 'h.test.example';
const VALUE = 'the-value-of-the-secret-4711';

/** Input that is refused before anything starts. */
interface Refusal {
  readonly args: readonly string[];
  readonly code: string;
  /** What the message must say. */
  readonly says: RegExp;
  readonly status?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

/** Runs `sallyport ARGS -- true` and checks status, code, words, and that nothing of a secret is told. */
async function assertRefused(scene: Scene, refusal: Refusal, more: Partial<SallyportOptions> = {}): Promise<void> {
  const { args, code, says, status = 2, env, cwd } = refusal;
  const result = await sallyport([...args, '--', 'touch', join(scene.workspace, 'started')], {
    scene,
    ...(env === undefined ? {} : { env }),
    ...(cwd === undefined ? {} : { cwd }),
    ...more,
  });
  const shown = `${args.join(' ')}\n${describeRun(result)}`;
  assert.equal(result.status, status, shown);
  assert.equal(result.stdout, '', shown);
  assert.match(result.stderr, new RegExp(`^sallyport: [^\\n]+ \\[${code}\\]\\n$`), shown);
  assert.match(result.stderr, says, shown);
  assert.ok(!result.stderr.includes(VALUE), `the value is told: ${args.join(' ')}`);
  for (const canary of [VALUE, ...Object.values(env ?? {})].filter(
    (value) => value.length >= 8 && !value.includes('/'),
  )) {
    assertRunKeptSecret({ value: canary }, result, scene);
  }
}

test('every malformed --secret is refused with what is wrong in it, and every good one is taken', async () => {
  using scene = createScene(findPresentCaller());
  const bad: [spec: string, code: string, says: RegExp][] = [
    ['', 'INVALID_SECRET_SPEC', /it is empty/],
    [`@${HOST}`, 'INVALID_SECRET_SPEC', /no environment variable stands in front/],
    [`=${VALUE}@${HOST}`, 'INVALID_SECRET_SPEC', /no environment variable stands in front/],
    ['ENV@', 'INVALID_SECRET_SPEC', /no host follows the last "@" of ENV/],
    [`ENV=${VALUE}@`, 'INVALID_SECRET_SPEC', /no host follows/],
    [`ENV=${VALUE}`, 'INVALID_SECRET_SPEC', /no host to send it to\. Write ENV=VALUE@HOST/],
    [
      `1BAD=${VALUE}@${HOST}`,
      'INVALID_SECRET_SPEC',
      /no environment variable name \(letters, digits and "_", no digit first\)/,
    ],
    [`A B=${VALUE}@${HOST}`, 'INVALID_SECRET_SPEC', /no environment variable name/],
    [` ENV=${VALUE}@${HOST}`, 'INVALID_SECRET_SPEC', /no environment variable name/],
    [`ENV=${VALUE}@ ${HOST}`, 'INVALID_HOST_PATTERN', /--secret ENV, its host/],
    [`ENV=${VALUE}@a.example, b.example`, 'INVALID_HOST_PATTERN', /host 2 of 2/],
    [`ENV=${VALUE}@a.example,,b.example`, 'INVALID_SECRET_SPEC', /host 2 of 3 is empty/],
    [`ENV=${VALUE}@${HOST},`, 'INVALID_SECRET_SPEC', /host 2 of 2 is empty/],
    [`ENV=${VALUE}@*.`, 'INVALID_HOST_PATTERN', /no name follows the wildcard/],
    [`ENV=${VALUE}@*`, 'INVALID_HOST_PATTERN', /./],
    [`ENV=${VALUE}@**`, 'INVALID_HOST_PATTERN', /./],
    [`ENV=${VALUE}@*.com`, 'INVALID_HOST_PATTERN', /public suffix/],
    [`ENV=${VALUE}@**.co.uk`, 'INVALID_HOST_PATTERN', /public suffix/],
    [`ENV=${VALUE}@a.*.example.com`, 'INVALID_HOST_PATTERN', /wildcard/],
    [`ENV=${VALUE}@${HOST}/path`, 'INVALID_HOST_PATTERN', /./],
    [`ENV=${VALUE}@ftp://${HOST}`, 'INVALID_HOST_PATTERN', /./],
    [`ENV=${VALUE}@${HOST}:0`, 'INVALID_HOST_PATTERN', /port/],
    [`ENV=${VALUE}@${HOST}:65536`, 'INVALID_HOST_PATTERN', /port/],
    [`ENV=${VALUE}@${HOST}:80`, 'INVALID_HOST_PATTERN', /port 80 is cleartext/],
    [`ENV=${VALUE}@${'a'.repeat(70)}.example.com`, 'INVALID_HOST_PATTERN', /label of more than 63 characters/],
    [`ENV=${VALUE}@${'a.'.repeat(130)}example`, 'INVALID_HOST_PATTERN', /./],
    [`ENV=${VALUE}@\u0430pple.example.com`, 'INVALID_HOST_PATTERN', /mixes letters of different scripts/],
    [`ENV=${VALUE}@2001:db8::1`, 'INVALID_HOST_PATTERN', /./],
    [`ENV=${VALUE}@[2001:db8::1`, 'INVALID_HOST_PATTERN', /./],
    [`ENV=${VALUE}@0x7f.1`, 'INVALID_HOST_PATTERN', /./],
    [`ENV=@${HOST}`, 'SECRET_VALUE_TOO_SHORT', /The value of "ENV" is empty/],
    [`ENV=1234567@${HOST}`, 'SECRET_VALUE_TOO_SHORT', /fewer than 8 bytes/],
    [`ENV=${VALUE}\r\n@${HOST}`, 'INVALID_SECRET_VALUE', /line break/],
    [`ENV=${VALUE}\n${VALUE}@${HOST}`, 'INVALID_SECRET_VALUE', /line break/],
    [`ENV=${VALUE}\x07@${HOST}`, 'INVALID_SECRET_VALUE', /control character/],
    [`ENV=\u201c${VALUE}\u201d@${HOST}`, 'INVALID_SECRET_VALUE', /typographic quotes/],
    ['STORED', 'SECRET_NOT_FOUND', /No secret "STORED" is stored.*--secret STORED@HOST/],
    ['STORED:AS', 'SECRET_NOT_FOUND', /No secret "STORED" is stored/],
  ];
  for (const [spec, code, says] of bad) await assertRefused(scene, { args: ['run', '--secret', spec], code, says });

  const vectors = join(CHECKOUT, 'packages/runtime/src/policy/testdata/secret-specs.json');
  for (const { spec, means } of JSON.parse(readFileSync(vectors, 'utf8')) as { spec: string; means: unknown }[]) {
    if (means !== 'invalid') continue;
    await assertRefused(scene, { args: ['run', '--secret', spec], code: '[A-Z_]+', says: /--secret|The value of "/ });
  }

  const good = [
    'TRAILING.dot.example.',
    'b\u00fccher.example',
    'xn--bcher-kva.example',
    '*.b\u00fccher.example:8443',
    '[2001:db8::1]',
    '192.0.2.1:8443',
  ];
  const result = await sallyport(
    [
      'run',
      ...good.flatMap((host, index) => ['--secret', `E${index}=${VALUE}${index}@${host}`]),
      '--',
      'sh',
      '-c',
      'env | grep -c ^E[0-9]=sp_',
    ],
    { scene },
  );
  assert.deepEqual([result.status, result.stdout], [0, `${good.length}\n`], describeRun(result));
});

test('host variables that are unset, empty or cannot be sent are refused', async () => {
  using scene = createScene(findPresentCaller());
  const args = ['run', '--secret', `TOKEN@${HOST}`];
  await assertRefused(scene, {
    args,
    code: 'SECRET_SOURCE_UNSET',
    says: /host variable TOKEN is not set\. Export it, or/,
  });
  await assertRefused(scene, { args, env: { TOKEN: '' }, code: 'SECRET_SOURCE_UNSET', says: /TOKEN is empty/ });
  await assertRefused(scene, { args, env: { TOKEN: 'short12' }, code: 'SECRET_VALUE_TOO_SHORT', says: /at least 8/ });
  for (const value of [`${VALUE}\n`, `${VALUE}\r`, `a\r\nX-Injected: ${VALUE}`]) {
    await assertRefused(scene, {
      args,
      env: { TOKEN: value },
      code: 'INVALID_SECRET_VALUE',
      says: /"TOKEN" has a line break/,
    });
  }
});

test('options that contradict each other, or would show a value to the sandbox, are refused', async () => {
  using scene = createScene(findPresentCaller());
  const secret = ['--secret', `T=${VALUE}@${HOST}`];
  // Not in the scene that is searched for the value.
  using elsewhere = createScene(findPresentCaller());
  const file = join(elsewhere.assets, 'env');
  writeFileSync(file, `COPY=Bearer ${VALUE}\n`);
  const cases: [string[], string, RegExp][] = [
    [[...secret, '--secret', `T=${VALUE}2@${HOST}`], 'SECRET_CONFLICT', /T is given two different values/],
    [[...secret, '-e', 'T=plain'], 'SECRET_CONFLICT', /T is a secret and also a plain environment variable/],
    [[...secret, '-e', `COPY=x${VALUE}`], 'SECRET_CONFLICT', /plain variable COPY holds the value of the secret T/],
    [[...secret, '--env-file', file], 'SECRET_CONFLICT', /plain variable COPY holds the value/],
    [[...secret, '--tunnel', HOST], 'USAGE', /--tunnel h\.test\.example exempts a host that --secret T is bound to/],
    [['--resolve', `${HOST}:443:192.0.2.1`, '--resolve', `${HOST}:443:192.0.2.2`], 'INVALID_RESOLVE', /two addresses/],
  ];
  for (const [args, code, says] of cases) await assertRefused(scene, { args: ['run', ...args], code, says });
  const exposed = await sallyport(
    ['run', ...secret, '--', 'curl', '-H', `Authorization: ${VALUE}`, `https://${HOST}`],
    { scene },
  );
  assert.equal(exposed.status, 2);
  assert.match(exposed.stderr, /The command holds the value of T itself.*single quotes.*\[SECRET_CONFLICT\]/);
  const twice = await sallyport(['run', ...secret, '--secret', `T=${VALUE}@other.test.example`, '--', 'true'], {
    scene,
  });
  assert.equal(twice.status, 0, 'one value for more hosts is no conflict');
});

test('locations, rules, pins, names and limits that mean nothing are refused', async () => {
  using scene = createScene(findPresentCaller());
  const cases: [option: string, value: string, code: string, says: RegExp][] = [
    ['--secret-in', 'cookie', 'INVALID_LOCATION', /"cookie": there is no such location\. Write header/],
    ['--secret-in', 'header,', 'INVALID_LOCATION', /A location is empty\. Write header/],
    ['--secret-in', 'header:', 'INVALID_LOCATION', /no header name/],
    ['--secret-in', 'header:X Y', 'INVALID_LOCATION', /no header name/],
    ['--secret-in', 'header:Host', 'INVALID_LOCATION', /takes no secret/],
    ['--allow', '', 'INVALID_HOST_PATTERN', /it is empty/],
    ['--allow', `https://${HOST}/`, 'INVALID_HOST_PATTERN', /it is a URL\. Write just the host/],
    ['--allow', '10.0.0.0/33', 'INVALID_HOST_PATTERN', /prefix length/],
    ['--deny', `${HOST}:http`, 'INVALID_HOST_PATTERN', /port/],
    ['--tunnel', 'a b', 'INVALID_HOST_PATTERN', /./],
    ['--resolve', HOST, 'INVALID_RESOLVE', /three or four parts\. Write HOST:PORT:ADDR/],
    ['--resolve', `${HOST}:https:127.0.0.1`, 'INVALID_RESOLVE', /first port/],
    ['--resolve', `${HOST}:443:elsewhere.example`, 'INVALID_RESOLVE', /third part is no IP address/],
    ['--resolve', `${HOST}:443:::1`, 'INVALID_RESOLVE', /IPv6 in brackets/],
    ['--env', '1X=y', 'INVALID_ENVIRONMENT', /--env: "1X" is no variable name/],
    ['--env', VALUE, 'INVALID_ENVIRONMENT', /--env: what stands there is no variable name/],
    ['--env-file', '/nonexistent/.env', 'UNREADABLE_FILE', /"\/nonexistent\/\.env" cannot be read \(ENOENT\)/],
    ['--env-file', '/', 'UNREADABLE_FILE', /EISDIR/],
    ['--volume', '/tmp', 'INVALID_MOUNT', /SRC:DST/],
    ['--volume', '/nonexistent:/x', 'INVALID_MOUNT', /does not exist or cannot be read/],
    ['--volume', '.:relative', 'INVALID_MOUNT', /must begin with "\/"/],
    ['--volume', '.:/usr/lib', 'INVALID_MOUNT', /the sandbox's own/],
    ['--volume', '.:/x:rx', 'INVALID_MOUNT', /"ro" or "rw"/],
    ['--volume', '/etc:/x:ro', 'MOUNT_REFUSED', /which no sandbox may see/],
    ['--workdir', 'sub', 'INVALID_MOUNT', /--workdir "sub" is not absolute/],
    ['--name', 'Upper', 'INVALID_NAME', /1 to 63 lower-case letters/],
    ['--name', 'a'.repeat(64), 'INVALID_NAME', /1 to 63/],
    ['--name', '-x', 'INVALID_NAME', /inner hyphens/],
    ['--memory', 'lots', 'INVALID_LIMIT', /"lots" is not a usable memory limit\. Write a size such as 512m/],
    ['--memory', '1k', 'INVALID_LIMIT', /At least 16m/],
    ['--cpus', '0', 'INVALID_LIMIT', /such as 1\.5/],
    ['--pids', '1.5', 'INVALID_LIMIT', /whole number/],
    ['--timeout', '10 minutes', 'INVALID_LIMIT', /such as 90s, 10m/],
    ['--timeout', '0', 'INVALID_LIMIT', /time limit/],
    ['--runtime', 'docker', 'RUNTIME_UNKNOWN', /no OCI runtime "docker"\. Use runc, crun, runsc, or a path/],
    ['--runtime', './absent', 'RUNTIME_UNKNOWN', /is not an executable file/],
    ['--upstream-ca', '/nonexistent.pem', 'UNREADABLE_FILE', /"\/nonexistent\.pem" could not be read \(ENOENT\)/],
    ['--upstream-ca', '/etc/hostname', 'UNREADABLE_FILE', /holds no certificate in PEM/],
    ['--audit', '/nonexistent/audit.jsonl', 'AUDIT_REFUSED', /could not be opened \(ENOENT\)/],
    ['--audit', '/dev/null', 'AUDIT_REFUSED', /./],
  ];
  for (const [option, value, code, says] of cases) {
    await assertRefused(scene, { args: ['run', `${option}=${value}`], code, says }, { audit: option !== '--audit' });
  }
});

eachCaller('a workspace that is / or the home directory, and an audit file inside, are refused', async (caller) => {
  using scene = createScene(caller);
  const home = /is or contains the home directory .*--no-workspace; --force-workspace mounts it all the same/;
  const run = ['run'];
  await assertRefused(scene, { args: run, cwd: '/', code: 'WORKSPACE_REFUSED', says: /"\/" is the whole file system/ });
  await assertRefused(scene, { args: run, cwd: scene.home, code: 'WORKSPACE_REFUSED', says: home });
  await assertRefused(scene, { args: run, cwd: scene.root, code: 'WORKSPACE_REFUSED', says: home });
  const hidden = join(scene.home, '.ssh');
  mkdirSync(hidden);
  chownSync(hidden, caller.uid, caller.gid);
  writeFileSync(join(hidden, 'id_ed25519'), 'a key');
  await assertRefused(scene, {
    args: run,
    cwd: hidden,
    code: 'WORKSPACE_REFUSED',
    says: /\.ssh", which no sandbox may see/,
  });
  const link = join(scene.workspace, 'to-home');
  symlinkSync(scene.home, link);
  await assertRefused(scene, {
    args: [...run, '-v', `${link}/.ssh:/x`],
    code: 'MOUNT_REFUSED',
    says: /which no sandbox may see/,
  });

  // Forced, without a state directory that would be there before: what it makes must not be seen either.
  const forced = await sallyport(
    ['run', '--force-workspace', '--', 'sh', '-c', 'pwd; find .ssh .local -type f | wc -l'],
    {
      scene,
      cwd: scene.home,
      audit: false,
    },
  );
  assert.deepEqual([forced.status, forced.stdout], [0, `${scene.home}\n0\n`], describeRun(forced));

  const inside = /audit file "[^"]+" lies in "[^"]+", which the sandbox sees\. Put it elsewhere with --audit FILE/;
  const refused = { code: 'AUDIT_REFUSED', says: inside };
  await assertRefused(scene, { args: [...run, '--audit', 'audit.jsonl'], ...refused });
  await assertRefused(scene, { args: [...run, '--audit', './sub/../audit.jsonl'], ...refused });
  await assertRefused(scene, {
    args: [...run, '--audit', join(scene.assets, 'a.jsonl'), '--no-workspace', '-v', `${scene.assets}:/x:ro`],
    ...refused,
  });
  const outside = join(scene.assets, 'inward');
  symlinkSync(scene.workspace, outside);
  await assertRefused(scene, { args: [...run, '--audit', join(outside, 'a.jsonl')], ...refused });
  await assertRefused(
    scene,
    {
      args: run,
      env: { XDG_STATE_HOME: join(scene.workspace, 'state') },
      code: 'WORKSPACE_REFUSED',
      says: /no sandbox may see/,
    },
    { audit: false },
  );
});

eachCaller('a machine that lacks a tool, or a place for its state, is told what it needs', async (caller) => {
  using scene = createScene(caller);
  // System tools are looked for where systems have them, so an empty PATH does not matter.
  const emptyPath = await sallyport(['run', '--', 'true'], { scene, env: { PATH: scene.assets } });
  assert.equal(emptyPath.status, 0, describeRun(emptyPath));
  if (findProgram('runsc') === undefined) {
    const says = /runsc is not installed\. See https:.* Installed here: /;
    await assertRefused(scene, { args: ['run', '--runtime', 'runsc'], status: 125, code: 'TOOL_MISSING', says });
  }
  const runc = findProgram('runc');
  if (caller.kind === 'root' && runc !== undefined) {
    // In a mount namespace of its own, this machine has no runc.
    const script = 'mount --bind /dev/null "$1" && exec "$2" run -- true';
    const hidden = spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', runc, join(CHECKOUT, 'sallyport')], {
      cwd: scene.workspace,
      env: { PATH: SYSTEM_PATH, HOME: scene.home },
      encoding: 'utf8',
    });
    assert.equal(hidden.status, 125, hidden.stderr);
    assert.match(hidden.stderr, /^sallyport: .*runc.*apt-get install .*runc.*\[TOOL_MISSING\]\n$/);
  }
  const occupied = join(scene.root, 'a-file');
  writeFileSync(occupied, '');
  await assertRefused(
    scene,
    {
      args: ['run'],
      env: { XDG_STATE_HOME: occupied },
      code: 'AUDIT_REFUSED',
      says: /state directory.*cannot be made \((ENOTDIR|EEXIST)\).*XDG_STATE_HOME/,
    },
    { audit: false },
  );
});

test('a port that is in use on the host does not matter', async () => {
  using scene = createScene(findPresentCaller());
  await using upstream = await startUpstream({ names: [HOST] });
  const onHost = createServer((_, response) => response.end('the host'));
  await new Promise<void>((resolve) => onHost.listen(0, '0.0.0.0', resolve));
  const { port } = onHost.address() as AddressInfo;
  try {
    const result = await sallyport(
      [
        ...['run', ...upstream.flags(), '--secret', `T=${VALUE}@${HOST}:${port}`],
        ...['--resolve', `${HOST}:${port}:127.0.0.1:${upstream.httpsPort}`, '--'],
        ...[
          'sh',
          '-c',
          `curl -sS -H "X-T: $T" https://${HOST}:${port}/; curl -s http://127.0.0.1:${port}/ || echo "not the host"`,
        ],
      ],
      { scene },
    );
    assert.equal(result.status, 0, describeRun(result));
    assert.match(result.stdout, /"method":"GET"[^]*\nnot the host\n$/);
    assert.ok(upstream.requests[0]?.rawHeaders.some(([, value]) => value === VALUE));
  } finally {
    onHost.close();
  }
});

const CERTIFICATES: readonly CertificateKind[] = [
  'expired',
  'not-yet-valid',
  'self-signed',
  'wrong-name',
  'foreign-authority',
];

eachCaller('hostile clients and broken upstreams are answered in words, and harm nobody else', async (caller) => {
  const canary = newCanary();
  using scene = createScene(caller);
  const authority = await createAuthority();
  await using good = await startUpstream({ names: [HOST], authority });
  await using garbage = await startRawUpstream((socket) => socket.end('SSH-2.0-OpenSSH_9.9\r\n\r\n'), {
    names: ['garbage.test.example'],
    authority,
  });
  await using noTls = await startRawUpstream((socket) => socket.end('220 hello\r\n'), {
    names: ['no-tls.test.example'],
    authority,
    secure: false,
  });
  await using silent = await startRawUpstream((socket) => socket.once('data', () => socket.end()), {
    names: ['silent.test.example'],
    authority,
  });
  await using bad = await startBadCertificates(authority);
  const names = [
    HOST,
    ...Object.keys(bad.ports).map((kind) => `${kind}.test.example`),
    'garbage.test.example',
    'no-tls.test.example',
    'silent.test.example',
  ];
  const get = (url: string) =>
    `curl -s --max-time 20 -w ' %{http_code}\\n' -H "Authorization: Bearer $T" ${url} || echo "curl failed $?"`;
  const script = [
    ...CERTIFICATES.map((kind) => get(`https://${kind}.test.example/`)),
    ...['garbage', 'no-tls', 'silent'].map((name) => get(`https://${name}.test.example/`)),
    // An upstream that closes in the middle of its body.
    get(`https://${HOST}/close-mid`),
    // 500 KB of headers: in one field, and in thousands.
    `head -c 500000 /dev/zero | tr '\\0' x >big; (printf 'X-Big: '; cat big) >big.field; curl -s -o - -w ' %{http_code}\\n' -H @big.field https://${HOST}/big-field`,
    `i=0; while [ $i -lt 5000 ]; do echo "X-$i: ${'y'.repeat(90)}"; i=$((i+1)); done >many.fields; curl -s -o - -w ' %{http_code}\\n' -H @many.fields https://${HOST}/many-fields`,
    // A client that closes in the middle of its head and of its body, and one that is too slow for anybody's patience.
    `(printf 'GET /half HTTP/1.1\\r\\nHost: ${HOST}\\r\\nX-Half: '; sleep 0.3) | timeout 1 openssl s_client -quiet -connect ${HOST}:443 -servername ${HOST} >/dev/null 2>&1`,
    `(printf 'POST /half-body HTTP/1.1\\r\\nHost: ${HOST}\\r\\nContent-Length: 1000\\r\\n\\r\\nsome'; sleep 0.3) | timeout 1 openssl s_client -connect ${HOST}:443 -servername ${HOST} >/dev/null 2>&1`,
    `for n in 1 2 3 4 5 6 7 8; do (printf 'GET /slow-loris HTTP/1.1\\r\\nX-Slow: '; sleep 5) | openssl s_client -quiet -connect ${HOST}:443 -servername ${HOST} >/dev/null 2>&1 & done`,
    // Meanwhile everybody else is served.
    get(`https://${HOST}/still-served`),
    'echo end',
  ].join('\n');
  const result = await sallyport(
    [
      ...[
        'run',
        ...good.flags(),
        ...bad.flags(),
        ...garbage.flags('garbage.test.example'),
        ...noTls.flags('no-tls.test.example'),
        ...silent.flags('silent.test.example'),
      ],
      ...['--secret', `T@${names.join(',')}`, '--', 'sh', '-c', script],
    ],
    { scene, env: { T: canary.value }, canary },
  );
  assert.equal(result.status, 0, describeRun(result));
  const answers = result.stdout.split('\n');
  const problem = (text: string) => answers.filter((line) => line.includes(text)).length;
  assert.equal(problem('UPSTREAM_TLS_FAILED'), CERTIFICATES.length + 1, describeRun(result));
  for (const words of [/expired/, /not (yet )?valid( yet)?/, /self-signed|itself/, /name/, /authority|issuer|root/])
    assert.match(result.stdout, words);
  assert.equal(problem('UPSTREAM_MALFORMED'), 2, describeRun(result));
  assert.equal(problem('UPSTREAM_UNREACHABLE'), 1, describeRun(result));
  assert.equal(problem('HEAD_TOO_LARGE'), 2, describeRun(result));
  assert.match(result.stdout, /"target":"\/still-served"[^]* 200\nend\n$/);
  assert.deepEqual(
    good.requests.map((request) => request.target).filter((target) => /big|many|half$|loris/.test(target)),
    [],
    'what was refused never left',
  );
  const released = result.audit
    .filter((event) => JSON.stringify(event['secrets']) !== '[]')
    .map((event) => event['host']);
  for (const kind of CERTIFICATES) assert.ok(!released.includes(`${kind}.test.example`), `released to ${kind}`);
  const codes = new Set(result.audit.map((event) => event['code']));
  for (const code of ['UPSTREAM_TLS_FAILED', 'UPSTREAM_MALFORMED', 'UPSTREAM_UNREACHABLE', 'HEAD_TOO_LARGE']) {
    assert.ok(codes.has(code), `${code} is not recorded: ${[...codes].join()}`);
  }
  assertRunKeptSecret(canary, result, scene);
});

/** One upstream for each thing that can be wrong with a certificate, at `KIND.test.example`. */
async function startBadCertificates(authority: Awaited<ReturnType<typeof createAuthority>>) {
  const upstreams = await Promise.all(
    CERTIFICATES.map(async (certificate) => ({
      certificate,
      upstream: await startUpstream({ names: [`${certificate}.test.example`], certificate, authority }),
    })),
  );
  return {
    ports: Object.fromEntries(upstreams.map(({ certificate, upstream }) => [certificate, upstream.httpsPort])),
    flags: () => upstreams.flatMap(({ upstream }) => upstream.flags()),
    async [Symbol.asyncDispose]() {
      await Promise.all(upstreams.map(({ upstream }) => upstream.close()));
    },
  };
}
