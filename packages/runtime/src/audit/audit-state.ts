import { createHash, randomBytes } from 'node:crypto';
import { link, mkdir, open, readFile, readdir, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';

import { SallyportError } from '@sallyport/sdk';

import { AUDIT_KEY_BYTES, CHAIN_START } from './chain.ts';

/** What is kept about a log file outside of it: where its chain has come to. */
export interface AuditHead {
  readonly version: 1;
  /** The absolute path under which it was last written. */
  readonly file: string;
  /** Names the key without telling it. */
  readonly keyId: string;
  /** Number and mac of the last line; 0 and the chain's start before the first. */
  readonly seq: number;
  readonly mac: string;
  /** The mac of the first line, or null before there is one: by it a file is known that was moved. */
  readonly firstMac: string | null;
  /** The length of the file up to and with that line, in bytes. */
  readonly bytes: number;
}

/** Where the audit's key, heads and locks are, below the daemon's state directory. Directories have mode 0700, files 0600. */
export interface AuditPaths {
  readonly root: string;
  readonly key: string;
  readonly heads: string;
  readonly locks: string;
}

/** The places below a state directory. */
export function auditPaths(stateDirectory: string): AuditPaths {
  const root = join(stateDirectory, 'audit');
  return { root, key: join(root, 'key'), heads: join(root, 'heads'), locks: join(root, 'locks') };
}

/** The name under which a log file's head and locks are kept. */
export function auditFileId(absoluteFile: string): string {
  return createHash('sha256').update(absoluteFile).digest('hex').slice(0, 32);
}

/** Names a key without telling it. */
export function auditKeyId(key: Uint8Array): string {
  return createHash('sha256').update('sallyport audit key id\0').update(key).digest('hex').slice(0, 16);
}

/** Makes the directories where they are missing. */
export async function createAuditDirectories(paths: AuditPaths): Promise<void> {
  await mkdir(paths.heads, { recursive: true, mode: 0o700 });
  await mkdir(paths.locks, { recursive: true, mode: 0o700 });
}

/**
 * Reads the key, or null if there is none.
 *
 * @throws SallyportError AUDIT_REFUSED if others may read it or it is damaged
 */
export async function readAuditKey(paths: AuditPaths): Promise<Buffer | null> {
  let text: string;
  try {
    const { mode } = await stat(paths.key);
    if ((mode & 0o077) !== 0) {
      throw new SallyportError(
        'AUDIT_REFUSED',
        `The audit key ${JSON.stringify(paths.key)} may be read by others; run: chmod 600 FILE, and treat older logs as forgeable`,
      );
    }
    text = await readFile(paths.key, 'latin1');
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') {
      return null;
    }
    throw error;
  }
  const key = Buffer.from(text.trim(), 'hex');
  if (key.length !== AUDIT_KEY_BYTES) {
    throw new SallyportError(
      'AUDIT_REFUSED',
      `The audit key ${JSON.stringify(paths.key)} is damaged; restore it, or move it away and begin new audit files`,
    );
  }
  return key;
}

/** Reads the key, making it first where there is none. Of two processes that make it at once, one wins, and both use that one. */
export async function ensureAuditKey(paths: AuditPaths): Promise<Buffer> {
  const existing = await readAuditKey(paths);
  if (existing !== null) {
    return existing;
  }
  const draft = `${paths.key}.${randomBytes(8).toString('hex')}`;
  try {
    await writeDurably(draft, `${randomBytes(AUDIT_KEY_BYTES).toString('hex')}\n`);
    await link(draft, paths.key);
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'EEXIST') {
      throw error;
    }
  } finally {
    await rm(draft, { force: true });
  }
  const key = await readAuditKey(paths);
  if (key === null) {
    throw new SallyportError('AUDIT_REFUSED', 'The audit key vanished while it was made; start again');
  }
  return key;
}

/**
 * The file that holds the head of one log, open for writing.
 *
 * It has two slots of equal size, each one line: a JSON object with a check of its own, filled up with spaces. They are written in
 * turn, in place: a write that a crash tears leaves the other one. A new file for each head would cost a rename, and some file
 * systems write out a file's data when it is renamed over another.
 */
export class AuditHeadFile {
  readonly #handle: FileHandle;
  readonly #path: string;
  readonly #slotBytes: number;
  #next = 1;

  private constructor(handle: FileHandle, path: string, slotBytes: number) {
    this.#handle = handle;
    this.#path = path;
    this.#slotBytes = slotBytes;
  }

  /** Makes the file anew, atomically, with `head` in it. */
  static async create(paths: AuditPaths, head: AuditHead): Promise<AuditHeadFile> {
    const target = headPath(paths, head.file);
    const draft = `${target}.draft`;
    const longest = formatHead({ ...head, seq: MAX_NUMBER, bytes: MAX_NUMBER, firstMac: CHAIN_START });
    const slotBytes = Math.ceil((Buffer.byteLength(longest) + 1) / SECTOR_BYTES) * SECTOR_BYTES;
    const handle = await open(draft, 'w', 0o600);
    try {
      await writeWhole(handle, Buffer.concat([slotOf(head, slotBytes), Buffer.alloc(slotBytes, '\n')]), 0);
      await rename(draft, target);
    } catch (error) {
      await handle.close();
      throw error;
    }
    return new AuditHeadFile(handle, target, slotBytes);
  }

