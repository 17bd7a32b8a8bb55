import type { RedactionRule } from './forms.ts';
import { protectedValues, type SecretSet } from './secret-set.ts';
import type { SecretValue } from './secret-value.ts';

/** How many values that a secret had before are kept. */
const MAX_EARLIER_VALUES = 512;
/** How long those of one secret are together, in characters; the latest is kept whatever its length. */
const MAX_EARLIER_CHARACTERS = 256 * 1024;

/**
 * The values that the secrets of a sandbox have had, by placeholder: what was a secret once is redacted as long as the sandbox lives, but
 * for the oldest of very many. A source can give another value each time it is asked, and looking for all of them costs everybody time.
 */
export class KnownValues {
  readonly #byPlaceholder = new Map<string, { readonly name: string; readonly values: SecretValue[] }>();

  /** @param earlier what a former process knew. */
  constructor(earlier: readonly RedactionRule[]) {
    for (const { name, placeholder, values } of earlier)
      this.#byPlaceholder.set(placeholder, { name, values: [...values] });
  }

  /** Takes note of the values of a set. */
  add(set: SecretSet): void {
    for (const { name, placeholder, value } of protectedValues(set)) {
      const known = this.#byPlaceholder.get(placeholder);
      if (known === undefined) this.#byPlaceholder.set(placeholder, { name, values: [value] });
      else {
        const index = known.values.findIndex((other) => other.equals(value));
        if (index >= 0) known.values.splice(index, 1);
        known.values.unshift(value);
        known.values.length = countKept(known.values);
      }
    }
  }

  /** What a redactor is made of. The value of each secret comes before those that it had earlier. */
  rules(): RedactionRule[] {
    return [...this.#byPlaceholder].map(([placeholder, { name, values }]) => ({
      name,
      placeholder,
      values: [...values],
    }));
  }
}

/** How many of a secret's values are kept, the present one included, which comes first. */
function countKept(values: readonly SecretValue[]): number {
  let characters = 0;
  for (const [index, value] of values.entries()) {
    if (index === 0) continue;
    characters += value.characters;
    if (index > 1 && (index > MAX_EARLIER_VALUES || characters > MAX_EARLIER_CHARACTERS)) return index;
  }
  return values.length;
}
