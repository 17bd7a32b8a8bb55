import { createReadStream, existsSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { SallyportError, type DaemonStatus } from '@sallyport/sdk';
import type { Command } from 'commander';
import { connect } from './daemon-connection.ts';
import { withProgress } from './progress.ts';
import { readVersion } from './version.ts';

/** How long the daemon may take to end, in ms. */
const STOP_TIMEOUT_MS = 60_000;
const POLL_MS = 20;

interface HandOnFlags {
  readonly env?: readonly string[];
  readonly workers?: string;
}

/** The option for what the daemon gets of this environment, which is otherwise no more than settings. */
const HAND_ON: [string, string, (value: string, previous?: readonly string[]) => readonly string[]] = [
  '--env <variable>',
  'hand this variable on to the daemon, for the sources of secrets (such as VAULT_TOKEN); can be repeated',
  (value, previous = []) => [...previous, value],
];

/** The option for how many threads the daemon has for gates. */
const WORKERS: [string, string] = [
  '--workers <count>',
  "how many threads share out the sandboxes' gates, 0 for none (default: one less than there are processors, at most 8; none on two or fewer)",
];

/** The setting of {@link WORKERS}, for the daemon. @throws SallyportError USAGE */
async function readWorkers(workers: string | undefined): Promise<Record<string, string>> {
  if (workers === undefined) return {};
  const { parseGateThreads } = await import('../engine/gate-threads.ts');
  return { SALLYPORT_WORKERS: String(parseGateThreads(workers, '--workers')) };
}

function refuseUnset(variables: readonly string[]): void {
  for (const name of variables) {
    if (process.env[name] !== undefined) continue;
    const text = name.includes('=') ? 'a variable and a value' : JSON.stringify(name);
    throw new SallyportError(
      'INVALID_ENVIRONMENT',
      `--env takes the name of a variable that is set here, not ${text}: process lists show what a command line says.`,
    );
  }
}

/** Adds `sallyport daemon start|stop|restart|status|logs`. */
export function addDaemonCommand(program: Command, settle: (status: number) => void): void {
  const daemon = program.command('daemon').description('work with the daemon, which keeps named sandboxes');
  daemon
    .command('start')
    .description('Start the daemon. Commands that need it start it by themselves.')
    .option(...HAND_ON)
    .option(...WORKERS)
    .action(async ({ env = [], workers }: HandOnFlags) => {
      refuseUnset(env);
      const settings = await readWorkers(workers);
      const running = env.length === 0 && workers === undefined ? undefined : await findStatus();
      if (running !== undefined) {
        throw new SallyportError(
          'USAGE',
          `The daemon, process ${running.pid}, runs already, with the environment and the workers that it has. To give it ${workers === undefined ? '--env' : '--workers'}: sallyport daemon restart.`,
        );
      }
      const client = await connect(env, settings);
      const { pid } = await client.ask<DaemonStatus>({ method: 'GET', path: '/v1/daemon' });
      process.stdout.write(`the daemon runs, process ${pid}\n`);
    });
  daemon
    .command('stop')
    .description('Stop the daemon. Sandboxes go on, with their gates closed, until a daemon is there again.')
    .option('--sandboxes', 'stop the sandboxes as well')
    .action(async (flags: { readonly sandboxes?: boolean }) => {
      const stopped = await withProgress('stopping the daemon', stopDaemon(flags.sandboxes === true));
      process.stdout.write(stopped ? 'the daemon has stopped\n' : 'there is no daemon\n');
    });
  daemon
    .command('restart')
    .description('Stop the daemon and start it again. Sandboxes and their commands go on meanwhile.')
    .option(...HAND_ON)
    .option(...WORKERS)
    .action(async ({ env = [], workers }: HandOnFlags) => {
      refuseUnset(env);
      const settings = await readWorkers(workers);
      await withProgress('stopping the daemon', stopDaemon(false));
      const client = await connect(env, settings);
      const { pid } = await client.ask<DaemonStatus>({ method: 'GET', path: '/v1/daemon' });
      process.stdout.write(`the daemon runs, process ${pid}\n`);
    });
  daemon
    .command('status')
    .description('Tell whether there is a daemon. Exit status: 0 when there is, 1 when not.')
    .option('--json', 'print the status as JSON')
    .action(async (flags: { readonly json?: boolean }) => {
      const status = await findStatus();
      settle(status === undefined ? 1 : 0);
      if (flags.json === true) process.stdout.write(`${JSON.stringify(status ?? null)}\n`);
      else process.stdout.write(status === undefined ? 'there is no daemon\n' : describe(status));
    });
  daemon
    .command('logs')
    .description("Print the daemon's log, which tells what it did and what failed; never a secret value.")
    .action(async () => {
      const { daemonPaths } = await import('../daemon/paths.ts');
      const { log } = daemonPaths(process.env);
      if (existsSync(log)) await pipeline(createReadStream(log), process.stdout, { end: false });
    });
  daemon
    .command('run', { hidden: true })
    .description('Be the daemon, in the foreground.')
    .action(async () => settle(await beDaemon()));
}

async function findStatus(): Promise<DaemonStatus | undefined> {
  const [{ DaemonClient }, { findDaemon }, { daemonPaths }] = await Promise.all([
    import('@sallyport/sdk/daemon-client'),
    import('../client/start-daemon.ts'),
    import('../daemon/paths.ts'),
  ]);
  return await findDaemon(new DaemonClient(daemonPaths(process.env).socket));
}

/** Stops the daemon, and waits until it is gone. Resolves to whether there was one. */
export async function stopDaemon(sandboxes: boolean): Promise<boolean> {
  const status = await findStatus();
  if (status === undefined) return false;
  const { DaemonClient } = await import('@sallyport/sdk/daemon-client');
  const { daemonPaths } = await import('../daemon/paths.ts');
  const client = new DaemonClient(daemonPaths(process.env).socket);
  await client.ask({ method: 'POST', path: '/v1/daemon/stop', body: { sandboxes } });
  const endMs = performance.now() + STOP_TIMEOUT_MS;
  while (existsSync(`/proc/${status.pid}`)) {
    if (performance.now() > endMs) {
      throw new SallyportError(
        'TIMED_OUT',
        `The daemon, process ${status.pid}, does not end. "sallyport daemon logs" tells more.`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return true;
}

function describe(status: DaemonStatus): string {
  const megabytes = (status.memoryBytes / 1024 / 1024).toFixed(0);
  return (
    `the daemon runs, process ${status.pid}, since ${status.startedAt}, version ${status.version}\n` +
    `${status.runningSandboxes} of ${status.sandboxes} sandboxes run, ${status.runningExecs} commands; ${megabytes} MB\n`
  );
}

/** @throws SallyportError USAGE */
async function readWorkersSetting(): Promise<number | undefined> {
  const workers = process.env['SALLYPORT_WORKERS'];
  if (workers === undefined || workers === '') return undefined;
  const { parseGateThreads } = await import('../engine/gate-threads.ts');
  return parseGateThreads(workers, 'SALLYPORT_WORKERS');
}

async function beDaemon(): Promise<number> {
  const { runDaemon } = await import('../daemon/daemon.ts');
  const { daemonPaths } = await import('../daemon/paths.ts');
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  // The terminal that started it may go.
  process.on('SIGHUP', () => undefined);
  const warm = process.env['SALLYPORT_WARM'];
  const workers = await readWorkersSetting();
  await runDaemon({
    paths: daemonPaths(process.env),
    version: readVersion(),
    ...(warm !== undefined && /^\d{1,2}$/.test(warm) ? { warmSandboxes: Number(warm) } : {}),
    ...(workers === undefined ? {} : { workers }),
    log: (line) => void process.stderr.write(`${new Date().toISOString()} ${line}\n`),
    signal: stop.signal,
  });
  return 0;
}
