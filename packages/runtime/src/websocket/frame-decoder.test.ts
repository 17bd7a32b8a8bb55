import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CLOSE_CODE, isCloseCode, OPCODE, type WebSocketSide } from './frame.ts';
import { FrameBoundary } from './frame-boundary.ts';
import { FrameDecoder } from './frame-decoder.ts';
import { encodeFrameHeader, type OutgoingFrame } from './frame-header.ts';
import { applyMask } from './mask.ts';
import { WebSocketSyntaxError, type WebSocketSyntaxCode } from './websocket-syntax-error.ts';

/** A frame as a test writes it down. */
interface Frame {
  readonly opcode: number;
  readonly isFinal?: boolean;
  readonly rsv1?: boolean;
  readonly payload?: Uint8Array;
}

function encode(frame: Frame, mask: number | null = null): Buffer {
  const payload = Buffer.from(frame.payload ?? []);
  const header = encodeFrameHeader({
    opcode: frame.opcode as OutgoingFrame['opcode'],
    isFinal: frame.isFinal ?? true,
    length: payload.length,
    mask,
  });
  if (frame.rsv1 === true) header[0]! |= 0x40;
  if (mask !== null) applyMask(payload, mask, 0);
  return Buffer.concat([header, payload]);
}

interface Reading {
  /** Messages and control frames in order; a message stands where it ended. */
  readonly seen: string[];
  readonly error: WebSocketSyntaxCode | null;
}

function read(chunks: readonly Buffer[], side: WebSocketSide = 'server', compression = false): Reading {
  const decoder = new FrameDecoder({ side, compression });
  const seen: string[] = [];
  let message = '';
  try {
    for (const given of chunks) {
      // The decoder unmasks in place.
      const chunk = Buffer.from(given);
      let offset = 0;
      while (offset < chunk.length) {
        const next = decoder.decode(chunk, offset);
        assert.ok(next > offset && next <= chunk.length, 'no progress');
        offset = next;
        const { event } = decoder;
        if (event?.kind === 'control') seen.push(`${event.opcode} ${event.payload.toString('latin1')}`);
        if (event?.kind === 'data') {
          if (event.isMessageStart) message = `${event.opcode}${event.isCompressed ? 'z' : ''} `;
          message += event.payload.toString('latin1');
          if (event.isMessageEnd) seen.push(message);
        }
      }
    }
    return { seen, error: null };
  } catch (error) {
    if (!(error instanceof WebSocketSyntaxError)) throw error;
    return { seen, error: error.code };
  }
}

/** Cuts bytes after every `sizes[i]` bytes, over and over. */
function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? bytes.length;
    chunks.push(bytes.subarray(at, at + size));
    at += size;
  }
  return chunks;
}

const HELLO = Buffer.from('Hello');

