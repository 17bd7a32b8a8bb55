import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { encodeFrame, FLAG, FRAME, type WireField } from '../engine/http2-wire.testing.ts';
import {
  BLOCK,
  GET_FIELDS,
  POST,
  PADDED,
  PRIORITY,
  WHOLE,
  data,
  headers,
  integer,
  openClient,
  openServer,
  setting,
  times,
} from './frames.testing.ts';
import type { Http2Stream } from './types.ts';

describe('a request', () => {
  test('comes with its fields, body and trailers, and is answered', () => {
    const server = openServer();
    server.receive(headers(1, POST, FLAG.endHeaders), data(1, 'ab'), data(1, 'c'), headers(1, [['x-t', '1']]));
    assert.deepEqual(server.transcript, [
      `1 request ${JSON.stringify(POST.flat())}`,
      '1 data abc',
      '1 end ["x-t","1"]',
    ]);
    const [stream] = server.streams as [Http2Stream];
    stream.sendInterim([':status', '103', 'link', 'x']);
    stream.sendHead([':status', '200', 'x-a', 'b']);
    assert.equal(stream.sendData(Buffer.from('hello')), true);
    stream.end(['x-u', '2']);
    assert.equal(server.takeSummary(), '1 headers, 1 headers, 1 data 5, 1 headers ends');
    assert.equal(server.transcript.at(-1), '1 closed');
    assert.equal(server.connection.streamCount, 0);
  });

  test('is answered in one write, and its end costs no frame of its own', () => {
    const server = openServer();
    server.onStream = (stream) => {
      stream.sendHead([':status', '200']);
      stream.sendData(Buffer.from('x'));
      stream.end();
    };
    server.writes = 0;
    server.receive(headers(1), headers(3), headers(5));
    assert.equal(server.takeSummary(), '1 headers, 1 data 1 ends, 3 headers, 3 data 1 ends, 5 headers, 5 data 1 ends');
    assert.equal(server.writes, 1);
  });

  test('writes nothing to the socket but in flush(), and not endlessly much in one', () => {
    const server = openServer();
    server.receive(setting(4, 0x7fff_ffff), encodeFrame(FRAME.window, 0, 0, integer(0x7000_0000)), headers(1));
    server.writes = 0;
    const [stream] = server.streams as [Http2Stream];
    stream.sendHead([':status', '200']);
    assert.equal(stream.sendData(Buffer.alloc(1_000_000)), false);
    stream.end();
    assert.equal(server.writes, 0);
    assert.ok(server.take().length < 300_000);
    let rest = 0;
    for (let bytes = server.take(); bytes.length > 0; bytes = server.take()) rest += bytes.length;
    assert.ok(rest > 700_000);
    assert.equal(stream.isClosed, true);
  });

  test('comes the same however padded, prioritized and cut into CONTINUATION frames', () => {
    const server = openServer();
    server.receive(
      encodeFrame(FRAME.headers, WHOLE | PADDED | PRIORITY, 1, Buffer.concat([Buffer.of(3), integer(1), Buffer.of(9), BLOCK, Buffer.alloc(3)])),
      encodeFrame(FRAME.headers, FLAG.endStream, 3, BLOCK.subarray(0, 5)),
      encodeFrame(FRAME.continuation, 0, 3, BLOCK.subarray(5, 6)),
      encodeFrame(FRAME.continuation, FLAG.endHeaders, 3, BLOCK.subarray(6)),
    ); // prettier-ignore
    const expected = [1, 3].flatMap((id) => [`${id} request ${JSON.stringify(GET_FIELDS)} ends`, `${id} end []`]);
    assert.deepEqual(server.transcript, expected);
  });

  test('that the answer does not wait for is cut off without a fault, once the answer is out', () => {
    const server = openServer();
    server.receive(headers(1, POST, FLAG.endHeaders), data(1, 'abc'));
    const [stream] = server.streams as [Http2Stream];
    stream.discardRest();
    server.receive(data(1, 'def'));
    stream.sendHead([':status', '413']);
    stream.end();
    assert.equal(server.takeSummary(), '1 headers ends, 1 reset 0');
    server.receive(data(1, 'on its way'), headers(1, [['x-t', '1']]));
    assert.deepEqual(server.transcript.slice(1), ['1 data abc', '1 closed']);
    assert.equal(server.connection.isClosed, false);
  });
});

