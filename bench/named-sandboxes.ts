// How long a named sandbox and its first command take, with the daemon up, beside what the bare OCI runtime takes for the same command:
// node bench/named-sandboxes.ts [RUNS] [IDLE] [WORKERS]. Both rows alternate. With IDLE, so many sandboxes are then left alone, and looked at;
// with WORKERS the daemon has so many threads for gates. As root.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DaemonStatus, SandboxInfo } from '@sallyport/sdk';
import { DaemonClient } from '@sallyport/sdk/daemon-client';

const DEFAULT_RUNS = 25;
const WARM_UP_RUNS = 3;
/** Between two runs: the warm pool is filled again meanwhile, and the machine rests. */
const PAUSE_MS = 1500;
/** How long idle sandboxes are left alone before they are looked at (parked processes leave by then), and how long they are watched. */
const SETTLE_MS = 75_000;
const WATCH_MS = 30_000;
const COMMAND = ['/bin/echo', 'hello'];
const CHECKOUT = join(import.meta.dirname, '..');

const base = mkdtempSync(join(tmpdir(), 'sallyport-named-'));
const socket = join(base, '.local/state/sallyport/daemon/socket');
const client = new DaemonClient(socket);
const sleep = (delayMs: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, delayMs));

function sallyport(...args: readonly string[]): void {
  const { status, stderr } = spawnSync(join(CHECKOUT, 'sallyport'), args, {
    env: { PATH: process.env['PATH'] ?? '', HOME: base },
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`sallyport ${args.join(' ')}: ${stderr}`);
}

async function remove(name: string): Promise<void> {
  await client.ask({ method: 'DELETE', path: `/v1/sandboxes/${name}?force=true` });
}

/** Creates a sandbox, runs the command, and notes when its first output is there. */
async function measureNamed(): Promise<{ readonly createMs: number; readonly allMs: number }> {
  const startedAt = performance.now();
  const { name } = await client.ask<SandboxInfo>({ method: 'POST', path: '/v1/sandboxes', body: {} });
  const createMs = performance.now() - startedAt;
  let allMs = Number.NaN;
  const path = `/v1/sandboxes/${name}/execs`;
  for await (const { type } of client.events({ method: 'POST', path, body: { command: COMMAND } })) {
    if (type === 'stdout') allMs = performance.now() - startedAt;
  }
  await remove(name);
  return { createMs, allMs };
}

/** A bundle whose root is the host's programs, with namespaces of its own. */
function makeBundle(): string {
  const bundle = join(base, 'bundle');
  mkdirSync(join(bundle, 'rootfs'), { recursive: true });
  const bind = (path: string): object => ({ destination: path, source: path, type: 'bind', options: ['rbind', 'ro'] });
  const config = {
    ociVersion: '1.0.2',
    root: { path: 'rootfs' },
    process: { user: { uid: 0, gid: 0 }, args: COMMAND, cwd: '/', env: ['PATH=/usr/bin:/bin'] },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      ...['/usr', '/bin', '/lib', '/lib64'].filter((path) => existsSync(path)).map(bind),
    ],
    linux: { namespaces: ['pid', 'mount', 'ipc', 'uts', 'network'].map((type) => ({ type })) },
  };
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
  return bundle;
}

function measureBare(bundle: string, run: number): number {
  const startedAt = performance.now();
  const args = ['--root', join(base, 'runc'), 'run', '--bundle', bundle, `named-bench-${run}`];
  const { status, stdout } = spawnSync('runc', args, { encoding: 'utf8' });
  if (status !== 0 || stdout !== 'hello\n') throw new Error(`runc: exit status ${status}`);
  return performance.now() - startedAt;
}

function row(name: string, values: readonly number[]): string {
  const sorted = values.toSorted((a, b) => a - b);
  const cells = [0.5, 0, 0.25, 0.75].map(
    (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))],
  );
  return `${name.padEnd(44)}${cells.map((cell) => (cell ?? Number.NaN).toFixed(1).padStart(8)).join('')}\n`;
}

async function watchIdle(count: number): Promise<void> {
  const status = async (): Promise<DaemonStatus> => await client.ask({ method: 'GET', path: '/v1/daemon' });
  const before = await status();
  for (let index = 0; index < count; index += 1) {
    await client.ask({ method: 'POST', path: '/v1/sandboxes', body: { name: `idle-${index}` } });
  }
  await sleep(SETTLE_MS);
  const { memoryBytes, pid } = await status();
  const switches = (): number =>
    Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
  const first = switches();
  await sleep(WATCH_MS);
  const woken = switches() - first;
  const each = (memoryBytes - before.memoryBytes) / count / 1_000_000;
  process.stdout.write(
    `${count} idle sandboxes: ${each.toFixed(2)} MB of the daemon each; it woke up ${woken} times in ${WATCH_MS / 1000} s\n`,
  );
  for (let index = 0; index < count; index += 1) await remove(`idle-${index}`);
}

const runs = Number(process.argv[2] ?? DEFAULT_RUNS);
const idle = Number(process.argv[3] ?? 0);
const workers = process.argv[4];
try {
  sallyport('daemon', 'start', ...(workers === undefined ? [] : ['--workers', workers]));
  await sleep(PAUSE_MS * 2);
  const bundle = makeBundle();
  const [create, all, bare]: [number[], number[], number[]] = [[], [], []];
  for (let run = 0; run < runs + WARM_UP_RUNS; run += 1) {
    await sleep(PAUSE_MS);
    const named = await measureNamed();
    const bareMs = measureBare(bundle, run);
    if (run < WARM_UP_RUNS) continue;
    create.push(named.createMs);
    all.push(named.allMs);
    bare.push(bareMs);
  }
  process.stdout.write(`${cpus().length} processors, Node ${process.versions.node}, ${runs} runs each, ms\n`);
  process.stdout.write(`${'median'.padStart(52)}     min     p25     p75\n`);
  process.stdout.write(
    row('create', create) +
      row('create, first command, its output', all) +
      row('runc run, bare, the same command', bare),
  );
  if (idle > 0) await watchIdle(idle);
} finally {
  sallyport('daemon', 'stop', '--sandboxes');
  rmSync(base, { recursive: true, force: true });
}
