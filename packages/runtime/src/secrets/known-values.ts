import type { RedactionRule } from './forms.ts';
import { protectedValues, type SecretSet } from './secret-set.ts';
import type { SecretValue } from './secret-value.ts';

/** Every value that the secrets of a sandbox have had, by placeholder: what was a secret once is redacted as long as the sandbox lives. */
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
