import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { WaitingRoom } from './waiting-room.ts';

async function createEnds(t: TestContext) {
  const server = createServer({ pauseOnConnect: true, allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  const udp = createSocket('udp4');
  udp.bind(0, '127.0.0.1');
  await Promise.all([once(server, 'listening'), once(udp, 'listening')]);
  t.after(() => {
    server.close();
    udp.close();
  });
  const { port } = server.address() as AddressInfo;
  return { server, udp, port, ends: { servers: new Map([[port, server]]), dnsTcp: [], dnsUdp: [udp] } };
}

async function firstData(socket: Socket): Promise<string> {
  const [data] = (await once(socket, 'data')) as [Buffer];
  return data.toString();
}

test('open() gives what came early to the gate, in its order, and then stays out of the way', async (t) => {
  const { server, udp, port, ends } = await createEnds(t);
  const room = new WaitingRoom(ends);
  const early = connect(port, '127.0.0.1');
  early.write('early');
  const gone = connect(port, '127.0.0.1');
  await Promise.all([once(server, 'connection'), once(gone, 'connect')]);
  gone.resetAndDestroy();
  const sender = createSocket('udp4');
  sender.send('question', udp.address().port, '127.0.0.1');
  await once(udp, 'message');

  const served: string[] = [];
  const packets: string[] = [];
  server.on('connection', (socket: Socket) => {
    socket.on('error', () => undefined);
    socket.once('data', (data) => {
      served.push(data.toString());
      socket.end('answer');
    });
    socket.resume();
  });
  udp.on('message', (packet) => packets.push(packet.toString()));
  room.open();
  assert.equal(await firstData(early), 'answer');
  assert.deepEqual([served, packets], [['early'], ['question']]);

  const late = connect(port, '127.0.0.1');
  late.write('late');
  assert.equal(await firstData(late), 'answer');
  assert.deepEqual(served, ['early', 'late']);
  sender.close();
  for (const socket of [early, late]) socket.destroy();
});

test('close() drops what waits', async (t) => {
  const { server, port, ends } = await createEnds(t);
  const room = new WaitingRoom(ends);
  const early = connect(port, '127.0.0.1');
  early.on('error', () => undefined);
  await once(server, 'connection');
  room.close();
  await once(early, 'close');
  assert.equal(server.listenerCount('connection'), 0);
});
