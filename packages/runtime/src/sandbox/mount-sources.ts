import { lstatSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import type { SandboxSpec } from './backend.ts';
import { isWithin } from './volumes.ts';
import type { Volume } from './volumes.ts';

/** A host file or directory that may be mounted: checked, and with every symbolic link resolved. */
export interface MountSource {
  /** Canonical host path. Whoever mounts it opens it again and must find exactly this path. */
  readonly source: string;
  readonly destination: string;
  readonly readOnly: boolean;
  readonly isDirectory: boolean;
  readonly isWorkspace: boolean;
  /** Owner on the host. */
  readonly uid: number;
  readonly gid: number;
  /** Paths inside the sandbox that are hidden by an empty directory or file: only in a workspace that was forced. */
  readonly hidden: readonly { readonly path: string; readonly isDirectory: boolean }[];
}

/** The host as mount checks see it. */
export interface HostFolders {
  /** The caller's own home directories: by account and by HOME. */
  readonly homes: readonly string[];
  /** Home directories of everybody. */
  readonly allHomes: readonly string[];
}

/** Never a source, and nothing that contains them: the machine's configuration, sockets and kernel interfaces. */
const PROTECTED_SYSTEM = ['/etc', '/run', '/proc', '/sys', '/dev', '/boot'];

/** The same, below each home directory: where credentials lie. */
const PROTECTED_IN_HOME = [
  '.ssh',
  '.gnupg',
  '.aws',
  '.config',
  '.azure',
  '.docker',
  '.kube',
  '.netrc',
  '.git-credentials',
  '.password-store',
  '.local/share/keyrings',
];

/**
 * Checks the workspace and the volumes of a sandbox against the host.
 *
 * @throws SallyportError `WORKSPACE_REFUSED`, `MOUNT_REFUSED`, `INVALID_MOUNT`.
 */
export function checkMountSources(
  spec: Pick<SandboxSpec, 'workspace' | 'forceWorkspace' | 'volumes' | 'protectedPaths'>,
  host: HostFolders = readHostFolders(),
): MountSource[] {
  const protectedPaths = listProtected(spec.protectedPaths, host);
  const sources: MountSource[] = [];
  if (spec.workspace !== undefined) {
    sources.push(checkWorkspace(spec.workspace, spec.forceWorkspace ?? false, protectedPaths, host));
  }
  for (const volume of spec.volumes) sources.push(checkVolume(volume, protectedPaths));
  const destinations = new Set<string>();
  for (const { destination } of sources) {
    if (destinations.has(destination)) {
      throw new SallyportError(
        'INVALID_MOUNT',
        `Two mounts have the path ${JSON.stringify(destination)} inside. Leave one out.`,
      );
    }
    destinations.add(destination);
  }
  // A mount hides what an earlier one put below it.
  return sources.toSorted((a, b) => a.destination.split('/').length - b.destination.split('/').length);
}

function checkWorkspace(
  path: string,
  forced: boolean,
  protectedPaths: readonly string[],
  host: HostFolders,
): MountSource {
  const quoted = JSON.stringify(path);
  const refuse = (why: string, remedy: string) =>
    new SallyportError('WORKSPACE_REFUSED', `The workspace ${quoted} ${why}. ${remedy}.`);
  const elsewhere = 'Start in a project folder, or use --no-workspace';
  const found = inspect(path, () => refuse('does not exist or cannot be read', elsewhere));
  if (!found.isDirectory) throw refuse('is not a directory', elsewhere);
  if (found.source === '/')
    throw refuse('is the whole file system, which cannot be mounted over the sandbox', elsewhere);
  const home = host.homes.find((folder) => isWithin(folder, found.source));
  if (home !== undefined && !forced) {
    throw refuse(
      `is or contains the home directory ${JSON.stringify(home)}`,
      `${elsewhere}; --force-workspace mounts it all the same`,
    );
  }
  const within = protectedPaths.find((folder) => isWithin(found.source, folder));
  if (within !== undefined) throw refuse(`lies in ${JSON.stringify(within)}, which no sandbox may see`, elsewhere);
  const contained = protectedPaths.filter((folder) => isWithin(folder, found.source));
  const [first] = contained;
  if (first !== undefined && !forced) {
    throw refuse(
      `contains ${JSON.stringify(first)}, which no sandbox may see`,
      `${elsewhere}; --force-workspace mounts it and hides that`,
    );
  }
  // What lies in something hidden is hidden with it; there is nothing left to mount over.
  const hidden = contained
    .filter((path) => !contained.some((other) => other !== path && isWithin(path, other)))
    .map((path) => ({ path, isDirectory: statSync(path).isDirectory() }));
  for (const system of ['/usr', '/bin', '/sbin', '/lib', '/tmp', '/var/tmp', '/opt', '/var']) {
    if (found.source === system) throw refuse('is a folder of the system', elsewhere);
  }
  return { ...found, destination: found.source, readOnly: false, isWorkspace: true, hidden };
}

function checkVolume(volume: Volume, protectedPaths: readonly string[]): MountSource {
  const quoted = JSON.stringify(volume.source);
  const found = inspect(
    volume.source,
    () =>
      new SallyportError('INVALID_MOUNT', `The volume ${quoted} does not exist or cannot be read. Create it first.`),
  );
  const protectedPath = protectedPaths.find(
    (folder) => isWithin(found.source, folder) || isWithin(folder, found.source),
  );
  if (protectedPath !== undefined) {
    throw new SallyportError(
      'MOUNT_REFUSED',
      `The volume ${quoted} lies in or contains ${JSON.stringify(protectedPath)}, which no sandbox may see. Mount something narrower.`,
    );
  }
  return { ...found, destination: volume.destination, readOnly: volume.readOnly, isWorkspace: false, hidden: [] };
}

function inspect(path: string, missing: () => SallyportError) {
  let source: string;
  let status: ReturnType<typeof statSync>;
  try {
    source = realpathSync(path);
    status = statSync(source);
  } catch {
    throw missing();
  }
  if (!status.isDirectory() && !status.isFile()) {
    throw new SallyportError(
      'MOUNT_REFUSED',
      `${JSON.stringify(path)} is neither a directory nor a file. Sockets, pipes and devices of the host are not mounted.`,
    );
  }
  return { source, isDirectory: status.isDirectory(), uid: status.uid, gid: status.gid };
}

/** Every protected path that exists, under its canonical name. */
function listProtected(more: readonly string[], host: HostFolders): string[] {
  const inHomes = host.allHomes.flatMap((home) => PROTECTED_IN_HOME.map((name) => join(home, name)));
  const canonical = new Set<string>();
  for (const path of [...PROTECTED_SYSTEM, ...inHomes, ...more]) {
    try {
      // Most are absent; told without an error, which costs more than all the rest.
      if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) canonical.add(realpathSync(path));
    } catch {
      // A link that leads nowhere, or in a folder that this caller cannot see, and so cannot mount.
    }
  }
  return [...canonical];
}

/** Reads the home directories of this machine's accounts, and the caller's own. */
export function readHostFolders(environmentHome: string | undefined = process.env['HOME']): HostFolders {
  const uid = String(process.geteuid?.() ?? 0);
  const homes = new Set<string>();
  const allHomes = new Set<string>();
  const add = (set: Set<string>, path: string) => {
    try {
      const real = realpathSync(path);
      if (real !== '/') set.add(real);
    } catch {
      // An account without a home directory.
    }
  };
  if (environmentHome !== undefined && environmentHome.startsWith('/')) add(homes, environmentHome);
  for (const line of readLines('/etc/passwd')) {
    const [, , id, , , home] = line.split(':');
    if (home === undefined || !home.startsWith('/')) continue;
    if (id === uid) add(homes, home);
    // System accounts' homes are folders of the system such as /usr/sbin; they hold no such files.
    if (id === '0' || Number(id) >= 1000) add(allHomes, home);
  }
  for (const home of homes) allHomes.add(home);
  return { homes: [...homes], allHomes: [...allHomes] };
}

function readLines(path: string): string[] {
  try {
    return readFileSync(path, 'utf8').split('\n');
  } catch {
    return [];
  }
}
