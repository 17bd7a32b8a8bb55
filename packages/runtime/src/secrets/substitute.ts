import type { RequestHead } from '../http/message.ts';
import { decodeBase64, encodeBase64 } from './base64.ts';
import type { BoundSecret, Location } from './bound-secret.ts';
import { HEX_DIGITS } from './matcher-escape.ts';
import { PlaceholderIndex } from './substitute-index.ts';
import type { Occurrence } from './substitute-index.ts';

/** Fields that route and frame the request: nothing is ever put into them. */
const UNTOUCHED_FIELDS: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'te',
  'trailer',
  'upgrade',
  'expect',
]);

const HALF_A_PAIR = 'it has half a surrogate pair, which UTF-8 cannot carry';

/** What {@link Substituter.substituteHead} did. */
export type SubstitutionResult =
  | {
      readonly verdict: 'ok';
      /** The same object when nothing was replaced. */
      readonly head: RequestHead;
      /** Names of the secrets whose value was put in. */
      readonly released: string[];
      /** Names of the secrets whose placeholder stays: not bound here, or not allowed in that place. */
      readonly stray: string[];
    }
  | {
      readonly verdict: 'failed';
      /** `SECRET_UNAVAILABLE`: the value is not known. */
      readonly code: 'VALUE_NOT_CARRIABLE' | 'SECRET_UNAVAILABLE';
      /** The secret's name. */
      readonly name: string;
      readonly location: Location['kind'];
      /** Why, in words that hold nothing secret. */
      readonly reason: string;
    };

type Place = { readonly kind: 'header' | 'basic'; readonly field: string } | { readonly kind: 'query' | 'path' };

/** Thrown and caught in this file only: the value cannot be written there. */
class NotCarriable extends Error {
  readonly code: 'VALUE_NOT_CARRIABLE' | 'SECRET_UNAVAILABLE';
  readonly secret: string;
  readonly location: Location['kind'];
  readonly reason: string;

  constructor(
    secret: string,
    location: Location['kind'],
    reason: string,
    code: NotCarriable['code'] = 'VALUE_NOT_CARRIABLE',
  ) {
    super(reason);
    this.code = code;
    this.secret = secret;
    this.location = location;
    this.reason = reason;
  }
}

/** One request's substitution. */
interface Work {
  readonly bound: ReadonlySet<string>;
  /** Null as long as there is none: a set costs as much as looking through a head. */
  released: Set<string> | null;
  stray: Set<string> | null;
}

/**
 * Puts the values of bound secrets where their placeholders stand in a request head. Immutable; shared by all connections of a sandbox.
 *
 * What was put in is not searched again, so a value that holds a placeholder stays as it is.
 */
export class Substituter {
  readonly #secrets: readonly BoundSecret[];
  /** By the index of what is found: secrets, then marks. */
  readonly #names: readonly string[];
  readonly #index: PlaceholderIndex;
  /** The placeholders of each list of bound secrets that was seen: the lists are few, and as old as the sandbox. */
  readonly #placeholders = new WeakMap<readonly BoundSecret[], ReadonlySet<string>>();

  /**
   * @param secrets all of the sandbox: placeholders of those not bound to a destination are recognized as stray.
   * @param marks what else is recognized as stray, and never replaced: the sentinels of services.
   */
  constructor(
    secrets: readonly BoundSecret[],
    marks: readonly { readonly name: string; readonly placeholder: string }[] = [],
  ) {
    this.#secrets = secrets;
    const all = [...secrets, ...marks];
    this.#names = all.map(({ name }) => name);
    this.#index = new PlaceholderIndex(all.map(({ placeholder }) => placeholder));
  }

  /**
   * Replaces placeholders in field values, in decoded Basic credentials (RFC 7617), in the query and in the path, as each secret's locations allow.
   *
   * @param bound the secrets bound to the request's authority; none for a method that must carry no credential: then all placeholders are stray.
   */
  substituteHead(head: RequestHead, bound: readonly BoundSecret[]): SubstitutionResult {
    const { fields, target } = head;
    const index = this.#index;
    if (this.#names.length === 0) {
      return unchanged(head);
    }
    let first = 1;
    while (first < fields.length) {
      if (index.mayOccurIn(fields[first]!) || (isCredentialField(fields[first - 1]!) && isBasic(fields[first]!))) break;
      first += 2;
    }
    return first < fields.length || this.mayOccurInTarget(target) ? this.#rewrite(head, bound, first) : unchanged(head);
  }

