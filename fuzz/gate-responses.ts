/**
 * Differential fuzz target for the way back: an upstream answers with random, now and then damaged bytes that hold values in many forms,
 * chunkings and codings. What a client's llhttp (and h11) makes of the gate's output must be what llhttp
 * makes of the upstream's bytes, with the values redacted; or the gate has said in words, or by cutting the connection, that it refuses.
 *
 * `node --conditions=sallyport-source fuzz/gate-responses.ts [--seed S] [--iterations N] [--seconds T]`
 */
import {
  brotliCompressSync,
  brotliDecompressSync,
  deflateSync,
  gunzipSync,
  gzipSync,
  inflateRawSync,
  inflateSync,
  zstdCompressSync,
  zstdDecompressSync,
} from 'node:zlib';

import { Redactor } from '../packages/runtime/src/secrets/redact.ts';
import { SecretValue } from '../packages/runtime/src/secrets/secret-value.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { BOUND_HOST, CANARIES, canariesIn, converse, FREE_HOST, openLane, PLACEHOLDERS, settle } from './gate/lane.ts';
import { cutInPieces } from './gate/pieces.ts';
import { PythonOracle } from './python/oracle.ts';
import { valuesOf } from './http1/field-values.ts';
import { hasTabAfterChunked } from './http1/llhttp.ts';
import type { Random } from './http1/random.ts';
import { mutateSome } from './http1/requests.ts';
import {
  generateResponses,
  knowsNoTransferCoding,
  readResponseWithLlhttp,
  readResponseWithOurs,
  type ResponseReading,
} from './http1/responses.ts';

type Case = { isBound: boolean; method: string; minor: number; bytes: string; cut: number };

const CODINGS = {
  gzip: gzipSync,
  'x-gzip': gzipSync,
  deflate: deflateSync,
  br: brotliCompressSync,
  zstd: zstdCompressSync,
} as const;
const NOISE = [
  'a',
  ' ',
  '\r\n',
  '%',
  '\\',
  '\\u00',
  '{"k":"',
  '"}',
  'data: x\n\n',
  '=',
  'Basic ',
  '\xe9',
  '\0',
  'ghp_Zq8v',
  'kq7+/',
];
const FIELDS = [
  'ETag: "x"',
  'Set-Cookie: s=VALUE; Path=/',
  'Location: https://evil.example/?t=VALUE',
  'WWW-Authenticate: Basic realm="VALUE"',
  'X-VALUE: 1',
  'Alt-Svc: h3=":443"',
  'Content-Type: text/event-stream',
  'Content-Type: application/json',
  'Content-Range: bytes 0-3/9',
  'Trailer: x-sum',
  'Content-MD5: x',
  'Vary: *',
  'Content-Encoding: identity',
];
const redactor = new Redactor(
  (['CLEAR', 'SECURE'] as const).map((name) => ({
    name,
    placeholder: PLACEHOLDERS[name],
    values: [new SecretValue(CANARIES[name])],
  })),
);

function form(random: Random): string {
  const value = random.pick([CANARIES.CLEAR, CANARIES.SECURE]);
  const bytes = Buffer.from(value, 'latin1');
  switch (random.below(8)) {
    case 0:
      return bytes.toString('hex');
    case 1:
      return encodeURIComponent(value);
    case 2:
      return JSON.stringify(value);
    case 3:
      return Buffer.concat([Buffer.from('abc'.slice(random.below(4))), bytes]).toString(
        random.pick(['base64', 'base64url']),
      );
    case 4:
      return [...bytes].map((byte) => `%${byte.toString(16)}`).join('');
    case 5:
      return [...bytes].map((byte) => `\\u00${byte.toString(16).toUpperCase()}`).join('');
    default:
      return value;
  }
}

function body(random: Random): string {
  let text = '';
  for (let left = random.below(6); left > 0; left -= 1) text += random.oneIn(2) ? form(random) : random.pick(NOISE);
  return random.oneIn(30) ? text + 'x'.repeat(70_000) + text : text;
}

