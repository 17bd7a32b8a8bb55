import type { RequestHead } from '../http/message.ts';
import { canonicalPath, matchesPath } from '../policy/path-glob.ts';
import { decodeBase64 } from './base64.ts';
import type { BoundSecret, Location } from './bound-secret.ts';
import type { BoundService, ServiceUse } from './bound-service.ts';
import type { Overwrite } from './service-definition.ts';
import { credentialText, decodePercent, fieldText, isBasic, isCredentialField, targetText } from './substitute.ts';

const SUBPROTOCOL_FIELD = 'sec-websocket-protocol';

/** What stands beside a secret's value in Basic credentials is no key up to this length: a user name, `x-oauth-basic`, nothing. */
const MAX_USER_CHARACTERS = 20;

/** What {@link overwriteForServices} did. */
export type OverwriteResult =
  | {
      readonly verdict: 'ok';
      readonly target: string;
      /** The fields that may leave. */
      readonly fields: readonly string[];
      /** The fields to be written, behind all that removes fields: name, value, … */
      readonly written: readonly string[];
      /** Names of the services whose credential was put in. */
      readonly released: readonly string[];
      /** Tells the fields that no other part of the request may have either. */
      readonly guards: (field: string) => boolean;
      /** The service that signs the request; null where none does. */
      readonly signing: BoundService | null;
      /** The endpoints by which all this was done. */
      readonly endpoints: readonly ServiceUse[];
    }
  | {
      readonly verdict: 'failed';
      readonly code: 'VALUE_NOT_CARRIABLE' | 'SECRET_UNAVAILABLE';
      /** The service's name. */
      readonly name: string;
      readonly location: Location['kind'];
      readonly reason: string;
    };

/** Thrown and caught in this file only. */
class Unusable extends Error {
  readonly result: Extract<OverwriteResult, { verdict: 'failed' }>;

  constructor(result: Omit<Unusable['result'], 'verdict'>) {
    super(result.reason);
    this.result = { verdict: 'failed', ...result };
  }
}

/**
 * Puts the credentials of services into a request head, whatever the client sent there, and takes out what could carry somebody else's key
 * beside them. Pure.
 *
 * - A field is written once, and every field of that name goes, in any spelling that a server may take for it (case, `_` for `-`).
 * - A query parameter is overwritten wherever the client sent it, its name percent-encoded or not, and never added.
 * - What a secret of the sandbox was just put into is that secret's, when nothing else stands there that could be a key.
 *
 * @param original the head as the client sent it, its target in origin-form
 * @param substituted the same, line by line, with the values of secrets
 * @param uses the endpoints of the request's authority; of each service the first counts whose paths fit
 * @param bound the secrets that were put in
 * @param carriesCredential false where nothing may be put in: then things are only taken out
 */
export function overwriteForServices(
  original: RequestHead,
  substituted: RequestHead,
  uses: readonly ServiceUse[],
  bound: readonly BoundSecret[],
  carriesCredential: boolean,
): OverwriteResult {
  const chosen = chooseEndpoints(uses, original.target);
  const guarded = new Set<string>();
  for (const { endpoint } of chosen) {
    for (const name of endpoint.strip.headers) guarded.add(spelling(name));
    for (const overwrite of endpoint.overwrite) {
      const field = fieldOf(overwrite);
      if (field !== null) guarded.add(spelling(field));
    }
  }
  try {
    const released = new Set<string>();
    const { fields, left } = takeFields(original, substituted, guarded, bound);
    const written: string[] = [];
    for (const { service, endpoint } of carriesCredential ? chosen : []) {
      for (const overwrite of endpoint.overwrite) {
        const field = fieldOf(overwrite);
        if (field === null || left.has(spelling(field))) continue;
        left.add(spelling(field));
        written.push(field, fieldTextOf(service, overwrite));
        released.add(service.name);
      }
    }
    overwriteSubprotocols(original, fields, chosen, bound, carriesCredential, released);
    return {
      verdict: 'ok',
      target: overwriteQuery(original.target, substituted.target, chosen, bound, carriesCredential, released),
      fields,
      written,
      released: [...released],
      guards: (field) => guarded.has(spelling(field)),
      // A request that may carry nothing is its signer's to refuse: what it was signed with must not pass.
      signing: chosen.find(({ endpoint }) => endpoint.signer !== undefined)?.service ?? null,
      endpoints: chosen,
    };
  } catch (error) {
    if (error instanceof Unusable) return error.result;
    throw error;
  }
}

