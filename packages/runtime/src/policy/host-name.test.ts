import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import { domainToASCII, domainToUnicode } from 'node:url';
import * as fc from 'fast-check';
import {
  canonicalAuthority,
  canonicalHost,
  canonicalWireHost,
  formatHostAndPort,
  isAddress,
  parsePort,
  parseTarget,
} from './host-name.ts';
import { formatAddress, parseAddress, parseIPv6 } from './ip-address.ts';
import { decodePunycode, encodePunycode } from './punycode.ts';

const label63 = 'a'.repeat(63);
const name253 = `${label63}.${label63}.${label63}.${'a'.repeat(61)}`;

test('canonicalHost() gives the one form of names that a DNS client may ask for', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['example.com', 'example.com'],
    ['EXAMPLE.Com', 'example.com'],
    ['example.com.', 'example.com'],
    ['localhost', 'localhost'],
    ['_dmarc.example.com', '_dmarc.example.com'],
    ['a_b.example', 'a_b.example'],
    ['1.example', '1.example'],
    ['3com.com', '3com.com'],
    ['0xg.0xg', '0xg.0xg'],
    ['r3---sn-4g5e.googlevideo.com', 'r3---sn-4g5e.googlevideo.com'],
    [label63, label63],
    [name253, name253],
    [`${name253}.`, name253],
    ['bücher.example', 'xn--bcher-kva.example'],
    ['BÜCHER.example', 'xn--bcher-kva.example'],
    ['XN--BCHER-KVA.example', 'xn--bcher-kva.example'],
    ['ex\u0430mple.com', 'xn--exmple-4nf.com'],
    ['straße.de', 'xn--strae-oqa.de'],
    ['日本語.jp', 'xn--wgv71a119e.jp'],
    ['אב.com', 'xn--4dbc.com'],
    ['\u{1f4a9}.la', 'xn--ls8h.la'],
    ['xn--ls8h.la', 'xn--ls8h.la'],
  ];
  for (const [text, host] of cases) assert.equal(canonicalHost(text), host, JSON.stringify(text));
});

test('canonicalHost() gives the one form of addresses', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['192.0.2.7', '192.0.2.7'],
    ['0.0.0.0', '0.0.0.0'],
    ['2001:DB8::1', '2001:db8::1'],
    ['[2001:0db8:0:0:0:0:0:1]', '2001:db8::1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['1::2:3:4:5:6:7', '1:0:2:3:4:5:6:7'],
    ['::', '::'],
    ['[::1]', '::1'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['[::FFFF:c000:207]', '192.0.2.7'],
    ['0:0:0:0:0:ffff:192.0.2.7', '192.0.2.7'],
    ['::192.0.2.7', '::c000:207'],
    ['64:ff9b::192.0.2.7', '64:ff9b::c000:207'],
  ];
  for (const [text, host] of cases) {
    assert.equal(canonicalHost(text), host, text);
    assert.equal(isAddress(host), true);
  }
  assert.equal(isAddress('example.com'), false);
});

