/**
 * Micro-benchmark of the HTTP/1 codec on one core: `node --conditions=sallyport-source bench/http1-codec.ts`.
 *
 * Each figure is CPU time, the best of several rounds, because other work on the machine only ever makes a round slower.
 */
import { requestAuthority } from '../packages/runtime/src/http/authority.ts';
import { createBodyDecoder } from '../packages/runtime/src/http/body-decoder.ts';
import { encodeRequestHead, encodeResponseHead } from '../packages/runtime/src/http/encoder.ts';
import { setField } from '../packages/runtime/src/http/fields.ts';
import { requestFraming, responseFraming } from '../packages/runtime/src/http/framing.ts';
import { findHeadEnd, parseRequestHead, parseResponseHead } from '../packages/runtime/src/http/head-parser.ts';
import { HeadReader } from '../packages/runtime/src/http/head-reader.ts';
import { keepsAlive, removeHopByHop, setFraming } from '../packages/runtime/src/http/hop-by-hop.ts';
import type { Authority } from '../packages/runtime/src/http/message.ts';

const ROUNDS = 7;
const CALLS_A_ROUND = 200_000;

const json = JSON.stringify({ id: 12_345, name: 'sallyport', items: [1, 2, 3, 4, 5], text: 'x'.repeat(150) });
const requestHead = Buffer.from(
  'POST /v1/messages?beta=true HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: example-client/3.1\r\n' +
    'Accept: application/json\r\nAccept-Encoding: gzip, deflate, br\r\nAuthorization: Bearer sp_TOKEN_aaaaaaaaaaaaaaaaaaaaaa\r\n' +
    `Content-Type: application/json\r\nContent-Length: ${json.length}\r\nConnection: keep-alive\r\n\r\n`,
  'latin1',
);
const responseHead = Buffer.from(
  'HTTP/1.1 200 OK\r\nDate: Sun, 22 Nov 2026 10:00:00 GMT\r\nContent-Type: application/json; charset=utf-8\r\n' +
    `Content-Length: ${json.length}\r\nConnection: keep-alive\r\nCache-Control: no-store\r\nVary: Origin\r\nX-Request-Id: 0123456789abcdef\r\n` +
    'Server: example\r\n\r\n',
  'latin1',
);
const request = Buffer.concat([requestHead, Buffer.from(json)]);
const response = Buffer.concat([responseHead, Buffer.from(json)]);
const chunked = Buffer.from(`${json.length.toString(16)}\r\n${json}\r\n0\r\n\r\n`);
const tinyChunks = Buffer.from(`${[...json].map((octet) => `1\r\n${octet}\r\n`).join('')}0\r\n\r\n`);
const connection: Authority = { scheme: 'https', host: 'api.example.com', port: 443 };
const parsedRequest = parseRequestHead(requestHead, 0, requestHead.length);
const parsedResponse = parseResponseHead(responseHead, 0, responseHead.length);

/** Keeps results alive, so that nothing is optimized away. */
let sink = 0;

function measure(name: string, call: () => number): void {
  let bestNs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const started = process.cpuUsage();
    for (let i = 0; i < CALLS_A_ROUND; i++) sink += call();
    const { user, system } = process.cpuUsage(started);
    bestNs = Math.min(bestNs, ((user + system) * 1000) / CALLS_A_ROUND);
  }
  console.log(
    `${name.padEnd(72)} ${bestNs.toFixed(0).padStart(6)} ns ${Math.round(1e9 / bestNs)
      .toLocaleString('en')
      .padStart(12)}/s`,
  );
}

function decodeAll(framing: Parameters<typeof createBodyDecoder>[0], bytes: Buffer, start: number): number {
  const decoder = createBodyDecoder(framing, 'request');
  let offset = start;
  let length = 0;
  while (offset < bytes.length && !decoder.isDone) {
    offset = decoder.decode(bytes, offset);
    if (decoder.data !== null) length += decoder.data.length;
  }
  return length;
}

measure(`findHeadEnd, request of ${requestHead.length} bytes, 8 fields`, () => findHeadEnd(request, 0, request.length));
measure('parseRequestHead', () => parseRequestHead(request, 0, requestHead.length).fields.length);
measure(
  `parseResponseHead, ${responseHead.length} bytes, 8 fields`,
  () => parseResponseHead(response, 0, responseHead.length).fields.length,
);
measure('requestFraming', () => requestFraming(parsedRequest).kind.length);
measure('requestAuthority', () => requestAuthority(parsedRequest, connection).verdict.length);
measure('encodeRequestHead', () => encodeRequestHead(parsedRequest).length);
measure('encodeResponseHead', () => encodeResponseHead(parsedResponse).length);
measure(`decode length, JSON of ${json.length} bytes`, () =>
  decodeAll({ kind: 'length', bytes: json.length }, request, requestHead.length),
);
measure('decode chunked, the same in one chunk', () => decodeAll({ kind: 'chunked' }, chunked, 0));
// The decoder moves the bytes of tiny chunks, so each call decodes a fresh copy.
measure('decode chunked, the same in one-byte chunks', () =>
  decodeAll({ kind: 'chunked' }, Buffer.from(tinyChunks), 0),
);

const requestReader = new HeadReader('request');
const responseReader = new HeadReader('response');
measure('whole exchange: both heads read, judged, rewritten, written; both bodies', () => {
  const bodyStart = requestReader.read(request, 0);
  const head = parseRequestHead(requestReader.bytes, requestReader.start, requestReader.end);
  const framing = requestFraming(head);
  const verdict = requestAuthority(head, connection);
  let total = decodeAll(framing, request, bodyStart) + (keepsAlive(head) ? 1 : 0) + verdict.verdict.length;
  removeHopByHop(head.fields);
  setFraming(head.fields, framing);
  setField(head.fields, 'Authorization', 'Bearer 0123456789abcdef0123456789abcdef');
  total += Buffer.byteLength(encodeRequestHead(head), 'latin1');

  const answerStart = responseReader.read(response, 0);
  const answer = parseResponseHead(responseReader.bytes, responseReader.start, responseReader.end);
  const answerFraming = responseFraming(answer, head.method);
  total += decodeAll(answerFraming, response, answerStart) + (keepsAlive(answer) ? 1 : 0);
  removeHopByHop(answer.fields);
  setFraming(answer.fields, answerFraming);
  return total + encodeResponseHead(answer).length;
});
if (sink === 0) throw new Error('Nothing was measured.');
