import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ATTACKS } from './attacks/index.ts';
import { createCanary, createSeededRandom } from './canary.ts';
import { runFromOptions } from './gauntlet.ts';
import { startNaiveGate } from './naive-gate.testing.ts';
import { readOptions } from './options.ts';
import { formatJson, formatJunit, formatText } from './report.ts';
import type { GauntletReport } from './run.ts';

const BOUND = 'api.key-service.example';
const UNBOUND = 'other.example';
const PLACEHOLDER = 'sp_TOKEN_0123456789abcdefghijkl';
const SEED = 11;
const VALUE = createCanary(createSeededRandom(99));

let directory: string;
before(() => void (directory = mkdtempSync(join(tmpdir(), 'gauntlet-test-'))));
after(() => rmSync(directory, { recursive: true, force: true }));

/** A port that is free; another program may take it before it is used, which fails the test loudly. */
async function findFreePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Runs attacks against the naive gate. */
async function attackNaively(
  only: readonly string[],
  gate: { redacts: boolean; value?: string },
): Promise<GauntletReport> {
  const ports = { [BOUND]: await findFreePort(), [UNBOUND]: await findFreePort() };
  const { value = VALUE, redacts } = gate;
  const hosts = [BOUND, UNBOUND];
  await using naive = await startNaiveGate({ hosts, placeholder: PLACEHOLDER, value, ports: () => ports, redacts });
  const ca = join(directory, 'ca.pem');
  writeFileSync(ca, naive.caPem);
  const args = [
    ...naive.args,
    ...['--ca', ca, '--placeholder', PLACEHOLDER, '--value', VALUE],
    ...['--bound-tls-port', String(ports[BOUND]), '--unbound-tls-port', String(ports[UNBOUND])],
    ...only.flatMap((one) => ['--only', one]),
  ];
  return await runFromOptions(readOptions(args, {}, SEED));
}

describe('runFromOptions()', () => {
  test('finds what a gate leaks that replaces bytes, and tells it without the value', async () => {
    const leaky = [
      'host-names-unbound-on-bound', 'sni-bound-on-unbound', 'two-hosts', 'smuggle-cl-te', 'smuggle-te-te', 'smuggle-cl-cl', 'smuggle-bare-lf',
      'smuggle-obs-fold', 'smuggle-space-before-colon', 'reflect-base64-1', 'reflect-gzip', 'reflect-one-byte-chunks', 'reflect-percent',
      'reflect-hex', 'reflect-json', 'place-target', 'place-body', 'ranges', 'response-splitting', 'trace',
    ]; // prettier-ignore
    const report = await attackNaively(leaky, { redacts: true });
    const outcomes = Object.fromEntries(report.results.map(({ id, outcome }) => [id, outcome]));
    // Bytes are replaced in the answer to TRACE as well, so that this attack alone is withstood.
    for (const id of leaky) assert.equal(outcomes[id], id === 'trace' ? 'pass' : 'fail', formatText(report));
    assert.equal(report.verdict, 'failed');
    for (const text of [formatText(report), formatJson(report), formatJunit(report)]) assert.ok(!text.includes(VALUE));
    assert.equal((formatJunit(report).match(/<failure /g) ?? []).length, leaky.length - 1);
  });

  test('is inconclusive where a control fails, and tries nothing else', async () => {
    const idle = await attackNaively(['smuggle-cl-te'], { redacts: true, value: 'another value altogether' });
    assert.equal(idle.verdict, 'inconclusive');
    assert.deepEqual(
      idle.results.map(({ id }) => id),
      ['control-honest'],
    );
    const unredacting = await attackNaively(['smuggle-cl-te'], { redacts: false });
    assert.equal(unredacting.verdict, 'inconclusive');
    assert.equal(unredacting.results.at(-1)?.id, 'control-redaction');
  });
});

test('every attack has an id of its own, and says what would leak', () => {
  const ids = ATTACKS.map(({ id }) => id);
  assert.deepEqual([...new Set(ids)], ids);
  for (const { id, leak, reference, title } of ATTACKS) {
    assert.match(id, /^[a-z0-9-]+$/);
    assert.ok(leak.length > 5 && reference.length > 3 && title.length > 5, id);
  }
});