test('canonicalHost() refuses what is no host, and all that the URL parser would forgive', () => {
  const refused = [
    // Empty, dots, lengths.
    '',
    '.',
    '..',
    '.example.com',
    'example..com',
    'example.com..',
    `${label63}a.com`,
    `${name253}a`,
    'a'.repeat(100_000),
    // Characters.
    'exa mple.com',
    ' example.com',
    'example.com ',
    'exa\0mple.com',
    'exa\tmple.com',
    'exa\nmple.com',
    'example.com\r\n',
    '\u00a0example.com',
    'a*.com',
    '*',
    '*.example.com',
    'a,b',
    'a!b',
    'a~b',
    "a'b",
    'a%b',
    // Hyphens.
    '-example.com',
    'example-.com',
    'a.-.com',
    '-',
    'www.-a.com',
    '-ü.com',
    'ü-.com',
    'ab--ü.com',
    // URL parts.
    'http://example.com',
    'example.com/',
    'example.com/path',
    'user@example.com',
    '@example.com',
    'example.com?x',
    'example.com#x',
    'example.com\\x',
    '\\example.com',
    'example.com:443',
    'example.com:',
    'exa%41mple.com',
    '%65xample.com',
    'example.com%00',
    // Addresses in any form but the plain one.
    '127.1',
    '127.0.1',
    '2130706433',
    '0x7f.0.0.1',
    '0x7f000001',
    '0177.0.0.1',
    '127.0.0.01',
    '127.0.0.256',
    '1.2.3.4.5',
    '1.2.3.4.',
    '1.2.3.',
    '+1.2.3.4',
    '1.2.3.-4',
    '00.0.0.0',
    '[192.0.2.7]',
    '1.2.3',
    '1',
    // A last label that is a number.
    'example.1',
    'example.0x10',
    'example.0x',
    'example.0',
    'example.123.',
    'example.0XA',
    // IPv6.
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::8:9',
    '12345::',
    '::g',
    'fe80::1%eth0',
    '[fe80::1%25eth0]',
    '[::1',
    '::1]',
    '[]',
    '[[::1]]',
    '::1.2.3',
    '::1.2.3.04',
    '::0x1.2.3.4',
    '1.2.3.4::',
    '::1.2.3.4:5',
    '::127.1',
    ':1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:',
    '0:0:0:0:0:0:0:0:192.0.2.7',
    ' ::1',
    '[::1].',
    '[v1.a]',
    '::ffff:192.0.2.7.',
    '-1::',
    // Mapped by UTS #46 to something else.
    '１２７.0.0.1',
    'ｅxample.com',
    'example。com',
    'example．com',
    'example｡com',
    '\u212aelvin.com',
    '\u017fome.com',
    'ﬁ.com',
    '𝐚.com',
    'exam\u00adple.com',
    'exam\u200dple.com',
    'exam\u200bple.com',
    'exam\u2060ple.com',
    '\ufeffexample.com',
    'bu\u0308cher.example',
    '\u0130.com',
    '\u0130ü.com',
    '\u212aü.com',
    '\u212b.com',
    '\u2100.com',
    '①.com',
    '㎏.com',
    '\u0340.com',
    // Invalid by IDNA.
    '\u0301a.com',
    '1א.com',
    'a\u202eb.com',
    '\ud800.com',
    'a\udfff.com',
    '\u{e0001}ü.com',
    '\u0080.com',
    // A-labels that encode no name, or another spelling of one.
    'xn--.com',
    'xn--a.com',
    'xn--99zz.com',
    'xn--example-.com',
    'xn--abc-.com',
    'xn--bücher.com',
    'xn--Bcher-kva\u00fc.com',
    'xn--tiq49xqyj0000000000.com',
    'xn--fi-2ie1ab.com',
  ];
  for (const text of refused) assert.equal(canonicalHost(text), null, JSON.stringify(text.slice(0, 80)));
});

test('canonicalHost() never throws, is idempotent, and never changes an ASCII name but for case and dot', () => {
  const alphabet = [
    ...'aZ09-_.:[]%*/@\\ \t\0xn',
    'ü',
    'ß',
    '\u0430',
    '\u212a',
    '．',
    '。',
    '１',
    '\u200d',
    '\u0301',
    'א',
    '\ud800',
    '\u{1f600}',
  ];
  const anyText = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom(...alphabet), maxLength: 24 }),
    fc.string({ unit: 'grapheme', maxLength: 12 }).map((text) => `xn--${text}.com`),
    fc.domain(),
    fc.ipV6(),
  );
  fc.assert(
    fc.property(anyText, (text) => {
      const host = canonicalHost(text);
      if (host === null) return;
      assert.equal(canonicalHost(host), host);
      assert.match(host, /^[a-z0-9._:-]{1,253}$/);
      // The parser that upstream clients use agrees, so no name means one thing here and another there.
      if (!isAddress(host)) assert.equal(domainToASCII(host), host);
      if (/^[\x20-\x7e]*$/.test(text) && !isAddress(host)) assert.equal(text.toLowerCase().replace(/\.$/, ''), host);
      if (/[\u0080-\uffff]/.test(text)) assert.ok(host.includes('xn--'), 'Unicode never becomes a plain name');
    }),
    { numRuns: 3000 },
  );
});

