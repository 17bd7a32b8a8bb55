import type { Authority, RequestHead } from '../http/message.ts';

/** What a signer has to know of a request's body, decided by the head as it is to be sent. */
export type SigningPlan =
  /** Nothing, or the client said it in the head: the body streams. It is signed with `bodySha256: null`. */
  | { readonly kind: 'streamed' }
  /** Its SHA-256: it is read whole before the head is sent. */
  | { readonly kind: 'hashed' }
  /** The request cannot be signed. */
  | { readonly kind: 'refused'; readonly detail: string };

/** A request with its signature, or why it has none. `detail` is for people, and never quotes a value. */
export type SigningResult =
  | { readonly verdict: 'signed'; readonly head: RequestHead }
  | { readonly verdict: 'refused'; readonly detail: string };

/** A request that is to be signed. */
export interface SigningRequest {
  readonly authority: Authority;
  /** As it is to be sent, framing included. The target is in origin-form. It is not changed. */
  readonly head: RequestHead;
}

/**
 * Signs requests with a service's credential, whatever signature they came with.
 *
 * `plan` is asked first and tells whether the body must be hashed. `sign` comes last: nothing may change in the head afterwards but fields
 * of one connection, nor in the body.
 */
export interface RequestSigner {
  /** Refuses TRACE as well, which gives back what it is asked with. */
  plan(request: SigningRequest): SigningPlan;
  /**
   * @param request.bodySha256 of the body as it is sent, in hex; null for one that was not hashed. One that was hashed although `plan`
   *   did not ask for it (because a value was put in) is signed by that hash.
   * @param request.nowMs ms since 1970.
   */
  sign(
    request: SigningRequest & { readonly bodySha256: string | null; readonly nowMs: number },
  ): Promise<SigningResult>;
}
