import type net from 'node:net';

/** What is read of an upstream at a time. */
const READ_BYTES = 65_536;

/**
 * One buffer for all upstreams: a buffer for each read would cost more than the bytes' way. Nothing else is read before what is in it
 * has been taken.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(READ_BYTES);

/** Who is looking at the buffer. */
let holder: net.Socket | null = null;

/**
 * How the socket of an upstream reads: into the buffer that all share, and from there straight to `receive` while the socket flows. Whenever it
 * does not, or nobody receives, the bytes are copied and wait in the stream as those of any socket do, for `data`.
 *
 * To be given to `net.connect` or `tls.connect` as `onread`.
 */
export class UpstreamInput {
  readonly buffer: Buffer = READ_BUFFER;
  /** Takes what has been read, at most until it returns. */
  receive: ((bytes: Buffer) => void) | null = null;
  /** Whether what had been read when the socket was paused is received all the same, instead of being copied. */
  receivesWhilePaused = false;
  #socket: net.Socket | null = null;

  /** Says which socket reads by this; before it has read anything. */
  attach(socket: net.Socket): void {
    this.#socket = socket;
  }

  readonly callback = (length: number): boolean => {
    const socket = this.#socket;
    if (socket === null) throw new TypeError('an upstream is read that nobody has');
    if (holder !== null) {
      // Node reads from its event loop alone. Should that change, the bytes that somebody looks at have just been overwritten.
      holder.destroy();
      socket.destroy();
      return false;
    }
    const bytes = READ_BUFFER.subarray(0, length);
    const flows = socket.readableFlowing === true || this.receivesWhilePaused;
    // What waits comes first.
    if (this.receive === null || !flows || socket.readableLength > 0) {
      return socket.push(Buffer.from(bytes));
    }
    holder = socket;
    try {
      this.receive(bytes);
    } finally {
      holder = null;
    }
    // Whoever asks to read no further has paused the socket.
    return true;
  };
}
