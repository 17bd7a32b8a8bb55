import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { CHECKOUT } from './caller.ts';
import type { DaemonScene } from './daemon.ts';
import type { Upstream } from './upstream.ts';

/** What a program came to. */
export interface ProgramResult {
  readonly status: number | null;
  readonly output: string;
}

const PROGRAM_LIMIT_MS = 60_000;

/** Runs a TypeScript program that uses the SDK, with the daemon of a scene; its sandboxes find `hosts` at the upstream. */
export async function runSdkProgram(
  file: string,
  scene: DaemonScene,
  upstream: Upstream,
  hosts: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<ProgramResult> {
  const network = {
    resolve: Object.fromEntries(hosts.map((host) => [`${host}:443`, `127.0.0.1:${upstream.httpsPort}`])),
    upstreamCa: upstream.caFile,
  };
  const args = ['--conditions=sallyport-source', '--import', join(CHECKOUT, 'e2e/clients/sdk-network.mjs'), file];
  const child = spawn(process.execPath, args, {
    cwd: scene.workspace,
    env: {
      PATH: process.env['PATH'],
      HOME: scene.home,
      SALLYPORT_SOCKET: scene.socket,
      TEST_NETWORK: JSON.stringify(network),
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: PROGRAM_LIMIT_MS,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => (output += part));
  const status = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { status, output };
}
