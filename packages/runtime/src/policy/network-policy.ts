import { SallyportError } from '@sallyport/sdk';
import { classifyBytes, type AddressClass } from './address-class.ts';
import { HostIndex } from './host-index.ts';
import { canonicalHost, formatHostAndPort } from './host-name.ts';
import { DEFAULT_PORTS, matchesPort, namesOverlap, parseHostPattern, type HostPattern } from './host-pattern.ts';
import { formatAddress, parseAddress, type AddressBytes } from './ip-address.ts';
import { quote } from './quoted-text.ts';
import type { ResolvePin } from './resolve-pin.ts';
import type { SecretHost } from './secret-host.ts';

/** A pattern, and the option it came from as people wrote it (`--allow example.com`). */
export interface NetworkRule {
  readonly pattern: HostPattern;
  readonly origin: string;
}

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
}

/** The rules of one sandbox, compiled. Made by {@link createNetworkPolicy}; its parts are for this module's functions. */
export interface NetworkPolicy {
  readonly secretHosts: HostIndex<SecretHostRule>;
  readonly allow: HostIndex<NetworkRule>;
  readonly deny: HostIndex<NetworkRule>;
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
    }
  | {
      readonly verdict: 'deny';
      readonly rule: string;
      /** What to change, as an option: the one that would allow it, or the one to remove. */
      readonly remedy: string;
    };

/** Whether an address that a host resolved to may be dialled. */
export type AddressVerdict =
  | { readonly verdict: 'allow'; readonly rule: string; readonly addressClass: AddressClass }
  | { readonly verdict: 'deny'; readonly rule: string; readonly remedy: string; readonly addressClass: AddressClass };

/** Reads one value of `--allow`, `--deny` or `--tunnel`, and remembers it. @throws SallyportError INVALID_HOST_PATTERN. */
export function parseNetworkRule(option: '--allow' | '--deny' | '--tunnel', text: string): NetworkRule {
  const pattern = parseHostPattern(text, 'network');
  return { pattern, origin: `${option} ${pattern.text}` };
}

/**
 * Compiles the rules of one sandbox.
 *
 * @throws SallyportError USAGE for a tunnel over a host that a secret is bound to (the secret could not be put in), and
 *   INVALID_RESOLVE for two pins of one host and port.
 */
export function createNetworkPolicy(input: NetworkPolicyInput): NetworkPolicy {
  const { secretHosts = [], allow = [], deny = [], tunnel = [], resolve = [] } = input;
  refuseTunnelledSecrets(tunnel, secretHosts);
  const ports = new Set(DEFAULT_PORTS);
  for (const { host } of secretHosts) ports.add(host.port);
  for (const { pattern } of [...allow, ...deny, ...tunnel]) if (pattern.port !== undefined) ports.add(pattern.port);
  return {
    secretHosts: indexSecretHosts(secretHosts),
    allow: indexRules([...allow, ...tunnel.flatMap(allowTunnelled)]),
    deny: indexRules(deny),
    tunnel: indexRules(tunnel),
    pins: indexPins(resolve),
    ports: [...ports].toSorted((a, b) => a - b),
    warnings: [...warnOfSharedSuffixes(allow), ...warnOfNarrowDenials(deny, allow, secretHosts)],
  };
}

/** Who names a host to be tunnelled wants to reach it, over TLS. `**` names none: it would open everything. */
function allowTunnelled(rule: NetworkRule): NetworkRule[] {
  if (rule.pattern.kind === 'any') return [];
  return [{ ...rule, pattern: { ...rule.pattern, port: rule.pattern.port ?? 443 } }];
}

function indexRules(rules: readonly NetworkRule[]): HostIndex<NetworkRule> {
  const index = new HostIndex<NetworkRule>();
  const seen = new Set<string>();
  for (const rule of rules) {
    if (seen.has(rule.pattern.text)) continue;
    seen.add(rule.pattern.text);
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
    if (rule.pattern.port !== undefined) continue;
    const other = opened.find(({ pattern }) => namesOverlap(pattern, rule.pattern));
    if (other === undefined) continue;
    warnings.push(
      `${rule.origin} is for ports 80 and 443; ${other.origin} still opens port ${other.port}. Add ${rule.origin}:${other.port} to close it.`,
    );
  }
  return warnings;
}

