import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError, type ErrorCode } from '@sallyport/sdk';
import * as fc from 'fast-check';
import { parseSecretSpec } from '../secrets/secret-spec.ts';
import { matchesHost, parseHostPattern } from './host-pattern.ts';
import { decideRequest, type HttpVerdict, type JudgedRequest } from './http-policy.ts';
import {
  createNetworkPolicy,
  decideAddress,
  decideHost,
  listeningPorts,
  parseKeptRule,
  parseNetworkRule,
  shellWord,
  type KeptRule,
  type NetworkPolicy,
} from './network-policy.ts';

interface Options {
  readonly allow?: readonly string[];
  readonly tunnel?: readonly string[];
  readonly secret?: string;
  readonly sandbox?: string;
  /** Whether the rules are the sandbox's own, which may be refused. */
  readonly isOwn?: boolean;
}

function policyOf(rules: readonly KeptRule[], options: Options = {}): NetworkPolicy {
  const { allow = [], tunnel = [], secret, sandbox = null, isOwn = false } = options;
  const spec = secret === undefined ? null : parseSecretSpec(secret);
  const kept = (action: string) =>
    rules
      .filter((rule) => rule.action === action)
      .map((rule) => ({ ...parseKeptRule(rule, sandbox), isStored: !isOwn }));
  return createNetworkPolicy({
    secretHosts: spec?.kind === 'bound' ? spec.hosts.map((host) => ({ host, origin: '--secret A' })) : [],
    allow: [...allow.map((text) => parseNetworkRule('--allow', text)), ...kept('allow')],
    deny: kept('deny'),
    tunnel: tunnel.map((text) => parseNetworkRule('--tunnel', text)),
    sandbox,
  });
}

const hasCode = (code: ErrorCode) => (error: unknown) => error instanceof SallyportError && error.code === code;

function judge(policy: NetworkPolicy, line: string, more: Partial<JudgedRequest> = {}): HttpVerdict {
  const [method = '', target = ''] = line.split(' ');
  return decideRequest(policy, 'a.test.net', 443, { method, target, overrides: [], targetOverrides: [], ...more });
}

test('decideRequest() says nothing where no rule has methods or a path', () => {
  const policy = policyOf([{ action: 'allow', pattern: '**' }]);
  assert.deepEqual(judge(policy, 'POST /../x'), { verdict: 'allow', rule: null });
  const elsewhere = policyOf([
    { action: 'allow', pattern: '**' },
    { action: 'deny', pattern: 'b.test.net', methods: ['POST'] },
    { action: 'deny', pattern: 'a.test.net:8443', methods: ['POST'] },
  ]);
  assert.deepEqual(judge(elsewhere, 'POST /../x'), { verdict: 'allow', rule: null });
  assert.equal(decideHost(elsewhere, 'a.test.net', 443).verdict, 'allow');
});

test('decideHost() opens and intercepts a host for some requests, and says so', () => {
  const policy = policyOf([
    { action: 'allow', pattern: 'a.test.net', methods: ['get', 'POST', 'GET'], path: '/v1/**' },
  ]);
  assert.deepEqual(decideHost(policy, 'a.test.net', 443), {
    verdict: 'allow',
    rule: 'policy allow network a.test.net GET,POST /v1/**',
    protocol: 'tls',
    tunnel: false,
    perRequest: true,
  });
  assert.equal(decideHost(policy, 'b.test.net', 443).verdict, 'deny');
  const cases: readonly (readonly [string, boolean])[] = [
    ['GET /v1', true],
    ['GET /v1/x?y=/..', true],
    ['GET /v1/%78/', true],
    ['POST /v1/x', true],
    ['PUT /v1/x', false],
    ['get /v1/x', false],
    ['GET /v2', false],
    ['GET /v1/../v2', false],
    ['GET /v1//x', false],
    ['GET /v1%2fx', false],
    ['GET *', false],
    ['OPTIONS *', false],
  ];
  for (const [line, isAllowed] of cases) assert.equal(judge(policy, line).verdict === 'allow', isAllowed, line);
});

