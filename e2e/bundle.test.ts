// The command line of a checkout runs as one file, which is made anew when a source changes.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { isBuiltin } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

const ROOT = join(import.meta.dirname, '..');
const OUTPUT = 'packages/runtime/dist/cli';
const BUNDLE = `${OUTPUT}/main.cjs`;
const COMMAND_LINE = 'packages/runtime/src/cli/command-line.ts';
const DESCRIPTION = 'Run untrusted code in a sandbox';
const TIMEOUT_MS = 60_000;

let checkout: string;

before(() => {
  checkout = mkdtempSync(join(tmpdir(), 'sallyport-bundle-'));
  const isOutput = (path: string): boolean => /\/(?:dist|node_modules)$/.test(path);
  for (const path of ['sallyport', 'package-lock.json', 'tools', 'packages']) {
    cpSync(join(ROOT, path), join(checkout, path), { recursive: true, filter: (from) => !isOutput(from) });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(checkout, 'node_modules'));
  // As old as the stamps that say that the node modules are there.
  utimesSync(join(checkout, 'package-lock.json'), new Date(0), new Date(0));
});

after(() => rmSync(checkout, { recursive: true, force: true }));

function help(env: NodeJS.ProcessEnv = {}): {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
} {
  const home = join(checkout, 'home');
  mkdirSync(home, { recursive: true });
  return spawnSync(join(checkout, 'sallyport'), ['--help'], {
    encoding: 'utf8',
    cwd: '/',
    env: { PATH: process.env['PATH'] ?? '', HOME: home, ...env },
    timeout: TIMEOUT_MS,
  });
}

test('./sallyport makes the bundle once, and again when a source has changed', () => {
  const first = help();
  assert.deepEqual([first.status, first.stderr], [0, '']);
  const file = join(checkout, BUNDLE);
  const made = statSync(file).ino;
  assert.equal(help().stdout, first.stdout);
  assert.equal(statSync(file).ino, made, 'made only once');

  const source = join(checkout, COMMAND_LINE);
  const text = readFileSync(source, 'utf8');
  const { atime, mtime } = statSync(source);
  writeFileSync(source, text.replace(DESCRIPTION, 'Changed'));
  // The time of a source can lie (cp -p, tar, git stash); that of its last change cannot.
  utimesSync(source, atime, mtime);
  assert.match(help().stdout, /Changed/);
  assert.notEqual(statSync(file).ino, made);
});