/** Whether of the endpoints of an authority those that count for this target are the given ones. */
export function areEndpointsFor(
  endpoints: readonly ServiceUse[],
  uses: readonly ServiceUse[],
  target: string,
): boolean {
  // Most hosts are no service's.
  if (uses.length === 0) return endpoints.length === 0;
  const chosen = chooseEndpoints(uses, target);
  return chosen.length === endpoints.length && chosen.every((use, index) => use === endpoints[index]);
}

/** The query parameters that endpoints overwrite or take out, in the spelling of {@link parameterName}. */
export function parametersOf(endpoints: readonly ServiceUse[]): ReadonlySet<string> {
  const names = new Set<string>();
  for (const { endpoint } of endpoints) {
    for (const name of endpoint.strip.query) names.add(parameterName(name));
    for (const overwrite of endpoint.overwrite)
      if (overwrite.kind === 'query') names.add(parameterName(overwrite.name));
  }
  return names;
}

/** Whether the query of a target has any of the parameters. */
export function hasParameter(target: string, names: ReadonlySet<string>): boolean {
  const question = target.indexOf('?');
  if (question < 0 || names.size === 0) return false;
  for (let start = question + 1; start <= target.length;) {
    let end = start;
    let equals = -1;
    for (; end < target.length; end++) {
      const octet = target.charCodeAt(end);
      if (octet === 0x26 || octet === 0x3b) break;
      if (octet === 0x3d && equals < 0) equals = end;
    }
    if (names.has(parameterName(target.slice(start, equals < 0 ? end : equals)))) return true;
    start = end + 1;
  }
  return false;
}

/** Of each service the first endpoint whose paths fit. A path that can be read in two ways fits none that are named. */
function chooseEndpoints(uses: readonly ServiceUse[], target: string): readonly ServiceUse[] {
  const chosen = new Map<string, ServiceUse>();
  const path = uses.some(({ paths }) => paths !== null) ? canonicalPath(target) : null;
  for (const use of uses) {
    if (chosen.has(use.service.name)) continue;
    if (use.paths === null || (path !== null && use.paths.some((glob) => matchesPath(glob, path)))) {
      chosen.set(use.service.name, use);
    }
  }
  return [...chosen.values()];
}

/** One spelling for all that servers may take for the same field: gateways to CGI and WSGI make `_` of `-`. */
export function spelling(field: string): string {
  return field.toLowerCase().replaceAll('_', '-');
}

function fieldOf(overwrite: Overwrite): string | null {
  switch (overwrite.kind) {
    case 'header':
      return overwrite.name;
    case 'basic':
      return 'authorization';
    case 'query':
    case 'subprotocol':
      return null;
    default:
      throw new TypeError(`unknown overwrite ${String(overwrite satisfies never)}`);
  }
}

/** The fields without guarded ones, but for those that a secret of the sandbox has been put into. */
function takeFields(
  original: RequestHead,
  substituted: RequestHead,
  guarded: ReadonlySet<string>,
  bound: readonly BoundSecret[],
): { readonly fields: string[]; readonly left: Set<string> } {
  const fields: string[] = [];
  const left = new Set<string>();
  for (let index = 0; index + 1 < substituted.fields.length; index += 2) {
    const name = substituted.fields[index]!;
    const value = substituted.fields[index + 1]!;
    const key = spelling(name);
    if (guarded.has(key)) {
      const sent = original.fields[index + 1]!;
      // A second one would be somebody's own key beside it.
      if (left.has(key) || sent === value || !isSecretAlone(name, sent, bound)) continue;
      left.add(key);
    }
    fields.push(name, value);
  }
  return { fields, left };
}

