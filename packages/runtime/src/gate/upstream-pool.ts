import type { Authority } from '../http/message.ts';
import type { DialFailure, Dialer } from './dialer.ts';
import type { CoarseClock } from './gate-context.ts';
import { MAX_IDLE_PER_AUTHORITY, MAX_IDLE_UPSTREAMS } from './limits.ts';
import { UpstreamConnection } from './upstream-connection.ts';

export type Lease = { readonly outcome: 'connected'; readonly connection: UpstreamConnection } | DialFailure;

/** The idle upstream connections of one sandbox, by authority. Nothing is shared between sandboxes. */
export class UpstreamPool {
  readonly #dialer: Dialer;
  readonly #clock: CoarseClock;
  readonly #idleLimitMs: number;
  readonly #idle = new Map<string, UpstreamConnection[]>();
  readonly #open = new Set<UpstreamConnection>();
  #idleCount = 0;
  #ended = false;

  /** A connection that has rested for `idleLimitMs` is closed. */
  constructor(dialer: Dialer, clock: CoarseClock, idleLimitMs: number) {
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

  async connect(authority: Authority): Promise<Lease> {
    const result = await this.#dialer.dial({
      host: authority.host,
      port: authority.port,
      secure: authority.scheme === 'https',
    });
    if (result.outcome === 'failed') return result;
    const connection = new UpstreamConnection(result.socket, authorityKey(authority), (closed) => this.#forget(closed));
    if (this.#ended) {
      connection.destroy();
      return { outcome: 'failed', code: 'UPSTREAM_UNREACHABLE', detail: 'The gate is closing.' };
    }
    this.#open.add(connection);
    return { outcome: 'connected', connection };
  }

  /** Puts a connection back that is between exchanges. */
  release(connection: UpstreamConnection): void {
    connection.lend(null);
    if (connection.closed) return;
    const list = this.#idle.get(connection.key) ?? [];
    if (this.#ended || list.length >= MAX_IDLE_PER_AUTHORITY || this.#idleCount >= MAX_IDLE_UPSTREAMS) {
      connection.destroy();
      return;
    }
    connection.idleSinceMs = this.#clock.nowMs;
    list.push(connection);
    this.#idle.set(connection.key, list);
    this.#idleCount += 1;
  }

  /** Closes connections that have rested too long. */
  sweep(): void {
    const oldest = this.#clock.nowMs - this.#idleLimitMs;
    for (const list of this.#idle.values()) {
      // Oldest first, as connections are taken and returned at the end.
      while (list[0] !== undefined && list[0].idleSinceMs < oldest) list[0].destroy();
    }
  }

  close(): void {
    this.#ended = true;
    for (const connection of this.#open) connection.destroy();
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

function authorityKey(authority: Authority): string {
  return `${authority.scheme}://${authority.host}:${authority.port}`;
}
