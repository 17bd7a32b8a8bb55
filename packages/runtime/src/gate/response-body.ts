import type { ErrorCode } from '@sallyport/sdk';
import type { RedactionStream, Redactor } from '../secrets/redact.ts';
import type { Coding } from './content-coding.ts';
import { ContentDecoding, decodingFaultDetail } from './content-decoding.ts';
import { BodyBlock } from './body-block.ts';
import type { BodyPlan } from './response-rewrite.ts';

/** Where a redacted body goes. */
export interface BodySink {
  /** A piece; false asks to wait until {@link ResponseBody.drained} is called. */
  write(data: Buffer): boolean;
  /**
   * A piece that lies in a block, which is to be released when it has been sent; as {@link BodySink.write}. Only a sink that has this is given bodies
   * whose pieces are joined.
   */
  writeBlock?(data: Buffer, block: BodyBlock): boolean;
  /** The whole of a measured body. */
  measured(body: Buffer): void;
  /** The body is complete. */
  finish(): void;
  fail(code: ErrorCode, detail: string): void;
}

/** Pieces under this go on by themselves, and at once: an event or the end of something. Larger ones are parts of more that is to come. */
const MIN_JOINED_BYTES = 4096;

/** What sends the body, as far as it can be stopped. */
export interface BodySource {
  pause(): void;
  resume(): void;
}

/**
 * The body of one response on its way to the client: decoded, redacted, in bounded memory.
 *
 * It holds at most one measured body, or what the redaction stream holds back; a sink that takes no more stops the source.
 */
export class ResponseBody {
  readonly #sink: BodySink;
  readonly #source: BodySource;
  readonly #decoding: ContentDecoding | null;
  readonly #redactor: Redactor | null;
  readonly #stream: RedactionStream | null;
  #measured: Buffer[] | null;
  #measuredMatches = 0;
  /** How many pieces of the measured body are ours. */
  #kept = 0;
  readonly #writeBlock: ((data: Buffer, block: BodyBlock) => boolean) | null;
  #block: BodyBlock | null = null;
  /** Whether the block begins with what the redaction stream holds back. */
  #blockHasHeld = false;
  #flush: NodeJS.Immediate | null = null;
  #disposed = false;

  constructor(
    plan: Exclude<BodyPlan, { kind: 'refused' }>,
    redactor: Redactor | null,
    source: BodySource,
    sink: BodySink,
  ) {
    this.#sink = sink;
    this.#source = source;
    this.#decoding = plan.kind === 'streamed' && plan.codings.length > 0 ? this.#openDecoding(plan.codings) : null;
    this.#redactor = redactor;
    this.#stream = plan.kind === 'streamed' && redactor !== null ? redactor.stream() : null;
    this.#measured = plan.kind === 'measured' ? [] : null;
    this.#writeBlock = sink.writeBlock?.bind(sink) ?? null;
  }

  /** Values found and replaced so far. */
  get matches(): number {
    return this.#stream?.matches ?? this.#measuredMatches;
  }

