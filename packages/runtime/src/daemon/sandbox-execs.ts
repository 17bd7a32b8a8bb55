import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { SallyportError, type ExecCreate } from '@sallyport/sdk';
import type { LastingSandbox } from '../engine/lasting-sandbox.ts';
import { newExecId } from '../engine/prepared-sandbox.ts';
import type { AttachSocket } from '../sandbox/attach-socket.ts';
import { checkUser, currentCaller, sandboxIdentity } from '../sandbox/identity.ts';
import { ParkedExec } from '../sandbox/parked-exec.ts';
import { execDirectory, ManagedExec, monotonicMs } from './managed-exec.ts';
import type { ExecRow, ExecTable } from './store/exec-table.ts';
import type { Turnstile } from './turnstile.ts';

/** Ended commands that are kept for each sandbox, with what they wrote. */
const MAX_KEPT_EXECS = 200;
/** Commands of one sandbox that may run at a time. */
const MAX_RUNNING_EXECS = 4096;

/** What the commands of a sandbox need of it. */
export interface ExecSurroundings {
  readonly sandboxId: string;
  readonly sandboxName: string;
  /** The sandbox's own directory on the host. */
  readonly directory: string;
  readonly table: ExecTable;
  readonly starts: Turnstile;
  readonly onStart: (exec: ManagedExec) => void;
  readonly onEnd: (exec: ManagedExec) => void;
}

/** The commands of one sandbox: those that run, and the last that have ended. */
export class SandboxExecs {
  readonly #around: ExecSurroundings;
  readonly #byId = new Map<string, ManagedExec>();

  constructor(around: ExecSurroundings) {
    this.#around = around;
    for (const row of around.table.ofSandbox(around.sandboxId)) this.#adopt(row);
  }

