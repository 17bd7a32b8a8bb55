import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { Http2ConnectionError, Http2FieldError } from './error-code.ts';
import { FieldList, type ListKind } from './field-list.ts';
import { HpackDecoder } from './hpack-decoder.ts';
import { HpackEncoder } from './hpack-encoder.ts';
import { decodeHuffman } from './hpack-huffman.ts';

function decodeHex(decoder: HpackDecoder, kind: ListKind, hex: string): string[] {
  const block = Buffer.from(hex.replaceAll(' ', ''), 'hex');
  const list = new FieldList(65_536, 256, true);
  list.begin(kind);
  decoder.decode(block, 0, block.length, list);
  assert.equal(list.problem, null);
  return list.fields;
}

const REQUESTS = [
  [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com'],
  [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com', 'cache-control', 'no-cache'],
  [':method', 'GET', ':scheme', 'https', ':path', '/index.html', ':authority', 'www.example.com', 'custom-key', 'custom-value'],
]; // prettier-ignore
const RESPONSES = [
  [':status', '302', 'cache-control', 'private', 'date', 'Mon, 21 Oct 2013 20:13:21 GMT', 'location', 'https://www.example.com'],
  [':status', '307', 'cache-control', 'private', 'date', 'Mon, 21 Oct 2013 20:13:21 GMT', 'location', 'https://www.example.com'],
  [
    ':status', '200', 'cache-control', 'private', 'date', 'Mon, 21 Oct 2013 20:13:22 GMT', 'location', 'https://www.example.com',
    'content-encoding', 'gzip', 'set-cookie', 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
  ],
]; // prettier-ignore

/** RFC 7541 appendix C.3 to C.6. Those of responses have a table of 256 octets, to which the first block is made to resize it. */
const VECTORS: Readonly<Record<string, readonly [kind: ListKind, blocks: readonly string[], lists: readonly string[][]]>> = {
  'C.3': ['request', [
    '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
    '8286 84be 5808 6e6f 2d63 6163 6865',
    '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
  ], REQUESTS],
  'C.4': ['request', [
    '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
    '8286 84be 5886 a8eb 1064 9cbf',
    '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
  ], REQUESTS],
  'C.5': ['response', [
    '3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
    '4803 3330 37c1 c0bf',
    '88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31',
  ], RESPONSES],
  'C.6': ['response', [
    '3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
    '4883 640e ffc1 c0bf',
    '88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07',
  ], RESPONSES],
}; // prettier-ignore

describe('HpackDecoder', () => {
  for (const [name, [kind, blocks, lists]] of Object.entries(VECTORS)) {
    test(`decode() reads the examples of RFC 7541 appendix ${name}`, () => {
      const decoder = new HpackDecoder();
      assert.deepEqual(blocks.map((block) => decodeHex(decoder, kind, block)), lists); // prettier-ignore
    });
  }

  const BROKEN: Readonly<Record<string, string>> = {
    'the index 0': '80',
    'an index beyond the static table': 'be',
    'a name beyond the table': '7e 00',
    'an integer that never ends': 'ff 80 80 80 80 80 01',
    'an integer that is cut off': 'ff',
    'a string that is cut off': '40 0a 63',
    'a literal without a value': '40 01 61',
    'a literal without a name': '40',
    'a string with a length beyond all': '40 7f ff ff ff 7f',
    'a size update behind a field': '82 20',
    'a size update beyond the limit': '3f e2 1f',
    'padding with zeros': '40 81 18 00',
    'padding of eight bits': '40 82 1f ff 00',
    'EOS in a string': '40 84 ff ff ff ff 00',
  };
  for (const [name, hex] of Object.entries(BROKEN)) {
    test(`decode() refuses ${name}`, () => {
      assert.throws(
        () => decodeHex(new HpackDecoder(), 'request', hex),
        (error: unknown) => error instanceof Http2ConnectionError && error.code === 9,
      );
    });
  }

  test('decode() takes any size up to the limit, several of them, and empties the table for a size of 0', () => {
    const decoder = new HpackDecoder();
    assert.deepEqual(decodeHex(decoder, 'request', '20 3f e1 1f 40 01 61 01 62'), ['a', 'b']);
    assert.deepEqual(decodeHex(decoder, 'request', 'be'), ['a', 'b']);
    assert.throws(() => decodeHex(decoder, 'request', '20 be'), Http2ConnectionError);
  });

  test('decode() empties the table for an entry that is larger than it', () => {
    const decoder = new HpackDecoder();
    decodeHex(decoder, 'request', '40 01 61 01 62');
    const long = Buffer.alloc(4096, 'x');
    // 4096 is 127 and 3969 in seven bits each.
    decodeHex(decoder, 'request', `40 01 61 7f 81 1f ${long.toString('hex')}`);
    assert.throws(() => decodeHex(decoder, 'request', 'be'), Http2ConnectionError);
  });

  test('decode() keeps the table right behind a list that is too long', () => {
    const decoder = new HpackDecoder();
    const list = new FieldList(100, 256, true);
    list.begin('request');
    const block = Buffer.concat([
      Buffer.from('4001610162', 'hex'),
      Buffer.alloc(50, 0xbe),
      Buffer.from('4001630164', 'hex'),
    ]);
    decoder.decode(block, 0, block.length, list);
    assert.equal(list.isTooLong, true);
    assert.equal(list.fields.length, 4);
    assert.deepEqual(decodeHex(decoder, 'request', 'be bf'), ['c', 'd', 'a', 'b']);
  });
});

describe('HpackEncoder', () => {
  const names = fc.constantFrom(
    'x-a',
    'x-b',
    'accept',
    'user-agent',
    'content-length',
    'authorization',
    'x-long-name-of-a-field',
    ':path',
    ':method',
  );
  const values = fc.oneof(
    fc.constantFrom('', 'GET', '/', 'a', 'b', '*/*', 'gzip, deflate', 'v'.repeat(900), 'w'.repeat(1000)),
    fc.stringMatching(/^[!-~\x80-\xff]([ -~]{0,300}[!-~])?$/),
  ); // prettier-ignore

  test('write() is read back by the decoder, list after list and whatever size the peer allows', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.array(fc.tuple(names, values), { maxLength: 12 }), fc.option(fc.nat(5000)), fc.boolean()), { maxLength: 20 }),
        (blocks) => {
          const encoder = new HpackEncoder();
          const decoder = new HpackDecoder();
          for (const [pairs, size, isSensitive] of blocks) {
            if (size !== null) encoder.resize(size);
            const fields = pairs.toSorted(([a], [b]) => Number(b.startsWith(':')) - Number(a.startsWith(':'))).flat();
            const out = Buffer.alloc(encoder.check(fields, false));
            const end = encoder.write(fields, isSensitive ? new Set(['authorization', 'x-a']) : undefined, out, 0);
            const list = new FieldList(1e6, 1e6, true);
            list.begin('request');
            // The encoder is held against the table alone, so what makes a request malformed does not matter here.
            const seen: string[] = [];
            list.add = (name, value) => void seen.push(name, value);
            decoder.decode(out, 0, end, list);
            assert.deepEqual(seen, fields);
          }
        },
      ),
    ); // prettier-ignore
  });

  test('write() makes a field that comes again one octet, and never one that must not be indexed', () => {
    const encoder = new HpackEncoder();
    const fields = ['x-a', 'some value', 'authorization', 'Bearer secret', ':x'.slice(1), 'y'];
    const lengthOf = (): number => {
      const out = Buffer.alloc(encoder.check(fields, false));
      const end = encoder.write(fields, new Set(['authorization']), out, 0);
      assert.ok(out.subarray(0, end).includes(Buffer.from('\x1f\x08\x0dBearer secret', 'latin1')));
      return end;
    };
    const literal = 'x-a'.length + 'some value'.length + 3 + 'xy'.length + 3;
    const never = 3 + 'Bearer secret'.length;
    assert.equal(lengthOf(), literal + never);
    assert.equal(lengthOf(), 1 + 1 + never);
  });

  const REFUSED: Readonly<Record<string, readonly string[]>> = {
    'a name in upper case': ['X-A', 'b'],
    'an empty name': ['', 'b'],
    'a space in a name': ['x a', 'b'],
    'a line break in a value': ['x-a', 'b\r\nx-c: d'],
    'NUL in a value': ['x-a', '\0'],
    'a space at the end of a value': ['x-a', 'b '],
    'a character beyond Latin-1': ['x-a', '\u0100'],
    connection: ['connection', 'close'],
    'transfer-encoding': ['transfer-encoding', 'chunked'],
    'an unknown pseudo-header field': [':x', 'b'],
    'a pseudo-header field behind others': ['x-a', 'b', ':path', '/'],
  };
  for (const [name, fields] of Object.entries(REFUSED)) {
    test(`check() refuses ${name}, and the table stays as it was`, () => {
      const encoder = new HpackEncoder();
      assert.throws(() => encoder.check(['x-first', 'a', ...fields], false), Http2FieldError);
      const out = Buffer.alloc(encoder.check(['x-first', 'a'], false));
      assert.ok(encoder.write(['x-first', 'a'], undefined, out, 0) > 2);
    });
  }
});

test('decodeHuffman() gives nothing but octets, and says so where there are none', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      const out = Buffer.alloc(100);
      const length = decodeHuffman(bytes, 0, bytes.length, out);
      assert.ok(length >= -1 && length <= Math.ceil(bytes.length * 1.6));
    }),
  );
});
