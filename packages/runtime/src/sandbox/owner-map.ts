import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { SallyportError } from '@sallyport/sdk';
import { TOOL_ENVIRONMENT } from '../airlock/required-tools.ts';

/** How many ids below 65,536 there are: those that accounts and files ordinarily have. */
const ORDINARY_IDS = 65_536;

/**
 * Where ids that are not the owner's are shown: a range that no account, process or sandbox has. Such files are somebody
 * else's inside, so their mode bits for others decide; unmapped, they could not be written at all.
 */
const STRANGERS_BASE = 2_110_000_000;

/**
 * The text of a `uid_map` for an id-mapped mount: the owner of the files on disk becomes the sandbox's user.
 *
 * In a mount's map the first column is the id on disk, the second the id that processes see. The host's uid 0 can be in
 * the first, never in the second.
 */
export function ownerMap(ownerOnDisk: number, hostId: number): string {
  const extents: [number, number, number][] = [[ownerOnDisk, hostId, 1]];
  const below = Math.min(ownerOnDisk, ORDINARY_IDS);
  if (below > 0) extents.push([0, STRANGERS_BASE, below]);
  if (ownerOnDisk + 1 < ORDINARY_IDS) {
    extents.push([ownerOnDisk + 1, STRANGERS_BASE + ownerOnDisk + 1, ORDINARY_IDS - ownerOnDisk - 1]);
  }
  return extents.map((extent) => extent.join(' ')).join('\n');
}

/**
 * Makes a user namespace that serves as nothing but a map of owners, and opens it. The caller closes the descriptor.
 *
 * @throws SallyportError `SANDBOX_FAILED`.
 */
export async function openOwnerMap(
  unshare: string,
  owner: { readonly uid: number; readonly gid: number },
  host: { readonly uid: number; readonly gid: number },
): Promise<number> {
  const child = spawn(unshare, ['--user', '/bin/sh', '-c', 'echo; exec cat > /dev/null'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...TOOL_ENVIRONMENT },
    cwd: '/',
  });
  child.stdin.on('error', () => undefined);
  try {
    await Promise.race([
      once(child.stdout, 'data'),
      once(child, 'exit').then(() => Promise.reject(new Error('ended'))),
    ]);
    writeFileSync(`/proc/${child.pid}/uid_map`, ownerMap(owner.uid, host.uid));
    writeFileSync(`/proc/${child.pid}/gid_map`, ownerMap(owner.gid, host.gid));
    return openSync(`/proc/${child.pid}/ns/user`, 'r');
  } catch (cause) {
    throw new SallyportError('SANDBOX_FAILED', 'The map of file owners for the workspace could not be made.', {
      cause,
    });
  } finally {
    child.stdin.end();
  }
}

/** Closes what {@link openOwnerMap} opened. */
export function closeOwnerMaps(descriptors: readonly number[]): void {
  for (const descriptor of descriptors) closeSync(descriptor);
}