  /** The oldest first. */
  get all(): readonly ManagedExec[] {
    return [...this.#byId.values()];
  }

  get runningCount(): number {
    let count = 0;
    for (const exec of this.#byId.values()) if (!exec.isOver) count += 1;
    return count;
  }

  /** @throws SallyportError EXEC_NOT_FOUND */
  find(id: string): ManagedExec {
    const exec = this.#byId.get(id);
    if (exec !== undefined) return exec;
    throw new SallyportError(
      'EXEC_NOT_FOUND',
      `The sandbox ${JSON.stringify(this.#around.sandboxName)} has no command ${JSON.stringify(id)}.`,
    );
  }

  /**
   * Starts a command, in a parked process where one fits and is there.
   *
   * @throws SallyportError EXEC_FAILED, CAPACITY, USER_REFUSED, USAGE.
   */
  async start(live: LastingSandbox, asked: ExecCreate, environment: Record<string, string>): Promise<ManagedExec> {
    if (asked.user !== undefined) checkUser(asked.user, sandboxIdentity(currentCaller()));
    checkLengths(asked.command, environment);
    if (this.runningCount >= MAX_RUNNING_EXECS) {
      throw new SallyportError(
        'CAPACITY',
        `${MAX_RUNNING_EXECS} commands of this sandbox run already. Wait for some to end.`,
      );
    }
    const isPlain = asked.terminal === undefined && asked.workdir === undefined && ParkedExec.suits(asked.command);
    const parked = isPlain ? live.takeParked() : null;
    const exec = this.#add(asked, parked?.id ?? newExecId());
    let input: AttachSocket | null = null;
    try {
      const spec = {
        id: exec.id,
        command: asked.command,
        environment,
        workingDirectory: asked.workdir,
        terminal: asked.terminal ?? null,
        stdin: asked.stdin ?? false,
      };
      await live.named;
      if (parked === null) {
        await this.#around.starts.pass(async () => await live.startCommand(spec, () => exec.noteSupervisor()));
      } else {
        input = await parked.become(spec, () => exec.noteSupervisor());
      }
    } catch (error) {
      if (parked !== null && error instanceof SallyportError && error.code === 'EXEC_ENDED') {
        // Somebody in the sandbox has ended what was parked.
        this.#drop(exec);
        return await this.start(live, asked, environment);
      }
      exec.fail(error instanceof SallyportError ? error.message : 'The command could not start.');
      throw error;
    }
    this.#around.onStart(exec);
    exec.supervise(live, input);
    this.#trim();
    return exec;
  }

  /** Finds commands again after the daemon was away, and removes what was parked when the last one ended. */
  recover(live: LastingSandbox): void {
    for (const exec of this.#byId.values()) exec.recover(live);
    for (const id of readdirSync(live.execsDirectory)) {
      if (!this.#byId.has(id)) removeDirectory(join(live.execsDirectory, id));
    }
  }

  /** Lets commands run on without this daemon. */
  leave(): void {
    for (const exec of this.#byId.values()) exec.leave();
  }

  /** Asks all commands to end, and waits for it; not longer than `timeoutMs`. */
  async end(timeoutMs: number): Promise<void> {
    const running = this.all.filter((exec) => !exec.isOver);
    if (running.length === 0) return;
    const over = new AbortController();
    const timer = setTimeout(() => over.abort(), timeoutMs);
    await Promise.all(
      running.map(async (exec) => {
        await exec.signal('SIGTERM').catch(() => undefined);
        while (!exec.isOver && !over.signal.aborted) await exec.changed(exec.changes, over.signal);
      }),
    );
    clearTimeout(timer);
  }

  /** The sandbox has ended, and so have they. @param container by which their exit statuses are found. */
  endWithSandbox(container: string): void {
    for (const exec of this.#byId.values()) exec.endWithSandbox(container);
  }

  #add(asked: ExecCreate, id: string): ManagedExec {
    const nowMs = Date.now();
    const row: ExecRow = {
      id,
      sandboxId: this.#around.sandboxId,
      state: 'starting',
      command: asked.command,
      terminal: asked.terminal !== undefined,
      createdAt: nowMs,
      deadlineAt: asked.timeoutMs === undefined ? null : monotonicMs() + asked.timeoutMs,
      endedAt: null,
      exitCode: null,
      timedOut: false,
      reason: null,
    };
    this.#around.table.insert(row);
    return this.#adopt(row);
  }

  #adopt(row: ExecRow): ManagedExec {
    const { sandboxName, directory, table, onEnd } = this.#around;
    const exec = new ManagedExec(row, sandboxName, execDirectory(directory, row.id), table, onEnd);
    this.#byId.set(row.id, exec);
    return exec;
  }

  #drop(exec: ManagedExec): void {
    this.#byId.delete(exec.id);
    this.#around.table.remove(exec.id);
    removeDirectory(exec.directory);
  }

  #trim(): void {
    const ended = this.all.filter((exec) => exec.isOver);
    for (const exec of ended.slice(0, Math.max(0, ended.length - MAX_KEPT_EXECS))) this.#drop(exec);
  }
}

/** What the kernel takes of one argument or variable, in bytes without the NUL (MAX_ARG_STRLEN), and of all of them (for the usual stack of 8 MiB, with room for the container's own). */
const MAX_ARGUMENT_BYTES = 128 * 1024 - 1;
const MAX_ARGUMENTS_BYTES = 1920 * 1024;
/** The kernel counts a pointer and a NUL for each. */
const ARGUMENT_OVERHEAD_BYTES = 9;

/** @throws SallyportError EXEC_FAILED for what the kernel would refuse with E2BIG, somewhere on the way to the command. */
function checkLengths(command: readonly string[], environment: Readonly<Record<string, string>>): void {
  let sum = 0;
  for (const text of [...command, ...Object.entries(environment).map(([name, value]) => `${name}=${value}`)]) {
    const bytes = Buffer.byteLength(text);
    sum += bytes + ARGUMENT_OVERHEAD_BYTES;
    if (bytes <= MAX_ARGUMENT_BYTES && sum <= MAX_ARGUMENTS_BYTES) continue;
    throw new SallyportError(
      'EXEC_FAILED',
      bytes > MAX_ARGUMENT_BYTES
        ? `The command could not start: an argument or a variable has ${bytes} bytes, and the kernel takes ${MAX_ARGUMENT_BYTES}. Send it by standard input, or as a file.`
        : `The command could not start: its arguments and variables have more than ${MAX_ARGUMENTS_BYTES} bytes together. Send them by standard input, or as a file.`,
    );
  }
}

/** A supervisor that is about to end may still write there; what stays goes with the sandbox. */
function removeDirectory(directory: string): void {
  try {
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  } catch {
    // See above.
  }
}
