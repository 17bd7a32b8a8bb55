import tls from 'node:tls';
import type { AddressInfo } from 'node:net';
import { createAuthority } from './certificates.ts';

/** Where the naive gate's listeners are, and what signs for it. */
export interface NaiveGate extends AsyncDisposable {
  /** Arguments of the suite that lead to it. */
  readonly args: readonly string[];
  readonly caPem: string;
}

/**
 * A gate that does everything wrong that can be: it replaces the placeholder in any byte to any host that the Host field names,
 * and hands back what comes.
 */
export async function startNaiveGate(options: {
  readonly hosts: readonly string[];
  readonly placeholder: string;
  readonly value: string;
  /** TLS port of the upstream of each host. */
  readonly ports: () => Readonly<Record<string, number>>;
  /** Also takes the value out of answers, byte by byte as they come: the one thing that it does. */
  readonly redacts: boolean;
}): Promise<NaiveGate> {
  const authority = await createAuthority();
  const identity = await authority.issue(options.hosts);
  const sockets = new Set<tls.TLSSocket>();
  const listen = async (host: string): Promise<tls.Server> => {
    const server = tls.createServer({ ...identity, ALPNProtocols: ['http/1.1'] }, (client) => {
      const upstream = tls.connect({
        host: '127.0.0.1',
        port: options.ports()[host] ?? 0,
        servername: host,
        rejectUnauthorized: false,
      });
      for (const socket of [client, upstream]) {
        sockets.add(socket);
        socket.on('error', () => undefined);
        socket.on('close', () => [client, upstream].forEach((one) => one.destroy()));
      }
      const replace = (chunk: Buffer, from: string, to: string): Buffer =>
        Buffer.from(chunk.toString('latin1').replaceAll(from, to), 'latin1');
      client.on('data', (chunk: Buffer) => upstream.write(replace(chunk, options.placeholder, options.value)));
      upstream.on('data', (chunk: Buffer) =>
        client.write(
          options.redacts ? replace(chunk, options.value, options.placeholder.padEnd(options.value.length)) : chunk,
        ),
      );
      upstream.on('end', () => client.end());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return server;
  };
  const servers = await Promise.all(options.hosts.map(listen));
  const args = servers.flatMap((server, index) => [
    '--connect',
    `${options.hosts[index]}:443:127.0.0.1:${(server.address() as AddressInfo).port}`,
  ]);
  return {
    args: ['--transparent', ...args],
    caPem: authority.certificatePem,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
}
