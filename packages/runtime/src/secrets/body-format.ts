/**
 * How the text of a request body is written, as far as placeholders are concerned: which escapes a placeholder may have in it, and
 * which a value needs.
 */
export type BodyFormat =
  /** Bytes without escapes. */
  | { readonly kind: 'raw' }
  /** A placeholder stands in a JSON string (RFC 8259 section 7). */
  | { readonly kind: 'json' }
  /** `application/x-www-form-urlencoded`: percent escapes. */
  | { readonly kind: 'form' }
  /** Parts of which each has a format of its own (RFC 2046 section 5.1). */
  | { readonly kind: 'multipart'; readonly boundary: string }
  /** Nothing can be put in without breaking it: a placeholder stays, and is reported as stray. */
  | { readonly kind: 'opaque' };

const RAW: BodyFormat = { kind: 'raw' };
const JSON_TEXT: BodyFormat = { kind: 'json' };
const FORM: BodyFormat = { kind: 'form' };
const OPAQUE: BodyFormat = { kind: 'opaque' };

/** RFC 2046 section 5.1.1. */
const MAX_BOUNDARY_CHARACTERS = 70;

const JSON_TYPES: ReadonlySet<string> = new Set([
  'application/json',
  'text/json',
  'application/x-json',
  'application/ndjson',
  'application/x-ndjson',
  'application/jsonl',
  'application/jsonlines',
  'application/x-jsonlines',
  'application/json-seq',
  // A GraphQL document escapes its strings as JSON does.
  'application/graphql',
  'application/csp-report',
]);

/** Messages in them carry their lengths. */
const LENGTH_PREFIXED_TYPES: ReadonlySet<string> = new Set([
  'application/protobuf',
  'application/x-protobuf',
  'application/x-google-protobuf',
  'application/vnd.google.protobuf',
  'application/proto',
  'application/x-proto',
]);

/**
 * The format of a body by the values of its Content-Type fields.
 *
 * None means `raw`; so does a multipart type without a boundary. More than one field says nothing that sender and recipient are sure to
 * agree about, so nothing is put in.
 */
export function bodyFormat(contentTypes: readonly string[]): BodyFormat {
  const [contentType] = contentTypes;
  if (contentType === undefined) return RAW;
  if (contentTypes.length > 1) return OPAQUE;
  const semicolon = contentType.indexOf(';');
  const type = (semicolon === -1 ? contentType : contentType.slice(0, semicolon)).trim().toLowerCase();
  if (type.startsWith('application/grpc') || LENGTH_PREFIXED_TYPES.has(type) || type.endsWith('+proto')) return OPAQUE;
  if (JSON_TYPES.has(type) || type.endsWith('+json')) return JSON_TEXT;
  if (type === 'application/x-www-form-urlencoded') return FORM;
  if (type.startsWith('multipart/')) {
    const boundary = parameter(contentType, 'boundary');
    return boundary === undefined || boundary === '' || boundary.length > MAX_BOUNDARY_CHARACTERS
      ? RAW
      : { kind: 'multipart', boundary };
  }
  return RAW;
}

/** The format of a part of a multipart body; parts are not taken apart further. */
export function partFormat(contentTypes: readonly string[]): BodyFormat {
  const format = bodyFormat(contentTypes);
  return format.kind === 'multipart' ? RAW : format;
}

/** The first parameter of that name (RFC 9110 section 5.6.6), unquoted. */
function parameter(contentType: string, lowerName: string): string | undefined {
  let at = contentType.indexOf(';');
  while (at !== -1) {
    const equals = contentType.indexOf('=', at);
    if (equals === -1) return undefined;
    const name = contentType
      .slice(at + 1, equals)
      .trim()
      .toLowerCase();
    const { text, end } = parameterValue(contentType, equals + 1);
    if (name === lowerName) return text;
    at = contentType.indexOf(';', end);
  }
  return undefined;
}

function parameterValue(contentType: string, start: number): { readonly text: string; readonly end: number } {
  if (contentType[start] !== '"') {
    const semicolon = contentType.indexOf(';', start);
    const end = semicolon === -1 ? contentType.length : semicolon;
    return { text: contentType.slice(start, end).trim(), end };
  }
  let text = '';
  let at = start + 1;
  while (at < contentType.length && contentType[at] !== '"') {
    if (contentType[at] === '\\') at += 1;
    text += contentType[at] ?? '';
    at += 1;
  }
  return { text, end: at };
}
