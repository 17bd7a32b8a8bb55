// How long `sallyport run -- true` takes from nothing: node bench/startup.ts [RUNS] [USER]. Each row's runs are interleaved with those
// of the others, so that a machine that is busy for a while is busy for all. USER is for root: an ordinary account for further rows.
import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';

const DEFAULT_RUNS = 15;
const WARM_UP_RUNS = 2;
const CHECKOUT = join(import.meta.dirname, '..');

interface Row {
  readonly name: string;
  readonly command: readonly string[];
  readonly cwd: string;
  readonly uid?: number;
  readonly gid?: number;
  readonly home: string;
  readonly wallMs: number[];
  readonly cpuMs: number[];
  readonly phases: Map<string, number[]>;
}

/** Runs a command once; its time, and the processor time of it and all its children. */
function measure(row: Row, isWarmUp: boolean): void {
  const cpuBefore = childrenCpuMs();
  const startedAt = performance.now();
  const [file = '', ...args] = row.command;
  const { status, stderr } = spawnSync(file, args, {
    cwd: row.cwd,
    encoding: 'utf8',
    env: { PATH: process.env['PATH'] ?? '', HOME: row.home },
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(row.uid === undefined ? {} : { uid: row.uid, gid: row.gid ?? row.uid }),
  });
  const wallMs = performance.now() - startedAt;
  if (status !== 0) throw new Error(`${row.name}: exit status ${status}: ${stderr}`);
  if (isWarmUp) return;
  row.wallMs.push(wallMs);
  row.cpuMs.push(childrenCpuMs() - cpuBefore);
  for (const [, share = '', phase = ''] of stderr.matchAll(/^ +([\d.]+) ms {2}(.+?) +at +[\d.]+$/gm)) {
    const shares = row.phases.get(phase) ?? [];
    shares.push(Number(share));
    row.phases.set(phase, shares);
  }
}

/** User and system time of all children that have ended, in ms: fields 16 and 17 of /proc/self/stat, in ticks of 10 ms. */
function childrenCpuMs(): number {
  const text = readFileSync('/proc/self/stat', 'latin1');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

/** A bundle whose root is the host's, with namespaces of its own: what runc alone takes. */
function bareBundle(base: string): string {
  const bundle = join(base, 'bundle');
  mkdirSync(join(bundle, 'rootfs'), { recursive: true });
  const bind = (path: string): object => ({ destination: path, source: path, type: 'bind', options: ['rbind', 'ro'] });
  const config = {
    ociVersion: '1.0.2',
    root: { path: 'rootfs' },
    process: { user: { uid: 0, gid: 0 }, args: ['/bin/true'], cwd: '/', env: ['PATH=/usr/bin:/bin'] },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      ...['/usr', '/bin', '/lib', '/lib64'].filter((path) => existsSync(path)).map(bind),
    ],
    linux: { namespaces: ['pid', 'mount', 'ipc', 'uts', 'network'].map((type) => ({ type })) },
  };
  writeFileSync(join(bundle, 'config.json'), JSON.stringify(config));
  return bundle;
}

function findAccount(name: string): { readonly uid: number; readonly gid: number } {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`));
  const [, , uid, gid] = line?.split(':') ?? [];
  if (uid === undefined || gid === undefined) throw new Error(`There is no account ${JSON.stringify(name)}`);
  return { uid: Number(uid), gid: Number(gid) };
}

const runs = Number(process.argv[2] ?? DEFAULT_RUNS);
const account = process.argv[3];
const isRoot = process.geteuid?.() === 0;
const base = mkdtempSync(join(tmpdir(), 'sallyport-startup-'));
chmodSync(base, 0o755);
const directoryFor = (name: string, owner?: { uid: number; gid: number }): { cwd: string; home: string } => {
  const [cwd, home] = [join(base, name, 'work'), join(base, name, 'home')];
  for (const path of [join(base, name), cwd, home]) {
    mkdirSync(path, { recursive: true });
    if (owner !== undefined) chownSync(path, owner.uid, owner.gid);
  }
  return { cwd, home };
};
const row = (name: string, command: readonly string[], place: Partial<Row> & Pick<Row, 'cwd' | 'home'>): Row => ({
  name,
  command,
  ...place,
  wallMs: [],
  cpuMs: [],
  phases: new Map(),
});

try {
  const own = directoryFor('own');
  const launcher = join(CHECKOUT, 'sallyport');
  const rows = [row('node -e 0', [process.execPath, '-e', '0'], own)];
  if (isRoot) {
    const bundle = bareBundle(base);
    const run = ['runc', '--root', join(base, 'runc'), 'run', '--bundle', bundle, 'startup-bench'];
    rows.push(row('runc run, bare, true', run, own));
  }
  rows.push(
    row(`sallyport run -- true (${isRoot ? 'root' : 'user'})`, [launcher, 'run', '--timings', '--', 'true'], own),
  );
  if (account !== undefined) {
    const owner = findAccount(account);
    rows.push(
      row('sallyport run -- true (user)', [launcher, 'run', '--timings', '--', 'true'], {
        ...directoryFor('user', owner),
        ...owner,
      }),
    );
  }
  const installed = process.env['SALLYPORT_INSTALLED'];
  if (installed !== undefined) {
    rows.push(row('installed package', [installed, 'run', '--timings', '--', 'true'], directoryFor('installed')));
  }
  for (let round = 0; round < runs + WARM_UP_RUNS; round++) {
    for (const each of rows) measure(each, round < WARM_UP_RUNS);
  }
  process.stdout.write(`${cpus().length} processors, Node ${process.versions.node}, ${runs} runs each, ms\n`);
  process.stdout.write(`${'wall: median'.padStart(46)}    min    p25    p75   CPU: median\n`);
  for (const { name, wallMs, cpuMs } of rows) {
    const cells = [0.5, 0, 0.25, 0.75].map((share) => quantile(wallMs, share)).concat(quantile(cpuMs, 0.5));
    process.stdout.write(`${name.padEnd(39)}${cells.map((cell) => cell.toFixed(0).padStart(7)).join('')}\n`);
  }
  for (const { name, phases } of rows.filter((each) => each.phases.size > 0)) {
    process.stdout.write(`\n${name}: share of each phase, median\n`);
    for (const [phase, shares] of phases) {
      process.stdout.write(`${quantile(shares, 0.5).toFixed(1).padStart(8)}  ${phase}\n`);
    }
  }
} finally {
  rmSync(base, { recursive: true, force: true });
}
