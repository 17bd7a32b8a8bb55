/**
 * The canonical origin that a request is for. Computed once; nothing later reads Host, SNI or the URL again.
 */
export interface Authority {
  readonly scheme: 'https' | 'http';
  /** Canonical host: a lower-case A-label name without trailing dot, dotted IPv4, or RFC 5952 IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
}

/** A parsed request head. Strings are Latin-1: one character a byte. */
export interface RequestHead {
  method: string;
  /** The request-target as sent: origin-form, absolute-form, authority-form or `*`. */
  target: string;
  /** The minor version: HTTP/1.0 or HTTP/1.1. */
  minor: 0 | 1;
  /** Field lines in order, flattened: name, value, name, value, … Names as sent, values without surrounding white space. */
  fields: readonly string[];
}

/** A head whose field lines are nobody else's: they can be changed in place. */
export interface OwnRequestHead extends RequestHead {
  fields: string[];
}

/** A parsed response head. Strings are Latin-1: one character a byte. */
export interface ResponseHead {
  status: number;
  reason: string;
  minor: 0 | 1;
  /** As in {@link RequestHead.fields}. */
  fields: string[];
}
