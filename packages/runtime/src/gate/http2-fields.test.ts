import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test } from 'node:test';

import fc from 'fast-check';

import { isForbiddenTrailer } from '../http/trailers.ts';
import {
  readRequestHead,
  readResponseHead,
  readTrailers,
  requestHeaderList,
  responseHeaderList,
} from './http2-fields.ts';

const ORIGIN = { scheme: 'https', host: 'a.example', port: 443 } as const;
const name = fc
  .stringMatching(/^[a-z][a-z0-9-]{0,9}$/)
  .filter((text) => !/^(host|cookie|connection|keep-alive|proxy-connection|transfer-encoding|upgrade)$/.test(text));
const value = fc.stringMatching(/^[!-~][ -~]{0,11}$/);
const fields = fc.array(fc.tuple(name, value), { maxLength: 8 });

/** The values of each name, in order. */
function byName(list: Readonly<Record<string, unknown>>): Map<string, string[]> {
  return new Map(Object.entries(list).map(([key, text]) => [key, [text].flat().map(String)]));
}

test('requestHeaderList() prints what readRequestHead() reads', () => {
  fc.assert(
    fc.property(fields, value, (pairs, path) => {
      const given = [':method', 'GET', ':scheme', 'https', ':authority', 'a.example', ':path', path, ...pairs.flat()];
      const { head, scheme, protocol } = readRequestHead(given);
      assert.deepEqual([scheme, protocol, head.fields.slice(0, 2)], ['https', null, ['host', 'a.example']]);
      const list = requestHeaderList(head, ORIGIN, 'a.example', head);
      const expected = new Map<string, string[]>();
      for (let index = 0; index < given.length; index += 2)
        expected.set(given[index]!, [...(expected.get(given[index]!) ?? []), given[index + 1]!]);
      assert.deepEqual(byName(list), expected);
    }),
  );
});

test('requestHeaderList() lets nothing be indexed that was put in', () => {
  fc.assert(
    fc.property(fields, fc.nat(), (pairs, which) => {
      fc.pre(pairs.length > 0);
      const original = { method: 'GET', target: '/', minor: 1 as const, fields: pairs.flat() };
      const index = (which % pairs.length) * 2;
      const head = { ...original, fields: original.fields.with(index + 1, 'A value that no field had before') };
      const list = requestHeaderList(head, ORIGIN, 'a.example', original) as { [http2.sensitiveHeaders]?: string[] };
      assert.ok(list[http2.sensitiveHeaders]?.includes(head.fields[index]!));
    }),
  );
});

test('responseHeaderList() prints what readResponseHead() reads', () => {
  fc.assert(
    fc.property(fields, fc.integer({ min: 200, max: 599 }), (pairs, status) => {
      const head = readResponseHead([':status', String(status), ...pairs.flat()]);
      assert.equal(head.status, status);
      assert.deepEqual(head.fields, pairs.flat());
      const printed = byName(responseHeaderList(head));
      assert.equal(printed.get(':status')?.join(), String(status));
      for (const [key, text] of pairs) assert.ok(printed.get(key)?.includes(text));
    }),
  );
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
