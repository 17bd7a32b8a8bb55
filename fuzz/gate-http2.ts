/**
 * Differential fuzz target for HTTP/2 clients of the whole gate: header lists written by hand, odd in few places, go to an upstream that
 * speaks HTTP/2 (nghttp2) or HTTP/1 (read by llhttp, strict and lenient, and by h11 where python3 can import it). What was forwarded must
 * be well-formed by a slow reading of RFC 9113, be for the connection's origin, and arrive as it was meant.
 *
 * `node --conditions=sallyport-source fuzz/gate-http2.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { createServer, METHODS, type IncomingMessage, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import type net from 'node:net';
import tls from 'node:tls';

import { createAuthority, type TestAuthority } from '../e2e/harness/certificates.ts';
import { openLoopbackGate, type LoopbackGate } from '../packages/runtime/src/engine/loopback.testing.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { echo, ECHO_FORMS } from './gate/echo.ts';
import { sendStreams, type Pair, type WireAnswer } from './gate/http2-wire.ts';
import { BOUND_HOST, CANARIES, canariesIn, FREE_HOST, PLACEHOLDERS, settle, withPlaceholders } from './gate/lane.ts';
import { H11Oracle } from './http1/h11.ts';
import { LlhttpOracle } from './http1/llhttp.ts';
import type { Random } from './http1/random.ts';
import type { Reading } from './http1/reading.ts';

type Stream = { fields: Pair[]; body: string; trailers: Pair[] | null; frames: number };
type Case = { isBound: boolean; toHttp1: boolean; streams: Stream[]; form: number };

const ANSWER_LIMIT_MS = 3000;
const LEFT = 'refused as the client left';
const ODD_FIELDS: readonly Pair[] = [
  ['host', BOUND_HOST], ['host', 'evil.example'], ['host', ''], ['Host', BOUND_HOST], ['connection', 'close'], ['connection', 'x-a'],
  ['transfer-encoding', 'chunked'], ['keep-alive', '1'], ['proxy-connection', 'x'], ['upgrade', 'websocket'], ['te', 'trailers'], ['te', 'gzip'],
  ['content-length', '0'], ['content-length', '3'], ['content-length', '5'], ['content-length', '-1'], ['content-length', '3, 3'], ['content-length', '+3'],
  [':method', 'POST'], [':path', '/other'], [':authority', 'evil.example'], [':scheme', 'http'], [':status', '200'], [':protocol', 'websocket'], [':x', 'y'],
  ['x-a', 'a\r\nHost: evil.example'], ['x-a', 'a\nx: y'], ['x-a', 'a\r'], ['x-a', 'a\0b'], ['x-a', ' a '], ['x-a', ''], ['x-a', '\xe9'], ['x-a', '\x7f'], ['x-a\r\ny', 'z'],
  ['x a', 'b'], ['x-a:', 'b'], ['', 'b'], ['X-Upper', 'b'], ['x-a\0', 'b'], ['x\xe9', 'b'], ['cookie', 'a=1'], ['cookie', `b=${PLACEHOLDERS.SECURE}`],
  ['range', 'bytes=0-3'], ['accept-encoding', 'gzip, exi'], ['expect', '100-continue'], ['trailer', 'x-sum'], ['x-forwarded-host', 'evil.example'],
  ['proxy-authorization', 'Basic eDp5'], ['content-type', 'application/json'], ['content-type', 'application/grpc'], ['http2-settings', 'AAMAAABkAAQAAP__'],
  ['authorization', `Bearer ${PLACEHOLDERS.SECURE}`], ['authorization', `Bearer ${PLACEHOLDERS.CLEAR}`],
]; // prettier-ignore
const ODD_VALUES: Readonly<Record<string, readonly string[]>> = {
  ':method': [
    'get',
    'POST',
    'HEAD',
    'OPTIONS',
    'CONNECT',
    'TRACE',
    'PUT',
    '',
    'GET ',
    'GET / HTTP/1.1\r\nx: y',
    'BREW',
  ],
  ':path': [
    '',
    '*',
    'a',
    '//evil.example/',
    'https://evil.example/',
    '/ HTTP/1.1\r\nHost: evil.example\r\n\r\n',
    '/a b',
    '/#f',
    '/\\',
    '/\xe9',
    '/\t',
    '/\0',
    `/${PLACEHOLDERS.SECURE}?x=${PLACEHOLDERS.CLEAR}`,
    '/..%2f',
  ],
  ':scheme': ['http', 'HTTPS', '', 'https ', 'ftp', 'https://x'],
  ':authority': [
    'evil.example',
    '',
    'BOUND.EXAMPLE',
    'bound.example.',
    'bound.example:443',
    'bound.example:80',
    'x@bound.example',
    'bound.example/',
    'bound.example\r\n',
    'bound.example\0',
    'bound.example, evil.example',
    'bound%2eexample',
    FREE_HOST,
    BOUND_HOST,
  ],
};

function generateStream(random: Random, host: string, index: number): Stream {
  const rarity = random.pick([4, 12, 1000]);
  const hasBody = random.oneIn(3);
  const body = hasBody
    ? random.pick([
        'abc',
        'abcde',
        PLACEHOLDERS.SECURE,
        'x'.repeat(20_000),
        '0\r\n\r\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n',
      ])
    : '';
  let fields: Pair[] = [
    [':method', hasBody ? 'POST' : 'GET'],
    [':scheme', 'https'],
    [':authority', host],
    [':path', '/a?b=c'],
  ];
  fields = fields.flatMap(([name, value]): Pair[] => {
    if (random.oneIn(rarity * 4))
      return random.oneIn(2)
        ? []
        : [
            [name, value],
            [name, value],
          ];
    return [[name, random.oneIn(rarity * 3) ? random.pick(ODD_VALUES[name] ?? ['']) : value]];
  });
  if (hasBody && random.oneIn(2)) fields.push(['content-length', String(body.length)]);
  if (random.oneIn(2)) fields.push(['authorization', `Bearer ${PLACEHOLDERS.SECURE}`]);
  for (let left = random.below(3); left > 0; left -= 1) {
    const field = random.oneIn(rarity)
      ? random.pick(ODD_FIELDS)
      : (['x-a', random.pick(['a', 'b', PLACEHOLDERS.CLEAR])] as Pair);
    fields.splice(random.oneIn(6) ? random.below(fields.length + 1) : fields.length, 0, field);
  }
  fields.push(['x-case', String(index)]);
  const trailers: Pair[] | null = random.oneIn(8)
    ? [random.oneIn(2) ? ['x-sum', random.pick(['1', PLACEHOLDERS.SECURE])] : random.pick(ODD_FIELDS)]
    : null;
  return { fields, body, trailers, frames: random.oneIn(4) ? 1 + random.below(5) : 1 };
}

/** Why a request must not be forwarded by RFC 9113, sections 8.1.1, 8.2 and 8.3, and for that origin; null for a good one. */
function faultOf({ fields: all, body, trailers }: Stream, host: string): string | null {
  const fields = all.filter(isSendable);
  if (all.some((pair) => pair[0].startsWith(':') && !isSendable(pair))) return 'an unsendable pseudo-header';
  const pseudo = fields.filter(([name]) => name.startsWith(':'));
  const plain = fields.filter(([name]) => !name.startsWith(':'));
  if (fields.findLastIndex(([name]) => name.startsWith(':')) >= pseudo.length) return 'a pseudo-header behind fields';
  const values = (name: string): string[] => fields.filter(([other]) => other === name).map(([, value]) => value);
  for (const [name] of pseudo)
    if (![':method', ':scheme', ':path', ':authority'].includes(name) || values(name).length !== 1)
      return `${name} is unknown or repeated`;
  const [method] = values(':method');
  const [path] = values(':path');
  if (method === undefined || !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(method) || method === 'CONNECT') return ':method';
  if (
    path === undefined ||
    !(path.startsWith('/') || (path === '*' && method === 'OPTIONS')) ||
    /[^!-~\x80-\xff]/.test(path)
  )
    return ':path';
  if (values(':scheme').join() !== 'https') return ':scheme';
  const authorities = [...values(':authority'), ...values('host')];
  if (authorities.length === 0) return 'no authority';
  for (const text of authorities)
    if (text.toLowerCase().replace(/:443$/, '').replace(/\.$/, '') !== host) return 'another authority';
  for (const [name, value] of [...plain, ...(trailers ?? [])]) {
    if (['connection', 'transfer-encoding', 'keep-alive', 'proxy-connection', 'upgrade'].includes(name)) return name;
    if (name === 'te' && value !== 'trailers') return 'te';
  }
  const lengths = values('content-length');
  if (lengths.length > 1 || lengths.some((length) => length !== String(body.length))) return 'content-length';
  return null;
}

