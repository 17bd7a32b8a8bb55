// The load test's client, run in the sandbox: `node client.ts SEED FIRST… HOST`. It writes HTTP/1.1 itself, as no library pipelines or
// cuts bytes anywhere. Prints one JSON line for each mismatch, and a summary at the end.
import { once } from 'node:events';
import tls from 'node:tls';
import { cutBytes, LoadPlan } from './plan.ts';
import type { RequestPlan } from './plan.ts';

const CONNECTIONS = 64;
const MAX_REPORTED_FAILURES = 10;

const [, , seedText = '', host = '', ...phaseEnds] = process.argv;
const placeholder = process.env['TOKEN'] ?? '';
const plan = new LoadPlan(Number(seedText));
let failures = 0;
let completed = 0;

interface Response {
  readonly status: number;
  readonly fields: ReadonlyMap<string, string>;
  readonly body: Buffer;
  readonly trailers: ReadonlyMap<string, string>;
}

function readFields(text: string): Map<string, string> {
  const lines = text.split('\r\n').filter((line) => line !== '');
  return new Map(
    lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
  );
}

/** A connection that is read in the order in which requests were written to it. */
class Connection {
  readonly #socket: tls.TLSSocket;
  #chunks: Buffer[] = [];
  #length = 0;
  #ended = false;
  #wake: (() => void) | undefined;
  #drained: (() => void) | undefined;

