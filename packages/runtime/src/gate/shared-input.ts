import net from 'node:net';

/** What is read of a socket at a time. */
const READ_BYTES = 65_536;

/** Memory that many sockets are read into: a buffer for each read would cost more than the bytes' way. */
export interface ReadMemory {
  readonly buffer: Buffer;
  /** Who is looking at it. Nothing else is read before what is in it has been taken. */
  holder: net.Socket | null;
}

/** Of all upstreams. */
export const UPSTREAM_MEMORY: ReadMemory = { buffer: Buffer.allocUnsafeSlow(READ_BYTES), holder: null };

/** Of all clients: what they sent is looked at while something is written to an upstream. */
export const CLIENT_MEMORY: ReadMemory = { buffer: Buffer.allocUnsafeSlow(READ_BYTES), holder: null };

/**
 * How a socket reads: into the memory that many share, and from there straight to `receive` while the socket flows. Whenever it
 * does not, or nobody receives, the bytes are copied and wait in the stream as those of any socket do, for `data`.
 *
 * To be given to `net.connect` or `tls.connect` as `onread`, or to a socket that is there already by {@link SharedInput.take}.
 */
export class SharedInput {
  /** Takes what has been read, at most until it returns. */
  receive: ((bytes: Buffer) => void) | null = null;
  /** Whether what had been read when the socket was paused is received all the same, instead of being copied. */
  receivesWhilePaused = false;
  readonly #memory: ReadMemory;
  #socket: net.Socket | null = null;

  constructor(memory: ReadMemory) {
    this.#memory = memory;
  }

  get buffer(): Buffer {
    return this.#memory.buffer;
  }

  /** Says which socket reads by this; before it has read anything. */
  attach(socket: net.Socket): void {
    this.#socket = socket;
  }

  /**
   * Has a socket read by this that was made without `onread`: Node takes that for no TLS socket over a socket that is accepted.
   *
   * Where this Node keeps it otherwise, nothing happens, and `data` tells all bytes as that of any socket does.
   */
  take(socket: net.Socket): void {
    const { buffer, callback } = ONREAD_KEYS;
    const reading = socket as unknown as Record<symbol, unknown> & {
      readonly _handle?: { useUserBuffer?: (buffer: Buffer) => void } | null;
    };
    const handle = reading._handle;
    if (buffer === null || callback === null || reading[buffer] !== null || typeof handle?.useUserBuffer !== 'function')
      return;
    this.attach(socket);
    reading[callback] = this.callback;
    reading[buffer] = this.buffer;
    handle.useUserBuffer(this.buffer);
  }

  readonly callback = (length: number): boolean => {
    const socket = this.#socket;
    if (socket === null) throw new TypeError('a socket is read that nobody has');
    const memory = this.#memory;
    if (memory.holder !== null) {
      // Node reads from its event loop alone. Should that change, the bytes that somebody looks at have just been overwritten.
      memory.holder.destroy();
      socket.destroy();
      return false;
    }
    const bytes = memory.buffer.subarray(0, length);
    const flows = socket.readableFlowing === true || this.receivesWhilePaused;
    // What waits comes first.
    if (this.receive === null || !flows || socket.readableLength > 0) {
      return socket.push(Buffer.from(bytes));
    }
    memory.holder = socket;
    try {
      this.receive(bytes);
    } finally {
      memory.holder = null;
    }
    // Whoever asks to read no further has paused the socket.
    return true;
  };
}

/** Under which keys a socket of this Node has what `onread` gave it; null where it has nothing of the kind. */
const ONREAD_KEYS = findOnreadKeys();

function findOnreadKeys(): { readonly buffer: symbol | null; readonly callback: symbol | null } {
  const onread = { buffer: new Uint8Array(1), callback: (): boolean => true };
  const socket = new net.Socket({ onread }) as unknown as Record<symbol, unknown>;
  const keyOf = (value: unknown): symbol | null =>
    Object.getOwnPropertySymbols(socket).find((key) => socket[key] === value) ?? null;
  return { buffer: keyOf(onread.buffer), callback: keyOf(onread.callback) };
}
