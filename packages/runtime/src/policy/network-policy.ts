import { SallyportError } from '@sallyport/sdk';
import { classifyBytes, type AddressClass } from './address-class.ts';
import { HostIndex } from './host-index.ts';
import { canonicalHost, formatHostAndPort } from './host-name.ts';
import { DEFAULT_PORTS, matchesPort, namesOverlap, parseHostPattern, type HostPattern } from './host-pattern.ts';
import { formatAddress, parseAddress, type AddressBytes } from './ip-address.ts';
import { quote } from './quoted-text.ts';
import { formatRequestLimit, parseRequestLimit, type RequestLimit, type RequestLimitText } from './request-limit.ts';
import type { ResolvePin } from './resolve-pin.ts';
import type { SecretHost } from './secret-host.ts';

/** A pattern, and where it came from as people wrote it (`--allow example.com`). */
export interface NetworkRule {
  readonly pattern: HostPattern;
  readonly origin: string;
  /** The requests that the rule is for; null for all, and for what is no HTTP. */
  readonly limit: RequestLimit | null;
  /** What would take a rule back that denies, in words or as a command. */
  readonly remedy: string;
  /** Whether it was stored, for other sandboxes as well: then it cannot be wrong for one of them, and closes instead. */
  readonly isStored: boolean;
}

/** A rule for some requests only. */
export type LimitedRule = NetworkRule & { readonly limit: RequestLimit };

/** A destination that a secret opens, and whose it is (`--secret GITHUB_TOKEN`). */
export interface SecretHostRule {
  readonly host: SecretHost;
  readonly origin: string;
}

/** What a network policy is made of. Omitted and empty mean the same. */
export interface NetworkPolicyInput {
  readonly secretHosts?: readonly SecretHostRule[];
  readonly allow?: readonly NetworkRule[];
  readonly deny?: readonly NetworkRule[];
  /** TLS destinations that are not intercepted. Naming one allows it; bare `**` only exempts what other rules allow. */
  readonly tunnel?: readonly NetworkRule[];
  readonly resolve?: readonly ResolvePin[];
  /** The name of a sandbox whose rules people change while it runs. Default null: they run again with other options. */
  readonly sandbox?: string | null;
}

/** The rules of one sandbox, compiled. Made by {@link createNetworkPolicy}; its parts are for this module's functions. */
export interface NetworkPolicy {
  readonly secretHosts: HostIndex<SecretHostRule>;
  /** Without limit, as `deny`. */
  readonly allow: HostIndex<NetworkRule>;
  readonly deny: HostIndex<NetworkRule>;
  readonly limitedAllow: HostIndex<LimitedRule>;
  readonly limitedDeny: HostIndex<LimitedRule>;
  /** Whether there is any rule with a limit. */
  readonly judgesRequests: boolean;
  readonly sandbox: string | null;
  readonly tunnel: HostIndex<NetworkRule>;
  readonly pins: ReadonlyMap<string, ResolvePin>;
  readonly ports: readonly number[];
  /** Sentences for people about rules that reach further, or less far, than they look. */
  readonly warnings: readonly string[];
}

/** Whether a sandbox may speak to a host on a port, and how. */
export type HostVerdict =
  | {
      readonly verdict: 'allow';
      /** The rule that allows it, as people wrote it. */
      readonly rule: string;
      readonly protocol: 'tls' | 'http' | 'tcp';
      /** True only with `tls`: the bytes pass through unread. */
      readonly tunnel: boolean;
      /** Whether `decideRequest` has something to say, so that TLS must be opened. */
      readonly perRequest: boolean;
    }
  | {
      readonly verdict: 'deny';
      readonly rule: string;
      /** What to change: the option or command that would allow it, or the rule to remove. */
      readonly remedy: string;
    };

/** Whether an address that a host resolved to may be dialled. */
export type AddressVerdict =
  | { readonly verdict: 'allow'; readonly rule: string; readonly addressClass: AddressClass }
  | { readonly verdict: 'deny'; readonly rule: string; readonly remedy: string; readonly addressClass: AddressClass };

