import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { requestFraming, responseFraming } from './framing.ts';
import { HttpSyntaxError } from './http-syntax-error.ts';

function summary(action: () => { kind: string; bytes?: number; codings?: readonly string[] }): string {
  try {
    const framing = action();
    if (framing.kind === 'length') return `length ${framing.bytes}`;
    return [framing.kind, ...(framing.codings ?? [])].join(', ');
  } catch (error) {
    assert.ok(error instanceof HttpSyntaxError, String(error));
    return `${error.status} ${error.code}`;
  }
}

const request = (fields: string[], method = 'POST', minor: 0 | 1 = 1) =>
  summary(() => requestFraming({ method, target: '/', minor, fields }));
const response = (status: number, fields: string[], method = 'GET', minor: 0 | 1 = 1) =>
  summary(() => responseFraming({ status, reason: '', minor, fields }, method));

const CHUNKED = ['Transfer-Encoding', 'chunked'];
const length = (value: string) => ['Content-Length', value];

describe('requestFraming()', () => {
  const cases: [rfc: string, fields: string[], expected: string][] = [
    ['6.3 rule 7 neither field', ['Host', 'h'], 'none'],
    ['6.3 rule 6 a length', length('12'), 'length 12'],
    ['6.3 rule 6 length 0', length('0'), 'length 0'],
    ['6.3 rule 6 any case', ['cONTENT-lENGTH', '7'], 'length 7'],
    ['6.3 rule 6 the greatest length', length('9007199254740991'), 'length 9007199254740991'],
    ['6.3 rule 4 chunked', CHUNKED, 'chunked'],
    ['6.3 rule 4 chunked in any case', ['transfer-ENCODING', 'Chunked'], 'chunked'],
    ['6.3 rule 3 both', [...length('3'), ...CHUNKED], '400 CONFLICTING_FRAMING'],
    ['6.3 rule 3 both, other order', [...CHUNKED, ...length('0')], '400 CONFLICTING_FRAMING'],
    ['6.3 rule 5 two lengths', [...length('3'), ...length('4')], '400 CONTENT_LENGTH'],
    ['6.3 rule 5 two equal lengths', [...length('3'), 'content-length', '3'], '400 CONTENT_LENGTH'],
    ['6.3 rule 5 a list of equal lengths', length('5, 5'), '400 CONTENT_LENGTH'],
    ['6.2 sign', length('+5'), '400 CONTENT_LENGTH'],
    ['6.2 negative', length('-5'), '400 CONTENT_LENGTH'],
    ['6.2 empty', length(''), '400 CONTENT_LENGTH'],
    ['6.2 hexadecimal', length('0x5'), '400 CONTENT_LENGTH'],
    ['6.2 fraction', length('5.0'), '400 CONTENT_LENGTH'],
    ['6.2 exponent', length('1e1'), '400 CONTENT_LENGTH'],
    ['6.2 inner space', length('1 2'), '400 CONTENT_LENGTH'],
    ['6.2 underscore', length('1_2'), '400 CONTENT_LENGTH'],
    ['6.2 superscript digit', length('\xb2'), '400 CONTENT_LENGTH'],
    ['6.2 leading zeros', length('05'), '400 CONTENT_LENGTH'],
    ['6.2 zeros', length('00'), '400 CONTENT_LENGTH'],
    ['6.2 2^53', length('9007199254740992'), '400 CONTENT_LENGTH'],
    ['6.2 2^64 + 5', length('18446744073709551621'), '400 CONTENT_LENGTH'],
    ['6.2 a thousand digits', length('9'.repeat(1000)), '400 CONTENT_LENGTH'],
    ['6.1 chunked twice in one', ['Transfer-Encoding', 'chunked, chunked'], '400 TRANSFER_ENCODING'],
    ['6.1 two lines', [...CHUNKED, ...CHUNKED], '400 TRANSFER_ENCODING'],
    ['6.1 two lines, identity first', ['Transfer-Encoding', 'identity', ...CHUNKED], '400 TRANSFER_ENCODING'],
    ['6.1 chunked not last', ['Transfer-Encoding', 'chunked, gzip'], '400 TRANSFER_ENCODING'],
    ['6.1 other coding only', ['Transfer-Encoding', 'gzip'], '400 TRANSFER_ENCODING'],
    ['6.1 other coding before chunked', ['Transfer-Encoding', 'gzip, chunked'], '501 TRANSFER_ENCODING'],
    ['6.1 identity', ['Transfer-Encoding', 'identity'], '400 TRANSFER_ENCODING'],
    ['6.1 empty', ['Transfer-Encoding', ''], '400 TRANSFER_ENCODING'],
    ['6.1 empty member', ['Transfer-Encoding', ', chunked'], '400 TRANSFER_ENCODING'],
    ['6.1 last empty member', ['Transfer-Encoding', 'chunked,'], '400 TRANSFER_ENCODING'],
    ['6.1 parameter', ['Transfer-Encoding', 'chunked;q=1'], '400 TRANSFER_ENCODING'],
    ['6.1 quoted', ['Transfer-Encoding', '"chunked"'], '400 TRANSFER_ENCODING'],
    ['6.1 misspelt', ['Transfer-Encoding', 'xchunked'], '400 TRANSFER_ENCODING'],
    ['6.1 Kelvin sign is no k', ['Transfer-Encoding', 'chun\u212aed'], '400 TRANSFER_ENCODING'],
    ['look-alike of the length', ['Content_Length', '5'], '400 CONTENT_LENGTH'],
    ['look-alike of the coding', ['transfer_encoding', 'chunked'], '400 TRANSFER_ENCODING'],
  ];
  for (const [name, fields, expected] of cases) {
    test(name, () => assert.equal(request(fields), expected));
  }

  test('6.1 no transfer coding in HTTP/1.0', () => {
    assert.equal(request(CHUNKED, 'POST', 0), '400 TRANSFER_ENCODING');
    assert.equal(request(length('3'), 'POST', 0), 'length 3');
  });

  test('a body with any method but CONNECT', () => {
    for (const method of ['GET', 'HEAD', 'DELETE', 'OPTIONS', 'X'])
      assert.equal(request(length('3'), method), 'length 3');
    assert.equal(request(length('3'), 'CONNECT'), '400 CONFLICTING_FRAMING');
    assert.equal(request(CHUNKED, 'CONNECT'), '400 CONFLICTING_FRAMING');
    assert.equal(request([], 'CONNECT'), 'none');
  });
});

