import type { FileHandle } from 'node:fs/promises';

import { SallyportError } from '@sallyport/sdk';

import { openAuditFile } from './audit-file.ts';
import type { OpenedAuditFile } from './audit-file.ts';
import type { AuditLock } from './audit-lock.ts';
import type { AuditRecord } from './audit-record.ts';
import type { AuditHead, AuditHeadFile } from './audit-state.ts';
import { LineSealer, SEAL_ROOM_BYTES } from './chain.ts';
import { CyclePace } from './cycle-pace.ts';
import { LineQueue } from './line-queue.ts';
import { RecordWriter } from './record-writer.ts';

/** Above this {@link AuditLog.record} asks for a pause, in bytes. */
const HIGH_WATER_LENGTH = 4 * 1024 * 1024;
/** Above this the log fails: whoever records does not pause. */
const MAX_BACKLOG_LENGTH = 64 * 1024 * 1024;
/** Lines that get their macs in one turn of the event loop (about 2 us each). */
const MAX_TURN_LINES = 128;
/** One write takes no further line when it has this many bytes. */
const MAX_WRITE_LENGTH = 1024 * 1024;
/** Under load one write follows another no sooner, in ms: with its head each costs some 0.3 ms of a core. Nobody waits for it. */
const MIN_CYCLE_MS = 50;
/** Of all logs of this thread. */
const PACE = new CyclePace();
/** What a power failure can take, in ms. */
const SYNC_INTERVAL_MS = 1000;

/** What to open. */
export interface AuditLogOptions {
  /** The file to append to; made with mode 0600 where it is missing. */
  readonly file: string;
  /** The daemon's state directory: key, heads and locks are below it. */
  readonly stateDirectory: string;
  /** What the events call the sandbox. */
  readonly sandbox: string;
  /** A thread of this process that wrote the file and has ended in the middle. */
  readonly endedThread?: number | undefined;
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
 * Durability: a line is in the file, and the head knows it, before {@link AuditLog.drain} resolves, and in any case some ms after
 * {@link AuditLog.record}, or half a second where hundreds of logs write; then the end of this process does not lose it. The disk has it a
 * second later, and at {@link AuditLog.close}; a power failure can take what came since, which `verify` then reports as truncated.
 *
 * When a write fails the log stays failed: {@link AuditLog.failure} is set, what is recorded from then on is lost, and the gate
 * lets nothing through any more.
 */
export class AuditLog {
  readonly #handle: FileHandle;
  readonly #lock: AuditLock;
  readonly #headFile: AuditHeadFile;
  readonly #sealer: LineSealer;
  readonly #writer: RecordWriter;
  readonly #now: () => number;
  readonly #onFailure: ((failure: SallyportError) => void) | undefined;
  readonly #waiters: Waiter[] = [];

  #head: AuditHead;
  #firstMac: string | null;
  #recordedSeq: number;
  readonly #backlog = new LineQueue();
  /** Bytes that have been taken from the backlog and are not in the file yet. */
  #takenLength = 0;
  #pump: Promise<void> | undefined;
  #hurry: (() => void) | undefined;
  #lastCycleMs = -Infinity;
  #lastSyncMs = -Infinity;
  #isSynced = true;
  #syncTimer: NodeJS.Timeout | undefined;
  #failure: SallyportError | null = null;
  #closing: Promise<void> | undefined;

  private constructor(options: AuditLogOptions, opened: OpenedAuditFile) {
    this.#handle = opened.handle;
    this.#lock = opened.lock;
    this.#headFile = opened.headFile;
    this.#sealer = new LineSealer(opened.key, opened.head.mac);
    this.#head = opened.head;
    this.#firstMac = opened.head.firstMac;
    this.#recordedSeq = opened.head.seq;
    this.#writer = new RecordWriter(options.sandbox);
    this.#now = options.now ?? Date.now;
    this.#onFailure = options.onFailure;
  }

