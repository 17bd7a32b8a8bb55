import { randomBytes } from 'node:crypto';
import { isAbsolute } from 'node:path';
import {
  SallyportError,
  type Network,
  type SandboxCreate,
  type SecretInfo,
  type SecretUpdate,
  type ValueSecret,
} from '@sallyport/sdk';
import { installationDirectory } from '../engine/installation.ts';
import { serviceUnknown, type NamedSecret } from '../engine/effective-secrets.ts';
import type { SandboxRules } from '../engine/lasting-sandbox.ts';
import type { PreparationOptions } from '../engine/prepared-sandbox.ts';
import type { SandboxSecretsInput } from '../engine/sandbox-secrets.ts';
import type { ValueProvider } from '../gate/value-provider.ts';
import { formatHostAndPort } from '../policy/host-name.ts';
import { parseMethod } from '../policy/method.ts';
import { parsePathGlob } from '../policy/path-glob.ts';
import { formatResolve } from '../policy/resolve-pin.ts';
import { warnOfSharedHost } from '../policy/shared-hosts.ts';
import { DEFAULT_PIDS } from '../sandbox/limits.ts';
import { parseVolume } from '../sandbox/volumes.ts';
import { derivePlaceholder, fillPlaceholder, PLACEHOLDER_RANDOM_BYTES } from '../secrets/placeholder.ts';
import type { SecretSet } from '../secrets/secret-set.ts';
import { refuseExposure } from '../secrets/secret-set-exposure.ts';
import {
  checkSecretValue,
  formatLocation,
  formatSecretHost,
  parseLocations,
  parseResolve,
  readSecretHosts,
} from '../secrets/secret-spec.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import type { ViolationAction } from '../secrets/stored-secret.ts';
import { findService } from '../services/catalogue.ts';
import { readCredential } from '../services/credential.ts';
import {
  bindClientCertificate,
  refuseTwoCertificates,
  type ClientCertificateSpec,
} from '../tls/client-certificate-spec.ts';

/** A secret of a sandbox without its value. */
export interface SecretDefinition {
  readonly name: string;
  readonly env: string;
  readonly placeholder: string;
  readonly hosts: readonly string[];
  readonly locations: readonly string[];
  /** This and the next two are left out by former versions. */
  readonly methods?: readonly string[];
  readonly path?: string | null;
  readonly onViolation?: ViolationAction;
  /** ms since 1970. */
  readonly updatedAt: number;
}

/** What a sandbox is to be, canonical and complete; plain JSON, and nothing secret. */
export interface SandboxDefinition {
  readonly image: string;
  readonly env: Readonly<Record<string, string>>;
  /** Its own secrets. */
  readonly secrets: readonly SecretDefinition[];
  /** Stored secrets that were asked for by name. Left out by former versions, as are the next two. */
  readonly named?: readonly NamedSecret[];
  /** Services whose value came with the sandbox. */
  readonly services?: readonly string[];
  /** What the variables of stored secrets have held since the sandbox was started. */
  readonly placeholders?: Readonly<Record<string, string>>;
  readonly network: {
    readonly allow: readonly string[];
    readonly deny: readonly string[];
    readonly tunnel: readonly string[];
    /** As `--resolve` has them. */
    readonly resolve: readonly string[];
    readonly upstreamCa: readonly string[];
    /** Left out by former versions. */
    readonly clientCertificates?: readonly ClientCertificateSpec[];
  };
  readonly workspace: string | null;
  readonly forceWorkspace: boolean;
  readonly gitWritable: boolean;
  readonly volumes: readonly { readonly source: string; readonly destination: string; readonly readOnly: boolean }[];
  readonly workdir: string | null;
  readonly limits: { readonly memoryBytes: number | null; readonly cpus: number | null; readonly pids: number };
  readonly runtime: string;
  readonly auditFile: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly autoRemove: boolean;
  readonly lifetimeMs: number | null;
}

/** Values of a sandbox's own by the placeholder that stands for them, and those of services by {@link serviceKey}. */
export type SecretValues = ReadonlyMap<string, SecretValue>;

/** By what the value of a service that came with the sandbox is kept. No placeholder has a colon. */
export function serviceKey(service: string): string {
  return `service:${service}`;
}

const DEFAULT_IMAGE = 'host';
const DEFAULT_RUNTIME = 'runc';

/**
 * Checks what is asked for, and makes it complete.
 *
 * @param auditFile where audit events go unless something else is asked for.
 * @throws SallyportError for whatever is malformed, contradictory or not supported yet.
 */