/** Reads one value of `--allow`, `--deny` or `--tunnel`, and remembers it. @throws SallyportError INVALID_HOST_PATTERN. */
export function parseNetworkRule(option: '--allow' | '--deny' | '--tunnel', text: string): NetworkRule {
  const pattern = parseHostPattern(text, 'network');
  const origin = `${option} ${pattern.text}`;
  return { pattern, origin, limit: null, remedy: `remove ${origin}`, isStored: false };
}

/** What a rule that is kept somewhere, and not an option, is made of. */
export interface KeptRule extends RequestLimitText {
  readonly action: 'allow' | 'deny';
  readonly pattern: string;
}

/**
 * Reads a rule that is kept somewhere.
 *
 * @param place who has it: the sandbox of that name, or null for all sandboxes.
 * @param preset the preset that it is of, if any.
 * @throws SallyportError INVALID_HOST_PATTERN, INVALID_METHOD, INVALID_PATH_GLOB.
 */
export function parseKeptRule(rule: KeptRule, place: string | null, preset: string | null = null): NetworkRule {
  const pattern = parseHostPattern(rule.pattern, 'network');
  const limit = parseRequestLimit(rule);
  const scope = place === null ? '' : ` --sandbox ${place}`;
  return {
    pattern,
    origin: `${preset === null ? '' : `preset ${preset}: `}policy ${rule.action} network ${pattern.text}${formatRequestLimit(limit)}${scope}`,
    limit,
    remedy: `sallyport policy rm network ${shellWord(pattern.text)}${scope}`,
    isStored: true,
  };
}

