import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { createScene, findPresentCaller } from './harness/caller.ts';
import { newCanary } from './harness/canary.ts';
import { createAuthority } from './harness/certificates.ts';
import { assertRunKeptSecret, describeRun, sallyport } from './harness/sallyport.ts';
import { cutBytes, LoadPlan } from './load/plan.ts';
import type { RequestPlan } from './load/plan.ts';

const HOST = 'load.test.example';
const WARM_REQUESTS = 2_000;
const REQUESTS = Number(process.env['SALLYPORT_LOAD_REQUESTS'] ?? 20_000);
/**
 * Node's server answers 400 (HPE_PAUSED) to a request that comes while it holds back the end of the answer before, on TLS. So that end is
 * small, and goes out when nothing else waits.
 */
const LAST_PIECE_BYTES = 512;
/** Beside upstream connections, which the pool keeps: sockets of clients that are just leaving, and the audit log's temporary file. */
const MAX_DESCRIPTOR_GROWTH = 8;
/** The heap's ups and downs between collections, and what the allocator keeps. A leak of 4 KB a request would be 70 MiB. */
const MAX_MEMORY_GROWTH_KIB = 64 * 1024;

interface Measurement {
  readonly requests: number;
  readonly descriptors: number;
  readonly memoryKib: number;
}

/** What the gate's process holds. */
function measure(pid: number, requests: number, upstreamConnections: number): Measurement {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    requests,
    descriptors: readdirSync(`/proc/${pid}/fd`).length - upstreamConnections,
    memoryKib: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]),
  };
}

/** What is wrong with a request as the upstream got it. */
function checkRequest(plan: RequestPlan, request: IncomingMessage, body: Buffer, credential: string): string[] {
  const problems: string[] = [];
  const { authorization } = request.headers;
  const expected = {
    none: undefined,
    bearer: `Bearer ${credential}`,
    basic: `Basic ${Buffer.from(`me:${credential}`).toString('base64')}`,
    'x-api-key': undefined,
  }[plan.credential];
  if (request.method !== plan.method) problems.push(`method ${request.method}`);
  if (request.url !== `/load/${plan.id}?q=${plan.id}`) problems.push('target');
  if (authorization !== expected) problems.push('authorization');
  if (request.headers['x-api-key'] !== (plan.credential === 'x-api-key' ? credential : undefined))
    problems.push('x-api-key');
  if (!body.equals(plan.requestBody)) problems.push(`body: ${body.length} bytes for ${plan.requestBody.length}`);
  return problems;
}

async function answer(plan: RequestPlan, response: ServerResponse, credential: string): Promise<void> {
  const inTrailer = plan.reflectsInHead && plan.responseFraming === 'chunked';
  response.statusCode = plan.status;
  response.setHeader('x-load-id', plan.id);
  if (plan.reflectsInHead && !inTrailer) response.setHeader('x-reflected', credential);
  if (inTrailer) response.setHeader('trailer', 'x-trailed');
  if (plan.upstreamCloses) response.setHeader('connection', 'close');
  if (plan.coding === 'gzip') response.setHeader('content-encoding', 'gzip');
  const plain = plan.responseBody(credential);
  const body = plan.coding === 'gzip' ? gzipSync(plain, { level: 1 }) : plain;
  if (plan.responseFraming === 'length' && plan.status !== 204) response.setHeader('content-length', body.length);
  if (plan.responseFraming === 'until-close') response.useChunkedEncodingByDefault = false;
  const pieces = plan.method === 'HEAD' ? [] : cutBytes(body.subarray(0, -LAST_PIECE_BYTES), plan.random);
  for (const piece of pieces) {
    if (!response.write(piece)) await once(response, 'drain');
    else if (plan.random() < 0.3) await new Promise((resolve) => setImmediate(resolve));
  }
  if (inTrailer) response.addTrailers({ 'x-trailed': credential });
  while ((response.socket?.writableLength ?? 0) > 0) await new Promise((resolve) => setImmediate(resolve));
  if (plan.method === 'HEAD' || body.length === 0) response.end();
  else response.end(body.subarray(-LAST_PIECE_BYTES));
}

