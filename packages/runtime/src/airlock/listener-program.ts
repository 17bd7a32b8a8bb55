import type * as dgram from 'node:dgram';
import type * as net from 'node:net';

/** What the listener helper is asked to open; the first message to it. */
export interface ListenRequest {
  /** TCP ports on the wildcard address, that is, on every address in the world as seen from the sandbox. */
  readonly ports: readonly number[];
  /** Addresses on which port 53 is served, UDP and TCP. */
  readonly dnsAddresses: readonly string[];
  /** Whether the wildcard is dual-stack (`::`) or IPv4 only. */
  readonly ipv6: boolean;
}

/** What the helper says, each with the open handle attached unless it reports a failure. */
export type ListenReport =
  | { readonly kind: 'tcp'; readonly port: number }
  | { readonly kind: 'dns-tcp'; readonly address: string }
  | { readonly kind: 'dns-udp'; readonly address: string }
  | { readonly kind: 'waiting' }
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly what: string; readonly code: string };

/**
 * The listener helper: opens sockets inside the airlock, hands each to its parent, and leaves.
 *
 * It runs as `node -e` text, because the sandbox's user may not be able to reach the folder in which this file lies. So
 * it refers to nothing outside of itself: its modules are arguments.
 *
 * Each socket is closed here in the same turn of the event loop in which it was sent: the copy in flight keeps it open,
 * and this process never accepts a connection that the parent would then miss. The next one is opened only when the
 * parent has said that it holds the last: Node queues a second handle without sending it, and closing it then loses it.
 */
export function listenerProgram(netModule: typeof net, dgramModule: typeof dgram, self: NodeJS.Process): void {
  const BACKLOG_CONNECTIONS = 4096;
  let acknowledge: () => void = () => undefined;
  const acknowledged = () => new Promise<void>((resolve) => (acknowledge = resolve));
  const say = (report: ListenReport, handle?: net.Server | dgram.Socket) => {
    self.send?.(report, handle);
    handle?.close();
  };
  const serveTcp = (report: ListenReport, port: number, host: string) =>
    new Promise<void>((resolve, reject) => {
      const server = netModule.createServer({ pauseOnConnect: true });
      server.once('error', reject);
      server.listen({ port, host, backlog: BACKLOG_CONNECTIONS }, () => {
        void acknowledged().then(resolve);
        say(report, server);
      });
    });
  const serveUdp = (address: string) =>
    new Promise<void>((resolve, reject) => {
      const socket = address.includes(':')
        ? dgramModule.createSocket({ type: 'udp6', ipv6Only: true })
        : dgramModule.createSocket('udp4');
      socket.once('error', reject);
      socket.bind({ port: 53, address, exclusive: true }, () => {
        void acknowledged().then(resolve);
        say({ kind: 'dns-udp', address }, socket);
      });
    });
  let what = '';
  const open = async (request: ListenRequest) => {
    for (const port of request.ports) {
      what = `TCP port ${port}`;
      await serveTcp({ kind: 'tcp', port }, port, request.ipv6 ? '::' : '0.0.0.0');
    }
    if (request.dnsAddresses.length > 0) {
      // The gate's own addresses exist only when the parent says that the network is complete.
      const ready = acknowledged();
      say({ kind: 'waiting' });
      await ready;
    }
    for (const address of request.dnsAddresses) {
      what = `port 53 of ${address}`;
      await serveUdp(address);
      if (!request.ports.includes(53)) await serveTcp({ kind: 'dns-tcp', address }, 53, address);
    }
    self.send?.({ kind: 'done' }, () => self.exit(0));
  };
  self.on('disconnect', () => self.exit(1));
  self.on('message', (message: ListenRequest | 'next') => {
    if (message === 'next') {
      acknowledge();
      return;
    }
    open(message).catch((error: unknown) => {
      const code = (error as NodeJS.ErrnoException).code ?? 'unknown';
      self.send?.({ kind: 'failed', what, code }, () => self.exit(1));
    });
  });
}

/** The helper as text for `node -e`. */
export const LISTENER_SOURCE = `(${listenerProgram.toString()})(require('node:net'), require('node:dgram'), process)`;
