import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chownSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Airlock } from '../packages/runtime/src/airlock/airlock.ts';
import { originalDestination } from '../packages/runtime/src/airlock/destination.ts';
import type { ExitStatus, RunningSandbox, SandboxSpec } from '../packages/runtime/src/sandbox/backend.ts';
import { launchSandbox } from '../packages/runtime/src/sandbox/sandbox.ts';
import { listCallers } from './harness/caller.ts';

/** Set in the run of a test file as an ordinary user that its run as root starts. */
const AS_USER = 'SALLYPORT_E2E_AS_USER';

export const isRoot = process.geteuid?.() === 0;

/** Registers one test that runs this whole file again as an ordinary user; only root's run of a file does. */
export function repeatAsOrdinaryUser(file: string): void {
  if (!isRoot || process.env[AS_USER] !== undefined) return;
  const user = listCallers().find(({ kind }) => kind === 'user');
  const { caller } = user ?? {};
  void test('the same tests as an ordinary user', { skip: user?.skip ?? false, timeout: 300_000 }, async () => {
    assert.ok(caller !== undefined);
    const home = mkdtempSync(join(tmpdir(), 'sallyport-home-'));
    chownSync(home, caller.uid, caller.gid);
    try {
      const output = await new Promise<string>((resolve, reject) => {
        const child = spawn(
          'setpriv',
          [
            ...[`--reuid=${caller.uid}`, `--regid=${caller.gid}`, '--clear-groups', '--'],
            ...[process.execPath, '--conditions=sallyport-source', '--test', '--test-reporter=tap', file],
          ],
          { cwd: '/', env: { PATH: process.env['PATH'], HOME: home, TMPDIR: tmpdir(), [AS_USER]: '1' } },
        );
        let text = '';
        child.stdout.setEncoding('utf8').on('data', (part: string) => (text += part));
        child.stderr.setEncoding('utf8').on('data', (part: string) => (text += part));
        child.once('error', reject);
        child.once('close', (status) => (status === 0 ? resolve(text) : reject(new Error(text.slice(-20_000)))));
      });
      assert.match(output, /^# pass [1-9]/m);
    } finally {
      rmSync(home, { recursive: true, force: true });
    }
  });
}

/** What a sandbox printed, and how it ended. */
export interface SandboxRun extends ExitStatus {
  readonly stdout: string;
  readonly stderr: string;
  readonly notices: readonly string[];
}

/** Options of {@link run} that are not the sandbox's. */
export interface RunOptions {
  readonly ports?: readonly number[];
  readonly input?: string;
  readonly runtime?: string;
  /** Called when the command runs. */
  readonly meanwhile?: (sandbox: RunningSandbox, airlock: Airlock) => Promise<void>;
}

/** Runs a command in a sandbox whose gate answers every connection with the destination that it was meant for. */
export async function run(
  command: readonly string[],
  spec: Partial<SandboxSpec> = {},
  options: RunOptions = {},
): Promise<SandboxRun> {
  const launch = launchSandbox(
    {
      name: 'box',
      command,
      environment: {},
      workspace: undefined,
      volumes: [],
      limits: { pids: 4096 },
      protectedPaths: [],
      streams: { stdin: options.input === undefined ? 'ignore' : 'pipe', stdout: 'pipe', stderr: 'pipe' },
      ...spec,
    },
    { ports: options.ports ?? [80], ...(options.runtime === undefined ? {} : { runtime: options.runtime }) },
  );
  try {
    const airlock = await launch.airlock;
    answerWithDestination(airlock);
    const sandbox = await launch.start();
    let stdout = '';
    let stderr = '';
    const outEnded = collect(sandbox.stdout, (text) => (stdout += text));
    const errEnded = collect(sandbox.stderr, (text) => (stderr += text));
    sandbox.stdin?.end(options.input ?? '');
    await options.meanwhile?.(sandbox, airlock);
    const status = await sandbox.wait();
    await Promise.all([outEnded, errEnded]);
    return { ...status, stdout, stderr, notices: sandbox.notices };
  } finally {
    await launch.close();
  }
}

/** Runs a shell script in a sandbox. */
export async function shell(
  script: string,
  spec: Partial<SandboxSpec> = {},
  options: RunOptions = {},
): Promise<SandboxRun> {
  return await run(['sh', '-c', script], spec, options);
}

/** Serves each TCP port of the airlock: one line that names the destination. */
export function answerWithDestination(airlock: Airlock): void {
  for (const server of airlock.servers.values()) {
    server.on('connection', (socket) => {
      const destination = originalDestination(socket);
      socket.on('error', () => undefined);
      socket.resume();
      socket.end(`${destination?.address} ${destination?.port}\n`);
    });
  }
}

async function collect(stream: RunningSandbox['stdout'], add: (text: string) => void): Promise<void> {
  if (stream === undefined) return;
  stream.setEncoding('utf8');
  for await (const text of stream) add(text as string);
}

/** What a sandbox might leave behind on this machine. */
export interface Traces {
  readonly processes: readonly string[];
  readonly mounts: readonly string[];
  readonly namespaces: number;
  readonly cgroups: readonly string[];
}

/** Looks for traces of sandboxes started by process `owner`, or by any when absent. */
export function findTraces(isOurs: (commandLine: string) => boolean): Traces {
  const processes: string[] = [];
  const namespaces = new Set<string>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const commandLine = readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim();
      if (isOurs(commandLine)) processes.push(`${pid} ${commandLine.slice(0, 100)}`);
      namespaces.add(readlinkSync(`/proc/${pid}/ns/net`));
    } catch {
      continue;
    }
  }
  const mounts = readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .filter((line) => /\/run\/(stage|netns)/.test(line));
  return { processes, mounts, namespaces: namespaces.size, cgroups: findCgroups() };
}

/** Directories of sandboxes' control groups that exist. */
export function findCgroups(): string[] {
  const found: string[] = [];
  const visit = (directory: string, depth: number): void => {
    let entries;
    try {
      entries = readdirSync(directory, { withFileTypes: true });
    } catch {
      return;
    }
    for (const entry of entries) {
      if (!entry.isDirectory()) continue;
      const path = join(directory, entry.name);
      if (entry.name.startsWith('sallyport-')) found.push(path);
      else if (depth > 0) visit(path, depth - 1);
    }
  };
  visit('/sys/fs/cgroup', 5);
  return found;
}

/** Waits until `isTrue`, at most `timeoutMs`. */
export async function until(isTrue: () => boolean, timeoutMs = 15_000): Promise<boolean> {
  const deadline = Date.now() + timeoutMs;
  while (!isTrue()) {
    if (Date.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  return true;
}
