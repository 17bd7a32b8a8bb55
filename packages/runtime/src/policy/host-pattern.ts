import { SallyportError } from '@sallyport/sdk';
import { formatHost, parsePort, readHost, splitHostAndPort } from './host-name.ts';
import { formatBlock, inBlock, parseAddress, parseBlock, type AddressBlock } from './ip-address.ts';
import { mixesScripts } from './label-script.ts';
import { classifySuffix } from './public-suffix.ts';
import { quote } from './quoted-text.ts';

/** What a pattern is for: a network rule may be CIDR or `**`, a secret's destination may not. */
export type PatternPurpose = 'network' | 'secret';

interface PatternBase {
  /** The canonical text; parsing it gives the same pattern again. */
  readonly text: string;
  /** The only port that matches. Without one: 80 and 443. */
  readonly port?: number;
  /** A sentence for people: why the pattern reaches further than it looks. */
  readonly warning?: string;
}

/** What a host pattern matches. All names and addresses in it are canonical. */
export type HostPattern =
  /** One name or address. */
  | (PatternBase & { readonly kind: 'exact'; readonly host: string })
  /** `*.suffix`: exactly one label before the suffix. */
  | (PatternBase & { readonly kind: 'child'; readonly suffix: string })
  /** `**.suffix`: one label or more before the suffix. */
  | (PatternBase & { readonly kind: 'descendant'; readonly suffix: string })
  /** `**`: any name, but no address. */
  | (PatternBase & { readonly kind: 'any' })
  /** `ADDRESS/BITS`: every address of the block. */
  | (PatternBase & { readonly kind: 'network'; readonly block: AddressBlock });

/** The ports of a pattern that names none. */
export const DEFAULT_PORTS: readonly number[] = [80, 443];

/**
 * A pattern, or what is wrong with the text.
 *
 * `problem` never repeats the text (beside a secret's value it could be a piece of it); `fix` may.
 */
export type PatternReading = { readonly pattern: HostPattern } | { readonly problem: string; readonly fix?: string };

function withPort(port: number | undefined): { port?: number } {
  return port === undefined ? {} : { port };
}

function portSuffix(port: number | undefined): string {
  return port === undefined ? '' : `:${port}`;
}

/** Reads the text after a port's colon; undefined stays undefined. `problem` never repeats the text. */
export function readPort(
  text: string | undefined,
): { readonly port: number | undefined } | { readonly problem: string } {
  if (text === undefined) return { port: undefined };
  const port = parsePort(text);
  if (port !== null) return { port };
  return { problem: text === '' ? 'the port after ":" is empty' : 'the port is no number from 1 to 65535' };
}

function readNetwork(text: string, purpose: PatternPurpose): PatternReading {
  // The port's colon is the one after the slash; IPv6 has its own before it.
  const colon = text.indexOf(':', text.indexOf('/'));
  const reading = parseBlock(colon < 0 ? text : text.slice(0, colon));
  if ('wrong' in reading) {
    return reading.wrong === 'prefix'
      ? { problem: 'the prefix length is no number from 0 to 32 (IPv4) or 128 (IPv6)' }
      : {
          problem: 'it has a path or is a URL ("/")',
          fix: 'Write just the host, HOST or HOST:PORT, or an address range such as 10.0.0.0/8.',
        };
  }
  const port = readPort(colon < 0 ? undefined : text.slice(colon + 1));
  if ('problem' in port) return port;
  if (purpose === 'secret') {
    return { problem: 'a secret cannot be bound to an address range', fix: 'Name each host.' };
  }
  if ('meant' in reading) {
    return {
      problem: 'the address has bits beyond the prefix length',
      fix: `Write ${formatBlock(reading.meant)} for the range, or the address alone.`,
    };
  }
  const { block } = reading;
  return {
    pattern: { kind: 'network', block, text: formatBlock(block) + portSuffix(port.port), ...withPort(port.port) },
  };
}

/** Leading stars of a pattern: `*.` and `**.` are wildcards, everything else with a star in it is wrong. */
function splitStars(host: string): { readonly stars: number; readonly rest: string } {
  if (host.startsWith('**.')) return { stars: 2, rest: host.slice(3) };
  if (host.startsWith('*.')) return { stars: 1, rest: host.slice(2) };
  return { stars: 0, rest: host };
}

function readWildcard(stars: number, rest: string, port: number | undefined): PatternReading {
  if (rest.includes('*')) {
    return { problem: 'it has more than one wildcard', fix: 'Write *.NAME for one label, or **.NAME for any depth.' };
  }
  if (rest === '') return { problem: 'no name follows the wildcard', fix: 'Write *.NAME or **.NAME.' };
  const reading = readHost(rest);
  if ('problem' in reading) return { problem: `the name after the wildcard ${reading.problem}` };
  const suffix = reading.host;
  if (parseAddress(suffix) !== null) return { problem: 'a wildcard cannot stand before an address' };
  const ownership = classifySuffix(suffix);
  if (ownership === 'registry') {
    return {
      problem: 'the wildcard covers a public suffix, below which the names belong to unrelated people',
      fix: 'Name the registered domain too, as in *.example.com.',
    };
  }
  const text = `${'*'.repeat(stars)}.${suffix}${portSuffix(port)}`;
  const warning =
    ownership === 'shared'
      ? { warning: `${text}: names below ${suffix} belong to different customers of one service` }
      : {};
  return { pattern: { kind: stars === 1 ? 'child' : 'descendant', suffix, text, ...withPort(port), ...warning } };
}

function hasMixedLabel(host: string): boolean {
  return host.split('.').some(mixesScripts);
}

