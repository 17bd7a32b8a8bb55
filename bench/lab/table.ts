import type { MeasuredRow, RowResult } from './campaign.ts';
import { ratios, summarize } from './statistics.ts';

/** Four significant digits at most, thousands apart: a benchmark knows no more. */
export function formatFigure(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function valuesOf(result: RowResult, key: string): readonly (number | undefined)[] {
  return result.rounds.map((figures) => figures[key]);
}

function known(values: readonly (number | undefined)[]): readonly number[] {
  return values.filter((value) => value !== undefined);
}

/** The cells of one row's table, a head first: medians, the first metric with its quartiles and its ratio to the baseline. */
export function tableCells(row: MeasuredRow): readonly (readonly string[])[] {
  const metrics = row.metrics.filter(({ key }) =>
    row.results.some((result) => known(valuesOf(result, key)).length > 0),
  );
  const [first] = metrics;
  const { baseline } = row;
  const base = row.results.find(({ gate }) => gate === baseline);
  const hasRatio = first !== undefined && base !== undefined && base.rounds.length > 0;
  const head = ['gate', ...metrics.map(({ title }) => title)];
  if (hasRatio) head.splice(2, 0, `× ${baseline}`);
  const lines = row.results.map((result) => {
    if (result.missing !== undefined) return [result.gate, `not measured: ${firstLine(result.missing)}`];
    const cells = metrics.map(({ key }, index) => {
      const { median, low, high } = summarize(known(valuesOf(result, key)));
      const spread = index === 0 ? ` (${formatFigure(low)}–${formatFigure(high)})` : '';
      return Number.isFinite(median) ? formatFigure(median) + spread : '';
    });
    if (hasRatio) {
      const { median, low, high } = summarize(ratios(valuesOf(result, first.key), valuesOf(base, first.key)));
      cells.splice(1, 0, `${median.toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`);
    }
    return [result.gate, ...cells];
  });
  return [head, ...lines];
}

function firstLine(text: string): string {
  return (text.split('\n')[0] ?? '').slice(0, 120);
}

/** A row's table for a terminal. */
export function formatTable(row: MeasuredRow): string {
  const cells = tableCells(row);
  const columns = cells[0]?.length ?? 0;
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...cells.filter((line) => line.length === columns).map((line) => line[column]?.length ?? 0)),
  );
  const gateWidth = Math.max(...cells.map(([gate = '']) => gate.length));
  const lines = cells.map(([gate = '', ...rest]) =>
    [gate.padEnd(gateWidth), ...rest.map((cell, index) => cell.padStart(widths[index + 1] ?? 0))].join('  ').trimEnd(),
  );
  return `${row.title}  [${row.id}]\n${lines.map((line) => `  ${line}\n`).join('')}`;
}

/** A row's table in Markdown. */
export function formatMarkdownTable(row: MeasuredRow): string {
  const [head = [], ...lines] = tableCells(row);
  const write = (cells: readonly string[]): string =>
    `| ${[...cells, ...Array.from({ length: Math.max(0, head.length - cells.length) }, () => '')]
      .map((cell) => cell.replaceAll('|', '\\|'))
      .join(' | ')} |\n`;
  const rule = `|${head.map((_, index) => (index === 0 ? ' --- |' : ' ---: |')).join('')}\n`;
  return `### ${row.title}\n\n${write(head)}${rule}${lines.map(write).join('')}`;
}
