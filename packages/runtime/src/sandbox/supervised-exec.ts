import {
  chownSync,
  constants,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  readSync,
  realpathSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { SallyportError } from '@sallyport/sdk';
import { runInside } from '../airlock/holder.ts';
import type { Holder } from '../airlock/holder.ts';
import { watchPipe } from '../airlock/lasting-holder.ts';
import { isHostRoot } from '../airlock/host-root.ts';
import { printable } from '../airlock/namespace-diagnosis.ts';
import { EXECS_DIRECTORY, STAGE_DIRECTORY } from '../airlock/network.ts';
import { findTool, requireTools } from '../airlock/required-tools.ts';
import { mountMapped } from './mapped-mounts.ts';
import { buildExecProcess } from './oci-config.ts';
import { checkWorkingDirectory, RUNTIME_ENVIRONMENT } from './oci-runtime.ts';
import type { ContainerRecord } from './waiting-container.ts';

/** A command to execute in a container that waits. */
export interface SupervisedExecSpec {
  /** Also the name of its directory. */
  readonly id: string;
  readonly command: readonly string[];
  /** On top of the container's. */
  readonly environment: Readonly<Record<string, string>>;
  /** Default: the container's. */
  readonly workingDirectory?: string | undefined;
  /** A terminal of this size; null for none. */
  readonly terminal: { readonly columns: number; readonly rows: number } | null;
  /** Whether there will be input; else standard input is empty. */
  readonly stdin: boolean;
}

/** The supervisor's files in the directory of an exec, by their names there. */
export const EXEC_FILES = {
  log: 'log',
  attach: 'attach',
  /** A pipe whose two ends the supervisor holds as long as it lives. */
  control: 'ctl',
  size: 'winsz',
  process: 'process.json',
  pid: 'pid',
} as const;

/**
 * What a command may write before the supervisor begins a new log in place of the old one, in bytes. A reader that keeps up misses nothing:
 * it has the old one open.
 */
const MAX_LOG_BYTES = 64 * 1024 * 1024;
const MAX_SYNC_CHARACTERS = 64 * 1024;
/** The supervisor ignores a terminal size beyond this, in rows or columns. */
const MAX_TERMINAL_SIZE = 1000;
const PIPE_READ_BYTES = 4096;
/** More than a full pipe is not taken back. */
const MAX_PIPE_READS = 16;

/** Makes a host directory, in which each exec gets a directory of its own, appear in the airlock for the supervisors to write to. */
export async function mountExecs(holder: Holder, directory: string): Promise<void> {
  giveTo(holder, directory);
  if (isHostRoot()) {
    // The supervisors' user may not reach the directory, only what is mounted.
    mountAsRoot(holder, realpathSync(directory));
    return;
  }
  const { mount } = requireTools(['mount']);
  const { status, stderr } = await runInside(holder, [mount, '--bind', directory, EXECS_DIRECTORY]);
  if (status !== 0) throw notMounted(printable(stderr));
}

function mountAsRoot(holder: Holder, source: string): void {
  const namespace = openSync(`/proc/${holder.pid}/ns/mnt`, constants.O_RDONLY);
  try {
    const [report] = mountMapped(namespace, [{ source, target: EXECS_DIRECTORY, readOnly: false }]);
    if (report === undefined || report.kind === 'failed') throw notMounted(report?.step ?? 'no report');
  } finally {
    closeSync(namespace);
  }
}

function notMounted(why: string): SallyportError {
  return new SallyportError(
    'SANDBOX_FAILED',
    `The folder for what commands write could not be mounted: ${JSON.stringify(why)}.`,
  );
}

function giveTo(holder: Holder, path: string): void {
  if (isHostRoot()) chownSync(path, holder.hostUid, holder.hostGid);
}

/**
 * Starts a command under a supervisor of its own (`conmon`), which outlives this process: it writes what the command writes to a log and
 * its exit status to a file, both in a new directory below `directory`.
 *
 * @param onEnd hears of the end, where this process is still there: a hint to look for the exit status.
 * @throws SallyportError `EXEC_FAILED` when the runtime refuses; `USAGE` for a working directory that is refused.
 */
export async function startSupervisedExec(
  holder: Holder,
  container: ContainerRecord,
  directory: string,
  spec: SupervisedExecSpec,
  onEnd: () => void,
): Promise<void> {
  if (spec.workingDirectory !== undefined) checkWorkingDirectory(spec.workingDirectory);
  const { conmon } = requireTools(['conmon']);
  const own = join(directory, spec.id);
  const inside = `${EXECS_DIRECTORY}/${spec.id}`;
  mkdirSync(own, { mode: 0o700 });
  giveTo(holder, own);
  const processFile = join(own, EXEC_FILES.process);
  writeFileSync(processFile, JSON.stringify(processOf(container, spec)), { mode: 0o600 });
  giveTo(holder, processFile);
  const runtimeArguments = container.runtimeArguments.map((argument) => `--runtime-arg=${argument}`);
  const child = holder.enter(
    [
      conmon,
      '--api-version=1',
      `--cid=${container.container}`,
      `--cuuid=${spec.id}`,
      `--runtime=${container.runtime}`,
      ...runtimeArguments,
      `--bundle=${inside}`,
      `--container-pidfile=${inside}/${EXEC_FILES.pid}`,
      `--exit-dir=${inside}`,
      `--log-path=k8s-file:${inside}/${EXEC_FILES.log}`,
      `--log-size-max=${MAX_LOG_BYTES}`,
      '--no-sync-log',
      '--full-attach',
      '--exec',
      `--exec-process-spec=${inside}/${EXEC_FILES.process}`,
      ...(spec.stdin || spec.terminal !== null ? ['--stdin'] : []),
      // The end of its input is a character: a daemon that ends must not take the keyboard along.
      ...(spec.terminal === null ? [] : ['--terminal', '--leave-stdin-open']),
    ],
    {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
      env: { ...RUNTIME_ENVIRONMENT, _OCI_SYNCPIPE: '3' },
      detached: true,
      cgroupProcs: container.cgroupProcs,
    },
  );
  child.unref();
  const sync = child.stdio[3];
  if (sync === null || sync === undefined || !('setEncoding' in sync)) throw execFailed('no pipe');
  await new Promise<void>((resolve, reject) => {
    let said = '';
    let isStarted = false;
    child.once('error', (cause) => reject(execFailed('its supervisor did not start', cause)));
    sync.on('error', () => undefined);
    sync.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(0, MAX_SYNC_CHARACTERS);
      for (let end = said.indexOf('\n'); end >= 0; end = said.indexOf('\n')) {
        const report = parseReport(said.slice(0, end));
        said = said.slice(end + 1);
        if (isStarted) onEnd();
        else if (report.data > 0) {
          isStarted = true;
          resolve();
        } else reject(explainFailure(report.message));
      }
    });
    sync.once('close', () => {
      if (isStarted) onEnd();
      else reject(execFailed('its supervisor ended at once'));
    });
  });
  rmSync(processFile, { force: true });
  if (spec.terminal !== null) resizeExec(own, spec.terminal);
}

