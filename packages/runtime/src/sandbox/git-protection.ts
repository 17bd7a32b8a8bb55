import { lstatSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { isWithin } from './volumes.ts';

/** A path in the workspace that gets a mount of its own, parents before children. */
export interface GitMount {
  readonly path: string;
  readonly readOnly: boolean;
}

/** A file that stands in for an absent one, so that the sandbox cannot make it; removed when the sandbox ends. */
export interface GuardFile {
  readonly path: string;
  /** Means to git what the file's absence means. */
  readonly content: string;
}

/** What keeps the sandbox from changing what the host's git would run. */
export interface GitProtection {
  readonly mounts: readonly GitMount[];
  /** Absent hook directories that are to be made first, or the sandbox would make them. */
  readonly directoriesToMake: readonly string[];
  readonly guardFiles: readonly GuardFile[];
  readonly notices: readonly string[];
}

/**
 * Files and folders of a git directory that make the host's git run programs, with what an absent file is replaced by.
 * `commondir` names another directory to read settings and hooks from; "." is the directory itself.
 */
const ACTED_ON: readonly { readonly name: string; readonly guard?: string }[] = [
  { name: 'hooks' },
  { name: 'config' },
  { name: 'config.worktree', guard: '' },
  { name: 'commondir', guard: '.\n' },
];

/**
 * Finds what is to be read-only in the workspace's own repository.
 *
 * The git directory itself becomes a mount as well, though a writable one: a mount point can be neither renamed nor
 * removed, and so the sandbox cannot put another directory in its place. Where `.git` is a file (a worktree, a submodule),
 * that file is read-only, and the real git directory is treated alike where it lies in the workspace. Repositories deeper
 * in the workspace are not protected: the sandbox may make new ones anyway.
 *
 * @throws SallyportError `WORKSPACE_REFUSED` when `.git` is a symbolic link, which cannot be protected.
 */
export function protectGit(workspace: string): GitProtection {
  const dotGit = join(workspace, '.git');
  const status = lstatSync(dotGit, { throwIfNoEntry: false });
  if (status === undefined) return { mounts: [], directoriesToMake: [], guardFiles: [], notices: [] };
  if (status.isSymbolicLink()) {
    throw new SallyportError(
      'WORKSPACE_REFUSED',
      `${JSON.stringify(dotGit)} is a symbolic link, and its hooks cannot be kept from the sandbox. ` +
        'Replace it by a file that reads "gitdir: PATH", or allow writing with --git-writable.',
    );
  }
  if (status.isDirectory()) return protectDirectory(dotGit);
  if (!status.isFile()) return { mounts: [], directoriesToMake: [], guardFiles: [], notices: [] };
  const own: GitMount = { path: dotGit, readOnly: true };
  const target = realGitDirectory(dotGit);
  if (target === undefined || !isWithin(target, workspace)) {
    return {
      mounts: [own],
      directoriesToMake: [],
      guardFiles: [],
      notices: ['this repository keeps its git directory outside of the workspace: git does not work in the sandbox.'],
    };
  }
  const protection = protectDirectory(target);
  const shared = commonDirectory(target);
  const common =
    shared !== undefined && shared !== target && isWithin(shared, workspace) ? protectDirectory(shared) : undefined;
  const mounts = [own, ...(common?.mounts ?? []), ...protection.mounts];
  return {
    mounts: [...new Map(mounts.map((mount) => [mount.path, mount])).values()],
    directoriesToMake: [...(common?.directoriesToMake ?? []), ...protection.directoriesToMake],
    guardFiles: [...(common?.guardFiles ?? []), ...protection.guardFiles],
    notices: [],
  };
}

function protectDirectory(gitDirectory: string): GitProtection {
  const mounts: GitMount[] = [{ path: gitDirectory, readOnly: false }];
  const directoriesToMake: string[] = [];
  const guardFiles: GuardFile[] = [];
  for (const { name, guard } of ACTED_ON) {
    const path = join(gitDirectory, name);
    const status = lstatSync(path, { throwIfNoEntry: false });
    if (status === undefined) {
      if (name === 'hooks') directoriesToMake.push(path);
      else if (guard !== undefined) guardFiles.push({ path, content: guard });
      // A git directory without `config` is none.
      else continue;
    } else if (status.isSymbolicLink()) {
      throw new SallyportError(
        'WORKSPACE_REFUSED',
        `${JSON.stringify(path)} is a symbolic link, and cannot be kept from the sandbox. Replace it, or allow writing with --git-writable.`,
      );
    }
    mounts.push({ path, readOnly: true });
  }
  return { mounts, directoriesToMake, guardFiles, notices: [] };
}

function realGitDirectory(dotGit: string): string | undefined {
  const line = /^gitdir: ([^\n\r]+)/.exec(readFileSync(dotGit, 'utf8').slice(0, 4096))?.[1];
  if (line === undefined) return undefined;
  return realDirectory(resolve(dirname(dotGit), line));
}

function commonDirectory(gitDirectory: string): string | undefined {
  try {
    const line = readFileSync(join(gitDirectory, 'commondir'), 'utf8').trim();
    return realDirectory(resolve(gitDirectory, line));
  } catch {
    return undefined;
  }
}

function realDirectory(path: string): string | undefined {
  try {
    const real = realpathSync(path);
    return statSync(real).isDirectory() ? real : undefined;
  } catch {
    return undefined;
  }
}
