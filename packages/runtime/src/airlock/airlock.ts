import type { ChildProcess } from 'node:child_process';
import type { Socket as UdpSocket } from 'node:dgram';
import { existsSync, readFileSync } from 'node:fs';
import type { Server } from 'node:net';
import { SallyportError } from '@sallyport/sdk';
import { openHolder, runInside } from './holder.ts';
import type { EnterOptions, Holder } from './holder.ts';
import { openLastingHolder } from './lasting-holder.ts';
import { isHostRoot } from './host-root.ts';
import { closeListeners, openListeners } from './listeners.ts';
import type { ListenerOptions, Listeners, OpenDoor } from './listeners.ts';
import { namespaceFailure } from './namespace-diagnosis.ts';
import { GATE_V4, GATE_V6, NETWORK_READY, networkProgram, ROOM_NETWORK_NAMESPACE, STAGE_READY } from './network.ts';
import type { GateAddresses } from './network.ts';
import { requireTools } from './required-tools.ts';

/** What {@link openAirlock} needs. */
export interface AirlockOptions extends ListenerOptions {
  /** TCP ports that the policy can use, each served on every address in the world. 53 beside DNS is possible. May be known late. */
  readonly ports: readonly number[] | Promise<readonly number[]>;
  /** Directories of control groups to remove when the airlock has ended, even after a `kill -9`. Default none. */
  readonly cgroupDirectories?: readonly string[];
  /** An airlock that outlives this process, to be taken over by another one. Default: it ends with this process. */
  readonly lasting?: {
    /** A path that does not exist, for a pipe by which the end of the airlock shows. */
    readonly lifeline: string;
    /** Who commands are inside. */
    readonly uid: number;
    readonly gid: number;
  };
}

/** When each phase was complete, by name, in ms since the start of this process (`performance.now()`); phases overlap. */
export type PhaseTimings = Record<string, number>;

/** A private network whose every address is served by sockets of this process, and the namespaces to run a sandbox in. */
export interface Airlock {
  /** Process 1 of the airlock's process id namespace, as the host numbers it. */
  readonly holderPid: number;
  readonly holder: Holder;
  /** The sandbox's network namespace: a path in the airlock's mount namespace. */
  readonly roomNetworkNamespace: string;
  readonly gateAddresses: GateAddresses;
  /** One listening server for each port; connections arrive paused, with `allowHalfOpen`. Grows with `openPorts`. */
  readonly servers: ReadonlyMap<number, Server>;
  /** Bound to port 53 of the gate's addresses. Datagrams to any other address are refused by the kernel. */
  readonly dnsUdp: readonly UdpSocket[];
  readonly dnsTcp: readonly Server[];
  /** The ports that are open, whoever listens. */
  readonly ports: ReadonlySet<number>;
  readonly timings: PhaseTimings;
  /** Settles when the airlock and everything in it are gone. */
  readonly ended: Promise<void>;
  /** Starts a program in the airlock's namespaces (not in the sandbox), as their uid 0, with an empty environment. */
  enter(argv: readonly string[], options?: EnterOptions): ChildProcess;
  /** Serves more ports; those that are served already are left alone. Returns the servers of the ports asked for. */
  openPorts(ports: readonly number[]): Promise<ReadonlyMap<number, Server>>;
  /** The bound sockets that nobody has taken yet, where `asDoors` was asked for; the caller's from here on. */
  takeDoors(): readonly OpenDoor[];
  /** Closes the sockets, ends every process inside and waits until nothing is left. */
  close(): Promise<void>;
}

/** An airlock being opened, for callers that overlap their own preparation with it. */
export interface AirlockOpening {
  /** Every process that sets the airlock up is running: the caller's own work from here on costs no time. */
  readonly underWay: Promise<void>;
  /** The namespaces, with `/run/stage` made: files for the sandbox can be laid out, while the network is still set up. */
  readonly staged: Promise<Holder>;
  readonly opened: Promise<Airlock>;
}

/**
 * Opens an airlock: two network namespaces joined by a veth pair, in one of which every address of the world is local.
 *
 * @throws SallyportError `USER_NAMESPACES_FORBIDDEN`, `TOOL_MISSING`, `AIRLOCK_FAILED`. Nothing is left behind then.
 */
export async function openAirlock(options: AirlockOptions): Promise<Airlock> {
  return await beginAirlock(options).opened;
}

