import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statfsSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { createAuthority } from '../../e2e/harness/certificates.ts';
import type { TestAuthority } from '../../e2e/harness/certificates.ts';
import { Agent, agentProgram } from './agent.ts';
import { serveEvents } from './events.ts';
import { nginxConfiguration } from './nginx.ts';
import { familyOf } from './processes.ts';
import { compileClients } from './setup.ts';

/** On the disk, so that what a gate makes durable costs what it costs. */
const BASE_DIRECTORY = '/var/tmp';
/** Where uploads go, if there is room: how fast a disk takes them is no gate's doing. */
const MEMORY_DIRECTORY = '/dev/shm';
const START_TIMEOUT_MS = 20_000;
const POLL_MS = 20;
/** Enough for a rate that settles; the same bytes for everybody. */
export const LARGE_FILE_BYTES = 64 * 1024 * 1024;
/** Room for one upload of each gate, and one under way. */
const UPLOADS_BYTES = 16 * LARGE_FILE_BYTES;

/** What clients ask for; each gate offers some of it. */
export type Service = 'api' | 'tunnel' | 'upload';

/** The name of each service, all of them names of the upstream. */
export const HOSTS: Readonly<Record<Service, string>> = {
  api: 'api.bench.example',
  tunnel: 'tunnel.bench.example',
  upload: 'upload.bench.example',
};

/** What the upstream wants to see; no gate's client holds it. */
export const CREDENTIAL = 'bench-value-Q7fK2mZx9LrT4vWc8NpS';

/** As {@link CREDENTIAL}, for what is put into bodies. */
export const BODY_CREDENTIAL = 'bench-value-body-Hd7sPq2XnV6';

/** The core of the gate, and that of clients and upstream. */
export interface Cores {
  readonly gate: number;
  readonly client: number;
}

/** The gate alone on the first core, everything else on the second. */
export const CORES: Cores = { gate: 0, client: 1 };

/** Puts this process on the clients' core: what it does itself, event streams above all, is part of their work. */
export function pinToClients(): void {
  execFileSync('taskset', ['-apc', String(CORES.client), String(process.pid)], { stdio: 'ignore' });
}

/** Directories, certificates and processes of one run of the benchmark. */
export class Lab {
  readonly cores: Cores;
  readonly directory: string;
  /** What clients see, in the room as well: programs and files to send. */
  readonly clientDirectory: string;
  readonly authority: TestAuthority;
  readonly caFile: string;
  /** Where nginx listens, by TLS, with HTTP/2 for those that ask. */
  readonly upstreamPort: number;
  readonly #stops: (() => Promise<void>)[] = [];
  #upstreamPid = 0;
  #host: Agent | undefined;

  private constructor(cores: Cores, directory: string, authority: TestAuthority, upstreamPort: number) {
    this.cores = cores;
    this.directory = directory;
    this.clientDirectory = join(directory, 'client');
    this.authority = authority;
    this.caFile = join(directory, 'ca.pem');
    this.upstreamPort = upstreamPort;
  }

