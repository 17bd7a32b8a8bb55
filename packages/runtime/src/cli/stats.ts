import { SallyportError, type SandboxInfo, type SandboxStats } from '@sallyport/sdk';
import type { Command } from 'commander';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import { connect, sandboxPath, writeOut } from './daemon-connection.ts';
import { formatBytes, formatTable } from './table.ts';

/** Between two looks with `--follow`, in ms. */
const INTERVAL_MS = 1_000;

/** What one sandbox uses, with its name. */
type NamedStats = { readonly name: string } & SandboxStats;

/** Adds `sallyport stats`. */
export function addStatsCommand(program: Command): void {
  program
    .command('stats')
    .summary('tell what sandboxes use')
    .description('Tell what sandboxes use: memory, processor time, processes, and what went through their gates.')
    .argument('[name...]', 'the sandboxes (default: all that run)')
    .option('--json', 'print a JSON array; with --follow one on each line')
    .option('-f, --follow', 'look again each second')
    .action(async (names: readonly string[], flags: { readonly json?: boolean; readonly follow?: boolean }) => {
      const client = await connect();
      let before: ReadonlyMap<string, NamedStats> = new Map();
      for (;;) {
        const stats = await readStats(client, names);
        const clear = flags.follow === true && process.stdout.isTTY ? '\x1b[H\x1b[2J' : '';
        const text = flags.json === true ? `${JSON.stringify(stats)}\n` : `${clear}${describe(stats, before)}`;
        await writeOut(process.stdout, text);
        if (flags.follow !== true) return;
        before = new Map(stats.map((each) => [each.name, each]));
        await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
      }
    });
}

async function readStats(client: DaemonClient, names: readonly string[]): Promise<NamedStats[]> {
  const isChosen = names.length > 0;
  const wanted = isChosen ? names : await runningNames(client);
  const stats = await Promise.all(
    wanted.map(async (name) => {
      try {
        const found = await client.ask<SandboxStats>({ method: 'GET', path: `${sandboxPath(name)}/stats` });
        return [{ name, ...found }];
      } catch (error) {
        // It has ended since it was listed.
        if (!isChosen && error instanceof SallyportError && error.code.startsWith('SANDBOX_NOT_')) return [];
        throw error;
      }
    }),
  );
  return stats.flat();
}

async function runningNames(client: DaemonClient): Promise<string[]> {
  const { sandboxes } = await client.ask<{ sandboxes: SandboxInfo[] }>({ method: 'GET', path: '/v1/sandboxes' });
  return sandboxes.filter(({ state }) => state === 'running').map(({ name }) => name);
}

function describe(stats: readonly NamedStats[], before: ReadonlyMap<string, NamedStats>): string {
  return formatTable([
    ['NAME', 'MEMORY', 'LIMIT', before.size > 0 ? 'CPU' : 'CPU TIME', 'PROCESSES', 'CONNECTIONS', 'HOSTS'],
    ...stats.map((each) => [
      each.name,
      each.memoryBytes === null ? '-' : formatBytes(each.memoryBytes),
      each.memoryLimitBytes === null ? 'none' : formatBytes(each.memoryLimitBytes),
      before.size > 0 ? formatLoad(each, before.get(each.name)) : formatTime(each.cpuMs),
      each.processes === null ? '-' : String(each.processes),
      String(each.connections),
      String(each.names),
    ]),
  ]);
}

function formatTime(milliseconds: number | null): string {
  return milliseconds === null ? '-' : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** Of one processor, between two looks. */
function formatLoad(present: NamedStats, former: NamedStats | undefined): string {
  if (former === undefined || present.cpuMs === null || former.cpuMs === null) return '-';
  const elapsedMs = Date.parse(present.time) - Date.parse(former.time);
  // The clock may have been set meanwhile.
  if (elapsedMs <= 0) return '-';
  return `${Math.max(0, ((present.cpuMs - former.cpuMs) / elapsedMs) * 100).toFixed(0)} %`;
}