  /** Whether a placeholder may stand in a request-target, escaped or not. */
  mayOccurInTarget(target: string): boolean {
    if (this.#names.length === 0) return false;
    const index = this.#index;
    return index.mayOccurIn(target) || (target.includes('%') && index.mayOccurIn(decodePercent(target).text));
  }

  /** Names of the secrets whose placeholder stands in any of some texts, in Latin-1. */
  namesIn(texts: readonly string[]): string[] {
    if (this.#names.length === 0) return [];
    return texts.flatMap((text) => this.#index.find(text).map(({ index }) => this.#names[index]!));
  }

  /** @param first where the first value is in which anything may be found. */
  #rewrite(head: RequestHead, bound: readonly BoundSecret[], first: number): SubstitutionResult {
    const work: Work = { bound: this.#placeholdersOf(bound), released: null, stray: null };
    try {
      const target = this.#rewriteTarget(head.target, work);
      let fields: string[] | undefined;
      for (let i = first; i < head.fields.length; i += 2) {
        const value = this.#rewriteField(head.fields[i - 1]!, head.fields[i]!, work);
        if (value !== head.fields[i]) {
          fields ??= [...head.fields];
          fields[i] = value;
        }
      }
      const isSame = target === head.target && fields === undefined;
      return {
        verdict: 'ok',
        head: isSame ? head : { method: head.method, target, minor: head.minor, fields: fields ?? head.fields },
        released: work.released === null ? [] : [...work.released],
        stray: work.stray === null ? [] : [...work.stray],
      };
    } catch (error) {
      if (error instanceof NotCarriable) {
        const { code, secret, location, reason } = error;
        return { verdict: 'failed', code, name: secret, location, reason };
      }
      throw error;
    }
  }

  #placeholdersOf(bound: readonly BoundSecret[]): ReadonlySet<string> {
    const known = this.#placeholders.get(bound);
    if (known !== undefined) return known;
    const placeholders = new Set(bound.map(({ placeholder }) => placeholder));
    this.#placeholders.set(bound, placeholders);
    return placeholders;
  }

  #rewriteField(name: string, value: string, work: Work): string {
    const occurrences = this.#index.find(value);
    if (occurrences.length > 0) {
      const field = name.toLowerCase();
      return this.#replace(value, occurrences, { kind: 'header', field }, work, (text, start, end) => {
        const isEdge = start === 0 || end === value.length;
        return fieldText(text, isEdge);
      });
    }
    if (isCredentialField(name) && isBasic(value)) {
      return this.#rewriteBasic(name.toLowerCase(), value, work);
    }
    return value;
  }

  #rewriteBasic(field: string, value: string, work: Work): string {
    const encoded = value.slice('basic'.length).trim();
    const decoded = decodeBase64(encoded);
    if (decoded === undefined) {
      return value;
    }
    const { text, style } = decoded;
    const colon = text.indexOf(':');
    const replaced = this.#replace(text, this.#index.find(text), { kind: 'basic', field }, work, (secret, start) =>
      credentialText(secret, start < colon),
    );
    if (replaced === text) {
      return value;
    }
    return value.slice(0, value.length - encoded.length) + encodeBase64(replaced, style);
  }

  #rewriteTarget(target: string, work: Work): string {
    const occurrences = target.includes('%') ? this.#findEscaped(target) : this.#index.find(target);
    if (occurrences.length === 0) {
      return target;
    }
    const pathStart = startOfPath(target);
    const question = target.indexOf('?', pathStart);
    const queryStart = question === -1 ? target.length : question + 1;
    const inAuthority: Occurrence[] = [];
    const inPath: Occurrence[] = [];
    const inQuery: Occurrence[] = [];
    for (const occurrence of occurrences) {
      if (occurrence.start < pathStart) {
        inAuthority.push(occurrence);
      } else if (occurrence.start < queryStart) {
        inPath.push(occurrence);
      } else {
        inQuery.push(occurrence);
      }
    }
    for (const { index } of inAuthority) {
      (work.stray ??= new Set()).add(this.#names[index]!);
    }
    // The later part first: positions in the earlier one stay right.
    const withQuery = this.#replace(target, inQuery, { kind: 'query' }, work, targetText);
    return this.#replace(withQuery, inPath, { kind: 'path' }, work, targetText);
  }

  /** Placeholders as they are and, between those, with percent escapes in any mix. */
  #findEscaped(target: string): Occurrence[] {
    const plain = this.#index.find(target);
    const { text, starts } = decodePercent(target);
    const all = [...plain];
    let next = 0;
    for (const { start, end, index } of this.#index.find(text)) {
      const from = starts[start]!;
      const to = starts[end]!;
      while (next < plain.length && plain[next]!.end <= from) {
        next++;
      }
      if (next === plain.length || plain[next]!.start >= to) {
        all.push({ start: from, end: to, index });
      }
    }
    return all.sort((a, b) => a.start - b.start);
  }

  #replace(
    text: string,
    occurrences: readonly Occurrence[],
    place: Place,
    work: Work,
    render: (value: string, start: number, end: number) => { readonly text: string } | { readonly reason: string },
  ): string {
    let result = '';
    let done = 0;
    for (const { start, end, index } of occurrences) {
      const secret = this.#secrets[index];
      if (secret === undefined || !work.bound.has(secret.placeholder) || !allows(secret.locations, place)) {
        (work.stray ??= new Set()).add(this.#names[index]!);
        continue;
      }
      if (!secret.value.isKnown) {
        throw new NotCarriable(secret.name, place.kind, 'its value is not known', 'SECRET_UNAVAILABLE');
      }
      const rendered = render(secret.value.reveal(), start, end);
      if ('reason' in rendered) {
        throw new NotCarriable(secret.name, place.kind, rendered.reason);
      }
      result += text.slice(done, start) + rendered.text;
      done = end;
      (work.released ??= new Set()).add(secret.name);
    }
    return done === 0 ? text : result + text.slice(done);
  }
}

