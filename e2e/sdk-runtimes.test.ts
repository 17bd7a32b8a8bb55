// One program with the SDK as it is published, in the oldest Node that is supported, in Deno and in Bun.
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { CHECKOUT, findPresentCaller } from './harness/caller.ts';
import { assertNoCanary, newCanary } from './harness/canary.ts';
import { createDaemonScene } from './harness/daemon.ts';
import { headerValues } from './harness/recording.ts';
import { startUpstream } from './harness/upstream.ts';

const HOST = 'api.github.com';
/** Outside of the checkout, kept from run to run. */
const CACHE = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sallyport-sdk-runtimes');
const INSTALL_LIMIT_MS = 300_000;
const PROGRAM_LIMIT_MS = 60_000;

interface Runtime {
  readonly name: string;
  /** As npm takes it. */
  readonly packageSpec: string;
  /** In the cache. */
  readonly program: string;
  readonly args: readonly string[];
  /** A script of the package that puts its program in place. */
  readonly setUp?: string;
}

const RUNTIMES: readonly Runtime[] = [
  { name: 'Node 22', packageSpec: `node22@npm:node-linux-${process.arch}@22`, program: 'node_modules/node22/bin/node', args: [] },
  { name: 'Deno', packageSpec: 'deno@2.9.6', program: 'node_modules/.bin/deno', args: ['run', '--allow-all', '--node-modules-dir=manual'] },
  { name: 'Bun', packageSpec: 'bun@1.4.5', program: 'node_modules/.bin/bun', args: [], setUp: 'node_modules/bun/install.js' },
]; // prettier-ignore

/** Installs a runtime where it is not there yet. Returns why that did not work. */
function install({ packageSpec, program, setUp }: Runtime): string | undefined {
  const works = (): boolean => spawnSync(join(CACHE, program), ['--version']).status === 0;
  if (works()) return undefined;
  mkdirSync(CACHE, { recursive: true });
  if (!existsSync(join(CACHE, 'package.json'))) writeFileSync(join(CACHE, 'package.json'), '{ "private": true }\n');
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', packageSpec];
  const options = { cwd: CACHE, timeout: INSTALL_LIMIT_MS, stdio: 'pipe' } as const;
  try {
    execFileSync('npm', args, options);
    if (setUp !== undefined) execFileSync(process.execPath, [setUp], options);
  } catch (error) {
    return `${packageSpec} could not be installed: ${String(error instanceof Error ? error.message : error).slice(0, 300)}`;
  }
  return works() ? undefined : `${packageSpec} does not run on this machine`;
}

let consumer: string;

before(() => {
  consumer = mkdtempSync(join(tmpdir(), 'sallyport-sdk-runtimes-'));
  const sdk = join(consumer, 'node_modules/@sallyport/sdk');
  mkdirSync(sdk, { recursive: true });
  cpSync(join(CHECKOUT, 'packages/sdk/package.json'), join(sdk, 'package.json'));
  symlinkSync(join(CHECKOUT, 'node_modules/zod'), join(consumer, 'node_modules/zod'));
  const compiler = join(CHECKOUT, 'node_modules/typescript/bin/tsc');
  const project = join(CHECKOUT, 'packages/sdk/tsconfig.build.json');
  execFileSync(process.execPath, [compiler, '-p', project, '--outDir', join(sdk, 'dist')], { stdio: 'inherit' });
  cpSync(join(CHECKOUT, 'e2e/clients/sdk-program.mjs'), join(consumer, 'program.mjs'));
  writeFileSync(join(consumer, 'package.json'), '{ "private": true, "type": "module" }\n');
});

after(() => rmSync(consumer, { recursive: true, force: true }));

for (const runtime of RUNTIMES) {
  test(`${runtime.name} runs a program with the SDK`, async (context) => {
    const missing = install(runtime);
    if (missing !== undefined) {
      context.skip(missing);
      return;
    }
    const canary = newCanary();
    await using scene = await createDaemonScene(findPresentCaller());
    await using upstream = await startUpstream({ names: [HOST] });
    const { stdout, stderr } = await promisify(execFile)(
      join(CACHE, runtime.program),
      [...runtime.args, 'program.mjs', HOST, `${HOST}:443=127.0.0.1:${upstream.httpsPort}`, upstream.caFile],
      {
        cwd: consumer,
        env: { ...process.env, HOME: scene.home, SALLYPORT_SOCKET: scene.socket, SDK_SECRET: canary.value },
        timeout: PROGRAM_LIMIT_MS,
      },
    );
    assert.deepEqual(JSON.parse(stdout), {
      // What the upstream reflected, and the variable.
      placeholders: 2,
      stdin: true,
      file: true,
      events: ['started', 'stdout got it\n', 'exit'],
      aborted: 'ABORTED',
      late: 'TIMED_OUT',
      missing: 'FILE_NOT_FOUND',
      copied: 'in\n',
      beside: ['tree'],
      again: 'in\n',
      logs: ['stdout', 'in\n'],
      left: 0,
    });
    const received = upstream.requests.flatMap((request) => headerValues(request, 'authorization'));
    assert.deepEqual(received, [`Bearer ${canary.value}`]);
    assertNoCanary(canary, { outputs: { stdout, stderr }, files: [scene.root] });
  });
}
