import { createHmac } from 'node:crypto';
import { SallyportError } from '@sallyport/sdk';
import { parsePathGlob } from '../policy/path-glob.ts';
import type { BoundSecret, SecretHost } from '../secrets/bound-secret.ts';
import type { BoundService, ServiceCredential, ServiceInput } from '../secrets/bound-service.ts';
import { derivePlaceholder, fillPlaceholder } from '../secrets/placeholder.ts';
import { createSecretSet, type SecretInput, type SecretSet } from '../secrets/secret-set.ts';
import { refuseExposure } from '../secrets/secret-set-exposure.ts';
import { handOverValue } from '../secrets/secret-set-sealing.ts';
import { checkSecretValue, formatSecretHost, parseLocations, readSecretHosts } from '../secrets/secret-spec.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import type { StoredSecret } from '../secrets/stored-secret.ts';
import { findService } from '../services/catalogue.ts';
import { readCredential } from '../services/credential.ts';
import { fillSentinel } from '../services/sentinel.ts';
import { effectiveSecrets, type EffectiveSecret, type NamedSecret } from './effective-secrets.ts';

/** What is read of a book of stored secrets. */
export interface StoredSecrets {
  list(): readonly StoredSecret[];
  /** Of a secret whose value is stored. @throws SallyportError STORE_LOCKED, STORE_CORRUPT, STORE_FAILED */
  value(secret: StoredSecret): Promise<Uint8Array>;
}

/** What the secrets of a sandbox are made of. */
export interface SandboxSecretsInput {
  /** Its name: placeholders are derived from it. */
  readonly sandbox: string;
  /** Made with the sandbox, with their placeholders. */
  readonly own: readonly (SecretInput & { readonly placeholder: string })[];
  /** Services whose value came with the sandbox; undefined where it was lost. */
  readonly given: ReadonlyMap<string, SecretValue | undefined>;
  readonly named: readonly NamedSecret[];
  readonly plain: ReadonlyMap<string, string>;
  /** Null where nothing is stored. */
  readonly stored: StoredSecrets | null;
  /** From which placeholders are derived: the book's, or any other 32 bytes where there is none. */
  readonly placeholderKey: Uint8Array;
  /** What variables have held so far: a sandbox that runs keeps them. */
  readonly placeholders: ReadonlyMap<string, string>;
  /** Whether secrets go with the rest of the sandbox: throws a SallyportError where they do not, a tunnel to one of their hosts say. */
  readonly check?: (set: SecretSet) => void;
}

/** A secret whose value is fetched when a request to one of its hosts needs it. */
export interface DynamicSecret {
  readonly secret: StoredSecret;
  readonly hosts: readonly SecretHost[];
}

/** The secrets of a sandbox. */
export interface SandboxSecrets {
  readonly set: SecretSet;
  /** Those that are not its own. */
  readonly effective: readonly EffectiveSecret[];
  /** The variables of its commands beside the plain ones that were asked for: placeholders, sentinels, and the values of plain secrets. */
  readonly variables: ReadonlyMap<string, string>;
  /** The same without values of plain secrets, for {@link SandboxSecretsInput.placeholders}. */
  readonly placeholders: ReadonlyMap<string, string>;
  readonly dynamic: readonly DynamicSecret[];
  /** For people. */
  readonly notices: readonly string[];
  /** What was asked for and cannot be. */
  readonly refusals: readonly SallyportError[];
}

/** How many stored secrets may be left out of a sandbox because they cannot be told from others, before that is an error. */
const MAX_LEFT_OUT = 16;

/**
 * Puts the secrets of a sandbox together, with all values that are stored.
 *
 * A stored secret that cannot be told apart from what goes before it, or does not go with the rest of the sandbox, is left out with a notice;
 * for the sandbox's own that is an error.
 *
 * @param fetched values that were fetched, by {@link fetchedKey}.
 * @throws SallyportError SECRET_CONFLICT
 */
