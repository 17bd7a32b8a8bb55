import type { Attack } from '../attack.ts';
import type { Session } from '../session.ts';
import { SMUGGLED } from '../judge.ts';

interface Trick {
  readonly id: string;
  readonly title: string;
  readonly reference: string;
  /** What goes on the wire, as often as there are variants. */
  readonly write: (session: Session) => readonly (string | Buffer)[];
}

/** A request that must stay body, or be refused with everything that it came with. */
function hidden(session: Session): string {
  return session.request(`/${SMUGGLED}`, { lines: [`Host: ${session.target.bound}`] });
}

/** A POST with exactly these lines. */
function post(session: Session, lines: readonly string[], body: string): string {
  const fields = [`Host: ${session.target.bound}`, `X-Api-Key: ${session.target.placeholder}`, ...lines];
  return `POST /outer HTTP/1.1\r\n${fields.join('\r\n')}\r\n\r\n${body}`;
}

function chunk(data: string): string {
  return `${data.length.toString(16)}\r\n${data}\r\n`;
}

/** The body that hides a request behind the last chunk, for each spelling of the coding. */
function hideBehindChunks(session: Session, codings: readonly string[]): string[] {
  const body = `0\r\n\r\n${hidden(session)}`;
  return codings.map((coding) => post(session, [`Content-Length: ${body.length}`, coding], body));
}

const CODINGS_READ_BY_SOME = [
  'Transfer-Encoding: xchunked', 'Transfer-Encoding : chunked', 'Transfer-Encoding:\tchunked', 'Transfer-Encoding:\vchunked',
  'Transfer-Encoding: chunked, identity', 'Transfer-Encoding: identity, chunked', 'Transfer-Encoding: "chunked"',
  'Transfer-Encoding: chunked;q=1', 'Transfer-Encoding: CHUNKED', 'Transfer-Encoding: chun\u212aed', 'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding:\r\n chunked', 'X: y\nTransfer-Encoding: chunked', 'X: y\rTransfer-Encoding: chunked', 'Transfer_Encoding: chunked',
  'Transfer-Encoding\0: chunked', '\u00a0Transfer-Encoding: chunked', 'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity',
  'Transfer-Encoding: x\r\nTransfer-Encoding: chunked', 'Transfer-Encoding:', 'Transfer-Encoding: ,chunked',
] as const; // prettier-ignore

