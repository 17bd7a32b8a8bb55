import { randomUUID } from 'node:crypto';
import { open, unlink, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MAX_GATHERED_FILE_BYTES, MAX_GATHERED_MEMORY_BYTES, MAX_MEASURED_REQUEST_BYTES } from './limits.ts';

/** Bytes that may wait to be written into a file. */
const MAX_PENDING_WRITE_BYTES = 512 * 1024;

/** Keeps one body of a known length until it is sent. */
export interface BodyStore {
  /** Takes the next bytes; false asks to wait for `onDrain`. */
  write(data: Buffer): boolean;
  /** Everything has been written. Rejects when it could not be kept. */
  written(): Promise<void>;
  /** Bytes from `offset` on, at most `length`; none at the end. */
  read(offset: number, length: number): Promise<Buffer>;
  close(): void;
}

/**
 * The gathered request bodies of one sandbox: small ones in memory, others in files that have no name any more when the first byte is
 * written. What is kept is what the sandbox sent, so no value is ever in a file.
 */
export class BodyStores {
  readonly #directory: string;
  #memoryBytes = 0;
  #fileBytes = 0;

  /** @param directory where files are made; the system's directory for temporary files where omitted. */
  constructor(directory: string = tmpdir()) {
    this.#directory = directory;
  }

  /** Makes room for a body of `bytes` bytes; null when there is none. */
  open(bytes: number, onDrain: () => void): BodyStore | null {
    if (bytes <= MAX_MEASURED_REQUEST_BYTES && this.#memoryBytes + bytes <= MAX_GATHERED_MEMORY_BYTES) {
      this.#memoryBytes += bytes;
      return new MemoryStore(bytes, () => {
        this.#memoryBytes -= bytes;
      });
    }
    if (this.#fileBytes + bytes > MAX_GATHERED_FILE_BYTES) return null;
    this.#fileBytes += bytes;
    return new FileStore(this.#directory, onDrain, () => {
      this.#fileBytes -= bytes;
    });
  }
}

class MemoryStore implements BodyStore {
  #bytes: Buffer;
  #length = 0;
  #onClose: (() => void) | null;

  constructor(bytes: number, onClose: () => void) {
    // One piece: a body that comes byte by byte would otherwise take a hundred times its size.
    this.#bytes = Buffer.allocUnsafe(bytes);
    this.#onClose = onClose;
  }

  write(data: Buffer): boolean {
    this.#length += data.copy(this.#bytes, this.#length);
    return true;
  }

  async written(): Promise<void> {}

  async read(offset: number, length: number): Promise<Buffer> {
    return this.#bytes.subarray(offset, Math.min(this.#length, offset + length));
  }

  close(): void {
    this.#bytes = Buffer.alloc(0);
    this.#length = 0;
    this.#onClose?.();
    this.#onClose = null;
  }
}

class FileStore implements BodyStore {
  readonly #onDrain: () => void;
  #onClose: (() => void) | null;
  readonly #file: Promise<FileHandle>;
  /** What has come and is not being written yet. */
  #pending: Buffer[] = [];
  /** With what is being written. */
  #pendingBytes = 0;
  #writtenBytes = 0;
  /** Ends when nothing is pending; null where that is so. */
  #writing: Promise<void> | null = null;
  #isFull = false;
  #failure: Error | null = null;

  constructor(directory: string, onDrain: () => void, onClose: () => void) {
    this.#onDrain = onDrain;
    this.#onClose = onClose;
    this.#file = openUnnamed(directory);
    this.#file.catch((error: unknown) => this.#fail(error));
  }

  write(data: Buffer): boolean {
    this.#pending.push(data);
    this.#pendingBytes += data.length;
    this.#writing ??= this.#writePending();
    this.#isFull = this.#pendingBytes >= MAX_PENDING_WRITE_BYTES;
    return !this.#isFull;
  }

  /** One write for all that came during the one before: a piece costs more than its bytes. */
  async #writePending(): Promise<void> {
    while (this.#pending.length > 0) {
      const pieces = this.#pending;
      const bytes = this.#pendingBytes;
      this.#pending = [];
      try {
        if (this.#failure === null && this.#onClose !== null) {
          await writeAll(await this.#file, pieces, bytes, this.#writtenBytes);
          this.#writtenBytes += bytes;
        }
      } catch (error) {
        this.#fail(error);
      }
      this.#pendingBytes -= bytes;
      if (this.#isFull && this.#pendingBytes < MAX_PENDING_WRITE_BYTES) {
        this.#isFull = false;
        this.#onDrain();
      }
    }
    this.#writing = null;
  }

  async written(): Promise<void> {
    await this.#file.catch(() => undefined);
    await this.#writing;
    if (this.#failure !== null) throw this.#failure;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const file = await this.#file;
    const buffer = Buffer.allocUnsafe(length);
    const { bytesRead } = await file.read(buffer, 0, length, offset);
    return buffer.subarray(0, bytesRead);
  }

  close(): void {
    if (this.#onClose === null) return;
    const onClose = this.#onClose;
    this.#onClose = null;
    // A write may be under way.
    void (this.#writing ?? Promise.resolve()).then(async () => {
      const file = await this.#file.catch(() => null);
      await file?.close().catch(() => undefined);
      onClose();
    });
  }

  #fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error('the body could not be kept');
  }
}

async function openUnnamed(directory: string): Promise<FileHandle> {
  const path = join(directory, `sallyport-body-${randomUUID()}`);
  const file = await open(path, 'wx+', 0o600);
  try {
    await unlink(path);
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}

/** Writes all pieces, `bytes` together, from `offset` on. */
async function writeAll(file: FileHandle, pieces: readonly Buffer[], bytes: number, offset: number): Promise<void> {
  const { bytesWritten } = await file.writev(pieces, offset);
  if (bytesWritten === bytes) return;
  // Cut short, as on a disk that fills up: the rest says why.
  const rest = Buffer.concat(pieces).subarray(bytesWritten);
  for (let done = 0; done < rest.length;) {
    const next = await file.write(rest, done, rest.length - done, offset + bytesWritten + done);
    done += next.bytesWritten;
  }
}
