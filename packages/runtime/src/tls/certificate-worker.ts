// The program of the certificate thread, which is there so that neither loading the library nor making a certificate holds up a request.
import { parentPort } from 'node:worker_threads';
import { certifyAuthority, certifyLeaf } from './certificate-program.ts';
import type { AuthorityRequest, LeafRequest } from './certificate-program.ts';

/** What the thread is asked. It keeps nothing of it. */
export type CertificateRequest =
  | ({ readonly kind: 'authority' } & AuthorityRequest)
  | ({ readonly kind: 'leaf' } & LeafRequest);

/** A request on its way; `call` comes back with the answer. */
export interface CertificateCall {
  readonly call: number;
  readonly request: CertificateRequest;
}

/** What the thread answers. */
export type CertificateResponse =
  | { readonly call: number; readonly kind: 'made'; readonly certPem: string }
  | { readonly call: number; readonly kind: 'failed'; readonly reason: string };

async function certify(request: CertificateRequest): Promise<string> {
  switch (request.kind) {
    case 'authority':
      return await certifyAuthority(request);
    case 'leaf':
      return await certifyLeaf(request);
  }
}

async function answer({ call, request }: CertificateCall): Promise<CertificateResponse> {
  try {
    return { call, kind: 'made', certPem: await certify(request) };
  } catch (error) {
    // The name of the error alone: a library's message could quote what it was given.
    return { call, kind: 'failed', reason: error instanceof Error ? error.name : typeof error };
  }
}

parentPort?.on('message', (message: CertificateCall) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none.
  void answer(message).then((response) => parentPort?.postMessage(response));
});