const TRICKS: readonly Trick[] = [
  { id: 'cl-te', title: 'Content-Length with Transfer-Encoding, the request behind the last chunk', reference: 'RFC 9112 section 6.1', write: (s) => hideBehindChunks(s, ['Transfer-Encoding: chunked']) },
  { id: 'te-cl', title: 'Transfer-Encoding with a Content-Length that ends early', reference: 'RFC 9112 section 6.1', write: (s) => { const inner = chunk(hidden(s)); return [post(s, ['Transfer-Encoding: chunked', `Content-Length: ${inner.indexOf('\r\n') + 2}`], `${inner}0\r\n\r\n`)]; } },
  { id: 'te-te', title: 'Spellings of Transfer-Encoding that some parsers read as chunked', reference: 'RFC 9112 section 7', write: (s) => hideBehindChunks(s, CODINGS_READ_BY_SOME) },
  { id: 'te-not-last', title: 'Transfer-Encoding whose last coding is not chunked, alone', reference: 'RFC 9112 section 6.3', write: (s) => ['chunked, identity', 'identity', 'gzip', 'chunked, chunked'].map((one) => post(s, [`Transfer-Encoding: ${one}`], `0\r\n\r\n${hidden(s)}`)) },
  { id: 'te-http10', title: 'Transfer-Encoding in HTTP/1.0', reference: 'RFC 9112 section 6.1', write: (s) => hideBehindChunks(s, ['Transfer-Encoding: chunked']).map((one) => one.replace('HTTP/1.1', 'HTTP/1.0')) },
  { id: 'cl-cl', title: 'Two lengths, in two fields or in one', reference: 'RFC 9112 section 6.3', write: (s) => { const inner = hidden(s); return [['Content-Length: 0', `Content-Length: ${inner.length}`], [`Content-Length: ${inner.length}`, 'Content-Length: 0'], [`Content-Length: 0, ${inner.length}`], [`Content-Length: ${inner.length}, 0`]].map((lines) => post(s, lines, inner)); } },
  { id: 'cl-spelling', title: 'Lengths that are no plain number', reference: 'RFC 9110 section 8.6', write: (s) => { const inner = hidden(s); const n = inner.length; return [`+${n}`, `-${n}`, `0x${n.toString(16)}`, `${n}.0`, `${n} `, `0 ${n}`, `${n}_0`, `${n}e0`, '', '18446744073709551616', `1844674407370955${n}`, `٣`].map((one) => post(s, [`Content-Length: ${one}`], inner)); } },
  { id: 'chunk-extensions', title: 'Chunk extensions with bare LF, quotes and length', reference: 'RFC 9112 section 7.1.1; Funky chunks', write: (s) => { const inner = hidden(s); return [`1;x\nA\r\n0\r\n\r\n`, `1;a="\r\n"\r\nA\r\n0\r\n\r\n${inner}`, `1;${'a'.repeat(20_000)}\r\nA\r\n0\r\n\r\n`, `2;\nxx\r\n${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`, `1;x\rA\r\n0\r\n\r\n`].map((body) => post(s, ['Transfer-Encoding: chunked'], body)); } },
  { id: 'chunk-sizes', title: 'Chunk sizes too large, signed, spaced or empty', reference: 'RFC 9112 section 7.1', write: (s) => { const inner = hidden(s); return ['fffffffffffffff0', '10000000000000000', '100000000', '-1', '+1', '0x1', ' 1', '1 ', '1_0', '', 'g', '0000000000000000000000000000000000000000001', '00'].map((size) => post(s, ['Transfer-Encoding: chunked'], `${size}\r\nA\r\n0\r\n\r\n${inner}`)); } },
  { id: 'chunk-ends', title: 'Chunk data without its CRLF, chunk lines by bare LF', reference: 'RFC 9112 section 7.1', write: (s) => { const inner = hidden(s); return ['1\r\nAX0\r\n\r\n', '1\nA\n0\n\n', '1\r\nA\n0\r\n\r\n', '1\r\nAA\r\n0\r\n\r\n', `0\n\n${inner}`, `0\r\n\n${inner}`, '1\rA\r0\r\r'].map((body) => post(s, ['Transfer-Encoding: chunked'], body)); } },
  { id: 'trailers', title: 'Framing and authority in trailers', reference: 'RFC 9110 section 6.5.1', write: (s) => [`0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nHost: ${s.target.unbound}\r\n\r\n`, `0\r\nX : y\r\n\r\n`, `0\r\nX: y\n\r\n${hidden(s)}`].map((body) => post(s, ['Transfer-Encoding: chunked', 'Trailer: x'], body)) },
  { id: 'bare-lf', title: 'Lines and heads that end by LF alone', reference: 'RFC 9112 section 2.2', write: (s) => { const whole = s.request('/outer', { lines: [`Host: ${s.target.bound}`, `X: y\n\nGET /${SMUGGLED} HTTP/1.1`, `Host: ${s.target.bound}`] }); return [whole, s.request('/outer').replaceAll('\r\n', '\n'), s.request('/outer', { lines: [`Host: ${s.target.bound}\nX: y`] })]; } },
  { id: 'bare-cr', title: 'CR alone in lines', reference: 'RFC 9112 section 2.2', write: (s) => [s.request('/outer', { lines: [`Host: ${s.target.bound}`, `X: y\r\rGET /${SMUGGLED} HTTP/1.1`, `Host: ${s.target.bound}`] }), s.request('/outer', { lines: [`Host: ${s.target.bound}\rX: y`] }), s.request('/outer').replaceAll('\r\n', '\r')] },
  { id: 'obs-fold', title: 'Folded field lines', reference: 'RFC 9112 section 5.2', write: (s) => [[`Host: ${s.target.bound}`, 'X: y', ' Transfer-Encoding: chunked'], [`Host: ${s.target.bound}`, 'X:', '\tcontinued'], ['Host:', ` ${s.target.bound}`], [' X: y', `Host: ${s.target.bound}`]].map((lines) => s.request('/outer', { lines })) },
  { id: 'space-before-colon', title: 'Space between field name and colon', reference: 'RFC 9112 section 5.1', write: (s) => [[`Host : ${s.target.bound}`], [`Host: ${s.target.bound}`, 'Content-Length : 5'], [`Host: ${s.target.bound}`, 'X\t: y'], [`Host: ${s.target.bound}`, 'X Y: z']].map((lines) => s.request('/outer', { lines })) },
  { id: 'field-octets', title: 'NUL, controls and missing names in field lines', reference: 'RFC 9110 section 5.5', write: (s) => ['X: a\0b', 'X\0: y', ': y', 'X', 'X: a\x01b', 'X: a\x7fb', 'X(y): z', 'X\u00e9: y'].map((line) => s.request('/outer', { lines: [`Host: ${s.target.bound}`, line] })) },
  { id: 'request-line', title: 'Request lines with blanks, controls and odd versions', reference: 'RFC 9112 section 3', write: (s) => { const rest = `\r\nHost: ${s.target.bound}\r\nX-Api-Key: ${s.target.placeholder}\r\nConnection: close\r\n\r\n`; return ['GET  /outer HTTP/1.1', 'GET\t/outer\tHTTP/1.1', 'GET /outer HTTP/1.1 ', 'GET /out er HTTP/1.1', 'GET /outer HTTP/1.10', 'GET /outer HTTP/2.0', 'GET /outer http/1.1', 'GET /outer', 'GE(T /outer HTTP/1.1', 'GET /outer\0 HTTP/1.1', `GET /outer HTTP/1.1\rX: y`, ' GET /outer HTTP/1.1', 'GET /outer HTTP/1.1 HTTP/1.1', 'GET /outer#x HTTP/1.1', 'GET outer HTTP/1.1', 'GET /outer\u00a0HTTP/1.1 HTTP/1.1'].map((line) => `${line}${rest}`); } },
  { id: 'hop-by-hop', title: 'Connection that names Host, a length or the credential', reference: 'RFC 9110 section 7.6.1', write: (s) => ['content-length', 'host', 'transfer-encoding', 'x-api-key', 'close, content-length, host'].map((one) => post(s, [`Connection: ${one}`, `Content-Length: ${hidden(s).length}`], hidden(s))) },
  { id: 'body-of-get', title: 'Bodies of GET, HEAD and DELETE', reference: 'RFC 9110 section 9.3.1', write: (s) => ['GET', 'HEAD', 'DELETE', 'OPTIONS'].map((method) => post(s, [`Content-Length: ${hidden(s).length}`], hidden(s)).replace('POST', method)) },
  { id: 'expect', title: 'Expect: 100-continue, spelled and repeated', reference: 'RFC 9110 section 10.1.1', write: (s) => ['100-continue', '100-Continue ', 'y 100-continue', '100-continue, 100-continue', '200-ok'].map((one) => post(s, [`Expect: ${one}`, `Content-Length: ${hidden(s).length}`], hidden(s))) },
  { id: 'upgrade', title: 'Upgrade to h2c and websocket that the server does not take', reference: 'RFC 9110 section 7.8; h2c smuggling', write: (s) => [['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA'], ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 777', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==']].map((lines) => s.request('/outer', { lines: [`Host: ${s.target.bound}`, ...lines], keepAlive: true }).concat(hidden(s).replace(SMUGGLED, 'pipelined'))) },
  { id: 'leading-bytes', title: 'Blank lines, blanks and a byte order mark before the request', reference: 'RFC 9112 section 2.2', write: (s) => ['\r\n\r\n', '\n', ' ', '\0', '\ufeff', '\r'].map((one) => `${one}${s.request('/outer')}`) },
]; // prettier-ignore

const LEAK = 'the value, in a request that the gate did not see; or answers swapped between requests';

/** Where a request ends: the gate must refuse, or pass on what every parser reads alike. */
export const SMUGGLING_ATTACKS: readonly Attack[] = TRICKS.map(({ id, title, reference, write }) => ({
  id: `smuggle-${id}`,
  title,
  reference,
  leak: LEAK,
  category: 'smuggling',
  run: async (session) => {
    const sent = write(session);
    for (let at = 0; at < sent.length; at += 8) {
      await Promise.all(sent.slice(at, at + 8).map((one) => session.exchange({ to: 'bound', send: [one] })));
    }
  },
}));
