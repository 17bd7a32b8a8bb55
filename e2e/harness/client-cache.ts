import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** Everything that the clients need and that no repository should hold: outside of the checkout, kept from run to run. */
export const CACHE = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sallyport-clients');

/** Where a sandbox sees {@link CACHE}. */
export const INSIDE = '/clients';

/** What could not be had from a registry, in words. Everything else that goes wrong in a set-up is a fault of ours. */
export class FetchFailure extends Error {}

interface InstallerOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
}

/** Runs programs that install, none past the end of the set-up's time. */
export class Installer {
  readonly #endMs: number;

  constructor(limitMs: number) {
    this.#endMs = performance.now() + limitMs;
  }

  /** Runs a program that needs a registry. Throws a {@link FetchFailure}. */
  fetch(program: string, args: readonly string[], options: InstallerOptions = {}): void {
    try {
      this.#run(program, args, options);
    } catch (cause) {
      throw new FetchFailure(this.#isOver() ? 'the time was up' : wordsOf(cause), { cause });
    }
  }

  /** Builds what is ours from what was fetched. */
  build(program: string, args: readonly string[], options: InstallerOptions = {}): void {
    try {
      this.#run(program, args, options);
    } catch (cause) {
      if (this.#isOver()) throw new FetchFailure('the time was up', { cause });
      throw new Error(`real clients: ${program} ${args.join(' ')} failed: ${wordsOf(cause)}`, { cause });
    }
  }

  #isOver(): boolean {
    return performance.now() >= this.#endMs;
  }

  #run(program: string, args: readonly string[], options: InstallerOptions): void {
    // A registry that does not answer holds nobody up for longer.
    const timeout = Math.max(1, Math.ceil(this.#endMs - performance.now()));
    execFileSync(program, args, { ...options, timeout, killSignal: 'SIGKILL', stdio: ['ignore', 'ignore', 'pipe'] });
  }
}

/** What a program said of its failure: its first line about an error, else its last one. */
function wordsOf(cause: unknown): string {
  const lines = ((cause as { readonly stderr?: Buffer }).stderr?.toString() ?? '').trim().split('\n');
  const line = lines.find((text) => /error/i.test(text)) ?? lines.at(-1) ?? '';
  return line === '' ? String(cause) : line;
}

/** Runs `step` unless the same inputs were installed before; returns why what it needs could not be had. */
export function provide(name: string, inputs: string, step: (directory: string) => void): string | undefined {
  const directory = join(CACHE, name);
  const stamp = join(CACHE, `${name}.stamp`);
  const wanted = createHash('sha256').update(inputs).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return undefined;
  process.stderr.write(`real clients: installing ${name} below ${CACHE}\n`);
  const startedMs = performance.now();
  try {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    step(directory);
    writeFileSync(stamp, wanted);
    process.stderr.write(`real clients: ${name} took ${((performance.now() - startedMs) / 1000).toFixed(1)} s\n`);
    return undefined;
  } catch (cause) {
    if (!(cause instanceof FetchFailure)) throw cause;
    process.stderr.write(`real clients: ${name} is left out: ${cause.message}\n`);
    return `could not be installed here: ${cause.message}`;
  }
}

/** Installs packages of npm below {@link CACHE}`/NAME`; returns why they could not be had. */
export function installNpmPackages(
  installer: Installer,
  name: string,
  packages: readonly string[],
): string | undefined {
  return provide(name, packages.join(), (directory) => {
    writeFileSync(join(directory, 'package.json'), '{ "private": true }\n');
    const options = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    installer.fetch('npm', ['install', ...options, ...packages], { cwd: directory });
  });
}

/** Installs packages of PyPI below {@link CACHE}`/NAME`, for the Python that sandboxes see; returns why they could not be had. */
export function installPythonPackages(
  installer: Installer,
  name: string,
  packages: readonly string[],
): string | undefined {
  return provide(name, packages.join(), (directory) => {
    const options = ['--target', directory, '--upgrade', '--quiet', '--only-binary', ':all:'];
    // By whichever pip there is.
    installer.fetch('pip', ['--python', '/usr/bin/python3', 'install', ...options, ...packages]);
  });
}
