import type { ChildProcess } from 'node:child_process';
import type { Socket as UdpSocket } from 'node:dgram';
import { closeSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { SallyportError } from '@sallyport/sdk';
import { originalDestination } from './destination.ts';
import type { Holder } from './holder.ts';
import { LISTENER_SOURCE } from './listener-program.ts';
import type { ListenReport, ListenRequest } from './listener-program.ts';
import { printable } from './namespace-diagnosis.ts';

/** Sockets that were opened inside the airlock and belong to this process. */
export interface Listeners {
  /** By port. Connections arrive paused and half-open: reading begins, and ending is decided, in the gate. */
  readonly servers: Map<number, Server>;
  readonly dnsUdp: UdpSocket[];
  readonly dnsTcp: Server[];
}

/** Connections of one port that wait for somebody who listens. */
const MAX_EARLY_CONNECTIONS = 256;

/** The helper's file descriptors: three standard streams, the IPC channel, then the Node binary. */
const NODE_BINARY_FD = 4;

/**
 * Starts the helper that opens the sockets `requested` inside the airlock, and collects them.
 *
 * The Node binary is passed as an open file and its program as text: either may lie below a folder, such as `/root`, that
 * the airlock's user cannot traverse.
 *
 * @param networkReady resolves when the gate's addresses exist; the helper starts, and serves the ports, before.
 * @throws SallyportError `AIRLOCK_FAILED`.
 */
export async function openListeners(
  holder: Holder,
  requested: ListenRequest | Promise<ListenRequest>,
  networkReady: Promise<unknown>,
  nodeBinary = process.execPath,
): Promise<Listeners> {
  const binary = openSync(nodeBinary, 'r');
  let helper: ChildProcess;
  try {
    helper = holder.enter(
      [
        '/bin/sh',
        '-c',
        'exec /proc/self/fd/"$1" --input-type=commonjs -e "$2"',
        'sallyport-listener',
        String(NODE_BINARY_FD),
        LISTENER_SOURCE,
      ],
      { stdio: ['ignore', 'ignore', 'pipe', 'ipc', binary] },
    );
  } finally {
    closeSync(binary);
  }
  const listeners: Listeners = { servers: new Map(), dnsUdp: [], dnsTcp: [] };
  try {
    await collect(helper, requested, networkReady, listeners);
  } catch (error) {
    closeListeners(listeners);
    throw error;
  }
  const request = await requested;
  const onPort53 = listeners.servers.get(53);
  if (onPort53 !== undefined && request.dnsAddresses.length > 0) splitPort53(onPort53, request, listeners);
  return listeners;
}

async function collect(
  helper: ChildProcess,
  requested: ListenRequest | Promise<ListenRequest>,
  networkReady: Promise<unknown>,
  listeners: Listeners,
): Promise<void> {
  let toolSaid = '';
  helper.stderr?.setEncoding('latin1').on('data', (text: string) => (toolSaid = (toolSaid + text).slice(0, 4096)));
  await new Promise<void>((resolve, reject) => {
    const fail = (what: string, cause?: unknown) =>
      reject(new SallyportError('AIRLOCK_FAILED', `The sandbox's gate could not listen: ${what}.`, { cause }));
    const next = () => {
      if (helper.connected) helper.send('next', () => undefined);
    };
    helper.once('error', (cause) => fail('its helper did not start', cause));
    helper.once('close', (status) =>
      fail(`its helper ended with status ${status}: ${JSON.stringify(printable(toolSaid))}`),
    );
    helper.on('message', (message, handle) => {
      const report = message as ListenReport;
      switch (report.kind) {
        case 'tcp':
          listeners.servers.set(report.port, adopt(handle as Server));
          return next();
        case 'dns-tcp':
          listeners.dnsTcp.push(adopt(handle as Server));
          return next();
        case 'dns-udp':
          listeners.dnsUdp.push(handle as UdpSocket);
          return next();
        case 'waiting':
          networkReady.then(next, reject);
          return;
        case 'failed':
          return fail(`${report.what} (${report.code})`);
        case 'done':
          return resolve();
        default:
          report satisfies never;
          return fail('its helper said what is not understood');
      }
    });
    Promise.resolve(requested).then((request) => {
      helper.send(request, (error) => {
        if (error !== null) fail('its helper ended at once', error);
      });
    }, reject);
  });
}

/**
 * A server's options do not travel with its handle, so the handle gets a server with the right ones. A connection that comes before somebody
 * listens for it waits until then: a sandbox that is taken over may be connecting all the time.
 */
function adopt(received: Server): Server {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true });
  const early: Socket[] = [];
  const hold = (socket: Socket): void => {
    socket.on('error', () => socket.destroy());
    if (early.length < MAX_EARLY_CONNECTIONS) early.push(socket);
    else socket.destroy();
  };
  const pass = (event: string): void => {
    if (event !== 'connection') return;
    server.off('newListener', pass);
    server.off('connection', hold);
    process.nextTick(() => {
      for (const socket of early.splice(0)) if (!socket.destroyed) server.emit('connection', socket);
    });
  };
  server.on('connection', hold);
  server.on('newListener', pass);
  server.once('close', () => {
    for (const socket of early.splice(0)) socket.destroy();
  });
  return server.listen(received);
}

/**
 * A rule may allow TCP port 53 of some host, while the gate's own addresses serve DNS there. One wildcard listener then
 * takes both, and what is addressed to the gate goes to a server that stands for DNS over TCP.
 */
function splitPort53(wildcard: Server, request: ListenRequest, listeners: Listeners): void {
  const options = { pauseOnConnect: true, allowHalfOpen: true } as const;
  const forDns = createServer(options);
  const forOthers = createServer(options);
  wildcard.on('connection', (socket) => {
    const destination = originalDestination(socket);
    const isDns = destination !== undefined && request.dnsAddresses.includes(destination.address);
    (isDns ? forDns : forOthers).emit('connection', socket);
  });
  forOthers.close = (done) => {
    wildcard.close(done);
    return forOthers;
  };
  forDns.close = (done) => {
    done?.();
    return forDns;
  };
  listeners.servers.set(53, forOthers);
  listeners.dnsTcp.push(forDns);
}

/** Closes every socket; connections that were accepted stay. */
export function closeListeners(listeners: Listeners): void {
  for (const server of [...listeners.servers.values(), ...listeners.dnsTcp]) server.close(() => undefined);
  for (const socket of listeners.dnsUdp) {
    try {
      socket.close();
    } catch {
      // Closed by its user already.
    }
  }
}