function answer(random: Random): string {
  if (random.oneIn(4)) return generateResponses(random).replaceAll('abcde', CANARIES.CLEAR.slice(0, 5));
  let content: Buffer = Buffer.from(body(random), 'latin1');
  const fields: string[] = [];
  const coding = random.oneIn(3) ? random.pick(Object.keys(CODINGS) as (keyof typeof CODINGS)[]) : null;
  if (coding !== null) {
    content = CODINGS[coding](content);
    fields.push(
      `Content-Encoding: ${random.oneIn(8) ? random.pick(['gzip', 'br', 'gzip, gzip', 'exi', 'GZIP', '', 'gzip,']) : coding}`,
    );
  }
  for (let left = random.below(3); left > 0; left -= 1)
    fields.push(random.pick(FIELDS).replace('VALUE', () => form(random)));
  let text = content.toString('latin1');
  let trailers = '';
  switch (random.below(3)) {
    case 0:
      fields.push(`Content-Length: ${random.oneIn(12) ? text.length + 1 - random.below(3) : text.length}`);
      break;
    case 1: {
      const isZipped = random.oneIn(12);
      fields.push(isZipped ? 'Transfer-Encoding: gzip, chunked' : 'Transfer-Encoding: chunked');
      if (isZipped && !random.oneIn(4)) text = gzipSync(Buffer.from(text, 'latin1')).toString('latin1');
      if (random.oneIn(4)) trailers = `x-sum: ${form(random)}\r\n`;
      const most = random.pick([1, 5, 40, 40_000]);
      let chunked = '';
      for (let at = 0; at < text.length;) {
        const size = Math.min(text.length - at, text.length > 5000 ? most + 1000 : 1 + random.below(most));
        chunked += `${size.toString(16)}${random.oneIn(20) ? ';a="b"' : ''}\r\n${text.slice(at, at + size)}\r\n`;
        at += size;
      }
      text = `${chunked}0\r\n${trailers}\r\n`;
      break;
    }
  }
  const status = random.oneIn(6)
    ? random.pick([
        '201 Created',
        '204 No Content',
        '304 Not Modified',
        '206 Partial',
        '100 Continue',
        '103 Hints',
        '101 Switching',
        '500 VALUE',
        '999 x',
      ])
    : '200 OK';
  const reason = status.replace('VALUE', () => form(random));
  const interim = random.oneIn(10) ? `HTTP/1.1 103 Early\r\nLink: <${form(random)}>\r\n\r\n` : '';
  return mutateSome(
    random,
    `${interim}HTTP/1.1 ${reason}\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n${text}`,
  );
}

function listed(fields: readonly string[], name: string): string[] {
  const members = valuesOf(fields, name).join(',').toLowerCase().split(',');
  return members.map((member) => member.trim()).filter((member) => member !== '');
}

/** The body that the upstream meant, decoded; null where a coding is unknown, or the body is not of that coding. */
function decoded(fields: readonly string[], body: string): string | null {
  const content = listed(fields, 'content-encoding').filter((coding) => coding !== 'identity');
  const codings = [...content, ...listed(fields, 'transfer-encoding').filter((coding) => coding !== 'chunked')];
  try {
    return codings.reduceRight<Buffer>((bytes, coding) => (bytes.length === 0 ? bytes : decode(bytes, coding)), Buffer.from(body, 'latin1')).toString('latin1'); // prettier-ignore
  } catch {
    return null;
  }
}

function decode(bytes: Buffer, coding: string): Buffer {
  switch (coding) {
    case 'gzip':
    case 'x-gzip':
      return gunzipSync(bytes);
    case 'deflate':
      return ((bytes[0]! & 15) === 8 ? inflateSync : inflateRawSync)(bytes);
    case 'br':
      return brotliDecompressSync(bytes);
    case 'zstd':
      return zstdDecompressSync(bytes);
    default:
      throw new TypeError('an unknown coding');
  }
}

