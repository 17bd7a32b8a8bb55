import { hostFieldFor, requestAuthority } from '../http/authority.ts';
import { requestFraming, type Framing } from '../http/framing.ts';
import { equalsIgnoringCase, hasToken } from '../http/fields.ts';
import { removeHopByHop, setFraming } from '../http/hop-by-hop.ts';
import type { Authority, RequestHead } from '../http/message.ts';
import { matchesName } from '../policy/host-pattern.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import type { Substituter } from '../secrets/substitute.ts';
import { reduceAcceptEncoding } from './accept-encoding.ts';
import type { Problem } from './problem.ts';

/** The parts of a sandbox's gate that a request passes. */
export interface RequestContext {
  readonly secrets: SecretSet;
  readonly substituter: Substituter;
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
      /** Names of the secrets put in. */
      readonly released: string[];
      /** Names of secrets whose placeholder stays what it is. */
      readonly stray: string[];
    }
  | { readonly verdict: 'answer'; readonly problem: Problem };

/** Steps 5 to 7: one canonical authority, the method, substitution, and the head as it is sent. Pure. */
export function rewriteRequest(context: RequestContext, origin: Authority, head: RequestHead): RequestVerdict {
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
  if (hasToken(head.fields, 'upgrade', 'websocket')) {
    return refuse(501, 'UPGRADE_NOT_SUPPORTED', 'WebSocket connections are not supported yet on intercepted hosts.');
  }
  // TRACE sends the request back as it arrived: no value goes into it.
  const bound = head.method === 'TRACE' ? [] : context.secrets.secretsFor(authority);
  const result = context.substituter.substituteHead({ ...head, target }, bound);
  if (result.verdict === 'failed') {
    return refuse(502, 'VALUE_NOT_CARRIABLE', `The value of ${result.name} cannot be carried in that place.`);
  }
  return {
    verdict: 'forward',
    authority,
    head: {
      ...result.head,
      minor: 1,
      fields: outgoingFields(context, authority, framing, result.head.fields),
    },
    framing,
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
      case 2:
        if (equalsIgnoringCase(name, 'te')) continue;
        break;
      case 4:
        if (equalsIgnoringCase(name, 'host')) continue;
        break;
      case 5:
      case 8:
      case 13:
        // A value parked at a bound host could be read back in pieces too small to be recognized: in clear and on other ports too.
        if (RANGE_FIELDS.some((range) => equalsIgnoringCase(name, range)) && hasSecretFor(context, authority.host))
          continue;
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

/** Whether any secret is bound to a host, whatever the scheme and port. Asked seldom, so a search will do. */
function hasSecretFor(context: RequestContext, host: string): boolean {
  return context.secrets.secrets.some((secret) => secret.hosts.some(({ pattern }) => matchesName(pattern, host)));
}

function refuse(status: number, code: Problem['code'], detail: string): RequestVerdict {
  return { verdict: 'answer', problem: { status, code, detail } };
}
