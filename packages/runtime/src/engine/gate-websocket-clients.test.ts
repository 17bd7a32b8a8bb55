import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { createRequire } from 'node:module';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { openLoopbackGate, placeholderOf, type LoopbackGate } from './loopback.testing.ts';

/** What these tests use of `ws`. */
interface WebSocket extends NodeJS.EventEmitter {
  readonly extensions: string;
  readonly protocol: string;
  send(data: string | Buffer, options?: { binary?: boolean; compress?: boolean; fin?: boolean }): void;
  ping(data: string): void;
  close(code: number, reason: string): void;
  terminate(): void;
}
interface Ws {
  new (url: string, protocols: string[], options: object): WebSocket;
  readonly WebSocketServer: new (options: object) => {
    handleUpgrade(request: unknown, socket: Duplex, head: Buffer, done: (socket: WebSocket) => void): void;
  };
}

const VALUE = 'canary"value-4711';
const PLACEHOLDER = placeholderOf('TOKEN');
const HOST = 'ws.example.com';

const Ws = ((): Ws | null => {
  try {
    return createRequire(import.meta.url)('ws') as Ws;
  } catch {
    return null;
  }
})();

const hasPython = ((): boolean => {
  try {
    execFileSync('python3', ['-c', 'import websockets.sync.client'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

interface Server extends AsyncDisposable {
  readonly gate: LoopbackGate;
  /** Messages that the server got. */
  readonly got: string[];
  readonly authorization: string[];
  /** Connects a client through the gate, as one TCP connection to it. */
  readonly port: number;
}

const LONG = Array.from({ length: 50 }, () => 'l'.repeat(3999) + VALUE).join('');

/** A server made of `ws` that says its value in every way, then echoes, behind a gate. */
async function start(Library: Ws, perMessageDeflate: boolean | object, secretIn: readonly string[]): Promise<Server> {
  const got: string[] = [];
  const authorization: string[] = [];
  const server = https.createServer(await authority.issue([HOST]));
  const sockets = new Library.WebSocketServer({ noServer: true, perMessageDeflate });
  server.on('upgrade', (request, socket, head) => {
    authorization.push(request.headers.authorization ?? '');
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('error', () => undefined);
      webSocket.on('message', (data: Buffer, isBinary: boolean) => {
        got.push(data.toString());
        if (data.toString() === 'bye') webSocket.close(4001, `no ${VALUE}`.slice(0, 100));
        else webSocket.send(data, { binary: isBinary });
      });
      webSocket.send(`text ${VALUE}`);
      webSocket.send(Buffer.from(`binary ${VALUE}`));
      webSocket.send(LONG);
      webSocket.send(VALUE.slice(0, 6), { fin: false });
      webSocket.send(VALUE.slice(6), { fin: true });
      webSocket.ping('are you there');
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const gate = await openLoopbackGate({
    secrets: [`TOKEN=${VALUE}@${HOST}`],
    secretIn,
    upstreamCa: authority.certificatePem,
    resolve: [`${HOST}:443:127.0.0.1:${(server.address() as net.AddressInfo).port}`],
  });
  const bridge = net.createServer((socket) => {
    socket.on('error', () => undefined);
    void gate.connect(HOST, 443).then((inner) => {
      inner.on('error', () => undefined);
      socket.pipe(inner).pipe(socket);
    });
  });
  await once(bridge.listen(0, '127.0.0.1'), 'listening');
  return {
    gate,
    got,
    authorization,
    port: (bridge.address() as net.AddressInfo).port,
    async [Symbol.asyncDispose]() {
      bridge.close();
      server.close();
      server.closeAllConnections();
      await gate[Symbol.asyncDispose]();
    },
  };
}

const EXPECTED = [`text ${PLACEHOLDER}`, `binary ${PLACEHOLDER}`, LONG.replaceAll(VALUE, PLACEHOLDER), PLACEHOLDER];

const SENT = [
  `plain ${PLACEHOLDER}`,
  JSON.stringify({ token: PLACEHOLDER, filler: 'f'.repeat(2000) }),
  `long ${'x'.repeat(300_000)}${PLACEHOLDER}`,
];

function withValue(text: string): string {
  return text.replaceAll(PLACEHOLDER, text.startsWith('{') ? JSON.stringify(VALUE).slice(1, -1) : VALUE);
}

const COMPRESSION = {
  'without compression': false,
  'with permessage-deflate': { threshold: 0 },
  'with permessage-deflate without context takeover': {
    threshold: 0,
    serverNoContextTakeover: true,
    clientNoContextTakeover: true,
    serverMaxWindowBits: 10,
    clientMaxWindowBits: 9,
  },
} as const;

for (const secretIn of [['header'], ['header,websocket']]) {
  for (const [how, perMessageDeflate] of Object.entries(COMPRESSION)) {
    const title = `${how}, --secret-in ${secretIn.join()}`;
    describe(title, () => {
      test('ws, client and server', { skip: Ws === null && 'the package ws is not installed' }, async () => {
        if (Ws === null) return;
        await using server = await start(Ws, perMessageDeflate, secretIn);
        const socket = await server.gate.connectTls(HOST, 443);
        const webSocket = new Ws(`wss://${HOST}/`, ['chat'], {
          perMessageDeflate: perMessageDeflate === false ? false : { threshold: 0 },
          headers: { Authorization: `Bearer ${PLACEHOLDER}` },
          createConnection: () => socket,
        });
        const seen: string[] = [];
        webSocket.on('message', (data: Buffer) => seen.push(data.toString()));
        const untilSeen = async (count: number): Promise<void> => {
          while (seen.length < count) await once(webSocket, 'message');
        };
        await Promise.all([once(webSocket, 'open'), once(webSocket, 'ping')]);
        assert.equal(webSocket.extensions.split(';')[0], perMessageDeflate === false ? '' : 'permessage-deflate');
        await untilSeen(EXPECTED.length);
        assert.deepEqual(seen, EXPECTED);
        for (const text of SENT) webSocket.send(text);
        await untilSeen(EXPECTED.length + SENT.length);
        // What the server echoes comes back as it was sent, whatever was put in for it.
        assert.deepEqual(seen.slice(EXPECTED.length), SENT);
        webSocket.send('bye');
        const [code, reason] = (await once(webSocket, 'close')) as [number, Buffer];
        assert.deepEqual([code, reason.toString()], [4001, `no ${PLACEHOLDER}`]);
        assert.deepEqual(server.got, [...(secretIn[0] === 'header' ? SENT : SENT.map(withValue)), 'bye']);
        assert.deepEqual(server.authorization, [`Bearer ${VALUE}`]);
        while (server.gate.events.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
        assert.deepEqual([server.gate.events[0]?.decision, server.gate.events[0]?.code], ['allow', null]);
      });

      const skip = Ws === null ? 'the package ws is not installed' : !hasPython && 'Python has no websockets';
      test('Python websockets', { skip }, async () => {
        if (Ws === null) return;
        await using server = await start(Ws, perMessageDeflate, secretIn);
        const directory = await mkdtemp(join(tmpdir(), 'sallyport-ws-'));
        try {
          await writeFile(join(directory, 'ca.pem'), server.gate.caPem);
          await writeFile(join(directory, 'sent.json'), JSON.stringify(SENT));
          const { stdout } = await promisify(execFile)(
            'python3',
            ['-c', PYTHON_CLIENT, String(server.port), join(directory, 'ca.pem'), PLACEHOLDER, join(directory, 'sent.json'), perMessageDeflate === false ? '' : 'deflate'],
            { timeout: 20_000, maxBuffer: 64 * 1024 * 1024 },
          ); // prettier-ignore
          const result = JSON.parse(stdout) as { seen: string[]; code: number; reason: string };
          assert.deepEqual(result.seen, [...EXPECTED, ...SENT]);
          assert.deepEqual([result.code, result.reason], [4001, `no ${PLACEHOLDER}`]);
          assert.deepEqual(server.got, [...(secretIn[0] === 'header' ? SENT : SENT.map(withValue)), 'bye']);
          assert.deepEqual(server.authorization, [`Bearer ${VALUE}`]);
        } finally {
          await rm(directory, { recursive: true });
        }
      });
    });
  }
}

const PYTHON_CLIENT = `
import json, socket, ssl, sys
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
port, ca, placeholder, sent, deflate = sys.argv[1:]
sent = json.load(open(sent))
seen = []
def text(message):
    seen.append(message if isinstance(message, str) else message.decode())
with connect("wss://${HOST}/", sock=socket.create_connection(("127.0.0.1", int(port))), max_size=None,
             ssl=ssl.create_default_context(cafile=ca), server_hostname="${HOST}", compression="deflate" if deflate else None,
             additional_headers={"Authorization": "Bearer " + placeholder}) as connection:
    for _ in range(4): text(connection.recv())
    for message in sent: connection.send(message)
    for _ in sent: text(connection.recv())
    connection.send("bye")
    try: connection.recv()
    except ConnectionClosed as closed: code, reason = closed.rcvd.code, closed.rcvd.reason
print(json.dumps({"seen": seen, "code": code, "reason": reason}))
`;
