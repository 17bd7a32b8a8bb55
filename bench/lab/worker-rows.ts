import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { DaemonStatus } from '@sallyport/sdk';
import { Agent, agentProgram } from './agent.ts';
import type { ClientResult } from './agent.ts';
import { CREDENTIAL, HOSTS } from './lab.ts';
import type { Lab } from './lab.ts';
import { readCurl, readH2load } from './measure.ts';
import type { Figures, Work } from './measure.ts';
import { GATE_COSTS, RATE } from './metrics.ts';
import { cpuMsOf, peakBytesOf, resetPeaks } from './processes.ts';
import type { Metric, Row } from './row.ts';
import { JSON_HEADERS } from './small-rows.ts';

const LAUNCHER = join(import.meta.dirname, '..', '..', 'sallyport');
const ROOM_DIRECTORY = '/bench';
const SANDBOXES = ['first', 'second'];
const ORIGIN = `https://${HOSTS.api}`;

/** A daemon on all cores, with as many threads for gates, and clients in two of its sandboxes. */
interface Scene {
  readonly daemonPid: number;
  readonly clients: readonly Agent[];
}

async function openScene(lab: Lab, workers: number): Promise<Scene> {
  const home = lab.path(`home-${workers}`);
  mkdirSync(home, { recursive: true });
  const env = { PATH: process.env['PATH'] ?? '', HOME: home, SALLYPORT_WARM: '0', TOKEN: CREDENTIAL };
  // The benchmark itself keeps to the clients' core; what it starts here shall not.
  const everywhere = ['-c', `0-${lab.lastCore}`, LAUNCHER];
  const run = (...args: readonly string[]): string =>
    execFileSync('taskset', [...everywhere, ...args], { cwd: home, env, encoding: 'utf8' });
  run('daemon', 'start', '--workers', String(workers));
  lab.onClose(async () => void run('daemon', 'stop', '--sandboxes'));
  const { pid } = JSON.parse(run('daemon', 'status', '--json')) as DaemonStatus;
  const clients = SANDBOXES.map((name) => {
    const mount = ['-v', `${lab.clientDirectory}:${ROOM_DIRECTORY}:ro`, '-w', ROOM_DIRECTORY];
    const network = ['--upstream-ca', lab.caFile, '--resolve', `${HOSTS.api}:443:127.0.0.1:${lab.upstreamPort}`];
    run('create', '--name', name, '--no-workspace', ...mount, ...network, '--secret', `TOKEN@${HOSTS.api}`);
    const argv = ['exec', '-i', name, '--', 'sh', '-c', agentProgram(`0-${lab.lastCore}`)];
    const client = new Agent(spawn('taskset', [...everywhere, ...argv], { cwd: home, stdio: 'pipe', env }), name);
    lab.onClose(async () => client.close());
    return client;
  });
  await Promise.all(clients.map(async (client) => client.ready()));
  return { daemonPid: pid, clients };
}

/** All clients at once: what they get done together, and what that costs the daemon. */
async function measureTogether(
  { daemonPid, clients }: Scene,
  command: string,
  read: (result: ClientResult) => Work,
): Promise<Figures> {
  resetPeaks([daemonPid]);
  const before = cpuMsOf([daemonPid]);
  const works = await Promise.all(clients.map(async (client) => read(await client.run(command))));
  const count = works.reduce((sum, work) => sum + work.count, 0);
  return {
    rate: works.reduce((sum, { figures }) => sum + (figures['rate'] ?? 0), 0),
    gateCpuUs: ((cpuMsOf([daemonPid]) - before) * 1000) / count,
    peakMb: peakBytesOf([daemonPid]) / 1e6,
  };
}

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
    contenders: ({ lab }) =>
      [0, 1, 2].map((number) => {
        let scene: Promise<Scene> | undefined;
        return {
          name: nameOf(number),
          measure: async (seconds) =>
            measureTogether(await (scene ??= openScene(lab, number)), commandFor(seconds), read),
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
    (seconds) => `h2load -t1 -c1 -m10 -D${seconds} ${JSON_HEADERS} ${ORIGIN}/json`,
    readH2load,
  ),
  workers(
    'workers-down',
    '64 MiB down each, redacted',
    { ...RATE, title: 'MB/s' },
    (seconds) => {
      const transfers = `-o /dev/null ${ORIGIN}/large.txt `.repeat(2 + seconds);
      return `curl -sSk --http1.1 -H "Authorization: Bearer $TOKEN" -w 'transfer %{http_code} %{speed_download}\\n' ${transfers}`;
    },
    readCurl,
  ),
];
