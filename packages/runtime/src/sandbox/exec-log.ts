/** A piece of what a command wrote. */
export interface LogPiece {
  readonly stream: 'stdout' | 'stderr';
  /** ISO 8601, UTC, ms. */
  readonly time: string;
  readonly data: Buffer;
  /** How many bytes of the log have been read with it: where to go on after it. */
  readonly end: number;
}

const NEWLINE = 0x0a;
const SPACE = 0x20;
/** `2026-11-22T12:39:39.332187803+00:00 stdout F `: a line's beginning is no longer than this. */
const MAX_PREFIX_BYTES = 64;

/**
 * Reads the log of the supervisor (`conmon`'s `k8s-file`): lines of `TIME STREAM TAG CONTENT`, where tag `F` stands for content that ended
 * with a newline and `P` for content that did not. What a command wrote comes out byte for byte, neighboring lines of one stream as one piece.
 */
export class ExecLogReader {
  #rest: Buffer = Buffer.alloc(0);
  /** Where `#rest` begins in the log. */
  #position: number;

  /** @param position how many bytes of the log were read before. */
  constructor(position = 0) {
    this.#position = position;
  }

  /** Takes what follows in the log. Lines that are none (a torn write of a full disk) are left out. */
  read(chunk: Buffer): LogPiece[] {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const pieces: LogPiece[] = [];
    let run: { stream: LogPiece['stream']; time: string; parts: Buffer[]; end: number } | undefined;
    const flush = (): void => {
      if (run === undefined) return;
      const data = run.parts.length === 1 ? run.parts[0]! : Buffer.concat(run.parts);
      if (data.length > 0) pieces.push({ stream: run.stream, time: run.time, data, end: run.end });
      run = undefined;
    };
    let offset = 0;
    for (;;) {
      const end = bytes.indexOf(NEWLINE, offset);
      if (end < 0) break;
      const line = readLine(bytes, offset, end);
      offset = end + 1;
      if (line === undefined) continue;
      if (run !== undefined && run.stream !== line.stream) flush();
      run ??= { stream: line.stream, time: line.time, parts: [], end: 0 };
      run.parts.push(line.content);
      run.end = this.#position + offset;
    }
    flush();
    this.#position += offset;
    this.#rest = Buffer.from(bytes.subarray(offset));
    return pieces;
  }
}

function readLine(bytes: Buffer, start: number, end: number) {
  const afterTime = bytes.indexOf(SPACE, start);
  const afterStream = bytes.indexOf(SPACE, afterTime + 1);
  const content = afterStream + 3;
  if (afterTime < 0 || afterStream < 0 || content > end || content - start > MAX_PREFIX_BYTES) return undefined;
  const stream = bytes.toString('latin1', afterTime + 1, afterStream);
  const tag = bytes.toString('latin1', afterStream + 1, content);
  const time = bytes.toString('latin1', start, afterTime);
  if (stream !== 'stdout' && stream !== 'stderr') return undefined;
  if ((tag !== 'F ' && tag !== 'P ') || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}/.test(time)) return undefined;
  return {
    stream,
    time: toUtc(time),
    // With the newline that stands behind it in the log anyway.
    content: bytes.subarray(content, tag === 'F ' ? end + 1 : end),
  } as const;
}

/** The supervisor writes local time with its offset; it runs without a time zone, so that is UTC but for an odd system. */
function toUtc(time: string): string {
  return time.endsWith('+00:00') ? `${time.slice(0, 23)}Z` : new Date(time).toISOString();
}
