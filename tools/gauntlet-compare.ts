/**
 * `npm run gauntlet:compare`: the gauntlet over Sallyport and over two interception proxies that are set up as credential gates.
 *
 * Writes docs/gauntlet.md. The proxies are installed into a cache directory of the user, not into this checkout. `GAUNTLET_PYTHON` is
 * the Python for mitmproxy (default: python3; the newest mitmproxy needs a new one).
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatSummary, readOptions, runFromOptions } from '../packages/gauntlet/src/index.ts';
import type { GauntletReport } from '../packages/gauntlet/src/index.ts';
import { createSallyportCommand } from './gauntlet/sallyport-command.ts';
import { formatComparison } from './gauntlet/comparison.ts';
import type { ComparedGate } from './gauntlet/comparison.ts';

const ROOT = join(import.meta.dirname, '..');
const MOCKTTP_VERSION = '4.6.5';
const PLACEHOLDER = 'sp_API_TOKEN_0123456789abcdefghijkl';
const SEED = 20_260_101;

/** A word for `sh`. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

async function findFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function attack(name: string, args: readonly string[]): Promise<GauntletReport> {
  process.stdout.write(`${name}\n`);
  const report = await runFromOptions(readOptions([...args, '--seed', String(SEED)], process.env, SEED));
  process.stdout.write(`${formatSummary(report)}\n\n`);
  return report;
}

/** Installs mitmproxy where it is missing. @returns Its program and version. */
function installMitmproxy(cache: string): { program: string; version: string } {
  const environment = join(cache, 'mitmproxy');
  const program = join(environment, 'bin', 'mitmdump');
  if (!existsSync(program)) {
    execFileSync(process.env['GAUNTLET_PYTHON'] ?? 'python3', ['-m', 'venv', environment], { stdio: 'inherit' });
    execFileSync(join(environment, 'bin', 'pip'), ['install', '--quiet', 'mitmproxy'], { stdio: 'inherit' });
  }
  const text = execFileSync(program, ['--version'], { encoding: 'utf8' });
  return { program, version: /^Mitmproxy: (\S+)/m.exec(text)?.[1] ?? 'unknown' };
}

function installMockttp(cache: string): string {
  const directory = join(cache, `mockttp-${MOCKTTP_VERSION}`);
  if (!existsSync(join(directory, 'node_modules', 'mockttp'))) {
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'package.json'), '{ "private": true, "type": "module" }\n');
    const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    execFileSync('npm', ['install', ...flags, `mockttp@${MOCKTTP_VERSION}`], { cwd: directory, stdio: 'inherit' });
  }
  copyFileSync(join(import.meta.dirname, 'gauntlet', 'mockttp-gate.mjs'), join(directory, 'mockttp-gate.mjs'));
  return directory;
}

async function compare(): Promise<readonly ComparedGate[]> {
  const cache = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sallyport-gauntlet');
  mkdirSync(cache, { recursive: true });
  const mitmproxy = installMitmproxy(cache);
  const mockttp = installMockttp(cache);
  const work = mkdtempSync(join(tmpdir(), 'sallyport-compare-'));
  const proxyArgs = (port: number, ca: string, command: string): string[] => [
    ...['--proxy', `http://127.0.0.1:${port}`, '--ca', ca, '--without', 'redaction'],
    ...['--placeholder', PLACEHOLDER, '--start', `export GAUNTLET_PLACEHOLDER=${PLACEHOLDER}; ${command}`],
  ];
  try {
    const ours = createSallyportCommand({ checkout: ROOT, assets: work });
    const version = execFileSync(join(ROOT, 'sallyport'), ['--version'], { encoding: 'utf8' }).trim();
    const sallyport = await attack('Sallyport', ours);
    const mitmproxyPort = await findFreePort();
    const mitmproxyReport = await attack(
      'mitmproxy',
      proxyArgs(
        mitmproxyPort,
        join(work, 'mitmproxy-ca-cert.pem'),
        `exec ${quote(mitmproxy.program)} -q --listen-host 127.0.0.1 -p ${mitmproxyPort} --set confdir=${quote(work)} --set ssl_verify_upstream_trusted_ca="$GAUNTLET_CA" -s ${quote(join(ROOT, 'tools/gauntlet/mitmproxy_gate.py'))}`,
      ),
    );
    const mockttpPort = await findFreePort();
    const mockttpCa = join(work, 'mockttp-ca.pem');
    const mockttpReport = await attack(
      'mockttp',
      proxyArgs(
        mockttpPort,
        mockttpCa,
        `cd ${quote(mockttp)} && exec ${quote(process.execPath)} mockttp-gate.mjs ${mockttpPort} ${quote(mockttpCa)}`,
      ),
    );
    return [
      { name: `Sallyport ${/[0-9]\S*/.exec(version)?.[0] ?? version}`, report: sallyport },
      { name: `mitmproxy ${mitmproxy.version}`, report: mitmproxyReport },
      { name: `mockttp ${MOCKTTP_VERSION}`, report: mockttpReport },
    ];
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const gates = await compare();
writeFileSync(join(ROOT, 'docs', 'gauntlet.md'), formatComparison(gates, SEED));
process.stdout.write('wrote docs/gauntlet.md\n');
process.exitCode = gates[0]?.report.verdict === 'passed' ? 0 : 1;
