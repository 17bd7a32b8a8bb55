import assert from 'node:assert/strict';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import type net from 'node:net';
import type { Readable } from 'node:stream';
import { describe, test } from 'node:test';
import { constants, createBrotliCompress, createDeflate, createGzip, createZstdCompress } from 'node:zlib';

import { createAuthority } from '../../../../e2e/harness/certificates.ts';
import { openLoopbackGate, placeholderOf, type LoopbackGate } from './loopback.testing.ts';

// Server-sent events: each arrives as soon as it was sent, redacted wherever it is cut, and nothing but the beginning of a value waits.

const HOST = 'events.test.example';
const VALUE = 'canary-value-4711-of-events';
const PLACEHOLDER = placeholderOf('TOKEN');

const PROTOCOLS = ['HTTP/1.1', 'HTTP/2'] as const;
const CODINGS = ['identity', 'gzip', 'deflate', 'br', 'zstd'] as const;
type Protocol = (typeof PROTOCOLS)[number];
type Coding = (typeof CODINGS)[number];

const identity = await createAuthority().then(async (authority) => ({
  ...(await authority.issue([HOST])),
  ca: authority.certificatePem,
}));

/** Hands on each piece by itself, encoded up to its last byte. */
function createEncoder(coding: Coding): (piece: string) => Promise<Buffer> {
  if (coding === 'identity') return (piece) => Promise.resolve(Buffer.from(piece));
  const encoder = {
    gzip: createGzip,
    deflate: createDeflate,
    br: createBrotliCompress,
    zstd: createZstdCompress,
  }[coding]();
  const flush = {
    gzip: constants.Z_SYNC_FLUSH,
    deflate: constants.Z_SYNC_FLUSH,
    br: constants.BROTLI_OPERATION_FLUSH,
    zstd: constants.ZSTD_e_flush,
  }[coding];
  return (piece) =>
    new Promise((resolve) => {
      encoder.write(piece);
      encoder.flush(flush, () => {
        const pieces: Buffer[] = [];
        for (let chunk = encoder.read() as Buffer | null; chunk !== null; chunk = encoder.read() as Buffer | null)
          pieces.push(chunk);
        resolve(Buffer.concat(pieces));
      });
    });
}

/** An event stream through a gate: what `send` sends, `received` has, sooner or later. */
interface EventStream extends AsyncDisposable {
  readonly gate: LoopbackGate;
  send(piece: string): Promise<void>;
  /** Waits until what has come fulfils `isThere`, and gives it. */
  received(isThere: (text: string) => boolean): Promise<string>;
}

async function openEvents(protocol: Protocol, coding: Coding): Promise<EventStream> {
  const begun = Promise.withResolvers<http.ServerResponse>();
  const answer = (_: unknown, response: http.ServerResponse): void => {
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      ...(coding === 'identity' ? {} : { 'content-encoding': coding }),
    });
    response.flushHeaders();
    begun.resolve(response);
  };
  const server =
    protocol === 'HTTP/2'
      ? http2.createSecureServer(identity, (request, response) =>
          answer(request, response as unknown as http.ServerResponse),
        )
      : https.createServer(identity, answer);
  const sockets = new Set<net.Socket>();
  server.on('secureConnection', (socket: net.Socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const gate = await openLoopbackGate({
    secrets: [`TOKEN=${VALUE}@${HOST}`],
    resolve: [`${HOST}:443:127.0.0.1:${(server.address() as net.AddressInfo).port}`],
    upstreamCa: identity.ca,
  });
  const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: [protocol === 'HTTP/2' ? 'h2' : 'http/1.1'] });
  let body: Readable;
  if (protocol === 'HTTP/2') {
    const session = http2.connect(`https://${HOST}`, { createConnection: () => socket });
    session.on('error', () => undefined);
    body = session.request({ ':path': '/' });
  } else {
    const request = http.get({ headers: { host: HOST }, path: '/', createConnection: () => socket });
    request.on('error', () => undefined);
    body = await new Promise<http.IncomingMessage>((resolve) => request.once('response', resolve));
  }
  body.on('error', () => undefined);
  let text = '';
  let look = (): void => undefined;
  body.on('data', (chunk: Buffer) => {
    text += chunk.toString();
    look();
  });
  const encode = createEncoder(coding);
  const response = await begun.promise;
  return {
    gate,
    send: async (piece) => void response.write(await encode(piece)),
    received: (isThere) =>
      new Promise((resolve) => {
        look = () => {
          if (isThere(text)) resolve(text);
        };
        look();
      }),
    async [Symbol.asyncDispose]() {
      socket.destroy();
      for (const one of sockets) one.destroy();
      await gate[Symbol.asyncDispose]();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

for (const protocol of PROTOCOLS) {
  for (const coding of CODINGS) {
    describe(`server-sent events over ${protocol}, ${coding}`, { timeout: 20_000 }, () => {
      test('each arrives before the next is sent', async () => {
        await using events = await openEvents(protocol, coding);
        let expected = '';
        for (let index = 0; index < 5; index += 1) {
          await events.send(`id: ${index}\ndata: {"token":"${VALUE}"}\n\n`);
          expected += `id: ${index}\ndata: {"token":"${PLACEHOLDER}"}\n\n`;
          assert.equal(await events.received((text) => text.length >= expected.length), expected);
        }
      });

      test('a value is found over every cut, and only its beginning waits', async () => {
        await using events = await openEvents(protocol, coding);
        let expected = '';
        for (let cut = 1; cut < VALUE.length; cut += 1) {
          await events.send(`data: ${VALUE.slice(0, cut)}`);
          expected += 'data: ';
          // All but what may become the value, and none of that.
          assert.equal(await events.received((text) => text.length >= expected.length), expected);
          await events.send(`${VALUE.slice(cut)}\n\n`);
          expected += `${PLACEHOLDER}\n\n`;
          assert.equal(await events.received((text) => text.length >= expected.length), expected);
        }
      });

      test('the beginning of a value at the end of an event, or of a line, does not hold the event', async () => {
        await using events = await openEvents(protocol, coding);
        let expected = '';
        for (const end of ['\n\n', '\r\n\r\n', '\n', ' ']) {
          const event = `data: ${VALUE.slice(0, -1)}${end}`;
          await events.send(event);
          expected += event;
          assert.equal(await events.received((text) => text.length >= expected.length), expected);
        }
      });

      test('byte by byte, never more than the value’s length waits', async () => {
        await using events = await openEvents(protocol, coding);
        const event = `data: "${VALUE}" and ${VALUE.slice(0, 12)}\n\n`;
        const whole = event.replaceAll(VALUE, PLACEHOLDER);
        for (let sent = 1; sent <= event.length; sent += 1) {
          await events.send(event[sent - 1]!);
          const certain = event.slice(0, Math.max(0, sent - VALUE.length)).replaceAll(VALUE, PLACEHOLDER);
          const least = event.slice(0, sent).includes(VALUE) ? sent - VALUE.length : certain.length;
          const text = await events.received((come) => come.length >= least);
          assert.ok(whole.startsWith(text), JSON.stringify(text));
        }
        assert.equal(await events.received((text) => text.length >= whole.length), whole);
      });
    });
  }
}