/** Opens the target. */
export async function openTarget(): Promise<FuzzTarget<Case>> {
  let pieces: readonly Buffer[] = [];
  const lane = await openLane((socket) => {
    let asked = '';
    socket.on('data', (chunk: Buffer) => {
      const wasAsked = asked.includes('\r\n\r\n');
      asked += chunk.toString('latin1');
      if (wasAsked || !asked.includes('\r\n\r\n')) return;
      void (async () => {
        for (const piece of pieces) {
          if (!socket.writable) return;
          socket.write(piece);
          await new Promise((resolve) => setImmediate(resolve));
        }
        socket.end();
      })();
    });
    socket.on('end', () => socket.end());
  });
  const h11 = PythonOracle.start<ResponseReading>('h11', 'responses');

  const judge = async (data: Case, output: string, note: (what: string) => void): Promise<string | null> => {
    const events = lane.gate.events.filter(({ kind }) => kind === 'request');
    if (events.length !== 1) return `${events.length} audit events for one request`;
    const [event] = events;
    const shown = canariesIn(output, ['CLEAR', 'SECURE']);
    if (shown.length > 0) return `a value came back to the client: ${shown.join()}`;
    if (event?.code === 'INTERNAL') return 'the gate failed: INTERNAL';
    const bytes = Buffer.from(output, 'latin1');
    const seen = await readResponseWithLlhttp(bytes, data.method);
    note(event?.decision === 'allow' ? 'passed on' : `refused ${event?.code ?? ''}`);
    const isProblem = valuesOf(seen.response?.fields ?? [], 'content-type').join(', ') === 'application/problem+json';
    if (isProblem) return event?.decision === 'allow' ? 'the audit calls the gate’s own answer the upstream’s' : null;
    // A client of HTTP/1.0 cannot tell a body that was cut from a whole one.
    if (data.minor === 0) return null;
    if ((seen.end === 'complete') !== (event?.decision === 'allow'))
      return `the audit says ${event?.decision} ${event?.code} and the client’s reading is: ${seen.end}`;
    if (seen.response === null) return null;
    const theirs = h11 === null ? null : await h11.read(Buffer.concat([Buffer.from(data.method.slice(0, 1)), bytes]));
    if (
      theirs !== null &&
      (theirs.response?.body !== seen.response.body || theirs.response.status !== seen.response.status)
    )
      return `h11 and llhttp read the gate’s output otherwise: ${theirs.end}`;
    const source = Buffer.from(data.bytes, 'latin1');
    // What follows the response is not part of it, and llhttp refuses more there; h11 leaves it alone and so sees whether that is the end.
    const { bytesRead } = readResponseWithOurs([Buffer.from(source)], data.method);
    const meant = await readResponseWithLlhttp(source.subarray(0, bytesRead), data.method);
    const byH11 = h11 === null ? null : await h11.read(Buffer.concat([Buffer.from(data.method.slice(0, 1)), source]));
    if (byH11 !== null && !knowsNoTransferCoding(byH11) && byH11.response?.body !== meant.response?.body)
      return `passed on although h11 and llhttp read it otherwise: ${byH11.end} and ${meant.end}`;
    if (meant.response === null) {
      const whole = hasTabAfterChunked(data.bytes);
      if (whole) note('with HTAB after chunked, which only llhttp refuses');
      return whole ? null : `passed on although llhttp does not accept it: ${meant.end}`;
    }
    if (meant.response.status !== seen.response.status)
      return `another status: ${meant.response.status} and ${seen.response.status}`;
    if (data.method === 'HEAD') return null;
    const plain = decoded(meant.response.fields, meant.response.body);
    if (plain === null) return 'passed on although it cannot be decoded';
    if (redactor.redactText(plain) !== seen.response.body) return 'another body than the upstream’s, redacted';
    return null;
  };

  return {
    name: 'gate-responses',
    generate(random) {
      return {
        isBound: random.oneIn(2),
        method: random.oneIn(8) ? 'HEAD' : 'GET',
        minor: random.oneIn(8) ? 0 : 1,
        bytes: answer(random),
        cut: random.oneIn(3) ? 0 : 1 + random.below(1000),
      };
    },
    async check(data, note) {
      if (data.method !== 'GET' && data.method !== 'HEAD') return null;
      lane.begin();
      pieces = cutInPieces(data.bytes, data.cut);
      const host = data.isBound ? BOUND_HOST : FREE_HOST;
      const socket = await lane.gate.connect(host, 80);
      const request = `${data.method} / HTTP/1.${data.minor === 0 ? 0 : 1}\r\nHost: ${host}\r\nAuthorization: ${PLACEHOLDERS.CLEAR}\r\n\r\n`;
      const output = await converse(socket, [Buffer.from(request)]);
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
      h11?.close();
      await lane.close();
    },
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 2000);
