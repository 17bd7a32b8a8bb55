import type { GateKind, RunningGate } from './gate.ts';
import type { Lab, Service } from './lab.ts';
import { measureClient, readH2load, readWrk } from './measure.ts';
import type { Figures } from './measure.ts';
import type { Better } from './statistics.ts';

/** One figure that a row reports. */
export interface Metric {
  readonly key: string;
  readonly title: string;
  readonly better: Better;
}

/** One piece of work that gates are compared by. */
export interface Row {
  readonly id: string;
  readonly title: string;
  /** The first one is what ratios are of. */
  readonly metrics: readonly Metric[];
  /** Whether `--quick` measures it. */
  readonly isQuick: boolean;
  readonly service: Service;
  /** Does the work once, for about as long as it is told to. @throws Error where anything failed. */
  measure(lab: Lab, gate: RunningGate, origin: string, seconds: number): Promise<Figures>;
  /** Contenders of this row alone, in place of our gate as it is in the others. */
  readonly variants?: readonly GateKind[];
  /** Of the other gates, those that can do it. Default all that offer the service. */
  readonly peers?: readonly string[];
}

const RATE: Metric = { key: 'rate', title: 'req/s', better: 'higher' };
const P50: Metric = { key: 'p50Us', title: 'p50 µs', better: 'lower' };
const P99: Metric = { key: 'p99Us', title: 'p99 µs', better: 'lower' };
const MEAN: Metric = { key: 'meanUs', title: 'mean µs', better: 'lower' };
const COSTS: readonly Metric[] = [
  { key: 'gateCpuUs', title: 'gate CPU µs', better: 'lower' },
  { key: 'peakMb', title: 'peak MB', better: 'lower' },
  { key: 'clientCpuUs', title: 'client CPU µs', better: 'lower' },
  { key: 'upstreamCpuUs', title: 'nginx CPU µs', better: 'lower' },
];

const AUTHORIZATION = `-H "Authorization: Bearer $TOKEN" -H 'Accept: application/json' -H 'User-Agent: bench/1.0'`;

function smallJson(connections: number, first: Metric, isQuick = true): Row {
  return {
    id: `json-${connections}`,
    title: `Small JSON, HTTP/1.1, ${connections} ${connections === 1 ? 'connection' : 'connections'}`,
    metrics: [first, ...[RATE, P50, P99].filter((metric) => metric !== first), ...COSTS],
    isQuick,
    service: 'api',
    measure: async (lab, gate, origin, seconds) =>
      measureClient(
        lab,
        gate,
        `wrk -t1 -c${connections} -d${seconds}s -s report.lua ${AUTHORIZATION} ${origin}/json`,
        readWrk,
      ),
  };
}

function http2Json(streams: number): Row {
  return {
    id: `h2-${streams}`,
    title: `Small JSON, HTTP/2, one connection, ${streams} ${streams === 1 ? 'stream' : 'streams'}`,
    metrics: [RATE, MEAN, ...COSTS],
    isQuick: streams > 1,
    service: 'api',
    measure: async (lab, gate, origin, seconds) =>
      measureClient(lab, gate, `h2load -t1 -c1 -m${streams} -D${seconds} ${AUTHORIZATION} ${origin}/json`, readH2load),
  };
}

/** Every row, in the order in which it is measured. */
export const ROWS: readonly Row[] = [
  smallJson(1, P50),
  smallJson(16, RATE),
  smallJson(64, P99),
  http2Json(1),
  http2Json(10),
];
