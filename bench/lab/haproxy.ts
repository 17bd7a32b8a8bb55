import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { findProgram } from '../../e2e/harness/tools.ts';
import type { GateKind } from './gate.ts';
import { CREDENTIAL, endProcess, findFreePort, HOSTS } from './lab.ts';
import type { Lab } from './lab.ts';
import { openRoom } from './room.ts';

const ROOM_HTTP_PORT = 443;
const ROOM_TUNNEL_PORT = 8443;

/** HAProxy: ends TLS with a certificate of its own, overwrites the header, encrypts again; or passes TCP on. */
export const HAPROXY: GateKind = {
  name: 'HAProxy',
  missing,
  version,
  async open(lab) {
    const [http, tunnel] = [await findFreePort(), await findFreePort()];
    const file = lab.path('haproxy.cfg');
    writeFileSync(file, configuration(lab, `127.0.0.1:${http}`, `127.0.0.1:${tunnel}`));
    const child = await lab.serve(lab.cores.gate, ['haproxy', '-db', '-f', file], http);
    return {
      origin: (service) => `https://${HOSTS[service]}:${service === 'tunnel' ? tunnel : http}`,
      client: lab.host,
      processes: () => [child.pid ?? 0],
      close: async () => endProcess(child),
    };
  },
};

/** The same HAProxy behind an airlock like that of our gate: its clients go the way that ours go. */
export const HAPROXY_IN_ROOM: GateKind = {
  name: 'HAProxy in a room',
  missing,
  version,
  async open(lab) {
    const file = lab.path('haproxy-room.cfg');
    writeFileSync(file, configuration(lab, 'fd@3', 'fd@4'));
    const ports = [ROOM_HTTP_PORT, ROOM_TUNNEL_PORT];
    const { agent, said } = await openRoom(lab, ports, ['haproxy', '-db', '-f', file]);
    const pid = Number(/program (\d+)/.exec(said)?.[1]);
    await agent.run(`curl -sk --retry 100 --retry-connrefused --retry-delay 1 -o /dev/null https://${HOSTS.api}/`);
    return {
      origin: (service) => `https://${HOSTS[service]}:${service === 'tunnel' ? ROOM_TUNNEL_PORT : ROOM_HTTP_PORT}`,
      client: agent,
      processes: () => [pid],
      close: async () => agent.close(),
    };
  },
};

function missing(): string | undefined {
  return findProgram('haproxy') === undefined ? 'haproxy is not installed' : undefined;
}

function version(): string {
  return /version (\S+)/.exec(execFileSync('haproxy', ['-v'], { encoding: 'utf8' }))?.[1] ?? '';
}

/** @param http and `tunnel` are addresses as HAProxy writes them. */
function configuration(lab: Lab, http: string, tunnel: string): string {
  const upstream = `127.0.0.1:${lab.upstreamPort}`;
  const verified = `ssl verify required ca-file ${lab.caFile} sni str(${HOSTS.api}) verifyhost ${HOSTS.api}`;
  return `
global
  nbthread 1
  maxconn 9000
defaults
  timeout connect 10s
  timeout client 1h
  timeout server 1h
frontend api
  mode http
  bind ${http} ssl crt ${lab.path('gate.pem')} alpn h2,http/1.1
  http-request set-header Authorization "Bearer ${CREDENTIAL}"
  use_backend over_h2 if { ssl_fc_alpn h2 }
  default_backend over_h1
backend over_h1
  mode http
  http-reuse always
  server nginx ${upstream} ${verified}
backend over_h2
  mode http
  http-reuse always
  server nginx ${upstream} ${verified} alpn h2
frontend tunnel
  mode tcp
  bind ${tunnel}
  default_backend over_tcp
backend over_tcp
  mode tcp
  server nginx ${upstream}
`;
}
