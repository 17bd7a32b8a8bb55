import { canonicalAuthority, formatHost, formatHostAndPort } from '../policy/host-name.ts';
import { equalsIgnoringCase } from './fields.ts';
import type { Authority, RequestHead } from './message.ts';

/**
 * Which origin a request is for, decided once.
 *
 * `mismatch` is for a well-formed request that names another origin than its connection (421), `malformed` for one whose origin
 * cannot be told (400). A `reason` never quotes the request.
 */
export type AuthorityVerdict =
  | {
      readonly verdict: 'ok';
      readonly authority: Authority;
      /** The target in origin-form, or `*`: what policy judges and what the upstream receives. */
      readonly target: string;
    }
  | { readonly verdict: 'mismatch' | 'malformed'; readonly reason: string };

/** The four forms of a request-target (RFC 9112 section 3.2). */
export type TargetForm = 'origin' | 'absolute' | 'authority' | 'asterisk';

/**
 * The form that a target has, as far as the method permits that form: `*` only with OPTIONS (section 3.2.4), authority-form exactly
 * with CONNECT (section 3.2.3), absolute-form only with `http` or `https`. Null for anything else.
 */
export function targetForm(method: string, target: string): TargetForm | null {
  if (method === 'CONNECT') return /^[^/?#@\\]+$/.test(target) ? 'authority' : null;
  if (target.charCodeAt(0) === 0x2f) return 'origin';
  if (target === '*') return method === 'OPTIONS' ? 'asterisk' : null;
  return schemeOf(target) === null ? null : 'absolute';
}

/**
 * Compares everything that names an origin in a request (Host, absolute-form target) with the connection's own, whose `host` is
 * canonical, and gives the one authority that everything later reads.
 *
 * - Exactly one Host field in HTTP/1.1 (RFC 9112 section 3.2), at most one in 1.0, where none means the connection's host. It is
 *   there and must agree also when the target is in absolute-form, where the RFC would have it ignored.
 * - Hosts compare in canonical form, ports after the scheme's default is put in.
 * - User information in an absolute-form target is refused (RFC 9110 section 4.2.4), as is CONNECT, which names a tunnel.
 * - A target with `#` or `\` is refused: RFC 3986 has neither in a path or query, and URL parsers take them for the end of the
 *   path and for `/`, so that policy and upstream could see two paths. Other bytes, percent-encoding included, stay as they are.
 *
 * @param hostAgrees the same Host field has been compared with the same connection before, in HTTP/1.1, and is not read again.
 */
export function requestAuthority(head: RequestHead, connection: Authority, hostAgrees = false): AuthorityVerdict {
  const { method, target, fields } = head;
  const form = targetForm(method, target);
  if (form === null) return malformed('the request-target has none of the forms that its method permits');
  if (form === 'authority') return malformed('CONNECT asks for a tunnel, which is not offered here');
  if (target.includes('#')) return malformed('the request-target holds "#": a fragment is never sent');
  if (target.includes('\\')) return malformed('the request-target holds a backslash: write it as %5C');

  if (!hostAgrees) {
    let hosts = 0;
    let host = '';
    for (let i = 0; i < fields.length; i += 2) {
      if (!equalsIgnoringCase(fields[i]!, 'host')) continue;
      hosts++;
      host = fields[i + 1]!;
    }
    if (hosts > 1) return malformed('there is more than one Host field');
    if (hosts === 0 && head.minor === 1) return malformed('there is no Host field, which HTTP/1.1 requires');
    if (hosts === 1) {
      const problem = compare(host, connection, 'the Host field');
      if (problem !== null) return problem;
    }
  }
  if (form !== 'absolute') return { verdict: 'ok', authority: connection, target };

  const scheme = schemeOf(target)!;
  const authorityStart = scheme.length + 3;
  const authorityEnd = endOfAuthority(target, authorityStart);
  const authority = target.slice(authorityStart, authorityEnd);
  if (authority.includes('@')) return malformed('the request-target holds user information');
  if (scheme !== connection.scheme) return mismatch('the request-target has another scheme than the connection');
  const problem = compare(authority, connection, 'the request-target');
  if (problem !== null) return problem;
  return { verdict: 'ok', authority: connection, target: originForm(method, target.slice(authorityEnd)) };
}

/** The Host field for requests to that origin: the port is left out where it is the scheme's default. */
export function hostFieldFor(authority: Authority): string {
  return authority.port === defaultPort(authority.scheme)
    ? formatHost(authority.host)
    : formatHostAndPort(authority.host, authority.port);
}

function compare(text: string, connection: Authority, where: string): AuthorityVerdict | null {
  const schemePort = defaultPort(connection.scheme);
  // What nearly every request says needs no canonicalization: a canonical name is its own canonical form.
  if (text === connection.host && connection.port === schemePort && !text.includes(':')) return null;
  const named = canonicalAuthority(text, schemePort);
  if (named === null) return malformed(`${where} does not hold one host name or address with an optional port`);
  if (named.host !== connection.host) return mismatch(`${where} names another host than the connection`);
  if (named.port !== connection.port) return mismatch(`${where} names another port than the connection`);
  return null;
}

/** The scheme of an absolute-form target in lower case, or null when it is not `http://` or `https://`. */
function schemeOf(target: string): Authority['scheme'] | null {
  const start = target.slice(0, 8).toLowerCase();
  if (start === 'https://') return 'https';
  return start.startsWith('http://') ? 'http' : null;
}

function endOfAuthority(target: string, start: number): number {
  for (let at = start; at < target.length; at++) {
    const octet = target.charCodeAt(at);
    if (octet === 0x2f || octet === 0x3f) return at;
  }
  return target.length;
}

/** RFC 9112 section 3.2.1: an empty path is `/`; section 3.2.4: OPTIONS without path and query is `*`. */
function originForm(method: string, pathAndQuery: string): string {
  if (pathAndQuery === '') return method === 'OPTIONS' ? '*' : '/';
  return pathAndQuery.startsWith('?') ? `/${pathAndQuery}` : pathAndQuery;
}

function defaultPort(scheme: Authority['scheme']): number {
  return scheme === 'https' ? 443 : 80;
}

function malformed(reason: string): AuthorityVerdict {
  return { verdict: 'malformed', reason };
}

function mismatch(reason: string): AuthorityVerdict {
  return { verdict: 'mismatch', reason };
}