export function defineSandbox(
  asked: SandboxCreate,
  auditFile: string,
  nowMs: number,
): { readonly definition: SandboxDefinition; readonly values: SecretValues } {
  const image = asked.image ?? DEFAULT_IMAGE;
  if (image !== DEFAULT_IMAGE) {
    throw new SallyportError(
      'NOT_SUPPORTED_YET',
      `The image ${JSON.stringify(image)} cannot be used: images are not supported yet. Leave it out, or write "host", for the programs of this machine.`,
    );
  }
  const runtime = asked.runtime ?? DEFAULT_RUNTIME;
  if (runtime.includes('/') && !isAbsolute(runtime)) {
    throw new SallyportError('RUNTIME_UNKNOWN', `The path of the runtime ${JSON.stringify(runtime)} is not absolute.`);
  }
  const values = new Map<string, SecretValue>();
  const secrets: SecretDefinition[] = [];
  const named: NamedSecret[] = [];
  const services = new Set<string>();
  for (const secret of asked.secrets ?? []) {
    switch (secret.source) {
      case 'store':
        named.push({ name: secret.name, env: secret.env ?? null });
        break;
      case 'service':
        values.set(serviceKey(secret.service), checkGivenService(secret.service, secret.value));
        services.add(secret.service);
        break;
      case 'value': {
        const { definition, value } = defineSecret(secret, nowMs);
        values.set(definition.placeholder, value);
        secrets.push(definition);
        break;
      }
      default:
        throw new TypeError(`unknown source ${String(secret satisfies never)}`);
    }
  }
  const { network = {}, limits = {} } = asked;
  const definition: SandboxDefinition = {
    image,
    env: asked.env ?? {},
    secrets,
    named,
    services: [...services],
    network: {
      allow: network.allow ?? [],
      deny: network.deny ?? [],
      tunnel: network.tunnel ?? [],
      resolve: Object.entries(network.resolve ?? {}).map(([from, to]) => formatResolve(parseResolve(`${from}:${to}`))),
      upstreamCa: network.upstreamCa ?? [],
      clientCertificates: defineClientCertificates(network.clientCertificates ?? []),
    },
    workspace: asked.workspace ?? null,
    forceWorkspace: asked.forceWorkspace ?? false,
    gitWritable: asked.gitWritable ?? false,
    volumes: (asked.volumes ?? []).map(({ source, destination, readOnly = false }) => {
      if (source.includes(':') || destination.includes(':')) {
        throw new SallyportError(
          'INVALID_MOUNT',
          `The volume ${JSON.stringify(source)} has a colon in a path. Rename it.`,
        );
      }
      return parseVolume(`${source}:${destination}${readOnly ? ':ro' : ''}`, '/');
    }),
    workdir: asked.workdir ?? null,
    limits: {
      memoryBytes: limits.memoryBytes ?? null,
      cpus: limits.cpus ?? null,
      pids: limits.pids ?? DEFAULT_PIDS,
    },
    runtime,
    auditFile: asked.auditFile ?? auditFile,
    labels: asked.labels ?? {},
    autoRemove: asked.autoRemove ?? false,
    lifetimeMs: asked.lifetimeMs ?? null,
  };
  return { definition, values };
}

function defineClientCertificates(asked: NonNullable<Network['clientCertificates']>): ClientCertificateSpec[] {
  const specs = asked.map(({ host, certificate, key = certificate }) => bindClientCertificate(host, certificate, key));
  refuseTwoCertificates(specs);
  return specs;
}

/** Checks the value of a service that comes with a sandbox. @throws SallyportError SERVICE_UNKNOWN, INVALID_SECRET_VALUE */
function checkGivenService(service: string, text: string): SecretValue {
  const definition = findService(service);
  if (definition === undefined) throw serviceUnknown(service);
  readCredential(definition, text);
  return new SecretValue(text);
}

function defineSecret(asked: ValueSecret, nowMs: number) {
  const name = asked.name ?? asked.env;
  const locations = parseLocations(asked.locations ?? []);
  const value = checkSecretValue(asked.value, name, locations);
  const definition: SecretDefinition = {
    name,
    env: asked.env,
    placeholder: makePlaceholder(asked.env, asked.placeholder),
    hosts: checkHosts(name, asked.allowHosts ?? [], asked.allowHostPatterns ?? []),
    locations: locations.map(formatLocation),
    ...restrictionsOf(asked),
    updatedAt: nowMs,
  };
  return { definition, value };
}

/** @throws SallyportError INVALID_METHOD, INVALID_PATH_GLOB */
function restrictionsOf({
  methods = [],
  path = null,
  onViolation = 'pass',
}: Pick<ValueSecret, 'methods' | 'path' | 'onViolation'>) {
  if (path !== null) parsePathGlob(path);
  return { methods: methods.map(parseMethod), path, onViolation };
}

function makePlaceholder(env: string, template: string | undefined): string {
  const random = randomBytes(PLACEHOLDER_RANDOM_BYTES);
  return template === undefined ? derivePlaceholder(env, random) : fillPlaceholder(template, random);
}

