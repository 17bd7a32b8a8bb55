import { inspect } from 'node:util';

/**
 * A secret as a type of its own, so that it cannot be logged, serialised or interpolated by accident.
 *
 * `reveal()` is the only way to the text; lint allows it in the few files that put it on the wire or compile it into a matcher.
 */
export class SecretValue {
  /** Stands for a value that has not been fetched: there is no text to reveal. */
  static readonly UNKNOWN = new SecretValue(null);

  readonly #text: string | null;

  constructor(text: string | null) {
    this.#text = text;
  }

  /** False for {@link SecretValue.UNKNOWN} alone. */
  get isKnown(): boolean {
    return this.#text !== null;
  }

  /** How long the text is; 0 for a value that is not known. */
  get characters(): number {
    return this.#text?.length ?? 0;
  }

  /** @throws TypeError where the value is not known: whoever forgets to ask sends nothing, instead of an empty credential. */
  reveal(): string {
    if (this.#text === null) throw new TypeError('a secret is used whose value is not known');
    return this.#text;
  }

  equals(other: SecretValue): boolean {
    return this.#text === other.#text;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [inspect.custom](): string {
    return '[secret]';
  }
}
