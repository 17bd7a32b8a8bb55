import type { DaemonClient } from '../client/daemon-client.ts';

/** A connection to the daemon, which is started where there is none. Loaded late: `run` needs nothing of it. */
export async function connect(): Promise<DaemonClient> {
  const { connectDaemon } = await import('../client/start-daemon.ts');
  return await connectDaemon(process.env);
}

/** The path of a sandbox in the API. */
export function sandboxPath(name: string): string {
  return `/v1/sandboxes/${encodeURIComponent(name)}`;
}