  /**
   * Puts a later head of the same log in place. With `durable` it survives a power failure, too, and the file is still where it is looked for.
   *
   * @throws an error of the file system
   */
  async write(head: AuditHead, durable: boolean): Promise<void> {
    await writeWhole(this.#handle, slotOf(head, this.#slotBytes), this.#next * this.#slotBytes);
    this.#next = 1 - this.#next;
    if (!durable) return;
    await this.#handle.datasync();
    const [here, there] = await Promise.all([this.#handle.stat(), stat(this.#path)]);
    if (here.ino !== there.ino || here.dev !== there.dev) throw new Error('the head of the audit log was replaced');
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

const SECTOR_BYTES = 512;
const MAX_NUMBER = Number.MAX_SAFE_INTEGER;
const CHECK_LENGTH = 16;

function formatHead(head: AuditHead): string {
  return JSON.stringify({ ...head, check: checkOf(head) });
}

/** Tells a torn slot from a whole one. It guards against accidents, not against whoever can write the state directory. */
function checkOf(head: AuditHead): string {
  const { version, file, keyId, seq, mac, firstMac, bytes } = head;
  const members = JSON.stringify([version, file, keyId, seq, mac, firstMac, bytes]);
  return createHash('sha256').update(members).digest('hex').slice(0, CHECK_LENGTH);
}

function slotOf(head: AuditHead, slotBytes: number): Buffer {
  const text = Buffer.from(formatHead(head), 'utf8');
  const slot = Buffer.alloc(slotBytes, ' ');
  text.copy(slot);
  slot[slotBytes - 1] = 0x0a;
  return slot;
}

async function writeWhole(handle: FileHandle, bytes: Buffer, position: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    written += (await handle.write(bytes, written, bytes.length - written, position + written)).bytesWritten;
  }
}

/** The head of the log that was last written at this path, or null. */
export async function readAuditHead(paths: AuditPaths, absoluteFile: string): Promise<AuditHead | null> {
  return parseHead(await readTextIfThere(headPath(paths, absoluteFile)));
}

/** The head of the log whose first line has this mac, wherever it was written; for files that were moved or copied. */
export async function findAuditHead(paths: AuditPaths, firstMac: string): Promise<AuditHead | null> {
  const names = await readdir(paths.heads).catch(() => []);
  let found: AuditHead | null = null;
  for (const name of names) {
    if (!name.endsWith('.json')) {
      continue;
    }
    const head = parseHead(await readTextIfThere(join(paths.heads, name)));
    // A file that was continued at a second path has two heads; the longer one counts.
    if (head !== null && head.firstMac === firstMac && (found === null || head.seq > found.seq)) {
      found = head;
    }
  }
  return found;
}

/** Puts the head of a log aside whose file is gone from its path: moved, it can still be verified. */
export async function retireAuditHead(paths: AuditPaths, head: AuditHead): Promise<void> {
  const target = headPath(paths, head.file);
  if (head.firstMac === null) {
    await rm(target, { force: true });
  } else {
    await rename(target, target.replace(/\.json$/, `.${head.firstMac.slice(0, 16)}.json`));
  }
}

function headPath(paths: AuditPaths, absoluteFile: string): string {
  return join(paths.heads, `${auditFileId(absoluteFile)}.json`);
}

/** The later of the heads in the two slots; null where neither is whole. */
function parseHead(text: string | null): AuditHead | null {
  let latest: AuditHead | null = null;
  for (const slot of text?.split('\n') ?? []) {
    const head = parseSlot(slot);
    if (head !== null && (latest === null || head.seq > latest.seq)) latest = head;
  }
  return latest;
}

function parseSlot(slot: string): AuditHead | null {
  if (slot.trim() === '') return null;
  try {
    const head = JSON.parse(slot) as (Partial<AuditHead> & { check?: unknown }) | null;
    const valid =
      head?.version === 1 &&
      typeof head.file === 'string' &&
      typeof head.keyId === 'string' &&
      Number.isSafeInteger(head.seq) &&
      Number.isSafeInteger(head.bytes) &&
      typeof head.mac === 'string' &&
      (head.firstMac === null || typeof head.firstMac === 'string') &&
      head.check === checkOf(head as AuditHead);
    if (!valid) return null;
    const { check: _, ...members } = head;
    return members as AuditHead;
  } catch {
    // A damaged head anchors nothing, which is what a missing one means.
    return null;
  }
}

async function readTextIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') {
      return null;
    }
    throw error;
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  const handle = await open(path, 'wx', 0o600);
  try {
    await handle.writeFile(text);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}
