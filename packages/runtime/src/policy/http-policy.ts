import { formatHostAndPort } from './host-name.ts';
import { matchesPort } from './host-pattern.ts';
import { firstOnPort, secretOnPort, shellWord, type LimitedRule, type NetworkPolicy } from './network-policy.ts';
import { canonicalPath } from './path-glob.ts';
import { coversRequest, mayCoverRequest } from './request-limit.ts';
import { quote } from './quoted-text.ts';

/** What a request asks a server to take it for, instead of what it is; some servers do. */
export interface RequestOverrides {
  /** Other methods: `X-HTTP-Method-Override` and its like. */
  readonly overrides: readonly string[];
  /** Other targets: `X-Original-URL` and its like. */
  readonly targetOverrides: readonly string[];
}

/** What is judged of a request to a host that is allowed. */
export interface JudgedRequest extends RequestOverrides {
  /** As it was sent: methods are case-sensitive. */
  readonly method: string;
  /** In origin-form, as it was sent. */
  readonly target: string;
}

/** Whether a request may be sent. */
export type HttpVerdict =
  /** `rule` is null where the connection's rule says it all. */
  | { readonly verdict: 'allow'; readonly rule: string | null }
  | { readonly verdict: 'deny'; readonly detail: string; readonly rule: string; readonly remedy: string };

/** Other methods and targets that one request may name. More have no meaning, and each with each other is compared to every rule. */
const MAX_OVERRIDES = 8;
/** Longer paths are not repeated in a remedy. */
const MAX_SHOWN_PATH_CHARACTERS = 120;

const ALLOWED: HttpVerdict = { verdict: 'allow', rule: null };

/**
 * Step 6: decides about the method and path of a request to a host that `decideHost` allowed. Pure.
 *
 * Denial wins. A rule without methods and path allows every request; one with them those that surely are what it says, for every method
 * and path that the request names; one that names too many is denied by each and allowed by none. Where rules with methods or a path allow a host, that a secret is bound to it opens no more than they do.
 */
export function decideRequest(policy: NetworkPolicy, host: string, port: number, request: JudgedRequest): HttpVerdict {
  if (!policy.judgesRequests) return ALLOWED;
  const denials = limitedOnPort(policy.limitedDeny.matching(host), port);
  const permissions = limitedOnPort(policy.limitedAllow.matching(host), port);
  if (denials.length === 0 && permissions.length === 0) return ALLOWED;
  const path = canonicalPath(request.target);
  const isTold = request.overrides.length + request.targetOverrides.length <= MAX_OVERRIDES;
  const methods = isTold ? [request.method, ...request.overrides] : [];
  const paths = isTold ? [path, ...request.targetOverrides.map((target) => canonicalPath(target))] : [];
  const readings = methods.flatMap((method) => paths.map((one) => ({ method, path: one })));
  for (const rule of denials) {
    if (isTold && !readings.some((reading) => mayCoverRequest(rule.limit, reading.method, reading.path))) continue;
    return {
      verdict: 'deny',
      detail: `The network policy of this sandbox denies ${describe(request, path)} on ${host}.`,
      rule: rule.origin,
      remedy: rule.remedy,
    };
  }
  if (firstOnPort(policy.allow, host, port) !== undefined) return ALLOWED;
  if (permissions.length === 0 && secretOnPort(policy, host, port) !== undefined) return ALLOWED;
  const covering = readings.map((reading) =>
    permissions.find(({ limit }) => coversRequest(limit, reading.method, reading.path)),
  );
  const [rule] = covering;
  if (rule !== undefined && !covering.includes(undefined)) return { verdict: 'allow', rule: rule.origin };
  return {
    verdict: 'deny',
    detail: `The network policy of this sandbox allows ${host} for some requests only, and ${describe(request, path)} is none of them.`,
    rule: 'no rule allows this request',
    remedy: remedyFor(policy, host, port, methods, paths.length === 1 ? path : null),
  };
}

function limitedOnPort(rules: Iterable<LimitedRule>, port: number): LimitedRule[] {
  const found: LimitedRule[] = [];
  for (const rule of rules) if (matchesPort(rule.pattern, port)) found.push(rule);
  return found;
}

/** A method and a path for a message; what the sandbox wrote is quoted, so that nothing in it is obeyed. */
function describe({ method, overrides, targetOverrides }: JudgedRequest, path: string | null): string {
  const also = [...overrides, ...targetOverrides];
  const others = also.length > MAX_OVERRIDES ? `${also.length} others` : also.map(quote).join(', ');
  const named = also.length === 0 ? method : `${method} (as ${others})`;
  return path === null ? `${named} of a path that servers read in different ways` : `${named} ${quote(path)}`;
}

function remedyFor(
  policy: NetworkPolicy,
  host: string,
  port: number,
  methods: readonly string[],
  path: string | null,
): string {
  const scope = policy.sandbox === null ? '' : ` --sandbox ${policy.sandbox}`;
  const command = `sallyport policy allow network ${shellWord(formatHostAndPort(host, port))}${scope}`;
  const isPlain = methods.every((method) => /^[A-Z]{1,32}$/.test(method)) && path !== null;
  // Not every path can be written as a glob.
  if (!isPlain || path.length > MAX_SHOWN_PATH_CHARACTERS || /[*%?#]/.test(path)) return command;
  return `${command} --method ${[...new Set(methods)].join(',')} --path ${shellWord(path)}`;
}
