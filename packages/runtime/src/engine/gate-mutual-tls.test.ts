import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import http2 from 'node:http2';
import net from 'node:net';
import { before, describe, test } from 'node:test';
import tls from 'node:tls';
import { inspect } from 'node:util';
import { createAuthority, type Identity, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { ClientCertificate } from '../tls/client-certificate.ts';
import {
  openLoopbackGate,
  placeholderOf,
  receive,
  type LoopbackGate,
  type LoopbackOptions,
} from './loopback.testing.ts';

const HOST = 'internal.example.com';
const VALUE = 'canary-value-4711';
const GET = `GET /who HTTP/1.1\r\nHost: ${HOST}\r\nAuthorization: Bearer ${placeholderOf('TOKEN')}\r\n\r\n`;
const VERSIONS = ['TLSv1.2', 'TLSv1.3'] as const;

let authority: TestAuthority;
let clients: TestAuthority;
let alice: Identity;
before(async () => {
  [authority, clients] = await Promise.all([createAuthority(), createAuthority('Authority of clients')]);
  alice = await clients.issueClient('alice');
});

interface Upstream extends AsyncDisposable {
  readonly port: number;
  /** Who each request came from: the common name of the client certificate, or null; and whether the session was resumed. */
  readonly seen: { readonly client: string | null; readonly resumed: boolean; readonly authorization: string }[];
  /** The bytes that came, as they were on the wire. */
  readonly wire: Buffer[];
}

/** An upstream that asks for client certificates; it answers with whom it saw. */
async function startUpstream(options: tls.TlsOptions & { readonly protocol?: 'h2' } = {}): Promise<Upstream> {
  const seen: Upstream['seen'] = [];
  const sockets = new Set<net.Socket>();
  const note = (socket: tls.TLSSocket, authorization: string): string => {
    const client = socket.getPeerX509Certificate()?.subject.replace('CN=', '') ?? null;
    seen.push({ client, resumed: socket.isSessionReused(), authorization });
    return `you are ${client}`;
  };
  const settings = {
    ...(await authority.issue([HOST])),
    requestCert: true,
    ca: clients.certificatePem,
    ...options,
  };
  const server =
    options.protocol === 'h2'
      ? http2
          .createSecureServer({ ...settings, allowHTTP1: false })
          .on('stream', (stream: http2.ServerHttp2Stream, headers) => {
            const { socket } = stream.session as unknown as { socket: tls.TLSSocket };
            stream.on('error', () => undefined);
            stream.respond({ ':status': 200 });
            stream.end(note(socket, String(headers.authorization)));
          })
      : tls.createServer(settings, (socket) => {
          socket.on('error', () => undefined);
          let pending = '';
          socket.on('data', (chunk: Buffer) => {
            pending += chunk.toString('latin1');
            if (!pending.endsWith('\r\n\r\n')) return;
            const authorization = /^authorization: (.*)\r$/im.exec(pending)?.[1] ?? '';
            pending = '';
            const body = note(socket, authorization);
            socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
          });
        });
  server.on('tlsClientError', () => undefined);
  const wire: Buffer[] = [];
  // In front of it, what an eavesdropper sees.
  const front = net.createServer((socket) => {
    const inner = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
    for (const [one, other] of [
      [socket, inner],
      [inner, socket],
    ] as const) {
      sockets.add(one);
      one.on('error', () => other.destroy());
      one.pipe(other);
    }
    socket.on('data', (chunk: Buffer) => wire.push(chunk));
  });
  await Promise.all(
    [server, front].map((each) => new Promise<void>((resolve) => each.listen(0, '127.0.0.1', () => resolve()))),
  );
  return {
    port: (front.address() as net.AddressInfo).port,
    seen,
    wire,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await Promise.all([server, front].map((each) => new Promise((resolve) => each.close(resolve))));
    },
  };
}

function certificateFor(identity: Identity, host = HOST, port = 443): ClientCertificate {
  return new ClientCertificate({ host, port, origin: `--client-cert ${host}`, cert: identity.cert, key: identity.key });
}

async function open(upstream: Upstream, options: LoopbackOptions = {}): Promise<LoopbackGate> {
  return openLoopbackGate({
    resolve: [HOST, 'other.example.com'].flatMap((host) =>
      [443, 8443].map((port) => `${host}:${port}:127.0.0.1:${upstream.port}`),
    ),
    upstreamCa: authority.certificatePem,
    clientCertificates: [certificateFor(alice)],
    ...options,
  });
}

