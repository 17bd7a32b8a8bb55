import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

/** One connection to make, as the client program takes it. */
export interface ExchangeJob {
  readonly host: string;
  readonly port: number;
  /** Given: the connection is to a proxy, which is asked to `CONNECT` to this. */
  readonly proxyTarget?: string;
  readonly tls?: {
    readonly sni: string | null;
    readonly alpn?: readonly string[];
    readonly verify: boolean;
    /** A root to trust beside the system's, PEM. */
    readonly ca?: string;
  };
  readonly send: readonly { readonly data: string; readonly delayMs?: number }[];
  readonly firstByteMs: number;
  /** Ends after this long without a byte, once something came. */
  readonly idleMs: number;
  readonly totalMs: number;
  /** Later bytes are counted, not kept. */
  readonly keepBytes: number;
}

/** How a connection went. */
export interface ExchangeAnswer {
  readonly stage: 'dial' | 'proxy' | 'tls' | 'exchange';
  readonly alpn: string | null;
  readonly end: string;
  /** Base64. */
  readonly received: string;
  readonly receivedBytes: number;
}

/** What the client program saw around it. */
export interface LookAnswer {
  readonly places: readonly { readonly where: string; readonly data: string }[];
}

/** The client half, which runs where the untrusted program would. */
export interface Client extends AsyncDisposable {
  /** What the variable named by `placeholderVariable` holds there. */
  readonly placeholder: string | null;
  /** The same of `secondVariable`. */
  readonly second: string | null;
  readonly exchange: (job: ExchangeJob, signal: AbortSignal) => Promise<ExchangeAnswer>;
  readonly look: (signal: AbortSignal) => Promise<LookAnswer>;
}

/** How to start the client half. */
export interface ClientOptions {
  /** A shell command in which `{}` stands for the client program; default: the program itself. */
  readonly command?: string;
  /** The Node that runs the program where the command puts it. */
  readonly node: string;
  readonly placeholderVariable?: string;
  readonly secondVariable?: string;
  readonly env: NodeJS.ProcessEnv;
  readonly startTimeoutMs: number;
}

const STOP_GRACE_MS = 3_000;
const STDERR_BYTES = 4_000;

/** A word for `sh`, quoted whatever it holds. */
export function quoteWord(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** Ends a process group: politely, then not. */
export async function stopGroup(child: ChildProcess): Promise<void> {
  const { pid } = child;
  if (pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const kill = (signal: NodeJS.Signals): void => {
    try {
      process.kill(-pid, signal);
    } catch {
      // Gone in the meantime.
    }
  };
  kill('SIGTERM');
  const timer = setTimeout(() => kill('SIGKILL'), STOP_GRACE_MS);
  await gone;
  clearTimeout(timer);
}

interface Greeting {
  readonly placeholder: string | null;
  readonly second: string | null;
}

/**
 * Starts the client half.
 *
 * @throws Error when the command ends or says nothing within `startTimeoutMs`.
 */
export async function startClient(options: ClientOptions): Promise<Client> {
  const program = readFileSync(new URL('client-program.mjs', import.meta.url), 'utf8');
  const words = [
    options.node,
    '--input-type=module',
    '-e',
    program,
    '--',
    options.placeholderVariable ?? '',
    options.secondVariable ?? '',
  ];
  const command = (options.command ?? '{}').replace('{}', () => words.map(quoteWord).join(' '));
  const child = spawn('/bin/sh', ['-c', command], { env: options.env, stdio: 'pipe', detached: true });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr = `${stderr}${chunk.toString()}`.slice(-STDERR_BYTES)));
  child.stdin.on('error', () => undefined);
  const waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>();
  let lastId = 0;
  let gone: Error | undefined;
  const greeting = Promise.withResolvers<Greeting>();
  const timer = setTimeout(
    () => greeting.reject(new Error(`the client half said nothing for ${options.startTimeoutMs} ms: ${stderr}`)),
    options.startTimeoutMs,
  );
  const fail = (message: string): void => {
    gone = new Error(`${message} ${stderr}`.trim());
    greeting.reject(gone);
    for (const { reject } of waiting.values()) reject(gone);
    waiting.clear();
  };
  child.once('error', (error) => fail(`the client half did not start: ${error.message}`));
  child.once('exit', (code, signal) => fail(`the client half ended (${code ?? signal}).`));
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (!line.startsWith('{')) return; // Notices of a wrapper.
    let message: { id?: number; ready?: boolean; failure?: string } & Greeting;
    try {
      message = JSON.parse(line) as typeof message;
    } catch {
      // Its last line is cut when it ends while it writes: whoever waits for that answer is told.
      fail(`the client half wrote a line that is not JSON, ${line.length} characters long.`);
      return;
    }
    if (message.ready === true) greeting.resolve(message);
    const one = waiting.get(message.id ?? 0);
    waiting.delete(message.id ?? 0);
    if (message.failure !== undefined) one?.reject(new Error(message.failure));
    else one?.resolve(message);
  });

  const order = (job: object, signal: AbortSignal): Promise<unknown> => {
    if (gone !== undefined) return Promise.reject(gone);
    const id = ++lastId;
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      signal.addEventListener('abort', () => {
        waiting.delete(id);
        reject(new Error('out of time'));
      });
      child.stdin.write(`${JSON.stringify({ id, ...job })}\n`);
    });
  };
  const stop = async (): Promise<void> => {
    clearTimeout(timer);
    child.stdin.end();
    await stopGroup(child);
  };
  try {
    const { placeholder, second } = await greeting.promise;
    clearTimeout(timer);
    return {
      placeholder,
      second,
      exchange: async (job, signal) => (await order({ kind: 'exchange', ...job }, signal)) as ExchangeAnswer,
      look: async (signal) => (await order({ kind: 'look' }, signal)) as LookAnswer,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