  push(data: Buffer): void {
    if (this.#disposed) return;
    if (this.#measured !== null) this.#measured.push(data);
    else if (this.#decoding === null) this.#release(data, this.#source);
    else if (!this.#decoding.write(data)) this.#source.pause();
  }

  /** As {@link ResponseBody.push}, of bytes that their owner reads over once {@link ResponseBody.keep} has been called. */
  pushBorrowed(data: Buffer): void {
    if (this.#disposed) return;
    if (this.#measured !== null) this.#measured.push(data);
    else if (this.#decoding !== null) this.push(Buffer.from(data));
    else if (this.#block === null && data.length < MIN_JOINED_BYTES) this.#releaseCopy(data);
    else this.#join(data);
  }

  /** Copies what was borrowed and is still needed. */
  keep(): void {
    const pieces = this.#measured;
    if (pieces === null) return;
    for (; this.#kept < pieces.length; this.#kept += 1) pieces[this.#kept] = Buffer.from(pieces[this.#kept] as Buffer);
  }

  end(): void {
    if (this.#disposed) return;
    if (this.#decoding !== null) {
      this.#decoding.end();
    } else {
      this.#flushBlock();
      this.#finish();
    }
  }

  /** The sink can take more. */
  drained(): void {
    if (this.#disposed) return;
    if (this.#decoding === null) this.#source.resume();
    else this.#decoding.resume();
  }

  dispose(): void {
    this.#disposed = true;
    this.#decoding?.destroy();
    this.#measured = null;
    this.#dropBlock()?.release();
  }

  #openDecoding(codings: readonly Coding[]): ContentDecoding {
    const decoding = new ContentDecoding(codings, {
      decoded: (data) => this.#guard(() => this.#release(data, decoding)),
      drained: () => this.#guard(() => this.#source.resume()),
      ended: () => this.#guard(() => this.#finish()),
      failed: (fault) => this.#guard(() => this.#sink.fail('RESPONSE_UNREDACTABLE', decodingFaultDetail(fault))),
    });
    return decoding;
  }

  #release(data: Buffer, source: { pause(): unknown }): void {
    const clean = this.#stream === null ? data : this.#stream.push(data);
    if (clean.length > 0 && !this.#sink.write(clean)) source.pause();
  }

  #releaseCopy(data: Buffer): void {
    const clean = this.#stream === null ? data : this.#stream.push(data);
    if (clean.length > 0 && !this.#sink.write(Buffer.from(clean))) this.#source.pause();
  }

  /** Gathers pieces until a block is full, or everything that has come by now is in it. */
  #join(data: Buffer): void {
    let offset = 0;
    while (offset < data.length && !this.#disposed) {
      this.#block ??= this.#openBlock();
      offset = this.#block.append(data, offset);
      if (this.#block.isFull) this.#flushBlock();
    }
    if (data.length < MIN_JOINED_BYTES) this.#flushBlock();
    else this.#flush ??= setImmediate(() => this.#guard(() => this.#flushBlock()));
  }

  #openBlock(): BodyBlock {
    const block = new BodyBlock();
    this.#blockHasHeld = this.#stream !== null && block.beginWith(this.#stream);
    return block;
  }

  #dropBlock(): BodyBlock | null {
    const block = this.#block;
    this.#block = null;
    if (this.#flush !== null) clearImmediate(this.#flush);
    this.#flush = null;
    return block;
  }

  #flushBlock(): void {
    const block = this.#dropBlock();
    if (block === null) return;
    const stream = this.#stream;
    const { data } = block;
    let clean = data;
    if (stream !== null) clean = this.#blockHasHeld ? stream.pushBehindHeld(data) : stream.push(data);
    if (clean.length > 0 && block.holds(clean) && this.#writeBlock !== null) {
      if (!this.#writeBlock(clean, block)) this.#source.pause();
      return;
    }
    if (clean.length > 0 && !this.#sink.write(block.holds(clean) ? Buffer.from(clean) : clean)) this.#source.pause();
    block.release();
  }

  #finish(): void {
    const pieces = this.#measured;
    if (pieces !== null) {
      this.#measured = null;
      const [only] = pieces;
      const raw = pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces);
      this.#sink.measured(this.#redactWhole(raw));
    } else if (this.#stream !== null) {
      const rest = this.#stream.end();
      if (rest.length > 0) this.#sink.write(rest);
    }
    this.#sink.finish();
  }

  #redactWhole(body: Buffer): Buffer {
    if (this.#redactor === null || this.#redactor.isClean(body)) return body;
    const stream = this.#redactor.stream();
    const redacted = stream.finish(body);
    this.#measuredMatches = stream.matches;
    return redacted;
  }

  /** Runs what a decoder's event asks for; a fault of ours fails this response and no other. */
  #guard(action: () => void): void {
    if (this.#disposed) return;
    try {
      action();
    } catch {
      this.#sink.fail('INTERNAL', 'The gate failed on this response.');
    }
  }
}
