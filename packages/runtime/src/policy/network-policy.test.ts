import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError, type ErrorCode } from '@sallyport/sdk';
import * as fc from 'fast-check';
import { parseSecretSpec } from '../secrets/secret-spec.ts';
import { classifyAddress } from './address-class.ts';
import {
  createNetworkPolicy,
  decideAddress,
  decideHost,
  listeningPorts,
  parseNetworkRule,
  pinnedAddress,
  type NetworkPolicy,
  type SecretHostRule,
} from './network-policy.ts';
import { formatResolve, parseResolve } from './resolve-pin.ts';

interface Options {
  readonly secret?: readonly string[];
  readonly allow?: readonly string[];
  readonly deny?: readonly string[];
  readonly tunnel?: readonly string[];
  readonly resolve?: readonly string[];
}

function secretHosts(text: string): SecretHostRule[] {
  const spec = parseSecretSpec(text);
  return spec.kind === 'bound' ? spec.hosts.map((host) => ({ host, origin: `--secret ${spec.env}` })) : [];
}

function policyOf(options: Options): NetworkPolicy {
  return createNetworkPolicy({
    secretHosts: (options.secret ?? []).flatMap(secretHosts),
    allow: (options.allow ?? []).map((text) => parseNetworkRule('--allow', text)),
    deny: (options.deny ?? []).map((text) => parseNetworkRule('--deny', text)),
    tunnel: (options.tunnel ?? []).map((text) => parseNetworkRule('--tunnel', text)),
    resolve: (options.resolve ?? []).map(parseResolve),
  });
}

function hasCode(code: ErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof SallyportError && error.code === code;
}

test('decideHost() denies by default and names the option that would allow it', () => {
  const empty = createNetworkPolicy({});
  assert.deepEqual(decideHost(empty, 'example.com', 443), {
    verdict: 'deny',
    rule: 'no rule allows it',
    remedy: '--allow example.com:443',
  });
  const policy = policyOf({ secret: ['A@api.example.com'], allow: ['10.0.0.0/8'] });
  for (const [host, port, remedy] of [
    ['example.com', 443, '--allow example.com:443'],
    ['api.example.com', 80, '--allow api.example.com:80'],
    ['api.example.com', 22, '--allow api.example.com:22'],
    ['2001:db8::1', 8080, '--allow [2001:db8::1]:8080'],
    ['11.0.0.1', 443, '--allow 11.0.0.1:443'],
  ] as const) {
    const verdict = decideHost(policy, host, port);
    assert.ok(verdict.verdict === 'deny' && verdict.remedy === remedy, `${host}:${port}`);
    const cured = policyOf({ secret: ['A@api.example.com'], allow: ['10.0.0.0/8', remedy.slice('--allow '.length)] });
    assert.equal(decideHost(cured, host, port).verdict, 'allow', 'the remedy works');
  }
});

test('decideHost() lets denial win over every rule, and says what to remove', () => {
  const policy = policyOf({
    secret: ['A@api.example.com'],
    allow: ['**', 'evil.test'],
    deny: ['evil.test', '*.example.com', '10.0.0.0/8'],
  });
  assert.deepEqual(decideHost(policy, 'evil.test', 443), {
    verdict: 'deny',
    rule: '--deny evil.test',
    remedy: 'remove --deny evil.test',
  });
  assert.equal(decideHost(policy, 'api.example.com', 443).verdict, 'deny');
  assert.equal(decideHost(policy, '10.1.2.3', 443).verdict, 'deny');
  assert.equal(decideHost(policy, 'good.test', 443).verdict, 'allow');
});

test('decideHost() denies a host that is not in canonical form, so that no denial is walked around', () => {
  const policy = policyOf({ allow: ['**'], deny: ['evil.test'] });
  for (const host of ['EVIL.test', 'evil.test.', 'evil.test:443', '', '[::1]', 'e vil.test']) {
    assert.equal(decideHost(policy, host, 443).verdict, 'deny', host);
  }
});

