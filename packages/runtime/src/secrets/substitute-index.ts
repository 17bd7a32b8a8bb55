import { Automaton, ROOT } from './matcher-automaton.ts';
import { GramFilter, MIN_FILTERED_BYTES } from './matcher-filter.ts';

/** A shared beginning shorter than this occurs too often in ordinary text to be worth asking for. */
const MIN_PREFIX_CHARACTERS = 3;

/** Where a placeholder stands in a text. */
export interface Occurrence {
  readonly start: number;
  readonly end: number;
  /** Which of the placeholders, by the order given. */
  readonly index: number;
}

/** Finds placeholders in Latin-1 text; a text without any costs next to nothing, however many placeholders there are. */
export class PlaceholderIndex {
  readonly #automaton: Automaton;
  readonly #indexes = new Map<number, number>();
  readonly #prefix: string;
  readonly #filter: GramFilter | undefined;

  /** @param placeholders none empty; of equal ones the first counts. */
  constructor(placeholders: readonly string[]) {
    let nodes = 1;
    for (const placeholder of placeholders) {
      nodes += placeholder.length;
    }
    this.#automaton = new Automaton(nodes);
    const forms: Uint8Array[] = [];
    let shortest = Number.POSITIVE_INFINITY;
    for (const [index, placeholder] of placeholders.entries()) {
      const bytes = Buffer.from(placeholder, 'latin1');
      let node = ROOT;
      for (const byte of bytes) {
        node = this.#automaton.extend(node, byte);
      }
      if (node !== ROOT && !this.#indexes.has(node)) {
        this.#automaton.end(node);
        this.#indexes.set(node, index);
        forms.push(bytes);
        shortest = Math.min(shortest, bytes.length);
      }
    }
    this.#automaton.link();
    this.#prefix = sharedPrefix(placeholders);
    const needsFilter =
      this.#prefix.length < MIN_PREFIX_CHARACTERS && shortest >= MIN_FILTERED_BYTES && forms.length > 0;
    this.#filter = needsFilter ? new GramFilter(forms, []) : undefined;
  }

  /** Whether `text` is worth a closer look. */
  mayOccurIn(text: string): boolean {
    if (this.#prefix.length >= MIN_PREFIX_CHARACTERS) {
      return text.includes(this.#prefix);
    }
    return this.#filter === undefined ? this.#indexes.size > 0 : this.#filter.mayOccurIn(text);
  }

  /** All placeholders in `text` from left to right; of overlapping ones the one that ends first. */
  find(text: string): Occurrence[] {
    const found: Occurrence[] = [];
    if (!this.mayOccurIn(text)) {
      return found;
    }
    const automaton = this.#automaton;
    let node = ROOT;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      node = code > 255 ? ROOT : automaton.next(node, code);
      const out = automaton.out[node]!;
      if (out !== ROOT) {
        found.push({ start: i + 1 - automaton.depth[out]!, end: i + 1, index: this.#indexes.get(out)! });
        node = ROOT;
      }
    }
    return found;
  }
}

function sharedPrefix(texts: readonly string[]): string {
  let prefix = texts[0] ?? '';
  for (const text of texts) {
    let length = 0;
    while (length < prefix.length && prefix[length] === text[length]) {
      length++;
    }
    prefix = prefix.slice(0, length);
  }
  return prefix;
}
