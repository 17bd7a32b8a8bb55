import type { SecretSpec, SecretUpdate, ValueSecret } from '../api/secrets.ts';
import { SallyportError } from '../errors.ts';

/** What {@link Secret.env} takes. */
export interface EnvSecretOptions {
  /** The real value, at least 8 bytes. It goes to the daemon, never into the sandbox. */
  readonly value: string;
  /** Exact hosts: `api.example.com`, `api.example.com:8443`, `http://internal.example` for cleartext. */
  readonly allowHosts?: readonly string[] | undefined;
  /** `*.example.com` is one label, `**.example.com` any depth. At least one host or pattern is needed. */
  readonly allowHostPatterns?: readonly string[] | undefined;
  /** What the sandbox sees instead; `{rand}` becomes 22 random characters. Default: `sp_NAME_` and those. */
  readonly placeholder?: string | undefined;
  /** `header`, `header:NAME`, `basic`, `query`, `path`, `body`, `websocket`. Default: `header` and `basic`. */
  readonly locations?: readonly string[] | undefined;
  /** The methods that it is for. Default: any. */
  readonly methods?: readonly string[] | undefined;
  /** The paths that it is for, a glob such as `/v1/**`. Default: any. */
  readonly path?: string | undefined;
  /** Where a placeholder is not for: it stays what it is (`pass`, the default), the request is refused (`block`), or the sandbox ends as well (`terminate`). */
  readonly onViolation?: 'pass' | 'block' | 'terminate' | undefined;
  /** What audit events call the secret. Default: the name of the variable. */
  readonly name?: string | undefined;
}

/** What {@link Secret.named} takes. */
export interface NamedSecretOptions {
  /** The variable that holds the placeholder. Default: the name of the secret. */
  readonly envVar?: string | undefined;
}

/** What {@link Secret.service} takes. */
export interface ServiceSecretOptions {
  /** The key; for `aws`: `ID:SECRET[:SESSION_TOKEN]`. */
  readonly value: string;
}

/** What of a secret can be changed while its sandbox runs; what is left out stays as it is. */
export type SecretChange = Partial<Omit<EnvSecretOptions, 'name'>> & { readonly env?: string | undefined };

const specs = new WeakMap<Secret, SecretSpec>();

/**
 * A credential for a sandbox. The sandbox sees a placeholder in an environment variable; requests to the bound hosts leave with the value.
 *
 * An instance shows no value when it is printed, inspected or turned into JSON.
 */
export class Secret {
  /** What audit events and commands call it. */
  readonly name: string;
  /** The variable that holds the placeholder; empty for a service, whose variables are the vendor's. */
  readonly env: string;

  private constructor(spec: SecretSpec) {
    this.name = nameOf(spec);
    this.env = spec.source === 'service' ? '' : (spec.env ?? this.name);
    specs.set(this, spec);
  }

  /**
   * A value that is bound to hosts; the variable `env` holds its placeholder.
   *
   * @throws SallyportError INVALID_SECRET_VALUE where there is no value, as when a variable of the host is not set.
   */
  static env(env: string, options: EnvSecretOptions): Secret {
    return new Secret({
      source: 'value',
      env,
      ...withName(options),
      ...bindingOf(options),
      value: checkValue(env, options.value),
    });
  }

  /**
   * A stored secret, by its name: one that is stored for the sandbox's name, else for all sandboxes. A plain one puts its value into the
   * variable. Creating the sandbox fails with SECRET_NOT_FOUND where there is none.
   */
  static named(name: string, options: NamedSecretOptions = {}): Secret {
    const { envVar } = options;
    return new Secret({ source: 'store', name, ...(envVar === undefined ? {} : { env: envVar }) });
  }

  /**
   * A service of the catalogue (`anthropic`, `openai`, `github`, …) with a value for this sandbox alone. Requests to its hosts get it whatever
   * key they carry. Where the service is stored for the sandbox, or for all, that value is used.
   *
   * @throws SallyportError INVALID_SECRET_VALUE where there is no value.
   */
  static service(name: string, options: ServiceSecretOptions): Secret {
    return new Secret({ source: 'service', service: name, value: checkValue(name, options.value) });
  }

  /** Without the value. */
  toString(): string {
    return `Secret(${this.name})`;
  }

  /** Without the value. */
  toJSON(): { readonly name: string; readonly env: string } {
    return { name: this.name, env: this.env };
  }
}

function nameOf(spec: SecretSpec): string {
  switch (spec.source) {
    case 'value':
      return spec.name ?? spec.env;
    case 'store':
      return spec.name;
    case 'service':
      return spec.service;
  }
}

