import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { SallyportError, type ErrorCode } from '@sallyport/sdk';
import * as fc from 'fast-check';
import { SecretValue } from './secret-value.ts';
import { BodySubstituter } from './substitute-body.ts';
import { Substituter } from './substitute.ts';
import {
  checkSecretValue,
  formatLocation,
  formatSecretHost,
  isEnvironmentName,
  MAX_SECRET_VALUE_BYTES,
  parseLocations,
  parseSecretSpec,
  type SecretSpec,
} from './secret-spec.ts';

interface Vector {
  readonly spec: string;
  readonly means:
    | 'invalid'
    | { readonly env?: string; readonly name?: string; readonly value?: string; readonly hosts?: readonly string[] };
}

type Bound = Extract<SecretSpec, { kind: 'bound' }>;

const USAGE_CODES: readonly ErrorCode[] = [
  'INVALID_SECRET_SPEC',
  'INVALID_HOST_PATTERN',
  'INVALID_SECRET_VALUE',
  'SECRET_VALUE_TOO_SHORT',
];

function hasCode(...codes: readonly ErrorCode[]): (error: unknown) => boolean {
  return (error) => error instanceof SallyportError && codes.includes(error.code);
}

function bound(text: string): Bound {
  const spec = parseSecretSpec(text);
  assert.ok(spec.kind === 'bound', text);
  return spec;
}

const vectors = JSON.parse(
  readFileSync(new URL('../policy/testdata/secret-specs.json', import.meta.url), 'utf8'),
) as readonly Vector[];
for (const { spec: text, means } of vectors) {
  test(`parseSecretSpec() ${JSON.stringify(text)}`, () => {
    if (means === 'invalid') {
      assert.throws(() => parseSecretSpec(text), hasCode(...USAGE_CODES));
      return;
    }
    const spec = parseSecretSpec(text);
    if (spec.kind === 'named') {
      assert.deepEqual({ ...spec }, { kind: 'named', ...means });
      return;
    }
    assert.equal(spec.env, means.env);
    assert.equal(spec.value?.reveal(), means.value);
    assert.deepEqual(spec.hosts.map(formatSecretHost), means.hosts);
  });
}

test('parseSecretSpec() gives each host its scheme and port', () => {
  const { hosts } = bound(
    'A@a.test,b.test:8443,http://c.test,http://d.test:8080,https://e.test,HTTPS://f.test:444,HTTP://g.test,[2001:db8::1],*.h.test,**.i.test:1',
  );
  assert.deepEqual(
    hosts.map(({ scheme, port }) => `${scheme} ${port}`),
    [
      'https 443',
      'https 8443',
      'http 80',
      'http 8080',
      'https 443',
      'https 444',
      'http 80',
      'https 443',
      'https 443',
      'https 1',
    ],
  );
  assert.equal(bound('A@x.test,X.test.,https://x.test').hosts.length, 1);
  assert.equal(bound('A@x.test,http://x.test').hosts.length, 2);
});