/** Whether a field holds a placeholder and nothing that could be another key. */
function isSecretAlone(name: string, sent: string, bound: readonly BoundSecret[]): boolean {
  if (isCredentialField(name) && isBasic(sent)) {
    const text = decodeBase64(sent.slice('basic'.length).trim())?.text ?? '';
    const colon = text.indexOf(':');
    const [user, password] = [text.slice(0, Math.max(colon, 0)), text.slice(colon + 1)];
    return bound.some(
      ({ placeholder }) =>
        (password === placeholder && user.length <= MAX_USER_CHARACTERS) ||
        (user === placeholder && password.length <= MAX_USER_CHARACTERS),
    );
  }
  return bound.some(({ placeholder }) => {
    if (!sent.endsWith(placeholder)) return false;
    const scheme = sent.slice(0, -placeholder.length);
    return scheme === '' || /^[A-Za-z-]{1,20} +$/.test(scheme);
  });
}

function fieldTextOf(service: BoundService, overwrite: Overwrite): string {
  const value = tokenOf(service, overwrite.kind === 'basic' ? 'basic' : 'header');
  switch (overwrite.kind) {
    case 'header': {
      const rendered = fieldText(
        overwrite.text.replaceAll('{value}', () => value),
        true,
      );
      if ('reason' in rendered) throw notCarriable(service, 'header', rendered.reason);
      return rendered.text;
    }
    case 'basic': {
      const rendered = credentialText(value, false);
      if ('reason' in rendered) throw notCarriable(service, 'basic', rendered.reason);
      return `Basic ${Buffer.from(`${overwrite.user}:${rendered.text}`, 'latin1').toString('base64')}`;
    }
    default:
      throw new TypeError(`no field has an overwrite of kind ${overwrite.kind}`);
  }
}

function tokenOf(service: BoundService, location: Location['kind']): string {
  const { name, credential } = service;
  if (credential?.kind === 'token' && credential.value.isKnown) return credential.value.reveal();
  throw new Unusable({ code: 'SECRET_UNAVAILABLE', name, location, reason: 'its value is not known' });
}

function notCarriable({ name }: BoundService, location: Location['kind'], reason: string): Unusable {
  return new Unusable({ code: 'VALUE_NOT_CARRIABLE', name, location, reason });
}

/** Overwrites the subprotocols of a WebSocket handshake that carry a key, in place. */
function overwriteSubprotocols(
  original: RequestHead,
  fields: string[],
  chosen: readonly ServiceUse[],
  bound: readonly BoundSecret[],
  carriesCredential: boolean,
  released: Set<string>,
): void {
  const overwrites = chosen.flatMap(({ service, endpoint }) =>
    endpoint.overwrite.flatMap((overwrite) =>
      overwrite.kind === 'subprotocol' ? [{ service, prefix: overwrite.prefix }] : [],
    ),
  );
  if (overwrites.length === 0) return;
  const isSecret = new Set(bound.flatMap(({ placeholder }) => overwrites.map(({ prefix }) => prefix + placeholder)));
  const sent = original.fields.filter(
    (_, index) => spelling(original.fields[index - (index % 2)]!) === SUBPROTOCOL_FIELD,
  );
  let line = 0;
  for (let index = 0; index + 1 < fields.length;) {
    if (spelling(fields[index]!) !== SUBPROTOCOL_FIELD) {
      index += 2;
      continue;
    }
    const before = (sent[line * 2 + 1] ?? '').split(',');
    line += 1;
    const offers = fields[index + 1]!.split(',');
    const kept = offers.flatMap((offer, at) => {
      const text = offer.trim();
      const match = overwrites.find(({ prefix }) => text.toLowerCase().startsWith(prefix.toLowerCase()));
      if (match === undefined) return [text];
      const asSent = before.length === offers.length ? (before[at] ?? '').trim() : '';
      if (asSent !== text && isSecret.has(asSent)) return [text];
      if (!carriesCredential) return [];
      const value = tokenOf(match.service, 'header');
      // RFC 6455 section 4.1: a token.
      if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(value)) {
        throw notCarriable(match.service, 'header', 'it has a character that a WebSocket subprotocol cannot carry');
      }
      released.add(match.service.name);
      return [match.prefix + value];
    });
    if (kept.length === 0) {
      fields.splice(index, 2);
      continue;
    }
    fields[index + 1] = kept.join(', ');
    index += 2;
  }
}

