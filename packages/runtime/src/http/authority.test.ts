import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { hostFieldFor, requestAuthority } from './authority.ts';
import type { Authority } from './message.ts';

const API: Authority = { scheme: 'https', host: 'api.example.com', port: 443 };
const ODD: Authority = { scheme: 'https', host: 'api.example.com', port: 8443 };
const CLEAR: Authority = { scheme: 'http', host: 'api.example.com', port: 80 };
const IDNA: Authority = { scheme: 'https', host: 'xn--bcher-kva.example', port: 443 };
const V6: Authority = { scheme: 'https', host: '2001:db8::1', port: 443 };
const V4: Authority = { scheme: 'http', host: '192.0.2.7', port: 80 };

interface Sent {
  method?: string;
  target?: string;
  minor?: 0 | 1;
  hosts?: string[];
}

function verdict(connection: Authority, sent: Sent): string {
  const { method = 'GET', target = '/', minor = 1, hosts = ['api.example.com'] } = sent;
  const fields = ['Accept', '*/*', ...hosts.flatMap((host, index) => [index % 2 === 0 ? 'Host' : 'hOST', host])];
  const answer = requestAuthority({ method, target, minor, fields }, connection);
  if (answer.verdict !== 'ok') return answer.verdict;
  assert.deepEqual(answer.authority, connection);
  return `ok ${answer.target}`;
}

