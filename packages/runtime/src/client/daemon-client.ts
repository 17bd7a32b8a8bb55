import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { ERROR_CODES, SallyportError, type Problem } from '@sallyport/sdk';
import { readEvents, type StreamEvent } from './event-stream.ts';

/** A request to the daemon. */
export interface DaemonRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** With its query. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it comes, instead of a body. */
  readonly content?: Readable;
  readonly signal?: AbortSignal;
}

/** Talks to the daemon at a socket. */
export class DaemonClient {
  readonly #socketPath: string;
  readonly #agent = new Agent({ keepAlive: true });

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  /**
   * Asks, and resolves to the answer's JSON (undefined where it has none).
   *
   * @throws SallyportError the daemon's own, or DAEMON_UNREACHABLE, PROTOCOL_FAILED.
   */
  async ask<T>(request: DaemonRequest): Promise<T> {
    const text = await readText(await this.#send(request, 'application/json'));
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
    const response = await this.#send(request, 'text/event-stream');
    try {
      yield* readEvents(response as AsyncIterable<Buffer>);
    } catch (cause) {
      throw unreachable('The connection to the daemon broke', cause);
    } finally {
      response.destroy();
    }
  }

  /** Asks for bytes. */
  async bytes(request: DaemonRequest): Promise<Readable> {
    return await this.#send(request, '*/*');
  }

  close(): void {
    this.#agent.destroy();
  }

  async #send({ method, path, body, content, signal }: DaemonRequest, accept: string): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = httpRequest(
        {
          socketPath: this.#socketPath,
          agent: this.#agent,
          method,
          path,
          headers: {
            host: 'daemon',
            accept,
            ...(text === undefined
              ? {}
              : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
            ...(content === undefined ? {} : { 'content-type': 'application/octet-stream' }),
          },
          ...(signal === undefined ? {} : { signal }),
        },
        resolve,
      );
      outgoing.once('error', (cause) => reject(unreachable('The daemon cannot be reached', cause)));
      if (content === undefined) outgoing.end(text);
      // The daemon may answer before it has read everything; its answer says why.
      else pipeline(content, outgoing).catch(() => undefined);
    });
    if ((response.statusCode ?? 500) < 400) return response;
    throw problemError(await readText(response));
  }
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** The daemon's problem as an error. */
function problemError(text: string): SallyportError {
  try {
    const { code, detail } = JSON.parse(text) as Problem;
    if ((ERROR_CODES as readonly string[]).includes(code)) return new SallyportError(code, detail);
  } catch {
    // Told below.
  }
  return new SallyportError(
    'PROTOCOL_FAILED',
    'The daemon answered with a failure that is not understood. Restart it: sallyport daemon restart.',
  );
}

function unreachable(what: string, cause: unknown): SallyportError {
  const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : '';
  return new SallyportError(
    'DAEMON_UNREACHABLE',
    `${what}${code}. "sallyport daemon status" and "sallyport daemon logs" tell more.`,
    { cause },
  );
}
