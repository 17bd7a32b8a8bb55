import type { GateContext } from './gate-context.ts';
import type { ForwardVerdict } from './request-rewrite.ts';
import type { RequestHead } from '../http/message.ts';
import type { Problem } from './problem.ts';

/** SHA-256 of nothing. */
const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** Step 7, at last: what is sent, with its signature. */
export type SignatureVerdict =
  | { readonly verdict: 'signed'; readonly head: RequestHead }
  | { readonly verdict: 'answer'; readonly problem: Problem };

/**
 * Signs a request as it is to be sent.
 *
 * @param bodySha256 in hex; null for a body that was not hashed, or is none.
 */
export async function signRequest(
  context: Pick<GateContext, 'wallClockMs'>,
  { signing, authority }: ForwardVerdict,
  head: RequestHead,
  bodySha256: string | null,
): Promise<SignatureVerdict> {
  if (signing === null) return { verdict: 'signed', head };
  const hash = bodySha256 ?? (signing.hashes ? EMPTY_SHA256 : null);
  try {
    const result = await signing.signer.sign({ authority, head, bodySha256: hash, nowMs: context.wallClockMs() });
    if (result.verdict === 'signed') return result;
    return { verdict: 'answer', problem: { status: 403, code: 'SIGNATURE_REFUSED', detail: result.detail } };
  } catch {
    // What it was is not told: it could quote a value.
    const detail = `The request could not be signed for the service ${signing.service}.`;
    return { verdict: 'answer', problem: { status: 500, code: 'INTERNAL', detail } };
  }
}
