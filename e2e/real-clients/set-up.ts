import { execFileSync } from 'node:child_process';
import type { StdioOptions } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../harness/tools.ts';

/** Everything that the clients need and that no repository should hold: outside of the checkout, kept from run to run. */
export const CACHE = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sallyport-clients');

/** Where a sandbox sees {@link CACHE}. */
export const INSIDE = '/clients';

const PROGRAMS = fileURLToPath(new URL('programs', import.meta.url));

/** Debian's packages, by the program that each brings. */
const APT_PACKAGES: Readonly<Record<string, readonly string[]>> = {
  curl: ['curl'],
  wget: ['wget'],
  git: ['git'],
  gh: ['gh'],
  ruby: ['ruby'],
  php: ['php-cli', 'php-curl'],
  chromium: ['chromium'],
  java: ['default-jre-headless'],
  javac: ['default-jdk-headless'],
};

const NPM_PACKAGES = [
  '@grpc/grpc-js@1.14.7',
  'axios@1.21.1',
  'bun@1.4.5',
  'deno@2.9.6',
  'got@14.6.6',
  'npm@11.19.1',
  'undici@7.30.2',
  'ws@8.23.0',
];

const PYTHON_PACKAGES = [
  'aiohttp==3.14.5',
  'grpcio==1.85.1',
  'httpx[http2]==0.28.1',
  'pip==26.3',
  'requests==2.34.2',
  'websockets==17.4',
];

/** What a step of the set-up came to: absent when the tool is there, else why not. */
export type Missing = Readonly<Partial<Record<'npm' | 'python' | 'go' | 'rust' | 'java', string>>>;

/** The system's own programs that only this machine's administrator may install. */
function installSystemPackages(): void {
  const missing = Object.keys(APT_PACKAGES).filter((program) => findProgram(program) === undefined);
  const aptGet = findProgram('apt-get');
  if (missing.length === 0 || aptGet === undefined || process.getuid?.() !== 0) return;
  const packages = missing.flatMap((program) => APT_PACKAGES[program] ?? []);
  process.stderr.write(`real clients: as root, installing the packages ${packages.join(' ')} (apt-get install)\n`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const stdio: ['ignore', 2, 2] = ['ignore', 2, 2];
  try {
    execFileSync(aptGet, ['-qq', 'update'], { env, stdio });
    execFileSync(aptGet, ['-qq', 'install', '-y', '--no-install-recommends', ...packages], { env, stdio });
  } catch {
    // The rows of what is still missing say so.
  }
}

/** Why a program of the system cannot be had here. */
export function whyNoProgram(program: string): string | undefined {
  if (findProgram(program) !== undefined) return undefined;
  const packages = APT_PACKAGES[program]?.join(' ') ?? program;
  return `no ${program} (an administrator installs it: apt-get install ${packages})`;
}

/** Runs `step` unless the same inputs were installed before; returns why it failed. */
function provide(name: string, inputs: string, step: (directory: string) => void): string | undefined {
  const directory = join(CACHE, name);
  const stamp = join(CACHE, `${name}.stamp`);
  const wanted = createHash('sha256').update(inputs).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return undefined;
  process.stderr.write(`real clients: installing ${name} below ${CACHE}\n`);
  try {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    step(directory);
    writeFileSync(stamp, wanted);
    return undefined;
  } catch (cause) {
    const stderr = (cause as { readonly stderr?: Buffer }).stderr?.toString().trim().split('\n').at(-1);
    return `could not be installed here: ${stderr ?? String(cause)}`;
  }
}

function sources(...names: readonly string[]): string {
  return names.map((name) => readFileSync(join(PROGRAMS, name), 'utf8')).join('\0');
}

/** A `go` for builds on the host, and for the sandbox when it lies below `/usr`. */
export const GO = findProgram('go', `${process.env['PATH']}:/usr/local/go/bin`);

/** The folder of the Rust toolchain, which the sandbox gets as `/rust`: rustup's `cargo` only finds it by its home directory. */
export function findRustToolchain(): string | undefined {
  try {
    const stdio: StdioOptions = ['ignore', 'pipe', 'ignore'];
    const sysroot = execFileSync('rustc', ['--print', 'sysroot'], { encoding: 'utf8', stdio }).trim();
    return existsSync(join(sysroot, 'bin', 'cargo')) ? sysroot : undefined;
  } catch {
    return undefined;
  }
}

/** Installs and builds every client that is not there yet. */
export function installClients(): Missing {
  mkdirSync(CACHE, { recursive: true });
  installSystemPackages();
  const quiet = { stdio: ['ignore', 'ignore', 'pipe'] as StdioOptions };
  const missing: Record<string, string | undefined> = {};

  missing['npm'] = provide('npm', NPM_PACKAGES.join(), (directory) => {
    writeFileSync(join(directory, 'package.json'), '{ "private": true }\n');
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    execFileSync('npm', ['install', ...options, ...NPM_PACKAGES], { cwd: directory, ...quiet });
  });
  missing['python'] = provide('python', PYTHON_PACKAGES.join(), (directory) => {
    const options = ['--target', directory, '--upgrade', '--quiet', '--only-binary', ':all:'];
    // For the Python that sandboxes see, by whichever pip there is.
    execFileSync('pip', ['--python', '/usr/bin/python3', 'install', ...options, ...PYTHON_PACKAGES], quiet);
  });
  missing['go'] =
    GO === undefined
      ? 'no go toolchain (apt-get install golang)'
      : provide('go', sources('go-http/main.go', 'go-grpc/main.go', 'go-grpc/go.sum'), (directory) => {
          cpSync(PROGRAMS, directory, { recursive: true });
          for (const name of ['go-http', 'go-grpc']) {
            const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false', GOTOOLCHAIN: 'local' };
            const cwd = join(directory, name);
            execFileSync(GO, ['build', '-o', join(directory, `${name}-client`), '.'], { cwd, env, ...quiet });
          }
        });
  missing['rust'] =
    findRustToolchain() === undefined
      ? 'no Rust toolchain (rustc and cargo in PATH)'
      : provide('rust', sources('rust/Cargo.toml', 'rust/src/main.rs'), (directory) => {
          cpSync(join(PROGRAMS, 'rust'), directory, { recursive: true });
          execFileSync('cargo', ['build', '--release', '--quiet'], { cwd: directory, ...quiet });
        });
  missing['java'] =
    whyNoProgram('javac') ??
    provide('java', sources('HttpClientProgram.java'), (directory) => {
      const options = ['--release', '11', '-d', directory];
      execFileSync('javac', [...options, join(PROGRAMS, 'HttpClientProgram.java')], quiet);
    });

  // Where these lie, they find the libraries that they import.
  for (const file of readdirSync(PROGRAMS)) {
    if (file.endsWith('.mjs') && missing['npm'] === undefined)
      copyFileSync(join(PROGRAMS, file), join(CACHE, 'npm', file));
  }
  cpSync(PROGRAMS, join(CACHE, 'programs'), { recursive: true });
  return Object.fromEntries(Object.entries(missing).filter(([, reason]) => reason !== undefined));
}
