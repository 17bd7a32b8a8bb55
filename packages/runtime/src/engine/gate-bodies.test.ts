import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type net from 'node:net';
import { before, describe, test } from 'node:test';
import type tls from 'node:tls';
import {
  brotliCompressSync,
  constants,
  deflateRawSync,
  deflateSync,
  gunzipSync,
  gzipSync,
  zstdCompressSync,
} from 'node:zlib';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { MAX_MEASURED_REQUEST_BYTES, MAX_SPOOLED_REQUEST_BYTES } from '../gate/limits.ts';
import {
  openLoopbackGate,
  placeholderOf,
  receive,
  type LoopbackGate,
  type LoopbackOptions,
} from './loopback.testing.ts';
import { startRawUpstream, type RawUpstream } from './raw-upstream.testing.ts';

const VALUE = 'canary"value\\4711';
const JSON_VALUE = JSON.stringify(VALUE).slice(1, -1);
const PLACEHOLDER = placeholderOf('TOKEN');
const HOST = 'api.example.com';
const OTHER = 'other.example.com';

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

/** A request as an independent parser read it. */
interface Seen {
  readonly method: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly trailers: NodeJS.Dict<string>;
  readonly body: Buffer;
  readonly continued: boolean;
}

interface Upstream extends AsyncDisposable {
  readonly port: number;
  readonly seen: Seen[];
}

type Answer = (request: Seen, response: http.ServerResponse) => void;

const OK: Answer = (_, response) => response.end('fine');

