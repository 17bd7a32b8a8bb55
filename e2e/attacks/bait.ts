import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Scene } from '../harness/caller.ts';

/** Listeners of the host that no sandbox may reach. */
interface Bait extends AsyncDisposable {
  readonly tcp: number;
  readonly udp: number;
  readonly addresses: readonly string[];
  readonly names: readonly string[];
  /** Connections and datagrams so far. */
  count(): number;
}

/** Listens on TCP, UDP and Unix sockets of the host, until disposed. */
export async function layBait(scene: Scene): Promise<Bait> {
  let count = 0;
  const servers: Server[] = [];
  const listen = async (where: number | string | { port: number; host: string }): Promise<Server> => {
    const server = createServer((socket) => {
      count += 1;
      socket.on('error', () => undefined);
      socket.end('the host\n');
    });
    server.listen(where);
    await once(server, 'listening');
    servers.push(server);
    return server;
  };
  const tcp = (await listen({ port: 0, host: '::' })).address() as AddressInfo;
  const udp = createSocket('udp6').on('message', () => {
    count += 1;
  });
  udp.bind(0);
  await once(udp, 'listening');
  const tag = randomBytes(6).toString('hex');
  // In the host's /tmp and in the home directory; what lies in the workspace is mounted, and so another matter.
  const names = [`\0sallyport-e2e-${tag}`, join(scene.home, 'bait.sock'), join(scene.root, 'bait.sock')];
  for (const name of names) await listen(name);
  for (const name of names.slice(1)) chmodSync(name, 0o777);
  const addresses = Object.values(networkInterfaces()).flatMap((list) =>
    (list ?? []).filter(({ address }) => !address.startsWith('fe80')).map(({ address }) => address),
  );
  return {
    tcp: tcp.port,
    udp: udp.address().port,
    addresses: [...new Set(['127.0.0.1', '::1', ...addresses])],
    names,
    count: () => count,
    async [Symbol.asyncDispose]() {
      udp.close();
      await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    },
  };
}
