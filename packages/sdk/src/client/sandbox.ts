import type { DaemonEvent, LogEntry } from '../api/daemon.ts';
import type { ExecInfo } from '../api/execs.ts';
import type { SandboxInfo, SandboxState, SandboxStats } from '../api/sandboxes.ts';
import { SallyportError } from '../errors.ts';
import { defaultConnection, type Connection, type Question } from './connection.ts';
import { decodeBase64 } from './content.ts';
import { toError } from './daemon-client.ts';
import { ExecStream, type AttachOptions, type ExecOptions, type ExecResult } from './exec-stream.ts';
import { DEFAULT_TIMEOUT_MS, startLimit, type CallOptions } from './limit.ts';
import { SandboxBuilder } from './sandbox-builder.ts';
import { SandboxFiles } from './sandbox-files.ts';
import { createRequestOf, type SandboxOptions } from './sandbox-options.ts';
import { SandboxPolicy, SandboxSecrets } from './sandbox-rules.ts';

/** The options of a call that belongs to no sandbox yet. */
export interface SandboxCallOptions extends CallOptions {
  /** Which daemon to ask. Default: the user's own, which is started where it is not there, or the one that SALLYPORT_SOCKET names. */
  readonly connection?: Connection | undefined;
}

/** The options of a command whose output is gathered. */
export interface ExecResultOptions extends ExecOptions {
  /** The most that is kept of each output stream, in bytes; `truncated` tells. Default: 64 MiB. */
  readonly maxOutputBytes?: number | undefined;
}

/** How a sandbox is removed. */
export interface RemoveOptions extends CallOptions {
  /** End it first if it runs; otherwise that is SANDBOX_RUNNING. Default false. */
  readonly force?: boolean | undefined;
}

/** How a sandbox is stopped. `timeoutMs` is what commands have after SIGTERM, before SIGKILL: default 10 s. */
export interface StopOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Which output to read. */
export interface LogOptions extends CallOptions {
  /** Of one command only, by its id. */
  readonly exec?: string | undefined;
  /** Only the last so many pieces of what is there. */
  readonly tail?: number | undefined;
  /** Only what comes after the piece with this `position`. */
  readonly after?: string | undefined;
  /** Also what will be written, until the sandbox (or the one command) ends. Default false. */
  readonly follow?: boolean | undefined;
}

/** Which events to read. */
export interface EventOptions extends CallOptions {
  /** Only those after the one with this id. */
  readonly after?: number | undefined;
  /** Also those to come, until the sandbox is removed. Default false. */
  readonly follow?: boolean | undefined;
}

/** A piece of what a command wrote. */
export interface LogPiece {
  /** The id of the command. */
  readonly exec: string;
  readonly stream: 'stdout' | 'stderr';
  readonly time: string;
  readonly data: Uint8Array<ArrayBuffer>;
  /** From where to go on after it: see `after`. */
  readonly position: string;
}

/** How much longer than the commands' own time a stop may take, in ms. */
const DEFAULT_STOP_TIMEOUT_MS = 10_000;
const SANDBOXES = '/v1/sandboxes';
const RUNNING_STATES: readonly SandboxState[] = ['starting', 'running', 'stopping'];

/**
 * A sandbox: a place where code runs that you do not trust, with credentials that it never holds.
 *
 * One that this program has made is removed when it goes out of scope with `await using`; without that it lives on, by its name.
 */
export class Sandbox implements AsyncDisposable {
  /** As the daemon knows it; never used again for another. */
  readonly id: string;
  readonly name: string;
  /** Its files. */
  readonly fs: SandboxFiles;
  /** Its credentials. */
  readonly secrets: SandboxSecrets;
  /** Its network policy. */
  readonly policy: SandboxPolicy;
  readonly #connection: Connection;
  readonly #path: string;
  readonly #isOwn: boolean;
  #info: SandboxInfo;

