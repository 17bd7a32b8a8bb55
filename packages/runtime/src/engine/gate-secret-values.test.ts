import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import https from 'node:https';
import type net from 'node:net';
import { before, describe, test } from 'node:test';
import { createAuthority, type TestAuthority } from '../../../../e2e/harness/certificates.ts';
import { openLoopbackGate, placeholderOf, receive, type LoopbackGate } from './loopback.testing.ts';

const HOST = 'api.example.com';
const PLACEHOLDER = placeholderOf('TOKEN');
const PEM = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
const AWKWARD = 'tab\there, "quote", \\, 100 %, €, 🔑 and\r\na second line\n';

let authority: TestAuthority;
before(async () => {
  authority = await createAuthority();
});

interface Setting extends AsyncDisposable {
  readonly gate: LoopbackGate;
  /** Sends a request, and gives the response as the client got it. */
  ask(target: string, type: string, body: string, fields?: string): Promise<string>;
  /** The last request as the upstream got it. */
  readonly target: string;
  readonly body: string;
  readonly fields: Readonly<Record<string, string | string[] | undefined>>;
}

/** A gate for one value, and an upstream that answers with what `answer` makes of the request's body. */
async function open(value: string, secretIn: string, answer: (body: string) => string): Promise<Setting> {
  let target = '';
  let body = '';
  let fields = {};
  const server = https.createServer(await authority.issue([HOST]), (request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      target = request.url ?? '';
      fields = request.headers;
      body = Buffer.concat(pieces).toString();
      response.end(answer(body));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const gate = await openLoopbackGate({
    secrets: [`TOKEN=${value}@${HOST}`],
    secretIn: [secretIn],
    upstreamCa: authority.certificatePem,
    resolve: [`${HOST}:443:127.0.0.1:${(server.address() as net.AddressInfo).port}`],
  });
  return {
    gate,
    async ask(path, type, text, more = '') {
      const socket = await gate.connectTls(HOST, 443);
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(text)}\r\n${more}\r\n${text}`,
      );
      return Buffer.from(await receive(socket), 'latin1').toString();
    },
    get target() {
      return target;
    },
    get body() {
      return body;
    },
    get fields() {
      return fields;
    },
    async [Symbol.asyncDispose]() {
      await gate[Symbol.asyncDispose]();
      server.closeAllConnections();
      server.close();
    },
  };
}

/** What an upstream may make of a value of several lines, or of any characters. */
const ECHOES: Readonly<Record<string, (value: string) => string>> = {
  'as it is': (value) => value,
  'as JSON': (value) => JSON.stringify({ value }),
  'as JSON in ASCII': (value) =>
    JSON.stringify(value).replaceAll(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`),
  'with every character as \\u': (value) =>
    [...Array(value.length).keys()].map((at) => `\\u${value.charCodeAt(at).toString(16).padStart(4, '0')}`).join(''),
  'percent-encoded': (value) => encodeURIComponent(value),
  'as a form': (value) => new URLSearchParams({ value }).toString(),
  'in base64': (value) => Buffer.from(`x${value}`).toString('base64'),
  'in hex': (value) => Buffer.from(value).toString('hex'),
  'with the line ends of Windows': (value) => value.replaceAll(/\r?\n/g, '\r\n'),
  'with the line ends of Unix': (value) => value.replaceAll('\r\n', '\n'),
  'without the white space around it': (value) => value.trim(),
  'without it, as JSON with the line ends of Windows': (value) =>
    JSON.stringify(value.replaceAll(/\r?\n/g, '\r\n').trim()),
  'without it, in base64': (value) => Buffer.from(value.trim()).toString('base64'),
};

/** Pieces of a value that nothing else in a response has. */
function piecesOf(value: string): readonly string[] {
  const lines = value.split(/\r?\n/).filter((line) => line.length >= 8);
  return [...lines, ...lines.map((line) => Buffer.from(line).toString('hex'))];
}

for (const [kind, value] of Object.entries({ 'a PEM key': PEM, 'awkward characters': AWKWARD })) {
  describe(`a value of ${kind}`, () => {
    test('is put into each kind of body as its format asks', async () => {
      await using setting = await open(value, 'body', () => 'ok');
      await setting.ask('/', 'application/json', `{"key":"${PLACEHOLDER}"}`);
      assert.deepEqual(JSON.parse(setting.body), { key: value });
      await setting.ask('/', 'application/x-www-form-urlencoded', `key=${PLACEHOLDER}&x=1`);
      assert.equal(new URLSearchParams(setting.body).get('key'), value);
      await setting.ask('/', 'text/plain', `<${PLACEHOLDER}>`);
      assert.equal(setting.body, `<${value}>`);
      const part = '--b\r\nContent-Disposition: form-data; name="key"\r\n\r\n';
      await setting.ask('/', 'multipart/form-data; boundary=b', `${part}${PLACEHOLDER}\r\n--b--\r\n`);
      assert.equal(setting.body, `${part}${value}\r\n--b--\r\n`);
    });

    test('is put into query and path percent-encoded, and into no header', async () => {
      await using setting = await open(value, 'query,path', () => 'ok');
      await setting.ask(`/a/${PLACEHOLDER}?key=${PLACEHOLDER}`, 'text/plain', '', `X-Key: ${PLACEHOLDER}\r\n`);
      const url = new URL(setting.target, `https://${HOST}`);
      assert.equal(url.searchParams.get('key'), value);
      assert.equal(decodeURIComponent(url.pathname.slice('/a/'.length)), value);
      assert.equal(setting.fields['x-key'], PLACEHOLDER);
    });

    for (const [form, echo] of Object.entries(ECHOES)) {
      test(`does not come back ${form}`, async () => {
        await using setting = await open(value, 'body', (body) => `<${echo(body)}>`);
        const response = await setting.ask('/', 'text/plain', PLACEHOLDER);
        assert.equal(setting.body, value);
        for (const piece of piecesOf(value)) assert.ok(!response.includes(piece), response);
        const body = response.slice(response.indexOf('\r\n\r\n'));
        assert.match(body, /sp_TOKEN_|c3BfVE9LRU5f|BfVE9LRU5f|wX1RPS0VOX|73705f544f4b454e/);
        assert.ok(setting.gate.events[0]?.redactions === 1);
      });
    }
  });
}

test('a value that a header cannot carry is refused when it is set for one', async () => {
  for (const secretIn of ['header', 'basic', 'body,header', 'header:x-key,query']) {
    const opened = openLoopbackGate({ secrets: [`TOKEN=${PEM}@${HOST}`], secretIn: [secretIn] });
    await assert.rejects(opened, { code: 'INVALID_SECRET_VALUE' }, secretIn);
  }
});
