import http2 from 'node:http2';
import type { Authority, OwnRequestHead, RequestHead, ResponseHead } from '../http/message.ts';
import { isForbiddenTrailer } from '../http/trailers.ts';

/** A header list as `node:http2` takes it. */
export type HeaderList = http2.OutgoingHttpHeaders;

/** Fields that HTTP/2 does not have (RFC 9113 section 8.2.2). */
const CONNECTION_SPECIFIC = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
  'host',
]);

export interface Http2RequestHead {
  /** In the shape of HTTP/1, `:authority` as its Host field: everything later reads one kind of head. */
  readonly head: RequestHead;
  readonly scheme: string;
  /** `:protocol` of an extended CONNECT (RFC 8441). */
  readonly protocol: string | null;
}

/** Reads a header list that nghttp2 has checked: name, value, name, value, … */
export function readRequestHead(raw: readonly string[]): Http2RequestHead {
  const head: OwnRequestHead = { method: '', target: '', minor: 1, fields: [] };
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
        break;
      case 'host':
        // Both are allowed when they agree (RFC 9113 section 8.3.1); a second Host field is refused later.
        if (value !== authority) head.fields.push('host', value);
        break;
      case 'cookie':
        // One field, as RFC 9113 section 8.2.3 asks before anybody else reads it.
        cookies = cookies === '' ? value : `${cookies}; ${value}`;
        break;
      default:
        head.fields.push(name, value);
    }
  }
  if (cookies !== '') head.fields.push('cookie', cookies);
  if (authority !== null) head.fields.unshift('host', authority);
  return { head, scheme, protocol };
}

/**
 * The header list of a request that was rewritten; what was put in is never indexed (RFC 7541 section 7.1.3). With `protocol` it is an
 * extended CONNECT (RFC 8441 section 4).
 */
export function requestHeaderList(
  head: RequestHead,
  authority: Authority,
  host: string,
  original: RequestHead,
  protocol: 'websocket' | null = null,
): HeaderList {
  const list: HeaderList = Object.create(null) as HeaderList;
  list[':method'] = protocol === null ? head.method : 'CONNECT';
  if (protocol !== null) list[':protocol'] = protocol;
  list[':scheme'] = authority.scheme;
  list[':authority'] = host;
  list[':path'] = head.target;
  const sensitive = new Set<string>(['authorization', 'proxy-authorization', 'cookie', 'x-api-key']);
  const before = new Set(original.fields);
  for (let index = 0; index + 1 < head.fields.length; index += 2) {
    const name = (head.fields[index] as string).toLowerCase();
    const value = head.fields[index + 1] as string;
    if (CONNECTION_SPECIFIC.has(name)) continue;
    if (!before.has(value)) sensitive.add(name);
    appendField(list, name, value);
  }
  if (head.target !== original.target) sensitive.add(':path');
  return Object.assign(list, { [http2.sensitiveHeaders]: [...sensitive].filter((name) => name in list) });
}

/** Reads a response's header list. */
export function readResponseHead(raw: readonly string[]): ResponseHead {
  const head: ResponseHead = { status: 0, reason: '', minor: 1, fields: [] };
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    const value = raw[index + 1] as string;
    if (name === ':status') head.status = Number(value);
    else head.fields.push(name, value);
  }
  return head;
}

/** The header list of a response. */
export function responseHeaderList(head: ResponseHead): HeaderList {
  const list = fieldList(head.fields);
  list[':status'] = head.status;
  return list;
}

function fieldList(fields: readonly string[]): HeaderList {
  const list: HeaderList = Object.create(null) as HeaderList;
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = (fields[index] as string).toLowerCase();
    if (!CONNECTION_SPECIFIC.has(name)) appendField(list, name, fields[index + 1] as string);
  }
  return list;
}

/** Sends trailers. What cannot be sent ends the stream and not the process: nobody catches what a listener throws. */
export function sendTrailers(stream: http2.Http2Stream, fields: readonly string[]): void {
  try {
    stream.sendTrailers(fieldList(fields));
  } catch {
    stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
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

function appendField(list: HeaderList, name: string, value: string): void {
  const known = list[name];
  if (known === undefined) list[name] = value;
  else if (Array.isArray(known)) known.push(value);
  else list[name] = [String(known), value];
}
