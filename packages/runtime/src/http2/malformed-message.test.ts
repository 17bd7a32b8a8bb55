import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FLAG, type WireField } from '../engine/http2-wire.testing.ts';
import { GET, GET_FIELDS, POST, data, headers, openServer, plus, withField } from './frames.testing.ts';

/** What RFC 9113 section 8 does not allow in a request. */
const MALFORMED: Readonly<Record<string, readonly WireField[]>> = {
  'a name in upper case': plus(['X-Upper', '1']),
  'a space in a name': plus(['x a', '1']),
  'a colon in a name': plus(['x-a:', '1']),
  'a line break in a name': plus(['x-a: 1\r\nx-b', '1']),
  'NUL in a name': plus(['x\0', '1']),
  'an empty name': plus(['', '1']),
  'a name beyond ASCII': plus(['x\xe9', '1']),
  'a space before a value': plus(['x-a', ' a']),
  'a tab behind a value': plus(['x-a', 'a\t']),
  'CR in a value': plus(['x-a', 'a\rx-b: 1']),
  'LF in a value': plus(['x-a', 'a\nx-b: 1']),
  'NUL in a value': plus(['x-a', 'a\0b']),
  'DEL in a value': plus(['x-a', 'a\x7f']),
  connection: plus(['connection', 'close']),
  'keep-alive': plus(['keep-alive', '1']),
  'proxy-connection': plus(['proxy-connection', 'close']),
  'transfer-encoding': plus(['transfer-encoding', 'chunked']),
  upgrade: plus(['upgrade', 'websocket']),
  'te: gzip': plus(['te', 'gzip']),
  'te: trailers, gzip': plus(['te', 'trailers, gzip']),
  'no :method': withField(':method'),
  'no :scheme': withField(':scheme'),
  'no :path': withField(':path'),
  'no :authority and no host': withField(':authority'),
  'two :method': withField(':method', 'GET', 'POST'),
  'two :scheme': withField(':scheme', 'https', 'http'),
  'two :path': withField(':path', '/p', '/q'),
  'two equal :authority': withField(':authority', 'a.example', 'a.example'),
  'a pseudo-header behind a field': plus(['x-a', '1'], [':path', '/q']),
  'an unknown pseudo-header': [[':x', '1'], ...GET],
  ':status': [[':status', '200'], ...GET],
  ':protocol with GET': [[':protocol', 'websocket'], ...GET],
  'two hosts': plus(['host', 'a.example'], ['host', 'a.example']),
  'user information': withField(':authority', 'x@a.example'),
  'user information in Host': plus(['host', 'x@a.example']),
  'CRLF in :authority': withField(':authority', 'a.example\r\nx-b: 1'),
  'a path in :authority': withField(':authority', 'a.example/x'),
  'an empty :authority': withField(':authority', ''),
  'a space in :path': withField(':path', '/a b'),
  'CRLF in :path': withField(':path', '/ HTTP/1.1\r\nhost: b'),
  'a :path beyond ASCII': withField(':path', '/\xe9'),
  'an empty :path': withField(':path', ''),
  'a :path without a slash': withField(':path', 'p'),
  'an asterisk with GET': withField(':path', '*'),
  'a space in :method': withField(':method', 'GET '),
  'an empty :method': withField(':method', ''),
  'a :scheme that is none': withField(':scheme', 'https://b.example'),
  'CONNECT with a path': withField(':method', 'CONNECT'),
  'a length that is none': plus(['content-length', 'x']),
  'a length with a sign': plus(['content-length', '+0']),
  'two lengths': plus(['content-length', '0'], ['content-length', '0']),
  'a length without a body': plus(['content-length', '5']),
};

describe('a malformed request', () => {
  for (const [name, fields] of Object.entries(MALFORMED)) {
    test(`with ${name} is reset, and the next one is taken`, () => {
      const server = openServer();
      server.receive(headers(1, fields), headers(3));
      assert.equal(server.takeSummary(), '1 reset 1');
      assert.match(server.transcript[0]!, /^stream 1 fault 1: /);
      assert.deepEqual(server.transcript.slice(1), [`3 request ${JSON.stringify(GET_FIELDS)} ends`, '3 end []']);
    });
  }

  const TRAILERS: Readonly<Record<string, readonly [fields: readonly WireField[], flags?: number]>> = {
    'a pseudo-header': [[[':path', '/q']]],
    connection: [[['connection', 'close']]],
    'a length': [[['content-length', '1']]],
    'a name in upper case': [[['X-Upper', '1']]],
    'a line break': [[['x-a', '1\r\nx-b: 2']]],
    'no end of the stream': [[['x-a', '1']], FLAG.endHeaders],
  };
  for (const [name, [fields, flags]] of Object.entries(TRAILERS)) {
    test(`with ${name} in its trailers is reset`, () => {
      const server = openServer();
      server.receive(headers(1, POST, FLAG.endHeaders), data(1, 'b'), headers(1, fields, flags));
      assert.equal(server.takeSummary(), '1 reset 1');
      assert.deepEqual(server.transcript.slice(-2), ['1 reset 1', '1 closed']);
      assert.ok(!server.transcript.some((line) => line.startsWith('1 end')));
    });
  }

  for (const [name, frames] of Object.entries({
    longer: [data(1, 'abcd')],
    shorter: [data(1, 'ab', FLAG.endStream)],
    'shorter, with trailers': [data(1, 'ab'), headers(1, [['x-a', '1']])],
  })) {
    test(`whose body is ${name} than its length is reset, and does not end`, () => {
      const server = openServer();
      server.receive(headers(1, [...POST, ['content-length', '3']], FLAG.endHeaders), ...frames);
      assert.equal(server.takeSummary(), '1 reset 1');
      assert.ok(!server.transcript.some((line) => line.startsWith('1 end')));
    });
  }

  test('is none with TE: trailers, a Host that agrees, a length of 0, an asterisk for OPTIONS or CONNECT without path and scheme', () => {
    const server = openServer();
    const connect = withField(':path').filter(([name]) => name !== ':scheme');
    const options = withField(':path', '*').map(([name, value]): WireField => [
      name,
      name === ':method' ? 'OPTIONS' : value,
    ]);
    const lists = [
      plus(['te', 'trailers'], ['host', 'a.example'], ['content-length', '0'], ['x-a', 'a\tb\xe9'], ['x-b', '']),
      options,
      connect.map(([name, value]): WireField => [name, name === ':method' ? 'CONNECT' : value]),
    ]; // prettier-ignore
    for (const [index, fields] of lists.entries()) server.receive(headers(2 * index + 1, fields));
    assert.deepEqual(
      server.transcript.filter((line) => line.includes('request')),
      lists.map((fields, index) => `${2 * index + 1} request ${JSON.stringify(fields.flat())} ends`),
    );
  });

  test('is an extended CONNECT unless it is taken', () => {
    const tunnel: readonly WireField[] = [
      [':protocol', 'websocket'],
      ...GET.map(([name, value]): WireField => [name, name === ':method' ? 'CONNECT' : value]),
    ];
    const server = openServer();
    server.receive(headers(1, tunnel, FLAG.endHeaders));
    assert.equal(server.takeSummary(), '1 reset 1');
    const other = openServer({}, { enableConnectProtocol: true });
    other.receive(headers(1, tunnel, FLAG.endHeaders));
    assert.match(other.transcript[0]!, /^1 request \[":protocol","websocket"/);
  });
});
