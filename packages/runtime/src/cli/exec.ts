import { isatty } from 'node:tty';
import { SallyportError, type ExecCreate, type ExecEvent, type SignalName } from '@sallyport/sdk';
import type { Command } from 'commander';
import type { DaemonClient } from '../client/daemon-client.ts';
import { parseDuration } from '../sandbox/limits.ts';
import { isEnvironmentName } from '../secrets/secret-spec.ts';
import { connect, sandboxPath } from './daemon-connection.ts';

/** Signals that are the command's, not ours. */
const FORWARDED_SIGNALS: readonly SignalName[] = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'];
/** How long a daemon that is restarted may be away while the command goes on, in ms. */
const RECONNECT_MS = 60_000;
const RECONNECT_PAUSE_MS = 100;

interface ExecFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly env?: readonly string[];
  readonly workdir?: string;
  readonly user?: string;
  readonly timeout?: string;
}

function collect(value: string, previous: readonly string[] = []): readonly string[] {
  return [...previous, value];
}

/** Adds `sallyport exec`. `command` is what stands after `--`; null where there is no `--`. */
export function addExecCommand(
  program: Command,
  command: readonly string[] | null,
  settle: (status: number) => void,
): void {
  program
    .command('exec')
    .usage('[options] NAME -- COMMAND [ARG...]')
    .summary('run a command in a named sandbox')
    .description(
      "Run COMMAND in a sandbox that the daemon keeps. It goes on when this program is killed. Exit status: the command's own, as for run.",
    )
    .argument('<name>', 'the sandbox')
    .option('-i, --interactive', 'pass standard input on')
    .option('-t, --tty', 'give the command a terminal')
    .option('-e, --env <variable>', 'K=V sets a variable, K passes the one of the host', collect)
    .option('-w, --workdir <directory>', 'working directory in the sandbox')
    .option('-u, --user <user>', "another user than the sandbox's own (not supported yet)")
    .option('--timeout <duration>', 'end the command after this time, such as 30s, 10m, 1h')
    .action(async (name: string, flags: ExecFlags) => {
      if (command === null || command.length === 0) {
        throw new SallyportError(
          'USAGE',
          'There is no command. Write sallyport exec [options] NAME -- COMMAND [ARG...].',
        );
      }
      const request: ExecCreate = {
        command: [...command],
        env: readVariables(flags.env ?? []),
        stdin: flags.interactive === true,
        ...(flags.workdir === undefined ? {} : { workdir: flags.workdir }),
        ...(flags.user === undefined ? {} : { user: flags.user }),
        ...(flags.timeout === undefined ? {} : { timeoutMs: parseDuration(flags.timeout) }),
        ...(flags.tty === true ? { terminal: terminalSize() } : {}),
      };
      settle(await execute(await connect(), name, request));
    });
}

function readVariables(texts: readonly string[]): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const text of texts) {
    const split = text.indexOf('=');
    const name = split < 0 ? text : text.slice(0, split);
    if (!isEnvironmentName(name)) {
      throw new SallyportError(
        'INVALID_ENVIRONMENT',
        '--env: what stands there is no variable name. Write NAME=VALUE, or NAME.',
      );
    }
    const value = split < 0 ? process.env[name] : text.slice(split + 1);
    if (value !== undefined) variables[name] = value;
  }
  return variables;
}

function terminalSize(): { columns: number; rows: number } {
  return { columns: process.stdout.columns ?? 80, rows: process.stdout.rows ?? 24 };
}

/** Runs a command and passes its streams on; a daemon that is restarted meanwhile is waited for. */
async function execute(client: DaemonClient, name: string, request: ExecCreate): Promise<number> {
  const base = `${sandboxPath(name)}/execs`;
  let exec: string | undefined;
  let after: string | undefined;
  let cleanUp: () => void = () => undefined;
  let events = client.events({ method: 'POST', path: base, body: request });
  try {
    for (;;) {
      try {
        for await (const { data, id } of events) {
          const event = JSON.parse(data) as ExecEvent;
          if (id !== undefined) after = id;
          switch (event.type) {
            case 'started':
              exec = event.exec.id;
              cleanUp = connectStreams(client, `${base}/${exec}`, request);
              break;
            case 'stdout':
            case 'stderr':
              await write(event.type === 'stdout' ? process.stdout : process.stderr, Buffer.from(event.data, 'base64'));
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
        }
        if (exec === undefined) throw new SallyportError('PROTOCOL_FAILED', 'The daemon did not start the command.');
      } catch (error) {
        const isBroken = error instanceof SallyportError && error.code === 'DAEMON_UNREACHABLE';
        if (!isBroken || exec === undefined) throw error;
      }
      await waitForDaemon(client);
      const position = after === undefined ? '' : `?after=${encodeURIComponent(after)}`;
      events = client.events({ method: 'GET', path: `${base}/${exec}/events${position}` });
    }
  } finally {
    cleanUp();
  }
}

async function waitForDaemon(client: DaemonClient): Promise<void> {
  const { findDaemon } = await import('../client/start-daemon.ts');
  const endMs = performance.now() + RECONNECT_MS;
  while ((await findDaemon(client)) === undefined) {
    if (performance.now() > endMs) {
      throw new SallyportError(
        'DAEMON_UNREACHABLE',
        'The daemon has ended, and the command goes on without it. Start it again: sallyport daemon start.',
      );
    }
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_PAUSE_MS));
  }
}

/** Passes input, signals and sizes on. Returns what undoes it. */
function connectStreams(client: DaemonClient, path: string, request: ExecCreate): () => void {
  const send = (request_: { path: string; body: unknown }): void =>
    void client.ask({ method: 'POST', ...request_ }).catch(() => undefined);
  const undo: (() => void)[] = [];
  for (const signal of FORWARDED_SIGNALS) {
    const listener = (): void => send({ path: `${path}/signal`, body: { signal } });
    process.on(signal, listener);
    undo.push(() => process.removeListener(signal, listener));
  }
  if (request.terminal !== undefined) {
    const onResize = (): void => send({ path: `${path}/resize`, body: terminalSize() });
    process.stdout.on('resize', onResize);
    undo.push(() => process.stdout.removeListener('resize', onResize));
    if (request.stdin === true && isatty(0)) {
      process.stdin.setRawMode(true);
      undo.push(() => void process.stdin.setRawMode(false));
    }
  }
  if (request.stdin === true) {
    void client.ask({ method: 'POST', path: `${path}/stdin`, content: process.stdin }).catch(() => undefined);
    undo.push(() => void process.stdin.destroy());
  }
  return () => {
    for (const each of undo) each();
  };
}

async function write(stream: NodeJS.WriteStream, bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve) => stream.write(bytes, () => resolve()));
}
