import { createHash, type Hash } from 'node:crypto';
import type { BodySubstitutionStream } from '../secrets/substitute-body.ts';
import type { BodyStore } from './body-store.ts';
import type { Coding } from './content-coding.ts';
import { MAX_DECODED_REQUEST_BYTES, MAX_MEASURED_REQUEST_BYTES } from './limits.ts';
import type { Problem } from './problem.ts';
import type { BodyReading, RequestBodyPlan, RequestBodyRelay, RequestBodySink } from './request-body.ts';
import { RequestTransform } from './request-transform.ts';

type GatheredPlan = Extract<RequestBodyPlan, { kind: 'gathered' }>;

/** How much of a stored body is looked at in one go. */
const READ_BYTES = 256 * 1024;

/**
 * A request body that is kept until its new length is known.
 *
 * It is substituted once to measure it and, when the result is too long to be kept, once more to send it. One into which nothing is put
 * is sent as it came, content codings included.
 */
export class GatheredBody implements RequestBodyRelay {
  readonly gathers = true;
  readonly #store: BodyStore;
  readonly #plan: GatheredPlan;
  readonly #codings: readonly Coding[];
  #reading: BodyReading;
  readonly #sink: RequestBodySink;
  /** It is kept when it has been sent. */
  #keeps: boolean;
  #isSent = false;
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

  /** @param keeps whether it may have to be sent once more. */
  constructor(store: BodyStore, plan: GatheredPlan, keeps: boolean, reading: BodyReading, sink: RequestBodySink) {
    this.#store = store;
    this.#plan = plan;
    this.#codings = plan.codings;
    this.#keeps = keeps;
    this.#reading = reading;
    this.#sink = sink;
  }

  get canRepeat(): boolean {
    return this.#isSent && this.#keeps && !this.#isDone;
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
    if (this.#receivedBytes > this.#plan.bytes) {
      this.#refuse({
        status: 413,
        code: 'BODY_TOO_LARGE',
        detail: `A request body that is signed by its hash, and announces no length, can have at most ${this.#plan.bytes} bytes.`,
        remedy: 'Send it with a Content-Length.',
      });
      return true;
    }
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
        await this.#transformAll(this.#reading.start(), (data) => this.#write(data));
      }
      if (this.#isDone) return;
      this.#isSent = true;
      if (!this.#keeps) this.dispose();
      this.#sink.end();
    });
  }

  repeat(reading: BodyReading): void {
    this.#reading = reading;
    this.#keeps = false;
    this.#isSent = false;
    this.#isPaused = false;
    this.#kept = [];
    this.#run(() => this.#measure());
  }

  forget(): void {
    this.#keeps = false;
    if (this.#isSent) this.dispose();
  }

  resume(): boolean {
    this.#isPaused = false;
    this.#transform?.resume();
    this.#wakeUp();
    return true;
  }

  dispose(): void {
    this.#isDone = true;
    this.#transform?.dispose();
    this.#kept = null;
    this.#store.close();
    this.#wakeUp();
  }

  async #measure(): Promise<void> {
    const substitution = this.#reading.start();
    this.#substitution = substitution;
    const hash = (): Hash | null => (this.#plan.hashes ? createHash('sha256') : null);
    const [asReceived, asChanged] = [hash(), hash()];
    let bytes = 0;
    const take = (data: Buffer): void => {
      bytes += data.length;
      asChanged?.update(data);
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
    };
    await this.#transformAll(substitution, take, asReceived);
    if (this.#isDone) return;
    const isChanged = this.#isChanged();
    if (!isChanged) this.#kept = null;
    this.#sink.ready({
      bytes: isChanged ? bytes : this.#receivedBytes,
      isChanged,
      sha256: (isChanged ? asChanged : asReceived)?.digest('hex') ?? null,
    });
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
  async #transformAll(
    substitution: BodySubstitutionStream,
    pass: (data: Buffer) => void,
    hash: Hash | null = null,
  ): Promise<void> {
    let isWhole = false;
    const transform = new RequestTransform(substitution, this.#codings, this.#reading.check, {
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
      hash?.update(data);
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
