import type net from 'node:net';
import { ClientHelloReader, readClientHello, type ClientHello } from '../tls/client-hello.ts';

export type HelloOutcome =
  | { readonly outcome: 'hello'; readonly hello: ClientHello }
  | { readonly outcome: 'invalid'; readonly reason: string; readonly isObsolete: boolean }
  | { readonly outcome: 'gone' };

/**
 * Step 3, first half: reads the ClientHello and puts its bytes back, so that whoever takes the connection next finds them unread.
 *
 * The caller limits the time by destroying the socket, and sees to its errors.
 *
 * @param settled is called once, in the turn in which the last byte came: a promise would be another turn for each connection.
 */
export function readHello(socket: net.Socket, settled: (outcome: HelloOutcome) => void): void {
  const reader = new ClientHelloReader();
  const chunks: Buffer[] = [];
  const settle = (outcome: HelloOutcome): void => {
    socket.removeListener('data', onData);
    socket.removeListener('end', onGone);
    socket.removeListener('close', onGone);
    socket.pause();
    if (outcome.outcome !== 'gone') {
      const [only] = chunks;
      socket.unshift(chunks.length === 1 && only !== undefined ? only : Buffer.concat(chunks));
    }
    settled(outcome);
  };
  const onData = (chunk: Buffer): void => {
    chunks.push(chunk);
    const result = reader.push(chunk);
    switch (result.state) {
      case 'incomplete':
        return;
      case 'complete':
        settle({ outcome: 'hello', hello: result });
        return;
      case 'invalid':
        settle({ outcome: 'invalid', reason: result.reason, isObsolete: result.isObsolete });
        return;
      default:
        throw new TypeError(`unknown state ${String(result satisfies never)}`);
    }
  };
  const onGone = (): void => settle({ outcome: 'gone' });
  socket.on('data', onData);
  socket.on('end', onGone);
  socket.on('close', onGone);
  socket.resume();
}

/**
 * Copies what has arrived on a socket of this descriptor, and leaves it there to be read.
 *
 * @returns the bytes copied; 0 or less where there are none.
 */
export type Peek = (descriptor: number, into: Uint8Array) => number;

/** As much as one record holds; what is longer is read by {@link readHello}. */
const PEEKED = Buffer.allocUnsafeSlow(5 + 16 * 1024);

/**
 * A ClientHello that has arrived whole, on a socket of which nothing has been read, and which stays unread: TLS reads it from the kernel by itself. Null
 * where {@link readHello} has to find out.
 *
 * What is read later is what was seen here: the kernel takes no urgent mark for bytes that it has received, so none of them can be taken out. It spares each
 * connection the 64 KB that Node sets aside for the first read of a socket and frees at the next collection.
 */
export function peekHello(socket: net.Socket, peek: Peek): ClientHello | null {
  const descriptor = descriptorOf(socket);
  if (descriptor === null) return null;
  const length = peek(descriptor, PEEKED);
  if (length <= 0) return null;
  const result = readClientHello(PEEKED.subarray(0, length));
  return result.state === 'complete' ? result : null;
}

/** Node tells it nowhere officially; null where it does not, or the socket is closed. */
function descriptorOf(socket: net.Socket): number | null {
  const handle: unknown = Reflect.get(socket, '_handle');
  const descriptor: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : null;
  return typeof descriptor === 'number' && descriptor >= 0 ? descriptor : null;
}
