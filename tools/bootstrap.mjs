// Sets a checkout up: node modules by the lock file, tools of the system for one task. Plain JavaScript for Node 20 and
// newer without dependencies, because it runs before there are any. Quiet when there is nothing to do; otherwise it
// speaks on standard error. Exit status: 0, or 69 with what is to be done.
//
//   node tools/bootstrap.mjs TASK [--root=DIRECTORY]     `--root` looks for the system's tools below DIRECTORY (tests)
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { areModulesCurrent, installModules, isWritable, runLocked, stampPath, writeStamp } from './node-modules.mjs';
import {
  adminCommand,
  areAptListsStale,
  findCommand,
  findMissingTools,
  findPackageManager,
  packagesFor,
} from './system-tools.mjs';

const UNAVAILABLE = 69;
const MIN_NODE_MAJOR = 20;
const INSTALL_MODULES = '--install-modules';
const RETRY_AFTER_MS = 10 * 60 * 1000;

const checkout = dirname(dirname(fileURLToPath(import.meta.url)));

/** @param {string} line */
function say(line) {
  process.stderr.write(`sallyport bootstrap: ${line}\n`);
}

/** @returns {boolean} Whether the node modules are there. */
function provideModules() {
  if (areModulesCurrent(checkout)) return true;
  if (!isWritable(checkout)) {
    say(`the node modules are not what package-lock.json says, and you may not write to ${checkout}.`);
    say(`Let the owner of that directory run: npm --prefix ${checkout} run check`);
    return false;
  }
  return runLocked(checkout, fileURLToPath(import.meta.url), [INSTALL_MODULES], say) === 0;
}

/**
 * How to run something as root: a prefix of arguments, or undefined where this user may not.
 * @param {string} path @param {string} toolRoot
 */
function asRoot(path, toolRoot) {
  if (process.getuid?.() === 0) return [];
  const sudo = findCommand('sudo', path, toolRoot);
  if (sudo === undefined || spawnSync(sudo, ['-n', 'true'], { stdio: 'ignore' }).status !== 0) return undefined;
  return [sudo, '-n', 'env', 'DEBIAN_FRONTEND=noninteractive'];
}

/**
 * @param {string} task @param {string} toolRoot
 * @returns {boolean} Whether every tool that the task needs is there.
 */
function provideTools(task, toolRoot) {
  const path = process.env['PATH'] ?? '';
  const missing = findMissingTools(task, path, toolRoot);
  if (missing.length === 0) return true;
  const what = missing.map(({ name }) => name).join(', ');
  const found = findPackageManager(path, toolRoot);
  if (found === undefined) {
    say(
      `missing: ${what}. No package manager that is known here (apt-get, dnf, apk, pacman) was found: install them by hand.`,
    );
    return false;
  }
  const { manager, command } = found;
  const prefix = manager === 'apt' && !(task === 'cli' && triedRecently()) ? asRoot(path, toolRoot) : undefined;
  /** @param {string[]} args */
  const aptGet = (...args) => {
    const [first = command, ...rest] = [
      ...(prefix ?? []),
      command,
      '-o',
      'DPkg::Lock::Timeout=300',
      '-o',
      'Dpkg::Use-Pty=0',
      '-qq',
      ...args,
    ];
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    return spawnSync(first, rest, { stdio: ['ignore', 2, 2], env }).status === 0;
  };
  const refresh = () => {
    say('bringing the package lists up to date (apt-get update)');
    return aptGet('update');
  };
  const isStale = areAptListsStale(Date.now(), toolRoot);
  if (prefix !== undefined && isStale) refresh();
  const aptCache = manager === 'apt' ? findCommand('apt-cache', path, toolRoot) : undefined;
  const isKnown = (/** @type {string} */ name) =>
    aptCache !== undefined && spawnSync(aptCache, ['show', name], { stdio: 'ignore' }).status === 0;
  const names = packagesFor(missing, manager, isKnown);
  if (prefix === undefined) {
    say(`missing: ${what}.`);
  } else {
    say(`missing: ${what}. Installing the packages ${names.join(' ')} (apt-get install)`);
    const install = () => aptGet('install', '-y', '--no-install-recommends', ...names);
    if (!install() && !isStale && refresh()) install();
    const left = findMissingTools(task, path, toolRoot);
    if (left.length === 0) return true;
    say(`still missing: ${left.map(({ name }) => name).join(', ')}.`);
    if (toolRoot === '' && isWritable(join(checkout, 'node_modules'))) writeStamp(checkout, 'apt-failed', '');
  }
  say(`an administrator installs what is missing with:\n\n  ${adminCommand(names, manager)}\n`);
  return false;
}

/** So that a machine where apt cannot install something is not asked again by every `./sallyport`. */
function triedRecently() {
  const stamp = stampPath(checkout, 'apt-failed');
  return existsSync(stamp) && Date.now() - statSync(stamp).mtimeMs < RETRY_AFTER_MS;
}

/** @param {string[]} args @returns {number} The exit status. */
function main(args) {
  if (Number.parseInt(process.versions.node, 10) < MIN_NODE_MAJOR) {
    say(
      `this is Node ${process.versions.node}; Node ${MIN_NODE_MAJOR} or newer is needed (it brings the others along by itself).`,
    );
    return UNAVAILABLE;
  }
  const [task = ''] = args;
  if (task === INSTALL_MODULES) return installModules(checkout, say) ? 0 : UNAVAILABLE;
  const toolRoot = args.find((arg) => arg.startsWith('--root='))?.slice('--root='.length) ?? '';
  if (!provideModules()) return UNAVAILABLE;
  const hasTools = provideTools(task, toolRoot);
  if (hasTools && toolRoot === '' && task === 'cli' && isWritable(join(checkout, 'node_modules')))
    writeStamp(checkout, 'tools', '');
  // The CLI says itself what it cannot do without a tool; `--help` and `audit verify` need none.
  return hasTools || task === 'cli' ? 0 : UNAVAILABLE;
}

process.exitCode = main(process.argv.slice(2));
