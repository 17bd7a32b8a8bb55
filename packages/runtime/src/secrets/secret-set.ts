import { SallyportError } from '@sallyport/sdk';
import type { Authority } from '../http/message.ts';
import { HostIndex } from '../policy/host-index.ts';
import { matchesName } from '../policy/host-pattern.ts';
import { quote } from '../policy/quoted-text.ts';
import {
  bindService,
  sentinelsOf,
  valuesOfService,
  type BoundService,
  type ProtectedValue,
  type ServiceInput,
  type ServiceUse,
} from './bound-service.ts';
import type { BoundSecret, Location, SecretHost } from './bound-secret.ts';
import { formatSecretHost } from './secret-spec.ts';
import type { SecretValue } from './secret-value.ts';
import { MIN_INDEXED_CHARACTERS, SubstringIndex } from './substring-index.ts';

/** A secret before it has a placeholder. */
export interface SecretInput extends Pick<BoundSecret, 'methods' | 'path' | 'onViolation'> {
  readonly env: string;
  /** Checked by `checkSecretValue`; `SecretValue.UNKNOWN` while it has not been fetched. */
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
  /** Services whose credential requests are overwritten with. Default: none. */
  readonly services?: readonly ServiceInput[];
}

/** The placeholder secrets and services of one sandbox. It never changes: a change makes another set. */
export interface SecretSet {
  /**
   * Longest value first, and by environment variable where two are equally long. A value may contain another one
   * (`token` and `token-admin`): whoever redacts takes the first that fits, so that no tail of a longer one stays.
   * Of two variables with one value the first one's placeholder is what a response shows.
   */
  readonly secrets: readonly BoundSecret[];
  /** The secrets bound to an authority, in the order of `secrets`. A few map accesses; the same array on repetition. */
  readonly secretsFor: (authority: Authority) => readonly BoundSecret[];
  /** In the order given: of two that write the same field the first counts. */
  readonly services: readonly BoundService[];
  /** The endpoints that an authority belongs to, by the order of services and then their own. As fast as `secretsFor`; TLS only. */
  readonly servicesFor: (authority: Authority) => readonly ServiceUse[];
}

/**
 * Builds the secrets of one sandbox: gives each variable its placeholder, merges the hosts of a variable that comes twice with the same
 * value, and refuses what could not be told apart on the wire.
 *
 * @throws SallyportError SECRET_CONFLICT for a variable with two values, for one that is plain environment as well, for two services of one
 *   name, for placeholders and sentinels that are equal or contain one another, and for a value that contains one or is contained in one.
 */
export function createSecretSet(input: SecretSetInput): SecretSet {
  const merged = mergeInputs(input.inputs);
  const plain = new Set(input.plainNames);
  const secrets = merged.map(({ locations, ...secret }): BoundSecret => {
    const { env } = secret;
    if (plain.has(env)) {
      throw conflict(`${env} is a secret and also a plain environment variable. Remove one of the two.`);
    }
    return { ...secret, placeholder: input.placeholderFor(env), locations: locations ?? input.locations };
  });
  const services = bindServices(input.services ?? []);
  refuseEntangled(secrets, services);
  return indexSecrets(secrets, services);
}

function bindServices(inputs: readonly ServiceInput[]): readonly BoundService[] {
  const services = new Map<string, BoundService>();
  for (const input of inputs) {
    const service = bindService(input);
    if (services.has(service.name)) {
      throw conflict(`The service ${quote(service.name)} is given twice. Leave one out.`);
    }
    services.set(service.name, service);
  }
  return [...services.values()];
}

/** Makes the set of secrets and services that were built before (by {@link createSecretSet}); checks nothing. */
export function indexSecrets(secrets: readonly BoundSecret[], services: readonly BoundService[] = []): SecretSet {
  const lengthOf = ({ value }: BoundSecret): number => (value.isKnown ? value.reveal().length : 0);
  const ordered = secrets.toSorted((a, b) => lengthOf(b) - lengthOf(a) || (a.env < b.env ? -1 : a.env > b.env ? 1 : 0));
  const uses = services.flatMap((service) =>
    service.endpoints.map((endpoint): ServiceUse => ({ ...endpoint, service })),
  );
  return {
    secrets: ordered,
    secretsFor: createAuthorityLookup(ordered),
    services,
    servicesFor: createAuthorityLookup(uses),
  };
}

