import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MeasuredRow } from './campaign.ts';
import { barsOf, formatBarChart } from './chart.ts';
import type { Machine } from './machine.ts';
import { formatMarkdownTable } from './table.ts';

const BEGIN = '<!-- bench:begin -->';
const END = '<!-- bench:end -->';
const REPORT_FILE = 'bench.json';

/** A whole run of the benchmark, as its JSON file has it. */
export interface Report {
  readonly startedAt: string;
  readonly machine: Machine;
  /** Processes that ran or wanted to in the minute before: a machine with nothing else to do has close to 0. */
  readonly loadAtStart: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly cores: { readonly gate: number; readonly client: number };
  readonly rounds: number;
  readonly seconds: number;
  readonly rows: readonly RecordedRow[];
}

/** A row, with the run that it is from where that is not the report's own. All of its contenders were measured in that one run. */
export interface RecordedRow extends MeasuredRow {
  readonly from?: Pick<Report, 'startedAt' | 'rounds' | 'seconds'>;
}

/**
 * The report with those rows of an earlier one that it did not measure itself.
 *
 * @param order the ids of all rows there are, as they are to stand; others are left out.
 */
export function mergeReports(earlier: Report, report: Report, order: readonly string[]): Report {
  const { startedAt, rounds, seconds } = earlier;
  const rows = order.flatMap((id) => {
    const measured = report.rows.find((row) => row.id === id);
    if (measured !== undefined) return [measured];
    const kept = earlier.rows.find((row) => row.id === id);
    return kept === undefined ? [] : [{ from: { startedAt, rounds, seconds }, ...kept }];
  });
  return { ...report, versions: { ...earlier.versions, ...report.versions }, rows };
}

/** {@link mergeReports} with the report that {@link writeReport} left in a directory, if there is one. */
export function mergeWithWritten(report: Report, directory: string, order: readonly string[]): Report {
  const file = join(directory, REPORT_FILE);
  return existsSync(file) ? mergeReports(JSON.parse(readFileSync(file, 'utf8')) as Report, report, order) : report;
}

/** Writes `bench.json` and a chart for each row into a directory. */
export function writeReport(report: Report, directory: string): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, REPORT_FILE), `${JSON.stringify(report, null, 1)}\n`);
  for (const row of report.rows) {
    const file = join(directory, `${row.id}.svg`);
    const bars = barsOf(row, (gate) => !(gate in report.versions) || gate === 'Sallyport');
    const [first] = row.metrics;
    if (bars.length === 0 || first === undefined) {
      rmSync(file, { force: true });
      continue;
    }
    const wish = first.better === 'higher' ? 'more is better' : 'less is better';
    writeFileSync(file, formatBarChart(row.title, `${first.title}, median and quartiles; ${wish}`, bars));
  }
}

/**
 * The document with what stands between its two marks replaced by the report's tables and charts.
 *
 * @param charts where the charts are, as the document's links say it.
 * @throws Error where the marks are missing.
 */
export function fillDocument(text: string, report: Report, charts: string): string {
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`The document has no ${BEGIN} and ${END}.`);
  const versions = Object.entries(report.versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ');
  const parts = [
    `Measured on ${report.startedAt.slice(0, 10)}: ${report.machine.summary}. ${versions}. ` +
      `${report.rounds} rounds of ${report.seconds} s; medians, in brackets the quartiles; ratios are medians of the rounds' ratios.`,
    ...report.rows.map(
      (row) => `${formatMarkdownTable(row)}\n${originOf(row)}![${row.title}](${charts}/${row.id}.svg)`,
    ),
  ];
  return `${text.slice(0, begin)}${BEGIN}\n\n${parts.join('\n\n')}\n\n${text.slice(end)}`;
}

function originOf({ from }: RecordedRow): string {
  if (from === undefined) return '';
  return `Of a run of ${from.startedAt.slice(0, 10)}, ${from.startedAt.slice(11, 16)} UTC: ${from.rounds} rounds of ${from.seconds} s.\n\n`;
}

/** {@link fillDocument} for a file. */
export function fillDocumentFile(file: string, report: Report, charts: string): void {
  writeFileSync(file, fillDocument(readFileSync(file, 'utf8'), report, charts));
}
