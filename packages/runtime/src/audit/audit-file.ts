import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

import { SallyportError } from '@sallyport/sdk';

import { takeAuditLock } from './audit-lock.ts';
import type { AuditLock } from './audit-lock.ts';
import {
  auditFileId,
  auditKeyId,
  auditPaths,
  createAuditDirectories,
  ensureAuditKey,
  findAuditHead,
  readAuditHead,
  retireAuditHead,
} from './audit-state.ts';
import { AuditHeadFile, type AuditHead, type AuditPaths } from './audit-state.ts';
import { CHAIN_START, chainMac, splitLine } from './chain.ts';

/** What is read back at most after a crash; a head is behind by one batch, some 10 MB at the very most. */
const MAX_TAIL_BYTES = 32 * 1024 * 1024;
/** No line is longer: its texts are capped. */
const MAX_LINE_BYTES = 128 * 1024;
const LINE_FEED = 0x0a;

/** A log file that is open and locked for this process, and where its chain has come to. */
export interface OpenedAuditFile {
  readonly handle: FileHandle;
  readonly lock: AuditLock;
  readonly headFile: AuditHeadFile;
  readonly key: Buffer;
  readonly head: AuditHead;
}

/**
 * Opens and locks a log file, made where it is missing, and finds where its chain ends.
 *
 * @throws SallyportError AUDIT_REFUSED if it is no regular file, another process writes it, or its end is not what the head says; or an
 * error of the file system
 */
export async function openAuditFile(options: {
  file: string;
  stateDirectory: string;
  endedThread?: number | undefined;
}): Promise<OpenedAuditFile> {
  const name = JSON.stringify(options.file);
  const paths = auditPaths(options.stateDirectory);
  await createAuditDirectories(paths);
  const key = await ensureAuditKey(paths);
  const asked = resolve(options.file);
  // The directory may be reached by links; the file itself may not be one.
  const file = join(await realpath(dirname(asked)), basename(asked));
  const lock = await takeAuditLock({
    directory: paths.locks,
    id: auditFileId(file),
    file: options.file,
    endedThread: options.endedThread,
  });
  let handle: FileHandle | undefined;
  try {
    const opened = await openRegularFile(file, name);
    handle = opened.handle;
    const fresh: AuditHead = {
      version: 1,
      file,
      keyId: auditKeyId(key),
      seq: 0,
      mac: CHAIN_START,
      firstMac: null,
      bytes: 0,
    };
    const known = await readAuditHead(paths, file);
    let head: AuditHead;
    if (opened.isNew) {
      if (known !== null) {
        await retireAuditHead(paths, known);
      }
      head = fresh;
    } else {
      head = await continueChain({ handle, name, key, fresh, known, paths });
    }
    // Before the first line, so that a crash right after that one does not leave a file that nobody knows.
    const headFile = await AuditHeadFile.create(paths, head);
    return { handle, lock, headFile, key, head };
  } catch (error) {
    await handle?.close();
    await lock.release();
    throw error;
  }
}

async function openRegularFile(file: string, name: string): Promise<{ handle: FileHandle; isNew: boolean }> {
  // O_NONBLOCK: a FIFO is to be found out, not waited for.
  const flags =
    constants.O_RDWR | constants.O_APPEND | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY;
  let handle: FileHandle;
  let isNew = false;
  try {
    handle = await open(file, flags);
  } catch (error) {
    switch ((error as { code?: unknown }).code) {
      case 'ENOENT':
        handle = await open(file, flags | constants.O_CREAT | constants.O_EXCL, 0o600);
        isNew = true;
        break;
      case 'ELOOP':
      case 'EISDIR':
      case 'ENXIO':
      case 'ENODEV':
        throw notRegular(name);
      default:
        throw error;
    }
  }
  if (!(await handle.stat()).isFile()) {
    await handle.close();
    throw notRegular(name);
  }
  return { handle, isNew };
}

