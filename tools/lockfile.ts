// Keeps package-lock.json complete: `node tools/lockfile.ts` says what is missing, `--fix` puts it there.
//
// npm leaves an optional package out of the lock file when the registry did not offer it at that moment (a mirror that
// lacks other platforms, say). `npm ci` then calls the whole lock file out of date, on every machine. An entry with the
// version that the dependent package asks for, limited to its platform, is all that `npm ci` wants.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const LOCK_FILE = join(import.meta.dirname, '..', 'package-lock.json');
const SYSTEMS = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32'];
const PROCESSORS = ['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64'];

/** What is read here of an entry under `packages` of a lock file. */
interface LockEntry {
  readonly version?: string;
  readonly link?: boolean;
  readonly dev?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** The `packages` of a lock file, by path. */
export type LockedPackages = Readonly<Record<string, LockEntry>>;

/** Whether `name` is found from the package at `path` upwards, as Node would. */
function isLocked(packages: LockedPackages, path: string, name: string): boolean {
  for (let at = path; ; at = at.includes('/') ? at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/'))) : '') {
    const entry = packages[at === '' ? `node_modules/${name}` : `${at}/node_modules/${name}`];
    if (entry?.version !== undefined || entry?.link === true) return true;
    if (at === '') return false;
  }
}

/** The entries that a lock file lacks, by path, limited to the platform that their names tell. */
export function missingEntries(packages: LockedPackages): Record<string, object> {
  const missing: Record<string, object> = {};
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

function main(args: readonly string[]): number {
  const lock = JSON.parse(readFileSync(LOCK_FILE, 'utf8')) as { packages: LockedPackages };
  const missing = missingEntries(lock.packages);
  for (const path of Object.keys(missing)) process.stdout.write(`${path} is not in package-lock.json\n`);
  if (Object.keys(missing).length === 0) return 0;
  if (!args.includes('--fix')) return 1;
  const entries = Object.entries({ ...lock.packages, ...missing });
  lock.packages = Object.fromEntries(entries.sort(([a], [b]) => a.localeCompare(b, 'en')));
  writeFileSync(LOCK_FILE, `${JSON.stringify(lock, null, 2)}\n`);
  return 0;
}

if (import.meta.main) process.exitCode = main(process.argv.slice(2));
