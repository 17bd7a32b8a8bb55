import { fieldValue, fieldValues, hasToken, removeField } from '../http/fields.ts';
import type { Framing } from '../http/framing.ts';
import { setFraming } from '../http/hop-by-hop.ts';
import { bodyFormat, type BodyFormat } from '../secrets/body-format.ts';
import type { BoundSecret } from '../secrets/bound-secret.ts';
import { readCodings, removeDigests, type Coding } from './content-coding.ts';
import { MAX_SPOOLED_REQUEST_BYTES } from './limits.ts';
import type { Problem } from './problem.ts';

/** What is looked for in a body, and behind which codings. */
interface Substitution {
  readonly format: BodyFormat;
  /** In the order in which they come off. */
  readonly codings: readonly Coding[];
  readonly bound: readonly BoundSecret[];
}

/** How the body of a request gets to the upstream. */
export type RequestBodyPlan =
  /** As it came: no secret may stand in it, or it cannot be looked into. */
  | { readonly kind: 'verbatim' }
  /** Substituted as it streams. Chunked, or of a length that cannot change because nothing is put in. */
  | ({ readonly kind: 'streamed' } & Substitution)
  /** Gathered whole, so that it is sent with its new length: some servers take no chunks. */
  | ({ readonly kind: 'gathered'; readonly bytes: number; readonly expectsContinue: boolean } & Substitution)
  | { readonly kind: 'refused'; readonly problem: Problem };

/** Where the body of a request goes. After `end` or `refuse` nothing more is called. */
export interface RequestBodySink {
  /** A gathered body is whole and its length is known: it can be sent. `isChanged` as in `setGatheredLength`. */
  ready(bytes: number, isChanged: boolean): void;
  /** Bytes to send; false asks to wait for {@link RequestBodyRelay.resume}. */
  write(data: Buffer): boolean;
  end(): void;
  /** The body cannot be sent (any further). */
  refuse(problem: Problem): void;
  /** More can be pushed. */
  drain(): void;
}

/** A request body on its way, into which values are put. */
export interface RequestBodyRelay {
  /** Whether it is kept until it is whole. Then the request is sent after `ready`, and the body by `send`. */
  readonly gathers: boolean;
  /** Names of the secrets that were put in. */
  readonly released: Iterable<string>;
  /** Names of the secrets whose placeholder stays. */
  readonly stray: Iterable<string>;
  /** Takes bytes as the client sent them; false asks to wait for `drain`. */
  push(data: Buffer): boolean;
  /** The body has come whole. */
  end(): void;
  send(): void;
  /** The upstream can take more. */
  resume(): void;
  dispose(): void;
}

const VERBATIM: RequestBodyPlan = { kind: 'verbatim' };

/**
 * Decides how a request body is sent, by its head as it was received. Pure.
 *
 * Without a secret that may stand in bodies nothing is looked at. A body with a content coding that is not known (`aws-chunked`, say), or
 * encoded messages with lengths, cannot be looked into: it goes out as it is, placeholders and all.
 */
export function planRequestBody(
  fields: readonly string[],
  framing: Framing,
  bound: readonly BoundSecret[],
): RequestBodyPlan {
  if (framing.kind === 'none' || (framing.kind === 'length' && framing.bytes === 0)) return VERBATIM;
  if (!bound.some(({ locations }) => locations.some(({ kind }) => kind === 'body'))) return VERBATIM;
  const reading = readCodings(fields);
  if (reading.kind === 'unknown') return VERBATIM;
  const { codings } = reading;
  const format = bodyFormat(fieldValues(fields, 'content-type'));
  if (format.kind === 'opaque') {
    return codings.length > 0 ? VERBATIM : { kind: 'streamed', format, codings, bound };
  }
  if (framing.kind !== 'length') return { kind: 'streamed', format, codings, bound };
  if (framing.bytes > MAX_SPOOLED_REQUEST_BYTES) {
    return {
      kind: 'refused',
      problem: {
        status: 413,
        code: 'BODY_TOO_LARGE',
        detail: `A request body into which credentials may be put can have at most ${MAX_SPOOLED_REQUEST_BYTES} bytes when it announces its length.`,
        remedy: 'Send it with Transfer-Encoding: chunked, or run without location body for this host.',
      },
    };
  }
  const expectsContinue = hasToken(fields, 'expect', '100-continue');
  return { kind: 'gathered', format, codings, bound, bytes: framing.bytes, expectsContinue };
}

/** Makes the outgoing fields of a request fit its plan, in place. The length of a gathered body is set by {@link setGatheredLength}. */
export function prepareBodyFields(fields: string[], plan: RequestBodyPlan): void {
  switch (plan.kind) {
    case 'verbatim':
    case 'refused':
      return;
    case 'streamed':
      if (plan.format.kind === 'opaque') return;
      if (plan.codings.length > 0) removeField(fields, 'content-encoding');
      // Whether anything is put in turns out too late to tell.
      removeDigests(fields);
      return;
    case 'gathered':
      // The gate answers that itself: it needs the body before there is a request.
      if (plan.expectsContinue && fieldValue(fields, 'expect')?.includes(',') !== true) removeField(fields, 'expect');
      return;
    default:
      plan satisfies never;
  }
}

/** Says the length of a gathered body. One that was changed is sent without its codings, and no digest fits it any more. */
export function setGatheredLength(fields: string[], bytes: number, isChanged: boolean): void {
  if (isChanged) {
    removeField(fields, 'content-encoding');
    removeDigests(fields);
  }
  setFraming(fields, { kind: 'length', bytes });
}