export async function composeSecrets(
  input: SandboxSecretsInput,
  fetched: ReadonlyMap<string, string> = new Map(),
): Promise<SandboxSecrets> {
  const { sandbox, own, named, plain, stored } = input;
  const {
    secrets,
    notices,
    refusals: refused,
  } = effectiveSecrets({
    sandbox,
    own: own.map(({ env }) => env),
    named,
    given: [...input.given.keys()],
    stored: stored?.list() ?? [],
    plain: [...plain.keys()],
    findService,
  });
  const refusals = [...refused];
  const texts = await readValues(secrets, stored, fetched);
  const parts = secrets.map((secret) => partOf(secret, input, texts));
  const { set, left } = buildSet(input, parts);
  const kept = parts.filter((part) => !left.has(part));
  const variables = new Map(own.map(({ env, placeholder }) => [env, placeholder]));
  for (const part of kept) for (const [env, text] of part.variables) variables.set(env, text);
  for (const { label, plainText } of kept) {
    if (plainText.size === 0) continue;
    const problem = exposureOf(set, plainText, label);
    if (problem === null) for (const [env, text] of plainText) variables.set(env, text);
    else refusals.push(problem);
  }
  return {
    set,
    variables,
    placeholders: new Map([...input.placeholders, ...kept.flatMap((part) => [...part.variables])]),
    effective: secrets.filter((_, index) => !left.has(parts[index] ?? NOTHING)),
    dynamic: kept.flatMap((part) => part.dynamic),
    notices: [
      ...notices,
      ...parts.flatMap((part) => part.notices),
      ...[...left].flatMap(([{ label, isAsked }, { message }]) =>
        isAsked ? [] : [`the stored ${label} is left out: ${message}`],
      ),
    ],
    refusals: [
      ...refusals,
      ...parts.flatMap((part) => part.refusals),
      ...[...left].flatMap(([{ isAsked }, error]) => (isAsked ? [error] : [])),
    ],
  };
}

/** A plain secret that holds the value of another one would let the sandbox see that. */
function exposureOf(set: SecretSet, plainText: ReadonlyMap<string, string>, label: string): SallyportError | null {
  try {
    refuseExposure(set, [], plainText);
    return null;
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    return new SallyportError(
      error.code,
      `The plain ${label} holds the value of another secret, so the sandbox would see it.`,
    );
  }
}

/** By what a value that was fetched is known: another one for each change of its definition. */
export function fetchedKey({ scope, name, updatedAt, source }: StoredSecret): string {
  return JSON.stringify([scope.kind === 'global' ? null : scope.sandbox, name, updatedAt, source]);
}

/** Whether two sets of secrets are the same but for values. */
export function isSameBinding(one: SandboxSecrets, other: SandboxSecrets): boolean {
  const bindings = ({ set }: SandboxSecrets): string =>
    JSON.stringify([set.secrets.map(describeBinding).toSorted(), set.services.map(({ name }) => name)]);
  return bindings(one) === bindings(other);
}

/** Whether two sets of secrets come to the same, values included. */
export function isSameSecrets(one: SandboxSecrets, other: SandboxSecrets): boolean {
  return (
    isSameMap(one.variables, other.variables) &&
    one.notices.join('\n') === other.notices.join('\n') &&
    one.dynamic.map(({ secret }) => fetchedKey(secret)).join() ===
      other.dynamic.map(({ secret }) => fetchedKey(secret)).join() &&
    isSameList(one.set.secrets, other.set.secrets, isSameSecret) &&
    isSameList(one.set.services, other.set.services, isSameService)
  );
}

function isSameList<T>(one: readonly T[], other: readonly T[], isSame: (a: T, b: T) => boolean): boolean {
  return one.length === other.length && one.every((item, index) => isSame(item, other[index] as T));
}

function isSameMap(one: ReadonlyMap<string, string>, other: ReadonlyMap<string, string>): boolean {
  return one.size === other.size && [...one].every(([name, text]) => other.get(name) === text);
}

function isSameSecret(one: BoundSecret, other: BoundSecret): boolean {
  return one.value.equals(other.value) && describeBinding(one) === describeBinding(other);
}

function describeBinding({
  name,
  env,
  placeholder,
  hosts,
  locations,
  methods,
  path,
  onViolation,
}: BoundSecret): string {
  const shownHosts = hosts.map((host) => formatSecretHost(host));
  return JSON.stringify([name, env, placeholder, shownHosts, locations, methods, path?.text, onViolation]);
}

function isSameService(one: BoundService, other: BoundService): boolean {
  return (
    one.definition === other.definition &&
    isSameMap(one.sentinels, other.sentinels) &&
    isSameCredential(one.credential, other.credential)
  );
}

function isSameCredential(one: ServiceCredential | null, other: ServiceCredential | null): boolean {
  if (one === null || other === null) return one === other;
  if (one.kind === 'token' || other.kind === 'token') {
    return one.kind === 'token' && other.kind === 'token' && one.value.equals(other.value);
  }
  const [token, otherToken] = [one.sessionToken, other.sessionToken];
  return (
    one.accessKeyId === other.accessKeyId &&
    one.secretAccessKey.equals(other.secretAccessKey) &&
    (token === null || otherToken === null ? token === otherToken : token.equals(otherToken))
  );
}

