import type { RunningGate } from './gate.ts';
import type { Lab } from './lab.ts';
import { measureClient, readConnections, readH2load, readWrk } from './measure.ts';
import type { Figures } from './measure.ts';
import { COSTS, GATE_COSTS, MEAN, P50, P99, RATE } from './metrics.ts';
import { gateContenders } from './row.ts';
import type { Metric, Row } from './row.ts';
import { CONNECTIONS_PROGRAM } from './setup.ts';

/** What each small request carries, in words for a shell. */
export const JSON_HEADERS = `-H "Authorization: Bearer $TOKEN" -H 'Accept: application/json' -H 'User-Agent: bench/1.0'`;
/** TLS connections that are being made at any moment. */
const CHURN_CONCURRENCY = 16;
/** A client that asked for resumption and got less of it than this was not given it; how much is a figure of its own. */
const MIN_RESUMED_SHARE = 0.1;

/** Small JSON over kept-alive HTTP/1.1 connections, by wrk. */
export async function measureJson(
  lab: Lab,
  gate: RunningGate,
  origin: string,
  seconds: number,
  connections: number,
): Promise<Figures> {
  const load = `-t1 -c${connections} -d${seconds}s -s report.lua`;
  return measureClient(lab, gate, `wrk ${load} ${JSON_HEADERS} ${origin}/json`, readWrk);
}

function smallJson(connections: number, first: Metric): Row {
  return {
    id: `json-${connections}`,
    title: `Small JSON, HTTP/1.1, ${connections} ${connections === 1 ? 'connection' : 'connections'}`,
    metrics: [first, ...[RATE, P50, P99].filter((metric) => metric !== first), ...COSTS],
    baseline: 'HAProxy',
    isQuick: true,
    contenders: (setting) =>
      gateContenders(setting, setting.kinds, 'api', async (lab, gate, origin, seconds) =>
        measureJson(lab, gate, origin, seconds, connections),
      ),
  };
}

function http2Json(streams: number): Row {
  return {
    id: `h2-${streams}`,
    title: `Small JSON, HTTP/2, one connection, ${streams} ${streams === 1 ? 'stream' : 'streams'}`,
    metrics: [RATE, MEAN, ...COSTS],
    baseline: 'HAProxy',
    isQuick: streams > 1,
    contenders: (setting) =>
      gateContenders(setting, setting.kinds, 'api', async (lab, gate, origin, seconds) =>
        measureClient(lab, gate, `h2load -t1 -c1 -m${streams} -D${seconds} ${JSON_HEADERS} ${origin}/json`, readH2load),
      ),
  };
}

/** A command of `clients/connections.c` for an origin. */
export function connectionsCommand(mode: string, origin: string, ...rest: readonly string[]): string {
  const { hostname, port } = new URL(origin);
  return `./${CONNECTIONS_PROGRAM} ${mode} ${hostname} ${port || '443'} "Bearer $TOKEN" ${rest.join(' ')}`;
}

const RESUMED: Metric = { key: 'resumedPercent', title: 'resumed %', better: 'higher' };

function newConnections(id: string, title: string, kind: 'new' | 'resume'): Row {
  return {
    id,
    title,
    metrics: [{ ...RATE, title: 'conn./s' }, P50, P99, RESUMED, ...COSTS],
    baseline: 'HAProxy',
    isQuick: kind === 'new',
    contenders: (setting) =>
      gateContenders(setting, setting.kinds, 'api', async (lab, gate, origin, seconds) =>
        measureClient(
          lab,
          gate,
          connectionsCommand('churn', origin, String(CHURN_CONCURRENCY), String(seconds), kind),
          (result) => {
            const work = readConnections(result);
            // The first ones have nothing to resume.
            const share = work.resumed / Math.max(1, work.count - CHURN_CONCURRENCY);
            if (kind === 'resume' && share < MIN_RESUMED_SHARE) {
              throw new Error(`only ${(share * 100).toFixed(0)} % of the connections were resumed`);
            }
            return { count: work.count, figures: { ...work.figures, resumedPercent: Math.min(1, share) * 100 } };
          },
        ),
      ),
  };
}

const EVENTS: Row = {
  id: 'sse',
  title: 'Server-sent events, one stream, from being sent by the upstream to the client',
  metrics: [
    { key: 'p50Us', title: 'delay p50 µs', better: 'lower' },
    { key: 'p99Us', title: 'p99 µs', better: 'lower' },
    { key: 'firstUs', title: 'first event µs', better: 'lower' },
    ...GATE_COSTS,
  ],
  baseline: 'HAProxy',
  isQuick: true,
  contenders: (setting) =>
    gateContenders(setting, setting.kinds, 'api', async (lab, gate, origin, seconds) =>
      measureClient(lab, gate, connectionsCommand('events', origin, String(seconds)), (result) => {
        const { count, firstUs, figures } = readConnections(result);
        return { count, figures: { ...figures, firstUs } };
      }),
    ),
};

/** Rows of requests that are all about their cost, not their bytes. */
export const SMALL_ROWS: readonly Row[] = [
  smallJson(1, P50),
  smallJson(16, RATE),
  smallJson(64, P99),
  http2Json(1),
  http2Json(10),
  newConnections('tls-new', 'New TLS connections, a request each, without resumption', 'new'),
  newConnections('tls-resumed', 'New TLS connections, a request each, resumed', 'resume'),
  EVENTS,
];
