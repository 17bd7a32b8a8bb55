/**
 * `npm run bench:guard`: this checkout against a base revision, in one alternating run. Fails where a row lost more than a tenth.
 *
 *     npm run bench:guard -- [--base REVISION] [--rows ID,…] [--rounds N]
 *
 * The default base is HEAD where something is not committed, else the commit before it.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { checkOutBase } from './lab/base-checkout.ts';
import { measureRow } from './lab/campaign.ts';
import { compareRows, joinRounds } from './lab/comparison.ts';
import type { RowChange } from './lab/comparison.ts';
import { CORES, Lab, pinToClients } from './lab/lab.ts';
import { GateYard } from './lab/row.ts';
import { ROWS } from './lab/rows.ts';
import { sallyport } from './lab/sallyport.ts';
import { select } from './lab/selection.ts';
import { provideTools } from './lab/setup.ts';
import { formatTable } from './lab/table.ts';

const CHECKOUT = join(import.meta.dirname, '..');
const GUARDED = 'json-1,json-16,h2-10,tls-new,down,down-tunnel,up-body-chunked,start-up';
const MAX_LOSS = 0.1;
const DEFAULT_ROUNDS = 7;
const SECONDS = 1;
/** Both have the same time to compile themselves. */
const WARM_UPS = 3;
const BASE = 'base';
const CANDIDATE = 'this checkout';

const { values: options } = parseArgs({
  options: { base: { type: 'string' }, rows: { type: 'string', default: GUARDED }, rounds: { type: 'string' } },
});

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function defaultBase(): string {
  const changes = execFileSync('git', ['-C', CHECKOUT, 'status', '--porcelain'], { encoding: 'utf8' });
  return changes === '' ? 'HEAD~1' : 'HEAD';
}

function describe({ id, metric, loss, isLost, reason }: RowChange): string {
  const change = Number.isNaN(loss)
    ? `not compared: ${reason ?? 'no common round'}`
    : `${Math.abs(loss * 100).toFixed(1)} % ${loss > 0 ? 'worse' : 'better'}`;
  return `${isLost ? 'LOST' : 'ok  '}  ${id.padEnd(16)} ${metric.padEnd(12)} ${change}`;
}

/** Measures the rows, and those that seem lost once more with twice the rounds: one busy minute shall not fail a change. */
async function compare(lab: Lab, directory: string): Promise<readonly RowChange[]> {
  const kinds = [sallyport(BASE, {}, directory), sallyport(CANDIDATE)];
  const [, ours = kinds[0]!] = kinds;
  const setting = { lab, yard: new GateYard(lab), kinds, ours };
  const rounds = Number(options.rounds ?? DEFAULT_ROUNDS);
  const changes: RowChange[] = [];
  for (const each of select(ROWS, ({ id }) => id, options.rows)) {
    const row = { ...each, baseline: each.id === 'start-up' ? `${BASE}: run -- true` : BASE };
    let measured = await measureRow(row, setting, { rounds, seconds: SECONDS, warmUps: WARM_UPS }, say);
    let [change] = compareRows([measured], BASE, CANDIDATE, MAX_LOSS);
    if (change?.isLost === true && change.reason === undefined) {
      say(`${row.id} seems ${(change.loss * 100).toFixed(1)} % worse: measuring it again`);
      measured = joinRounds(
        measured,
        await measureRow(row, setting, { rounds: rounds * 2, seconds: SECONDS, warmUps: WARM_UPS }, say),
      );
      [change] = compareRows([measured], BASE, CANDIDATE, MAX_LOSS);
    }
    if (change !== undefined) changes.push(change);
    process.stdout.write(`${formatTable(measured)}\n`);
    await setting.yard.closeAllBut(kinds);
  }
  return changes;
}

provideTools(say, { peers: [] });
pinToClients();
const base = checkOutBase(CHECKOUT, options.base ?? defaultBase());
try {
  if (base.hasOtherDependencies) say('The base wants other dependencies; it runs with those of this checkout.');
  say(`base: ${base.revision}`);
  const lab = await Lab.open(CORES, say);
  const stop = (): void => {
    void lab.close().finally(() => {
      base.remove();
      process.exit(130);
    });
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    const changes = await compare(lab, base.directory);
    process.stdout.write(`${changes.map(describe).join('\n')}\n`);
    process.exitCode = changes.some(({ isLost }) => isLost) ? 1 : 0;
  } finally {
    await lab.close();
  }
} finally {
  base.remove();
}
