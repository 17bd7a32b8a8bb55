import type { ExecCreate, ExecEvent, ExecInfo, SignalName, TerminalSize } from '../api/execs.ts';
import { SallyportError } from '../errors.ts';
import type { Connection } from './connection.ts';
import { decodeBase64, joinBytes, toStream, type Content } from './content.ts';
import { toError } from './daemon-client.ts';
import { startLimit, type CallOptions, type Limit } from './limit.ts';

/** How a command runs. */
export interface ExecOptions {
  /** Variables on top of the sandbox's own. Values of secrets are refused. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Where it starts, in the sandbox. Default: the sandbox's own. */
  readonly workdir?: string | undefined;
  /** `USER[:GROUP]`, by name or number: the sandbox's own user, and no other (USER_REFUSED). Default: that user. */
  readonly user?: string | undefined;
  /** Its standard input: content that is sent, or `true` to keep it open for {@link ExecStream.stdin}. Default: empty. */
  readonly stdin?: Content | true | undefined;
  /** Give it a terminal of this size. Standard error then comes out as standard output. */
  readonly terminal?: TerminalSize | undefined;
  /** After this time, in ms: SIGTERM, and SIGKILL 10 s later; `timedOut` tells. Default: never. */
  readonly timeoutMs?: number | undefined;
  /** Ends the command with SIGKILL; the call rejects with ABORTED, or TIMED_OUT for a signal of `AbortSignal.timeout()`. */
  readonly signal?: AbortSignal | undefined;
}

/** How a command is taken up that runs already. */
export interface AttachOptions {
  /** Ends the reading; the command goes on. The call rejects with ABORTED, or TIMED_OUT for a signal of `AbortSignal.timeout()`. */
  readonly signal?: AbortSignal | undefined;
}

/** What is read: a command to be started, or one that was. */
type Subject = { readonly request: ExecCreate } | { readonly id: string };

/** What happens with a command, in its order. The last event is `exit`. */
export type ExecStreamEvent =
  /** It runs; `id` is what the daemon calls it. */
  | { readonly type: 'started'; readonly id: string }
  | { readonly type: 'stdout' | 'stderr'; readonly data: Uint8Array<ArrayBuffer>; readonly time: string }
  /** Output that the daemon no longer keeps is missing here. */
  | { readonly type: 'gap' }
  /** `exitCode` as a shell gives it: 126 or 127 when it could not be started, 128+n for signal n. */
  | { readonly type: 'exit'; readonly exitCode: number; readonly timedOut: boolean; readonly outOfMemory: boolean };

/** What a command came to. */
export interface ExecResult {
  /** As a shell gives it: the command's own, 126 or 127 when it could not be started, 128+n when signal n ended it. */
  readonly exitCode: number;
  /** Whether the exit code is 0. */
  readonly success: boolean;
  /** As UTF-8; what is none becomes U+FFFD. */
  readonly stdout: string;
  readonly stderr: string;
  readonly stdoutBytes: Uint8Array<ArrayBuffer>;
  readonly stderrBytes: Uint8Array<ArrayBuffer>;
  /** Whether its time limit ended it. */
  readonly timedOut: boolean;
  /** Whether the memory limit of the sandbox was met. */
  readonly outOfMemory: boolean;
  /** Whether output is missing, beyond what is kept of each stream: 64 MiB here unless `maxOutputBytes` says otherwise. */
  readonly truncated: boolean;
}

/** The most that is kept of each output stream unless something else is asked for, in bytes. */
const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;
/** How long an aborted call waits for the end of its command, in ms. */
const ABORT_GRACE_MS = 5_000;

/** The standard input of a command that runs. */
export interface ExecInput {
  /** Writes, after what was written before; resolves when the daemon has passed it on. @throws SallyportError EXEC_ENDED */
  write(content: Content, options?: CallOptions): Promise<void>;
  /** Ends the input. @throws SallyportError EXEC_ENDED */
  end(options?: CallOptions): Promise<void>;
}

/**
 * A command that runs: an async iterable of its events, read as fast as they are taken. It can be iterated once.
 *
 * A daemon that is restarted meanwhile is waited for, and nothing is lost or comes twice. Who stops iterating leaves the command running;
 * {@link ExecStream.kill}, the signal of its options or `await using` ends it. One that was taken up by `sandbox.attach()` is ended by `kill()` alone.
 */
export class ExecStream implements AsyncIterable<ExecStreamEvent>, AsyncDisposable {
  readonly #connection: Connection;
  readonly #base: string;
  readonly #limit: Limit;
  /** Ends the reading only: the command must be known before it can be ended. */
  readonly #reading = new AbortController();
  readonly #started: Promise<string>;
  readonly #events: AsyncGenerator<ExecStreamEvent, void, undefined>;
  #first: IteratorResult<ExecStreamEvent, void> | undefined;
  #isTaken = false;
  #isOver = false;
  /** Whether its end is this stream's business. */
  readonly #isOwn: boolean;
  /** Its standard input, where `stdin: true` keeps that open. */
  readonly stdin: ExecInput;

