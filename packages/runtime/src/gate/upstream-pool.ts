import type { Authority } from '../http/message.ts';
import type { DialFailure, Dialer, Protocol } from './dialer.ts';
import type { CoarseClock } from './gate-context.ts';
import type { Http2Upstream } from './http2-upstream.ts';
import { MAX_IDLE_PER_AUTHORITY, MAX_IDLE_UPSTREAMS, MAX_REMEMBERED_SESSIONS } from './limits.ts';
import { UpstreamConnection } from './upstream-connection.ts';
import { SharedInput, UPSTREAM_MEMORY } from './shared-input.ts';

/** Something to send a request on: an HTTP/1 connection of one's own, or a place on a shared HTTP/2 one. */
export type Lease =
  | { readonly outcome: 'connected'; readonly protocol: 'http/1.1'; readonly connection: UpstreamConnection }
  | { readonly outcome: 'connected'; readonly protocol: 'h2'; readonly upstream: Http2Upstream }
  | DialFailure;

/** The idle upstream connections of one sandbox, by authority. Nothing is shared between sandboxes. */
export class UpstreamPool {
  readonly #dialer: Pick<Dialer, 'dial'>;
  readonly #clock: CoarseClock;
  readonly #idleLimitMs: number;
  readonly #idle = new Map<string, UpstreamConnection[]>();
  readonly #open = new Set<UpstreamConnection>();
  readonly #generations = new WeakMap<UpstreamConnection, number>();
  readonly #sessions = new Map<string, readonly Http2Upstream[]>();
  readonly #protocols = new Map<string, Protocol>();
  readonly #dials = new Map<string, Promise<Lease>>();
  #idleCount = 0;
  #generation = 0;
  #ended = false;

  /** A connection that has rested for `idleLimitMs` is closed. */
  constructor(dialer: Pick<Dialer, 'dial'>, clock: CoarseClock, idleLimitMs: number) {
    this.#dialer = dialer;
    this.#clock = clock;
    this.#idleLimitMs = idleLimitMs;
  }