function checkHosts(name: string, exact: readonly string[], patterns: readonly string[]): string[] {
  const hosts = readSecretHosts([...exact, ...patterns], name);
  const wild = exact.find((text) => text.includes('*'));
  if (wild !== undefined) {
    throw new SallyportError(
      'INVALID_HOST_PATTERN',
      `The secret ${JSON.stringify(name)}: ${JSON.stringify(wild)} is a pattern. Name it as one: allowHostPatterns.`,
    );
  }
  return hosts.map(formatSecretHost);
}

/** A change of secrets: the definition as it is afterwards, and the values. */
export interface SecretChange {
  readonly definition: SandboxDefinition;
  readonly values: SecretValues;
}

/**
 * Sets, changes or rotates a secret.
 *
 * @throws SallyportError for what is malformed, and SECRET_NOT_FOUND for a new one that lacks value or hosts.
 */
export function changeSecret(
  { definition, values }: SecretChange,
  name: string,
  update: SecretUpdate,
  nowMs: number,
): SecretChange {
  const known = definition.secrets.find((secret) => secret.name === name);
  const locations = parseLocations(update.locations ?? known?.locations ?? []);
  const value = update.value === undefined ? undefined : checkSecretValue(update.value, name, locations);
  const hasHosts = update.allowHosts !== undefined || update.allowHostPatterns !== undefined;
  if (known === undefined && (value === undefined || !hasHosts)) {
    throw new SallyportError(
      'SECRET_NOT_FOUND',
      `The sandbox has no secret ${JSON.stringify(name)}. A new one needs a value and the hosts that it is for.`,
    );
  }
  const env = update.env ?? known?.env ?? name;
  const changed: SecretDefinition = {
    name,
    env,
    placeholder:
      known !== undefined && update.placeholder === undefined
        ? known.placeholder
        : makePlaceholder(env, update.placeholder),
    hosts:
      known !== undefined && !hasHosts
        ? known.hosts
        : checkHosts(name, update.allowHosts ?? [], update.allowHostPatterns ?? []),
    locations: locations.map(formatLocation),
    ...restrictionsOf({
      methods: update.methods ?? [...(known?.methods ?? [])],
      path: update.path === undefined ? (known?.path ?? null) : update.path,
      onViolation: update.onViolation ?? known?.onViolation,
    }),
    updatedAt: nowMs,
  };
  const next = new Map(values);
  const kept = value ?? (known === undefined ? undefined : values.get(known.placeholder));
  if (known !== undefined) next.delete(known.placeholder);
  if (kept !== undefined) next.set(changed.placeholder, kept);
  const secrets =
    known === undefined
      ? [...definition.secrets, changed]
      : definition.secrets.map((secret) => (secret === known ? changed : secret));
  return { definition: { ...definition, secrets }, values: next };
}

/** Removes a secret. @throws SallyportError SECRET_NOT_FOUND */
export function removeSecret({ definition, values }: SecretChange, name: string): SecretChange {
  const known = definition.secrets.find((secret) => secret.name === name);
  if (known === undefined) {
    throw new SallyportError('SECRET_NOT_FOUND', `The sandbox has no secret ${JSON.stringify(name)}.`);
  }
  const next = new Map(values);
  next.delete(known.placeholder);
  return {
    definition: { ...definition, secrets: definition.secrets.filter((secret) => secret !== known) },
    values: next,
  };
}

/** A secret as the API shows it. */
export function showSecret(secret: SecretDefinition, values: SecretValues): SecretInfo {
  const { name, env, placeholder, hosts, locations, updatedAt } = secret;
  return {
    name,
    env,
    placeholder,
    hosts: [...hosts],
    locations: [...locations],
    available: values.has(placeholder),
    origin: 'own',
    kind: 'custom',
    updatedAt: new Date(updatedAt).toISOString(),
  };
}

/** What {@link composeSecrets} takes of a sandbox's own. @throws SallyportError SECRET_CONFLICT for two secrets of one name or variable. */
export function ownSecretsOf(
  definition: SandboxDefinition,
  values: SecretValues,
): Pick<SandboxSecretsInput, 'own' | 'given' | 'named' | 'plain' | 'placeholders'> {
  const names = new Set<string>();
  const variables = new Set<string>();
  for (const { name, env } of definition.secrets) {
    if (names.has(name) || variables.has(env)) {
      throw new SallyportError(
        'SECRET_CONFLICT',
        `There are two secrets of the name or variable ${JSON.stringify(variables.has(env) ? env : name)}. Leave one out.`,
      );
    }
    names.add(name);
    variables.add(env);
  }
  return {
    own: definition.secrets.map(
      ({ name, env, placeholder, hosts, locations, methods = [], path = null, onViolation = 'pass' }) => ({
        env,
        name,
        placeholder,
        // A lost one keeps its place; the gate is closed meanwhile.
        value: values.get(placeholder) ?? SecretValue.UNKNOWN,
        hosts: readSecretHosts(hosts, name),
        locations: parseLocations(locations),
        ...(methods.length === 0 ? {} : { methods }),
        ...(path === null ? {} : { path: parsePathGlob(path) }),
        onViolation,
      }),
    ),
    given: new Map((definition.services ?? []).map((service) => [service, values.get(serviceKey(service))])),
    named: definition.named ?? [],
    plain: new Map(Object.entries(definition.env)),
    placeholders: new Map(Object.entries(definition.placeholders ?? {})),
  };
}

