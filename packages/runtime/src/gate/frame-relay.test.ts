import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { constants, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { SecretValue } from '../secrets/secret-value.ts';
import { Redactor } from '../secrets/redact.ts';
import { MAX_CONTROL_PAYLOAD_BYTES, OPCODE, type WebSocketSide } from '../websocket/frame.ts';
import { FrameDecoder } from '../websocket/frame-decoder.ts';
import { encodeFrameHeader, type OutgoingFrame } from '../websocket/frame-header.ts';
import { applyMask } from '../websocket/mask.ts';
import { FrameRelay } from './frame-relay.ts';
import { MAX_GATHERED_FRAME_BYTES } from './limits.ts';

const VALUE = 'canary-value-4711';
const PLACEHOLDER = 'sp_TOKEN_0123456789abcdefghijkl';
const redactor = new Redactor([{ name: 'TOKEN', placeholder: PLACEHOLDER, values: [new SecretValue(VALUE)] }]);

/** Takes what is written to it; not flowing while `isSlow`. */
class Sink extends Duplex {
  readonly chunks: Buffer[] = [];
  readonly #isSlow: boolean;

  constructor(isSlow: boolean) {
    super({ writableHighWaterMark: isSlow ? 16 : 65_536 });
    this.#isSlow = isSlow;
  }

  override _read(): void {
    // Nothing comes from here.
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.chunks.push(Buffer.from(chunk));
    if (this.#isSlow) setImmediate(done);
    else done();
  }
}

/** What came out: messages and control frames in order, and the most bytes that one frame had. */
function readAll(bytes: Buffer, side: WebSocketSide): { seen: string[]; longest: number; frames: number } {
  const decoder = new FrameDecoder({ side, compression: false });
  const seen: string[] = [];
  let message = '';
  let longest = 0;
  let frames = 0;
  let length = 0;
  for (let offset = 0; offset < bytes.length;) {
    offset = decoder.decode(bytes, offset);
    const { event } = decoder;
    if (event?.kind === 'control') seen.push(`${event.opcode} ${event.payload.toString('latin1')}`);
    if (event?.kind !== 'data') continue;
    if (event.isMessageStart) message = `${event.opcode} `;
    message += event.payload.toString('latin1');
    length += event.payload.length;
    if (event.isFrameEnd) {
      frames += 1;
      longest = Math.max(longest, length);
      length = 0;
    }
    if (event.isMessageEnd) seen.push(message);
  }
  assert.ok(decoder.isBetweenFrames);
  return { seen, longest, frames };
}

/** Sends chunks through a relay that redacts, as fast as it reads. */
async function relay(chunks: readonly Buffer[], side: WebSocketSide, isSlow = false): Promise<Buffer> {
  const source = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
  const sink = new Sink(isSlow);
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  const frames = new FrameRelay({
    side,
    compression: true,
    from: source,
    to: sink,
    openMessage: () => redactor.stream(),
    passControl: ({ payload }) => payload,
    onWritten: () => undefined,
    onFault: (fault) => reject(new Error(fault.kind === 'violation' ? fault.reason : fault.kind)),
    onEnd: () => resolve(undefined),
  });
  source.on('data', (chunk: Buffer) => frames.receive(chunk));
  source.on('end', () => frames.end());
  sink.on('drain', () => frames.drain());
  for (const chunk of chunks) source.push(Buffer.from(chunk));
  source.push(null);
  await promise;
  await new Promise<void>((done) => void sink.end(done));
  return Buffer.concat(sink.chunks);
}

function frame(side: WebSocketSide, opcode: number, payload: Buffer, isFinal = true, rsv1 = false): Buffer {
  const mask = side === 'client' ? 0x1234567 : null;
  const header = encodeFrameHeader({
    opcode: opcode as OutgoingFrame['opcode'],
    isFinal,
    length: payload.length,
    mask,
  });
  if (rsv1) header[0]! |= 0x40;
  const bytes = Buffer.from(payload);
  if (mask !== null) applyMask(bytes, mask, 0);
  return Buffer.concat([header, bytes]);
}

const piece = fc.constantFrom(VALUE, VALUE.slice(0, 9), VALUE.slice(9), 'x', 'plain text ', '\n', VALUE.repeat(5), '');
const message = fc.record({
  text: fc.array(piece, { maxLength: 6 }).map((pieces) => pieces.join('')),
  cuts: fc.array(fc.nat({ max: 60 }), { maxLength: 3 }),
  isCompressed: fc.boolean(),
  isText: fc.boolean(),
  pings: fc.array(fc.string({ maxLength: 4 }), { maxLength: 2 }),
});

test('FrameRelay gives the same messages for any fragments, chunks, compression and speed, redacted by themselves', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(message, { maxLength: 4 }),
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 4 }),
      fc.constantFrom<WebSocketSide>('client', 'server'),
      fc.boolean(),
      async (messages, sizes, side, isSlow) => {
        const expected: string[] = [];
        const parts: Buffer[] = [];
        for (const { text, cuts, isCompressed, isText, pings } of messages) {
          const opcode = isText ? OPCODE.text : OPCODE.binary;
          const payload = isCompressed
            ? deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4)
            : Buffer.from(text);
          const ends = [...cuts.map((at) => Math.min(at, payload.length)).sort((a, b) => a - b), payload.length];
          let from = 0;
          for (const [index, to] of ends.entries()) {
            const isFinal = index === ends.length - 1;
            parts.push(
              frame(side, index === 0 ? opcode : 0, payload.subarray(from, to), isFinal, isCompressed && index === 0),
            );
            from = to;
            const ping = isFinal ? undefined : pings[index];
            if (ping === undefined) continue;
            parts.push(frame(side, OPCODE.ping, Buffer.from(ping)));
            expected.push(`9 ${Buffer.from(ping).toString('latin1')}`);
          }
          expected.push(`${opcode} ${text.replaceAll(VALUE, PLACEHOLDER)}`);
        }
        const bytes = Buffer.concat(parts);
        const chunks: Buffer[] = [];
        for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
          const size = sizes[turn % sizes.length] ?? 1;
          chunks.push(bytes.subarray(at, at + size));
          at += size;
        }
        assert.deepEqual(readAll(await relay([bytes], side, isSlow), side).seen, expected);
        assert.deepEqual(readAll(await relay(chunks, side, isSlow), side).seen, expected);
      },
    ),
    { numRuns: 100 },
  );
});

