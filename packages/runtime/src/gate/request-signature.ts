import type { GateContext } from './gate-context.ts';
import type { ForwardVerdict } from './request-rewrite.ts';
import type { RequestHead } from '../http/message.ts';
import type { Problem } from './problem.ts';

/** Step 7, at last: what is sent, with its signature. */
export type SignatureVerdict =
  | { readonly verdict: 'signed'; readonly head: RequestHead }
  | { readonly verdict: 'answer'; readonly problem: Problem };

/**
 * Signs a request as it is to be sent.
 *
 * @param bodySha256 in hex; null for a body that was not hashed.
 */
export async function signRequest(
  context: Pick<GateContext, 'wallClockMs'>,
  { signing, authority }: ForwardVerdict,
  head: RequestHead,
  bodySha256: string | null,
): Promise<SignatureVerdict> {
  if (signing === null) return { verdict: 'signed', head };
  try {
    const result = await signing.signer.sign({ authority, head, bodySha256, nowMs: context.wallClockMs() });
    if (result.verdict === 'signed') return result;
    return { verdict: 'answer', problem: { status: 403, code: 'SIGNATURE_REFUSED', detail: result.detail } };
  } catch {
    // What it was is not told: it could quote a value.
    const detail = `The request could not be signed for the service ${signing.service}.`;
    return { verdict: 'answer', problem: { status: 500, code: 'INTERNAL', detail } };
  }
}