describe('requestAuthority()', () => {
  const cases: [name: string, connection: Authority, sent: Sent, expected: string][] = [
    ['9112 3.2.1 origin-form', API, { target: '/a/../b?c=%2e%2E//' }, 'ok /a/../b?c=%2e%2E//'],
    ['9112 3.2.1 a path that starts with two slashes', API, { target: '//evil.test/a' }, 'ok //evil.test/a'],
    ['9112 3.2 no Host', API, { hosts: [] }, 'malformed'],
    ['9112 3.2 no Host in HTTP/1.0', API, { hosts: [], minor: 0 }, 'ok /'],
    ['9112 3.2 another Host in HTTP/1.0', API, { hosts: ['evil.test'], minor: 0 }, 'mismatch'],
    ['9112 3.2 two Host fields', API, { hosts: ['api.example.com', 'evil.test'] }, 'malformed'],
    ['9112 3.2 two equal Host fields', API, { hosts: ['api.example.com', 'api.example.com'] }, 'malformed'],
    [
      '9112 3.2 two Host fields in HTTP/1.0',
      API,
      { hosts: ['api.example.com', 'api.example.com'], minor: 0 },
      'malformed',
    ],
    ['9112 3.2 empty Host', API, { hosts: [''] }, 'malformed'],
    ['9112 3.2 a list', API, { hosts: ['api.example.com, evil.test'] }, 'malformed'],
    ['9112 3.2 a list of equals', API, { hosts: ['api.example.com,api.example.com'] }, 'malformed'],
    ['9112 3.2 two words', API, { hosts: ['api.example.com evil.test'] }, 'malformed'],
    ['9110 7.2 user information', API, { hosts: ['user@api.example.com'] }, 'malformed'],
    ['9110 7.2 a path', API, { hosts: ['api.example.com/'] }, 'malformed'],
    ['9110 7.2 a scheme', API, { hosts: ['https://api.example.com'] }, 'malformed'],
    ['9110 7.2 percent-encoding', API, { hosts: ['api%2Eexample.com'] }, 'malformed'],
    ['9110 7.2 another host', API, { hosts: ['evil.test'] }, 'mismatch'],
    ['9110 7.2 a host below', API, { hosts: ['x.api.example.com'] }, 'mismatch'],
    ['9110 7.2 case', API, { hosts: ['API.Example.COM'] }, 'ok /'],
    ['9110 7.2 trailing dot', API, { hosts: ['api.example.com.'] }, 'ok /'],
    ['9110 7.2 two trailing dots', API, { hosts: ['api.example.com..'] }, 'malformed'],
    ['9110 7.2 default port', API, { hosts: ['api.example.com:443'] }, 'ok /'],
    ['9110 7.2 another port', API, { hosts: ['api.example.com:8443'] }, 'mismatch'],
    ['9110 7.2 port 80 with TLS', API, { hosts: ['api.example.com:80'] }, 'mismatch'],
    ['9110 7.2 port 80 in clear', CLEAR, { hosts: ['api.example.com:80'] }, 'ok /'],
    ['9110 7.2 port 443 in clear', CLEAR, { hosts: ['api.example.com:443'] }, 'mismatch'],
    ['9110 7.2 its port where that is no default', ODD, { hosts: ['api.example.com:8443'] }, 'ok /'],
    ['9110 7.2 no port where it is no default', ODD, {}, 'mismatch'],
    ['9110 7.2 port 0', API, { hosts: ['api.example.com:0'] }, 'malformed'],
    ['9110 7.2 port 443 + 65536', API, { hosts: ['api.example.com:65979'] }, 'malformed'],
    ['9110 7.2 two ports', API, { hosts: ['api.example.com:443:443'] }, 'malformed'],
    ['IDNA A-label', IDNA, { hosts: ['XN--bcher-kva.example'] }, 'ok /'],
    ['IDNA U-label as Latin-1', IDNA, { hosts: ['b\xfccher.example'] }, 'malformed'],
    ['IDNA U-label as UTF-8', IDNA, { hosts: ['b\xc3\xbccher.example'] }, 'malformed'],
    ['IPv6', V6, { hosts: ['[2001:DB8:0::1]'] }, 'ok /'],
    ['IPv6 with port', V6, { hosts: ['[2001:db8::1]:443'] }, 'ok /'],
    ['IPv6 without brackets', V6, { hosts: ['2001:db8::1'] }, 'malformed'],
    ['IPv6 with a zone', V6, { hosts: ['[2001:db8::1%25eth0]'] }, 'malformed'],
    ['IPv4', V4, { hosts: ['192.0.2.7'] }, 'ok /'],
    ['IPv4 in another notation', V4, { hosts: ['0xc0000207'] }, 'malformed'],

    ['9112 3.2.2 absolute-form', API, { target: 'https://api.example.com/a?b' }, 'ok /a?b'],
    ['9112 3.2.2 case, port and dot', API, { target: 'HTTPS://API.example.com.:443/A' }, 'ok /A'],
    ['9112 3.2.2 empty path', API, { target: 'https://api.example.com' }, 'ok /'],
    ['9112 3.2.2 empty path with a query', API, { target: 'https://api.example.com?a=/' }, 'ok /?a=/'],
    ['9112 3.2.2 another host', API, { target: 'https://evil.test/' }, 'mismatch'],
    ['9112 3.2.2 Host names another', API, { target: 'https://api.example.com/', hosts: ['evil.test'] }, 'mismatch'],
    ['9112 3.2.2 no Host', API, { target: 'https://api.example.com/', hosts: [] }, 'malformed'],
    ['9112 3.2.2 HTTP/1.0', API, { target: 'https://evil.test/', hosts: [], minor: 0 }, 'mismatch'],
    ['9112 3.2.2 another scheme', API, { target: 'http://api.example.com/' }, 'mismatch'],
    ['9112 3.2.2 https in clear', CLEAR, { target: 'https://api.example.com/' }, 'mismatch'],
    ['9112 3.2.2 another port', API, { target: 'https://api.example.com:444/' }, 'mismatch'],
    ['9110 4.2.4 user information', API, { target: 'https://evil.test@api.example.com/' }, 'malformed'],
    ['9110 4.2.4 host as user', API, { target: 'https://api.example.com@evil.test/' }, 'malformed'],
    ['9110 4.2.4 at sign in the path', API, { target: 'https://api.example.com/@evil.test' }, 'ok /@evil.test'],
    ['9110 4.2.2 empty host', API, { target: 'https:///a' }, 'malformed'],
    ['9112 3.2.2 other scheme', API, { target: 'ftp://api.example.com/' }, 'malformed'],
    ['9112 3.2.2 scheme without slashes', API, { target: 'https:api.example.com/' }, 'malformed'],
    ['9112 3.2 relative path', API, { target: 'a' }, 'malformed'],
    ['9112 3.2 query only', API, { target: '?a' }, 'malformed'],
    ['3986 3.5 fragment', API, { target: '/a#b' }, 'malformed'],
    ['3986 3.5 fragment in absolute-form', API, { target: 'https://api.example.com#@evil.test/' }, 'malformed'],
    ['backslash', API, { target: '/a\\..\\b' }, 'malformed'],
    ['backslash in absolute-form', API, { target: 'https://api.example.com\\@evil.test/' }, 'malformed'],

    ['9112 3.2.4 OPTIONS *', API, { method: 'OPTIONS', target: '*' }, 'ok *'],
    ['9112 3.2.4 OPTIONS absolute', API, { method: 'OPTIONS', target: 'https://api.example.com' }, 'ok *'],
    ['9112 3.2.4 OPTIONS absolute with a path', API, { method: 'OPTIONS', target: 'https://api.example.com/' }, 'ok /'],
    [
      '9112 3.2.4 OPTIONS absolute with a query',
      API,
      { method: 'OPTIONS', target: 'https://api.example.com?' },
      'ok /?',
    ],
    ['9112 3.2.4 GET *', API, { target: '*' }, 'malformed'],
    ['9112 3.2.4 **', API, { method: 'OPTIONS', target: '**' }, 'malformed'],
    ['9112 3.2.3 CONNECT', API, { method: 'CONNECT', target: 'api.example.com:443' }, 'malformed'],
    ['9112 3.2.3 CONNECT with a path', API, { method: 'CONNECT', target: '/' }, 'malformed'],
    ['9112 3.2.3 authority-form with GET', API, { target: 'api.example.com:443' }, 'malformed'],
  ];
  for (const [name, connection, sent, expected] of cases) {
    test(name, () => assert.equal(verdict(connection, sent), expected));
  }

  test('a reason never quotes the request', () => {
    for (const sent of [{ target: '/canary#' }, { target: 'canary' }, { target: 'https://canary@x/' }]) {
      const head = { method: 'GET', minor: 1 as const, fields: ['Host', 'api.example.com'], ...sent };
      assert.doesNotMatch(JSON.stringify(requestAuthority(head, API)), /canary/);
    }
    const answer = requestAuthority({ method: 'GET', target: '/', minor: 1, fields: ['Host', 'canary.test'] }, API);
    assert.doesNotMatch(JSON.stringify(answer), /canary/);
  });
});

