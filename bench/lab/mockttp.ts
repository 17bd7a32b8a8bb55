import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GateKind } from './gate.ts';
import { CREDENTIAL, endProcess, findFreePort, HOSTS } from './lab.ts';
import { cachedMockttp, MOCKTTP_VERSION } from './setup.ts';

const PROGRAM = 'mockttp-gate.mjs';

/** mockttp as a reverse proxy that overwrites the header, on the Node that runs this. */
export const MOCKTTP: GateKind = {
  name: 'mockttp',
  missing: () => (cachedMockttp() === undefined ? 'mockttp could not be installed' : undefined),
  version: () => MOCKTTP_VERSION,
  async open(lab) {
    const port = await findFreePort();
    const directory = cachedMockttp() ?? '';
    // Beside its node modules, or it would not find them.
    copyFileSync(join(import.meta.dirname, '..', 'peers', PROGRAM), join(directory, PROGRAM));
    const upstream = `https://${HOSTS.api}:${lab.upstreamPort}`;
    const argv = [process.execPath, join(directory, PROGRAM), String(port), upstream, lab.caFile];
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
