import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

import { SallyportError } from '@sallyport/sdk';

import { takeAuditLock } from './audit-lock.ts';
import type { AuditLock } from './audit-lock.ts';
import { formatRecord } from './audit-record.ts';
import type { AuditRecord } from './audit-record.ts';
import {
  auditFileId,
  auditKeyId,
  auditPaths,
  createAuditDirectories,
  ensureAuditKey,
  findAuditHead,
  readAuditHead,
  retireAuditHead,
  writeAuditHead,
} from './audit-state.ts';
import type { AuditHead, AuditPaths } from './audit-state.ts';
import { CHAIN_START, chainMac, joinLine, splitLine } from './chain.ts';

/** Above this {@link AuditLog.record} asks for a pause, in characters. */
const HIGH_WATER_LENGTH = 4 * 1024 * 1024;
/** Above this the log fails: whoever records does not pause. */
const MAX_BACKLOG_LENGTH = 64 * 1024 * 1024;
/** Lines that one write takes at most, so that making their macs does not hold up the event loop (about 3 us each). */
const MAX_BATCH_LINES = 256;
/** Under load one write follows another no sooner, in ms: with its head each costs about 0.3 ms of a core. Nobody waits for it. */
const MIN_CYCLE_MS = 20;
/** What a power failure can take, in ms. */
const SYNC_INTERVAL_MS = 1000;
/** What is read back at most after a crash; a head is behind by one batch, some 10 MB at the very most. */
const MAX_TAIL_BYTES = 32 * 1024 * 1024;
/** No line is longer: its texts are capped. */
const MAX_LINE_BYTES = 128 * 1024;
const LINE_FEED = 0x0a;

/** What to open. */
export interface AuditLogOptions {
  /** The file to append to; made with mode 0600 where it is missing. */
  readonly file: string;
  /** The daemon's state directory: key, heads and locks are below it. */
  readonly stateDirectory: string;
  /** What the events call the sandbox. */
  readonly sandbox: string;
  /** The clock, ms since 1970; default `Date.now`. */
  readonly now?: () => number;
  /** Called once, when the log has failed. */
  readonly onFailure?: (failure: SallyportError) => void;
}

interface Waiter {
  readonly seq: number;
  readonly resolve: () => void;
  readonly reject: (failure: SallyportError) => void;
}

/**
 * The audit log of one sandbox: JSON lines, each with a mac over it and the line before.
 *
 * Durability: a line is in the file, and the head knows it, before {@link AuditLog.drain} resolves, and some ms after
 * {@link AuditLog.record} in any case; then the end of this process does not lose it. The disk has it within a second, and at
 * {@link AuditLog.close}; a power failure can take the last second, which `verify` then reports as truncated.
 *
 * When a write fails the log stays failed: {@link AuditLog.failure} is set, what is recorded from then on is lost, and the gate
 * lets nothing through any more.
 */
export class AuditLog {
  readonly #handle: FileHandle;
  readonly #lock: AuditLock;
  readonly #paths: AuditPaths;
  readonly #key: Buffer;
  readonly #sandbox: string;
  readonly #now: () => number;
  readonly #onFailure: ((failure: SallyportError) => void) | undefined;
  readonly #waiters: Waiter[] = [];

  #head: AuditHead;
  #recordedSeq: number;
  #backlog: string[] = [];
  #backlogLength = 0;
  #pump: Promise<void> | undefined;
  #hurry: (() => void) | undefined;
  #lastCycleMs = -Infinity;
  #lastSyncMs = -Infinity;
  #isSynced = true;
  #syncTimer: NodeJS.Timeout | undefined;
  #failure: SallyportError | null = null;
  #closing: Promise<void> | undefined;