describe('responseFraming()', () => {
  const cases: [rfc: string, actual: () => string, expected: string][] = [
    ['6.3 rule 8 neither field', () => response(200, []), 'until-close'],
    ['6.3 rule 6 a length', () => response(200, length('3')), 'length 3'],
    ['6.3 rule 4 chunked', () => response(500, CHUNKED), 'chunked'],
    ['6.3 rule 1 HEAD with a length', () => response(200, length('3'), 'HEAD'), 'none'],
    ['6.3 rule 1 HEAD with chunked', () => response(200, CHUNKED, 'HEAD'), 'none'],
    ['6.3 rule 1 HEAD without', () => response(200, [], 'HEAD'), 'none'],
    ['6.3 rule 1 HEAD with both', () => response(200, [...length('3'), ...CHUNKED], 'HEAD'), '502 CONFLICTING_FRAMING'],
    ['6.3 rule 1 methods are case-sensitive', () => response(200, length('3'), 'head'), 'length 3'],
    ['6.3 rule 1 204', () => response(204, []), 'none'],
    ['6.3 rule 1 204 with length 0', () => response(204, length('0')), 'none'],
    ['6.3 rule 1 204 with a length', () => response(204, length('3')), '502 CONFLICTING_FRAMING'],
    ['6.1 204 with chunked', () => response(204, CHUNKED), '502 CONFLICTING_FRAMING'],
    ['6.3 rule 1 304 with a length', () => response(304, length('3')), 'none'],
    ['304 with chunked (stricter than 6.1)', () => response(304, CHUNKED), '502 CONFLICTING_FRAMING'],
    ['6.3 rule 1 100', () => response(100, []), 'none'],
    ['6.3 rule 1 101', () => response(101, []), 'none'],
    ['6.1 103 with chunked', () => response(103, CHUNKED), '502 CONFLICTING_FRAMING'],
    ['6.3 rule 1 100 with a length', () => response(100, length('3')), '502 CONFLICTING_FRAMING'],
    ['9.6 103 with close', () => response(103, ['Connection', 'close, x']), '502 CONFLICTING_FRAMING'],
    ['9.6 204 with close', () => response(204, ['Connection', 'close']), 'none'],
    ['6.3 rule 2 CONNECT 200', () => response(200, [...length('3'), ...CHUNKED], 'CONNECT'), 'none'],
    ['6.3 rule 2 CONNECT 407', () => response(407, length('3'), 'CONNECT'), 'length 3'],
    ['6.3 rule 5 two equal lengths', () => response(200, [...length('3'), ...length('3')]), '502 CONTENT_LENGTH'],
    ['6.3 rule 5 a list of equal lengths', () => response(200, length('3, 3')), '502 CONTENT_LENGTH'],
    ['6.3 rule 3 both', () => response(200, [...length('3'), ...CHUNKED]), '502 CONFLICTING_FRAMING'],
    ['7.2 gzip, then chunked', () => response(200, ['Transfer-Encoding', 'gzip, chunked']), 'chunked, gzip'],
    ['7.2 any case', () => response(200, ['Transfer-Encoding', 'X-Gzip ,\tChunked']), 'chunked, gzip'],
    ['6.3 rule 4 gzip alone', () => response(200, ['Transfer-Encoding', 'gzip']), 'until-close, gzip'],
    [
      '7.2 in the order in which they come off',
      () => response(200, ['Transfer-Encoding', 'gzip, deflate, chunked']),
      'chunked, deflate, gzip',
    ],
    ['7.2 three', () => response(200, ['Transfer-Encoding', 'gzip, gzip, gzip, chunked']), '502 TRANSFER_ENCODING'],
    ['6.1 unknown coding', () => response(200, ['Transfer-Encoding', 'compress, chunked']), '502 TRANSFER_ENCODING'],
    ['6.1 empty member', () => response(200, ['Transfer-Encoding', ', chunked']), '502 TRANSFER_ENCODING'],
    ['6.1 empty', () => response(200, ['Transfer-Encoding', '']), '502 TRANSFER_ENCODING'],
    ['6.1 chunked twice', () => response(200, ['Transfer-Encoding', 'chunked, chunked']), '502 TRANSFER_ENCODING'],
    ['6.1 parameter', () => response(200, ['Transfer-Encoding', 'gzip;q=1, chunked']), '502 TRANSFER_ENCODING'],
    ['6.1 Kelvin sign', () => response(200, ['Transfer-Encoding', 'chun\u212aed']), '502 TRANSFER_ENCODING'],
    ['204 with gzip', () => response(204, ['Transfer-Encoding', 'gzip']), '502 CONFLICTING_FRAMING'],
    [
      '6.3 rule 4 chunked not last',
      () => response(200, ['Transfer-Encoding', 'chunked, gzip']),
      '502 TRANSFER_ENCODING',
    ],
    ['6.1 no transfer coding in HTTP/1.0', () => response(200, CHUNKED, 'GET', 0), '502 TRANSFER_ENCODING'],
  ];
  for (const [name, actual, expected] of cases) {
    test(name, () => assert.equal(actual(), expected));
  }
});
