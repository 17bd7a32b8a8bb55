import type { IncomingMessage, ServerResponse } from 'node:http';
import { brotliCompressSync, gzipSync } from 'node:zlib';

/** How an upstream gives back what it got. */
export const ECHO_FORMS = [
  'raw',
  'json',
  'percent',
  'base64',
  'hex',
  'gzip',
  'br',
  'field',
  'trickle',
  'nothing',
] as const;

/** Answers with all that the request held, in one of {@link ECHO_FORMS}. */
export function echo(request: IncomingMessage, body: string, response: ServerResponse, form: number): void {
  const text = `${request.method} ${request.url}\r\n${request.rawHeaders.join('\r\n')}\r\n\r\n${body}`;
  const bytes = Buffer.from(text, 'latin1');
  response.setHeader('content-type', 'text/plain');
  switch (ECHO_FORMS[form % ECHO_FORMS.length]) {
    case 'raw':
      response.end(bytes);
      break;
    case 'json':
      response.end(JSON.stringify({ text }), 'latin1');
      break;
    case 'percent':
      response.end(encodeURIComponent(text));
      break;
    case 'base64':
      response.end(bytes.toString('base64'));
      break;
    case 'hex':
      response.end(bytes.toString('hex'));
      break;
    case 'gzip':
      response.setHeader('content-encoding', 'gzip');
      response.end(gzipSync(bytes));
      break;
    case 'br':
      response.setHeader('content-encoding', 'br');
      response.end(brotliCompressSync(bytes));
      break;
    case 'field':
      for (const [index, value] of request.rawHeaders.entries())
        if (index % 2 === 1) response.setHeader(`x-echo-${index}`, value);
      response.setHeader('x-url', encodeURI(request.url ?? ''));
      response.end();
      break;
    case 'trickle':
      for (let at = 0; at < bytes.length; at += 7) response.write(bytes.subarray(at, at + 7));
      response.end();
      break;
    default:
      response.statusCode = 204;
      response.end();
  }
}
