import { SallyportError } from '@sallyport/sdk';
import type { Command } from 'commander';
import { quote } from '../policy/quoted-text.ts';
import { isEnvironmentName, isSecretName } from '../secrets/secret-spec.ts';
import { checkSandboxName } from './sandbox-name.ts';

/** Options that say for whom a secret is. */
export interface ScopeFlags {
  readonly global?: boolean;
  readonly sandbox?: string;
}

/** For whom a secret is: a sandbox by name, which need not exist; null for all. */
export type Scope = string | null;

/** Adds the options that say for whom a secret is. */
export function addScopeOptions(command: Command): Command {
  return command
    .option('-g, --global', 'for all sandboxes')
    .option('--sandbox <name>', 'for this sandbox, which need not exist yet (or its name in front of the secret)');
}

/**
 * Reads `[-g | SANDBOX] NAME`.
 *
 * @param command as usage has it, `secret set`.
 * @param what is named: `SERVICE`, say.
 * @throws SallyportError USAGE, INVALID_NAME
 */
export function readScopeAndName(
  words: readonly string[],
  flags: ScopeFlags,
  command: string,
  what: string,
): { readonly scope: Scope; readonly name: string } {
  const { scope, name } = readWords(words, flags, command, what);
  return { scope, name: checkSecretName(name) };
}

/** Refuses what cannot be the name of a secret, before anything is asked. @throws SallyportError USAGE */
export function checkSecretName(name: string): string {
  if (isSecretName(name)) return name;
  throw new SallyportError(
    'USAGE',
    `${quote(name)} cannot be the name of a secret: that has letters, digits, "_", "." and "-", 128 at most, and begins with none of the last two.`,
  );
}

/** Refuses what cannot be the name of a variable. @throws SallyportError USAGE */
export function checkVariable(name: string): void {
  if (isEnvironmentName(name)) return;
  throw new SallyportError(
    'USAGE',
    `--env ${quote(name)}: the name of a variable has letters, digits and "_", 128 at most, and no digit in front.`,
  );
}

function readWords(
  words: readonly string[],
  flags: ScopeFlags,
  command: string,
  what: string,
): { readonly scope: Scope; readonly name: string } {
  const [first, second, ...rest] = words;
  const example = what === 'SERVICE' ? ['anthropic', 'openai'] : ['API_KEY', 'API_KEY'];
  const usage = `Write sallyport ${command} -g ${what} for all sandboxes ("${command.split(' ').at(-1)} -g ${example[0]}"), or sallyport ${command} SANDBOX ${what} for one ("${command.split(' ').at(-1)} my-sandbox ${example[1]}").`;
  if (first === undefined) throw new SallyportError('USAGE', `There is no ${what}. ${usage}`);
  if (rest.length > 0) throw new SallyportError('USAGE', `There are too many words. ${usage}`);
  if (second === undefined) {
    const scope = readScope([], flags);
    if (scope === undefined) throw new SallyportError('USAGE', `It is not said for whom the secret is. ${usage}`);
    return { scope, name: first };
  }
  const scope = readScope([first], flags);
  if (scope === undefined) throw new SallyportError('USAGE', usage);
  return { scope, name: second };
}

/**
 * Reads `[-g | SANDBOX]`; undefined where there is neither.
 *
 * @throws SallyportError USAGE for more than one of them, INVALID_NAME
 */
export function readScope(words: readonly string[], { global: isGlobal, sandbox }: ScopeFlags): Scope | undefined {
  const [word, ...rest] = words;
  if (rest.length > 0)
    throw new SallyportError('USAGE', 'There are too many words. "--help" after the command tells more.');
  const named = [...(isGlobal === true ? [null] : []), ...(sandbox === undefined ? [] : [sandbox]), ...(word === undefined ? [] : [word])]; // prettier-ignore
  if (named.length > 1) {
    throw new SallyportError(
      'USAGE',
      'A secret is either for all sandboxes (-g) or for one (its name). Write only one of them.',
    );
  }
  const [scope] = named;
  if (scope === undefined || scope === null) return scope;
  checkSandboxName(scope);
  return scope;
}

/** A scope in a sentence. */
export function describeScope(scope: Scope): string {
  return scope === null ? 'all sandboxes' : `the sandbox ${scope}`;
}

/** The path of a stored secret in the API. */
export function secretPath(
  scope: Scope,
  name: string,
  suffix = '',
  query: Readonly<Record<string, string>> = {},
): string {
  return `/v1/secrets/${encodeURIComponent(name)}${suffix}${queryOf({ ...(scope === null ? {} : { sandbox: scope }), ...query })}`;
}

/** The path of the list of stored secrets; `undefined` for all scopes. */
export function secretsPath(scope: Scope | undefined): string {
  return `/v1/secrets${queryOf(scope === undefined ? {} : scope === null ? { global: 'true' } : { sandbox: scope })}`;
}

function queryOf(parameters: Readonly<Record<string, string>>): string {
  const text = new URLSearchParams(parameters).toString();
  return text === '' ? '' : `?${text}`;
}
