// mockttp as a credential gate: replaces a placeholder in header values, for one host, by TLS only.
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import * as mockttp from 'mockttp';

const { GAUNTLET_BOUND, GAUNTLET_UNBOUND, GAUNTLET_VALUE, GAUNTLET_PLACEHOLDER, GAUNTLET_CA } = process.env;
const [port, caFile] = process.argv.slice(2);

// The test names exist nowhere: what mockttp would dial, and where the suite's servers listen.
const addresses = new Map([
  [`${GAUNTLET_BOUND}:443`, process.env.GAUNTLET_BOUND_TLS_PORT],
  [`${GAUNTLET_BOUND}:80`, process.env.GAUNTLET_BOUND_PORT],
  [`${GAUNTLET_UNBOUND}:443`, process.env.GAUNTLET_UNBOUND_TLS_PORT],
  [`${GAUNTLET_UNBOUND}:80`, process.env.GAUNTLET_UNBOUND_PORT],
]);
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...args) {
  const list = Array.isArray(args[0]) ? args[0] : args;
  const mapped = addresses.get(`${list[0]?.host}:${list[0]?.port}`);
  if (mapped !== undefined) {
    // HTTP/2 takes the origin's port from the socket, and TLS the host from the options: both stay what they would be.
    Object.defineProperty(this, 'remotePort', { value: list[0].port });
    list[0] = { ...list[0], host: '127.0.0.1', port: Number(mapped), lookup: undefined };
  }
  return connect.apply(this, args);
};

const authority = await mockttp.generateCACertificate();
const server = mockttp.getLocal({ https: authority, http2: true, recordTraffic: false });
await server.forAnyRequest().thenPassThrough({
  additionalTrustedCAs: [{ cert: readFileSync(GAUNTLET_CA) }],
  beforeRequest: (request) => {
    const url = new URL(request.url);
    const name = request.headers[':authority'] ?? request.headers.host;
    // All names of the destination: a script that looks at one of them releases the value more often.
    const isBound =
      url.protocol === 'https:' &&
      url.host === GAUNTLET_BOUND &&
      (name === GAUNTLET_BOUND || name === `${GAUNTLET_BOUND}:443`) &&
      request.destination.hostname === GAUNTLET_BOUND &&
      request.destination.port === 443;
    if (!isBound) return {};
    const replace = (value) => value?.replaceAll(GAUNTLET_PLACEHOLDER, GAUNTLET_VALUE);
    const headers = Object.entries(request.headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.map(replace) : replace(value),
    ]);
    return { headers: Object.fromEntries(headers) };
  },
});
writeFileSync(caFile, authority.cert);
await server.start(Number(port));
