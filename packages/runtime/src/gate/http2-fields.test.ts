import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';

import { isForbiddenTrailer } from '../http/trailers.ts';
import {
  readRequestHead,
  readResponseHead,
  readTrailers,
  requestFields,
  responseFields,
  trailerFields,
} from './http2-fields.ts';

const ORIGIN = { scheme: 'https', host: 'a.example', port: 443 } as const;
const name = fc
  .stringMatching(/^[a-z][a-z0-9-]{0,9}$/)
  .filter((text) => !/^(host|cookie|connection|keep-alive|proxy-connection|transfer-encoding|upgrade)$/.test(text));
const value = fc.stringMatching(/^[!-~][ -~]{0,11}$/);
const fields = fc.array(fc.tuple(name, value), { maxLength: 8 });

/** The values of each name, in order. */
function byName(list: readonly string[]): Map<string, string[]> {
  const values = new Map<string, string[]>();
  for (let index = 0; index < list.length; index += 2)
    values.set(list[index]!, [...(values.get(list[index]!) ?? []), list[index + 1]!]);
  return values;
}

test('requestFields() prints what readRequestHead() reads', () => {
  fc.assert(
    fc.property(fields, value, (pairs, path) => {
      const given = [':method', 'GET', ':scheme', 'https', ':authority', 'a.example', ':path', path, ...pairs.flat()];
      const { head, scheme, protocol } = readRequestHead(given);
      assert.deepEqual([scheme, protocol, head.fields.slice(0, 2)], ['https', null, ['host', 'a.example']]);
      assert.deepEqual(requestFields(head, ORIGIN, 'a.example', head).fields, given);
    }),
  );
});

test('requestFields() lets nothing be indexed that was put in, however many fields there are', () => {
  fc.assert(
    fc.property(fields, fc.nat(), fc.constantFrom(0, 50), (pairs, which, more) => {
      fc.pre(pairs.length > 0);
      const others = Array.from({ length: more }, (_, index) => [`x-other-${index}`, `${index}`]);
      const original = { method: 'GET', target: '/', minor: 1 as const, fields: [...pairs, ...others].flat() };
      const index = (which % pairs.length) * 2;
      const head = { ...original, fields: original.fields.with(index + 1, 'A value that no field had before') };
      const { sensitive } = requestFields(head, ORIGIN, 'a.example', original);
      assert.ok(sensitive.has(head.fields[index]!));
      assert.ok(!sensitive.has(':path') && !sensitive.has('x-other-1'));
      assert.ok(requestFields({ ...head, target: '/value' }, ORIGIN, 'a.example', original).sensitive.has(':path'));
    }),
  );
  const usual = { method: 'GET', target: '/', minor: 1 as const, fields: [] };
  for (const name of ['authorization', 'cookie', 'proxy-authorization', 'x-api-key'])
    assert.ok(requestFields(usual, ORIGIN, 'a.example', usual).sensitive.has(name));
});

test('responseFields() prints what readResponseHead() reads', () => {
  fc.assert(
    fc.property(fields, fc.integer({ min: 200, max: 599 }), (pairs, status) => {
      const head = readResponseHead([':status', String(status), ...pairs.flat()]);
      assert.equal(head.status, status);
      assert.deepEqual(head.fields, pairs.flat());
      assert.deepEqual(responseFields(head), [':status', String(status), ...pairs.flat()]);
    }),
  );
});

test('header lists are in lower case, and without what HTTP/2 does not have', () => {
  const odd = [
    'Host',
    'x',
    'Connection',
    'x',
    'Keep-Alive',
    'x',
    'Proxy-Connection',
    'x',
    'Transfer-Encoding',
    'x',
    'Upgrade',
    'x',
  ];
  const given = ['X-A', 'B', ...odd, 'x-c', 'D'];
  const expected = ['x-a', 'B', 'x-c', 'D'];
  assert.deepEqual(trailerFields(given), expected);
  assert.deepEqual(responseFields({ status: 200, reason: '', minor: 1, fields: given }).slice(2), expected);
  const head = { method: 'GET', target: '/', minor: 1 as const, fields: given };
  const { fields: request } = requestFields(head, ORIGIN, 'a.example', head);
  assert.deepEqual(Object.fromEntries(byName(request)), {
    ':method': ['GET'], ':scheme': ['https'], ':authority': ['a.example'], ':path': ['/'], 'x-a': ['B'], 'x-c': ['D'],
  }); // prettier-ignore
});

test('readTrailers() drops pseudo-headers and what no trailer section may hold', () => {
  const odd = fc.tuple(
    fc.constantFrom(':status', ':path', 'content-length', 'te', 'host', 'connection', 'authorization', 'proxy-x'),
    value,
  );
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.tuple(name, value), odd)), (pairs) => {
      const kept = pairs.filter(([key]) => !key.startsWith(':') && !isForbiddenTrailer(key));
      assert.deepEqual(readTrailers(pairs.flat()), kept.flat());
    }),
  );
  assert.deepEqual(readTrailers([':path', '/', 'host', 'x', 'content-length', '1', 'x-sum', '1']), ['x-sum', '1']);
});
