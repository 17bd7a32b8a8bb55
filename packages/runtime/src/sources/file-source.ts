import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { calledOff, finishValue, MAX_VALUE_BYTES, sourceFailed, tooLate, tooLong } from './fetched-value.ts';
import type { ValueSource, ValueSourceSettings } from './value-source.ts';

/** A value, and the line break behind it. */
const MAX_FILE_BYTES = MAX_VALUE_BYTES + 2;
const OTHERS_MAY_READ = 0o004;
const GROUP_MAY_READ = 0o040;

/** A value in a file of the host. */
export class FileSource implements ValueSource {
  readonly description: string;
  readonly #path: string;
  readonly #settings: ValueSourceSettings;

  /** @param path Absolute. */
  constructor(path: string, settings: ValueSourceSettings) {
    this.description = `file:${path}`;
    this.#path = path;
    this.#settings = settings;
  }

  async fetch(signal: AbortSignal): Promise<Uint8Array> {
    const subject = `The file ${JSON.stringify(this.#path)}`;
    if (signal.aborted) throw calledOff(subject, signal);
    // A file may lie on a network that hangs.
    const { promise: end, reject } = Promise.withResolvers<never>();
    const { timeLimitMs } = this.#settings;
    const timer = setTimeout(() => reject(tooLate(subject, timeLimitMs)), timeLimitMs);
    const leave = (): void => reject(calledOff(subject, signal));
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([readValue(this.#path, subject), end]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', leave);
    }
  }

  /** What is to be said of who else may read the file, as notices for people; empty when there is nothing, or no file. */
  async inspect(): Promise<readonly string[]> {
    const file = await open(this.#path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY).catch(
      () => null,
    );
    if (file === null) return [];
    try {
      const { mode } = await file.stat();
      const who = (mode & OTHERS_MAY_READ) !== 0 ? 'Every user' : (mode & GROUP_MAY_READ) !== 0 ? 'Its group' : null;
      return who === null ? [] : [`${who} of this machine may read ${JSON.stringify(this.#path)}: chmod 600 it.`];
    } finally {
      await file.close();
    }
  }
}

async function readValue(path: string, subject: string): Promise<Uint8Array> {
  // Without O_NONBLOCK a FIFO would hold this up for ever.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY).catch(
    (error: unknown) => {
      throw sourceFailed(`${subject} cannot be read (${codeOf(error)}).`, { cause: error });
    },
  );
  const bytes = Buffer.alloc(MAX_FILE_BYTES + 1);
  try {
    if (!(await file.stat()).isFile()) throw sourceFailed(`${subject} is not a regular file.`);
    let end = 0;
    for (;;) {
      const { bytesRead } = await file.read(bytes, end, bytes.length - end);
      end += bytesRead;
      if (bytesRead === 0) break;
      if (end === bytes.length) throw tooLong(subject);
    }
    return finishValue(bytes.subarray(0, end), subject);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).syscall === undefined) throw error;
    throw sourceFailed(`${subject} cannot be read (${codeOf(error)}).`, { cause: error });
  } finally {
    bytes.fill(0);
    await file.close();
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? 'unknown';
}
