import { Agent, request as httpRequest, type ClientRequest, type IncomingMessage } from 'node:http';
import { ERROR_CODES, SallyportError, type ErrorCode } from '../errors.ts';
import type { Problem } from '../api/problem.ts';
import { joinBytes } from './content.ts';
import { readEvents, type StreamEvent } from './event-stream.ts';
import { untilAborted } from './limit.ts';

/** A request to the daemon. */
export interface DaemonRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** What is undefined is left out. */
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it comes, instead of a body. */
  readonly content?: AsyncIterable<Uint8Array>;
  /** Of the content, in bytes; left out where it is not known. */
  readonly contentLength?: number | undefined;
  /** Its reason is what the call rejects with. Default: nothing ends it early. */
  readonly signal?: AbortSignal | undefined;
}

/** Talks HTTP to the daemon at a Unix socket. */
export class DaemonClient {
  readonly #socketPath: string;
  // A connection for each request: a Unix socket costs next to nothing, an idle one could break just when it is used again, and Deno does
  // not end while one is open.
  readonly #agent = new Agent({ keepAlive: false });

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /**
   * Asks, and resolves to the answer's JSON (undefined where it has none).
   *
   * @throws SallyportError the daemon's own, or DAEMON_UNREACHABLE, PROTOCOL_FAILED; the signal's reason.
   */
  async ask<T>(request: DaemonRequest): Promise<T> {
    const { signal = never() } = request;
    const text = await readText(await this.#send({ ...request, signal }, 'application/json'), signal);
    if (text === '') return undefined as T;
    try {
      return JSON.parse(text) as T;
    } catch {
      throw new SallyportError(
        'PROTOCOL_FAILED',
        'The daemon answered with something else than JSON. Restart it: sallyport daemon restart.',
      );
    }
  }

  /** Asks for an event stream. Ends when the daemon ends it. @throws SallyportError also when the connection breaks. */
  async *events(request: DaemonRequest): AsyncGenerator<StreamEvent, void, undefined> {
    const { signal = never() } = request;
    const response = await this.#send({ ...request, signal }, 'text/event-stream');
    yield* readEvents(readBody(response, signal));
  }

  /** Asks for bytes. They end early, with an error, when the daemon's answer does. */
  async bytes(request: DaemonRequest): Promise<AsyncGenerator<Uint8Array, void, undefined>> {
    const { signal = never() } = request;
    return readBody(await this.#send({ ...request, signal }, '*/*'), signal);
  }

  async #send(request: DaemonRequest & { readonly signal: AbortSignal }, accept: string): Promise<IncomingMessage> {
    const { method, body, content, contentLength, signal } = request;
    signal.throwIfAborted();
    const text = body === undefined ? undefined : new TextEncoder().encode(JSON.stringify(body));
    const length = text?.length ?? contentLength;
    const outgoing = httpRequest({
      socketPath: this.#socketPath,
      agent: this.#agent,
      method,
      path: request.path + formatQuery(request.query),
      headers: {
        host: 'daemon',
        accept,
        ...(length === undefined ? {} : { 'content-length': length }),
        ...(text === undefined ? {} : { 'content-type': 'application/json' }),
        ...(content === undefined ? {} : { 'content-type': 'application/octet-stream' }),
      },
    });
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      outgoing.once('response', resolve);
      // Once it was answered the answer tells; but an error must have a listener.
      outgoing.on('error', (cause) => reject(unreachable('The daemon cannot be reached', cause)));
    });
    let response: IncomingMessage;
    try {
      if (content === undefined) {
        outgoing.end(text);
        response = await untilAborted(answered, signal);
      } else {
        response = await untilAborted(upload(content, outgoing, answered), signal);
      }
    } catch (error) {
      answered.catch(() => undefined);
      outgoing.destroy();
      throw error;
    }
    const status = response.statusCode ?? 500;
    if (status < 400) return response;
    throw problemError(status, await readText(response, signal));
  }
}

function never(): AbortSignal {
  return new AbortController().signal;
}

