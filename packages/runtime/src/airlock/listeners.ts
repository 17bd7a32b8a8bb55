import type { ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import type { Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { SallyportError } from '@sallyport/sdk';
import { originalDestination } from './destination.ts';
import type { Holder } from './holder.ts';
import { LISTENER_SOURCE } from './listener-program.ts';
import type { ListenReport, ListenRequest } from './listener-program.ts';
import { printable } from './namespace-diagnosis.ts';
import { findTool } from './required-tools.ts';
import { startSocketDonor } from './socket-donor.ts';
import type { SocketKind } from './socket-donor.ts';
import { systemCalls } from './system-calls.ts';

/** Sockets that were opened inside the airlock and belong to this process. */
export interface Listeners {
  /** By port. Connections arrive paused and half-open: reading begins, and ending is decided, in the gate. */
  readonly servers: Map<number, Server>;
  readonly dnsUdp: UdpSocket[];
  readonly dnsTcp: Server[];
  /** Bound sockets on which nobody listens yet, for {@link listenAt}; the caller's to close. Only where asked for. */
  readonly doors: OpenDoor[];
}

/** Reading begins, and ending is decided, in the gate. */
const SERVER_OPTIONS = { pauseOnConnect: true, allowHalfOpen: true, noDelay: true } as const;

/** Connections of one port that wait for somebody who listens. */
const MAX_EARLY_CONNECTIONS = 256;

/** The helper's file descriptors: three standard streams, the IPC channel, then the Node binary. */
const NODE_BINARY_FD = 4;

/**
 * Opens the sockets `requested` inside the airlock.
 *
 * They are opened by a small program there, and taken over and bound here. Where that cannot be done (no Perl, a kernel, seccomp filter
 * or security module that refuses pidfd_getfd, no library for system calls), a second Node opens and sends them.
 *
 * @param networkReady resolves when the gate's addresses exist; the ports are served before.
 * @throws SallyportError `AIRLOCK_FAILED`.
 */
export async function openListeners(
  holder: Holder,
  requested: ListenRequest | Promise<ListenRequest>,
  networkReady: Promise<unknown>,
  options: ListenerOptions = {},
): Promise<Listeners> {
  const listeners = noListeners();
  try {
    // Not along the caller's PATH, which may name folders that a sandboxed program can write to: there is another way.
    const perl = options.perl === undefined ? findTool('perl', '') : (options.perl ?? undefined);
    const isDone = perl !== undefined && (await openHere(holder, perl, requested, networkReady, listeners, options));
    if (!isDone) await openByNode(holder, requested, networkReady, listeners, options.nodeBinary ?? process.execPath);
  } catch (error) {
    closeListeners(listeners);
    throw error;
  }
  const request = await requested;
  const onPort53 = listeners.servers.get(53);
  if (onPort53 !== undefined && request.dnsAddresses.length > 0) splitPort53(onPort53, request, listeners);
  return listeners;
}

/** How {@link openListeners} gets its sockets. */
export interface ListenerOptions {
  /** The Perl that opens them, `null` for none. Default: the system's, if it has one. */
  readonly perl?: string | null;
  /** The binary of that Node. Default: the one that runs this. */
  readonly nodeBinary?: string;
  /** Leave bound sockets to somebody who listens later, in whichever thread. Those that a second Node sent are listened on in any case. */
  readonly asDoors?: boolean;
}

const BACKLOG_CONNECTIONS = 4096;

/** A socket to be opened, with what becomes of it. */
interface Door extends SocketKind {
  readonly address: string;
  readonly port: number;
  readonly what: string;
  readonly isDns: boolean;
}

/** A bound socket on which nobody listens yet: plain data, of any thread of this process. */
export interface OpenDoor extends Door {
  readonly descriptor: number;
}

function noListeners(): Listeners {
  return { servers: new Map(), dnsUdp: [], dnsTcp: [], doors: [] };
}

/** Listens on bound sockets, which belong to the result from here on. @throws SallyportError `AIRLOCK_FAILED`; all are closed then. */
export async function listenAt(doors: readonly OpenDoor[]): Promise<Listeners> {
  const listeners = noListeners();
  const waiting = [...doors];
  try {
    for (const door of doors) {
      waiting.shift();
      await openDoor(door, door.descriptor, listeners);
    }
  } catch (cause) {
    closeListeners(listeners);
    closeDoors(waiting);
    throw new SallyportError('AIRLOCK_FAILED', "The sandbox's gate could not listen.", { cause });
  }
  const dnsAddresses = doors.filter(({ isDns }) => isDns).map(({ address }) => address);
  const onPort53 = listeners.servers.get(53);
  if (onPort53 !== undefined && dnsAddresses.length > 0) splitPort53(onPort53, { dnsAddresses }, listeners);
  return listeners;
}

/** Closes bound sockets that nobody listens on. */
export function closeDoors(doors: readonly OpenDoor[]): void {
  for (const { descriptor } of doors) closeSync(descriptor);
}

/** Everything that is to be opened; what needs the gate's own addresses is last. */
function planDoors({ ports, dnsAddresses, ipv6 }: ListenRequest): readonly Door[] {
  const [family, address] = ipv6 ? ([6, '::'] as const) : ([4, '0.0.0.0'] as const);
  const doors = ports.map((port): Door => ({
    family,
    protocol: 'tcp',
    address,
    port,
    what: `TCP port ${port}`,
    isDns: false,
  }));
  for (const dnsAddress of dnsAddresses) {
    const dns = {
      family: dnsAddress.includes(':') ? 6 : 4,
      address: dnsAddress,
      port: 53,
      what: `port 53 of ${dnsAddress}`,
      isDns: true,
    } as const;
    doors.push({ ...dns, protocol: 'udp' });
    if (!ports.includes(53)) doors.push({ ...dns, protocol: 'tcp' });
  }
  return doors;
}

/** Opens sockets without another Node; `false` where this machine does not let us. */
async function openHere(
  holder: Holder,
  perl: string,
  requested: ListenRequest | Promise<ListenRequest>,
  networkReady: Promise<unknown>,
  listeners: Listeners,
  { asDoors = false }: ListenerOptions,
): Promise<boolean> {
  const donor = startSocketDonor(holder, perl);
  let doors: readonly Door[];
  let sockets: readonly number[];
  try {
    doors = planDoors(await requested);
    sockets = await donor.open(doors);
  } catch (error) {
    if (error instanceof SallyportError) throw error;
    return false;
  } finally {
    donor.close();
  }
  const waiting = [...sockets];
  let what = '';
  try {
    for (const door of doors) {
      if (door.isDns) await networkReady;
      what = door.what;
      systemCalls().bind(waiting[0] ?? -1, door.address, door.port);
      const descriptor = waiting.shift() ?? -1;
      if (asDoors) listeners.doors.push({ ...door, descriptor });
      else await openDoor(door, descriptor, listeners);
    }
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause) || cause instanceof SallyportError) throw cause;
    const reason = `${what} (${String(cause.code)})`;
    throw new SallyportError('AIRLOCK_FAILED', `The sandbox's gate could not listen: ${reason}.`, { cause });
  } finally {
    for (const socket of waiting) closeSync(socket);
  }
  return true;
}

