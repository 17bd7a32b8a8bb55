import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { openLoopbackGate, receive } from './loopback.testing.ts';

const HOST = 'server.example.com';

/** Starts a plain TCP server; `serve` gets each connection. */
async function startServer(serve: (socket: net.Socket) => void) {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    serve(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A handshake of MySQL 10, as a server sends it unasked. */
const MYSQL_GREETING = Buffer.concat([
  Buffer.of(0x4a, 0, 0, 0, 10),
  Buffer.from('8.4.0\0', 'latin1'),
  Buffer.alloc(0x4a - 7, 0xff),
]);

const PROTOCOLS: readonly { name: string; port: number; greeting: Buffer; answer: string; last: string }[] = [
  {
    name: 'SMTP',
    port: 25,
    greeting: Buffer.from('220 mail.example.com ESMTP\r\n'),
    answer: 'EHLO sandbox\r\n',
    last: '250 mail.example.com\r\n',
  },
  { name: 'MySQL', port: 3306, greeting: MYSQL_GREETING, answer: '\x20\0\0\x01login', last: '\x07\0\0\x02OK' },
  {
    name: 'SSH',
    port: 22,
    greeting: Buffer.from('SSH-2.0-OpenSSH_9.9\r\n'),
    answer: 'SSH-2.0-client\r\n',
    last: '\0\0\x05\x0c\x14',
  },
];

for (const { name, port, greeting, answer, last } of PROTOCOLS) {
  test(`${name}: the server's greeting arrives before the client has said anything, with a secret in the sandbox and without`, async () => {
    for (const secrets of [[], ['TOKEN=canary-value-4711@api.example.com']]) {
      const order: string[] = [];
      await using server = await startServer((socket) => {
        order.push('greeted');
        socket.write(greeting);
        socket.on('data', (chunk: Buffer) => {
          order.push(`server got ${chunk.toString('latin1')}`);
          socket.end(Buffer.from(last, 'latin1'));
        });
      });
      await using gate = await openLoopbackGate({
        secrets,
        allow: [`${HOST}:${port}`],
        resolve: [`${HOST}:${port}:127.0.0.1:${server.port}`],
      });
      const client = await gate.connect(HOST, port);
      const expected = greeting.toString('latin1');
      // Nothing has been written: only what the server says can end this wait.
      assert.equal(await receive(client, (text) => text.length >= expected.length), expected);
      order.push('client got greeting');
      client.write(Buffer.from(answer, 'latin1'));
      assert.equal(await receive(client), last);
      client.end();
      assert.deepEqual(order, ['greeted', 'client got greeting', `server got ${answer}`]);
      while (gate.events.length === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      const [event] = gate.events;
      assert.deepEqual(
        [event?.kind, event?.decision, event?.host, event?.port, event?.requestBytes, event?.responseBytes],
        ['tcp', 'allow', HOST, port, answer.length, expected.length + last.length],
      );
    }
  });
}

test('a client that ends its side still gets the rest, and a server that does still hears the client', async () => {
  await using server = await startServer((socket) => {
    let heard = '';
    socket.write('ready\n');
    socket.on('data', (chunk: Buffer) => (heard += chunk.toString('latin1')));
    socket.on('end', () => socket.end(`heard ${heard}`));
  });
  await using gate = await openLoopbackGate({
    allow: [`${HOST}:4000`],
    resolve: [`${HOST}:4000:127.0.0.1:${server.port}`],
  });
  const client = await gate.connect(HOST, 4000);
  assert.equal(await receive(client, '\n'), 'ready\n');
  client.end('all of it');
  assert.equal(await receive(client), 'heard all of it');
});

test('bytes that look like TLS or HTTP are nothing special on a plain TCP port', async () => {
  const got: Buffer[] = [];
  await using server = await startServer((socket) => {
    socket.on('data', (chunk: Buffer) => got.push(chunk));
    socket.on('end', () => socket.end('bye'));
  });
  await using gate = await openLoopbackGate({
    secrets: ['TOKEN=canary-value-4711@api.example.com'],
    allow: [`${HOST}:5432`],
    resolve: [`${HOST}:5432:127.0.0.1:${server.port}`],
  });
  for (const bytes of [Buffer.of(22, 3, 1, 0, 5, 1, 0, 0, 1, 0), Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n')]) {
    got.length = 0;
    const client = await gate.connect(HOST, 5432);
    client.end(bytes);
    assert.equal(await receive(client), 'bye');
    assert.deepEqual(Buffer.concat(got), bytes);
  }
});

test('a port that no rule names gets nothing, greeting or not', async () => {
  let connections = 0;
  await using server = await startServer(() => (connections += 1));
  await using gate = await openLoopbackGate({
    allow: [`${HOST}:25`],
    resolve: [`${HOST}:587:127.0.0.1:${server.port}`],
  });
  // Whether the client sees its connection made before it is reset is a matter of time.
  const client = await gate.connect(HOST, 587).catch(() => null);
  if (client !== null) {
    client.on('error', () => undefined);
    assert.equal(await receive(client), '');
  }
  assert.equal(connections, 0);
  assert.deepEqual([gate.events[0]?.decision, gate.events[0]?.code], ['deny', 'HOST_DENIED']);
});
