/** Every indexed text has at least this many characters. */
export const MIN_INDEXED_CHARACTERS = 8;

/**
 * Finds which of many texts occur inside another.
 *
 * Texts are filed under their last eight characters, the random part of a placeholder, so that one pass over the
 * other text with one map access for each character is enough, however many there are.
 */
export class SubstringIndex {
  readonly #byTail = new Map<string, string[]>();

  /** @param texts at least eight characters each; shorter ones would not be found and throw a TypeError. */
  constructor(texts: Iterable<string>) {
    for (const text of texts) {
      if (text.length < MIN_INDEXED_CHARACTERS) throw new TypeError('a text to find needs at least 8 characters');
      const tail = text.slice(-MIN_INDEXED_CHARACTERS);
      const filed = this.#byTail.get(tail);
      if (filed === undefined) this.#byTail.set(tail, [text]);
      else filed.push(text);
    }
  }

  /** The indexed texts inside `text`, itself included where it is indexed, in the order of their ends. */
  *within(text: string): Generator<string, undefined> {
    for (let end = MIN_INDEXED_CHARACTERS; end <= text.length; end += 1) {
      for (const found of this.#byTail.get(text.slice(end - MIN_INDEXED_CHARACTERS, end)) ?? []) {
        if (text.endsWith(found, end)) yield found;
      }
    }
  }
}