test('FrameRelay sends a frame on as one, and a long one in fragments of bounded length', async () => {
  for (const [length, fragments] of [[0, 1], [1, 1], [MAX_GATHERED_FRAME_BYTES, 1], [1_000_000, 16]] as const) {
    const bytes = frame('server', OPCODE.binary, Buffer.alloc(length, 'x'));
    const chunks = Array.from({ length: Math.ceil(bytes.length / 1000) }, (_, index) => bytes.subarray(index * 1000, index * 1000 + 1000));
    const { seen, longest, frames } = readAll(await relay(chunks, 'server'), 'server');
    assert.deepEqual(seen, [`2 ${'x'.repeat(length)}`]);
    assert.ok(longest <= MAX_GATHERED_FRAME_BYTES + 1000, String(longest));
    assert.ok(frames <= fragments && frames >= Math.min(fragments, 2), String(frames));
  }
}); // prettier-ignore

test('FrameRelay gives a fault to whoever asked for it, once, and nothing after it', async () => {
  const good = frame('server', OPCODE.text, Buffer.from('good'));
  await assert.rejects(relay([good, Buffer.from([0x83, 0]), good], 'server'), /an opcode is reserved/);
  await assert.rejects(
    relay([frame('server', OPCODE.text, Buffer.from([0xff, 0xff]), true, true)], 'server'),
    /decompress/,
  );
  await assert.rejects(
    relay([frame('server', OPCODE.ping, Buffer.alloc(MAX_CONTROL_PAYLOAD_BYTES)).fill(0x7e, 1, 2)], 'server'),
    /125/,
  );
});
