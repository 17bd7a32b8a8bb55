import { createServer as createHttp2Server } from 'node:http2';
import type { ServerHttp2Stream } from 'node:http2';
import net from 'node:net';
import type { AddressInfo } from 'node:net';
import tls from 'node:tls';
import type { Authority } from './certificates.ts';
import { fieldValues, readMessage } from './message-reader.ts';
import type { Field } from './message-reader.ts';

/** Where something arrived: whose server, and whether by TLS. */
export type ServerName = 'bound-tls' | 'bound-clear' | 'unbound-tls' | 'unbound-clear';

/** A connection that a gate made to an upstream. */
export interface UpstreamConnection {
  readonly server: ServerName;
  readonly serverName: string | undefined;
  readonly protocol: 'http/1.1' | 'h2';
  /** What came, after TLS. Of HTTP/2 the fields and data, one a line. */
  readonly received: () => Buffer;
}

/** A request as a lenient server reads it. */
export interface UpstreamRequest {
  readonly connection: UpstreamConnection;
  readonly method: string;
  readonly target: string;
  readonly fields: readonly Field[];
  readonly body: Buffer;
}

/** What a server says: pieces with a pause before each. */
export interface Reply {
  readonly pieces: readonly Buffer[];
  /** Before each piece but the first. */
  readonly delayMs?: number;
  /** Ends the connection after the last piece. Default: kept open. */
  readonly close?: boolean;
}

/** How the servers answer; undefined: the plain answer of `createPlainReply`. */
export type Responder = (request: UpstreamRequest) => Reply | undefined;

/** The four servers. */
export interface Upstreams extends AsyncDisposable {
  readonly ports: Readonly<Record<ServerName, number>>;
  readonly connections: readonly UpstreamConnection[];
  readonly requests: readonly UpstreamRequest[];
  /** Sets how the servers answer and what they offer by ALPN, and forgets what was recorded. */
  reset(responder: Responder | undefined, protocols: readonly string[]): void;
}

/** What an HTTP/2 request asks for to get its credential back. */
export const REFLECTING_PATH = '/reflect';

const MAX_RECORDED_BYTES = 8 * 1024 * 1024;

/** An answer with a length, and further field lines. */
export function createReply(status: string, fields: readonly string[], body: Buffer | string = ''): Reply {
  const bytes = Buffer.from(body);
  const head = [`HTTP/1.1 ${status}`, ...fields, `Content-Length: ${bytes.length}`, '', ''].join('\r\n');
  return { pieces: [Buffer.concat([Buffer.from(head), bytes])] };
}

/** The answer where an attack has none of its own. */
export function createPlainReply(request: UpstreamRequest): Reply {
  const marker = `gauntlet says hello from ${request.connection.server}\n`;
  return createReply('200 OK', ['Content-Type: text/plain'], request.method === 'HEAD' ? '' : marker);
}

/** The value in a request's credential fields, as the gate put it there. */
export function credentialOf(request: UpstreamRequest): string {
  const [value = ''] = [...fieldValues({ ...request, startLine: '' }, 'x-api-key')];
  return value;
}

async function send(socket: net.Socket, reply: Reply): Promise<void> {
  for (const [index, piece] of reply.pieces.entries()) {
    if (index > 0 && reply.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, reply.delayMs));
    if (socket.destroyed) return;
    if (!socket.write(piece)) {
      await new Promise<void>((resolve) => {
        socket.once('drain', resolve);
        socket.once('close', () => resolve());
      });
    }
  }
  if (reply.close === true) socket.end();
}

