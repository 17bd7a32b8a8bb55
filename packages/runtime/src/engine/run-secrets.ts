import { randomBytes } from 'node:crypto';
import { existsSync, watch as watchFiles, type FSWatcher } from 'node:fs';
import { SallyportError } from '@sallyport/sdk';
import type { ValueProvider } from '../gate/value-provider.ts';
import { refuseExposure } from '../secrets/secret-set-exposure.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import { findService } from '../services/catalogue.ts';
import { readCredential } from '../services/credential.ts';
import { findServiceKey } from '../sources/service-key.ts';
import { SecretBook } from '../stores/secret-book.ts';
import { serviceUnknown } from './effective-secrets.ts';
import { LiveSecrets } from './live-secrets.ts';
import type { RunPlan } from './plan.ts';
import { isSameSecrets, type SandboxSecrets, type SandboxSecretsInput } from './sandbox-secrets.ts';
import { compilePolicy } from './sandbox-parts.ts';
import { SecretSources } from './secret-sources.ts';

/** Puts secrets into force in a sandbox that runs. */
export type Enforce = (secrets: SandboxSecrets, provider: ValueProvider | null) => Promise<void>;

/** The secrets of a `run` that come from elsewhere than its own options: from what is stored, and from the environment. Follows changes. */
export class RunSecrets {
  readonly #input: Omit<SandboxSecretsInput, 'stored' | 'placeholders' | 'placeholderKey'>;
  readonly #stateDirectory: string;
  readonly #environment: NodeJS.ProcessEnv;
  readonly #sources: SecretSources;
  readonly #live: LiveSecrets;
  readonly #ownKey = randomBytes(32);
  #book: SecretBook | null = null;
  #watch: { close(): void } | null = null;
  #directoryWatch: FSWatcher | null = null;
  #secrets: SandboxSecrets | null = null;
  #enforce: Enforce | null = null;
  #onProblem: (problem: string) => void = () => undefined;
  #isClosed = false;

