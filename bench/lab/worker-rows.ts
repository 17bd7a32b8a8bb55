import type { ClientResult } from './agent.ts';
import { DaemonScene, SCENE_ORIGIN } from './daemon-scene.ts';
import { readCurl, readH2load } from './measure.ts';
import type { Work } from './measure.ts';
import { GATE_COSTS, RATE } from './metrics.ts';
import type { Metric, Row } from './row.ts';
import { JSON_HEADERS } from './small-rows.ts';

function workers(
  id: string,
  work: string,
  rate: Metric,
  commandFor: (seconds: number) => string,
  read: (result: ClientResult) => Work,
): Row {
  const nameOf = (number: number): string => (number === 0 ? 'no worker' : `--workers ${number}`);
  return {
    id,
    title: `Two named sandboxes of one daemon at work at once, everything on all cores: ${work}`,
    metrics: [rate, ...GATE_COSTS],
    baseline: nameOf(0),
    isQuick: false,
    contenders: (setting) =>
      [0, 1, 2].map((number) => {
        let scene: Promise<DaemonScene> | undefined;
        return {
          name: nameOf(number),
          measure: async (seconds) => {
            const opened = await (scene ??= DaemonScene.open(setting, { workers: number, sandboxes: 2 }));
            return (await opened.measure(commandFor(seconds), read)).figures;
          },
        };
      }),
  };
}

/** Rows about threads that share out the gates of a daemon's sandboxes. */
export const WORKER_ROWS: readonly Row[] = [
  workers(
    'workers-h2',
    'small JSON, HTTP/2, 10 streams each',
    RATE,
    (seconds) => `h2load -t1 -c1 -m10 -D${seconds} ${JSON_HEADERS} ${SCENE_ORIGIN}/json`,
    (result) => readH2load(result),
  ),
  workers(
    'workers-down',
    '64 MiB down each, redacted',
    { ...RATE, title: 'MB/s' },
    (seconds) => {
      const transfers = `-o /dev/null ${SCENE_ORIGIN}/large.txt `.repeat(2 + seconds);
      return `curl -sSk --http1.1 -H "Authorization: Bearer $TOKEN" -w 'transfer %{http_code} %{speed_download}\\n' ${transfers}`;
    },
    readCurl,
  ),
];