describe('FrameDecoder', () => {
  test('decode() reads the examples of RFC 6455 section 5.7', () => {
    assert.deepEqual(read([Buffer.from('810548656c6c6f', 'hex')]).seen, ['1 Hello']);
    assert.deepEqual(read([Buffer.from('818537fa213d7f9f4d5158', 'hex')], 'client').seen, ['1 Hello']);
    assert.deepEqual(read([Buffer.from('010348656c80026c6f', 'hex')]).seen, ['1 Hello']);
    assert.deepEqual(read([Buffer.from('890548656c6c6f', 'hex')]).seen, ['9 Hello']);
    assert.deepEqual(read([Buffer.from('8a8537fa213d7f9f4d5158', 'hex')], 'client').seen, ['10 Hello']);
    for (const length of [256, 65536]) {
      const { seen } = read([encode({ opcode: OPCODE.binary, payload: Buffer.alloc(length, 'x') })]);
      assert.deepEqual(seen, [`2 ${'x'.repeat(length)}`]);
    }
  });

  test('decode() keeps control frames at their place between fragments', () => {
    const bytes = [
      encode({ opcode: OPCODE.text, isFinal: false, payload: Buffer.from('a') }),
      encode({ opcode: OPCODE.ping, payload: Buffer.from('p') }),
      encode({ opcode: OPCODE.continuation, isFinal: false }),
      encode({ opcode: OPCODE.continuation, payload: Buffer.from('b') }),
      encode({ opcode: OPCODE.text }),
    ];
    assert.deepEqual(read(bytes).seen, ['9 p', '1 ab', '1 ']);
  });

  const refused: readonly (readonly [string, WebSocketSyntaxCode, string | Buffer, { side?: WebSocketSide; compression?: boolean }?])[] = [
    ['a mask from a server', 'MASK', '818537fa213d7f9f4d5158'],
    ['no mask from a client', 'MASK', '810548656c6c6f', { side: 'client' }],
    ['RSV1 without compression', 'RESERVED_BITS', 'c10548656c6c6f'],
    ['RSV2', 'RESERVED_BITS', 'a10548656c6c6f', { compression: true }],
    ['RSV3', 'RESERVED_BITS', '910548656c6c6f', { compression: true }],
    ['RSV1 in a continuation', 'RESERVED_BITS', '4100c000', { compression: true }],
    ['RSV1 in a control frame', 'RESERVED_BITS', 'c900', { compression: true }],
    ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => [`opcode ${opcode}`, 'RESERVED_OPCODE', Buffer.from([0x80 | opcode, 0])] as const),
    ['a fragmented ping', 'FRAGMENTED_CONTROL', '0900'],
    ['a ping of 126 bytes', 'CONTROL_TOO_LONG', '897e007e'],
    ['a close frame of 64-bit length', 'CONTROL_TOO_LONG', '887f'],
    ['a close frame of one byte', 'CLOSE_PAYLOAD', '880103'],
    ['a continuation of nothing', 'CONTINUATION', '8000'],
    ['a message inside a message', 'CONTINUATION', '01008100'],
    ['125 bytes in 16-bit length', 'LENGTH', '827e007d'],
    ['65535 bytes in 64-bit length', 'LENGTH', '827f000000000000ffff'],
    ['2^53 bytes', 'LENGTH', '827f0020000000000000'],
    ['a length with the highest bit', 'LENGTH', '827f8000000000000000'],
  ]; // prettier-ignore
  for (const [name, code, bytes, { side = 'server', compression = false } = {}] of refused) {
    test(`decode() refuses ${name}`, () => {
      const buffer = typeof bytes === 'string' ? Buffer.from(bytes, 'hex') : bytes;
      assert.equal(read([buffer], side, compression).error, code);
      assert.equal(read(cut(buffer, [1]), side, compression).error, code);
    });
  }

  test('decode() takes exactly the close codes that may be sent', () => {
    for (let code = 0; code < 5100; code += 1) {
      const allowed =
        (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
      assert.equal(isCloseCode(code), allowed, String(code));
      const { error } = read([encode({ opcode: OPCODE.close, payload: Buffer.from([code >> 8, code & 255]) })]);
      assert.equal(error, allowed ? null : 'CLOSE_PAYLOAD', String(code));
    }
    assert.ok(Object.values(CLOSE_CODE).every(isCloseCode));
  });

  test('decode() passes over what comes after a close frame', () => {
    const bytes = Buffer.concat([encode({ opcode: OPCODE.close }), Buffer.from('ffffffff', 'hex')]);
    assert.deepEqual(read([bytes]), { seen: ['8 '], error: null });
    assert.deepEqual(read(cut(bytes, [1])), { seen: ['8 '], error: null });
  });

  const frames = fc.array(
    fc.record({
      fragments: fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 4 }),
      opcode: fc.constantFrom(OPCODE.text, OPCODE.binary),
      rsv1: fc.boolean(),
      ping: fc.option(fc.uint8Array({ maxLength: 125 }), { nil: undefined }),
      mask: fc.integer(),
    }),
    { maxLength: 5 },
  );

  test('decode() gives what was encoded, in any chunks, from either side', () => {
    fc.assert(
      fc.property(
        frames,
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 5 }),
        fc.boolean(),
        (messages, sizes, isClient) => {
          const expected: string[] = [];
          const parts: Buffer[] = [];
          for (const { fragments, opcode, rsv1, ping, mask } of messages) {
            const key = isClient ? mask : null;
            for (const [index, payload] of fragments.entries()) {
              const isFinal = index === fragments.length - 1;
              if (ping !== undefined && isFinal) parts.push(encode({ opcode: OPCODE.ping, payload: ping }, key));
              parts.push(
                encode({ opcode: index === 0 ? opcode : 0, isFinal, rsv1: rsv1 && index === 0, payload }, key),
              );
            }
            if (ping !== undefined) expected.push(`9 ${Buffer.from(ping).toString('latin1')}`);
            expected.push(`${opcode}${rsv1 ? 'z' : ''} ${Buffer.concat(fragments).toString('latin1')}`);
          }
          const bytes = Buffer.concat(parts);
          const side = isClient ? 'client' : 'server';
          assert.deepEqual(read([bytes], side, true), { seen: expected, error: null });
          assert.deepEqual(read(cut(bytes, sizes), side, true), { seen: expected, error: null });
          const boundary = new FrameBoundary();
          for (const chunk of cut(bytes, sizes)) boundary.follow(chunk);
          assert.equal(boundary.isBetweenFrames, true);
          boundary.follow(encode({ opcode: OPCODE.text, payload: HELLO }).subarray(0, 3 + (sizes[0]! % 4)));
          assert.equal(boundary.isBetweenFrames, false);
        },
      ),
    );
  });

  test('decode() reads any bytes alike in any chunks, and never more than it is given', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 60 }),
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
        fc.constantFrom<WebSocketSide>('client', 'server'),
        (noise, sizes, side) => {
          const bytes = Buffer.from(noise);
          assert.deepEqual(read(cut(bytes, sizes), side, true), read([bytes], side, true));
        },
      ),
      { numRuns: 500 },
    );
  });
});

test('FrameBoundary follows frames with masks and long lengths, and sees a close frame', () => {
  for (const [length, mask] of [[0, null], [5, 7], [200, null], [70_000, 9]] as const) {
    const boundary = new FrameBoundary();
    const bytes = encode({ opcode: OPCODE.binary, payload: Buffer.alloc(length) }, mask);
    for (const [index, chunk] of cut(bytes, [1]).entries()) {
      boundary.follow(chunk);
      assert.equal(boundary.isBetweenFrames, index === bytes.length - 1, `byte ${index} of ${length}`);
    }
    assert.equal(boundary.isClosed, false);
    boundary.follow(encode({ opcode: OPCODE.close }, mask));
    assert.equal(boundary.isClosed, true);
  }
}); // prettier-ignore
