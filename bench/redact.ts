import { randomBytes } from 'node:crypto';
import { performance } from 'node:perf_hooks';

import { Redactor } from '../packages/runtime/src/secrets/redact.ts';
import { SecretValue } from '../packages/runtime/src/secrets/secret-value.ts';

const BODY_BYTES = 8 << 20;
const CHUNK_BYTES = 64 << 10;
const ROUNDS = 12;

function bodies(): Record<string, Buffer> {
  const record = (i: number): string =>
    JSON.stringify({
      id: i,
      node_id: randomBytes(12).toString('base64'),
      name: `repository-${i}`,
      private: i % 2 === 0,
      html_url: `https://example.com/owner/repository-${i}`,
      description: 'A repository of things that one would like to keep for some time,\nand of others.',
      created_at: '2026-11-22T09:30:56Z',
      topics: ['typescript', 'sandbox', 'credentials'],
      size: i * 7919,
    });
  let json = '[';
  let percent = '';
  for (let i = 0; json.length < BODY_BYTES; i++) {
    json += `${record(i)},`;
  }
  for (let i = 0; percent.length < BODY_BYTES; i++) {
    percent += encodeURIComponent(record(i));
  }
  const random = randomBytes(BODY_BYTES);
  return {
    JSON: Buffer.from(json),
    'random bytes': random,
    base64: Buffer.from(random.toString('base64')).subarray(0, BODY_BYTES),
    hex: Buffer.from(random.toString('hex')).subarray(0, BODY_BYTES),
    'JSON in JSON': Buffer.from(JSON.stringify(json)).subarray(0, BODY_BYTES),
    'percent-encoded JSON': Buffer.from(percent).subarray(0, BODY_BYTES),
  };
}

/** Nanoseconds a byte, the best of some rounds. */
function measure(redactor: Redactor, body: Buffer): number {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const started = performance.now();
    const stream = redactor.stream();
    for (let at = 0; at < body.length; at += CHUNK_BYTES) {
      stream.push(body.subarray(at, at + CHUNK_BYTES));
    }
    stream.end();
    best = Math.min(best, performance.now() - started);
  }
  return (best * 1e6) / body.length;
}

const counts = [1, 10, 100, 1000];
const bytesOfValue = [20, 40];
const all = bodies();
for (const length of bytesOfValue) {
  process.stdout.write(`values of ${length} bytes; ns/byte (MB/s)\n`);
  process.stdout.write(`${'values'.padEnd(22)}${counts.map((count) => String(count).padStart(18)).join('')}\n`);
  const redactors: Redactor[] = [];
  const compile: string[] = [];
  for (const count of counts) {
    const rules = Array.from({ length: count }, (_, i) => ({
      name: `S${i}`,
      placeholder: `sp_S${i}_${randomBytes(11).toString('hex')}`,
      values: [
        new SecretValue(
          `ghp_${randomBytes(length)
            .toString('base64url')
            .slice(0, length - 4)}`,
        ),
      ],
    }));
    const before = process.memoryUsage();
    const started = performance.now();
    redactors.push(new Redactor(rules));
    const ms = performance.now() - started;
    const after = process.memoryUsage();
    const mib = (after.heapUsed + after.external - before.heapUsed - before.external) / 2 ** 20;
    compile.push(`${ms.toFixed(1)} ms ${mib.toFixed(1)} MiB`);
  }
  process.stdout.write(`${'compile'.padEnd(22)}${compile.map((text) => text.padStart(18)).join('')}\n`);
  for (const [name, body] of Object.entries(all)) {
    const cells = redactors.map((redactor) => {
      const ns = measure(redactor, body);
      return `${ns.toFixed(3)} (${(1000 / ns).toFixed(0)})`.padStart(18);
    });
    process.stdout.write(`${name.padEnd(22)}${cells.join('')}\n`);
  }
}
