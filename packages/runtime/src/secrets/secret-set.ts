import { SallyportError } from '@sallyport/sdk';
import type { Authority } from '../http/message.ts';
import { HostIndex } from '../policy/host-index.ts';
import { matchesName } from '../policy/host-pattern.ts';
import { quote } from '../policy/quoted-text.ts';
import type { BoundSecret, Location, SecretHost } from './bound-secret.ts';
import { formatSecretHost } from './secret-spec.ts';
import type { SecretValue } from './secret-value.ts';
import { MIN_INDEXED_CHARACTERS, SubstringIndex } from './substring-index.ts';

/** A secret before it has a placeholder. */
export interface SecretInput {
  readonly env: string;
  /** Checked by `checkSecretValue`. */
  readonly value: SecretValue;
  readonly hosts: readonly SecretHost[];
  /** What audit events call it; the environment variable where omitted. */
  readonly name?: string;
  /** Where its placeholder is replaced; those of the set where omitted. */
  readonly locations?: readonly Location[];
}

/** What a set of secrets is made of. */
export interface SecretSetInput {
  readonly inputs: readonly SecretInput[];
  /** Where placeholders are replaced, for every secret of the set. */
  readonly locations: readonly Location[];
  /** Names of the sandbox's plain environment variables. */
  readonly plainNames: readonly string[];
  /** Makes the placeholder of a variable, once for each; at least 8 characters. */
  readonly placeholderFor: (env: string) => string;
}

/** The placeholder secrets of one sandbox. It never changes: a change makes another set. */
export interface SecretSet {
  /**
   * Longest value first, and by environment variable where two are equally long. A value may contain another one
   * (`token` and `token-admin`): whoever redacts takes the first that fits, so that no tail of a longer one stays.
   * Of two variables with one value the first one's placeholder is what a response shows.
   */
  readonly secrets: readonly BoundSecret[];
  /** The secrets bound to an authority, in the order of `secrets`. A few map accesses; the same array on repetition. */
  readonly secretsFor: (authority: Authority) => readonly BoundSecret[];
}

/**
 * Builds the secrets of one sandbox: gives each variable its placeholder, merges the hosts of a variable that comes twice with the same
 * value, and refuses what could not be told apart on the wire.
 *
 * @throws SallyportError SECRET_CONFLICT for a variable with two values, for one that is plain environment as well, for placeholders
 *   that are equal or contain one another, and for a value that contains a placeholder or is contained in one.
 */
export function createSecretSet(input: SecretSetInput): SecretSet {
  const merged = mergeInputs(input.inputs);
  const plain = new Set(input.plainNames);
  const secrets = merged.map(({ env, name, value, hosts, locations }): BoundSecret => {
    if (plain.has(env)) {
      throw conflict(`${env} is a secret and also a plain environment variable. Remove one of the two.`);
    }
    return { name, env, placeholder: input.placeholderFor(env), value, hosts, locations: locations ?? input.locations };
  });
  refuseEntangled(secrets);
  return indexSecrets(secrets);
}

/** Makes the set of secrets that were built before (by {@link createSecretSet}); checks nothing. */
export function indexSecrets(secrets: readonly BoundSecret[]): SecretSet {
  const ordered = secrets.toSorted(
    (a, b) => b.value.reveal().length - a.value.reveal().length || (a.env < b.env ? -1 : a.env > b.env ? 1 : 0),
  );
  return { secrets: ordered, secretsFor: createLookup(ordered) };
}

function conflict(message: string): SallyportError {
  return new SallyportError('SECRET_CONFLICT', message);
}