/** An upstream of Node's own HTTP server. */
async function startServer(answer: Answer = OK): Promise<Upstream> {
  const seen: Seen[] = [];
  const handle = (request: http.IncomingMessage, response: http.ServerResponse, continued: boolean): void => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const { method = '', headers, trailers } = request;
      const one = { method, headers, trailers, body: Buffer.concat(pieces), continued };
      seen.push(one);
      answer(one, response);
    });
  };
  const server = https.createServer(await authority.issue([HOST, OTHER]), (request, response) =>
    handle(request, response, false),
  );
  server.on('checkContinue', (request: http.IncomingMessage, response: http.ServerResponse) => {
    response.writeContinue();
    handle(request, response, true);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as net.AddressInfo).port,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** An upstream that sends these bytes as its answer to each request head, and closes when `closes`. */
async function startRaw(
  wire: Buffer | ((head: string) => Buffer),
  closes = false,
): Promise<RawUpstream & { heads: string[] }> {
  const heads: string[] = [];
  const upstream = await startRawUpstream(
    (socket) => {
      socket.on('data', (chunk: Buffer) => {
        const head = chunk.toString('latin1');
        heads.push(head);
        const bytes = typeof wire === 'function' ? wire(head) : wire;
        if (closes) socket.end(bytes);
        else socket.write(bytes);
      });
    },
    await authority.issue([HOST, OTHER]),
  );
  return Object.assign(upstream, { heads });
}

async function open(upstream: { readonly port: number }, options: LoopbackOptions = {}): Promise<LoopbackGate> {
  return openLoopbackGate({
    secrets: [`TOKEN=${VALUE}@${HOST}`],
    secretIn: ['header,body'],
    allow: [OTHER],
    resolve: [`${HOST}:443:127.0.0.1:${upstream.port}`, `${OTHER}:443:127.0.0.1:${upstream.port}`],
    upstreamCa: authority.certificatePem,
    ...options,
  });
}

function headOf(fields: Readonly<Record<string, string | number>>, method = 'POST', host = HOST): string {
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} /path HTTP/1.1\r\nHost: ${host}\r\n${lines.join('')}\r\n`;
}

/** Sends a request in pieces of `pieceBytes` and gives the whole answer. */
async function send(
  gate: LoopbackGate,
  fields: Readonly<Record<string, string | number>>,
  body: Buffer | string,
  { pieceBytes = Number.POSITIVE_INFINITY, method = 'POST', host = HOST } = {},
): Promise<string> {
  const socket = await gate.connectTls(host, 443);
  const wire = Buffer.concat([Buffer.from(headOf(fields, method, host), 'latin1'), Buffer.from(body)]);
  for (let at = 0; at < wire.length; at += pieceBytes) {
    if (!socket.write(wire.subarray(at, at + pieceBytes)))
      await new Promise((resolve) => socket.once('drain', resolve));
  }
  socket.end();
  const text = await receive(socket);
  socket.destroy();
  return text;
}

async function sendSized(gate: LoopbackGate, type: string, body: Buffer | string, more = {}): Promise<string> {
  return send(gate, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body), ...more }, body);
}

function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A body in chunks of `chunkBytes`. */
function chunked(body: Buffer | string, chunkBytes: number, trailers = ''): Buffer {
  const bytes = Buffer.from(body);
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const piece = bytes.subarray(at, at + chunkBytes);
    pieces.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n'));
  }
  return Buffer.concat([...pieces, Buffer.from(`0\r\n${trailers}\r\n`)]);
}

/** Head and body of an answer, chunks joined; `whole` tells whether the body's end came. */
function split(text: string): { head: string; body: string; whole: boolean } {
  const end = text.indexOf('\r\n\r\n');
  const head = text.slice(0, end);
  let rest = text.slice(end + 4);
  const length = /content-length: (\d+)/i.exec(head)?.[1];
  if (!/transfer-encoding: chunked/i.test(head)) {
    return { head, body: rest, whole: length === undefined || rest.length === Number(length) };
  }
  let body = '';
  for (;;) {
    const line = rest.indexOf('\r\n');
    if (line < 0) return { head, body, whole: false };
    const size = Number.parseInt(rest.slice(0, line), 16);
    if (size === 0) return { head, body, whole: true };
    body += rest.slice(line + 2, line + 2 + size);
    rest = rest.slice(line + 4 + size);
  }
}

const CODINGS = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync, zstd: zstdCompressSync } as const;

describe('placeholders in request bodies', () => {
  test('a body of a known length is sent with its new length, by its content type', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    const percent = encodeURIComponent(VALUE);
    const multipart = (json: string, raw: string): string =>
      `--b\r\nContent-Disposition: form-data; name="j"\r\nContent-Type: application/json\r\n\r\n{"k":"${json}"}\r\n` +
      `--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n\0\xff${raw}\r\n--b--\r\n`;
    const cases: readonly (readonly [type: string, body: string, expected: string])[] = [
      ['application/json', `{"k":"${PLACEHOLDER}"}`, `{"k":"${JSON_VALUE}"}`],
      ['application/vnd.api+json; charset=utf-8', `["\\u0073${PLACEHOLDER.slice(1)}"]`, `["${JSON_VALUE}"]`],
      ['application/x-ndjson', `{"k":"${PLACEHOLDER}"}\n{}\n`, `{"k":"${JSON_VALUE}"}\n{}\n`],
      ['application/graphql', `{ a(k: "${PLACEHOLDER}") }`, `{ a(k: "${JSON_VALUE}") }`],
      ['application/x-www-form-urlencoded', `a=1&k=%73p%5FTOKEN${PLACEHOLDER.slice(8)}&b=2`, `a=1&k=${percent}&b=2`],
      ['multipart/form-data; boundary=b', multipart(PLACEHOLDER, PLACEHOLDER), multipart(JSON_VALUE, VALUE)],
      ['text/plain', `<${PLACEHOLDER}|${PLACEHOLDER}>`, `<${VALUE}|${VALUE}>`],
      ['application/octet-stream', `\0${PLACEHOLDER}\0`, `\0${VALUE}\0`],
    ];
    for (const [type, body, expected] of cases) {
      assert.match(await sendSized(gate, type, body), /^HTTP\/1\.1 200 /, type);
      const seen = upstream.seen.at(-1);
      assert.equal(seen?.body.toString(), expected, type);
      assert.equal(seen.headers['content-length'], String(Buffer.byteLength(expected)), type);
      assert.equal(seen.headers['transfer-encoding'], undefined, type);
      assert.deepEqual([gate.events.at(-1)?.secrets, gate.events.at(-1)?.stray], [['TOKEN'], []], type);
      assert.equal(gate.events.at(-1)?.requestBytes, Buffer.byteLength(body));
    }
  });

  test('a placeholder is found however the body is cut, in connections, chunks and codings', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    const body = `{"a":"${'x'.repeat(100)}","k":"${PLACEHOLDER}","b":"\\u0073${PLACEHOLDER.slice(1)}"}`;
    const expected = `{"a":"${'x'.repeat(100)}","k":"${JSON_VALUE}","b":"${JSON_VALUE}"}`;
    for (const pieceBytes of [1, 7, 1000]) {
      const fields = { 'Content-Type': 'application/json' };
      await send(gate, { ...fields, 'Content-Length': body.length }, body, { pieceBytes });
      assert.equal(upstream.seen.at(-1)?.body.toString(), expected);
      for (const chunkBytes of [1, 5, 50, 1000]) {
        const wire = chunked(body, chunkBytes, 'X-After: yes\r\nDigest: sha-256=x\r\n');
        await send(gate, { ...fields, 'Transfer-Encoding': 'chunked', Trailer: 'X-After' }, wire, { pieceBytes });
        const seen = upstream.seen.at(-1);
        assert.equal(seen?.body.toString(), expected);
        assert.equal(seen.headers['transfer-encoding'], 'chunked');
        assert.deepEqual({ ...seen.trailers }, { 'x-after': 'yes' });
      }
    }
  });

  for (const [coding, compress] of Object.entries(CODINGS)) {
    test(`a ${coding} body is decoded and sent as identity, or as it came when nothing was put in`, async () => {
      await using upstream = await startServer();
      await using gate = await open(upstream);
      const encoded = compress(Buffer.from(`{"k":"${PLACEHOLDER}"}`));
      const fields = { 'Content-Type': 'application/json', 'Content-Encoding': coding, 'Content-MD5': 'x' };
      const expected = `{"k":"${JSON_VALUE}"}`;
      await send(gate, { ...fields, 'Content-Length': encoded.length }, encoded);
      await send(gate, { ...fields, 'Transfer-Encoding': 'chunked' }, chunked(encoded, 3), { pieceBytes: 5 });
      for (const { headers, body } of upstream.seen) {
        assert.equal(body.toString(), expected);
        assert.equal(headers['content-encoding'], undefined);
        assert.equal(headers['content-md5'], undefined);
      }
      assert.equal(upstream.seen[0]?.headers['content-length'], String(expected.length));
      const plain = compress(Buffer.from('{"k":"nothing"}'));
      await send(gate, { ...fields, 'Content-Length': plain.length }, plain);
      const untouched = upstream.seen.at(-1);
      assert.deepEqual(untouched?.body, plain);
      assert.equal(untouched.headers['content-encoding'], coding);
      assert.equal(untouched.headers['content-md5'], 'x');
    });
  }

  test('two codings are taken off; one that is not known is left alone', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    const twice = gzipSync(brotliCompressSync(Buffer.from(PLACEHOLDER)));
    await sendSized(gate, 'text/plain', twice, { 'Content-Encoding': 'br, gzip' });
    assert.equal(upstream.seen[0]?.body.toString(), VALUE);
    await sendSized(gate, 'text/plain', PLACEHOLDER, { 'Content-Encoding': 'aws-chunked' });
    assert.equal(upstream.seen[1]?.body.toString(), PLACEHOLDER);
    assert.equal(upstream.seen[1]?.headers['content-encoding'], 'aws-chunked');
  });

  test('nothing is put into messages that carry lengths, on other hosts, or without the location', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    for (const type of ['application/grpc', 'application/grpc-web+proto', 'application/x-protobuf']) {
      await sendSized(gate, type, `\0${PLACEHOLDER}`);
      assert.equal(upstream.seen.at(-1)?.body.toString(), `\0${PLACEHOLDER}`);
      assert.deepEqual([gate.events.at(-1)?.secrets, gate.events.at(-1)?.stray], [[], ['TOKEN']]);
    }
    await send(gate, { 'Content-Length': PLACEHOLDER.length }, PLACEHOLDER, { host: OTHER });
    assert.equal(upstream.seen.at(-1)?.body.toString(), PLACEHOLDER);
    await using headerOnly = await open(upstream, { secretIn: ['header'] });
    await sendSized(headerOnly, 'text/plain', PLACEHOLDER);
    assert.equal(upstream.seen.at(-1)?.body.toString(), PLACEHOLDER);
  });

  test('longer bodies are gathered in a file and keep a length', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    const filler = 'z'.repeat(MAX_MEASURED_REQUEST_BYTES);
    const text = `${filler}${PLACEHOLDER}${filler}`;
    const encoded = gzipSync(Buffer.from(text), { level: 0 });
    const plain = gzipSync(Buffer.from(`${filler}${filler}`), { level: 0 });
    for (const [body, expected, more] of [
      [Buffer.from(text), Buffer.from(`${filler}${VALUE}${filler}`), {}],
      [encoded, Buffer.from(`${filler}${VALUE}${filler}`), { 'Content-Encoding': 'gzip' }],
      [plain, plain, { 'Content-Encoding': 'gzip' }],
      [Buffer.from(filler + filler), Buffer.from(filler + filler), {}],
    ] as const) {
      assert.match(await sendSized(gate, 'text/plain', body, more), /^HTTP\/1\.1 200 /);
      const seen = upstream.seen.at(-1);
      assert.ok(seen?.body.equals(expected) === true);
      assert.equal(seen.headers['content-length'], String(expected.length));
      assert.equal(seen.headers['transfer-encoding'], undefined);
    }
  });

  test('a short compressed body that becomes long is sent with its length', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    const long = Buffer.alloc(5 * MAX_MEASURED_REQUEST_BYTES, 'ab');
    const body = gzipSync(Buffer.concat([long, Buffer.from(PLACEHOLDER)]));
    assert.match(await sendSized(gate, 'text/plain', body, { 'Content-Encoding': 'gzip' }), /^HTTP\/1\.1 200 /);
    assert.ok(upstream.seen[0]?.body.equals(Buffer.concat([long, Buffer.from(VALUE)])));
  });

  test('limits are named', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    const refused = async (
      fields: Readonly<Record<string, string | number>>,
      body: Buffer | string,
    ): Promise<string> => {
      const text = await send(gate, fields, body);
      assert.match(text, /^HTTP\/1\.1 413 .*"code":"BODY_TOO_LARGE"/s);
      assert.equal(gate.events.at(-1)?.code, 'BODY_TOO_LARGE');
      assert.deepEqual(gate.events.at(-1)?.secrets, []);
      return text;
    };
    const tooLong = await refused({ 'Content-Length': MAX_SPOOLED_REQUEST_BYTES + 1 }, '');
    assert.match(tooLong, new RegExp(`${MAX_SPOOLED_REQUEST_BYTES} bytes.*chunked`));
    const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
    await refused({ 'Content-Encoding': 'zstd', 'Content-Length': bomb.length }, bomb);
    const copies = PLACEHOLDER.repeat(2000);
    await using greedy = await open(upstream, { secrets: [`TOKEN=${'v'.repeat(8000)}@${HOST}`] });
    const grown = await send(greedy, { 'Content-Length': copies.length }, copies);
    assert.match(grown, /^HTTP\/1\.1 413 .*BODY_TOO_LARGE/s);
    const lie = await sendSized(gate, 'text/plain', 'not gzip', { 'Content-Encoding': 'gzip' });
    assert.match(lie, /^HTTP\/1\.1 400 .*MALFORMED_REQUEST/s);
    const torn = gzipSync('torn').subarray(0, 15);
    assert.match(await sendSized(gate, 'text/plain', torn, { 'Content-Encoding': 'gzip' }), /^HTTP\/1\.1 400 /);
    assert.equal(upstream.seen.length, 0);
  });

  test('many copies of a placeholder are all replaced', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    const copies = 10_000;
    await sendSized(gate, 'text/plain', `${PLACEHOLDER} `.repeat(copies));
    assert.equal(upstream.seen[0]?.body.toString(), `${VALUE} `.repeat(copies));
  });

  test('a chunked bomb is cut off', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    const bomb = zstdCompressSync(Buffer.alloc(256 * 1024 * 1024));
    const text = await send(
      gate,
      { 'Content-Encoding': 'zstd', 'Transfer-Encoding': 'chunked', 'Content-Type': 'text/plain' },
      chunked(bomb, 4000),
    );
    assert.match(text, /^HTTP\/1\.1 413 .*BODY_TOO_LARGE/s);
    assert.equal(upstream.seen.length, 0);
  });

  test('too many bodies under way are refused, and room is given back', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    const sockets: tls.TLSSocket[] = [];
    for (let index = 0; index < 4; index += 1) {
      const socket = await gate.connectTls(HOST, 443);
      socket.write(headOf({ 'Content-Length': MAX_SPOOLED_REQUEST_BYTES }) + 'x');
      sockets.push(socket);
    }
    // All of the room in files is promised away.
    const refused = async (): Promise<string> => {
      const socket = await gate.connectTls(HOST, 443);
      socket.write(headOf({ 'Content-Length': MAX_SPOOLED_REQUEST_BYTES, Expect: '100-continue' }));
      const text = await receive(socket, '\r\n\r\n');
      socket.destroy();
      return text;
    };
    while (!(await refused()).startsWith('HTTP/1.1 503 ')) await new Promise((resolve) => setTimeout(resolve, 5));
    for (const socket of sockets) socket.destroy();
    while (!(await refused()).startsWith('HTTP/1.1 100 ')) await new Promise((resolve) => setTimeout(resolve, 5));
  });

  for (const size of ['a short', 'a long', 'a chunked'] as const) {
    test(`Expect: 100-continue with ${size} body`, async () => {
      await using upstream = await startServer();
      await using gate = await open(upstream);
      const body = size === 'a long' ? `${'y'.repeat(MAX_MEASURED_REQUEST_BYTES)}${PLACEHOLDER}` : PLACEHOLDER;
      const socket = await gate.connectTls(HOST, 443);
      const request = http.request({
        createConnection: () => socket,
        method: 'POST',
        headers: {
          host: HOST,
          expect: '100-continue',
          ...(size === 'a chunked' ? { 'transfer-encoding': 'chunked' } : { 'content-length': body.length }),
        },
      });
      request.flushHeaders();
      await new Promise((resolve) => request.once('continue', resolve));
      const answered = new Promise<http.IncomingMessage>((resolve) => request.once('response', resolve));
      request.end(body);
      assert.equal((await answered).statusCode, 200);
      socket.destroy();
      assert.equal(upstream.seen[0]?.body.toString(), body.replace(PLACEHOLDER, VALUE));
      assert.equal(upstream.seen[0]?.continued, size === 'a chunked');
    });
  }

  test('requests behind one another on a connection keep their bodies apart', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    const socket = await gate.connectTls(HOST, 443);
    const bodies = Array.from(
      { length: 12 },
      (_, index) => `${index}:${PLACEHOLDER.slice(0, index * 2)}${PLACEHOLDER}`,
    );
    const wire = bodies.map((body, index) =>
      index % 3 === 0
        ? Buffer.concat([Buffer.from(headOf({ 'Transfer-Encoding': 'chunked' })), chunked(body, 7)])
        : Buffer.from(headOf({ 'Content-Length': body.length }) + body),
    );
    socket.end(Buffer.concat(wire));
    const text = await receive(socket);
    assert.equal(text.match(/HTTP\/1\.1 200 /g)?.length, bodies.length);
    assert.deepEqual(
      upstream.seen.map(({ body }) => body.toString()),
      bodies.map((body) => body.replace(PLACEHOLDER, VALUE)),
    );
  });

  test('clients at work at once keep their requests apart', async () => {
    await using upstream = await startServer((seen, response) => response.end(digestOf(seen.body)));
    await using gate = await open(upstream);
    // Heads and bodies in one write, before there is an upstream, and cut anywhere.
    const clients = Array.from({ length: 24 }, async (_, index) => {
      const host = index % 2 === 0 ? HOST : OTHER;
      const bodies = [10, 3000, 40_000, 200_000].map((bytes) => randomBytes(bytes + index));
      const wire = bodies.map((body) =>
        Buffer.concat([Buffer.from(headOf({ 'Content-Length': body.length }, 'POST', host)), body]),
      );
      const socket = await gate.connectTls(host, 443);
      const answers = receive(socket, (text) => bodies.every((body) => text.includes(digestOf(body))));
      const bytes = Buffer.concat(wire);
      const cut = 1 + ((index * 97) % 5000);
      socket.write(bytes.subarray(0, cut));
      await new Promise((resolve) => setImmediate(resolve));
      socket.end(bytes.subarray(cut));
      const text = await answers;
      const places = bodies.map((body) => text.indexOf(digestOf(body)));
      assert.ok(!places.includes(-1), `client ${index}`);
      assert.deepEqual(
        places,
        places.toSorted((one, other) => one - other),
      );
    });
    await Promise.all(clients);
  });

  test('a client that leaves in the middle sends nothing', async () => {
    await using upstream = await startServer();
    await using gate = await open(upstream);
    const socket = await gate.connectTls(HOST, 443);
    socket.write(`${headOf({ 'Content-Length': 1000 })}${PLACEHOLDER}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
    socket.destroy();
    while (gate.events.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual([gate.events[0]?.decision, gate.events[0]?.secrets], ['error', []]);
    assert.equal(upstream.seen.length, 0);
  });

  test('what comes back of a body is redacted', async () => {
    await using upstream = await startServer(({ body }, response) => response.end(body));
    await using gate = await open(upstream);
    const text = await sendSized(gate, 'application/json', `{"k":"${PLACEHOLDER}"}`);
    assert.equal(split(text).body, `{"k":"${PLACEHOLDER}"}`);
  });
});

