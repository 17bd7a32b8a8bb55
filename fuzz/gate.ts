/**
 * Differential fuzz target for the whole gate: the bytes of HTTP/1 clients, wrong in few places, go through a gate to an upstream that is
 * Node's own server. What reached the upstream is then read by llhttp, strict and lenient, and by h11, and
 * held against the audit events and against what llhttp makes of the client's bytes.
 *
 * `node --conditions=sallyport-source fuzz/gate.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { createServer, METHODS, type IncomingMessage, type ServerResponse } from 'node:http';

import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { echo, ECHO_FORMS } from './gate/echo.ts';
import {
  BOUND_HOST,
  canariesIn,
  converse,
  FREE_HOST,
  openLane,
  PLACEHOLDERS,
  settle,
  withPlaceholders,
} from './gate/lane.ts';
import { cutInPieces } from './gate/pieces.ts';
import { PythonOracle } from './python/oracle.ts';
import { valuesOf } from './http1/field-values.ts';
import { hasTabAfterChunked, LlhttpOracle } from './http1/llhttp.ts';
import type { Random } from './http1/random.ts';
import type { Reading, SeenRequest } from './http1/reading.ts';
import { generateConnection } from './http1/requests.ts';

type Case = { isBound: boolean; bytes: string; cut: number; form: number };

const ODD_HOSTS = [
  'evil.example',
  FREE_HOST,
  BOUND_HOST,
  '',
  'BOUND.example',
  'bound.example.',
  'bound.example:80',
  'bound.example:443',
  'bound.example:',
  'x@bound.example',
  'bound.example, evil.example',
  'bound.example\0',
  'bound.example evil.example',
  'bound.example#',
  '\xe2\x84\xaaound.example',
  '127.0.0.1',
  '[::1]',
];
const CARRIERS = [
  `Authorization: Bearer ${PLACEHOLDERS.CLEAR}\r\n`,
  `Authorization: Basic ${Buffer.from(`u:${PLACEHOLDERS.CLEAR}`).toString('base64')}\r\n`,
  `X-Key: ${PLACEHOLDERS.SECURE}\r\n`,
  `x-both: ${PLACEHOLDERS.SECURE}${PLACEHOLDERS.CLEAR}\r\n`,
  `Content-Type: application/json\r\n`,
  `Content-Type: application/x-www-form-urlencoded\r\n`,
  'X-Forwarded-Host: evil.example\r\n',
  'Accept-Encoding: gzip, br, exi\r\n',
  'Range: bytes=0-3\r\n',
  'Max-Forwards: 0\r\n',
  'Expect: 100-continue\r\n',
  'Connection: close\r\n',
  'Connection: host, authorization\r\n',
];

function generateBytes(random: Random, host: string): string {
  let bytes = generateConnection(random).replaceAll(
    /^Host: [hs]\r$/gm,
    () => `Host: ${random.oneIn(16) ? random.pick(ODD_HOSTS) : host}\r`,
  );
  bytes = bytes.replaceAll('http://h/', random.oneIn(3) ? 'http://evil.example/' : `http://${host}/`);
  if (random.oneIn(2)) bytes = bytes.replaceAll(/^(?=Host:)/gm, () => (random.oneIn(2) ? random.pick(CARRIERS) : ''));
  if (random.oneIn(3))
    bytes = bytes.replace(
      '/a ',
      `/a/${PLACEHOLDERS.CLEAR}?q=${random.pick([PLACEHOLDERS.SECURE, PLACEHOLDERS.CLEAR])} `,
    );
  if (random.oneIn(8)) {
    const body = random.pick([`k=${PLACEHOLDERS.CLEAR}&`, `{"k":"${PLACEHOLDERS.CLEAR}"}`, PLACEHOLDERS.SECURE]);
    const type = random.pick(CARRIERS);
    bytes = `POST /a HTTP/1.1\r\nHost: ${host}\r\n${type}Content-Length: ${body.length}\r\n\r\n${body}${bytes}`;
  }
  return bytes;
}

/** What is compared of two readings of one request. */
function essence({ method, target, body }: SeenRequest): string {
  const path = target.replace(/^https?:\/\/[^/?]*/i, '');
  return JSON.stringify([
    method,
    withPlaceholders(path === '' ? '/' : path.replace(/^\?/, '/?')),
    withPlaceholders(body),
  ]);
}

