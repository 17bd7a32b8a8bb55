// The program of the certificate thread, which is there so that neither loading the library nor making a certificate holds up a request.
import { parentPort } from 'node:worker_threads';
import { certifyLeaf } from './certificate-program.ts';
import type { LeafRequest } from './certificate-program.ts';

/** What the thread is asked, of which it keeps nothing; `call` comes back with the answer. */
export interface CertificateCall {
  readonly call: number;
  readonly request: LeafRequest;
}

/** What the thread answers. */
export type CertificateResponse =
  | { readonly call: number; readonly kind: 'made'; readonly certPem: string }
  | { readonly call: number; readonly kind: 'failed'; readonly reason: string };

async function answer({ call, request }: CertificateCall): Promise<CertificateResponse> {
  try {
    return { call, kind: 'made', certPem: await certifyLeaf(request) };
  } catch (error) {
    // The name of the error alone: a library's message could quote what it was given.
    return { call, kind: 'failed', reason: error instanceof Error ? error.name : typeof error };
  }
}

parentPort?.on('message', (message: CertificateCall) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none.
  void answer(message).then((response) => parentPort?.postMessage(response));
});
