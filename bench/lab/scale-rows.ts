import { spawnSync } from 'node:child_process';
import { freemem } from 'node:os';
import type { Agent } from './agent.ts';
import { DaemonScene, SCENE_ORIGIN } from './daemon-scene.ts';
import { DIRECT } from './direct.ts';
import type { GateKind } from './gate.ts';
import { sleep } from './lab.ts';
import type { Lab } from './lab.ts';
import { readConnections, readH2load, measureClient } from './measure.ts';
import type { Figures } from './measure.ts';
import { COSTS, GATE_COSTS, MEAN, P50, P99, RATE } from './metrics.ts';
import { childrenCpuMs, residentBytesOf } from './processes.ts';
import { gateContenders } from './row.ts';
import { openRoom } from './room.ts';
import type { Contender, Row, Setting } from './row.ts';
import { connectionsCommand, JSON_HEADERS, measureJson } from './small-rows.ts';
import { CONNECTIONS_PROGRAM } from './setup.ts';
import { quantile } from './statistics.ts';

/** Work before connections are opened, so that memory which a program takes once, a young generation say, is not counted as theirs. */
const WARM_SECONDS = 3;
const WARM_CONNECTIONS = 16;
/** Time for a gate's memory to settle. */
const SETTLE_MS = 1500;
/** Connections of all sandboxes together. */
const TOTAL_CONNECTIONS = 100;
/** So that starting a hundred clients on one core is a small part of it. */
const MIN_SANDBOXES_SECONDS = 5;
/** Until a hundred clients have been told what to do. */
const START_DELAY_SECONDS = 1;
/** Most of it for the program on the host that follows a sandbox's client; a machine with less for all of them leaves the row out. */
const BYTES_PER_SANDBOX = 100 * 1024 * 1024;
const ECHO_PORT = 7777;

/** Memory of idle connections: a gate of its own each time, because memory that was used once stays with its process. */
function idle(count: number): Row {
  return {
    id: `idle-${count}`,
    title: `${count.toLocaleString('en-US')} idle TLS connections, intercepted, after a request each`,
    metrics: [
      { key: 'eachKb', title: 'KB each', better: 'lower' },
      { key: 'residentMb', title: 'resident MB', better: 'lower' },
      { key: 'beforeMb', title: 'before MB', better: 'lower' },
    ],
    baseline: 'HAProxy',
    isQuick: false,
    maxRounds: 2,
    warmsUp: false,
    contenders: ({ lab, kinds }) =>
      kinds
        .filter((kind) => kind !== DIRECT)
        .map((kind) => ({ name: kind.name, measure: async () => measureIdle(lab, kind, count) })),
  };
}

async function measureIdle(lab: Lab, kind: GateKind, count: number): Promise<Figures> {
  const missing = kind.missing();
  if (missing !== undefined) throw new Error(missing);
  const gate = await kind.open(lab);
  try {
    const origin = gate.origin('api') ?? '';
    await measureJson(lab, gate, origin, WARM_SECONDS, WARM_CONNECTIONS);
    await sleep(SETTLE_MS);
    const before = residentBytesOf(gate.processes());
    const hold = connectionsCommand('hold', origin, String(count));
    const { output } = await gate.client.run(
      `${gate.prefix ?? ''}${hold} >"$SCRATCH/hold" 2>&1 & HELD=$!; n=0; ` +
        `until grep -q '^{' "$SCRATCH/hold" || [ $n -gt 900 ]; do sleep 0.1; n=$((n + 1)); done; cat "$SCRATCH/hold"`,
    );
    try {
      readConnections({ output, cpuMs: 0 });
      await sleep(SETTLE_MS);
      const after = residentBytesOf(gate.processes());
      return { eachKb: (after - before) / 1000 / count, residentMb: after / 1e6, beforeMb: before / 1e6 };
    } finally {
      await gate.client.run('kill $HELD; wait $HELD; true');
    }
  } finally {
    await gate.close();
  }
}

/** Variants of ours that differ in one number, each held against the first. */
function growth(id: 'secrets' | 'rules', title: string, unit: string, numbers: readonly number[]): Row {
  const nameOf = (number: number): string => `${number.toLocaleString('en-US')} ${unit}`;
  const variants = (setting: Setting): readonly GateKind[] =>
    numbers.flatMap((number) => setting.ours.variant?.(nameOf(number), { [id]: number }) ?? []);
  return {
    id,
    title,
    metrics: [RATE, P50, P99, ...COSTS],
    baseline: nameOf(numbers[0] ?? 0),
    isQuick: false,
    contenders: (setting) =>
      gateContenders(setting, variants(setting), 'api', async (lab, gate, origin, seconds) =>
        measureJson(lab, gate, origin, seconds, 16),
      ),
  };
}

/** Sandboxes of one daemon that work at once, as many connections in all; a daemon of its own for each number, so that its memory is that of so many. */
function sandboxes(numbers: readonly number[]): Row {
  const nameOf = (number: number): string => (number === 1 ? '1 sandbox' : `${number} sandboxes`);
  return {
    id: 'sandboxes',
    title: `Small JSON, ${TOTAL_CONNECTIONS} connections in all, shared out among all sandboxes of a daemon without workers`,
    metrics: [RATE, MEAN, ...GATE_COSTS],
    baseline: nameOf(1),
    isQuick: false,
    maxRounds: 3,
    contenders: (setting) =>
      numbers.map((number): Contender => {
        let scene: Promise<DaemonScene> | undefined;
        return {
          name: nameOf(number),
          measure: async (seconds) =>
            measureSandboxes(await (scene ??= openSandboxes(setting, number)), number, seconds),
        };
      }),
  };
}