function firstOnPort(index: HostIndex<NetworkRule>, host: string, port: number): NetworkRule | undefined {
  for (const rule of index.matching(host)) if (matchesPort(rule.pattern, port)) return rule;
  return undefined;
}

/** The secret's rule for a host and port. TLS wins over cleartext where two secrets disagree: it gives less away. */
function secretOnPort(policy: NetworkPolicy, host: string, port: number): SecretHostRule | undefined {
  let found: SecretHostRule | undefined;
  for (const rule of policy.secretHosts.matching(host)) {
    if (rule.host.port !== port) continue;
    if (rule.host.scheme === 'https') return rule;
    found ??= rule;
  }
  return found;
}

/**
 * Decides whether a sandbox may speak to a canonical host on a port. Denial wins; what no rule allows is denied.
 *
 * For a literal address the host is the address; {@link decideAddress} must be asked as well, there and for what a name
 * resolves to. Port 443 is TLS and port 80 HTTP; a port that a secret names is what the secret's scheme says, a port
 * that a tunnel names is TLS, and anything else is raw TCP.
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
    return { verdict: 'deny', rule: denied.origin, remedy: `remove ${denied.origin}` };
  }
  const secret = secretOnPort(policy, host, port);
  const allowed = secret ?? firstOnPort(policy.allow, host, port);
  if (allowed === undefined) {
    return { verdict: 'deny', rule: 'no rule allows it', remedy: `--allow ${formatHostAndPort(host, port)}` };
  }
  const tunnel = secret === undefined && port !== 80 && firstOnPort(policy.tunnel, host, port) !== undefined;
  return { verdict: 'allow', rule: allowed.origin, protocol: protocolOf(secret, port, tunnel), tunnel };
}

function protocolOf(secret: SecretHostRule | undefined, port: number, tunnel: boolean): 'tls' | 'http' | 'tcp' {
  if (secret !== undefined) return secret.host.scheme === 'https' ? 'tls' : 'http';
  if (port === 443 || tunnel) return 'tls';
  return port === 80 ? 'http' : 'tcp';
}

/** How narrow a rule for addresses is: the prefix length of its block. */
function ruleBits(pattern: HostPattern, bytes: AddressBytes): number {
  return pattern.kind === 'network' ? pattern.block.prefixBits : bytes.length * 8;
}

/** The allow rule that names this special address: one no wider than the special block, or it meant another thing. */
function namingRule(
  policy: NetworkPolicy,
  ip: string,
  port: number,
  bytes: AddressBytes,
  blockBits: number,
): NetworkRule | undefined {
  for (const rule of policy.allow.matching(ip)) {
    if (matchesPort(rule.pattern, port) && ruleBits(rule.pattern, bytes) >= blockBits) return rule;
  }
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
  const denied = firstOnPort(policy.deny, address, port);
  if (denied !== undefined) {
    return { verdict: 'deny', rule: denied.origin, remedy: `remove ${denied.origin}`, addressClass };
  }
  if (addressClass === 'public') return { verdict: 'allow', rule: 'public address', addressClass };
  const pin = pinnedAddress(policy, host, port);
  if (pin?.address === address) {
    return { verdict: 'allow', rule: `--resolve ${formatHostAndPort(host, port)}`, addressClass };
  }
  const naming = namingRule(policy, address, port, bytes, blockBits);
  if (naming !== undefined) return { verdict: 'allow', rule: naming.origin, addressClass };
  const secret = host === address ? secretOnPort(policy, host, port) : undefined;
  if (secret !== undefined) return { verdict: 'allow', rule: secret.origin, addressClass };
  return {
    verdict: 'deny',
    rule: `${addressClass} addresses are denied unless a rule names them`,
    remedy: `--allow ${formatHostAndPort(address, port)}`,
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
