/** A small generator of pseudo-random numbers (mulberry32), so that a seed gives the same run everywhere. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** An integer from 0 to `limit - 1`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }

  text(alphabet: string, length: number): string {
    const characters = [...alphabet];
    let text = '';
    for (let i = 0; i < length; i++) {
      text += this.pick(characters);
    }
    return text;
  }
}

/** Dice that fall as they are told, and on 0 after that; what they showed can be read. */
export class LoadedDice extends Dice {
  readonly shown: number[] = [];
  readonly #wanted: readonly number[];
  readonly #further: Dice | null;

  /** With `further`, dice that go on where `wanted` ends. */
  constructor(wanted: readonly number[], further: Dice | null = null) {
    super(0);
    this.#wanted = wanted;
    this.#further = further;
  }

  override below(limit: number): number {
    const wanted = this.#wanted[this.shown.length];
    const face = wanted === undefined ? (this.#further?.below(limit) ?? 0) : wanted % limit;
    this.shown.push(face);
    return face;
  }
}
