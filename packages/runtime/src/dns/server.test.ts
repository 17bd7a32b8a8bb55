import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';

import { DnsServer } from './server.ts';
import type { AnsweredQuery } from './server.ts';
import { SyntheticAddresses } from './synthetic-addresses.ts';

async function start(t: TestContext, capacity = 100) {
  const zone = new SyntheticAddresses({ capacity });
  const full: string[] = [];
  const queries: AnsweredQuery[] = [];
  const dns = new DnsServer({ zone, onCapacity: (name) => full.push(name), onQuery: (query) => queries.push(query) });
  const udp = createSocket('udp4');
  udp.bind(0, '127.0.0.1');
  await once(udp, 'listening');
  const { port } = udp.address();
  dns.attachUdp(udp);
  const tcp = createServer();
  tcp.listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  dns.attachTcp(tcp);
  t.after(() => dns.close());
  const resolver = new Resolver({ timeout: 5000, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  return { dns, zone, full, queries, udpPort: port, tcpPort: (tcp.address() as AddressInfo).port, resolver };
}

function question(id: number, name: string): Buffer {
  const labels = name.split('.').map((label) => String.fromCharCode(label.length) + label);
  const message = Buffer.from(`\0\0\x01\0\0\x01\0\0\0\0\0\0${labels.join('')}\0\0\x01\0\x01`, 'latin1');
  message.writeUInt16BE(id);
  return message;
}

function framed(message: Buffer): Buffer {
  return Buffer.concat([Buffer.of(message.length >>> 8, message.length & 0xff), message]);
}

async function readResponses(socket: Socket, count: number): Promise<Buffer[]> {
  let bytes = Buffer.alloc(0);
  const responses: Buffer[] = [];
  for await (const chunk of socket) {
    bytes = Buffer.concat([bytes, chunk as Buffer]);
    while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
      const end = 2 + bytes.readUInt16BE(0);
      responses.push(bytes.subarray(2, end));
      bytes = bytes.subarray(end);
    }
    if (responses.length >= count) {
      break;
    }
  }
  return responses;
}

test('DnsServer answers a real resolver by UDP', async (t) => {
  const { resolver, queries } = await start(t);
  assert.deepEqual(await resolver.resolve4('api.example.com', { ttl: true }), [{ address: '198.18.0.1', ttl: 60 }]);
  assert.deepEqual(await resolver.resolve6('API.example.com'), ['fd53:616c:6c79::1']);
  assert.deepEqual(await resolver.reverse('198.18.0.1'), ['api.example.com']);
  await assert.rejects(resolver.resolveTxt('api.example.com'), { code: 'ENODATA' });
  await assert.rejects(resolver.resolve4('x.onion'), { code: 'ENOTFOUND' });
  await assert.rejects(resolver.resolve4('-a.example'), { code: 'EREFUSED' });
  assert.deepEqual(queries[0], { name: 'api.example.com', type: 1, rcode: 0 });
});

test('DnsServer says once that the zone is full', async (t) => {
  const { resolver, full } = await start(t, 1);
  await resolver.resolve4('a.example');
  await assert.rejects(resolver.resolve4('b.example'), { code: 'ESERVFAIL' });
  await assert.rejects(resolver.resolve4('c.example'), { code: 'ESERVFAIL' });
  assert.deepEqual(full, ['b.example']);
});

test('DnsServer survives garbage by UDP', async (t) => {
  const { resolver, udpPort } = await start(t);
  const client = createSocket('udp4');
  t.after(() => client.close());
  for (const packet of ['', '\0', '\0\0', '\xff'.repeat(600), '\0\0\x01\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01']) {
    client.send(Buffer.from(packet, 'latin1'), udpPort, '127.0.0.1');
  }
  assert.deepEqual(await resolver.resolve4('a.example'), ['198.18.0.1']);
});

test('DnsServer answers pipelined queries by TCP, cut anywhere', async (t) => {
  const { tcpPort } = await start(t);
  const socket = connect(tcpPort, '127.0.0.1');
  socket.setNoDelay(true);
  const stream = Buffer.concat([1, 2, 3].map((id) => framed(question(id, `n${id}.example`))));
  for (let offset = 0; offset < stream.length; offset += 7) {
    socket.write(stream.subarray(offset, offset + 7));
    await new Promise((next) => setImmediate(next));
  }
  const responses = await readResponses(socket, 3);
  assert.deepEqual(
    responses.map((response) => [response.readUInt16BE(0), response.subarray(-4).join('.')]),
    [
      [1, '198.18.0.1'],
      [2, '198.18.0.2'],
      [3, '198.18.0.3'],
    ],
  );
});

test('DnsServer closes a TCP connection that sends no queries, and goes on', async (t) => {
  const { tcpPort } = await start(t);
  for (const bytes of [
    Buffer.of(0xff, 0xff),
    Buffer.of(0, 0),
    framed(Buffer.of(1)),
    framed(Buffer.from('\0\0\x81\x80', 'latin1')),
  ]) {
    const socket = connect(tcpPort, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write(bytes);
    socket.resume();
    await once(socket, 'close');
  }
  const socket = connect(tcpPort, '127.0.0.1');
  socket.write(framed(question(9, 'a.example')));
  assert.equal((await readResponses(socket, 1))[0]?.readUInt16BE(0), 9);
});

test('DnsServer takes a bounded number of TCP connections', async (t) => {
  const { tcpPort } = await start(t);
  const sockets = Array.from({ length: 80 }, () => connect(tcpPort, '127.0.0.1'));
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  let closed = 0;
  await new Promise<void>((done) => {
    for (const socket of sockets) {
      socket.on('error', () => undefined);
      socket.resume();
      socket.on('close', () => {
        closed += 1;
        if (closed === 16) {
          done();
        }
      });
    }
  });
  assert.equal(closed, 16);
});

test('DnsServer close() ends connections', async (t) => {
  const { tcpPort, dns } = await start(t);
  const socket = connect(tcpPort, '127.0.0.1');
  socket.write(framed(question(1, 'a.example')));
  await readResponsesWithoutEnd(socket);
  dns.close();
  socket.resume();
  await once(socket, 'close');
});

async function readResponsesWithoutEnd(socket: Socket): Promise<void> {
  socket.on('error', () => undefined);
  await once(socket, 'data');
}
