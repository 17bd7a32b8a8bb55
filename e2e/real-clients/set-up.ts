import { execFileSync } from 'node:child_process';
import type { StdioOptions } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  CACHE,
  FetchFailure,
  Installer,
  installNpmPackages,
  installPythonPackages,
  provide,
} from '../harness/client-cache.ts';
import { findProgram } from '../harness/tools.ts';

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
  mcs: ['mono-mcs'],
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

/**
 * .NET's runtime, as new as PyPI has it, and the OpenSSL 1.1 that it loads: Debian has another, and a
 * database driver's wheel brings that one along.
 */
const DOTNET_PACKAGES = ['dotnetcore2==3.1.23', 'psycopg2-binary==2.9.5'];
/** For the runtime alone, whichever Python there is. */
const DOTNET_WHEELS =
  '--implementation cp --python-version 3.11 --abi cp311 --abi none --platform manylinux2014_x86_64 --platform manylinux1_x86_64';
const DOTNET_FRAMEWORK = 'dotnetcore2/bin/shared/Microsoft.NETCore.App/3.1.23';
/** What the program refers to; its compiler knows no framework by itself. */
const DOTNET_REFERENCES = [
  'System.Console',
  'System.Linq',
  'System.Net.Http',
  'System.Net.Primitives',
  'System.Private.CoreLib',
  'System.Private.Uri',
  'System.Runtime',
  'System.Runtime.Extensions',
];
const DOTNET_CONFIG = {
  runtimeOptions: {
    framework: { name: 'Microsoft.NETCore.App', version: '3.1.0' },
    configProperties: { 'System.Globalization.Invariant': true },
  },
};

/** What a step of the set-up came to: absent when the tool is there, else why not. */
export type Missing = Readonly<Partial<Record<'npm' | 'python' | 'go' | 'rust' | 'java' | 'dotnet', string>>>;

/** No set-up takes longer: what is not there by then is missing. A cold one took six minutes on two busy cores. */
const SET_UP_LIMIT_MS = 15 * 60 * 1000;

/** Where the last set-up noted what is missing, and the variable by which a caller says that there was one just before. */
const MISSING_FILE = join(CACHE, 'missing.json');
const IS_SET_UP = 'SALLYPORT_CLIENTS_SET_UP';

/** The system's own programs that only this machine's administrator may install. */
function installSystemPackages(installer: Installer): void {
  const missing = Object.keys(APT_PACKAGES).filter((program) => findProgram(program) === undefined);
  const aptGet = findProgram('apt-get');
  if (missing.length === 0 || aptGet === undefined || process.getuid?.() !== 0) return;
  const packages = missing.flatMap((program) => APT_PACKAGES[program] ?? []);
  process.stderr.write(`real clients: as root, installing the packages ${packages.join(' ')} (apt-get install)\n`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    installer.fetch(aptGet, ['-qq', 'update'], { env });
    installer.fetch(aptGet, ['-qq', 'install', '-y', '--no-install-recommends', ...packages], { env });
  } catch (cause) {
    if (!(cause instanceof FetchFailure)) throw cause;
    // The rows of what is still missing say so.
  }
}