test('decideHost() opens for a secret its own port by its own scheme only', () => {
  const policy = policyOf({
    secret: [
      'A@tls.test.net,http://plain.test.net,other.test.net:8443,http://clear.test.net:8080,*.wild.test.net:9443',
    ],
  });
  const protocol = (host: string, port: number): string => {
    const verdict = decideHost(policy, host, port);
    return verdict.verdict === 'allow' ? verdict.protocol : 'denied';
  };
  assert.equal(protocol('tls.test.net', 443), 'tls');
  assert.equal(protocol('tls.test.net', 80), 'denied');
  assert.equal(protocol('plain.test.net', 80), 'http');
  assert.equal(protocol('plain.test.net', 443), 'denied');
  assert.equal(protocol('other.test.net', 8443), 'tls');
  assert.equal(protocol('other.test.net', 443), 'denied');
  assert.equal(protocol('clear.test.net', 8080), 'http');
  assert.equal(protocol('clear.test.net', 80), 'denied');
  assert.equal(protocol('a.wild.test.net', 9443), 'tls');
  assert.equal(protocol('a.b.wild.test.net', 9443), 'denied');
  const both = policyOf({ secret: ['A@http://x.test.net:8080', 'B@x.test.net:8080'] });
  const verdict = decideHost(both, 'x.test.net', 8080);
  assert.ok(verdict.verdict === 'allow' && verdict.protocol === 'tls' && verdict.rule === '--secret B', 'TLS wins');
});

test('decideHost() takes 443 for TLS, 80 for HTTP, tunnels for TLS and anything else for TCP', () => {
  const policy = policyOf({
    allow: ['example.com', 'example.com:22', 'pinned.test.net', 'pinned.test.net:8443'],
    tunnel: ['pinned.test.net', 'pinned.test.net:8443', 'idle.test.net'],
  });
  const cases = [
    ['example.com', 443, 'tls', false],
    ['example.com', 80, 'http', false],
    ['example.com', 22, 'tcp', false],
    ['pinned.test.net', 443, 'tls', true],
    ['pinned.test.net', 80, 'http', false],
    ['pinned.test.net', 8443, 'tls', true],
  ] as const;
  for (const [host, port, protocol, tunnel] of cases) {
    const verdict = decideHost(policy, host, port);
    assert.ok(verdict.verdict === 'allow', host);
    assert.deepEqual([verdict.protocol, verdict.tunnel], [protocol, tunnel], `${host}:${port}`);
  }
  assert.equal(decideHost(policy, 'idle.test.net', 443).verdict, 'allow', 'naming a host to be tunnelled allows it');
  assert.equal(decideHost(policy, 'idle.test.net', 80).verdict, 'deny', 'over TLS only');
  const exempting = policyOf({ tunnel: ['**'] });
  assert.equal(decideHost(exempting, 'other.test.net', 443).verdict, 'deny', 'bare ** exempts and allows nothing');
});

test('createNetworkPolicy() refuses a tunnel over a host that a secret is bound to', () => {
  for (const [secret, tunnel] of [
    ['A@api.test.net', 'api.test.net'],
    ['A@api.test.net', 'api.test.net:443'],
    ['A@api.test.net', '*.test.net'],
    ['A@api.test.net', '**'],
    ['A@*.test.net', 'api.test.net'],
    ['A@**.test.net', '*.api.test.net'],
    ['A@api.test.net:8443', 'api.test.net:8443'],
  ] as const) {
    assert.throws(() => policyOf({ secret: [secret], tunnel: [tunnel] }), hasCode('USAGE'), `${secret} ${tunnel}`);
  }
  for (const [secret, tunnel] of [
    ['A@api.test.net', 'www.test.net'],
    ['A@api.test.net:8443', 'api.test.net'],
    ['A@http://api.test.net', 'api.test.net'],
    ['A@api.test.net', '*.api.test.net'],
  ] as const) {
    policyOf({ secret: [secret], tunnel: [tunnel] });
  }
});

test('createNetworkPolicy() warns of a denial that leaves another port open, and of shared suffixes', () => {
  assert.match(
    policyOf({ allow: ['10.0.0.0/8:5432'], deny: ['10.0.0.5'] }).warnings.join(),
    /Add --deny 10\.0\.0\.5:5432/,
  );
  assert.match(policyOf({ allow: ['*.github.io'] }).warnings.join(), /different customers/);
  assert.deepEqual(policyOf({ allow: ['example.com', 'a.test:22'], deny: ['evil.test', 'a.test:22'] }).warnings, []);
});

