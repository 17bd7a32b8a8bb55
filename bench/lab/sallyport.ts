import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, agentProgram } from './agent.ts';
import type { GateKind, RunningGate, VariantOptions } from './gate.ts';
import { BODY_CREDENTIAL, CREDENTIAL, HOSTS } from './lab.ts';
import type { Lab } from './lab.ts';
import { familyOf } from './processes.ts';

/** Where the clients' directory is in the sandbox. */
const ROOM_DIRECTORY = '/bench';
const CHECKOUT = join(import.meta.dirname, '..', '..');

/**
 * Our own gate, started by its command line, with everything on: its client runs in the sandbox.
 *
 * @param checkout the one whose `sallyport` runs. Default: this one.
 */
export function sallyport(name = 'Sallyport', options: VariantOptions = {}, checkout: string = CHECKOUT): GateKind {
  const launcher = join(checkout, 'sallyport');
  return {
    name,
    missing: () => undefined,
    version: () => /[0-9]\S*/.exec(execFileSync(launcher, ['--version'], { encoding: 'utf8' }))?.[0] ?? '',
    launcher,
    variant: (variantName, more) => sallyport(variantName, { ...options, ...more }, checkout),
    open: async (lab) => openSandbox(lab, launcher, options),
  };
}

/** Starts one sandbox with an agent in it; it ends with the lab. */
async function openSandbox(lab: Lab, launcher: string, options: VariantOptions): Promise<RunningGate> {
  const { secrets = 1, rules = 0, bodies = false } = options;
  const home = lab.path('home');
  mkdirSync(home, { recursive: true });
  const names = Array.from({ length: secrets }, (_, index) => (index === 0 ? 'TOKEN' : `TOKEN_${index}`));
  const bound = names.flatMap((name) => ['--secret', `${name}@${HOSTS.api}`]);
  const allowed = Array.from({ length: rules }, (_, index) => ['--allow', `host-${index}.bench.example`]);
  const pinned = Object.values(HOSTS).map((host) => ['--resolve', `${host}:443:127.0.0.1:${lab.upstreamPort}`]);
  const argv = [
    ...[launcher, 'run', '--quiet', '--no-workspace', '-v', `${lab.clientDirectory}:${ROOM_DIRECTORY}:ro`],
    ...['-w', ROOM_DIRECTORY, '-e', 'SCRATCH=/tmp', '--upstream-ca', lab.caFile, '--tunnel', HOSTS.tunnel],
    ...bound,
    ...(bodies
      ? ['--secret-in', 'header,basic,body', '--secret', `BODY_TOKEN@${HOSTS.upload}`]
      : ['--allow', HOSTS.upload]),
    ...allowed.flat(),
    ...pinned.flat(),
    ...['--', 'sh', '-c', agentProgram(lab.cores.client)],
  ];
  const values = names.map((name, index): [string, string] => [
    name,
    index === 0 ? CREDENTIAL : `bench-value-${index}-Zk3vR8qLw5Ty`,
  ]);
  const child = spawn('taskset', ['-c', String(lab.cores.gate), ...argv], {
    cwd: home,
    stdio: 'pipe',
    env: {
      PATH: process.env['PATH'] ?? '',
      HOME: home,
      ...Object.fromEntries(values),
      BODY_TOKEN: BODY_CREDENTIAL,
    },
  });
  const client = new Agent(child, 'the sandbox');
  lab.onClose(async () => client.close());
  await client.ready();
  const pid = child.pid ?? 0;
  return {
    origin: (service) => `https://${HOSTS[service]}`,
    client,
    processes: () => familyOf(pid),
    close: async () => client.close(),
  };
}
