import type { SecretSource } from '../secrets/stored-secret.ts';
import { AwsSecretSource } from './aws-secrets-manager.ts';
import { CommandSource } from './command-source.ts';
import { EnvironmentSource } from './environment-source.ts';
import { DEFAULT_TIME_LIMIT_MS, MAX_TIME_LIMIT_MS } from './fetched-value.ts';
import { FileSource } from './file-source.ts';
import { OnePasswordSource } from './one-password.ts';
import { parseReference } from './reference.ts';
import { VaultSource } from './vault-kv.ts';

/** Where a value comes from when it is needed. */
export interface ValueSource {
  /** For people on the host: a canonical reference, or that it is a command. */
  readonly description: string;
  /**
   * The value at this moment; memory of the caller's own. Nothing is kept.
   *
   * @param signal Ends it, with every process that was started for it.
   * @throws SallyportError SOURCE_FAILED when there is none. Its message holds neither the value nor what a program printed (but its standard error
   * with `showError`), and may name paths and hosts of the host: it is not for a sandbox.
   */
  fetch(signal: AbortSignal): Promise<Uint8Array>;
}

/** What sources are made with. */
export interface ValueSourceOptions {
  /** The environment of the host: of commands (without Sallyport's own variables), and for the settings of 1Password, Vault and AWS. Read at each fetch. */
  readonly environment: NodeJS.ProcessEnv;
  /** Where commands run, and where relative paths begin. */
  readonly directory: string;
  /** Shows what programs write to their standard error in the message of their failure. Default false. */
  readonly showError?: boolean;
  /** Default {@link DEFAULT_TIME_LIMIT_MS}, at most {@link MAX_TIME_LIMIT_MS}. */
  readonly timeLimitMs?: number;
}

/** {@link ValueSourceOptions}, made complete. */
export type ValueSourceSettings = Required<ValueSourceOptions>;

/**
 * The source that a stored secret names. Nothing is fetched yet.
 *
 * @throws SallyportError INVALID_REFERENCE.
 */
export function createValueSource(
  source: Exclude<SecretSource, { kind: 'value' }>,
  { environment, directory, showError = false, timeLimitMs = DEFAULT_TIME_LIMIT_MS }: ValueSourceOptions,
): ValueSource {
  const settings = { environment, directory, showError, timeLimitMs: Math.min(timeLimitMs, MAX_TIME_LIMIT_MS) };
  switch (source.kind) {
    case 'command':
      return new CommandSource(source.command, settings);
    case 'reference':
      return openReference(source.reference, settings);
  }
}

/**
 * What is to be said of a source, as notices for people: who else can read what it reads, or listen.
 *
 * @throws SallyportError INVALID_REFERENCE.
 */
export async function inspectSource(
  source: Exclude<SecretSource, { kind: 'value' }>,
  options: ValueSourceOptions,
): Promise<readonly string[]> {
  const made = createValueSource(source, options);
  return made instanceof FileSource || made instanceof VaultSource ? await made.inspect() : [];
}

function openReference(text: string, settings: ValueSourceSettings): ValueSource {
  const { directory, environment } = settings;
  const home = environment['HOME'];
  const reference = parseReference(text, { directory, ...(home === undefined ? {} : { home }) });
  switch (reference.kind) {
    case 'op':
      return new OnePasswordSource(reference.canonical, settings);
    case 'vault':
      return new VaultSource(reference, settings);
    case 'aws-sm':
      return new AwsSecretSource(reference, settings);
    case 'file':
      return new FileSource(reference.path, settings);
    case 'env':
      return new EnvironmentSource(reference.variable, settings);
  }
}