test('decideAddress() allows public addresses and denies special ones unless they are named', () => {
  const policy = policyOf({
    allow: [
      '**',
      '**:8080',
      '10.0.0.0/8',
      '192.168.1.7:8080',
      'fd12::/16',
      '169.254.0.0/16',
      '172.0.0.0/8',
      '127.0.0.1',
    ],
  });
  const cases: readonly (readonly [ip: string, port: number, verdict: 'allow' | 'deny'])[] = [
    ['93.184.215.14', 443, 'allow'],
    ['2606:2800:21f:cb07:6820:80da:af6b:8b2c', 443, 'allow'],
    ['::ffff:93.184.215.14', 443, 'allow'],
    ['10.1.2.3', 443, 'allow'],
    ['::ffff:10.1.2.3', 443, 'allow'],
    ['10.1.2.3', 8080, 'deny'],
    ['192.168.1.7', 8080, 'allow'],
    ['192.168.1.7', 443, 'deny'],
    ['192.168.1.8', 8080, 'deny'],
    ['127.0.0.1', 80, 'allow'],
    ['127.0.0.2', 80, 'deny'],
    ['fd12::1', 443, 'allow'],
    ['fd13::1', 443, 'deny'],
    ['169.254.1.1', 443, 'allow'],
    ['169.254.169.254', 80, 'deny'], // a range that is wider than the metadata address did not mean it
    ['172.16.0.1', 443, 'deny'], // nor did one wider than the private block
    ['64:ff9b::a01:203', 443, 'deny'], // NAT64 of the allowed 10.1.2.3
    ['2002:a01:203::', 443, 'deny'], // 6to4 of it
    ['64:ff9b::5db8:d70e', 443, 'deny'], // NAT64 of a public address
    ['::a01:203', 443, 'deny'],
    ['0.0.0.0', 443, 'deny'],
    ['fe80::1%eth0', 443, 'deny'],
    ['10.1.2.03', 443, 'deny'],
    ['nonsense', 443, 'deny'],
  ];
  for (const [ip, port, verdict] of cases)
    assert.equal(decideAddress(policy, 'x.test', port, ip).verdict, verdict, `${ip}:${port}`);
});

test('decideAddress() opens no special address by a range over everything', () => {
  const policy = policyOf({ allow: ['0.0.0.0/0', '::/0', '**'] });
  for (const ip of [
    '127.0.0.1',
    '10.0.0.1',
    '169.254.169.254',
    '100.64.0.1',
    '::1',
    'fd00:ec2::254',
    'fe80::1',
    '64:ff9b::7f00:1',
    '4000::1',
  ]) {
    const verdict = decideAddress(policy, 'x.test', 443, ip);
    assert.ok(verdict.verdict === 'deny', ip);
    const cured = policyOf({ allow: [verdict.remedy.slice('--allow '.length)] });
    assert.equal(decideAddress(cured, 'x.test', 443, ip).verdict, 'allow', 'the remedy works');
  }
  assert.equal(decideHost(policy, '93.184.215.14', 443).verdict, 'allow');
});

test('decideAddress() lets a denied range win over public addresses, allow rules and pins', () => {
  const policy = policyOf({
    allow: ['**', '10.0.0.1'],
    deny: ['93.184.0.0/16', '10.0.0.0/8'],
    resolve: ['x.test:443:10.0.0.1'],
  });
  assert.equal(decideAddress(policy, 'x.test', 443, '93.184.215.14').verdict, 'deny');
  assert.equal(decideAddress(policy, 'x.test', 443, '::ffff:93.184.215.14').verdict, 'deny');
  const verdict = decideAddress(policy, 'x.test', 443, '10.0.0.1');
  assert.ok(verdict.verdict === 'deny' && verdict.remedy === 'remove --deny 10.0.0.0/8');
});

test('decideAddress() takes a pin for its own host, port and address only', () => {
  const policy = policyOf({
    allow: ['**', '**:444'],
    resolve: ['x.test:443:127.0.0.1:9000', '[2001:db8::1]:443:[::1]'],
  });
  assert.equal(decideAddress(policy, 'x.test', 443, '127.0.0.1').verdict, 'allow');
  assert.equal(decideAddress(policy, 'x.test', 444, '127.0.0.1').verdict, 'deny');
  assert.equal(decideAddress(policy, 'y.test', 443, '127.0.0.1').verdict, 'deny');
  assert.equal(decideAddress(policy, 'x.test', 443, '127.0.0.2').verdict, 'deny');
  assert.deepEqual(pinnedAddress(policy, 'x.test', 443), {
    host: 'x.test',
    port: 443,
    address: '127.0.0.1',
    addressPort: 9000,
  });
  assert.equal(pinnedAddress(policy, '2001:db8::1', 443)?.address, '::1');
  assert.equal(pinnedAddress(policy, 'y.test', 443), undefined);
  assert.equal(
    decideHost(createNetworkPolicy({ resolve: [parseResolve('x.test:443:127.0.0.1')] }), 'x.test', 443).verdict,
    'deny',
  );
  assert.throws(
    () => policyOf({ resolve: ['x.test:443:127.0.0.1', 'X.test.:443:127.0.0.2'] }),
    hasCode('INVALID_RESOLVE'),
  );
});

