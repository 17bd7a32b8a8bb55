import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { RCODE, TYPE, encodeAnswer, parseQuery, udpLimit } from './message.ts';
import type { DnsEnvelope } from './message.ts';

const TTLS = { ttlSeconds: 60, negativeTtlSeconds: 5 };

function name(text: string): Buffer {
  const labels = text === '' ? [] : text.split('.');
  return Buffer.concat([
    ...labels.map((label) => Buffer.from(String.fromCharCode(label.length) + label, 'latin1')),
    Buffer.of(0),
  ]);
}

function u16(...values: number[]): Buffer {
  return Buffer.from(values.flatMap((value) => [value >>> 8, value & 0xff]));
}

const OPT = Buffer.concat([Buffer.of(0), u16(TYPE.OPT, 4096, 0, 0, 0)]);

interface Parts {
  flags?: number;
  counts?: [number, number, number, number];
  name?: Buffer;
  type?: number;
  class?: number;
  rest?: Buffer;
}

function query(parts: Parts = {}): Buffer {
  return Buffer.concat([
    u16(0x1234, parts.flags ?? 0x0100, ...(parts.counts ?? [1, 0, 0, 0])),
    parts.name ?? name('Api.GitHub.com'),
    u16(parts.type ?? TYPE.A, parts.class ?? 1),
    parts.rest ?? Buffer.alloc(0),
  ]);
}

test('parseQuery() reads a question and keeps its case', () => {
  const parsed = parseQuery(query({ counts: [1, 0, 0, 1], rest: OPT, flags: 0x0110 }));
  assert.ok(parsed.kind === 'query');
  assert.deepEqual(parsed.labels, ['Api', 'GitHub', 'com']);
  assert.equal(parsed.type, TYPE.A);
  const { question, ...rest } = parsed.envelope;
  assert.deepEqual(question, Buffer.concat([name('Api.GitHub.com'), u16(TYPE.A, 1)]));
  assert.deepEqual(rest, {
    id: 0x1234,
    opcode: 0,
    recursionDesired: true,
    checkingDisabled: true,
    edns: { udpPayloadBytes: 4096, version: 0 },
  });
});