  private constructor(
    options: AuditLogOptions,
    opened: { handle: FileHandle; lock: AuditLock; paths: AuditPaths; key: Buffer; head: AuditHead },
  ) {
    this.#handle = opened.handle;
    this.#lock = opened.lock;
    this.#paths = opened.paths;
    this.#key = opened.key;
    this.#head = opened.head;
    this.#recordedSeq = opened.head.seq;
    this.#sandbox = options.sandbox;
    this.#now = options.now ?? Date.now;
    this.#onFailure = options.onFailure;
  }

  /**
   * Opens a log for this process alone, and continues its chain where the file has one.
   *
   * @throws SallyportError AUDIT_REFUSED if it is no regular file, another process writes it, or its end is not what the head says
   */
  static async open(options: AuditLogOptions): Promise<AuditLog> {
    const name = JSON.stringify(options.file);
    try {
      return await openLog(options, name, (opened) => new AuditLog(options, opened));
    } catch (error) {
      if (error instanceof SallyportError) {
        throw error;
      }
      const code = (error as { code?: unknown }).code;
      throw new SallyportError(
        'AUDIT_REFUSED',
        `The audit file ${name} could not be opened (${typeof code === 'string' ? code : 'unknown error'}); check that its directory exists and may be written, and the state directory as well`,
        { cause: error },
      );
    }
  }

  /** Why the log can no longer be written (AUDIT_FAILED), or null. While it is set the gate must refuse everything. */
  get failure(): SallyportError | null {
    return this.#failure;
  }

  /**
   * Adds an event; its time is now. Cheap and synchronous: it is written behind.
   *
   * @returns false if the caller should wait for {@link AuditLog.drain} before it makes more events (or the log is closed or failed)
   */
  record(event: AuditRecord): boolean {
    if (this.#failure !== null || this.#closing !== undefined) {
      return false;
    }
    this.#recordedSeq += 1;
    const text = formatRecord(event, { timeMs: this.#now(), seq: this.#recordedSeq, sandbox: this.#sandbox });
    this.#backlog.push(text);
    this.#backlogLength += text.length;
    if (this.#backlogLength > MAX_BACKLOG_LENGTH) {
      this.#fail('more events wait than the disk takes');
      return false;
    }
    this.#pump ??= this.#writeBehind();
    return this.#backlogLength <= HIGH_WATER_LENGTH;
  }

  /**
   * Waits until everything recorded so far is in the file.
   *
   * @throws SallyportError AUDIT_FAILED if that cannot be
   */
  async drain(): Promise<void> {
    if (this.#failure !== null) {
      throw this.#failure;
    }
    const seq = this.#recordedSeq;
    if (this.#head.seq >= seq) {
      return;
    }
    await new Promise<void>((done, reject) => {
      this.#waiters.push({ seq, resolve: done, reject });
      this.#hurry?.();
    });
  }

  /**
   * Writes what is left, makes it durable, and gives the file free. A second call waits for the first.
   *
   * @throws SallyportError AUDIT_FAILED if lines were lost
   */
  async close(): Promise<void> {
    this.#closing ??= this.#finish();
    await this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #finish(): Promise<void> {
    try {
      this.#hurry?.();
      await this.#pump;
      clearTimeout(this.#syncTimer);
      if (this.#failure === null) {
        await this.#sync();
      }
    } finally {
      await this.#handle.close().catch(() => undefined);
      await this.#lock.release().catch(() => undefined);
    }
    if (this.#failure !== null) {
      throw this.#failure;
    }
  }

  async #writeBehind(): Promise<void> {
    // What is recorded in the same turn of the event loop goes out together.
    await new Promise((next) => setImmediate(next));
    while (this.#backlog.length > 0 && this.#failure === null) {
      const waitMs = this.#lastCycleMs + MIN_CYCLE_MS - performance.now();
      if (waitMs > 0 && this.#waiters.length === 0 && this.#closing === undefined) {
        await this.#pause(waitMs);
      }
      this.#lastCycleMs = performance.now();
      await this.#writeBatch();
    }
    this.#pump = undefined;
    if (!this.#isSynced && this.#failure === null && this.#closing === undefined) {
      this.#syncTimer ??= setTimeout(() => this.#syncLater(), SYNC_INTERVAL_MS).unref();
    }
  }

  /** Waits for more lines to write at once, until somebody waits for these. */
  async #pause(ms: number): Promise<void> {
    await new Promise<void>((done) => {
      const timer = setTimeout(done, ms);
      this.#hurry = () => {
        clearTimeout(timer);
        done();
      };
    });
    this.#hurry = undefined;
  }

