import { hostFieldFor, requestAuthority } from '../http/authority.ts';
import { requestFraming, type Framing } from '../http/framing.ts';
import { equalsIgnoringCase } from '../http/fields.ts';
import { appendEndToEnd, setFraming } from '../http/hop-by-hop.ts';
import type { Authority, OwnRequestHead, RequestHead } from '../http/message.ts';
import { decideRequest, type HttpVerdict, type RequestOverrides } from '../policy/http-policy.ts';
import type { NetworkPolicy } from '../policy/network-policy.ts';
import { secretsForRequest } from '../secrets/applicable-secrets.ts';
import type { BoundSecret } from '../secrets/bound-secret.ts';
import type { BoundService } from '../secrets/bound-service.ts';
import type { BodySubstituter } from '../secrets/substitute-body.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import {
  areEndpointsFor,
  hasParameter,
  overwriteForServices,
  parameterName,
  spelling,
} from '../secrets/substitute-service.ts';
import { decodePercent, type SubstitutionResult, type Substituter } from '../secrets/substitute.ts';
import type { RequestSigner } from '../services/request-signer.ts';
import { reduceAcceptEncoding } from './accept-encoding.ts';
import { describeUnusableValue, type Problem } from './problem.ts';
import type { FieldsWork, RepeatedFields } from './repeated-fields.ts';
import { planRequestBody, prepareBodyFields, VERBATIM, type RequestBodyPlan } from './request-body.ts';
import type { ViolationCheck } from './violation.ts';
import { readUpgrade, setOfferFields, type WebSocketOffer } from './websocket-handshake.ts';

/** The parts of a sandbox's gate that a request passes. */
export interface RequestContext {
  readonly policy: NetworkPolicy;
  readonly secrets: SecretSet;
  readonly substituter: Substituter;
  readonly bodies: BodySubstituter;
  /** Whether the sandbox has any value that must not come back. */
  readonly redacts: boolean;
  /** Null where placeholders pass wherever they are met. */
  readonly violations: ViolationCheck | null;
  /** Who signs requests to a service that asks for it. */
  readonly signerFor: (service: BoundService) => RequestSigner;
}

/** How a request gets its signature, once its body is known as far as that is needed. */
export interface RequestSigning {
  /** The service's name. */
  readonly service: string;
  readonly signer: RequestSigner;
  /** Whether it is signed by the hash of its body. */
  readonly hashes: boolean;
}

/** A request that is to be sent. */
export type ForwardVerdict = Extract<RequestVerdict, { verdict: 'forward' }>;

/** What happened to a request on its way: sent on, or answered by the gate. */
export type RequestVerdict =
  | {
      readonly verdict: 'forward';
      readonly authority: Authority;
      /** The rule for this very request; null where the connection's says it all. */
      readonly rule: string | null;
      readonly head: OwnRequestHead;
      /** What the fields of `head` are taken from, frozen; null where they are the verdict's own. */
      readonly repeated: FieldsWork | null;
      readonly framing: Framing;
      /** What a WebSocket handshake offers; null for any other request. */
      readonly offer: WebSocketOffer | null;
      readonly body: RequestBodyPlan;
      /** The secrets that may be put in: those for this authority, method and path. */
      readonly bound: readonly BoundSecret[];
      /** Tells the fields that its trailers may not have; null where they may have any. */
      readonly guards: ((field: string) => boolean) | null;
      /** Null for a request that is not signed. */
      readonly signing: RequestSigning | null;
      /** Names of the secrets and services put in. */
      readonly released: string[];
      /** Names of secrets whose placeholder stays what it is. */
      readonly stray: string[];
    }
  | { readonly verdict: 'answer'; readonly problem: Problem };

/**
 * Steps 5 to 7: one canonical authority, method and path, substitution, and the head as it is sent. Pure.
 *
 * @param hasUnframedBody a body follows whatever the head says, as in HTTP/2.
 * @param repeats what is known of fields that have come before, where the same array of fields means the same fields.
 */