test('decideAddress() takes the literal address that a secret names for itself, not for a name that resolves there', () => {
  const policy = policyOf({ secret: ['A@127.0.0.1:8443'], allow: ['**:8443'] });
  assert.equal(decideAddress(policy, '127.0.0.1', 8443, '127.0.0.1').verdict, 'allow');
  assert.equal(decideAddress(policy, 'evil.test', 8443, '127.0.0.1').verdict, 'deny');
  const named = policyOf({ secret: ['A@api.test:8443'] });
  assert.equal(decideAddress(named, 'api.test', 8443, '127.0.0.1').verdict, 'deny', 'nor for its own name');
});

test('listeningPorts() is 80, 443 and every port that a rule names', () => {
  assert.deepEqual(listeningPorts(createNetworkPolicy({})), [80, 443]);
  const policy = policyOf({
    secret: ['A@a.test:8443,http://b.test:8080'],
    allow: ['c.test:22', 'c.test:443'],
    deny: ['d.test:25'],
    tunnel: ['e.test:9'],
  });
  assert.deepEqual(listeningPorts(policy), [9, 22, 25, 80, 443, 8080, 8443]);
});

test('decideHost() looks at a handful of rules however many there are', () => {
  let reads = 0;
  const counted = (host: string): SecretHostRule => {
    const [rule] = secretHosts(`A@${host}`);
    assert.ok(rule !== undefined);
    return {
      origin: rule.origin,
      host: new Proxy(rule.host, { get: (target, key) => ((reads += 1), Reflect.get(target, key) as unknown) }),
    };
  };
  const many = Array.from({ length: 5000 }, (_, index) => counted(`host-${index}.test.net`));
  const same = Array.from({ length: 5000 }, () => counted('shared.test.net'));
  const policy = createNetworkPolicy({ secretHosts: [...many, ...same] });
  reads = 0;
  assert.equal(decideHost(policy, 'host-4999.test.net', 443).verdict, 'allow');
  assert.equal(decideHost(policy, 'shared.test.net', 443).verdict, 'allow');
  assert.equal(decideHost(policy, 'absent.test.net', 443).verdict, 'deny');
  assert.ok(reads < 20, `${reads} reads`);
});

test('decideHost() and decideAddress() never throw', () => {
  const policy = policyOf({
    secret: ['A@*.test.net'],
    allow: ['**', '10.0.0.0/8', '2001:db8::/32:22'],
    deny: ['evil.test'],
  });
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      fc.integer(),
      fc.oneof(fc.string(), fc.ipV4(), fc.ipV6()),
      (host, port, ip) => {
        decideHost(policy, host, port);
        decideAddress(policy, host, port, ip);
      },
    ),
  );
});