function mergeInputs(
  inputs: readonly SecretInput[],
): (Required<Omit<SecretInput, 'locations'>> & Pick<SecretInput, 'locations'>)[] {
  const byEnv = new Map<string, { input: SecretInput; hosts: Map<string, SecretHost> }>();
  for (const input of inputs) {
    const known = byEnv.get(input.env);
    if (known !== undefined && known.input.value.reveal() !== input.value.reveal()) {
      throw conflict(`${input.env} is given two different values. Give it one, or use two environment variables.`);
    }
    const entry = known ?? { input, hosts: new Map<string, SecretHost>() };
    for (const host of input.hosts) entry.hosts.set(formatSecretHost(host), host);
    byEnv.set(input.env, entry);
  }
  return [...byEnv.values()].map(({ input, hosts }) => ({
    env: input.env,
    name: input.name ?? input.env,
    value: input.value,
    hosts: [...hosts.values()],
    ...(input.locations === undefined ? {} : { locations: input.locations }),
  }));
}

/** Refuses placeholders and values inside one another: substitution or redaction could not tell which is meant. */
function refuseEntangled(secrets: readonly BoundSecret[]): void {
  const envByPlaceholder = new Map<string, string>();
  for (const { env, placeholder } of secrets) {
    const other = envByPlaceholder.get(placeholder);
    if (other !== undefined)
      throw conflict(`${env} and ${other} have the same placeholder, ${quote(placeholder)}. Change one.`);
    if (placeholder.length < MIN_INDEXED_CHARACTERS) {
      throw conflict(
        `The placeholder ${quote(placeholder)} of ${env} is too short. Use at least ${MIN_INDEXED_CHARACTERS} characters.`,
      );
    }
    envByPlaceholder.set(placeholder, env);
  }
  const placeholders = new SubstringIndex(envByPlaceholder.keys());
  const values = new SubstringIndex(new Set(secrets.map(({ value }) => value.reveal())));
  for (const { env, placeholder, value } of secrets) {
    const [contained = placeholder, nested] = placeholders.within(placeholder);
    const inner = contained === placeholder ? nested : contained;
    if (inner !== undefined) {
      throw conflict(`The placeholder of ${env} contains the one of ${envByPlaceholder.get(inner)}. Change one.`);
    }
    const [known] = placeholders.within(value.reveal());
    if (known !== undefined) {
      throw conflict(
        `The value of ${env} contains the placeholder of ${envByPlaceholder.get(known)}. Give the real value.`,
      );
    }
    const [shown] = values.within(placeholder);
    if (shown !== undefined) {
      throw conflict(
        `The placeholder of ${env} contains a secret's value, so the sandbox would see it. Use another variable name or value.`,
      );
    }
  }
}

/** True when a secret may be sent to an authority: same scheme, canonical host and port. */
export function boundTo(secret: BoundSecret, authority: Authority): boolean {
  return secret.hosts.some((host) => reaches(host, authority) && matchesName(host.pattern, authority.host));
}

function reaches(host: SecretHost, authority: Authority): boolean {
  return host.scheme === authority.scheme && host.port === authority.port;
}

/** Answers remembered; the sandbox chooses the authorities, so the number is bounded. */
const MAX_REMEMBERED_AUTHORITIES = 1024;

function createLookup(secrets: readonly BoundSecret[]): (authority: Authority) => readonly BoundSecret[] {
  const index = new HostIndex<{ readonly host: SecretHost; readonly rank: number }>();
  for (const [rank, secret] of secrets.entries()) {
    for (const host of secret.hosts) index.add(host.pattern, { host, rank });
  }
  const remembered = new Map<string, readonly BoundSecret[]>();
  // A connection asks with the same object for each request.
  const byObject = new WeakMap<Authority, readonly BoundSecret[]>();
  return (authority) => {
    const same = byObject.get(authority);
    if (same !== undefined) return same;
    const key = `${authority.scheme} ${authority.port} ${authority.host}`;
    const known = remembered.get(key);
    if (known !== undefined) {
      byObject.set(authority, known);
      return known;
    }
    const ranks = new Set<number>();
    for (const { host, rank } of index.matching(authority.host)) if (reaches(host, authority)) ranks.add(rank);
    const bound = [...ranks].toSorted((a, b) => a - b).flatMap((rank) => secrets[rank] ?? []);
    if (remembered.size >= MAX_REMEMBERED_AUTHORITIES) remembered.clear();
    remembered.set(key, bound);
    byObject.set(authority, bound);
    return bound;
  };
}