  private constructor(plan: RunPlan, environment: NodeJS.ProcessEnv, { given, named }: ServicesOfRun) {
    this.#stateDirectory = plan.stateDirectory;
    this.#environment = environment;
    this.#input = {
      sandbox: plan.name,
      own: plan.secrets.secrets,
      given,
      named: [...plan.named, ...named],
      plain: plan.environment,
      check: (set) => {
        compilePolicy({ ...plan, secrets: set });
        // What runs goes on without a secret that it has been shown otherwise; what starts is refused.
        if (this.#enforce !== null) refuseExposure(set, plan.command, plan.environment);
      },
    };
    this.#sources = new SecretSources(environment);
    this.#live = new LiveSecrets({
      sources: this.#sources,
      stored: () => this.#book,
      enforce: async (fetched) => await this.#update(fetched),
    });
  }

  /**
   * Reads what is stored, where anything is.
   *
   * @throws SallyportError SECRET_NOT_FOUND, SERVICE_UNKNOWN, SECRET_CONFLICT, STORE_CORRUPT, STORE_FAILED, … for what cannot be had as asked for.
   */
  static async open(plan: RunPlan, environment: NodeJS.ProcessEnv): Promise<RunSecrets> {
    const secrets = new RunSecrets(plan, environment, await readServices(plan.services, environment));
    try {
      await secrets.#openBook();
      const composed = await secrets.#compose();
      const [refusal] = composed.refusals;
      if (refusal !== undefined) throw refusal;
      secrets.#putInForce(composed);
      return secrets;
    } catch (error) {
      await secrets.close();
      throw error;
    }
  }

  /** What is in force. */
  get secrets(): SandboxSecrets {
    if (this.#secrets === null) throw new TypeError('the secrets have not been read');
    return this.#secrets;
  }

  /** Who fetches values for the gate; null where none has to be. */
  get provider(): ValueProvider | null {
    return this.#live.providerFor(this.secrets);
  }

  /** From here on changes are put into force by `enforce`; those that came before as well. @param onProblem hears of what could not be. */
  async follow(enforce: Enforce, onProblem: (problem: string) => void): Promise<void> {
    this.#enforce = enforce;
    this.#onProblem = onProblem;
    await this.#takeChange();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#enforce = null;
    this.#watch?.close();
    this.#directoryWatch?.close();
    this.#sources.close();
    await this.#book?.close();
  }

  async #openBook(): Promise<void> {
    if (this.#book !== null || this.#isClosed) return;
    const options = { stateDirectory: this.#stateDirectory, environment: this.#environment };
    if (SecretBook.exists(this.#stateDirectory)) {
      this.#book = await SecretBook.open(options);
      this.#watch = this.#book.watch(() => void this.#takeChange());
      this.#directoryWatch?.close();
      return;
    }
    if (this.#directoryWatch !== null || !existsSync(this.#stateDirectory)) return;
    // The first secret that is ever stored makes the book.
    this.#directoryWatch = watchFiles(this.#stateDirectory, { persistent: false }, () => {
      if (SecretBook.exists(this.#stateDirectory)) void this.#openLate();
    });
    this.#directoryWatch.on('error', () => this.#directoryWatch?.close());
  }

  async #openLate(): Promise<void> {
    await this.#live.inTurn(async () => await this.#openBook()).catch((error: unknown) => this.#tell(error));
    await this.#takeChange();
  }

  /** Never rejects: what is in force stays so, and people are told. */
  async #takeChange(): Promise<void> {
    await this.#update().catch((error: unknown) => this.#tell(error));
  }

  #tell(error: unknown): void {
    this.#onProblem(error instanceof SallyportError ? error.message : 'it could not be taken in, which is a defect.');
  }

  /** Composes anew, and puts into force what is different. */
  async #update(fetched?: ReadonlyMap<string, string>): Promise<void> {
    await this.#live.inTurn(async () => {
      const enforce = this.#enforce;
      if (enforce === null || this.#isClosed) return;
      const composed = await this.#compose(fetched);
      const isSame = this.#secrets !== null && isSameSecrets(composed, this.#secrets);
      if (isSame) return;
      await enforce(composed, this.#live.providerFor(composed));
      this.#putInForce(composed);
    });
  }

  #putInForce(secrets: SandboxSecrets): void {
    this.#secrets = secrets;
    this.#live.use(secrets);
    if (this.#book !== null) this.#sources.keep(this.#book.list());
  }

  async #compose(fetched?: ReadonlyMap<string, string>): Promise<SandboxSecrets> {
    const placeholderKey = this.#book?.placeholderKey ?? this.#ownKey;
    const placeholders = this.#secrets?.placeholders ?? new Map<string, string>();
    return await this.#live.compose({ ...this.#input, placeholders, placeholderKey }, fetched);
  }
}

/** The services that a `run` names. */
interface ServicesOfRun {
  readonly given: ReadonlyMap<string, SecretValue>;
  /** Those without a value here, which have to be stored. */
  readonly named: readonly { readonly name: string; readonly env: null }[];
}

/** @throws SallyportError SERVICE_UNKNOWN, SOURCE_FAILED, INVALID_SECRET_VALUE */
async function readServices(names: readonly string[], environment: NodeJS.ProcessEnv): Promise<ServicesOfRun> {
  const given = new Map<string, SecretValue>();
  const named: { name: string; env: null }[] = [];
  for (const name of names) {
    const definition = findService(name);
    if (definition === undefined) throw serviceUnknown(name);
    // oxlint-disable-next-line no-await-in-loop -- few, and a process that asks for one should not meet another
    const found = await findServiceKey(definition, environment);
    if (found === null) {
      named.push({ name, env: null });
      continue;
    }
    readCredential(definition, found.text);
    given.set(name, new SecretValue(found.text));
  }
  return { given, named };
}
