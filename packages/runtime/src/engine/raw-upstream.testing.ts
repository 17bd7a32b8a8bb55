import net from 'node:net';
import tls from 'node:tls';
import type { Identity } from '../../../../e2e/harness/certificates.ts';

/** An upstream that hands each connection's socket to the test. */
export interface RawUpstream extends AsyncDisposable {
  readonly port: number;
  /** Connections that it got so far. */
  readonly connections: number;
}

/** Starts one on loopback: with TLS under an identity, or in clear. A client may end its side and still read. */
export async function startRawUpstream(
  handler: (socket: net.Socket) => void,
  identity: Identity | null,
): Promise<RawUpstream> {
  let connections = 0;
  const sockets = new Set<net.Socket>();
  const onConnection = (socket: net.Socket): void => {
    connections += 1;
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
    handler(socket);
  };
  const server =
    identity === null
      ? net.createServer({ allowHalfOpen: true }, onConnection)
      : tls.createServer({ ...identity, allowHalfOpen: true } as tls.TlsOptions, onConnection);
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    get connections() {
      return connections;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