function processOf(container: ContainerRecord, spec: SupervisedExecSpec): object {
  const terminal: Record<string, string> = spec.terminal === null ? {} : { TERM: 'xterm-256color' };
  return {
    ...buildExecProcess({
      terminal: spec.terminal !== null,
      environment: { ...container.environment, ...terminal, ...spec.environment },
      workingDirectory: spec.workingDirectory ?? container.workingDirectory,
      limits: container.limits,
      tools: container.tools,
      command: spec.command,
    }),
    ...(spec.terminal === null ? {} : { consoleSize: { width: spec.terminal.columns, height: spec.terminal.rows } }),
  };
}

function parseReport(line: string): { readonly data: number; readonly message: string } {
  try {
    const { data, message } = JSON.parse(line) as { data?: unknown; message?: unknown };
    return { data: typeof data === 'number' ? data : -1, message: typeof message === 'string' ? message : '' };
  } catch {
    return { data: -1, message: line };
  }
}

function explainFailure(message: string): SallyportError {
  if (/chdir|working directory|cwd/i.test(message)) {
    return new SallyportError(
      'EXEC_FAILED',
      'The command could not start: its working directory does not exist in the sandbox. Choose another one.',
    );
  }
  return execFailed(JSON.stringify(printable(lastMessage(message))));
}

