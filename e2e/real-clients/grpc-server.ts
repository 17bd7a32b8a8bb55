import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestAuthority } from '../harness/certificates.ts';
import { CACHE } from '../harness/client-cache.ts';

/** What is used of `@grpc/grpc-js`, which the repository does not depend on. */
interface Metadata {
  get(key: string): (string | Buffer)[];
  set(key: string, value: string): void;
}
interface Call extends NodeJS.EventEmitter, AsyncIterable<Buffer> {
  readonly metadata: Metadata;
  readonly request: Buffer;
  write(message: Buffer): boolean;
  end(): void;
  getPeer(): string;
}
type Reply = (error: null, message: Buffer, trailer?: Metadata) => void;
interface GrpcServer {
  addService(service: object, handlers: object): void;
  bindAsync(address: string, credentials: unknown, done: (error: Error | null, port: number) => void): void;
  forceShutdown(): void;
}
interface Grpc {
  readonly Metadata: new () => Metadata;
  readonly Server: new (options: object) => GrpcServer;
  readonly ServerCredentials: {
    createSsl(root: null, pairs: readonly { cert_chain: Buffer; private_key: Buffer }[]): unknown;
  };
}

const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
const PIECES = 3;
const PIECE_INTERVAL_MS = 20;

/** A gRPC service whose messages are plain bytes; its trailers say the credential that it got. */
export interface GrpcUpstream extends AsyncDisposable {
  readonly port: number;
  /** `METHOD CREDENTIAL` of every call. */
  readonly calls: readonly string[];
  /** Methods of the calls that ended before the service had answered. */
  readonly cancelled: readonly string[];
}

/**
 * Starts the service `echo.Echo` for a host name: Unary, ServerStream, ClientStream, Bidi, Leak, whose message holds the credential,
 * Hold, a Bidi that does not end by itself, and Never, which does not answer.
 */
export async function startGrpcUpstream(name: string, authority: TestAuthority): Promise<GrpcUpstream> {
  const grpc = createRequire(join(CACHE, 'npm', 'package.json'))('@grpc/grpc-js') as Grpc;
  const identity = await authority.issue([name]);
  const calls: string[] = [];
  const cancelled: string[] = [];
  // The library reports the end of every call as a cancellation.
  const answered = new WeakSet<Call>();
  const plain = (bytes: Buffer): Buffer => bytes;

  const begin = (method: string, call: Call): string => {
    const credential = (call.metadata.get('authorization')[0] ?? '').toString().replace(/^Bearer /, '');
    calls.push(`${method} ${credential}`);
    call.on('cancelled', () => {
      if (!answered.has(call)) cancelled.push(method);
    });
    call.on('error', () => undefined);
    return credential;
  };
  const trailerWith = (credential: string): Metadata => {
    const trailer = new grpc.Metadata();
    trailer.set('x-reflected', credential);
    return trailer;
  };
  const handlers = {
    Unary: (call: Call, reply: Reply) => {
      const credential = begin('Unary', call);
      const isLarge = call.request.length > 1024;
      answered.add(call);
      reply(null, isLarge ? call.request : Buffer.from('hello'), trailerWith(credential));
    },
    ServerStream: (call: Call) => {
      begin('ServerStream', call);
      void (async () => {
        for (let piece = 1; piece <= PIECES; piece++) {
          call.write(Buffer.from(`piece ${piece}`));
          await sleep(PIECE_INTERVAL_MS);
        }
        answered.add(call);
        call.end();
      })();
    },
    ClientStream: (call: Call, reply: Reply) => {
      begin('ClientStream', call);
      const got: string[] = [];
      call.on('data', (message: Buffer) => got.push(message.toString()));
      call.on('end', () => {
        answered.add(call);
        reply(null, Buffer.from(got.join('+')));
      });
    },
    Bidi: (call: Call) => {
      begin('Bidi', call);
      call.on('data', (message: Buffer) => call.write(message));
      call.on('end', () => {
        answered.add(call);
        call.end();
      });
    },
    Leak: (call: Call, reply: Reply) => {
      const credential = begin('Leak', call);
      answered.add(call);
      reply(null, Buffer.from(`before ${credential} after`));
    },
    Hold: (call: Call) => {
      begin('Hold', call);
      call.on('data', (message: Buffer) => call.write(message));
    },
    Never: (call: Call) => void begin('Never', call),
  };
  const service = Object.fromEntries(
    Object.keys(handlers).map((method) => [
      method,
      {
        path: `/echo.Echo/${method}`,
        requestStream: ['ClientStream', 'Bidi', 'Hold'].includes(method),
        responseStream: ['ServerStream', 'Bidi', 'Hold'].includes(method),
        requestSerialize: plain,
        requestDeserialize: plain,
        responseSerialize: plain,
        responseDeserialize: plain,
      },
    ]),
  );
  const server = new grpc.Server({
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  });
  server.addService(service, handlers);
  const pair = { cert_chain: Buffer.from(identity.cert), private_key: Buffer.from(identity.key) };
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createSsl(null, [pair]), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  return {
    port,
    calls,
    cancelled,
    [Symbol.asyncDispose]: async () => server.forceShutdown(),
  };
}
