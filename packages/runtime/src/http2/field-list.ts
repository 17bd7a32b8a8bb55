import { IS_VISIBLE, isMadeOf } from '../http/octets.ts';
import {
  isAuthority,
  isFieldValue,
  isMethod,
  isScheme,
  NAME_KIND,
  parseLength,
  parseStatus,
  trimValue,
  type NameKind,
} from './field-rules.ts';
import { ENTRY_OVERHEAD_BYTES } from './hpack-static-table.ts';

/** What a list of fields is the head of; null where it is decoded for HPACK's sake alone. */
export type ListKind = 'request' | 'response' | 'trailers';

/** One list of fields, taken field by field and checked by RFC 9113 section 8. Used again for each list of a connection. */
export class FieldList {
  /** Name, value, name, value, …; belongs to whoever takes it. */
  fields: string[] = [];
  /** Why the message is malformed; null while it is not. */
  problem: string | null = null;
  /** Whether the list is longer than allowed; then `fields` is not whole. */
  isTooLong = false;
  /** -1 without Content-Length. */
  contentLength = -1;
  /** Of a response. */
  status = 0;
  /** Of a request. */
  method = '';
  /** What the list may count. */
  readonly maxBytes: number;
  readonly #maxPairs: number;
  readonly #takesProtocol: boolean;
  readonly #trims: boolean;
  #kind: ListKind = 'trailers';
  #bytes = 0;
  #pairs = 0;
  #hasOrdinary = false;
  #scheme: string | null = null;
  #authority: string | null = null;
  #path: string | null = null;
  #protocol: string | null = null;
  #hasHost = false;

  /**
   * `takesProtocol` tells whether extended CONNECT (RFC 8441) is taken. `trims` takes white space off values, where else it makes the message
   * malformed: some servers send it, and what is left is one value for everybody.
   */
  constructor(maxBytes: number, maxPairs: number, takesProtocol: boolean, trims = false) {
    this.maxBytes = maxBytes;
    this.#maxPairs = maxPairs;
    this.#takesProtocol = takesProtocol;
    this.#trims = trims;
  }

  /** How long the list is, as RFC 9113 section 6.5.2 counts it. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Begins a list. */
  begin(kind: ListKind): void {
    this.#kind = kind;
    this.fields = [];
    this.problem = null;
    this.isTooLong = false;
    this.contentLength = -1;
    this.status = 0;
    this.method = '';
    this.#bytes = 0;
    this.#pairs = 0;
    this.#hasOrdinary = false;
    this.#scheme = null;
    this.#authority = null;
    this.#path = null;
    this.#protocol = null;
    this.#hasHost = false;
  }

