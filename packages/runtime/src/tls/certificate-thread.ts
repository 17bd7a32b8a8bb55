import { getCompileCacheDir } from 'node:module';
import { dirname, extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { SallyportError } from '@sallyport/sdk';
import type { LeafRequest } from './certificate-program.ts';
import type { CertificateCall, CertificateResponse } from './certificate-worker.ts';

interface Waiter {
  readonly resolve: (certPem: string) => void;
  readonly reject: (error: SallyportError) => void;
}

/** A thread has no cache of compiled code of its own accord, and would spend half of its start on reading TypeScript again. */
const WORKER_SOURCE = `
const { workerData } = require('node:worker_threads');
if (workerData.cacheDirectory !== undefined) require('node:module').enableCompileCache(workerData.cacheDirectory);
require(workerData.program);`;

function startWorker(): Worker {
  // Beside this module as a source, beside the bundle as a bundle of its own (tools/bundle.ts).
  const program = fileURLToPath(new URL(`certificate-worker${extname(import.meta.url)}`, import.meta.url));
  // What Node tells is the directory for its own version, within the one that was asked for.
  const versioned = getCompileCacheDir();
  const cacheDirectory = versioned === undefined ? undefined : dirname(versioned);
  return new Worker(WORKER_SOURCE, {
    eval: true,
    execArgv: [],
    env: {},
    workerData: { program, cacheDirectory },
    // Else Node opens the streams of this process for it, which makes them non-blocking under the runtime that writes to them as well.
    // Nobody reads these: reading would keep the process alive.
    stdout: true,
    stderr: true,
  });
}

/**
 * The thread that makes certificates. It keeps the process alive only while an answer is due.
 *
 * Starting it takes another processor some 40 ms, the first certificate 20 more, and this thread 3.
 */
export class CertificateThread {
  readonly #worker: Worker;
  readonly #waiters = new Map<number, Waiter>();
  #calls = 0;
  #failure: SallyportError | null = null;

  constructor() {
    this.#worker = startWorker();
    this.#worker.unref();
    this.#worker.on('message', (response: CertificateResponse) => {
      const waiter = this.#waiters.get(response.call);
      this.#waiters.delete(response.call);
      if (this.#waiters.size === 0) this.#worker.unref();
      if (response.kind === 'failed') waiter?.reject(certificateFailure(response.reason));
      else waiter?.resolve(response.certPem);
    });
    this.#worker.on('error', (error) => this.#fail(error instanceof Error ? error.name : typeof error));
    this.#worker.on('exit', () => this.#fail('it ended'));
  }

  /** Whether the thread has failed; another one is needed then. */
  get isBroken(): boolean {
    return this.#failure !== null;
  }

  /**
   * Has the certificate of a server made, PEM.
   *
   * @throws SallyportError INTERNAL when the thread has failed
   */
  async certifyLeaf(request: LeafRequest): Promise<string> {
    if (this.#failure !== null) throw this.#failure;
    const call = (this.#calls += 1);
    return await new Promise((resolve, reject) => {
      this.#waiters.set(call, { resolve, reject });
      this.#worker.ref();
      const message: CertificateCall = { call, request };
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none.
      this.#worker.postMessage(message);
    });
  }

  #fail(reason: string): void {
    this.#failure ??= certificateFailure(reason);
    for (const waiter of this.#waiters.values()) waiter.reject(this.#failure);
    this.#waiters.clear();
  }
}

function certificateFailure(reason: string): SallyportError {
  return new SallyportError(
    'INTERNAL',
    `The thread that makes certificates failed (${reason}). Start the sandbox again; if it stays, please report it.`,
  );
}

let shared: CertificateThread | undefined;

/** The thread of this process, started on the first call; a broken one is replaced. */
export function certificateThread(): CertificateThread {
  if (shared === undefined || shared.isBroken) shared = new CertificateThread();
  return shared;
}
