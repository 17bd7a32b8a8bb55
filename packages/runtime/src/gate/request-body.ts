import { fieldValue, fieldValues, hasToken, removeField } from '../http/fields.ts';
import type { Framing } from '../http/framing.ts';
import { setFraming } from '../http/hop-by-hop.ts';
import { bodyFormat, type BodyFormat } from '../secrets/body-format.ts';
import type { BoundSecret } from '../secrets/bound-secret.ts';
import type { BodySubstitutionStream } from '../secrets/substitute-body.ts';
import { readCodings, removeDigests, type Coding } from './content-coding.ts';
import { MAX_MEASURED_REQUEST_BYTES, MAX_SPOOLED_REQUEST_BYTES } from './limits.ts';
import type { Problem } from './problem.ts';
import type { StrayCheck } from './request-transform.ts';

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
  /** As it came, but looked into: for placeholders that must not leave. */
  | ({ readonly kind: 'scanned' } & Omit<Substitution, 'bound'>)
  /** Gathered whole, so that it is sent with its new length (some servers take no chunks), or signed by its hash. */
  | ({
      readonly kind: 'gathered';
      /** Its length; the most that it may have where that is not known. */
      readonly bytes: number;
      readonly isMeasured: boolean;
      readonly hashes: boolean;
      readonly expectsContinue: boolean;
    } & Substitution)
  | { readonly kind: 'refused'; readonly problem: Problem };

/** A gathered body as it is sent. */
export interface ReadyBody {
  readonly bytes: number;
  /** As in `setGatheredLength`. */
  readonly isChanged: boolean;
  /** In hex; null where the plan did not ask for it. */
  readonly sha256: string | null;
}

/** Where the body of a request goes. After `end` or `refuse` nothing more is called. */
export interface RequestBodySink {
  /** A gathered body is whole: it can be sent. */
  ready(body: ReadyBody): void;
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
  /** The upstream can take more. False asks to wait for `drain` all the same. */
  resume(): boolean;
  /** Whether it is whole, has been sent, and is still there. */
  readonly canRepeat: boolean;
  /** Makes a body that can be repeated `ready` again, with what is to be put in instead. */
  repeat(reading: BodyReading): void;
  /** It will not be repeated. */
  forget(): void;
  dispose(): void;
}

/** How a body that is kept is read. */
export interface BodyReading {
  /** Starts its substitution. */
  readonly start: () => BodySubstitutionStream;
  /** Null where nothing in it can refuse it. */
  readonly check: StrayCheck | null;
}

/** The plan for a body in which nothing is looked for, and for none. */
export const VERBATIM: RequestBodyPlan = { kind: 'verbatim' };

/** What is asked of a request body beside substitution. */
export interface BodyDemands {
  /** Whether placeholders that must not leave are looked for. */
  readonly scans: boolean;
  /** Whether it is signed by its hash. */
  readonly hashes: boolean;
}

/**
 * Decides how a request body is sent, by its head as it was received. Pure.
 *
 * Without a secret that may stand in bodies, or must not leave in them, nothing is looked at. A body with a content coding that is not known
 * (`aws-chunked`, say), or encoded messages with lengths, cannot be looked into: it goes out as it is, placeholders and all.
 */
export function planRequestBody(
  fields: readonly string[],
  framing: Framing,
  bound: readonly BoundSecret[],
  { scans, hashes }: BodyDemands,
): RequestBodyPlan {
  const isEmpty = framing.kind === 'none' || (framing.kind === 'length' && framing.bytes === 0);
  const substitutes = bound.some(({ locations }) => locations.some(({ kind }) => kind === 'body'));
  if (isEmpty || !(substitutes || scans || hashes)) return VERBATIM;
  const reading = readCodings(fields);
  const isReadable = reading.kind !== 'unknown';
  const codings = isReadable ? reading.codings : [];
  const format: BodyFormat = isReadable ? bodyFormat(fieldValues(fields, 'content-type')) : { kind: 'opaque' };
  const changes = substitutes && format.kind !== 'opaque';
  if (hashes || (changes && framing.kind === 'length')) {
    const isMeasured = framing.kind === 'length';
    const bytes = isMeasured ? framing.bytes : MAX_MEASURED_REQUEST_BYTES;
    if (bytes > MAX_SPOOLED_REQUEST_BYTES) return { kind: 'refused', problem: tooLong(hashes) };
    const expectsContinue = hasToken(fields, 'expect', '100-continue');
    // What cannot hold a value stays behind its codings.
    const readable = changes || scans ? codings : [];
    return {
      kind: 'gathered',
      format,
      codings: readable,
      bound: changes ? bound : [],
      bytes,
      isMeasured,
      hashes,
      expectsContinue,
    };
  }
  if (changes) return { kind: 'streamed', format, codings, bound };
  if (scans) return { kind: 'scanned', format, codings };
  // Placeholders in messages with lengths stay, and are recorded.
  return isReadable && codings.length === 0 ? { kind: 'streamed', format, codings, bound } : VERBATIM;
}

function tooLong(hashes: boolean): Problem {
  return hashes
    ? {
        status: 413,
        code: 'SIGNATURE_REFUSED',
        detail: `A request that is signed by the hash of its body can have at most ${MAX_SPOOLED_REQUEST_BYTES} bytes.`,
        remedy:
          'Send it in parts, or with an unsigned payload (x-amz-content-sha256: UNSIGNED-PAYLOAD) where the service takes that.',
      }
    : {
        status: 413,
        code: 'BODY_TOO_LARGE',
        detail: `A request body into which credentials may be put can have at most ${MAX_SPOOLED_REQUEST_BYTES} bytes when it announces its length.`,
        remedy: 'Send it with Transfer-Encoding: chunked, or run without location body for this host.',
      };
}

/** Makes the outgoing fields of a request fit its plan, in place. The length of a gathered body is set by {@link setGatheredLength}. */
export function prepareBodyFields(fields: string[], plan: RequestBodyPlan): void {
  switch (plan.kind) {
    case 'verbatim':
    case 'scanned':
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
