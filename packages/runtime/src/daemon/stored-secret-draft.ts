import { SallyportError, type StoredSecretChange } from '@sallyport/sdk';
import { parseMethod } from '../policy/method.ts';
import { parsePathGlob } from '../policy/path-glob.ts';
import { warnOfSharedHost } from '../policy/shared-hosts.ts';
import { isSandboxVariable } from '../sandbox/environment.ts';
import { fillPlaceholder, PLACEHOLDER_RANDOM_BYTES } from '../secrets/placeholder.ts';
import {
  checkSecretValue,
  formatLocation,
  formatSecretHost,
  isEnvironmentName,
  parseLocations,
  readSecretHosts,
} from '../secrets/secret-spec.ts';
import type { SecretScope, SecretSource, StoredSecret } from '../secrets/stored-secret.ts';
import { findService, isServiceName } from '../services/catalogue.ts';
import { readCredential } from '../services/credential.ts';
import { DEFAULT_REFRESH_MS } from '../sources/cached-source.ts';
import type { SecretDraft } from '../stores/secret-book.ts';

/** Where a custom secret's placeholder is replaced unless something else is said: wherever it can be in a request. */
const CUSTOM_LOCATIONS: readonly string[] = ['header', 'basic', 'query', 'path', 'body'];

/** What is to be stored. */
export interface StoredSecretDraft {
  readonly draft: SecretDraft;
  /** Null where the value comes from elsewhere, or stays what it is. */
  readonly value: string | null;
  /** For people. */
  readonly notices: readonly string[];
}

/**
 * Checks a secret that is to be stored, and makes it complete.
 *
 * @param known the one that is there: without a value it keeps that one's.
 * @throws SallyportError for whatever is malformed; nothing of the value is in a message.
 */
export function draftSecret(
  scope: SecretScope,
  name: string,
  change: StoredSecretChange,
  known: StoredSecret | undefined,
): StoredSecretDraft {
  const source = sourceOf(name, change);
  const base = { scope, name, source, refreshMs: refreshOf(change, source) };
  const value = change.value ?? null;
  if (value === null && source.kind === 'value' && (known?.source.kind !== 'value' || known.kind !== change.kind)) {
    throw new SallyportError(
      'INVALID_SECRET_VALUE',
      `The secret ${JSON.stringify(name)} has no value. Give one, or a command or reference that yields it.`,
    );
  }
  switch (change.kind) {
    case 'service':
      return draftService({ ...base, ...NO_BINDING, kind: 'service', env: null }, value);
    case 'plain':
      return draftPlain({ ...base, ...NO_BINDING, kind: 'plain', env: change.env ?? null }, value);
    case 'custom':
      return draftCustom(base, change, value);
    default:
      throw new TypeError(`unknown kind ${String(change satisfies never)}`);
  }
}

const NO_BINDING = {
  hosts: [],
  locations: [],
  methods: [],
  path: null,
  onViolation: 'pass',
  placeholder: null,
} as const;

function sourceOf(name: string, change: StoredSecretChange): SecretSource {
  if (change.kind === 'plain') return { kind: 'value' };
  const given = [change.value, change.command, change.reference].filter((text) => text !== undefined).length;
  if (given > 1) {
    throw new SallyportError(
      'INVALID_SECRET_SPEC',
      `The secret ${JSON.stringify(name)} has more than one source. Give one of: a value, a command, a reference.`,
    );
  }
  if (change.command !== undefined) return { kind: 'command', command: change.command };
  if (change.reference !== undefined) return { kind: 'reference', reference: change.reference };
  return { kind: 'value' };
}

function refreshOf(change: StoredSecretChange, source: SecretSource): number | null {
  if (source.kind === 'value' || change.kind === 'plain') return null;
  return change.refreshMs === undefined ? DEFAULT_REFRESH_MS : change.refreshMs;
}

function draftService(draft: SecretDraft, value: string | null): StoredSecretDraft {
  const { name } = draft;
  if (!isServiceName(name)) {
    throw new SallyportError(
      'SERVICE_UNKNOWN',
      `${JSON.stringify(name)} cannot be the name of a service: those have lower case letters, digits, "." "_" and "-". For any other secret use sallyport secret set-custom.`,
    );
  }
  if (value !== null && value !== value.trim()) {
    throw new SallyportError(
      'INVALID_SECRET_VALUE',
      `The value of ${JSON.stringify(name)} begins or ends with a blank, which no key does and a header loses. Remove it.`,
    );
  }
  const definition = findService(name);
  if (definition === undefined) {
    if (value !== null) checkSecretValue(value, name, [{ kind: 'header' }]);
    const notice = `No service ${JSON.stringify(name)} is known: it is stored for a kit that declares it, and put into no request until then. Was it mistyped? "sallyport secret set --help" lists the services.`;
    return { draft, value, notices: [notice] };
  }
  if (value !== null) readCredential(definition, value);
  return { draft, value, notices: [] };
}

