import type { Authority, OwnRequestHead, RequestHead, ResponseHead } from '../http/message.ts';
import { isForbiddenTrailer } from '../http/trailers.ts';

/** A header list as it is sent: flattened, names in lower case, pseudo-header fields first. */
export interface FieldList {
  readonly fields: readonly string[];
  /** Names of the fields that are never indexed (RFC 7541 section 7.1.3). */
  readonly sensitive: ReadonlySet<string>;
}

export interface Http2RequestHead {
  /** In the shape of HTTP/1, `:authority` as its Host field: everything later reads one kind of head. */
  readonly head: RequestHead;
  readonly scheme: string;
  /** `:protocol` of an extended CONNECT (RFC 8441). */
  readonly protocol: string | null;
}

/** Fields that hold credentials as a rule. */
const ALWAYS_SENSITIVE: ReadonlySet<string> = new Set(['authorization', 'proxy-authorization', 'cookie', 'x-api-key']);

/** Reads a header list that the codec has checked: name, value, name, value, … */
export function readRequestHead(raw: readonly string[]): Http2RequestHead {
  const fields: string[] = [];
  const head: OwnRequestHead = { method: '', target: '', minor: 1, fields };
  let scheme = '';
  let protocol: string | null = null;
  let authority: string | null = null;
  let cookies = '';
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    const value = raw[index + 1] as string;
    switch (name) {
      case ':method':
        head.method = value;
        break;
      case ':path':
        head.target = value;
        break;
      case ':scheme':
        scheme = value;
        break;
      case ':protocol':
        protocol = value;
        break;
      case ':authority':
        authority = value;
        if (fields.length === 0) fields.push('host', value);
        else fields.unshift('host', value);
        break;
      case 'host':
        // Both are allowed when they agree (RFC 9113 section 8.3.1); a second Host field is refused later.
        if (value !== authority) fields.push('host', value);
        break;
      case 'cookie':
        // One field, as RFC 9113 section 8.2.3 asks before anybody else reads it.
        cookies = cookies === '' ? value : `${cookies}; ${value}`;
        break;
      default:
        fields.push(name, value);
    }
  }
  if (cookies !== '') fields.push('cookie', cookies);
  return { head, scheme, protocol };
}

/**
 * The header list of a request that was rewritten; what was put in is never indexed (RFC 7541 section 7.1.3). With `protocol` it is an
 * extended CONNECT (RFC 8441 section 4).
 */
export function requestFields(
  head: RequestHead,
  authority: Authority,
  host: string,
  original: RequestHead,
  protocol: 'websocket' | null = null,
): FieldList {
  const fields: string[] = [':method', protocol === null ? head.method : 'CONNECT'];
  if (protocol !== null) fields.push(':protocol', protocol);
  fields.push(':scheme', authority.scheme, ':authority', host, ':path', head.target);
  const received = original.fields.length <= MAX_SCANNED ? original.fields : new Set(original.fields);
  let more: Set<string> | null = null;
  for (let index = 0; index + 1 < head.fields.length; index += 2) {
    const name = (head.fields[index] as string).toLowerCase();
    if (isConnectionSpecific(name)) continue;
    const value = head.fields[index + 1] as string;
    if (!ALWAYS_SENSITIVE.has(name) && !has(received, value)) (more ??= new Set(ALWAYS_SENSITIVE)).add(name);
    fields.push(name, value);
  }
  if (head.target !== original.target) (more ??= new Set(ALWAYS_SENSITIVE)).add(':path');
  return { fields, sensitive: more ?? ALWAYS_SENSITIVE };
}

/** Up to so many strings are compared one by one, which is quicker than to make a set of them. */
const MAX_SCANNED = 64;

function has(list: readonly string[] | ReadonlySet<string>, value: string): boolean {
  return list instanceof Set ? list.has(value) : (list as readonly string[]).includes(value);
}

/** Reads a response's header list. */
export function readResponseHead(raw: readonly string[]): ResponseHead {
  const fields: string[] = [];
  const head: ResponseHead = { status: 0, reason: '', minor: 1, fields };
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    const value = raw[index + 1] as string;
    if (name === ':status') head.status = Number(value);
    else fields.push(name, value);
  }
  return head;
}

/** The header list of a response. */
export function responseFields(head: ResponseHead): string[] {
  const fields = [':status', String(head.status)];
  appendFields(fields, head.fields);
  return fields;
}

/** Trailer fields as they are sent. */
export function trailerFields(trailers: readonly string[]): string[] {
  const fields: string[] = [];
  appendFields(fields, trailers);
  return fields;
}

function appendFields(to: string[], fields: readonly string[]): void {
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = (fields[index] as string).toLowerCase();
    if (!isConnectionSpecific(name)) to.push(name, fields[index + 1] as string);
  }
}

/** Trailer fields from a header list, flattened, without those that no trailer section may hold. */
export function readTrailers(raw: readonly string[]): string[] {
  const fields: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    if (!name.startsWith(':') && !isForbiddenTrailer(name)) fields.push(name, raw[index + 1] as string);
  }
  return fields;
}

/** Whether HTTP/2 does not have a field (RFC 9113 section 8.2.2), or says it by `:authority`. By length: each field of each head is asked. */
function isConnectionSpecific(name: string): boolean {
  switch (name.length) {
    case 4:
      return name === 'host';
    case 7:
      return name === 'upgrade';
    case 10:
      return name === 'connection' || name === 'keep-alive';
    case 16:
      return name === 'proxy-connection';
    case 17:
      return name === 'transfer-encoding';
    default:
      return false;
  }
}
