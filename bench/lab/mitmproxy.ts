import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { GateKind } from './gate.ts';
import { CREDENTIAL, endProcess, findFreePort, HOSTS } from './lab.ts';
import { cachedMitmproxy } from './setup.ts';

const ADDON = join(import.meta.dirname, '..', 'peers', 'mitmproxy_header.py');

/** mitmproxy as a reverse proxy with an addon that overwrites the header; large bodies stream. */
export const MITMPROXY: GateKind = {
  name: 'mitmproxy',
  missing: () => (cachedMitmproxy() === undefined ? 'mitmproxy could not be installed' : undefined),
  version: () => {
    const text = execFileSync(cachedMitmproxy() ?? '', ['--version'], { encoding: 'utf8' });
    return /^Mitmproxy: (\S+)/m.exec(text)?.[1] ?? '';
  },
  async open(lab) {
    const port = await findFreePort();
    const argv = [
      ...[cachedMitmproxy() ?? '', '-q', '--listen-host', '127.0.0.1', '-p', String(port), '-s', ADDON],
      ...['--mode', `reverse:https://${HOSTS.api}:${lab.upstreamPort}`, '--set', `confdir=${lab.path('mitmproxy')}`],
      ...['--set', `ssl_verify_upstream_trusted_ca=${lab.caFile}`, '--set', 'stream_large_bodies=1m'],
    ];
    const child = await lab.serve(lab.cores.gate, lab.withNames(argv), port, {
      env: { BENCH_CREDENTIAL: CREDENTIAL },
    });
    return {
      origin: (service) => (service === 'tunnel' ? undefined : `https://${HOSTS[service]}:${port}`),
      client: lab.host,
      processes: () => [child.pid ?? 0],
      close: async () => endProcess(child),
    };
  },
};
