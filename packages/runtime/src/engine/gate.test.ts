import assert from 'node:assert/strict';
import type net from 'node:net';
import { after, before, describe, test } from 'node:test';
import { duplexPair } from 'node:stream';
import tls from 'node:tls';
import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import {
  openLoopbackGate,
  placeholderOf,
  receive,
  type LoopbackGate,
  type LoopbackOptions,
} from './loopback.testing.ts';
import { startRawUpstream, type RawUpstream } from './raw-upstream.testing.ts';

const VALUE = 'canary-value-4711';
const PLACEHOLDER = placeholderOf('TOKEN');
const HOST = 'api.example.com';

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

async function startUpstream(
  handler: (socket: net.Socket) => void,
  names = [HOST],
  secure = true,
): Promise<RawUpstream> {
  return startRawUpstream(handler, secure ? await authority.issue(names) : null);
}

/** Answers each request head with what `answer` says; keeps what it saw. */
function answering(seen: string[], answer: (head: string) => string | Buffer): (socket: net.Socket) => void {
  return (socket) => {
    let pending = '';
    socket.on('data', (chunk: Buffer) => {
      pending += chunk.toString('latin1');
      for (let end = pending.indexOf('\r\n\r\n'); end >= 0; end = pending.indexOf('\r\n\r\n')) {
        const head = pending.slice(0, end + 4);
        pending = pending.slice(end + 4);
        seen.push(head);
        socket.write(answer(head));
      }
    });
  };
}

