import { inspect } from 'node:util';

/**
 * A secret as a type of its own, so that it cannot be logged, serialised or interpolated by accident.
 *
 * `reveal()` is the only way to the text; lint allows it in the few files that put it on the wire or compile it into a matcher.
 */
export class SecretValue {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
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
