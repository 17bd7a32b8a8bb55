import { watch, type FSWatcher } from 'node:fs';
import { join } from 'node:path';
import { SallyportError, type ExecInfo } from '@sallyport/sdk';
import { AttachSocket } from '../sandbox/attach-socket.ts';
import { keepInput } from '../sandbox/input-keeper.ts';
import {
  EXEC_FILES,
  readExitStatus,
  resizeExec,
  signalExec,
  wasExecStarted,
  watchSupervisor,
} from '../sandbox/supervised-exec.ts';
import type { LastingSandbox } from '../engine/lasting-sandbox.ts';
import type { OutputSource } from './exec-output.ts';
import type { ExecRow, ExecTable } from './store/exec-table.ts';

/** After its time limit a command gets SIGTERM, and SIGKILL this many milliseconds later. */
const KILL_AFTER_MS = 10_000;
/** The longest delay that a timer takes. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** The status of a command that was ended with its sandbox: 128 and SIGKILL, as a shell gives it. */
const KILLED_STATUS = 137;
/** How long a supervisor may take to leave the exit status, in ms. */
const SUPERVISOR_TIME_MS = 2_000;
/** A command whose supervisor is gone without a word is looked at again after this time, in ms. */
const RECHECK_MS = 200;

/** A command of a sandbox, while it runs and after. */
export class ManagedExec implements OutputSource {
  readonly directory: string;
  readonly #sandboxName: string;
  readonly #table: ExecTable;
  readonly #onEnd: (exec: ManagedExec) => void;
  #row: ExecRow;
  #live: LastingSandbox | null = null;
  #watcher: FSWatcher | null = null;
  #supervisor: ReturnType<typeof watchSupervisor> | null = null;
  #timers: NodeJS.Timeout[] = [];
  #logs = 0;
  #changes = 0;
  readonly #waiters = new Set<() => void>();
  #input: AttachSocket | null = null;
  #inputEnded = false;
  /** The daemon stops, and leaves it to another. */
  #hasLeft = false;
  #writing: Promise<void> = Promise.resolve();

  constructor(
    row: ExecRow,
    sandboxName: string,
    directory: string,
    table: ExecTable,
    onEnd: (exec: ManagedExec) => void,
  ) {
    this.#row = row;
    this.#sandboxName = sandboxName;
    this.directory = directory;
    this.#table = table;
    this.#onEnd = onEnd;
  }

  get id(): string {
    return this.#row.id;
  }

  get row(): ExecRow {
    return this.#row;
  }

  get isOver(): boolean {
    return this.#row.state === 'exited' || this.#row.state === 'failed';
  }

  get logsBegun(): number {
    return this.#logs;
  }

  get changes(): number {
    return this.#changes;
  }

  /** As the API shows it. */
  get info(): ExecInfo {
    const { id, state, command, terminal, createdAt, endedAt, exitCode, timedOut, reason } = this.#row;
    return {
      id,
      sandbox: this.#sandboxName,
      state,
      command: [...command],
      terminal,
      createdAt: new Date(createdAt).toISOString(),
      endedAt: endedAt === null ? null : new Date(endedAt).toISOString(),
      exitCode,
      timedOut,
      reason,
    };
  }

