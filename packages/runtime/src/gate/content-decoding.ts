import type { Transform } from 'node:stream';
import type { Coding } from './content-coding.ts';
import { createContentDecoder } from './content-decoder.ts';
import { FREE_EXPANSION_BYTES, MAX_EXPANSION_RATIO } from './limits.ts';

/** Why a body cannot be decoded: it is not what its coding says (or ends too early), or it expands beyond all reason. */
export type DecodingFault = 'malformed' | 'expansion';

/** What is said about a response that cannot be decoded. */
export function decodingFaultDetail(fault: DecodingFault): string {
  return fault === 'expansion'
    ? `The response decodes to more than ${MAX_EXPANSION_RATIO} times its size.`
    : 'The response does not decode as its content coding says, or ends too early.';
}

/** Receives what a {@link ContentDecoding} makes of a body. After `ended` or `failed` nothing more is called. */
export interface DecodingListener {
  decoded(data: Buffer): void;
  /** More can be written. */
  drained(): void;
  ended(): void;
  failed(fault: DecodingFault): void;
}

/**
 * Takes the content codings off one body as it streams, in bounded memory and in time that is in proportion to what was received.
 *
 * Several gzip members (or zstd frames) in a row are one body; bytes after the end of a coding are dropped.
 */
export class ContentDecoding {
  readonly #codings: readonly Coding[];
  readonly #listener: DecodingListener;
  readonly #stages: Transform[] = [];
  readonly #stageBytes: number[] = [];
  readonly #fedBytes: number[] = [];
  #receivedBytes = 0;
  #isPaused = false;
  #isDone = false;

  /** @param codings at least one, in the order in which they come off. */
  constructor(codings: readonly Coding[], listener: DecodingListener) {
    this.#codings = codings;
    this.#listener = listener;
  }

  /** Takes encoded bytes; false asks to wait for `drained`. */
  write(data: Buffer): boolean {
    if (this.#isDone || data.length === 0) return true;
    this.#receivedBytes += data.length;
    return this.#feed(0, data);
  }

  /** The encoded body is complete. One without any byte is taken for an empty one. */
  end(): void {
    if (this.#isDone) return;
    this.#endStage(0);
  }

  /** Stops the output; what is written meanwhile piles up to a bound, then `write` returns false. */
  pause(): void {
    this.#isPaused = true;
    this.#stages[this.#codings.length - 1]?.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#stages[this.#codings.length - 1]?.resume();
  }

  /** Lets go of everything; nothing is called afterwards. */
  destroy(): void {
    this.#isDone = true;
    for (const stage of this.#stages) stage.destroy();
  }

  #feed(index: number, data: Buffer): boolean {
    const stage = this.#stages[index] ?? this.#open(index, data[0] ?? 0);
    this.#fedBytes[index] = (this.#fedBytes[index] ?? 0) + data.length;
    return stage.write(data);
  }

  #endStage(index: number): void {
    const stage = this.#stages[index];
    if (stage !== undefined) {
      stage.end();
      return;
    }
    this.#isDone = true;
    this.#listener.ended();
  }

  #open(index: number, firstByte: number): Transform {
    const coding = this.#codings[index];
    if (coding === undefined) throw new TypeError('there are no more codings to take off');
    const stage = createContentDecoder(coding, firstByte);
    this.#stages[index] = stage;
    this.#stageBytes[index] = 0;
    const isLast = index === this.#codings.length - 1;
    stage.on('data', (data: Buffer) => {
      if (this.#isDone || this.#isBomb(index, data.length)) return;
      if (isLast) this.#listener.decoded(data);
      else if (!this.#feed(index + 1, data)) stage.pause();
    });
    stage.on('drain', () => {
      if (this.#isDone) return;
      if (index === 0) this.#listener.drained();
      else this.#stages[index - 1]?.resume();
    });
    stage.on('end', () => {
      if (this.#isDone) return;
      if (coding === 'zstd' && !hasReadAll(stage, this.#fedBytes[index] ?? 0)) this.#fail('malformed');
      else this.#endStage(index + 1);
    });
    stage.on('error', () => this.#fail('malformed'));
    if (isLast && this.#isPaused) stage.pause();
    return stage;
  }

  #isBomb(index: number, length: number): boolean {
    const bytes = (this.#stageBytes[index] ?? 0) + length;
    this.#stageBytes[index] = bytes;
    if (bytes <= FREE_EXPANSION_BYTES || bytes <= this.#receivedBytes * MAX_EXPANSION_RATIO) return false;
    this.#fail('expansion');
    return true;
  }

  #fail(fault: DecodingFault): void {
    if (this.#isDone) return;
    this.destroy();
    this.#listener.failed(fault);
  }
}

/** Node 24 ends after the first zstd frame of a chunk and says nothing of the rest: half a body must not pass for the whole. */
function hasReadAll(stage: Transform, fedBytes: number): boolean {
  return !('bytesWritten' in stage) || stage.bytesWritten === fedBytes;
}
