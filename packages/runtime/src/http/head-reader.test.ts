import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { HeadReader } from './head-reader.ts';
import { HttpSyntaxError } from './http-syntax-error.ts';

function readAll(reader: HeadReader, chunks: readonly Buffer[]): string[] {
  const heads: string[] = [];
  for (const chunk of chunks) {
    let offset = 0;
    while (offset < chunk.length) {
      offset = reader.read(chunk, offset);
      if (offset === -1) break;
      heads.push(reader.bytes.toString('latin1', reader.start, reader.end));
    }
  }
  return heads;
}

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  let at = 0;
  for (const size of sizes) {
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return [...chunks, bytes.subarray(at)];
}

describe('HeadReader', () => {
  test('finds the same heads in any chunking', () => {
    const heads = ['GET / HTTP/1.1\r\nA: b\r\n\r\n', '\r\nPOST /2 HTTP/1.1\r\n\r\n', `X ${'y'.repeat(3000)}\r\n\r\n`];
    const bytes = Buffer.from(heads.join(''), 'latin1');
    fc.assert(
      fc.property(fc.array(fc.nat(900), { maxLength: 40 }), (sizes) => {
        const reader = new HeadReader('request');
        assert.deepEqual(readAll(reader, cut(bytes, sizes)), heads);
        assert.equal(reader.isPending, false);
      }),
    );
    assert.deepEqual(readAll(new HeadReader('request'), cut(bytes, Array(bytes.length).fill(1))), heads);
  });

  test('does not copy a head that lies in one chunk', () => {
    const reader = new HeadReader('request');
    const chunk = Buffer.from('GET / HTTP/1.1\r\n\r\nrest');
    assert.equal(reader.read(chunk, 0), chunk.length - 4);
    assert.equal(reader.bytes, chunk);
  });

  test('says whether a head was begun', () => {
    const reader = new HeadReader('request');
    assert.equal(reader.isPending, false);
    reader.read(Buffer.from('GET'), 0);
    assert.equal(reader.isPending, true);
  });

  test('holds to its limit in any chunking', () => {
    for (const size of [1, 7, 64, 100, 101, 1000]) {
      const endless = Buffer.alloc(1000, 'a');
      const reader = new HeadReader('response', 100);
      assert.throws(
        () => readAll(reader, cut(endless, Array(1000 / size - 1 > 0 ? Math.floor(1000 / size) : 0).fill(size))),
        (error) => error instanceof HttpSyntaxError && error.code === 'HEAD_TOO_LARGE' && error.status === 502,
      );
      const fits = Buffer.from(`${'a'.repeat(96)}\r\n\r\n`);
      assert.equal(
        readAll(new HeadReader('request', 100), cut(fits, Array(Math.floor(100 / size)).fill(size))).length,
        1,
      );
    }
  });
});