/** The runtime logs JSON lines, the last of which says what kept the command from starting. */
function lastMessage(message: string): string {
  const messages = [...message.matchAll(/"msg":"((?:[^"\\]|\\.)*)"/g)];
  return messages.at(-1)?.[1] ?? message;
}

function execFailed(what: string, cause?: unknown): SallyportError {
  return new SallyportError('EXEC_FAILED', `The command could not start: ${what}.`, { cause });
}

/** The exit status that the supervisor left in the directory of an exec; undefined while there is none. */
export function readExitStatus(directory: string, container: ContainerRecord['container']): number | undefined {
  try {
    const text = readFileSync(join(directory, container), 'latin1');
    return /^\d{1,3}$/.test(text) ? Number(text) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a command was started. */
export function wasExecStarted(directory: string): boolean {
  return readPid(directory) !== undefined;
}

/**
 * Hears when the supervisor of a command is gone, whoever has started it; nothing wakes this process before.
 *
 * @param onGone is called soon, but not before this returns, where there is none.
 */
export function watchSupervisor(directory: string, onGone: () => void): { close(): void } {
  try {
    return watchPipe(join(directory, EXEC_FILES.control), onGone);
  } catch {
    const soon = setImmediate(onGone);
    return { close: () => clearImmediate(soon) };
  }
}

function readPid(directory: string): string | undefined {
  try {
    const pid = readFileSync(join(directory, EXEC_FILES.pid), 'latin1').trim();
    return /^\d{1,10}$/.test(pid) && Number(pid) > 1 ? pid : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Changes the size of a command's terminal. One that has ended has none.
 *
 * The supervisor reads sizes from a pipe, several lines at once, and up to version 2.1.13 takes the first of them for all. So there is never
 * more than one line in it: a size that was not taken yet is taken back, since nobody wants it any more. (Its `ctl` pipe is passed on into this
 * one by itself, which nobody can count.)
 */
export function resizeExec(directory: string, size: { readonly columns: number; readonly rows: number }): void {
  let pipe: number;
  try {
    pipe = openSync(join(directory, EXEC_FILES.size), constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch {
    return;
  }
  try {
    takeBack(pipe);
    writeSync(pipe, `${Math.min(size.rows, MAX_TERMINAL_SIZE)} ${Math.min(size.columns, MAX_TERMINAL_SIZE)}\n`);
  } catch {
    // It has ended in between.
  } finally {
    closeSync(pipe);
  }
}

/** Empties a pipe. */
function takeBack(pipe: number): void {
  const bytes = Buffer.allocUnsafe(PIPE_READ_BYTES);
  try {
    for (let reads = 0; reads < MAX_PIPE_READS && readSync(pipe, bytes) > 0; reads += 1);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error;
  }
}

/** Sends a signal to the process group of a command. Resolves to whether there was one. */
export async function signalExec(holder: Holder, directory: string, signal: NodeJS.Signals): Promise<boolean> {
  const pid = readPid(directory);
  if (pid === undefined) return false;
  const argv = [
    '/bin/sh',
    '-c',
    'kill -s "$1" -- "-$2" || kill -s "$1" "$2"',
    'sallyport-signal',
    signal.slice(3),
    pid,
  ];
  return (await runInside(holder, argv)).status === 0;
}

/** Gives a sandbox that was made under another name its own: the files that say it, and the host name where there is a tool for that. */
export async function renameSandbox(holder: Holder, name: string): Promise<void> {
  const stage = `/proc/${holder.pid}/root${STAGE_DIRECTORY}`;
  const hosts = `${stage}/rootfs/etc/hosts`;
  writeFileSync(`${stage}/rootfs/etc/hostname`, `${name}\n`, { flag: 'r+' });
  truncateSync(`${stage}/rootfs/etc/hostname`, name.length + 1);
  const text = readFileSync(hosts, 'latin1').replace(/^127\.0\.1\.1 .*$/m, `127.0.1.1 ${name}`);
  writeFileSync(hosts, text, { flag: 'r+' });
  truncateSync(hosts, text.length);
  const hostname = findTool('hostname');
  if (hostname === undefined) return;
  const { nsenter } = requireTools(['nsenter']);
  const init = readFileSync(`${stage}/command.pid`, 'latin1').trim();
  await runInside(holder, [nsenter, '-t', init, '-u', hostname, name]);
}
