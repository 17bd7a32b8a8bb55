import type {
  StoredSecretChange,
  StoredSecretInfo,
  StoredSecretResult,
  StoredSecretTest,
} from '../api/stored-secrets.ts';
import { SallyportError } from '../errors.ts';
import { defaultConnection, type Connection } from './connection.ts';
import type { CallOptions } from './limit.ts';

/** For whom a stored secret is, and which daemon keeps it. */
export interface StoredSecretCallOptions extends CallOptions {
  /** The sandbox that it is for, by name; it need not exist. Default: all sandboxes. */
  readonly sandbox?: string | undefined;
  /** Default: the user's own daemon, or the one that SALLYPORT_SOCKET names. */
  readonly connection?: Connection | undefined;
}

/** Where a value comes from: one of `value`, `command` and `reference`. */
interface ValueOptions {
  /** The value itself; for the service `aws`: `ID:SECRET[:SESSION_TOKEN]`. */
  readonly value?: string | undefined;
  /** What this shell command prints on the daemon's machine; asked when a request needs it. */
  readonly command?: string | undefined;
  /** `op://…`, `vault://…`, `aws-sm://…`, `file:…` or `env:…`; asked when a request needs it. */
  readonly reference?: string | undefined;
  /** How long a fetched value is used, in ms; null: until an upstream refuses it. Default: 5 minutes. */
  readonly refreshMs?: number | null | undefined;
  /** Whether a command or reference is tried before it is stored. Default true. */
  readonly verify?: boolean | undefined;
  /** Where the value is kept. Default: the setting of the daemon. */
  readonly store?: StoredSecretChange['store'] | undefined;
}

/** The key of a service; the name is the service's. */
export interface ServiceKeyOptions extends ValueOptions {
  readonly hosts?: undefined;
  readonly plain?: undefined;
}

/** A secret for hosts of your choice. */
export interface CustomSecretOptions extends ValueOptions {
  /** `api.example.com`, `*.example.com`, `**.example.com`, `HOST:PORT`, `http://HOST` for cleartext. */
  readonly hosts: readonly string[];
  /** The variable that holds the placeholder. Default: the name. */
  readonly env?: string | undefined;
  /** Default: `header`, `basic`, `query`, `path` and `body`. */
  readonly locations?: readonly string[] | undefined;
  /** The methods that it is for. Default: any. */
  readonly methods?: readonly string[] | undefined;
  /** The paths that it is for, a glob such as `/v1/**`. Default: any. */
  readonly path?: string | undefined;
  /** What the sandbox sees instead; `{rand}` becomes 22 random characters. */
  readonly placeholder?: string | undefined;
  /** What happens to the placeholder where it is not for. Default: `pass`. */
  readonly onViolation?: 'pass' | 'block' | 'terminate' | undefined;
  readonly plain?: undefined;
}

/** A secret whose value a sandbox that asks for it by name (`Secret.named(name)`) sees. */
export interface PlainSecretOptions {
  readonly plain: true;
  readonly value: string;
  /** The variable that holds the value. Default: the name. */
  readonly env?: string | undefined;
  readonly store?: StoredSecretChange['store'] | undefined;
  readonly hosts?: undefined;
}

/** A secret to store. */
export type StoredSecretOptions = ServiceKeyOptions | CustomSecretOptions | PlainSecretOptions;

/** What {@link StoredSecrets.list} lists. */
export interface StoredSecretListOptions extends StoredSecretCallOptions {
  /** Only those for all sandboxes. Default false. */
  readonly global?: boolean | undefined;
}

/**
 * The secrets that the daemon keeps, for all sandboxes or for one by its name. Sandboxes that run have a change when a call that makes it
 * resolves. No value ever comes back.
 */
export class StoredSecrets {
  /**
   * Stores a secret, or replaces it: the key of a service (`set('openai', { value })`), a secret for hosts of your choice (with `hosts`), or
   * a plain one (with `plain`).
   *
   * @throws SallyportError INVALID_SECRET_VALUE, INVALID_HOST_PATTERN, SOURCE_FAILED, STORE_LOCKED, …
   */
  async set(
    name: string,
    secret: StoredSecretOptions,
    options: StoredSecretCallOptions = {},
  ): Promise<StoredSecretResult> {
    return await connectionOf(options).ask(
      { method: 'PUT', path: pathOf(name), ...queryOf(options), body: changeOf(name, secret) },
      options,
    );
  }

  /** The secrets, without their values: all, or those of one scope. */
  async list(options: StoredSecretListOptions = {}): Promise<StoredSecretInfo[]> {
    const { sandbox, global: isGlobal } = options;
    const query = {
      ...(sandbox === undefined ? {} : { sandbox }),
      ...(isGlobal === true ? { global: 'true' } : {}),
    };
    const question = { method: 'GET', path: '/v1/secrets', query } as const;
    return (await connectionOf(options).ask<{ secrets: StoredSecretInfo[] }>(question, options)).secrets;
  }

  /** Removes a secret. Responses stay redacted where it was. @throws SallyportError SECRET_NOT_FOUND */
  async remove(name: string, options: StoredSecretCallOptions = {}): Promise<void> {
    await connectionOf(options).ask({ method: 'DELETE', path: pathOf(name), ...queryOf(options) }, options);
  }

  /** Whether the value can be had at this moment. @throws SallyportError SECRET_NOT_FOUND, SOURCE_FAILED, STORE_LOCKED, … */
  async test(name: string, options: StoredSecretCallOptions = {}): Promise<StoredSecretTest> {
    return await connectionOf(options).ask(
      { method: 'POST', path: `${pathOf(name)}/test`, ...queryOf(options) },
      options,
    );
  }
}

/** The stored secrets of the user's own daemon, or of the `connection` that a call names. */
export const secrets: StoredSecrets = new StoredSecrets();

function connectionOf({ connection }: StoredSecretCallOptions): Connection {
  return connection ?? defaultConnection();
}

function pathOf(name: string): string {
  return `/v1/secrets/${encodeURIComponent(name)}`;
}

function queryOf({ sandbox }: StoredSecretCallOptions): { query?: Record<string, string> } {
  return sandbox === undefined ? {} : { query: { sandbox } };
}

function changeOf(name: string, secret: StoredSecretOptions): StoredSecretChange {
  const fields = Object.fromEntries(
    Object.entries(secret).filter(([field, value]) => value !== undefined && field !== 'plain'),
  );
  // A variable of the host that is not set, say.
  if ('value' in secret && (secret.value === undefined || secret.value === '')) {
    throw new SallyportError(
      'INVALID_SECRET_VALUE',
      `The secret ${JSON.stringify(name)} has no value. Is the variable that it is read from set?`,
    );
  }
  const kind = secret.plain === true ? 'plain' : secret.hosts === undefined ? 'service' : 'custom';
  return { kind, ...fields } as StoredSecretChange;
}