/** Why a program of the system cannot be had here. */
export function whyNoProgram(program: string): string | undefined {
  if (findProgram(program) !== undefined) return undefined;
  const packages = APT_PACKAGES[program]?.join(' ') ?? program;
  return `no ${program} (an administrator installs it: apt-get install ${packages})`;
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

function buildGo(installer: Installer, go: string, directory: string): void {
  cpSync(PROGRAMS, directory, { recursive: true });
  const env = { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-buildvcs=false', GOTOOLCHAIN: 'local' };
  for (const name of ['go-http', 'go-grpc']) {
    const cwd = join(directory, name);
    installer.fetch(go, ['mod', 'download'], { cwd, env });
    installer.build(go, ['build', '-o', join(directory, `${name}-client`), '.'], { cwd, env });
  }
}

function buildDotnet(installer: Installer, directory: string): void {
  const options = ['--no-deps', '--quiet', '--only-binary', ':all:', ...DOTNET_WHEELS.split(' ')];
  installer.fetch('pip', ['install', '--target', directory, ...options, ...DOTNET_PACKAGES]);
  chmodSync(join(directory, 'dotnetcore2/bin/dotnet'), 0o755);
  const libraries = join(directory, 'psycopg2_binary.libs');
  const libssl = readdirSync(libraries).find((file) => file.startsWith('libssl-'));
  if (libssl === undefined) throw new Error('the wheel has no OpenSSL');
  symlinkSync(libssl, join(libraries, 'libssl.so.1.1'));
  const references = DOTNET_REFERENCES.map((name) => `-r:${join(directory, DOTNET_FRAMEWORK, name)}.dll`);
  const out = `-out:${join(directory, 'HttpClientProgram.dll')}`;
  installer.build('mcs', ['-nostdlib', '-noconfig', out, ...references, join(PROGRAMS, 'HttpClientProgram.cs')]);
  writeFileSync(join(directory, 'HttpClientProgram.runtimeconfig.json'), JSON.stringify(DOTNET_CONFIG));
}

/**
 * Installs and builds every client that is not there yet, in a bounded time.
 *
 * @throws when a program of this folder does not build although all that it needs is there.
 */
export function installClients(): Missing {
  mkdirSync(CACHE, { recursive: true });
  const installer = new Installer(SET_UP_LIMIT_MS);
  installSystemPackages(installer);
  const missing: Record<string, string | undefined> = {};

  missing['npm'] = installNpmPackages(installer, 'npm', NPM_PACKAGES);
  missing['python'] = installPythonPackages(installer, 'python', PYTHON_PACKAGES);
  missing['go'] =
    GO === undefined
      ? 'no go toolchain (apt-get install golang)'
      : provide('go', sources('go-http/main.go', 'go-grpc/main.go', 'go-grpc/go.sum'), (directory) =>
          buildGo(installer, GO, directory),
        );
  missing['rust'] =
    findRustToolchain() === undefined
      ? 'no Rust toolchain (rustc and cargo in PATH)'
      : provide('rust', sources('rust/Cargo.toml', 'rust/src/main.rs'), (directory) => {
          cpSync(join(PROGRAMS, 'rust'), directory, { recursive: true });
          installer.fetch('cargo', ['fetch', '--quiet'], { cwd: directory });
          installer.build('cargo', ['build', '--release', '--quiet', '--offline'], { cwd: directory });
        });
  missing['java'] =
    whyNoProgram('javac') ??
    provide('java', sources('HttpClientProgram.java'), (directory) => {
      const options = ['--release', '11', '-d', directory];
      installer.build('javac', [...options, join(PROGRAMS, 'HttpClientProgram.java')]);
    });
  missing['dotnet'] =
    process.arch !== 'x64'
      ? 'its runtime is there for x64 alone'
      : (whyNoProgram('mcs') ??
        provide('dotnet', [...DOTNET_PACKAGES, DOTNET_WHEELS, sources('HttpClientProgram.cs')].join(), (directory) =>
          buildDotnet(installer, directory),
        ));

  // Where these lie, they find the libraries that they import.
  for (const file of readdirSync(PROGRAMS)) {
    if (file.endsWith('.mjs') && missing['npm'] === undefined)
      copyFileSync(join(PROGRAMS, file), join(CACHE, 'npm', file));
  }
  cpSync(PROGRAMS, join(CACHE, 'programs'), { recursive: true });
  const result = Object.fromEntries(Object.entries(missing).filter(([, reason]) => reason !== undefined));
  writeFileSync(MISSING_FILE, JSON.stringify(result));
  return result;
}

/** What is missing: as a set-up has just found, where the caller says that there was one, or by a set-up of its own. */
export function findMissing(): Missing {
  return process.env[IS_SET_UP] === '1'
    ? (JSON.parse(readFileSync(MISSING_FILE, 'utf8')) as Missing)
    : installClients();
}
