import { randomBytes } from 'node:crypto';
import { link, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { threadId } from 'node:worker_threads';

import { SallyportError } from '@sallyport/sdk';

/** More rounds than this are lost only if somebody takes and leaves the lock all the time. */
const MAX_ATTEMPTS = 16;

interface Owner {
  readonly pid: number;
  /** Tells a process from a later one with the same id: boot and start time; empty where the system does not say. */
  readonly start: string;
  /** The thread of that process; a former version had but one. Numbers are not given again. */
  readonly thread?: number;
}

/** A lock that is held. */
export interface AuditLock {
  release(): Promise<void>;
}

/**
 * Locks an audit file for this process. The lock of a process that has died does not count.
 *
 * A lock is a file `ID.N`; the highest N counts. Who finds its owner dead links N+1, which one process alone can do, and then makes sure
 * that nobody was further meanwhile. So a stale lock is never taken away from under somebody who has just taken it over.
 *
 * @param options.directory where the locks are
 * @param options.id names the file to lock, as a file name
 * @param options.file what the message calls it
 * @param options.endedThread a thread of this process that has ended: its lock does not count either
 * @throws SallyportError AUDIT_REFUSED if a process that lives has it
 */
export async function takeAuditLock(options: {
  directory: string;
  id: string;
  file: string;
  endedThread?: number | undefined;
}): Promise<AuditLock> {
  const { directory, id, endedThread } = options;
  const draft = join(directory, `draft.${randomBytes(8).toString('hex')}`);
  const own: Owner = { pid: process.pid, start: (await startOf(process.pid)) ?? '', thread: threadId };
  await writeFile(draft, JSON.stringify(own), { mode: 0o600, flag: 'wx' });
  try {
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      const highest = Math.max(0, ...(await generations(directory, id)));
      if (highest > 0) {
        const owner = await readOwner(join(directory, `${id}.${highest}`));
        if (owner === 'gone') {
          continue;
        }
        if (owner !== 'unreadable' && !isOfThread(owner, own, endedThread) && (await isAlive(owner, own))) {
          throw new SallyportError(
            'AUDIT_REFUSED',
            `The audit file ${JSON.stringify(options.file)} is being written by process ${owner.pid}; wait for its end, or give this sandbox a file of its own`,
          );
        }
      }
      const path = join(directory, `${id}.${highest + 1}`);
      try {
        await link(draft, path);
      } catch (error) {
        if ((error as { code?: unknown }).code === 'EEXIST') {
          continue;
        }
        throw error;
      }
      const others = await generations(directory, id);
      if (others.some((generation) => generation > highest + 1)) {
        await rm(path, { force: true });
        continue;
      }
      for (const generation of others) {
        if (generation <= highest) {
          await rm(join(directory, `${id}.${generation}`), { force: true });
        }
      }
      return { release: () => rm(path, { force: true }) };
    }
  } finally {
    await rm(draft, { force: true });
  }
  throw new SallyportError(
    'AUDIT_REFUSED',
    `The audit file ${JSON.stringify(options.file)} is being taken by other processes again and again; give this sandbox a file of its own`,
  );
}

async function generations(directory: string, id: string): Promise<number[]> {
  const prefix = `${id}.`;
  const found: number[] = [];
  for (const name of await readdir(directory)) {
    if (name.startsWith(prefix) && /^[1-9][0-9]{0,14}$/.test(name.slice(prefix.length))) {
      found.push(Number(name.slice(prefix.length)));
    }
  }
  return found;
}

async function readOwner(path: string): Promise<Owner | 'gone' | 'unreadable'> {
  try {
    const owner = JSON.parse(await readFile(path, 'utf8')) as Partial<Owner> | null;
    return Number.isSafeInteger(owner?.pid) && typeof owner?.start === 'string' ? (owner as Owner) : 'unreadable';
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') {
      return 'gone';
    }
    // Linked whole, so only a crash of the machine leaves half of one; its owner is gone with it.
    if (error instanceof SyntaxError) {
      return 'unreadable';
    }
    throw error;
  }
}

function isOfThread(owner: Owner, own: Owner, thread: number | undefined): boolean {
  return thread !== undefined && owner.thread === thread && owner.pid === own.pid && owner.start === own.start;
}

async function isAlive(owner: Owner, own: Owner): Promise<boolean> {
  // Where this process has a start time, so has every other that lives.
  if (own.start !== '' && owner.start !== '') {
    return (await startOf(owner.pid)) === owner.start;
  }
  try {
    process.kill(owner.pid, 0);
    return true;
  } catch (error) {
    return (error as { code?: unknown }).code === 'EPERM';
  }
}

/** Boot id and start time of a process, or null if there is none (or no /proc). */
async function startOf(pid: number): Promise<string | null> {
  try {
    const [boot, status] = await Promise.all([
      readFile('/proc/sys/kernel/random/boot_id', 'latin1'),
      readFile(`/proc/${pid}/stat`, 'latin1'),
    ]);
    // The second field is the program's name in parentheses and may hold anything; the start time is the 20th after it.
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
    const startTime = fields[19];
    return startTime === undefined || fields[0] === 'Z' || fields[0] === 'X' ? null : `${boot.trim()}/${startTime}`;
  } catch {
    return null;
  }
}
