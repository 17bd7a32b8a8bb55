import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const EVENTS = 40;
const INTERVAL_MS = 5;

/** A server of event streams, which nginx passes on: each event holds the monotonic clock's nanoseconds at its sending. */
export async function serveEvents(): Promise<{ readonly port: number; close(): Promise<void> }> {
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    let sent = 0;
    const send = (): void => {
      sent += 1;
      response.write(`data: ${process.hrtime.bigint()}\n\n`);
      if (sent < EVENTS) return;
      clearInterval(timer);
      response.end('event: end\n\n');
    };
    const timer = setInterval(send, INTERVAL_MS);
    response.on('close', () => clearInterval(timer));
    send();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
