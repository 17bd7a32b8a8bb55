import type { BodySubstitutionStream } from '../secrets/substitute-body.ts';
import type { BodyStore } from './body-store.ts';
import type { Coding } from './content-coding.ts';
import { MAX_DECODED_REQUEST_BYTES, MAX_MEASURED_REQUEST_BYTES } from './limits.ts';
import type { Problem } from './problem.ts';
import type { RequestBodyRelay, RequestBodySink } from './request-body.ts';
import { RequestTransform } from './request-transform.ts';

/** How much of a stored body is looked at in one go. */
const READ_BYTES = 64 * 1024;

/**
 * A request body that is kept until its new length is known.
 *
 * It is substituted once to measure it and, when the result is too long to be kept, once more to send it. One into which nothing is put
 * is sent as it came, content codings included.
 */
export class GatheredBody implements RequestBodyRelay {
  readonly gathers = true;
  readonly #store: BodyStore;
  readonly #codings: readonly Coding[];
  readonly #start: () => BodySubstitutionStream;
  readonly #sink: RequestBodySink;
  #receivedBytes = 0;
  #substitution: BodySubstitutionStream | null = null;
  #transform: RequestTransform | null = null;
  /** The substituted body while it is short. */
  #kept: Buffer[] | null = [];
  /** The upstream takes no more. */
  #isPaused = false;
  /** The decoder takes no more. */
  #isBlocked = false;
  #wake: (() => void) | null = null;
  #isDone = false;

  /** @param start starts the body's substitution. */
  constructor(
    store: BodyStore,
    codings: readonly Coding[],
    start: () => BodySubstitutionStream,
    sink: RequestBodySink,
  ) {
    this.#store = store;
    this.#codings = codings;
    this.#start = start;
    this.#sink = sink;
  }

  /** Names of the secrets that were put in. */
  get released(): Iterable<string> {
    return this.#substitution?.released ?? [];
  }

  /** Names of the secrets whose placeholder stays. */
  get stray(): Iterable<string> {
    return this.#substitution?.stray ?? [];
  }

  /** Takes bytes of the body; false asks to wait until the store has room. */
  push(data: Buffer): boolean {
    if (this.#isDone) return true;
    this.#receivedBytes += data.length;
    return this.#store.write(data);
  }

  /** The body is whole: `ready` follows. */
  end(): void {
    this.#run(async () => {
      try {
        await this.#store.written();
      } catch {
        this.#refuse({ status: 503, code: 'CAPACITY', detail: 'The host has no room to keep the request body.' });
        return;
      }
      await this.#measure();
    });
  }

  /** Sends the body that is `ready`. */
  send(): void {
    this.#run(async () => {
      if (!this.#isChanged()) {
        await this.#readAll((data) => this.#write(data));
      } else if (this.#kept !== null) {
        for (const data of this.#kept) this.#write(data);
      } else {
        await this.#transformAll(this.#start(), (data) => this.#write(data));
      }
      if (this.#isDone) return;
      this.dispose();
      this.#sink.end();
    });
  }

  resume(): void {
    this.#isPaused = false;
    this.#transform?.resume();
    this.#wakeUp();
  }

  dispose(): void {
    this.#isDone = true;
    this.#transform?.dispose();
    this.#kept = null;
    this.#store.close();
    this.#wakeUp();
  }

  async #measure(): Promise<void> {
    const substitution = this.#start();
    this.#substitution = substitution;
    let bytes = 0;
    await this.#transformAll(substitution, (data) => {
      bytes += data.length;
      if (this.#codings.length > 0 && bytes > MAX_DECODED_REQUEST_BYTES) {
        this.#refuse({
          status: 413,
          code: 'BODY_TOO_LARGE',
          detail: `The request body decodes to more than ${MAX_DECODED_REQUEST_BYTES} bytes.`,
        });
      } else if (bytes > MAX_MEASURED_REQUEST_BYTES) {
        this.#kept = null;
      } else {
        this.#kept?.push(data);
      }
    });
    if (this.#isDone) return;
    if (this.#isChanged()) {
      this.#sink.ready(bytes, true);
    } else {
      this.#kept = null;
      this.#sink.ready(this.#receivedBytes, false);
    }
  }

  #isChanged(): boolean {
    return (this.#substitution?.released.size ?? 0) > 0;
  }

  #write(data: Buffer): void {
    if (this.#isDone || this.#sink.write(data)) return;
    this.#isPaused = true;
    this.#transform?.pause();
  }

  /** Passes the stored bytes on as they are. */
  async #readAll(pass: (data: Buffer) => void): Promise<void> {
    for (let offset = 0; !this.#isDone;) {
      const data = await this.#store.read(offset, READ_BYTES);
      if (data.length === 0 || this.#isDone) return;
      offset += data.length;
      pass(data);
      while ((this.#isPaused || this.#isBlocked) && !this.#isDone) await this.#sleep();
    }
  }

  /** Passes the stored bytes on decoded and substituted. */
  async #transformAll(substitution: BodySubstitutionStream, pass: (data: Buffer) => void): Promise<void> {
    let isWhole = false;
    const transform = new RequestTransform(substitution, this.#codings, {
      write: pass,
      end: () => {
        isWhole = true;
        this.#wakeUp();
      },
      refuse: (problem) => this.#refuse(problem),
      drain: () => {
        this.#isBlocked = false;
        this.#wakeUp();
      },
    });
    this.#transform = transform;
    await this.#readAll((data) => {
      if (!transform.push(data)) this.#isBlocked = true;
    });
    this.#isBlocked = false;
    transform.end();
    while (!isWhole && !this.#isDone) await this.#sleep();
    this.#transform = null;
  }

  async #sleep(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = null;
  }

  #refuse(problem: Problem): void {
    if (this.#isDone) return;
    this.dispose();
    this.#sink.refuse(problem);
  }

  /** A fault of ours ends this request and no other. What it was is not told: it could quote a value. */
  #run(work: () => Promise<void>): void {
    work().catch(() =>
      this.#refuse({ status: 500, code: 'INTERNAL', detail: 'The gate failed on this request body.' }),
    );
  }
}
