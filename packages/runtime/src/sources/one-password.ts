import { programOptions, takeOutput } from './command-source.ts';
import { sourceFailed } from './fetched-value.ts';
import { findProgram, runHostProgram } from './host-program.ts';
import type { ValueSource, ValueSourceSettings } from './value-source.ts';

/** A value in 1Password, read by its command-line program. https://developer.1password.com/docs/cli/reference/commands/read */
export class OnePasswordSource implements ValueSource {
  readonly description: string;
  readonly #settings: ValueSourceSettings;

  /** @param reference Canonical: begins with `op://`. */
  constructor(reference: string, settings: ValueSourceSettings) {
    this.description = reference;
    this.#settings = settings;
  }

  async fetch(signal: AbortSignal): Promise<Uint8Array> {
    const program = findProgram('op', this.#settings.environment['PATH']);
    if (program === undefined) {
      throw sourceFailed(
        `${this.description} needs 1Password's command-line program "op", which is not in PATH. ` +
          'Install it (https://developer.1password.com/docs/cli/get-started) and sign in.',
      );
    }
    const words = ['read', '--no-newline', '--', this.description];
    const outcome = await runHostProgram(program, words, programOptions(this.#settings, signal));
    return takeOutput(outcome, `1Password's op, asked for ${this.description},`, this.#settings, signal);
  }
}
