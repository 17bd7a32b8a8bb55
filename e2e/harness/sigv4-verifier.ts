import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { findProgram } from './tools.ts';

/** A credential that the verifier knows, by the identifier of its access key. */
export interface VerifierKey {
  readonly secret: string;
  readonly token: string | null;
}

/** A request as it came over the wire; texts are Latin-1. */
export interface SignedRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: Buffer;
}

export type SignatureVerdict =
  | {
      readonly ok: true;
      /** The access key's identifier. */
      readonly id: string;
      readonly region: string;
      readonly service: string;
      /** What stood in for the body in the signature. */
      readonly payload: string;
      /** The body without the framing of `aws-chunked`. */
      readonly content: Buffer;
    }
  | { readonly ok: false; readonly reason: string };

/** Checks signatures of AWS requests, by code that shares nothing with the one that makes them. */
export interface SignatureVerifier extends Disposable {
  /** @param nowMs default: the clock. */
  verify(request: SignedRequest, nowMs?: number): Promise<SignatureVerdict>;
}

const PROGRAM = fileURLToPath(new URL('sigv4_verifier.py', import.meta.url));

/** Why there can be no verifier on this machine; undefined where there can. */
export function whyNoVerifier(): string | undefined {
  return findProgram('python3', process.env['PATH'] ?? '') === undefined ? 'no python3' : undefined;
}

/** Starts `sigv4_verifier.py` with the credentials that it accepts. */
export function startSignatureVerifier(keys: Readonly<Record<string, VerifierKey>>): SignatureVerifier {
  const child = spawn('python3', [PROGRAM], { stdio: ['pipe', 'pipe', 'inherit'] });
  const waiting: { resolve: (line: string) => void; reject: (error: Error) => void }[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.resolve(line));
  const fail = (): void => {
    for (const { reject } of waiting.splice(0)) reject(new Error('the verifier of signatures has ended'));
  };
  child.once('error', fail).once('close', fail);
  child.stdin.on('error', () => {});
  child.stdin.write(`${JSON.stringify({ keys })}\n`);
  return {
    async verify({ method, target, headers, body }, nowMs = Date.now()) {
      const answer = new Promise<string>((resolve, reject) => waiting.push({ resolve, reject }));
      const request = { method, target, headers, body: body.toString('base64'), nowS: Math.floor(nowMs / 1000) };
      child.stdin.write(`${JSON.stringify(request)}\n`);
      const verdict = JSON.parse(await answer) as
        | { ok: false; reason: string }
        | { ok: true; id: string; region: string; service: string; payload: string; content: string };
      return verdict.ok ? { ...verdict, content: Buffer.from(verdict.content, 'base64') } : verdict;
    },
    [Symbol.dispose]() {
      child.stdin.end();
      child.kill('SIGKILL');
    },
  };
}
