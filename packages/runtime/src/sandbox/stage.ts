import {
  closeSync,
  constants,
  fchownSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { SallyportError } from '@sallyport/sdk';
import { runInside } from '../airlock/holder.ts';
import type { Holder } from '../airlock/holder.ts';
import { isHostRoot } from '../airlock/host-root.ts';
import { printable } from '../airlock/namespace-diagnosis.ts';
import { STAGE_DIRECTORY } from '../airlock/network.ts';
import { protectGit } from './git-protection.ts';
import type { GuardFile } from './git-protection.ts';
import { mountMapped } from './mapped-mounts.ts';
import type { MappedMountReport, MappedMountRequest } from './mapped-mounts.ts';
import type { MountSource } from './mount-sources.ts';
import { hasSubmounts, lockedOptions } from './mount-table.ts';
import type { MountEntry } from './mount-table.ts';
import type { ContainerMount } from './oci-config.ts';
import { closeOwnerMaps, openOwnerMap } from './owner-map.ts';
import { packFiles } from './staged-files.ts';
import type { StagedFile } from './staged-files.ts';

/** The container's root directory, seen from the airlock's mount namespace. */
export const STAGED_ROOT = `${STAGE_DIRECTORY}/rootfs`;

/** One host path to be staged: opened, checked and mounted below the stage, from where the OCI runtime takes it. */
interface StagedMount {
  /** Canonical; of the host, or of an earlier staged mount. */
  readonly source: string;
  readonly target: string;
  readonly destination: string;
  readonly readOnly: boolean;
  readonly isDirectory: boolean;
  /** The owner on the host, for a mapped mount; absent for a part of an earlier one. */
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
  /** Where the mount table of the host is asked for this mount's options. */
  readonly hostPath: string;
}

/** What is staged, and how the container mounts it. */
export interface StagePlan {
  readonly mounts: readonly StagedMount[];
  /** Paths inside that an empty directory or file hides. */
  readonly hidden: readonly { readonly path: string; readonly isDirectory: boolean }[];
  /** Files that were made on the host for the time of this sandbox. */
  readonly guardFiles: readonly GuardFile[];
  readonly notices: readonly string[];
}

/** Decides what is mounted, in order: the workspace, the guarded parts of its repository, the volumes. */
export function planStage(sources: readonly MountSource[], gitWritable: boolean): StagePlan {
  const mounts: StagedMount[] = [];
  const notices: string[] = [];
  const guardFiles: GuardFile[] = [];
  const nextTarget = () => `${STAGE_DIRECTORY}/mounts/${mounts.length}`;
  for (const source of sources) {
    const target = nextTarget();
    mounts.push({ ...source, target, owner: { uid: source.uid, gid: source.gid }, hostPath: source.source });
    if (!source.isWorkspace || gitWritable) continue;
    const protection = protectGit(source.source);
    notices.push(...protection.notices);
    for (const directory of protection.directoriesToMake) {
      mkdirSync(directory);
      giveToOwner(directory, constants.O_RDONLY | constants.O_DIRECTORY, source);
    }
    for (const guard of protection.guardFiles) {
      writeFileSync(guard.path, guard.content, { flag: 'wx', mode: 0o644 });
      guardFiles.push(guard);
      giveToOwner(guard.path, constants.O_RDONLY, source);
    }
    for (const part of protection.mounts) {
      const below = part.path.slice(source.source.length);
      mounts.push({
        source: `${target}${below}`,
        target: nextTarget(),
        destination: `${source.destination}${below}`,
        readOnly: part.readOnly,
        isDirectory: statSync(part.path).isDirectory(),
        owner: undefined,
        hostPath: part.path,
      });
    }
  }
  return { mounts, notices, guardFiles, hidden: sources.flatMap((source) => source.hidden) };
}

/** Gives what was made to the workspace's owner. Root must not change the owner of anything that was put in its place. */
function giveToOwner(path: string, flags: number, owner: { readonly uid: number; readonly gid: number }): void {
  const descriptor = openSync(path, flags | constants.O_NOFOLLOW);
  try {
    if (readlinkSync(`/proc/self/fd/${descriptor}`) !== path) throw sourceChanged(path);
    if (isHostRoot()) fchownSync(descriptor, owner.uid, owner.gid);
  } finally {
    closeSync(descriptor);
  }
}

/** Removes the guard files of a sandbox that has ended. One that says something else by now is somebody's own. */
export function removeGuardFiles(guardFiles: readonly GuardFile[]): void {
  for (const { path, content } of guardFiles) {
    try {
      if (lstatSync(path).isFile() && readFileSync(path, 'utf8') === content) unlinkSync(path);
    } catch {
      // Gone, with its repository perhaps.
    }
  }
}

/** The stage as it came out. */
export interface Stage {
  readonly mounts: readonly ContainerMount[];
  readonly notices: readonly string[];
}

/**
 * Lays files out below the stage and mounts the planned host paths there. Each is opened once, inside, checked to be the
 * very path that was allowed, and mounted from that open file: a link that is exchanged in between leads nowhere.
 *
 * @throws SallyportError `MOUNT_REFUSED` when a path is not what it was a moment ago; `SANDBOX_FAILED`.
 */
export async function layOutStage(
  holder: Holder,
  plan: StagePlan,
  files: readonly StagedFile[] | Promise<readonly StagedFile[]>,
  table: readonly MountEntry[],
  tools: { readonly mount: string; readonly tar: string; readonly unshare: string },
): Promise<Stage> {
  const isRoot = isHostRoot();
  const mapping =
    isRoot && plan.mounts.length > 0 ? prepareMappedMounts(holder, plan.mounts, tools.unshare) : undefined;
  // Awaited below; a failure of the stage comes first.
  mapping?.catch(() => undefined);
  try {
    await unpack(holder, plan, await files, tools, isRoot);
  } catch (error) {
    await mapping?.then(
      (prepared) => prepared.close(),
      () => undefined,
    );
    throw error;
  }
  const reports = (await mapping)?.mount();
  const notices = [...plan.notices];
  const mounts: ContainerMount[] = [];
  plan.mounts.forEach((mount, index) => {
    let readOnly = mount.readOnly;
    const report = reports?.[index];
    if (report?.kind === 'read-only') {
      readOnly = true;
      notices.push(
        `${JSON.stringify(mount.destination)} is read-only: its file system cannot show its files as the sandbox's own ` +
          `(${report.step}, errno ${report.errno}). Run Sallyport as the owner of the files instead of root.`,
      );
    }
    const mode = !readOnly ? 'rw' : hasSubmounts(mount.hostPath, table) ? 'rro' : 'ro';
    const locked = lockedOptions(mount.hostPath, table).filter((option) => option !== 'ro');
    const options = [...new Set([mount.isDirectory ? 'rbind' : 'bind', mode, 'nosuid', 'nodev', ...locked])];
    mounts.push({ source: mount.target, destination: mount.destination, options });
  });
  for (const { path, isDirectory } of plan.hidden) {
    const source = `${STAGE_DIRECTORY}/${isDirectory ? 'empty' : 'empty-file'}`;
    mounts.push({ source, destination: path, options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec'] });
  }
  return { mounts, notices };
}

/** `$1` mount(8), `$2` tar(1), then for each mount: kind, source (empty: mounted by the other helper), target. */
const UNPACK_PROGRAM = `
umask 022
mount=$1 tar=$2
shift 2
cd ${STAGE_DIRECTORY}
mkdir -p rootfs mounts empty
: > empty-file
"$tar" --extract --file - --no-same-owner --directory rootfs
while [ $# -gt 0 ]; do
  if [ "$1" = directory ]; then mkdir -p "$3"; else : > "$3"; fi
  if [ -n "$2" ]; then
    exec 5< "$2" || exit 1
    if [ "$(readlink /proc/self/fd/5)" != "$2" ]; then
      echo "changed: $2" >&2
      exit 9
    fi
    "$mount" --no-canonicalize --rbind /proc/self/fd/5 "$3"
    exec 5<&-
  fi
  shift 3
done
`;

/** The exit status of {@link UNPACK_PROGRAM} for a source that is no longer the path that was checked. */
const STATUS_CHANGED = 9;

async function unpack(
  holder: Holder,
  plan: StagePlan,
  files: readonly StagedFile[],
  tools: { readonly mount: string; readonly tar: string },
  isRoot: boolean,
): Promise<void> {
  const mounts = plan.mounts.flatMap((mount) => [
    mount.isDirectory ? 'directory' : 'file',
    isRoot ? '' : mount.source,
    mount.target,
  ]);
  const argv = ['/bin/sh', '-ec', UNPACK_PROGRAM, 'sallyport-stage', tools.mount, tools.tar, ...mounts];
  const result = await runInside(holder, argv, { input: packFiles(files) });
  if (result.status === 0) return;
  if (result.status === STATUS_CHANGED) throw sourceChanged(printable(result.stderr));
  throw new SallyportError(
    'SANDBOX_FAILED',
    `The sandbox's file system could not be laid out: ${JSON.stringify(printable(result.stderr))}. ` +
      'Check that the workspace and the volumes can be read.',
  );
}

/** Mounts with maps of owners, prepared; one of both is to be called, once. */
interface PreparedMounts {
  /** Mounts; the targets must be there. */
  mount(): readonly MappedMountReport[];
  close(): void;
}

async function prepareMappedMounts(
  holder: Holder,
  mounts: readonly StagedMount[],
  unshare: string,
): Promise<PreparedMounts> {
  const maps = new Map<string, number>();
  const close = (): void => closeOwnerMaps([...maps.values()]);
  try {
    for (const { owner } of mounts) {
      const key = ownerKey(owner);
      if (owner === undefined || key === undefined || maps.has(key)) continue;
      maps.set(key, await openOwnerMap(unshare, owner, { uid: holder.hostUid, gid: holder.hostGid }));
    }
  } catch (error) {
    close();
    throw error;
  }
  return {
    close,
    mount() {
      const requests = mounts.map(({ source, target, readOnly, owner }): MappedMountRequest => {
        const owners = maps.get(ownerKey(owner) ?? '');
        return { source, target, readOnly, ...(owners === undefined ? {} : { owners }) };
      });
      try {
        const reports = mountInside(holder, requests);
        mounts.forEach((mount, index) => checkReport(mount, reports[index]));
        return reports;
      } finally {
        close();
      }
    },
  };
}

function ownerKey(owner: StagedMount['owner']): string | undefined {
  return owner === undefined ? undefined : `${owner.uid}:${owner.gid}`;
}

function mountInside(holder: Holder, requests: readonly MappedMountRequest[]): readonly MappedMountReport[] {
  const namespace = openSync(`/proc/${holder.pid}/ns/mnt`, 'r');
  try {
    return mountMapped(namespace, requests);
  } catch (cause) {
    throw new SallyportError(
      'SANDBOX_FAILED',
      'Folders of the host could not be mounted for the sandbox: this process may not enter its mount namespace. ' +
        'Start Sallyport with the full capabilities of root, or as an ordinary user.',
      { cause },
    );
  } finally {
    closeSync(namespace);
  }
}

const ELOOP = 40;

function checkReport(mount: StagedMount, report: MappedMountReport | undefined): void {
  if (report !== undefined && report.kind !== 'failed') return;
  if (report?.step === 'open' && report.errno === ELOOP) throw sourceChanged(mount.hostPath);
  const detail = report === undefined ? 'an earlier one failed' : `${report.step}, errno ${report.errno}`;
  throw new SallyportError(
    'SANDBOX_FAILED',
    `${JSON.stringify(mount.hostPath)} could not be mounted for the sandbox (${detail}). ` +
      'Mounting with mapped owners needs Linux 5.12 or later.',
  );
}

function sourceChanged(path: string): SallyportError {
  return new SallyportError(
    'MOUNT_REFUSED',
    `${JSON.stringify(path)} became another path while it was being mounted. Something moves it; stop that and start again.`,
  );
}