/** Opens the target. */
export async function openTarget(): Promise<FuzzTarget<Case>> {
  let form = 0;
  const server = createServer({ requireHostHeader: false, maxHeaderSize: 1024 * 1024, keepAliveTimeout: 0 });
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const body: Buffer[] = [];
    request.on('data', (data: Buffer) => body.push(data));
    request.on('error', () => undefined);
    request.on('end', () => echo(request, Buffer.concat(body).toString('latin1'), response, form));
  };
  server.on('request', answer);
  server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    response.writeContinue();
    answer(request, response);
  });
  server.on('checkExpectation', answer);
  server.on('clientError', (_error, socket) => socket.destroy());
  const lane = await openLane((socket) => void server.emit('connection', socket));
  const strict = new LlhttpOracle();
  const lenient = new LlhttpOracle({ lenient: true });
  const h11 = PythonOracle.start<Reading>('h11', 'requests');

  const judge = async (data: Case, output: string, note: (what: string) => void): Promise<string | null> => {
    const host = data.isBound ? BOUND_HOST : FREE_HOST;
    const events = lane.gate.events.filter(({ kind }) => kind === 'request');
    const forwarded = events.filter(({ decision }) => decision === 'allow');
    const reached = [...lane.reached.values()].map((chunks) => Buffer.concat(chunks));
    const all = Buffer.concat(reached);
    const leaked = canariesIn(all, data.isBound ? ['SECURE'] : ['CLEAR', 'SECURE']);
    if (leaked.length > 0) return `a value reached an upstream that it is not bound to: ${leaked.join()}`;
    const shown = canariesIn(output, ['CLEAR', 'SECURE']);
    if (shown.length > 0) return `a value came back to the client: ${shown.join()}`;
    if (events.some(({ code }) => code === 'INTERNAL')) return 'the gate failed: INTERNAL';
    if (forwarded.some((event) => event.host !== host || event.port !== 80 || event.scheme !== 'http'))
      return 'the audit names another origin';
    if (events.some(({ method }) => method != null && !METHODS.includes(method))) {
      note('with methods that the upstream does not know');
      return null;
    }
    const oracles: [string, (bytes: Buffer) => Promise<Reading>][] = [
      ['llhttp', (bytes) => strict.read(bytes)],
      ['lenient llhttp', (bytes) => lenient.read(bytes)],
    ];
    if (h11 !== null) oracles.push(['h11', (bytes) => h11.read(bytes)]);
    let seen: SeenRequest[] = [];
    for (const [name, read] of oracles) {
      const theirs: SeenRequest[] = [];
      for (const bytes of reached) theirs.push(...(await read(bytes)).requests);
      if (theirs.length !== forwarded.length)
        return `${name} sees another number of requests than the audit: ${theirs.length} and ${forwarded.length}`;
      for (const { fields } of theirs) {
        const hosts = valuesOf(fields, 'host');
        if (hosts.length !== 1 || hosts[0] !== host) return `${name} sees another Host: ${JSON.stringify(hosts)}`;
      }
      const same = theirs.map(essence).toSorted().join();
      if (seen.length > 0 && same !== seen.map(essence).toSorted().join())
        return `${name} reads the requests otherwise than another parser`;
      seen = theirs;
    }
    if (
      data.isBound &&
      forwarded.some(({ secrets }) => secrets?.includes('CLEAR')) &&
      canariesIn(all, ['CLEAR']).length === 0
    )
      return 'the audit says that a value was released, and it was not';
    if (!data.isBound && forwarded.some(({ secrets }) => (secrets?.length ?? 0) > 0))
      return 'the audit says that a value was released to a host that is not bound';
    for (const { path } of forwarded) note(path === '/sentinel' ? 'sentinels forwarded' : 'requests forwarded');
    for (const { code, decision } of events) if (decision !== 'allow') note(`refused ${code ?? 'as the client left'}`);
    if (seen.length === 0 || reached.length > 1) return null;
    return compareWithClient(data, seen, note);
  };

  /** What was forwarded must be what llhttp sees in the client's own bytes; where parsers differ about those, nothing may be forwarded. */
  const compareWithClient = async (
    data: Case,
    seen: SeenRequest[],
    note: (what: string) => void,
  ): Promise<string | null> => {
    const bytes = Buffer.from(data.bytes, 'latin1');
    for (const [name, oracle] of [
      ['llhttp', strict],
      ['lenient llhttp', lenient],
    ] as const) {
      const { requests, end } = await oracle.read(bytes);
      // Those are known differences about connections (upgrades, HTTP/1.0) and unknown methods, not about where a request ends.
      for (const [index, request] of seen.entries()) {
        const theirs = requests[index];
        if (theirs === undefined) {
          if (hasTabAfterChunked(data.bytes) || end === 'stopped' || /upgrade|connection/i.test(data.bytes))
            note(`${name} reads less of the client, for a known reason`);
          else if (end.startsWith('refused') && name === 'llhttp')
            return `llhttp refuses a request that was forwarded: ${end}`;
          break;
        }
        if (essence(theirs) !== essence(request) && !isRewrittenBody(data.bytes))
          return `${name} sees another request in the client’s bytes: ${JSON.stringify([essence(theirs), essence(request)])}`;
      }
    }
    return null;
  };

  return {
    name: 'gate',
    generate(random) {
      const isBound = random.below(3) > 0;
      return {
        isBound,
        bytes: generateBytes(random, isBound ? BOUND_HOST : FREE_HOST),
        cut: random.oneIn(2) ? 0 : 1 + random.below(1000),
        form: random.below(ECHO_FORMS.length),
      };
    },
    async check(data, note) {
      lane.begin();
      form = data.form;
      const socket = await lane.gate.connect(data.isBound ? BOUND_HOST : FREE_HOST, 80);
      const output = await converse(socket, cutInPieces(data.bytes, data.cut));
      if (output === null) return 'the connection did not end';
      const notes: string[] = [];
      const problem = await settle(async () => {
        notes.length = 0;
        return judge(data, output, (what) => notes.push(what));
      });
      notes.forEach(note);
      return problem;
    },
    async close() {
      strict.close();
      lenient.close();
      h11?.close();
      server.close();
      await lane.close();
    },
  };
}

/** In forms and JSON a value is escaped, so that putting the placeholder back does not give the client's bytes. */
function isRewrittenBody(bytes: string): boolean {
  return /content-type/i.test(bytes);
}

if (import.meta.main) await runFromCommandLine(openTarget, 2000);
