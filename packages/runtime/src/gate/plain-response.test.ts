import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { encodeResponseHead } from '../http/encoder.ts';
import { responseFraming } from '../http/framing.ts';
import { findHeadEnd, parseResponseHead } from '../http/head-parser.ts';
import { keepsAlive } from '../http/hop-by-hop.ts';
import { Redactor } from '../secrets/redact.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import { readPlainResponse } from './plain-response.ts';
import { planResponseBody, rewriteResponseHead, setResponseFraming } from './response-rewrite.ts';

const VALUE = 'hunter2-hunter2-hunter2';
const redactor = new Redactor([
  { name: 'KEY', values: [new SecretValue(VALUE)], placeholder: 'sp_KEY_0123456789abcdefghijkl' },
]);
const BODY = '{"id":1,"text":"hello world"}';

function response(lines: readonly string[], body = BODY): string {
  return [...lines, '', body].join('\r\n');
}

function read(text: string): string | null {
  const chunk = Buffer.from(text, 'latin1');
  const plain = readPlainResponse(chunk, redactor);
  if (plain === null) return null;
  // The chunk is read over while this is written.
  chunk.fill(0);
  return plain.bytes.toString('latin1');
}

/** What goes to the client by the way of all responses; null unless it is measured and the connection stays open. */
function readAnyway(text: string): string | null {
  const bytes = Buffer.from(text, 'latin1');
  const end = findHeadEnd(bytes, 0, bytes.length, 0, 'response');
  const head = parseResponseHead(bytes, 0, end);
  const framing = responseFraming(head, 'GET');
  const plan = planResponseBody(head, framing, true);
  if (plan.kind !== 'measured' || framing.kind !== 'length' || end + framing.bytes !== bytes.length) return null;
  if (!keepsAlive(head)) return null;
  if (rewriteResponseHead(head, plan, redactor) > 0) return null;
  setResponseFraming(head, framing, { minor: 1, keepAlive: true });
  const body = bytes.toString('latin1', end);
  return redactor.redactText(body) === body ? encodeResponseHead(head) + body : null;
}

/** The line with the length at the end, as we spell it. */
function withLengthLast(text: string): string {
  const [length] = /^content-length: (\d+)\r\n/im.exec(text) ?? [''];
  return text
    .replace(length, '')
    .replace('\r\n\r\n', `\r\n${length.replace(/^content-length/i, 'Content-Length')}\r\n`);
}

test('readPlainResponse() leaves out what concerns the connection, and nothing else', () => {
  const lines = [
    'HTTP/1.1 200 OK',
    'keep-alive: timeout=5',
    'Server: nginx',
    'Alt-Svc: h3=":443"',
    'Connection: Keep-Alive',
    'content-length: 29',
    'Set-Cookie: a=b; Path=/',
    'Accept-Ranges: bytes',
    'X-Last: 1',
  ];
  const kept = [lines[0], lines[2], lines[5], lines[6], lines[8]].map(String);
  assert.equal(read(response(lines)), response(kept));
  assert.equal(read(response(kept)), response(kept));
});

