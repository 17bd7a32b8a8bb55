// mockttp as a reverse proxy that overwrites a header, as a gate built on it would: node mockttp-gate.mjs PORT UPSTREAM-ORIGIN CA-FILE
import { readFileSync } from 'node:fs';
import * as mockttp from 'mockttp';

const [port, upstream, caFile] = process.argv.slice(2);
const { host } = new URL(upstream);

const server = mockttp.getLocal({ https: await mockttp.generateCACertificate(), http2: true, recordTraffic: false });
await server.forAnyRequest().thenPassThrough({
  additionalTrustedCAs: [{ cert: readFileSync(caFile) }],
  transformRequest: {
    replaceHost: { targetHost: host, updateHostHeader: true },
    updateHeaders: { authorization: `Bearer ${process.env.BENCH_CREDENTIAL}` },
  },
});
await server.start(Number(port));
