import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

const REQUIREMENTS = join(import.meta.dirname, 'requirements.txt');
/** Outside of the checkout, kept from run to run. */
const CACHE = join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'sallyport-fuzz');
const DIRECTORY = join(CACHE, 'python');
const STAMP = join(CACHE, 'python.stamp');
const INSTALL_LIMIT_MS = 180_000;
/** Whichever there is: the packages are Python alone, so it does not matter whose pip it is. */
const PIPS: readonly (readonly [string, ...string[]])[] = [['python3', '-m', 'pip'], ['pip3'], ['pip']];

function isInstalled(): boolean {
  return existsSync(STAMP) && readFileSync(STAMP, 'utf8') === requirementsKey();
}

function requirementsKey(): string {
  return createHash('sha256').update(readFileSync(REQUIREMENTS)).digest('hex');
}

/** The environment in which `python3` finds the parsers that the differential targets ask; null where they are not installed. */
export function pythonEnvironment(): NodeJS.ProcessEnv | null {
  return isInstalled() ? { ...process.env, PYTHONPATH: DIRECTORY, PYTHONDONTWRITEBYTECODE: '1' } : null;
}

/** Puts the parsers of `requirements.txt` there, unless they are; returns why that was not possible. */
export function installPythonPackages(): string | null {
  if (isInstalled()) return null;
  if (spawnSync('python3', ['--version'], { stdio: 'ignore' }).status !== 0) return 'there is no python3';
  rmSync(DIRECTORY, { recursive: true, force: true });
  mkdirSync(DIRECTORY, { recursive: true });
  const wanted = ['--target', DIRECTORY, '--no-deps', '--only-binary', ':all:', '--require-hashes', '-r', REQUIREMENTS];
  let reason = 'there is no pip';
  for (const [program, ...args] of PIPS) {
    const { status, error, stderr } = spawnSync(program, [...args, 'install', '--quiet', ...wanted], {
      encoding: 'utf8',
      stdio: ['ignore', 'ignore', 'pipe'],
      timeout: INSTALL_LIMIT_MS,
    });
    if (status === 0) {
      writeFileSync(STAMP, requirementsKey());
      return null;
    }
    if (error === undefined && !stderr.includes('No module named pip')) reason = stderr.trim().split('\n').at(-1) ?? '';
  }
  return reason;
}
