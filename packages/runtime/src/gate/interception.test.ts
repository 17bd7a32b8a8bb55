import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createNetworkPolicy, decideHost, parseNetworkRule } from '../policy/network-policy.ts';
import type { ClientHello } from '../tls/client-hello.ts';
import { decideInterception } from './interception.ts';

const HOST = 'api.example.com';

const policy = createNetworkPolicy({
  allow: [HOST, '192.0.2.1'].map((text) => parseNetworkRule('--allow', text)),
  tunnel: [parseNetworkRule('--tunnel', 'pinned.example.com')],
});

/** What is decided of a connection to `host` with this hello, in a word or two. */
function decide(host: string, hello: Partial<ClientHello>, intercepts = true): string {
  const verdict = decideInterception(
    decideHost(policy, host, 443),
    { host, port: 443, named: !/^[0-9]/.test(host) },
    {
      state: 'complete',
      serverName: /^[0-9]/.test(host) ? null : host,
      alpn: [],
      hasEncryptedClientHello: false,
      versions: [0x0304, 0x0303],
      ...hello,
    },
    intercepts,
  );
  switch (verdict.verdict) {
    case 'refuse':
      return `refuse ${verdict.problem.status} ${verdict.problem.code} as ${verdict.leafHost}`;
    case 'alert':
      return `alert ${verdict.alert} ${verdict.code}`;
    case 'intercept':
      return `intercept as ${verdict.leafHost}`;
    case 'tunnel':
      return 'tunnel';
    default:
      throw new TypeError(String(verdict satisfies never));
  }
}

const ECH = { hasEncryptedClientHello: true } as const;

test('decideInterception() opens, passes or refuses by host and server name', () => {
  assert.equal(decide(HOST, {}), `intercept as ${HOST}`);
  assert.equal(decide(HOST, { serverName: 'API.Example.COM.' }), `intercept as ${HOST}`);
  assert.equal(decide(HOST, {}, false), 'tunnel');
  assert.equal(decide('pinned.example.com', {}), 'tunnel');
  assert.equal(decide('192.0.2.1', {}), 'intercept as 192.0.2.1');
  assert.equal(decide('192.0.2.1', {}, false), 'tunnel');
  assert.equal(decide('evil.example', {}), 'refuse 403 HOST_DENIED as evil.example');
  for (const intercepts of [true, false]) {
    for (const host of [HOST, 'pinned.example.com']) {
      assert.equal(decide(host, { serverName: null }, intercepts), `refuse 421 SNI_MISSING as ${host}`);
      assert.equal(
        decide(host, { serverName: 'evil.example' }, intercepts),
        'refuse 421 AUTHORITY_MISMATCH as evil.example',
      );
    }
    assert.equal(decide('192.0.2.1', { serverName: HOST }, intercepts), `refuse 421 AUTHORITY_MISMATCH as ${HOST}`);
  }
});

test('decideInterception() passes nothing through unopened that may name another host in an encrypted ClientHello', () => {
  // As to any server that has no key for it: the visible name counts.
  assert.equal(decide(HOST, ECH), `intercept as ${HOST}`);
  assert.equal(decide(HOST, ECH, false), `intercept as ${HOST}`);
  assert.equal(decide('192.0.2.1', ECH, false), 'intercept as 192.0.2.1');
  for (const intercepts of [true, false]) {
    assert.equal(decide('pinned.example.com', ECH, intercepts), 'refuse 403 ECH_REFUSED as pinned.example.com');
    assert.equal(
      decide(HOST, { ...ECH, serverName: 'front.example' }, intercepts),
      'refuse 421 ECH_REFUSED as front.example',
    );
    assert.equal(decide(HOST, { ...ECH, serverName: null }, intercepts), `refuse 421 SNI_MISSING as ${HOST}`);
  }
  assert.equal(decide('evil.example', ECH), 'refuse 403 HOST_DENIED as evil.example');
});

test('decideInterception() speaks TLS 1.2 and 1.3 only, in tunnels too', () => {
  for (const host of [HOST, 'pinned.example.com', 'evil.example']) {
    for (const versions of [[], [0x0300], [0x0301], [0x0302, 0x0301], [0x0002], [0x7f17], [0xfefd]]) {
      assert.equal(
        decide(host, { versions }),
        'alert protocol_version TLS_VERSION_REFUSED',
        `${host} ${versions.join()}`,
      );
    }
    for (const versions of [[0x0303], [0x0304], [0x0302, 0x0303], [0x7f17, 0x0304]]) {
      assert.doesNotMatch(decide(host, { versions }), /^alert/, `${host} ${versions.join()}`);
    }
  }
});

test('decideInterception() opens connections for HTTP alone', () => {
  for (const alpn of [[], ['h2'], ['http/1.1'], ['http/1.0'], ['acme-tls/1', 'h2'], ['x', 'http/1.1']]) {
    assert.equal(decide(HOST, { alpn }), `intercept as ${HOST}`, alpn.join());
  }
  for (const alpn of [['acme-tls/1'], ['spdy/3.1', 'http/0.9'], ['H2'], ['http/1.1 '], ['h3'], ['h2c']]) {
    assert.equal(decide(HOST, { alpn }), 'alert no_application_protocol ALPN_REFUSED', alpn.join());
    assert.equal(decide('evil.example', { alpn }), 'alert no_application_protocol ALPN_REFUSED', alpn.join());
    assert.equal(decide('pinned.example.com', { alpn }), 'tunnel', alpn.join());
    assert.equal(decide(HOST, { alpn }, false), 'tunnel', alpn.join());
  }
});
