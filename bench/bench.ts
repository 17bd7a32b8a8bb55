/**
 * `npm run bench`: our gate against none and against other gates, in one run, on two pinned cores. docs/performance.md tells how and why.
 *
 *     npm run bench -- [--quick] [--rows ID,…] [--gates NAME,…] [--rounds N] [--seconds N] [--output DIRECTORY] [--docs]
 *
 * `--output` writes JSON and charts there; `--docs` writes them, and the tables, into docs/, where rows that were not measured stay as they are.
 */
import { loadavg } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { measureRow } from './lab/campaign.ts';
import type { MeasuredRow } from './lab/campaign.ts';
import { DIRECT } from './lab/direct.ts';
import type { GateKind } from './lab/gate.ts';
import { HAPROXY, HAPROXY_IN_ROOM } from './lab/haproxy.ts';
import { CORES, Lab, pinToClients } from './lab/lab.ts';
import { fillDocumentFile, mergeWithWritten, writeReport } from './lab/document.ts';
import type { Report } from './lab/document.ts';
import { describeMachine } from './lab/machine.ts';
import { MITMPROXY } from './lab/mitmproxy.ts';
import { MOCKTTP } from './lab/mockttp.ts';
import { GateYard } from './lab/row.ts';
import { ROWS } from './lab/rows.ts';
import { sallyport } from './lab/sallyport.ts';
import { select } from './lab/selection.ts';
import { provideTools } from './lab/setup.ts';
import { SQUID } from './lab/squid.ts';
import { formatTable } from './lab/table.ts';

const OURS = sallyport();
const GATES: readonly GateKind[] = [DIRECT, HAPROXY, HAPROXY_IN_ROOM, SQUID, MITMPROXY, MOCKTTP, OURS];
const QUICK_GATES: readonly GateKind[] = [DIRECT, HAPROXY, OURS];
const DOCUMENTS = join(import.meta.dirname, '..', 'docs');
/** A load above this is somebody else's. */
const BUSY_LOAD = 0.5;
const FULL_EFFORT = { rounds: 5, seconds: 2, warmUps: 10 };
const QUICK_EFFORT = { rounds: 3, seconds: 1, warmUps: 1 };

const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rows: { type: 'string' },
    gates: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    output: { type: 'string' },
    docs: { type: 'boolean', default: false },
  },
});

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

function write(report: Report): void {
  if (options.output !== undefined) writeReport(report, options.output);
  if (!options.docs) return;
  const charts = join(DOCUMENTS, 'charts');
  const order = ROWS.map(({ id }) => id);
  const merged = mergeWithWritten(report, charts, order);
  writeReport(merged, charts);
  fillDocumentFile(join(DOCUMENTS, 'performance.md'), merged, 'charts');
}

async function main(): Promise<void> {
  const effort = options.quick ? QUICK_EFFORT : FULL_EFFORT;
  const rounds = Number(options.rounds ?? effort.rounds);
  const seconds = Number(options.seconds ?? effort.seconds);
  const rows = select(ROWS, ({ id }) => id, options.rows).filter(
    (row) => !options.quick || options.rows !== undefined || row.isQuick,
  );
  const gates = select(
    options.quick && options.gates === undefined ? QUICK_GATES : GATES,
    ({ name }) => name,
    options.gates,
  );
  const startedAt = new Date();
  const [loadAtStart = 0] = loadavg();
  if (loadAtStart > BUSY_LOAD) say(`this machine is busy (load ${loadAtStart.toFixed(1)}): figures will be noisy`);
  provideTools(say, { peers: gates.map(({ name }) => name) });
  pinToClients();
  const lab = await Lab.open(CORES, say);
  const close = (): void => void lab.close().finally(() => process.exit(130));
  process.once('SIGINT', close).once('SIGTERM', close);
  const measured: MeasuredRow[] = [];
  try {
    const setting = { lab, yard: new GateYard(lab), kinds: gates, ours: OURS };
    const machine = describeMachine();
    process.stdout.write(`${machine.summary}; gate on core ${CORES.gate}, clients and nginx on core ${CORES.client}\n`);
    process.stdout.write(`${rounds} rounds, medians (quartiles)\n\n`);
    const versions = Object.fromEntries(
      gates.filter((kind) => kind.missing() === undefined).map((kind) => [kind.name, kind.version()]),
    );
    for (const row of rows) {
      const result = await measureRow(row, setting, { rounds, seconds, warmUps: effort.warmUps }, say);
      measured.push(result);
      await setting.yard.closeAllBut(gates);
      process.stdout.write(`${formatTable(result)}\n`);
      // After each row: whatever ends a long run leaves what was measured.
      write({
        startedAt: startedAt.toISOString(),
        machine,
        loadAtStart,
        versions,
        cores: CORES,
        rounds,
        seconds,
        rows: measured,
      });
    }
    say(`took ${((Date.now() - startedAt.getTime()) / 1000).toFixed(0)} s`);
  } finally {
    await lab.close();
  }
}

await main();