/** What one stored secret, or one service, adds. */
interface Part {
  readonly label: string;
  /** Whether it was asked for, and is not merely stored. */
  readonly isAsked: boolean;
  readonly inputs: readonly SecretInput[];
  readonly services: readonly ServiceInput[];
  readonly variables: ReadonlyMap<string, string>;
  readonly plainText: ReadonlyMap<string, string>;
  readonly dynamic: readonly DynamicSecret[];
  readonly notices: readonly string[];
  readonly refusals: readonly SallyportError[];
}

/** A value, or why there is none at this moment: null where it is to be fetched as a rule. */
type ReadValue = { readonly text: string } | { readonly problem: SallyportError | null };

async function readValues(
  secrets: readonly EffectiveSecret[],
  stored: StoredSecrets | null,
  fetched: ReadonlyMap<string, string>,
): Promise<ReadonlyMap<StoredSecret, ReadValue>> {
  const values = new Map<StoredSecret, ReadValue>();
  await Promise.all(
    secrets.map(async ({ secret }) => {
      if (secret === null || stored === null) return;
      const known = fetched.get(fetchedKey(secret));
      if (known !== undefined) {
        values.set(secret, { text: known });
        return;
      }
      if (secret.source.kind !== 'value') {
        values.set(secret, { problem: null });
        return;
      }
      try {
        values.set(secret, { text: decode(await stored.value(secret)) });
      } catch (error) {
        if (!(error instanceof SallyportError)) throw error;
        values.set(secret, { problem: error });
      }
    }),
  );
  return values;
}

