import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { Duplex } from 'node:stream';
import { createBodyDecoder } from '../../packages/runtime/src/http/body-decoder.ts';
import { responseFraming } from '../../packages/runtime/src/http/framing.ts';
import { parseResponseHead } from '../../packages/runtime/src/http/head-parser.ts';
import { HeadReader } from '../../packages/runtime/src/http/head-reader.ts';
import { HttpSyntaxError } from '../../packages/runtime/src/http/http-syntax-error.ts';
import type { Random } from './random.ts';
import { generateMessage, mutateSome } from './requests.ts';

/** The final response that a parser saw, if any, and how the reading ended. */
export interface ResponseReading {
  readonly response: { readonly status: number; readonly fields: readonly string[]; readonly body: string } | null;
  readonly end: 'complete' | 'incomplete' | 'switched' | `refused ${string}`;
}

/** Follows every generated response, so that one that swallowed too much shows. */
const SENTINEL = 'HTTP/1.1 299 Sentinel\r\nContent-Length: 0\r\n\r\n';
const STATUSES = [
  '100',
  '101',
  '103',
  '199',
  '200',
  '204',
  '205',
  '206',
  '299',
  '304',
  '404',
  '500',
  '599',
  '099',
  '600',
  '20',
  '2000',
  '+20',
  '2 0',
];
const VERSIONS = ['HTTP/1.0', 'HTTP/1.2', 'HTTP/2.0', 'http/1.1', 'HTTP/01.1', 'ICY', ''];
const REASONS = ['', 'O K', '\xe9', '\t', 'O\0K', 'O\rK', 'O\nK', '\x7f'];
/** Turns of the event loop after which the client must have seen all of a response. */
const MAX_TURNS = 12;

/** The bytes of a connection: interim responses perhaps, one response that is wrong in few places or none, then the sentinel. */
export function generateResponses(random: Random): string {
  let text = '';
  for (let count = random.oneIn(6) ? 2 : 1; count > 0; count--) {
    text += generateMessage(random, (isOdd, space) => {
      const version = isOdd() ? random.pick(VERSIONS) : 'HTTP/1.1';
      const status = isOdd() ? random.pick(STATUSES) : '200';
      return `${version}${space()}${status}${space()}${isOdd() ? random.pick(REASONS) : 'OK'}`;
    });
  }
  return mutateSome(random, text) + SENTINEL;
}

/** Reads the response to a `method` request with Sallyport's codec, and says at which byte of the connection it ended. */
export function readResponseWithOurs(
  chunks: readonly Buffer[],
  method: string,
): ResponseReading & { readonly bytesRead: number } {
  const reader = new HeadReader('response');
  let head = { status: 0, fields: [] as string[] };
  let decoder: ReturnType<typeof createBodyDecoder> | null = null;
  let body = '';
  let bytesBefore = 0;
  const ended = (reading: ResponseReading, bytesRead = 0) => ({ ...reading, bytesRead });
  try {
    for (const chunk of chunks) {
      let offset = 0;
      while (offset < chunk.length) {
        if (decoder === null) {
          offset = reader.read(chunk, offset);
          if (offset === -1) break;
          const parsed = parseResponseHead(reader.bytes, reader.start, reader.end);
          const framing = responseFraming(parsed, method);
          if (parsed.status === 101) return ended({ response: null, end: 'switched' });
          if (parsed.status < 200) continue;
          head = { status: parsed.status, fields: parsed.fields };
          decoder = createBodyDecoder(framing, 'response');
        } else {
          offset = decoder.decode(chunk, offset);
          if (decoder.data !== null) body += decoder.data.toString('latin1');
        }
        if (decoder.isDone) return ended({ response: { ...head, body }, end: 'complete' }, bytesBefore + offset);
      }
      bytesBefore += chunk.length;
    }
    if (decoder === null) return ended({ response: null, end: 'incomplete' });
    decoder.end();
    return ended({ response: { ...head, body }, end: 'complete' }, bytesBefore);
  } catch (error) {
    if (!(error instanceof HttpSyntaxError)) throw error;
    return ended({ response: null, end: error.code === 'TRUNCATED_BODY' ? 'incomplete' : `refused ${error.code}` });
  }
}

/** Reads the response to a `method` request with Node's own client (llhttp, strict), over an in-memory stream. */
export async function readResponseWithLlhttp(bytes: Buffer, method: string): Promise<ResponseReading> {
  let reading: ResponseReading = { response: null, end: 'incomplete' };
  const connection = new Duplex({ read: () => undefined, write: (_data, _encoding, done) => done() });
  connection.on('error', () => undefined);
  const sent: ClientRequest = request({
    method,
    host: 'h',
    createConnection: () => connection,
    maxHeaderSize: 1024 * 1024,
  });
  sent.on('error', (error: Error & { code?: string }) => {
    if (reading.response === null) reading = { response: null, end: `refused ${error.code ?? error.message}` };
  });
  sent.on('upgrade', () => (reading = { response: null, end: 'switched' }));
  sent.on('response', (response: IncomingMessage) => {
    const body: Buffer[] = [];
    response.on('data', (data: Buffer) => body.push(data));
    response.on('error', () => undefined);
    response.on('end', () => {
      if (!response.complete) return;
      const text = Buffer.concat(body).toString('latin1');
      reading = {
        response: { status: response.statusCode ?? 0, fields: response.rawHeaders, body: text },
        end: 'complete',
      };
    });
  });
  sent.end();
  await new Promise((resolve) => setImmediate(resolve));
  connection.push(bytes);
  connection.push(null);
  for (let turn = 0; turn < MAX_TURNS && reading.end === 'incomplete'; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  connection.destroy();
  sent.destroy();
  return reading;
}

/** Whether h11 refused a response for a transfer coding besides `chunked`, of which it knows none: that says nothing about where it ends. */
export function knowsNoTransferCoding({ response, end }: ResponseReading): boolean {
  return response === null && end.includes('Only Transfer-Encoding: chunked is supported');
}
