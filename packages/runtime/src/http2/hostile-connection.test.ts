import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { encodeFields, encodeFrame, encodeLiteral, FLAG, FRAME, type WireField } from '../engine/http2-wire.testing.ts';
import {
  BLOCK,
  GET,
  POST,
  PADDED,
  PRIORITY,
  WHOLE,
  data,
  headers,
  integer,
  openServer,
  plus,
  setting,
  times,
} from './frames.testing.ts';
import { CLIENT_START, Recorder } from './recorder.testing.ts';

const OPEN_POST = headers(1, POST, FLAG.endHeaders);

/** What ends a server's connection, with which code. */
const FATAL: Readonly<Record<string, readonly [bytes: () => Buffer, code: number]>> = {
  'DATA of no stream': [() => data(1, 'x'), 1],
  'DATA of the connection': [() => data(0, 'x'), 1],
  'HEADERS of the connection': [() => headers(0), 1],
  "a stream of the server's": [() => headers(2), 1],
  'an id that is lower than before': [() => Buffer.concat([headers(5), headers(3)]), 5],
  'DATA behind the whole of a stream': [() => Buffer.concat([headers(1), data(1, 'x')]), 5],
  'a frame that is too long': [() => encodeFrame(FRAME.headers, WHOLE, 1, Buffer.alloc(16_385)), 6],
  'another frame for a CONTINUATION': [() => Buffer.concat([headers(1, GET, FLAG.endStream), headers(3)]), 1],
  'a CONTINUATION of another stream': [
    () => Buffer.concat([headers(1, GET, FLAG.endStream), encodeFrame(FRAME.continuation, FLAG.endHeaders, 3)]),
    1,
  ],
  'a CONTINUATION of nothing': [() => encodeFrame(FRAME.continuation, FLAG.endHeaders, 1), 1],
  'padding that is longer than DATA': [
    () => Buffer.concat([OPEN_POST, encodeFrame(FRAME.data, PADDED, 1, Buffer.of(5, 1))]),
    1,
  ],
  'padding without its length': [() => Buffer.concat([OPEN_POST, encodeFrame(FRAME.data, PADDED, 1)]), 1],
  'padding that is longer than HEADERS': [
    () => encodeFrame(FRAME.headers, WHOLE | PADDED | PRIORITY, 1, Buffer.of(2, 0, 0, 0, 0, 0, 0)),
    1,
  ],
  'HPACK that is none': [() => encodeFrame(FRAME.headers, WHOLE, 1, Buffer.alloc(6, 0xff)), 9],
  'RST_STREAM of no stream': [() => encodeFrame(FRAME.reset, 0, 1, integer(8)), 1],
  'RST_STREAM of the connection': [() => encodeFrame(FRAME.reset, 0, 0, integer(8)), 1],
  'RST_STREAM of another length': [
    () => Buffer.concat([OPEN_POST, encodeFrame(FRAME.reset, 0, 1, Buffer.alloc(5))]),
    6,
  ],
  'PRIORITY of another length': [() => encodeFrame(FRAME.priority, 0, 1, Buffer.alloc(4)), 6],
  'SETTINGS of a stream': [() => encodeFrame(FRAME.settings, 0, 1), 1],
  'SETTINGS of an odd length': [() => encodeFrame(FRAME.settings, 0, 0, Buffer.alloc(5)), 6],
  'SETTINGS of many entries': [() => encodeFrame(FRAME.settings, 0, 0, times(33, () => Buffer.of(0, 9, 0, 0, 0, 0))), 11],
  'an acknowledgement with a payload': [() => encodeFrame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(6)), 6],
  'an acknowledgement too many': [() => times(2, () => encodeFrame(FRAME.settings, FLAG.ack, 0)), 1],
  'ENABLE_PUSH of 2': [() => setting(2, 2), 1],
  'a window setting that is too large': [() => setting(4, 0x8000_0000), 3],
  'a window setting that makes a window too large': [
    () => Buffer.concat([OPEN_POST, encodeFrame(FRAME.window, 0, 1, integer(0x7fff_0000)), setting(4, 0x7fff_ffff)]),
    3,
  ],
  'a frame size that is too small': [() => setting(5, 16_383), 1],
  'a frame size that is too large': [() => setting(5, 0x100_0000), 1],
  'extended CONNECT that is taken back': [() => Buffer.concat([setting(8, 1), setting(8, 0)]), 1],
  'a push': [() => encodeFrame(FRAME.push, FLAG.endHeaders, 1, Buffer.concat([integer(2), BLOCK])), 1],
  'PING of a stream': [() => encodeFrame(FRAME.ping, 0, 1, Buffer.alloc(8)), 1],
  'PING of another length': [() => encodeFrame(FRAME.ping, 0, 0, Buffer.alloc(7)), 6],
  'GOAWAY of a stream': [() => encodeFrame(FRAME.goaway, 0, 1, Buffer.alloc(8)), 1],
  'GOAWAY that is too short': [() => encodeFrame(FRAME.goaway, 0, 0, Buffer.alloc(7)), 6],
  'WINDOW_UPDATE of no stream': [() => encodeFrame(FRAME.window, 0, 1, integer(1)), 1],
  'WINDOW_UPDATE of another length': [() => encodeFrame(FRAME.window, 0, 0, Buffer.alloc(3)), 6],
  'a window of nothing': [() => encodeFrame(FRAME.window, 0, 0, integer(0)), 1],
  'a window beyond all': [() => encodeFrame(FRAME.window, 0, 0, integer(0x7fff_ffff)), 3],
  'more than the window of a stream': [
    () => Buffer.concat([OPEN_POST, times(5, () => data(1, 'x'.repeat(16_000)))]),
    3,
  ],
  'a CONTINUATION flood': [
    () =>
      Buffer.concat([
        headers(1, GET, 0),
        times(10_000, () => encodeFrame(FRAME.continuation, 0, 1, encodeFields([['x-a', 'b']]))),
      ]),
    11,
  ],
  'a flood of empty CONTINUATIONs': [
    () => Buffer.concat([headers(1, GET, 0), times(10_000, () => encodeFrame(FRAME.continuation, 0, 1))]),
    11,
  ],
  'a header block that is too long': [
    () => Buffer.concat([headers(1, GET, 0), times(6, () => encodeFrame(FRAME.continuation, 0, 1, Buffer.alloc(16_384)))]),
    11,
  ],
  'rapid reset': [
    () => times(201, (index) => Buffer.concat([headers(2 * index + 1), encodeFrame(FRAME.reset, 0, 2 * index + 1, integer(8))])),
    11,
  ],
  'rapid reset of requests with a body': [
    () =>
      times(201, (index) =>
        Buffer.concat([headers(2 * index + 1, POST, FLAG.endHeaders), encodeFrame(FRAME.reset, 0, 2 * index + 1, integer(8))]),
      ),
    11,
  ],
  'resets that it is made to send by windows': [
    () =>
      times(201, (index) =>
        Buffer.concat([headers(2 * index + 1, POST, FLAG.endHeaders), encodeFrame(FRAME.window, 0, 2 * index + 1, integer(0))]),
      ),
    11,
  ],
  'resets that it is made to send by malformed requests': [
    () => times(201, (index) => headers(2 * index + 1, plus(['X', '1']))),
    11,
  ],
  'more streams than are allowed': [() => times(400, (index) => headers(2 * index + 1, POST, FLAG.endHeaders)), 11],
  'a SETTINGS flood': [() => times(3000, () => encodeFrame(FRAME.settings, 0, 0)), 11],
  'a PRIORITY flood': [() => times(3000, () => encodeFrame(FRAME.priority, 0, 1, Buffer.alloc(5, 1))), 11],
  'a PING flood': [() => times(3000, () => encodeFrame(FRAME.ping, 0, 0, Buffer.alloc(8))), 11],
  'a flood of empty DATA': [() => Buffer.concat([OPEN_POST, times(3000, () => data(1, ''))]), 11],
  'a flood of unknown frames': [() => times(3000, () => encodeFrame(0x42, 0, 0, Buffer.from('x'))), 11],
  'a flood of resets of what has ended': [
    () => Buffer.concat([headers(1), times(3000, () => encodeFrame(FRAME.reset, 0, 1, integer(8)))]),
    11,
  ],
  'a flood of windows': [() => times(3000, () => encodeFrame(FRAME.window, 0, 0, integer(1))), 11],
}; // prettier-ignore