describe('responses', () => {
  const GET = headOf({}, 'GET');

  async function get(gate: LoopbackGate, request = GET): Promise<string> {
    const socket = await gate.connectTls(HOST, 443);
    socket.end(request);
    const text = await receive(socket);
    socket.destroy();
    return text;
  }

  function answer(body: Buffer, ...fields: string[]): Buffer {
    const lines = fields.map((field) => `${field}\r\n`).join('');
    return Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${lines}\r\n`), body]);
  }

  const TEXT = Buffer.from(`${'a'.repeat(3000)}${VALUE}${'b'.repeat(3000)}`);
  const CLEAN = `${'a'.repeat(3000)}${PLACEHOLDER}${'b'.repeat(3000)}`;

  const decodable: readonly (readonly [name: string, body: Buffer, coding: string])[] = [
    ['two codings', brotliCompressSync(gzipSync(TEXT)), 'gzip, br'],
    ['the same coding twice', gzipSync(gzipSync(TEXT)), 'gzip, gzip'],
    ['identity among them', deflateRawSync(zstdCompressSync(TEXT)), 'zstd, identity, deflate'],
    ['several gzip members, the value across them', Buffer.concat([gzipSync(TEXT.subarray(0, 3005)), gzipSync(TEXT.subarray(3005))]), 'gzip'],
    ['several zstd frames', Buffer.concat([zstdCompressSync(TEXT.subarray(0, 3005)), zstdCompressSync(TEXT.subarray(3005))]), 'zstd'],
    ['bytes after the end of a coding', Buffer.concat([brotliCompressSync(TEXT), Buffer.from(VALUE)]), 'br'],
    ['the old name of gzip', gzipSync(TEXT), 'X-GZIP'],
  ]; // prettier-ignore
  for (const [name, body, coding] of decodable) {
    test(`content codings: ${name}`, async () => {
      await using upstream = await startRaw(
        answer(
          body,
          `Content-Encoding: ${coding}`,
          'ETag: "e"',
          'Content-MD5: x',
          'Digest: x',
          'Repr-Digest: x',
          'Accept-Ranges: bytes',
        ),
      );
      await using gate = await open(upstream);
      const { head, body: got, whole } = split(await get(gate));
      if (name === 'several zstd frames' && Number.parseInt(process.versions.node, 10) < 26) {
        // Node 24 decodes the first frame alone: what is missing must show.
        assert.ok(!whole);
        assert.equal(gate.events[0]?.code, 'RESPONSE_UNREDACTABLE');
        return;
      }
      assert.equal(got, CLEAN);
      assert.ok(whole);
      assert.match(head, /etag: W\/"e"/i);
      assert.doesNotMatch(head, /content-encoding|digest|md5|accept-ranges|content-length/i);
    });
  }

  const transferred: readonly (readonly [name: string, codings: string, body: Buffer, contentCoding?: string])[] = [
    ['gzip, chunked', 'gzip, chunked', gzipSync(TEXT)],
    ['gzip up to the end of the connection', 'gzip', gzipSync(TEXT)],
    ['two of them', 'gzip, deflate, chunked', deflateRawSync(gzipSync(TEXT))],
    ['one around a content coding', 'gzip, chunked', gzipSync(brotliCompressSync(TEXT)), 'br'],
  ];
  for (const [name, codings, body, contentCoding] of transferred) {
    const framed = codings.endsWith('chunked')
      ? Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, Buffer.from('\r\n0\r\n\r\n')])
      : body;
    const fields = contentCoding === undefined ? '' : `Content-Encoding: ${contentCoding}\r\n`;
    const wire = Buffer.concat([
      Buffer.from(`HTTP/1.1 200 OK\r\nTransfer-Encoding: ${codings}\r\n${fields}\r\n`),
      framed,
    ]);

    test(`transfer codings: ${name}`, async () => {
      await using upstream = await startRaw(wire, !codings.endsWith('chunked'));
      await using gate = await open(upstream);
      const { head, body: got, whole } = split(await get(gate));
      assert.equal(got, CLEAN);
      assert.ok(whole);
      assert.match(head, /transfer-encoding: chunked$/im);
      assert.doesNotMatch(head, /gzip|deflate|content-encoding/i);
    });
  }

  test('a transfer coding that is not what it says is cut off', async () => {
    const wire = `HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n${VALUE.length.toString(16)}\r\n${VALUE}\r\n0\r\n\r\n`;
    await using upstream = await startRaw(Buffer.from(wire));
    await using gate = await open(upstream);
    const text = await get(gate);
    assert.equal(text.includes(VALUE), false);
    assert.equal(gate.events.at(-1)?.code, 'RESPONSE_UNREDACTABLE');
  });

  const refused: readonly (readonly [name: string, wire: Buffer, code: string])[] = [
    ['three codings', answer(TEXT, 'Content-Encoding: gzip, br, gzip'), 'RESPONSE_UNREDACTABLE'],
    ['an unknown coding', answer(TEXT, 'Content-Encoding: exi'), 'RESPONSE_UNREDACTABLE'],
    [
      'a transfer coding that is not known',
      Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: compress, chunked\r\n\r\n0\r\n\r\n'),
      'UPSTREAM_MALFORMED',
    ],
    [
      'a part that was not asked for',
      Buffer.from('HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-3/10\r\nContent-Length: 4\r\n\r\ncana'),
      'RESPONSE_UNREDACTABLE',
    ],
  ];
  for (const [name, wire, code] of refused) {
    test(`refused in words: ${name}`, async () => {
      await using upstream = await startRaw(wire);
      await using gate = await open(upstream);
      const text = await get(gate);
      assert.match(text, new RegExp(`^HTTP/1\\.1 502 .*"code":"${code}"`, 's'));
      assert.equal(gate.events.at(-1)?.code, code);
    });
  }

  const cut: readonly (readonly [name: string, body: Buffer, coding: string])[] = [
    ['truncated gzip', gzipSync(TEXT).subarray(0, -5), 'gzip'],
    ['truncated br', brotliCompressSync(TEXT).subarray(0, -2), 'br'],
    ['truncated zstd', zstdCompressSync(TEXT).subarray(0, -2), 'zstd'],
    ['a truncated inner coding', gzipSync(brotliCompressSync(TEXT).subarray(0, -2)), 'br, gzip'],
    ['a second member that is none', Buffer.concat([gzipSync(TEXT), Buffer.from('none')]), 'gzip'],
    ['a zstd window that takes too much memory', zstdCompressSync(Buffer.alloc(20_000_000, 'ab'), { params: { [constants.ZSTD_c_windowLog]: 27 } }), 'zstd'],
    ['a bomb', zstdCompressSync(Buffer.alloc(128 * 1024 * 1024)), 'zstd'],
    ['a bomb in a bomb', gzipSync(gzipSync(Buffer.alloc(64 * 1024 * 1024))), 'gzip, gzip'],
  ]; // prettier-ignore
  for (const [name, body, coding] of cut) {
    test(`cut: ${name}`, async () => {
      await using upstream = await startRaw(answer(body, `Content-Encoding: ${coding}`));
      await using gate = await open(upstream);
      const text = await get(gate);
      const { body: got, whole } = split(text);
      assert.ok(!whole, 'the client must not take it for the whole');
      assert.ok(got.length < 64 * 1024 * 1024);
      assert.ok(!text.includes(VALUE));
      assert.equal(gate.events.at(-1)?.code, 'RESPONSE_UNREDACTABLE');
    });
  }

  test('HEAD and 304 say what GET would get', async () => {
    const fields =
      'Content-Encoding: gzip\r\nContent-Length: 500\r\nETag: "e"\r\nDigest: x\r\nAccept-Ranges: bytes\r\n';
    const plain = 'Content-Length: 500\r\nETag: "e"\r\nContent-Type: text/plain\r\n';
    await using upstream = await startRaw((head) =>
      Buffer.from(
        head.startsWith('HEAD')
          ? `HTTP/1.1 200 OK\r\n${head.includes('X-Plain') ? plain : fields}\r\n`
          : head.includes('X-204')
            ? 'HTTP/1.1 204 No Content\r\nETag: "e"\r\n\r\n'
            : `HTTP/1.1 304 Not Modified\r\n${fields}\r\n`,
      ),
    );
    await using gate = await open(upstream);
    for (const request of [headOf({}, 'HEAD'), GET]) {
      const text = await get(gate, request);
      assert.match(text, /\r\n\r\n$/);
      assert.match(text, /etag: W\/"e"/i);
      assert.doesNotMatch(text, /content-encoding|content-length|digest|accept-ranges/i);
    }
    const identity = await get(gate, headOf({ 'X-Plain': 1 }, 'HEAD'));
    assert.match(identity, /content-length: 500\r\netag: "e"/i);
    assert.match(await get(gate, headOf({ 'X-204': 1 }, 'GET')), /^HTTP\/1\.1 204 No Content\r\netag: "e"/i);
  });

  test('a measured body that was changed has a right length and a weak ETag; an unchanged one keeps all', async () => {
    const fields = ['ETag: "e"', 'Content-MD5: x', 'Content-Digest: x'];
    await using upstream = await startRaw((head) =>
      answer(Buffer.from(head.includes('X-Value') ? VALUE : 'none'), ...fields),
    );
    await using gate = await open(upstream);
    const changed = split(await get(gate, headOf({ 'X-Value': 1 }, 'GET')));
    assert.equal(changed.body, PLACEHOLDER);
    assert.match(changed.head, new RegExp(`content-length: ${PLACEHOLDER.length}`, 'i'));
    assert.match(changed.head, /etag: W\/"e"/i);
    assert.doesNotMatch(changed.head, /md5|digest/i);
    const same = split(await get(gate));
    assert.equal(same.body, 'none');
    assert.match(same.head, /etag: "e"\r\ncontent-md5: x\r\ncontent-digest: x/i);
  });

  test('digests of a body that streams are dropped, in trailers too', async () => {
    await using upstream = await startRaw(
      Buffer.from(
        `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-MD5: x\r\nTrailer: Digest\r\n\r\n${chunked(VALUE, 5, 'Digest: x\r\nX-Kept: y\r\n').toString()}`,
      ),
    );
    await using gate = await open(upstream);
    const text = await get(gate);
    assert.equal(split(text).body, PLACEHOLDER);
    assert.match(text, /x-kept: y\r\n\r\n$/i);
    assert.doesNotMatch(text, /\r\n(content-md5|digest):/i);
  });

  test('ranges are asked for nowhere while there is a value to protect', async () => {
    await using upstream = await startServer();
    const ranged = { Range: 'bytes=0-3', 'If-Range': '"e"' };
    await using gate = await open(upstream);
    for (const host of [HOST, OTHER]) {
      assert.match(await send(gate, ranged, '', { method: 'GET', host }), /fine$/);
      assert.deepEqual(
        [upstream.seen.at(-1)?.headers.range, upstream.seen.at(-1)?.headers['if-range']],
        [undefined, undefined],
      );
    }
  });

  test('a slow reader of a compressed body stops the decoder', async () => {
    const piece = gzipSync(Buffer.alloc(8 * 1024 * 1024, 'q'), { level: 0 });
    await using upstream = await startServer((_, response) => {
      response.setHeader('content-encoding', 'gzip');
      response.end(piece);
    });
    await using gate = await open(upstream);
    const socket = await gate.connectTls(HOST, 443);
    socket.write(GET);
    await new Promise((resolve) => setTimeout(resolve, 100));
    socket.end();
    const { body, whole } = split(await receive(socket));
    assert.ok(whole);
    assert.equal(body.length, gunzipSync(piece).length);
  });
});

describe('over HTTP/2', () => {
  interface Http2Seen {
    readonly headers: http2.IncomingHttpHeaders;
    readonly body: string;
  }

  /** An upstream that echoes the end of what it got. */
  async function startHttp2(seen: Http2Seen[]): Promise<Upstream> {
    const sessions = new Set<http2.ServerHttp2Session>();
    const server = http2.createSecureServer({ ...(await authority.issue([HOST])), allowHTTP1: false });
    server.on('session', (session) => sessions.add(session));
    server.on('stream', (stream: http2.ServerHttp2Stream, headers) => {
      const pieces: Buffer[] = [];
      stream.on('error', () => undefined);
      stream.on('data', (piece: Buffer) => pieces.push(piece));
      stream.on('end', () => {
        // A stream that was reset ends as well.
        if (stream.aborted) return;
        const body = Buffer.concat(pieces).toString();
        seen.push({ headers, body });
        stream.respond({ ':status': 200, etag: '"e"' });
        stream.end(body.slice(-100));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return {
      port: (server.address() as net.AddressInfo).port,
      seen: [],
      async [Symbol.asyncDispose]() {
        for (const session of sessions) session.destroy();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  }

  async function ask(
    session: http2.ClientHttp2Session,
    headers: http2.OutgoingHttpHeaders,
    pieces: readonly (Buffer | string)[],
    ends = true,
  ): Promise<{ status: number | undefined; body: string }> {
    const stream = session.request({ ':method': 'POST', ':path': '/', ...headers });
    stream.on('error', () => undefined);
    const got: Buffer[] = [];
    let status: number | undefined;
    stream.on('response', (head) => {
      status = head[':status'];
    });
    stream.on('data', (piece: Buffer) => got.push(piece));
    const closed = new Promise((resolve) => stream.once('close', resolve));
    if (headers['expect'] !== undefined) await new Promise((resolve) => stream.once('continue', resolve));
    for (const piece of pieces) {
      stream.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (ends) stream.end();
    await closed;
    return { status, body: Buffer.concat(got).toString() };
  }

  async function connect(gate: LoopbackGate): Promise<http2.ClientHttp2Session> {
    const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] });
    const session = http2.connect(`https://${HOST}`, { createConnection: () => socket });
    session.on('error', () => undefined);
    return session;
  }

  test('bodies with and without a length, split, encoded and long', async () => {
    const seen: Http2Seen[] = [];
    await using upstream = await startHttp2(seen);
    await using gate = await open(upstream);
    const session = await connect(gate);
    const type = { 'content-type': 'application/json' };
    const body = `{"k":"${PLACEHOLDER}"}`;
    const expected = `{"k":"${JSON_VALUE}"}`;
    const cut = [...body].map((char) => char);
    const encoded = gzipSync(body);
    const long = `"${'l'.repeat(2 * MAX_MEASURED_REQUEST_BYTES)}${PLACEHOLDER}"`;
    const cases: readonly (readonly [headers: http2.OutgoingHttpHeaders, pieces: readonly (Buffer | string)[], expected: string])[] = [
      [{ ...type, 'content-length': body.length }, cut, expected],
      [type, cut, expected],
      [{ ...type, 'content-encoding': 'gzip', 'content-length': encoded.length }, [encoded], expected],
      [{ ...type, 'content-encoding': 'gzip' }, [encoded.subarray(0, 9), encoded.subarray(9)], expected],
      [{ ...type, 'content-length': long.length }, [long], long.replace(PLACEHOLDER, JSON_VALUE)],
      [type, [long], long.replace(PLACEHOLDER, JSON_VALUE)],
      [{ ...type, 'content-length': body.length, expect: '100-continue' }, [body], expected],
      [{ 'content-type': 'application/x-protobuf' }, [PLACEHOLDER], PLACEHOLDER],
    ]; // prettier-ignore
    for (const [headers, pieces, wanted] of cases) {
      const answer = await ask(session, headers, pieces);
      assert.equal(answer.status, 200);
      assert.ok(!answer.body.includes(JSON_VALUE));
      const one = seen.at(-1);
      assert.ok(one?.body === wanted, JSON.stringify(headers));
      const announced = headers['content-length'] === undefined ? undefined : String(wanted.length);
      assert.equal(one.headers['content-length'], announced);
      assert.equal(one.headers['content-encoding'], undefined);
    }
    assert.deepEqual([gate.events[0]?.secrets, gate.events.at(-1)?.stray], [['TOKEN'], ['TOKEN']]);
    session.destroy();
  });

  test('limits are named', async () => {
    const seen: Http2Seen[] = [];
    await using upstream = await startHttp2(seen);
    await using gate = await open(upstream);
    const session = await connect(gate);
    const tooLong = await ask(session, { 'content-length': MAX_SPOOLED_REQUEST_BYTES + 1 }, ['x'], false);
    assert.equal(tooLong.status, 413);
    assert.match(tooLong.body, /BODY_TOO_LARGE/);
    const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024));
    for (const headers of [{ 'content-length': bomb.length }, {}]) {
      const answer = await ask(session, { 'content-encoding': 'zstd', ...headers }, [bomb]);
      assert.equal(answer.status, 413);
    }
    assert.equal(seen.length, 0);
    session.destroy();
  });
});
