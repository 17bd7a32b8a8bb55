import { SallyportError } from '@sallyport/sdk';
import type { RedactionRule } from './redact.ts';
import { SecretValue } from './secret-value.ts';

/**
 * Writes values, and what belongs with them, as text that goes straight into `seal`, which encrypts it: nobody else gets to see it.
 *
 * @param attachment plain JSON that is as secret as the values
 */
export function sealValues<T>(rules: readonly RedactionRule[], attachment: unknown, seal: (text: string) => T): T {
  const values = rules.map(({ name, placeholder, values: known }) => ({
    name,
    placeholder,
    values: known.map((value) => value.reveal()),
  }));
  return seal(JSON.stringify({ version: 1, values, attachment }));
}

/**
 * Reads what {@link sealValues} has written.
 *
 * @throws SallyportError INTERNAL when it is something else; nothing of it is in the message.
 */
export function unsealValues(text: string): { readonly rules: RedactionRule[]; readonly attachment: unknown } {
  try {
    const { version, values, attachment } = JSON.parse(text) as {
      version: unknown;
      values: { name: string; placeholder: string; values: string[] }[];
      attachment: unknown;
    };
    if (version !== 1) throw new TypeError('another version');
    const rules = values.map(({ name, placeholder, values: known }) => ({
      name,
      placeholder,
      values: known.map((value) => new SecretValue(value)),
    }));
    return { rules, attachment };
  } catch {
    throw new SallyportError('INTERNAL', 'The saved values of the sandbox are damaged. Set its secrets again.');
  }
}

/** Gives a value to the one function that puts it into a message to the daemon. */
export function handOverValue<T>(value: SecretValue, send: (text: string) => T): T {
  return send(value.reveal());
}