describe('a server ends the connection', () => {
  for (const [name, [bytes, code]] of Object.entries(FATAL)) {
    test(`for ${name}`, () => {
      const server = openServer();
      if (name.startsWith('DATA behind') || name.includes('what has ended')) {
        server.onStream = (stream) => stream.sendHead([':status', '200'], { ends: true });
      } else {
        server.onStream = (stream) => stream.pause();
      }
      server.receive(bytes());
      const last = server.takeFrames().at(-1);
      assert.equal(last?.type, FRAME.goaway);
      assert.equal(last?.payload.readUInt32BE(4), code);
      assert.ok(server.transcript.some((line) => line.startsWith(`connection 0 fault ${code}: `)));
      assert.equal(server.transcript.at(-1), 'connection closed');
      assert.equal(server.isEnded, true);
      for (const stream of server.streams) assert.equal(stream.isClosed, true);
      const { length } = server.transcript;
      server.receive(headers(9999));
      assert.equal(server.transcript.length, length);
    });
  }

  for (const [name, bytes] of Object.entries({
    'another preface': Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n'),
    'a preface without settings': Buffer.concat([CLIENT_START.subarray(0, 24), headers(1)]),
    'an acknowledgement in place of settings': Buffer.concat([
      CLIENT_START.subarray(0, 24),
      encodeFrame(FRAME.settings, FLAG.ack, 0),
    ]),
  })) {
    test(`for ${name}`, () => {
      const server = new Recorder('server');
      server.receive(bytes);
      assert.equal(server.takeSummary(), 'goaway 1 behind 0');
      assert.equal(server.isEnded, true);
    });
  }

  test('not for floods that are spread over time', () => {
    const server = openServer();
    for (let second = 0; second < 40; second += 1) {
      server.nowMs = second * 1000;
      server.receive(times(400, () => encodeFrame(FRAME.ping, 0, 0, Buffer.alloc(8))));
      server.receive(
        times(30, (index) => {
          const id = 2 * (30 * second + index) + 1;
          return Buffer.concat([headers(id), encodeFrame(FRAME.reset, 0, id, integer(8))]);
        }),
      );
    }
    assert.equal(server.connection.isClosed, false);
  });

  test('for a peer that reads nothing and makes it write more and more', () => {
    const server = openServer();
    server.hasRoom = false;
    server.onStream = (stream) => stream.sendHead([':status', '200', 'x-a', 'v'.repeat(8000)], { ends: true });
    for (let index = 0; index < 1000 && !server.connection.isClosed; index += 1) {
      server.receive(headers(2 * index + 1));
      server.connection.flush();
    }
    assert.equal(server.connection.isClosed, true);
    assert.ok(server.take().length < 2 * 1024 * 1024);
  });

  test('for a peer that reads nothing and sends nothing while others make it write more and more', () => {
    const server = openServer();
    server.hasRoom = false;
    server.receive(times(40, (index) => headers(2 * index + 1)));
    for (const stream of server.streams) {
      stream.sendInterim([':status', '103', 'link', 'v'.repeat(60_000)]);
      server.connection.flush();
    }
    assert.equal(server.connection.isClosed, true);
    assert.equal(server.isEnded, true);
    assert.ok(server.transcript.some((line) => line.startsWith('connection 0 fault 11: ')));
  });

  const LONG_LISTS: Readonly<Record<string, () => Buffer>> = {
    'an HPACK bomb': () =>
      Buffer.concat([BLOCK, Buffer.of(0x40), encodeLiteral('x-big'), encodeLiteral('y'.repeat(3500)), Buffer.alloc(8000, 0xbe)]),
    'a thousand fields': () =>
      Buffer.concat([BLOCK, encodeFields(Array.from({ length: 1000 }, (_, index): WireField => [`x${index}`, '']))]),
  }; // prettier-ignore
  for (const [name, block] of Object.entries(LONG_LISTS)) {
    test(`not for ${name}, which ends its stream alone`, () => {
      const server = openServer();
      server.receive(encodeFrame(FRAME.headers, WHOLE, 1, block()), headers(3));
      assert.equal(server.takeSummary(), '1 reset 11');
      assert.match(server.transcript[1]!, /^3 request/);
    });
  }

  test('not for what only one stream is cut for', () => {
    const server = openServer();
    server.receive(headers(1, POST, WHOLE), data(1, 'behind the end'));
    server.receive(headers(3, POST, WHOLE), headers(3, [['x-t', '1']]));
    server.receive(headers(5), encodeFrame(FRAME.window, 0, 5, integer(0)));
    server.receive(headers(7), encodeFrame(FRAME.window, 0, 7, integer(0x7fff_ffff)));
    assert.equal(server.takeSummary(), '1 reset 5, 3 reset 5, 5 reset 1, 7 reset 3');
    server.receive(encodeFrame(0x42, 0xff, 9, Buffer.alloc(3)), encodeFrame(FRAME.ping, 0, 0, Buffer.from('12345678')));
    assert.equal(server.takeSummary(), 'pong');
  });
});
