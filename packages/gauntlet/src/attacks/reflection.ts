import { brotliCompressSync, deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import type { Attack } from '../attack.ts';
import { createReply, credentialOf } from '../upstreams.ts';
import type { Reply, UpstreamRequest } from '../upstreams.ts';
import type { ExchangePlan, Session } from '../session.ts';

interface Reflection {
  readonly id: string;
  readonly title: string;
  readonly reference: string;
  readonly informational?: boolean;
  /** The answer that holds the value; `random` chooses where bodies are cut. */
  readonly reply: (value: string, session: Session) => Reply;
  readonly request?: { readonly method?: string; readonly lines?: readonly string[] };
  readonly plan?: Partial<ExchangePlan>;
}

const OK = '200 OK';
const TEXT = 'Content-Type: text/plain';

function body(bytes: Buffer | string, ...fields: string[]): Reply {
  return createReply(OK, fields.length === 0 ? [TEXT] : fields, bytes);
}

function chunked(
  pieces: readonly Buffer[],
  fields: readonly string[] = [TEXT],
  delayMs?: number,
  tail = '\r\n',
): Reply {
  const head = `HTTP/1.1 200 OK\r\n${fields.join('\r\n')}\r\nTransfer-Encoding: chunked\r\n\r\n`;
  const chunks = pieces.map((piece) =>
    Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n')]),
  );
  const parts = [Buffer.from(head), ...chunks, Buffer.from(`0\r\n${tail}`)];
  return delayMs === undefined ? { pieces: [Buffer.concat(parts)] } : { pieces: parts, delayMs };
}

function split(text: string, sizes: () => number): Buffer[] {
  const bytes = Buffer.from(text);
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const size = sizes();
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

function percent(text: string, isEscaped: (index: number) => boolean, upper = true): string {
  const escape = (letter: string): string => letter.charCodeAt(0).toString(16).padStart(2, '0');
  return [...text]
    .map((letter, index) => (isEscaped(index) ? `%${upper ? escape(letter).toUpperCase() : escape(letter)}` : letter))
    .join('');
}

function jsonEscape(text: string, isEscaped: (index: number) => boolean): string {
  return [...text]
    .map((letter, index) => (isEscaped(index) ? `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}` : letter))
    .join('');
}

function raw(text: string): Reply {
  return { pieces: [Buffer.from(text, 'latin1')], close: true };
}

/** A text frame of a server (RFC 6455 section 5.2). */
function textFrame(text: string): Buffer {
  return Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]);
}

const WEBSOCKET_LINES = [
  'Connection: Upgrade',
  'Upgrade: websocket',
  'Sec-WebSocket-Version: 13',
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
];
const WEBSOCKET_HEAD =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n';

