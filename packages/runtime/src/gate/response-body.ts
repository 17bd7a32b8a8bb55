import type { ErrorCode } from '@sallyport/sdk';
import type { RedactionStream, Redactor } from '../secrets/redact.ts';
import type { Coding } from './content-coding.ts';
import { ContentDecoding, decodingFaultDetail } from './content-decoding.ts';
import type { BodyPlan } from './response-rewrite.ts';

/** Where a redacted body goes. */
export interface BodySink {
  /** A piece; false asks to wait until {@link ResponseBody.drained} is called. */
  write(data: Buffer): boolean;
  /** The whole of a measured body. */
  measured(body: Buffer): void;
  /** The body is complete. */
  finish(): void;
  fail(code: ErrorCode, detail: string): void;
}

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
  }

  /** Values found and replaced so far. */
  get matches(): number {
    return this.#stream?.matches ?? this.#measuredMatches;
  }

  push(data: Buffer): void {
    if (this.#disposed) return;
    if (this.#measured !== null) {
      this.#measured.push(data);
    } else if (this.#decoding === null) {
      this.#release(data, this.#source);
    } else if (!this.#decoding.write(data)) {
      this.#source.pause();
    }
  }

  end(): void {
    if (this.#disposed) return;
    if (this.#decoding !== null) this.#decoding.end();
    else this.#finish();
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

  #finish(): void {
    if (this.#measured !== null) {
      const [only] = this.#measured;
      const raw = this.#measured.length === 1 && only !== undefined ? only : Buffer.concat(this.#measured);
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
