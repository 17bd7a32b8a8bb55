import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../../e2e/harness/tools.ts';

/** The version of mockttp that is measured. */
export const MOCKTTP_VERSION = '4.6.5';
/** Clients that are compiled here, as they are called in the clients' directory. */
export const CONNECTIONS_PROGRAM = 'connections';
export const CONNECT_VIA_LIBRARY = 'connect-via.so';

const CLIENT_SOURCES = join(import.meta.dirname, '..', 'clients');
const LIBSSL_HEADERS = '/usr/include/openssl/ssl.h';

/** A need of the benchmark: there when `path` is, or `program` is in the system's directories. */
interface Need {
  readonly package: string;
  readonly program?: string;
  readonly path?: string;
  /** Whether nothing can be measured without it. */
  readonly isEssential?: boolean;
}

const NEEDS: readonly Need[] = [
  { package: 'nginx-light', program: 'nginx', isEssential: true },
  { package: 'wrk', program: 'wrk', isEssential: true },
  { package: 'nghttp2-client', program: 'h2load' },
  { package: 'curl', program: 'curl' },
  { package: 'gcc', program: 'cc' },
  { package: 'libc6-dev', path: '/usr/include/stdio.h' },
  { package: 'libssl-dev', path: LIBSSL_HEADERS },
  { package: 'openssl', program: 'openssl' },
  { package: 'haproxy', program: 'haproxy' },
  { package: 'squid-openssl', path: '/usr/lib/squid/security_file_certgen' },
  { package: 'python3-venv', path: '/usr/share/doc/python3-venv' },
];

function cacheDirectory(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sallyport-bench');
}

function isMet({ program, path }: Need): boolean {
  if (path !== undefined && (existsSync(path) || existsSync(archPath(path)))) return true;
  return program !== undefined && findProgram(program) !== undefined;
}

/** Debian keeps some headers below the architecture's name. */
function archPath(path: string): string {
  const architecture = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
  return path.replace('/usr/include/', `/usr/include/${architecture}-linux-gnu/`);
}

/**
 * Installs what is missing, with apt where root runs this, mitmproxy and mockttp into a cache of the user. What cannot be had makes its
 * rows say so.
 *
 * @throws Error where something is missing without which nothing can be measured.
 */
export function provideTools(say: (line: string) => void, wanted: { readonly peers: readonly string[] }): void {
  const missing = NEEDS.filter((need) => !isMet(need));
  if (missing.length > 0) installPackages(missing, say);
  const essential = missing.filter((need) => need.isEssential === true && !isMet(need));
  if (essential.length > 0) {
    throw new Error(`Nothing can be measured without ${essential.map((need) => need.package).join(', ')}.`);
  }
  mkdirSync(cacheDirectory(), { recursive: true });
  if (wanted.peers.includes('mitmproxy')) attempt(installMitmproxy, say);
  if (wanted.peers.includes('mockttp')) attempt(installMockttp, say);
}

function installPackages(missing: readonly Need[], say: (line: string) => void): void {
  const names = missing.map((need) => need.package).join(' ');
  const command = `apt-get update && apt-get install -y --no-install-recommends ${names}`;
  if (process.geteuid?.() !== 0 || findProgram('apt-get') === undefined) {
    say(`missing: ${names}. An administrator installs them with:\n\n  ${command}\n`);
    return;
  }
  say(`installing ${names} (apt-get)`);
  // The services that come with the packages are of no use here: policy-rc.d would be a file of the system, so they are stopped.
  const running = new Set(missing.map((need) => need.program ?? need.package.replace(/-.*/, '')));
  spawnSync('sh', ['-c', `exec >&2; export DEBIAN_FRONTEND=noninteractive; ${command}`], { stdio: ['ignore', 2, 2] });
  for (const service of ['nginx', 'haproxy', 'squid'].filter((name) => running.has(name))) {
    spawnSync('service', [service, 'stop'], { stdio: 'ignore' });
  }
}

/** mitmproxy's program, where it is installed. `BENCH_PYTHON` is the Python for it: the newest mitmproxy needs a new one. */
export function cachedMitmproxy(): string | undefined {
  const program = join(cacheDirectory(), 'mitmproxy', 'bin', 'mitmdump');
  return existsSync(program) ? program : undefined;
}

function installMitmproxy(): void {
  if (cachedMitmproxy() !== undefined) return;
  const environment = join(cacheDirectory(), 'mitmproxy');
  const python = process.env['BENCH_PYTHON'] ?? 'python3';
  execFileSync(python, ['-m', 'venv', environment], { stdio: ['ignore', 2, 2] });
  execFileSync(join(environment, 'bin', 'pip'), ['install', '--quiet', 'mitmproxy'], { stdio: ['ignore', 2, 2] });
}

/** The directory in whose node modules mockttp is, where it is installed. */
export function cachedMockttp(): string | undefined {
  const directory = join(cacheDirectory(), `mockttp-${MOCKTTP_VERSION}`);
  return existsSync(join(directory, 'node_modules', 'mockttp')) ? directory : undefined;
}

function installMockttp(): void {
  if (cachedMockttp() !== undefined) return;
  const directory = join(cacheDirectory(), `mockttp-${MOCKTTP_VERSION}`);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'package.json'), '{ "private": true, "type": "module" }\n');
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const argv = ['install', ...flags, `mockttp@${MOCKTTP_VERSION}`];
  // npm may need the machine's own CA to reach its registry; see bench/run.sh.
  const extraCa = process.env['SALLYPORT_NPM_EXTRA_CA_CERTS'] ?? '';
  const env = { ...process.env, ...(extraCa === '' ? {} : { NODE_EXTRA_CA_CERTS: extraCa }) };
  execFileSync('npm', argv, { cwd: directory, env, stdio: ['ignore', 2, 2] });
}

/** Compiles the clients into a directory; rows whose client is missing say so. */
export function compileClients(directory: string, say: (line: string) => void): void {
  const compile = (...args: readonly string[]): void =>
    void execFileSync('cc', ['-O2', ...args], { stdio: ['ignore', 2, 2] });
  attempt(() => {
    const output = join(directory, CONNECTIONS_PROGRAM);
    compile('-o', output, join(CLIENT_SOURCES, 'connections.c'), '-lssl', '-lcrypto');
  }, say);
  attempt(() => {
    const output = join(directory, CONNECT_VIA_LIBRARY);
    compile('-shared', '-fPIC', '-o', output, join(CLIENT_SOURCES, 'connect-via.c'), '-ldl');
  }, say);
}

function attempt(install: () => void, say: (line: string) => void): void {
  try {
    install();
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
  }
}
