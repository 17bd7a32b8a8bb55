import type { GateKind, RunningGate } from './gate.ts';
import type { Lab } from './lab.ts';
import type { Figures } from './measure.ts';
import type { Metric, Row } from './rows.ts';

/** What one contender did in one row; a round without figures failed. */
export interface RowResult {
  readonly gate: string;
  /** Why there are no figures. */
  readonly missing?: string;
  readonly rounds: readonly Figures[];
}

/** One row with everybody's figures. */
export interface MeasuredRow {
  readonly id: string;
  readonly title: string;
  readonly metrics: readonly Metric[];
  readonly results: readonly RowResult[];
}

/** How much is measured. */
export interface Effort {
  readonly rounds: number;
  /** Of one contender in one round, where a row can be as long as one wants. */
  readonly seconds: number;
}

/** Starts gates once, when they are first needed. */
export class GateYard {
  readonly #lab: Lab;
  readonly #gates = new Map<GateKind, Promise<RunningGate>>();

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
}

const WARM_UP_SECONDS = 1;

/**
 * Measures one row: every contender once a round, each round beginning with another one, after a warm-up that does not count. A contender
 * that fails is left out from there on, and the row says why.
 */
export async function measureRow(
  lab: Lab,
  yard: GateYard,
  row: Row,
  kinds: readonly GateKind[],
  { rounds, seconds }: Effort,
  say: (line: string) => void,
): Promise<MeasuredRow> {
  const contenders = kinds.map((kind) => ({ kind, rounds: [] as Figures[], missing: undefined as string | undefined }));
  for (let round = -1; round < rounds; round += 1) {
    const start = Math.max(round, 0) % contenders.length;
    for (const contender of [...contenders.slice(start), ...contenders.slice(0, start)]) {
      if (contender.missing !== undefined) continue;
      try {
        const gate = await yard.open(contender.kind);
        const origin = gate.origin(row.service);
        if (origin === undefined) throw new Error(`does not offer this (${row.service})`);
        const figures = await row.measure(lab, gate, origin, round < 0 ? WARM_UP_SECONDS : seconds);
        if (round >= 0) contender.rounds.push(figures);
      } catch (error) {
        contender.missing = error instanceof Error ? error.message : String(error);
        say(`${row.id}: ${contender.kind.name}: ${contender.missing}`);
      }
    }
  }
  return {
    id: row.id,
    title: row.title,
    metrics: row.metrics,
    results: contenders.map(({ kind, rounds: measured, missing }) => ({
      gate: kind.name,
      ...(missing === undefined ? {} : { missing }),
      rounds: missing === undefined ? measured : [],
    })),
  };
}
