/**
 * A TCP echo behind an airlock and on the loopback, and a shell in the room: what `bench.ts` measures the way through the room with.
 *
 *     node bench/echo-server.ts PORT CLIENT-CORE        shell commands on standard input
 */
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { openAirlock } from '../packages/runtime/src/airlock/airlock.ts';
import { agentProgram } from './lab/agent.ts';

function echo(socket: Socket): void {
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.pipe(socket);
}

const [port = '', clientCore = ''] = process.argv.slice(2);
const loopback = createServer(echo).listen(0, '127.0.0.1');
await once(loopback, 'listening');
const airlock = await openAirlock({ ports: [Number(port)] });
for (const server of airlock.servers.values()) server.on('connection', echo);
process.stdout.write(`port ${(loopback.address() as AddressInfo).port}\n`);
const command = `cd '${process.cwd()}' && {\n${agentProgram(Number(clientCore))}\n}`;
const program = ['nsenter', `--net=${airlock.roomNetworkNamespace}`, 'sh', '-c', command];
const agent = airlock.enter(program, { stdio: 'inherit' });
await once(agent, 'exit');
loopback.close();
await airlock.close();
