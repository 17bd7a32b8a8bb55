import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';
import { systemCalls } from '../airlock/system-calls.ts';
import { peekHello, type Peek } from '../gate/client-hello.ts';

const peek: Peek = (descriptor, into) => systemCalls().peek(descriptor, into);

/** A socket, paused, on which these bytes have arrived and nothing has been read. */
async function arrived(send: (port: number) => Socket): Promise<{ socket: Socket; close: () => void }> {
  const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const connected = once(server, 'connection');
  const client = send((server.address() as AddressInfo).port).on('error', () => undefined);
  const [socket] = (await connected) as [Socket];
  const close = (): void => {
    for (const end of [client, socket]) end.destroy();
    server.close();
  };
  return { socket, close };
}

/** Asks again and again until there is an answer, or for a while. */
async function peekUntil(socket: Socket, isWanted: () => boolean): Promise<void> {
  for (let turn = 0; turn < 200 && !isWanted(); turn += 1) await new Promise((next) => setTimeout(next, 5));
  assert.ok(isWanted() && !socket.destroyed);
}

test('peekHello() sees a whole ClientHello and leaves it unread', async () => {
  const { socket, close } = await arrived((port) =>
    tls.connect({ port, host: '127.0.0.1', servername: 'a.example', rejectUnauthorized: false }),
  );
  try {
    await peekUntil(socket, () => peekHello(socket, peek) !== null);
    assert.equal(peekHello(socket, peek)?.serverName, 'a.example');
    const [first] = (await once(socket.resume(), 'data')) as [Buffer];
    assert.deepEqual([first[0], first[5]], [22, 1]);
  } finally {
    close();
  }
});

test('peekHello() leaves everything else to who reads: a part, no TLS, nothing, a closed socket', async () => {
  for (const text of ['\x16\x03\x01\x01', 'GET / HTTP/1.1\r\n\r\n']) {
    const { socket, close } = await arrived((port) =>
      net.connect(port, '127.0.0.1', function sent(this: Socket) {
        this.write(text, 'latin1');
      }),
    );
    try {
      const seen = Buffer.alloc(64);
      let length = 0;
      await peekUntil(socket, () => {
        assert.equal(
          peekHello(socket, (descriptor, into) => {
            length = peek(descriptor, into);
            seen.set(into.subarray(0, Math.max(0, Math.min(length, seen.length))));
            return length;
          }),
          null,
        );
        return length === text.length;
      });
      assert.equal(seen.toString('latin1', 0, length), text);
    } finally {
      close();
    }
    assert.equal(
      peekHello(socket, () => assert.fail('a closed socket has no descriptor')),
      null,
    );
  }
  const { socket, close } = await arrived((port) => net.connect(port, '127.0.0.1'));
  try {
    assert.equal(peekHello(socket, peek), null);
  } finally {
    close();
  }
});