function draftPlain(draft: SecretDraft, value: string | null): StoredSecretDraft {
  if (value !== null && (value.includes('\0') || !value.isWellFormed())) {
    throw new SallyportError(
      'INVALID_SECRET_VALUE',
      `The value of ${JSON.stringify(draft.name)} cannot be that of a variable: it holds a NUL or is no text.`,
    );
  }
  const env = draft.env ?? draft.name;
  const hint = isEnvironmentName(env) ? `NAME or ${draft.name}:VARIABLE` : `${draft.name}:VARIABLE`;
  const notice = `It is plain: a sandbox that asks for it (--secret ${hint.replace('NAME', draft.name)}) sees the value itself, and can send it anywhere it may reach.`;
  return { draft, value, notices: [notice] };
}

function draftCustom(
  base: Pick<SecretDraft, 'scope' | 'name' | 'source' | 'refreshMs'>,
  change: Extract<StoredSecretChange, { kind: 'custom' }>,
  value: string | null,
): StoredSecretDraft {
  const { name } = base;
  const env = change.env ?? name;
  if (!isEnvironmentName(env)) {
    throw new SallyportError(
      'INVALID_SECRET_SPEC',
      `The name of the secret ${JSON.stringify(name)} is no environment variable name. Name its variable: --env VAR.`,
    );
  }
  if (isSandboxVariable(env)) {
    throw new SallyportError(
      'INVALID_SECRET_SPEC',
      `The variable ${env} is one that every sandbox needs itself: with a placeholder in it nothing would work there. Choose another: --env VAR.`,
    );
  }
  const hosts = readSecretHosts(change.hosts, name);
  const locations = parseLocations(change.locations ?? CUSTOM_LOCATIONS);
  if (value !== null) checkSecretValue(value, name, locations);
  const { methods = [], path = null, placeholder = null, onViolation = 'pass' } = change;
  if (placeholder !== null) {
    const [filled] = examplesOf(placeholder);
    if (value !== null && (value.includes(filled) || filled.includes(value))) {
      throw new SallyportError(
        'SECRET_CONFLICT',
        `The placeholder of ${JSON.stringify(name)} and its value are the same in part, so the sandbox would see it. Use another placeholder, with {rand} in it.`,
      );
    }
  }
  if (path !== null) parsePathGlob(path);
  return {
    draft: {
      ...base,
      kind: 'custom',
      env,
      hosts: hosts.map(formatSecretHost),
      locations: locations.map(formatLocation),
      methods: [...new Set(methods.map(parseMethod))],
      path,
      onViolation,
      placeholder,
    },
    value,
    notices: hosts.flatMap((host) => {
      const warning = warnOfSharedHost(host.pattern);
      return warning === null ? [] : [`The secret ${name}, ${formatSecretHost(host)}: ${warning}.`];
    }),
  };
}

/** What a placeholder can look like, in two ways that have nothing random in common. @throws SallyportError INVALID_SECRET_SPEC */
function examplesOf(template: string): readonly [string, string] {
  const fill = (byte: number) => fillPlaceholder(template, new Uint8Array(PLACEHOLDER_RANDOM_BYTES).fill(byte));
  return [fill(0), fill(255)];
}

/**
 * Refuses a placeholder that is, or is in, that of another secret which enters the same sandboxes: one of the two would be left out there.
 *
 * @param all every stored secret.
 * @throws SallyportError SECRET_CONFLICT
 */
export function refuseSamePlaceholder(draft: SecretDraft, all: readonly StoredSecret[]): void {
  if (draft.placeholder === null) return;
  const [one] = examplesOf(draft.placeholder);
  const other = all.find(({ scope, placeholder, env }) => {
    // One variable: the sandbox's own secret takes the place of the one for all.
    if (placeholder === null || env === draft.env || !areTogether(scope, draft.scope)) return false;
    const [, another] = examplesOf(placeholder);
    return one.includes(another) || another.includes(one);
  });
  if (other === undefined) return;
  throw new SallyportError(
    'SECRET_CONFLICT',
    `The placeholder of the secret ${JSON.stringify(other.name)} for ${other.scope.kind === 'global' ? 'all sandboxes' : `the sandbox ${other.scope.sandbox}`} is the same in part, so that requests could not tell them apart. Use another, with {rand} in it.`,
  );
}

function areTogether(one: SecretScope, other: SecretScope): boolean {
  return one.kind === 'global' || other.kind === 'global' || one.sandbox === other.sandbox;
}

/**
 * Refuses a secret whose variable another one of its scope has: both would enter every sandbox of the scope.
 *
 * @throws SallyportError SECRET_CONFLICT
 */
export function refuseSameVariable(draft: SecretDraft, others: readonly StoredSecret[]): void {
  if (draft.kind !== 'custom') return;
  const other = others.find(({ kind, name, env }) => kind === 'custom' && name !== draft.name && env === draft.env);
  if (other === undefined) return;
  throw new SallyportError(
    'SECRET_CONFLICT',
    `The secret ${JSON.stringify(other.name)} of that scope has the variable ${draft.env} already. Choose another, or set that one.`,
  );
}
