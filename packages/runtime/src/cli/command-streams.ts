import { spawnSync } from 'node:child_process';
import { isatty } from 'node:tty';
import { SallyportError, type ExecCreate, type ExecEvent, type ExecInfo, type SignalName } from '@sallyport/sdk';
import { findTool, TOOL_ENVIRONMENT } from '../airlock/required-tools.ts';
import type { DaemonClient } from '@sallyport/sdk/daemon-client';
import { waitForDaemon, writeOut } from './daemon-connection.ts';
import { StandardInput } from './standard-input.ts';

/** Signals that are the command's, not ours. */
const FORWARDED_SIGNALS: readonly SignalName[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'];

/** What {@link followCommand} needs. */
export interface FollowOptions {
  readonly sandboxPath: string;
  /** A command to start, or one that runs. */
  readonly command: { readonly start: ExecCreate } | { readonly attach: ExecInfo };
  /** Whether standard input is passed on. */
  readonly passesInput: boolean;
  /** Whether signals are the command's; otherwise they end this program alone. */
  readonly passesSignals: boolean;
  /** Whether Ctrl-P Ctrl-Q at a terminal leaves the command to itself. */
  readonly canDetach: boolean;
}

/** The size of the terminal that this program writes to, or what is usual. */
export function terminalSize(): { columns: number; rows: number } {
  return { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 };
}

/**
 * Passes the streams, signals and sizes of a command on until its end. A daemon that is restarted meanwhile is waited for.
 *
 * @returns the exit status, or null when the user has left the command to itself.
 */
export async function followCommand(client: DaemonClient, options: FollowOptions): Promise<number | null> {
  const { sandboxPath, command, passesInput } = options;
  const base = `${sandboxPath}/execs`;
  const hasTerminal = 'start' in command ? command.start.terminal !== undefined : command.attach.terminal;
  const connection = new CommandConnection(client, passesInput, hasTerminal, options.canDetach);
  let exec: string | undefined;
  let after: string | undefined;
  let events: ReturnType<DaemonClient['events']>;
  const signal = connection.left;
  if (options.passesSignals) connection.takeSignals();
  if ('start' in command) events = client.events({ method: 'POST', path: base, body: command.start, signal });
  else {
    exec = command.attach.id;
    connection.open(`${base}/${exec}`, true);
    events = client.events({ method: 'GET', path: `${base}/${exec}/events`, signal });
  }
  try {
    for (;;) {
      try {
        for await (const { data, id } of events) {
          const event = JSON.parse(data) as ExecEvent;
          switch (event.type) {
            case 'started':
              exec = event.exec.id;
              connection.open(`${base}/${exec}`, false);
              break;
            case 'stdout':
            case 'stderr':
              await writeOut(
                event.type === 'stdout' ? process.stdout : process.stderr,
                Buffer.from(event.data, 'base64'),
              );
              break;
            case 'gap':
              process.stderr.write('sallyport: some of the output is no longer kept\n');
              break;
            case 'exit':
              if (event.outOfMemory) process.stderr.write('sallyport: the memory limit was reached\n');
              if (event.timedOut) process.stderr.write('sallyport: the time limit has passed\n');
              return event.exitCode;
            case 'error':
              throw new SallyportError(event.problem.code, event.problem.detail);
            default:
              event satisfies never;
          }
          if (id !== undefined) after = id;
        }
        if (signal.aborted) return null;
        if (exec === undefined) throw new SallyportError('PROTOCOL_FAILED', 'The daemon did not start the command.');
      } catch (error) {
        if (signal.aborted) return null;
        const isBroken = error instanceof SallyportError && error.code === 'DAEMON_UNREACHABLE';
        if (!isBroken || exec === undefined) throw error;
      }
      await waitForDaemon(client);
      connection.reopen();
      const position = after === undefined ? '' : `?after=${encodeURIComponent(after)}`;
      events = client.events({ method: 'GET', path: `${base}/${exec}/events${position}`, signal });
    }
  } finally {
    connection.close();
  }
}

/**
 * Takes the terminal's own handling away, which is the inner terminal's. Node leaves the one of output on, so that a bare line feed, by which
 * programs move the cursor down, would go to the line's beginning as well.
 */
function makeRaw(): void {
  process.stdin.setRawMode(true);
  const stty = findTool('stty');
  if (stty !== undefined) spawnSync(stty, ['-opost'], { stdio: [0, 'ignore', 'ignore'], env: TOOL_ENVIRONMENT });
}

/** What goes to a command: input, signals, the size of the terminal. */
class CommandConnection {
  readonly #client: DaemonClient;
  readonly #input: StandardInput | null;
  readonly #hasTerminal: boolean;
  readonly #leaving = new AbortController();
  readonly #undo: (() => void)[] = [];
  /** Signals that came before there was a command to pass them on to. */
  #early: SignalName[] = [];
  #path: string | null = null;
  #isSending = false;

  constructor(client: DaemonClient, passesInput: boolean, hasTerminal: boolean, canDetach: boolean) {
    this.#client = client;
    this.#hasTerminal = hasTerminal;
    const isTerminal = hasTerminal && isatty(0);
    const onDetach = canDetach && isTerminal ? () => this.#leaving.abort() : undefined;
    this.#input = passesInput ? new StandardInput(process.stdin, onDetach) : null;
  }

  /** Aborted when the user leaves the command to itself. */
  get left(): AbortSignal {
    return this.#leaving.signal;
  }

  takeSignals(): void {
    for (const signal of FORWARDED_SIGNALS) {
      const listener = (): void => {
        if (this.#path === null) this.#early.push(signal);
        else this.#send('signal', { signal });
      };
      process.on(signal, listener);
      this.#undo.push(() => process.removeListener(signal, listener));
    }
  }

  /** There is a command. @param isOther whether its terminal was another one before, perhaps of another size. */
  open(path: string, isOther: boolean): void {
    this.#path = path;
    for (const signal of this.#early.splice(0)) this.#send('signal', { signal });
    if (this.#hasTerminal) {
      const onResize = (): void => this.#send('resize', terminalSize());
      process.stdout.on('resize', onResize);
      this.#undo.push(() => process.stdout.removeListener('resize', onResize));
      if (isOther && process.stdout.isTTY) onResize();
      if (this.#input !== null && isatty(0)) {
        makeRaw();
        this.#undo.push(() => void process.stdin.setRawMode(false));
      }
    }
    this.reopen();
  }

  /** Goes on with the input where a daemon that ended left off. */
  reopen(): void {
    if (this.#input === null || this.#path === null || this.#isSending || this.#input.isDelivered) return;
    this.#isSending = true;
    const input = this.#input;
    void this.#client
      .ask({ method: 'POST', path: `${this.#path}/stdin`, content: input.open(), signal: this.left })
      .then(
        () => input.noteDelivered(),
        () => undefined,
      )
      .finally(() => (this.#isSending = false));
  }

  close(): void {
    for (const each of this.#undo.splice(0)) each();
    this.#input?.close();
  }

  #send(what: 'signal' | 'resize', body: unknown): void {
    void this.#client.ask({ method: 'POST', path: `${this.#path ?? ''}/${what}`, body }).catch(() => undefined);
  }
}
