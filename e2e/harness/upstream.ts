import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import * as http from 'node:http';
import * as http2 from 'node:http2';
import * as https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import * as tls from 'node:tls';
import { createAuthority } from './certificates.ts';
import type { CertificateKind, TestAuthority } from './certificates.ts';
import { pairHeaders } from './recording.ts';
import type { RecordedConnection, RecordedRequest } from './recording.ts';
import { handleRequest, handleUpgrade } from './upstream-endpoints.ts';
import type { GitRepository } from './git-backend.ts';

/** How to start an upstream. */
export interface UpstreamOptions {
  /** Names and IP literals of the certificate, and of `flags()`. Default `api.test.example`. */
  readonly names?: readonly string[];
  /** Default `valid`. */
  readonly certificate?: CertificateKind;
  /** Share one root among several upstreams. Default: a new one. */
  readonly authority?: TestAuthority;
  /** Serves this repository at its path. */
  readonly git?: GitRepository;
  /** Answers before the built-in endpoints; returns false to leave a request to them. */
  readonly handler?: (
    request: http.IncomingMessage,
    response: http.ServerResponse,
    recorded: RecordedRequest,
  ) => boolean | Promise<boolean>;
  /** Takes an upgrade before the built-in WebSocket endpoint; returns false to leave it to that. */
  readonly upgrade?: (
    request: http.IncomingMessage,
    socket: Duplex,
    head: Buffer,
    recorded: RecordedRequest,
  ) => boolean;
  /** `true`: the HTTPS server speaks HTTP/2 too, to clients that offer it. Raw bytes are recorded for HTTP/1 only. Default false. */
  readonly http2?: boolean;
  /** `false`: keep no requests nor raw bytes (load tests). Default true. */
  readonly record?: boolean;
}