test('parseSecretSpec() refuses what is malformed, by code', () => {
  const value = 's3cret-value';
  const cases: readonly (readonly [string, ErrorCode])[] = [
    ['@', 'INVALID_SECRET_SPEC'],
    ['=@h.test', 'INVALID_SECRET_SPEC'],
    [`=${value}@h.test`, 'INVALID_SECRET_SPEC'],
    [`A=${value}`, 'INVALID_SECRET_SPEC'],
    [`Ä=${value}@h.test`, 'INVALID_SECRET_SPEC'],
    ['A-B@h.test', 'INVALID_SECRET_SPEC'],
    ['A\0@h.test', 'INVALID_SECRET_SPEC'],
    [' A@h.test', 'INVALID_SECRET_SPEC'],
    ['A@@h.test', 'INVALID_SECRET_SPEC'],
    ['A@h.test,,i.test', 'INVALID_SECRET_SPEC'],
    ['A@,h.test', 'INVALID_SECRET_SPEC'],
    [`${'A'.repeat(129)}@h.test`, 'INVALID_SECRET_SPEC'],
    ['A@h.test, i.test', 'INVALID_HOST_PATTERN'],
    ['A@ftp://h.test', 'INVALID_HOST_PATTERN'],
    ['A@http://http://h.test', 'INVALID_HOST_PATTERN'],
    ['A@http://', 'INVALID_HOST_PATTERN'],
    ['A@http:h.test', 'INVALID_HOST_PATTERN'],
    ['A@http://h.test/', 'INVALID_HOST_PATTERN'],
    ['A@https://h.test/path', 'INVALID_HOST_PATTERN'],
    ['A@https:///h.test', 'INVALID_HOST_PATTERN'],
    ['A@h.test:', 'INVALID_HOST_PATTERN'],
    ['A@h.test:80', 'INVALID_HOST_PATTERN'],
    ['A@http://h.test:443', 'INVALID_HOST_PATTERN'],
    ['A@10.0.0.0/8', 'INVALID_HOST_PATTERN'],
    ['A@http://**', 'INVALID_HOST_PATTERN'],
    ['A@*.co.uk', 'INVALID_HOST_PATTERN'],
    ['A@127.1', 'INVALID_HOST_PATTERN'],
    ['A@2001:db8::1', 'INVALID_HOST_PATTERN'],
    ['A@h\0.test', 'INVALID_HOST_PATTERN'],
    [`A@${'a'.repeat(70)}.test`, 'INVALID_HOST_PATTERN'],
    ['A@ex\u0430mple.com', 'INVALID_HOST_PATTERN'],
    ['A=1234567@h.test', 'SECRET_VALUE_TOO_SHORT'],
    ['A=@h.test', 'SECRET_VALUE_TOO_SHORT'],
    ['A=12345678\r@h.test', 'INVALID_SECRET_VALUE'],
    ['A=1234\x005678@h.test', 'INVALID_SECRET_VALUE'],
    ['A=1234\x1b5678@h.test', 'INVALID_SECRET_VALUE'],
    ['A=\u201cquoted-value\u201d@h.test', 'INVALID_SECRET_VALUE'],
    ['A=\u{1f511}\u{1f511}\u{1f511}\u{1f511}@h.test', 'INVALID_SECRET_VALUE'],
    ['A:', 'INVALID_SECRET_SPEC'],
    [':A', 'INVALID_SECRET_SPEC'],
    ['A:B:C', 'INVALID_SECRET_SPEC'],
    ['A:1B', 'INVALID_SECRET_SPEC'],
    ['my-secret', 'INVALID_SECRET_SPEC'],
    ['A B', 'INVALID_SECRET_SPEC'],
  ];
  for (const [text, code] of cases) assert.throws(() => parseSecretSpec(text), hasCode(code), JSON.stringify(text));
  assert.deepEqual(parseSecretSpec('my-secret.v2:TOKEN'), { kind: 'named', name: 'my-secret.v2', env: 'TOKEN' });
});

test('parseSecretSpec() shows no piece of a value in an error, a forgotten host included', () => {
  const texts = [
    'A=canary-one@canary two',
    'A=canary@canary/two',
    'A=pass@-canary',
    'A=pass@can..canary',
    'A=pass@word,canary!',
    'A=canary',
    'A=canary@h.test',
    'A=canary-line\nbreak@h.test',
    'A=canary-\u2028-long@h.test',
    'A=canary-value@',
    'A=canary-value@*.com',
    'A=canary-value@canary.com:0',
    'A=canary-value@canary::1',
    'A=canary-value@10.0.0.1/8canary',
    'A=value-long@c\u0430nary.test',
    'canary value@h.test',
    'sk-canary',
    'sk-canary:env canary',
    'canary key:X',
  ];
  for (const text of texts) {
    assert.throws(
      () => parseSecretSpec(text),
      (error: unknown) =>
        error instanceof SallyportError && !/canary|xn--/.test(error.message) && error.cause === undefined,
      text,
    );
  }
  assert.throws(() => parseSecretSpec('A@bad host'), /"bad host"/, 'without a value the host is quoted');
});

