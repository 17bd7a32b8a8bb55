import { finishValue, sourceFailed } from './fetched-value.ts';
import type { ValueSource, ValueSourceSettings } from './value-source.ts';

/** A value in an environment variable of the process that makes the requests: of the daemon, or of an embedded `run`. */
export class EnvironmentSource implements ValueSource {
  readonly description: string;
  readonly #variable: string;
  readonly #settings: ValueSourceSettings;

  constructor(variable: string, settings: ValueSourceSettings) {
    this.description = `env:${variable}`;
    this.#variable = variable;
    this.#settings = settings;
  }

  // oxlint-disable-next-line require-await -- a failure is a rejection
  async fetch(): Promise<Uint8Array> {
    const text = this.#settings.environment[this.#variable];
    if (text === undefined) {
      throw sourceFailed(
        `The environment variable ${this.#variable} is not set in the process that needs it. ` +
          'The daemon does not have the variables of your terminal: start it with this one, by `sallyport daemon run`, or store the value.',
      );
    }
    return finishValue(Buffer.from(text), `The environment variable ${this.#variable}`);
  }
}