/** Whether a field can be sent at all. nghttp2 passes over others, pseudo-headers apart, and hands on the rest of the list. */
function isSendable([name, value]: Pair): boolean {
  // oxlint-disable-next-line no-control-regex -- what a field value must not hold
  return /^:?[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name) && !/[\0-\x08\n-\x1f\x7f]|^[ \t]|[ \t]$/.test(value);
}

/** A request as the upstream saw it. */
interface Arrived {
  readonly method: string;
  readonly target: string;
  readonly fields: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
}

interface Upstream {
  readonly gate: LoopbackGate;
  begin(): void;
  arrived(): Promise<Arrived[] | string>;
  /** All that reached it, for the search. */
  reachedText(): string;
  close(): Promise<void>;
}

type Answering = (request: IncomingMessage, response: ServerResponse) => void;

async function listen(server: net.Server, authority: TestAuthority, host: string): Promise<LoopbackGate> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  return openLoopbackGate({
    secrets: [`CLEAR=${CANARIES.CLEAR}@http://${BOUND_HOST}`, `SECURE=${CANARIES.SECURE}@${BOUND_HOST}`],
    secretIn: ['header,basic,query,path,body'],
    allow: [BOUND_HOST, FREE_HOST],
    resolve: [`${host}:443:127.0.0.1:${port}`],
    upstreamCa: authority.certificatePem,
  });
}

