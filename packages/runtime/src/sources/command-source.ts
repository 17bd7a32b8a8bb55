import { calledOff, finishValue, sourceFailed, tooLate, tooLong } from './fetched-value.ts';
import { runHostProgram, type ProgramOptions, type ProgramOutcome } from './host-program.ts';
import type { ValueSource, ValueSourceSettings } from './value-source.ts';

const SUBJECT = 'The command';

/** A value that a shell command of the host prints. */
export class CommandSource implements ValueSource {
  /** Not the command itself: commands hold credentials. */
  readonly description = 'a command';
  readonly #command: string;
  readonly #settings: ValueSourceSettings;

  constructor(command: string, settings: ValueSourceSettings) {
    this.#command = command;
    this.#settings = settings;
  }

  async fetch(signal: AbortSignal): Promise<Uint8Array> {
    const outcome = await runHostProgram('/bin/sh', ['-c', this.#command], programOptions(this.#settings, signal));
    return takeOutput(outcome, SUBJECT, this.#settings, signal);
  }
}

/** How a source runs a program of the host. */
export function programOptions(settings: ValueSourceSettings, signal: AbortSignal): ProgramOptions {
  const { environment, directory, timeLimitMs, showError } = settings;
  return { environment, directory, timeLimitMs, keepError: showError, signal };
}

/**
 * The value that a program printed.
 *
 * @param subject The program, as a message begins.
 * @throws SallyportError SOURCE_FAILED, with what it wrote to its standard error only where that is to be shown.
 */
export function takeOutput(
  outcome: ProgramOutcome,
  subject: string,
  { timeLimitMs, directory, showError }: ValueSourceSettings,
  signal: AbortSignal,
): Uint8Array {
  const explain = (message: string, errorText: string): string => {
    if (!showError) return `${message} What it wrote to its standard error is hidden; --show-error shows it.`;
    return errorText === ''
      ? `${message} It wrote nothing to its standard error.`
      : `${message} It wrote:\n${errorText}`;
  };
  switch (outcome.kind) {
    case 'exited':
      if (outcome.status === 0) return finishValue(outcome.output, subject);
      outcome.output.fill(0);
      throw sourceFailed(explain(`${subject} ended with status ${outcome.status}.`, outcome.errorText));
    case 'signaled':
      throw sourceFailed(explain(`${subject} was ended by ${outcome.signal}.`, outcome.errorText));
    case 'too-late':
      throw sourceFailed(explain(tooLate(subject, timeLimitMs).message, outcome.errorText));
    case 'too-long':
      throw tooLong(subject);
    case 'called-off':
      throw calledOff(subject, signal);
    case 'not-started':
      throw sourceFailed(`${subject} could not be started in ${JSON.stringify(directory)} (${outcome.code}).`);
  }
}