test(
  `${REQUESTS} mixed requests on 64 connections arrive byte for byte, leak nothing and are all recorded`,
  { timeout: 300_000 },
  async (context) => {
    const seed = Number(process.env['SALLYPORT_LOAD_SEED'] ?? Date.now() % 0x1_0000_0000);
    context.diagnostic(`SALLYPORT_LOAD_SEED=${seed}`);
    const plan = new LoadPlan(seed);
    const canary = newCanary();
    using scene = createScene(findPresentCaller());
    const authority = await createAuthority();
    const problems: string[] = [];
    const seen = new Uint8Array(REQUESTS);
    const measurements: Measurement[] = [];
    let pid = 0;

    const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
      const [, kind, number = ''] = (request.url ?? '').split(/[/?]/);
      if (kind === 'phase') {
        await sleep(1_000);
        const connections = await new Promise<number>((resolve) =>
          upstream.getConnections((_, count) => resolve(count)),
        );
        measurements.push(measure(pid, Number(number), connections));
        response.end();
        return;
      }
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const expected = plan.request(Number(number));
      seen[expected.id] = (seen[expected.id] ?? 0) + 1;
      const wrong = checkRequest(expected, request, Buffer.concat(chunks), canary.value);
      if (wrong.length > 0) problems.push(`request ${number}: ${wrong.join(', ')}`);
      await answer(expected, response, canary.value);
    };
    const upstream = createServer(
      { ...(await authority.issue([HOST])), keepAliveTimeout: 120_000 },
      (request, response) => void serve(request, response).catch((error: unknown) => problems.push(String(error))),
    );
    upstream.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      problems.push(`the upstream could not read a request: ${error.code}`);
      socket.destroy();
    });
    await new Promise<void>((resolve) => upstream.listen(0, '127.0.0.1', resolve));
    const { port } = upstream.address() as AddressInfo;
    writeFileSync(join(scene.assets, 'root.pem'), authority.certificatePem);
    // The Node that runs this test: the machine may have none that the sandbox could see.
    copyFileSync(process.execPath, join(scene.assets, 'node'));
    mkdirSync(join(scene.assets, 'load'));
    for (const file of ['client.ts', 'plan.ts']) {
      copyFileSync(fileURLToPath(new URL(`load/${file}`, import.meta.url)), join(scene.assets, 'load', file));
    }
    try {
      const result = await sallyport(
        [
          ...['run', '--resolve', `${HOST}:443:127.0.0.1:${port}`, '--upstream-ca', join(scene.assets, 'root.pem')],
          ...[
            '-v',
            `${scene.assets}:/load:ro`,
            '--secret',
            `TOKEN@${HOST}`,
            '--',
            '/load/node',
            '/load/load/client.ts',
          ],
          ...[String(seed), HOST, String(Math.min(WARM_REQUESTS, REQUESTS)), String(REQUESTS)],
        ],
        { scene, env: { TOKEN: canary.value }, timeoutMs: 280_000, onStart: (started) => (pid = started) },
      );
      const failed = result.audit.filter((event) => event['decision'] !== 'allow').slice(0, 10);
      const shown = `SALLYPORT_LOAD_SEED=${seed}\n${describeRun(result)}\n--- audit\n${JSON.stringify(failed, undefined, 1)}`;
      assert.equal(result.status, 0, shown);
      assert.deepEqual(problems.slice(0, 10), [], shown);
      assert.equal(result.stdout, `{"completed":${REQUESTS},"failures":0}\n`, shown);
      assert.ok(
        seen.every((count) => count === 1),
        `requests that did not arrive once: ${seen.filter((count) => count !== 1).length}; ${shown}`,
      );

      const [warm, end] = measurements;
      assert.ok(warm !== undefined && end !== undefined);
      context.diagnostic(`gate: ${JSON.stringify(measurements)}, ${Math.round(result.milliseconds)} ms in all`);
      assert.ok(end.descriptors - warm.descriptors <= MAX_DESCRIPTOR_GROWTH, JSON.stringify(measurements));
      assert.ok(end.memoryKib - warm.memoryKib <= MAX_MEMORY_GROWTH_KIB, JSON.stringify(measurements));

      assertAudited(result.audit, plan, shown);
      const verified = await sallyport(['audit', 'verify', scene.auditFile], { scene, audit: false });
      assert.match(verified.stdout, new RegExp(`: whole, ${REQUESTS + 2} lines\\n$`));
      assertRunKeptSecret(canary, result, scene);
    } finally {
      upstream.closeAllConnections();
      upstream.close();
    }
  },
);

/** Exactly one event for each request, and each says what the request was. */
function assertAudited(events: readonly Readonly<Record<string, unknown>>[], plan: LoadPlan, shown: string): void {
  const others = events.filter(({ path }) => !/^\/(load|phase)\/\d+$/.test(String(path)));
  assert.deepEqual(others, [], shown);
  const byPath = new Map(events.map((event) => [event['path'], event]));
  assert.equal(events.length, REQUESTS + 2, shown);
  assert.equal(byPath.size, REQUESTS + 2, shown);
  for (let id = 0; id < REQUESTS; id += 1) {
    const request = plan.request(id);
    const event = byPath.get(`/load/${id}`);
    assert.ok(event !== undefined, `no event of request ${id}; ${shown}`);
    const { decision, method, status, requestBytes, secrets, redactions, host } = event;
    assert.deepEqual(
      { decision, method, status, requestBytes, secrets, redactions, host },
      {
        decision: 'allow',
        method: request.method,
        status: request.status,
        requestBytes: request.requestBody.length,
        secrets: request.credential === 'none' ? [] : ['TOKEN'],
        redactions: request.reflections.length + (request.reflectsInHead ? 1 : 0),
        host: HOST,
      },
      `request ${id}; ${shown}`,
    );
  }
}
