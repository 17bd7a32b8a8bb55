/**
 * Fuzz target for the canonical authority: whatever is accepted must name the connection's origin in the eyes of another reader of URLs
 * (Node's, which follows the WHATWG and is far more lenient) as well, and what is written plainly must be accepted.
 *
 * `node --conditions=sallyport-source fuzz/authority.ts [--seed S] [--iterations N] [--seconds T]`
 */
import { hostFieldFor, requestAuthority } from '../packages/runtime/src/http/authority.ts';
import type { Authority } from '../packages/runtime/src/http/message.ts';
import { runFromCommandLine, type FuzzTarget } from './campaign/campaign.ts';
import { randomHost } from './policy/random-hosts.ts';

const ORIGINS: readonly Authority[] = [
  { scheme: 'https', host: 'api.example', port: 443 },
  { scheme: 'https', host: 'api.example', port: 8443 },
  { scheme: 'http', host: 'api.example', port: 80 },
  { scheme: 'https', host: '192.0.2.7', port: 443 },
  { scheme: 'http', host: '2001:db8::1', port: 80 },
];
const METHODS = ['GET', 'POST', 'OPTIONS', 'CONNECT', 'HEAD'];
const BEFORE = ['', '', '', 'user@', 'user:pw@', '@', ' ', 'api.example@', '/', '[', '\t', 'www.'];
const AFTER = [
  '',
  '',
  '',
  ':443',
  ':80',
  ':8443',
  ':',
  ':0443',
  ':65979',
  '.',
  '..',
  ' ',
  '\0',
  '#',
  '?',
  '\\',
  '%2e',
  '@evil.example',
  ',evil.example',
  ':443:443',
  ':４43',
  '/',
  ';',
  '\xad',
  '.\xe9',
];
const PATHS = [
  '/',
  '/a?b',
  '',
  '?q',
  '/#f',
  '/\\x',
  '//evil.example/',
  '/@evil.example',
  '/a/../b',
  '*',
  '/%00',
  '/\xe9',
  ':443',
  '/http://evil.example',
];
const SCHEMES = [
  'https://',
  'http://',
  'HTTPS://',
  'hTTp://',
  'https:/',
  'https:',
  '//',
  'ftp://',
  'https:///',
  'https:\\\\',
  'https://https://',
];

type Case = { origin: number; method: string; target: string; minor: number; hosts: string[] };

function plain({ host }: Authority): string {
  return host.includes(':') ? `[${host}]` : host;
}

/** The host and port that Node's URL sees; null where it sees no URL or more than a host and a port. */
function readByUrl(scheme: string, text: string): { host: string; port: number } | null {
  const url = URL.parse(`${scheme}://${text}/`);
  if (url === null || url.username !== '' || url.password !== '' || url.pathname !== '/') return null;
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
  return { host, port: url.port === '' ? (scheme === 'https' ? 443 : 80) : Number(url.port) };
}

/** Opens the target. */
export function openTarget(): FuzzTarget<Case> {
  return {
    name: 'authority',
    generate(random) {
      const origin = random.below(ORIGINS.length);
      const own = ORIGINS[origin]!;
      const host = (): string => {
        const name = random.oneIn(4) ? randomHost(random) : random.oneIn(3) ? plain(own).toUpperCase() : plain(own);
        const port = random.oneIn(2) ? hostFieldFor(own).slice(plain(own).length) : '';
        return random.oneIn(3) ? random.pick(BEFORE) + name + random.pick(AFTER) : name + port;
      };
      const isAbsolute = random.oneIn(3);
      const scheme = random.oneIn(4) ? random.pick(SCHEMES) : `${own.scheme}://`;
      return {
        origin,
        method: random.oneIn(4) ? random.pick(METHODS) : 'GET',
        target: (isAbsolute ? scheme + host() : '') + random.pick(PATHS),
        minor: random.oneIn(4) ? 0 : 1,
        hosts: Array.from({ length: random.oneIn(8) ? random.below(4) : 1 }, host),
      };
    },
    check({ origin, method, target, minor, hosts }, note) {
      const connection = ORIGINS[origin];
      if (connection === undefined) return null;
      const fields = hosts.flatMap((host, index) => [index % 2 === 0 ? 'Host' : 'hOST', host]);
      const isPlain = /^\/[a-z?/]*$/.test(target) && method !== 'CONNECT' && hosts.length === 1;
      const result = requestAuthority({ method, target, minor: minor === 0 ? 0 : 1, fields }, connection);
      note(result.verdict);
      if (result.verdict !== 'ok') {
        if (
          /api\.example|192\.0|2001:/.test(result.reason) ||
          (hosts[0] !== '' && result.reason.includes(hosts[0] ?? '\0'))
        )
          return `the reason quotes the request: ${result.reason}`;
        const isOwn = hosts[0] === hostFieldFor(connection) || hosts[0] === hostFieldFor(connection).toUpperCase();
        return isPlain && isOwn ? `a plain request is refused: ${result.reason}` : null;
      }
      if (result.authority !== connection) return 'another authority: it must be the connection’s own';
      if (hosts.length > 1) return `accepted with ${hosts.length} Host fields`;
      if (hosts.length === 0 && minor === 1) return 'accepted without a Host field';
      const named: [string, string][] = hosts.map((host) => [connection.scheme, host]);
      const absolute = /^([a-z]+):\/\/([^/?#\\]*)(.*)$/is.exec(target);
      if (absolute !== null && !target.startsWith('/')) {
        named.push([absolute[1]!.toLowerCase(), absolute[2]!]);
        const rest = absolute[3]!;
        const expected = rest === '' ? (method === 'OPTIONS' ? '*' : '/') : rest.startsWith('?') ? `/${rest}` : rest;
        if (result.target !== expected) return `another target: ${JSON.stringify([target, result.target])}`;
        note('in absolute-form');
      } else if (result.target !== target) {
        return `another target: ${JSON.stringify([target, result.target])}`;
      }
      if (!result.target.startsWith('/') && result.target !== '*') return `no origin-form: ${result.target}`;
      for (const [scheme, text] of named) {
        const seen = readByUrl(scheme, text);
        if (scheme !== connection.scheme || seen?.host !== connection.host || seen.port !== connection.port)
          return `accepted, but another reader sees another origin: ${JSON.stringify([text, seen])}`;
      }
      return null;
    },
  };
}

if (import.meta.main) await runFromCommandLine(openTarget, 50_000);
