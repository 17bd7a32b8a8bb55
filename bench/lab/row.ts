import type { GateKind, RunningGate } from './gate.ts';
import type { Lab, Service } from './lab.ts';
import type { Figures } from './measure.ts';
import type { Better } from './statistics.ts';

/** One figure that a row reports. */
export interface Metric {
  readonly key: string;
  readonly title: string;
  readonly better: Better;
}

/** Somebody who does a row's work. */
export interface Contender {
  readonly name: string;
  /** Does it once, for about as long as it is told to where that can be told. @throws Error where anything failed. */
  measure(seconds: number): Promise<Figures>;
}

/** What contenders are made from. */
export interface Setting {
  readonly lab: Lab;
  readonly yard: GateYard;
  /** The gates that were asked for. */
  readonly kinds: readonly GateKind[];
  /** Ours as it is in most rows. */
  readonly ours: GateKind;
}

/** One piece of work that gates are compared by. */
export interface Row {
  readonly id: string;
  readonly title: string;
  /** The first one is what ratios are of. */
  readonly metrics: readonly [Metric, ...Metric[]];
  /** The contender that the others are held against. */
  readonly baseline: string;
  /** Whether `--quick` measures it. */
  readonly isQuick: boolean;
  /** More rounds than these say nothing new. Default: as many as are asked for. */
  readonly maxRounds?: number;
  /** Whether there is a round that does not count. Default yes. */
  readonly warmsUp?: boolean;
  contenders(setting: Setting): readonly Contender[];
}

/** Starts gates once, when they are first needed. */
export class GateYard {
  readonly #lab: Lab;
  readonly #gates = new Map<GateKind, Promise<RunningGate>>();
  readonly #ofRow: (() => Promise<void>)[] = [];

  constructor(lab: Lab) {
    this.#lab = lab;
  }

  /** @throws Error where it cannot be had, each time anew. */
  async open(kind: GateKind): Promise<RunningGate> {
    const known = this.#gates.get(kind);
    if (known !== undefined) return known;
    const missing = kind.missing();
    const opening = missing === undefined ? kind.open(this.#lab) : Promise.reject(new Error(missing));
    this.#gates.set(kind, opening);
    return opening;
  }

  /** Something else that only this row needs, to be ended when it is over. */
  onRowEnd(close: () => Promise<void>): void {
    this.#ofRow.push(close);
  }

  /** Ends what a row has started: all gates but those that other rows need. */
  async closeAllBut(kept: readonly GateKind[]): Promise<void> {
    const ended = [...this.#gates].filter(([kind]) => !kept.includes(kind));
    for (const [kind] of ended) this.#gates.delete(kind);
    const gates = ended.map(async ([, opened]) => (await opened).close());
    await Promise.allSettled([...gates, ...this.#ofRow.splice(0).map(async (close) => close())]);
  }
}

/** What a gate's clients do, given the gate and where it offers the service. */
export type GateWork = (lab: Lab, gate: RunningGate, origin: string, seconds: number) => Promise<Figures>;

/** Gates as contenders for work at one service. */
export function gateContenders(
  { lab, yard }: Pick<Setting, 'lab' | 'yard'>,
  kinds: readonly GateKind[],
  service: Service,
  work: GateWork,
): readonly Contender[] {
  return kinds.map((kind) => ({
    name: kind.name,
    measure: async (seconds) => {
      const gate = await yard.open(kind);
      const origin = gate.origin(service);
      if (origin === undefined) throw new Error('has no such way');
      return work(lab, gate, origin, seconds);
    },
  }));
}
