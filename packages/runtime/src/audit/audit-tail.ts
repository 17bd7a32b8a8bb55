import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import type { AuditEvent } from '@sallyport/sdk';
import { MAX_AUDIT_LINE_BYTES } from './verify-audit.ts';

const CHUNK_BYTES = 256 * 1024;
const LINE_FEED = 0x0a;

/**
 * Reads what is in an audit log, and later what has been added. A file that was replaced or cut is read from its beginning; a line that is
 * not whole yet is read when it is. What is no event is left out: `audit verify` tells of it.
 */
export class AuditTail {
  readonly #file: string;
  #inode: bigint | null = null;
  #offset = 0n;
  #rest: Buffer = Buffer.alloc(0);
  /** Within a line that is too long to be one of ours. */
  #isSkipping = false;

  constructor(file: string) {
    this.#file = file;
  }

  /** The events since the last time; none where the file is not there (any more). */
  *read(): Generator<AuditEvent, void, undefined> {
    let descriptor: number;
    try {
      descriptor = openSync(this.#file, 'r');
    } catch {
      return;
    }
    try {
      const { ino, size } = fstatSync(descriptor, { bigint: true });
      if (ino !== this.#inode || size < this.#offset) {
        this.#inode = ino;
        this.#offset = 0n;
        this.#rest = Buffer.alloc(0);
        this.#isSkipping = false;
      }
      const chunk = Buffer.alloc(CHUNK_BYTES);
      for (;;) {
        const bytes = readSync(descriptor, chunk, 0, chunk.length, this.#offset);
        if (bytes === 0) return;
        this.#offset += BigInt(bytes);
        yield* this.#take(chunk.subarray(0, bytes));
      }
    } finally {
      closeSync(descriptor);
    }
  }

  *#take(chunk: Buffer): Generator<AuditEvent, void, undefined> {
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    for (let end = data.indexOf(LINE_FEED); end >= 0; end = data.indexOf(LINE_FEED)) {
      const line = data.subarray(0, end);
      data = data.subarray(end + 1);
      const event = this.#isSkipping ? null : readEvent(line);
      this.#isSkipping = false;
      if (event !== null) yield event;
    }
    if (data.length > MAX_AUDIT_LINE_BYTES) {
      this.#isSkipping = true;
      data = Buffer.alloc(0);
    }
    this.#rest = Buffer.from(data);
  }
}

/** The event of a line; null for what is none. */
function readEvent(line: Buffer): AuditEvent | null {
  let value: unknown;
  try {
    value = JSON.parse(line.toString('utf8'));
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { time, sandbox, kind, decision } = value as Partial<Record<keyof AuditEvent, unknown>>;
  const isEvent = [time, sandbox, kind, decision].every((part) => typeof part === 'string');
  return isEvent ? (value as AuditEvent) : null;
}
