import { SallyportError } from '@sallyport/sdk';
import { readHostPattern } from '../policy/host-pattern.ts';
import { quote } from '../policy/quoted-text.ts';
import { warnOfSharedHost } from '../policy/shared-hosts.ts';
import type { Location, SecretHost } from './bound-secret.ts';
import { SecretValue } from './secret-value.ts';
import { carriageProblem } from './value-carriage.ts';

export { parseResolve } from '../policy/resolve-pin.ts';

/** What a `--secret` option asks for. */
export type SecretSpec =
  /** `ENV@HOST[,HOST…]` (value from the host variable of that name) or `ENV=VALUE@HOST[,HOST…]`. */
  | {
      readonly kind: 'bound';
      readonly env: string;
      readonly value?: SecretValue;
      readonly hosts: readonly SecretHost[];
      /** Sentences for people about hosts that strangers share. */
      readonly warnings: readonly string[];
    }
  /** `NAME` or `NAME:ENV`: a stored secret. */
  | { readonly kind: 'named'; readonly name: string; readonly env?: string };

/** A shorter value cannot be redacted without wrecking responses. */
export const MIN_SECRET_VALUE_BYTES = 8;
/** A longer one fits no server's header limits; in UTF-8. */
export const MAX_SECRET_VALUE_BYTES = 32_768;
/** The most for a secret that is replaced in bodies and messages alone: what {@link MAX_SECRET_VALUE_BYTES} is about does not bound it. */
const MAX_BODY_VALUE_BYTES = 65_536;
const MAX_ENV_CHARACTERS = 128;
const DEFAULT_LOCATIONS: readonly Location[] = [{ kind: 'header' }, { kind: 'basic' }];
const FORMS = 'Write ENV@HOST[,HOST…], ENV=VALUE@HOST[,HOST…], NAME or NAME:ENV.';

/** True for a POSIX environment variable name: letters, digits and underscores, no digit in front; at most 128 characters. */
export function isEnvironmentName(text: string): boolean {
  return text.length <= MAX_ENV_CHARACTERS && /^[A-Za-z_][A-Za-z0-9_]*$/.test(text);
}

/** True for the name of a stored secret: letters, digits, `_`, `.` and `-`, the last two not in front; at most 128 characters. */
export function isSecretName(text: string): boolean {
  return text.length <= MAX_ENV_CHARACTERS && /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(text);
}

function refuse(problem: string, fix: string = FORMS): never {
  throw new SallyportError('INVALID_SECRET_SPEC', `--secret: ${problem}. ${fix}`);
}

/**
 * Checks a secret's value, wherever it came from: 8 to 32768 bytes of text (65536 for bodies alone) that each of its locations can carry.
 *
 * @param name what messages call it, an environment variable say; the value is never in one.
 * @param locations where its placeholder is to be replaced.
 * @throws SallyportError INVALID_SECRET_VALUE or SECRET_VALUE_TOO_SHORT.
 */
export function checkSecretValue(
  text: string,
  name: string,
  locations: readonly Location[] = DEFAULT_LOCATIONS,
): SecretValue {
  // What Node makes of bytes that are no UTF-8: the value would be another one.
  if (!text.isWellFormed() || text.includes('\uFFFD')) {
    throw invalidValue(name, 'is no UTF-8 text', 'Encode it, as base64 say, where its host takes that.');
  }
  for (const { kind } of locations) {
    const found = carriageProblem(text, kind);
    if (found !== null) throw invalidValue(name, found.problem, found.fix);
  }
  // What is searched for in responses: without the white space that a field loses, and one byte a character where Latin-1 has them all.
  const core = text.trim();
  // oxlint-disable-next-line no-control-regex -- the range is Latin-1, controls included
  const shortest = /^[\u0000-\u00ff]*$/.test(core) ? core.length : Buffer.byteLength(core);
  if (shortest < MIN_SECRET_VALUE_BYTES) {
    throw new SallyportError(
      'SECRET_VALUE_TOO_SHORT',
      `The value of ${quote(name)} ${text === '' ? 'is empty' : `has fewer than ${MIN_SECRET_VALUE_BYTES} bytes`}. A secret needs at least ${MIN_SECRET_VALUE_BYTES}, or it could not be told from ordinary text in a response.`,
    );
  }
  const isOfBodies = locations.length > 0 && locations.every(({ kind }) => kind === 'body' || kind === 'websocket');
  const most = isOfBodies ? MAX_BODY_VALUE_BYTES : MAX_SECRET_VALUE_BYTES;
  if (Buffer.byteLength(text) > most) {
    const fix = isOfBodies
      ? 'A longer one cannot be looked for in responses.'
      : `No server takes a header or a target that long; for body and websocket alone it may have ${MAX_BODY_VALUE_BYTES}.`;
    throw invalidValue(name, `has more than ${most} bytes`, fix);
  }
  return new SecretValue(text);
}