  /** Makes directories and certificates and starts the upstream. */
  static async open(cores: Cores, say: (line: string) => void): Promise<Lab> {
    const directory = mkdtempSync(join(BASE_DIRECTORY, 'sallyport-bench-'));
    const lab = new Lab(cores, directory, await createAuthority('Benchmark root'), await findFreePort());
    try {
      await lab.#start(say);
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  /** The highest number of a core. */
  get lastCore(): number {
    return cpus().length - 1;
  }

  /** The upstream's processes. */
  upstreamPids(): readonly number[] {
    return familyOf(this.#upstreamPid);
  }

  /** Clients on the host, outside of any sandbox. */
  get host(): Agent {
    if (this.#host === undefined) throw new Error('The lab is not open.');
    return this.#host;
  }

  /** A path below the run's directory. */
  path(...parts: readonly string[]): string {
    return join(this.directory, ...parts);
  }

  /** A command line after which a program knows the services' names as those of the loopback: in a mount namespace of its own. */
  withNames(argv: readonly string[]): readonly string[] {
    const program = `mount --bind '${this.path('hosts')}' /etc/hosts && exec "$@"`;
    return ['unshare', '--map-root-user', '--mount', 'sh', '-c', program, 'sh', ...argv];
  }

  /** Starts a server in the foreground, pinned, and waits until it accepts connections. Ends with the lab. */
  async serve(
    core: number,
    argv: readonly string[],
    port: number,
    options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string } = {},
  ): Promise<ChildProcess> {
    const child = spawn('taskset', ['-c', String(core), ...argv], {
      cwd: options.cwd ?? this.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
    });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-4000)));
    }
    child.on('error', (error) => (said += error.message));
    this.onClose(async () => endProcess(child));
    const giveUpAt = performance.now() + START_TIMEOUT_MS;
    while (!(await accepts(port))) {
      if (child.exitCode !== null || performance.now() > giveUpAt) {
        throw new Error(`${argv[0]} does not listen on port ${port}: ${said.trim()}`);
      }
      await sleep(POLL_MS);
    }
    return child;
  }

  /** Something to do when the lab closes, the latest first. */
  onClose(stop: () => Promise<void>): void {
    this.#stops.push(stop);
  }

  /** Ends every process and removes every file. */
  async close(): Promise<void> {
    for (const stop of this.#stops.toReversed()) await stop().catch(() => undefined);
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #start(say: (line: string) => void): Promise<void> {
    chmodSync(this.directory, 0o755);
    mkdirSync(this.clientDirectory);
    writeFileSync(this.caFile, this.authority.certificatePem);
    const { key, cert } = await this.authority.issue(Object.values(HOSTS));
    writeFileSync(this.path('upstream.key'), key, { mode: 0o600 });
    writeFileSync(this.path('upstream.pem'), cert);
    // What proxies that end TLS present; HAProxy wants both in one file.
    writeFileSync(this.path('gate.pem'), cert + key, { mode: 0o600 });
    mkdirSync(this.path('www'));
    this.#makeUploadsDirectory();
    writeLargeFile(this.path('www', 'large.txt'));
    linkSync(this.path('www', 'large.txt'), join(this.clientDirectory, 'large.txt'));
    copyFileSync(join(import.meta.dirname, '..', 'clients', 'report.lua'), join(this.clientDirectory, 'report.lua'));
    compileClients(this.clientDirectory, say);
    const events = await serveEvents();
    this.onClose(async () => events.close());
    writeFileSync(
      this.path('nginx.conf'),
      nginxConfiguration({
        path: (...parts) => this.path(...parts),
        upstreamPort: this.upstreamPort,
        eventsPort: events.port,
        credential: CREDENTIAL,
      }),
    );
    const nginx = await this.serve(
      this.cores.client,
      ['nginx', '-p', this.directory, '-c', this.path('nginx.conf'), '-e', 'stderr'],
      this.upstreamPort,
    );
    this.#upstreamPid = nginx.pid ?? 0;
    await this.#openHost();
  }

  /** nginx moves an upload from one folder to the other: both have to be on one file system. */
  #makeUploadsDirectory(): void {
    let directory = this.path('uploads');
    if (hasRoom(MEMORY_DIRECTORY)) {
      directory = mkdtempSync(join(MEMORY_DIRECTORY, 'sallyport-bench-'));
      this.onClose(async () => rmSync(directory, { recursive: true, force: true }));
    } else {
      mkdirSync(directory);
    }
    chmodSync(directory, 0o755);
    mkdirSync(join(directory, 'sink'));
    mkdirSync(join(directory, 'arriving'));
    symlinkSync(join(directory, 'sink'), this.path('www', 'sink'));
    symlinkSync(join(directory, 'arriving'), this.path('nginx-body'));
  }

  /** The names of the services are the loopback's, for the clients of this one mount namespace. */
  async #openHost(): Promise<void> {
    const names = Object.values(HOSTS).map((host) => `127.0.0.1 ${host}`);
    writeFileSync(this.path('hosts'), `127.0.0.1 localhost\n${names.join('\n')}\n`);
    const [file = '', ...args] = this.withNames(['sh', '-c', agentProgram(this.cores.client)]);
    const env = { ...process.env, TOKEN: CREDENTIAL, BODY_TOKEN: BODY_CREDENTIAL, SCRATCH: this.directory };
    const child = spawn(file, args, { cwd: this.clientDirectory, stdio: 'pipe', env });
    this.#host = new Agent(child, 'the host');
    const agent = this.#host;
    this.onClose(async () => agent.close());
    await agent.ready();
  }
}

/** Text that does not compress to nothing and holds no credential. */
function writeLargeFile(path: string): void {
  const line = Buffer.alloc(LARGE_FILE_BYTES);
  const alphabet = 'abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789 {"a":"b"},\n';
  let state = 12_345;
  for (let index = 0; index < line.length; index += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    line[index] = alphabet.charCodeAt((state >>> 16) % alphabet.length);
  }
  writeFileSync(path, line);
}

/** A TCP port that nothing listens on at this moment. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

/** Ends a process, by force where it does not listen. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const force = setTimeout(() => child.kill('SIGKILL'), 3000);
  await ended;
  clearTimeout(force);
}

/** Resolves after a while. */
export async function sleep(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}

function hasRoom(directory: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize >= UPLOADS_BYTES;
  } catch {
    return false;
  }
}