  /** It has been started, or found running: looks after it until its end. @param input its standard input, where that is open already. */
  supervise(live: LastingSandbox, input: AttachSocket | null = null): void {
    if (this.isOver) {
      input?.close();
      return;
    }
    this.#input = input;
    this.#live = live;
    if (input !== null) this.#keep(live, input);
    if (this.#row.state === 'starting') this.#update({ state: 'running' });
    try {
      this.#watcher = watch(this.directory, { persistent: false }, (event, name) => {
        // The log is begun anew by a rename.
        if (event === 'rename' && name === EXEC_FILES.log) this.#logs += 1;
        this.#noteChange();
        if (event === 'rename' && name === live.record.container.container) this.check();
      });
      this.#watcher.on('error', () => undefined);
    } catch {
      // Out of watches: what is written is found a little later.
      this.#timers.push(setInterval(() => this.#pollOnce(), RECHECK_MS).unref());
    }
    const { deadlineAt } = this.#row;
    if (deadlineAt !== null) this.#limitTime(deadlineAt);
    this.check();
  }

  /** As {@link ManagedExec.supervise}, after the daemon was away: it may have ended meanwhile, or never have begun. */
  recover(live: LastingSandbox): void {
    if (this.isOver) return;
    if (!wasExecStarted(this.directory)) {
      this.#awaitStart(live, performance.now() + SUPERVISOR_TIME_MS);
      return;
    }
    this.supervise(live);
    if (!this.isOver) this.#supervisor = watchSupervisor(this.directory, () => this.noteSupervisor());
  }

  /** The daemon ended while its supervisor was about to start it, or before there was one. */
  #awaitStart(live: LastingSandbox, endMs: number): void {
    const look = (): void => {
      if (wasExecStarted(this.directory)) this.recover(live);
      else if (performance.now() < endMs) this.#awaitStart(live, endMs);
      else this.fail('The daemon ended before the command was started.');
    };
    this.#timers.push(setTimeout(look, RECHECK_MS).unref());
  }

  /** Looks for the exit status. */
  check(): void {
    if (this.isOver || this.#live === null) return;
    const status = readExitStatus(this.directory, this.#live.record.container.container);
    if (status !== undefined) this.#end({ state: 'exited', exitCode: status, reason: null });
  }

  /** Its supervisor has said something, or is gone: without a word where somebody has killed it. Then the command ends as well. */
  noteSupervisor(): void {
    this.check();
    const live = this.#live;
    if (this.isOver || live === null) return;
    const giveUp = (): void => {
      this.check();
      if (this.isOver || this.#live !== live) return;
      void signalExec(live.airlock.holder, this.directory, 'SIGKILL').catch(() => undefined);
      this.endWithSandbox(live.record.container.container);
    };
    this.#timers.push(setTimeout(giveUp, SUPERVISOR_TIME_MS).unref());
  }

  /** It never started. */
  fail(reason: string): void {
    this.#end({ state: 'failed', exitCode: null, reason });
  }

  /** Its sandbox has ended, and so has it. */
  endWithSandbox(container: string): void {
    if (this.isOver) return;
    const status = readExitStatus(this.directory, container);
    if (status !== undefined) this.#end({ state: 'exited', exitCode: status, reason: null });
    else
      this.#end({
        state: 'exited',
        exitCode: KILLED_STATUS,
        reason: 'It was ended from outside, or with its sandbox.',
      });
  }

  /** Lets it run on without us. */
  leave(): void {
    this.#hasLeft = !this.isOver;
    this.#release();
    this.#noteChange();
  }

  async signal(signal: NodeJS.Signals): Promise<void> {
    const live = this.#running();
    await signalExec(live.airlock.holder, this.directory, signal);
  }

  resize(size: { readonly columns: number; readonly rows: number }): void {
    this.#running();
    if (!this.#row.terminal) {
      throw new SallyportError('EXEC_FAILED', 'The command has no terminal whose size could be changed.');
    }
    resizeExec(this.directory, size);
  }

  /**
   * Writes to its standard input, after what was written before.
   *
   * @throws SallyportError EXEC_ENDED; DAEMON_STOPPING when some of it may not have been written.
   */
  async write(chunks: AsyncIterable<Buffer>, end: boolean): Promise<void> {
    const result = this.#writing.then(async () => {
      const live = this.#running();
      if (this.#inputEnded)
        throw new SallyportError('EXEC_ENDED', 'The standard input of the command is closed already.');
      // Kept here: the command may end while the next piece is waited for.
      const input = this.#input ?? new AttachSocket(this.directory);
      if (this.#input === null) this.#keep(live, input);
      this.#input = input;
      try {
        for await (const chunk of chunks) await input.write(chunk);
        if (!end) return;
        // A terminal has no end of input but the character that says so.
        if (this.#row.terminal) await input.write(Buffer.from([END_OF_TRANSMISSION]));
        else input.end();
      } catch (error) {
        throw this.#hasLeft ? left() : error;
      }
      this.#inputEnded = true;
    });
    this.#writing = result.catch(() => undefined);
    await result;
  }

  async changed(seen: number, signal: AbortSignal): Promise<void> {
    if (this.#changes !== seen || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.#waiters.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#waiters.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }

  /** A terminal's input has no end but a character, so it needs nobody who keeps it. */
  #keep(live: LastingSandbox, input: AttachSocket): void {
    if (!this.#row.terminal) keepInput(live.airlock.holder, live.record.container, this.id, input);
  }

  #running(): LastingSandbox {
    if (this.#hasLeft) throw left();
    if (this.isOver || this.#live === null) {
      throw new SallyportError('EXEC_ENDED', `The command ${this.id} does not run (any more).`);
    }
    return this.#live;
  }

  #limitTime(deadlineAt: number): void {
    const live = this.#live;
    const end = (): void => {
      if (this.isOver || live === null) return;
      const { holder } = live.airlock;
      this.#update({ timedOut: true });
      const kill = (): void => void signalExec(holder, this.directory, 'SIGKILL').catch(() => undefined);
      void signalExec(holder, this.directory, 'SIGTERM').catch(() => undefined);
      this.#timers.push(setTimeout(kill, KILL_AFTER_MS).unref());
    };
    const delayMs = Math.min(Math.max(0, deadlineAt - monotonicMs()), MAX_TIMER_MS);
    this.#timers.push(setTimeout(end, delayMs).unref());
  }

  #pollOnce(): void {
    this.#noteChange();
    this.check();
  }

  #noteChange(): void {
    this.#changes += 1;
    for (const waiter of [...this.#waiters]) waiter();
  }

  #end(change: Pick<ExecRow, 'state' | 'exitCode' | 'reason'>): void {
    this.#update({ ...change, endedAt: Date.now() });
    this.#release();
    this.#noteChange();
    this.#onEnd(this);
  }

  #update(change: Partial<ExecRow>): void {
    this.#row = { ...this.#row, ...change };
    try {
      this.#table.update(this.#row);
    } catch {
      // Where the state cannot be written, the exit status is found again by the supervisor's file.
    }
  }

  #release(): void {
    this.#watcher?.close();
    this.#watcher = null;
    this.#supervisor?.close();
    this.#supervisor = null;
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
    this.#input?.close();
    this.#input = null;
    this.#live = null;
  }
}

/**
 * The kernel's monotonic clock, in ms, which all processes of a machine share until it is started anew, and so do sandboxes end with it: unlike
 * the time of day nobody sets it.
 */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

function left(): SallyportError {
  return new SallyportError(
    'DAEMON_STOPPING',
    'The daemon stops, and the command goes on without it. Ask again in a moment.',
  );
}

/** Control-D. */
const END_OF_TRANSMISSION = 4;

/** The directory of an exec. */
export function execDirectory(sandboxDirectory: string, id: string): string {
  return join(sandboxDirectory, 'execs', id);
}
