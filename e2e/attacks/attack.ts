import { after, test } from 'node:test';
import type { TestContext } from 'node:test';
import { eachCaller, listCallers } from '../harness/caller.ts';
import type { Caller } from '../harness/caller.ts';
import { checkFamily } from './attack-list.ts';

/** An attack: what is tried, and what would get out where it works. */
export interface Attack {
  /** Names it among all attacks. */
  readonly name: string;
  /** A clause: "the value, to …". */
  readonly leaks: string;
}

/** Judges one of several attacks that were made together: a test of its own. */
export type Judge = (attack: Attack, judge: () => void | Promise<void>) => Promise<void>;

/** How attacks are run. */
interface AttackOptions {
  readonly timeoutMs?: number;
  readonly skip?: string | undefined;
  /** `one`: the caller's rights change nothing of it, so that an ordinary user makes it, or root where there is none. Default `each`. */
  readonly callers?: 'each' | 'one';
}

/** A family of attacks: one test file. */
export interface Family {
  /** Registers an attack as root and as an ordinary user. */
  readonly attack: (attack: Attack, run: (caller: Caller) => Promise<void>, options?: AttackOptions) => void;
  /**
   * Registers attacks that share what is costly, a sandbox above all. `run` makes them and judges each by `judge`.
   */
  readonly attacks: (
    title: string,
    run: (caller: Caller, judge: Judge) => Promise<void>,
    options?: AttackOptions,
  ) => void;
}

/** Runs `judge`; a failure's message begins with what would leak. */
async function sayLeak(leaks: string, judge: () => void | Promise<void>): Promise<void> {
  try {
    await judge();
  } catch (cause) {
    throw new Error(`leaks: ${leaks}\n${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Registers a test for the callers that `options` ask for. */
function register(
  title: string,
  run: (caller: Caller, context: TestContext) => Promise<void>,
  { callers = 'each', ...options }: AttackOptions = {},
): void {
  const able = listCallers().flatMap(({ caller }) => (caller === undefined ? [] : [caller]));
  const one = able.find(({ kind }) => kind === 'user') ?? able[0];
  if (callers === 'each' || one === undefined) {
    eachCaller(title, run, options);
    return;
  }
  const { skip = false, timeoutMs: timeout = 300_000 } = options;
  void test(`${title} (as ${one.kind === 'root' ? 'root' : 'an ordinary user'})`, { skip, timeout }, (context) =>
    run(one, context),
  );
}

/**
 * Begins a family. When its tests have run, what they were is held against docs/attacks.md.
 *
 * @param about a sentence for that document.
 */
export function createFamily(name: string, about: string): Family {
  const made = new Map<string, string>();
  const groups: { isWhole: boolean }[] = [];
  const note = ({ name, leaks }: Attack): void => void made.set(name, leaks);
  after(() =>
    checkFamily(
      { name, about, attacks: made },
      groups.every(({ isWhole }) => isWhole),
    ),
  );
  return {
    attack: (attack, run, options) => {
      note(attack);
      register(`attack: ${attack.name}`, (caller) => sayLeak(attack.leaks, () => run(caller)), options);
    },
    attacks: (title, run, options) => {
      const group = { isWhole: false };
      groups.push(group);
      register(
        `attacks: ${title}`,
        async (caller, context) => {
          await run(caller, async (attack, judge) => {
            note(attack);
            await context.test(`attack: ${attack.name}`, () => sayLeak(attack.leaks, judge));
          });
          group.isWhole = true;
        },
        options,
      );
    },
  };
}