test('parseSecretSpec() throws nothing but usage errors, and what it reads prints and reads the same', () => {
  const unit = fc.oneof(fc.constantFrom(...'A=@:,.*/[]h-1'), fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }));
  const text = fc.oneof(
    fc.string({ unit, maxLength: 40 }),
    fc.string({ unit: 'binary', maxLength: 20 }).map((value) => `A=${value}@h.test`),
  );
  fc.assert(
    fc.property(text, (candidate) => {
      try {
        parseSecretSpec(candidate);
      } catch (error) {
        assert.ok(hasCode(...USAGE_CODES)(error), String(error));
      }
    }),
    { numRuns: 2000 },
  );
  const latin = fc
    .string({
      unit: fc
        .integer({ min: 0x20, max: 0xff })
        .filter((code) => code !== 0x7f)
        .map((code) => String.fromCharCode(code)),
      minLength: 8,
      maxLength: 40,
    })
    .filter((text) => text.trim().length >= 8);
  fc.assert(
    fc.property(latin, fc.uniqueArray(fc.domain(), { minLength: 1, maxLength: 3 }), (value, domains) => {
      const spec = bound(`TOKEN=${value}@${domains.join(',')}`);
      assert.equal(spec.value?.reveal(), value);
      const again = bound(`TOKEN=${value}@${spec.hosts.map(formatSecretHost).join(',')}`);
      assert.deepEqual(again.hosts, spec.hosts);
    }),
  );
});

test('checkSecretValue() bounds the length', () => {
  assert.equal(checkSecretValue('12345678', 'A').reveal(), '12345678');
  assert.equal(checkSecretValue('p\u00e4ssw\u00f6rd1', 'A').reveal(), 'p\u00e4ssw\u00f6rd1');
  checkSecretValue('x'.repeat(MAX_SECRET_VALUE_BYTES), 'A');
  assert.throws(() => checkSecretValue('x'.repeat(MAX_SECRET_VALUE_BYTES + 1), 'A'), hasCode('INVALID_SECRET_VALUE'));
  assert.throws(() => checkSecretValue('', 'A'), /"A" is empty/);
  const body = parseLocations(['body']);
  for (const short of ['1234567', ' 1234567 ', '1234567\n', 'p\u00e4ssw\u00f6r', '\u79d8\u5bc6']) {
    assert.throws(() => checkSecretValue(short, 'A', body), hasCode('SECRET_VALUE_TOO_SHORT'), short);
  }
  assert.throws(() => checkSecretValue('\u20ac'.repeat(22_000), 'A', body), hasCode('INVALID_SECRET_VALUE'));
  checkSecretValue('\u79d8\u5bc6\u9375', 'A', body);
});

test('checkSecretValue() asks of a value what its locations can carry, and says which cannot', () => {
  const values: readonly (readonly [string, readonly string[]])[] = [
    ['plain-value', []],
    ['p\u00e4ssw\u00f6rd', []],
    ['-----BEGIN KEY-----\nabc\n-----END KEY-----\n', ['header', 'basic']],
    ['carriage\rreturn', ['header', 'basic']],
    ['with\0a-nul', ['header', 'basic']],
    ['with\x1ban-escape', ['header', 'basic']],
    ['with\x7fdelete', ['header', 'basic']],
    ['with\ta-tab', ['basic']],
    ['\u20ac-beyond-latin-1', ['header']],
    ['\u{1f511}\u{1f511}', ['header']],
  ];
  const locations = ['header', 'header:X-Key', 'basic', 'query', 'path', 'body', 'websocket'];
  for (const [value, refusing] of values) {
    for (const location of locations) {
      const check = (): SecretValue => checkSecretValue(value, 'A', parseLocations([`body,${location}`]));
      const kind = location.split(':')[0]!;
      if (!refusing.includes(kind)) {
        assert.equal(check().reveal(), value, location);
        continue;
      }
      assert.throws(check, (error: unknown) => {
        assert.ok(hasCode('INVALID_SECRET_VALUE')(error), `${value} in ${location}`);
        assert.ok(String(error).includes(`\`${kind}\` cannot carry`) && !String(error).includes(value));
        return true;
      });
    }
  }
  for (const value of ['half-a-pair-\ud83d', 'not-\ufffd-utf8']) {
    for (const location of locations) {
      assert.throws(() => checkSecretValue(value, 'A', parseLocations([location])), hasCode('INVALID_SECRET_VALUE'));
    }
  }
});

