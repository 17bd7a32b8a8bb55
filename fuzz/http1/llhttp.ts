import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { Duplex } from 'node:stream';
import type { Reading, SeenRequest } from './reading.ts';

/** Turns of the event loop after which a connection that Node neither ended nor closed is given up. */
const MAX_TURNS = 100;
const TURNS_AFTER_FAULT = 5;

/**
 * llhttp strips only spaces after `chunked`, not HTAB, and then sees an unknown coding. We strip both, as RFC 9110 section 5.5
 * says, and write the value anew without them, so that nobody behind us can tell the difference.
 */
export function hasTabAfterChunked(input: string): boolean {
  return /chunked *\t[ \t]*\r\n/i.test(input);
}

/** Node's own HTTP/1 server (llhttp, strict unless asked otherwise) as an oracle, over in-memory streams. */
export class LlhttpOracle {
  readonly #server: Server;
  #requests: (SeenRequest | null)[] = [];
  #end: Reading['end'] = 'clean';
  #turnsLeft = 0;

  /** `lenient` reads as Node does with `insecureHTTPParser`. */
  constructor({ lenient = false }: { lenient?: boolean } = {}) {
    // The gate checks Host apart from the codec, so its absence must not hide what the parsers make of the rest.
    const options = { requireHostHeader: false, maxHeaderSize: 1024 * 1024, insecureHTTPParser: lenient };
    this.#server = createServer(options);
    this.#server.on('request', (request, response) => this.#take(request, response));
    this.#server.on('checkContinue', (request, response) => this.#take(request, response));
    this.#server.on('checkExpectation', (request, response) => this.#take(request, response));
    this.#server.on('connect', (request: IncomingMessage, socket: Duplex) => {
      this.#requests.push(seen(request, []));
      this.#end = 'stopped';
      socket.destroy();
    });
    // The socket is not destroyed here: requests before the fault have not yet been handed out.
    this.#server.on('clientError', (error: Error & { code?: string }) => {
      if (this.#end === 'clean') this.#end = `refused ${error.code ?? error.message}`;
      this.#turnsLeft = Math.min(this.#turnsLeft, TURNS_AFTER_FAULT);
    });
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const index = this.#requests.push(null) - 1;
    const body: Buffer[] = [];
    request.on('data', (data: Buffer) => body.push(data));
    request.on('error', () => undefined);
    request.on('end', () => {
      if (request.complete) this.#requests[index] = seen(request, body);
      response.end();
    });
  }

  /** Reads one connection. Not to be called again before it has resolved. */
  async read(bytes: Buffer): Promise<Reading> {
    this.#requests = [];
    this.#end = 'clean';
    this.#turnsLeft = MAX_TURNS;
    const connection = new Duplex({ read: () => undefined, write: (_data, _encoding, done) => done() });
    connection.on('error', () => undefined);
    this.#server.emit('connection', connection);
    connection.push(bytes);
    connection.push(null);
    while (this.#turnsLeft-- > 0 && !connection.destroyed) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    connection.destroy();
    await new Promise((resolve) => setImmediate(resolve));

    const complete: SeenRequest[] = [];
    for (const request of this.#requests) {
      if (request === null) return { requests: complete, end: 'in-body' };
      complete.push(request);
    }
    return { requests: complete, end: this.#end };
  }

  close(): void {
    this.#server.close();
  }
}

function seen(request: IncomingMessage, body: readonly Buffer[]): SeenRequest {
  return {
    method: request.method ?? '',
    target: request.url ?? '',
    minor: request.httpVersionMinor,
    fields: request.rawHeaders,
    body: Buffer.concat(body).toString('latin1'),
    trailers: request.rawTrailers,
  };
}
