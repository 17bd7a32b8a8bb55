import type { Verdict } from './verdict.ts';

const HEADINGS = ['client', 'environment held', 'upstream received', 'echo came back as', 'unlisted host got'] as const;

/** Draws the verdicts as a table that fits 120 columns; a wrong cell is marked `✘`. */
export function drawTable(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(({ client, cells, faults }) => [
    `${faults.length === 0 ? '' : '✘ '}${client}`,
    ...cells.map(({ text, fault }) => `${fault === undefined ? '✔' : '✘'} ${text}`),
  ]);
  const widths = HEADINGS.map((heading, column) =>
    Math.max(heading.length, ...rows.map((row) => [...(row[column] ?? '')].length)),
  );
  const rule = (left: string, middle: string, right: string): string =>
    left + widths.map((width) => '─'.repeat(width + 2)).join(middle) + right;
  const line = (row: readonly string[]): string =>
    `│${row.map((text, column) => ` ${text}${' '.repeat(widths[column]! - [...text].length)} `).join('│')}│`;
  return [rule('┌', '┬', '┐'), line(HEADINGS), rule('├', '┼', '┤'), ...rows.map(line), rule('└', '┴', '┘')].join('\n');
}
