import { createServer, METHODS, type IncomingMessage, type ServerResponse } from 'node:http';
import http2 from 'node:http2';
import type net from 'node:net';
import { Duplex } from 'node:stream';
import tls from 'node:tls';

import { createAuthority, type TestAuthority } from '../../e2e/harness/certificates.ts';
import type { AuditRecord } from '../../packages/runtime/src/audit/audit-record.ts';
import { openLoopbackGate, type LoopbackGate } from '../../packages/runtime/src/engine/loopback.testing.ts';
import { valuesOf } from '../http1/field-values.ts';
import { LlhttpOracle } from '../http1/llhttp.ts';
import type { Reading } from '../http1/reading.ts';
import { PythonOracle } from '../python/oracle.ts';
import type { WireAnswer } from './http2-wire.ts';
import { BOUND_HOST, CANARIES, canariesIn, FREE_HOST } from './lane.ts';

/** A request as the upstream saw it. */
export interface Arrived {
  readonly method: string;
  readonly target: string;
  readonly fields: readonly string[];
  readonly body: string;
  readonly trailers: readonly string[];
}

/** An upstream behind a gate of its own, for connections over TLS. */
export interface Upstream {
  readonly gate: LoopbackGate;
  /** Waits for the connections of the case before, whose events may come late, and forgets what it left behind. */
  begin(): Promise<void>;
  /** The whole requests; or in words what two parsers of the upstream's bytes do not agree on. */
  arrived(): Promise<Arrived[] | string>;
  /** All that reached it, for the search. */
  reachedText(): string;
  close(): Promise<void>;
}

interface H2Request {
  readonly fields: string[];
  readonly body: string;
  readonly trailers: string[];
}

/** What the `streaming` mode of `h2_oracle.py` answers. */
interface H2StreamingReading {
  readonly requests: readonly H2Request[];
  /** Those that were reset, or whose end has not come. */
  readonly unfinished: readonly H2Request[];
  readonly refused: string | null;
}

const MAX_QUIET_TURNS = 50;

/** How an upstream answers. */
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

/** The socket as it is, with `see` shown every byte that comes in. */
function watched(socket: tls.TLSSocket, see: (chunk: Buffer) => void): Duplex {
  const seen = new Duplex({
    read: () => void socket.resume(),
    write: (chunk: Buffer, _encoding, done) => void socket.write(chunk, () => done()),
    final: (done) => void socket.end(done),
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });
  socket.on('data', (chunk: Buffer) => {
    see(chunk);
    if (!seen.push(chunk)) socket.pause();
  });
  socket.on('end', () => seen.push(null));
  socket.on('error', () => seen.destroy());
  socket.on('close', () => seen.destroy());
  seen.on('error', () => undefined);
  return seen;
}

function essence({ method, target, fields, body }: Arrived): string {
  return JSON.stringify([method, target, valuesOf(fields, 'x-case'), body]);
}

async function untilQuiet({ open }: LoopbackGate): Promise<void> {
  for (let turn = 0; turn < MAX_QUIET_TURNS && open.gate.connectionCount > 0; turn += 1)
    await new Promise((resolve) => setTimeout(resolve, 2));
}

function arrivedOfH2({ fields, body, trailers }: H2Request): Arrived {
  return {
    method: valuesOf(fields, ':method').join(', '),
    target: valuesOf(fields, ':path').join(', '),
    fields,
    body,
    trailers,
  };
}

