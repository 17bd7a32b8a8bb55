import type { MeasuredRow } from './campaign.ts';
import { summarize } from './statistics.ts';
import { formatFigure } from './table.ts';

const WIDTH = 720;
const LABEL_WIDTH = 190;
const FIGURE_WIDTH = 150;
const TITLE_HEIGHT = 48;
const BAR_HEIGHT = 18;
const BAR_DISTANCE = 28;
const OURS_COLOR = '#1f6feb';
const OTHER_COLOR = '#8c959f';

/** One bar: a median with its quartiles. */
export interface Bar {
  readonly label: string;
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly isOurs: boolean;
}

/** The bars of a row's first metric; contenders without figures have none. */
export function barsOf(row: MeasuredRow, isOurs: (gate: string) => boolean): readonly Bar[] {
  const key = row.metrics[0]?.key ?? '';
  return row.results.flatMap(({ gate, rounds }) => {
    const values = rounds.map((figures) => figures[key]).filter((value) => value !== undefined);
    return values.length === 0 ? [] : [{ label: gate, isOurs: isOurs(gate), ...summarize(values) }];
  });
}

/** A chart of horizontal bars from zero, with the quartiles as a line across each end: a whole SVG document. */
export function formatBarChart(title: string, unit: string, bars: readonly Bar[]): string {
  const height = TITLE_HEIGHT + bars.length * BAR_DISTANCE + 8;
  const room = WIDTH - LABEL_WIDTH - FIGURE_WIDTH;
  const largest = Math.max(...bars.map(({ high }) => high), Number.MIN_VALUE);
  const across = (value: number): string => (LABEL_WIDTH + (Math.max(0, value) / largest) * room).toFixed(1);
  const lines = bars.flatMap(({ label, median, low, high, isOurs }, index) => {
    const top = TITLE_HEIGHT + index * BAR_DISTANCE;
    const middle = top + BAR_HEIGHT / 2;
    const width = (Number(across(median)) - LABEL_WIDTH).toFixed(1);
    return [
      `<text x="${LABEL_WIDTH - 8}" y="${middle + 4}" text-anchor="end">${escapeXml(label)}</text>`,
      `<rect x="${LABEL_WIDTH}" y="${top}" width="${width}" height="${BAR_HEIGHT}" fill="${isOurs ? OURS_COLOR : OTHER_COLOR}"/>`,
      `<path d="M${across(low)} ${middle}H${across(high)}" stroke="#24292f" stroke-width="2"/>`,
      `<text x="${Number(across(Math.max(median, high))) + 8}" y="${middle + 4}">${escapeXml(formatFigure(median))}</text>`,
    ];
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="13" fill="#24292f">
<rect width="${WIDTH}" height="${height}" fill="#ffffff"/>
<text x="8" y="20" font-size="15" font-weight="bold">${escapeXml(title)}</text>
<text x="8" y="38" fill="#57606a">${escapeXml(unit)}</text>
${lines.join('\n')}
</svg>
`;
}

/** Text as it may stand in XML, in quotes as well. */
export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