describe('flow control', () => {
  test("gives a stream's credit back only for what was taken", () => {
    const server = openServer();
    server.onStream = (stream) => stream.pause();
    server.receive(
      headers(1, POST, FLAG.endHeaders),
      times(4, () => data(1, 'x'.repeat(16_000))),
    );
    assert.equal(server.takeSummary(), '');
    assert.equal(server.transcript.length, 1);
    const [stream] = server.streams as [Http2Stream];
    server.onData = () => stream.pause();
    stream.resume();
    assert.equal(server.takeSummary(), '');
    server.onData = () => undefined;
    stream.resume();
    assert.match(server.takeSummary(), /^1 window \d+/);
    assert.equal(server.transcript.at(-1), `1 data ${'x'.repeat(64_000)}`);
    server.receive(data(1, '', FLAG.endStream));
    assert.equal(server.transcript.at(-1), '1 end []');
  });

  test('lets streams that are paused stop no other', () => {
    const server = openServer();
    server.onStream = (stream) => stream.pause();
    let given = 0;
    // Far more than the connection may have on its way at a time.
    for (let id = 1; id < 80; id += 2) {
      server.receive(
        headers(id, POST, FLAG.endHeaders),
        times(4, () => data(id, 'x'.repeat(16_000))),
      );
      for (const { type, stream, payload } of server.takeFrames()) {
        if (type === FRAME.window && stream === 0) given += payload.readUInt32BE(0);
      }
    }
    assert.equal(server.connection.isClosed, false);
    assert.ok(given > 2_000_000, String(given));
  });

  test("gives back the connection's credit for streams that were reset, and for padding", () => {
    const server = openServer();
    let given = 0;
    for (let id = 1; id < 40; id += 2) {
      server.receive(
        headers(id, POST, FLAG.endHeaders),
        times(4, () => data(id, 'x'.repeat(16_000))),
      );
      server.streams.at(-1)!.reset(8);
      server.receive(encodeFrame(FRAME.data, PADDED, id, Buffer.concat([Buffer.of(255), Buffer.alloc(255)])));
      for (const { type, stream, payload } of server.takeFrames()) {
        if (type === FRAME.window && stream === 0) given += payload.readUInt32BE(0);
      }
    }
    assert.equal(server.connection.isClosed, false);
    assert.ok(given > 1_100_000, String(given));
  });

  test('lets nothing go beyond the windows, in turn, and ends behind what waits', () => {
    const server = openServer();
    server.receive(headers(1), headers(3));
    const [first, second] = server.streams as [Http2Stream, Http2Stream];
    for (const stream of [first, second]) {
      stream.sendHead([':status', '200']);
      assert.equal(stream.sendData(Buffer.alloc(150_000, stream.id)), false);
      stream.end(stream === first ? ['x-t', '1'] : null);
    }
    const sizes = (): number => server.takeFrames().reduce((sum, { type, payload }) => sum + (type === FRAME.data ? payload.length : 0), 0);
    assert.equal(sizes(), 65_535);
    server.receive(encodeFrame(FRAME.window, 0, 0, integer(1_000_000)));
    assert.equal(sizes(), 65_535);
    server.receive(setting(4, 100_000));
    assert.equal(sizes(), 2 * (100_000 - 65_535));
    server.receive(setting(4, 0), encodeFrame(FRAME.window, 0, 1, integer(60_000)), encodeFrame(FRAME.window, 0, 3, integer(99_999)));
    assert.equal(server.takeSummary(), 'settings ack');
    server.receive(encodeFrame(FRAME.window, 0, 1, integer(100_000)), encodeFrame(FRAME.window, 0, 3, integer(50_001)));
    const frames = server.takeFrames();
    assert.equal(frames.reduce((sum, { type, payload }) => sum + (type === FRAME.data ? payload.length : 0), 0), 100_000);
    assert.deepEqual(frames.filter(({ flags }) => (flags & 1) !== 0).map(({ stream, type }) => `${stream} ${type}`).toSorted((a, b) => a.localeCompare(b)), ['1 1', '3 0']);
    assert.equal(server.connection.streamCount, 0);
  }); // prettier-ignore

  test('tells of room again', () => {
    const server = openServer();
    server.receive(headers(1), encodeFrame(FRAME.window, 0, 0, integer(1_000_000)));
    const [stream] = server.streams as [Http2Stream];
    stream.sendHead([':status', '200']);
    assert.equal(stream.sendData(Buffer.alloc(65_535)), true);
    assert.equal(stream.sendData(Buffer.alloc(65_535)), true);
    assert.equal(stream.sendData(Buffer.alloc(1)), false);
    server.receive(encodeFrame(FRAME.window, 0, 1, integer(32_000)));
    assert.notEqual(server.transcript.at(-1), '1 drain');
    server.receive(encodeFrame(FRAME.window, 0, 1, integer(32_000)));
    assert.equal(server.transcript.at(-1), '1 drain');
  });

  test('holds bodies back while the socket takes nothing', () => {
    const server = openServer();
    server.receive(headers(1));
    const [stream] = server.streams as [Http2Stream];
    server.hasRoom = false;
    stream.sendHead([':status', '200']);
    server.take();
    stream.sendData(Buffer.from('abc'));
    stream.end();
    assert.equal(server.takeSummary(), '');
    server.hasRoom = true;
    server.connection.drained();
    assert.equal(server.takeSummary(), '1 data 3 ends');
  });
});

