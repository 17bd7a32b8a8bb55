import assert from 'node:assert/strict';
import { describe, it } from 'node:test';

import fc from 'fast-check';

import type { RequestHead } from '../http/message.ts';
import type { BoundSecret, Location } from './bound-secret.ts';
import { Redactor } from './redact.ts';
import { SecretValue } from './secret-value.ts';
import { Substituter } from './substitute.ts';
import type { SubstitutionResult } from './substitute.ts';

const ALL: readonly Location[] = [{ kind: 'header' }, { kind: 'basic' }, { kind: 'query' }, { kind: 'path' }];

function secret(
  name: string,
  value: string,
  locations: readonly Location[] = ALL,
  placeholder = `sp_${name}_q1w2e3`,
): BoundSecret {
  return { name, env: name, placeholder, value: new SecretValue(value), hosts: [], locations };
}

function head(target: string, ...fields: string[]): RequestHead {
  return { method: 'GET', target, minor: 1, fields };
}

function apply(
  secrets: readonly BoundSecret[],
  given: RequestHead,
  bound = secrets,
): Extract<SubstitutionResult, { verdict: 'ok' }> {
  const result = new Substituter(secrets).substituteHead(given, bound);
  assert.equal(result.verdict, 'ok');
  return result;
}

function basic(text: string, encoding: BufferEncoding = 'base64'): string {
  return Buffer.from(text, 'latin1').toString(encoding);
}

const A = secret('A', 'value-of-a');
const B = secret('B', 'value/of?b#%& é');

