import type { Transform } from 'node:stream';
import type { ErrorCode } from '@sallyport/sdk';
import type { RedactionStream, Redactor } from '../secrets/redact.ts';
import { createContentDecoder } from './content-decoder.ts';
import type { BodyPlan, Coding } from './response-rewrite.ts';

/** Where a redacted body goes. */
export interface BodySink {
  /** A piece; false asks to wait until {@link ResponseBody.drained} is called. */
  write(data: Buffer): boolean;
  /** The whole of a measured body. */
  measured(body: Buffer): void;
  /** The body is complete. */
  end(): void;
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
  readonly #coding: Coding | null;
  readonly #stream: RedactionStream | null;
  #measured: Buffer[] | null;
  #decoder: Transform | null = null;
  #disposed = false;

  constructor(
    plan: Exclude<BodyPlan, { kind: 'refused' }>,
    redactor: Redactor | null,
    source: BodySource,
    sink: BodySink,
  ) {
    this.#sink = sink;
    this.#source = source;
    this.#coding = plan.kind === 'streamed' ? (plan.codings[0] ?? null) : null;
    this.#stream = plan.kind === 'verbatim' || redactor === null ? null : redactor.stream();
    this.#measured = plan.kind === 'measured' ? [] : null;
  }

  /** Values found and replaced so far. */
  get matches(): number {
    return this.#stream?.matches ?? 0;
  }

  push(data: Buffer): void {
    if (this.#disposed) return;
    if (this.#measured !== null) {
      this.#measured.push(data);
    } else if (this.#coding === null) {
      this.#release(data, this.#source);
    } else {
      this.#decoder ??= this.#openDecoder(this.#coding, data[0] ?? 0);
      if (!this.#decoder.write(data)) this.#source.pause();
    }
  }

  end(): void {
    if (this.#disposed) return;
    if (this.#decoder !== null) this.#decoder.end();
    else this.#finish();
  }

  /** The sink can take more. */
  drained(): void {
    if (this.#disposed) return;
    if (this.#decoder === null) this.#source.resume();
    else this.#decoder.resume();
  }

  dispose(): void {
    this.#disposed = true;
    this.#decoder?.destroy();
    this.#measured = null;
  }

  #openDecoder(coding: Coding, firstByte: number): Transform {
    const decoder = createContentDecoder(coding, firstByte);
    decoder.on('data', (data: Buffer) => this.#guard(() => this.#release(data, decoder)));
    decoder.on('drain', () => this.#guard(() => this.#source.resume()));
    decoder.on('end', () => this.#guard(() => this.#finish()));
    decoder.on('error', () =>
      this.#guard(() =>
        this.#sink.fail('RESPONSE_UNREDACTABLE', 'The response does not decode as its content coding says.'),
      ),
    );
    return decoder;
  }

  #release(data: Buffer, source: { pause(): unknown }): void {
    const clean = this.#stream === null ? data : this.#stream.push(data);
    if (clean.length > 0 && !this.#sink.write(clean)) source.pause();
  }

  #finish(): void {
    if (this.#measured !== null) {
      const [only] = this.#measured;
      const raw = this.#measured.length === 1 && only !== undefined ? only : Buffer.concat(this.#measured);
      const body = this.#stream === null ? raw : this.#stream.finish(raw);
      this.#sink.measured(body);
    } else if (this.#stream !== null) {
      const rest = this.#stream.end();
      if (rest.length > 0) this.#sink.write(rest);
    }
    this.#sink.end();
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