/** Listens on a bound socket, which belongs to the server or UDP socket from here on. */
async function openDoor(door: Door, descriptor: number, listeners: Listeners): Promise<void> {
  if (door.protocol === 'udp') {
    const socket = createSocket(door.family === 6 ? { type: 'udp6', ipv6Only: true } : { type: 'udp4' });
    listeners.dnsUdp.push(socket);
    const listening = once(socket, 'listening');
    socket.bind({ fd: descriptor });
    await listening;
    return;
  }
  const server = createPatientServer();
  if (door.isDns) listeners.dnsTcp.push(server);
  else listeners.servers.set(door.port, server);
  const listening = once(server, 'listening');
  server.listen({ fd: descriptor, backlog: BACKLOG_CONNECTIONS });
  await listening;
}

/**
 * Has a second Node inside open the sockets and send them.
 *
 * Its binary is passed as an open file and its program as text: either may lie below a folder, such as `/root`, that
 * the airlock's user cannot traverse.
 */
async function openByNode(
  holder: Holder,
  requested: ListenRequest | Promise<ListenRequest>,
  networkReady: Promise<unknown>,
  listeners: Listeners,
  nodeBinary: string,
): Promise<void> {
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
  await collect(helper, requested, networkReady, listeners);
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

/** A server's options do not travel with its handle, so the handle gets a server with the right ones. */
function adopt(received: Server): Server {
  return createPatientServer().listen(received);
}

/**
 * A server whose connections wait until somebody listens for them: a sandbox that is taken over may be connecting all the time, and what
 * comes before the gate is there would be lost.
 */
function createPatientServer(): Server {
  const server = createServer(SERVER_OPTIONS);
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
  return server;
}

/**
 * A rule may allow TCP port 53 of some host, while the gate's own addresses serve DNS there. One wildcard listener then
 * takes both, and what is addressed to the gate goes to a server that stands for DNS over TCP.
 */
function splitPort53(wildcard: Server, request: Pick<ListenRequest, 'dnsAddresses'>, listeners: Listeners): void {
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
  closeDoors(listeners.doors.splice(0));
}
