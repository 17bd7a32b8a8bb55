import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import { encodeChunkHead, encodeLastChunk, encodeRequestHead, encodeResponseHead } from './encoder.ts';
import { parseRequestHead, parseResponseHead } from './head-parser.ts';
import { HttpSyntaxError } from './http-syntax-error.ts';
import type { RequestHead, ResponseHead } from './message.ts';

const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}$/);
const value = fc
  .array(fc.constantFrom(...'\t aZ09:;,"\\{}\x80\xff'), { maxLength: 30 })
  .map((octets) => octets.join('').replace(/^[\t ]+|[\t ]+$/g, ''));
const minor = fc.constantFrom(0 as const, 1 as const);
// Names that the encoder wants at most once get a prefix.
const fields = fc
  .array(
    fc.tuple(
      token.map((name) => `x${name}`),
      value,
    ),
    { maxLength: 20 },
  )
  .map((pairs) => pairs.flat());

const isUnencodable = (error: unknown) =>
  error instanceof HttpSyntaxError && error.code === 'UNENCODABLE' && error.status === 500;

describe('encodeRequestHead()', () => {
  test('writes what parseRequestHead() reads', () => {
    const target = fc.stringMatching(/^[!-~]{1,50}$/);
    fc.assert(
      fc.property(fc.record({ method: token, target, minor, fields }, { noNullPrototype: true }), (head) => {
        const bytes = Buffer.from(encodeRequestHead(head), 'latin1');
        assert.deepEqual(parseRequestHead(bytes, 0, bytes.length), head);
      }),
    );
  });

  const head: RequestHead = { method: 'GET', target: '/', minor: 1, fields: ['Host', 'h'] };
  const bad: [name: string, change: Partial<RequestHead>][] = [
    ['CRLF in a value', { fields: ['A', 'b\r\nC: d'] }],
    ['bare LF in a value', { fields: ['A', 'b\nC: d'] }],
    ['bare CR in a value', { fields: ['A', 'b\rC: d'] }],
    ['NUL in a value', { fields: ['A', 'b\0'] }],
    ['DEL in a value', { fields: ['A', 'b\x7f'] }],
    // Written as Latin-1, U+010D becomes CR and U+010A LF.
    ['a character above 0xff in a value', { fields: ['A', 'b\u010d\u010aC: d'] }],
    ['a character above 0xff in a name', { fields: ['A\u013a', 'b'] }],
    ['a colon in a name', { fields: ['A: b', 'c'] }],
    ['a space in a name', { fields: ['A ', 'b'] }],
    ['an empty name', { fields: ['', 'b'] }],
    ['a name without a value', { fields: ['A'] }],
    ['a space in the target', { target: '/ HTTP/1.1\r\nA: b' }],
    ['an empty target', { target: '' }],
    ['obs-text in the target', { target: '/\xe9' }],
    ['a character above 0xff in the target', { target: '/\u0120' }],
    ['a space in the method', { method: 'GET /' }],
    ['an empty method', { method: '' }],
    ['another version', { minor: 2 as 1 }],
    ['two lengths', { fields: ['Content-Length', '1', 'content-length', '1'] }],
    ['a length and a coding', { fields: ['Content-Length', '1', 'Transfer-Encoding', 'chunked'] }],
    ['two Host fields', { fields: ['Host', 'h', 'hOST', 'h'] }],
  ];
  for (const [name, change] of bad) {
    test(`refuses ${name}`, () => assert.throws(() => encodeRequestHead({ ...head, ...change }), isUnencodable));
  }
});

describe('encodeResponseHead()', () => {
  test('writes what parseResponseHead() reads', () => {
    const status = fc.integer({ min: 200, max: 599 });
    fc.assert(
      fc.property(fc.record({ status, reason: value, minor, fields }, { noNullPrototype: true }), (head) => {
        const bytes = Buffer.from(encodeResponseHead(head), 'latin1');
        assert.deepEqual(parseResponseHead(bytes, 0, bytes.length), head);
      }),
    );
  });

  test('refuses what would split the response', () => {
    const head: ResponseHead = { status: 200, reason: 'OK', minor: 1, fields: [] };
    for (const change of [
      { reason: 'OK\r\nA: b' },
      { reason: '\u010a' },
      { status: 99 },
      { status: 600 },
      { status: 200.5 },
      { status: Number.NaN },
      { fields: ['Set-Cookie', 'a\r\n\r\n<html>'] },
      { fields: ['Transfer-Encoding', 'chunked', 'Transfer-Encoding', 'chunked'] },
    ]) {
      assert.throws(() => encodeResponseHead({ ...head, ...change }), isUnencodable, JSON.stringify(change));
    }
  });
});

describe('encodeChunkHead() and encodeLastChunk()', () => {
  test('write sizes and trailers', () => {
    assert.equal(encodeChunkHead(1), '1\r\n');
    assert.equal(encodeChunkHead(65_535), 'ffff\r\n');
    assert.equal(encodeLastChunk(), '0\r\n\r\n');
    assert.equal(encodeLastChunk(['A', 'b', 'C', '']), '0\r\nA: b\r\nC: \r\n\r\n');
  });

  test('refuse what would end the body early or change its meaning', () => {
    for (const bytes of [0, -1, 1.5, Number.NaN, 2 ** 53]) assert.throws(() => encodeChunkHead(bytes), isUnencodable);
    for (const trailers of [['A', 'b\r\n\r\nGET'], ['Content-Length', '3'], ['HOST', 'h'], ['A']]) {
      assert.throws(() => encodeLastChunk(trailers), isUnencodable);
    }
  });
});