test('classifyAddress() knows every special block at both ends', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['0.0.0.0', 'unspecified'],
    ['0.0.0.1', 'this-network'],
    ['0.255.255.255', 'this-network'],
    ['1.0.0.0', 'public'],
    ['9.255.255.255', 'public'],
    ['10.0.0.0', 'private'],
    ['10.255.255.255', 'private'],
    ['11.0.0.0', 'public'],
    ['100.63.255.255', 'public'],
    ['100.64.0.0', 'cgnat'],
    ['100.127.255.255', 'cgnat'],
    ['100.128.0.0', 'public'],
    ['100.100.100.200', 'metadata'],
    ['126.255.255.255', 'public'],
    ['127.0.0.1', 'loopback'],
    ['127.255.255.255', 'loopback'],
    ['128.0.0.0', 'public'],
    ['168.63.129.16', 'metadata'],
    ['169.253.255.255', 'public'],
    ['169.254.0.0', 'link-local'],
    ['169.254.169.254', 'metadata'],
    ['169.254.170.2', 'metadata'],
    ['169.255.0.0', 'public'],
    ['172.15.255.255', 'public'],
    ['172.16.0.0', 'private'],
    ['172.31.255.255', 'private'],
    ['172.32.0.0', 'public'],
    ['192.0.0.1', 'reserved'],
    ['192.0.1.0', 'public'],
    ['192.0.2.1', 'documentation'],
    ['192.88.99.1', '6to4'],
    ['192.167.255.255', 'public'],
    ['192.168.0.0', 'private'],
    ['192.169.0.0', 'public'],
    ['198.17.255.255', 'public'],
    ['198.18.0.0', 'benchmark'],
    ['198.19.255.255', 'benchmark'],
    ['198.20.0.0', 'public'],
    ['198.51.100.1', 'documentation'],
    ['203.0.113.1', 'documentation'],
    ['223.255.255.255', 'public'],
    ['224.0.0.0', 'multicast'],
    ['239.255.255.255', 'multicast'],
    ['240.0.0.0', 'reserved'],
    ['255.255.255.254', 'reserved'],
    ['255.255.255.255', 'broadcast'],
    ['::', 'unspecified'],
    ['::1', 'loopback'],
    ['::2', 'ipv4-compatible'],
    ['::127.0.0.1', 'ipv4-compatible'],
    ['::93.184.215.14', 'ipv4-compatible'],
    ['::ffff:127.0.0.1', 'loopback'],
    ['::ffff:169.254.169.254', 'metadata'],
    ['::ffff:93.184.215.14', 'public'],
    ['::ffff:0:127.0.0.1', 'ipv4-translated'],
    ['::1:0:0:0', 'reserved'],
    ['64:ff9b::10.0.0.1', 'nat64'],
    ['64:ff9b::93.184.215.14', 'nat64'],
    ['64:ff9b:1::1', 'nat64'],
    ['64:ff9b:1:ffff::1', 'nat64'],
    ['64:ff9b:2::1', 'reserved'],
    ['100::1', 'discard'],
    ['2001::1', 'teredo'],
    ['2001:0:ffff::1', 'teredo'],
    ['2001:2::1', 'benchmark'],
    ['2001:10::1', 'reserved'],
    ['2001:20::1', 'reserved'],
    ['2001:1ff::1', 'reserved'],
    ['2001:200::1', 'public'],
    ['2001:db8::1', 'documentation'],
    ['2001:db9::1', 'public'],
    ['2002:7f00:1::1', '6to4'],
    ['2002:5db8:d70e::1', '6to4'],
    ['2003::1', 'public'],
    ['3fff::1', 'documentation'],
    ['3fff:1000::1', 'public'],
    ['1fff::1', 'reserved'],
    ['2000::1', 'public'],
    ['4000::1', 'reserved'],
    ['5f00::1', 'reserved'],
    ['fc00::1', 'private'],
    ['fdff::1', 'private'],
    ['fd00:ec2::254', 'metadata'],
    ['fd20:ce::254', 'metadata'],
    ['fe00::1', 'reserved'],
    ['fe80::1', 'link-local'],
    ['febf::1', 'link-local'],
    ['fec0::1', 'site-local'],
    ['feff::1', 'site-local'],
    ['ff02::1', 'multicast'],
    ['', 'invalid'],
    ['example.com', 'invalid'],
    ['127.1', 'invalid'],
    ['fe80::1%eth0', 'invalid'],
    ['[::1]', 'invalid'],
  ];
  for (const [ip, addressClass] of cases) assert.equal(classifyAddress(ip), addressClass, ip);
});

test('parseResolve() reads HOST:PORT:ADDR[:PORT] and nothing else', () => {
  assert.deepEqual(parseResolve('API.example.com:443:127.0.0.1'), {
    host: 'api.example.com',
    port: 443,
    address: '127.0.0.1',
    addressPort: 443,
  });
  assert.deepEqual(parseResolve('a.test:443:[::1]:8443'), {
    host: 'a.test',
    port: 443,
    address: '::1',
    addressPort: 8443,
  });
  assert.deepEqual(parseResolve('[2001:db8::1]:443:[::ffff:127.0.0.1]:1'), {
    host: '2001:db8::1',
    port: 443,
    address: '127.0.0.1',
    addressPort: 1,
  });
  for (const text of [
    '',
    'a.test',
    'a.test:443',
    'a.test:443:',
    'a.test:443:b.test',
    ':443:127.0.0.1',
    'a.test::127.0.0.1',
    'a.test:0:127.0.0.1',
    'a.test:443:127.0.0.1:',
    'a.test:443:127.0.0.1:0',
    'a.test:443:127.0.0.1:1:2',
    'a.test:443:::1',
    'a.test:443:127.1',
    'a.test:443:127.0.0.1,127.0.0.2',
    '*:443:127.0.0.1',
    '*.a.test:443:127.0.0.1',
    'a.test:443:[127.0.0.1]',
    'a.test:443:[::1%lo]',
    '-a.test:443:127.0.0.1',
    '+a.test:443:127.0.0.1',
    'a.test:443:[::1',
  ]) {
    assert.throws(() => parseResolve(text), hasCode('INVALID_RESOLVE'), text);
  }
  fc.assert(
    fc.property(
      fc.oneof(fc.domain(), fc.ipV4()),
      fc.integer({ min: 1, max: 65_535 }),
      fc.ipV6(),
      (host, port, address) => {
        const pin = parseResolve(`${host}:${port}:[${address}]`);
        assert.deepEqual(parseResolve(formatResolve(pin)), pin);
      },
    ),
  );
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.throws(() => parseResolve(text), hasCode('INVALID_RESOLVE'));
    }),
  );
});
