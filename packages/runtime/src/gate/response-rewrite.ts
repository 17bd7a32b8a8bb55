import { fieldValue, removeField, setField } from '../http/fields.ts';
import type { Framing } from '../http/framing.ts';
import { removeHopByHop, setFraming } from '../http/hop-by-hop.ts';
import type { ResponseHead } from '../http/message.ts';
import type { Redactor } from '../secrets/redact.ts';
import { readCodings, removeDigests, type Coding } from './content-coding.ts';
import { MAX_CONTENT_CODINGS, MAX_MEASURED_BODY_BYTES } from './limits.ts';

/** How the body of a response gets to the client. */
export type BodyPlan =
  | {
      readonly kind: 'none';
      /** What the head says about a body that is not here (an answer to HEAD, a 304) would be wrong for the body that the gate would send. */
      readonly misleads: boolean;
    }
  /** As it came: nothing in this sandbox has to be kept from it. */
  | { readonly kind: 'verbatim' }
  /** Gathered whole, redacted, sent with its new length. */
  | { readonly kind: 'measured' }
  /**
   * Decoded in this order, redacted and sent piece by piece. Without anything to redact only transfer codings come off, and the content
   * stays as it is.
   */
  | { readonly kind: 'streamed'; readonly codings: readonly Coding[]; readonly keepsContent?: true }
  /** Cannot be redacted, so it cannot be passed on. */
  | { readonly kind: 'refused'; readonly reason: string };

/** Decides how a body is passed on. `redacts` tells whether the sandbox has any value to keep out of it. Pure. */
export function planResponseBody(head: ResponseHead, framing: Framing, redacts: boolean): BodyPlan {
  const reading = redacts ? readCodings(head.fields) : null;
  if (framing.kind === 'none') {
    return { kind: 'none', misleads: reading?.kind === 'known' && reading.codings.length > 0 };
  }
  const transfer = 'codings' in framing ? (framing.codings ?? []) : [];
  if (reading === null) {
    return transfer.length === 0 ? { kind: 'verbatim' } : { kind: 'streamed', codings: transfer, keepsContent: true };
  }
  // Ranges are not asked for: pieces of a value could not be recognized.
  if (head.status === 206) return { kind: 'refused', reason: 'it is a part of a whole that was not asked for' };
  if (framing.kind === 'length' && framing.bytes === 0) return { kind: 'none', misleads: false };
  if (reading.kind === 'unknown') return { kind: 'refused', reason: reading.reason };
  const codings = [...transfer, ...reading.codings];
  if (codings.length > MAX_CONTENT_CODINGS) {
    return { kind: 'refused', reason: `it is encoded more than ${MAX_CONTENT_CODINGS} times` };
  }
  if (codings.length > 0) return { kind: 'streamed', codings };
  const isEventStream = fieldValue(head.fields, 'content-type')?.toLowerCase().startsWith('text/event-stream') === true;
  if (framing.kind === 'length' && framing.bytes <= MAX_MEASURED_BODY_BYTES && !isEventStream)
    return { kind: 'measured' };
  return { kind: 'streamed', codings };
}

/** What goes with a response beside its own head. */
export interface ClientSide {
  /** The minor version of the request: HTTP/1.0 clients know no chunks. */
  readonly minor: 0 | 1;
  readonly keepAlive: boolean;
}

/**
 * Step 9 for a head: what concerns only the upstream connection is removed, every value becomes its placeholder, and the framing
 * fields are set by {@link setResponseFraming} once the body's way is known. Changes `head` in place; returns the redactions made.
 *
 * @param isClean no value is in the head as it was received: `Redactor.isClean` has seen its bytes.
 */
export function rewriteResponseHead(
  head: ResponseHead,
  plan: BodyPlan,
  redactor: Redactor | null,
  isClean = false,
): number {
  removeHopByHop(head.fields);
  // Another protocol or port is another connection, which the gate decides about itself.
  removeField(head.fields, 'alt-svc');
  removeField(head.fields, 'alternate-protocol');
  // Whether a value is in a body that streams turns out too late to tell.
  const isRewritten = plan.kind === 'streamed' && plan.keepsContent !== true;
  if (isRewritten) removeDigests(head.fields);
  if ((isRewritten && plan.codings.length > 0) || (plan.kind === 'none' && plan.misleads)) {
    removeField(head.fields, 'content-encoding');
    if (plan.kind === 'none') removeField(head.fields, 'content-length');
    markChanged(head.fields);
  }
  // What the head of an answer to HEAD says of a body is to be true of the one that the gate would send.
  if (plan.kind === 'none' && fieldValue(head.fields, 'transfer-encoding') !== undefined) {
    setField(head.fields, 'Transfer-Encoding', 'chunked');
  }
  // Requests for ranges do not leave.
  if (redactor !== null) removeField(head.fields, 'accept-ranges');
  return redactor === null || isClean ? 0 : redactHead(head, redactor);
}

/** Says of a body that it is not, byte for byte, the one that the upstream sent, in place. */
export function markChanged(fields: string[]): void {
  removeDigests(fields);
  const etag = fieldValue(fields, 'etag');
  // Another representation of the same thing (RFC 9110 section 8.8.3.3).
  if (etag?.startsWith('"') === true) setField(fields, 'ETag', `W/${etag}`);
}

/** Redacts the trailer fields of a response in place, and drops their digests; returns how many values were found. */
export function redactTrailers(trailers: string[], redactor: Redactor): number {
  removeDigests(trailers);
  let found = 0;
  for (const [index, dirty] of trailers.entries()) {
    const { text, matches } = redactor.redactTextCounted(dirty);
    trailers[index] = text;
    found += matches;
  }
  return found;
}

/** Redacts reason, field names and field values in place; returns how many values were found. */
export function redactHead(head: ResponseHead, redactor: Redactor): number {
  let found = 0;
  const redact = (dirty: string): string => {
    const { text, matches } = redactor.redactTextCounted(dirty);
    found += matches;
    return text;
  };
  // One scan tells that there is nothing to do, which is nearly always so. NUL cannot be in a head, so nothing is joined by it.
  const whole = `${head.reason}\0${head.fields.join('\0')}`;
  if (redactor.redactText(whole) === whole) return 0;
  head.reason = redact(head.reason);
  for (let index = 0; index < head.fields.length; index += 1) head.fields[index] = redact(head.fields[index] as string);
  return found;
}

/** Sets the fields that frame the body for the client, in place. */
export function setResponseFraming(head: ResponseHead, framing: Framing, client: ClientSide): void {
  setFraming(head.fields, framing);
  if (!client.keepAlive) head.fields.push('Connection', 'close');
  head.minor = 1;
}
