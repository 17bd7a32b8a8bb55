/**
 * A server behind an airlock, and a shell in the room: what the way through the room costs without our gate.
 *
 *     node bench/room.ts CLIENT-CORE PORT,…                       a TCP echo, on the loopback as well
 *     node bench/room.ts CLIENT-CORE PORT,… PROGRAM [ARGUMENT…]   a program that takes bound sockets, as descriptors from 3 on
 *
 * The shell takes its commands on standard input. First come a line with the echo's port on the loopback or the program's process id, and the shell's own.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { openAirlock } from '../packages/runtime/src/airlock/airlock.ts';
import type { Airlock } from '../packages/runtime/src/airlock/airlock.ts';
import { closeDoors } from '../packages/runtime/src/airlock/listeners.ts';
import { agentProgram } from './lab/agent.ts';

function echo(socket: Socket): void {
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.pipe(socket);
}

/** Serves the ports, and returns how that ends. */
async function serveEcho(airlock: Airlock): Promise<() => void> {
  const loopback = createServer(echo).listen(0, '127.0.0.1');
  await once(loopback, 'listening');
  for (const server of airlock.servers.values()) server.on('connection', echo);
  process.stdout.write(`port ${(loopback.address() as AddressInfo).port}\n`);
  return () => loopback.close();
}

/** Hands the ports over to a program. */
function serveByProgram(airlock: Airlock, wanted: readonly number[], [file = '', ...args]: readonly string[]) {
  const doors = airlock.takeDoors();
  const descriptors = wanted.map((port) => doors.find((door) => !door.isDns && door.port === port)?.descriptor);
  const stdio = descriptors.map((descriptor) => descriptor ?? ('ignore' as const));
  const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'inherit', ...stdio] });
  closeDoors(doors);
  child.on('error', () => process.exit(1)).on('exit', () => process.exit(1));
  process.stdout.write(`program ${child.pid ?? 0}\n`);
  return () => {
    child.removeAllListeners('exit').kill();
  };
}

const [clientCore = '', ports = '', ...program] = process.argv.slice(2);
const wanted = ports.split(',').map(Number);
const airlock = await openAirlock({ ports: wanted, asDoors: program.length > 0 });
const end = program.length === 0 ? await serveEcho(airlock) : serveByProgram(airlock, wanted, program);
const mark = `cd '${process.cwd()}' && {\n${agentProgram(Number(clientCore))}\n}`;
const names = process.env['ROOM_HOSTS'];
const command = names === undefined ? mark : `mount --bind '${names}' /etc/hosts && ${mark}`;
const { PATH = '', TOKEN = '', BODY_TOKEN = '', SCRATCH = '' } = process.env;
const env = { PATH, TOKEN, BODY_TOKEN, SCRATCH };
const shell = ['nsenter', `--net=${airlock.roomNetworkNamespace}`, 'sh', '-c', command];
const agent = airlock.enter(shell, { stdio: 'inherit', env });
await once(agent, 'exit');
end();
await airlock.close();
