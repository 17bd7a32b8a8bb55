import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { parseRequestHead } from './head-parser.ts';
import { HeadReader } from './head-reader.ts';
import { HttpSyntaxError } from './http-syntax-error.ts';
import type { RequestHead } from './message.ts';
import { MAX_REMEMBERED_SECTION_BYTES, RequestHeads } from './request-heads.ts';

type Outcome = RequestHead | string;

const MAX_HEAD_BYTES = 300;

/** Reads what is in `chunks`, by a reader that is used up with the first fault, as a connection is. */
function readAll(
  chunks: readonly Buffer[],
  read: (chunk: Buffer, offset: number) => readonly [Outcome, number] | null,
) {
  const outcomes: Outcome[] = [];
  for (const chunk of chunks) {
    let offset = 0;
    while (offset < chunk.length) {
      try {
        const one = read(chunk, offset);
        if (one === null) break;
        outcomes.push(one[0]);
        offset = one[1];
      } catch (error) {
        assert.ok(error instanceof HttpSyntaxError);
        return [...outcomes, `${error.status} ${error.code}`];
      }
    }
  }
  return outcomes;
}

function readRemembering(chunks: readonly Buffer[], maxHeadBytes = MAX_HEAD_BYTES): Outcome[] {
  const heads = new RequestHeads(maxHeadBytes);
  return readAll(chunks, (chunk, offset) => {
    const head = heads.read(chunk, offset);
    return head === null ? null : [{ ...head, fields: [...head.fields] }, heads.next];
  });
}

function readAnew(chunks: readonly Buffer[], maxHeadBytes = MAX_HEAD_BYTES): Outcome[] {
  const reader = new HeadReader('request', maxHeadBytes);
  return readAll(chunks, (chunk, offset) => {
    const next = reader.read(chunk, offset);
    return next === -1 ? null : [parseRequestHead(reader.bytes, reader.start, reader.end, maxHeadBytes), next];
  });
}

const line = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('GET / HTTP/1.1', 'POST /a?b=%20c HTTP/1.1', 'HEAD /b HTTP/1.0', 'X *~ HTTP/1.1') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '', '\r\nGET / HTTP/1.1', 'GET  / HTTP/1.1', 'GET / HTTP/1.1 ', 'GET / HTTP/2.0', 'GET /\t HTTP/1.1', 'GET / HTTP/1.1\r', 'GET / HTTP/1.1\n',
      'GET /', 'A: b', `${'M'.repeat(33)} / HTTP/1.1`, `GET /${'t'.repeat(270)} HTTP/1.1`, 'GET / HTTP/1.1\r\nHost: x', 'Host: x',
    ),
  },
); // prettier-ignore
const section = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('Host: a', 'Host: b', 'Host: a\r\nAccept:  */*\t', 'Host: a\r\nX-Id: 1', 'Host: a\r\nX-Id: 2') },
  { weight: 1, arbitrary: fc.constantFrom('', 'Host : a', ' Host: a', 'Host: a\nB: c', 'Host: a\r\rB: c', 'Host', `Host: ${'h'.repeat(290)}`, 'GET / HTTP/1.1\r\nHost: a') },
); // prettier-ignore
const head = fc
  .tuple(line, section)
  .map(([first, fields]) => `${first}\r\n${fields}${fields === '' ? '' : '\r\n'}\r\n`);
const stream = fc.array(head, { minLength: 1, maxLength: 12 });

describe('RequestHeads', () => {
  test('reads every sequence of heads, in any chunking, as heads that nobody remembers', () => {
    const counts = { read: 0, refused: 0 };
    fc.assert(
      fc.property(stream, fc.array(fc.nat(200), { maxLength: 8 }), fc.boolean(), (heads, sizes, isWhole) => {
        // A chunk for each head is what clients send.
        const chunks = isWhole ? heads.map((text) => Buffer.from(text, 'latin1')) : [];
        let rest = isWhole ? Buffer.alloc(0) : Buffer.from(heads.join(''), 'latin1');
        for (const size of sizes) {
          chunks.push(rest.subarray(0, size));
          rest = rest.subarray(size);
        }
        chunks.push(rest);
        const expected = readAnew(chunks);
        assert.deepEqual(readRemembering(chunks), expected);
        for (const outcome of expected) counts[typeof outcome === 'string' ? 'refused' : 'read'] += 1;
      }),
      { numRuns: 4000 },
    );
    assert.ok(counts.read > 1000 && counts.refused > 1000, JSON.stringify(counts));
  });

  test('tells of a bare LF before a remembered section as of any', () => {
    const bytes = Buffer.from('GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\n\r\n\r\n');
    for (let at = 0; at <= bytes.length; at += 1) {
      const chunks = [bytes.subarray(0, at), bytes.subarray(at)];
      assert.deepEqual(readRemembering(chunks), readAnew(chunks), String(at));
    }
  });

  test('gives the same array for the same fields, and another one for any others', () => {
    const heads = new RequestHeads();
    const fieldsOf = (text: string): readonly string[] => {
      const one = heads.read(Buffer.from(text, 'latin1'), 0);
      assert.ok(one !== null);
      return one.fields;
    };
    const first = fieldsOf('GET /1 HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n');
    assert.equal(fieldsOf('POST /two HTTP/1.0\r\nHost: a\r\nB: c\r\n\r\nbody'), first);
    assert.deepEqual(first, ['Host', 'a', 'B', 'c']);
    const other = fieldsOf('GET /1 HTTP/1.1\r\nHost: a\r\nB: d\r\n\r\n');
    assert.deepEqual(other, ['Host', 'a', 'B', 'd']);
    assert.notEqual(fieldsOf('GET /1 HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n'), first);
  });

  test('remembers no more than its limit for a connection', () => {
    const heads = new RequestHeads();
    for (const [bytes, isSame] of [
      [MAX_REMEMBERED_SECTION_BYTES, true],
      [MAX_REMEMBERED_SECTION_BYTES + 1, false],
    ] as const) {
      const text = Buffer.from(`GET / HTTP/1.1\r\nA: ${'b'.repeat(bytes - 7)}\r\n\r\n`);
      const [one, two] = [heads.read(text, 0), heads.read(text, 0)];
      assert.equal(one?.fields === two?.fields, isSame);
    }
  });

  test('lets go of the chunks that it has read', () => {
    const heads = new RequestHeads();
    const chunk = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    assert.deepEqual(heads.read(chunk, 0)?.fields, ['Host', 'a']);
    // What was remembered is a copy: the chunk's memory may be used for something else.
    const again = Buffer.from(chunk);
    chunk.fill(0x2e);
    assert.deepEqual(heads.read(again, 0)?.fields, ['Host', 'a']);
    assert.equal(heads.isPending, false);
  });
});