  private constructor(connection: Connection, info: SandboxInfo, isOwn: boolean) {
    this.id = info.id;
    this.name = info.name;
    this.#info = info;
    this.#connection = connection;
    this.#isOwn = isOwn;
    // By its id: another sandbox that takes the name later is not meant.
    this.#path = pathOf(info.id);
    this.fs = new SandboxFiles(connection, this.#path);
    this.secrets = new SandboxSecrets(connection, this.#path);
    this.policy = new SandboxPolicy(connection, this.#path);
  }

  /**
   * Makes a sandbox, and starts it.
   *
   * @throws SallyportError SANDBOX_EXISTS, NOT_SUPPORTED_YET for images and stored secrets, and whatever is wrong with what is asked for.
   */
  static async create(options: SandboxOptions = {}, call: SandboxCallOptions = {}): Promise<Sandbox> {
    const { connection = defaultConnection(), ...rest } = call;
    const body = createRequestOf(options);
    const info = await connection.ask<SandboxInfo>({ method: 'POST', path: SANDBOXES, body }, rest);
    return new Sandbox(connection, info, true);
  }

  /** The same, step by step: `Sandbox.builder("worker").secretEnv("KEY", value, "api.example.com").create()`. */
  static builder(name?: string): SandboxBuilder {
    return new SandboxBuilder(name, async (options, call) => await Sandbox.create(options, call));
  }

  /** As {@link Sandbox.create}, for a sandbox of one task: it is removed as soon as it has stopped, unless `autoRemove` is false. */
  static async run(options: SandboxOptions = {}, call: SandboxCallOptions = {}): Promise<Sandbox> {
    return await Sandbox.create({ autoRemove: true, ...options }, call);
  }

  /** A sandbox that is there, by its name or id. Going out of scope leaves it as it is. @throws SallyportError SANDBOX_NOT_FOUND */
  static async get(name: string, call: SandboxCallOptions = {}): Promise<Sandbox> {
    const { connection = defaultConnection(), ...rest } = call;
    const info = await connection.ask<SandboxInfo>({ method: 'GET', path: pathOf(name) }, rest);
    return new Sandbox(connection, info, false);
  }

  /** All sandboxes, the oldest first. */
  static async list(call: SandboxCallOptions = {}): Promise<Sandbox[]> {
    const { connection = defaultConnection(), ...rest } = call;
    const question = { method: 'GET', path: SANDBOXES } as const;
    const { sandboxes } = await connection.ask<{ sandboxes: SandboxInfo[] }>(question, rest);
    return sandboxes.map((info) => new Sandbox(connection, info, false));
  }

  /** Removes a sandbox by its name or id. @throws SallyportError SANDBOX_NOT_FOUND, SANDBOX_RUNNING unless forced */
  static async remove(name: string, options: RemoveOptions & SandboxCallOptions = {}): Promise<void> {
    const { connection = defaultConnection(), force, ...rest } = options;
    await connection.ask({ method: 'DELETE', path: pathOf(name), query: { force } }, rest);
  }

  /** What was known of it when it was last asked for; {@link Sandbox.inspect} asks. */
  get info(): SandboxInfo {
    return this.#info;
  }

  /** What it is and does. @throws SallyportError SANDBOX_NOT_FOUND */
  async inspect(options: CallOptions = {}): Promise<SandboxInfo> {
    return await this.#change({ method: 'GET', path: this.#path }, options);
  }

  /**
   * Runs a command to its end and gathers what it writes. A command that fails is a result like any other: look at `success`.
   *
   * @param command looked up in the sandbox's PATH.
   * @throws SallyportError SANDBOX_NOT_RUNNING, EXEC_FAILED, ABORTED; SECRET_CONFLICT when the command holds a secret's value.
   */
  async exec(command: string, args: readonly string[] = [], options: ExecResultOptions = {}): Promise<ExecResult> {
    if (options.stdin === true) {
      throw new SallyportError(
        'USAGE',
        'exec() cannot leave standard input open; give it content, or use execStream().',
      );
    }
    const { maxOutputBytes, ...rest } = options;
    return await ExecStream.start(this.#connection, this.#path, words(command, args), rest).result({ maxOutputBytes });
  }

  /** Runs a command, whose events come as they happen. What keeps it from starting is thrown by the first use of the stream. */
  execStream(command: string, args: readonly string[] = [], options: ExecOptions = {}): ExecStream {
    return ExecStream.start(this.#connection, this.#path, words(command, args), options);
  }

  /** Runs a script with `sh -c`, as {@link Sandbox.exec} does. */
  async shell(script: string, options: ExecResultOptions = {}): Promise<ExecResult> {
    return await this.exec('sh', ['-c', script], options);
  }

  /** Its commands, those that run and the last that have ended; the oldest first. */
  async execs(options: CallOptions = {}): Promise<ExecInfo[]> {
    const question = { method: 'GET', path: `${this.#path}/execs` } as const;
    return (await this.#connection.ask<{ execs: ExecInfo[] }>(question, options)).execs;
  }

  /**
   * Takes up a command that somebody has started, by its id: its events from the beginning, its input, its signals. Going out of scope and
   * the signal of the options end the stream and not the command.
   *
   * @throws SallyportError EXEC_NOT_FOUND by the first use of the stream.
   */
  attach(id: string, options: AttachOptions = {}): ExecStream {
    return ExecStream.attach(this.#connection, this.#path, id, options);
  }

  /**
   * What its commands wrote, the oldest command first. Breaking out of the loop ends it. With `follow`, a daemon that is restarted is waited for,
   * and nothing is lost or comes twice.
   */
  async *logs(options: LogOptions = {}): AsyncGenerator<LogPiece, void, undefined> {
    const { exec, tail, after, follow = false, ...call } = options;
    using limit = startLimit(call);
    const { signal } = limit;
    let last = after;
    for (let isFollowing = follow; ; isFollowing = !(await this.#isOver(exec, signal))) {
      const query = { exec, tail: last === undefined ? tail : undefined, after: last, follow: isFollowing };
      try {
        for await (const { type, data, id = '' } of this.#connection.events(
          { method: 'GET', path: `${this.#path}/logs`, query },
          signal,
        )) {
          if (type === 'error') throw problemOf(data);
          const entry = JSON.parse(data) as LogEntry;
          last = id;
          const { exec: command, stream, time } = entry;
          yield { exec: command, stream, time, data: decodeBase64(entry.data), position: id };
        }
        // What came between the end of the stream and the end of the command is read by one that does not follow.
        if (!isFollowing) return;
      } catch (error) {
        if (follow && isGone(error)) return;
        if (!follow || !isUnreachable(error)) throw error;
        await this.#connection.waitForDaemon(signal);
      }
    }
  }

  /** Whether nothing more will be written. */
  async #isOver(exec: string | undefined, signal: AbortSignal): Promise<boolean> {
    for (;;) {
      try {
        if (exec === undefined) return !RUNNING_STATES.includes((await this.inspect({ signal })).state);
        const question = { method: 'GET', path: `${this.#path}/execs/${encodeURIComponent(exec)}` } as const;
        const { state } = await this.#connection.ask<ExecInfo>(question, { signal });
        return state === 'exited' || state === 'failed';
      } catch (error) {
        if (isGone(error)) return true;
        if (!isUnreachable(error)) throw error;
        await this.#connection.waitForDaemon(signal);
      }
    }
  }

  /** What the daemon did with it. With `follow`, a daemon that is restarted is waited for, and nothing is lost. */
  async *events(options: EventOptions = {}): AsyncGenerator<DaemonEvent, void, undefined> {
    const { after, follow, ...call } = options;
    using limit = startLimit(call);
    let last = after;
    for (;;) {
      const query = { sandbox: this.id, after: last, follow };
      try {
        for await (const { type, data } of this.#connection.events(
          { method: 'GET', path: '/v1/events', query },
          limit.signal,
        )) {
          if (type === 'error') throw problemOf(data);
          const event = JSON.parse(data) as DaemonEvent;
          last = event.id;
          yield event;
          if (event.type === 'sandbox.removed') return;
        }
      } catch (error) {
        if (follow !== true || !isUnreachable(error)) throw error;
      }
      if (follow !== true) return;
      await this.#connection.waitForDaemon(limit.signal);
    }
  }

  /** What it uses at this moment. @throws SallyportError SANDBOX_NOT_RUNNING */
  async stats(options: CallOptions = {}): Promise<SandboxStats> {
    return await this.#connection.ask({ method: 'GET', path: `${this.#path}/stats` }, options);
  }

  /** Starts it where it does not run: with the same secrets and placeholders, and an empty file system. */
  async start(options: CallOptions = {}): Promise<SandboxInfo> {
    return await this.#change({ method: 'POST', path: `${this.#path}/start` }, options);
  }

  /** Closes its gate, ends its commands, and stops it. One that does not run stays as it is. */
  async stop(options: StopOptions = {}): Promise<SandboxInfo> {
    const { timeoutMs, signal } = options;
    const question = { method: 'POST', path: `${this.#path}/stop`, body: { timeoutMs } } as const;
    return await this.#change(question, { signal }, (timeoutMs ?? DEFAULT_STOP_TIMEOUT_MS) + DEFAULT_TIMEOUT_MS);
  }

  /** Stops it without waiting for anything inside. */
  async kill(options: CallOptions = {}): Promise<SandboxInfo> {
    return await this.#change({ method: 'POST', path: `${this.#path}/kill` }, options);
  }

  /** Removes it. @throws SallyportError SANDBOX_RUNNING unless forced, SANDBOX_NOT_FOUND */
  async remove(options: RemoveOptions = {}): Promise<void> {
    await Sandbox.remove(this.id, { ...options, connection: this.#connection });
  }

  /** Waits until it does not run. @returns what it then is, or null when it has been removed */
  async waitUntilStopped(options: CallOptions = {}): Promise<SandboxInfo | null> {
    using limit = startLimit(options);
    const { signal } = limit;
    for (;;) {
      try {
        const info = await this.#change(
          { method: 'GET', path: `${this.#path}/wait` },
          { signal },
          Number.POSITIVE_INFINITY,
        );
        if (!RUNNING_STATES.includes(info.state)) return info;
      } catch (error) {
        if (isGone(error)) return null;
        if (!isUnreachable(error)) throw error;
        await this.#connection.waitForDaemon(signal);
      }
    }
  }

  /** Removes it, running or not, if this program has made it; otherwise it stays as it is. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#isOwn) return;
    try {
      await this.remove({ force: true });
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  async #change(question: Question, options: CallOptions, defaultMs?: number): Promise<SandboxInfo> {
    this.#info = await this.#connection.ask<SandboxInfo>(question, options, defaultMs);
    return this.#info;
  }
}

/** The words of a command. A text in the place of its arguments would be taken for a list of letters. @throws SallyportError USAGE */
function words(command: string, args: unknown): string[] {
  if (Array.isArray(args) && args.every((word) => typeof word === 'string')) return [command, ...args];
  throw new SallyportError(
    'USAGE',
    "The arguments of a command are a list of texts: exec('sh', ['-c', 'echo hello']).",
  );
}

function pathOf(name: string): string {
  if (name === '') throw new SallyportError('SANDBOX_NOT_FOUND', 'There is no sandbox without a name.');
  return `${SANDBOXES}/${encodeURIComponent(name)}`;
}

function problemOf(data: string): SallyportError {
  const { problem } = JSON.parse(data) as { problem: { code: string; detail: string } };
  return toError(problem.code, problem.detail);
}

function isGone(error: unknown): boolean {
  return error instanceof SallyportError && error.code === 'SANDBOX_NOT_FOUND';
}

function isUnreachable(error: unknown): boolean {
  return error instanceof SallyportError && error.code === 'DAEMON_UNREACHABLE';
}