/** Every value of a set that is known, and what the sandbox sees instead of it. */
export function protectedValues(set: SecretSet): readonly ProtectedValue[] {
  return [
    ...set.secrets.flatMap(({ name, placeholder, value }) =>
      !value.isKnown ? [] : [{ name, placeholder, value, isSecret: true }],
    ),
    ...set.services.flatMap(valuesOfService),
  ];
}

function conflict(message: string): SallyportError {
  return new SallyportError('SECRET_CONFLICT', message);
}

function mergeInputs(
  inputs: readonly SecretInput[],
): (Omit<SecretInput, 'name'> & Required<Pick<SecretInput, 'name'>>)[] {
  const byEnv = new Map<string, { input: SecretInput; hosts: Map<string, SecretHost> }>();
  for (const input of inputs) {
    const known = byEnv.get(input.env);
    if (known !== undefined && !known.input.value.equals(input.value)) {
      throw conflict(`${input.env} is given two different values. Give it one, or use two environment variables.`);
    }
    const entry = known ?? { input, hosts: new Map<string, SecretHost>() };
    for (const host of input.hosts) entry.hosts.set(formatSecretHost(host), host);
    byEnv.set(input.env, entry);
  }
  return [...byEnv.values()].map(({ input, hosts }) => ({
    ...input,
    name: input.name ?? input.env,
    hosts: [...hosts.values()],
  }));
}

/** Refuses placeholders and values inside one another: substitution or redaction could not tell which is meant. */
function refuseEntangled(secrets: readonly BoundSecret[], services: readonly BoundService[]): void {
  const marks = [
    ...secrets.map(({ env, placeholder }) => ({ owner: env, placeholder })),
    ...sentinelsOf(services).map(({ name, placeholder }) => ({ owner: `the service ${name}`, placeholder })),
  ];
  const ownerOf = new Map<string, string>();
  for (const { owner, placeholder } of marks) {
    const other = ownerOf.get(placeholder);
    if (other !== undefined)
      throw conflict(`${owner} and ${other} have the same placeholder, ${quote(placeholder)}. Change one.`);
    if (placeholder.length < MIN_INDEXED_CHARACTERS) {
      throw conflict(
        `The placeholder ${quote(placeholder)} of ${owner} is too short. Use at least ${MIN_INDEXED_CHARACTERS} characters.`,
      );
    }
    ownerOf.set(placeholder, owner);
  }
  const placeholders = new SubstringIndex(ownerOf.keys());
  for (const { owner, placeholder } of marks) {
    const [contained = placeholder, nested] = placeholders.within(placeholder);
    const inner = contained === placeholder ? nested : contained;
    if (inner !== undefined) {
      throw conflict(`The placeholder of ${owner} contains the one of ${ownerOf.get(inner)}. Change one.`);
    }
  }
  const known = [
    ...secrets.flatMap(({ env, value }) => (!value.isKnown ? [] : [{ owner: env, value }])),
    ...services.flatMap((service) =>
      valuesOfService(service).map(({ value }) => ({ owner: `the service ${service.name}`, value })),
    ),
  ];
  const values = new SubstringIndex(new Set(known.map(({ value }) => value.reveal())));
  for (const { owner, value } of known) {
    const [mark] = placeholders.within(value.reveal());
    if (mark !== undefined) {
      throw conflict(`The value of ${owner} contains the placeholder of ${ownerOf.get(mark)}. Give the real value.`);
    }
  }
  for (const { owner, placeholder } of marks) {
    const [shown] = values.within(placeholder);
    if (shown !== undefined) {
      throw conflict(
        `The placeholder of ${owner} contains a secret's value, so the sandbox would see it. Use another variable name or value.`,
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

/** Finds the items whose hosts an authority is one of, in their order. A few map accesses; the same array on repetition. */
export function createAuthorityLookup<T extends { readonly hosts: readonly SecretHost[] }>(
  items: readonly T[],
): (authority: Authority) => readonly T[] {
  const index = new HostIndex<{ readonly host: SecretHost; readonly rank: number }>();
  for (const [rank, { hosts }] of items.entries()) {
    for (const host of hosts) index.add(host.pattern, { host, rank });
  }
  const remembered = new Map<string, readonly T[]>();
  // A connection asks with the same object for each request.
  const byObject = new WeakMap<Authority, readonly T[]>();
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
    const bound = [...ranks].toSorted((a, b) => a - b).flatMap((rank) => items[rank] ?? []);
    if (remembered.size >= MAX_REMEMBERED_AUTHORITIES) remembered.clear();
    remembered.set(key, bound);
    byObject.set(authority, bound);
    return bound;
  };
}
