import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { serveGit } from './git-backend.ts';
import type { GitRepository } from './git-backend.ts';
import { REFLECTIONS, encodeBody, reflect, splitBody } from './reflection.ts';
import type { Reflection } from './reflection.ts';
import { deterministicBytes, headerValues } from './recording.ts';
import type { RecordedRequest } from './recording.ts';

const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/**
 * The credential that a request carried: `Authorization` (`Bearer`, `token`, or the password of `Basic`), else `X-Api-Key`, else the
 * query parameter `key`; the header `?from=NAME` goes first.
 */
export function receivedCredential(request: RecordedRequest): string {
  const query = new URL(request.target, 'http://upstream').searchParams;
  const from = query.get('from');
  const header = from === null ? undefined : headerValues(request, from)[0];
  if (header !== undefined) return header;
  const [scheme, ...rest] = (headerValues(request, 'authorization')[0] ?? '').split(' ');
  const parameters = rest.join(' ');
  if (scheme?.toLowerCase() === 'basic') {
    const pair = Buffer.from(parameters, 'base64').toString();
    return pair.slice(pair.indexOf(':') + 1);
  }
  if (parameters !== '') return parameters;
  return headerValues(request, 'x-api-key')[0] ?? query.get('key') ?? '';
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

async function writeSlowly(response: ServerResponse, pieces: readonly Buffer[], delayMs: number): Promise<void> {
  for (const piece of pieces) {
    if (response.destroyed) return;
    response.write(piece);
    // Each piece is to be a chunk, a TLS record and (with Nagle off) a packet of its own.
    if (delayMs > 0) await sleep(delayMs);
    else await new Promise(setImmediate);
  }
  response.end();
}

function numbers(text: string | null): number[] {
  return (text ?? '').split(',').filter(Boolean).map(Number);
}

async function serveReflection(
  response: ServerResponse,
  recorded: RecordedRequest,
  query: URLSearchParams,
): Promise<void> {
  const form = (query.get('as') ?? 'raw') as Reflection;
  if (!REFLECTIONS.includes(form)) {
    response.writeHead(400).end(`unknown form ${JSON.stringify(form)}\n`);
    return;
  }
  const text = reflect(receivedCredential(recorded), form);
  const where = query.get('where') ?? 'both';
  const encoding = query.get('encoding') ?? 'identity';
  response.setHeader('content-type', 'text/plain; charset=utf-8');
  if (where === 'header' || where === 'both') response.setHeader('x-reflected', text);
  if (encoding !== 'identity') response.setHeader('content-encoding', encoding);
  const plain = where === 'header' ? Buffer.from('see the header\n') : Buffer.from(`before ${text} after\n`);
  const body = encodeBody(plain, encoding);
  const sizes = numbers(query.get('split'));
  response.statusCode = Number(query.get('status') ?? 200);
  if (where === 'trailer') {
    response.setHeader('trailer', 'x-reflected');
    response.write('see the trailer\n');
    response.addTrailers({ 'x-reflected': text });
    response.end();
  } else if (sizes.length === 0) {
    response.setHeader('content-length', body.length);
    response.end(body);
  } else {
    await writeSlowly(response, splitBody(body, sizes), Number(query.get('delayMs') ?? 0));
  }
}

async function serveEvents(response: ServerResponse, recorded: RecordedRequest, query: URLSearchParams): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  const count = Number(query.get('count') ?? 3);
  for (let index = 0; index < count && !response.destroyed; index++) {
    const data = query.has('reflect') ? receivedCredential(recorded) : `event ${index}`;
    response.write(`id: ${index}\ndata: ${data}\n\n`);
    await sleep(Number(query.get('delayMs') ?? 20));
  }
  response.end();
}

/** Answers by path; the endpoints are described in the harness's README. */
export async function handleRequest(
  request: IncomingMessage,
  response: ServerResponse,
  recorded: RecordedRequest,
  git: GitRepository | undefined,
): Promise<void> {
  const url = new URL(recorded.target, 'http://upstream');
  const query = url.searchParams;
  if (url.pathname === '/early') {
    // Answers before the request's body has been read.
    response.writeHead(413, { connection: 'close' }).end('too much\n');
    return;
  }
  recorded.body = await readBody(request);
  if (git !== undefined && url.pathname.startsWith(`${git.path}/`)) {
    serveGit(request, response, recorded.body, git);
    return;
  }
  switch (url.pathname) {
    case '/reflect':
      return serveReflection(response, recorded, query);
    case '/sse':
      return serveEvents(response, recorded, query);
    case '/bytes': {
      const body = deterministicBytes(Number(query.get('n') ?? 1024));
      response.setHeader('content-type', 'application/octet-stream');
      response.setHeader('x-sha256', createHash('sha256').update(body).digest('hex'));
      const sizes = numbers(query.get('split'));
      if (sizes.length > 0) return writeSlowly(response, splitBody(body, sizes), 0);
      response.setHeader('content-length', body.length);
      response.end(body);
      return;
    }
    case '/digest':
      response.setHeader('content-type', 'application/json');
      response.end(
        JSON.stringify({
          length: recorded.body.length,
          sha256: createHash('sha256').update(recorded.body).digest('hex'),
        }),
      );
      return;
    case '/status': {
      const code = Number(query.get('code') ?? 200);
      response.writeHead(code);
      response.end(code === 204 || code === 304 ? undefined : `status ${code}\n`);
      return;
    }
    case '/redirect':
      response.writeHead(Number(query.get('code') ?? 302), { location: query.get('to') ?? '/echo' }).end();
      return;
    case '/trailers':
      response.writeHead(200, { 'content-type': 'text/plain', trailer: 'x-checksum' });
      response.write('body\n');
      response.addTrailers({ 'x-checksum': 'abc' });
      response.end();
      return;
    case '/slow':
      await sleep(Number(query.get('ms') ?? 1000));
      response.end('slow\n');
      return;
    case '/hang':
      return;
    case '/close-mid':
      response.writeHead(200, { 'content-length': '1000' });
      response.write('only a part');
      await sleep(20);
      response.destroy();
      return;
    case '/until-close':
      // HTTP/1.0 style: no length, no chunks, the end of the connection is the end of the body.
      request.socket.end(
        'HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\nuntil the connection closes\n',
      );
      return;
    default:
      response.setHeader('content-type', 'application/json');
      response.end(
        `${JSON.stringify({
          method: recorded.method,
          target: recorded.target,
          headers: recorded.rawHeaders,
          body: recorded.body.toString(),
        })}\n`,
      );
  }
}

function textFrame(text: string): Buffer {
  const payload = Buffer.from(text);
  const head =
    payload.length < 126
      ? Buffer.from([0x81, payload.length])
      : Buffer.from([0x81, 126, payload.length >> 8, payload.length & 0xff]);
  return Buffer.concat([head, payload]);
}

/** Accepts a WebSocket upgrade, sends the received credential as a text frame and then gives back the raw bytes it gets. */
export function handleUpgrade(recorded: RecordedRequest, socket: Duplex): void {
  socket.on('error', () => {});
  const key = headerValues(recorded, 'sec-websocket-key')[0];
  if (key === undefined) {
    socket.end('HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n');
    return;
  }
  const accept = createHash('sha1').update(`${key}${WEBSOCKET_GUID}`).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
  );
  socket.write(textFrame(receivedCredential(recorded)));
  socket.on('data', (chunk) => socket.write(chunk));
}
