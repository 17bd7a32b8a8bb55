import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CACHE } from '../harness/client-cache.ts';

/** One line of the table. */
export interface TableLine {
  readonly client: string;
  readonly version: string;
  readonly protocol: string;
  readonly placeholder: string;
  readonly streaming: string;
  readonly ca: string;
  readonly note: string;
}

/** Where the table lies in the checkout. */
export const TABLE_FILE = fileURLToPath(new URL('../../docs/clients.md', import.meta.url));

const RESULTS_FILE = join(CACHE, 'results.json');

const INTRODUCTION = `# Clients

What real clients do in a sandbox, each run by \`sallyport run\` against an upstream on HTTP/1.1 and HTTP/2.
\`npm run test:clients\` runs them, installs what they need into a cache outside of the checkout, and holds this table to what it finds;
\`npm run test:clients -- --write\` writes the table. A row that could not be run there keeps its place and says why.

- **Placeholder**: the request carried it, the upstream got the value, and the value that the upstream sent back arrived as the placeholder.
- **Streaming**: the client saw the first piece of a response while the upstream held the second back.
- **CA**: it trusts the gate's certificates without a flag, by the files and variables that a sandbox has.

| Client | Version | Protocol | Placeholder | Streaming | CA | Note |
|---|---|---|---|---|---|---|
`;

/** Keeps what a run found, for {@link writeTable}. */
export function keepResults(lines: readonly TableLine[]): void {
  writeFileSync(RESULTS_FILE, JSON.stringify(lines));
}

/** Writes the table from the last run's results. */
export function writeTable(): void {
  const lines = JSON.parse(readFileSync(RESULTS_FILE, 'utf8')) as TableLine[];
  const rows = lines.map((line) => `| ${cells(line).join(' | ')} |\n`).join('');
  writeFileSync(TABLE_FILE, INTRODUCTION + rows);
}

/** Reads the table of the checkout; empty when there is none. */
export function readTable(): TableLine[] {
  if (!existsSync(TABLE_FILE)) return [];
  const rows = readFileSync(TABLE_FILE, 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .slice(1);
  return rows.map((row) => {
    const [client = '', version = '', protocol = '', placeholder = '', streaming = '', ca = '', note = ''] = row
      .slice(2, -2)
      .split(' | ');
    return { client, version, protocol, placeholder, streaming, ca, note };
  });
}

function cells({ client, version, protocol, placeholder, streaming, ca, note }: TableLine): string[] {
  return [client, version, protocol, placeholder, streaming, ca, note].map((text) => text.replaceAll('|', '\\|'));
}
