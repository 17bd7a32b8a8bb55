import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CHECKOUT } from './caller.ts';
import type { Scene } from './caller.ts';
import { SYSTEM_PATH } from './tools.ts';
import { watchProcesses } from './process-watch.ts';
import { assertNoCanary } from './canary.ts';
import type { Canary, Sighting } from './canary.ts';

/** How to run the command line. */
export interface SallyportOptions {
  readonly scene: Scene;
  /** Default: the scene's workspace. */
  readonly cwd?: string;
  /** Beside `PATH`, `HOME`, `USER`, `LOGNAME`, `LANG`, `TMPDIR`: nothing of the test process's own environment is handed on. */
  readonly env?: Readonly<Record<string, string>>;
  /** Standard input; closed at once when absent. */
  readonly stdin?: string | Buffer;
  /** Then the command's whole process group is killed. Default 60 s. */
  readonly timeoutMs?: number;
  /** Watched for in processes inside while the command runs. */
  readonly canary?: Canary;
  /** `false`: pass no `--audit`. */
  readonly audit?: boolean;
  /** A command that ends in the command line: `['sh', '-c', 'ulimit -n 300; exec "$@"', 'sh']`. */
  readonly through?: readonly string[];
  /** `true`: `through` starts with the test's own rights, and takes the caller's itself. */
  readonly throughDropsRights?: boolean;
  /** Called with the process id as soon as there is one, for tests that send signals. */
  readonly onStart?: (pid: number) => void;
}

/** What a run came to. */
export interface SallyportResult {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly timedOut: boolean;
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutBytes: Buffer;
  /** The events of the audit file, in order; empty without one. */
  readonly audit: readonly AuditLine[];
  readonly milliseconds: number;
  /** Sightings of the canary in processes inside, and how many that work in the scene were looked at. */
  readonly processes: readonly Sighting[];
  readonly watchedProcessCount: number;
}

/** An audit event as parsed from its line; its fields are the product's. */
export type AuditLine = Readonly<Record<string, unknown>>;

const DEFAULT_TIMEOUT_MS = 60_000;

function readAudit(file: string): AuditLine[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as AuditLine);
}

/** `run` gets `--audit FILE` unless the test gives its own or wants none. */
function withAudit(args: readonly string[], options: SallyportOptions): string[] {
  if (args[0] !== 'run' || options.audit === false) return [...args];
  const separator = args.indexOf('--');
  const ours = separator === -1 ? args : args.slice(0, separator);
  return ours.includes('--audit') ? [...args] : ['run', '--audit', options.scene.auditFile, ...args.slice(1)];
}

/** Runs `./sallyport ARGS` of the checkout as the scene's caller. Never throws for a failing command: look at `status`. */
export async function sallyport(args: readonly string[], options: SallyportOptions): Promise<SallyportResult> {
  const { scene } = options;
  const startedAt = performance.now();
  const watch = options.canary === undefined ? undefined : watchProcesses(options.canary, scene.root);
  const [program = '', ...words] = [
    ...(options.through ?? []),
    join(CHECKOUT, 'sallyport'),
    ...withAudit(args, options),
  ];
  const keepsRights = process.getuid?.() === scene.caller.uid || options.throughDropsRights === true;
  const child = spawn(program, words, {
    cwd: options.cwd ?? scene.workspace,
    env: {
      PATH: SYSTEM_PATH,
      HOME: scene.home,
      USER: scene.caller.name,
      LOGNAME: scene.caller.name,
      LANG: 'C.UTF-8',
      TMPDIR: scene.tmp,
      ...options.env,
    },
    stdio: 'pipe',
    detached: true,
    ...(keepsRights ? {} : { uid: scene.caller.uid, gid: scene.caller.gid }),
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  child.stdin.on('error', () => {}); // EPIPE of a command that does not read its input.
  child.stdin.end(options.stdin ?? '');
  if (child.pid !== undefined) options.onStart?.(child.pid);

  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  }, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  try {
    const [status, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, killedBy) => resolve([code, killedBy]));
    });
    const stdoutBytes = Buffer.concat(stdout);
    return {
      status,
      signal,
      timedOut,
      stdout: stdoutBytes.toString(),
      stderr: Buffer.concat(stderr).toString(),
      stdoutBytes,
      audit: options.audit === false ? [] : readAudit(scene.auditFile),
      milliseconds: performance.now() - startedAt,
      processes: watch?.sightings ?? [],
      watchedProcessCount: watch?.watchedCount ?? 0,
    };
  } finally {
    clearTimeout(timer);
    watch?.stop();
  }
}

/** Fails when the canary is in what a run printed, recorded or left behind in the scene, or was in a process inside. */
export function assertRunKeptSecret(canary: Canary, result: SallyportResult, scene: Scene): void {
  assertNoCanary(canary, {
    outputs: { 'standard output': result.stdoutBytes, 'standard error': result.stderr },
    files: [scene.root],
    processes: result.processes,
  });
}

/** One line for an assertion's message: how a run ended and what it printed. */
export function describeRun(result: SallyportResult): string {
  const ending = result.timedOut ? 'timed out' : `status ${result.status ?? result.signal}`;
  return `${ending}\n--- stdout\n${result.stdout.slice(0, 4000)}\n--- stderr\n${result.stderr.slice(0, 4000)}`;
}
