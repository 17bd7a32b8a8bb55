import { SallyportError } from '@sallyport/sdk';
import type { ValueProvider } from '../gate/value-provider.ts';
import { checkSecretValue, parseLocations } from '../secrets/secret-spec.ts';
import type { StoredSecret } from '../secrets/stored-secret.ts';
import { findService } from '../services/catalogue.ts';
import { readCredential } from '../services/credential.ts';
import { LiveValues, type LiveSecret } from './live-values.ts';
import {
  composeSecrets,
  fetchedKey,
  type DynamicSecret,
  type SandboxSecrets,
  type SandboxSecretsInput,
  type StoredSecrets,
} from './sandbox-secrets.ts';
import type { SecretSources } from './secret-sources.ts';

/** What {@link LiveSecrets} needs. */
export interface LiveSecretsOptions {
  readonly sources: SecretSources;
  /** What is stored at this moment; null where nothing is. */
  readonly stored: () => StoredSecrets | null;
  /** Puts secrets into force that were composed anew because a value was fetched. */
  readonly enforce: (fetched: ReadonlyMap<string, string>) => Promise<void>;
}

/** The secrets of a sandbox that runs: composed anew when what is stored changes, or a value is fetched. One change at a time. */
export class LiveSecrets {
  readonly #options: LiveSecretsOptions;
  readonly #values: LiveValues;
  #dynamic: readonly DynamicSecret[] = [];
  /** The values that were put into force last, or are about to be: a change that comes in between must not take them back. */
  #fetched: ReadonlyMap<string, string> = new Map();
  #queue: Promise<unknown> = Promise.resolve();

  constructor(options: LiveSecretsOptions) {
    this.#options = options;
    this.#values = new LiveValues({
      secrets: [],
      apply: async (values) => {
        // Whatever cannot be used fails the request; it must not be left out in silence.
        checkFetched(this.#dynamic, values);
        const former = this.#fetched;
        this.#fetched = values;
        try {
          await this.#options.enforce(values);
        } catch (error) {
          this.#fetched = former;
          throw error;
        }
      },
    });
  }

  /** Composes secrets, with the values that were fetched so far. @throws SallyportError SECRET_CONFLICT */
  async compose(
    input: Omit<SandboxSecretsInput, 'stored'>,
    fetched: ReadonlyMap<string, string> = this.#fetched,
  ): Promise<SandboxSecrets> {
    return await composeSecrets({ ...input, stored: this.#options.stored() }, fetched);
  }

  /** Who fetches values for the gate; null where none has to be. */
  providerFor({ dynamic }: SandboxSecrets): ValueProvider | null {
    return dynamic.length === 0 ? null : this.#values;
  }

  /** Takes note of what is in force. */
  use({ dynamic }: SandboxSecrets): void {
    this.#dynamic = dynamic;
    this.#values.use(dynamic.map((secret) => this.#liveSecret(secret)));
  }

  /** Changes happen one after the other: each begins with what the one before has put into force. */
  async inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(work);
    this.#queue = result.catch(() => undefined);
    return await result;
  }

  #liveSecret({ secret, hosts }: DynamicSecret): LiveSecret {
    return {
      key: fetchedKey(secret),
      name: secret.name,
      hosts,
      source: this.#options.sources.of(secret, this.#options.stored()),
    };
  }
}

/** @throws SallyportError INVALID_SECRET_VALUE, SECRET_VALUE_TOO_SHORT */
function checkFetched(dynamic: readonly DynamicSecret[], values: ReadonlyMap<string, string>): void {
  for (const { secret } of dynamic) {
    const text = values.get(fetchedKey(secret));
    if (text !== undefined) checkValueOf(secret, text);
  }
}

/**
 * Whether a text can be the value of a stored secret.
 *
 * @throws SallyportError INVALID_SECRET_VALUE, SECRET_VALUE_TOO_SHORT; nothing of the value is in the message.
 */
export function checkValueOf(secret: Pick<StoredSecret, 'kind' | 'name' | 'locations'>, text: string): void {
  switch (secret.kind) {
    case 'plain':
      if (!text.includes('\0') && text.isWellFormed()) return;
      throw new SallyportError(
        'INVALID_SECRET_VALUE',
        `The value of ${JSON.stringify(secret.name)} cannot be that of a variable: it holds a NUL or is no text.`,
      );
    case 'custom':
      checkSecretValue(text, secret.name, parseLocations(secret.locations));
      return;
    case 'service': {
      const definition = findService(secret.name);
      if (definition === undefined) checkSecretValue(text, secret.name, [{ kind: 'header' }]);
      else readCredential(definition, text);
      return;
    }
    default:
      throw new TypeError(`unknown kind ${String(secret.kind satisfies never)}`);
  }
}