  private constructor(connection: Connection, sandboxPath: string, subject: Subject, options: ExecOptions) {
    this.#connection = connection;
    this.#base = `${sandboxPath}/execs`;
    this.#isOwn = 'request' in subject;
    this.#limit = startLimit(callOptionsOf(options));
    this.#limit.signal.addEventListener('abort', () => void this.#onAbort(), { once: true });
    this.#events = this.#read(subject);
    this.#started = this.#start();
    // Whoever waits hears of it; nobody has to.
    this.#started.catch(() => undefined);
    this.stdin = {
      write: async (content, options = {}) => await this.#write(content, false, options),
      end: async (options = {}) => await this.#write('', true, options),
    };
    const { stdin } = options;
    if (stdin === undefined || stdin === true) return;
    // Nobody waits for input that is left when the command has ended.
    const { signal } = this.#reading;
    void this.#write(stdin, true, { signal }).catch(async (error: unknown) => await this.#onInputError(error));
  }

  /** @internal */
  static start(
    connection: Connection,
    sandboxPath: string,
    command: readonly string[],
    options: ExecOptions,
  ): ExecStream {
    return new ExecStream(connection, sandboxPath, { request: requestOf(command, options) }, options);
  }

  /** @internal */
  static attach(connection: Connection, sandboxPath: string, id: string, options: AttachOptions): ExecStream {
    return new ExecStream(connection, sandboxPath, { id }, { ...options });
  }

  /** What the daemon calls the command, as soon as it runs. @throws SallyportError why it could not be started */
  get id(): Promise<string> {
    return this.#started;
  }

  /** Signals the process group of the command. @throws SallyportError EXEC_ENDED when it does not run any more */
  async signal(signal: SignalName, options: CallOptions = {}): Promise<void> {
    const path = `${this.#base}/${await this.#started}/signal`;
    await this.#connection.ask({ method: 'POST', path, body: { signal } }, options);
  }

  /** Ends the command and all that it started, unless another signal than SIGKILL is named. One that has ended stays as it is. */
  async kill(signal: SignalName = 'SIGKILL', options: CallOptions = {}): Promise<void> {
    try {
      await this.signal(signal, options);
    } catch (error) {
      if (!(error instanceof SallyportError && error.code === 'EXEC_ENDED')) throw error;
    }
  }

  /** Changes the size of its terminal. @throws SallyportError EXEC_FAILED without one, EXEC_ENDED */
  async resize(size: TerminalSize, options: CallOptions = {}): Promise<void> {
    const path = `${this.#base}/${await this.#started}/resize`;
    await this.#connection.ask({ method: 'POST', path, body: size }, options);
  }

  /**
   * Reads everything to the end.
   *
   * @param options `maxOutputBytes`: the most that is kept of each stream, 64 MiB unless something else is asked for.
   */
  async result(options: { readonly maxOutputBytes?: number | undefined } = {}): Promise<ExecResult> {
    const { maxOutputBytes = MAX_OUTPUT_BYTES } = options;
    const kept = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
    const left = { stdout: maxOutputBytes, stderr: maxOutputBytes };
    let truncated = false;
    for await (const event of this) {
      switch (event.type) {
        case 'stdout':
        case 'stderr': {
          const piece = event.data.subarray(0, left[event.type]);
          if (piece.length < event.data.length) truncated = true;
          left[event.type] -= piece.length;
          if (piece.length > 0) kept[event.type].push(piece);
          break;
        }
        case 'gap':
          truncated = true;
          break;
        case 'exit': {
          const { exitCode, timedOut, outOfMemory } = event;
          const [stdoutBytes, stderrBytes] = [joinBytes(kept.stdout), joinBytes(kept.stderr)];
          const decoder = new TextDecoder();
          return {
            exitCode,
            success: exitCode === 0,
            stdout: decoder.decode(stdoutBytes),
            stderr: decoder.decode(stderrBytes),
            stdoutBytes,
            stderrBytes,
            timedOut,
            outOfMemory,
            truncated,
          };
        }
        case 'started':
          break;
        default:
          event satisfies never;
      }
    }
    throw new SallyportError('PROTOCOL_FAILED', 'The events of the command ended without its exit.');
  }

