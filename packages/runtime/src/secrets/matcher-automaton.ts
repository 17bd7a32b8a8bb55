/** The root of an {@link Automaton}: nothing matched. */
export const ROOT = 0;

/**
 * An Aho-Corasick automaton over strings of symbols 0 to 255: linear in the text, whatever the text and the strings are.
 *
 * A node stands for a prefix of some string. Children usually follow their parent in memory, so that a long string costs a few
 * bytes a symbol; only where strings part is an edge stored by itself.
 */
export class Automaton {
  /** Symbols on the way to each node. */
  readonly depth: Int32Array;
  /** The node of the longest proper suffix that is a prefix of some string. */
  readonly fail: Int32Array;
  /** The longest suffix that is a whole string (the node itself if it is one), or ROOT. */
  readonly out: Int32Array;
  /** The longest suffix that some string continues (the node itself if it has children), or ROOT. */
  readonly live: Int32Array;
  readonly parent: Int32Array;
  /** How many nodes there are. */
  size = 1;

  readonly #symbol: Uint8Array;
  /** Bit 0: the next node is a child; bit 1: there are children in `#edges`. */
  readonly #shape: Uint8Array;
  readonly #edges = new Map<number, number>();
  readonly #first = new Int32Array(256);

  /** @param capacity an upper bound of the nodes: the symbols of all strings plus one. */
  constructor(capacity: number) {
    this.depth = new Int32Array(capacity);
    this.fail = new Int32Array(capacity);
    this.out = new Int32Array(capacity);
    this.live = new Int32Array(capacity);
    this.parent = new Int32Array(capacity);
    this.#symbol = new Uint8Array(capacity);
    this.#shape = new Uint8Array(capacity);
  }

  /** The child of `node` along `symbol`, or -1. */
  child(node: number, symbol: number): number {
    if (node === ROOT) {
      const first = this.#first[symbol]!;
      return first === ROOT ? -1 : first;
    }
    const shape = this.#shape[node]!;
    if ((shape & 1) !== 0 && this.#symbol[node + 1] === symbol) {
      return node + 1;
    }
    return (shape & 2) !== 0 ? (this.#edges.get(node * 256 + symbol) ?? -1) : -1;
  }

  /** The child of `node` along `symbol`, made when it is missing. Only before {@link Automaton.link}. */
  extend(node: number, symbol: number): number {
    const existing = this.child(node, symbol);
    if (existing !== -1) {
      return existing;
    }
    const made = this.size++;
    this.#symbol[made] = symbol;
    this.depth[made] = this.depth[node]! + 1;
    this.parent[made] = node;
    if (node === ROOT) {
      this.#first[symbol] = made;
      this.#shape[ROOT] = 2;
    } else if (made === node + 1) {
      this.#shape[node]! |= 1;
    } else {
      this.#shape[node]! |= 2;
      this.#edges.set(node * 256 + symbol, made);
    }
    return made;
  }

  /** Declares that a string ends at `node`. */
  end(node: number): void {
    this.out[node] = node;
  }

  /** Computes the suffix links; call once, after the last string. */
  link(): void {
    const order = this.#byDepth();
    for (const node of order) {
      if (node === ROOT) {
        continue;
      }
      const parent = this.parent[node]!;
      const fail = parent === ROOT ? ROOT : this.next(this.fail[parent]!, this.#symbol[node]!);
      this.fail[node] = fail;
      if (this.out[node] === ROOT) {
        this.out[node] = this.out[fail]!;
      }
      this.live[node] = this.#shape[node] === 0 ? this.live[fail]! : node;
    }
  }

  /** The longest suffix of (`node` followed by `symbol`) that is a prefix of some string. */
  next(node: number, symbol: number): number {
    for (;;) {
      if (node === ROOT) {
        return this.#first[symbol]!;
      }
      const child = this.child(node, symbol);
      if (child !== -1) {
        return child;
      }
      node = this.fail[node]!;
    }
  }

  #byDepth(): Int32Array {
    let deepest = 0;
    for (let node = 0; node < this.size; node++) {
      deepest = Math.max(deepest, this.depth[node]!);
    }
    const starts = new Int32Array(deepest + 2);
    for (let node = 0; node < this.size; node++) {
      starts[this.depth[node]! + 1]!++;
    }
    for (let level = 1; level < starts.length; level++) {
      starts[level]! += starts[level - 1]!;
    }
    const order = new Int32Array(this.size);
    for (let node = 0; node < this.size; node++) {
      order[starts[this.depth[node]!]!++] = node;
    }
    return order;
  }
}