/** A running upstream. */
export interface Upstream {
  readonly names: readonly string[];
  readonly httpsPort: number;
  readonly httpPort: number;
  readonly authority: TestAuthority;
  /** Root certificate as a file that everybody can read. */
  readonly caFile: string;
  readonly requests: RecordedRequest[];
  readonly connections: RecordedConnection[];
  /** `--resolve` for ports 443 and 80 of the upstream's names (or those given), and `--upstream-ca`. */
  flags(...names: string[]): string[];
  /** Forgets what was recorded. */
  clear(): void;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A TLS server that hands over the socket after the handshake. */
export interface RawUpstream {
  readonly port: number;
  readonly caFile: string;
  readonly authority: TestAuthority;
  flags(...names: string[]): string[];
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

function writeAuthority(authority: TestAuthority): { caFile: string; removeFile: () => void } {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-upstream-'));
  chmodSync(directory, 0o755);
  const caFile = join(directory, 'ca.pem');
  writeFileSync(caFile, authority.certificatePem, { mode: 0o644 });
  return { caFile, removeFile: () => rmSync(directory, { recursive: true, force: true }) };
}

function listen(server: http.Server | https.Server | tls.Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

function destroyAll(sockets: Set<Duplex>): void {
  for (const socket of sockets) socket.destroy();
}

function resolveFlag(name: string, port: number, dialPort: number): string[] {
  const host = name.includes(':') ? `[${name}]` : name;
  return ['--resolve', `${host}:${port}:127.0.0.1:${dialPort}`];
}

/** Starts an HTTPS and an HTTP server on ports of their own of 127.0.0.1, with the endpoints of the harness's README. */
export async function startUpstream(options: UpstreamOptions = {}): Promise<Upstream> {
  const names = options.names ?? ['api.test.example'];
  const authority = options.authority ?? (await createAuthority());
  const identity = await authority.issue(names, options.certificate);
  const { caFile, removeFile } = writeAuthority(authority);
  const keeps = options.record !== false;
  const requests: RecordedRequest[] = [];
  const connections: RecordedConnection[] = [];
  const bySocket = new WeakMap<Duplex, RecordedConnection>();
  const sockets = new Set<Duplex>();
  let connectionCount = 0;

  const onConnection = (socket: Socket): void => {
    const chunks: Buffer[] = [];
    const connection = { id: ++connectionCount, chunks, received: () => Buffer.concat(chunks) };
    bySocket.set(socket, connection);
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
    // Whoever reads an HTTP/2 connection's socket takes the bytes from its session.
    if (!keeps || (socket instanceof tls.TLSSocket && socket.alpnProtocol === 'h2')) return;
    connections.push(connection);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  };

  const describe = (request: http.IncomingMessage): RecordedRequest => {
    const isHttp2 = request.httpVersionMajor === 2;
    const secure = isHttp2 || request.socket instanceof tls.TLSSocket ? (request.socket as tls.TLSSocket) : undefined;
    const recorded: RecordedRequest = {
      httpVersion: isHttp2 ? '2' : '1.1',
      scheme: secure === undefined ? 'http' : 'https',
      method: request.method ?? '',
      target: request.url ?? '',
      rawHeaders: pairHeaders(request.rawHeaders),
      serverName: typeof secure?.servername === 'string' ? secure.servername : undefined,
      connection: (isHttp2 ? undefined : bySocket.get(request.socket)) ?? {
        id: 0,
        chunks: [],
        received: () => Buffer.alloc(0),
      },
      body: Buffer.alloc(0),
    };
    if (keeps) requests.push(recorded);
    return recorded;
  };

  const onRequest = (request: http.IncomingMessage, response: http.ServerResponse): void => {
    const recorded = describe(request);
    response.on('error', () => {});
    const serve = async (): Promise<void> => {
      if (options.handler !== undefined && (await options.handler(request, response, recorded))) return;
      await handleRequest(request, response, recorded, options.git);
    };
    // A client that leaves in the middle is an ordinary end of a test.
    serve().catch((cause: unknown) => response.destroy(cause instanceof Error ? cause : undefined));
  };
  const onUpgrade = (request: http.IncomingMessage, socket: Duplex, head: Buffer): void => {
    const recorded = describe(request);
    if (options.upgrade?.(request, socket, head, recorded) !== true) handleUpgrade(recorded, socket);
  };

  const secureServer =
    options.http2 === true
      ? // The compatibility classes of node:http2 stand in for those of node:http.
        (http2.createSecureServer({ ...identity, allowHTTP1: true }, onRequest as never) as unknown as https.Server)
      : https.createServer({ ...identity, maxHeaderSize: 1024 * 1024 }, onRequest);
  const plainServer = http.createServer({ maxHeaderSize: 1024 * 1024 }, onRequest);
  secureServer.on('secureConnection', onConnection).on('upgrade', onUpgrade);
  // Sockets whose handshake fails never reach `secureConnection`.
  secureServer.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  plainServer.on('connection', onConnection).on('upgrade', onUpgrade);
  const [httpsPort, httpPort] = await Promise.all([listen(secureServer), listen(plainServer)]);

  const close = async (): Promise<void> => {
    destroyAll(sockets);
    await Promise.all([secureServer, plainServer].map((server) => new Promise((done) => server.close(done))));
    removeFile();
  };
  return {
    names,
    httpsPort,
    httpPort,
    authority,
    caFile,
    requests,
    connections,
    flags: (...given) => [
      ...(given.length === 0 ? names : given).flatMap((name) => [
        ...resolveFlag(name, 443, httpsPort),
        ...resolveFlag(name, 80, httpPort),
      ]),
      '--upstream-ca',
      caFile,
    ],
    clear: () => {
      requests.length = 0;
      connections.length = 0;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/**
 * Starts a TLS server whose handler owns the socket: garbage, early ends, anything HTTP would not do.
 *
 * `secure: false` leaves TLS out, so that the handler's bytes stand where a TLS handshake should be.
 */
export async function startRawUpstream(
  handler: (socket: Socket) => void,
  options: {
    readonly names?: readonly string[];
    readonly certificate?: CertificateKind;
    readonly authority?: TestAuthority;
    readonly secure?: boolean;
    readonly tls?: tls.TlsOptions;
  } = {},
): Promise<RawUpstream> {
  const names = options.names ?? ['api.test.example'];
  const authority = options.authority ?? (await createAuthority());
  const { caFile, removeFile } = writeAuthority(authority);
  const sockets = new Set<Duplex>();
  const accept = (socket: Socket): void => {
    socket.on('error', () => {});
    handler(socket);
  };
  const server =
    options.secure === false
      ? (await import('node:net')).createServer(accept)
      : tls.createServer({ ...(await authority.issue(names, options.certificate)), ...options.tls }, accept);
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => sockets.delete(socket));
  });
  const port = await listen(server as tls.Server);
  const close = async (): Promise<void> => {
    destroyAll(sockets);
    await new Promise((done) => server.close(done));
    removeFile();
  };
  return {
    port,
    caFile,
    authority,
    flags: (...given) => [
      ...(given.length === 0 ? names : given).flatMap((name) => [
        ...resolveFlag(name, 443, port),
        ...resolveFlag(name, 80, port),
      ]),
      '--upstream-ca',
      caFile,
    ],
    close,
    [Symbol.asyncDispose]: close,
  };
}