/** Overwrites and takes out query parameters. The target itself where nothing is to be done. */
function overwriteQuery(
  original: string,
  substituted: string,
  chosen: readonly ServiceUse[],
  bound: readonly BoundSecret[],
  carriesCredential: boolean,
  released: Set<string>,
): string {
  const question = substituted.indexOf('?');
  if (question < 0) return substituted;
  const overwritten = new Map<string, BoundService>();
  const stripped = new Set<string>();
  for (const { service, endpoint } of chosen) {
    for (const name of endpoint.strip.query) stripped.add(parameterName(name));
    for (const overwrite of endpoint.overwrite) {
      if (overwrite.kind !== 'query') continue;
      const name = parameterName(overwrite.name);
      if (!overwritten.has(name)) overwritten.set(name, service);
    }
  }
  if (overwritten.size === 0 && stripped.size === 0) return substituted;
  // Some servers take a semicolon for an ampersand. A value that was put in has neither: the pieces are the same.
  const sent = original.slice(original.indexOf('?') + 1).split(/([&;])/);
  const pieces = substituted.slice(question + 1).split(/([&;])/);
  const left = new Set<string>();
  let query = '';
  for (let index = 0; index < pieces.length; index += 2) {
    const piece = pieces[index]!;
    const equals = piece.indexOf('=');
    const rawName = equals < 0 ? piece : piece.slice(0, equals);
    const name = parameterName(rawName);
    const service = overwritten.get(name);
    const before = index === 0 ? '' : pieces[index - 1]!;
    let text: string | null = piece;
    if (service !== undefined || stripped.has(name)) {
      const asSent = sent[index] ?? '';
      const isSecret =
        asSent !== piece &&
        !left.has(name) &&
        bound.some(({ placeholder }) => decodePercent(asSent.slice(asSent.indexOf('=') + 1)).text === placeholder);
      if (isSecret) left.add(name);
      else if (service === undefined || !carriesCredential) text = null;
      else {
        const rendered = targetText(tokenOf(service, 'query'));
        if ('reason' in rendered) throw notCarriable(service, 'query', rendered.reason);
        text = `${rawName}=${rendered.text}`;
        released.add(service.name);
      }
    }
    if (text !== null) query += (query === '' ? '' : before) + text;
  }
  const path = substituted.slice(0, question);
  return query === '' ? path : `${path}?${query}`;
}

/** One spelling for all that servers may take for the same parameter: case, escapes, blanks around it, `name[]`, what follows a NUL. */
export function parameterName(text: string): string {
  if (isPlainName(text)) return text;
  const decoded = decodePercent(text.replaceAll('+', ' ')).text;
  const nul = decoded.indexOf('\0');
  const name = (nul < 0 ? decoded : decoded.slice(0, nul)).trim().toLowerCase();
  const bracket = name.indexOf('[');
  return bracket > 0 ? name.slice(0, bracket) : name;
}

/** Whether a text is its own spelling, as most names are. */
function isPlainName(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const octet = text.charCodeAt(i);
    const isPlain =
      (octet >= 0x61 && octet <= 0x7a) || (octet >= 0x30 && octet <= 0x39) || octet === 0x5f || octet === 0x2d;
    if (!isPlain) return false;
  }
  return true;
}
