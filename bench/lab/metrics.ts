import type { Metric } from './row.ts';

/** Requests in a second. */
export const RATE: Metric = { key: 'rate', title: 'req/s', better: 'higher' };
/** Latency as half of the requests have it. */
export const P50: Metric = { key: 'p50Us', title: 'p50 µs', better: 'lower' };
/** Latency that one of a hundred requests exceeds. */
export const P99: Metric = { key: 'p99Us', title: 'p99 µs', better: 'lower' };
/** Latency where the client keeps no percentiles. */
export const MEAN: Metric = { key: 'meanUs', title: 'mean µs', better: 'lower' };
/** The gate's own processor time for a unit of work, and its peak memory. */
export const GATE_COSTS: readonly Metric[] = [
  { key: 'gateCpuUs', title: 'gate CPU µs', better: 'lower' },
  { key: 'peakMb', title: 'peak MB', better: 'lower' },
];
/** What work costs everybody. */
export const COSTS: readonly Metric[] = [
  ...GATE_COSTS,
  { key: 'clientCpuUs', title: 'client CPU µs', better: 'lower' },
  { key: 'upstreamCpuUs', title: 'nginx CPU µs', better: 'lower' },
];
