/**
 * What the gate's own code costs for one small HTTP/1 request, without TLS, sockets and the kernel: both ends are stand-ins in memory.
 *
 * It is quieter than `npm run bench`, so it shows small changes. `node --conditions=sallyport-source bench/gate-path.ts [SECRETS]`
 * prints the least and the median time in microseconds over many short rounds.
 */
import { EventEmitter } from 'node:events';
import { ClientConnection } from '../packages/runtime/src/gate/client-connection.ts';
import { createGateContext } from '../packages/runtime/src/engine/open-gate.ts';
import { UpstreamConnection } from '../packages/runtime/src/gate/upstream-connection.ts';
import { createNetworkPolicy } from '../packages/runtime/src/policy/network-policy.ts';
import { createSecretSet } from '../packages/runtime/src/secrets/secret-set.ts';
import { parseLocations, parseSecretSpec } from '../packages/runtime/src/secrets/secret-spec.ts';
import { CertificateAuthority } from '../packages/runtime/src/tls/certificate-authority.ts';
import { UpstreamTrust } from '../packages/runtime/src/tls/upstream-trust.ts';
import { formatRecord } from '../packages/runtime/src/audit/audit-record.ts';

const ROUNDS = 600;
const REQUESTS_PER_ROUND = 300;

const REQUEST = Buffer.from(
  'GET /v1/items?x=1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n' +
    'Accept-Encoding: gzip, deflate, br\r\nAuthorization: Bearer sp_TOKEN0_0123456789abcdefghijkl\r\n\r\n',
);
const BODY = '{"id":12345,"name":"sallyport","items":[1,2,3,4,5],"ok":true,"text":"hello world hello world"}';
const RESPONSE = Buffer.from(
  `HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${BODY.length}\r\nConnection: keep-alive\r\n\r\n${BODY}`,
);

/** A socket that takes everything at once. */
class StandIn extends EventEmitter {
  writes = 0;
  readonly writableNeedDrain = false;
  readonly destroyed = false;
  write(): boolean {
    this.writes += 1;
    return true;
  }
  cork(): void {}
  uncork(): void {}
  pause(): this {
    return this;
  }
  resume(): this {
    return this;
  }
  end(): void {}
  destroy(): void {}
  destroySoon(): void {}
}

const count = Number(process.argv[2] ?? 1);
const inputs = Array.from({ length: count }, (_, index) => {
  const spec = parseSecretSpec(`TOKEN${index}=secret-value-number-${index}-abcdef@api.example.com`);
  if (spec.kind === 'named' || spec.value === undefined) throw new TypeError('the specification holds no value');
  return { env: spec.env, value: spec.value, hosts: spec.hosts };
});
const secrets = createSecretSet({
  inputs,
  locations: parseLocations([]),
  plainNames: [],
  placeholderFor: (env: string) => `sp_${env}_0123456789abcdefghijkl`,
});
const policy = createNetworkPolicy({
  secretHosts: secrets.secrets.flatMap((s) => s.hosts.map((host) => ({ host, origin: '--secret' }))),
  allow: [],
  deny: [],
  tunnel: [],
  resolve: [],
});
let seq = 0;
let formatted = 0;
const audit = {
  record(event: Parameters<typeof formatRecord>[0]) {
    if (process.env['NOFORMAT'] === '1') return;
    formatted += formatRecord(event, { timeMs: Date.now(), seq: ++seq, sandbox: 'bench' }).length;
  },
};
const context = createGateContext({
  policy,
  secrets,
  authority: await CertificateAuthority.create({ openssl: 'openssl', commonName: 'bench' }),
  trust: new UpstreamTrust({ source: 'bench', systemPem: '', extraPem: '' }),
  audit,
});
const origin = { scheme: 'https', host: 'api.example.com', port: 443 } as const;
const client = new StandIn();
const upstream = new StandIn();
const pooled = new UpstreamConnection(upstream as never, 'https://api.example.com:443', null, () => undefined);
// The pool takes back nothing but what it has dialled itself.
Object.assign(context.pool, { takeIdle: () => pooled, release: () => pooled.lend(null) });
export const connection = new ClientConnection(client as never, context, {
  kind: 'forward',
  origin,
  rule: 'secret host api.example.com',
});

function round(requests: number): number {
  const started = process.hrtime.bigint();
  for (let index = 0; index < requests; index += 1) {
    client.emit('data', REQUEST);
    upstream.emit('data', RESPONSE);
  }
  return Number(process.hrtime.bigint() - started) / 1000 / requests;
}

for (let warm = 0; warm < 150; warm += 1) round(REQUESTS_PER_ROUND);
client.writes = 0;
upstream.writes = 0;
const times: number[] = [];
for (let index = 0; index < ROUNDS; index += 1) {
  times.push(round(REQUESTS_PER_ROUND));
  await new Promise((next) => setImmediate(next));
}
if (client.writes < ROUNDS * REQUESTS_PER_ROUND || upstream.writes !== ROUNDS * REQUESTS_PER_ROUND) {
  throw new Error(`answers are missing: ${client.writes} and ${upstream.writes}`);
}
times.sort((a, b) => a - b);
console.log(
  `secrets ${count}: least ${times[0]!.toFixed(2)} us, median ${times[ROUNDS / 2]!.toFixed(2)} us (${formatted > 0 ? 'records formatted' : 'no records'})`,
);
process.exit(0);
