// The node modules of the checkout: are they what the lock file says, and putting them there with `npm ci`.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve, sep } from 'node:path';

const ANOTHER_HOLDS_THE_LOCK = 75;

/** What a set of node modules is made for. @param {string} root */
function modulesKey(root) {
  const lock = createHash('sha256').update(readFileSync(join(root, 'package-lock.json')));
  return `${lock.digest('hex')} ${process.platform}-${process.arch}\n`;
}

/** Stamps are newer than the lock file when all is well, which `./sallyport` can see without starting Node. @param {string} root @param {string} name */
export function stampPath(root, name) {
  return join(root, 'node_modules', '.sallyport', name);
}

/** @param {string} root @param {string} name @param {string} text */
export function writeStamp(root, name, text) {
  const file = stampPath(root, name);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, text);
}

/** @param {string} directory */
export function isWritable(directory) {
  try {
    accessSync(directory, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether what npm itself noted about node_modules is what the lock file asks for, on this platform.
 * So a checkout where somebody typed `npm install` is not installed once more.
 * @param {string} root
 */
export function matchesLock(root) {
  /** @type {Record<string, any>} */
  let wanted;
  /** @type {Record<string, any>} */
  let present;
  try {
    wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
    present = JSON.parse(readFileSync(join(root, 'node_modules', '.package-lock.json'), 'utf8')).packages;
  } catch {
    return false;
  }
  return Object.entries(wanted).every(([path, entry]) => {
    if (!path.startsWith('node_modules/')) return true;
    const found = present[path];
    if (found === undefined || !existsSync(join(root, path))) {
      // Absent may be: optional packages for other systems, what only those need, and one of two for different C libraries.
      const isForHere = [entry.os].flat().includes(process.platform) && [entry.cpu].flat().includes(process.arch);
      return entry.optional === true && (!isForHere || entry.libc !== undefined);
    }
    return found.version === entry.version && found.integrity === entry.integrity;
  });
}

/** Whether node_modules may be used as they are. Brings the stamp up to date where that is allowed. @param {string} root */
export function areModulesCurrent(root) {
  const key = modulesKey(root);
  const stamp = stampPath(root, 'modules');
  const isStamped = existsSync(stamp) && readFileSync(stamp, 'utf8') === key;
  if (!isStamped && !matchesLock(root)) return false;
  // Only the time is new where the lock file was written again with the same content (a `git checkout`).
  if (isWritable(join(root, 'node_modules'))) writeStamp(root, 'modules', key);
  return true;
}

/**
 * The environment for npm. The settings of the machine and of the user count. What an `npm run` somewhere else put into
 * the environment does not: that holds the `.npmrc` of its directory.
 * @param {NodeJS.ProcessEnv} environment @param {string} root
 */
export function npmEnvironment(environment, root) {
  const prefix = environment['npm_config_local_prefix'];
  const isForeign = prefix !== undefined && resolve(prefix) !== resolve(root);
  const own = Object.entries(environment).filter(
    ([name]) => !(isForeign && name.startsWith('npm_')) && name !== 'INIT_CWD',
  );
  /** @type {NodeJS.ProcessEnv} */
  const result = Object.fromEntries(own);
  // npm's interpreter must not come out of the very directory that it replaces.
  const modules = join(resolve(root), 'node_modules') + sep;
  result['PATH'] = (environment['PATH'] ?? '')
    .split(delimiter)
    .filter((directory) => !`${resolve(directory)}${sep}`.startsWith(modules))
    .join(delimiter);
  const certificates = environment['SALLYPORT_NPM_EXTRA_CA_CERTS'];
  delete result['SALLYPORT_NPM_EXTRA_CA_CERTS'];
  if (certificates?.startsWith('/')) result['NODE_EXTRA_CA_CERTS'] = certificates;
  return result;
}

/**
 * Runs `npm ci`, unless another process did while this one waited. Call it under the lock.
 * @param {string} root @param {(line: string) => void} say
 * @returns {boolean} Whether the node modules are there.
 */
export function installModules(root, say) {
  if (areModulesCurrent(root)) return true;
  say('installing node modules (npm ci)');
  rmSync(stampPath(root, 'modules'), { force: true });
  const flags = [
    '--ignore-scripts',
    '--include=dev',
    '--include=optional',
    '--no-engine-strict',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
  ];
  const { status, error } = spawnSync('npm', ['ci', ...flags], {
    cwd: root,
    env: npmEnvironment(process.env, root),
    stdio: ['ignore', 2, 2],
  });
  if (status !== 0) {
    say(
      error === undefined
        ? `npm ci failed with status ${status}`
        : `npm could not be started (${error.message}); install npm`,
    );
    return false;
  }
  writeStamp(root, 'modules', modulesKey(root));
  return true;
}

/**
 * Runs `program` (this very bootstrap, with another argument) under a lock that the kernel takes back whatever happens.
 * @param {string} root @param {string} program @param {string[]} args @param {(line: string) => void} say
 * @returns {number} Its exit status.
 */
export function runLocked(root, program, args, say) {
  const directory = join(root, '.sallyport-cache');
  mkdirSync(directory, { recursive: true });
  const command = [join(directory, 'install.lock'), process.execPath, program, ...args];
  /** @type {import('node:child_process').SpawnSyncOptions} */
  const options = { stdio: ['ignore', 2, 2] };
  const first = spawnSync(
    'flock',
    ['--nonblock', '--conflict-exit-code', String(ANOTHER_HOLDS_THE_LOCK), ...command],
    options,
  );
  if (first.error !== undefined) return spawnSync(process.execPath, [program, ...args], options).status ?? 1;
  if (first.status !== ANOTHER_HOLDS_THE_LOCK) return first.status ?? 1;
  say('another process is installing the node modules, waiting for it');
  return spawnSync('flock', command, options).status ?? 1;
}