describe('hostFieldFor()', () => {
  test('leaves out the default port and brackets IPv6', () => {
    assert.equal(hostFieldFor(API), 'api.example.com');
    assert.equal(hostFieldFor(ODD), 'api.example.com:8443');
    assert.equal(hostFieldFor(V6), '[2001:db8::1]');
    assert.equal(hostFieldFor({ ...V6, scheme: 'http' }), '[2001:db8::1]:443');
  });
});

test('requestAuthority() accepts what hostFieldFor() prints, and nothing else but its case, trailing dot and default port', () => {
  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,5}$/);
  const connections = fc.record({
    scheme: fc.constantFrom('https' as const, 'http' as const),
    host: fc.tuple(label, label).map((labels) => labels.join('.')),
    port: fc.constantFrom(80, 443, 8443),
  });
  fc.assert(
    fc.property(
      connections,
      fc.nat(30),
      fc.nat(3),
      fc.string({ maxLength: 2, unit: 'binary' }),
      (connection, at, out, put) => {
        const own = hostFieldFor(connection);
        const accepts = (host: string): boolean =>
          requestAuthority({ method: 'GET', target: '/', minor: 1, fields: ['Host', host] }, connection).verdict ===
          'ok';
        assert.ok(accepts(own));
        const changed = own.slice(0, at) + put + own.slice(at + out);
        const plain = changed
          .toLowerCase()
          .replace(connection.scheme === 'https' ? /:443$/ : /:80$/, '')
          .replace(/\.(?=$|:)/, '');
        assert.ok(!accepts(changed) || plain === own, JSON.stringify([connection, changed]));
      },
    ),
    { numRuns: 2000 },
  );
});
