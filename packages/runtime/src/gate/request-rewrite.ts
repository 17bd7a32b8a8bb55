import { hostFieldFor, requestAuthority } from '../http/authority.ts';
import { requestFraming, type Framing } from '../http/framing.ts';
import { equalsIgnoringCase } from '../http/fields.ts';
import { removeHopByHop, setFraming } from '../http/hop-by-hop.ts';
import type { Authority, RequestHead } from '../http/message.ts';
import type { BodySubstituter } from '../secrets/substitute-body.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import type { Substituter } from '../secrets/substitute.ts';
import { reduceAcceptEncoding } from './accept-encoding.ts';
import { describeUnusableValue, type Problem } from './problem.ts';
import { planRequestBody, prepareBodyFields, type RequestBodyPlan } from './request-body.ts';
import { readUpgrade, setOfferFields, type WebSocketOffer } from './websocket-handshake.ts';

/** The parts of a sandbox's gate that a request passes. */
export interface RequestContext {
  readonly secrets: SecretSet;
  readonly substituter: Substituter;
  readonly bodies: BodySubstituter;
  /** Whether the sandbox has any value that must not come back. */
  readonly redacts: boolean;
}

/** What happened to a request on its way: sent on, or answered by the gate. */
export type RequestVerdict =
  | {
      readonly verdict: 'forward';
      readonly authority: Authority;
      readonly head: RequestHead;
      readonly framing: Framing;
      /** What a WebSocket handshake offers; null for any other request. */
      readonly offer: WebSocketOffer | null;
      readonly body: RequestBodyPlan;
      /** Names of the secrets put in. */
      readonly released: string[];
      /** Names of secrets whose placeholder stays what it is. */
      readonly stray: string[];
    }
  | { readonly verdict: 'answer'; readonly problem: Problem };

/**
 * Steps 5 to 7: one canonical authority, the method, substitution, and the head as it is sent. Pure.
 *
 * @param hasUnframedBody a body follows whatever the head says, as in HTTP/2.
 */
export function rewriteRequest(
  context: RequestContext,
  origin: Authority,
  head: RequestHead,
  hasUnframedBody = false,
): RequestVerdict {
  if (head.method === 'CONNECT') {
    return refuse(
      405,
      'METHOD_REFUSED',
      'CONNECT is refused: the sandbox needs no proxy, it can connect to any allowed host itself.',
    );
  }
  const framing = requestFraming(head);
  const named = requestAuthority(head, origin);
  switch (named.verdict) {
    case 'ok':
      break;
    case 'mismatch':
      return refuse(
        421,
        'AUTHORITY_MISMATCH',
        `The request names another origin than its connection, ${origin.scheme}://${origin.host}:${origin.port}: ${named.reason}.`,
      );
    case 'malformed':
      return refuse(400, 'MALFORMED_REQUEST', `The request does not name one origin: ${named.reason}.`);
    default:
      throw new TypeError(`unknown verdict ${String(named satisfies never)}`);
  }
  const { authority, target } = named;
  const upgrade = readUpgrade(head, framing, context.redacts);
  if (upgrade.verdict === 'malformed') {
    return refuse(400, 'MALFORMED_REQUEST', `The WebSocket handshake is malformed: ${upgrade.reason}.`);
  }
  const offer = upgrade.verdict === 'websocket' ? upgrade.offer : null;
  // TRACE sends the request back as it arrived: no value goes into it.
  const bound = head.method === 'TRACE' ? [] : context.secrets.secretsFor(authority);
  const result = context.substituter.substituteHead({ ...head, target }, bound);
  if (result.verdict === 'failed') {
    return { verdict: 'answer', problem: describeUnusableValue(result, `in the ${result.location} of this request`) };
  }
  const body = planRequestBody(
    head.fields,
    framing.kind === 'none' && hasUnframedBody ? { kind: 'chunked' } : framing,
    bound,
  );
  const fields = outgoingFields(context, authority, framing, result.head.fields);
  prepareBodyFields(fields, body);
  if (offer !== null) setOfferFields(fields, offer);
  return {
    verdict: 'forward',
    authority,
    head: { ...result.head, minor: 1, fields },
    framing,
    offer,
    body,
    released: result.released,
    stray: result.stray,
  };
}

function outgoingFields(
  context: RequestContext,
  authority: Authority,
  framing: Framing,
  received: readonly string[],
): string[] {
  const end2end = [...received];
  removeHopByHop(end2end);
  const fields: string[] = ['Host', hostFieldFor(authority)];
  for (let index = 0; index + 1 < end2end.length; index += 2) {
    const name = end2end[index] as string;
    const value = end2end[index + 1] as string;
    switch (name.length) {
      case 4:
        if (equalsIgnoringCase(name, 'host')) continue;
        break;
      case 5:
      case 8:
      case 13:
        // A value parked at a bound host could be read back, there or elsewhere, in pieces too small to be recognized.
        if (context.redacts && RANGE_FIELDS.some((range) => equalsIgnoringCase(name, range))) continue;
        break;
      case 15:
        if (context.redacts && equalsIgnoringCase(name, 'accept-encoding')) {
          fields.push(name, reduceAcceptEncoding(value));
          continue;
        }
        break;
    }
    fields.push(name, value);
  }
  setFraming(fields, framing);
  return fields;
}

/** Fields that ask for a part; Apache takes the last for the first. */
const RANGE_FIELDS = ['range', 'if-range', 'request-range'] as const;

function refuse(status: number, code: Problem['code'], detail: string): RequestVerdict {
  return { verdict: 'answer', problem: { status, code, detail } };
}
