// The program of the certificate worker: a thread, so that neither loading the library nor making a leaf holds up a request.
import { parentPort } from 'node:worker_threads';
import { CertificateProgram } from './certificate-program.ts';
import type { AuthorityReport } from './certificate-program.ts';

/** What the worker is asked; `call` comes back with the answer. */
export type CertificateRequest =
  | {
      readonly kind: 'authority';
      readonly call: number;
      readonly authority: number;
      readonly commonName: string;
      readonly nowMs: number;
    }
  | {
      readonly kind: 'leaf';
      readonly call: number;
      readonly authority: number;
      readonly host: string;
      readonly isAddress: boolean;
      readonly nowMs: number;
      readonly notAfterMs: number;
    }
  | { readonly kind: 'forget'; readonly authority: number };

/** What the worker answers. */
export type CertificateResponse =
  | { readonly call: number; readonly kind: 'authority'; readonly report: AuthorityReport }
  | { readonly call: number; readonly kind: 'leaf'; readonly certPem: string }
  | { readonly call: number; readonly kind: 'failed'; readonly reason: string };

const program = new CertificateProgram();

async function answer(request: CertificateRequest): Promise<CertificateResponse | undefined> {
  switch (request.kind) {
    case 'authority': {
      const { call, authority, commonName, nowMs } = request;
      return { call, kind: 'authority', report: await program.createAuthority(authority, commonName, nowMs) };
    }
    case 'leaf':
      return { call: request.call, kind: 'leaf', certPem: await program.issueLeaf(request.authority, request) };
    case 'forget':
      program.forget(request.authority);
      return undefined;
  }
}

function say(response: CertificateResponse): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread's port has none.
  parentPort?.postMessage(response);
}

parentPort?.on('message', (request: CertificateRequest) => {
  answer(request).then(
    (response) => response !== undefined && say(response),
    (error: unknown) => {
      if (request.kind === 'forget') return;
      // The name of the error alone: a library's message could quote what it was given.
      say({ call: request.call, kind: 'failed', reason: error instanceof Error ? error.name : typeof error });
    },
  );
});
