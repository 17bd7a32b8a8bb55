import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SallyportError } from '@sallyport/sdk';
import * as fc from 'fast-check';
import { canonicalHost, parseTarget } from './host-name.ts';
import { FURTHER_HOST_PATTERNS, HOST_PATTERN_VECTORS } from './host-pattern-cases.testing.ts';
import { HostIndex } from './host-index.ts';
import {
  matchesHost,
  matchesName,
  namesOverlap,
  parseHostPattern,
  readHostPattern,
  type HostPattern,
} from './host-pattern.ts';

function isInvalid(error: unknown): boolean {
  return error instanceof SallyportError && error.code === 'INVALID_HOST_PATTERN';
}

function decide(patternText: string, targetText: string): boolean | 'invalid' {
  let pattern: HostPattern;
  try {
    pattern = parseHostPattern(patternText, 'network');
  } catch (error) {
    assert.ok(isInvalid(error));
    return 'invalid';
  }
  const target = parseTarget(targetText);
  return target === null ? 'invalid' : matchesHost(pattern, target.host, target.port);
}

for (const { pattern, target, match, why } of HOST_PATTERN_VECTORS) {
  test(`matchesHost() ${JSON.stringify(pattern)} on ${JSON.stringify(target)} is ${match} (${why})`, () => {
    assert.equal(decide(pattern, target), match);
  });
}

test('matchesHost() holds for further cases of each class', () => {
  for (const [pattern, target, match] of FURTHER_HOST_PATTERNS) {
    assert.equal(decide(pattern, target), match, `${JSON.stringify(pattern)} on ${JSON.stringify(target)}`);
  }
});

test('parseHostPattern() refuses ranges and bare ** for secrets', () => {
  for (const text of ['10.0.0.0/8', '**', '**:443', '*', '*.com', 'http://example.com', '2001:db8::/32']) {
    assert.throws(() => parseHostPattern(text, 'secret'), isInvalid, text);
  }
  assert.equal(parseHostPattern('**.example.com', 'secret').kind, 'descendant');
});

test('parseHostPattern() says what is wrong and what would be right', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['*.com', /"\*\.com".*public suffix.*\*\.example\.com/],
    ['example.com:0', /port/],
    ['10.1.2.3/8', /10\.0\.0\.0\/8/],
    ['2001:db8::1', /\[2001:db8::1\]:PORT/],
    ['https://example.com/x', /URL.*HOST:PORT/],
    ['ex\u0430mple.com', /"ex\\u0430mple\.com".*scripts.*xn--exmple-4nf\.com/],
    ['exa\u202emple.com', /\\u202e/],
    ['a..b', /empty label/],
    ['-a.com', /hyphen/],
  ];
  for (const [text, message] of cases) assert.throws(() => parseHostPattern(text, 'network'), { message });
});

test('parseHostPattern() warns of a wildcard over names of different customers, and of nothing else', () => {
  for (const text of [
    '*.github.io',
    '*.githubusercontent.com',
    '**.s3.amazonaws.com',
    '**.blogspot.com',
    '*.compute.amazonaws.com',
  ]) {
    assert.match(parseHostPattern(text, 'secret').warning ?? '', /different customers/, text);
  }
  for (const text of ['*.example.com', 'octocat.github.io', '**.octocat.github.io', '**', '10.0.0.0/8']) {
    assert.equal(parseHostPattern(text, 'network').warning, undefined, text);
  }
});

const label = fc
  .string({ unit: fc.constantFrom(...'abz09-_'), minLength: 1, maxLength: 8 })
  .filter((text) => !text.startsWith('-') && !text.endsWith('-'));
const name = fc
  .array(label, { minLength: 1, maxLength: 3 })
  .map((labels) => [...labels, 'example', 'com'].join('.'))
  .filter((text) => canonicalHost(text) === text);
const port = fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined });
const patternText = fc
  .tuple(
    fc.oneof(
      name,
      name.map((text) => `*.${text}`),
      name.map((text) => `**.${text}`),
      fc.ipV4(),
      fc.ipV6().map((text) => `[${text}]`),
      fc.tuple(fc.nat(255), fc.nat(255)).map(([a, b]) => `${a}.${b}.0.0/16`),
      fc.nat(0xffff).map((group) => `${group.toString(16)}::/32`),
      fc.constant('**'),
    ),
    port,
  )
  .map(([host, number]) => (number === undefined ? host : `${host}:${number}`));

test('parseHostPattern() and its text undo each other', () => {
  fc.assert(
    fc.property(patternText, (text) => {
      const pattern = parseHostPattern(text, 'network');
      assert.deepEqual(parseHostPattern(pattern.text, 'network'), pattern);
    }),
    { numRuns: 1000 },
  );
});