test('decideRequest() denies what a server might take for what is denied, and needs certainty for what is allowed', () => {
  const deny = policyOf([
    { action: 'allow', pattern: '**' },
    { action: 'deny', pattern: '*.test.net', methods: ['DELETE'], path: '/admin/**' },
  ]);
  for (const line of ['DELETE /admin', 'delete /admin/x', 'DELETE /x/../admin', 'DELETE /x%2f..%2fy', 'DELETE *']) {
    assert.equal(judge(deny, line).verdict, 'deny', line);
  }
  assert.equal(judge(deny, 'DELETE /administration').verdict, 'allow');
  assert.equal(judge(deny, 'GET /admin/x').verdict, 'allow');
  assert.equal(judge(deny, 'GET /admin/x', { overrides: ['delete'] }).verdict, 'deny');
  assert.equal(judge(deny, 'DELETE /x', { targetOverrides: ['/y', '/admin/x'] }).verdict, 'deny');
  const below = policyOf([{ action: 'allow', pattern: 'a.test.net', path: '/v1/**' }]);
  assert.equal(judge(below, 'GET /v1/x', { targetOverrides: ['/v1/y'] }).verdict, 'allow');
  assert.equal(judge(below, 'GET /v1/x', { targetOverrides: ['/v2/y'] }).verdict, 'deny');
  assert.equal(judge(below, 'GET /v1/x', { targetOverrides: ['https://a.test.net/v1/x'] }).verdict, 'deny');
  // Each method with each target: a head has room for some ten thousand of them.
  const many = { overrides: Array(15_000).fill('GET'), targetOverrides: Array(2000).fill('/v1/y') };
  for (const policy of [deny, below]) {
    const verdict = judge(policy, 'GET /v1/x', many);
    assert.ok(verdict.verdict === 'deny' && verdict.detail.includes('(as 17000 others)'));
  }
  const allow = policyOf([{ action: 'allow', pattern: 'a.test.net', methods: ['GET', 'POST'] }]);
  assert.equal(judge(allow, 'GET /a/../b').verdict, 'allow', 'every path is allowed');
  assert.equal(judge(allow, 'POST /x', { overrides: ['GET'] }).verdict, 'allow');
  assert.equal(judge(allow, 'POST /x', { overrides: ['GET', 'DELETE'] }).verdict, 'deny');
});

test('decideRequest() lets a secret open no more than rules with methods or a path allow', () => {
  const secret = 'A@a.test.net';
  const limit: KeptRule = { action: 'allow', pattern: 'a.test.net', methods: ['GET'] };
  assert.equal(judge(policyOf([], { secret }), 'POST /').verdict, 'allow');
  assert.equal(judge(policyOf([limit], { secret }), 'POST /').verdict, 'deny');
  assert.equal(judge(policyOf([limit], { secret }), 'GET /').verdict, 'allow');
  assert.equal(
    judge(policyOf([limit, { action: 'allow', pattern: 'a.test.net' }], { secret }), 'POST /').verdict,
    'allow',
  );
  const cleartext = policyOf([limit], { secret: 'A@http://a.test.net:8080' });
  assert.equal(decideHost(cleartext, 'a.test.net', 8080).verdict, 'allow');
});

test('decideRequest() names a remedy that works, for a run and for a sandbox that lives on', () => {
  for (const sandbox of [undefined, 'worker']) {
    const rule: KeptRule = { action: 'allow', pattern: 'a.test.net', methods: ['GET'], path: '/v1' };
    const policy = policyOf([rule], sandbox === undefined ? {} : { sandbox });
    const verdict = judge(policy, 'POST /it%20is', { overrides: ['PUT'] });
    assert.ok(verdict.verdict === 'deny');
    const scope = sandbox === undefined ? '' : ' --sandbox worker';
    assert.equal(
      verdict.remedy,
      `sallyport policy allow network a.test.net:443${scope} --method POST,PUT --path '/it is'`,
    );
    const cured = policyOf([rule, { ...rule, pattern: 'a.test.net:443', methods: ['POST', 'PUT'], path: '/it is' }]);
    assert.equal(judge(cured, 'POST /it%20is', { overrides: ['PUT'] }).verdict, 'allow');
    for (const target of ['/a*', '/a/../b', '/a%2fb', `/${'a'.repeat(200)}`]) {
      const unclear = judge(policy, `PUT ${target}`);
      assert.ok(unclear.verdict === 'deny');
      assert.equal(unclear.remedy, `sallyport policy allow network a.test.net:443${scope}`);
    }
  }
});

test('createNetworkPolicy() refuses rules that the gate could not see the requests of', () => {
  const limit: KeptRule = { action: 'deny', pattern: '*.test.net', methods: ['POST'] };
  const own = { isOwn: true };
  assert.throws(() => policyOf([limit], { ...own, tunnel: ['a.test.net'] }), hasCode('USAGE'));
  assert.throws(() => policyOf([limit], { ...own, tunnel: ['**'] }), hasCode('USAGE'));
  assert.throws(
    () => policyOf([{ ...limit, pattern: 'a.test.net:22' }], { ...own, allow: ['**:22'] }),
    hasCode('INVALID_RULE'),
  );
  policyOf([limit], { ...own, tunnel: ['a.test.org', 'a.test.net:8443'], allow: ['**:22'] });
  // Stored rules are for sandboxes of any kind: there they close what they cannot see.
  const stored = policyOf([limit], { tunnel: ['a.test.net'] });
  const verdict = decideHost(stored, 'a.test.net', 443);
  assert.ok(verdict.verdict === 'allow' && !verdict.tunnel && verdict.perRequest);
  const raw = policyOf([{ ...limit, pattern: 'a.test.net:22' }], { allow: ['**:22'] });
  const opened = decideHost(raw, 'a.test.net', 22);
  assert.ok(opened.verdict === 'allow' && opened.protocol === 'tls');
  assert.deepEqual(listeningPorts(raw), [22, 80, 443]);
});

