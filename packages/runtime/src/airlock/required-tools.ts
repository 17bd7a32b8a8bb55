import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';

/**
 * Where system tools are looked for, before the caller's own PATH: an ordinary user's PATH often lacks the `sbin` folders,
 * and the caller's PATH may name folders that a sandboxed program can write to.
 */
export const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The environment of every helper process of ours: nothing of the caller's, so no credential travels along by accident. */
export const TOOL_ENVIRONMENT: Readonly<Record<string, string>> = { PATH: SYSTEM_PATH, LC_ALL: 'C' };

/** System tools and the packages that bring them: Debian and Ubuntu, Fedora, Alpine. */
const TOOL_PACKAGES = {
  unshare: ['util-linux', 'util-linux', 'util-linux-misc'],
  nsenter: ['util-linux', 'util-linux', 'util-linux-misc'],
  setpriv: ['util-linux', 'util-linux', 'setpriv'],
  mount: ['mount', 'util-linux', 'mount'],
  ip: ['iproute2', 'iproute', 'iproute2'],
  tar: ['tar', 'tar', 'tar'],
  openssl: ['openssl', 'openssl', 'openssl'],
  tini: ['tini', 'tini', 'tini'],
  sleep: ['coreutils', 'coreutils', 'coreutils'],
  conmon: ['conmon', 'conmon', 'conmon'],
  runc: ['runc', 'runc', 'runc'],
  crun: ['crun', 'crun', 'crun'],
} as const;

export type ToolName = keyof typeof TOOL_PACKAGES;

/** The absolute path of an executable in {@link SYSTEM_PATH} or, after that, in the absolute folders of `callerPath`. */
export function findTool(name: string, callerPath = process.env['PATH'] ?? ''): string | undefined {
  const folders = [...SYSTEM_PATH.split(':'), ...callerPath.split(delimiter).filter((folder) => isAbsolute(folder))];
  for (const folder of folders) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      continue;
    }
  }
  return undefined;
}

/**
 * The paths of the tools named.
 *
 * @throws SallyportError `TOOL_MISSING`, naming all that are missing and the packages that hold them.
 */
export function requireTools<Name extends ToolName>(names: readonly Name[], find = findTool): Record<Name, string> {
  const found: Partial<Record<Name, string>> = {};
  const missing: Name[] = [];
  for (const name of names) {
    const path = find(name);
    if (path === undefined) missing.push(name);
    else found[name] = path;
  }
  if (missing.length > 0) throw missingTools(missing);
  return found as Record<Name, string>;
}

/** The error for tools that are not installed. */
export function missingTools(names: readonly ToolName[]): SallyportError {
  const packagesOf = (system: 0 | 1 | 2) => [...new Set(names.map((name) => TOOL_PACKAGES[name][system]))].join(' ');
  return new SallyportError(
    'TOOL_MISSING',
    `Needed but not installed: ${names.join(', ')}. Install the packages: ` +
      `"apt-get install ${packagesOf(0)}" (Debian, Ubuntu), "dnf install ${packagesOf(1)}" (Fedora), ` +
      `"apk add ${packagesOf(2)}" (Alpine).`,
  );
}