test('readPlainResponse() leaves everything else to the way of all responses', () => {
  const plain = ['HTTP/1.1 200 OK', 'Content-Type: application/json', 'Content-Length: 29'];
  assert.notEqual(read(response(plain)), null);
  const others: (readonly string[])[] = [
    ...['HTTP/1.0 200 OK', 'HTTP/1.1 200', 'HTTP/1.1 204 OK', 'HTTP/1.1 206 OK', 'HTTP/1.1 304 OK', 'HTTP/1.1 401 No'],
    ...[
      'HTTP/1.1 100 Continue',
      'HTTP/1.1 101 Switching',
      'HTTP/1.1 600 Odd',
      'HTTP/1.1  200 OK',
      'HTTP/1.1 200 O\u007fK',
    ],
  ].map((line) => [line, ...plain.slice(1)]);
  for (const line of [
    'Connection: close',
    'Connection: keep-alive, X-Other',
    'Connection: X-Other',
    'Upgrade: websocket',
    'Trailer: X-Other',
    'TE: trailers',
    'Proxy-Authenticate: Basic',
    'HTTP2-Settings: AAA',
    'Transfer-Encoding: chunked',
    'Transfer_Encoding: chunked',
    'Content_Length: 29',
    'Content-Length: 29',
    'Content-Length: 30',
    'Content-Encoding: gzip',
    'Content-Type: Text/Event-Stream',
    'X-Value:none',
    'X-Value:  two',
    'X-Value: end ',
    'X-Value: ',
    'X Value: 1',
    ': 1',
    ' folded',
    'X-Value: a\rb',
    'X-Value: a\nb',
    'X-Value: a\u0000b',
    `X-Value: ${VALUE}`,
    'X-Value: %68unter2-hunter2-hunter2',
    String.raw`X-Value: \u0068unter2-hunter2-hunter2`,
  ]) {
    others.push([...plain, line], ['HTTP/1.1 200 OK', line, ...plain.slice(1)]);
  }
  for (const length of ['0', '029', '28', '30', '+29', '2 9', '0x1d', '9999999999', '']) {
    others.push(['HTTP/1.1 200 OK', `Content-Length: ${length}`]);
  }
  others.push(['HTTP/1.1 200 OK', 'Content-Type: text/plain'], [...plain, ...Array<string>(300).fill('A: b')]);
  for (const lines of others) assert.equal(read(response(lines)), null, JSON.stringify(lines));
  assert.equal(read(response(plain, `${BODY} `)), null);
  assert.equal(read(response(['HTTP/1.1 200 OK', 'Content-Length: 23'], VALUE)), null);
});

test('readPlainResponse() takes no response that has not come whole', () => {
  const whole = response(['HTTP/1.1 200 OK', 'Connection: keep-alive', 'Content-Length: 29', 'X-Last: 1']);
  for (let length = 0; length < whole.length; length++) assert.equal(read(whole.slice(0, length)), null);
});

test('readPlainResponse() gives what the way of all responses gives', () => {
  const line = fc.oneof(
    fc.constantFrom(
      ...[
        'Connection: keep-alive',
        'Keep-Alive: timeout=5',
        'Alt-Svc: clear',
        'Alternate-Protocol: 443:quic',
        'ETag: "a"',
      ],
      ...[
        'Accept-Ranges: bytes',
        'Content-Type: text/html',
        'Content-MD5: x',
        'Date: today',
        'Vary: *',
        'TE: gzip',
        'Host: a',
      ],
      ...[
        'Connection: close',
        'Content-Encoding: identity',
        'Content-Encoding: br',
        'Content-Length: 3',
        'Trailer: x',
        'Proxy-X: y',
      ],
    ),
    fc
      .tuple(fc.stringMatching(/^[a-zA-Z0-9-]{1,20}$/), fc.stringMatching(/^[!-~\xa1-\xff]([ -~]{0,20}[!-~])?$/))
      .map(([name, value]) => `${name}: ${value}`),
  );
  const status = fc.constantFrom('200 OK', '200 ', '404 Not Found', '500 x', '204 No', '401 Y', '302 Found');
  let plain = 0;
  fc.assert(
    fc.property(status, fc.array(line, { maxLength: 12 }), fc.nat(), fc.boolean(), (reason, lines, place, hasName) => {
      const all = [...lines];
      all.splice(place % (all.length + 1), 0, hasName ? 'content-LENGTH: 29' : 'Content-Length: 29');
      const text = response([`HTTP/1.1 ${reason}`, ...all]);
      const result = read(text);
      if (result === null) return;
      plain += 1;
      assert.equal(withLengthLast(result), readAnyway(text));
    }),
    { numRuns: 2000 },
  );
  assert.ok(plain > 200, `${plain} were plain`);
});
