import type { BodySubstitutionStream } from '../secrets/substitute-body.ts';
import type { Coding } from './content-coding.ts';
import { ContentDecoding } from './content-decoding.ts';
import type { RequestBodyRelay, RequestBodySink } from './request-body.ts';
import { describeDecodingFault, type StrayCheck } from './request-transform.ts';

const NOTHING: Buffer = Buffer.alloc(0);

/**
 * A body that goes out as it came and is looked into on its way, for placeholders that must not leave.
 *
 * A chunk is looked at before it is sent. What has a content coding is decoded beside that, so its last byte waits until all of it has been
 * looked at: the upstream never gets a body whole that is refused.
 */
export class ScannedBody implements RequestBodyRelay {
  readonly gathers = false;
  readonly canRepeat = false;
  readonly released: Iterable<string> = [];
  readonly #scan: BodySubstitutionStream;
  readonly #check: StrayCheck | null;
  readonly #sink: RequestBodySink;
  readonly #decoding: ContentDecoding | null;
  #last: Buffer = NOTHING;
  #strays = 0;
  /** The upstream takes more. */
  #isFlowing = true;
  /** The decoder takes more. */
  #isTaking = true;
  #isDone = false;

  constructor(
    scan: BodySubstitutionStream,
    codings: readonly Coding[],
    check: StrayCheck | null,
    sink: RequestBodySink,
  ) {
    this.#scan = scan;
    this.#check = check;
    this.#sink = sink;
    this.#decoding =
      codings.length === 0
        ? null
        : new ContentDecoding(codings, {
            decoded: (data) => void this.#look(data),
            drained: () => {
              this.#isTaking = true;
              if (this.#isFlowing) sink.drain();
            },
            ended: () => this.#finish(),
            failed: (fault) => {
              if (this.#isDone) return;
              this.dispose();
              sink.refuse(describeDecodingFault(fault));
            },
          });
  }

  get stray(): Iterable<string> {
    return this.#scan.stray;
  }

  push(data: Buffer): boolean {
    if (this.#isDone || data.length === 0) return true;
    if (this.#decoding === null) {
      if (this.#look(data)) this.#isFlowing = this.#sink.write(data);
      return this.#isFlowing;
    }
    this.#isTaking = this.#decoding.write(data);
    if (this.#isDone) return true;
    if (this.#last.length > 0) this.#isFlowing = this.#sink.write(this.#last);
    this.#last = Buffer.from(data.subarray(-1));
    if (data.length > 1) this.#isFlowing = this.#sink.write(data.subarray(0, -1));
    return this.#isTaking && this.#isFlowing;
  }

  end(): void {
    if (this.#isDone) return;
    if (this.#decoding === null) this.#finish();
    else this.#decoding.end();
  }

  send(): void {
    throw new TypeError('a body that streams is sent as it comes');
  }

  resume(): boolean {
    this.#isFlowing = true;
    return this.#isTaking;
  }

  repeat(): void {
    throw new TypeError('a body that streamed is gone');
  }

  forget(): void {}

  dispose(): void {
    this.#isDone = true;
    this.#decoding?.destroy();
  }

  /** Looks at bytes; false when they refuse the body. */
  #look(data: Buffer): boolean {
    if (this.#isDone) return false;
    this.#scan.push(data);
    return this.#isAllowed();
  }

  #isAllowed(): boolean {
    const { stray } = this.#scan;
    if (stray.size === this.#strays) return true;
    this.#strays = stray.size;
    const problem = this.#check?.(stray) ?? null;
    if (problem === null) return true;
    this.dispose();
    this.#sink.refuse(problem);
    return false;
  }

  #finish(): void {
    if (this.#isDone) return;
    this.#scan.end();
    if (!this.#isAllowed()) return;
    this.#isDone = true;
    if (this.#last.length > 0) this.#sink.write(this.#last);
    this.#sink.end();
  }
}