  async #writeBatch(): Promise<void> {
    const texts = this.#backlog.splice(0, MAX_BATCH_LINES);
    let { mac, firstMac } = this.#head;
    let lines = '';
    for (const text of texts) {
      this.#backlogLength -= text.length;
      mac = chainMac(this.#key, mac, text);
      firstMac ??= mac;
      lines += joinLine(text, mac);
    }
    const bytes = Buffer.from(lines, 'utf8');
    try {
      await this.#handle.appendFile(bytes);
      this.#isSynced = false;
      const durable = performance.now() - this.#lastSyncMs >= SYNC_INTERVAL_MS;
      if (durable) {
        await this.#handle.datasync();
        this.#lastSyncMs = performance.now();
        this.#isSynced = true;
      }
      const seq = this.#head.seq + texts.length;
      const head: AuditHead = { ...this.#head, seq, mac, firstMac, bytes: this.#head.bytes + bytes.length };
      await writeAuditHead(this.#paths, head, durable);
      this.#head = head;
    } catch (error) {
      this.#fail('it could not be written', error);
      return;
    }
    while (this.#waiters[0] !== undefined && this.#waiters[0].seq <= this.#head.seq) {
      this.#waiters.shift()?.resolve();
    }
  }

  #syncLater(): void {
    this.#syncTimer = undefined;
    // A cycle that is under way syncs by itself or sets the timer again.
    if (this.#pump === undefined && this.#closing === undefined && this.#failure === null) {
      this.#pump = this.#syncThenWrite();
    }
  }

  async #syncThenWrite(): Promise<void> {
    await this.#sync();
    await this.#writeBehind();
  }

  async #sync(): Promise<void> {
    if (this.#isSynced) {
      return;
    }
    try {
      await this.#handle.datasync();
      await writeAuditHead(this.#paths, this.#head, true);
      this.#lastSyncMs = performance.now();
      this.#isSynced = true;
    } catch (error) {
      this.#fail('it could not be written to the disk', error);
    }
  }

  #fail(reason: string, cause?: unknown): void {
    if (this.#failure !== null) {
      return;
    }
    const code = (cause as { code?: unknown } | undefined)?.code;
    const shownCode = typeof code === 'string' ? ` (${code})` : '';
    this.#failure = new SallyportError(
      'AUDIT_FAILED',
      `The audit file ${JSON.stringify(this.#head.file)} failed: ${reason}${shownCode}. Nothing is let through without a record; make room or mend the disk, then start the sandbox again`,
      { cause },
    );
    this.#backlog = [];
    this.#backlogLength = 0;
    for (const waiter of this.#waiters.splice(0)) {
      waiter.reject(this.#failure);
    }
    this.#onFailure?.(this.#failure);
  }
}

interface Opened {
  readonly handle: FileHandle;
  readonly lock: AuditLock;
  readonly paths: AuditPaths;
  readonly key: Buffer;
  readonly head: AuditHead;
}

async function openLog(options: AuditLogOptions, name: string, build: (opened: Opened) => AuditLog): Promise<AuditLog> {
  const paths = auditPaths(options.stateDirectory);
  await createAuditDirectories(paths);
  const key = await ensureAuditKey(paths);
  const asked = resolve(options.file);
  // The directory may be reached by links; the file itself may not be one.
  const file = join(await realpath(dirname(asked)), basename(asked));
  const lock = await takeAuditLock({ directory: paths.locks, id: auditFileId(file), file: options.file });
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
    await writeAuditHead(paths, head, false);
    return build({ handle, lock, paths, key, head });
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
