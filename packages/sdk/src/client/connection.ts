import process from 'node:process';
import type { DaemonStatus } from '../api/daemon.ts';
import { SallyportError } from '../errors.ts';
import { DaemonClient, isNobodyThere, type DaemonRequest } from './daemon-client.ts';
import { daemonSocket, launchDaemon } from './daemon-launch.ts';
import type { StreamEvent } from './event-stream.ts';
import { DEFAULT_TIMEOUT_MS, startLimit, untilAborted, type CallOptions, type Limit } from './limit.ts';

/** Which daemon to talk to. */
export interface ConnectionOptions {
  /** The Unix socket of a daemon, which is then not started when it is not there. Default: `SALLYPORT_SOCKET`, else the user's own. */
  readonly socket?: string | undefined;
  /** Start the user's own daemon when there is none. Default true, but never for a socket that was named. */
  readonly startsDaemon?: boolean | undefined;
  /** The `sallyport` command that starts it. Default: the one of the package `sallyport`, else the one in PATH. */
  readonly program?: string | undefined;
}

/** What is asked of the daemon; time and signal belong to the call. @internal */
export type Question = Omit<DaemonRequest, 'signal'>;

/** How long a stream that broke waits for its daemon to come back, and how long it pauses between two tries, in ms. */
const RECONNECT_TIMEOUT_MS = 30_000;
const RECONNECT_PAUSE_MS = 50;

/** A connection to one daemon. Programs that want the user's own daemon need none: everything uses that one unless told otherwise. */
export class Connection {
  /** The Unix socket of the daemon. */
  readonly socket: string;
  readonly #client: DaemonClient;
  readonly #launch: (() => Promise<void>) | undefined;
  #launching: Promise<void> | undefined;

  constructor(options: ConnectionOptions = {}) {
    const { socket, startsDaemon = true, program } = options;
    const isNamed = socket !== undefined || (process.env['SALLYPORT_SOCKET'] ?? '') !== '';
    this.socket = socket ?? daemonSocket(process.env);
    this.#client = new DaemonClient(this.socket);
    this.#launch = startsDaemon && !isNamed ? async () => await launchDaemon(program) : undefined;
  }

  /** What the daemon is and does; starts it where it is not there. @throws SallyportError DAEMON_UNREACHABLE */
  async status(options: CallOptions = {}): Promise<DaemonStatus> {
    return await this.ask({ method: 'GET', path: '/v1/daemon' }, options);
  }

  /** @internal */
  async ask<T>(
    question: Question,
    options: CallOptions,
    defaultMs: number | undefined = DEFAULT_TIMEOUT_MS,
  ): Promise<T> {
    using limit = startLimit(options, defaultMs);
    const { signal } = limit;
    return await this.#withDaemon(signal, question, async () => await this.#client.ask<T>({ ...question, signal }));
  }

  /** Bytes of an answer. The call's time goes on until they have been read. @internal */
  async bytes(question: Question, options: CallOptions): Promise<AsyncGenerator<Uint8Array, void, undefined>> {
    const limit = startLimit(options);
    try {
      const { signal } = limit;
      return underLimit(await this.#client.bytes({ ...question, signal }), limit);
    } catch (error) {
      limit[Symbol.dispose]();
      throw error;
    }
  }

  /** Events of an answer. @internal */
  async *events(question: Question, signal: AbortSignal): AsyncGenerator<StreamEvent, void, undefined> {
    const request = { ...question, signal };
    const events = await this.#withDaemon(signal, question, async () => {
      const stream = this.#client.events(request);
      return { stream, first: await stream.next() };
    });
    try {
      for (let next = events.first; next.done !== true; next = await events.stream.next()) yield next.value;
    } finally {
      await events.stream.return();
    }
  }

  /** Waits until a daemon that went away is back; starts it where that is this connection's business. @internal */
  async waitForDaemon(signal: AbortSignal): Promise<void> {
    const endMs = performance.now() + RECONNECT_TIMEOUT_MS;
    const question = { method: 'GET', path: '/v1/daemon' } as const;
    for (;;) {
      try {
        await this.#withDaemon(signal, question, async () => await this.#client.ask({ ...question, signal }));
        return;
      } catch (error) {
        const isAway = error instanceof SallyportError && error.code === 'DAEMON_UNREACHABLE';
        if (!isAway || performance.now() > endMs) throw error;
      }
      await untilAborted(new Promise((resolve) => setTimeout(resolve, RECONNECT_PAUSE_MS)), signal);
    }
  }

  /** Does it, and does it again with a daemon that was started, where there was none and so nothing was sent. */
  async #withDaemon<T>(signal: AbortSignal, { content }: Question, action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (error) {
      // Content can be read once only; what it goes to has been made before, by a daemon that was there.
      if (this.#launch === undefined || content !== undefined || !isNobodyThere(error)) throw error;
    }
    this.#launching ??= this.#launch().finally(() => (this.#launching = undefined));
    await untilAborted(this.#launching, signal);
    return await action();
  }
}

async function* underLimit<T>(
  items: AsyncGenerator<T, void, undefined>,
  limit: Limit,
): AsyncGenerator<T, void, undefined> {
  try {
    yield* items;
  } finally {
    limit[Symbol.dispose]();
  }
}

const shared = new Map<string, Connection>();

/** The connection that is used where none is given: to the user's own daemon, or the one that SALLYPORT_SOCKET names. @internal */
export function defaultConnection(): Connection {
  const socket = daemonSocket(process.env);
  let connection = shared.get(socket);
  if (connection === undefined) shared.set(socket, (connection = new Connection()));
  return connection;
}