test('encodePunycode() and decodePunycode() undo each other', () => {
  const unit = fc.oneof(
    fc.constantFrom('a', '-', 'z', '0', 'ü'),
    fc
      .integer({ min: 0x80, max: 0x10ffff })
      .filter((p) => p < 0xd800 || p > 0xdfff)
      .map((p) => String.fromCodePoint(p)),
  );
  fc.assert(
    fc.property(fc.string({ unit, minLength: 1, maxLength: 30 }), (label) => {
      assert.equal(decodePunycode(encodePunycode(label)), label);
    }),
  );
  // RFC 3492, section 7.1 (B), (G), (L).
  assert.equal(encodePunycode('他们为什么不说中文'), 'ihqwcrb4cv8a8dqg056pqjye');
  assert.equal(encodePunycode('почемужеонинеговорятпорусски'), 'b1abfaaepdrnnbgefbadotcwatmq2g4l');
  assert.equal(encodePunycode('3年B組金八先生'), '3B-ww4c5e180e575a65lsy2b');
  assert.equal(domainToUnicode('xn--ihqwcrb4cv8a8dqg056pqjye.x'), '他们为什么不说中文.x');
  fc.assert(fc.property(fc.string({ maxLength: 60 }), (text) => void decodePunycode(text)));
});

test('parseIPv6() agrees with the system about what is an address and which', () => {
  const text = fc.oneof(fc.ipV6(), fc.string({ unit: fc.constantFrom(...'0123456789abcdef:::..'), maxLength: 40 }));
  fc.assert(
    fc.property(text, (candidate) => {
      const bytes = parseIPv6(candidate);
      assert.equal(bytes !== null, net.isIPv6(candidate), candidate);
      if (bytes === null || bytes.length === 4) return;
      assert.equal(`[${formatAddress(bytes)}]`, new URL(`http://[${candidate}]/`).hostname);
    }),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(fc.array(fc.nat(255), { minLength: 16, maxLength: 16 }), (bytes) => {
      assert.deepEqual(parseAddress(formatAddress(bytes)), bytes);
    }),
  );
});

test('canonicalWireHost() takes no character beyond ASCII', () => {
  assert.equal(canonicalWireHost('Example.com.'), 'example.com');
  assert.equal(canonicalWireHost('b\u00fccher.example'), null);
});

test('canonicalAuthority() reads HOST[:PORT] strictly', () => {
  assert.deepEqual(canonicalAuthority('Example.com.', 443), { host: 'example.com', port: 443 });
  assert.deepEqual(canonicalAuthority('example.com:8443', 443), { host: 'example.com', port: 8443 });
  assert.deepEqual(canonicalAuthority('[2001:DB8::1]', 80), { host: '2001:db8::1', port: 80 });
  assert.deepEqual(canonicalAuthority('[::ffff:192.0.2.7]:81', 80), { host: '192.0.2.7', port: 81 });
  const refused = [
    '',
    ':443',
    'example.com:',
    'example.com:0',
    'example.com:00443',
    'example.com:0443',
    'example.com:65536',
    'example.com:99999999999',
    'example.com:+443',
    'example.com:443 ',
    'example.com: 443',
    'example.com:4e2',
    'example.com:0x1bb',
    'example.com:443:443',
    'user@example.com',
    'user:pass@example.com:443',
    'example.com/',
    'example.com:443/',
    '//example.com',
    'https://example.com',
    '2001:db8::1',
    '2001:db8::1:443',
    '[2001:db8::1',
    '[2001:db8::1]443',
    '[2001:db8::1]:',
    '[2001:db8::1]x:443',
    '[example.com]',
    '[192.0.2.7]:80',
    'b\u00fccher.example',
    'example.com,evil.test',
    'example.com evil.test',
    'example.com\0:443',
    'example.com:４４３',
  ];
  for (const text of refused) assert.equal(canonicalAuthority(text, 443), null, JSON.stringify(text));
  fc.assert(
    fc.property(fc.oneof(fc.domain(), fc.ipV6(), fc.ipV4()), fc.integer({ min: 1, max: 65_535 }), (text, port) => {
      const host = canonicalHost(text);
      fc.pre(host !== null);
      assert.deepEqual(canonicalAuthority(formatHostAndPort(host, port), 1), { host, port });
    }),
  );
});

test('parseTarget() needs a port and converts Unicode', () => {
  assert.deepEqual(parseTarget('bücher.example:443'), { host: 'xn--bcher-kva.example', port: 443 });
  assert.equal(parseTarget('example.com'), null);
  assert.equal(parsePort('65535'), 65_535);
});
