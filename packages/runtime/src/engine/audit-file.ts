import { existsSync, mkdirSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import type { SandboxSpec } from '../sandbox/backend.ts';
import { checkMountSources } from '../sandbox/mount-sources.ts';
import { isWithin } from '../sandbox/volumes.ts';

/**
 * Makes the state directory, for whoever checks mounts: what does not exist yet could be mounted from above.
 *
 * @throws SallyportError AUDIT_REFUSED where it cannot be made.
 */
export function createStateDirectory(directory: string): void {
  try {
    makeDirectories(join(directory, 'audit'));
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown error';
    throw new SallyportError(
      'AUDIT_REFUSED',
      `The state directory ${JSON.stringify(directory)}, which holds the key of the audit log, cannot be made (${code}). Make it, or name another place with XDG_STATE_HOME.`,
      { cause },
    );
  }
}

/** Makes a directory and those above it, one by one: Node's recursive way never ends where a file system makes none, such as /proc. */
function makeDirectories(directory: string): void {
  if (existsSync(directory)) return;
  makeDirectories(dirname(directory));
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (error) {
    // Another run was first.
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
  }
}

/**
 * Refuses an audit file that the sandbox could reach: what it says must not be the sandbox's to see or change.
 *
 * @throws SallyportError AUDIT_REFUSED; or what is wrong with the mount itself, where that is refused as well.
 */
export function checkAuditFile(file: string, directory: string, spec: SandboxSpec): void {
  const target = realPath(resolve(directory, file));
  const mounted = [
    ...(spec.workspace === undefined ? [] : [spec.workspace]),
    ...spec.volumes.map(({ source }) => source),
  ];
  const reached = mounted.find((path) => isWithin(target, realPath(path)));
  if (reached === undefined) return;
  checkMountSources({ ...spec, protectedPaths: [] });
  throw new SallyportError(
    'AUDIT_REFUSED',
    `The audit file ${JSON.stringify(file)} lies in ${JSON.stringify(reached)}, which the sandbox sees. Put it elsewhere with --audit FILE, or leave --audit out.`,
  );
}

/** The real path of what may not exist yet. */
function realPath(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const parent = dirname(path);
  return parent === path ? path : join(realPath(parent), basename(path));
}