  /**
   * Opens a log for this process alone, and continues its chain where the file has one.
   *
   * @throws SallyportError AUDIT_REFUSED if it is no regular file, another process writes it, or its end is not what the head says
   */
  static async open(options: AuditLogOptions): Promise<AuditLog> {
    try {
      return new AuditLog(options, await openAuditFile(options));
    } catch (error) {
      if (error instanceof SallyportError) {
        throw error;
      }
      const code = (error as { code?: unknown }).code;
      throw new SallyportError(
        'AUDIT_REFUSED',
        `The audit file ${JSON.stringify(options.file)} could not be opened (${typeof code === 'string' ? code : 'unknown error'}); check that its directory exists and may be written, and the state directory as well`,
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
    this.#writer.write(this.#backlog, event, this.#now(), this.#recordedSeq);
    const backlogLength = this.#takenLength + this.#backlog.length;
    if (backlogLength > MAX_BACKLOG_LENGTH) {
      this.#fail('more events wait than the disk takes');
      return false;
    }
    this.#pump ??= this.#writeBehind();
    if (this.#isFull()) this.#hurry?.();
    return backlogLength <= HIGH_WATER_LENGTH;
  }

  /** Whether what waits is enough to be written at once. */
  #isFull(): boolean {
    return this.#backlog.length >= MAX_WRITE_LENGTH;
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
      await this.#headFile.close().catch(() => undefined);
      await this.#lock.release().catch(() => undefined);
    }
    if (this.#failure !== null) {
      throw this.#failure;
    }
  }

  async #writeBehind(): Promise<void> {
    // What is recorded in the same turn of the event loop goes out together.
    await new Promise((next) => setImmediate(next));
    while (!this.#backlog.isEmpty && this.#failure === null) {
      const nowMs = performance.now();
      const waitMs = PACE.take(nowMs, this.#lastCycleMs + MIN_CYCLE_MS) - nowMs;
      if (waitMs > 0 && !this.#isFull() && this.#waiters.length === 0 && this.#closing === undefined) {
        await this.#pause(waitMs);
      }
      this.#lastCycleMs = performance.now();
      await this.#writeBacklog();
    }
    this.#pump = undefined;
    this.#backlog.trim();
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

  async #writeBacklog(): Promise<void> {
    const lines = this.#backlog.take();
    const { bytes, ends } = lines;
    const last = ends.length - 1;
    let start = SEAL_ROOM_BYTES;
    let written = 0;
    let sealed = 0;
    let count = 0;
    this.#takenLength = ends[last] ?? 0;
    for (const [index, end] of ends.entries()) {
      sealed = this.#sealer.seal(bytes, start, end, sealed);
      this.#firstMac ??= this.#sealer.mac;
      start = end + SEAL_ROOM_BYTES;
      count += 1;
      if (index === last || sealed - written >= MAX_WRITE_LENGTH) {
        await this.#writeSealed(bytes.subarray(written, sealed), count);
        if (this.#failure !== null) return;
        written = sealed;
        count = 0;
        this.#takenLength = (ends[last] ?? 0) - end;
      } else if (count % MAX_TURN_LINES === 0) {
        await new Promise((next) => setImmediate(next));
      }
    }
    this.#backlog.reuse(lines);
  }

  /** Writes so many sealed lines, and then the head that knows them. */
  async #writeSealed(bytes: Uint8Array, count: number): Promise<void> {
    const { mac } = this.#sealer;
    const firstMac = this.#firstMac;
    try {
      await writeWhole(this.#handle, bytes);
      this.#isSynced = false;
      const durable = performance.now() - this.#lastSyncMs >= SYNC_INTERVAL_MS;
      if (durable) {
        await this.#handle.datasync();
        this.#lastSyncMs = performance.now();
        this.#isSynced = true;
      }
      const seq = this.#head.seq + count;
      const head: AuditHead = { ...this.#head, seq, mac, firstMac, bytes: this.#head.bytes + bytes.length };
      await this.#headFile.write(head, durable);
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
      await this.#headFile.write(this.#head, true);
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
    this.#backlog.clear();
    for (const waiter of this.#waiters.splice(0)) {
      waiter.reject(this.#failure);
    }
    this.#onFailure?.(this.#failure);
  }
}

/** Appends all of `bytes` to a file that was opened for appending. */
async function writeWhole(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    written += (await handle.write(bytes, written, bytes.length - written)).bytesWritten;
  }
}