describe('a client', () => {
  const REQUEST = [':method', 'POST', ':scheme', 'https', ':authority', 'a.example', ':path', '/'];
  const OK: readonly WireField[] = [[':status', '200']];

  test('sends requests and reads interim and final heads, bodies and trailers', () => {
    const client = openClient();
    const stream = client.request(REQUEST, false);
    stream.sendData(Buffer.from('abc'));
    stream.end();
    assert.equal(client.takeSummary(), '1 headers, 1 data 3 ends');
    client.receive(
      headers(1, [[':status', '103'], ['link', 'x']], FLAG.endHeaders),
      headers(1, [...OK, ['x-a', 'b']], FLAG.endHeaders),
      data(1, 'body'),
      headers(1, [['x-t', '1']]),
    ); // prettier-ignore
    assert.deepEqual(client.transcript, [
      '1 interim [":status","103","link","x"]',
      '1 head [":status","200","x-a","b"]',
      '1 data body',
      '1 end ["x-t","1"]',
      '1 closed',
    ]);
  });

  const longHint = (): Buffer => {
    const fields = [
      [':status', '103'],
      ['link', 'v'.repeat(15_000)],
    ] as const;
    return headers(1, fields, FLAG.endHeaders);
  };
  const MALFORMED_RESPONSES: Readonly<Record<string, readonly Buffer[]>> = {
    'no :status': [headers(1, [['x-a', 'b']])],
    'two :status': [headers(1, [...OK, ...OK])],
    'a :status of two digits': [headers(1, [[':status', '20']])],
    'a :status that is none': [headers(1, [[':status', '2OO']])],
    'a :status with a sign': [headers(1, [[':status', '+20']])],
    101: [headers(1, [[':status', '101']], FLAG.endHeaders)],
    'an interim head that ends': [headers(1, [[':status', '100']])],
    'a pseudo-header of requests': [headers(1, [...OK, [':path', '/']])],
    connection: [headers(1, [...OK, ['connection', 'close']])],
    'a line break': [headers(1, [...OK, ['x-a', 'a\r\nb: c']])],
    'DATA before its head': [data(1, 'x')],
    'DATA behind an interim head': [headers(1, [[':status', '100']], FLAG.endHeaders), data(1, 'x')],
    'a body that is too short': [headers(1, [...OK, ['content-length', '3']], FLAG.endHeaders), data(1, 'ab', 1)],
    'a body that is too long': [headers(1, [...OK, ['content-length', '3']], FLAG.endHeaders), data(1, 'abcd')],
    'a length without a body': [headers(1, [...OK, ['content-length', '3']])],
    'a body with 204': [headers(1, [[':status', '204']], FLAG.endHeaders), data(1, 'x')],
    'trailers that do not end': [headers(1, OK, FLAG.endHeaders), headers(1, [['x-t', '1']], FLAG.endHeaders)],
    'interim heads without end': [times(33, () => headers(1, [[':status', '100']], FLAG.endHeaders))],
    'interim heads that are long together': [times(3, longHint), times(2, longHint)],
  };
  for (const [name, frames] of Object.entries(MALFORMED_RESPONSES)) {
    test(`refuses a response with ${name}`, () => {
      const client = openClient();
      client.request(REQUEST);
      client.take();
      client.receive(...frames);
      assert.match(client.takeSummary(), /^1 reset (1|11)$/);
      assert.deepEqual(client.transcript.slice(-1), ['1 closed']);
      assert.ok(!client.transcript.some((line) => line.startsWith('1 end')));
      assert.equal(client.connection.isClosed, false);
    });
  }

  test('ends the connection of a server that goes on behind the end of a stream, which nobody reads', () => {
    const client = openClient();
    const stream = client.request(REQUEST);
    stream.pause();
    client.receive(headers(1, OK));
    client.receive(times(3000, () => data(1, 'x')));
    assert.equal(client.connection.isClosed, true);
    assert.ok(client.transcript.some((line) => line.startsWith('connection 0 fault 11: ')));
  });

  test('takes white space off the values of responses, and nothing else', () => {
    const client = openClient();
    client.request(REQUEST);
    client.receive(headers(1, [...OK, ['x-a', ' a b\t'], ['x-b', ' ']]));
    assert.equal(client.transcript[0], '1 head [":status","200","x-a","a b","x-b",""] ends');
  });

  test('expects no body for HEAD and 304, whatever their length says', () => {
    const client = openClient();
    client.request([':method', 'HEAD', ...REQUEST.slice(2)]);
    client.request(REQUEST);
    client.receive(headers(1, [...OK, ['content-length', '3']]));
    client.receive(
      headers(3, [
        [':status', '304'],
        ['content-length', '3'],
      ]),
    );
    assert.deepEqual(
      client.transcript.filter((line) => line.includes('end [')),
      ['1 end []', '3 end []'],
    );
  });

  test('takes a whole response although its stream is reset behind it, or its connection ends', () => {
    for (const cut of [encodeFrame(FRAME.reset, 0, 1, integer(0)), null]) {
      const client = openClient();
      const stream = client.request(REQUEST, false);
      stream.pause();
      client.receive(headers(1, OK, FLAG.endHeaders), data(1, 'abc', FLAG.endStream));
      if (cut === null) client.connection.receiveEnd();
      else client.receive(cut);
      assert.equal(stream.sendData(Buffer.from('nobody reads this')), true);
      stream.resume();
      assert.deepEqual(
        client.transcript.filter((line) => line.startsWith('1 ')),
        ['1 head [":status","200"]', '1 data abc', '1 end []', '1 closed'],
      );
    }
  });

  test('does not take a response for whole that was cut off', () => {
    for (const cut of [encodeFrame(FRAME.reset, 0, 1, integer(0)), null]) {
      const client = openClient();
      client.request(REQUEST);
      client.receive(headers(1, OK, FLAG.endHeaders), data(1, 'abc'));
      if (cut === null) client.connection.receiveEnd();
      else client.receive(cut);
      assert.deepEqual(client.transcript.slice(2, 4), [`1 reset ${cut === null ? 8 : 0}`, '1 closed']);
    }
  });

  test('says of requests behind GOAWAY that they were not begun, lets the others end, and ends', () => {
    const client = openClient();
    client.request(REQUEST);
    client.request(REQUEST);
    client.receive(encodeFrame(FRAME.goaway, 0, 0, integer(1, 0)));
    assert.deepEqual(client.transcript, ['goaway 0', '3 reset 7', '3 closed']);
    assert.equal(client.connection.hasRoom, false);
    assert.throws(() => client.request(REQUEST), RangeError);
    client.receive(headers(1, OK));
    assert.deepEqual(client.transcript.slice(-2), ['1 closed', 'connection closed']);
  });

  test('opens no more streams than its peer allows', () => {
    const client = openClient();
    client.receive(setting(3, 1));
    client.request(REQUEST);
    assert.equal(client.connection.hasRoom, false);
    client.receive(headers(1, OK));
    assert.equal(client.connection.hasRoom, true);
  });

  test('ends the connection for what only a client may send', () => {
    for (const frame of [
      headers(2, OK),
      headers(1, OK),
      setting(2, 1),
      encodeFrame(FRAME.push, 4, 1, Buffer.alloc(9)),
    ]) {
      const client = openClient();
      client.receive(frame);
      assert.equal(client.connection.isClosed, true);
    }
  });

  test('says nothing of a request that must not be sent', () => {
    const client = openClient();
    assert.throws(() => client.request([...REQUEST, 'x-a', 'b\r\nc: d']), { name: 'Http2FieldError' });
    client.request(REQUEST);
    assert.equal(client.takeSummary(), '1 headers ends');
  });
});