  /** Whether a connection to this authority is at hand. */
  hasIdle(authority: Authority): boolean {
    return (this.#idle.get(authorityKey(authority))?.length ?? 0) > 0;
  }

  /** Takes the connection used last, which is the least likely to be closed by its peer; null when there is none. */
  takeIdle(authority: Authority): UpstreamConnection | null {
    const connection = this.#idle.get(authorityKey(authority))?.pop();
    if (connection === undefined) return null;
    this.#idleCount -= 1;
    return connection;
  }

  /** Opens an HTTP/1 connection. */
  async connect(authority: Authority): Promise<Extract<Lease, { protocol: 'http/1.1' }> | DialFailure> {
    const lease = await this.#dial(authority, ['http/1.1']);
    if (lease.outcome === 'failed' || lease.protocol === 'http/1.1') return lease;
    throw new TypeError('HTTP/2 was not offered');
  }

  /** A place on an open HTTP/2 connection to this authority; null when there is none. */
  takeStream(authority: Authority): Http2Upstream | null {
    return this.#sessions.get(authorityKey(authority))?.find((upstream) => upstream.hasRoom) ?? null;
  }

  /** Finds or opens what an HTTP/2 client's request can be sent on: HTTP/2 where the upstream offers it. */
  async lease(authority: Authority): Promise<Lease> {
    const key = authorityKey(authority);
    for (;;) {
      const upstream = this.takeStream(authority);
      if (upstream !== null) return { outcome: 'connected', protocol: 'h2', upstream };
      if (this.#protocols.get(key) === 'http/1.1') {
        const connection = this.takeIdle(authority);
        if (connection !== null) return { outcome: 'connected', protocol: 'http/1.1', connection };
        // Offered both every time, or an upstream that begins to speak HTTP/2 would never be found out.
        return this.#dial(authority, ['h2', 'http/1.1']);
      }
      // One dial for all streams that wait for the same authority.
      const pending = this.#dials.get(key);
      if (pending === undefined) {
        const dial = this.#dial(authority, ['h2', 'http/1.1']).finally(() => this.#dials.delete(key));
        this.#dials.set(key, dial);
        return dial;
      }
      const result = await pending;
      if (result.outcome === 'failed') return result;
    }
  }

  /**
   * Finds or opens what a WebSocket of an HTTP/2 client can go on: HTTP/2 where the upstream takes extended CONNECT (RFC 8441), else an
   * HTTP/1 connection of its own, never one that has rested: nothing is sent again when it turns out to be closed.
   */
  async leaseForTunnel(authority: Authority): Promise<Lease> {
    if (this.protocolOf(authority) === 'http/1.1') {
      const known = await this.connect(authority);
      if (known.outcome === 'connected' || known.code !== 'UPSTREAM_TLS_FAILED') return known;
      // It may speak HTTP/2 alone by now.
    }
    const lease = await this.lease(authority);
    if (lease.outcome === 'failed' || lease.protocol === 'http/1.1') return lease;
    if (await lease.upstream.takesExtendedConnect()) return lease;
    const fallback = await this.connect(authority);
    if (fallback.outcome === 'connected' || fallback.code !== 'UPSTREAM_TLS_FAILED') return fallback;
    return {
      ...fallback,
      code: 'UPGRADE_NOT_SUPPORTED',
      detail: `The upstream takes no WebSocket over HTTP/2 (RFC 8441), and none over HTTP/1.1 either: ${fallback.detail}`,
    };
  }

  /** What the upstream chose when it was last offered both protocols; null when it never was. */
  protocolOf(authority: Authority): Protocol | null {
    return this.#protocols.get(authorityKey(authority)) ?? null;
  }

  async #dial(authority: Authority, protocols: readonly Protocol[]): Promise<Lease> {
    const key = authorityKey(authority);
    const generation = this.#generation;
    // Before the dial: a connected socket must not wait for a module.
    const http2 = protocols.includes('h2') ? await import('./http2-upstream.ts') : null;
    const reader = http2 === null ? new SharedInput(UPSTREAM_MEMORY) : null;
    const result = await this.#dialer.dial({
      host: authority.host,
      port: authority.port,
      secure: authority.scheme === 'https',
      protocols,
      ...(reader === null ? {} : { reader }),
    });
    if (result.outcome === 'failed') return result;
    if (this.#ended) {
      result.socket.destroy();
      return { outcome: 'failed', code: 'UPSTREAM_UNREACHABLE', detail: 'The gate is closing.' };
    }
    if (!protocols.includes(result.protocol)) {
      result.socket.destroy();
      const detail = `${authority.host}:${authority.port} chose a protocol (ALPN) that it was not offered.`;
      return { outcome: 'failed', code: 'UPSTREAM_TLS_FAILED', detail };
    }
    if (http2 !== null) this.#remember(key, result.protocol);
    if (result.protocol === 'h2' && http2 !== null) {
      const upstream = new http2.Http2Upstream(
        result.socket,
        key,
        () => this.#clock.nowMs,
        (closed) => this.#forgetSession(closed),
      );
      this.#sessions.set(key, [...(this.#sessions.get(key) ?? []), upstream]);
      return { outcome: 'connected', protocol: 'h2', upstream };
    }
    const connection = new UpstreamConnection(result.socket, key, reader, (closed) => this.#forget(closed));
    this.#open.add(connection);
    this.#generations.set(connection, generation);
    return { outcome: 'connected', protocol: 'http/1.1', connection };
  }

  #remember(key: string, protocol: Protocol): void {
    if (this.#protocols.size >= MAX_REMEMBERED_SESSIONS) this.#protocols.clear();
    this.#protocols.set(key, protocol);
  }

  /** Puts a connection back that is between exchanges. */
  release(connection: UpstreamConnection): void {
    connection.lend(null);
    if (connection.closed) return;
    const list = this.#idle.get(connection.key) ?? [];
    const isRetired = this.#generations.get(connection) !== this.#generation;
    if (this.#ended || isRetired || list.length >= MAX_IDLE_PER_AUTHORITY || this.#idleCount >= MAX_IDLE_UPSTREAMS) {
      connection.destroy();
      return;
    }
    connection.idleSinceMs = this.#clock.nowMs;
    list.push(connection);
    this.#idle.set(connection.key, list);
    this.#idleCount += 1;
  }

  /** Whether no connection is kept, so that there is nothing to sweep. */
  get isEmpty(): boolean {
    return this.#open.size === 0 && this.#sessions.size === 0;
  }

  /** Closes what was dialled under rules that no longer hold: what rests at once, what is in use after its exchange. */
  retire(): void {
    this.#generation += 1;
    for (const list of [...this.#idle.values()]) for (const connection of [...list]) connection.destroy();
    for (const list of [...this.#sessions.values()]) for (const upstream of list) upstream.destroy();
  }

  /** Closes connections that have rested too long. */
  sweep(): void {
    const oldest = this.#clock.nowMs - this.#idleLimitMs;
    for (const list of this.#idle.values()) {
      // Oldest first, as connections are taken and returned at the end.
      while (list[0] !== undefined && list[0].idleSinceMs < oldest) list[0].destroy();
    }
    for (const list of this.#sessions.values()) {
      for (const upstream of list) if (upstream.isIdle && upstream.idleSinceMs < oldest) upstream.destroy();
    }
  }

  close(): void {
    this.#ended = true;
    for (const connection of this.#open) connection.destroy();
    for (const list of this.#sessions.values()) for (const upstream of list) upstream.destroy();
  }

  #forgetSession(upstream: Http2Upstream): void {
    const rest = this.#sessions.get(upstream.key)?.filter((other) => other !== upstream) ?? [];
    if (rest.length === 0) this.#sessions.delete(upstream.key);
    else this.#sessions.set(upstream.key, rest);
  }

  #forget(connection: UpstreamConnection): void {
    this.#open.delete(connection);
    const list = this.#idle.get(connection.key);
    const index = list?.indexOf(connection) ?? -1;
    if (list === undefined || index < 0) return;
    list.splice(index, 1);
    this.#idleCount -= 1;
    if (list.length === 0) this.#idle.delete(connection.key);
  }
}

/** A connection asks with the same object for each request. */
const KEYS = new WeakMap<Authority, string>();

function authorityKey(authority: Authority): string {
  const known = KEYS.get(authority);
  if (known !== undefined) return known;
  const key = `${authority.scheme}://${authority.host}:${authority.port}`;
  KEYS.set(authority, key);
  return key;
}
