import { open, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { EXEC_FILES } from '../sandbox/supervised-exec.ts';
import { ExecLogReader, type LogPiece } from '../sandbox/exec-log.ts';

/** What is read of a log at once. */
const CHUNK_BYTES = 64 * 1024;

/** Where a reader is in the output of a command: which of the logs, and how much of that it has read. */
export interface OutputPosition {
  /** The inode of the log. */
  readonly log: number;
  readonly offset: number;
}

/** A command whose output is followed. */
export interface OutputSource {
  /** The directory of the exec. */
  readonly directory: string;
  /** How many logs were begun in place of others, as far as this process has seen. */
  readonly logsBegun: number;
  /** Whether nothing more is written. */
  readonly isOver: boolean;
  /** Resolves when something has been written, or it is over; at once where that happened after `seen`. */
  changed(seen: number, signal: AbortSignal): Promise<void>;
  /** Grows with each change. */
  readonly changes: number;
}

/** A piece of output with the position after it, or a place where output is no longer kept. */
export type OutputEvent =
  | { readonly kind: 'piece'; readonly piece: LogPiece; readonly position: OutputPosition }
  | { readonly kind: 'gap' };

/**
 * The output of a command from a position on. It goes as fast as it is taken: what is not taken waits in the file, not in memory. Ends when
 * the command is over and everything was given, or when `signal` is aborted.
 *
 * @param from null for the beginning.
 * @param follow whether to wait for what is not written yet.
 */
export async function* readOutput(
  source: OutputSource,
  from: OutputPosition | null,
  follow: boolean,
  signal: AbortSignal,
): AsyncGenerator<OutputEvent, void, undefined> {
  const path = join(source.directory, EXEC_FILES.log);
  let file: FileHandle | undefined;
  let begun = source.logsBegun;
  let log = 0;
  let offset = 0;
  let reader = new ExecLogReader();
  let position = from;
  /** The log has been replaced; nothing is added to it any more. */
  let isLast = false;
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  try {
    while (!signal.aborted) {
      // Noted first: what happens while we look is not missed.
      const { changes, isOver } = source;
      if (file === undefined) {
        begun = source.logsBegun;
        file = await openIfThere(path);
        const status = await file?.stat();
        if (status !== undefined) {
          log = status.ino;
          offset = 0;
          if (position?.log === log && position.offset <= status.size) offset = position.offset;
          else if (position !== null) yield { kind: 'gap' };
          position = null;
          reader = new ExecLogReader(offset);
        }
      }
      const bytesRead = file === undefined ? 0 : (await file.read(buffer, 0, buffer.length, offset)).bytesRead;
      if (bytesRead > 0) {
        offset += bytesRead;
        for (const piece of reader.read(buffer.subarray(0, bytesRead))) {
          yield { kind: 'piece', piece, position: { log, offset: piece.end } };
        }
        continue;
      }
      if (file !== undefined && !isLast && (await isReplaced(file, path))) {
        // What was written to it since we looked is read before it is left.
        isLast = true;
        continue;
      }
      if (file !== undefined && isLast) {
        await file.close();
        file = undefined;
        isLast = false;
        // More than one new log since: what was in those between is gone.
        if (source.logsBegun > begun + 1) yield { kind: 'gap' };
        continue;
      }
      if (isOver || !follow) return;
      await source.changed(changes, signal);
    }
  } finally {
    await file?.close();
  }
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r');
  } catch {
    return undefined;
  }
}

async function isReplaced(file: FileHandle, path: string): Promise<boolean> {
  try {
    const [own, present] = await Promise.all([file.stat(), stat(path)]);
    return own.ino !== present.ino;
  } catch {
    return false;
  }
}

/** A position as text, for the `id:` of an event. */
export function formatPosition({ log, offset }: OutputPosition): string {
  return `${log}-${offset}`;
}

/** Reads what {@link formatPosition} wrote; undefined for anything else. */
export function parsePosition(text: string): OutputPosition | undefined {
  const [, log, offset] = /^(\d{1,15})-(\d{1,15})$/.exec(text) ?? [];
  return log === undefined || offset === undefined ? undefined : { log: Number(log), offset: Number(offset) };
}