/** The sandbox's own secrets whose values are lost, by name. */
export function lostSecrets(definition: SandboxDefinition, values: SecretValues): readonly string[] {
  return [
    ...definition.secrets.filter(({ placeholder }) => !values.has(placeholder)).map(({ name }) => name),
    ...(definition.services ?? []).filter((service) => !values.has(serviceKey(service))),
  ];
}

/**
 * What the gate goes by. Where the value of a secret is lost, the gate is to be closed: nobody can tell what must be taken out of responses.
 *
 * @throws SallyportError SECRET_CONFLICT when a plain variable holds a secret's value.
 */
export function rulesOf(
  definition: SandboxDefinition,
  values: SecretValues,
  secrets: SecretSet,
  provider: ValueProvider | null = null,
): SandboxRules {
  const lost = lostSecrets(definition, values);
  refuseExposure(secrets, [], new Map(Object.entries(definition.env)));
  return {
    secrets,
    own: values,
    provider,
    network: networkOf(definition),
    closed:
      lost.length === 0
        ? null
        : {
            status: 502,
            code: 'SECRET_VALUE_LOST',
            detail: `The gate of this sandbox is closed, because the values of its secrets were lost: ${lost.join(', ')}.`,
            remedy: 'Set these secrets again, from outside of the sandbox.',
          },
  };
}

/** What it may reach beside the hosts of its secrets. */
export function networkOf({ network }: SandboxDefinition): SandboxRules['network'] {
  return {
    allow: network.allow,
    deny: network.deny,
    tunnel: network.tunnel,
    pins: network.resolve.map((text) => parseResolve(text)),
    upstreamCaFiles: network.upstreamCa,
    clientCertificates: network.clientCertificates ?? [],
  };
}

/** The variables of every command: plain ones, and what secrets put there. */
export function environmentOf(
  definition: SandboxDefinition,
  name: string,
  variables: ReadonlyMap<string, string>,
): Record<string, string> {
  return { ...definition.env, SALLYPORT_SANDBOX: name, ...Object.fromEntries(variables) };
}

/** What cannot be changed once the container runs. */
export function specOf(
  definition: SandboxDefinition,
  name: string,
  stateDirectory: string,
): PreparationOptions['spec'] {
  const { limits } = definition;
  return {
    name,
    workspace: definition.workspace ?? undefined,
    workingDirectory: definition.workdir ?? undefined,
    forceWorkspace: definition.forceWorkspace,
    gitWritable: definition.gitWritable,
    volumes: definition.volumes,
    limits: {
      ...(limits.memoryBytes === null ? {} : { memoryBytes: limits.memoryBytes }),
      ...(limits.cpus === null ? {} : { cpus: limits.cpus }),
      pids: limits.pids,
    },
    protectedPaths: [
      stateDirectory,
      definition.auditFile,
      installationDirectory(),
      ...(definition.network.clientCertificates ?? []).map(({ keyFile }) => keyFile),
    ],
  };
}

/** Whether a container that was started before anything was asked for will do. */
export function fitsAny(definition: SandboxDefinition): boolean {
  const { workspace, volumes, workdir, limits, runtime } = definition;
  return (
    workspace === null &&
    volumes.length === 0 &&
    workdir === null &&
    limits.memoryBytes === null &&
    limits.cpus === null &&
    limits.pids === DEFAULT_PIDS &&
    runtime === DEFAULT_RUNTIME
  );
}

/** Sentences for people about hosts of secrets that strangers share. */
export function warningsOf(definition: SandboxDefinition): string[] {
  return definition.secrets.flatMap(({ name, hosts }) =>
    readSecretHosts(hosts, name).flatMap((host) => {
      const warning = warnOfSharedHost(host.pattern);
      return warning === null ? [] : [`The secret ${name}, ${formatSecretHost(host)}: ${warning}`];
    }),
  );
}

/** `{"host:port": "address:port"}` of what `--resolve` says. */
export function showPins(resolve: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    resolve.map((text) => {
      const { host, port, address, addressPort } = parseResolve(text);
      return [formatHostAndPort(host, port), formatHostAndPort(address, addressPort)];
    }),
  );
}