  private constructor(socket: tls.TLSSocket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    const wake = (): void => {
      this.#wake?.();
      this.#wake = undefined;
    };
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      wake();
    });
    socket.on('drain', () => this.#drained?.());
    for (const event of ['end', 'close', 'error']) {
      socket.on(event, () => {
        this.#ended = true;
        wake();
        this.#drained?.();
      });
    }
  }

  static async open(): Promise<Connection> {
    const socket = tls.connect({ host, port: 443, servername: host });
    await once(socket, 'secureConnect');
    return new Connection(socket);
  }

  get isOpen(): boolean {
    return !this.#ended;
  }

  close(): void {
    this.#socket.destroy();
  }

  async write(bytes: Buffer, random: () => number): Promise<void> {
    for (const piece of cutBytes(bytes, random)) {
      if (!this.#socket.write(piece)) await new Promise<void>((resolve) => (this.#drained = resolve));
      if (this.#ended) return;
      if (random() < 0.3) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  async #more(): Promise<void> {
    if (this.#ended) throw new Error(`the connection ended with ${this.#length} bytes unread`);
    await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  async #take(length: number): Promise<Buffer> {
    while (this.#length < length) await this.#more();
    const all = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    this.#chunks = all.length > length ? [all.subarray(length)] : [];
    this.#length = all.length - length;
    return all.subarray(0, length);
  }

  async #takeThrough(end: string): Promise<string> {
    for (;;) {
      const all = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
      this.#chunks = all.length > 0 ? [all] : [];
      const index = all.indexOf(end, 0, 'latin1');
      if (index >= 0) return (await this.#take(index + end.length)).toString('latin1').slice(0, -end.length);
      await this.#more();
    }
  }

  async read(isHead: boolean): Promise<Response> {
    const head = await this.#takeThrough('\r\n\r\n');
    const statusLine = head.split('\r\n', 1)[0] ?? '';
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(`${statusLine} `)?.[1]);
    const fields = readFields(head.slice(statusLine.length));
    const none = new Map<string, string>();
    if (isHead || status === 204) return { status, fields, body: Buffer.alloc(0), trailers: none };
    if (fields.get('transfer-encoding') !== 'chunked') {
      const length = Number(fields.get('content-length'));
      if (!Number.isSafeInteger(length)) throw new Error(`no framing: ${JSON.stringify([...fields])}`);
      return { status, fields, body: await this.#take(length), trailers: none };
    }
    const pieces: Buffer[] = [];
    for (;;) {
      const size = Number.parseInt(await this.#takeThrough('\r\n'), 16);
      if (!(size >= 0)) throw new Error('a chunk has no size');
      if (size === 0) break;
      pieces.push(await this.#take(size));
      if ((await this.#take(2)).toString('latin1') !== '\r\n') throw new Error('a chunk has no end');
    }
    let trailers = '';
    for (let line = await this.#takeThrough('\r\n'); line !== ''; line = await this.#takeThrough('\r\n'))
      trailers += `${line}\r\n`;
    return { status, fields, body: Buffer.concat(pieces), trailers: readFields(trailers) };
  }
}

function encodeRequest(request: RequestPlan): Buffer {
  const lines = [`${request.method} /load/${request.id}?q=${request.id} HTTP/1.1`, `Host: ${host}`];
  if (request.coding === 'gzip') lines.push('Accept-Encoding: gzip');
  if (request.clientCloses) lines.push('Connection: close');
  if (request.credential === 'bearer') lines.push(`Authorization: Bearer ${placeholder}`);
  if (request.credential === 'basic')
    lines.push(`Authorization: Basic ${Buffer.from(`me:${placeholder}`).toString('base64')}`);
  if (request.credential === 'x-api-key') lines.push(`X-Api-Key: ${placeholder}`);
  if (request.requestFraming === 'length') lines.push(`Content-Length: ${request.requestBody.length}`);
  if (request.requestFraming === 'chunked') lines.push('Transfer-Encoding: chunked');
  const head = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`);
  if (request.requestFraming !== 'chunked') return Buffer.concat([head, request.requestBody]);
  const chunks = cutBytes(request.requestBody, request.random).flatMap((piece) => [
    Buffer.from(`${piece.length.toString(16)}\r\n`),
    piece,
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([head, ...chunks, Buffer.from('0\r\n\r\n')]);
}

function check(request: RequestPlan, response: Response): void {
  const problems: string[] = [];
  const expect = (what: string, actual: unknown, expected: unknown): void => {
    if (actual !== expected) problems.push(`${what}: ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`);
  };
  expect('status', response.status, request.status);
  expect('x-load-id', response.fields.get('x-load-id'), String(request.id));
  const inTrailer = request.reflectsInHead && request.responseFraming === 'chunked';
  expect(
    'x-reflected',
    response.fields.get('x-reflected'),
    request.reflectsInHead && !inTrailer ? placeholder : undefined,
  );
  expect('trailer', response.trailers.get('x-trailed'), inTrailer ? placeholder : undefined);
  expect('content-encoding', response.fields.get('content-encoding'), undefined);
  const expected = request.responseBody(placeholder);
  if (!response.body.equals(expected)) {
    let at = 0;
    while (at < expected.length && expected[at] === response.body[at]) at += 1;
    problems.push(`body: ${response.body.length} bytes instead of ${expected.length}, the first other one at ${at}`);
  }
  if (response.fields.get('content-type') === 'application/problem+json') problems.push(response.body.toString());
  if (problems.length > 0) fail({ id: request.id, problems });
}

function fail(failure: object): void {
  failures += 1;
  if (failures <= MAX_REPORTED_FAILURES) process.stdout.write(`${JSON.stringify(failure)}\n`);
}

async function work(takeUnit: () => number[]): Promise<void> {
  let connection: Connection | undefined;
  for (let unit = takeUnit(); unit.length > 0; unit = takeUnit()) {
    const requests = unit.map((id) => plan.request(id));
    try {
      if (connection?.isOpen !== true) connection = await Connection.open();
      const random = (requests[0] as RequestPlan).random;
      const bytes = Buffer.concat(requests.map((request) => encodeRequest(request)));
      const [responses] = await Promise.all([readAll(connection, requests), connection.write(bytes, random)]);
      for (const [index, response] of responses.entries()) {
        check(requests[index] as RequestPlan, response);
        completed += 1;
        if (response.fields.get('connection') !== 'close') continue;
        if (!requests[index]?.clientCloses) fail({ id: unit[index], problems: ['the gate closed the connection'] });
        connection.close();
        connection = undefined;
        break;
      }
    } catch (error) {
      fail({ ids: unit, problems: [String(error)] });
      connection?.close();
      connection = undefined;
    }
  }
  connection?.close();
}

async function readAll(connection: Connection, requests: readonly RequestPlan[]): Promise<Response[]> {
  const responses: Response[] = [];
  for (const request of requests) responses.push(await connection.read(request.method === 'HEAD'));
  return responses;
}

/** Tells the test, by way of the upstream, that nothing is under way. */
async function reportPhase(end: number): Promise<void> {
  const connection = await Connection.open();
  await connection.write(
    Buffer.from(`GET /phase/${end} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`),
    () => 1,
  );
  await connection.read(false);
  connection.close();
}

let next = 0;
for (const end of phaseEnds.map(Number)) {
  const takeUnit = (): number[] => {
    const unit = next < end ? plan.unit(next, end) : [];
    next += unit.length;
    return unit;
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, () => work(takeUnit)));
  await reportPhase(end);
}
process.stdout.write(`${JSON.stringify({ completed, failures })}\n`);
