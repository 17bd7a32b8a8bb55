import { SallyportError } from '@sallyport/sdk';
import { isEnvironmentName } from '../secrets/secret-spec.ts';
import { formatScope, type StoredSecret } from '../secrets/stored-secret.ts';
import type { ServiceDefinition } from '../services/service.ts';

/** A stored secret that is asked for by its name. */
export interface NamedSecret {
  readonly name: string;
  /** The variable; null for the secret's own. */
  readonly env: string | null;
}

/** What is known about the secrets of a sandbox; no values. */
export interface EffectiveInput {
  readonly sandbox: string;
  /** The variables of the secrets that were made with the sandbox and belong to it alone. */
  readonly own: readonly string[];
  readonly named: readonly NamedSecret[];
  /** Services whose value came with the sandbox, from its caller's environment. */
  readonly given: readonly string[];
  /** All that are stored; other sandboxes' are left out here. */
  readonly stored: readonly StoredSecret[];
  /** Names of the sandbox's plain variables. */
  readonly plain: readonly string[];
  readonly findService: (name: string) => ServiceDefinition | undefined;
}

/** One secret that counts in a sandbox, beside its own ones. */
export type EffectiveSecret =
  | { readonly kind: 'custom'; readonly secret: StoredSecret; readonly env: string }
  | { readonly kind: 'plain'; readonly secret: StoredSecret; readonly env: string }
  | {
      readonly kind: 'service';
      readonly definition: ServiceDefinition;
      /** Null where the value came with the sandbox. */
      readonly secret: StoredSecret | null;
      /** Its variables that nothing else has taken, and those that were asked for. */
      readonly variables: ReadonlySet<string>;
    };

/** What counts in a sandbox. */
export interface EffectiveSecrets {
  readonly secrets: readonly EffectiveSecret[];
  /** What of the stored secrets is left out, and why; for people. */
  readonly notices: readonly string[];
  /** What was asked for by name and cannot be: whoever makes the sandbox is refused; one that runs goes on without. */
  readonly refusals: readonly SallyportError[];
}

/**
 * Decides which secrets count in a sandbox, and in which variables.
 *
 * What was asked for goes before what is merely stored; a secret of the sandbox's scope hides a global one of its name, and goes before any
 * global one where both want a variable; a stored service goes before the caller's environment. A variable has one meaning: whatever comes
 * second is left out with a notice, but for a service, which needs no variable to work.
 */
export function effectiveSecrets(input: EffectiveInput): EffectiveSecrets {
  const taken = new Map<string, string>();
  for (const name of input.plain) taken.set(name, `--env ${name}`);
  for (const env of input.own) taken.set(env, `--secret ${env}`);
  const visible = visibleSecrets(input);
  const secrets: EffectiveSecret[] = [];
  const notices: string[] = [];
  const refusals: SallyportError[] = [];
  const used = new Set<string>();
  for (const [name, variables] of askedVariables(input.named)) {
    const secret = visible.get(name);
    if (secret === undefined) {
      refusals.push(notStored(name, input));
      continue;
    }
    used.add(name);
    if (secret.kind === 'service') {
      const definition = input.findService(name);
      if (definition === undefined) refusals.push(serviceUnknown(name));
      else {
        const extra = variables.filter((env) => env !== null);
        const problem = extra
          .map((env) => takeVariable(taken, env, `--secret ${name}`))
          .find((found) => found !== null);
        if (problem !== undefined) refusals.push(problem);
        else secrets.push(takeService(taken, definition, secret, extra));
      }
      continue;
    }
    for (const asked of variables) {
      const env = asked ?? secret.env ?? name;
      const problem = isEnvironmentName(env) ? takeVariable(taken, env, `--secret ${name}`) : noVariable(name);
      if (problem === null) secrets.push({ kind: secret.kind, secret, env });
      else refusals.push(problem);
    }
  }
  for (const secret of [...visible.values()].filter(({ name }) => !used.has(name)).toSorted(byPrecedence)) {
    const label = `the ${secret.kind === 'service' ? 'service' : 'secret'} ${secret.name} stored for ${describeScope(secret)}`;
    if (secret.kind === 'plain') continue;
    if (secret.kind === 'custom') {
      const env = secret.env ?? secret.name;
      const holder = taken.get(env);
      if (holder === undefined) {
        taken.set(env, label);
        secrets.push({ kind: 'custom', secret, env });
      } else notices.push(`${label} is not in this sandbox, because ${holder} has its variable ${env}`);
      continue;
    }
    const definition = input.findService(secret.name);
    if (definition === undefined) notices.push(`${label} is not used: nothing declares a service of that name`);
    else secrets.push(takeService(taken, definition, secret, []));
  }
  for (const name of new Set(input.given)) {
    // What is stored wins over the environment.
    if (visible.get(name)?.kind === 'service') continue;
    const definition = input.findService(name);
    if (definition === undefined) refusals.push(serviceUnknown(name));
    else secrets.push(takeService(taken, definition, null, []));
  }
  return { secrets, notices, refusals };
}