async function ask(gate: LoopbackGate, host = HOST, port = 443, request = GET): Promise<string> {
  const socket = await gate.connectTls(host, port);
  socket.end(request.replace(HOST, port === 443 ? host : `${host}:${port}`));
  const text = await receive(socket);
  socket.destroy();
  return text;
}

describe('a client certificate of the operator', () => {
  for (const version of VERSIONS) {
    test(`opens its host over ${version}, beside a secret and without one`, async () => {
      await using upstream = await startUpstream({ maxVersion: version, rejectUnauthorized: true });
      await using gate = await open(upstream, { secrets: [`TOKEN=${VALUE}@${HOST}`] });
      assert.match(await ask(gate), /^HTTP\/1\.1 200 [^]*you are alice$/);
      await using bare = await open(upstream);
      assert.match(await ask(bare), /^HTTP\/1\.1 200 [^]*you are alice$/);
      assert.deepEqual(
        upstream.seen.map(({ client, authorization }) => [client, authorization]),
        [
          ['alice', `Bearer ${VALUE}`],
          ['alice', `Bearer ${placeholderOf('TOKEN')}`],
        ],
      );
      assert.deepEqual([gate.events[0]?.decision, bare.events[0]?.rule], ['allow', `--client-cert ${HOST}`]);
    });
  }

  test('is not shown to a server that has not proved to be the host', async () => {
    for (const version of VERSIONS) {
      const der = new X509Certificate(alice.cert).raw;
      for (const kind of ['expired', 'not-yet-valid', 'self-signed', 'wrong-name', 'foreign-authority'] as const) {
        // It takes whatever it gets: a thief of certificates, or a listener in between.
        await using upstream = await startUpstream({
          ...(await authority.issue([HOST], kind)),
          minVersion: version,
          maxVersion: version,
          rejectUnauthorized: false,
        });
        await using gate = await open(upstream);
        const text = await ask(gate);
        assert.match(text, /^HTTP\/1\.1 502 [^]*UPSTREAM_TLS_FAILED/, kind);
        assert.match(text, /its certificate|its authority|the authority|its chain/, kind);
        assert.deepEqual(upstream.seen, []);
        // Of two dials at most each sent its ClientHello, and nothing behind it.
        const wire = Buffer.concat(upstream.wire);
        assert.ok(!wire.includes(der), `${kind}: the certificate was sent`);
        for (const hello of upstream.wire) assert.deepEqual([...hello.subarray(0, 2)], [22, 3], kind);
      }
    }
  });

  test('goes over HTTP/2 as well', async () => {
    await using upstream = await startUpstream({ protocol: 'h2', rejectUnauthorized: true });
    await using gate = await open(upstream);
    const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] });
    const session = http2.connect(`https://${HOST}`, { createConnection: () => socket });
    session.on('error', () => undefined);
    const stream = session.request({ ':path': '/who' });
    let body = '';
    for await (const chunk of stream) body += String(chunk);
    assert.equal(body, 'you are alice');
    session.destroy();
  });

  test('takes its intermediate certificates along', async () => {
    const identity = await clients.issueClient('bob', 'intermediate');
    for (const maxVersion of VERSIONS) {
      await using upstream = await startUpstream({ maxVersion, rejectUnauthorized: true });
      await using gate = await open(upstream, { clientCertificates: [certificateFor(identity)] });
      assert.match(await ask(gate), /you are bob$/);
    }
  });

  test('is for its host and its port alone', async () => {
    await using upstream = await startUpstream({
      ...(await authority.issue([HOST, 'other.example.com'])),
      rejectUnauthorized: false,
    });
    await using gate = await open(upstream, {
      secrets: [`TOKEN=${VALUE}@other.example.com,${HOST}:8443`],
      clientCertificates: [certificateFor(alice)],
    });
    assert.match(await ask(gate), /you are alice$/);
    assert.match(await ask(gate, 'other.example.com'), /you are null$/);
    assert.match(await ask(gate, HOST, 8443), /you are null$/);
    await using moved = await open(upstream, { clientCertificates: [certificateFor(alice, HOST, 8443)] });
    assert.match(await ask(moved, HOST, 8443), /you are alice$/);
  });

  test('makes connections and sessions that no other sandbox uses', async () => {
    for (const maxVersion of VERSIONS) {
      await using upstream = await startUpstream({ maxVersion, rejectUnauthorized: false });
      await using first = await open(upstream);
      await using second = await open(upstream, {
        secrets: [`TOKEN=${VALUE}@${HOST}`],
        clientCertificates: [],
      });
      await using third = await open(upstream, {
        clientCertificates: [certificateFor(await clients.issueClient('carol'))],
      });
      for (const round of [1, 2]) {
        // The pool is left aside, so that each round dials.
        for (const gate of [first, second, third]) {
          const text = await ask(gate, HOST, 443, GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
          assert.match(text, /^HTTP\/1\.1 200 /, `round ${round}`);
        }
      }
      assert.deepEqual(
        upstream.seen.map(({ client }) => client),
        ['alice', null, 'carol', 'alice', null, 'carol'],
      );
    }
  });

  test('shows its key nowhere', () => {
    const certificate = certificateFor(alice);
    certificate.context(authority.certificatePem);
    const secret = alice.key.split('\n')[1] ?? '';
    assert.ok(secret.length > 40);
    const outputs = [
      JSON.stringify(certificate),
      Object.values(certificate).map(String).join(),
      inspectDeeply(certificate),
    ];
    for (const output of outputs) assert.ok(!output.includes(secret), output);
  });
});