function notRegular(name: string): SallyportError {
  return new SallyportError(
    'AUDIT_REFUSED',
    `The audit file ${name} is no regular file (a link, a directory, a pipe or a device); give the path of a file`,
  );
}

/** Finds where the chain of an existing file ends, and that this is where it ended when it was last written. */
async function continueChain(from: {
  handle: FileHandle;
  name: string;
  key: Buffer;
  fresh: AuditHead;
  known: AuditHead | null;
  paths: AuditPaths;
}): Promise<AuditHead> {
  const { handle, name, key, fresh } = from;
  const { size } = await handle.stat();
  let known = from.known;
  if (known === null && size > 0) {
    const firstMac = await readFirstMac(handle);
    known = firstMac === null ? null : await findAuditHead(from.paths, firstMac);
  }
  if (known === null) {
    if (size > 0) {
      throw refused(name, 'holds lines, but is no audit log that this state directory knows');
    }
    return fresh;
  }
  if (known.keyId !== fresh.keyId) {
    throw refused(name, 'was begun with another key than the state directory holds');
  }
  if (size < known.bytes) {
    throw refused(name, `is shorter than it was: ${size} bytes instead of ${known.bytes}`);
  }
  if (known.seq > 0) {
    const last = await readLastLine(handle, known.bytes);
    if (last === null || splitLine(last)?.mac !== known.mac) {
      throw refused(name, 'does not end where its last writer left it');
    }
  }
  return await followTail({ handle, name, key, head: { ...known, file: fresh.file }, size });
}

/** Takes up lines that a crash left behind the head: those that continue the chain. Half a line at the end was never acknowledged and goes. */
async function followTail(from: {
  handle: FileHandle;
  name: string;
  key: Buffer;
  head: AuditHead;
  size: number;
}): Promise<AuditHead> {
  let { head } = from;
  const length = from.size - head.bytes;
  if (length === 0) {
    return head;
  }
  if (length > MAX_TAIL_BYTES) {
    throw refused(from.name, 'has grown since its last writer left it');
  }
  const tail = await readAt(from.handle, head.bytes, length);
  let start = 0;
  for (let end = tail.indexOf(LINE_FEED); end >= 0; end = tail.indexOf(LINE_FEED, start)) {
    const parts = splitLine(tail.subarray(start, end));
    if (parts === null || chainMac(from.key, head.mac, parts.text) !== parts.mac) {
      throw refused(from.name, 'has lines at its end that Sallyport did not write');
    }
    head = {
      ...head,
      seq: head.seq + 1,
      mac: parts.mac,
      firstMac: head.firstMac ?? parts.mac,
      bytes: head.bytes + (end + 1 - start),
    };
    start = end + 1;
  }
  if (start < tail.length) {
    await from.handle.truncate(head.bytes);
  }
  return head;
}

function refused(name: string, why: string): SallyportError {
  return new SallyportError(
    'AUDIT_REFUSED',
    `The audit file ${name} ${why}; look at it with "sallyport audit verify", then move it away or give another file`,
  );
}

async function readFirstMac(handle: FileHandle): Promise<string | null> {
  const start = await readAt(handle, 0, MAX_LINE_BYTES);
  const end = start.indexOf(LINE_FEED);
  return end < 0 ? null : (splitLine(start.subarray(0, end))?.mac ?? null);
}

async function readLastLine(handle: FileHandle, end: number): Promise<Buffer | null> {
  const from = Math.max(0, end - MAX_LINE_BYTES);
  const bytes = await readAt(handle, from, end - from);
  if (bytes.at(-1) !== LINE_FEED) {
    return null;
  }
  const lineStart = bytes.lastIndexOf(LINE_FEED, bytes.length - 2) + 1;
  return bytes.subarray(lineStart, -1);
}

/** Reads `length` bytes, or as many as there are. */
async function readAt(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await handle.read(bytes, filled, length - filled, position + filled);
    if (bytesRead === 0) {
      break;
    }
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}