test('parseQuery() refuses or drops what is no plain question', () => {
  const label63 = 'a'.repeat(63);
  const name255 = `${label63}.${label63}.${label63}.${'a'.repeat(61)}`;
  const cases: [string, Buffer, 'drop' | 'query' | number][] = [
    ['nothing', Buffer.alloc(0), 'drop'],
    ['one byte', Buffer.of(1), 'drop'],
    ['an id alone', u16(7), RCODE.FORMERR],
    ['half a header', query().subarray(0, 11), RCODE.FORMERR],
    ['a response', query({ flags: 0x8180 }), 'drop'],
    ['half a response', u16(7, 0x8180).subarray(0, 3), 'drop'],
    ['a status request', query({ flags: 2 << 11 }), RCODE.NOTIMP],
    ['a notify', query({ flags: 4 << 11 }), RCODE.NOTIMP],
    ['an update', query({ flags: 5 << 11 }), RCODE.NOTIMP],
    ['no question', query({ counts: [0, 0, 0, 0] }), RCODE.FORMERR],
    ['two questions', query({ counts: [2, 0, 0, 0], rest: query().subarray(12) }), RCODE.FORMERR],
    ['an answer', query({ counts: [1, 1, 0, 0] }), RCODE.FORMERR],
    ['an authority', query({ counts: [1, 0, 1, 0] }), RCODE.FORMERR],
    ['many additional records', query({ counts: [1, 0, 0, 65535] }), RCODE.FORMERR],
    ['an additional record that is not there', query({ counts: [1, 0, 0, 1] }), RCODE.FORMERR],
    ['a compression loop', query({ name: Buffer.of(0xc0, 12) }), RCODE.FORMERR],
    ['a pointer behind a label', query({ name: Buffer.of(1, 0x61, 0xc0, 12) }), RCODE.FORMERR],
    ['a pointer forward', query({ name: Buffer.of(0xc0, 0xff) }), RCODE.FORMERR],
    ['an extended label', query({ name: Buffer.of(0x41, 0) }), RCODE.FORMERR],
    ['a name without end', query({ name: Buffer.alloc(300, 1) }), RCODE.FORMERR],
    ['a name that ends in the middle', query().subarray(0, 20), RCODE.FORMERR],
    ['no type', query().subarray(0, 28), RCODE.FORMERR],
    ['a name of 255 bytes', query({ name: name(name255) }), 'query'],
    ['a name of 256 bytes', query({ name: name(`${name255}a`) }), RCODE.FORMERR],
    ['the root', query({ name: name('') }), 'query'],
    ['class CH', query({ class: 3 }), RCODE.REFUSED],
    ['class ANY', query({ class: 255 }), RCODE.REFUSED],
    ['a zone transfer', query({ type: TYPE.AXFR }), RCODE.REFUSED],
    ['an incremental one', query({ type: TYPE.IXFR }), RCODE.REFUSED],
    ['a question for OPT', query({ type: TYPE.OPT }), RCODE.FORMERR],
    ['type 0', query({ type: 0 }), RCODE.FORMERR],
    ['EDNS', query({ counts: [1, 0, 0, 1], rest: OPT }), 'query'],
    ['EDNS twice', query({ counts: [1, 0, 0, 2], rest: Buffer.concat([OPT, OPT]) }), RCODE.FORMERR],
    [
      'EDNS that a name owns',
      query({ counts: [1, 0, 0, 1], rest: Buffer.concat([name('a'), OPT.subarray(1)]) }),
      RCODE.FORMERR,
    ],
    [
      'EDNS version 1',
      query({ counts: [1, 0, 0, 1], rest: Buffer.concat([OPT.subarray(0, 6), Buffer.of(1), OPT.subarray(7)]) }),
      RCODE.BADVERS,
    ],
    [
      'EDNS with options that are not there',
      query({ counts: [1, 0, 0, 1], rest: Buffer.concat([OPT.subarray(0, 9), u16(9)]) }),
      RCODE.FORMERR,
    ],
    [
      'another record before EDNS',
      query({
        counts: [1, 0, 0, 2],
        rest: Buffer.concat([Buffer.of(0xc0, 12), u16(1, 1, 0, 0, 1), Buffer.of(9), OPT]),
      }),
      'query',
    ],
    ['bytes behind it', query({ rest: Buffer.alloc(70_000) }), 'query'],
  ];
  for (const [what, packet, expected] of cases) {
    const parsed = parseQuery(packet);
    assert.equal(parsed.kind === 'refuse' ? parsed.rcode : parsed.kind, expected, what);
  }
});

test('parseQuery() never throws, and what it refuses can be answered', () => {
  const anything = fc.uint8Array({ maxLength: 700 }).map((bytes) => Buffer.from(bytes));
  const nearly = fc
    .tuple(fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 6 }), fc.nat(60))
    .map(([changes, cut]) => {
      const packet = query({ counts: [1, 0, 0, 1], rest: OPT });
      for (const [offset, value] of changes) {
        packet[offset % packet.length] = value;
      }
      return packet.subarray(0, packet.length - Math.max(0, cut - 40));
    });
  fc.assert(
    fc.property(fc.oneof(anything, nearly), (packet) => {
      const parsed = parseQuery(packet);
      if (parsed.kind !== 'drop') {
        const rcode = parsed.kind === 'refuse' ? parsed.rcode : RCODE.NXDOMAIN;
        const response = encodeAnswer(
          parsed.envelope,
          { rcode, answers: [], negative: true },
          { ...TTLS, maxBytes: 512 },
        );
        assert.ok(response.length <= 512);
        assert.equal(response.readUInt16BE(0), packet.readUInt16BE(0));
        // A response is never taken for a query: no two servers talk for ever.
        assert.equal(parseQuery(response).kind, 'drop');
      }
    }),
    { numRuns: 2000 },
  );
});

