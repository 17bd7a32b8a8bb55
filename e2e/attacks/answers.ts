import { ENCODINGS, REFLECTIONS } from '../harness/reflection.ts';
import { BOUND } from './attempts.ts';

/** The lines of a request to the bound host, with its placeholder. */
export const bearer = (lines = ''): string =>
  `Host: ${BOUND}\r\nConnection: close\r\nAuthorization: Bearer {API_TOKEN}\r\n${lines}\r\n`;

/** Requests whose answers hold the credential, in every form that is promised to be taken out. */
export function reflections(): { name: string; path: string; where: 'body' | 'header' | 'trailer' }[] {
  return REFLECTIONS.flatMap((form) => [
    ...(['header', 'trailer'] as const).map((where) => ({
      name: `${form} ${where}`,
      path: `/reflect?as=${form}&where=${where}`,
      where,
    })),
    ...ENCODINGS.flatMap((encoding) =>
      ['', '1', '3,7'].map((split) => ({
        name: `${form} ${encoding} ${split}`,
        path: `/reflect?as=${form}&where=body&encoding=${encoding}&split=${split}`,
        where: 'body' as const,
      })),
    ),
  ]);
}

/** What the mirror shows beside. */
export const MIRRORS = [
  '/mirror/head', '/mirror/head?status=500', '/mirror/head?status=302', '/mirror/early-hints', '/mirror/chunk-extensions', '/mirror/two-members',
  '/mirror/after-gzip', '/mirror/transfer-coding', '/mirror/folded', '/mirror/http-0.9', '/mirror/too-much', '/mirror/no-body', '/mirror/switch',
  '/mirror/nested', '/sse?count=3&reflect', ...['GZIP', 'x-gzip', 'gzip, identity', 'gzip, gzip', 'foo', 'compress'].map((as) => `/mirror/coding?as=${encodeURIComponent(as)}`),
]; // prettier-ignore

/** A body without its chunk framing, so that a value that is cut into chunks is seen whole. */
export function dechunk(response: string): string {
  const start = response.indexOf('\r\n\r\n') + 4;
  if (!/^transfer-encoding: chunked\r$/im.test(response.slice(0, start))) return response;
  let body = '';
  let at = start;
  for (;;) {
    const end = response.indexOf('\r\n', at);
    const size = Number.parseInt(response.slice(at, end), 16);
    if (!(size > 0)) return `${response.slice(0, start)}${body}\n${response.slice(end)}`;
    body += response.slice(end + 2, end + 2 + size);
    at = end + 2 + size + 2;
  }
}