async function openHttp2(authority: TestAuthority, host: string, answer: Answering): Promise<Upstream> {
  let arrived: Arrived[] = [];
  let text = '';
  const sessions = new Set<http2.ServerHttp2Session>();
  const server = http2.createSecureServer({ ...(await authority.issue([host])), allowHTTP1: false });
  server.on('session', (session) => {
    sessions.add(session);
    session.on('error', () => undefined);
    session.on('close', () => sessions.delete(session));
  });
  server.on('stream', (_stream, _headers, _flags, raw: string[]) => void (text += `${raw.join('\n')}\n`));
  server.on('request', (request, response) => {
    const body: Buffer[] = [];
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    request.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      body.push(chunk);
    });
    request.on('end', () => {
      if (request.aborted || !request.complete) return;
      const fields = [...request.rawHeaders];
      text += request.rawTrailers.join('\n');
      arrived.push({
        method: request.method,
        target: request.url,
        fields,
        body: Buffer.concat(body).toString('latin1'),
        trailers: request.rawTrailers,
      });
      answer(request as unknown as IncomingMessage, response as unknown as ServerResponse);
    });
  });
  const gate = await listen(server, authority, host);
  return {
    gate,
    begin() {
      arrived = [];
      text = '';
      gate.events.length = 0;
    },
    arrived: () => Promise.resolve(arrived),
    reachedText: () => text,
    async close() {
      await gate[Symbol.asyncDispose]();
      for (const session of sessions) session.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function openHttp1(authority: TestAuthority, host: string, answer: Answering): Promise<Upstream> {
  const reached = new Map<tls.TLSSocket, Buffer[]>();
  const sockets = new Set<tls.TLSSocket>();
  const parser = createServer({ requireHostHeader: false, keepAliveTimeout: 0 });
  const take: Answering = (request, response) => {
    request.on('error', () => undefined);
    request.resume();
    request.on('end', () => answer(request, response));
  };
  parser.on('request', take);
  parser.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    response.writeContinue();
    take(request, response);
  });
  parser.on('checkExpectation', take);
  parser.on('clientError', (_error, socket) => socket.destroy());
  const identity = await authority.issue([host]);
  const server = tls.createServer({ ...identity, ALPNProtocols: ['http/1.1'] }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => sockets.delete(socket));
    parser.emit('connection', socket);
    socket.on('data', (chunk: Buffer) => {
      const chunks = reached.get(socket);
      if (chunks === undefined) reached.set(socket, [chunk]);
      else chunks.push(chunk);
    });
  });
  server.on('tlsClientError', () => undefined);
  const oracles = [new LlhttpOracle(), new LlhttpOracle({ lenient: true })];
  const h11 = H11Oracle.start<Reading>('requests');
  const gate = await listen(server, authority, host);
  return {
    gate,
    begin() {
      reached.clear();
      gate.events.length = 0;
    },
    async arrived() {
      const readings: Arrived[][] = [];
      for (const read of [
        ...oracles.map((oracle) => (bytes: Buffer) => oracle.read(bytes)),
        ...(h11 === null ? [] : [(bytes: Buffer) => h11.read(bytes)]),
      ]) {
        const seen: Arrived[] = [];
        for (const chunks of reached.values()) seen.push(...(await read(Buffer.concat(chunks))).requests);
        readings.push(seen);
      }
      const [first = [], ...others] = readings;
      const plain = (seen: readonly Arrived[]): string =>
        JSON.stringify(seen.map(({ method, target, body }) => [method, target, body]));
      return others.some((other) => plain(other) !== plain(first))
        ? `parsers read the upstream’s bytes otherwise: ${readings.map(plain).join(' and ')}`
        : first;
    },
    reachedText: () => Buffer.concat([...reached.values()].flat()).toString('latin1'),
    async close() {
      await gate[Symbol.asyncDispose]();
      for (const oracle of oracles) oracle.close();
      h11?.close();
      for (const socket of sockets) socket.destroy();
      parser.close();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** A case made smaller may have lost half a pair, or what says which stream is which. */
function isWhole({ fields, trailers }: Stream, index: number): boolean {
  const [name, value] = fields.at(-1) ?? [];
  return (
    [...fields, ...(trailers ?? [])].every((pair) => pair.length === 2) && name === 'x-case' && value === String(index)
  );
}

function compare(stream: Stream, arrived: Arrived, host: string): string | null {
  const fault = faultOf(stream, host);
  if (fault !== null) return `forwarded although malformed: ${fault}`;
  const meant = (name: string): string[] =>
    stream.fields.filter((pair) => pair[0] === name && isSendable(pair)).map(([, value]) => value);
  const got = (name: string): string[] =>
    arrived.fields.filter((_, index) => index % 2 === 1 && arrived.fields[index - 1]!.toLowerCase() === name);
  const pairs = arrived.fields.flatMap((name, index): Pair[] =>
    index % 2 === 0 ? [[name, arrived.fields[index + 1]!]] : [],
  );
  const odd = pairs.find(([name, value]) => !isSendable([name.toLowerCase(), value]));
  if (odd !== undefined) return `a field arrived that cannot be sent: ${JSON.stringify(odd)}`;
  if (arrived.method !== meant(':method')[0]) return 'another method';
  if (withPlaceholders(arrived.target) !== meant(':path')[0]) return `another path: ${JSON.stringify(arrived.target)}`;
  if ([...got(':authority'), ...got('host')].join() !== host)
    return `another authority: ${JSON.stringify(arrived.fields)}`;
  if (meant('content-type').length === 0 && withPlaceholders(arrived.body) !== stream.body) return 'another body';
  const trimmed = meant('x-a').map((value) => value.trim());
  if (withPlaceholders(got('x-a').join(', ')) !== trimmed.join(', '))
    return `another x-a: ${JSON.stringify(got('x-a'))}`;
  return null;
}

function caseOf({ fields }: Arrived): string {
  const at = fields.findIndex((name, index) => index % 2 === 0 && name.toLowerCase() === 'x-case');
  return at < 0 ? '' : (fields[at + 1] ?? '');
}

async function judge(
  data: Case,
  upstream: Upstream,
  prefix: string,
  answers: readonly WireAnswer[],
  note: (what: string) => void,
): Promise<string | null> {
  const host = data.isBound ? BOUND_HOST : FREE_HOST;
  const leaked = canariesIn(upstream.reachedText(), data.isBound ? ['CLEAR'] : ['CLEAR', 'SECURE']);
  if (leaked.length > 0) return `a value reached an upstream that it is not bound to: ${leaked.join()}`;
  for (const { text, body } of answers) {
    const shown = [...canariesIn(text, ['CLEAR', 'SECURE']), ...canariesIn(body, ['CLEAR', 'SECURE'])];
    if (shown.length > 0) return `a value came back to the client: ${shown.join()}`;
  }
  const events = upstream.gate.events.filter(({ kind }) => kind === 'request');
  if (events.some(({ code }) => code === 'INTERNAL')) return 'the gate failed: INTERNAL';
  const forwarded = events.filter(({ decision, code }) => decision === 'allow' || code === 'RESPONSE_UNREDACTABLE');
  if (data.toHttp1 && events.some(({ method }) => method != null && method !== '' && !METHODS.includes(method)))
    return null;
  const all = await upstream.arrived();
  if (typeof all === 'string') return all;
  const arrived = all.filter((request) => caseOf(request).startsWith(prefix));
  // A client that breaks its own stream may do so before or after all of it was forwarded.
  const left = events.filter(({ decision, code }) => decision === 'error' && code === null).length;
  if (arrived.length < forwarded.length || arrived.length > forwarded.length + left)
    return `the upstream sees another number of requests than the audit: ${arrived.length} and ${forwarded.length}`;
  for (const request of arrived) {
    const stream = data.streams[Number(caseOf(request).slice(prefix.length))];
    if (stream === undefined) return 'a request arrived that nobody sent';
    const difference = compare(stream, request, host);
    if (difference !== null) return difference;
  }
  for (const { status } of answers) note(`answered ${status ?? 'by a reset'}`);
  for (const { decision, code } of events)
    note(decision === 'allow' ? 'requests forwarded' : code === null ? LEFT : `refused ${code}`);
  return null;
}

/** Opens the target. */
export async function openTarget(): Promise<FuzzTarget<Case>> {
  let form = 0;
  const answer: Answering = (request, response) => echo(request, '', response, form);
  const authority = await createAuthority();
  const upstreams = new Map<string, Upstream>();
  for (const host of [BOUND_HOST, FREE_HOST]) {
    upstreams.set(`${host} h2`, await openHttp2(authority, host, answer));
    upstreams.set(`${host} http/1.1`, await openHttp1(authority, host, answer));
  }
  let serial = 0;
  return {
    name: 'gate-http2',
    generate(random) {
      const isBound = random.below(3) > 0;
      const host = isBound ? BOUND_HOST : FREE_HOST;
      return {
        isBound,
        toHttp1: random.oneIn(2),
        streams: Array.from({ length: 1 + random.below(3) }, (_, index) => generateStream(random, host, index)),
        form: random.below(ECHO_FORMS.length),
      };
    },
    async check(data, note) {
      if (!data.streams.every(isWhole)) return null;
      const host = data.isBound ? BOUND_HOST : FREE_HOST;
      const upstream = upstreams.get(`${host} ${data.toHttp1 ? 'http/1.1' : 'h2'}`)!;
      upstream.begin();
      form = data.form;
      serial += 1;
      const socket = await upstream.gate.connectTls(host, 443, { ALPNProtocols: ['h2'] });
      // What a broken stream of the case before still sends must not count as this one's.
      const prefix = `${serial}.`;
      const streams = data.streams.map((stream) => ({
        ...stream,
        fields: stream.fields.map(([name, value]): Pair => [name, name === 'x-case' ? prefix + value : value]),
      }));
      const answers = await sendStreams(socket, streams, ANSWER_LIMIT_MS);
      const notes: string[] = [];
      const problem = await settle(async () => {
        notes.length = 0;
        return judge(data, upstream, prefix, answers, (what) => notes.push(what));
      });
      notes.forEach(note);
      if (notes.includes(LEFT)) await new Promise((resolve) => setTimeout(resolve, 20));
      return problem;
    },
    async close() {
      for (const upstream of upstreams.values()) await upstream.close();
    },
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 1000);
