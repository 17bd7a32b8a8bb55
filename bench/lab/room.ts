import { spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent } from './agent.ts';
import { BODY_CREDENTIAL, CREDENTIAL, HOSTS } from './lab.ts';
import type { Lab } from './lab.ts';

/** Any address in the world is the airlock's; clients that know names take IPv6 first, as in a sandbox. */
const ADDRESSES = ['198.18.0.1', 'fd53:616c:6c79::1'];

/** A shell behind an airlock whose ports something else than our gate serves. It ends with the lab. */
export interface Room {
  readonly agent: Agent;
  /** The process that opened the airlock, and serves it where no other program does. */
  readonly pid: number;
  /** What was said before the shell was ready. */
  readonly said: string;
}

/**
 * Opens an airlock, with everything but its clients on the gate's core.
 *
 * @param program takes the bound ports as descriptors from 3 on; default: an echo.
 */
export async function openRoom(lab: Lab, ports: readonly number[], program: readonly string[] = []): Promise<Room> {
  const hosts = lab.path('room-hosts');
  const names = Object.values(HOSTS).flatMap((host) => ADDRESSES.map((address) => `${address} ${host}`));
  writeFileSync(hosts, ['127.0.0.1 localhost', ...names, ''].join('\n'));
  // The room's users are none of the host's.
  const scratch = mkdtempSync(lab.path('room-'));
  chmodSync(scratch, 0o777);
  const file = join(import.meta.dirname, '..', 'room.ts');
  const { gate, client } = lab.cores;
  const node = [process.execPath, '--conditions=sallyport-source', file, String(client), ports.join(','), ...program];
  const child = spawn('taskset', ['-c', String(gate), ...node], {
    cwd: lab.clientDirectory,
    stdio: 'pipe',
    env: { ...process.env, ROOM_HOSTS: hosts, SCRATCH: scratch, TOKEN: CREDENTIAL, BODY_TOKEN: BODY_CREDENTIAL },
  });
  const agent = new Agent(child, 'the room');
  lab.onClose(async () => agent.close());
  return { agent, pid: child.pid ?? 0, said: await agent.ready() };
}