test('checkSecretValue() takes exactly what is then put into each location', () => {
  const placeholder = 'sp_TOKEN_0123456789';
  const unit = fc.oneof(
    fc.constantFrom(
      '\n',
      '\r',
      '\t',
      '\0',
      '\x7f',
      '"',
      '\\',
      '%',
      '&',
      ' ',
      '\u00e9',
      '\u20ac',
      '\u{1f511}',
      '\ud83d',
      '\udd11',
    ),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    fc.constant('a'),
  );
  const value = fc.string({ unit, minLength: 0, maxLength: 12 }).map((text) => `value-a-${text}-z-value`);
  const kind = fc.constantFrom('header', 'basic', 'query', 'path', 'body', 'websocket');
  fc.assert(
    fc.property(value, kind, (text, location) => {
      const locations = parseLocations([location]);
      const secret = { name: 'A', env: 'A', placeholder, value: new SecretValue(text), hosts: [], locations };
      const basic = Buffer.from(`u:x${placeholder}`).toString('base64');
      const head = {
        method: 'GET', minor: 1 as const,
        target: location === 'query' ? `/?q=${placeholder}` : location === 'path' ? `/${placeholder}` : '/',
        fields: location === 'header' ? ['x', `Bearer ${placeholder}.`] : ['authorization', `Basic ${basic}`],
      }; // prettier-ignore
      let isPutIn: boolean;
      if (location === 'body' || location === 'websocket') {
        isPutIn = (['json', 'form', 'raw'] as const).every((format) => {
          const stream = new BodySubstituter([secret]).stream({ kind: format }, [secret], location);
          stream.push(Buffer.from(`"${placeholder}"`));
          stream.end();
          return stream.failure === null && stream.released.has('A');
        });
      } else {
        const result = new Substituter([secret]).substituteHead(head, [secret]);
        isPutIn = result.verdict === 'ok' && result.released.includes('A');
      }
      let isTaken = true;
      try {
        checkSecretValue(text, 'A', locations);
      } catch {
        isTaken = false;
      }
      // What was lost before it came here looks like a character of its own.
      assert.equal(isTaken, isPutIn && !text.includes('\ufffd'));
    }),
    { numRuns: 2000 },
  );
});

test('parseSecretSpec() warns of hosts that strangers share, and not of one tenant of them', () => {
  for (const host of [
    'gist.github.com',
    's3.amazonaws.com',
    's3.eu-west-1.amazonaws.com',
    's3-eu-west-1.amazonaws.com',
    'storage.googleapis.com',
    'pastebin.com',
    'raw.githubusercontent.com',
    '*.github.io',
    '*.githubusercontent.com',
    '**.amazonaws.com',
    '*.s3.amazonaws.com',
    '*.github.com',
    '**.googleapis.com',
    '**.windows.net',
    '*.r2.dev',
    'http://pastebin.com',
  ]) {
    const { warnings } = bound(`A=s3cret-value@${host}`);
    assert.equal(warnings.length, 1, host);
    assert.match(warnings[0] ?? '', /^--secret A: /);
    assert.doesNotMatch(warnings[0] ?? '', /s3cret-value/);
  }
  for (const host of [
    'api.github.com',
    'octocat.github.io',
    'bucket.s3.amazonaws.com',
    '*.bucket.s3.amazonaws.com',
    '*.example.com',
    '**.example.com',
    'sts.amazonaws.com',
    '[2001:db8::1]',
  ]) {
    assert.deepEqual(bound(`A@${host}`).warnings, [], host);
  }
});

test('parseLocations() reads lists, narrows to a header, and defaults to header and basic', () => {
  const print = (...texts: string[]): string => parseLocations(texts).map(formatLocation).join();
  assert.equal(print(), 'header,basic');
  assert.equal(print('header,basic,query,path,body,websocket'), 'header,basic,query,path,body,websocket');
  assert.equal(print('header:X-Api-Key', 'basic', 'header:x-api-key'), 'header:x-api-key,basic');
  for (const text of [
    '',
    'header,',
    ',',
    'Header',
    'headers',
    'cookie',
    'header:',
    'header: x',
    'header:a b',
    'header:a\r\n',
    'header:\u00fc',
    'header:\u212aey',
    'header:Host',
    'header:Content-Length',
    'header:Transfer-Encoding',
    'header ',
  ]) {
    assert.throws(() => parseLocations([text]), hasCode('INVALID_LOCATION'), JSON.stringify(text));
  }
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      try {
        parseLocations([text]);
      } catch (error) {
        assert.ok(hasCode('INVALID_LOCATION')(error));
      }
    }),
  );
});

test('isEnvironmentName() is POSIX', () => {
  for (const name of ['A', '_', '_1', 'aB_9']) assert.equal(isEnvironmentName(name), true, name);
  for (const name of ['', '1', 'A-B', 'A.B', 'A=', 'Ä', 'A\n', 'A '])
    assert.equal(isEnvironmentName(name), false, JSON.stringify(name));
});