const REFLECTIONS: readonly Reflection[] = [
  // Where.
  { id: 'header', title: 'in a header', reference: 'RFC 9110 section 5', reply: (v) => createReply(OK, [`X-Echo: before ${v} after`], 'x') },
  { id: 'header-name', title: 'in the name of a header', reference: 'RFC 9110 section 5.1', reply: (v) => createReply(OK, [`X-${v}: y`], 'x') },
  { id: 'header-split', title: 'in a header, base64 and percent-encoded', reference: 'RFC 9110 section 5', reply: (v) => createReply(OK, [`X-A: ${Buffer.from(`x:${v}`).toString('base64')}`, `X-B: ${percent(v, () => true)}`, `X-C: ${Buffer.from(v).toString('hex')}`], 'x') },
  { id: 'header-folded', title: 'in a folded header', reference: 'RFC 9112 section 5.2', reply: (v) => createReply(OK, [`X-Echo: a\r\n ${v}`], 'x') },
  { id: 'many-headers', title: 'in one of 60 headers of the same name', reference: 'RFC 9110 section 5.3', reply: (v) => createReply(OK, Array.from({ length: 60 }, (_, i) => `X-Echo: ${i === 41 ? v : i}`), 'x') },
  { id: 'status-text', title: 'in the reason phrase', reference: 'RFC 9112 section 4', reply: (v) => createReply(`200 ${v}`, [], 'x') },
  { id: 'cookie', title: 'in Set-Cookie', reference: 'RFC 6265 section 4.1', reply: (v) => createReply(OK, [`Set-Cookie: session=${v}; Path=/`, `Set-Cookie: b=${encodeURIComponent(v)}`], 'x') },
  { id: 'location', title: 'in Location, as query, path, user name and fragment', reference: 'RFC 9110 section 10.2.2', reply: (v) => createReply('302 Found', [`Location: https://${v}@evil.example/${v}?k=${v}#${v}`], 'x') },
  { id: 'authenticate', title: 'in WWW-Authenticate of a 401', reference: 'RFC 9110 section 11.6.1', reply: (v) => createReply('401 Unauthorized', [`WWW-Authenticate: Bearer error="bad token ${v}"`], `bad token ${v}`) },
  { id: 'server-error', title: 'in the body of a 500', reference: 'RFC 9110 section 15.6', reply: (v) => createReply('500 Internal Server Error', [TEXT], `Traceback: token=${v}`) },
  { id: 'informational', title: 'in a 103 before the answer', reference: 'RFC 8297', reply: (v) => raw(`HTTP/1.1 103 Early Hints\r\nLink: </${v}>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx`) },
  { id: 'head-answer', title: 'in a header of the answer to HEAD', reference: 'RFC 9110 section 9.3.2', request: { method: 'HEAD' }, reply: (v) => raw(`HTTP/1.1 200 OK\r\nX-Echo: ${v}\r\nContent-Length: 40\r\n\r\n`) },
  { id: 'not-modified', title: 'in a header of a 304', reference: 'RFC 9110 section 15.4.5', reply: (v) => raw(`HTTP/1.1 304 Not Modified\r\nETag: "${v}"\r\n\r\n`) },
  { id: 'trailer', title: 'in a trailer', reference: 'RFC 9110 section 6.5', reply: (v) => chunked([Buffer.from('x')], [TEXT, 'Trailer: X-Echo'], undefined, `X-Echo: ${v}\r\n\r\n`) },
  { id: 'chunk-extension', title: 'in a chunk extension', reference: 'RFC 9112 section 7.1.1', reply: (v) => raw(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x="${v}"\r\nA\r\n0;y=${v}\r\n\r\n`) },
  { id: 'websocket', title: 'in a WebSocket message, whole and fragmented', reference: 'RFC 6455 section 5.4', request: { lines: WEBSOCKET_LINES }, reply: (v) => ({ pieces: [Buffer.concat([Buffer.from(WEBSOCKET_HEAD), textFrame(`echo ${v}`), Buffer.from([0x01, 10]), Buffer.from(v.slice(0, 10)), Buffer.from([0x80, v.length - 10]), Buffer.from(v.slice(10))])] }) },
  { id: 'until-close', title: 'in a body that ends with the connection', reference: 'RFC 9112 section 6.3', reply: (v) => raw(`HTTP/1.1 200 OK\r\n\r\nbefore ${v} after`) },
  { id: 'http10', title: 'in an HTTP/1.0 answer', reference: 'RFC 9112 section 2.3', reply: (v) => raw(`HTTP/1.0 200 OK\r\nX-Echo: ${v}\r\n\r\nbefore ${v} after`) },
  { id: 'excess', title: 'in bytes after the answer’s length', reference: 'RFC 9112 section 9.2', reply: (v) => raw(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx${v}`) },
  { id: 'two-framings', title: 'in an answer with both lengths and chunks', reference: 'RFC 9112 section 6.3', reply: (v) => raw(`HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${v}`) },
  { id: 'sse', title: 'in server-sent events, across writes', reference: 'HTML section 9.2', reply: (v) => chunked([`data: {"t":"${v.slice(0, 9)}`, v.slice(9, 20), `${v.slice(20)}"}\n\n`].map((one) => Buffer.from(one)), ['Content-Type: text/event-stream'], 40) },
  { id: 'partial', title: 'in a 206 that nobody asked for', reference: 'RFC 9110 section 15.3.7', reply: (v) => createReply('206 Partial Content', ['Content-Range: bytes 3-60/900', TEXT], `abc ${v} def`) },
  { id: 'multipart', title: 'in a part of multipart/byteranges', reference: 'RFC 9110 section 14.6', reply: (v) => createReply('206 Partial Content', ['Content-Type: multipart/byteranges; boundary=b'], `--b\r\nContent-Range: bytes 0-40/900\r\n\r\n${v}\r\n--b--\r\n`) },
  { id: 'binary', title: 'in a body of binary type, among NUL and high bytes', reference: 'design of scanners', reply: (v) => body(Buffer.concat([Buffer.from([0, 255, 128, 0]), Buffer.from(v), Buffer.from([0, 255])]), 'Content-Type: application/octet-stream') },
  { id: 'large-body', title: 'at the end of a megabyte', reference: 'design of scanners', reply: (v) => body(Buffer.concat([Buffer.alloc(1_000_000, 'a'), Buffer.from(v)])) },
  // How cut.
  { id: 'one-byte-chunks', title: 'in chunks of one byte', reference: 'RFC 9112 section 7.1', reply: (v) => chunked(split(`before ${v} after`, () => 1)) },
  { id: 'one-byte-writes', title: 'in chunks of one byte, each a write of its own', reference: 'RFC 9112 section 7.1', reply: (v) => chunked(split(v, () => 1), [TEXT], 4) },
  { id: 'random-chunks', title: 'in chunks of random sizes, five times', reference: 'RFC 9112 section 7.1', reply: (v, s) => chunked(split(`${v} ${v}\n${v}"${v}=${v}`, () => 1 + s.random.integer(13)), [TEXT], 2) },
  { id: 'false-starts', title: 'after beginnings of itself', reference: 'design of scanners', reply: (v) => body(`${v.slice(0, -1)}${v.slice(0, 5)}${v.slice(0, 12)}${v}${v.slice(0, 3)}`) },
  { id: 'nested', title: 'inside itself: what removal would join again', reference: 'design of scanners', reply: (v) => body(`${v.slice(0, 10)}${v}${v.slice(10)}`) },
  { id: 'adjacent', title: '10,000 times without a gap', reference: 'design of scanners', reply: (v) => body(v.repeat(10_000)) },
  // How encoded.
  ...(['gzip', 'deflate', 'br', 'zstd', 'deflate-raw'] as const).map((coding): Reflection => ({ id: coding, title: `in a body of coding ${coding}, unasked`, reference: 'RFC 9110 section 8.4', reply: (v) => {
    const compress = { gzip: gzipSync, deflate: deflateSync, br: brotliCompressSync, zstd: zstdCompressSync, 'deflate-raw': deflateRawSync }[coding];
    return body(compress(Buffer.from(`before ${v} after`)), TEXT, `Content-Encoding: ${coding === 'deflate-raw' ? 'deflate' : coding}`);
  } })),
  { id: 'gzip-one-byte', title: 'in gzip, in chunks of one byte', reference: 'RFC 9110 section 8.4.1', reply: (v) => { const bytes = gzipSync(Buffer.from(`before ${v} after`)); return chunked(Array.from(bytes, (one) => Buffer.from([one])), [TEXT, 'Content-Encoding: gzip']); } },
  { id: 'gzip-members', title: 'across two members of gzip', reference: 'RFC 1952 section 2.2', reply: (v) => body(Buffer.concat([gzipSync(v.slice(0, 11)), gzipSync(v.slice(11))]), TEXT, 'Content-Encoding: gzip') },
  { id: 'gzip-twice', title: 'in gzip within gzip, both named', reference: 'RFC 9110 section 8.4', reply: (v) => body(gzipSync(gzipSync(Buffer.from(v))), TEXT, 'Content-Encoding: gzip, gzip') },
  { id: 'gzip-stored', title: 'readable in a stored gzip block', reference: 'RFC 1951 section 3.2.4', reply: (v) => body(gzipSync(Buffer.from(v), { level: 0 }), TEXT, 'Content-Encoding: gzip') },
  { id: 'gzip-transfer', title: 'in Transfer-Encoding: gzip, chunked', reference: 'RFC 9112 section 7.2', reply: (v) => { const bytes = gzipSync(Buffer.from(v), { level: 0 }); return raw(`HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n${bytes.length.toString(16)}\r\n${bytes.toString('latin1')}\r\n0\r\n\r\n`); } },
  { id: 'coding-lie', title: 'in plain text that is labelled gzip', reference: 'RFC 9110 section 8.4', reply: (v) => body(v, TEXT, 'Content-Encoding: gzip') },
  { id: 'coding-unknown', title: 'in plain text of a coding that nobody knows', reference: 'RFC 9110 section 8.4', reply: (v) => body(v, TEXT, 'Content-Encoding: x-nobody') },
  { id: 'gzip-tail', title: 'in plain text behind the end of gzip', reference: 'RFC 1952 section 2.2', reply: (v) => body(Buffer.concat([gzipSync('x'), Buffer.from(v)]), TEXT, 'Content-Encoding: gzip') },
  { id: 'gzip-cut', title: 'in gzip that breaks off', reference: 'RFC 1952 section 2.3', reply: (v) => body(gzipSync(Buffer.from(v.repeat(3)), { level: 0 }).subarray(0, 90), TEXT, 'Content-Encoding: gzip') },
  { id: 'gzip-name', title: 'in the file name of a gzip header', reference: 'RFC 1952 section 2.3', reply: (v) => { const plain = gzipSync('x'); plain[3] = 8; return body(Buffer.concat([plain.subarray(0, 10), Buffer.from(`${v}\0`), plain.subarray(10)]), TEXT, 'Content-Encoding: gzip'); } },
  ...[0, 1, 2].flatMap((shift) => (['base64', 'base64url'] as const).map((alphabet): Reflection => ({ id: `${alphabet}-${shift}`, title: `as ${alphabet} at alignment ${shift}`, reference: 'RFC 4648', reply: (v) => body(`{"data":"${Buffer.from(`${'x'.repeat(shift)}${v}tail`).toString(alphabet)}"}`, 'Content-Type: application/json') }))),
  { id: 'basic', title: 'as a Basic credential', reference: 'RFC 7617', reply: (v) => body(`Authorization: Basic ${Buffer.from(`user:${v}`).toString('base64')}`) },
  { id: 'base64-chunks', title: 'as base64 in chunks of three bytes', reference: 'RFC 4648', reply: (v) => chunked(split(Buffer.from(`u:${v}`).toString('base64'), () => 3)) },
  { id: 'hex', title: 'in hexadecimal, either case', reference: 'RFC 4648 section 8', reply: (v) => body(`${Buffer.from(v).toString('hex')} ${Buffer.from(v).toString('hex').toUpperCase()}`) },
  { id: 'hex-mixed', title: 'in hexadecimal of mixed case', reference: 'RFC 4648 section 8', reply: (v) => body([...Buffer.from(v).toString('hex')].map((digit, i) => (i % 2 === 0 ? digit.toUpperCase() : digit)).join('')) },
  { id: 'percent', title: 'percent-encoded', reference: 'RFC 3986 section 2.1', reply: (v) => body(percent(v, () => true)) },
  { id: 'percent-lower', title: 'percent-encoded in lower case, every third character', reference: 'RFC 3986 section 2.1', reply: (v) => body(percent(v, (i) => i % 3 === 0, false)) },
  { id: 'json', title: 'in JSON escapes', reference: 'RFC 8259 section 7', reply: (v) => body(`{"t":"${jsonEscape(v, () => true)}"}`, 'Content-Type: application/json') },
  { id: 'json-mixed', title: 'in JSON escapes, every second character', reference: 'RFC 8259 section 7', reply: (v) => body(`{"t":"${jsonEscape(v, (i) => i % 2 === 1)}"}`, 'Content-Type: application/json') },
  { id: 'html', title: 'in HTML entities', reference: 'HTML section 13.5', informational: true, reply: (v) => body([...v].map((letter) => `&#${letter.charCodeAt(0)};`).join(''), 'Content-Type: text/html') },
  { id: 'utf16', title: 'in UTF-16', reference: 'RFC 2781', informational: true, reply: (v) => body(Buffer.from(v, 'utf16le'), 'Content-Type: text/plain; charset=utf-16le') },
]; // prettier-ignore

const LEAK = 'the value, to the program in the sandbox';

/** The upstream gives the value back. The client may not read it. */
export const REFLECTION_ATTACKS: readonly Attack[] = REFLECTIONS.map(
  ({ id, title, reference, informational, reply, request, plan }) => ({
    id: `reflect-${id}`,
    title: `The value comes back ${title}`,
    reference,
    leak: LEAK,
    category: 'reflection',
    needs: ['redaction'],
    informational: informational ?? false,
    run: async (session) => {
      let reflected = 0;
      session.answer((seen: UpstreamRequest) => {
        const value = credentialOf(seen);
        if (value !== session.target.value) return undefined;
        reflected += 1;
        return reply(value, session);
      });
      const { bound } = session.target;
      const isUpgrade = request?.lines !== undefined;
      const text = session.request('/reflect', {
        ...request,
        lines: [`Host: ${bound}`, ...(request?.lines ?? [])],
        keepAlive: isUpgrade,
      });
      const { stage, end } = await session.exchange({ to: 'bound', send: [text], ...plan });
      if (reflected === 0) throw new Error(`the value never reached the upstream (${stage}: ${end})`);
    },
  }),
);
