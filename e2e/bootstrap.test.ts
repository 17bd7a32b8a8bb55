// The way from a fresh checkout to a running command. It is tried on a miniature checkout, the launchers and the
// bootstrap of this one around a command that tells what it got, with an `npm` that writes down how it was called.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

const ROOT = join(import.meta.dirname, '..');
const NOBODY = 65534;
const isRoot = process.getuid?.() === 0;

interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface CallOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly uid?: number;
}

/** What the miniature's command prints. */
interface Seen {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly execArgv: readonly string[];
}

let base: string;
let tools: string;
let count = 0;

before(() => {
  base = mkdtempSync(join(tmpdir(), 'sallyport bootstrap '));
  chmodSync(base, 0o755);
  tools = join(base, 'tools without npm');
  mkdirSync(tools);
  for (const name of ['readlink', 'flock', 'sh', 'env']) symlinkSync(join('/usr/bin', name), join(tools, name));
  symlinkSync(process.execPath, join(tools, 'node'));
});

after(() => rmSync(base, { recursive: true, force: true }));

function makeDirectory(name: string): string {
  count += 1;
  const directory = join(base, `${name} ${count}`);
  mkdirSync(directory);
  return directory;
}

function writeProgram(file: string, text: string): void {
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
}

/** A checkout whose command prints what it was given, as JSON. */
function makeCheckout(): string {
  const directory = makeDirectory('checkout');
  for (const path of ['sallyport', 'packages/runtime/bin', 'package.json'])
    cpSync(join(ROOT, path), join(directory, path), { recursive: true });
  for (const file of ['run.sh', 'find-node.sh', 'bootstrap.mjs', 'node-modules.mjs', 'system-tools.mjs']) {
    cpSync(join(ROOT, 'tools', file), join(directory, 'tools', file));
  }
  writeFileSync(
    join(directory, 'tools/tasks.ts'),
    "process.stdout.write('task ' + process.argv.slice(2).join(' ') + '\\n');\n",
  );
  writeFileSync(
    join(directory, 'package-lock.json'),
    JSON.stringify({ packages: { 'node_modules/a': { version: '1.0.0' } } }),
  );
  mkdirSync(join(directory, 'packages/runtime/src/cli'), { recursive: true });
  const command =
    'console.log(JSON.stringify({ args: process.argv.slice(2), env: process.env, execArgv: process.execArgv }));\n';
  writeFileSync(join(directory, 'packages/runtime/src/cli/main.ts'), command);
  return directory;
}

/** A directory with an `npm` that notes its calls in the files `calls` and `environment` beside it. */
function makeNpm(): string {
  const directory = makeDirectory('npm');
  const script = `here=\${0%/*}; echo "$PWD: npm $*" >> "$here/calls"; env > "$here/environment"; echo chatter; sleep 0.3; mkdir -p node_modules`;
  writeProgram(join(directory, 'npm'), script);
  return directory;
}

function npmCalls(directory: string): string[] {
  const file = join(directory, 'calls');
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
}

