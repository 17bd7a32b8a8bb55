import { getCompileCacheDir } from 'node:module';
import { dirname, extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { SallyportError } from '@sallyport/sdk';
import type { AuthorityReport, LeafRequest } from './certificate-program.ts';
import type { CertificateRequest, CertificateResponse } from './certificate-worker.ts';

interface Waiter {
  readonly resolve: (response: CertificateResponse) => void;
  readonly reject: (error: SallyportError) => void;
}

/** A thread has no cache of compiled code of its own accord, and would spend half of its start on reading TypeScript again. */
const WORKER_SOURCE = `
const { workerData } = require('node:worker_threads');
if (workerData.cacheDirectory !== undefined) require('node:module').enableCompileCache(workerData.cacheDirectory);
import(workerData.program);`;

function startWorker(): Worker {
  // The extension of the source in a checkout, of its compiled form in the package.
  const program = new URL(`certificate-worker${extname(import.meta.url)}`, import.meta.url).href;
  // What Node tells is the directory for its own version, within the one that was asked for.
  const versioned = getCompileCacheDir();
  const cacheDirectory = versioned === undefined ? undefined : dirname(versioned);
  return new Worker(WORKER_SOURCE, { eval: true, execArgv: [], env: {}, workerData: { program, cacheDirectory } });
}

/**
 * The thread that makes certificates. It keeps the process alive only while an answer is due.
 *
 * Starting it takes its own processor about 75 ms and this thread 2: begin early.
 */
export class CertificateThread {
  readonly #worker: Worker;
  readonly #waiters = new Map<number, Waiter>();
  #calls = 0;
  #authorities = 0;
  #failure: SallyportError | null = null;

  constructor() {
    this.#worker = startWorker();
    this.#worker.unref();
    this.#worker.on('message', (response: CertificateResponse) => {
      const waiter = this.#waiters.get(response.call);
      this.#waiters.delete(response.call);
      if (this.#waiters.size === 0) this.#worker.unref();
      if (response.kind === 'failed') waiter?.reject(certificateFailure(response.reason));
      else waiter?.resolve(response);
    });
    this.#worker.on('error', (error) => this.#fail(error instanceof Error ? error.name : typeof error));
    this.#worker.on('exit', () => this.#fail('it ended'));
  }

  /** Whether the thread has failed; another one is needed then. */
  get isBroken(): boolean {
    return this.#failure !== null;
  }

  /**
   * Makes an authority, and a number to ask it for leaves by.
   *
   * @throws SallyportError INTERNAL when the thread has failed
   */
  async createAuthority(commonName: string, nowMs: number): Promise<AuthorityReport & { readonly authority: number }> {
    const authority = (this.#authorities += 1);
    const response = await this.#ask((call) => ({ kind: 'authority', call, authority, commonName, nowMs }));
    if (response.kind !== 'authority') throw certificateFailure('another answer');
    return { ...response.report, authority };
  }

  /**
   * Issues a leaf of an authority, as PEM.
   *
   * @throws SallyportError INTERNAL when the thread has failed
   */
  async issueLeaf(authority: number, leaf: LeafRequest): Promise<string> {
    const response = await this.#ask((call) => ({ kind: 'leaf', call, authority, ...leaf }));
    if (response.kind !== 'leaf') throw certificateFailure('another answer');
    return response.certPem;
  }

  /** Drops the keys of an authority. */
  forget(authority: number): void {
    this.#post({ kind: 'forget', authority });
  }

  #ask(makeRequest: (call: number) => CertificateRequest): Promise<CertificateResponse> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    const call = (this.#calls += 1);
    return new Promise((resolve, reject) => {
      this.#waiters.set(call, { resolve, reject });
      this.#worker.ref();
      this.#post(makeRequest(call));
    });
  }

  #post(request: CertificateRequest): void {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none.
    this.#worker.postMessage(request);
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