function formatQuery(query: DaemonRequest['query']): string {
  const parts = Object.entries(query ?? {}).flatMap(([name, value]) =>
    value === undefined ? [] : [`${encodeURIComponent(name)}=${encodeURIComponent(value)}`],
  );
  return parts.length === 0 ? '' : `?${parts.join('&')}`;
}

/** Sends content as fast as it is taken. The daemon may answer before it has read everything; its answer says why. */
async function upload(
  content: AsyncIterable<Uint8Array>,
  outgoing: ClientRequest,
  answered: Promise<IncomingMessage>,
): Promise<IncomingMessage> {
  const pieces = content[Symbol.asyncIterator]();
  const early = answered.then(
    () => null,
    () => null,
  );
  for (;;) {
    const next = await Promise.race([pieces.next(), early]);
    if (next === null) {
      // Not waited for: a source that has nothing to say would hold up the answer.
      void Promise.resolve(pieces.return?.()).catch(() => undefined);
      break;
    }
    if (next.done === true) {
      outgoing.end();
      break;
    }
    const isTaken = outgoing.write(next.value);
    if (!isTaken)
      await Promise.race([new Promise<null>((resolve) => outgoing.once('drain', () => resolve(null))), early]);
  }
  return await answered;
}

/** The body of an answer, as it is read. Whoever stops in between closes the connection. */
async function* readBody(response: IncomingMessage, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const chunks = (response as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]();
  let isWhole = false;
  try {
    for (;;) {
      const next = await untilAborted(chunks.next(), signal);
      if (next.done === true) break;
      yield next.value;
    }
    isWhole = response.complete;
  } catch (error) {
    if (error instanceof SallyportError) throw error;
    throw unreachable('The connection to the daemon broke', error);
  } finally {
    if (!isWhole) response.destroy();
  }
  if (!isWhole) throw unreachable('The answer of the daemon was cut', undefined);
}

async function readText(response: IncomingMessage, signal: AbortSignal): Promise<string> {
  const pieces: Uint8Array[] = [];
  for await (const piece of readBody(response, signal)) pieces.push(piece);
  return new TextDecoder().decode(joinBytes(pieces));
}

/** The daemon's problem as an error. */
function problemError(status: number, text: string): SallyportError {
  try {
    const problem = JSON.parse(text) as Partial<Problem>;
    if (typeof problem.code === 'string' && typeof problem.detail === 'string')
      return toError(problem.code, problem.detail);
  } catch {
    // Told below.
  }
  return new SallyportError(
    'PROTOCOL_FAILED',
    `The daemon answered with a failure that is not understood (HTTP ${status}). Restart it: sallyport daemon restart.`,
  );
}

/** An error by its code. One that this version does not know is a PROTOCOL_FAILED that names it. */
export function toError(code: string, detail: string): SallyportError {
  if ((ERROR_CODES as readonly string[]).includes(code)) return new SallyportError(code as ErrorCode, detail);
  return new SallyportError(
    'PROTOCOL_FAILED',
    `${detail} (The daemon is newer than this client: ${JSON.stringify(code)}.)`,
  );
}

/** What the system calls the failures of a connection that was never made: nothing was sent. */
const NOT_CONNECTED = new Set(['ENOENT', 'ECONNREFUSED', 'FailedToOpenSocket', 'ENOTSOCK']);

/** Whether there was nobody at the socket, so that nothing was sent. */
export function isNobodyThere(error: unknown): boolean {
  return (
    error instanceof SallyportError && error.code === 'DAEMON_UNREACHABLE' && NOT_CONNECTED.has(systemCode(error.cause))
  );
}

function systemCode(cause: unknown): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : '';
}

function unreachable(what: string, cause: unknown): SallyportError {
  const code = systemCode(cause);
  return new SallyportError(
    'DAEMON_UNREACHABLE',
    `${what}${code === '' ? '' : ` (${code})`}. "sallyport daemon status" and "sallyport daemon logs" tell more.`,
    { cause },
  );
}
