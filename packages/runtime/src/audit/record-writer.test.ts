import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { formatRecord, type AuditRecord } from './audit-record.ts';
import { SEAL_ROOM_BYTES } from './chain.ts';
import { LineQueue } from './line-queue.ts';
import { RecordWriter } from './record-writer.ts';

/** Mostly of the few values that a connection repeats, so that prepared parts are used again, and sometimes of what does not fit them. */
const text = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('api.example.com', 'GET', '', '/v1/items') },
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom(
    '"',
    '\\',
    '\u007f',
    'ü',
    '😀',
    '\ud800',
    ',"path":""',
    ',"secrets":',
    'x'.repeat(129),
    'y'.repeat(3000),
  ),
);
const number = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(0, 1, 9, 10, 99, 100, 200, 1e9, 2 ** 31 - 1, 2 ** 31, 2 ** 53 - 1) },
  fc.nat(),
  fc.double(),
);
const names = fc.array(text, { maxLength: 3 });
const record = fc.record(
  {
    kind: fc.constantFrom('request', 'connect'),
    decision: fc.constantFrom('allow', 'deny'),
    code: fc.option(fc.constantFrom('HOST_DENIED', 'INTERNAL')),
    rule: fc.option(text),
    scheme: fc.option(fc.constantFrom('https', 'http')),
    host: fc.option(text),
    port: fc.option(number),
    method: fc.option(text),
    path: fc.option(text),
    status: fc.option(number),
    requestBytes: number,
    responseBytes: number,
    durationMs: number,
    secrets: names,
    stray: names,
    redactions: number,
  },
  { requiredKeys: ['kind', 'decision'] },
) as fc.Arbitrary<AuditRecord>;
const timeMs = fc.oneof(
  fc.constantFrom(
    0,
    1,
    999,
    1000,
    1_795_341_600_000,
    1_795_341_600_007.5,
    1_795_341_600_999,
    253_402_300_799_999,
    8.64e15,
    -1,
  ),
  fc.integer({ min: 0, max: 4_102_444_800_000 }),
);

test('RecordWriter.write() writes what formatRecord() gives, whatever was written before', () => {
  const events = fc.array(fc.tuple(record, timeMs, fc.oneof(fc.nat(), fc.constant(2 ** 40))), {
    minLength: 1,
    maxLength: 40,
  });
  fc.assert(
    fc.property(events, text, (all, sandbox) => {
      const writer = new RecordWriter(sandbox);
      const queue = new LineQueue();
      for (const [event, at, seq] of all) writer.write(queue, event, at, seq);
      const { bytes, ends } = queue.take();
      let start = SEAL_ROOM_BYTES;
      for (const [index, [event, at, seq]] of all.entries()) {
        const end = ends[index] ?? 0;
        const written = Buffer.from(bytes.subarray(start, end)).toString('utf8');
        assert.equal(written, formatRecord(event, { timeMs: at, seq, sandbox }));
        start = end + SEAL_ROOM_BYTES;
      }
    }),
    { numRuns: 500 },
  );
});

test('RecordWriter.write() finds the right one of many cases, also when there are more than it keeps', () => {
  const writer = new RecordWriter('box');
  const queue = new LineQueue();
  const expected: string[] = [];
  for (let i = 0; i < 400; i++) {
    const event: AuditRecord = {
      kind: 'request',
      decision: i % 7 === 0 ? 'deny' : 'allow',
      rule: `rule ${i % 3}`,
      scheme: 'https',
      host: `host-${(i * i) % 29}.example`,
      port: 443,
      method: i % 2 === 0 ? 'GET' : 'POST',
      path: `/${i}`,
      status: 200,
      responseBytes: i * 1000,
      durationMs: i / 3,
    };
    expected.push(formatRecord(event, { timeMs: i * 1000 + i, seq: i, sandbox: 'box' }));
    writer.write(queue, event, i * 1000 + i, i);
  }
  const { bytes, ends } = queue.take();
  const lines = ends.map((end, index) =>
    Buffer.from(bytes.subarray((ends[index - 1] ?? 0) + SEAL_ROOM_BYTES, end)).toString('utf8'),
  );
  assert.deepEqual(lines, expected);
});
