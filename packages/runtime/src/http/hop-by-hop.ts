import { equalsIgnoringCase, hasToken } from './fields.ts';
import type { Framing } from './framing.ts';

/**
 * End-to-end fields that `Connection` cannot take away by naming them. RFC 9110 section 7.6.1 forbids a sender to name a field
 * that is meant for all recipients; a peer that does so wants a later hop to miss a credential, an origin, a length, a condition
 * or a cache directive that an earlier hop acted upon. The name is then ignored and the field stays.
 */
const NEVER_HOP_BY_HOP = new Set([
  // Framing and routing.
  'content-length',
  'transfer-encoding',
  'trailer',
  'host',
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'via',
  'location',
  // Authentication and state.
  'authorization',
  'www-authenticate',
  'authentication-info',
  'cookie',
  'set-cookie',
  'origin',
  'referer',
  'x-api-key',
  'strict-transport-security',
  'content-security-policy',
  // Meaning of the content, conditions and caching.
  'content-type',
  'content-encoding',
  'content-range',
  'content-disposition',
  'range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'if-range',
  'accept',
  'accept-encoding',
  'cache-control',
  'pragma',
  'age',
  'date',
  'etag',
  'expires',
  'last-modified',
  'vary',
  'expect',
  'user-agent',
]);

/**
 * Removes from a head, in place, what concerns only the connection it came on: `Connection` and every field that it names (but
 * never one of the end-to-end fields above), `Keep-Alive`, `Upgrade`, `HTTP2-Settings`, `Proxy-…`, and `TE` unless it says
 * `trailers`, which is then all that it says. Framing fields stay: see `setFraming`.
 *
 * Fields that the gate itself adds are added after this, so that nothing a peer sent can remove them.
 */
export function removeHopByHop(fields: string[]): void {
  shorten(fields, copyEndToEnd(fields, fields, 0));
}

/** As {@link removeHopByHop}, into another array: what stays is put behind what that has. */
export function appendEndToEnd(fields: readonly string[], to: string[]): void {
  copyEndToEnd(fields, to, to.length);
}

/** Writes what stays from `to[start]` on, which may be `fields` itself. Returns where it ends. */
function copyEndToEnd(fields: readonly string[], to: string[], start: number): number {
  let named: Set<string> | undefined;
  for (let i = 0; i < fields.length; i += 2) {
    if (equalsIgnoringCase(fields[i]!, 'connection')) named = addNamed(named, fields[i + 1]!);
  }
  const passesTrailers = hasToken(fields, 'te', 'trailers');

  let kept = start;
  let hasTe = false;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    let value = fields[i + 1]!;
    if (equalsIgnoringCase(name, 'te')) {
      if (!passesTrailers || hasTe) continue;
      hasTe = true;
      value = 'trailers';
    } else if (isHopByHop(name) || named?.has(name.toLowerCase()) === true) {
      continue;
    }
    to[kept] = name;
    to[kept + 1] = value;
    kept += 2;
  }
  return kept;
}

/** Setting a length costs more than looking whether it is the right one already, as mostly it is. */
function shorten(fields: string[], length: number): void {
  if (fields.length !== length) fields.length = length;
}

/** Whether a field is about one connection whatever `Connection` says. By length, because this looks at every field of every head. */
function isHopByHop(name: string): boolean {
  switch (name.length) {
    case 7:
      if (equalsIgnoringCase(name, 'upgrade')) return true;
      break;
    case 10:
      if (equalsIgnoringCase(name, 'connection') || equalsIgnoringCase(name, 'keep-alive')) return true;
      break;
    case 14:
      if (equalsIgnoringCase(name, 'http2-settings')) return true;
      break;
  }
  return name.length > 6 && equalsIgnoringCase(name.slice(0, 6), 'proxy-');
}

function addNamed(named: Set<string> | undefined, list: string): Set<string> | undefined {
  // What nearly every message says names no field.
  if (equalsIgnoringCase(list, 'keep-alive') || equalsIgnoringCase(list, 'close')) return named;
  for (const member of list.split(',')) {
    const lowerName = member.trim().toLowerCase();
    if (NEVER_HOP_BY_HOP.has(lowerName)) continue;
    named ??= new Set();
    named.add(lowerName);
  }
  return named;
}

/**
 * Makes the framing fields of a head say exactly `framing`, in place: whatever the peer wrote in `Content-Length`,
 * `Transfer-Encoding` and `Trailer` is replaced by our own words (`Trailer` stays only where there can be trailers).
 *
 * For `none` and `until-close` no framing field is left, so this is not for the answer to HEAD or a 304, whose `Content-Length`
 * speaks of another message. A request that has content of length 0 keeps its `Content-Length: 0`.
 */
export function setFraming(fields: string[], framing: Framing): void {
  let kept = 0;
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!;
    switch (name.length) {
      case 7:
        if (framing.kind !== 'chunked' && equalsIgnoringCase(name, 'trailer')) continue;
        break;
      case 14:
        if (equalsIgnoringCase(name, 'content-length')) continue;
        break;
      case 17:
        if (equalsIgnoringCase(name, 'transfer-encoding')) continue;
        break;
    }
    fields[kept] = name;
    fields[kept + 1] = fields[i + 1]!;
    kept += 2;
  }
  shorten(fields, kept);
  switch (framing.kind) {
    case 'length':
      fields.push('Content-Length', String(framing.bytes));
      break;
    case 'chunked':
      fields.push('Transfer-Encoding', 'chunked');
      break;
    case 'none':
    case 'until-close':
      break;
  }
}

/**
 * Whether the connection can carry another message after this one, as far as this head says (RFC 9112 section 9.3). A response
 * whose framing is `until-close` ends the connection whatever its head says.
 */
export function keepsAlive(head: { readonly minor: 0 | 1; readonly fields: readonly string[] }): boolean {
  if (hasToken(head.fields, 'connection', 'close')) return false;
  return head.minor === 1 || hasToken(head.fields, 'connection', 'keep-alive');
}
