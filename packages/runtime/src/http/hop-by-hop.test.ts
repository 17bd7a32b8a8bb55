import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { keepsAlive, removeHopByHop, setFraming } from './hop-by-hop.ts';

function passed(...fields: string[]): string[] {
  removeHopByHop(fields);
  return fields;
}

describe('removeHopByHop()', () => {
  test('9110 7.6.1 drops the fields of one connection', () => {
    assert.deepEqual(
      passed(
        ...'Host h Connection keep-alive keep-ALIVE timeout=5 Upgrade h2c HTTP2-Settings AA'.split(' '),
        ...'Proxy-Authorization x Proxy-Connection x proxy-anything x Proxied y A b'.split(' '),
      ),
      ['Host', 'h', 'Proxied', 'y', 'A', 'b'],
    );
  });

  test('9110 7.6.1 drops what Connection names, over all of its lines', () => {
    assert.deepEqual(
      passed('X-A', '1', 'Connection', 'close, x-a', 'X-B', '2', 'connection', 'X-B ,, X-C', 'X-D', '3'),
      ['X-D', '3'],
    );
  });

  test('9110 7.6.1 keeps end-to-end fields that Connection names', () => {
    const kept = ['Authorization', 'a', 'Host', 'h', 'Content-Length', '3', 'Cookie', 'c', 'Cache-Control', 'no-store'];
    assert.deepEqual(
      passed('Connection', 'authorization, host, Content-Length, cookie, transfer-encoding, cache-control', ...kept),
      kept,
    );
  });

  test('9110 10.1.4 passes on TE only as trailers', () => {
    assert.deepEqual(passed('TE', 'gzip;q=0.5'), []);
    assert.deepEqual(passed('TE', 'deflate, Trailers', 'te', 'trailers', 'Connection', 'TE'), ['TE', 'trailers']);
  });

  test('leaves framing to setFraming()', () => {
    assert.deepEqual(passed('Transfer-Encoding', 'chunked', 'Trailer', 'A'), [
      'Transfer-Encoding',
      'chunked',
      'Trailer',
      'A',
    ]);
  });
});

describe('setFraming()', () => {
  const framed = (framing: Parameters<typeof setFraming>[1]) => {
    const fields = ['content-length', '3', 'A', 'b', 'TRANSFER-encoding', 'x', 'Trailer', 'T', 'Content-Length', '4'];
    setFraming(fields, framing);
    return fields;
  };

  test('replaces whatever the peer wrote', () => {
    assert.deepEqual(framed({ kind: 'none' }), ['A', 'b']);
    assert.deepEqual(framed({ kind: 'until-close' }), ['A', 'b']);
    assert.deepEqual(framed({ kind: 'length', bytes: 0 }), ['A', 'b', 'Content-Length', '0']);
    assert.deepEqual(framed({ kind: 'chunked' }), ['A', 'b', 'Trailer', 'T', 'Transfer-Encoding', 'chunked']);
  });
});

describe('keepsAlive()', () => {
  test('9112 9.3', () => {
    const keeps = (minor: 0 | 1, ...fields: string[]) => keepsAlive({ minor, fields });
    assert.equal(keeps(1), true);
    assert.equal(keeps(1, 'Connection', 'Close'), false);
    assert.equal(keeps(1, 'Connection', 'a', 'Connection', 'b, close'), false);
    assert.equal(keeps(1, 'Connection', 'keep-alive, close'), false);
    assert.equal(keeps(0), false);
    assert.equal(keeps(0, 'Connection', 'Keep-Alive'), true);
    assert.equal(keeps(0, 'Connection', 'keep-alive, close'), false);
  });
});
