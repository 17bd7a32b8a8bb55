import type { Duplex } from 'node:stream';

/** Bytes that crossed a relay, seen from the sandbox. */
export interface RelayCounts {
  sent: number;
  received: number;
}

/**
 * Joins two byte streams until both have ended, half-closes and backpressure carried over.
 *
 * `touch` is called with every byte that moves, so that an idle relay can be told from a busy one. `done` is called once.
 */
export function relay(client: Duplex, upstream: Duplex, touch: () => void, done: (counts: RelayCounts) => void): void {
  const counts: RelayCounts = { sent: 0, received: 0 };
  let open = 2;
  const close = (): void => {
    if (open === 0) return;
    open = 0;
    client.destroy();
    upstream.destroy();
    done(counts);
  };
  const join = (from: Duplex, to: Duplex, count: (bytes: number) => void): void => {
    from.on('data', (chunk: Buffer) => {
      count(chunk.length);
      touch();
      if (!to.write(chunk)) from.pause();
    });
    to.on('drain', () => {
      touch();
      from.resume();
    });
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
  join(client, upstream, (bytes) => {
    counts.sent += bytes;
  });
  join(upstream, client, (bytes) => {
    counts.received += bytes;
  });
  client.resume();
  upstream.resume();
}
