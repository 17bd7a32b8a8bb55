import type { Limits } from '../api/sandboxes.ts';
import { SallyportError } from '../errors.ts';
import { mergeNetworks, type NetworkOptions, type SandboxOptions, type VolumeOptions } from './sandbox-options.ts';
import type { Sandbox, SandboxCallOptions } from './sandbox.ts';
import { Secret, SecretBuilder } from './secret.ts';

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** What makes the sandbox in the end. */
type MakeSandbox = (options: SandboxOptions, call: SandboxCallOptions | undefined) => Promise<Sandbox>;

/** Puts a sandbox together, step by step; {@link SandboxBuilder.create} makes it. Lists grow with each call, all else is replaced. */
export class SandboxBuilder {
  readonly #options: Mutable<SandboxOptions>;
  readonly #make: MakeSandbox;

  /** @internal */
  constructor(name: string | undefined, make: MakeSandbox) {
    this.#options = { name };
    this.#make = make;
  }

  /** `host`, the default. Other images are not supported yet: creating fails with NOT_SUPPORTED_YET. */
  image(name: string): this {
    this.#options.image = name;
    return this;
  }

  /** A secret: `secret((s) => s.env("GITHUB_TOKEN").value(v).allowHost("api.github.com"))`, or one that was made before. */
  secret(secret: Secret | ((builder: SecretBuilder) => SecretBuilder)): this {
    let made: unknown = secret;
    if (typeof secret === 'function') made = secret(new SecretBuilder());
    if (made instanceof SecretBuilder) made = made.build();
    if (!(made instanceof Secret)) {
      throw new SallyportError(
        'USAGE',
        'secret() takes a Secret, or a function that returns the builder that it is given.',
      );
    }
    this.#options.secrets = [...(this.#options.secrets ?? []), made];
    return this;
  }

  /** A secret in short: the variable, its value, and the hosts that it is for. */
  secretEnv(env: string, value: string, ...hosts: readonly string[]): this {
    return this.secret(Secret.env(env, { value, allowHosts: hosts }));
  }

  /** What it may reach; adds to what former calls have said. */
  network(network: NetworkOptions): this {
    this.#options.network = mergeNetworks(this.#options.network ?? {}, network);
    return this;
  }

  /** A plain variable of every command. */
  env(name: string, value: string): this {
    this.#options.env = { ...this.#options.env, [name]: value };
    return this;
  }

  /** A directory of the host that is mounted read-write at its own path. */
  workspace(directory: string): this {
    this.#options.workspace = directory;
    return this;
  }

  /** A directory or file of the host at another path. */
  volume(source: string, destination: string, options: Pick<VolumeOptions, 'readOnly'> = {}): this {
    this.#options.volumes = [...(this.#options.volumes ?? []), { ...options, source, destination }];
    return this;
  }

  /** Where commands start. */
  workdir(directory: string): this {
    this.#options.workdir = directory;
    return this;
  }

  /** What it may use at most. */
  limits(limits: Limits): this {
    this.#options.limits = { ...this.#options.limits, ...limits };
    return this;
  }

  /** For the program's own use. */
  label(name: string, value: string): this {
    this.#options.labels = { ...this.#options.labels, [name]: value };
    return this;
  }

  /** `runc`, the default, or another OCI runtime. */
  runtime(runtime: string): this {
    this.#options.runtime = runtime;
    return this;
  }

  /** Stop it this long after its start, in ms. */
  lifetime(lifetimeMs: number): this {
    this.#options.lifetimeMs = lifetimeMs;
    return this;
  }

  /** Remove it as soon as it has stopped. */
  autoRemove(autoRemove = true): this {
    this.#options.autoRemove = autoRemove;
    return this;
  }

  /** Makes the sandbox, and starts it. @throws SallyportError as `Sandbox.create()` */
  async create(options?: SandboxCallOptions): Promise<Sandbox> {
    return await this.#make({ ...this.#options }, options);
  }
}
