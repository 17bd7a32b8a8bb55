import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { findAmbiguities } from './framing-check.ts';

const HEAD = 'POST / HTTP/1.1\r\nHost: a.example\r\n';

const AMBIGUOUS: readonly (readonly [string, RegExp])[] = [
  [`${HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, /both/],
  [`${HEAD}Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde`, /two Content-Length/],
  [`${HEAD}Content-Length: +5\r\n\r\nabcde`, /no number/],
  [`${HEAD}Transfer-Encoding: chunked, identity\r\n\r\n`, /other than/],
  [`${HEAD}Host: b.example\r\n\r\n`, /two Host/],
  [`${HEAD}X: y\nZ: a\r\n\r\n`, /bare CR or LF/],
  [`${HEAD}X: y\rZ: a\r\n\r\n`, /bare CR or LF/],
  [`${HEAD}X: a\0b\r\n\r\n`, /NUL/],
  [`${HEAD} folded\r\n\r\n`, /folded/],
  [`${HEAD}X : y\r\n\r\n`, /no token/],
  [`${HEAD}X\r\n\r\n`, /without a colon/],
  [`GET  / HTTP/1.1\r\nHost: a\r\n\r\n`, /request line/],
  [`GET / HTTP/1.1\nHost: a\n\n`, /bare LF/],
  [`${HEAD}Transfer-Encoding: chunked\r\n\r\n+1\r\nA\r\n0\r\n\r\n`, /chunk size/],
  [`${HEAD}Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nA\r\n0\r\n\r\n`, /chunk line/],
  [`${HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\nAX0\r\n\r\n`, /without CRLF/],
  [`${HEAD}Content-Length: 1\r\n\r\nxGET / HTTP/1.1\r\nX : y\r\n\r\n`, /no token/],
];

test('findAmbiguities() names what parsers read differently, also behind a request that is well', () => {
  for (const [text, message] of AMBIGUOUS) {
    const problems = findAmbiguities(Buffer.from(text, 'latin1'));
    assert.ok(
      problems.some((one) => message.test(one)),
      `${JSON.stringify(text)} gave ${JSON.stringify(problems)}`,
    );
  }
});

test('findAmbiguities() has nothing to say of requests that are well, whole or cut anywhere', () => {
  const request = fc.record({
    chunks: fc.array(fc.stringMatching(/^[a-z\r\n]{1,20}$/)),
    isChunked: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(request), fc.nat(), (requests, cut) => {
      const text = requests
        .map(({ chunks, isChunked }) => {
          const body = chunks.join('');
          if (!isChunked) return `${HEAD}Content-Length: ${body.length}\r\n\r\n${body}`;
          const coded = chunks.map((one) => `${one.length.toString(16)};x=y\r\n${one}\r\n`).join('');
          return `${HEAD}Transfer-Encoding: chunked\r\n\r\n${coded}0\r\nX-Trailer: z\r\n\r\n`;
        })
        .join('');
      assert.deepEqual(findAmbiguities(Buffer.from(text)), []);
      assert.deepEqual(findAmbiguities(Buffer.from(text.slice(0, cut % (text.length + 1)))), []);
    }),
  );
});
