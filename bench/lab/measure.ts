import type { ClientResult } from './agent.ts';
import type { RunningGate } from './gate.ts';
import type { Lab } from './lab.ts';
import { quantile } from './statistics.ts';
import { cpuMsOf, peakBytesOf, resetPeaks } from './processes.ts';

/** Figures by metric, of one contender in one round. */
export type Figures = Readonly<Record<string, number>>;

/** Megabytes as tables count them. */
export const BYTES_PER_MB = 1_000_000;

/** What a client found out: how much was done, and figures of its own. */
export interface Work {
  /** Requests, connections or whatever costs are reported for. */
  readonly count: number;
  readonly figures: Figures;
}

/**
 * Lets a client work and adds what it cost: processor time of the gate, the client and the upstream for each unit of work, in µs, and the
 * gate's peak memory, in MB.
 *
 * @throws Error where the client fails, or did nothing.
 */
export async function measureClient(
  lab: Lab,
  gate: RunningGate,
  command: string,
  read: (result: ClientResult) => Work,
): Promise<Figures> {
  const pids = gate.processes();
  resetPeaks(pids);
  const gateBefore = cpuMsOf(pids);
  const upstreamBefore = cpuMsOf(lab.upstreamPids());
  const result = await gate.client.run(`${gate.prefix ?? ''}${command}`);
  const gateMs = cpuMsOf(pids) - gateBefore;
  const upstreamMs = cpuMsOf(lab.upstreamPids()) - upstreamBefore;
  const { count, figures } = read(result);
  if (!(count > 0)) throw new Error(`nothing was done: ${command}: ${result.output.trim()}`);
  return {
    ...figures,
    ...(pids.length === 0 ? {} : { gateCpuUs: (gateMs * 1000) / count, peakMb: peakBytesOf(pids) / BYTES_PER_MB }),
    clientCpuUs: (result.cpuMs * 1000) / count,
    upstreamCpuUs: (upstreamMs * 1000) / count,
  };
}

/** Reads what `clients/report.lua` prints. @throws Error where requests failed, or there were none. */
export function readWrk({ output }: ClientResult): Work {
  const line = output.split('\n').findLast((each) => each.startsWith('{'));
  const report = JSON.parse(line ?? '{}') as Record<string, number>;
  const { count = 0, durationUs = 1, failures = 0, p50Us = 0, p99Us = 0 } = report;
  if (line === undefined || failures > 0) throw new Error(`${failures} of ${count} requests failed`);
  if (count === 0) throw new Error('no request was answered in time');
  return { count, figures: { rate: count / (durationUs / 1e6), p50Us, p99Us } };
}

/** Reads the end of h2load's report. @throws Error where requests failed, or another protocol was spoken. */
export function readH2load({ output }: ClientResult, protocol: 'h2' | 'http/1.1' = 'h2'): Work {
  const rate = Number(/finished in [^,]+, ([\d.]+) req\/s/.exec(output)?.[1]);
  const [, succeeded = '0', failed = '0'] = /(\d+) succeeded, (\d+) failed/.exec(output) ?? [];
  const allFine = / 0 3xx, 0 4xx, 0 5xx$/m.test(output);
  if (Number(failed) > 0 || !allFine) throw new Error(`${failed} requests failed, or not all were answered with 200`);
  if (!output.split('\n').includes(`Application protocol: ${protocol}`)) throw new Error(`${protocol} was not spoken`);
  return { count: Number(succeeded), figures: { rate, meanUs: readH2Duration(output) } };
}

function readH2Duration(output: string): number {
  const [, figure, unit = ''] = /^time for request: +\S+ +\S+ +([\d.]+)(us|ms|s) /m.exec(output) ?? [];
  const usPer: Readonly<Record<string, number>> = { us: 1, ms: 1000, s: 1_000_000 };
  return Number(figure) * (usPer[unit] ?? Number.NaN);
}

/** Reads what `clients/connections.c` prints. @throws Error where connections failed. */
export function readConnections({
  output,
}: ClientResult): Work & { readonly resumed: number; readonly firstUs: number } {
  const line = output.split('\n').findLast((each) => each.startsWith('{'));
  const report = JSON.parse(line ?? '{}') as Record<string, number>;
  const { count = 0, durationUs = 0, failures = 0, resumed = 0, p50Us = 0, p99Us = 0, firstUs = 0 } = report;
  if (failures > 0 || count === 0) throw new Error(`${failures} failures, ${count} connections\n${output.trim()}`);
  return { count, resumed, firstUs, figures: { rate: count / (durationUs / 1e6), p50Us, p99Us } };
}

const TRANSFERRED = /^transfer (\d+) ([\d.]+)$/;
const MIB_A_TRANSFER = 64;

/**
 * Reads transfers of one curl, lines of `transfer STATUS BYTES-A-SECOND`; costs are for each MiB. The first of them made the connection and its rate does not count.
 *
 * @throws Error where one failed.
 */
export function readCurl({ output }: ClientResult): Work {
  const found = output.split('\n').flatMap((line) => {
    const [, status, speed] = TRANSFERRED.exec(line) ?? [];
    return status === undefined ? [] : [{ isFine: status.startsWith('2'), speed: Number(speed) }];
  });
  if (found.length < 2 || found.some(({ isFine }) => !isFine)) throw new Error(`transfers failed\n${output.trim()}`);
  const speeds = found.slice(1).map(({ speed }) => speed / BYTES_PER_MB);
  return { count: found.length * MIB_A_TRANSFER, figures: { rate: quantile(speeds, 0.5) } };
}