function unchanged(head: RequestHead): SubstitutionResult {
  return { verdict: 'ok', head, released: [], stray: [] };
}

function allows(locations: readonly Location[], place: Place): boolean {
  for (const location of locations) {
    switch (location.kind) {
      case 'header':
        if (place.kind === 'header' && !UNTOUCHED_FIELDS.has(place.field)) {
          if (location.name === undefined || location.name.toLowerCase() === place.field) {
            return true;
          }
        }
        break;
      case 'basic':
      case 'query':
      case 'path':
        if (place.kind === location.kind) {
          return true;
        }
        break;
      case 'body':
      case 'websocket':
        // Not in a head: see `BodySubstituter` and `MessageSubstituter`.
        break;
      default:
        location satisfies never;
    }
  }
  return false;
}

/** Whether a field has credentials by a scheme (RFC 9110 section 11.6). */
export function isCredentialField(name: string): boolean {
  if (name.length !== 13 && name.length !== 19) {
    return false;
  }
  const lower = name.toLowerCase();
  return lower === 'authorization' || lower === 'proxy-authorization';
}

/** Whether credentials are Basic ones (RFC 7617). */
export function isBasic(value: string): boolean {
  const after = value.charCodeAt(5);
  return (after === 0x20 || after === 0x09) && value.slice(0, 5).toLowerCase() === 'basic';
}

/** RFC 9110 section 5.5: visible characters, spaces and tabs inside, and bytes above 127. */
export function fieldText(value: string, isEdge: boolean): { readonly text: string } | { readonly reason: string } {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code > 255) {
      return { reason: 'it has a character outside Latin-1, which a header field cannot carry' };
    }
    if ((code < 0x20 && code !== 0x09) || code === 0x7f) {
      return { reason: 'it has a control character, which a header field cannot carry' };
    }
  }
  if (isEdge && (isBlank(value.charCodeAt(0)) || isBlank(value.charCodeAt(value.length - 1)))) {
    return { reason: 'it begins or ends with white space, which a header field loses' };
  }
  return { text: value };
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** RFC 7617 section 2: no control characters, no colon in the user; UTF-8. As Latin-1 text, one character a byte. */
export function credentialText(
  value: string,
  isUser: boolean,
): { readonly text: string } | { readonly reason: string } {
  if (!value.isWellFormed()) {
    return { reason: HALF_A_PAIR };
  }
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code < 0x20 || code === 0x7f) {
      return { reason: 'it has a control character, which Basic credentials cannot carry' };
    }
    if (isUser && code === 0x3a) {
      return { reason: 'it has a colon, which the user of Basic credentials cannot carry' };
    }
  }
  return { text: Buffer.from(value, 'utf8').toString('latin1') };
}

/** The text percent-encoded, or why a target cannot carry it. */
export function targetText(value: string): { readonly text: string } | { readonly reason: string } {
  return value.isWellFormed() ? percentText(value) : { reason: HALF_A_PAIR };
}

/** Everything but RFC 3986's unreserved characters percent-encoded, as UTF-8. */
export function percentText(value: string): { readonly text: string } {
  let text = '';
  for (const byte of Buffer.from(value, 'utf8')) {
    text += isUnreserved(byte) ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return { text };
}

function isUnreserved(byte: number): boolean {
  return (
    (byte >= 0x61 && byte <= 0x7a) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x30 && byte <= 0x39) ||
    byte === 0x2d ||
    byte === 0x2e ||
    byte === 0x5f ||
    byte === 0x7e
  );
}

/** The text with percent escapes decoded, and for each of its characters (and the end) where it began. */
export function decodePercent(target: string): { readonly text: string; readonly starts: Int32Array } {
  const starts = new Int32Array(target.length + 1);
  let text = '';
  let count = 0;
  let i = 0;
  while (i < target.length) {
    starts[count++] = i;
    const code = target.charCodeAt(i);
    if (code === 0x25 && i + 2 < target.length) {
      const high = HEX_DIGITS[target.charCodeAt(i + 1)] ?? -1;
      const low = HEX_DIGITS[target.charCodeAt(i + 2)] ?? -1;
      if (high >= 0 && low >= 0) {
        text += String.fromCharCode((high << 4) | low);
        i += 3;
        continue;
      }
    }
    text += target[i];
    i++;
  }
  starts[count] = target.length;
  return { text, starts };
}

/** Where the path begins: at once in origin-form, behind the authority in absolute-form (RFC 9112 section 3.2). */
function startOfPath(target: string): number {
  if (target.startsWith('/')) {
    return 0;
  }
  const scheme = target.indexOf('://');
  if (scheme === -1) {
    return target.length;
  }
  for (let i = scheme + 3; i < target.length; i++) {
    const code = target.charCodeAt(i);
    if (code === 0x2f || code === 0x3f) {
      return i;
    }
  }
  return target.length;
}
