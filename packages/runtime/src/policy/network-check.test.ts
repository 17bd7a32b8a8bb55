import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '@sallyport/sdk';
import * as fc from 'fast-check';
import { classifyAddress } from './address-class.ts';
import { FURTHER_HOST_PATTERNS, HOST_PATTERN_VECTORS } from './host-pattern-cases.testing.ts';
import { matchesHost, parseHostPattern } from './host-pattern.ts';
import { checkNetwork } from './network-check.ts';
import { createNetworkPolicy, parseNetworkRule, type NetworkPolicy } from './network-policy.ts';
import { parseNetworkTarget } from './network-target.ts';

function policyOf(allow: readonly string[], deny: readonly string[] = []): NetworkPolicy {
  return createNetworkPolicy({
    allow: allow.map((text) => parseNetworkRule('--allow', text)),
    deny: deny.map((text) => parseNetworkRule('--deny', text)),
  });
}

function verdictOf(pattern: string, target: string): 'allow' | 'deny' | 'invalid' {
  try {
    return checkNetwork(policyOf([pattern]), parseNetworkTarget(target)).verdict;
  } catch (error) {
    assert.ok(error instanceof SallyportError && error.code === 'INVALID_HOST_PATTERN', String(error));
    return 'invalid';
  }
}

/** A range over everything matches a special address, and yet opens none. */
const OPENS_NO_SPECIAL_ADDRESS = new Set(['0.0.0.0/0 192.0.2.7:443']);

const CASES = [
  ...HOST_PATTERN_VECTORS.map(({ pattern, target, match }) => [pattern, target, match] as const),
  ...FURTHER_HOST_PATTERNS,
];

test('checkNetwork() decides each case of what patterns mean as the pattern says', () => {
  for (const [pattern, target, match] of CASES) {
    const allowed = match === true && !OPENS_NO_SPECIAL_ADDRESS.has(`${pattern} ${target}`);
    const expected = match === 'invalid' ? 'invalid' : allowed ? 'allow' : 'deny';
    assert.equal(verdictOf(pattern, target), expected, `${JSON.stringify(pattern)} on ${JSON.stringify(target)}`);
  }
});

test('checkNetwork() lets a denial win for each pattern that would allow', () => {
  for (const [pattern, target, match] of CASES) {
    if (match !== true) continue;
    const check = checkNetwork(policyOf([pattern], [pattern]), parseNetworkTarget(target));
    assert.equal(check.verdict, 'deny');
    assert.match(check.rule, /^--deny /);
    assert.match(check.remedy ?? '', /^remove --deny /);
  }
});

test('checkNetwork() says all that there is to say', () => {
  const policy = policyOf(['example.com', '10.0.0.0/8:22'], ['evil.example.com']);
  assert.deepEqual(checkNetwork(policy, parseNetworkTarget('Example.COM.')), {
    host: 'example.com',
    port: 443,
    verdict: 'allow',
    rule: '--allow example.com',
    remedy: null,
    protocol: 'tls',
    tunnel: false,
    perRequest: false,
    addressClass: null,
    method: null,
    path: null,
  });
  assert.deepEqual(checkNetwork(policy, parseNetworkTarget('10.1.2.3:22')), {
    host: '10.1.2.3',
    port: 22,
    verdict: 'allow',
    rule: '--allow 10.0.0.0/8:22',
    remedy: null,
    protocol: 'tcp',
    tunnel: false,
    perRequest: false,
    addressClass: 'private',
    method: null,
    path: null,
  });
  assert.deepEqual(checkNetwork(policyOf(['0.0.0.0/0']), parseNetworkTarget('10.1.2.3')), {
    host: '10.1.2.3',
    port: 443,
    verdict: 'deny',
    rule: 'private addresses are denied unless a rule names them',
    remedy: '--allow 10.1.2.3:443',
    protocol: null,
    tunnel: false,
    perRequest: false,
    addressClass: 'private',
    method: null,
    path: null,
  });
});

test('parseNetworkTarget() takes 443 without a port, and names the part that is wrong', () => {
  assert.deepEqual(parseNetworkTarget('[::FFFF:192.0.2.7]'), { host: '192.0.2.7', port: 443 });
  assert.deepEqual(parseNetworkTarget('bücher.example:80'), { host: 'xn--bcher-kva.example', port: 80 });
  const cases: readonly (readonly [string, RegExp])[] = [
    ['', /it is empty/],
    ['https://example.com', /it is a URL/],
    ['example.com/x', /a path/],
    ['10.0.0.0/8', /an address range/],
    ['10.1.0.0/8', /an address range/],
    ['user@example.com', /a user part/],
    ['*.example.com', /a wildcard is no host/],
    ['**', /a wildcard is no host/],
    ['2001:db8::1', /Write \[2001:db8::1\]/],
    ['example.com:', /the port after ":" is empty/],
    ['example.com:0', /the port is no number from 1 to 65535/],
    ['example.com:65536', /the port/],
    ['example.com:443:1', /a colon or a bracket/],
    ['example.com..', /an empty label/],
    ['exa mple.com', /a space/],
    ['exa\0mple.com', /a control character/],
    [' example.com', /a space/],
    ['192.0.2.07', /ends in a number/],
  ];
  for (const [text, message] of cases) assert.throws(() => parseNetworkTarget(text), { message }, text);
});

test('checkNetwork() agrees with looking at one rule after the other', () => {
  const patterns = ['a.test.net', '*.test.net', '**.test.net', '**.b.test.net:8443', '**', '**:22', 'test.net:8443', '10.0.0.0/8', '10.1.0.0/16:22', '10.1.2.3', '0.0.0.0/0', '[2001:db8::1]', '2001:db8::/32:8443', '[::1]:22', '93.184.215.14']; // prettier-ignore
  const hosts = ['a.test.net', 'b.a.test.net', 'a.b.test.net', 'test.net', 'net', 'xtest.net', '10.1.2.3', '10.2.0.1', '93.184.215.14', '2001:db8::1', '::1', '127.0.0.1']; // prettier-ignore
  const some = fc.subarray(patterns, { maxLength: 4 });
  fc.assert(
    fc.property(
      some,
      some,
      fc.constantFrom(...hosts),
      fc.constantFrom(22, 80, 443, 8443),
      (allow, deny, host, port) => {
        const matches = (text: string): boolean => matchesHost(parseHostPattern(text, 'network'), host, port);
        const isSpecial = /[:\d]$/.test(host) && classifyAddress(host) !== 'public';
        // Of the patterns above only the range over everything is wider than the special blocks that it touches.
        const opens = allow.filter((text) => matches(text) && !(isSpecial && text === '0.0.0.0/0'));
        const expected = opens.length > 0 && !deny.some(matches) ? 'allow' : 'deny';
        assert.equal(checkNetwork(policyOf(allow, deny), { host, port }).verdict, expected);
      },
    ),
    { numRuns: 3000 },
  );
});
