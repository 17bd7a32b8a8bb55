import type { FuzzTarget } from './campaign.ts';
import { Dice, LoadedDice } from './dice.ts';

type Case = { dice: number[] };

/**
 * A target whose cases are thrown with dice while they are checked: what is kept and made smaller is how the dice fell. The error that
 * `check` throws has to quote the case for people.
 */
export function targetOfThrows(
  name: string,
  check: (dice: Dice, note: (what: string) => void) => void | Promise<void>,
): FuzzTarget<Case> {
  return {
    name,
    generate(random) {
      // Played once to see how the dice fall; whether that fails is seen when the case is checked.
      const dice = new LoadedDice([], new Dice(random.below(2 ** 32)));
      fallen.set(dice.shown, dice);
      return { dice: dice.shown };
    },
    async check(data, note) {
      const first = fallen.get(data.dice);
      fallen.delete(data.dice);
      await check(first ?? new LoadedDice(data.dice), note);
      return null;
    },
  };
}

/** Dice of cases that have not been played: their numbers come to be as the case is. */
const fallen = new WeakMap<number[], LoadedDice>();
