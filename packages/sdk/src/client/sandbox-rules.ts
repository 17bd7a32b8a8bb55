import type { Policy } from '../api/policy.ts';
import type { SecretInfo } from '../api/secrets.ts';
import { SallyportError } from '../errors.ts';
import type { Connection } from './connection.ts';
import type { CallOptions } from './limit.ts';
import { specOf, updateOf, type Secret, type SecretChange } from './secret.ts';

/** The secrets of a sandbox. Changes hold for all requests that begin from then on, without a restart. */
export class SandboxSecrets {
  readonly #connection: Connection;
  readonly #base: string;

  /** @internal */
  constructor(connection: Connection, sandboxPath: string) {
    this.#connection = connection;
    this.#base = `${sandboxPath}/secrets`;
  }

  /** The secrets, without their values. */
  async list(options: CallOptions = {}): Promise<SecretInfo[]> {
    const question = { method: 'GET', path: this.#base } as const;
    return (await this.#connection.ask<{ secrets: SecretInfo[] }>(question, options)).secrets;
  }

  /**
   * Sets a secret, or changes or rotates one that is there: `set(Secret.env(…))`, or `set('NAME', { value })` for a part of it. Commands
   * that begin from then on have its variable.
   *
   * @throws SallyportError SECRET_NOT_FOUND for a new one without value or hosts, SECRET_CONFLICT, INVALID_HOST_PATTERN, …
   */
  async set(secret: Secret, options?: CallOptions): Promise<SecretInfo>;
  async set(name: string, change: SecretChange, options?: CallOptions): Promise<SecretInfo>;
  async set(
    first: Secret | string,
    second: SecretChange | CallOptions = {},
    third: CallOptions = {},
  ): Promise<SecretInfo> {
    const { name, body, options } =
      typeof first === 'string'
        ? { name: first, body: updateOf(first, second as SecretChange), options: third }
        : { name: first.name, body: wholeUpdateOf(first), options: second as CallOptions };
    return await this.#connection.ask({ method: 'PUT', path: this.#pathOf(name), body }, options);
  }

  /** Removes a secret. Responses stay redacted. @throws SallyportError SECRET_NOT_FOUND */
  async remove(name: string, options: CallOptions = {}): Promise<void> {
    await this.#connection.ask({ method: 'DELETE', path: this.#pathOf(name) }, options);
  }

  #pathOf(name: string): string {
    return `${this.#base}/${encodeURIComponent(name)}`;
  }
}

function wholeUpdateOf(secret: Secret): object {
  const spec = specOf(secret);
  if (spec.source !== 'value') {
    throw new SallyportError(
      'USAGE',
      `The secret ${JSON.stringify(secret.name)} cannot be given to a sandbox that is there. Store it for the sandbox: secrets.set(); or give its value and the hosts that it is for: Secret.env().`,
    );
  }
  const { source: _source, name: _name, ...update } = spec;
  return update;
}

/** The network policy of a sandbox. Changes hold for all requests and connections that begin from then on, without a restart. */
export class SandboxPolicy {
  readonly #connection: Connection;
  readonly #base: string;

  /** @internal */
  constructor(connection: Connection, sandboxPath: string) {
    this.#connection = connection;
    this.#base = `${sandboxPath}/policy`;
  }

  /** The whole policy, with the hosts that secrets open. */
  async list(options: CallOptions = {}): Promise<Policy> {
    return await this.#connection.ask({ method: 'GET', path: this.#base }, options);
  }

  /** Allows `HOST[:PORT]`, `*.name`, `**.name`, an address or a CIDR range. @throws SallyportError INVALID_HOST_PATTERN */
  async allow(host: string, options: CallOptions = {}): Promise<Policy> {
    return await this.#add('allow', host, options);
  }

  /** Denies a host, whatever else allows it. @throws SallyportError INVALID_HOST_PATTERN */
  async deny(host: string, options: CallOptions = {}): Promise<Policy> {
    return await this.#add('deny', host, options);
  }

  /** Takes a rule back, as it was written. @throws SallyportError RULE_NOT_FOUND */
  async remove(action: 'allow' | 'deny', host: string, options: CallOptions = {}): Promise<Policy> {
    return await this.#connection.ask(
      { method: 'DELETE', path: `${this.#base}/rules`, query: { action, host } },
      options,
    );
  }

  async #add(action: 'allow' | 'deny', host: string, options: CallOptions): Promise<Policy> {
    return await this.#connection.ask({ method: 'POST', path: `${this.#base}/rules`, body: { action, host } }, options);
  }
}