function ok(body: string | Buffer, fields = ''): Buffer {
  const bytes = Buffer.from(body);
  return Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\ncontent-length: ${bytes.length}\r\n${fields}\r\n`), bytes]);
}

async function open(upstream: RawUpstream, options: LoopbackOptions = {}): Promise<LoopbackGate> {
  return openLoopbackGate({
    secrets: [`TOKEN=${VALUE}@${HOST}`],
    resolve: [`${HOST}:443:127.0.0.1:${upstream.port}`],
    upstreamCa: authority.certificatePem,
    ...options,
  });
}

async function exchange(gate: LoopbackGate, request: string, host = HOST): Promise<string> {
  const socket = await gate.connectTls(host, 443);
  socket.end(request);
  const text = await receive(socket);
  socket.destroy();
  return text;
}

const GET = `GET /path?q=1 HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${PLACEHOLDER}\r\n\r\n`;

describe('substitution and redaction', () => {
  test('the upstream gets the value, the client its placeholder back', async () => {
    const seen: string[] = [];
    await using upstream = await startUpstream(answering(seen, () => ok(`{"you":"${VALUE}"}`, `x-echo: ${VALUE}\r\n`)));
    await using gate = await open(upstream);
    const text = await exchange(gate, GET);
    assert.match(seen[0] ?? '', new RegExp(`authorization: bearer ${VALUE}`, 'i'));
    assert.doesNotMatch(seen[0] ?? '', /sp_TOKEN/);
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n/);
    assert.ok(!text.includes(VALUE), text);
    assert.ok(text.includes(`x-echo: ${PLACEHOLDER}`));
    assert.ok(text.endsWith(`{"you":"${PLACEHOLDER}"}`));
    assert.match(text, new RegExp(`content-length: ${`{"you":"${PLACEHOLDER}"}`.length}\r\n`, 'i'));
    const [event] = gate.events;
    assert.deepEqual(
      { ...event, durationMs: 0 },
      {
        kind: 'request', decision: 'allow', code: null, rule: '--secret TOKEN', scheme: 'https', host: HOST, port: 443,
        method: 'GET', path: '/path', status: 200, requestBytes: 0, responseBytes: 10 + PLACEHOLDER.length, durationMs: 0,
        secrets: ['TOKEN'], stray: [], redactions: 2,
      },
    ); // prettier-ignore
  });

  const codings = {
    gzip: gzipSync,
    deflate: deflateSync,
    'deflate without its wrapper': deflateRawSync,
    br: brotliCompressSync,
    zstd: zstdCompressSync,
  };
  for (const [name, compress] of Object.entries(codings)) {
    test(`a ${name} body is decoded, redacted and passed on as identity`, async () => {
      const body = `${'x'.repeat(5000)}${VALUE}${'y'.repeat(5000)}`;
      const coding = name.split(' ', 1)[0] ?? '';
      await using upstream = await startUpstream(
        answering([], () => ok(compress(Buffer.from(body)), `content-encoding: ${coding}\r\netag: "a"\r\n`)),
      );
      await using gate = await open(upstream);
      const text = await exchange(gate, GET);
      assert.doesNotMatch(text, /content-encoding/i);
      assert.match(text, /etag: W\/"a"/i);
      assert.equal(dechunk(text), `${'x'.repeat(5000)}${PLACEHOLDER}${'y'.repeat(5000)}`);
    });
  }

  test('a coding that cannot be decoded is refused in words, and so is one that lies', async () => {
    await using upstream = await startUpstream(
      answering([], (head) =>
        head.includes('/lie')
          ? ok('not gzip at all', 'content-encoding: gzip\r\n')
          : ok('x', 'content-encoding: compress\r\n'),
      ),
    );
    await using gate = await open(upstream);
    const text = await exchange(gate, GET);
    assert.match(text, /^HTTP\/1\.1 502 /);
    assert.match(text, /RESPONSE_UNREDACTABLE/);
    const lie = await exchange(gate, GET.replace('/path', '/lie'));
    assert.ok(!lie.endsWith('0\r\n\r\n'), 'the body must not look complete');
  });

  test('only codings that can be decoded are asked for; hop-by-hop fields and ranges do not leave', async () => {
    const seen: string[] = [];
    await using upstream = await startUpstream(answering(seen, () => ok('')));
    await using gate = await open(upstream);
    await exchange(
      gate,
      `GET / HTTP/1.1\r\nHost: ${HOST}\r\nAccept-Encoding: gzip;q=0.5, exi, br\r\nRange: bytes=0-4\r\nConnection: x-hop\r\nX-Hop: 1\r\nProxy-Authorization: Basic eA==\r\n\r\n`,
    );
    assert.match(seen[0] ?? '', /accept-encoding: gzip;q=0\.5, br\r\n/i);
    assert.doesNotMatch(seen[0] ?? '', /range|x-hop|proxy-authorization|exi/i);
  });

  test('a placeholder on a host that is not bound stays, and is recorded', async () => {
    const seen: string[] = [];
    await using upstream = await startUpstream(
      answering(seen, () => ok(VALUE)),
      ['other.example.com'],
    );
    await using gate = await open(upstream, {
      allow: ['other.example.com'],
      resolve: [`other.example.com:443:127.0.0.1:${upstream.port}`],
    });
    const text = await exchange(gate, GET.replace(HOST, 'other.example.com'), 'other.example.com');
    assert.ok(seen[0]?.includes(PLACEHOLDER));
    assert.ok(!text.includes(VALUE), 'a value that turns up elsewhere is redacted as well');
    assert.deepEqual(gate.events[0]?.stray, ['TOKEN']);
    assert.deepEqual(gate.events[0]?.secrets, []);
  });

  test('cleartext carries no credential unless the secret names it', async () => {
    const seen: string[] = [];
    await using upstream = await startUpstream(
      answering(seen, () => ok('')),
      [HOST],
      false,
    );
    const resolve = [`${HOST}:80:127.0.0.1:${upstream.port}`];
    for (const [spec, expected] of [
      [`TOKEN=${VALUE}@${HOST}`, PLACEHOLDER],
      [`TOKEN=${VALUE}@http://${HOST}`, VALUE],
    ] as const) {
      await using gate = await open(upstream, { secrets: [spec], resolve, allow: [HOST] });
      const socket = await gate.connect(HOST, 80);
      socket.end(GET);
      assert.match(await receive(socket), /^HTTP\/1\.1 200/);
      assert.ok(seen.pop()?.includes(`Bearer ${expected}\r\n`));
    }
  });

  test('events pass one by one', async () => {
    let source: net.Socket | undefined;
    await using upstream = await startUpstream((socket) => {
      source = socket;
      socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n'));
    });
    await using gate = await open(upstream);
    const socket = await gate.connectTls(HOST, 443);
    socket.write(GET);
    await receive(socket, '\r\n\r\n');
    for (let index = 0; index < 5; index += 1) {
      source?.write(`data: ${index} ${VALUE}\n\n`);
      const text = await receive(socket, '\n\n\r\n');
      assert.ok(text.includes(`data: ${index} ${PLACEHOLDER}\n\n`), text);
    }
    socket.destroy();
  });

  test('trailers are redacted, interim responses passed on', async () => {
    await using upstream = await startUpstream(
      answering(
        [],
        () =>
          `HTTP/1.1 103 Early Hints\r\nlink: <${VALUE}>\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: ${VALUE}\r\n\r\n`,
      ),
    );
    await using gate = await open(upstream);
    const text = await exchange(gate, GET);
    assert.match(text, /^HTTP\/1\.1 103 Early Hints\r\nlink: <sp_TOKEN/);
    assert.ok(!text.includes(VALUE));
    assert.match(text, new RegExp(`x-sum: ${PLACEHOLDER}\r\n\r\n$`));
  });

  test('a body that ends with the connection is passed on; one that breaks is cut', async () => {
    await using upstream = await startUpstream((socket) => {
      socket.on('data', (chunk: Buffer) => {
        if (chunk.includes('/cut')) {
          socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\nhalf');
          setTimeout(() => socket.destroy(), 20);
        } else {
          socket.end(`HTTP/1.1 200 OK\r\n\r\nuntil ${VALUE} close`);
        }
      });
    });
    await using gate = await open(upstream);
    assert.equal(dechunk(await exchange(gate, GET)), `until ${PLACEHOLDER} close`);
    const cut = await exchange(gate, GET.replace('/path', '/cut'));
    assert.ok(!cut.endsWith('0\r\n\r\n'), cut);
    assert.equal(gate.events.at(-1)?.code, 'UPSTREAM_MALFORMED');
  });
});

