import type net from 'node:net';
import type { SharedInput } from './shared-input.ts';

/** Receives what an upstream connection does while it carries an exchange. */
export interface UpstreamListener {
  /** Whether it copies whatever it needs of a chunk after it has returned; else chunks are made for it that it can keep. */
  readonly copiesChunks?: true;
  upstreamData(chunk: Buffer): void;
  /** No more data will come. `clean` tells an end that the upstream made from a connection that broke. */
  upstreamEnd(clean: boolean): void;
  upstreamDrain(): void;
}

/**
 * One HTTP/1 connection to an upstream: idle in the pool, or lent to one exchange at a time.
 *
 * Bytes that come while it is idle were not asked for: such a connection is closed, or the next exchange would read them as its answer.
 */
export class UpstreamConnection {
  readonly socket: net.Socket;
  /** Which authority it proved to be. */
  readonly key: string;
  /** When it was put into the pool, in milliseconds of the monotonic clock. */
  idleSinceMs = 0;
  /** Whether an exchange was completed on it: only then may a request be sent again on another one when this fails. */
  used = false;
  closed = false;
  #listener: UpstreamListener | null = null;
  readonly #onClosed: (connection: UpstreamConnection) => void;
  readonly #input: SharedInput | null;
  readonly #stopListening: () => void;

  /** @param input how the socket reads; null where it does so as any socket. */
  constructor(
    socket: net.Socket,
    key: string,
    input: SharedInput | null,
    onClosed: (connection: UpstreamConnection) => void,
  ) {
    this.socket = socket;
    this.key = key;
    this.#onClosed = onClosed;
    this.#input = input;
    const onData = (chunk: Buffer): void => {
      if (this.#listener === null) this.destroy();
      else this.#listener.upstreamData(chunk);
    };
    const onDrain = (): void => this.#listener?.upstreamDrain();
    const ended = (clean: boolean): void => {
      if (this.closed) return;
      const listener = this.#listener;
      this.#markClosed();
      listener?.upstreamEnd(clean);
      socket.destroy();
    };
    const onEnd = (): void => ended(true);
    const onBroken = (): void => ended(false);
    if (input !== null) {
      input.receive = (bytes) => onData(this.#listener?.copiesChunks === true ? bytes : Buffer.from(bytes));
    }
    // Makes the socket flow; with an input it tells only what came while it did not.
    socket.on('data', onData);
    socket.on('drain', onDrain);
    socket.on('end', onEnd);
    socket.on('error', onBroken);
    socket.on('close', onBroken);
    this.#stopListening = () => {
      socket.off('data', onData);
      socket.off('drain', onDrain);
      socket.off('end', onEnd);
      socket.off('error', onBroken);
      socket.off('close', onBroken);
    };
  }

  /** Lends the connection to an exchange, or takes it back with null. */
  lend(listener: UpstreamListener | null): void {
    this.#listener = listener;
  }

  /** Reads no further. What has been read already, some tens of kilobytes at most, may still come. */
  pause(): void {
    if (this.#input !== null) this.#input.receivesWhilePaused = true;
    this.socket.pause();
  }

  /** Reads no further, and nothing comes until {@link UpstreamConnection.resume}. */
  hold(): void {
    if (this.#input !== null) this.#input.receivesWhilePaused = false;
    this.socket.pause();
  }

  resume(): void {
    if (this.#input !== null) this.#input.receivesWhilePaused = false;
    this.socket.resume();
  }

  /** Takes the socket out of the pool for good, for another protocol: only its new owner listens to it afterwards. */
  detach(): net.Socket {
    this.#listener = null;
    this.#markClosed();
    this.#stopListening();
    if (this.#input !== null) this.#input.receive = null;
    this.socket.pause();
    return this.socket;
  }

  destroy(): void {
    this.#listener = null;
    this.#markClosed();
    this.socket.destroy();
  }

  #markClosed(): void {
    if (this.closed) return;
    this.closed = true;
    this.#onClosed(this);
  }
}
