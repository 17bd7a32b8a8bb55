import type net from 'node:net';
import type { SecureContext } from 'node:tls';
import { decideHost, type HostVerdict } from '../policy/network-policy.ts';
import type { ClientHello } from '../tls/client-hello.ts';
import { peekHello, readHello, type HelloOutcome } from './client-hello.ts';
import { ClientConnection, type ConnectionPurpose } from './client-connection.ts';
import { identifyDestination, type Destination, type OriginalDestination } from './destination.ts';
import type { Protocol } from './dialer.ts';
import type { GateContext } from './gate-context.ts';
import type { Http2ClientConnection } from './http2-client-connection.ts';
import { answerProtocol, decideInterception, denyHost, sayAlert, terminateTls } from './interception.ts';
import { MAX_CONNECTIONS, MAX_REMEMBERED_ROUTES } from './limits.ts';
import { relay, RelayInput } from './relay.ts';

/** A destination that has a name (or a literal address) to decide about. */
interface KnownDestination {
  readonly host: string;
  readonly port: number;
  readonly named: boolean;
}

/** What is decided about a destination before anything is read, the same for every connection to it until the rules change. */
interface Route {
  readonly destination: KnownDestination;
  readonly network: HostVerdict;
  readonly protocol: 'tls' | 'http' | 'tcp';
  readonly isDenied: boolean;
  /** See {@link Gate.reconfigure}. */
  readonly decision: string;
}

/** What a connection does at present, as far as its time limit goes. */
interface Phase {
  destination: KnownDestination | null;
  /** What was decided about the connection, see {@link Gate.reconfigure}. */
  decision: string;
  deadlineMs: number;
  client: ClientConnection | Http2ClientConnection | null;
}

/**
 * The gate of one sandbox: takes accepted sockets and does not care who made them.
 *
 * `accept` is a request's whole journey down to the point where bytes flow: destination, network policy, ClientHello, interception,
 * upstream first, then HTTP. Whatever goes wrong ends that connection and no other.
 */
export class Gate {
  #context: GateContext;
  readonly #connections = new Map<net.Socket, Phase>();
  /** By port and address. */
  readonly #routes = new Map<string, Route>();
  #sweeper: NodeJS.Timeout | null = null;
  #closed = false;
  #fullRecorded = false;

  constructor(context: GateContext) {
    this.#context = context;
  }

