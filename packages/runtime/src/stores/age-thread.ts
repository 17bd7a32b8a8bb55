import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { SallyportError } from '@sallyport/sdk';
import type { AgeRequest, AgeResult } from './age-program.ts';
import type { AgeAnswer, AgeCall } from './age-worker.ts';

/** How long the thread waits for another request, in ms. */
const IDLE_MS = 5_000;

/** Beside this module as a source, beside the bundle as a bundle of its own (tools/bundle.ts). */
const PROGRAM = fileURLToPath(new URL(`age-worker${extname(import.meta.url)}`, import.meta.url));

/** The thread that encrypts. It is there while it is used, and keeps the process alive only while an answer is due. */
export class AgeThread {
  #worker: Worker | null = null;
  #calls = 0;
  readonly #waiting = new Map<number, PromiseWithResolvers<AgeResult>>();
  #idle: NodeJS.Timeout | null = null;

  /** @throws SallyportError STORE_FAILED when the thread fails */
  async run(request: AgeRequest): Promise<AgeResult> {
    if (this.#idle !== null) clearTimeout(this.#idle);
    this.#worker ??= this.#start();
    this.#worker.ref();
    const answered = Promise.withResolvers<AgeResult>();
    const message: AgeCall = { call: (this.#calls += 1), request };
    this.#waiting.set(message.call, answered);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none.
    this.#worker.postMessage(message);
    return await answered.promise;
  }

  async close(): Promise<void> {
    if (this.#idle !== null) clearTimeout(this.#idle);
    const worker = this.#worker;
    this.#worker = null;
    await worker?.terminate();
  }

  #start(): Worker {
    // The streams: else Node opens those of this process for it, which makes them non-blocking. Nobody reads these.
    const worker = new Worker(PROGRAM, { execArgv: [], env: {}, stdout: true, stderr: true });
    worker.on('message', ({ call, result }: AgeAnswer) => {
      const answered = this.#waiting.get(call);
      this.#waiting.delete(call);
      if (result === null) answered?.reject(threadFailure());
      else answered?.resolve(result);
      if (this.#waiting.size > 0) return;
      worker.unref();
      this.#idle = setTimeout(() => void this.close(), IDLE_MS).unref();
    });
    const fail = (): void => {
      if (this.#worker === worker) this.#worker = null;
      for (const answered of this.#waiting.values()) answered.reject(threadFailure());
      this.#waiting.clear();
    };
    worker.on('error', fail);
    worker.on('exit', fail);
    return worker;
  }
}

function threadFailure(): SallyportError {
  return new SallyportError('STORE_FAILED', 'The thread that encrypts the files of secrets failed. Try again.');
}
