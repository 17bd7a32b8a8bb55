import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { connect } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';

import fc from 'fast-check';

import { ClientHelloReader, MAX_CLIENT_HELLO_BYTES, readClientHello } from './client-hello.ts';

function u16(value: number): Buffer {
  return Buffer.of(value >>> 8, value & 0xff);
}

function vector8(...content: Buffer[]): Buffer {
  const bytes = Buffer.concat(content);
  return Buffer.concat([Buffer.of(bytes.length), bytes]);
}

function vector16(...content: Buffer[]): Buffer {
  const bytes = Buffer.concat(content);
  return Buffer.concat([u16(bytes.length), bytes]);
}

function extension(type: number, data: Buffer): Buffer {
  return Buffer.concat([u16(type), vector16(data)]);
}

function serverName(...names: (string | Buffer)[]): Buffer {
  return extension(
    0,
    vector16(...names.map((name) => Buffer.concat([Buffer.of(0), vector16(Buffer.from(name as string, 'latin1'))]))),
  );
}

function hello(
  extensions: Buffer[] | null,
  parts: { session?: Buffer; suites?: Buffer; compression?: Buffer; tail?: Buffer } = {},
): Buffer {
  const body = Buffer.concat([
    u16(0x0303),
    Buffer.alloc(32, 7),
    vector8(parts.session ?? Buffer.alloc(32)),
    vector16(parts.suites ?? Buffer.concat([u16(0x1301), u16(0x0a0a)])),
    vector8(parts.compression ?? Buffer.of(0)),
    extensions === null ? Buffer.alloc(0) : vector16(...extensions),
    parts.tail ?? Buffer.alloc(0),
  ]);
  return Buffer.concat([Buffer.of(1, body.length >>> 16, (body.length >>> 8) & 0xff, body.length & 0xff), body]);
}

/** Cuts a handshake message into records of at most `size` bytes. */
function records(message: Buffer, size = 16384): Buffer {
  const parts: Buffer[] = [];
  for (let offset = 0; offset < message.length; offset += size) {
    const fragment = message.subarray(offset, offset + size);
    parts.push(Buffer.of(22, 3, 1), u16(fragment.length), fragment);
  }
  return Buffer.concat(parts);
}

const ORDINARY = hello([
  extension(0x1a1a, Buffer.alloc(0)),
  serverName('Api.Example.com'),
  extension(16, vector16(vector8(Buffer.from('h2')), vector8(Buffer.from('http/1.1')))),
  extension(43, vector8(u16(0x2a2a), u16(0x0304), u16(0x0303))),
  extension(0xfe0d, Buffer.alloc(100)),
  extension(51, Buffer.alloc(1216)),
]);

test('readClientHello() tells name, protocols and versions', () => {
  assert.deepEqual(readClientHello(records(ORDINARY)), {
    state: 'complete',
    serverName: 'Api.Example.com',
    alpn: ['h2', 'http/1.1'],
    hasEncryptedClientHello: true,
    versions: [0x0304, 0x0303],
  });
  assert.deepEqual(readClientHello(records(hello(null))), {
    state: 'complete',
    serverName: null,
    alpn: [],
    hasEncryptedClientHello: false,
    versions: [0x0303],
  });
  // What follows in records of its own (early data) is not looked at.
  assert.equal(readClientHello(Buffer.concat([records(ORDINARY), Buffer.of(23, 3, 3, 0, 1, 0)])).state, 'complete');
});

test('readClientHello() per server name', () => {
  const cases: [string, Buffer, string | null | undefined][] = [
    ['a name', serverName('a.example'), 'a.example'],
    ['a trailing dot', serverName('a.example.'), 'a.example.'],
    ['IPv4', serverName('192.0.2.1'), null],
    ['IPv6', serverName('2001:db8::1'), null],
    ['IPv6 in brackets', serverName('[::1]'), null],
    ['empty', serverName(''), undefined],
    ['two names', serverName('a.example', 'b.example'), undefined],
    ['no names', serverName(), undefined],
    ['no list', extension(0, Buffer.alloc(0)), undefined],
    ['NUL', serverName('a.example\0.evil.example'), undefined],
    ['a space', serverName('a example'), undefined],
    ['UTF-8', serverName('b\xc3\xbccher.example'), undefined],
    ['256 bytes', serverName('a'.repeat(256)), undefined],
    ['another type', extension(0, vector16(Buffer.of(1), vector16(Buffer.from('a.example')))), undefined],
    [
      'bytes behind the list',
      extension(0, Buffer.concat([vector16(Buffer.of(0), vector16(Buffer.from('a'))), Buffer.of(0)])),
      undefined,
    ],
    ['a length past the end', extension(0, vector16(Buffer.of(0), u16(9), Buffer.from('a'))), undefined],
  ];
  for (const [what, data, expected] of cases) {
    const result = readClientHello(records(hello([data])));
    assert.equal(result.state === 'complete' ? result.serverName : undefined, expected, what);
    assert.equal(result.state, expected === undefined ? 'invalid' : 'complete', what);
  }
});

