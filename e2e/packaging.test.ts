// What `npm run build` and `npm pack` make is installed elsewhere and used there, by a command and by a TypeScript program.
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
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';

const ROOT = join(import.meta.dirname, '..');
const PACKAGES = ['sdk', 'runtime', 'gauntlet'] as const;
const PROGRAM_TIMEOUT_MS = 180_000;

let base: string;
let checkout: string;
let consumer: string;
let tarballs: string[];

/** Runs a program to its end and returns its standard output. */
function run(cwd: string, command: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    env: { ...process.env, npm_config_audit: 'false', npm_config_fund: 'false', npm_config_loglevel: 'error' },
    timeout: PROGRAM_TIMEOUT_MS,
  });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${error?.message ?? ''}\n${stdout}\n${stderr}`);
  return stdout;
}

/** A copy of the packages, so that nothing is written to this checkout (which may belong to somebody else). */
function copyCheckout(directory: string): void {
  mkdirSync(join(directory, 'node_modules/@sallyport'), { recursive: true });
  for (const file of ['package.json', 'tsconfig.json']) cpSync(join(ROOT, file), join(directory, file));
  const isOutput = (path: string): boolean => /\/(?:dist|node_modules)$/.test(path);
  for (const name of PACKAGES.map((one) => `packages/${one}`)) {
    cpSync(join(ROOT, name), join(directory, name), { recursive: true, filter: (path) => !isOutput(path) });
  }
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (name === '@sallyport' || name === 'sallyport' || name.startsWith('.')) continue;
    symlinkSync(join(ROOT, 'node_modules', name), join(directory, 'node_modules', name));
  }
  symlinkSync(join(directory, 'packages/sdk'), join(directory, 'node_modules/@sallyport/sdk'));
}

before(() => {
  base = mkdtempSync(join(tmpdir(), 'sallyport-packaging-'));
  checkout = join(base, 'checkout');
  consumer = join(base, 'consumer');
  copyCheckout(checkout);
  const build = `import { buildPackages } from ${JSON.stringify(join(ROOT, 'tools/build.ts'))}; process.exitCode = (await buildPackages('.')) ? 0 : 1;`;
  run(checkout, process.execPath, '--input-type=module', '-e', build);
  tarballs = PACKAGES.map((name) => {
    const [tarball] = JSON.parse(
      run(join(checkout, 'packages', name), 'npm', 'pack', '--json', '--pack-destination', base),
    ) as [{ filename: string }];
    return join(base, tarball.filename);
  });
  mkdirSync(consumer);
  writeFileSync(join(consumer, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }\n');
  run(consumer, 'npm', 'install', '--prefer-offline', '--ignore-scripts', ...tarballs);
});

after(() => rmSync(base, { recursive: true, force: true }));

describe('npm pack', () => {
  test('holds the build, the licence and the readme, and neither sources nor tests', () => {
    for (const tarball of tarballs) {
      const files = run(base, 'tar', '-tzf', tarball).trim().split('\n');
      for (const name of ['package/LICENSE', 'package/README.md', 'package/dist/index.js', 'package/dist/index.d.ts']) {
        assert.ok(files.includes(name), `${tarball} lacks ${name}`);
      }
      const isRuntime = files.includes('package/bin/sallyport');
      assert.deepEqual(
        files.filter((name) => isRuntime && name.startsWith('package/dist/cli/')),
        isRuntime
          ? [
              'age-worker.cjs',
              'certificate-worker.cjs',
              'commands.cjs',
              'gate-worker.cjs',
              'keychain-program.cjs',
              'main.cjs',
              'run.cjs',
              'signature-v4.cjs',
              'tldts.cjs',
              'THIRD-PARTY-NOTICES.txt',
            ].map((name) => `package/dist/cli/${name}`)
          : [],
      );
      const strangers = files.filter((name) => /\.test\.|^package\/src\/|(?<!\.d)\.ts$/.test(name));
      assert.deepEqual(strangers, []);
    }
  });

  for (const name of PACKAGES) {
    test(`publint has nothing to say about ${name}`, async () => {
      const directory = join(checkout, 'packages', name);
      const { messages, pkg } = await publint({ pkgDir: directory, strict: true });
      assert.deepEqual(
        messages.map((message) => formatMessage(message, pkg, { color: false })),
        [],
      );
    });
  }
});

describe('the installed packages', () => {
  test('the command runs, through the link that npm makes and with any Node in PATH', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'packages/runtime/package.json'), 'utf8')) as {
      version: string;
    };
    const command = join(consumer, 'node_modules/.bin/sallyport');
    const notices = readFileSync(join(consumer, 'node_modules/sallyport/dist/cli/THIRD-PARTY-NOTICES.txt'), 'utf8');
    const { dependencies } = JSON.parse(
      readFileSync(join(consumer, 'node_modules/sallyport/package.json'), 'utf8'),
    ) as { dependencies: object };
    for (const name of [
      '@peculiar/x509',
      '@smithy/signature-v4',
      'commander',
      'ipaddr.js',
      'reflect-metadata',
      'tldts',
    ]) {
      assert.match(
        notices,
        new RegExp(`^${name.replace('.', '\\.')} \\d+\\.\\d+\\.\\d+\n[^]*?[Cc]opyright`, 'm'),
        name,
      );
      assert.equal(name in dependencies, false, `${name} is a part of the bundles`);
    }
    assert.match(run('/', command, '--version'), new RegExp(`\\b${version.replaceAll('.', '\\.')}\\b`));
  });

  test('the thread for certificates works by what is in its package', () => {
    const away = join(base, 'thread.cjs');
    cpSync(join(consumer, 'node_modules/sallyport/dist/cli/certificate-worker.cjs'), away);
    const program = `
      import { execFileSync } from 'node:child_process';
      import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
      import { Worker } from 'node:worker_threads';
      const key = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -config /dev/null -subj /CN=A';
      const made = execFileSync('openssl', ['req', '-x509', ...key.split(' ')], { stdio: 'pipe' });
      const authorityKey = createPrivateKey(made);
      const thread = new Worker(${JSON.stringify(away)});
      thread.on('message', ({ certPem }) => {
        const { issuer, subject } = new X509Certificate(certPem);
        console.log(issuer, subject);
        thread.terminate();
      });
      thread.postMessage({
        call: 1,
        request: {
          host: 'a.example',
          isAddress: false,
          notBeforeMs: 0,
          notAfterMs: Date.now(),
          publicKey: createPublicKey(authorityKey),
          authorityPem: new X509Certificate(made).toString(),
          authorityKey,
        },
      });`;
    assert.equal(run(base, process.execPath, '--input-type=module', '-e', program), 'CN=A CN=a.example\n');
  });

  test('the command says what is wrong with a Node that is too old', () => {
    const old = join(base, 'old');
    mkdirSync(old);
    const preload = join(consumer, 'node_modules/sallyport/bin/preload.cjs');
    const pretend = `Object.defineProperty(process.versions, 'node', { value: '20.20.2' }); require(${JSON.stringify(preload)});`;
    const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', pretend], { encoding: 'utf8' });
    assert.deepEqual([status, stdout], [125, '']);
    assert.match(stderr, /this is Node 20\.20\.2 .* Node 24 or newer is needed/);
  });

  test('the command brings its own Node, and does with a new one in PATH where it was left out', () => {
    const own = join(consumer, `node_modules/node-linux-${process.arch}`);
    assert.ok(existsSync(join(own, 'bin/node')));
    const away = join(base, 'away');
    const bare = join(base, 'bare');
    cpSync(join(consumer, 'node_modules'), join(away, 'node_modules'), {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => !/node_modules\/node-linux-/.test(path),
    });
    mkdirSync(bare);
    symlinkSync(process.execPath, join(bare, 'node'));
    const call = (path: string): ReturnType<typeof spawnSync> =>
      spawnSync('/bin/sh', [join(away, 'node_modules/sallyport/bin/sallyport'), '--version'], {
        encoding: 'utf8',
        env: { PATH: path },
      });
    assert.equal(call(bare).status, 0, String(call(bare).stderr));
    const without = call(base);
    assert.equal(without.status, 125);
    assert.match(String(without.stderr), /no "node" in PATH; install Node 24/);
  });

  test('both modules load and share one error class', () => {
    const program = `
      import * as runtime from 'sallyport';
      import * as sdk from '@sallyport/sdk';
      import * as client from '@sallyport/sdk/client';
      import { auditEventSchema } from '@sallyport/sdk/audit-event';
      console.log(runtime.SallyportError === sdk.SallyportError, runtime.Sandbox === client.Sandbox, typeof auditEventSchema.parse);`;
    assert.equal(run(consumer, process.execPath, '--input-type=module', '-e', program).trim(), 'true true function');
  });

  test('a TypeScript program finds the types of both', () => {
    const program = `
      import { SallyportError, type ErrorCode } from '@sallyport/sdk';
      import type { AuditEvent } from '@sallyport/sdk/audit-event';
      import { SallyportError as Same } from 'sallyport';
      const code: ErrorCode = new SallyportError('USAGE', 'x').code;
      const same: typeof Same = SallyportError;
      // @ts-expect-error a code that does not exist
      const wrong: ErrorCode = 'NO_SUCH_CODE';
      const seq: AuditEvent['seq'] = 1;
      console.log(code, same, wrong, seq);\n`;
    writeFileSync(join(consumer, 'program.ts'), program);
    const options = {
      module: 'nodenext',
      target: 'es2024',
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      types: [],
      lib: ['es2024', 'dom'],
    };
    writeFileSync(join(consumer, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, files: ['program.ts'] }));
    run(consumer, process.execPath, join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', '.');
  });

  test('a program written for TypeScript 5.9 compiles, with the types of Node and with those of browsers, and runs', () => {
    run(consumer, 'npm', 'install', '--prefer-offline', '--ignore-scripts', 'typescript@5.9', '@types/node@22');
    // Written as the readme has it; without a daemon at the socket it ends with the error that says so.
    const program = `
      import { Sandbox, SallyportError, Secret, type ErrorCode, type ExecResult, type NetworkOptions } from 'sallyport';
      const network: NetworkOptions = { allow: ['example.com'], upstreamCa: 'ca.pem', resolve: { 'a.example:443': '127.0.0.1:8443' } };
      async function main(): Promise<ExecResult> {
        await using sb = await Sandbox.builder('worker')
          .image('host')
          .secret((s) => s.env('GITHUB_TOKEN').value('the-real-value').allowHost('api.github.com').allowHostPattern('*.githubusercontent.com'))
          .secretEnv('SERVICE_API_KEY', 'the-real-value', 'api.example.com')
          .network(network)
          .create({ timeoutMs: 5000, signal: new AbortController().signal });
        for await (const event of sb.execStream('true')) if (event.type === 'stdout') event.data.subarray(1);
        const bytes: Uint8Array = await sb.fs.read('/etc/hostname');
        await sb.fs.write('/tmp/x', bytes, { mode: 0o600 });
        await sb.secrets.set(Secret.env('A', { value: 'another-value', allowHosts: ['a.example'] }));
        // @ts-expect-error a secret is no string
        await Sandbox.create({ secrets: ['text'] });
        return await sb.exec('true', [], { stdin: 'text' });
      }
      main().catch((error: unknown) => {
        if (!(error instanceof SallyportError)) throw error;
        const code: ErrorCode = error.code;
        console.log(code);
      });\n`;
    mkdirSync(join(consumer, 'five'));
    writeFileSync(join(consumer, 'five/program.ts'), program);
    for (const [types, lib] of [
      [['node'], ['es2022']],
      [[], ['es2022', 'dom', 'dom.asynciterable']],
    ] as const) {
      const compilerOptions = {
        module: 'nodenext',
        target: 'es2022',
        strict: true,
        skipLibCheck: false,
        types,
        lib,
        outDir: 'out',
      };
      writeFileSync(join(consumer, 'five/tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }));
      run(consumer, process.execPath, 'node_modules/typescript/bin/tsc', '-p', 'five');
    }
    const { stdout, stderr } = spawnSync(process.execPath, [join(consumer, 'five/out/program.js')], {
      encoding: 'utf8',
      env: { SALLYPORT_SOCKET: join(base, 'no-socket') },
    });
    assert.equal(stdout, 'DAEMON_UNREACHABLE\n', stderr);
  });
});