function withName({ name }: EnvSecretOptions): { name?: string } {
  return name === undefined ? {} : { name };
}

function checkValue(env: string, value: unknown): string {
  if (typeof value === 'string' && value !== '') return value;
  throw new SallyportError(
    'INVALID_SECRET_VALUE',
    `The secret ${JSON.stringify(env)} has no value. Is the variable that it is read from set?`,
  );
}

type Binding = Pick<
  ValueSecret,
  'allowHosts' | 'allowHostPatterns' | 'locations' | 'placeholder' | 'methods' | 'path' | 'onViolation'
>;

function bindingOf(options: SecretChange): Binding {
  const { allowHosts, allowHostPatterns, locations, placeholder, methods, path, onViolation } = options;
  return {
    ...(allowHosts === undefined ? {} : { allowHosts: [...allowHosts] }),
    ...(allowHostPatterns === undefined ? {} : { allowHostPatterns: [...allowHostPatterns] }),
    ...(locations === undefined ? {} : { locations: [...locations] }),
    ...(placeholder === undefined ? {} : { placeholder }),
    ...(methods === undefined ? {} : { methods: [...methods] }),
    ...(path === undefined ? {} : { path }),
    ...(onViolation === undefined ? {} : { onViolation }),
  };
}

/** The secret as the API takes it, with its value. @internal */
export function specOf(secret: Secret): SecretSpec {
  const spec = specs.get(secret);
  if (spec !== undefined) return spec;
  throw new SallyportError('USAGE', 'A secret must be made by Secret.env(), Secret.named() or Secret.service().');
}

/** A change as the API takes it. @internal */
export function updateOf(name: string, change: SecretChange): SecretUpdate {
  const { env } = change;
  return {
    ...bindingOf(change),
    ...(env === undefined ? {} : { env }),
    ...('value' in change ? { value: checkValue(name, change.value) } : {}),
  };
}

/** Puts a secret together, step by step: `s.env("GITHUB_TOKEN").value(v).allowHost("api.github.com")`. */
export class SecretBuilder {
  #env: string | undefined;
  #value: string | undefined;
  #name: string | undefined;
  readonly #hosts: string[] = [];
  readonly #patterns: string[] = [];
  #locations: readonly string[] | undefined;
  #placeholder: string | undefined;
  #methods: readonly string[] | undefined;
  #path: string | undefined;
  #onViolation: EnvSecretOptions['onViolation'];

  /** The variable that holds the placeholder. */
  env(name: string): this {
    this.#env = name;
    return this;
  }

  /** The real value. */
  value(value: string): this {
    this.#value = value;
    return this;
  }

  /** What audit events call it. Default: the name of the variable. */
  name(name: string): this {
    this.#name = name;
    return this;
  }

  /** An exact host, `api.example.com` or `api.example.com:8443`; can be called many times. */
  allowHost(host: string): this {
    this.#hosts.push(host);
    return this;
  }

  /** Hosts by pattern, `*.example.com` or `**.example.com`; can be called many times. */
  allowHostPattern(pattern: string): this {
    this.#patterns.push(pattern);
    return this;
  }

  /** Where in a request the placeholder is replaced. Default: `header` and `basic`. */
  locations(...locations: string[]): this {
    this.#locations = locations;
    return this;
  }

  /** What the sandbox sees instead of the value; `{rand}` becomes 22 random characters. */
  placeholder(placeholder: string): this {
    this.#placeholder = placeholder;
    return this;
  }

  /** The methods that it is for. Default: any. */
  methods(...methods: string[]): this {
    this.#methods = methods;
    return this;
  }

  /** The paths that it is for, a glob such as `/v1/**`. Default: any. */
  path(glob: string): this {
    this.#path = glob;
    return this;
  }

  /** What happens where a placeholder is not for: `pass` (the default) leaves it, `block` refuses the request, `terminate` ends the sandbox as well. */
  onViolation(action: 'pass' | 'block' | 'terminate'): this {
    this.#onViolation = action;
    return this;
  }

  /** The secret. @throws SallyportError USAGE without a variable, INVALID_SECRET_VALUE without a value. */
  build(): Secret {
    if (this.#env === undefined) {
      throw new SallyportError('USAGE', 'The secret has no variable. Name one: s.env("NAME").');
    }
    return Secret.env(this.#env, {
      value: checkValue(this.#env, this.#value),
      name: this.#name,
      allowHosts: this.#hosts,
      allowHostPatterns: this.#patterns,
      locations: this.#locations,
      placeholder: this.#placeholder,
      methods: this.#methods,
      path: this.#path,
      onViolation: this.#onViolation,
    });
  }
}
