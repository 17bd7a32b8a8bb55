import { spawn } from 'node:child_process';
import net from 'node:net';
import { stopGroup } from './client.ts';

const POLL_MS = 50;
const STDERR_BYTES = 4_000;

function canConnect(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/**
 * Starts a gate by a shell command and waits until its address takes connections.
 *
 * @throws Error when it ends before, or takes longer than `timeoutMs`.
 */
export async function startGate(
  command: string,
  env: NodeJS.ProcessEnv,
  address: { readonly host: string; readonly port: number },
  timeoutMs: number,
): Promise<AsyncDisposable> {
  const child = spawn('/bin/sh', ['-c', command], { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (output = `${output}${chunk.toString()}`.slice(-STDERR_BYTES)));
  }
  let failure: string | undefined;
  child.once('error', (error) => (failure = error.message));
  child.once('exit', (code, signal) => (failure = `it ended (${code ?? signal})`));
  const endsAt = performance.now() + timeoutMs;
  while (!(await canConnect(address.host, address.port))) {
    if (failure === undefined && performance.now() < endsAt) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      continue;
    }
    await stopGroup(child);
    throw new Error(`the gate did not start: ${failure ?? `no connection within ${timeoutMs} ms`}: ${output}`);
  }
  return { [Symbol.asyncDispose]: () => stopGroup(child) };
}
