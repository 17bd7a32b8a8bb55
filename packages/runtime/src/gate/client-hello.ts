import type net from 'node:net';
import { ClientHelloReader, type ClientHello } from '../tls/client-hello.ts';

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