test('a program runs by the code that was compiled before, and not by any that is damaged or of another program', () => {
  const home = join(checkout, 'home');
  rmSync(home, { recursive: true, force: true });
  const expected = help();
  assert.deepEqual([expected.status, expected.stderr], [0, '']);
  const kept = readdirSync(home, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.code'));
  assert.equal(kept.length, 1);
  const file = join(home, kept[0] ?? '');
  const made = statSync(file);
  assert.equal(help().stdout, expected.stdout);
  assert.equal(statSync(file).ino, made.ino, 'kept once');
  const whole = readFileSync(file);
  for (const damaged of [whole.subarray(0, -1), Buffer.alloc(whole.length), Buffer.from(whole).fill(1, 5000, 6000)]) {
    writeFileSync(file, damaged);
    assert.equal(help().stdout, expected.stdout);
    assert.notDeepEqual(readFileSync(file), damaged);
  }
});

test('./sallyport starts a daemon when it is called by a relative path', () => {
  const home = join(checkout, 'home');
  mkdirSync(home, { recursive: true });
  const run = (...args: string[]) =>
    spawnSync('sh', ['sallyport', ...args], {
      encoding: 'utf8',
      cwd: checkout,
      env: { PATH: process.env['PATH'] ?? '', HOME: home, SALLYPORT_WARM: '0' },
      timeout: TIMEOUT_MS,
    });
  // The daemon runs in another directory.
  const started = run('daemon', 'start');
  assert.deepEqual([started.status, started.stderr], [0, '']);
  assert.match(started.stdout, /^the daemon runs/);
  assert.equal(run('daemon', 'stop').status, 0);
});

test('./sallyport runs the sources where there can be no bundle', () => {
  rmSync(join(checkout, BUNDLE), { force: true });
  const bundler = join(checkout, 'tools/bundle.ts');
  const text = readFileSync(bundler, 'utf8');
  writeFileSync(bundler, 'throw new Error("no");');
  const without = help();
  assert.deepEqual([without.status, without.stderr], [0, '']);
  assert.match(without.stdout, /Usage: sallyport/);
  assert.equal(existsSync(join(checkout, BUNDLE)), false);
  writeFileSync(bundler, text);
});

test('./sallyport never runs an old bundle in place of a source that is wrong', () => {
  assert.equal(help().status, 0);
  const source = join(checkout, COMMAND_LINE);
  writeFileSync(source, `${readFileSync(source, 'utf8')}\nconst = ;\n`);
  const { status, stdout, stderr } = help();
  assert.notEqual(status, 0);
  assert.equal(stdout, '');
  assert.match(stderr, /command-line\.ts/);
});

for (const [name, file, part] of [
  ['certificates', 'certificate-worker.cjs', /X509CertificateGenerator/],
  ['encrypted files', 'age-worker.cjs', /age-encryption\.org/],
] as const) {
  test(`the thread for ${name} is a bundle with all that it needs, and the command line holds nothing of it`, () => {
    const directory = join(checkout, 'packages/runtime/dist/cli');
    const worker = readFileSync(join(directory, file), 'utf8');
    const required = [...worker.matchAll(/\brequire\("([^"]+)"\)/g)].map(([, dependency = '']) => dependency);
    assert.deepEqual(
      required.filter((dependency) => !isBuiltin(dependency)),
      [],
    );
    assert.match(worker, part);
    for (const program of ['run.cjs', 'commands.cjs']) {
      assert.doesNotMatch(readFileSync(join(directory, program), 'utf8'), part);
    }
  });
}

test('what a run is made of holds no other command and nothing of the daemon', () => {
  const text = readFileSync(join(checkout, OUTPUT, 'run.cjs'), 'utf8');
  const modules = [...text.matchAll(/^var init_\w+ = __esm\(\{\n +"src\/(\S+)"/gm)].map(([, path = '']) => path);
  assert.ok(modules.includes('engine/run.ts'));
  assert.deepEqual(
    modules.filter((path) => /^(?:daemon|client)\/|^cli\/(?:commands|exec|create|secret|policy)/.test(path)),
    [],
  );
});

for (const program of ['run.cjs', 'commands.cjs'])
  test(`${program} loads neither schemas nor HTTP before they are needed`, () => {
    const text = readFileSync(join(checkout, OUTPUT, program), 'utf8');
    const early = text.split('\n').filter((line) => /^(?:var|const|let|import)\b.*\brequire\(|^import\b/.test(line));
    assert.deepEqual(
      early.filter((line) => /zod|http2?"|@peculiar|@napi-rs|sqlite|koffi/.test(line)),
      [],
    );
  });

test('the launcher sets one heap for its own process, and not for what that starts', () => {
  const preload = join(ROOT, 'packages/runtime/bin/preload.cjs');
  const seen = (value: string): string => {
    const args = ['--require', preload, '-p', 'process.env.MALLOC_ARENA_MAX'];
    const env = { HOME: checkout, MALLOC_ARENA_MAX: value };
    return spawnSync(process.execPath, args, { encoding: 'utf8', env, timeout: TIMEOUT_MS }).stdout.trim();
  };
  assert.deepEqual([seen('1'), seen('4')], ['undefined', '4']);
  for (const launcher of ['sallyport', 'packages/runtime/bin/sallyport']) {
    assert.match(readFileSync(join(ROOT, launcher), 'utf8'), /export MALLOC_ARENA_MAX=1;/);
  }
});
