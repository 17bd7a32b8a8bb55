import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import {
  type BodyDecoder,
  createBodyDecoder,
  MAX_CHUNK_EXTENSION_BYTES,
  MAX_CHUNK_SIZE_DIGITS,
  MAX_TRAILER_BYTES,
} from './body-decoder.ts';
import { encodeChunkHead, encodeLastChunk } from './encoder.ts';
import type { Framing } from './framing.ts';
import { HttpSyntaxError } from './http-syntax-error.ts';

interface Outcome {
  body?: string;
  trailers?: string[];
  rest?: string;
  fault?: string;
}

/** Runs a decoder over `text` in pieces of the given sizes, then whole; ends it when `isClosed`. */
function decode(framing: Framing, text: string, sizes: readonly number[] = [], isClosed = true): Outcome {
  const decoder = createBodyDecoder(framing, 'request');
  const bytes = Buffer.from(text, 'latin1');
  let body = '';
  let rest = '';
  let start = 0;
  try {
    for (const size of [...sizes, bytes.length]) {
      // Each piece is a copy: the decoder may move bytes inside it.
      const piece = Buffer.from(bytes.subarray(start, start + size));
      start += size;
      let offset = 0;
      while (offset < piece.length && !decoder.isDone) {
        const next = decoder.decode(piece, offset);
        assert.ok(next > offset && next <= piece.length);
        offset = next;
        if (decoder.data !== null) {
          assert.ok(decoder.data.length > 0);
          body += decoder.data.toString('latin1');
        }
      }
      rest += piece.toString('latin1', offset);
    }
    if (isClosed) decoder.end();
    return { body, trailers: decoder.trailers, rest };
  } catch (error) {
    assert.ok(error instanceof HttpSyntaxError, String(error));
    return { fault: `${error.status} ${error.code}` };
  }
}

const CHUNKED: Framing = { kind: 'chunked' };
const body = (text: string, rest = '', trailers: string[] = []): Outcome => ({ body: text, trailers, rest });
const fault = (code: string): Outcome => ({ fault: `400 ${code}` });