  /** @throws SallyportError USAGE when it is iterated for the second time */
  [Symbol.asyncIterator](): AsyncGenerator<ExecStreamEvent, void, undefined> {
    if (this.#isTaken) throw new SallyportError('USAGE', 'The events of a command can be read once only.');
    this.#isTaken = true;
    return this.#deliver();
  }

  /** Ends the command if it still runs; one that was only taken up goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      if (!this.#isOver && this.#isOwn) await this.kill();
    } catch (error) {
      // One that never started needs no end, nor does one of a sandbox that is gone.
      if (!(error instanceof SallyportError)) throw error;
    } finally {
      this.#reading.abort(new SallyportError('ABORTED', 'The command was disposed of.'));
      this.#limit[Symbol.dispose]();
    }
  }

  async #start(): Promise<string> {
    this.#first = await this.#events.next();
    if (this.#first.done !== true && this.#first.value.type === 'started') return this.#first.value.id;
    throw new SallyportError('PROTOCOL_FAILED', 'The daemon did not start the command.');
  }

  async *#deliver(): AsyncGenerator<ExecStreamEvent, void, undefined> {
    try {
      await this.#started;
      this.#limit.signal.throwIfAborted();
      const first = this.#first;
      this.#first = undefined;
      if (first?.done === false) yield first.value;
      yield* this.#events;
    } finally {
      this.#reading.abort(new SallyportError('ABORTED', 'The events of the command are not read any more.'));
      this.#limit[Symbol.dispose]();
    }
  }

  /** The events of the command, taken up again where a connection breaks. */
  async *#read(subject: Subject): AsyncGenerator<ExecStreamEvent, void, undefined> {
    const { signal } = this.#reading;
    let id: string | undefined;
    let after: string | undefined;
    if ('id' in subject) {
      const path = `${this.#base}/${encodeURIComponent(subject.id)}`;
      ({ id } = await this.#connection.ask<ExecInfo>({ method: 'GET', path }, { signal }));
      yield { type: 'started', id };
    }
    for (;;) {
      const question =
        id === undefined && 'request' in subject
          ? ({ method: 'POST', path: this.#base, body: subject.request } as const)
          : ({ method: 'GET', path: `${this.#base}/${id}/events`, query: { after } } as const);
      try {
        for await (const event of this.#connection.events(question, signal)) {
          if (event.id !== undefined) after = event.id;
          const data = JSON.parse(event.data) as ExecEvent;
          switch (data.type) {
            case 'started':
              ({ id } = data.exec);
              yield { type: 'started', id };
              break;
            case 'stdout':
            case 'stderr':
              yield { type: data.type, data: decodeBase64(data.data), time: data.time };
              break;
            case 'gap':
              yield { type: 'gap' };
              break;
            case 'exit':
              this.#isOver = true;
              yield data;
              return;
            case 'error':
              this.#isOver = true;
              throw toError(data.problem.code, data.problem.detail);
            default:
              data satisfies never;
          }
        }
      } catch (error) {
        const isBroken = error instanceof SallyportError && error.code === 'DAEMON_UNREACHABLE';
        if (!isBroken || id === undefined) throw error;
      }
      if (id === undefined) throw new SallyportError('PROTOCOL_FAILED', 'The daemon did not start the command.');
      await this.#connection.waitForDaemon(signal);
    }
  }

  async #write(content: Content, end: boolean, options: CallOptions): Promise<void> {
    const path = `${this.#base}/${await this.#started}/stdin`;
    const { length, chunks } = toStream(content);
    const question = { method: 'POST', path, query: { end }, content: chunks, contentLength: length } as const;
    await this.#connection.ask(question, options, Number.POSITIVE_INFINITY);
  }

  /** A command that does not read all of its input is no failure; a source of input that fails ends the command. */
  async #onInputError(reason: unknown): Promise<void> {
    if (reason instanceof SallyportError && (reason.code === 'EXEC_ENDED' || reason.code === 'ABORTED')) return;
    await this.kill().catch(() => undefined);
    this.#reading.abort(reason);
  }

  /** The command is ended first: once it is not read any more, nobody would know it. A daemon that does not answer is not waited for. */
  async #onAbort(): Promise<void> {
    if (!this.#isOver && this.#isOwn) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const grace = new Promise((resolve) => (timer = setTimeout(resolve, ABORT_GRACE_MS)));
      await Promise.race([this.kill().catch(() => undefined), grace]);
      clearTimeout(timer);
    }
    this.#reading.abort(this.#limit.signal.reason);
  }
}

function callOptionsOf({ signal }: ExecOptions): CallOptions {
  return { signal };
}

function requestOf(command: readonly string[], options: ExecOptions): ExecCreate {
  const { env, workdir, user, stdin, terminal, timeoutMs } = options;
  return {
    command: [...command],
    ...(env === undefined ? {} : { env: { ...env } }),
    ...(workdir === undefined ? {} : { workdir }),
    ...(user === undefined ? {} : { user }),
    ...(stdin === undefined ? {} : { stdin: true }),
    ...(terminal === undefined ? {} : { terminal }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
}