async function openSandboxes(setting: Setting, number: number): Promise<DaemonScene> {
  if (freemem() < BYTES_PER_SANDBOX * number) throw new Error(`${number} sandboxes need more memory than is free`);
  const { gate, client } = setting.lab.cores;
  return DaemonScene.open(setting, { workers: 0, sandboxes: number, daemonCores: gate, clientCores: client });
}

async function measureSandboxes(scene: DaemonScene, number: number, seconds: number): Promise<Figures> {
  const connections = Math.max(1, Math.round(TOTAL_CONNECTIONS / number));
  const duration = Math.max(seconds, MIN_SANDBOXES_SECONDS);
  await scene.warm();
  // All are told before the first one works, which would hold up the others.
  const startAt = Date.now() / 1000 + START_DELAY_SECONDS;
  const delay = `$(awk -v now="$(date +%s.%N)" 'BEGIN { left = ${startAt} - now; print left > 0 ? left : 0 }')`;
  // Not wrk, which spins while it waits for its TLS handshake: a hundred of them leave nginx a hundredth of their core.
  const load = `h2load --h1 -t1 -c${connections} -D${duration} ${JSON_HEADERS} ${SCENE_ORIGIN}/json`;
  const { figures, works } = await scene.measure(`sleep ${delay}; ${load}`, (result) => readH2load(result, 'http/1.1'));
  const means = works.map((work) => work.figures['meanUs'] ?? Number.NaN);
  return { ...figures, meanUs: quantile(means, 0.5) };
}

/** What the way through the room costs by itself: the same echo server on the loopback and behind the airlock. */
const ROOM: Row = {
  id: 'room',
  title: 'TCP echo of 100 bytes, one connection, no gate: what the way through the room costs',
  metrics: [P50, P99, { ...RATE, title: 'echoes/s' }, { key: 'gateCpuUs', title: 'server CPU µs', better: 'lower' }],
  baseline: 'loopback',
  isQuick: false,
  contenders: ({ lab }) => {
    let server: Promise<{ readonly room: Agent; readonly pid: number; readonly port: number }> | undefined;
    const measure = async (place: 'loopback' | 'room', seconds: number): Promise<Figures> => {
      const { room, pid, port } = await (server ??= openEcho(lab));
      // Any address in the world is the airlock's.
      const target = place === 'room' ? `198.18.0.1 ${ECHO_PORT}` : `127.0.0.1 ${port}`;
      const client = place === 'room' ? room : lab.host;
      const gate = { client, processes: () => [pid], origin: () => undefined, close: async () => undefined };
      return measureClient(lab, gate, `./${CONNECTIONS_PROGRAM} echo ${target} ${seconds}`, readConnections);
    };
    return (['loopback', 'room'] as const).map((name) => ({
      name,
      measure: async (seconds) => measure(name, seconds),
    }));
  },
};

async function openEcho(lab: Lab): Promise<{ readonly room: Agent; readonly pid: number; readonly port: number }> {
  const { agent, pid, said } = await openRoom(lab, [ECHO_PORT]);
  return { room: agent, pid, port: Number(/port (\d+)/.exec(said)?.[1]) };
}

/** Start-up from nothing, on both cores; `bench/startup.ts` tells the phases. */
const START_UP: Row = {
  id: 'start-up',
  title: 'Start-up from nothing, files in the page cache',
  metrics: [
    { key: 'wallMs', title: 'wall ms', better: 'lower' },
    { key: 'cpuMs', title: 'CPU ms, all processes', better: 'lower' },
  ],
  baseline: 'node -e 0',
  isQuick: true,
  contenders: ({ lab, kinds }) => [
    { name: 'node -e 0', measure: async () => timeCommand(lab, [process.execPath, '-e', '0']) },
    ...kinds.flatMap(({ name, launcher }) =>
      launcher === undefined
        ? []
        : [
            {
              name: `${name}: run -- true`,
              measure: async () => timeCommand(lab, [launcher, 'run', '--no-workspace', '--quiet', '--', 'true']),
            },
          ],
    ),
  ],
};

const START_UPS_A_ROUND = 3;

function timeCommand(lab: Lab, [file = '', ...args]: readonly string[]): Figures {
  const times = Array.from({ length: START_UPS_A_ROUND }, () => {
    const cpuBefore = childrenCpuMs();
    const startedAt = performance.now();
    const env = { PATH: process.env['PATH'] ?? '', HOME: lab.path('home') };
    // The benchmark itself keeps to the clients' core; what it starts here shall not.
    const argv = ['-c', `0-${lab.lastCore}`, file, ...args];
    const { status, stderr } = spawnSync('taskset', argv, { cwd: lab.directory, env, encoding: 'utf8' });
    if (status !== 0) throw new Error(`exit status ${status}: ${stderr}`);
    return { wallMs: performance.now() - startedAt, cpuMs: childrenCpuMs() - cpuBefore };
  });
  return {
    wallMs: quantile(
      times.map(({ wallMs }) => wallMs),
      0.5,
    ),
    cpuMs: quantile(
      times.map(({ cpuMs }) => cpuMs),
      0.5,
    ),
  };
}

/** Rows about how costs grow, and about what everything else stands on. */
export const SCALE_ROWS: readonly Row[] = [
  idle(1000),
  idle(5000),
  growth(
    'secrets',
    'Small JSON, 16 connections, by the number of secrets bound to the host',
    'bound',
    [1, 10, 100, 1000],
  ),
  growth('rules', 'Small JSON, 16 connections, by the number of further rules', 'rules', [0, 10, 100, 1000]),
  sandboxes([1, 20, 100]),
  ROOM,
  START_UP,
];