/** Bytes as text; what is no UTF-8 has a replacement character then, which `checkSecretValue` refuses. */
function decode(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

const NOTHING: Part = {
  label: '',
  isAsked: false,
  inputs: [],
  services: [],
  variables: new Map(),
  plainText: new Map(),
  dynamic: [],
  notices: [],
  refusals: [],
};

function partOf(
  effective: EffectiveSecret,
  input: SandboxSecretsInput,
  texts: ReadonlyMap<StoredSecret, ReadValue>,
): Part {
  const { secret } = effective;
  const label =
    secret === null
      ? `service ${effective.kind === 'service' ? effective.definition.name : ''}`
      : `secret ${secret.name}`;
  const read = secret === null ? undefined : texts.get(secret);
  const problem = read !== undefined && 'problem' in read ? read.problem : null;
  const isDynamic = secret !== null && (secret.source.kind !== 'value' || problem !== null);
  const isAsked = secret === null || input.named.some(({ name }) => name === secret.name);
  const part = {
    ...NOTHING,
    label,
    isAsked,
    // It is tried again when a request needs it.
    notices: problem === null ? [] : [`the ${label} cannot be used: ${problem.message}`],
  };
  const withHosts = (made: Partial<Part>, hosts: readonly SecretHost[]): Part => ({
    ...part,
    ...made,
    dynamic: isDynamic ? [{ secret, hosts }] : [],
  });
  try {
    switch (effective.kind) {
      case 'custom':
        return withHosts(
          customPart(effective, input, read),
          readSecretHosts(effective.secret.hosts, effective.secret.name),
        );
      case 'plain':
        return { ...part, notices: [], ...plainPart(effective, read) };
      case 'service': {
        const { endpoints, name } = effective.definition;
        return withHosts(
          servicePart(effective, input, read),
          endpoints.flatMap(({ hosts }) => readSecretHosts(hosts, name)),
        );
      }
      default:
        throw new TypeError(`unknown secret ${String(effective satisfies never)}`);
    }
  } catch (error) {
    if (!(error instanceof SallyportError)) throw error;
    // A value that was put in otherwise than by these commands, say.
    return { ...NOTHING, label, notices: [`the ${label} is left out: ${error.message}`] };
  }
}

function customPart(
  { secret, env }: Extract<EffectiveSecret, { kind: 'custom' }>,
  input: SandboxSecretsInput,
  read: ReadValue | undefined,
): Partial<Part> {
  const locations = parseLocations(secret.locations);
  const value =
    read !== undefined && 'text' in read ? checkSecretValue(read.text, secret.name, locations) : SecretValue.UNKNOWN;
  const placeholder =
    input.placeholders.get(env) ??
    (secret.placeholder === null
      ? derivePlaceholder(env, randomBytesFor(input, env))
      : fillPlaceholder(secret.placeholder, randomBytesFor(input, env)));
  return {
    inputs: [
      {
        env,
        name: secret.name,
        value,
        hosts: readSecretHosts(secret.hosts, secret.name),
        locations,
        ...(secret.methods.length === 0 ? {} : { methods: secret.methods }),
        ...(secret.path === null ? {} : { path: parsePathGlob(secret.path) }),
        onViolation: secret.onViolation,
      },
    ],
    variables: new Map([[env, placeholder]]),
  };
}

function plainPart(
  { secret, env }: Extract<EffectiveSecret, { kind: 'plain' }>,
  read: ReadValue | undefined,
): Partial<Part> {
  if (read !== undefined && 'text' in read) {
    if (!read.text.includes('\0')) return { plainText: new Map([[env, read.text]]) };
    throw new SallyportError('INVALID_SECRET_VALUE', `It holds a NUL, which no variable can have.`);
  }
  const problem = read === undefined ? null : read.problem;
  return {
    refusals: [problem ?? new SallyportError('SECRET_UNAVAILABLE', `The plain secret ${secret.name} has no value.`)],
  };
}

function servicePart(
  { definition, secret, variables }: Extract<EffectiveSecret, { kind: 'service' }>,
  input: SandboxSecretsInput,
  read: ReadValue | undefined,
): Partial<Part> {
  const given = secret === null ? input.given.get(definition.name) : undefined;
  let credential: ServiceCredential | null = null;
  if (given !== undefined) credential = handOverValue(given, (text) => readCredential(definition, text));
  else if (read !== undefined && 'text' in read) credential = readCredential(definition, read.text);
  const sentinels = new Map(
    definition.variables.map(({ name, sentinel }) => {
      // A variable that something else has, has that one's placeholder.
      const known = variables.has(name) ? input.placeholders.get(name) : undefined;
      const label = variables.has(name) ? name : `${name}\0${definition.name}`;
      return [name, known ?? fillSentinel(sentinel, randomBytesFor(input, label))];
    }),
  );
  const [first = ''] = sentinels.values();
  return {
    services: [{ definition, credential, sentinels }],
    variables: new Map(
      [...variables.keys()].map((name) => [name, sentinels.get(name) ?? input.placeholders.get(name) ?? first]),
    ),
  };
}

/** The same for the same sandbox and variable, as long as the book lives. */
function randomBytesFor({ sandbox, placeholderKey }: SandboxSecretsInput, variable: string): Uint8Array {
  return createHmac('sha256', placeholderKey).update(`${sandbox}\0${variable}`).digest();
}

/** Builds the set; parts that cannot be told from what goes before them are left out, each with the reason. */
function buildSet(
  { own, plain, check }: SandboxSecretsInput,
  parts: readonly Part[],
): { readonly set: SecretSet; readonly left: ReadonlyMap<Part, SallyportError> } {
  const left = new Map<Part, SallyportError>();
  const placeholderByEnv = new Map(own.map(({ env, placeholder }) => [env, placeholder]));
  for (const { variables } of parts) for (const [env, placeholder] of variables) placeholderByEnv.set(env, placeholder);
  const build = (count: number): SecretSet => {
    const used = parts.slice(0, count).filter((part) => !left.has(part));
    const set = createSecretSet({
      inputs: [...own, ...used.flatMap(({ inputs }) => inputs)],
      services: used.flatMap(({ services }) => services),
      locations: [],
      plainNames: [...plain.keys()],
      placeholderFor: (env) => placeholderByEnv.get(env) ?? '',
    });
    check?.(set);
    return set;
  };
  for (;;) {
    try {
      return { set: build(parts.length), left };
    } catch (error) {
      if (!(error instanceof SallyportError) || left.size >= MAX_LEFT_OUT) throw error;
      const culprit = findCulprit(build, parts.length);
      const part = parts[culprit];
      // The sandbox's own ones are in conflict.
      if (part === undefined) throw error;
      left.set(part, error);
    }
  }
}

/** The index of the first part with which the set cannot be built; -1 when it cannot be built without any. */
function findCulprit(build: (count: number) => unknown, count: number): number {
  const works = (size: number): boolean => {
    try {
      build(size);
      return true;
    } catch {
      return false;
    }
  };
  if (!works(0)) return -1;
  let [good, bad] = [0, count];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (works(middle)) good = middle;
    else bad = middle;
  }
  return good;
}
