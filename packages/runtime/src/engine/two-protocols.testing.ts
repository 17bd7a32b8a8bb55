import type http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type net from 'node:net';
import type { Identity } from '../../../../e2e/harness/certificates.ts';
import type { LoopbackGate } from './loopback.testing.ts';

export type TestProtocol = 'HTTP/1.1' | 'HTTP/2';
export const TEST_PROTOCOLS: readonly TestProtocol[] = ['HTTP/1.1', 'HTTP/2'];

/** A request as the upstream got it. */
export interface SeenRequest {
  readonly method: string;
  readonly target: string;
  /** Lower-case name and value, in order. */
  readonly fields: readonly (readonly [string, string])[];
  readonly body: string;
  readonly trailers: NodeJS.Dict<string | string[]>;
}

export interface ServerAnswer {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body?: string;
}

/** An upstream that speaks both protocols over TLS and keeps what it got. */
export interface SeeingUpstream extends AsyncDisposable {
  readonly port: number;
  readonly seen: SeenRequest[];
}

/** Starts one on loopback. */
export async function startSeeingUpstream(
  identity: Identity,
  answer: (request: SeenRequest, index: number) => ServerAnswer = () => ({ body: 'fine' }),
): Promise<SeeingUpstream> {
  const seen: SeenRequest[] = [];
  const sockets = new Set<net.Socket>();
  const server = http2.createSecureServer({ ...identity, allowHTTP1: true }, (request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (chunk: Buffer) => pieces.push(chunk));
    request.on('error', () => undefined);
    request.on('end', () => {
      // `node:http2` ends what it reads of a stream that was reset, too.
      const { stream } = request as Partial<http2.Http2ServerRequest>;
      if (stream === undefined ? !request.complete : stream.closed) return;
      const raw = request.rawHeaders;
      const fields = raw.flatMap((name, index) =>
        index % 2 === 0 ? [[name.toLowerCase(), raw[index + 1] ?? ''] as const] : [],
      );
      const { method, url, trailers } = request;
      const got = { method, target: url, fields, body: Buffer.concat(pieces).toString('latin1'), trailers };
      seen.push(got);
      const { status = 200, headers = {}, body = '' } = answer(got, seen.length - 1);
      response.writeHead(status, headers);
      response.end(body);
    });
  });
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  server.on('sessionError', () => undefined);
  server.on('clientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    seen,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A request of the sandbox. */
export interface TestRequest {
  readonly host: string;
  readonly port?: number;
  readonly method?: string;
  readonly path?: string;
  /** Several values of one name are several fields. */
  readonly headers?: Record<string, string | string[]>;
  /** Pieces are sent one by one, without a length. */
  readonly body?: string | Buffer | readonly string[];
  readonly trailers?: Record<string, string>;
}

export interface TestAnswer {
  /** 0 where the connection broke. */
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: string;
}

/** Sends one request through a gate on a connection of its own. */
export async function ask(protocol: TestProtocol, gate: LoopbackGate, request: TestRequest): Promise<TestAnswer> {
  return protocol === 'HTTP/2' ? await askHttp2(gate, request) : await askHttp1(gate, request);
}

const isWhole = (body: TestRequest['body']): body is string | Buffer | undefined =>
  body === undefined || typeof body === 'string' || Buffer.isBuffer(body);

async function askHttp1(gate: LoopbackGate, request: TestRequest): Promise<TestAnswer> {
  const { host, port = 443, method = 'GET', path = '/', headers = {}, body, trailers } = request;
  const socket = await gate.connectTls(host, port);
  const length = isWhole(body) && body !== undefined ? { 'content-length': String(Buffer.byteLength(body)) } : {};
  return await new Promise((resolve) => {
    const sent = https.request({
      createConnection: () => socket,
      host,
      method,
      path,
      headers: {
        host: port === 443 ? host : `${host}:${port}`,
        ...headers,
        ...length,
        ...(trailers === undefined ? {} : { trailer: Object.keys(trailers).join() }),
      },
    });
    let answer: TestAnswer = { status: 0, headers: {}, body: '' };
    const settle = (): void => {
      socket.destroy();
      resolve(answer);
    };
    sent.on('response', (response: http.IncomingMessage) => {
      const pieces: Buffer[] = [];
      response.on('data', (chunk: Buffer) => pieces.push(chunk));
      response.on('error', settle);
      response.on('end', () => {
        const { statusCode = 0, headers: received } = response;
        answer = { status: statusCode, headers: received, body: Buffer.concat(pieces).toString('latin1') };
        settle();
      });
    });
    sent.on('error', settle);
    void (async () => {
      if (!isWhole(body)) for (const piece of body) await new Promise((written) => sent.write(piece, written));
      if (trailers !== undefined) sent.addTrailers(trailers);
      sent.end(isWhole(body) ? body : undefined);
    })();
  });
}

async function askHttp2(gate: LoopbackGate, request: TestRequest): Promise<TestAnswer> {
  const { host, port = 443, method = 'GET', path = '/', headers = {}, body, trailers } = request;
  const socket = await gate.connectTls(host, port, { ALPNProtocols: ['h2'] });
  const session = http2.connect(`https://${host}:${port}`, { createConnection: () => socket });
  session.on('error', () => undefined);
  return await new Promise((resolve) => {
    const length = isWhole(body) && body !== undefined ? { 'content-length': String(Buffer.byteLength(body)) } : {};
    const stream = session.request(
      { ':method': method, ':path': path, ...headers, ...length },
      { endStream: body === undefined && trailers === undefined, waitForTrailers: trailers !== undefined },
    );
    const pieces: Buffer[] = [];
    let received: http2.IncomingHttpHeaders & { ':status'?: number | undefined } = {};
    if (trailers !== undefined) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    stream.on('response', (fields) => (received = fields));
    stream.on('data', (chunk: Buffer) => pieces.push(chunk));
    stream.on('error', () => undefined);
    stream.on('close', () => {
      session.destroy();
      resolve({
        status: received[':status'] ?? 0,
        headers: received,
        body: Buffer.concat(pieces).toString('latin1'),
      });
    });
    if (body === undefined && trailers === undefined) return;
    void (async () => {
      if (!isWhole(body)) for (const piece of body) await new Promise((written) => stream.write(piece, written));
      stream.end(isWhole(body) ? body : undefined);
    })();
  });
}
