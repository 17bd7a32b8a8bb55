// The program of the thread that encrypts files: loading the library takes 150 ms, a passphrase a second and a half, and no request waits for either.
import { parentPort } from 'node:worker_threads';
import { runAge, type AgeRequest, type AgeResult } from './age-program.ts';

/** What the thread is asked, of which it keeps nothing. */
export interface AgeCall {
  readonly call: number;
  readonly request: AgeRequest;
}

/** What it answers; null when it failed. */
export interface AgeAnswer {
  readonly call: number;
  readonly result: AgeResult | null;
}

parentPort?.on('message', ({ call, request }: AgeCall) => {
  void runAge(request)
    // A library's message could quote what it was given.
    .catch(() => null)
    .then((result) => {
      const answer: AgeAnswer = { call, result };
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none.
      parentPort?.postMessage(answer);
      if (result?.kind === 'bytes') result.bytes.fill(0);
    });
});
