import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as fc from 'fast-check';
import {
  findHeadEnd,
  MAX_FIELDS,
  MAX_METHOD_BYTES,
  MAX_TARGET_BYTES,
  parseRequestHead,
  parseResponseHead,
  parseTrailerSection,
} from './head-parser.ts';
import { HttpSyntaxError } from './http-syntax-error.ts';

function request(text: string) {
  // Bytes on both sides show that nothing is read outside of the given range.
  const bytes = Buffer.from(`\r${text}\n\r\n`, 'latin1');
  return parseRequestHead(bytes, 1, bytes.length - 3);
}

function response(text: string) {
  const bytes = Buffer.from(`\r${text}\n\r\n`, 'latin1');
  return parseResponseHead(bytes, 1, bytes.length - 3);
}

function faultOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof HttpSyntaxError, String(error));
    return `${error.status} ${error.code}`;
  }
  return 'accepted';
}

describe('parseRequestHead()', () => {
  test('gives the parts as sent', () => {
    assert.deepEqual(
      request('POST /a?b=%2F&c=|{} HTTP/1.1\r\nHost: h\r\nX-A:1\r\nx-a: \t two  words \t\r\nE:\r\nO: \xe9\tz\r\n\r\n'),
      {
        method: 'POST',
        target: '/a?b=%2F&c=|{}',
        minor: 1,
        fields: ['Host', 'h', 'X-A', '1', 'x-a', 'two  words', 'E', '', 'O', '\xe9\tz'],
      },
    );
    assert.deepEqual(request('M-SEARCH * HTTP/1.0\r\n\r\n'), { method: 'M-SEARCH', target: '*', minor: 0, fields: [] });
  });

  const line = (startLine: string) => `${startLine}\r\nHost: h\r\n\r\n`;
  const field = (fieldLine: string) => `GET / HTTP/1.1\r\nHost: h\r\n${fieldLine}\r\nLast: 1\r\n\r\n`;
  const cases: [rfc: string, text: string, expected: string][] = [
    ['9112 2.2 one CRLF before the request line', `\r\n${line('GET / HTTP/1.1')}`, 'accepted'],
    ['9112 2.2 two CRLF before the request line', `\r\n\r\n${line('GET / HTTP/1.1')}`, '400 METHOD'],
    ['9112 2.2 bare LF before the request line', `\n${line('GET / HTTP/1.1')}`, '400 METHOD'],
    ['9112 2.2 white space before the request line', line(' GET / HTTP/1.1'), '400 METHOD'],
    ['9112 2.2 bare LF after the request line', 'GET / HTTP/1.1\nHost: h\r\n\r\n', '400 REQUEST_LINE'],
    ['9112 2.2 white space before the first field', 'GET / HTTP/1.1\r\n Host: h\r\n\r\n', '400 OBS_FOLD'],
    ['9112 2.2 bare CR in a value', field('A: b\rc'), '400 BARE_CR'],
    ['9112 2.2 bare CR at the end of a value', field('A: b\r'), '400 BARE_CR'],
    ['9112 2.2 bare CR in place of a field line', field('\rA: b'), '400 BARE_CR'],
    ['9112 2.2 bare LF in a value', field('A: b\nC: d'), '400 BARE_LF'],
    ['9112 2.2 bare LF in a name', field('A\n: b'), '400 BARE_LF'],
    ['9112 2.2 LF CR', field('A: b\n\rC: d'), '400 BARE_LF'],
    ['9112 2.3 HTTP/2.0', 'PRI * HTTP/2.0\r\n\r\n', '505 VERSION'],
    ['9112 2.3 HTTP/1.2', line('GET / HTTP/1.2'), '505 VERSION'],
    ['9112 2.3 HTTP/0.9 with a version', line('GET / HTTP/0.9'), '505 VERSION'],
    ['9112 2.3 HTTP/0.9 without one', line('GET /'), '400 VERSION'],
    ['9112 2.3 lower case', line('GET / http/1.1'), '400 VERSION'],
    ['9112 2.3 two digits', line('GET / HTTP/1.10'), '400 REQUEST_LINE'],
    ['9112 2.3 no minor', line('GET / HTTP/1'), '400 VERSION'],
    ['9112 2.3 other protocol', line('GET / ICAP/1.0'), '400 VERSION'],
    ['9112 3 two spaces before the target', line('GET  / HTTP/1.1'), '400 REQUEST_LINE'],
    ['9112 3 two spaces before the version', line('GET /  HTTP/1.1'), '400 VERSION'],
    ['9112 3 space after the version', line('GET / HTTP/1.1 '), '400 REQUEST_LINE'],
    ['9112 3 tab for a space', line('GET\t/ HTTP/1.1'), '400 METHOD'],
    ['9112 3 space in the target', line('GET /a b HTTP/1.1'), '400 VERSION'],
    ['9112 3.1 empty method', line(' / HTTP/1.1'), '400 METHOD'],
    ['9112 3.1 method with a separator', line('G(T / HTTP/1.1'), '400 METHOD'],
    ['9112 3.1 method with NUL', line('G\0T / HTTP/1.1'), '400 METHOD'],
    ['9112 3.1 longest method', line(`${'M'.repeat(MAX_METHOD_BYTES)} / HTTP/1.1`), 'accepted'],
    ['9112 3.1 method too long', line(`${'M'.repeat(MAX_METHOD_BYTES + 1)} / HTTP/1.1`), '501 METHOD'],
    ['9112 3.2 obs-text in the target', line('GET /\xe9 HTTP/1.1'), '400 TARGET'],
    ['9112 3.2 NUL in the target', line('GET /\0 HTTP/1.1'), '400 TARGET'],
    ['9112 3.2 DEL in the target', line('GET /\x7f HTTP/1.1'), '400 TARGET'],
    ['9112 3 longest target', line(`GET ${'/'.repeat(MAX_TARGET_BYTES)} HTTP/1.1`), 'accepted'],
    ['9112 3 target too long', line(`GET ${'/'.repeat(MAX_TARGET_BYTES + 1)} HTTP/1.1`), '414 TARGET'],
    ['9112 5 no colon', field('Abc'), '400 FIELD_NAME'],
    ['9112 5 empty name', field(': b'), '400 FIELD_NAME'],
    ['9112 5.1 space before the colon', field('A : b'), '400 SPACE_BEFORE_COLON'],
    ['9112 5.1 tab before the colon', field('A\t: b'), '400 SPACE_BEFORE_COLON'],
    ['9112 5.1 NUL in a name', field('A\0: b'), '400 FIELD_NAME'],
    ['9112 5.1 obs-text in a name', field('\xc3\x84: b'), '400 FIELD_NAME'],
    ['9112 5.1 brackets in a name', field('A[0]: b'), '400 FIELD_NAME'],
    ['9112 5.2 obs-fold with space', field('A: b\r\n c'), '400 OBS_FOLD'],
    ['9112 5.2 obs-fold with tab', field('A: b\r\n\tc'), '400 OBS_FOLD'],
    ['9110 5.5 NUL in a value', field('A: b\0c'), '400 FIELD_VALUE'],
    ['9110 5.5 ESC in a value', field('A: \x1b[1m'), '400 FIELD_VALUE'],
    ['9110 5.5 DEL in a value', field('A: b\x7f'), '400 FIELD_VALUE'],
    ['9110 5.5 vertical tab around a value', field('A: \x0bchunked'), '400 FIELD_VALUE'],
    ['9110 5.5 obs-text and HTAB in a value', field('A: b\t\x80\xff'), 'accepted'],
    ['most fields', `GET / HTTP/1.1\r\n${'A: b\r\n'.repeat(MAX_FIELDS)}\r\n`, 'accepted'],
    ['too many fields', `GET / HTTP/1.1\r\n${'A: b\r\n'.repeat(MAX_FIELDS + 1)}\r\n`, '431 TOO_MANY_FIELDS'],
    ['longest head', `GET / HTTP/1.1\r\nA: ${'b'.repeat(65_536 - 23)}\r\n\r\n`, 'accepted'],
    ['head too long', `GET / HTTP/1.1\r\nA: ${'b'.repeat(65_536 - 22)}\r\n\r\n`, '431 HEAD_TOO_LARGE'],
    ['no empty line', 'GET / HTTP/1.1\r\nA: b\r\n', '400 HEAD_INCOMPLETE'],
    ['only an empty line', '\r\n\r\n', '400 METHOD'],
    ['nothing', '', '400 HEAD_INCOMPLETE'],
    ['two heads given as one', line('GET / HTTP/1.1') + line('GET /2 HTTP/1.1'), '400 HEAD_INCOMPLETE'],
  ];
  for (const [name, text, expected] of cases) {
    test(name, () =>
      assert.equal(
        faultOf(() => request(text)),
        expected,
      ),
    );
  }

  test('refuses a control byte or DEL at any place of any head', () => {
    const head = 'GET /a HTTP/1.1\r\nHost: h\r\nA: b c\r\n\r\n';
    for (let at = 0; at < head.length; at++) {
      for (const octet of ['\0', '\x01', '\x08', '\x0b', '\x0c', '\x1f', '\x7f', '\r', '\n']) {
        if (octet === head[at]) continue;
        const changed = head.slice(0, at) + octet + head.slice(at + 1);
        assert.notEqual(
          faultOf(() => request(changed)),
          'accepted',
          JSON.stringify(changed),
        );
      }
    }
  });

  test('throws nothing but HttpSyntaxError on any bytes', () => {
    const alphabet = fc.constantFrom(
      'GET ',
      ' HTTP/1.1\r\n',
      '\r\n',
      '\r',
      '\n',
      ':',
      ' ',
      'Host: h\r\n',
      '\0',
      '/',
      '\xff',
      '\r\n\r\n',
    );
    const text = fc.array(fc.oneof(alphabet, fc.string({ unit: 'binary', maxLength: 4 })), { maxLength: 20 });
    fc.assert(
      fc.property(text, (pieces) => {
        const all = pieces.join('');
        faultOf(() => request(all));
        faultOf(() => response(all));
        faultOf(() => parseTrailerSection(Buffer.from(all, 'latin1'), 0, all.length, 'request'));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('parseResponseHead()', () => {
  test('gives the parts as sent', () => {
    assert.deepEqual(response('HTTP/1.1 404 Not \xe9 Found\r\nA: b\r\n\r\n'), {
      status: 404,
      reason: 'Not \xe9 Found',
      minor: 1,
      fields: ['A', 'b'],
    });
    assert.deepEqual(response('HTTP/1.0 200 \r\n\r\n'), { status: 200, reason: '', minor: 0, fields: [] });
    assert.deepEqual(response('HTTP/1.1 599\r\n\r\n'), { status: 599, reason: '', minor: 1, fields: [] });
  });

  const line = (statusLine: string) => `${statusLine}\r\nA: b\r\n\r\n`;
  const cases: [rfc: string, text: string, expected: string][] = [
    ['9112 4 something before the status line', line('\r\nHTTP/1.1 200 OK'), '502 VERSION'],
    ['9112 4 version 2', line('HTTP/2.0 200 OK'), '502 VERSION'],
    ['9112 4 ICY', line('ICY 200 OK'), '502 VERSION'],
    ['9112 4 two spaces', line('HTTP/1.1  200 OK'), '502 STATUS_LINE'],
    ['9112 4 two digits', line('HTTP/1.1 20 OK'), '502 STATUS_LINE'],
    ['9112 4 four digits', line('HTTP/1.1 2000 OK'), '502 STATUS_LINE'],
    ['9112 4 sign', line('HTTP/1.1 +20 OK'), '502 STATUS_LINE'],
    ['9110 15 status 099', line('HTTP/1.1 099 OK'), '502 STATUS_LINE'],
    ['9110 15 status 600', line('HTTP/1.1 600 OK'), '502 STATUS_LINE'],
    ['9110 15.2 interim response in HTTP/1.0', line('HTTP/1.0 103 Early Hints'), '502 STATUS_LINE'],
    ['9110 15.2 interim response in HTTP/1.1', line('HTTP/1.1 103 Early Hints'), 'accepted'],
    ['9112 4 NUL in the reason', line('HTTP/1.1 200 O\0K'), '502 STATUS_LINE'],
    ['9112 4 bare CR in the reason', line('HTTP/1.1 200 O\rK'), '502 STATUS_LINE'],
    ['9112 4 bare LF after the reason', 'HTTP/1.1 200 OK\nA: b\r\n\r\n', '502 STATUS_LINE'],
    ['9112 5.1 space before the colon', 'HTTP/1.1 200 OK\r\nA : b\r\n\r\n', '502 SPACE_BEFORE_COLON'],
    ['9112 5.2 obs-fold', 'HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n', '502 OBS_FOLD'],
    ['9112 2.2 bare LF in the fields', 'HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n', '502 BARE_LF'],
    ['too many fields', `HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(MAX_FIELDS + 1)}\r\n`, '502 TOO_MANY_FIELDS'],
    ['no empty line', 'HTTP/1.1 200 OK\r\n', '502 HEAD_INCOMPLETE'],
    ['nothing', '\r\n\r\n', '502 VERSION'],
  ];
  for (const [name, text, expected] of cases) {
    test(name, () =>
      assert.equal(
        faultOf(() => response(text)),
        expected,
      ),
    );
  }
});

describe('findHeadEnd()', () => {
  const head = Buffer.from('GET / HTTP/1.1\r\nA: b\r\n\r\nbody', 'latin1');

  test('finds the first CRLFCRLF, wherever the head starts and the bytes end', () => {
    const end = head.length - 4;
    assert.equal(findHeadEnd(head, 0, head.length), end);
    assert.equal(findHeadEnd(head, 0, end), end);
    assert.equal(findHeadEnd(head, 0, end - 1), -1);
    assert.equal(findHeadEnd(head, 4, head.length), end);
    assert.equal(findHeadEnd(Buffer.alloc(0), 0, 0), -1);
  });

  test('comes to the same end when it goes on where it stopped', () => {
    for (let cut = 0; cut < head.length - 4; cut++) {
      for (let next = cut; next <= head.length; next++) {
        assert.equal(findHeadEnd(head, 0, cut), -1);
        assert.equal(findHeadEnd(head, 0, next, cut), next >= head.length - 4 ? head.length - 4 : -1);
      }
    }
  });

  test('refuses a bare LF as soon as it sees it', () => {
    for (const text of ['\n', 'GET / HTTP/1.1\n', 'GET / HTTP/1.1\r\nA: b\n\n', '\n\r\n\r']) {
      assert.equal(
        faultOf(() => findHeadEnd(Buffer.from(text), 0, text.length)),
        '400 BARE_LF',
      );
      assert.equal(
        faultOf(() => findHeadEnd(Buffer.from(text), 0, text.length, 0, 'response')),
        '502 BARE_LF',
      );
    }
    // A CR that belongs to what came before the head does not make its first LF a line end.
    assert.equal(
      faultOf(() => findHeadEnd(Buffer.from('\r\nA'), 1, 3)),
      '400 BARE_LF',
    );
  });

  test('does not wait for a head longer than its limit', () => {
    const find = (bytes: Buffer, end: number) => faultOf(() => findHeadEnd(bytes, 0, end, 0, 'request', 10));
    assert.equal(find(Buffer.from('123456\r\n\r\n'), 10), 'accepted');
    assert.equal(find(Buffer.from('1234567\r\n\r\n'), 11), '431 HEAD_TOO_LARGE');
    assert.equal(find(Buffer.from('1234567\r\n\r\n-'), 11), '431 HEAD_TOO_LARGE');
    assert.equal(find(Buffer.from('123456789'), 9), 'accepted');
    assert.equal(find(Buffer.from('1234567890'), 10), '431 HEAD_TOO_LARGE');
  });
});
