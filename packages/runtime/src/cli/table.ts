/** Characters that could move the cursor or change colors: shown as a question mark. */
const CONTROLS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Columns for people, the first row being their titles; programs take `--json`. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const shown = rows.map((row) => row.map((cell) => showText(cell)));
  const widths: number[] = [];
  for (const row of shown) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  return shown
    .map((row) => {
      const cells = row.map((cell, column) => cell.padEnd(widths[column] ?? 0));
      return `${cells.join('  ').trimEnd()}\n`;
    })
    .join('');
}

/** Text from a sandbox for a terminal: nothing in it is obeyed. */
export function showText(text: string): string {
  return text.replace(CONTROLS, '?');
}

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'] as const;

/** A number of bytes for people: `1.5 MB`; a KB is 1024 bytes, as for `--memory`. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** A moment of the API (ISO 8601) without its fraction, in UTC. */
export function formatMoment(moment: string): string {
  return moment.slice(0, 19).replace('T', ' ');
}
