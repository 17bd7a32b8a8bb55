/** The most parameters of a query: the signer of `@smithy/signature-v4` takes time in proportion to the square of those of one name. */
const MAX_PARAMETERS = 4096;

/** The path and the query of a request that is to be signed, in a form that everybody reads alike. */
export interface AwsTarget {
  /** Absolute; unreserved characters and `/` as they are, everything else as `%XX` in upper case. */
  readonly path: string;
  /** Names and values decoded, in the order sent. A value is null where there is no `=`. */
  readonly parameters: readonly AwsParameter[];
}

export interface AwsParameter {
  readonly name: string;
  readonly value: string | null;
}

export type AwsTargetVerdict =
  | { readonly verdict: 'ok'; readonly target: AwsTarget }
  /** `reason` is a clause about the request. */
  | { readonly verdict: 'refused'; readonly reason: string };

/**
 * Reads the target of a request.
 *
 * A signature covers bytes that the client wrote and that AWS decodes, and some of AWS's services compare what they received and others
 * what they would have written themselves. Both are the same for the form that this gives, which is sent. It means the same as what came;
 * where that is open, the request is refused: a `+` in a path of S3 (which reads a space), escapes that are none or not UTF-8. A `+` in
 * a query is a space, as AWS's own signer for Go has it. `%2E` stays, so that no segment becomes `..`.
 *
 * @param target in origin-form; Latin-1, one character a byte.
 */
export function readAwsTarget(target: string, isS3: boolean): AwsTargetVerdict {
  if (!target.startsWith('/')) return refused('its target is no path');
  const mark = target.indexOf('?');
  const path = mark === -1 ? target : target.slice(0, mark);
  if (isS3 && path.includes('+')) {
    return refused('S3 reads a "+" in a path as a space: write it as %2B or %20');
  }
  const normal = normalizePath(path);
  if (normal === null) return refused('its path holds a "%" that begins no escape: write it as %25');
  const parameters: AwsParameter[] = [];
  for (const part of mark === -1 ? [] : target.slice(mark + 1).split('&')) {
    if (part === '') continue;
    if (parameters.length === MAX_PARAMETERS) return refused(`its query holds more than ${MAX_PARAMETERS} parameters`);
    const equals = part.indexOf('=');
    const name = decodeText(equals === -1 ? part : part.slice(0, equals));
    const value = equals === -1 ? '' : decodeText(part.slice(equals + 1));
    if (name === null || value === null) return refused('its query holds an escape that is none, or not UTF-8');
    // The library keeps parameters in an object.
    if (name === '__proto__') return refused('its query holds a parameter named __proto__');
    parameters.push({ name, value: equals === -1 ? null : value });
  }
  return { verdict: 'ok', target: { path: normal, parameters } };
}

/** Writes a target as it is sent. */
export function formatAwsTarget({ path, parameters }: AwsTarget): string {
  if (parameters.length === 0) return path;
  const query = parameters.map(({ name, value }) =>
    value === null ? encodeText(name) : `${encodeText(name)}=${encodeText(value)}`,
  );
  return `${path}?${query.join('&')}`;
}

function normalizePath(path: string): string | null {
  let normal = '';
  for (let at = 0; at < path.length; at++) {
    const code = path.charCodeAt(at);
    if (code !== PERCENT) {
      normal += code === SLASH || isUnreserved(code) ? path.charAt(at) : escapeOctet(code);
      continue;
    }
    const octet = readEscape(path, at);
    if (octet === null) return null;
    normal += octet !== DOT && isUnreserved(octet) ? String.fromCharCode(octet) : escapeOctet(octet);
    at += 2;
  }
  return normal;
}

/** The text of a name or value of a query; null where its escapes are none or not UTF-8. */
function decodeText(text: string): string | null {
  const octets: number[] = [];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === PERCENT) {
      const octet = readEscape(text, at);
      if (octet === null) return null;
      octets.push(octet);
      at += 2;
    } else {
      octets.push(code === PLUS ? SPACE : code);
    }
  }
  const bytes = Buffer.from(octets);
  const decoded = bytes.toString('utf8');
  return Buffer.from(decoded, 'utf8').equals(bytes) ? decoded : null;
}

function encodeText(text: string): string {
  let encoded = '';
  for (const octet of Buffer.from(text, 'utf8')) {
    encoded += isUnreserved(octet) ? String.fromCharCode(octet) : escapeOctet(octet);
  }
  return encoded;
}

const PERCENT = 0x25;
const SLASH = 0x2f;
const DOT = 0x2e;
const PLUS = 0x2b;
const SPACE = 0x20;

function readEscape(text: string, at: number): number | null {
  const digits = text.slice(at + 1, at + 3);
  return /^[0-9A-Fa-f]{2}$/.test(digits) ? Number.parseInt(digits, 16) : null;
}

function escapeOctet(octet: number): string {
  return `%${octet.toString(16).toUpperCase().padStart(2, '0')}`;
}

/** RFC 3986 section 2.3. */
function isUnreserved(octet: number): boolean {
  return (
    (octet >= 0x61 && octet <= 0x7a) ||
    (octet >= 0x41 && octet <= 0x5a) ||
    (octet >= 0x30 && octet <= 0x39) ||
    octet === 0x2d ||
    octet === DOT ||
    octet === 0x5f ||
    octet === 0x7e
  );
}

function refused(reason: string): AwsTargetVerdict {
  return { verdict: 'refused', reason };
}
