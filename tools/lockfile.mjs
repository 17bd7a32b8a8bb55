// Keeps package-lock.json complete: `node tools/lockfile.mjs` says what is missing, `--fix` puts it there.
//
// npm leaves an optional package out of the lock file when the registry did not offer it at that moment (a mirror that
// lacks other platforms, say). `npm ci` then calls the whole lock file out of date, on every machine. An entry with the
// version that the dependent package asks for, limited to its platform, is all that `npm ci` wants.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const LOCK_FILE = join(dirname(dirname(fileURLToPath(import.meta.url))), 'package-lock.json');
const SYSTEMS = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32'];
const PROCESSORS = ['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64'];

/** @typedef {Record<string, any>} Packages The `packages` of a lock file. */

/** Whether `name` is found from the package at `path` upwards, as Node would. @param {Packages} packages @param {string} path @param {string} name */
function isLocked(packages, path, name) {
  for (let at = path; ; at = at.includes('/') ? at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/'))) : '') {
    const entry = packages[at === '' ? `node_modules/${name}` : `${at}/node_modules/${name}`];
    if (entry?.version !== undefined || entry?.link === true) return true;
    if (at === '') return false;
  }
}

/**
 * The entries that a lock file lacks, by path.
 * @param {Packages} packages
 * @returns {Record<string, object>}
 */
export function missingEntries(packages) {
  /** @type {Record<string, object>} */
  const missing = {};
  for (const [path, entry] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      if (isLocked(packages, path, name)) continue;
      const words = name.split(/[/-]/);
      const cpu = PROCESSORS.find((processor) => words.includes(processor));
      const system = SYSTEMS.find((candidate) => words.includes(candidate));
      missing[`node_modules/${name}`] = {
        version,
        ...(cpu === undefined ? {} : { cpu: [cpu] }),
        ...(entry.dev === true ? { dev: true } : {}),
        ...(words.some((word) => word.startsWith('musl')) ? { libc: ['musl'] } : {}),
        ...(words.some((word) => word.startsWith('gnu')) ? { libc: ['glibc'] } : {}),
        optional: true,
        ...(system === undefined ? {} : { os: [system] }),
      };
    }
  }
  return missing;
}

/** @param {string[]} args @returns {number} The exit status. */
function main(args) {
  const lock = JSON.parse(readFileSync(LOCK_FILE, 'utf8'));
  const missing = missingEntries(lock.packages);
  for (const path of Object.keys(missing)) process.stdout.write(`${path} is not in package-lock.json\n`);
  if (Object.keys(missing).length === 0) return 0;
  if (!args.includes('--fix')) return 1;
  const entries = Object.entries({ ...lock.packages, ...missing });
  lock.packages = Object.fromEntries(entries.sort(([a], [b]) => a.localeCompare(b, 'en')));
  writeFileSync(LOCK_FILE, `${JSON.stringify(lock, null, 2)}\n`);
  return 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv.slice(2));
