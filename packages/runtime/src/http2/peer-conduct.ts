import { calm } from './error-code.ts';
import { TokenBucket } from './token-bucket.ts';
import type { Http2Limits } from './types.ts';

/** Frames that bring nothing (pings, settings, priorities, windows, empty data, unknown ones), at once and each second. */
const IDLE_FRAME_BURST = 2000;
const IDLE_FRAMES_PER_SECOND = 500;
/** How many of those a request may bring with it. */
const IDLE_FRAMES_PER_REQUEST = 8;
/** Streams that we reset and whose frames may still be on their way. */
const MAX_REMEMBERED_RESETS = 1024;

/** Counts what a peer makes us do for nothing, and ends its connection at too much of it. */
export class PeerConduct {
  readonly #idle: TokenBucket;
  /** Null on the client's side, where it is a frame that brings nothing: a server can reset no more streams than it was asked for. */
  readonly #resets: TokenBucket | null;
  /** Streams that we have reset, oldest first. */
  readonly #remembered = new Set<number>();

  constructor(role: 'server' | 'client', limits: Http2Limits, nowMs: () => number) {
    this.#idle = new TokenBucket(IDLE_FRAME_BURST, IDLE_FRAMES_PER_SECOND, nowMs);
    const { streamResetBurst, streamResetsPerSecond } = limits;
    this.#resets = role === 'server' ? new TokenBucket(streamResetBurst, streamResetsPerSecond, nowMs) : null;
  }

  /** A frame came that brings nothing. @throws {Http2ConnectionError} */
  idleFrame(): void {
    if (!this.#idle.take()) throw calm('the peer sends too many frames that bring nothing');
  }

  /** So many frames that bring nothing are in order. */
  earn(frames: number): void {
    this.#idle.give(frames);
  }

  /** A request was opened, by either side. */
  request(): void {
    this.#idle.give(IDLE_FRAMES_PER_REQUEST);
  }

  /**
   * The peer has reset a stream (CVE-2023-44487), or made us reset one (CVE-2025-8671): work was begun and given up.
   *
   * @throws {Http2ConnectionError}
   */
  reset(): void {
    if (this.#resets === null) this.idleFrame();
    else if (!this.#resets.take()) throw calm('too many streams are reset by the peer, or for its faults');
  }

  /** We have reset that stream. */
  remember(streamId: number): void {
    this.#remembered.add(streamId);
    if (this.#remembered.size <= MAX_REMEMBERED_RESETS) return;
    const [oldest] = this.#remembered;
    this.#remembered.delete(oldest!);
  }

  /** Whether we have reset that stream, not too long ago. */
  remembers(streamId: number): boolean {
    return this.#remembered.has(streamId);
  }
}