/** A word for a shell's command line. */
export function shellWord(text: string): string {
  return /^[A-Za-z0-9._:/@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * Compiles the rules of one sandbox.
 *
 * @throws SallyportError USAGE for a tunnel over a host that a secret is bound to (the secret could not be put in) or that rules with
 *   methods or a path are for (the gate could not see them), INVALID_RULE for such a rule on a port that another opens for any protocol,
 *   and INVALID_RESOLVE for two pins of one host and port.
 */
export function createNetworkPolicy(input: NetworkPolicyInput): NetworkPolicy {
  const { secretHosts = [], allow = [], deny = [], tunnel = [], resolve = [], sandbox = null } = input;
  const rules = [...allow, ...deny];
  const limited = rules.filter(isLimited);
  const opened = allow.filter((rule) => !isLimited(rule));
  refuseTunnelledSecrets(tunnel, secretHosts);
  refuseUnseenRequests(limited, tunnel, opened);
  const ports = new Set(DEFAULT_PORTS);
  for (const { host } of secretHosts) ports.add(host.port);
  for (const { pattern } of [...rules, ...tunnel]) if (pattern.port !== undefined) ports.add(pattern.port);
  return {
    secretHosts: indexSecretHosts(secretHosts),
    allow: indexRules([...opened, ...tunnel.flatMap(allowTunnelled)]),
    deny: indexRules(deny.filter((rule) => !isLimited(rule))),
    limitedAllow: indexRules(allow.filter(isLimited)),
    limitedDeny: indexRules(deny.filter(isLimited)),
    judgesRequests: limited.length > 0,
    tunnel: indexRules(tunnel),
    pins: indexPins(resolve),
    ports: [...ports].toSorted((a, b) => a - b),
    sandbox,
    warnings: [
      ...warnOfSharedSuffixes(allow),
      ...warnOfNarrowDenials(deny, allow, secretHosts),
      ...warnOfIdleLimits(allow.filter(isLimited), opened),
    ],
  };
}

function isLimited(rule: NetworkRule): rule is LimitedRule {
  return rule.limit !== null;
}

/** Who names a host to be tunnelled wants to reach it, over TLS. `**` names none: it would open everything. */
function allowTunnelled(rule: NetworkRule): NetworkRule[] {
  if (rule.pattern.kind === 'any') return [];
  return [{ ...rule, pattern: { ...rule.pattern, port: rule.pattern.port ?? 443 } }];
}

function indexRules<R extends NetworkRule>(rules: readonly R[]): HostIndex<R> {
  const index = new HostIndex<R>();
  const seen = new Set<string>();
  for (const rule of rules) {
    const key = rule.pattern.text + formatRequestLimit(rule.limit);
    if (seen.has(key)) continue;
    seen.add(key);
    index.add(rule.pattern, rule);
  }
  return index;
}

/** Thousands of secrets for one host are one rule: the first one's. */
function indexSecretHosts(rules: readonly SecretHostRule[]): HostIndex<SecretHostRule> {
  const index = new HostIndex<SecretHostRule>();
  const seen = new Set<string>();
  for (const rule of rules) {
    const key = `${rule.host.scheme} ${rule.host.port} ${rule.host.pattern.text}`;
    if (seen.has(key)) continue;
    seen.add(key);
    index.add(rule.host.pattern, rule);
  }
  return index;
}

function indexPins(pins: readonly ResolvePin[]): ReadonlyMap<string, ResolvePin> {
  const index = new Map<string, ResolvePin>();
  for (const pin of pins) {
    const key = formatHostAndPort(pin.host, pin.port);
    const other = index.get(key);
    if (other !== undefined && (other.address !== pin.address || other.addressPort !== pin.addressPort)) {
      throw new SallyportError(
        'INVALID_RESOLVE',
        `--resolve pins ${key} to two addresses, ${formatHostAndPort(other.address, other.addressPort)} and ${formatHostAndPort(pin.address, pin.addressPort)}. Keep one of them.`,
      );
    }
    index.set(key, pin);
  }
  return index;
}

function refuseTunnelledSecrets(tunnel: readonly NetworkRule[], secretHosts: readonly SecretHostRule[]): void {
  for (const rule of tunnel) {
    for (const { host, origin } of secretHosts) {
      // Port 80 is never tunnelled, so a tunnel without a port leaves cleartext secrets alone.
      if (host.port === 80 || !matchesPort(rule.pattern, host.port)) continue;
      if (!namesOverlap(rule.pattern, host.pattern)) continue;
      throw new SallyportError(
        'USAGE',
        `${rule.origin} exempts a host that ${origin} is bound to (${host.pattern.text}); in a tunnel the gate can put nothing in. Remove one of the two, or name the tunnelled hosts more narrowly.`,
      );
    }
  }
}

/** Methods and paths are seen where HTTP is spoken and opened, so not in a tunnel, and not where anything may be spoken. */
function refuseUnseenRequests(
  limited: readonly LimitedRule[],
  tunnel: readonly NetworkRule[],
  opened: readonly NetworkRule[],
): void {
  for (const rule of limited) {
    if (rule.isStored) continue;
    const { pattern, origin } = rule;
    const tunnelled = tunnel.find(
      (other) =>
        !other.isStored &&
        pattern.port !== 80 &&
        other.pattern.port !== 80 &&
        portsOverlap(pattern, other.pattern) &&
        namesOverlap(pattern, other.pattern),
    );
    if (tunnelled !== undefined) {
      throw new SallyportError(
        'USAGE',
        `${tunnelled.origin} exempts a host that ${origin} is for; in a tunnel the gate sees neither methods nor paths. Remove one of the two, or name the tunnelled hosts more narrowly.`,
      );
    }
    const raw = opened.find(
      (other) =>
        !other.isStored &&
        other.pattern.port !== undefined &&
        !DEFAULT_PORTS.includes(other.pattern.port) &&
        other.pattern.port === pattern.port &&
        namesOverlap(pattern, other.pattern),
    );
    if (raw !== undefined) {
      throw new SallyportError(
        'INVALID_RULE',
        `${raw.origin} opens port ${pattern.port} for any protocol, in which the gate sees neither the methods nor the paths of ${origin}. Remove one of the two.`,
      );
    }
  }
}

function portsOverlap(a: HostPattern, b: HostPattern): boolean {
  if (a.port === undefined) return b.port === undefined || DEFAULT_PORTS.includes(b.port);
  return matchesPort(b, a.port);
}

/** Of more pairs of rules nobody is warned: it would take too long, each time that a sandbox's rules change. */
const MAX_COMPARED_PAIRS = 250_000;

/** Rules allow what any of them allows, so a narrower one beside a wide one changes nothing. */
function warnOfIdleLimits(limited: readonly LimitedRule[], opened: readonly NetworkRule[]): string[] {
  if (limited.length * opened.length > MAX_COMPARED_PAIRS) return [];
  return limited.flatMap(({ pattern, origin }) => {
    const other = opened.find((rule) => portsOverlap(pattern, rule.pattern) && namesOverlap(pattern, rule.pattern));
    return other === undefined
      ? []
      : [
          `${origin}: ${other.origin} allows more. To forbid requests, deny them: sallyport policy deny network ${shellWord(pattern.text)} --method … --path ….`,
        ];
  });
}

function warnOfSharedSuffixes(allow: readonly NetworkRule[]): string[] {
  return allow.flatMap(({ pattern, origin }) =>
    pattern.warning === undefined ? [] : [`${origin}: ${pattern.warning}.`],
  );
}

/** A denial without a port is for 80 and 443, which surprises where another port of the host is open. */
function warnOfNarrowDenials(
  deny: readonly NetworkRule[],
  allow: readonly NetworkRule[],
  secretHosts: readonly SecretHostRule[],
): string[] {
  const opened = [
    ...allow.flatMap(({ pattern, origin }) =>
      pattern.port === undefined ? [] : [{ pattern, origin, port: pattern.port }],
    ),
    ...secretHosts.map(({ host, origin }) => ({ pattern: host.pattern, origin, port: host.port })),
  ].filter(({ port }) => !DEFAULT_PORTS.includes(port));
  const warnings: string[] = [];
  for (const rule of deny) {
    if (rule.pattern.port !== undefined || isLimited(rule)) continue;
    const other = opened.find(({ pattern }) => namesOverlap(pattern, rule.pattern));
    if (other === undefined) continue;
    warnings.push(
      `${rule.origin} is for ports 80 and 443; ${other.origin} still opens port ${other.port}. Add ${rule.origin}:${other.port} to close it.`,
    );
  }
  return warnings;
}

/** The narrowest rule for a host and port. */
export function firstOnPort<R extends NetworkRule>(index: HostIndex<R>, host: string, port: number): R | undefined {
  for (const rule of index.matching(host)) if (matchesPort(rule.pattern, port)) return rule;
  return undefined;
}

/** The secret's rule for a host and port. TLS wins over cleartext where two secrets disagree: it gives less away. */
export function secretOnPort(policy: NetworkPolicy, host: string, port: number): SecretHostRule | undefined {
  let found: SecretHostRule | undefined;
  for (const rule of policy.secretHosts.matching(host)) {
    if (rule.host.port !== port) continue;
    if (rule.host.scheme === 'https') return rule;
    found ??= rule;
  }
  return found;
}

/** What would allow a destination. */
function allowRemedy(policy: NetworkPolicy, host: string, port: number): string {
  const destination = formatHostAndPort(host, port);
  return policy.sandbox === null
    ? `--allow ${destination}`
    : `sallyport policy allow network ${shellWord(destination)} --sandbox ${policy.sandbox}`;
}

/**
 * Decides whether a sandbox may speak to a canonical host on a port. Denial wins; what no rule allows is denied.
 *
 * For a literal address the host is the address; {@link decideAddress} must be asked as well, there and for what a name
 * resolves to. Port 443 is TLS and port 80 HTTP; a port that a secret names is what the secret's scheme says, a port
 * that a tunnel or a rule with methods or a path names is TLS, and anything else is raw TCP. Where `perRequest` is said, each request
 * must be allowed by `decideRequest`.
 */
export function decideHost(policy: NetworkPolicy, host: string, port: number): HostVerdict {
  if (canonicalHost(host) !== host) {
    return {
      verdict: 'deny',
      rule: 'not a valid host name',
      remedy: `use a valid host name instead of ${quote(host)}`,
    };
  }
  const denied = firstOnPort(policy.deny, host, port);
  if (denied !== undefined) {
    return { verdict: 'deny', rule: denied.origin, remedy: denied.remedy };
  }
  const limited = policy.judgesRequests ? firstOnPort(policy.limitedAllow, host, port) : undefined;
  const secret = secretOnPort(policy, host, port);
  const allowed = secret ?? firstOnPort(policy.allow, host, port) ?? limited;
  if (allowed === undefined) {
    return { verdict: 'deny', rule: 'no rule allows it', remedy: allowRemedy(policy, host, port) };
  }
  const perRequest =
    limited !== undefined || (policy.judgesRequests && firstOnPort(policy.limitedDeny, host, port) !== undefined);
  const tunnel =
    !perRequest && secret === undefined && port !== 80 && firstOnPort(policy.tunnel, host, port) !== undefined;
  return {
    verdict: 'allow',
    rule: allowed.origin,
    protocol: protocolOf(secret, port, tunnel || perRequest),
    tunnel,
    perRequest,
  };
}

function protocolOf(secret: SecretHostRule | undefined, port: number, isTls: boolean): 'tls' | 'http' | 'tcp' {
  if (secret !== undefined) return secret.host.scheme === 'https' ? 'tls' : 'http';
  if (port === 80) return 'http';
  return port === 443 || isTls ? 'tls' : 'tcp';
}

/** How narrow a rule for addresses is: the prefix length of its block. */
function ruleBits(pattern: HostPattern, bytes: AddressBytes): number {
  return pattern.kind === 'network' ? pattern.block.prefixBits : bytes.length * 8;
}

/** The allow rule that names this special address: one no wider than the special block, or it meant another thing. */
function namingRule(
  policy: NetworkPolicy,
  host: string,
  ip: string,
  port: number,
  bytes: AddressBytes,
  blockBits: number,
): NetworkRule | undefined {
  const names = ({ pattern }: NetworkRule): boolean =>
    matchesPort(pattern, port) && ruleBits(pattern, bytes) >= blockBits;
  for (const rule of policy.allow.matching(ip)) if (names(rule)) return rule;
  // Its requests are judged by the address only where that is the host.
  if (host === ip) for (const rule of policy.limitedAllow.matching(ip)) if (names(rule)) return rule;
  return undefined;
}

/**
 * Decides whether an address may be dialled for a host that {@link decideHost} allowed.
 *
 * A denial that covers the address wins. A public address is fine. One of a special class (see `classifyAddress`) needs
 * an allow rule that names it, or a block no wider than the special one that it lies in (`0.0.0.0/0` opens no private
 * address, `169.254.0.0/16` not the metadata service), or a pin by `--resolve`; or it is the literal host that a secret names.
 *
 * @param ip the address to be dialled, without brackets; IPv4-mapped is taken as IPv4.
 * @param port the port that the sandbox asked for, which is also the one that rules and pins are looked up by.
 */
export function decideAddress(policy: NetworkPolicy, host: string, port: number, ip: string): AddressVerdict {
  const bytes = parseAddress(ip);
  if (bytes === null) {
    return {
      verdict: 'deny',
      rule: 'not a valid address',
      remedy: `use a valid address instead of ${quote(ip)}`,
      addressClass: 'invalid',
    };
  }
  const address = formatAddress(bytes);
  const { addressClass, blockBits } = classifyBytes(bytes);
  // A denial of some requests to an address is of all that reach it by a name: they are judged by the name.
  const denied =
    firstOnPort(policy.deny, address, port) ??
    (host === address ? undefined : firstOnPort(policy.limitedDeny, address, port));
  if (denied !== undefined) {
    return { verdict: 'deny', rule: denied.origin, remedy: denied.remedy, addressClass };
  }
  if (addressClass === 'public') return { verdict: 'allow', rule: 'public address', addressClass };
  const pin = pinnedAddress(policy, host, port);
  if (pin?.address === address) {
    return { verdict: 'allow', rule: `--resolve ${formatHostAndPort(host, port)}`, addressClass };
  }
  const naming = namingRule(policy, host, address, port, bytes, blockBits);
  if (naming !== undefined) return { verdict: 'allow', rule: naming.origin, addressClass };
  const secret = host === address ? secretOnPort(policy, host, port) : undefined;
  if (secret !== undefined) return { verdict: 'allow', rule: secret.origin, addressClass };
  return {
    verdict: 'deny',
    rule: `${addressClass} addresses are denied unless a rule names them`,
    remedy: allowRemedy(policy, address, port),
    addressClass,
  };
}

/** The operator's pin for a canonical host and port, or undefined. {@link decideAddress} still decides about its address. */
export function pinnedAddress(policy: NetworkPolicy, host: string, port: number): ResolvePin | undefined {
  return policy.pins.get(formatHostAndPort(host, port));
}

/** The ports that need a listener: 80, 443 and every port that a rule names, ascending. */
export function listeningPorts(policy: NetworkPolicy): readonly number[] {
  return policy.ports;
}