describe('the end of a connection', () => {
  test('close() lets open streams end, refuses others, and ends', () => {
    const server = openServer();
    server.receive(headers(1));
    server.connection.close();
    server.receive(headers(3));
    assert.equal(server.takeSummary(), 'goaway 0 behind 1, 3 reset 7');
    server.streams[0]!.sendHead([':status', '200'], { ends: true });
    assert.equal(server.takeSummary(), '1 headers ends');
    assert.deepEqual(server.transcript.slice(-2), ['1 closed', 'connection closed']);
    assert.equal(server.isEnded, true);
  });

  test('destroy() cuts all streams, and nothing is written or told afterwards', () => {
    const server = openServer();
    server.receive(headers(1), headers(3));
    server.connection.destroy(2);
    assert.equal(server.takeSummary(), 'goaway 2 behind 3');
    assert.deepEqual(server.transcript.slice(-5), [
      '1 reset 8',
      '1 closed',
      '3 reset 8',
      '3 closed',
      'connection closed',
    ]);
    const { length } = server.transcript;
    for (const stream of server.streams) {
      stream.sendHead([':status', '200']);
      assert.equal(stream.sendData(Buffer.from('x')), true);
      stream.end();
      stream.reset(1);
      stream.resume();
      stream.discardRest();
    }
    server.connection.receiveEnd();
    server.connection.drained();
    assert.equal(server.take().length, 0);
    assert.equal(server.transcript.length, length);
  });

  test('a stream that is reset from within what it is told is told nothing more', () => {
    const server = openServer();
    server.onData = (stream) => stream.reset(8);
    server.receive(headers(1, POST, FLAG.endHeaders), data(1, 'abc', FLAG.endStream), headers(3));
    assert.deepEqual(server.transcript.slice(1, 4), [
      '1 data abc',
      '1 closed',
      `3 request ${JSON.stringify(GET_FIELDS)} ends`,
    ]);
  });
});