  /** Counts a field of these lengths; false when the list has become too long, and the field need not be given. */
  count(nameLength: number, valueLength: number): boolean {
    this.#bytes += nameLength + valueLength + ENTRY_OVERHEAD_BYTES;
    this.#pairs += 1;
    if (this.#bytes > this.maxBytes || this.#pairs > this.#maxPairs) this.isTooLong = true;
    return !this.isTooLong;
  }

  /** Takes a field that was counted. */
  add(name: string, value: string, kind: NameKind, isValueValid: boolean): void {
    if (this.problem !== null) return;
    if (!isValueValid) {
      const trimmed = trimValue(value);
      if (this.#trims && isFieldValue(trimmed)) this.add(name, trimmed, kind, true);
      else this.problem = 'a field value has octets that it must not have';
      return;
    }
    this.fields.push(name, value);
    if (kind === NAME_KIND.ordinary) {
      this.#hasOrdinary = true;
      return;
    }
    this.problem = kind >= NAME_KIND.unknownPseudo ? this.#addPseudo(value, kind) : this.#addSpecial(value, kind);
  }

  /** Checks the list as a whole: afterwards `problem` tells. `ends` tells whether END_STREAM came with it. */
  finish(ends: boolean): void {
    if (this.problem !== null || this.isTooLong) return;
    if (this.#kind === 'request') this.problem = this.#checkRequest(ends);
    else if (this.#kind === 'response') this.problem = this.#checkResponse(ends);
    else if (!ends) this.problem = 'trailers do not end the stream';
  }

  #addSpecial(value: string, kind: NameKind): string | null {
    this.#hasOrdinary = true;
    switch (kind) {
      case NAME_KIND.connectionSpecific:
        return 'a field is specific to HTTP/1 connections';
      case NAME_KIND.te:
        return value.toLowerCase() === 'trailers' ? null : 'TE has another value than "trailers"';
      case NAME_KIND.contentLength:
        // It would frame what is over by then.
        if (this.#kind === 'trailers') return 'trailers have a Content-Length';
        if (this.contentLength !== -1) return 'there are two Content-Length fields';
        this.contentLength = parseLength(value);
        return this.contentLength === -1 ? 'Content-Length is no number' : null;
      case NAME_KIND.host:
        if (this.#kind !== 'request') return null;
        if (this.#hasHost) return 'there are two Host fields';
        this.#hasHost = true;
        return isAuthority(value) ? null : 'Host is no authority';
      default:
        return 'a field name has octets that it must not have';
    }
  }

  #addPseudo(value: string, kind: NameKind): string | null {
    if (this.#kind === 'trailers') return 'trailers have a pseudo-header field';
    if (this.#hasOrdinary) return 'a pseudo-header field stands behind other fields';
    if (this.#kind === 'response') {
      if (kind !== NAME_KIND.status || this.status !== 0) return 'a pseudo-header field is unknown or there twice';
      this.status = parseStatus(value);
      return this.status === -1 ? ':status is no status' : null;
    }
    switch (kind) {
      case NAME_KIND.method:
        if (this.method !== '') return 'there are two :method fields';
        this.method = value;
        return isMethod(value) ? null : ':method is no token';
      case NAME_KIND.scheme:
        if (this.#scheme !== null) return 'there are two :scheme fields';
        this.#scheme = value;
        return isScheme(value) ? null : ':scheme is no scheme';
      case NAME_KIND.authority:
        if (this.#authority !== null) return 'there are two :authority fields';
        this.#authority = value;
        return isAuthority(value) ? null : ':authority is no authority';
      case NAME_KIND.path:
        if (this.#path !== null) return 'there are two :path fields';
        this.#path = value;
        return isMadeOf(value, IS_VISIBLE) ? null : ':path has octets that it must not have';
      case NAME_KIND.protocol:
        if (this.#protocol !== null) return 'there are two :protocol fields';
        this.#protocol = value;
        return this.#takesProtocol && isMethod(value) ? null : ':protocol is no token, or is not taken';
      default:
        return 'a pseudo-header field is unknown';
    }
  }

  /** RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4. */
  #checkRequest(ends: boolean): string | null {
    if (this.method === '') return 'there is no :method';
    if (this.#protocol !== null && this.method !== 'CONNECT')
      return ':protocol stands with another method than CONNECT';
    if (this.method === 'CONNECT' && this.#authority === null) return 'CONNECT has no :authority';
    if (this.method === 'CONNECT' && this.#protocol === null) {
      return this.#scheme === null && this.#path === null ? null : 'CONNECT has :scheme or :path';
    }
    if (this.#scheme === null) return 'there is no :scheme';
    if (this.#path === null) return 'there is no :path';
    if (this.#authority === null && !this.#hasHost) return 'there is neither :authority nor Host';
    const isPath = this.#path.startsWith('/') || (this.#path === '*' && this.method === 'OPTIONS');
    if (!isPath) return ':path does not begin with a slash';
    return ends && this.contentLength > 0 ? 'the body is shorter than its Content-Length' : null;
  }

  /** RFC 9113 sections 8.1, 8.3.2 and 8.6. */
  #checkResponse(ends: boolean): string | null {
    if (this.status === 0) return 'there is no :status';
    if (this.status === 101) return 'HTTP/2 has no 101';
    return this.status < 200 && ends ? 'an interim response ends the stream' : null;
  }
}