/** As {@link openAirlock}, with an earlier promise for what is there first. */
export function beginAirlock(options: AirlockOptions): AirlockOpening {
  const timings: PhaseTimings = {};
  const mark = (phase: string) => (timings[phase] = performance.now());
  let announceStage: (holder: Holder) => void = () => undefined;
  let refuseStage: (error: unknown) => void = () => undefined;
  let announceUnderWay: () => void = () => undefined;
  const underWay = new Promise<void>((resolve) => (announceUnderWay = resolve));
  const staged = new Promise<Holder>((resolve, reject) => {
    announceStage = resolve;
    refuseStage = reject;
  });
  // The caller may wait for `opened` alone, which reports the same failure.
  staged.catch(() => undefined);

  const open = async (): Promise<Airlock> => {
    const tools = requireTools(['unshare', 'nsenter', 'mount', 'ip', 'tar', 'setpriv']);
    if (!(options.ports instanceof Promise)) checkPorts(options.ports);
    const { lasting, cgroupDirectories = [] } = options;
    // Which thread the gate of a lasting one is in is decided when it is opened.
    const listenerOptions = lasting === undefined ? options : { ...options, asDoors: true };
    const holder =
      lasting === undefined
        ? await openHolder({ tools, cgroupDirectories })
        : await openLastingHolder({
            tools: { ...tools, ...requireTools(['tini', 'sleep']) },
            cgroupDirectories,
            lifeline: lasting.lifeline,
          });
    mark('namespaces');
    try {
      const gateAddresses = findGateAddresses();
      const ipv6 = gateAddresses.v6 !== undefined;
      const room = lasting === undefined ? undefined : { ...tools, uid: lasting.uid, gid: lasting.gid };
      const networkReady = setUpNetwork(holder, networkProgram(tools, ipv6, room), (line) => {
        mark(line);
        if (line === STAGE_READY) announceStage(holder);
      });
      const dnsAddresses = ipv6 ? [GATE_V4, GATE_V6] : [GATE_V4];
      const listenersReady = openListeners(
        holder,
        Promise.resolve(options.ports).then((ports) => ({ ports: checkPorts(ports), dnsAddresses, ipv6 })),
        networkReady,
        listenerOptions,
      );
      announceUnderWay();
      const [listening] = await Promise.allSettled([listenersReady, networkReady]);
      // A failed network is the cause when both failed.
      await networkReady;
      if (listening.status === 'rejected') throw listening.reason;
      mark('listeners');
      return assemble(holder, listening.value, gateAddresses, timings, listenerOptions);
    } catch (error) {
      await holder.close();
      throw error;
    }
  };
  const opened = open();
  opened.catch((error: unknown) => {
    refuseStage(error);
    announceUnderWay();
  });
  return { underWay, staged, opened };
}

/**
 * Opens the sockets of a lasting airlock anew, whose holder (`adoptHolder`) was opened by another process, or served by another thread: its
 * sockets closed with it. They are doors, where the machine lets us.
 *
 * @throws SallyportError `AIRLOCK_FAILED`.
 */
export async function adoptAirlock(
  holder: Holder,
  options: ListenerOptions & { readonly ports: readonly number[] },
): Promise<Airlock> {
  const gateAddresses = findGateAddresses();
  const ipv6 = gateAddresses.v6 !== undefined;
  const request = {
    ports: checkPorts(options.ports),
    dnsAddresses: ipv6 ? [GATE_V4, GATE_V6] : [GATE_V4],
    ipv6,
  };
  const listenerOptions = { ...options, asDoors: true };
  const listeners = await openListeners(holder, request, Promise.resolve(), listenerOptions);
  return assemble(holder, listeners, gateAddresses, {}, listenerOptions);
}

async function setUpNetwork(holder: Holder, program: string, onLine: (line: string) => void): Promise<void> {
  let seen = '';
  let complete = false;
  const { stderr } = await runInside(holder, ['/bin/sh', '-ec', program], {
    onOutput: (text) => {
      const lines = (seen + text).split('\n');
      seen = lines.pop() ?? '';
      for (const line of lines) {
        if (line === NETWORK_READY) complete = true;
        onLine(line);
      }
    },
  });
  if (!complete) throw namespaceFailure(stderr, isHostRoot());
}

function assemble(
  holder: Holder,
  listeners: Listeners,
  gateAddresses: GateAddresses,
  timings: PhaseTimings,
  options: ListenerOptions,
): Airlock {
  let queue: Promise<unknown> = Promise.resolve();
  const open = new Set(listeners.servers.keys());
  for (const { isDns, port } of listeners.doors) if (!isDns) open.add(port);
  const openMore = async (ports: readonly number[]) => {
    checkPorts(ports);
    const missing = [...new Set(ports)].filter((port) => !open.has(port));
    if (missing.includes(53)) {
      throw new SallyportError('AIRLOCK_FAILED', 'Port 53 can only be opened when the sandbox starts, beside its DNS.');
    }
    if (missing.length > 0) {
      const request = { ports: missing, dnsAddresses: [], ipv6: gateAddresses.v6 !== undefined };
      const more = await openListeners(holder, request, Promise.resolve(), options);
      for (const [port, server] of more.servers) listeners.servers.set(port, server);
      listeners.doors.push(...more.doors);
      for (const port of missing) open.add(port);
    }
    return new Map([...listeners.servers].filter(([port]) => ports.includes(port)));
  };
  return {
    holderPid: holder.pid,
    holder,
    roomNetworkNamespace: ROOM_NETWORK_NAMESPACE,
    gateAddresses,
    servers: listeners.servers,
    dnsUdp: listeners.dnsUdp,
    dnsTcp: listeners.dnsTcp,
    ports: open,
    timings,
    ended: holder.ended,
    enter: (argv, enterOptions) => holder.enter(argv, enterOptions),
    openPorts(ports) {
      // One at a time: two helpers that open the same port would collide.
      const result = queue.then(async () => await openMore(ports));
      queue = result.catch(() => undefined);
      return result;
    },
    takeDoors: () => listeners.doors.splice(0),
    async close() {
      closeListeners(listeners);
      await holder.close();
    },
  };
}

function checkPorts(ports: readonly number[]): readonly number[] {
  for (const port of ports) {
    if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new SallyportError('AIRLOCK_FAILED', `${JSON.stringify(port)} is not a TCP port. Use 1 to 65535.`);
    }
  }
  return ports;
}

/** The addresses that gates have on this machine: fresh network namespaces have IPv6 unless the kernel's defaults say no. */
export function findGateAddresses(): GateAddresses {
  const setting = '/proc/sys/net/ipv6/conf/default/disable_ipv6';
  const ipv6 =
    existsSync('/proc/net/if_inet6') && existsSync(setting) && readFileSync(setting, 'latin1').trim() === '0';
  return { v4: GATE_V4, v6: ipv6 ? GATE_V6 : undefined };
}
