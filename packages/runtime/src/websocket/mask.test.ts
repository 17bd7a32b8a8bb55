import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { applyMask } from './mask.ts';

/** RFC 6455 section 5.3, as it is written. */
function maskByHand(data: Uint8Array, key: number, position: number): Buffer {
  const octets = [key >>> 24, (key >>> 16) & 255, (key >>> 8) & 255, key & 255];
  return Buffer.from(data.map((byte, index) => byte ^ octets[(index + position) % 4]!));
}

test('applyMask() does what RFC 6455 says, at any alignment, length and position', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.integer(),
      fc.nat({ max: 9 }),
      fc.nat({ max: 7 }),
      (payload, key, position, shift) => {
        const data = Buffer.alloc(shift + payload.length + 3, 0xee).subarray(shift, shift + payload.length);
        data.set(payload);
        applyMask(data, key, position);
        assert.deepEqual(data, maskByHand(payload, key, position));
        // Nothing around it is touched.
        const around = Buffer.from(data.buffer, data.byteOffset - shift, shift + payload.length + 3);
        assert.ok(around.subarray(0, shift).every((byte) => byte === 0xee));
        assert.ok(around.subarray(shift + payload.length).every((byte) => byte === 0xee));
      },
    ),
    { numRuns: 500 },
  );
});