test('parseHostPattern() throws nothing but INVALID_HOST_PATTERN, and its problem never repeats the text', () => {
  const unit = fc.oneof(
    fc.constantFrom(...'*./:[]@-ax1', 'ü', '\u0430', '\u212a'),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
  );
  fc.assert(
    fc.property(
      fc.string({ unit, maxLength: 40 }),
      fc.constantFrom('network' as const, 'secret' as const),
      (text, purpose) => {
        try {
          parseHostPattern(text, purpose);
        } catch (error) {
          assert.ok(isInvalid(error), String(error));
          assert.match(String(error), /^[\x20-\x7e…]*$/);
        }
      },
    ),
    { numRuns: 3000 },
  );
  for (const text of [
    'sekret-tail!',
    'sekret tail',
    '-sekret',
    'sekret/x',
    'sekret@x',
    '*.sekret',
    'sekret..x',
    'xn--sekret',
    'sekret:99999',
    'sekrеt.com',
    'sekret::1',
  ]) {
    const reading = readHostPattern(text, 'secret');
    assert.ok('problem' in reading, text);
    assert.doesNotMatch(reading.problem, /sekr/);
  }
});

test('matchesHost() never matches across a label boundary', () => {
  fc.assert(
    fc.property(name, label, label, (suffix, glued, below) => {
      const child = parseHostPattern(`*.${suffix}`, 'secret');
      const descendant = parseHostPattern(`**.${suffix}`, 'secret');
      const exact = parseHostPattern(suffix, 'secret');
      for (const pattern of [child, descendant, exact]) {
        assert.equal(matchesHost(pattern, glued + suffix, 443), false);
        assert.equal(matchesHost(pattern, `${suffix}.${glued}`, 443), false);
        assert.equal(matchesHost(pattern, `${below}.${glued}${suffix}`, 443), false);
      }
      assert.equal(matchesHost(child, `${below}.${suffix}`, 443), true);
      assert.equal(matchesHost(descendant, `${below}.${suffix}`, 443), true);
      assert.equal(matchesHost(child, `${below}.${glued}.${suffix}`, 443), false);
      assert.equal(matchesHost(descendant, `${below}.${glued}.${suffix}`, 443), true);
      assert.equal(matchesHost(child, suffix, 443), false);
      assert.equal(matchesHost(descendant, suffix, 443), false);
    }),
  );
});

const closeName = fc
  .array(fc.constantFrom('a', 'b', 'example'), { minLength: 1, maxLength: 3 })
  .map((labels) => `${labels.join('.')}.test.net`);
const closePattern = fc
  .oneof(
    closeName,
    closeName.map((text) => `*.${text}`),
    closeName.map((text) => `**.${text}`),
    fc.constantFrom('**', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.3', '[2001:db8::1]', '2001:db8::/32'),
  )
  .map((text) => parseHostPattern(text, 'network'));
const closeHost = fc.oneof(
  closeName,
  fc.constantFrom('10.1.2.3', '10.2.0.1', '11.0.0.1', '2001:db8::1', '2001:db9::1', 'test.net', 'net'),
);

test('HostIndex.matching() finds exactly the patterns that matchesName() says, narrowest first', () => {
  fc.assert(
    fc.property(fc.array(closePattern, { maxLength: 12 }), closeHost, (patterns, host) => {
      const index = new HostIndex<HostPattern>();
      for (const pattern of patterns) index.add(pattern, pattern);
      const found = [...index.matching(host)];
      const expected = patterns.filter((pattern) => matchesName(pattern, host));
      const texts = (list: readonly HostPattern[]): string[] => list.map(({ text }) => text).toSorted();
      assert.deepEqual(texts(found), texts(expected));
      const firstWide = found.findIndex(({ kind }) => kind !== 'exact');
      if (firstWide >= 0) assert.ok(found.slice(firstWide).every(({ kind }) => kind !== 'exact'));
    }),
    { numRuns: 2000 },
  );
});

test('namesOverlap() is symmetric and true wherever one host has both', () => {
  fc.assert(
    fc.property(closePattern, closePattern, closeHost, (a, b, host) => {
      assert.equal(namesOverlap(a, b), namesOverlap(b, a));
      if (matchesName(a, host) && matchesName(b, host)) assert.equal(namesOverlap(a, b), true);
    }),
    { numRuns: 2000 },
  );
  const overlap = (a: string, b: string): boolean =>
    namesOverlap(parseHostPattern(a, 'network'), parseHostPattern(b, 'network'));
  assert.equal(overlap('*.a.example.com', '*.example.com'), false);
  assert.equal(overlap('*.a.example.com', '**.example.com'), true);
  assert.equal(overlap('**.a.example.com', '*.example.com'), false);
  assert.equal(overlap('10.0.0.0/8', '**'), false);
});