/** By name: of the sandbox's scope where there is one, else the global one. */
export function visibleSecrets({
  stored,
  sandbox,
}: Pick<EffectiveInput, 'stored' | 'sandbox'>): ReadonlyMap<string, StoredSecret> {
  const visible = new Map<string, StoredSecret>();
  for (const secret of stored) {
    if (secret.scope.kind === 'global') {
      if (!visible.has(secret.name)) visible.set(secret.name, secret);
    } else if (secret.scope.sandbox === sandbox) visible.set(secret.name, secret);
  }
  return visible;
}

/** Each name once, with each of its variables once. */
function askedVariables(named: readonly NamedSecret[]): ReadonlyMap<string, (string | null)[]> {
  const variables = new Map<string, (string | null)[]>();
  for (const { name, env } of named) {
    const known = variables.get(name) ?? [];
    if (!known.includes(env)) known.push(env);
    variables.set(name, known);
  }
  return variables;
}

/** Takes a variable; what is wrong where it has been taken. */
function takeVariable(taken: Map<string, string>, env: string, label: string): SallyportError | null {
  const holder = taken.get(env);
  if (holder === undefined) {
    taken.set(env, label);
    return null;
  }
  return new SallyportError(
    'SECRET_CONFLICT',
    `${label} and ${holder} want the same variable ${env}. Give one of them another: --secret NAME:OTHER_VARIABLE.`,
  );
}

/** @param extra variables that have been taken for it. */
function takeService(
  taken: Map<string, string>,
  definition: ServiceDefinition,
  secret: StoredSecret | null,
  extra: readonly string[],
): EffectiveSecret {
  const variables = new Set<string>(extra);
  for (const { name } of definition.variables) {
    if (taken.has(name)) continue;
    taken.set(name, `the service ${definition.name}`);
    variables.add(name);
  }
  return { kind: 'service', definition, secret, variables };
}

/** The sandbox's before global ones; custom before service; the rest by name, so that the same is decided everywhere. */
function byPrecedence(a: StoredSecret, b: StoredSecret): number {
  return (
    Number(a.scope.kind === 'global') - Number(b.scope.kind === 'global') ||
    Number(a.kind === 'service') - Number(b.kind === 'service') ||
    (a.name < b.name ? -1 : a.name > b.name ? 1 : 0)
  );
}

function describeScope({ scope }: StoredSecret): string {
  return scope.kind === 'global' ? 'all sandboxes' : formatScope(scope);
}

function notStored(name: string, { sandbox, findService }: EffectiveInput): SallyportError {
  const variables = findService(name)?.variables.map((variable) => variable.name) ?? [];
  const fix =
    variables.length === 0
      ? `a variable of the host is bound by --secret ${name}@HOST`
      : `"sallyport secret set -g ${name}" stores its key, or set ${variables.join(' or ')} and write --service ${name}`;
  return new SallyportError(
    'SECRET_NOT_FOUND',
    `No secret ${JSON.stringify(name)} is stored, neither for all sandboxes nor for ${sandbox}. "sallyport secret ls" lists what there is; ${fix}.`,
  );
}

/** @returns the error for a service that nothing declares. */
export function serviceUnknown(name: string): SallyportError {
  return new SallyportError(
    'SERVICE_UNKNOWN',
    `There is no service ${JSON.stringify(name)}. "sallyport secret set --help" lists them; for any other host use sallyport secret set-custom.`,
  );
}

function noVariable(name: string): SallyportError {
  return new SallyportError(
    'INVALID_SECRET_SPEC',
    `The name of the secret ${JSON.stringify(name)} is no environment variable name. Name one: --secret ${name}:VARIABLE.`,
  );
}
