import { homedir } from 'node:os';
import { isAbsolute, resolve } from 'node:path';
import { SallyportError } from '@sallyport/sdk';

/** A reference to a value that lies elsewhere. `canonical` is one spelling of it, which means the same in every directory. */
export type Reference =
  | { readonly kind: 'op'; readonly canonical: string }
  | {
      readonly kind: 'vault';
      readonly canonical: string;
      /** Mount and path within it; only Vault knows where the one ends. */
      readonly path: readonly string[];
      readonly key: string;
    }
  | {
      readonly kind: 'aws-sm';
      readonly canonical: string;
      /** A name or an ARN. */
      readonly secretId: string;
      /** As asked for, else the ARN's; null: the host's. */
      readonly region: string | null;
      /** Its id where it is a UUID, else its staging label; null: the current one. */
      readonly version: string | null;
      /** The member of a JSON object; null: the whole secret. */
      readonly key: string | null;
    }
  | { readonly kind: 'file'; readonly canonical: string; readonly path: string }
  | { readonly kind: 'env'; readonly canonical: string; readonly variable: string };

/** What relative paths and `~` mean. */
export interface ReferenceOrigin {
  readonly directory: string;
  /** Default: the user's home directory. */
  readonly home?: string;
}

export const REFERENCE_FORMS =
  'op://VAULT/ITEM[/SECTION]/FIELD, vault://MOUNT/PATH#KEY, aws-sm://NAME-OR-ARN[?region=R&version=V][#JSON-KEY], file:PATH or env:VARIABLE';

const MAX_REFERENCE_LENGTH = 2048;

/** https://developer.1password.com/docs/cli/secret-reference-syntax: other names are written by their ids. */
const OP_PART = /^[\p{L}\p{N}_. -]+$/u;
const OP_QUERY = /^(?:attribute|attr|ssh-format)=[a-z0-9_-]{1,32}$/;
/** https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html */
const AWS_NAME = /^[A-Za-z0-9/_+=.@-]{1,512}$/;
const AWS_ARN = /^arn:aws[a-z-]{0,20}:secretsmanager:([a-z0-9-]{1,32}):\d{12}:secret:[A-Za-z0-9/_+=.@-]{1,512}$/;
/** A region's code, which becomes a part of a host's name. */
export const AWS_REGION = /^[a-z]{2,}(?:-[a-z0-9]+){1,4}$/;
const AWS_VERSION = /^[A-Za-z0-9/_+=.@-]{1,256}$/;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,255}$/;

/**
 * Reads a reference as `--ref` takes it. Nothing is looked up.
 *
 * @throws SallyportError INVALID_REFERENCE, which says what is wrong with it.
 */
export function parseReference(text: string, { directory, home = homedir() }: ReferenceOrigin): Reference {
  const refuse = (why: string): SallyportError => invalid(`The reference ${quote(text)} is not usable: ${why}.`);
  // What is no reference at all may be a value, given to the wrong option.
  const refuseUnquoted = (why: string): SallyportError => invalid(`The reference is not usable: ${why}.`);
  if (text === '') throw refuseUnquoted(`it is empty; write ${REFERENCE_FORMS}`);
  if (text.length > MAX_REFERENCE_LENGTH) throw refuseUnquoted(`it is longer than ${MAX_REFERENCE_LENGTH} characters`);
  if (/\p{Cc}/u.test(text)) throw refuseUnquoted('it has a control character');
  if (!text.isWellFormed()) throw refuseUnquoted('it has half of a character');

  const colon = text.indexOf(':');
  const scheme = colon === -1 ? '' : text.slice(0, colon).toLowerCase();
  const rest = text.slice(colon + 1);
  switch (scheme) {
    case 'op':
      return parseOp(afterSlashes(rest, refuse), refuse);
    case 'vault':
      return parseVault(afterSlashes(rest, refuse), refuse);
    case 'aws-sm':
      return parseAws(afterSlashes(rest, refuse), refuse);
    case 'file':
      return parseFile(rest, directory, home, refuse);
    case 'env':
      if (!VARIABLE.test(rest)) throw refuseUnquoted('behind "env:" belongs the name of an environment variable');
      return { kind: 'env', canonical: `env:${rest}`, variable: rest };
    default:
      throw refuseUnquoted(`it does not begin with a kind of source; write ${REFERENCE_FORMS}`);
  }
}

function invalid(message: string): SallyportError {
  return new SallyportError('INVALID_REFERENCE', message);
}

type Refuse = (why: string) => SallyportError;

function afterSlashes(rest: string, refuse: Refuse): string {
  if (!rest.startsWith('//')) throw refuse('two slashes are missing after the first colon');
  return rest.slice(2);
}

