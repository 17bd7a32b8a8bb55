import { execFile, spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { DaemonStatus } from '@sallyport/sdk';
import { Agent, agentProgram } from './agent.ts';
import type { ClientResult } from './agent.ts';
import { CREDENTIAL, HOSTS } from './lab.ts';
import type { Lab } from './lab.ts';
import { BYTES_PER_MB } from './measure.ts';
import type { Figures, Work } from './measure.ts';
import { cpuMsOf, peakBytesOf, resetPeaks } from './processes.ts';
import type { Setting } from './row.ts';
import { JSON_HEADERS } from './small-rows.ts';

const LAUNCHER = join(import.meta.dirname, '..', '..', 'sallyport');
const ROOM_DIRECTORY = '/bench';
/** More at a time would only wait for each other. */
const SANDBOXES_MADE_AT_ONCE = 4;

/** What clients in a scene's sandboxes ask. */
export const SCENE_ORIGIN = `https://${HOSTS.api}`;

/** How a {@link DaemonScene} is set up. */
export interface SceneOptions {
  /** Threads of the daemon for gates; 0 for none. */
  readonly workers: number;
  /** How many named sandboxes it has, with a client in each. */
  readonly sandboxes: number;
  /** Cores as taskset(1) writes them. Default: all. */
  readonly daemonCores?: number | string;
  /** As {@link daemonCores}, for what works in the sandboxes. */
  readonly clientCores?: number | string;
}

/** A daemon with named sandboxes and a client in each of them. */
export class DaemonScene {
  readonly #lab: Lab;
  readonly #home: string;
  readonly #options: Required<SceneOptions>;
  readonly #clients: Agent[] = [];
  #daemonPid = 0;
  #opening: Promise<unknown> = Promise.resolve();
  #closing: Promise<void> | undefined;

  private constructor(lab: Lab, options: SceneOptions) {
    const everywhere = `0-${lab.lastCore}`;
    this.#lab = lab;
    this.#home = mkdtempSync(lab.path('home-'));
    this.#options = { daemonCores: everywhere, clientCores: everywhere, ...options };
  }

  /** Starts it; it ends with the row, also where not all of it could be started. */
  static async open({ lab, yard }: Pick<Setting, 'lab' | 'yard'>, options: SceneOptions): Promise<DaemonScene> {
    const scene = new DaemonScene(lab, options);
    yard.onRowEnd(async () => scene.close());
    lab.onClose(async () => scene.close());
    const opening = scene.#start();
    scene.#opening = opening.catch(() => undefined);
    await opening;
    return scene;
  }

  /** Lets each sandbox make one request, so that its gate has a certificate and an upstream connection at hand. */
  async warm(): Promise<void> {
    const request = `curl -sSkf -o /dev/null ${JSON_HEADERS} ${SCENE_ORIGIN}/json`;
    await all(this.#clients.map(async (client) => client.run(request)));
  }

  /**
   * Lets all clients work at once: what they get done together, and what that costs the daemon.
   *
   * @returns the figures of all, and each client's own.
   * @throws Error where one of them fails, once all have come back: the next measurement shall find no client at work.
   */
  async measure(
    command: string,
    read: (result: ClientResult) => Work,
  ): Promise<{ readonly figures: Figures; readonly works: readonly Work[] }> {
    const daemon = [this.#daemonPid];
    resetPeaks(daemon);
    const before = cpuMsOf(daemon);
    const works = await all(this.#clients.map(async (client) => read(await client.run(command))));
    const cpuMs = cpuMsOf(daemon) - before;
    const count = works.reduce((sum, work) => sum + work.count, 0);
    if (count === 0) throw new Error('nothing was done');
    const figures = {
      rate: works.reduce((sum, work) => sum + (work.figures['rate'] ?? 0), 0),
      gateCpuUs: (cpuMs * 1000) / count,
      peakMb: peakBytesOf(daemon) / BYTES_PER_MB,
    };
    return { figures, works };
  }

  /** Ends clients, sandboxes and daemon. Safe to call twice. */
  async close(): Promise<void> {
    return (this.#closing ??= this.#end());
  }

  async #start(): Promise<void> {
    const { workers, sandboxes, daemonCores } = this.#options;
    await this.#run(daemonCores, 'daemon', 'start', '--workers', String(workers));
    const status = await this.#run(daemonCores, 'daemon', 'status', '--json');
    this.#daemonPid = (JSON.parse(status) as DaemonStatus).pid;
    const names = Array.from({ length: sandboxes }, (_, index) => `sandbox-${index}`);
    while (names.length > 0) {
      await all(names.splice(0, SANDBOXES_MADE_AT_ONCE).map(async (name) => this.#makeSandbox(name)));
    }
  }

  async #makeSandbox(name: string): Promise<void> {
    const { clientCores } = this.#options;
    const { caFile, clientDirectory, upstreamPort } = this.#lab;
    const mount = ['-v', `${clientDirectory}:${ROOM_DIRECTORY}:ro`, '-w', ROOM_DIRECTORY];
    const network = ['--upstream-ca', caFile, '--resolve', `${HOSTS.api}:443:127.0.0.1:${upstreamPort}`];
    const secret = ['--secret', `TOKEN@${HOSTS.api}`];
    await this.#run(clientCores, 'create', '--name', name, '--no-workspace', ...mount, ...network, ...secret);
    this.#refuseWhereClosing();
    const argv = ['exec', '-i', name, '--', 'sh', '-c', agentProgram(clientCores)];
    const [file, args] = this.#commandLine(clientCores, argv);
    const client = new Agent(spawn(file, args, { cwd: this.#home, stdio: 'pipe', env: this.#environment() }), name);
    this.#clients.push(client);
    await client.ready();
  }

  async #run(cores: number | string, ...argv: readonly string[]): Promise<string> {
    this.#refuseWhereClosing();
    return this.#launch(cores, ...argv);
  }

  async #launch(cores: number | string, ...argv: readonly string[]): Promise<string> {
    const [file, args] = this.#commandLine(cores, argv);
    const { stdout } = await promisify(execFile)(file, args, { cwd: this.#home, env: this.#environment() });
    return stdout;
  }

  async #end(): Promise<void> {
    // A command that finds no daemon starts one: all of them have to be over before the daemon is stopped.
    await this.#opening;
    await Promise.allSettled(this.#clients.map(async (client) => client.close()));
    // Sandboxes outlive a daemon that has failed: another one finds them, and stops them.
    for (const argv of [['start'], ['stop', '--sandboxes']])
      await this.#launch(this.#options.daemonCores, 'daemon', ...argv);
  }

  #refuseWhereClosing(): void {
    if (this.#closing !== undefined) throw new Error('The scene is being closed.');
  }

  /** The benchmark itself keeps to the clients' core; what it starts here need not. */
  #commandLine(cores: number | string, argv: readonly string[]): [string, string[]] {
    return ['taskset', ['-c', String(cores), LAUNCHER, ...argv]];
  }

  #environment(): NodeJS.ProcessEnv {
    return { PATH: process.env['PATH'] ?? '', HOME: this.#home, SALLYPORT_WARM: '0', TOKEN: CREDENTIAL };
  }
}

/** As `Promise.all`, but waits for those that still work where one has failed. */
async function all<T>(promises: readonly Promise<T>[]): Promise<readonly T[]> {
  const settled = await Promise.allSettled(promises);
  return settled.map((each) => {
    if (each.status === 'rejected') throw each.reason;
    return each.value;
  });
}