describe('Substituter.substituteHead()', () => {
  it('replaces any number of placeholders in any field and leaves the given head alone', () => {
    const given = head(
      '/x',
      'Authorization',
      `Bearer ${A.placeholder}`,
      'X-Two',
      `${A.placeholder},${B.placeholder};${A.placeholder}`,
    );
    const before = structuredClone(given);
    const result = apply([A, B], given);
    assert.deepEqual(given, before);
    assert.deepEqual(result.head.fields, [
      'Authorization',
      'Bearer value-of-a',
      'X-Two',
      'value-of-a,value/of?b#%& é;value-of-a',
    ]);
    assert.deepEqual([result.released, result.stray], [['A', 'B'], []]);
  });

  it('returns the same head when there is nothing to do', () => {
    for (const given of [
      head('/a?b=%20sp_', 'Accept', '*/*', 'Authorization', 'Basic !!!', 'X', 'sp_A_q1w2e'),
      head('*', 'Authorization', `Basic ${basic('user:password')}`),
    ]) {
      const result = apply([A, B], given);
      assert.equal(result.head, given);
      assert.deepEqual([result.released, result.stray], [[], []]);
    }
    const given = head('/', 'X', A.placeholder);
    assert.equal(apply([], given).head, given);
  });

  it('never touches fields that route and frame the request', () => {
    for (const name of [
      'Host',
      'Content-Length',
      'transfer-encoding',
      'CONNECTION',
      'TE',
      'Trailer',
      'Upgrade',
      'Expect',
    ]) {
      const given = head('/', name, A.placeholder);
      const result = apply([A], given);
      assert.equal(result.head, given);
      assert.deepEqual(result.stray, ['A']);
    }
  });

  it('keeps to the allowed locations and reports the rest as stray', () => {
    const places: Record<Exclude<Location['kind'], 'body' | 'websocket'>, RequestHead> = {
      header: head('/', 'X-Key', A.placeholder),
      basic: head('/', 'authorization', `bAsIc ${basic(`u:${A.placeholder}`)}`),
      query: head(`/?k=${A.placeholder}`),
      path: head(`/p/${A.placeholder}/q?x=1`),
    };
    for (const [kind, given] of Object.entries(places)) {
      for (const location of ALL) {
        const result = apply([secret('A', 'value-of-a', [location])], given);
        const expected = location.kind === kind;
        assert.equal(result.head !== given, expected, `${location.kind} in ${kind}`);
        assert.deepEqual([result.released, result.stray], expected ? [['A'], []] : [[], ['A']]);
      }
    }
  });

  it('narrows header:NAME to that field, in any case', () => {
    const only = secret('A', 'value-of-a', [{ kind: 'header', name: 'x-api-key' }]);
    const result = apply([only], head('/', 'X-Api-Key', only.placeholder, 'X-Other', only.placeholder));
    assert.deepEqual(result.head.fields, ['X-Api-Key', 'value-of-a', 'X-Other', only.placeholder]);
    assert.deepEqual([result.released, result.stray], [['A'], ['A']]);
  });

  it('leaves placeholders of secrets that are not bound, and reports them', () => {
    const given = head(`/?q=${A.placeholder}`, 'X', `${A.placeholder} ${B.placeholder}`);
    const result = apply([A, B], given, [A]);
    assert.deepEqual(result.head, { ...given, target: '/?q=value-of-a', fields: ['X', `value-of-a ${B.placeholder}`] });
    assert.deepEqual([result.released, result.stray], [['A'], ['B']]);
    const none = apply([A, B], given, []);
    assert.equal(none.head, given);
    assert.deepEqual([none.released, none.stray], [[], ['A', 'B']]);
  });

  it('replaces within decoded Basic credentials and keeps their style', () => {
    const p = A.placeholder;
    for (const [sent, received] of [
      [`Basic ${basic(`${p}:x-oauth-basic`)}`, `Basic ${basic('value-of-a:x-oauth-basic')}`],
      [`basic  ${basic(`x:${p}`)}`, `basic  ${basic('x:value-of-a')}`],
      [
        `Basic ${basic(`\u00ff\u00fe:${p}${p}`, 'base64url')}`,
        `Basic ${basic('\u00ff\u00fe:value-of-avalue-of-a', 'base64url')}`,
      ],
      [`Basic ${basic(`us:${p}`).replaceAll('=', '')}`, `Basic ${basic('us:value-of-a').replaceAll('=', '')}`],
      [`Basic ${basic(p)}`, `Basic ${basic('value-of-a')}`],
    ] as const) {
      for (const name of ['Authorization', 'proxy-authorization']) {
        assert.deepEqual(apply([A], head('/', name, sent)).head.fields, [name, received]);
      }
    }
    const other = head('/', 'X-Authorizatio', `Basic ${basic(`x:${p}`)}`, 'Authorization', `Bearer ${basic(`x:${p}`)}`);
    assert.equal(apply([A], other).head, other);
    const utf8 = apply([B], head('/', 'Authorization', `Basic ${basic(`x:${B.placeholder}`)}`)).head.fields[1]!;
    assert.equal(Buffer.from(utf8.slice(6), 'base64').toString('utf8'), `x:${B.value.reveal()}`);
  });

  it('encodes values in path and query, whichever way the placeholder is written', () => {
    const encoded = 'value%2Fof%3Fb%23%25%26%20%C3%A9';
    const escaped = B.placeholder.replace('_', '%5F').replace('q', '%71').replace('B', '%42');
    for (const form of [
      B.placeholder,
      escaped,
      escaped.toLowerCase().replace(/%[^%]{2}|./g, (part, at: number) => (part.length > 1 ? part : escaped[at]!)),
    ]) {
      const given = head(`/a%2F/${form}/b?x=%3F&y=${form}&z=${form}`);
      const result = apply([B], given);
      assert.equal(result.head.target, `/a%2F/${encoded}/b?x=%3F&y=${encoded}&z=${encoded}`);
    }
    assert.equal(apply([A], head(`http://h.example?k=${A.placeholder}`)).head.target, 'http://h.example?k=value-of-a');
    const inHost = head(`http://${A.placeholder}.example/`);
    assert.deepEqual(apply([A], inHost), { verdict: 'ok', head: inHost, released: [], stray: ['A'] });
  });

  it('does not search what it put in', () => {
    const outer = secret('OUTER', `x-${A.placeholder}-y`);
    const result = apply([A, outer], head(`/${outer.placeholder}`, 'X', outer.placeholder));
    assert.deepEqual(result.head, { ...head(`/x-${A.placeholder}-y`), fields: ['X', `x-${A.placeholder}-y`] });
    assert.deepEqual(result.released, ['OUTER']);
  });

  it('fails where a value cannot be carried, without showing it', () => {
    const cases: [string, (p: string) => RequestHead, boolean][] = [
      ['line\nbreak', (p) => head('/', 'X', p), false],
      ['nul\0-value', (p) => head('/', 'X', p), false],
      ['euro-€-value', (p) => head('/', 'X', p), false],
      [' lead-value', (p) => head('/', 'X', p), false],
      [' lead-value', (p) => head('/', 'X', `a${p}b`), true],
      ['trail-value\t', (p) => head('/', 'X', `a ${p}`), false],
      ['with:colon', (p) => head('/', 'Authorization', `Basic ${basic(`${p}:x`)}`), false],
      ['with:colon', (p) => head('/', 'Authorization', `Basic ${basic(`x:${p}`)}`), true],
      ['with:colon', (p) => head('/', 'Authorization', `Basic ${basic(p)}`), true],
      ['line\r\nbreak', (p) => head('/', 'Authorization', `Basic ${basic(`x:${p}`)}`), false],
      ['line\r\nbreak', (p) => head(`/?x=${p}`), true],
    ];
    for (const [value, given, carried] of cases) {
      const it = secret('N', value);
      const result = new Substituter([it]).substituteHead(given(it.placeholder), [it]);
      assert.equal(result.verdict, carried ? 'ok' : 'failed', JSON.stringify(value));
      if (result.verdict === 'failed') {
        assert.equal(result.code, 'VALUE_NOT_CARRIABLE');
        assert.equal(result.name, 'N');
        assert.ok(!JSON.stringify(result).includes(value));
      }
    }
  });

  it('finds placeholders that begin differently, and many of them', () => {
    const many = Array.from({ length: 1000 }, (_, i) =>
      secret(`S${i}`, `value-number-${i}`, ALL, `${1000 + i}-placeholder-q1w2`),
    );
    const result = apply(
      many,
      head(`/${many[7]!.placeholder}?${many[8]!.placeholder}`, 'X', `a ${many[999]!.placeholder} b`),
    );
    assert.deepEqual(result.head, { ...head('/value-number-7?value-number-8'), fields: ['X', 'a value-number-999 b'] });
    assert.deepEqual(result.released.toSorted(), ['S7', 'S8', 'S999']);
  });

  it('is undone by redaction wherever the request is reflected', () => {
    const printable = fc.string({
      unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
      minLength: 8,
      maxLength: 40,
    });
    fc.assert(
      fc.property(printable, fc.constantFrom('header', 'basic', 'query', 'path'), (value, place) => {
        const it = secret('IT', value, ALL, 'sp_IT_zZ0');
        const given = {
          header: head('/', 'X', `a ${it.placeholder}, b`),
          basic: head('/', 'Authorization', `Basic ${basic(`u:${it.placeholder}`)}`),
          query: head(`/?a=${it.placeholder}&b`),
          path: head(`/a/${it.placeholder}/b`),
        }[place];
        const sent = apply([it], given).head;
        const redactor = new Redactor([{ name: 'IT', placeholder: it.placeholder, values: [it.value] }]);
        const back = [sent.target, ...sent.fields].map((text) => redactor.redactText(text));
        if (place === 'basic') {
          const decoded = Buffer.from(back[2]!.slice(6), 'base64').toString();
          assert.match(decoded, /^u:sp_IT_zZ0_{0,2}$/);
        } else {
          assert.deepEqual(back, [given.target, ...given.fields]);
        }
      }),
    );
  });
});