function invalidValue(name: string, problem: string, fix: string): SallyportError {
  return new SallyportError('INVALID_SECRET_VALUE', `The value of ${quote(name)} ${problem}. ${fix}`);
}

/**
 * Reads a `--secret` option. It is split at the last `@`, so that a value may hold `@` and `=`.
 *
 * Each HOST is a host pattern, with `http://` in front where the value may go out in clear (then only there, on port
 * 80 unless one is given) and otherwise TLS, on port 443 unless one is given. Messages quote nothing that could be a
 * piece of the value, which includes the host of a spec that has one: a forgotten host leaves the value's tail there.
 *
 * @param locations where the placeholder is to be replaced, which bounds what the value may be.
 * @throws SallyportError INVALID_SECRET_SPEC, INVALID_HOST_PATTERN, INVALID_SECRET_VALUE or SECRET_VALUE_TOO_SHORT.
 */
export function parseSecretSpec(text: string, locations: readonly Location[] = DEFAULT_LOCATIONS): SecretSpec {
  if (text === '') refuse('it is empty');
  const at = text.lastIndexOf('@');
  const equals = text.indexOf('=');
  if (at < 0) {
    if (equals >= 0) refuse('there is a value but no host to send it to', 'Write ENV=VALUE@HOST.');
    return parseNamedSpec(text);
  }
  const hasValue = equals >= 0 && equals < at;
  const env = text.slice(0, hasValue ? equals : at);
  if (env === '') refuse('no environment variable stands in front', 'Write ENV@HOST or ENV=VALUE@HOST.');
  if (!isEnvironmentName(env)) {
    refuse('what stands in front is no environment variable name (letters, digits and "_", no digit first)');
  }
  const hosts = parseSecretHosts(text.slice(at + 1), env, !hasValue);
  const warnings = hosts.flatMap((host) => {
    const warning = warnOfSharedHost(host.pattern);
    return warning === null ? [] : [`--secret ${env}: ${warning}.`];
  });
  const value = hasValue ? { value: checkSecretValue(text.slice(equals + 1, at), env, locations) } : {};
  return { kind: 'bound', env, ...value, hosts, warnings };
}

function parseNamedSpec(text: string): SecretSpec {
  const colon = text.indexOf(':');
  const name = colon < 0 ? text : text.slice(0, colon);
  if (!isSecretName(name)) refuse('it is no secret name (letters, digits, "_", "." and "-") and has no @HOST');
  if (colon < 0) {
    if (!isEnvironmentName(name)) refuse('the name of the secret is no environment variable name', 'Write NAME:ENV.');
    return { kind: 'named', name };
  }
  const env = text.slice(colon + 1);
  if (!isEnvironmentName(env)) refuse('what follows ":" is no environment variable name', 'Write NAME:ENV.');
  return { kind: 'named', name, env };
}

function parseSecretHosts(list: string, env: string, mayQuote: boolean): SecretHost[] {
  if (list === '') refuse(`no host follows the last "@" of ${env}`, 'Write ENV@HOST or ENV=VALUE@HOST.');
  const hosts = new Map<string, SecretHost>();
  const texts = list.split(',');
  for (const [index, text] of texts.entries()) {
    const where = texts.length === 1 ? 'its host' : `host ${index + 1} of ${texts.length}`;
    if (text === '') refuse(`${env}: ${where} is empty`, 'Separate hosts with one comma each.');
    const host = readSecretHost(text);
    if ('problem' in host) {
      const shown = mayQuote ? ` ${quote(text)}` : '';
      const fix =
        (mayQuote ? host.fix : undefined) ??
        'Write HOST, HOST:PORT, *.NAME or **.NAME; everything after the last "@" is hosts.';
      throw new SallyportError('INVALID_HOST_PATTERN', `--secret ${env}, ${where}${shown}: ${host.problem}. ${fix}`);
    }
    hosts.set(formatSecretHost(host), host);
  }
  return [...hosts.values()];
}

/**
 * Reads the destinations of a secret, as `--secret` has them after its `@`, one by one.
 *
 * @param what how messages call the secret.
 * @throws SallyportError INVALID_HOST_PATTERN, or INVALID_SECRET_SPEC when there is none.
 */