  /** Connections that are open at this moment. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Takes a connection that the sandbox made. `socket` is paused; nothing of it has been read. */
  accept(socket: net.Socket, original: OriginalDestination): void {
    socket.on('error', () => socket.destroy());
    if (this.#closed || this.#connections.size >= MAX_CONNECTIONS) {
      if (!this.#closed) this.#recordFull(original);
      socket.resetAndDestroy();
      return;
    }
    // The answer to a client that has closed its side is still wanted.
    socket.allowHalfOpen = true;
    socket.setNoDelay(true);
    this.#startSweeping();
    const phase: Phase = {
      destination: null,
      decision: '',
      deadlineMs: this.#context.clock.nowMs + this.#context.timeLimits.headMs,
      client: null,
    };
    this.#connections.set(socket, phase);
    socket.on('close', () => this.#connections.delete(socket));
    const route = this.#findRoute(original);
    if ('verdict' in route) {
      this.#recordRefused(route.address, route.port, 'no name stands for this address');
      socket.resetAndDestroy();
      return;
    }
    phase.destination = route.destination;
    phase.decision = route.decision;
    this.#run(socket, route.destination, () => this.#follow(socket, phase, route));
  }

  /** The route of a connection. An address that stands for no name may stand for one later, so that is not remembered. */
  #findRoute(original: OriginalDestination): Route | Extract<Destination, { verdict: 'unknown' }> {
    const key = `${original.port} ${original.address}`;
    const known = this.#routes.get(key);
    if (known !== undefined) return known;
    const destination = identifyDestination(this.#context.zone, original);
    if (destination.verdict === 'unknown') return destination;
    const route = { destination, ...this.#decide(destination) };
    if (this.#routes.size >= MAX_REMEMBERED_ROUTES) this.#routes.clear();
    this.#routes.set(key, route);
    return route;
  }

  /** A fault of ours closes this connection and leaks nothing about it. */
  #run(socket: net.Socket, destination: KnownDestination, action: () => Promise<void> | void): void {
    const fail = (): void => {
      this.#context.record.connection({
        ...connectionOf(destination),
        decision: 'error',
        code: 'INTERNAL',
        rule: null,
      });
      socket.destroy();
    };
    try {
      action()?.catch(fail);
    } catch {
      fail();
    }
  }

  /** Closes every connection at once: no credential leaves afterwards. */
  close(): void {
    this.#closed = true;
    if (this.#sweeper !== null) clearInterval(this.#sweeper);
    for (const socket of this.#connections.keys()) socket.destroy();
    this.#context.pool.close();
  }

  /**
   * Takes other rules and secrets, all at once: for each request that begins from now on, on connections that exist as well. Connections
   * about which would be decided otherwise now are closed: those to a host that is denied now, refusals of one that is allowed now, tunnels
   * through what is intercepted now. So are those with a request under way that began when there was nothing to protect: its answer could
   * hold what is a value now, and is not searched.
   */
  reconfigure(context: GateContext): void {
    const isProtected = context.redactor === null || this.#context.redactor !== null;
    this.#context = context;
    this.#routes.clear();
    for (const [socket, phase] of this.#connections) {
      const { destination, client } = phase;
      if (destination !== null && this.#decide(destination).decision !== phase.decision) socket.destroy();
      else if (client === null) continue;
      else if (isProtected || client.isIdle) client.context = context;
      else socket.destroy();
    }
  }

  #decide({ host, port }: KnownDestination): Omit<Route, 'destination'> {
    const { policy, intercepts, closed } = this.#context;
    const network = decideHost(policy, host, port);
    // A denied port says something readable only where its protocol is known.
    const protocol =
      network.verdict === 'allow' ? network.protocol : port === 443 ? 'tls' : port === 80 ? 'http' : 'tcp';
    const isTunnel =
      network.verdict === 'allow' && protocol === 'tls' && (network.tunnel || !(intercepts || network.perRequest));
    const isDenied = network.verdict === 'deny' || closed !== null;
    return { network, protocol, isDenied, decision: `${isDenied ? 'deny' : 'allow'} ${protocol} ${isTunnel}` };
  }

  #follow(socket: net.Socket, phase: Phase, { destination, network, protocol, isDenied }: Route): Promise<void> | void {
    const { host, port } = destination;
    switch (protocol) {
      case 'tls':
        // By then the first bytes of a client in a hurry, or of one that had to wait, are there.
        if (this.#context.peek === null) this.#readHello(socket, phase, destination, network);
        else setImmediate(() => this.#peekHello(socket, phase, destination, network));
        return;
      case 'http': {
        const origin = { scheme: 'http', host, port } as const;
        this.#serve(
          socket,
          phase,
          network.verdict === 'deny'
            ? { kind: 'refuse', origin, problem: denyHost(host, port, network) }
            : this.#context.closed === null
              ? { kind: 'forward', origin, rule: network.rule }
              : { kind: 'refuse', origin, problem: this.#context.closed },
        );
        return;
      }
      case 'tcp':
        if (isDenied) {
          this.#recordRefused(host, port, network.rule);
          socket.resetAndDestroy();
          return;
        }
        return this.#relay(socket, phase, destination, network.rule, 'tcp');
      default:
        throw new TypeError(`unknown protocol ${String(protocol satisfies never)}`);
    }
  }

  #peekHello(socket: net.Socket, phase: Phase, destination: KnownDestination, network: HostVerdict): void {
    if (socket.destroyed) return;
    const { peek } = this.#context;
    const hello = peek === null ? null : peekHello(socket, peek);
    if (hello === null) this.#readHello(socket, phase, destination, network);
    else this.#run(socket, destination, () => this.#routeHello(socket, phase, destination, network, hello, true));
  }

  #readHello(socket: net.Socket, phase: Phase, destination: KnownDestination, network: HostVerdict): void {
    readHello(socket, (read) => {
      this.#run(socket, destination, () => this.#routeTls(socket, phase, destination, network, read));
    });
  }

  #routeTls(
    socket: net.Socket,
    phase: Phase,
    destination: KnownDestination,
    network: HostVerdict,
    read: HelloOutcome,
  ): Promise<void> | void {
    if (read.outcome === 'gone') return void socket.destroy();
    if (read.outcome === 'invalid') {
      this.#context.record.connection({
        ...connectionOf(destination),
        decision: 'deny',
        code: read.isObsolete ? 'TLS_VERSION_REFUSED' : 'MALFORMED_REQUEST',
        rule: `not a TLS ClientHello: ${read.reason}`,
      });
      if (read.isObsolete) sayAlert(socket, 'protocol_version');
      else socket.resetAndDestroy();
      return;
    }
    return this.#routeHello(socket, phase, destination, network, read.hello, false);
  }

  #routeHello(
    socket: net.Socket,
    phase: Phase,
    destination: KnownDestination,
    network: HostVerdict,
    hello: ClientHello,
    isUnread: boolean,
  ): Promise<void> | void {
    const { host, port } = destination;
    const intercepts =
      this.#context.intercepts ||
      this.#context.dialer.hasClientCertificate(host, port) ||
      (network.verdict === 'allow' && network.perRequest);
    const verdict = decideInterception(network, destination, hello, intercepts);
    const origin = { scheme: 'https', host, port } as const;
    const rule = network.rule;
    const { closed } = this.#context;
    if (closed !== null && verdict.verdict !== 'refuse') {
      const leafHost = verdict.verdict === 'intercept' ? verdict.leafHost : host;
      return this.#terminate(
        socket,
        phase,
        leafHost,
        { kind: 'refuse', origin, problem: closed },
        answerProtocol(hello),
      );
    }
    switch (verdict.verdict) {
      case 'tunnel':
        return this.#relay(socket, phase, destination, rule, 'tunnel');
      case 'refuse':
        return this.#terminate(
          socket,
          phase,
          verdict.leafHost,
          { kind: 'refuse', origin, problem: verdict.problem },
          answerProtocol(hello),
        );
      case 'alert':
        // To close with unread bytes would reset the connection under the alert.
        if (isUnread) return this.#readHello(socket, phase, destination, network);
        this.#context.record.connection({
          ...connectionOf(destination),
          decision: 'deny',
          code: verdict.code,
          rule: verdict.reason,
        });
        sayAlert(socket, verdict.alert);
        return;
      case 'intercept':
        return this.#intercept(socket, phase, verdict.leafHost, { kind: 'forward', origin, rule }, hello);
      default:
        throw new TypeError(`unknown verdict ${String(verdict satisfies never)}`);
    }
  }

  /** Step 4, upstream first: what it speaks decides what the client is offered. The leaf is made meanwhile. */
  #intercept(
    socket: net.Socket,
    phase: Phase,
    leafHost: string,
    purpose: Extract<ConnectionPurpose, { kind: 'forward' }>,
    hello: ClientHello,
  ): Promise<void> | void {
    return !hello.alpn.includes('h2') && this.#context.pool.hasIdle(purpose.origin)
      ? this.#terminate(socket, phase, leafHost, purpose, 'http/1.1')
      : this.#dialThenTerminate(socket, phase, leafHost, purpose, hello);
  }

  async #dialThenTerminate(
    socket: net.Socket,
    phase: Phase,
    leafHost: string,
    purpose: Extract<ConnectionPurpose, { kind: 'forward' }>,
    hello: ClientHello,
  ): Promise<void> {
    const { pool, clock, leafContexts } = this.#context;
    const { origin } = purpose;
    if (!hello.alpn.includes('h2')) {
      const [lease, secureContext] = await Promise.all([pool.connect(origin), leafContexts.contextFor(leafHost)]);
      if (lease.outcome === 'connected') pool.release(lease.connection);
      const client = this.#open(socket, phase, secureContext, purpose, 'http/1.1', null);
      if (lease.outcome === 'failed' && client !== null) client.failedDial = { failure: lease, atMs: clock.nowMs };
      return;
    }
    const [lease] = await Promise.all([pool.lease(origin), leafContexts.contextFor(leafHost)]);
    if (lease.outcome === 'connected' && lease.protocol === 'http/1.1') pool.release(lease.connection);
    const mirrored = lease.outcome === 'connected' ? lease.protocol : 'http/1.1';
    // A client that speaks nothing else gets HTTP/2 whatever the upstream speaks.
    await this.#terminate(socket, phase, leafHost, purpose, hello.alpn.includes('http/1.1') ? mirrored : 'h2');
  }

  /** Opens the client's TLS, at once where nothing has to be waited for. */
  #terminate(
    socket: net.Socket,
    phase: Phase,
    leafHost: string,
    purpose: ConnectionPurpose,
    protocol: Protocol,
  ): Promise<void> | void {
    const known = protocol === 'h2' ? null : this.#context.leafContexts.knownContext(leafHost);
    if (known === null) return this.#prepareThenOpen(socket, phase, leafHost, purpose, protocol);
    this.#open(socket, phase, known, purpose, protocol, null);
  }

  async #prepareThenOpen(
    socket: net.Socket,
    phase: Phase,
    leafHost: string,
    purpose: ConnectionPurpose,
    protocol: Protocol,
  ): Promise<void> {
    const secureContext = await this.#context.leafContexts.contextFor(leafHost);
    // It takes time to load, which a start without HTTP/2 is spared.
    const http2 = protocol === 'h2' ? await import('./http2-client-connection.ts') : null;
    this.#open(socket, phase, secureContext, purpose, protocol, http2);
  }

  /** @returns what reads requests over HTTP/1 from here on; null where that is another, or the client is gone. */
  #open(
    socket: net.Socket,
    phase: Phase,
    secureContext: SecureContext,
    purpose: ConnectionPurpose,
    protocol: Protocol,
    http2: typeof import('./http2-client-connection.ts') | null,
  ): ClientConnection | null {
    if (socket.destroyed) return null;
    const secure = terminateTls(socket, secureContext, protocol);
    const refused = purpose.kind === 'refuse' ? purpose.problem : null;
    let isSettled = false;
    let client: ClientConnection | null = null;
    // Who is to be refused may leave when the handshake is done, without a request that would tell of it.
    if (refused === null || http2 !== null) {
      secure.once('secure', () => {
        isSettled = true;
      });
    }
    // Later failures are a way of leaving, and what was under way records its own end.
    const fail = (): void => {
      isSettled ||= client?.hasReceived === true;
      if (!isSettled && (refused !== null || !this.#closed)) {
        this.#context.record.connection({
          ...connectionOf({ host: purpose.origin.host, port: purpose.origin.port }),
          decision: refused === null ? 'error' : 'deny',
          code: refused?.code ?? 'MALFORMED_REQUEST',
          rule: refused === null ? 'the client ended the TLS handshake' : 'the client left before it was told why',
        });
      }
      isSettled = true;
      socket.destroy();
    };
    secure.on('_tlsError', fail);
    secure.on('close', fail);
    if (http2 === null) {
      client = this.#serve(secure, phase, purpose);
      return client;
    }
    secure.on('error', () => socket.destroy());
    secure.once('secure', () => {
      phase.client = new http2.Http2ClientConnection(secure, this.#context, purpose);
    });
    return null;
  }

  #serve(socket: net.Socket, phase: Phase, purpose: ConnectionPurpose): ClientConnection {
    phase.client = new ClientConnection(socket, this.#context, purpose);
    return phase.client;
  }

  /** Passes bytes through unread, to the host that was named: there is no credential in it. */
  async #relay(
    socket: net.Socket,
    phase: Phase,
    destination: KnownDestination,
    rule: string,
    kind: 'tunnel' | 'tcp',
  ): Promise<void> {
    const { clock, dialer, record, timeLimits } = this.#context;
    const startedMs = performance.now();
    const input = new RelayInput();
    const { host, port } = destination;
    const result = await dialer.dial({ host, port, secure: false, protocols: [], input });
    if (result.outcome === 'failed') {
      record.connection({
        ...connectionOf(destination),
        kind,
        decision: result.code === 'ADDRESS_DENIED' ? 'deny' : 'error',
        code: result.code,
        rule,
      });
      socket.resetAndDestroy();
      return;
    }
    if (socket.destroyed) {
      result.socket.destroy();
      return;
    }
    const touch = (): void => {
      phase.deadlineMs = clock.nowMs + timeLimits.relayIdleMs;
    };
    touch();
    relay(socket, result.socket, input, touch, (counts) => {
      record.connection({
        ...connectionOf(destination),
        kind,
        decision: 'allow',
        code: null,
        rule,
        requestBytes: counts.sent,
        responseBytes: counts.received,
        durationMs: performance.now() - startedMs,
      });
    });
  }

  #recordRefused(host: string, port: number, rule: string): void {
    this.#context.record.connection({ ...connectionOf({ host, port }), decision: 'deny', code: 'HOST_DENIED', rule });
  }

  /** A sandbox that is out of connections can try thousands of times a second: one event in a sweep is enough. */
  #recordFull(original: OriginalDestination): void {
    if (this.#fullRecorded) return;
    this.#fullRecorded = true;
    this.#context.record.connection({
      ...connectionOf({ host: original.address, port: original.port }),
      decision: 'deny',
      code: 'CAPACITY',
      rule: `more than ${MAX_CONNECTIONS} connections at a time`,
    });
  }

  #sweep(): void {
    this.#fullRecorded = false;
    const { clock, pool } = this.#context;
    clock.nowMs = performance.now();
    for (const [socket, phase] of this.#connections) {
      if (phase.client !== null) {
        if (phase.client.isOverdue(clock.nowMs)) phase.client.expire();
      } else if (clock.nowMs > phase.deadlineMs) {
        socket.destroy();
      }
    }
    pool.sweep();
    if (this.#connections.size === 0 && pool.isEmpty && this.#sweeper !== null) {
      clearInterval(this.#sweeper);
      this.#sweeper = null;
    }
  }

  /** An idle sandbox wakes nobody: there is a timer only while there is something to look after. */
  #startSweeping(): void {
    const { clock, timeLimits } = this.#context;
    if (this.#sweeper !== null) return;
    clock.nowMs = performance.now();
    this.#sweeper = setInterval(() => this.#sweep(), timeLimits.sweepMs);
    this.#sweeper.unref();
  }
}

function connectionOf(destination: { readonly host: string; readonly port: number }) {
  return {
    kind: 'connection',
    host: destination.host,
    port: destination.port,
    requestBytes: 0,
    responseBytes: 0,
    durationMs: 0,
  } as const;
}