export function rewriteRequest(
  context: RequestContext,
  origin: Authority,
  head: RequestHead,
  hasUnframedBody = false,
  repeats: RepeatedFields | null = null,
): RequestVerdict {
  if (head.method === 'CONNECT') {
    return refuse(
      405,
      'METHOD_REFUSED',
      'CONNECT is refused: the sandbox needs no proxy, it can connect to any allowed host itself.',
    );
  }
  const known = repeats?.recall(context, origin, head) ?? null;
  if (known !== null) {
    const verdict = repeatRewrite(context, origin, head, known);
    if (verdict !== null) return verdict;
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
  const permission = judge(context, authority, head, target);
  if (permission.verdict === 'deny') {
    const { detail, rule, remedy } = permission;
    return { verdict: 'answer', problem: { status: 403, code: 'REQUEST_DENIED', detail, rule, remedy } };
  }
  // TRACE sends the request back as it arrived: no value goes into it.
  const carries = head.method !== 'TRACE';
  const asSent = target === head.target ? head : { ...head, target };
  const bound = carries ? boundSecrets(context, authority, head, target) : [];
  const result = context.substituter.substituteHead(asSent, bound);
  if (result.verdict === 'failed') return refuseUnusable(result);
  const violation = context.violations?.(result.stray, authority) ?? null;
  if (violation !== null) return { verdict: 'answer', problem: violation };
  const uses = context.secrets.servicesFor(authority);
  const overwritten = uses.length === 0 ? null : overwriteForServices(asSent, result.head, uses, bound, carries);
  if (overwritten?.verdict === 'failed') return refuseUnusable(overwritten);
  const fields = outgoingFields(context, authority, framing, overwritten?.fields ?? result.head.fields);
  if (overwritten !== null) fields.push(...overwritten.written);
  if (offer !== null) setOfferFields(fields, offer);
  const outgoing: OwnRequestHead = {
    method: head.method,
    target: overwritten?.target ?? result.head.target,
    minor: 1,
    fields,
  };
  const service = overwritten?.signing ?? null;
  const signer = service === null ? null : context.signerFor(service);
  const signingPlan = signer?.plan({ authority, head: outgoing }) ?? null;
  if (signingPlan?.kind === 'refused') return refuse(403, 'SIGNATURE_REFUSED', signingPlan.detail);
  // What the client says of a body into which a value is put is not true any more.
  const changes = bound.some(({ locations }) => locations.some(({ kind }) => kind === 'body'));
  const hashes = signingPlan !== null && (signingPlan.kind === 'hashed' || changes);
  const body = planRequestBody(
    head.fields,
    framing.kind === 'none' && hasUnframedBody ? { kind: 'chunked' } : framing,
    bound,
    { scans: context.violations !== null, hashes },
  );
  prepareBodyFields(fields, body);
  const verdict: ForwardVerdict = {
    verdict: 'forward',
    authority,
    rule: permission.rule,
    head: outgoing,
    repeated: null,
    framing,
    offer,
    body,
    bound,
    guards: overwritten?.guards ?? null,
    signing: service === null || signer === null ? null : { service: service.name, signer, hashes },
    released: overwritten === null ? result.released : [...result.released, ...overwritten.released],
    // To its own service a sentinel goes as a rule.
    stray:
      overwritten === null
        ? result.stray
        : result.stray.filter((name) => !uses.some(({ service }) => service.name === name)),
  };
  const endpoints = overwritten?.endpoints ?? [];
  // Only where all but the rule follows from the fields. A body that is looked into or kept may change them.
  const isRepeatable =
    repeats !== null &&
    head.minor === 1 &&
    carries &&
    offer === null &&
    service === null &&
    body.kind === 'verbatim' &&
    !context.substituter.mayOccurInTarget(target);
  if (isRepeatable) repeats.keep(context, origin, head, verdict, endpoints);
  return verdict;
}

/** As {@link rewriteRequest}, of a request whose fields came before; null where more than what is known of them counts. */
function repeatRewrite(
  context: RequestContext,
  origin: Authority,
  head: RequestHead,
  known: FieldsWork,
): ForwardVerdict | null {
  if (head.minor !== 1 || head.method === 'TRACE') return null;
  const named = requestAuthority(head, origin, true);
  if (named.verdict !== 'ok') return null;
  const { authority, target } = named;
  const permission = judge(context, authority, head, target);
  if (permission.verdict !== 'allow') return null;
  if (boundSecrets(context, authority, head, target) !== known.bound) return null;
  if (!areEndpointsFor(known.endpoints, context.secrets.servicesFor(authority), target)) return null;
  if (hasParameter(target, known.parameters)) return null;
  if (context.substituter.mayOccurInTarget(target)) return null;
  return {
    verdict: 'forward',
    authority,
    rule: permission.rule,
    head: { method: head.method, target, minor: 1, fields: known.outgoing },
    repeated: known,
    framing: known.framing,
    offer: null,
    body: VERBATIM,
    bound: known.bound,
    guards: known.guards,
    signing: null,
    released: known.released,
    stray: known.stray,
  };
}

function judge({ policy }: RequestContext, { host, port }: Authority, head: RequestHead, target: string): HttpVerdict {
  const { overrides, targetOverrides } = policy.judgesRequests ? overridesOf(head) : NO_OVERRIDES;
  return decideRequest(policy, host, port, { method: head.method, target, overrides, targetOverrides });
}

function boundSecrets(
  { secrets }: RequestContext,
  authority: Authority,
  head: RequestHead,
  target: string,
): readonly BoundSecret[] {
  return secretsForRequest(secrets.secretsFor(authority), head.method, () => overridesOf(head), target);
}

/**
 * Takes out of a request's trailers, in place, what its head could not have. Returns why they cannot be sent, else null.
 */
export function rewriteTrailers(
  { violations, substituter }: RequestContext,
  { guards, authority }: ForwardVerdict,
  trailers: string[],
): Problem | null {
  if (trailers.length === 0) return null;
  if (guards !== null) {
    const kept = trailers.flatMap((name, index) =>
      index % 2 === 0 && !guards(name) ? [name, trailers[index + 1] ?? ''] : [],
    );
    trailers.splice(0, trailers.length, ...kept);
  }
  return violations?.(substituter.namesIn(trailers), authority) ?? null;
}

/**
 * What is answered to a request that is refused whatever it asks for, and the secrets whose placeholder it holds: one that ends the sandbox
 * does so on its way to a host that is denied, too.
 */
export function judgeRefused(
  { violations, substituter }: RequestContext,
  origin: Authority,
  head: RequestHead,
  refusal: Problem,
): { readonly problem: Problem; readonly stray: string[] } {
  const result = substituter.substituteHead(head, []);
  const stray = result.verdict === 'ok' ? result.stray : [];
  const violation = violations?.(stray, origin) ?? null;
  return { problem: violation?.misuse?.terminates === true ? violation : refusal, stray };
}

function refuseUnusable(
  result: Pick<Extract<SubstitutionResult, { verdict: 'failed' }>, 'code' | 'name' | 'location' | 'reason'>,
): RequestVerdict {
  return { verdict: 'answer', problem: describeUnusableValue(result, `in the ${result.location} of this request`) };
}

/** What some servers take instead of a request's own method and target. */
function overridesOf({ fields, target }: RequestHead): RequestOverrides {
  const valuesOf = (names: ReadonlySet<string>): string[] =>
    fields.flatMap((name, index) => (index % 2 === 0 && names.has(spelling(name)) ? [fields[index + 1] ?? ''] : []));
  const query = target.includes('?') ? target.slice(target.indexOf('?') + 1).split(/[&;]/) : [];
  const inQuery = query.flatMap((piece) => {
    const [name = '', ...value] = piece.split('=');
    return METHOD_NAMES.has(parameterName(name)) ? [decodePercent(value.join('=').replaceAll('+', ' ')).text] : [];
  });
  return {
    overrides: [...valuesOf(METHOD_NAMES).flatMap((value) => value.split(',')), ...inQuery]
      .map((value) => value.trim())
      .filter((value) => value !== ''),
    targetOverrides: valuesOf(TARGET_FIELDS),
  };
}

const NO_OVERRIDES: RequestOverrides = { overrides: [], targetOverrides: [] };

/** Fields by which a client names another target, as some servers and frameworks read them. */
const TARGET_FIELDS: ReadonlySet<string> = new Set(['x-original-url', 'x-rewrite-url']);

/** Fields and parameters by which a client names another method, as frameworks read them. */
const METHOD_NAMES: ReadonlySet<string> = new Set([
  '$httpmethod',
  '_method',
  'x-http-method',
  'x-http-method-override',
  'x-method-override',
]);

function outgoingFields(
  context: RequestContext,
  authority: Authority,
  framing: Framing,
  received: readonly string[],
): string[] {
  const fields: string[] = ['Host', hostFieldFor(authority)];
  let kept = fields.length;
  appendEndToEnd(received, fields);
  for (let index = kept; index + 1 < fields.length; index += 2) {
    const name = fields[index] as string;
    let value = fields[index + 1] as string;
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
        if (context.redacts && equalsIgnoringCase(name, 'accept-encoding')) value = reduceAcceptEncoding(value);
        break;
    }
    fields[kept] = name;
    fields[kept + 1] = value;
    kept += 2;
  }
  fields.length = kept;
  setFraming(fields, framing);
  return fields;
}

/** Fields that ask for a part; Apache takes the last for the first. */
const RANGE_FIELDS = ['range', 'if-range', 'request-range'] as const;

function refuse(status: number, code: Problem['code'], detail: string): RequestVerdict {
  return { verdict: 'answer', problem: { status, code, detail } };
}