describe('createBodyDecoder() chunked', () => {
  const big = 'x'.repeat(5000);
  const cases: [rfc: string, text: string, expected: Outcome][] = [
    ['7.1 one chunk', '3\r\nabc\r\n0\r\n\r\n', body('abc')],
    ['7.1 no chunk', '0\r\n\r\n', body('')],
    [
      '7.1 what follows is not the body',
      '1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n',
      body('a', 'GET / HTTP/1.1\r\n\r\n'),
    ],
    [
      '7.1 hexadecimal in either case',
      `a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n`,
      body('01234567890123456789a'),
    ],
    ['7.1 leading zeros', '0003\r\nabc\r\n0000\r\n\r\n', body('abc')],
    ['7.1 long and short chunks', `1388\r\n${big}\r\n1\r\na\r\n1388\r\n${big}\r\n0\r\n\r\n`, body(`${big}a${big}`)],
    ['7.1 CRLF in data', '4\r\n\r\n\r\n\r\n0\r\n\r\n', body('\r\n\r\n')],
    ['7.1 most digits', `${'3'.padStart(MAX_CHUNK_SIZE_DIGITS, '0')}\r\nabc\r\n0\r\n\r\n`, body('abc')],
    ['7.1 too many digits', `${'3'.padStart(MAX_CHUNK_SIZE_DIGITS + 1, '0')}\r\nabc\r\n0\r\n\r\n`, fault('CHUNK_SIZE')],
    ['7.1 too large', '20000000000000\r\nabc', fault('CHUNK_SIZE')],
    ['7.1 2^64 + 3', '10000000000000003\r\nabc\r\n0\r\n\r\n', fault('CHUNK_SIZE')],
    ['7.1 0x', '0x3\r\nabc\r\n0\r\n\r\n', fault('CHUNK_SIZE')],
    ['7.1 sign', '+3\r\nabc\r\n0\r\n\r\n', fault('CHUNK_SIZE')],
    ['7.1 negative', '-3\r\nabc\r\n0\r\n\r\n', fault('CHUNK_SIZE')],
    ['7.1 space before the size', ' 3\r\nabc\r\n0\r\n\r\n', fault('CHUNK_SIZE')],
    ['7.1 space after the size', '3 \r\nabc\r\n0\r\n\r\n', fault('CHUNK_SIZE')],
    ['7.1 tab after the size', '3\t;a\r\nabc\r\n0\r\n\r\n', fault('CHUNK_SIZE')],
    ['7.1 underscore', '1_0\r\n0123456789abcdef\r\n0\r\n\r\n', fault('CHUNK_SIZE')],
    ['7.1 no size', '\r\nabc\r\n0\r\n\r\n', fault('CHUNK_SIZE')],
    ['7.1 not hexadecimal', 'g\r\nabc\r\n0\r\n\r\n', fault('CHUNK_SIZE')],
    ['7.1 bare LF after the size', '3\nabc\r\n0\r\n\r\n', fault('CHUNK_SIZE')],
    ['7.1 bare CR after the size', '3\rabc\r\n0\r\n\r\n', fault('BARE_CR')],
    ['7.1 data longer than its size', '3\r\nabcd\r\n0\r\n\r\n', fault('CHUNK_DATA')],
    ['7.1 data shorter than its size', '4\r\nabc\r\n0\r\n\r\n', fault('CHUNK_DATA')],
    ['7.1 bare LF after the data', '3\r\nabc\n0\r\n\r\n', fault('CHUNK_DATA')],
    ['7.1 bare CR after the data', '3\r\nabc\r0\r\n\r\n', fault('CHUNK_DATA')],
    ['7.1 nothing after the data', '3\r\nabc0\r\n\r\n', fault('CHUNK_DATA')],
    ['8 truncated in a size', '3', fault('TRUNCATED_BODY')],
    ['8 truncated in data', '3\r\nab', fault('TRUNCATED_BODY')],
    ['8 truncated before the last chunk', '3\r\nabc\r\n', fault('TRUNCATED_BODY')],
    ['8 truncated before the final CRLF', '3\r\nabc\r\n0\r\n', fault('TRUNCATED_BODY')],
    ['8 nothing at all', '', fault('TRUNCATED_BODY')],
    ['7.1.1 extensions are dropped', '3;a;b=c;d="e;\\"\t"\r\nabc\r\n0\r\n\r\n', body('abc')],
    ['7.1.1 extension of the last chunk', '0;a=b\r\n\r\n', body('')],
    ['7.1.1 no name', '3;\r\nabc\r\n0\r\n\r\n', fault('CHUNK_EXTENSION')],
    ['7.1.1 no value', '3;a=\r\nabc\r\n0\r\n\r\n', fault('CHUNK_EXTENSION')],
    ['7.1.1 bad white space', '3; a\r\nabc\r\n0\r\n\r\n', fault('CHUNK_EXTENSION')],
    ['7.1.1 bare LF', '3;a\nabc\r\n0\r\n\r\n', fault('CHUNK_EXTENSION')],
    ['7.1.1 bare LF in quotes', '3;a="\n"\r\nabc\r\n0\r\n\r\n', fault('CHUNK_EXTENSION')],
    ['7.1.1 CRLF in quotes', '3;a="\r\n"\r\nabc\r\n0\r\n\r\n', fault('CHUNK_EXTENSION')],
    ['7.1.1 escaped CR in quotes', '3;a="\\\r\n"\r\nabc\r\n0\r\n\r\n', fault('CHUNK_EXTENSION')],
    ['7.1.1 bare CR', '3;a\rb\r\nabc\r\n0\r\n\r\n', fault('BARE_CR')],
    ['7.1.1 NUL', '3;a\0\r\nabc\r\n0\r\n\r\n', fault('CHUNK_EXTENSION')],
    ['7.1.1 text after quotes', '3;a="b"c\r\nabc\r\n0\r\n\r\n', fault('CHUNK_EXTENSION')],
    ['7.1.1 longest', `0;${'a'.repeat(MAX_CHUNK_EXTENSION_BYTES - 1)}\r\n\r\n`, body('')],
    ['7.1.1 too long', `0;${'a'.repeat(MAX_CHUNK_EXTENSION_BYTES)}\r\n\r\n`, fault('CHUNK_EXTENSION')],
    ['7.1.1 too long in sum', `1;a=b\r\nx\r\n`.repeat(MAX_CHUNK_EXTENSION_BYTES / 4 + 1), fault('CHUNK_EXTENSION')],
    ['7.1.2 trailers', '0\r\nA: b\r\nC:  d \r\n\r\nrest', body('', 'rest', ['A', 'b', 'C', 'd'])],
    [
      '9110 6.5.1 forbidden trailers are dropped',
      '0\r\nHost: x\r\nTE: trailers\r\nA: b\r\nAuthorization: c\r\nCookie: e\r\nProxy-Any: d\r\n\r\n',
      body('', '', ['A', 'b']),
    ],
    ['9110 6.5.1 a length in trailers', '0\r\nA: b\r\ncontent-LENGTH: 3\r\n\r\n', fault('TRAILER_FIELD')],
    ['9110 6.5.1 a coding in trailers', '0\r\nTransfer-Encoding: chunked\r\n\r\n', fault('TRAILER_FIELD')],
    ['7.1.2 obs-fold in trailers', '0\r\nA: b\r\n c\r\n\r\n', fault('OBS_FOLD')],
    ['7.1.2 space before the colon in trailers', '0\r\nA : b\r\n\r\n', fault('SPACE_BEFORE_COLON')],
    ['7.1.2 bare LF in trailers', '0\r\nA: b\nC: d\r\n\r\n', fault('BARE_LF')],
    ['7.1.2 bare LF as the end', '0\r\n\n', fault('BARE_LF')],
    ['7.1.2 bare CR in trailers', '0\r\nA: b\rc\r\n\r\n', fault('BARE_CR')],
    ['7.1.2 a request in place of trailers', '0\r\nGET / HTTP/1.1\r\n\r\n', fault('SPACE_BEFORE_COLON')],
    [
      '7.1.2 longest',
      `0\r\nA:${'b'.repeat(MAX_TRAILER_BYTES - 6)}\r\n\r\n`,
      body('', '', ['A', 'b'.repeat(MAX_TRAILER_BYTES - 6)]),
    ],
    ['7.1.2 too long', `0\r\nA:${'b'.repeat(MAX_TRAILER_BYTES - 5)}\r\n\r\n`, fault('TRAILERS_TOO_LARGE')],
  ];
  for (const [name, text, expected] of cases) {
    test(name, () => {
      assert.deepEqual(decode(CHUNKED, text), expected);
      // However the bytes arrive, the outcome is the same.
      assert.deepEqual(decode(CHUNKED, text, Array(text.length).fill(1)), expected);
      assert.deepEqual(decode(CHUNKED, text, Array(Math.ceil(text.length / 3)).fill(3)), expected);
    });
  }

  test('gives back what was encoded, in any chunking', () => {
    const piece = fc.uint8Array({ minLength: 1, maxLength: 3000 }).map((data) => Buffer.from(data).toString('latin1'));
    const token = fc.stringMatching(/^[a-z]{1,8}$/).map((name) => `X-${name}`);
    const trailer = fc.tuple(token, fc.constantFrom('', 'a b', '\xe9')).map(([name, value]) => [name, value]);
    fc.assert(
      fc.property(
        fc.array(piece, { maxLength: 30 }),
        fc.array(trailer, { maxLength: 3 }),
        fc.array(fc.nat(2000)),
        (pieces, pairs, sizes) => {
          const trailers = pairs.flat();
          const text =
            pieces.map((data) => `${encodeChunkHead(data.length)}${data}\r\n`).join('') + encodeLastChunk(trailers);
          assert.deepEqual(decode(CHUNKED, `${text}next`, sizes), body(pieces.join(''), 'next', trailers));
        },
      ),
    );
  });

  test('comes to the same outcome in any chunking of any bytes', () => {
    const alphabet = fc.constantFrom(
      '\r\n',
      '0\r\n',
      '1\r\na\r\n',
      '2\r\n',
      '\r',
      '\n',
      ';a',
      '="',
      '"',
      '\\',
      'A: b\r\n',
      ' ',
      'f',
      '\0',
      '\xff',
    );
    const text = fc.array(alphabet, { maxLength: 12 }).map((pieces) => pieces.join(''));
    fc.assert(
      fc.property(text, fc.array(fc.integer({ min: 1, max: 4 })), (bytes, sizes) => {
        assert.deepEqual(decode(CHUNKED, bytes, sizes), decode(CHUNKED, bytes));
      }),
      { numRuns: 5000 },
    );
  });

  test('gives one view for all tiny chunks of an input', () => {
    const input = Buffer.from(`${'1\r\na\r\n'.repeat(5000)}0\r\n\r\nrest`);
    const decoder = createBodyDecoder(CHUNKED, 'request');
    const end = decoder.decode(input, 0);
    assert.equal(decoder.data?.toString(), 'a'.repeat(5000));
    assert.equal(decoder.isDone, true);
    assert.equal(input.toString('latin1', end), 'rest');
  });

  test('does not move long chunks', () => {
    const input = Buffer.from(`800\r\n${'a'.repeat(2048)}\r\n800\r\n${'b'.repeat(2048)}\r\n0\r\n\r\n`);
    const original = Buffer.from(input);
    const decoder = createBodyDecoder(CHUNKED, 'request');
    let offset = 0;
    while (!decoder.isDone) offset = decoder.decode(input, offset);
    assert.deepEqual(input, original);
  });

  test('throws for ever once it threw', () => {
    for (const text of ['x', '1\r\nab', '0\r\n: \r\n\r\n', '0;;', '0\r\n\n']) {
      const decoder = createBodyDecoder(CHUNKED, 'response');
      const is502 = (error: unknown) => error instanceof HttpSyntaxError && error.status === 502;
      assert.throws(() => decoder.decode(Buffer.from(text), 0), is502);
      assert.throws(() => decoder.decode(Buffer.from('0\r\n\r\n'), 0), is502);
      assert.throws(() => decoder.end(), is502);
      assert.equal(decoder.isDone, false);
    }
  });
});

