import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { MAX_JSON_BODY_BYTES } from '@sallyport/sdk/api';
import type { EndpointId, RequestBody } from '@sallyport/sdk/api';
import { SallyportError } from '@sallyport/sdk';
import type { ApiEvent, ApiRequest, Handler } from './exchange.ts';
import { peerUid } from './peer.ts';
import { describeProblem, InvalidRequest, type FieldProblem } from './problem.ts';
import { findRoute, type Route } from './router.ts';

const EVENT_STREAM = 'text/event-stream';
/** Between two requests of a client, in ms. */
const KEEP_ALIVE_MS = 60_000;
/** Events that are put into one write at most, in characters. */
const MAX_WRITE_CHARACTERS = 256 * 1024;

/** What {@link createApiServer} needs. */
export interface ApiServerOptions {
  readonly handlers: Readonly<Record<EndpointId, Handler>>;
  /** Aborted when the daemon stops: event streams end. */
  readonly signal: AbortSignal;
  /** Hears of what must not happen. */
  readonly onDefect: (error: unknown) => void;
}

/** The daemon's API: each request is checked against the contract, handled, and answered. It listens where the caller says. */
export function createApiServer(options: ApiServerOptions): Server {
  const server = createServer(
    { keepAliveTimeout: KEEP_ALIVE_MS, requestTimeout: 0, noDelay: true },
    (request, response) => {
      void serve(options, request, response);
    },
  );
  const own = process.geteuid?.();
  server.on('connection', (socket) => {
    const uid = peerUid(socket);
    // The modes of the socket keep others out; this is for the day when somebody changes them.
    if (uid !== null && uid !== own && uid !== 0) socket.destroy();
  });
  return server;
}

async function serve(options: ApiServerOptions, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const signal = AbortSignal.any([gone.signal, options.signal]);
  try {
    // Not by `URL`, which would take dots in names for steps.
    const [path = '', query = ''] = (request.url ?? '').split('?', 2);
    const route = findRoute(request.method ?? 'GET', path);
    const checked = await checkRequest(route, new URLSearchParams(query), request, signal);
    await respond(options.handlers[route.id], route, checked, response);
  } catch (error) {
    if (!(error instanceof SallyportError) && !response.destroyed) options.onDefect(error);
    sendProblem(response, error);
  } finally {
    // An unread body would be taken for the next request.
    if (!request.complete && !response.destroyed) request.resume();
  }
}

async function checkRequest(
  { endpoint, params }: Route,
  parameters: URLSearchParams,
  request: IncomingMessage,
  signal: AbortSignal,
): Promise<ApiRequest> {
  const wantsEvents = request.headers.accept?.includes(EVENT_STREAM) === true;
  const lastEventId = request.headers['last-event-id'];
  return {
    params,
    query: checkQuery(endpoint.query, parameters),
    body: await readBody(endpoint.body, request),
    content: request,
    wantsEvents,
    lastEventId: typeof lastEventId === 'string' ? lastEventId : undefined,
    signal,
  };
}

function checkQuery(schema: Route['endpoint']['query'], parameters: URLSearchParams): Record<string, unknown> {
  const given: Record<string, string> = {};
  for (const [name, value] of parameters) {
    if (Object.hasOwn(given, name)) throw new InvalidRequest('query', [{ path: name, message: 'It is there twice' }]);
    given[name] = value;
  }
  if (schema === undefined) {
    const [first] = Object.keys(given);
    if (first !== undefined)
      throw new InvalidRequest('query', [{ path: first, message: 'There is no such parameter' }]);
    return {};
  }
  const result = schema.safeParse(given);
  if (!result.success) throw new InvalidRequest('query', result.error.issues.map(showIssue));
  return result.data;
}

async function readBody(expected: RequestBody | undefined, request: IncomingMessage): Promise<unknown> {
  if (expected === undefined || expected.kind === 'binary') return undefined;
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_JSON_BODY_BYTES) {
      throw new SallyportError('BODY_TOO_LARGE', `A request may have ${MAX_JSON_BODY_BYTES} bytes at most.`);
    }
    chunks.push(chunk);
  }
  let value: unknown = {};
  if (bytes > 0) {
    try {
      value = JSON.parse(Buffer.concat(chunks).toString('utf8'));
    } catch {
      // The parser's message would quote the body.
      throw new InvalidRequest('body', [{ path: '', message: 'It is no JSON' }]);
    }
  }
  const result = expected.schema.safeParse(value);
  if (!result.success) throw new InvalidRequest('body', result.error.issues.map(showIssue));
  return result.data;
}

function showIssue(issue: { readonly path: readonly PropertyKey[]; readonly message: string }): FieldProblem {
  const path = issue.path
    .map((part, index) => (typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${String(part)}`))
    .join('');
  return { path, message: issue.message };
}

async function respond(
  handler: Handler,
  { endpoint }: Route,
  request: ApiRequest,
  response: ServerResponse,
): Promise<void> {
  const result = await handler(request);
  switch (result.kind) {
    case 'json': {
      const text = JSON.stringify(result.body);
      response.writeHead(endpoint.response.status, {
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(text),
      });
      response.end(text);
      return;
    }
    case 'none':
      response.writeHead(204).end();
      return;
    case 'events':
      await sendEvents(result.events, response, request.signal);
      return;
    case 'bytes':
      response.writeHead(200, {
        'content-type': endpoint.response.kind === 'binary' ? endpoint.response.mediaType : 'application/octet-stream',
      });
      try {
        await pipeline(result.content, response);
      } catch {
        // The status has been sent: an answer that is cut says the rest.
        response.destroy();
      }
      return;
    default:
      throw new TypeError(`unknown response ${String(result satisfies never)}`);
  }
}

/** Sends events as fast as the client takes them: no further one is asked for while it does not. */
async function sendEvents(
  events: AsyncIterable<ApiEvent>,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  response.writeHead(200, { 'content-type': EVENT_STREAM, 'cache-control': 'no-store' });
  response.flushHeaders();
  try {
    for await (const event of events) {
      if (signal.aborted || response.destroyed) break;
      for (const part of encodeEvent(event)) {
        if (!response.write(part)) await once(response, 'drain', { signal });
      }
    }
  } catch (error) {
    if (!signal.aborted)
      response.write(encodeEvent({ type: 'error', data: { type: 'error', problem: describeProblem(error) } }).join(''));
  }
  response.end();
}

function encodeEvent({ id, type, data }: ApiEvent): string[] {
  const text = `${id === undefined ? '' : `id: ${id}\n`}event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
  if (text.length <= MAX_WRITE_CHARACTERS) return [text];
  const parts: string[] = [];
  for (let offset = 0; offset < text.length; offset += MAX_WRITE_CHARACTERS) {
    parts.push(text.slice(offset, offset + MAX_WRITE_CHARACTERS));
  }
  return parts;
}

function sendProblem(response: ServerResponse, error: unknown): void {
  if (response.destroyed) return;
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const problem = describeProblem(error);
  const text = JSON.stringify(problem);
  response.writeHead(problem.status, {
    'content-type': 'application/problem+json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}