describe('an upstream that is not content is told of in words', () => {
  for (const maxVersion of VERSIONS) {
    test(`it wants a certificate and none is there (${maxVersion})`, async () => {
      await using upstream = await startUpstream({ maxVersion, rejectUnauthorized: true });
      await using gate = await open(upstream, {
        secrets: [`TOKEN=${VALUE}@${HOST}`],
        clientCertificates: [],
      });
      for (const request of [
        GET,
        GET.replace('GET /who', 'POST /who').replace('\r\n\r\n', '\r\nContent-Length: 0\r\n\r\n'),
      ]) {
        const text = await ask(gate, HOST, 443, request);
        assert.match(text, /^HTTP\/1\.1 502 [^]*UPSTREAM_TLS_FAILED/);
        assert.match(text, /wants a client certificate[^]*--client-cert HOST=CERT_FILE,KEY_FILE/);
      }
      assert.deepEqual(upstream.seen, []);
      assert.equal(gate.events[0]?.code, 'UPSTREAM_TLS_FAILED');
    });

    test(`it does not accept the one that it gets (${maxVersion})`, async () => {
      const stranger = await (await createAuthority('Somebody else')).issueClient('mallory');
      await using upstream = await startUpstream({ maxVersion, rejectUnauthorized: true });
      await using gate = await open(upstream, { clientCertificates: [certificateFor(stranger)] });
      const text = await ask(gate);
      assert.match(text, /^HTTP\/1\.1 502 [^]*UPSTREAM_TLS_FAILED/);
      assert.ok(text.includes(`may not accept the client certificate of --client-cert ${HOST}`), text);
    });
  }

  test('over HTTP/2 too, whatever the upstream speaks', async () => {
    for (const protocol of ['h2', undefined] as const) {
      await using upstream = await startUpstream({
        ...(protocol === undefined ? {} : { protocol }),
        rejectUnauthorized: true,
      });
      await using gate = await open(upstream, { secrets: [`TOKEN=${VALUE}@${HOST}`], clientCertificates: [] });
      const socket = await gate.connectTls(HOST, 443, { ALPNProtocols: ['h2'] });
      const session = http2.connect(`https://${HOST}`, { createConnection: () => socket });
      session.on('error', () => undefined);
      const stream = session.request({ ':path': '/who' });
      let body = '';
      for await (const chunk of stream) body += String(chunk);
      assert.match(body, /UPSTREAM_TLS_FAILED/);
      assert.match(body, /wants a client certificate[^]*--client-cert/);
      session.destroy();
    }
  });
});

/** Everything that a debugger's print of an object shows. */
function inspectDeeply(value: unknown): string {
  return inspect(value, { depth: 9, showHidden: true, maxArrayLength: null, maxStringLength: null });
}