describe('createBodyDecoder() length, none and until-close', () => {
  test('6.2 takes exactly its length, in any chunking', () => {
    fc.assert(
      fc.property(fc.nat(40), fc.array(fc.nat(7)), (bytes, sizes) => {
        const text = 'x'.repeat(bytes);
        assert.deepEqual(decode({ kind: 'length', bytes }, `${text}next`, sizes), body(text, 'next'));
      }),
    );
  });

  test('8 a body shorter than its length is truncated', () => {
    assert.deepEqual(decode({ kind: 'length', bytes: 5 }, 'abcd', [1]), fault('TRUNCATED_BODY'));
    assert.deepEqual(decode({ kind: 'length', bytes: Number.MAX_SAFE_INTEGER }, 'abcd', [1]), fault('TRUNCATED_BODY'));
  });

  test('6.3 no body takes nothing', () => {
    for (const framing of [{ kind: 'none' }, { kind: 'length', bytes: 0 }] satisfies Framing[]) {
      const decoder: BodyDecoder = createBodyDecoder(framing, 'request');
      assert.equal(decoder.isDone, true);
      assert.equal(decoder.decode(Buffer.from('abc'), 1), 1);
      assert.equal(decoder.data, null);
      decoder.end();
    }
  });

  test('6.3 rule 8 a body until the end of the connection', () => {
    assert.deepEqual(decode({ kind: 'until-close' }, 'abc', [1]), body('abc'));
    const decoder = createBodyDecoder({ kind: 'until-close' }, 'response');
    decoder.decode(Buffer.from('abc'), 0);
    assert.equal(decoder.isDone, false);
    decoder.end();
    assert.equal(decoder.isDone, true);
    assert.equal(decoder.decode(Buffer.from('abc'), 0), 0);
  });

  test('gives a chunk that is all body as it is', () => {
    const chunk = Buffer.from('abc');
    const decoder = createBodyDecoder({ kind: 'length', bytes: 3 }, 'request');
    decoder.decode(chunk, 0);
    assert.equal(decoder.data, chunk);
  });
});