/** Starts the servers on ports of 127.0.0.1: the given ones, or any. */
export async function startUpstreams(
  authority: Authority,
  hosts: { readonly bound: string; readonly unbound: string },
  wantedPorts: Partial<Record<ServerName, number>> = {},
): Promise<Upstreams> {
  const connections: UpstreamConnection[] = [];
  const requests: UpstreamRequest[] = [];
  const sockets = new Set<net.Socket>();
  let respond: Responder | undefined;
  let offered: readonly string[] = ['http/1.1'];
  const answer = (request: UpstreamRequest): Reply => {
    requests.push(request);
    return respond?.(request) ?? createPlainReply(request);
  };

  const serveHttp1 = (socket: net.Socket, connection: UpstreamConnection): void => {
    let pending: Buffer = Buffer.alloc(0);
    let last = Promise.resolve();
    socket.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      for (let next = readMessage(pending, false, false); next !== undefined;) {
        pending = next.rest;
        const { startLine, fields, body } = next.message;
        const [method = '', target = ''] = startLine.split(/\s+/);
        const reply = answer({ connection, method, target, fields, body });
        last = last.then(() => send(socket, reply));
        next = readMessage(pending, false, false);
      }
    });
  };

  const http2 = createHttp2Server({ settings: { enablePush: false } });
  const http2Notes = new WeakMap<object, { connection: UpstreamConnection; note: (line: string) => void }>();
  http2.on('session', (session) => session.on('error', () => undefined));
  http2.on('stream', (stream: ServerHttp2Stream, _headers, _flags, rawHeaders: unknown) => {
    const pairs = rawHeaders as readonly string[];
    const fields = pairs.flatMap((name, index): Field[] => (index % 2 === 0 ? [[name, pairs[index + 1] ?? '']] : []));
    const known = http2Notes.get(currentSocket(stream.session));
    stream.on('error', () => undefined);
    if (known === undefined) {
      stream.close();
      return;
    }
    for (const [name, value] of fields) known.note(`${name}: ${value}\n`);
    const parts: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => {
      parts.push(chunk);
      known.note(chunk.toString('latin1'));
    });
    stream.on('end', () => {
      const find = (name: string): string => fields.find(([one]) => one === name)?.[1] ?? '';
      const host: Field[] = [['Host', find(':authority')]];
      const request = {
        connection: known.connection,
        method: find(':method'),
        target: find(':path'),
        fields: [...host, ...fields],
        body: Buffer.concat(parts),
      };
      answer(request);
      if (stream.destroyed || stream.headersSent) return;
      stream.respond({ ':status': 200, 'content-type': 'text/plain' });
      const echoed = request.target.startsWith(REFLECTING_PATH) ? credentialOf(request) : '';
      stream.end(`gauntlet says hello by HTTP/2 ${echoed}\n`);
    });
  });

  const accept = (server: ServerName) => (socket: net.Socket) => {
    const secure = socket instanceof tls.TLSSocket ? socket : undefined;
    const chunks: Buffer[] = [];
    let recordedBytes = 0;
    const record = (chunk: Buffer): void => {
      if (recordedBytes > MAX_RECORDED_BYTES) return;
      recordedBytes += chunk.length;
      chunks.push(chunk);
    };
    const connection: UpstreamConnection = {
      server,
      serverName: typeof secure?.servername === 'string' ? secure.servername : undefined,
      protocol: secure?.alpnProtocol === 'h2' ? 'h2' : 'http/1.1',
      received: () => Buffer.concat(chunks),
    };
    connections.push(connection);
    socket.on('error', () => undefined);
    if (connection.protocol === 'h2') {
      http2Notes.set(socket, { connection, note: (line) => record(Buffer.from(line, 'latin1')) });
      sessionSockets.set(socket.remotePort ?? 0, socket);
      http2.emit('connection', socket);
      return;
    }
    socket.on('data', record);
    serveHttp1(socket, connection);
  };
  // A session shows its socket through a proxy object; the port tells which one it is.
  const sessionSockets = new Map<number, net.Socket>();
  const currentSocket = (session: { readonly socket?: net.Socket } | undefined): object =>
    sessionSockets.get(session?.socket?.remotePort ?? 0) ?? {};

  const start = async (server: ServerName): Promise<readonly [ServerName, net.Server]> => {
    const host = server.startsWith('bound') ? hosts.bound : hosts.unbound;
    const listener = server.endsWith('-tls')
      ? tls.createServer(
          {
            ...(await authority.issue([host])),
            ALPNCallback: ({ protocols }) => offered.find((one) => protocols.includes(one)),
          },
          accept(server),
        )
      : net.createServer(accept(server));
    listener.on('tlsClientError', () => undefined);
    listener.on('connection', (socket: net.Socket) => {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.once('close', () => sockets.delete(socket));
    });
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject);
      listener.listen(wantedPorts[server] ?? 0, '127.0.0.1', () => resolve());
    });
    return [server, listener];
  };
  const names: readonly ServerName[] = ['bound-tls', 'bound-clear', 'unbound-tls', 'unbound-clear'];
  const listeners = await Promise.all(names.map((name) => start(name)));
  const ports = Object.fromEntries(
    listeners.map(([name, listener]) => [name, (listener.address() as AddressInfo).port]),
  ) as Record<ServerName, number>;

  return {
    ports,
    connections,
    requests,
    reset: (responder, protocols) => {
      respond = responder;
      offered = protocols;
      connections.length = 0;
      requests.length = 0;
      // What a gate kept open belongs to the attack before.
      for (const socket of sockets) socket.destroy();
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await Promise.all(listeners.map(([, listener]) => new Promise((resolve) => listener.close(resolve))));
    },
  };
}