function call(
  command: string,
  args: readonly string[],
  { cwd = base, env = {}, uid }: CallOptions = {},
): Promise<Outcome> {
  const environment = { HOME: join(base, 'home'), PATH: `${tools}:/usr/bin:/bin`, ...env };
  const child = spawn(command, args, {
    cwd,
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
}

function seenBy({ status, stdout, stderr }: Outcome): Seen {
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Seen;
}

describe('./sallyport', () => {
  test('installs node modules on first use, quietly on standard output, and not again', async () => {
    const checkout = makeCheckout();
    const npm = makeNpm();
    const withNpm = { env: { PATH: `${npm}:${tools}:/usr/bin:/bin` } };
    const first = await call(join(checkout, 'sallyport'), ['run', 'two words', ''], withNpm);
    assert.deepEqual(seenBy(first).args, ['run', 'two words', '']);
    assert.match(first.stderr, /installing node modules[^]*chatter/);
    assert.equal(npmCalls(npm).length, 1);
    assert.match(npmCalls(npm)[0] ?? '', new RegExp(`^${checkout}: npm ci --ignore-scripts `));

    const second = await call(join(checkout, 'sallyport'), [], { env: { PATH: tools } });
    assert.equal(second.status, 0, second.stderr);
    assert.doesNotMatch(second.stderr, /node modules/);

    const lock = JSON.stringify({ packages: { 'node_modules/b': { version: '1.0.0', integrity: 'sha512-b' } } });
    writeFileSync(join(checkout, 'package-lock.json'), lock);
    seenBy(await call(join(checkout, 'sallyport'), [], withNpm));
    assert.equal(npmCalls(npm).length, 2);

    // Somebody typed `npm install`: npm's own note about node_modules is what the lock file says.
    mkdirSync(join(checkout, 'node_modules/b'));
    writeFileSync(join(checkout, 'node_modules/.package-lock.json'), lock);
    writeFileSync(join(checkout, 'package-lock.json'), lock.replace('}}}', '}} }'));
    seenBy(await call(join(checkout, 'sallyport'), [], withNpm));
    assert.equal(npmCalls(npm).length, 2);
  });

  test('does not start npm where only the time of the lock file changed', async () => {
    const checkout = makeCheckout();
    seenBy(await call(join(checkout, 'sallyport'), [], { env: { PATH: `${makeNpm()}:${tools}:/usr/bin:/bin` } }));
    const future = new Date(Date.now() + 1000);
    utimesSync(join(checkout, 'package-lock.json'), future, future);
    const outcome = await call(join(checkout, 'sallyport'), [], { env: { PATH: tools } });
    assert.equal(outcome.status, 0, outcome.stderr);
    assert.doesNotMatch(outcome.stderr, /node modules/);
  });

  test('installs once when several start at the same time', async () => {
    const checkout = makeCheckout();
    const npm = makeNpm();
    const options = { env: { PATH: `${npm}:${tools}:/usr/bin:/bin` } };
    const outcomes = await Promise.all([1, 2, 3].map(() => call(join(checkout, 'sallyport'), [], options)));
    for (const outcome of outcomes) seenBy(outcome);
    assert.equal(npmCalls(npm).length, 1);
  });

  test('a failed installation is a failure with status 125 and is tried again', async () => {
    const checkout = makeCheckout();
    const broken = makeDirectory('broken npm');
    writeProgram(join(broken, 'npm'), 'echo E404 >&2; exit 1');
    const failed = await call(join(checkout, 'sallyport'), [], { env: { PATH: `${broken}:${tools}:/usr/bin:/bin` } });
    assert.equal(failed.status, 125);
    assert.equal(failed.stdout, '');
    assert.match(failed.stderr, /E404[^]*npm ci failed with status 1/);
    seenBy(await call(join(checkout, 'sallyport'), [], { env: { PATH: `${makeNpm()}:${tools}:/usr/bin:/bin` } }));
  });

  test('runs through links, from any directory and from PATH', async () => {
    const checkout = makeCheckout();
    const options = { env: { PATH: `${makeNpm()}:${tools}:/usr/bin:/bin` } };
    seenBy(await call(join(checkout, 'sallyport'), [], options));
    const elsewhere = makeDirectory('elsewhere');
    symlinkSync(join(checkout, 'sallyport'), join(elsewhere, 'first'));
    symlinkSync('first', join(elsewhere, 'sallyport'));
    seenBy(await call('./sallyport', [], { ...options, cwd: elsewhere }));
    seenBy(await call('sallyport', [], { cwd: '/', env: { PATH: `${elsewhere}:${tools}:/usr/bin:/bin` } }));
    seenBy(await call('./sallyport', [], { ...options, cwd: checkout }));
    seenBy(await call('sh', ['sallyport'], { ...options, cwd: checkout }));
    seenBy(await call('../sallyport', [], { ...options, cwd: join(checkout, 'tools') }));
  });

  test('neither the bootstrap nor the command obeys NODE_OPTIONS and its kind', async () => {
    const checkout = makeCheckout();
    const evil = join(makeDirectory('evil'), 'evil.cjs');
    writeFileSync(
      evil,
      `require('node:fs').appendFileSync(${JSON.stringify(`${evil}.ran`)}, process.argv.join(' ') + '\\n');`,
    );
    const env = {
      PATH: `${makeNpm()}:${tools}:/usr/bin:/bin`,
      NODE_OPTIONS: `--require=${JSON.stringify(evil)}`,
      NODE_PATH: join(evil, '..'),
      NODE_TLS_REJECT_UNAUTHORIZED: '0',
      NODE_EXTRA_CA_CERTS: evil,
      NODE_V8_COVERAGE: join(evil, '..'),
      NODE_AUTH_TOKEN: 'a value for --secret',
    };
    const control = await call(process.execPath, ['-e', '0'], { env });
    assert.equal(control.status, 0);
    assert.ok(existsSync(`${evil}.ran`), 'the positive control runs the file');
    rmSync(`${evil}.ran`);
    for (const round of ['first use', 'later']) {
      const seen = seenBy(await call(join(checkout, 'sallyport'), [], { env }));
      assert.equal(existsSync(`${evil}.ran`), false, round);
      const left = Object.keys(seen.env).filter((name) => name.startsWith('NODE_'));
      assert.deepEqual(left, ['NODE_AUTH_TOKEN'], round);
    }
    const task = await call('sh', [join(checkout, 'tools/run.sh'), 'check', '--flag'], { env });
    assert.equal(task.stdout, 'task check --flag\n', task.stderr);
    assert.equal(existsSync(`${evil}.ran`), false);
  });

  test("npm sees the checkout's directory and no setting of the caller's", async () => {
    const checkout = makeCheckout();
    const foreign = makeDirectory('foreign');
    writeFileSync(join(foreign, '.npmrc'), 'registry=http://127.0.0.1:9/\n');
    const npm = makeNpm();
    const env = {
      PATH: `${npm}:${tools}:/usr/bin:/bin`,
      npm_config_local_prefix: foreign,
      npm_config_registry: 'http://127.0.0.1:9/',
      NPM_CONFIG_CACHE: join(base, 'cache of the user'),
      INIT_CWD: foreign,
    };
    seenBy(await call(join(checkout, 'sallyport'), [], { cwd: foreign, env }));
    assert.ok(npmCalls(npm)[0]?.startsWith(`${checkout}: `));
    const environment = readFileSync(join(npm, 'environment'), 'utf8');
    assert.doesNotMatch(environment, /127\.0\.0\.1|^INIT_CWD=/m);
    assert.match(environment, /^NPM_CONFIG_CACHE=/m);
  });

  test(
    'an ordinary user runs a checkout that is not his, and is told who can set it up',
    { skip: !isRoot && 'needs root' },
    async () => {
      const checkout = makeCheckout();
      const fresh = await call(join(checkout, 'sallyport'), [], { uid: NOBODY });
      assert.equal(fresh.status, 125);
      assert.match(fresh.stderr, /you may not write to .*checkout[^]*the owner/);
      assert.equal(existsSync(join(checkout, 'node_modules')), false);
      seenBy(await call(join(checkout, 'sallyport'), [], { env: { PATH: `${makeNpm()}:${tools}:/usr/bin:/bin` } }));
      const ready = await call(join(checkout, 'sallyport'), ['x'], { uid: NOBODY, env: { HOME: '/nonexistent' } });
      assert.deepEqual(seenBy(ready).args, ['x']);
      rmSync(join(checkout, 'node_modules/.sallyport/tools'));
      seenBy(await call(join(checkout, 'sallyport'), [], { uid: NOBODY, env: { HOME: '/nonexistent' } }));
      assert.equal(existsSync(join(checkout, 'node_modules/.sallyport/tools')), false);
    },
  );

  test('keeps compiled code only where nobody else can write', async () => {
    const checkout = makeCheckout();
    const env = { PATH: `${makeNpm()}:${tools}:/usr/bin:/bin` };
    const own = makeDirectory('state');
    seenBy(await call(join(checkout, 'sallyport'), [], { env: { ...env, XDG_STATE_HOME: own } }));
    assert.ok(existsSync(join(own, 'sallyport/compile-cache')));
    const open = makeDirectory('open state');
    chmodSync(open, 0o777);
    seenBy(await call(join(checkout, 'sallyport'), [], { env: { ...env, XDG_STATE_HOME: open } }));
    assert.equal(existsSync(join(open, 'sallyport')), false);
  });
});

describe('tools/bootstrap.mjs', () => {
  const bootstrap = (...args: string[]): Promise<Outcome> =>
    call(process.execPath, [join(ROOT, 'tools/bootstrap.mjs'), ...args], { env: { PATH: tools } });

  /** A system that has every core tool but those named. */
  function makeSystem(...without: string[]): string {
    const system = makeDirectory('system');
    for (const name of ['runc', 'ip', 'unshare', 'nsenter', 'mount', 'openssl', 'tini', 'conmon']) {
      if (!without.includes(name)) writeProgram(join(system, 'usr/bin', name), 'exit 0');
    }
    for (const file of ['usr/share/containers/seccomp.json', 'etc/ssl/certs/ca-certificates.crt']) {
      if (without.includes(file)) continue;
      mkdirSync(join(system, file, '..'), { recursive: true });
      writeFileSync(join(system, file), '');
    }
    return system;
  }

  test('has nothing to say and starts no process where nothing is missing', async () => {
    const startedMs = performance.now();
    const outcome = await bootstrap('cli', `--root=${makeSystem()}`);
    const elapsedMs = performance.now() - startedMs;
    assert.deepEqual(outcome, { status: 0, stdout: '', stderr: '' });
    const baseline = performance.now();
    await call(process.execPath, ['-e', '0']);
    const emptyMs = performance.now() - baseline;
    process.stdout.write(
      `bootstrap with nothing to do: ${elapsedMs.toFixed(0)} ms (an empty Node: ${emptyMs.toFixed(0)} ms)\n`,
    );
  });

  test('names what is missing and the package for it', async () => {
    const system = makeSystem('tini', 'usr/share/containers/seccomp.json', 'runc');
    const log = join(system, 'log');
    // An apt that knows the newer name alone, and installs nothing.
    writeProgram(join(system, 'usr/bin/apt-cache'), '[ "$2" = containers-common ]');
    writeProgram(join(system, 'usr/bin/apt-get'), `echo "$@" >> '${log}'; exit 100`);
    const outcome = await bootstrap('e2e', `--root=${system}`);
    assert.equal(outcome.status, 69);
    assert.equal(outcome.stdout, '');
    assert.match(
      outcome.stderr,
      /missing: an OCI runtime \(runc, crun or runsc\), tini, the common seccomp profile, curl/,
    );
    const command =
      /^ {2}apt-get update && apt-get install -y --no-install-recommends (.*)$/m
        .exec(outcome.stderr)?.[1]
        ?.split(' ') ?? [];
    for (const name of ['containers-common', 'runc', 'tini', 'curl', 'git', 'python3-requests'])
      assert.ok(command.includes(name), name);
    for (const name of ['iproute2', 'mount', 'ca-certificates']) assert.ok(!command.includes(name), name);
    assert.equal(existsSync(log), isRoot, 'only root tries to install');
  });

  test('installs what is missing with apt as root', { skip: !isRoot && 'needs root' }, async () => {
    const system = makeSystem('tini');
    const log = join(system, 'log');
    const install = `case "$*" in *install*) touch '${system}/usr/bin/tini'; chmod 755 '${system}/usr/bin/tini' ;; esac`;
    writeProgram(
      join(system, 'usr/bin/apt-get'),
      `PATH=/usr/bin:/bin; echo "$DEBIAN_FRONTEND $*" >> '${log}'; ${install}`,
    );
    const outcome = await bootstrap('cli', `--root=${system}`);
    assert.equal(outcome.status, 0, outcome.stderr);
    assert.match(outcome.stderr, /missing: tini\. Installing the packages tini/);
    const calls = readFileSync(log, 'utf8').trim().split('\n');
    assert.match(calls[0] ?? '', /^noninteractive .* update$/, 'there are no package lists yet');
    assert.match(calls[1] ?? '', /^noninteractive .* install -y --no-install-recommends tini$/);
    assert.equal(calls.length, 2);
  });

  test('names the packages of other package managers, and says when there is none', async () => {
    const none = await bootstrap('demo', `--root=${makeSystem('ip')}`);
    assert.equal(none.status, 69);
    assert.match(none.stderr, /missing: ip, curl, git, python3\. No package manager/);
    const fedora = makeSystem('ip');
    writeProgram(join(fedora, 'usr/bin/dnf'), 'exit 1');
    const outcome = await bootstrap('demo', `--root=${fedora}`);
    assert.equal(outcome.status, 69);
    assert.match(outcome.stderr, /^ {2}dnf install -y curl git iproute python3$/m);
  });

  test('a task without system tools needs none of them', async () => {
    assert.deepEqual(await bootstrap('check', `--root=${makeDirectory('empty')}`), {
      status: 0,
      stdout: '',
      stderr: '',
    });
  });
});