describe('framing', () => {
  test('bodies arrive as sent, in any pieces, and connections are reused', async () => {
    await using upstream = await startUpstream((socket) => echoBodies(socket));
    await using gate = await open(upstream);
    const socket = await gate.connectTls(HOST, 443);
    for (let round = 0; round < 20; round += 1) {
      const body = Buffer.alloc(1 + round * 997, `${round}-`);
      const chunked = round % 2 === 0;
      const wire = Buffer.concat([
        Buffer.from(
          `POST /echo HTTP/1.1\r\nHost: ${HOST}\r\n${chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`}\r\n\r\n`,
        ),
        chunked
          ? Buffer.concat([Buffer.from(`${body.length.toString(16)};x=y\r\n`), body, Buffer.from('\r\n0\r\n\r\n')])
          : body,
      ]);
      for (let at = 0; at < wire.length; at += 1 + round * 101) socket.write(wire.subarray(at, at + 1 + round * 101));
      const text = await receive(
        socket,
        (all) => all.includes('\r\n\r\n') && all.length >= all.indexOf('\r\n\r\n') + 4 + body.length,
      );
      assert.equal(text.slice(text.indexOf('\r\n\r\n') + 4), body.toString('latin1'));
    }
    socket.destroy();
    assert.equal(upstream.connections, 1);
  });

  test('pipelined requests are answered in order', async () => {
    const seen: string[] = [];
    await using upstream = await startUpstream(answering(seen, (head) => ok(/\/(\d+) /.exec(head)?.[1] ?? '')));
    await using gate = await open(upstream);
    const text = await exchange(
      gate,
      Array.from({ length: 30 }, (_, index) => `GET /${index} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`).join(''),
    );
    assert.deepEqual(
      text
        .split('HTTP/1.1 200 OK')
        .slice(1)
        .map((part) => part.split('\r\n\r\n')[1]),
      Array.from({ length: 30 }, (_, index) => String(index)),
    );
  });

  test('HEAD, 204 and 304 have no body, whatever their fields say', async () => {
    await using upstream = await startUpstream(
      answering([], (head) => {
        if (head.startsWith('HEAD')) return 'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n';
        return head.includes('/304')
          ? 'HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n'
          : 'HTTP/1.1 204 No Content\r\n\r\n';
      }),
    );
    await using gate = await open(upstream);
    const text = await exchange(gate, GET.replace('GET', 'HEAD') + GET.replace('/path', '/304') + GET);
    assert.deepEqual(
      [...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status),
      ['200', '304', '204'],
    );
    assert.match(text, /content-length: 500/i);
  });

  test('a pooled connection that the upstream has closed is replaced for a GET', async () => {
    const seen: string[] = [];
    let count = 0;
    await using upstream = await startUpstream((socket) => {
      count += 1;
      if (count === 1) {
        socket.once('data', () => {
          socket.write(ok('first'));
          // Half-closed after the next request came: the race that every pool meets.
          socket.once('data', () => socket.destroy());
        });
      } else {
        answering(seen, () => ok('second'))(socket);
      }
    });
    await using gate = await open(upstream);
    const socket = await gate.connectTls(HOST, 443);
    socket.write(GET);
    await receive(socket, 'first');
    socket.write(GET);
    assert.match(await receive(socket, 'second'), /^HTTP\/1\.1 200/);
    socket.destroy();
  });

  test('a client that half-closes after its request still gets the answer', async () => {
    await using upstream = await startUpstream((socket) => {
      socket.once('data', () => setTimeout(() => socket.write(ok('late')), 50));
    });
    await using gate = await open(upstream);
    assert.match(await exchange(gate, GET), /late$/);
  });

  test('an HTTP/1.0 client gets its answer without chunks, and the connection closed', async () => {
    await using upstream = await startUpstream(
      answering([], () => 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n'),
    );
    await using gate = await open(upstream);
    const text = await exchange(gate, GET.replace('HTTP/1.1', 'HTTP/1.0'));
    assert.match(text, /\r\n\r\nabc$/);
    assert.match(text, /connection: close/i);
  });

  test('a client that does not read stops the upstream', async () => {
    let written = 0;
    await using upstream = await startUpstream((socket) => {
      const piece = Buffer.alloc(256 * 1024, 'z');
      const produce = (): void => {
        while (!socket.destroyed && written < 512 * 1024 * 1024) {
          written += piece.length;
          if (!socket.write(piece)) return;
        }
      };
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        produce();
      });
      socket.on('drain', produce);
    });
    await using gate = await open(upstream);
    const socket = await gate.connectTls(HOST, 443);
    socket.pause();
    socket.write(GET);
    let last = -1;
    while (last !== written || written === 0) {
      last = written;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    // Kernel buffers of four sockets, and one window in the gate.
    assert.ok(written < 64 * 1024 * 1024, `the upstream could write ${written} bytes`);
    socket.destroy();
  });
});

describe('authority', () => {
  const cases: readonly { name: string; request: string; status: number; code: string }[] = [
    { name: 'another Host', request: GET.replace(`Host: ${HOST}`, 'Host: evil.example.com'), status: 421, code: 'AUTHORITY_MISMATCH' },
    { name: 'another port', request: GET.replace(`Host: ${HOST}`, `Host: ${HOST}:8443`), status: 421, code: 'AUTHORITY_MISMATCH' },
    { name: 'absolute-form for another host', request: GET.replace('/path', 'https://evil.example.com/path'), status: 421, code: 'AUTHORITY_MISMATCH' },
    { name: 'absolute-form with another scheme', request: GET.replace('/path', `http://${HOST}/path`), status: 421, code: 'AUTHORITY_MISMATCH' },
    { name: 'userinfo', request: GET.replace('/path', `https://${HOST}@evil.example.com/path`), status: 400, code: 'MALFORMED_REQUEST' },
    { name: 'two Host fields', request: GET.replace('\r\nAuth', `\r\nHost: ${HOST}\r\nAuth`), status: 400, code: 'MALFORMED_REQUEST' },
    { name: 'no Host field', request: GET.replace(`Host: ${HOST}\r\n`, ''), status: 400, code: 'MALFORMED_REQUEST' },
    { name: 'a NUL in Host', request: GET.replace(`Host: ${HOST}`, `Host: ${HOST}\0.evil.example.com`), status: 400, code: 'MALFORMED_REQUEST' },
    { name: 'a look-alike Host', request: GET.replace(`Host: ${HOST}`, 'Host: xn--pi-6kc.example.com'), status: 421, code: 'AUTHORITY_MISMATCH' },
    { name: 'CONNECT', request: `CONNECT ${HOST}:443 HTTP/1.1\r\nHost: ${HOST}:443\r\n\r\n`, status: 405, code: 'METHOD_REFUSED' },
    { name: 'two lengths', request: GET.replace('\r\n\r\n', '\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n'), status: 400, code: 'MALFORMED_REQUEST' },
    { name: 'a folded field', request: GET.replace('\r\nAuth', '\r\nX: a\r\n b\r\nAuth'), status: 400, code: 'MALFORMED_REQUEST' },
    { name: 'a bare line feed', request: GET.replace('\r\nAuth', '\nAuth'), status: 400, code: 'MALFORMED_REQUEST' },
    { name: '500 KB of fields', request: GET.replace('\r\nAuth', `\r\nX: ${'a'.repeat(500_000)}\r\nAuth`), status: 431, code: 'HEAD_TOO_LARGE' },
    { name: 'WebSocket without a key', request: GET.replace('\r\nAuth', '\r\nUpgrade: websocket\r\nConnection: upgrade\r\nAuth'), status: 400, code: 'MALFORMED_REQUEST' },
  ]; // prettier-ignore
  const seen: string[] = [];
  let upstream: RawUpstream;
  let gate: LoopbackGate;
  before(async () => {
    upstream = await startUpstream(answering(seen, () => ok('fine')));
    gate = await open(upstream);
  });
  after(async () => {
    await gate[Symbol.asyncDispose]();
    await upstream[Symbol.asyncDispose]();
  });

  for (const { name, request, status, code } of cases) {
    test(`${name} is answered with ${status} and sends nothing`, async () => {
      seen.length = 0;
      const text = await exchange(gate, request);
      assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `));
      assert.match(text, new RegExp(`"code":"${code}"`));
      assert.deepEqual(seen, []);
      assert.equal(gate.events.at(-1)?.code, code);
    });
  }

  test('the same origin in other spellings gets the value', async () => {
    for (const spelling of ['API.Example.COM', `${HOST}.`, `${HOST}:443`]) {
      seen.length = 0;
      assert.match(await exchange(gate, GET.replace(`Host: ${HOST}`, `Host: ${spelling}`)), /fine$/);
      assert.match(seen[0] ?? '', new RegExp(`^GET /path\\?q=1 HTTP/1\\.1\r\nHost: ${HOST}\r\n`));
      assert.ok(seen[0]?.includes(VALUE));
    }
  });

  test('a kept-alive connection does not serve another host', async () => {
    seen.length = 0;
    const text = await exchange(gate, GET + GET.replace(`Host: ${HOST}`, 'Host: evil.example.com'));
    assert.match(text, /fineHTTP\/1\.1 421 /);
    assert.equal(seen.length, 1);
  });

  test('a server name that is not the resolved name gets 421, none as well', async () => {
    seen.length = 0;
    for (const [servername, code] of [
      ['evil.example.com', 'AUTHORITY_MISMATCH'],
      ['', 'SNI_MISSING'],
    ] as const) {
      const socket = await gate.connectTls(HOST, 443, { servername, rejectUnauthorized: false });
      socket.end(GET);
      const text = await receive(socket);
      assert.match(text, /^HTTP\/1\.1 421 /);
      assert.match(text, new RegExp(code));
    }
    assert.deepEqual(seen, []);
  });
});

describe('a connection that ends badly', () => {
  test('is recorded only when it ends in its handshake', async () => {
    await using upstream = await startUpstream(answering([], () => ok('fine')));
    await using gate = await open(upstream);
    const raw = await gate.connect(HOST, 443);
    const [near, far] = duplexPair();
    far.pipe(raw).pipe(far);
    const secure = tls.connect({ socket: near, ca: gate.caPem, servername: HOST });
    secure.on('error', () => undefined);
    secure.write(GET);
    await receive(secure, 'fine');
    // No record of TLS: the gate's side fails.
    raw.write('garbage that is no record of TLS');
    while (gate.open.gate.connectionCount > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(
      gate.events.map(({ kind, decision }) => [kind, decision]),
      [['request', 'allow']],
    );

    // A client with which the gate shares no cipher.
    const rsaOnly = { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' } as const;
    await assert.rejects(gate.connectTls(HOST, 443, rsaOnly));
    while (gate.events.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(
      [gate.events[1]?.kind, gate.events[1]?.rule],
      ['connection', 'the client ended the TLS handshake'],
    );
  });

  test('a client that pipelines and reads nothing is not answered without end', async () => {
    let answered = 0;
    const body = Buffer.alloc(60_000, 'z');
    await using upstream = await startUpstream(
      answering([], () => {
        answered += 1;
        return ok(body);
      }),
    );
    await using gate = await open(upstream);
    const socket = await gate.connectTls(HOST, 443);
    socket.on('error', () => undefined);
    socket.pause();
    socket.write(GET.repeat(5_000));
    for (let last = -1; last !== answered || answered === 0;) {
      last = answered;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    // Kernel buffers of two sockets, and one window in the gate.
    assert.ok(
      answered * body.length < 64 * 1024 * 1024,
      `${answered} answers were fetched for a client that reads none`,
    );
    socket.destroy();
  });
});

describe('policy', () => {
  test('a denied host is told what would allow it, on 443 and on 80', async () => {
    await using upstream = await startUpstream(() => undefined);
    await using gate = await open(upstream);
    const secure = await gate.connectTls('example.org', 443);
    secure.end('GET / HTTP/1.1\r\nHost: example.org\r\n\r\n');
    const text = await receive(secure);
    assert.match(text, /^HTTP\/1\.1 403 /);
    assert.match(text, /content-type: application\/problem\+json/);
    assert.match(text, /--allow example\.org:443/);
    const plain = await gate.connect('example.org', 80);
    plain.end('GET / HTTP/1.1\r\nHost: example.org\r\n\r\n');
    assert.match(await receive(plain), /--allow example\.org:80/);
    assert.deepEqual(
      gate.events.map(({ decision, code, host }) => [decision, code, host]),
      [
        ['deny', 'HOST_DENIED', 'example.org'],
        ['deny', 'HOST_DENIED', 'example.org'],
      ],
    );
  });

  test('an address that was never given out, and a literal one that no rule names, get nowhere', async () => {
    await using upstream = await startUpstream(() => undefined);
    await using gate = await open(upstream);
    // Whether the client sees its connection made before it is reset is a matter of time.
    const unknown = await gate.connect('198.18.200.200', 443).catch(() => null);
    if (unknown !== null) assert.equal(await receive(unknown), '');
    assert.equal(gate.events[0]?.code, 'HOST_DENIED');
    const metadata = await gate.connect('169.254.169.254', 80);
    metadata.end('GET /latest/meta-data HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n');
    assert.match(await receive(metadata), /^HTTP\/1\.1 403 /);
  });

  test('a name that resolves to a private address is refused though the name is allowed', async () => {
    await using upstream = await startUpstream(() => undefined);
    await using gate = await open(upstream, { allow: ['localhost:443'], resolve: [] });
    const socket = await gate.connectTls('localhost', 443);
    socket.end('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
    const text = await receive(socket);
    assert.match(text, /^HTTP\/1\.1 403 /);
    assert.match(text, /ADDRESS_DENIED/);
  });

  test('a tunnel passes TLS through unopened, and checks the server name', async () => {
    await using upstream = await startUpstream(
      (socket) => socket.once('data', () => socket.end(ok('direct'))),
      ['pinned.example.com'],
    );
    await using gate = await open(upstream, {
      allow: ['pinned.example.com'],
      tunnel: ['pinned.example.com'],
      resolve: [`pinned.example.com:443:127.0.0.1:${upstream.port}`],
    });
    const socket = await gate.connectTls('pinned.example.com', 443, { ca: authority.certificatePem });
    socket.write('GET / HTTP/1.1\r\nHost: pinned.example.com\r\n\r\n');
    assert.match(await receive(socket, 'direct'), /direct$/);
    await assert.rejects(
      gate.connectTls('pinned.example.com', 443, { ca: authority.certificatePem, servername: 'other.example.com' }),
    );
    socket.destroy();
    while (gate.events.length < 1) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.ok(gate.events.some(({ kind, decision }) => kind === 'tunnel' && decision === 'allow'));
  });

  test('a sandbox without secrets tunnels all TLS', async () => {
    await using upstream = await startUpstream(answering([], () => ok('direct')));
    await using gate = await open(upstream, { secrets: [], allow: [HOST] });
    const socket = await gate.connectTls(HOST, 443, { ca: authority.certificatePem });
    socket.write(GET);
    assert.match(await receive(socket, 'direct'), /direct$/);
    socket.destroy();
  });

  test('plain TCP to an allowed port by name does not wait for the client', async () => {
    await using upstream = await startUpstream((socket) => socket.end('220 banner\r\n'), [HOST], false);
    await using gate = await open(upstream, {
      allow: ['mail.example.com:25'],
      resolve: [`mail.example.com:25:127.0.0.1:${upstream.port}`],
    });
    const socket = await gate.connect('mail.example.com', 25);
    assert.equal(await receive(socket), '220 banner\r\n');
    socket.destroy();
  });
});

describe('upstream failures are told in words', () => {
  for (const kind of ['expired', 'self-signed', 'wrong-name', 'foreign-authority'] as const) {
    test(`a certificate that is ${kind}`, async () => {
      const server = tls.createServer({ ...(await authority.issue([HOST], kind)) }, () => undefined);
      server.on('tlsClientError', () => undefined);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as net.AddressInfo;
      await using gate = await openLoopbackGate({
        secrets: [`TOKEN=${VALUE}@${HOST}`],
        resolve: [`${HOST}:443:127.0.0.1:${port}`],
        upstreamCa: authority.certificatePem,
      });
      const text = await exchange(gate, GET);
      assert.match(text, /^HTTP\/1\.1 502 /);
      assert.match(text, /UPSTREAM_TLS_FAILED/);
      assert.equal(gate.events[0]?.decision, 'error');
      assert.deepEqual(gate.events[0]?.secrets, []);
      await new Promise((resolve) => server.close(resolve));
    });
  }

  const answers: readonly { name: string; wire: string; code: string }[] = [
    { name: 'garbage', wire: 'SSH-2.0-OpenSSH_9.2\r\n\r\n', code: 'UPSTREAM_MALFORMED' },
    { name: 'nothing at all', wire: '', code: 'UPSTREAM_UNREACHABLE' },
    { name: 'half a head', wire: 'HTTP/1.1 200 OK\r\ncontent-le', code: 'UPSTREAM_MALFORMED' },
    {
      name: 'two lengths',
      wire: 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx',
      code: 'UPSTREAM_MALFORMED',
    },
    {
      name: 'a protocol switch',
      wire: 'HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n',
      code: 'UPSTREAM_MALFORMED',
    },
  ];
  for (const { name, wire, code } of answers) {
    test(`an upstream that answers ${name}`, async () => {
      await using upstream = await startUpstream((socket) => socket.once('data', () => socket.end(wire)));
      await using gate = await open(upstream);
      const text = await exchange(gate, GET);
      assert.match(text, /^HTTP\/1\.1 502 /);
      assert.match(text, new RegExp(code));
    });
  }

  test('an upstream that nobody listens at', async () => {
    const upstream = await startUpstream(() => undefined);
    await upstream[Symbol.asyncDispose]();
    await using gate = await open(upstream);
    assert.match(await exchange(gate, GET), /UPSTREAM_UNREACHABLE/);
  });
});

// Long enough for a handshake on a busy machine.
describe('time limits', { concurrency: true }, () => {
  const timeLimits = {
    headMs: 2500,
    bodyIdleMs: 1000,
    responseHeadMs: 1000,
    responseIdleMs: 1000,
    sweepMs: 10,
    lingerMs: 500,
  };
  test('a request head that trickles gets 408', async () => {
    await using upstream = await startUpstream(() => undefined);
    await using gate = await open(upstream, { timeLimits });
    const socket = await gate.connectTls(HOST, 443);
    socket.write('GET / HTTP/1.1\r\nHos');
    assert.match(await receive(socket), /^HTTP\/1\.1 408 .*CLIENT_TIMEOUT/s);
  });
  test('a request body that stops gets 408', async () => {
    await using upstream = await startUpstream(() => undefined);
    await using gate = await open(upstream, { timeLimits });
    const socket = await gate.connectTls(HOST, 443);
    socket.write(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 10\r\n\r\nabc`);
    assert.match(await receive(socket), /^HTTP\/1\.1 408 /);
  });
  test('an upstream that does not answer gets 504', async () => {
    await using upstream = await startUpstream((socket) => socket.resume());
    await using gate = await open(upstream, { timeLimits });
    assert.match(await exchange(gate, GET), /^HTTP\/1\.1 504 .*UPSTREAM_TIMEOUT/s);
  });
  test('an upstream that stops in the middle is cut', async () => {
    await using upstream = await startUpstream((socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nxyz\r\n'));
    });
    await using gate = await open(upstream, { timeLimits });
    const text = await exchange(gate, GET);
    assert.match(text, /xyz\r\n$/);
    assert.equal(gate.events.at(-1)?.code, 'UPSTREAM_TIMEOUT');
  });
  test('a ClientHello that never comes ends the connection', async () => {
    await using upstream = await startUpstream(() => undefined);
    await using gate = await open(upstream, { timeLimits });
    const socket = await gate.connect(HOST, 443);
    socket.write(Buffer.from([22, 3, 1]));
    assert.equal(await receive(socket), '');
    while (gate.open.gate.connectionCount > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  });
});

/** Answers each request with the bytes of its body. */
function echoBodies(socket: net.Socket): void {
  let pending: Buffer = Buffer.alloc(0);
  let left = 0;
  let chunked: Buffer[] | null = null;
  socket.on('data', (chunk: Buffer) => {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    for (;;) {
      if (left > 0) {
        const part = pending.subarray(0, left);
        pending = pending.subarray(part.length);
        left -= part.length;
        if (part.length > 0 && !socket.write(part)) {
          socket.pause();
          socket.once('drain', () => socket.resume());
        }
        if (left > 0) return;
        continue;
      }
      if (chunked !== null) {
        const end = pending.indexOf('\r\n');
        if (end < 0) return;
        const size = Number.parseInt(pending.subarray(0, end).toString('latin1'), 16);
        if (pending.length < end + 4 + size) return;
        if (size > 0) chunked.push(Buffer.from(pending.subarray(end + 2, end + 2 + size)));
        pending = pending.subarray(end + 4 + size);
        if (size === 0) {
          const body = Buffer.concat(chunked);
          chunked = null;
          socket.write(ok(body));
        }
        continue;
      }
      const end = pending.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = pending.subarray(0, end).toString('latin1');
      pending = pending.subarray(end + 4);
      const length = /content-length: (\d+)/i.exec(head)?.[1];
      if (length === undefined) {
        chunked = [];
      } else {
        left = Number(length);
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${length}\r\n\r\n`);
      }
    }
  });
}

/** The body of a response text, its chunks joined. */
function dechunk(text: string): string {
  let rest = text.slice(text.indexOf('\r\n\r\n') + 4);
  if (!/transfer-encoding: chunked/i.test(text.slice(0, text.indexOf('\r\n\r\n')))) return rest;
  let body = '';
  for (;;) {
    const end = rest.indexOf('\r\n');
    if (end < 0) return body;
    const size = Number.parseInt(rest.slice(0, end), 16);
    if (!(size > 0)) return body;
    body += rest.slice(end + 2, end + 2 + size);
    rest = rest.slice(end + 4 + size);
  }
}
