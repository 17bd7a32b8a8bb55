import type { Duplex } from 'node:stream';

/** Bytes that crossed a relay, seen from the sandbox. */
export interface RelayCounts {
  sent: number;
  received: number;
}

/** What a relay reads of its upstream at a time. */
const READ_BYTES = 65_536;

/**
 * The buffer that an upstream of a relay reads into, again and again: a buffer for each read would cost more than the bytes' way.
 * Given to `net.connect`; the socket has to be paused from the start and emits no `data`.
 */
export class RelayInput {
  readonly buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  /** Takes what has been read, at most until it returns; false asks to read no further until the socket is resumed. */
  receive: (bytes: Buffer) => boolean = () => false;
  readonly callback = (length: number): boolean => this.receive(this.buffer.subarray(0, length));
}

/**
 * Joins two byte streams until both have ended, half-closes and backpressure carried over.
 *
 * `touch` is called with every byte that moves, so that an idle relay can be told from a busy one. `done` is called once.
 *
 * @param input what the upstream was connected with; it has read nothing so far.
 */
export function relay(
  client: Duplex,
  upstream: Duplex,
  input: RelayInput,
  touch: () => void,
  done: (counts: RelayCounts) => void,
): void {
  const counts: RelayCounts = { sent: 0, received: 0 };
  let open = 2;
  const close = (): void => {
    if (open === 0) return;
    open = 0;
    client.destroy();
    upstream.destroy();
    done(counts);
  };
  const join = (from: Duplex, to: Duplex): void => {
    from.on('end', () => {
      if (open === 0) return;
      open -= 1;
      if (open === 0) {
        to.end(() => {
          client.destroy();
          upstream.destroy();
        });
        done(counts);
      } else {
        to.end();
      }
    });
    from.on('error', close);
    from.on('close', () => {
      if (open > 0 && !from.readableEnded) close();
    });
  };
  join(client, upstream);
  join(upstream, client);

  client.on('data', (chunk: Buffer) => {
    counts.sent += chunk.length;
    touch();
    if (!upstream.write(chunk)) client.pause();
  });
  upstream.on('drain', () => {
    touch();
    client.resume();
  });

  let isHeld = false;
  const written = (): void => {
    if (!isHeld || client.writableLength > 0) return;
    isHeld = false;
    touch();
    upstream.resume();
  };
  input.receive = (bytes) => {
    counts.received += bytes.length;
    touch();
    client.write(bytes, written);
    // Until the kernel has all of it, the buffer is not ours to read into.
    isHeld = client.writableLength > 0;
    return !isHeld;
  };
  client.resume();
  upstream.resume();
}
