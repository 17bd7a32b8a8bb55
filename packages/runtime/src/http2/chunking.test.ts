import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { encodeFields, encodeFrame, FLAG, FRAME } from '../engine/http2-wire.testing.ts';
import { data, GET, headers, integer, POST, setting } from './frames.testing.ts';
import { CLIENT_START, Recorder, SERVER_START } from './recorder.testing.ts';

const stream = fc.constantFrom(1, 3, 5, 7);
const flags = fc.constantFrom(0, 0, 1, 4, 5, 8, 13);
/** Frames that fit, and some that do not. */
const frame: fc.Arbitrary<Buffer> = fc.oneof(
  fc.tuple(stream, fc.constantFrom(GET, POST, [[':status', '200']] as const), fc.constantFrom(4, 5)).map((args) => headers(...args)),
  fc.tuple(stream, fc.string({ maxLength: 300, unit: 'binary-ascii' }), flags).map((args) => data(...args)),
  fc.tuple(stream, flags).map(([id, set]) => headers(id, [['x-t', '1']], set)),
  fc.tuple(stream, flags).map(([id, set]) => encodeFrame(FRAME.continuation, set, id, encodeFields([['x-a', 'b']]))),
  stream.map((id) => encodeFrame(FRAME.reset, 0, id, integer(8))),
  stream.map((id) => encodeFrame(FRAME.window, 0, id, integer(1000))),
  fc.constantFrom(setting(4, 10), setting(1, 0), encodeFrame(FRAME.ping, 0, 0, Buffer.alloc(8)), encodeFrame(FRAME.settings, FLAG.ack, 0)),
  fc.tuple(fc.nat(20), flags, stream, fc.uint8Array({ maxLength: 12 })).map(([type, set, id, bytes]) => encodeFrame(type, set, id, Buffer.from(bytes))),
); // prettier-ignore

/** What a connection tells and writes for these chunks. */
function readAll(role: 'server' | 'client', chunks: readonly Buffer[]): readonly unknown[] {
  const recorder = new Recorder(role);
  recorder.onStream = (opened) => {
    opened.sendHead([':status', '200']);
    opened.sendData(Buffer.from('answer'));
    opened.end();
  };
  if (role === 'client') {
    for (let index = 0; index < 3; index += 1) recorder.request(GET.flat(), index > 0);
  }
  for (const chunk of chunks) recorder.connection.receive(chunk);
  return [recorder.transcript, recorder.take().toString('latin1'), recorder.isEnded];
}

test('receive() makes the same of the same bytes, however they are cut, and throws for none', () => {
  fc.assert(
    fc.property(
      fc.constantFrom('server' as const, 'client' as const),
      fc.array(frame, { maxLength: 12 }),
      fc.option(fc.tuple(fc.nat(), fc.nat(255))),
      fc.array(fc.nat(), { maxLength: 20 }),
      (role, frames, damage, cuts) => {
        const bytes = Buffer.concat([role === 'server' ? CLIENT_START : SERVER_START, ...frames]);
        if (damage !== null) bytes[damage[0] % bytes.length] = damage[1];
        const edges = [0, ...cuts.map((at) => at % bytes.length).toSorted((a, b) => a - b), bytes.length];
        const chunks = edges.slice(1).map((end, index) => Buffer.from(bytes.subarray(edges[index], end)));
        const whole = readAll(role, [bytes]);
        assert.deepEqual(readAll(role, chunks), whole);
        const octets = Array.from(bytes, (octet) => Buffer.of(octet));
        assert.deepEqual(readAll(role, octets), whole);
      },
    ),
    { numRuns: 500 },
  );
});
