import { execFileSync } from 'node:child_process';
import type { GateKind } from './gate.ts';
import { HOSTS } from './lab.ts';

/** No gate: the client holds the credential. */
export const DIRECT: GateKind = {
  name: 'direct',
  missing: () => undefined,
  version: () =>
    execFileSync('sh', ['-c', 'nginx -v 2>&1'], { encoding: 'utf8' }).trim().replace('nginx version: ', ''),
  async open(lab) {
    return {
      origin: (service) => `https://${HOSTS[service]}:${lab.upstreamPort}`,
      client: lab.host,
      processes: () => [],
      close: async () => undefined,
    };
  },
};
