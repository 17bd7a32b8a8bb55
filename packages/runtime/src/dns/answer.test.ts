import assert from 'node:assert/strict';
import { test } from 'node:test';

import { answerQuery } from './answer.ts';
import { RCODE, TYPE } from './message.ts';
import type { DnsQuery } from './message.ts';
import { SyntheticAddresses } from './synthetic-addresses.ts';

function ask(labels: readonly string[], type: number, zone = new SyntheticAddresses()) {
  const envelope: DnsQuery['envelope'] = {
    id: 1,
    opcode: 0,
    recursionDesired: true,
    checkingDisabled: false,
    question: Buffer.alloc(0),
    edns: null,
  };
  return answerQuery({ kind: 'query', envelope, labels, type }, zone);
}

function shown(labels: readonly string[], type: number, zone?: SyntheticAddresses): string {
  const { response } = ask(labels, type, zone);
  const answers = response.answers.map((answer) => {
    switch (answer.type) {
      case 'A':
      case 'AAAA':
        return `${answer.type} ${Buffer.from(answer.address).toString('hex')}`;
      case 'PTR':
        return `PTR ${answer.name}`;
      case 'HINFO':
        return 'HINFO';
    }
  });
  return `${response.rcode}${response.negative ? ' negative' : ''} ${answers.join()}`.trim();
}

test('answerQuery() per name and type', () => {
  const zone = new SyntheticAddresses();
  zone.addressesFor('a.example');
  const { A, AAAA, ANY, PTR } = TYPE;
  const TXT = 16;
  const HTTPS = 65;
  const cases: [string, number, string][] = [
    ['a.example', A, '0 A c6120001'],
    ['A.eXample', AAAA, '0 AAAA fd53616c6c7900000000000000000001'],
    ['b.example', AAAA, '0 AAAA fd53616c6c7900000000000000000002'],
    ['intranet', A, '0 A c6120003'],
    ['a.example', TXT, '0 negative'],
    ['a.example', HTTPS, '0 negative'],
    ['a.example', ANY, '0 HINFO'],
    ['', A, '0 negative'],
    ['localhost', A, '0 A 7f000001'],
    ['x.LocalHost', AAAA, '0 AAAA 00000000000000000000000000000001'],
    ['localhost', HTTPS, '0 negative'],
    ['x.onion', A, '3 negative'],
    ['onion', A, '3 negative'],
    ['x.invalid', A, '3 negative'],
    ['use-application-dns.net', A, '3 negative'],
    ['_http._tcp.deb.example', 33, '3 negative'],
    ['ipv4only.arpa', AAAA, '3 negative'],
    ['_dns.resolver.arpa', 64, '3 negative'],
    ['1.0.18.198.in-addr.arpa', PTR, '0 PTR a.example'],
    ['1.0.18.198.IN-ADDR.arpa', A, '0 negative'],
    ['9.0.18.198.in-addr.arpa', PTR, '3 negative'],
    ['01.0.18.198.in-addr.arpa', PTR, '3 negative'],
    [`1.${'0.'.repeat(19)}9.7.c.6.c.6.1.6.3.5.d.f.ip6.arpa`, PTR, '0 PTR a.example'],
    [`1.${'0.'.repeat(31)}ip6.arpa`, PTR, '0 PTR localhost'],
    ['1.0.0.127.in-addr.arpa', PTR, '0 PTR localhost'],
    ['1.2.3.4', A, '3 negative'],
    ['a b.example', A, '5'],
    ['-a.example', A, '5'],
    ['a\0.example', A, '5'],
    ['b\xfccher.example', A, '5'],
  ];
  for (const [name, type, expected] of cases) {
    assert.equal(shown(name === '' ? [] : name.split('.'), type, zone), expected, `${JSON.stringify(name)} ${type}`);
  }
  assert.deepEqual(zone.snapshot().names, ['a.example', 'b.example', 'intranet']);
});

test('answerQuery() takes a dot in a label for no other name', () => {
  const zone = new SyntheticAddresses();
  assert.equal(shown(['api.github', 'com'], TYPE.A, zone), '5');
  assert.equal(zone.size, 0);
});

test('answerQuery() says when there are no addresses left', () => {
  const zone = new SyntheticAddresses({ capacity: 1 });
  assert.equal(ask(['a', 'example'], TYPE.A, zone).capacityReached, null);
  const outcome = ask(['B', 'example'], TYPE.AAAA, zone);
  assert.equal(outcome.response.rcode, RCODE.SERVFAIL);
  assert.equal(outcome.capacityReached, 'b.example');
  // Nothing is needed for what has no address anyway.
  assert.equal(shown(['c', 'example'], 16, zone), '0 negative');
});