test('readClientHello() refuses what is malformed, ambiguous or no TLS', () => {
  const name = serverName('a.example');
  const cases: [string, Buffer][] = [
    ['HTTP', Buffer.from('G')],
    ['SSLv2', Buffer.of(0x80, 0x2e, 1)],
    ['an alert', Buffer.of(21)],
    ['another major version', Buffer.of(22, 2)],
    ['an empty record', Buffer.of(22, 3, 1, 0, 0)],
    ['a record over 16384 bytes', Buffer.of(22, 3, 1, 0x40, 1)],
    ['a ServerHello', records(Buffer.of(2))],
    ['a ClientHello over 64 KiB', records(Buffer.of(1, 1, 0, 0))],
    [
      'another record type in between',
      Buffer.concat([records(ORDINARY).subarray(0, 0), Buffer.of(22, 3, 1, 0, 1, 1, 23)]),
    ],
    ['two extensions of one type', records(hello([name, name]))],
    ['two that nobody knows', records(hello([extension(0x1234, Buffer.alloc(0)), extension(0x1234, Buffer.alloc(0))]))],
    ['a message behind it', records(Buffer.concat([ORDINARY, Buffer.of(1)]))],
    ['bytes behind the extensions', records(hello([name], { tail: Buffer.of(0) }))],
    ['a session id over 32 bytes', records(hello([name], { session: Buffer.alloc(33) }))],
    ['no cipher suites', records(hello([name], { suites: Buffer.alloc(0) }))],
    ['half a cipher suite', records(hello([name], { suites: Buffer.alloc(3) }))],
    ['no compression method', records(hello([name], { compression: Buffer.alloc(0) }))],
    ['an extension cut short', records(hello([Buffer.concat([u16(5), u16(9)])]))],
    ['ALPN without protocols', records(hello([extension(16, vector16())]))],
    ['ALPN with an empty protocol', records(hello([extension(16, vector16(vector8()))]))],
    ['versions of odd length', records(hello([extension(43, vector8(Buffer.of(3)))]))],
    ['no versions', records(hello([extension(43, vector8())]))],
    ['a body of nothing', records(Buffer.of(1, 0, 0, 0))],
  ];
  for (const [what, bytes] of cases) {
    assert.equal(readClientHello(bytes).state, 'invalid', what);
  }
});

test('readClientHello() takes a ClientHello of up to 64 KiB in records of any size', () => {
  const large = hello([serverName('a.example'), extension(51, Buffer.alloc(60_000))]);
  assert.equal(readClientHello(records(large)).state, 'complete');
  assert.equal(readClientHello(records(large, 200)).state, 'complete');
  // Record headers count: 1-byte records make six bytes of each.
  assert.equal(readClientHello(records(large, 1)).state, 'invalid');
  assert.equal(readClientHello(records(large).subarray(0, -1)).state, 'incomplete');
  assert.ok(records(large).length < MAX_CLIENT_HELLO_BYTES);
});

test('ClientHelloReader gives the same result for any cut', () => {
  const messages = fc.oneof(
    fc.constant(ORDINARY),
    fc.constant(hello([serverName('a.example', 'b.example')])),
    fc.tuple(fc.nat(ORDINARY.length - 1), fc.nat(255)).map(([offset, value]) => {
      const changed = Buffer.from(ORDINARY);
      changed[offset] = value;
      return changed;
    }),
  );
  fc.assert(
    fc.property(
      messages,
      fc.integer({ min: 1, max: 2000 }),
      fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1 }),
      (message, recordSize, cuts) => {
        const bytes = records(message, recordSize);
        const reader = new ClientHelloReader();
        let result = reader.push(Buffer.alloc(0));
        for (let offset = 0, index = 0; offset < bytes.length; index += 1) {
          const end = offset + (cuts[index % cuts.length] ?? 1);
          result = reader.push(bytes.subarray(offset, end));
          offset = end;
        }
        assert.deepEqual(result, readClientHello(bytes));
      },
    ),
    { numRuns: 1000 },
  );
});

test('ClientHelloReader never throws, and never changes its mind', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 400 }),
    fc
      .uint8Array({ maxLength: 400 })
      .map((body) => records(Buffer.concat([Buffer.of(1, 0, 0, body.length & 0xff), body]))),
    fc.array(fc.tuple(fc.nat(ORDINARY.length + 4), fc.nat(255)), { maxLength: 5 }).map((changes) => {
      const changed = records(ORDINARY);
      for (const [offset, value] of changes) {
        changed[offset] = value;
      }
      return changed;
    }),
  );
  fc.assert(
    fc.property(bytes, (input) => {
      const reader = new ClientHelloReader();
      const result = reader.push(input);
      if (result.state !== 'incomplete') {
        assert.equal(reader.push(records(ORDINARY)), result);
      }
    }),
    { numRuns: 2000 },
  );
});

test('readClientHello() reads what a real client sends', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const cases: [ConnectionOptions, string | null, string[], number[]][] = [
    [
      { servername: 'api.example.com', ALPNProtocols: ['h2', 'http/1.1'] },
      'api.example.com',
      ['h2', 'http/1.1'],
      [0x0304, 0x0303],
    ],
    [{ maxVersion: 'TLSv1.2' }, null, [], [0x0303]],
  ];
  try {
    for (const [options, name, alpn, versions] of cases) {
      const client = connect({ port, host: '127.0.0.1', ...options });
      client.on('error', () => undefined);
      const [socket] = (await once(server, 'connection')) as [import('node:net').Socket];
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      const result = readClientHello(chunk);
      assert.deepEqual(result, { state: 'complete', serverName: name, alpn, hasEncryptedClientHello: false, versions });
      socket.destroy();
      client.destroy();
    }
  } finally {
    server.close();
  }
});