function envelope(edns: DnsEnvelope['edns']): DnsEnvelope {
  const question = Buffer.concat([name('WwW.example'), u16(TYPE.A, 1)]);
  return { id: 0xbeef, opcode: 0, recursionDesired: true, checkingDisabled: false, question, edns };
}

test('encodeAnswer() writes an address record behind the question as it was asked', () => {
  const response = encodeAnswer(
    envelope(null),
    { rcode: RCODE.NOERROR, answers: [{ type: 'A', address: Buffer.of(198, 18, 0, 1) }], negative: false },
    { ...TTLS, maxBytes: 512 },
  );
  assert.equal(
    response.toString('hex'),
    `beef81800001000100000000${name('WwW.example').toString('hex')}00010001c00c000100010000003c0004c6120001`,
  );
});

test('encodeAnswer() writes SOA, HINFO, PTR, and EDNS with the upper bits of the code', () => {
  const edns = { udpPayloadBytes: 1232, version: 0 };
  const options = { ...TTLS, maxBytes: 1232 };
  const nodata = encodeAnswer(envelope(edns), { rcode: RCODE.NOERROR, answers: [], negative: true }, options);
  assert.ok(
    nodata
      .toString('hex')
      .endsWith('00000600010000000500160000000000010000000500000005000000050000000500002904d0000000000000'),
  );
  const hinfo = encodeAnswer(
    envelope(null),
    { rcode: RCODE.NOERROR, answers: [{ type: 'HINFO' }], negative: false },
    options,
  );
  assert.ok(hinfo.toString('latin1').endsWith('\0\x09\x07RFC8482\0'));
  const ptr = encodeAnswer(
    envelope(null),
    { rcode: RCODE.NOERROR, answers: [{ type: 'PTR', name: 'a.example' }], negative: false },
    options,
  );
  assert.ok(ptr.toString('latin1').endsWith('\0\x0b\x01a\x07example\0'));
  const badVersion = encodeAnswer(
    envelope({ ...edns, version: 1 }),
    { rcode: RCODE.BADVERS, answers: [], negative: false },
    options,
  );
  assert.equal(badVersion.readUInt16BE(2) & 0xf, 0);
  assert.ok(badVersion.toString('hex').endsWith('00002904d0010000000000'));
});

test('encodeAnswer() sets TC and leaves out records that do not fit', () => {
  const answers = Array.from({ length: 40 }, () => ({ type: 'A', address: Buffer.alloc(4) }) as const);
  const whole = encodeAnswer(
    envelope(null),
    { rcode: RCODE.NOERROR, answers, negative: false },
    { ...TTLS, maxBytes: 65535 },
  );
  assert.equal(whole.readUInt16BE(6), 40);
  const cut = encodeAnswer(
    envelope(null),
    { rcode: RCODE.NOERROR, answers, negative: false },
    { ...TTLS, maxBytes: udpLimit(envelope(null)) },
  );
  assert.equal(cut.readUInt16BE(2) & 0x0200, 0x0200);
  assert.equal(cut.readUInt16BE(6), 0);
});

test('udpLimit() is between 512 and 1232', () => {
  for (const [offered, limit] of [
    [0, 512],
    [512, 512],
    [1000, 1000],
    [65535, 1232],
  ] as const) {
    const rest = Buffer.concat([Buffer.of(0), u16(TYPE.OPT, offered, 0, 0, 0)]);
    const parsed = parseQuery(query({ counts: [1, 0, 0, 1], rest }));
    assert.ok(parsed.kind === 'query');
    assert.equal(udpLimit(parsed.envelope), limit);
  }
  assert.equal(udpLimit(envelope(null)), 512);
});