function parseOp(rest: string, refuse: Refuse): Reference {
  const [path, query] = splitOnce(rest, '?');
  const parts = path.split('/');
  if (parts.length < 3)
    throw refuse(
      `${parts.length === 1 ? 'the item and the field are' : 'the field is'} missing; write op://VAULT/ITEM/FIELD`,
    );
  if (parts.length > 4)
    throw refuse('it has more parts than op://VAULT/ITEM/SECTION/FIELD; name what has a slash by its id');
  const names = parts.length === 3 ? ['vault', 'item', 'field'] : ['vault', 'item', 'section', 'field'];
  for (const [index, part] of parts.entries()) {
    const name = names[index] ?? 'part';
    if (part.trim() === '') throw refuse(`the ${name} is empty`);
    if (!OP_PART.test(part)) {
      throw refuse(
        `the ${name}, ${quote(part)}, may have letters, digits, spaces and "-_." only; use the id of what is named otherwise`,
      );
    }
  }
  if (query !== null && !OP_QUERY.test(query)) {
    throw refuse(`the part after "?", ${quote(query)}, may be attribute=NAME or ssh-format=NAME only`);
  }
  return { kind: 'op', canonical: `op://${path}${query === null ? '' : `?${query}`}` };
}

function parseVault(rest: string, refuse: Refuse): Reference {
  const [whole, key] = splitOnce(rest, '#');
  if (key === null || key === '') throw refuse('the key is missing; write vault://MOUNT/PATH#KEY');
  if (/[?%]/.test(whole)) throw refuse('the path may have no "?" and no "%"; write its characters themselves');
  const path = whole.split('/');
  if (path.length < 2) throw refuse('the path is missing behind the mount; write vault://MOUNT/PATH#KEY');
  for (const [index, part] of path.entries()) {
    const name = index === 0 ? 'mount' : 'path';
    if (part === '') throw refuse(`the ${name} has an empty part`);
    if (part === '.' || part === '..') throw refuse(`the ${name} may have no part ${quote(part)}`);
  }
  return { kind: 'vault', canonical: `vault://${whole}#${key}`, path, key };
}

function parseAws(rest: string, refuse: Refuse): Reference {
  const [beforeKey, key] = splitOnce(rest, '#');
  if (key === '') throw refuse('the JSON key after "#" is empty');
  const [secretId, query] = splitOnce(beforeKey, '?');
  if (secretId === '') throw refuse('the name of the secret is missing');
  const arn = AWS_ARN.exec(secretId);
  if (arn === null && secretId.startsWith('arn:')) throw refuse(`${quote(secretId)} is not the ARN of a secret`);
  if (arn === null && !AWS_NAME.test(secretId)) {
    throw refuse(`the name, ${quote(secretId)}, may have ASCII letters, digits and "/_+=.@-" only`);
  }
  const settings = new Map<string, string>();
  for (const setting of query === null ? [] : query.split('&')) {
    const [name, value] = splitOnce(setting, '=');
    const form = name === 'region' ? AWS_REGION : name === 'version' ? AWS_VERSION : null;
    if (form === null)
      throw refuse(`the part after "?" may be region=REGION and version=VERSION only, not ${quote(setting)}`);
    if (settings.has(name)) throw refuse(`the ${name} is there twice`);
    if (value === null || !form.test(value)) throw refuse(`${quote(value ?? '')} is not a usable ${name}`);
    settings.set(name, value);
  }
  const asked = settings.get('region') ?? null;
  const own = arn?.[1] ?? null;
  if (asked !== null && own !== null && asked !== own) throw refuse(`its region, ${quote(asked)}, is not the ARN's`);
  const region = own ?? asked;
  const version = settings.get('version') ?? null;
  const said = [
    region === null || own !== null ? '' : `region=${region}`,
    version === null ? '' : `version=${version}`,
  ];
  const canonicalQuery = said.filter((part) => part !== '').join('&');
  const canonical = `aws-sm://${secretId}${canonicalQuery && `?${canonicalQuery}`}${key === null ? '' : `#${key}`}`;
  return { kind: 'aws-sm', canonical, secretId, region, version, key };
}

function parseFile(rest: string, directory: string, home: string, refuse: Refuse): Reference {
  if (rest === '') throw refuse('the path is missing');
  if (rest.startsWith('//') && !rest.startsWith('///')) {
    throw refuse('a file has no host; write file:PATH or file:///PATH');
  }
  const written = rest === '~' || rest.startsWith('~/') ? `${home}/${rest.slice(2)}` : rest;
  if (!isAbsolute(written) && !isAbsolute(directory)) throw refuse('a relative path needs a directory to begin in');
  const path = resolve(directory, written);
  return { kind: 'file', canonical: `file:${path}`, path };
}

/** Splits at the first separator; null where there is none. */
function splitOnce(text: string, separator: string): readonly [string, string | null] {
  const index = text.indexOf(separator);
  return index === -1 ? [text, null] : [text.slice(0, index), text.slice(index + separator.length)];
}

function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