/** As {@link parseHostPattern}, with what is wrong as data instead of an error. */
export function readHostPattern(text: string, purpose: PatternPurpose): PatternReading {
  if (text === '') return { problem: 'it is empty' };
  if (text.includes('://')) {
    return {
      problem: 'it is a URL',
      fix: 'Write just the host, HOST or HOST:PORT; only the hosts of a secret may begin with http:// or https://, and none has a path.',
    };
  }
  if (text.includes('@'))
    return { problem: 'it has a user part ("@")', fix: 'Write just the host, HOST or HOST:PORT.' };
  if (text.includes('/')) return readNetwork(text, purpose);
  const parts = splitHostAndPort(text);
  if (parts === null) {
    const bytes = parseAddress(text);
    return bytes === null
      ? {
          problem: 'it has a colon or a bracket where none may stand',
          fix: 'Write HOST, HOST:PORT, [IPV6] or [IPV6]:PORT.',
        }
      : {
          problem: 'an IPv6 address stands in brackets, or its end could be a port',
          fix: `Write [${text}] or [${text}]:PORT.`,
        };
  }
  const port = readPort(parts.port);
  if ('problem' in port) return port;
  const { host } = parts;
  if (host === '**') {
    return purpose === 'network'
      ? { pattern: { kind: 'any', text: `**${portSuffix(port.port)}`, ...withPort(port.port) } }
      : { problem: '"**" is every host, and a secret goes to named hosts only', fix: 'Name each host.' };
  }
  if (host === '*') {
    return { problem: '"*" alone is no host', fix: 'Write *.NAME for one label, or **.NAME for any depth.' };
  }
  // What a person takes for another name must not be typed or pasted by mistake; the A-label says it on purpose.
  if (host.length <= MAX_TEXT_FOR_SCRIPTS && hasMixedLabel(host)) {
    const reading = readHost(splitStars(host).rest);
    return {
      problem: 'a label mixes letters of different scripts, as look-alike names do',
      ...('host' in reading ? { fix: `If this name is meant, write it as ${reading.host}.` } : {}),
    };
  }
  const { stars, rest } = splitStars(host);
  if (stars > 0) return readWildcard(stars, rest, port.port);
  if (host.includes('*')) {
    return {
      problem: 'a wildcard may only be the whole first label',
      fix: 'Write *.NAME for one label, or **.NAME for any depth.',
    };
  }
  const reading = readHost(host);
  if ('problem' in reading) return { problem: `the host ${reading.problem}` };
  const shown = formatHost(reading.host) + portSuffix(port.port);
  return { pattern: { kind: 'exact', host: reading.host, text: shown, ...withPort(port.port) } };
}

/** Longer text is no host anyway; script tests stay bounded. */
const MAX_TEXT_FOR_SCRIPTS = 512;

/**
 * Reads a host pattern: `HOST[:PORT]` with HOST a name, an IPv4 address, IPv6 in brackets, `*.NAME` (one label more),
 * `**.NAME` (one or more); for network rules also `ADDRESS/BITS[:PORT]` without host bits and `**` (any name).
 *
 * Wildcards over a public suffix or a single label, partial wildcards, URLs, paths, users, labels of mixed scripts
 * and an address range with host bits set are refused.
 *
 * @throws SallyportError INVALID_HOST_PATTERN, naming the part that is wrong and what would be right.
 */
export function parseHostPattern(text: string, purpose: PatternPurpose): HostPattern {
  const reading = readHostPattern(text, purpose);
  if ('pattern' in reading) return reading.pattern;
  const fix = reading.fix ?? 'Write HOST or HOST:PORT, as in api.example.com or *.example.com:8443.';
  throw new SallyportError('INVALID_HOST_PATTERN', `Host pattern ${quote(text)}: ${reading.problem}. ${fix}`);
}

function isBelow(name: string, suffix: string): boolean {
  return name.length > suffix.length + 1 && name.endsWith(suffix) && name[name.length - suffix.length - 1] === '.';
}

/** True when the pattern covers a canonical host, whatever the port. */
export function matchesName(pattern: HostPattern, host: string): boolean {
  switch (pattern.kind) {
    case 'exact':
      return host === pattern.host;
    case 'child':
      return isBelow(host, pattern.suffix) && host.indexOf('.') === host.length - pattern.suffix.length - 1;
    case 'descendant':
      return isBelow(host, pattern.suffix);
    case 'any':
      return parseAddress(host) === null;
    case 'network': {
      const bytes = parseAddress(host);
      return bytes !== null && inBlock(bytes, pattern.block);
    }
  }
}

/** True when the pattern covers a port: its own, or 80 and 443 where it names none. */
export function matchesPort(pattern: HostPattern, port: number): boolean {
  return pattern.port === undefined ? DEFAULT_PORTS.includes(port) : pattern.port === port;
}

/** True when the pattern covers a canonical host (see `canonicalHost`) on a port. */
export function matchesHost(pattern: HostPattern, host: string, port: number): boolean {
  return matchesPort(pattern, port) && matchesName(pattern, host);
}

/** True when some host is covered by both patterns, whatever the ports. */
export function namesOverlap(a: HostPattern, b: HostPattern): boolean {
  if (a.kind === 'exact') return matchesName(b, a.host);
  if (b.kind === 'exact') return matchesName(a, b.host);
  if (a.kind === 'network' || b.kind === 'network') {
    return (
      a.kind === 'network' &&
      b.kind === 'network' &&
      (inBlock(a.block.bytes, b.block) || inBlock(b.block.bytes, a.block))
    );
  }
  if (a.kind === 'any' || b.kind === 'any' || a.suffix === b.suffix) return true;
  // `*.a.x` has hosts below `**.x`; two different `*.` suffixes have none in common.
  return (
    (b.kind === 'descendant' && isBelow(a.suffix, b.suffix)) || (a.kind === 'descendant' && isBelow(b.suffix, a.suffix))
  );
}