test('createNetworkPolicy() warns of a rule for some requests beside one for all', () => {
  const limit: KeptRule = { action: 'allow', pattern: 'a.test.net', methods: ['GET'] };
  const { warnings } = policyOf([limit, { action: 'allow', pattern: '**' }]);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0] ?? '', /policy allow network \*\* allows more.*policy deny network a\.test\.net/);
  assert.deepEqual(policyOf([limit, { action: 'allow', pattern: '**:22' }]).warnings, []);
});

test('decideAddress() denies names that resolve to an address of which some requests are denied', () => {
  const policy = policyOf([
    { action: 'allow', pattern: '**' },
    { action: 'allow', pattern: '10.0.0.0/8', methods: ['GET'] },
    { action: 'deny', pattern: '93.184.215.14', methods: ['POST'] },
  ]);
  assert.equal(decideAddress(policy, 'x.test', 443, '93.184.215.14').verdict, 'deny');
  assert.equal(decideAddress(policy, '93.184.215.14', 443, '93.184.215.14').verdict, 'allow');
  assert.equal(decideAddress(policy, '10.1.2.3', 443, '10.1.2.3').verdict, 'allow');
  assert.equal(decideAddress(policy, 'x.test', 443, '10.1.2.3').verdict, 'deny');
});

test('shellWord() is one word of a shell', () => {
  for (const [text, word] of [
    ['example.com:443', 'example.com:443'],
    ['*.example.com', "'*.example.com'"],
    ['[::1]:80', "'[::1]:80'"],
    ["it's", `'it'\\''s'`],
    ['', "''"],
  ] as const) {
    assert.equal(shellWord(text), word);
  }
});

test('decideHost() and decideRequest() together agree with looking at one rule after the other', () => {
  const patterns = ['a.test.net', '*.test.net', '**.test.net', '**', 'a.test.net:8443', '10.1.2.3', '10.0.0.0/8'];
  const paths = ['/', '/a', '/a/*', '/a/**', '/**/b'];
  const rule = fc.record({
    action: fc.constantFrom('allow' as const, 'deny' as const),
    pattern: fc.constantFrom(...patterns),
    methods: fc.option(fc.subarray(['GET', 'POST', 'PUT'], { minLength: 1 }), { nil: null }),
    path: fc.option(fc.constantFrom(...paths), { nil: null }),
  });
  /** Globs as a regular expression, for paths of plain segments. */
  const slowly = (glob: string, path: string): boolean =>
    new RegExp(
      `^${glob
        .replace(/\/\*\*/g, '(/[^/]+)&')
        .replace(/\/\*(?!\*)/g, '/[^/]+')
        .replaceAll('&', '*')}$`,
    ).test(path);
  fc.assert(
    fc.property(
      fc.array(rule, { maxLength: 5 }),
      fc.constantFrom('a.test.net', 'b.a.test.net', 'test.net', '10.1.2.3'),
      fc.constantFrom(80, 443, 8443),
      fc.constantFrom('GET', 'POST', 'PATCH'),
      fc.constantFrom('/', '/a', '/a/b', '/a/c/b', '/c'),
      (rules, host, port, method, path) => {
        const policy = policyOf(rules);
        const verdict = decideHost(policy, host, port);
        const isSent =
          verdict.verdict === 'allow' &&
          decideRequest(policy, host, port, { method, target: path, overrides: [], targetOverrides: [] }).verdict ===
            'allow';
        const covers = ({ pattern, methods, path: glob }: KeptRule): boolean =>
          matchesHost(parseHostPattern(pattern, 'network'), host, port) &&
          (methods?.includes(method) ?? true) &&
          (glob === null || glob === undefined || slowly(glob, path));
        const covering = rules.filter(covers).map(({ action }) => action);
        assert.equal(isSent, covering.includes('allow') && !covering.includes('deny'));
        // What the gate does not look into must be for all requests alike.
        if (verdict.verdict === 'allow' && !verdict.perRequest) {
          assert.ok(
            !rules.some(
              (one) =>
                (one.methods !== null || one.path !== null) &&
                matchesHost(parseHostPattern(one.pattern, 'network'), host, port),
            ),
          );
        }
      },
    ),
    { numRuns: 5000 },
  );
});
