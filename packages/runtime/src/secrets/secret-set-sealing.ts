import { SallyportError } from '@sallyport/sdk';
import type { RedactionRule } from './redact.ts';
import { SecretValue } from './secret-value.ts';

/** The values of a sandbox that must not be lost. */
export interface SealedValues {
  /** What is taken out of responses. */
  readonly rules: readonly RedactionRule[];
  /** Those of the sandbox's own secrets, by whatever the caller knows them by. */
  readonly own: ReadonlyMap<string, SecretValue>;
}

/**
 * Writes values, and what belongs with them, as text that goes straight into `seal`, which encrypts it: nobody else gets to see it.
 *
 * @param attachment plain JSON that is as secret as the values
 */
export function sealValues<T>({ rules, own }: SealedValues, attachment: unknown, seal: (text: string) => T): T {
  const values = rules.map(({ name, placeholder, values: known }) => ({
    name,
    placeholder,
    values: known.map((value) => value.reveal()),
  }));
  const ownValues = [...own].map(([key, value]) => [key, value.reveal()]);
  return seal(JSON.stringify({ version: 1, values, own: ownValues, attachment }));
}

/**
 * Reads what {@link sealValues} has written.
 *
 * @throws SallyportError INTERNAL when it is something else; nothing of it is in the message.
 */
export function unsealValues(text: string): SealedValues & { readonly attachment: unknown } {
  try {
    const { version, values, own, attachment } = JSON.parse(text) as {
      version: unknown;
      values: { name: string; placeholder: string; values: string[] }[];
      /** Former versions had secrets of their own only, known by their placeholders. */
      own?: [string, string][];
      attachment: unknown;
    };
    if (version !== 1) throw new TypeError('another version');
    const rules = values.map(({ name, placeholder, values: known }) => ({
      name,
      placeholder,
      values: known.map((value) => new SecretValue(value)),
    }));
    const ownValues: [string, string][] =
      own ?? values.flatMap(({ placeholder, values: [value] }) => (value === undefined ? [] : [[placeholder, value]]));
    return {
      rules,
      own: new Map(ownValues.map(([key, value]) => [key, new SecretValue(value)])),
      attachment,
    };
  } catch {
    throw new SallyportError('INTERNAL', 'The saved values of the sandbox are damaged. Set its secrets again.');
  }
}

/** Gives a value to the one function that puts it into a message to the daemon. */
export function handOverValue<T>(value: SecretValue, send: (text: string) => T): T {
  return send(value.reveal());
}