async function openHttp2(authority: TestAuthority, host: string, answer: Answering): Promise<Upstream> {
  let arrived: Arrived[] = [];
  let text = '';
  // Of the case before as well, of which a request may be late.
  let byH2Before: Promise<H2StreamingReading>[] = [];
  let byH2: Promise<H2StreamingReading>[] = [];
  let connections = 0;
  const h2 = PythonOracle.start<H2StreamingReading>('h2', 'streaming');
  const sessions = new Set<http2.ServerHttp2Session>();
  const parser = http2.createServer();
  parser.on('session', (session) => {
    sessions.add(session);
    session.on('error', () => undefined);
    session.on('close', () => sessions.delete(session));
  });
  parser.on('stream', (_stream, _headers, _flags, raw: string[]) => void (text += `${raw.join('\n')}\n`));
  parser.on('request', (request, response) => {
    const body: Buffer[] = [];
    request.on('error', () => undefined);
    response.on('error', () => undefined);
    request.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      body.push(chunk);
    });
    request.on('end', () => {
      if (request.aborted || !request.complete) return;
      text += request.rawTrailers.join('\n');
      arrived.push({
        method: request.method,
        target: request.url,
        fields: [...request.rawHeaders],
        body: Buffer.concat(body).toString('latin1'),
        trailers: request.rawTrailers,
      });
      answer(request as unknown as IncomingMessage, response as unknown as ServerResponse);
    });
  });
  const identity = await authority.issue([host]);
  const server = tls.createServer({ ...identity, ALPNProtocols: ['h2'] }, (socket) => {
    connections += 1;
    const number = Buffer.alloc(4);
    number.writeUInt32BE(connections);
    const see = (chunk: Buffer): void => void (h2 !== null && byH2.push(h2.read(Buffer.concat([number, chunk]))));
    parser.emit('connection', watched(socket, see));
  });
  server.on('tlsClientError', () => undefined);
  const gate = await listen(server, authority, host);
  return {
    gate,
    async begin() {
      await untilQuiet(gate);
      arrived = [];
      text = '';
      byH2Before = byH2;
      byH2 = [];
      gate.events.length = 0;
    },
    async arrived() {
      if (h2 === null) return arrived;
      const readings = await Promise.all([...byH2Before, ...byH2]);
      const refused = readings.find((reading) => reading.refused !== null)?.refused;
      if (refused !== undefined && refused !== null && !refused.startsWith('after GOAWAY'))
        return `h2 refuses what the gate sent: ${refused}`;
      const theirs = readings.flatMap(({ requests }) => requests.map(arrivedOfH2));
      const unfinished = readings.flatMap((reading) => reading.unfinished.map(arrivedOfH2));
      const essences = new Set(theirs.map(essence));
      const whole = arrived.filter((request) => essences.has(essence(request)));
      // Node's server takes what was reset for a whole, or as much of it as it had read by then; nothing of the gate's says so.
      const isCut = (request: Arrived): boolean =>
        [...theirs, ...unfinished].some(
          (longer) =>
            longer.body.startsWith(request.body) && essence({ ...longer, body: request.body }) === essence(request),
        );
      const other = arrived.find((request) => !whole.includes(request) && !isCut(request));
      return other === undefined
        ? whole
        : `h2 reads what the gate sent otherwise: ${essence(other)} and ${[...essences].join()}`;
    },
    reachedText: () => text,
    async close() {
      await gate[Symbol.asyncDispose]();
      for (const session of sessions) session.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      h2?.close();
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
  const h11 = PythonOracle.start<Reading>('h11', 'requests');
  const gate = await listen(server, authority, host);
  return {
    gate,
    async begin() {
      await untilQuiet(gate);
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

/** Upstreams of HTTP/1 and of HTTP/2 for both hosts. */
export interface Upstreams {
  get(host: string, protocol: 'h2' | 'http/1.1'): Upstream;
  close(): Promise<void>;
}

/** Opens them; each takes requests for one host and protocol. */
export async function openUpstreams(answer: Answering): Promise<Upstreams> {
  const authority = await createAuthority();
  const upstreams = new Map<string, Upstream>();
  for (const host of [BOUND_HOST, FREE_HOST]) {
    upstreams.set(`${host} h2`, await openHttp2(authority, host, answer));
    upstreams.set(`${host} http/1.1`, await openHttp1(authority, host, answer));
  }
  return {
    get: (host, protocol) => upstreams.get(`${host} ${protocol}`)!,
    async close() {
      for (const upstream of upstreams.values()) await upstream.close();
    },
  };
}

/** What came of one case, when nothing is wrong with it so far. */
export interface Outcome {
  readonly arrived: readonly Arrived[];
  readonly events: readonly AuditRecord[];
}

/**
 * Judges what every case of HTTP/2 clients must keep to: no value where it is not bound, none back at the client, and as many requests at
 * the upstream as the audit says. `isOurs` knows the requests of this case.
 *
 * @returns What is wrong, in words; null where nothing can be said; or what came of it.
 */
export async function judgeForwarding(
  upstream: Upstream,
  { isBound, toHttp1 }: { readonly isBound: boolean; readonly toHttp1: boolean },
  isOurs: (request: Arrived) => boolean,
  answers: readonly WireAnswer[],
): Promise<string | null | Outcome> {
  const leaked = canariesIn(upstream.reachedText(), isBound ? ['CLEAR'] : ['CLEAR', 'SECURE']);
  if (leaked.length > 0) return `a value reached an upstream that it is not bound to: ${leaked.join()}`;
  for (const { text, body } of answers) {
    const shown = [...canariesIn(text, ['CLEAR', 'SECURE']), ...canariesIn(body, ['CLEAR', 'SECURE'])];
    if (shown.length > 0) return `a value came back to the client: ${shown.join()}`;
  }
  const events = upstream.gate.events.filter(({ kind }) => kind === 'request');
  if (events.some(({ code }) => code === 'INTERNAL')) return 'the gate failed: INTERNAL';
  const forwarded = events.filter(({ decision, code }) => decision === 'allow' || code === 'RESPONSE_UNREDACTABLE');
  if (toHttp1 && events.some(({ method }) => method != null && method !== '' && !METHODS.includes(method))) return null;
  const all = await upstream.arrived();
  if (typeof all === 'string') return all;
  const arrived = all.filter(isOurs);
  // A client that breaks its own stream may do so before or after all of it was forwarded.
  const left = events.filter(
    ({ decision, code, status }) =>
      (decision === 'error' && code === null) || (code === 'MALFORMED_REQUEST' && status === null),
  ).length;
  if (arrived.length < forwarded.length || arrived.length > forwarded.length + left)
    return `the upstream sees another number of requests than the audit: ${arrived.length} and ${forwarded.length}`;
  return { arrived, events };
}

/** How a case went, for the counts at the end. */
export function noteOutcome(
  events: readonly AuditRecord[],
  answers: readonly WireAnswer[],
  note: (what: string) => void,
): void {
  for (const { status } of answers) note(`answered ${status ?? 'by a reset'}`);
  for (const { decision, code } of events)
    note(decision === 'allow' ? 'requests forwarded' : code === null ? LEFT : `refused ${code}`);
}

/** What {@link noteOutcome} says of a stream that its client ended. */
export const LEFT = 'refused as the client left';
