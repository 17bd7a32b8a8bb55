import { gzipSync } from 'node:zlib';
import { startUpstream } from '../harness/upstream.ts';
import type { Upstream } from '../harness/upstream.ts';
import { receivedCredential } from '../harness/upstream-endpoints.ts';
import { BOUND, SECOND } from './attempts.ts';

/** Whatever of the harness's upstream does not reflect a credential: a status line, cookies, names of fields, odd framing. */
export async function startMirror(): Promise<Upstream> {
  const cuts = (text: string) => `${Buffer.byteLength(text).toString(16)};note="${text}"\r\n${text}\r\n`;
  let parked = '';
  return startUpstream({
    names: [BOUND, SECOND],
    handler: (incoming, response, recorded) => {
      const url = new URL(recorded.target, 'http://upstream');
      const value = receivedCredential(recorded);
      const half = Math.floor(value.length / 2);
      const raw = (text: string | Buffer): boolean => {
        incoming.socket.end(text);
        return true;
      };
      switch (url.pathname) {
        case '/mirror/head':
          response.writeHead(Number(url.searchParams.get('status') ?? 401), `Denied ${value}`, {
            'set-cookie': [`session=${value}; Path=/`, `again="${encodeURIComponent(value)}"`],
            'www-authenticate': `Basic realm="${value}", Bearer ${Buffer.from(`u:${value}`).toString('base64')}`,
            location: `https://${BOUND}/next?token=${value}&again=${Buffer.from(value).toString('hex')}`,
            link: `</x?${value}>; rel=preload`,
            refresh: `0; url=/x#${value}`,
            etag: `"${value}"`,
            [`x-${value}`]: 'name',
            'x-many': [value, value],
            connection: 'close',
          });
          response.end(JSON.stringify({ error: `bad token ${value}`, nested: JSON.stringify({ token: value }) }));
          return true;
        case '/mirror/early-hints':
          response.writeEarlyHints({ link: `<https://${BOUND}/${value}>; rel=preload` });
          response.end(`after ${value}`);
          return true;
        case '/mirror/chunk-extensions':
          return raw(
            `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${cuts(`a ${value.slice(0, half)}`)}${cuts(`${value.slice(half)} b`)}0;end=${value}\r\nx-trailer: ${value}\r\n\r\n`,
          );
        case '/mirror/two-members':
          return raw(
            Buffer.concat([
              Buffer.from('HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n'),
              gzipSync(`before ${value.slice(0, half)}`),
              gzipSync(`${value.slice(half)} after`),
            ]),
          );
        case '/mirror/after-gzip':
          return raw(
            Buffer.concat([
              Buffer.from('HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n'),
              gzipSync('short'),
              Buffer.from(`\n${value}\n`),
            ]),
          );
        case '/mirror/coding': {
          const coding = url.searchParams.get('as') ?? '';
          return raw(
            Buffer.concat([
              Buffer.from(`HTTP/1.1 200 OK\r\nContent-Encoding: ${coding}\r\nConnection: close\r\n\r\n`),
              coding.toLowerCase().includes('gzip') ? gzipSync(`before ${value} after`) : Buffer.from(value),
            ]),
          );
        }
        case '/mirror/transfer-coding':
          return raw(
            Buffer.concat([
              Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\n'),
              gzipSync(`before ${value} after`),
            ]),
          );
        case '/mirror/folded':
          return raw(
            `HTTP/1.1 200 OK\r\nx-reflected: ${value.slice(0, half)}\r\n ${value.slice(half)}\r\nConnection: close\r\n\r\n`,
          );
        case '/mirror/http-0.9':
          return raw(`${value}\r\n`);
        case '/mirror/too-much':
          return raw(`HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody${value}`);
        case '/mirror/no-body':
          return raw(`HTTP/1.1 204 ${value}\r\nConnection: close\r\n\r\n${value}`);
        case '/mirror/switch':
          return raw(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\n${value}`);
        case '/mirror/nested':
          // Forms within forms, of which the inner is listed: an escape of the base64 text, as PHP and form encoders write it.
          response.end(
            ['', 'x', 'xy']
              .map((prefix) => Buffer.from(`${prefix}${value}${prefix}`).toString('base64'))
              .flatMap((text) => [text.replaceAll('/', '\\/'), encodeURIComponent(text), text.replaceAll('=', '%3d')])
              .join('\n'),
          );
          return true;
        case '/mirror/park':
          parked = value;
          response.end('parked');
          return true;
        case '/mirror/parked': {
          const body = Buffer.from(`before ${parked} after`);
          const range = /^bytes=(\d+)-(\d+)$/.exec(incoming.headers.range ?? '');
          response.writeHead(range === null ? 200 : 206, { 'content-type': 'text/plain' });
          response.end(range === null ? body : body.subarray(Number(range[1]), Number(range[2]) + 1));
          return true;
        }
        default:
          return false;
      }
    },
  });
}
