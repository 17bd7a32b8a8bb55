import type { BodySubstitutionStream } from '../secrets/substitute-body.ts';
import type { Coding } from './content-coding.ts';
import { ContentDecoding, type DecodingFault } from './content-decoding.ts';
import { MAX_ADDED_REQUEST_BYTES, MAX_EXPANSION_RATIO } from './limits.ts';
import { describeUnusableValue, type Problem } from './problem.ts';

/** Where a request body goes. After `end` or `refuse` nothing more is called. */
export interface TransformSink {
  write(data: Buffer): void;
  end(): void;
  /** The body cannot be sent (any further). */
  refuse(problem: Problem): void;
  /** More can be pushed. */
  drain(): void;
}

/** Tells whether placeholders that stay in a body refuse it. */
export type StrayCheck = (stray: Iterable<string>) => Problem | null;

/** What is said of a request body that cannot be decoded. */
export function describeDecodingFault(fault: DecodingFault): Problem {
  return fault === 'expansion'
    ? {
        status: 413,
        code: 'BODY_TOO_LARGE',
        detail: `The request body decodes to more than ${MAX_EXPANSION_RATIO} times its size.`,
      }
    : {
        status: 400,
        code: 'MALFORMED_REQUEST',
        detail: 'The request body does not decode as its Content-Encoding says.',
      };
}

/** A request body on its way: decoded where it is encoded, substituted, in bounded memory. */
export class RequestTransform {
  readonly #substitution: BodySubstitutionStream;
  readonly #sink: TransformSink;
  readonly #check: StrayCheck | null;
  readonly #decoding: ContentDecoding | null;
  #strays = 0;
  #isDone = false;

  constructor(
    substitution: BodySubstitutionStream,
    codings: readonly Coding[],
    check: StrayCheck | null,
    sink: TransformSink,
  ) {
    this.#substitution = substitution;
    this.#check = check;
    this.#sink = sink;
    this.#decoding =
      codings.length === 0
        ? null
        : new ContentDecoding(codings, {
            decoded: (data) => this.#substitute(data),
            drained: () => sink.drain(),
            ended: () => this.#finish(),
            failed: (fault) => this.#refuse(describeDecodingFault(fault)),
          });
  }

  /** Takes bytes of the body; false asks to wait for `drain`. */
  push(data: Buffer): boolean {
    if (this.#isDone) return true;
    if (this.#decoding !== null) return this.#decoding.write(data);
    this.#substitute(data);
    return true;
  }

  /** The body is complete. */
  end(): void {
    if (this.#isDone) return;
    if (this.#decoding === null) this.#finish();
    else this.#decoding.end();
  }

  /** Stops the output as far as there is any without input. */
  pause(): void {
    this.#decoding?.pause();
  }

  resume(): void {
    this.#decoding?.resume();
  }

  dispose(): void {
    this.#isDone = true;
    this.#decoding?.destroy();
  }

  #substitute(data: Buffer): void {
    if (this.#isDone) return;
    this.#pass(this.#substitution.push(data));
  }

  #finish(): void {
    if (this.#isDone) return;
    this.#pass(this.#substitution.end());
    if (this.#isDone) return;
    this.#isDone = true;
    this.#sink.end();
  }

  #pass(output: Buffer): void {
    const { failure, addedBytes, stray } = this.#substitution;
    if (this.#check !== null && stray.size > this.#strays) {
      this.#strays = stray.size;
      const problem = this.#check(stray);
      if (problem !== null) {
        this.#refuse(problem);
        return;
      }
    }
    if (failure !== null) {
      this.#refuse(describeUnusableValue(failure, 'in this request body'));
    } else if (addedBytes > MAX_ADDED_REQUEST_BYTES) {
      this.#refuse({
        status: 413,
        code: 'BODY_TOO_LARGE',
        detail: `The credentials in the request body would make it more than ${MAX_ADDED_REQUEST_BYTES} bytes longer.`,
      });
    } else if (output.length > 0) {
      this.#sink.write(output);
    }
  }

  #refuse(problem: Problem): void {
    if (this.#isDone) return;
    this.dispose();
    this.#sink.refuse(problem);
  }
}
