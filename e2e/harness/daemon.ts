import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { DaemonStatus, ExecCreate, ExecEvent, SandboxCreate, SandboxInfo } from '@sallyport/sdk';
import { DaemonClient } from '@sallyport/sdk/daemon-client';
import { createScene, type Caller, type Scene } from './caller.ts';
import { describeRun, sallyport, type SallyportOptions, type SallyportResult } from './sallyport.ts';

/** What a command in a sandbox came to. */
export interface ExecOutcome {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly events: readonly ExecEvent[];
}

/** A scene with a daemon of its own, which ends with it. */
export interface DaemonScene extends Scene {
  readonly stateDirectory: string;
  readonly socket: string;
  readonly client: DaemonClient;
  /** Runs the command line, without `--audit`. */
  cli(args: readonly string[], options?: Partial<SallyportOptions>): Promise<SallyportResult>;
  create(request?: SandboxCreate): Promise<SandboxInfo>;
  inspect(name: string): Promise<SandboxInfo>;
  exec(name: string, command: readonly string[], more?: Partial<ExecCreate>): Promise<ExecOutcome>;
  status(): Promise<DaemonStatus>;
  /** Kills the daemon without a warning, and waits until it is gone. */
  killDaemon(): Promise<void>;
  startDaemon(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** How many threads daemons have for gates where a test does not say: so all tests can be run in both ways. */
const WORKERS = process.env['SALLYPORT_WORKERS'] ?? '';

/** Makes a scene and starts its daemon, as its caller, with few sandboxes prepared. */
export async function createDaemonScene(caller: Caller, warm = 0, workers = WORKERS): Promise<DaemonScene> {
  const scene = createScene(caller);
  const stateDirectory = join(scene.home, '.local/state/sallyport');
  const socket = join(stateDirectory, 'daemon/socket');
  const client = new DaemonClient(socket);
  const cli = async (args: readonly string[], options: Partial<SallyportOptions> = {}): Promise<SallyportResult> =>
    await sallyport(args, {
      scene,
      audit: false,
      ...options,
      env: { SALLYPORT_WARM: String(warm), SALLYPORT_WORKERS: workers, ...options.env },
    });
  const status = async (): Promise<DaemonStatus> => await client.ask({ method: 'GET', path: '/v1/daemon' });
  const startDaemon = async (): Promise<void> => {
    const started = await cli(['daemon', 'start']);
    assert.equal(started.status, 0, describeRun(started));
  };
  await startDaemon();
  return {
    ...scene,
    stateDirectory,
    socket,
    client,
    cli,
    status,
    startDaemon,
    create: async (request = {}) => await client.ask({ method: 'POST', path: '/v1/sandboxes', body: request }),
    inspect: async (name) => await client.ask({ method: 'GET', path: `/v1/sandboxes/${name}` }),
    async exec(name, command, more = {}) {
      const path = `/v1/sandboxes/${name}/execs`;
      return await collectExec(client.events({ method: 'POST', path, body: { command, ...more } }));
    },
    async killDaemon() {
      const { pid } = await status();
      process.kill(pid, 'SIGKILL');
      for (;;) {
        try {
          process.kill(pid, 0);
        } catch {
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    },
    [Symbol.dispose]: () => scene[Symbol.dispose](),
    async [Symbol.asyncDispose]() {
      const stopped = await cli(['daemon', 'stop', '--sandboxes']);
      scene[Symbol.dispose]();
      assert.equal(stopped.status, 0, describeRun(stopped));
    },
  };
}

/** Reads the events of a command to their end. */
export async function collectExec(events: AsyncIterable<{ readonly data: string }>): Promise<ExecOutcome> {
  const all: ExecEvent[] = [];
  for await (const { data } of events) all.push(JSON.parse(data) as ExecEvent);
  const text = (type: 'stdout' | 'stderr'): string =>
    Buffer.concat(
      all.flatMap((event) => (event.type === type && 'data' in event ? [Buffer.from(event.data, 'base64')] : [])),
    ).toString('utf8');
  const exit = all.find((event) => event.type === 'exit');
  return { exitCode: exit?.exitCode ?? null, stdout: text('stdout'), stderr: text('stderr'), events: all };
}