export function readSecretHosts(texts: readonly string[], what: string): SecretHost[] {
  if (texts.length === 0) {
    throw new SallyportError(
      'INVALID_SECRET_SPEC',
      `The secret ${quote(what)} is bound to no host, so its value could never leave. Name at least one.`,
    );
  }
  const hosts = new Map<string, SecretHost>();
  for (const text of texts) {
    const host = readSecretHost(text);
    if ('problem' in host) {
      const fix = host.fix ?? 'Write HOST, HOST:PORT, *.NAME or **.NAME.';
      throw new SallyportError(
        'INVALID_HOST_PATTERN',
        `The secret ${quote(what)}, host ${quote(text)}: ${host.problem}. ${fix}`,
      );
    }
    hosts.set(formatSecretHost(host), host);
  }
  return [...hosts.values()];
}

function readSecretHost(text: string): SecretHost | { readonly problem: string; readonly fix?: string } {
  const lower = text.slice(0, 8).toLowerCase();
  const scheme = lower.startsWith('http://') ? 'http' : 'https';
  const rest = lower.startsWith('http://') ? text.slice(7) : lower.startsWith('https://') ? text.slice(8) : text;
  const reading = readHostPattern(rest, 'secret');
  if ('problem' in reading) return reading;
  const { pattern } = reading;
  // TLS on the port of cleartext, or the reverse, is a slip that would fail late and obscurely.
  if (scheme === 'https' && pattern.port === 80) {
    return {
      problem: 'port 80 is cleartext HTTP',
      fix: 'Write http://HOST to send the value in clear, or leave the port out.',
    };
  }
  if (scheme === 'http' && pattern.port === 443) {
    return { problem: 'port 443 is TLS, not cleartext HTTP', fix: 'Leave http:// out.' };
  }
  return { scheme, pattern, port: pattern.port ?? (scheme === 'https' ? 443 : 80) };
}

/** Prints a destination as a `--secret` spec has it; cleartext begins with `http://`. */
export function formatSecretHost(host: SecretHost): string {
  return `${host.scheme === 'http' ? 'http://' : ''}${host.pattern.text}`;
}

/** Fields that say where a request goes or how it is framed: a placeholder there has no meaning. */
const STRUCTURAL_FIELDS: readonly string[] = [
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
];

const LOCATION_FORMS = 'Write header, header:NAME, basic, query, path, body or websocket.';

/**
 * Reads the values of `--secret-in`, each a list with commas. None at all means `header,basic`.
 *
 * @throws SallyportError INVALID_LOCATION.
 */
export function parseLocations(texts: readonly string[]): readonly Location[] {
  if (texts.length === 0) return DEFAULT_LOCATIONS;
  const locations = new Map<string, Location>();
  for (const text of texts.flatMap((list) => list.split(','))) {
    const location = parseLocation(text);
    locations.set(formatLocation(location), location);
  }
  return [...locations.values()];
}

function parseLocation(text: string): Location {
  switch (text) {
    case 'header':
    case 'basic':
    case 'query':
    case 'path':
    case 'body':
    case 'websocket':
      return { kind: text };
    case '':
      throw new SallyportError('INVALID_LOCATION', `A location is empty. ${LOCATION_FORMS}`);
    default:
      return parseFieldLocation(text);
  }
}

function parseFieldLocation(text: string): Location {
  if (!text.startsWith('header:')) {
    throw new SallyportError(
      'INVALID_LOCATION',
      `The location ${quote(text)}: there is no such location. ${LOCATION_FORMS}`,
    );
  }
  const written = text.slice('header:'.length);
  // RFC 9110, section 5.6.2: token. Before folding case, which makes an ASCII letter of U+212A.
  if (written.length > 256 || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(written)) {
    throw new SallyportError(
      'INVALID_LOCATION',
      `The location ${quote(text)}: what follows "header:" is no header name. Write a name such as header:X-Api-Key.`,
    );
  }
  const name = written.toLowerCase();
  if (STRUCTURAL_FIELDS.includes(name)) {
    throw new SallyportError(
      'INVALID_LOCATION',
      `The location ${quote(text)}: this header says where a request goes or how it is framed, and takes no secret. Name another.`,
    );
  }
  return { kind: 'header', name };
}

/** Prints a location as `--secret-in` has it. */
export function formatLocation(location: Location): string {
  return location.kind === 'header' && location.name !== undefined ? `header:${location.name}` : location.kind;
}
