import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ExecLogReader, type LogPiece } from './exec-log.ts';

/** What the supervisor writes for a piece of output: a line for each line, and a partial one for what has no newline. */
function logOf(writes: readonly { readonly stream: 'stdout' | 'stderr'; readonly data: Buffer }[]): Buffer {
  const lines: Buffer[] = [];
  for (const { stream, data } of writes) {
    for (let offset = 0; offset < data.length;) {
      const end = data.indexOf(0x0a, offset);
      const tag = end < 0 ? 'P' : 'F';
      const content = data.subarray(offset, end < 0 ? data.length : end);
      lines.push(Buffer.from(`2026-11-22T12:39:39.332187803+00:00 ${stream} ${tag} `), content, Buffer.from('\n'));
      offset = end < 0 ? data.length : end + 1;
    }
  }
  return Buffer.concat(lines);
}

function outputOf(pieces: readonly LogPiece[], stream: 'stdout' | 'stderr'): Buffer {
  return Buffer.concat(pieces.filter((piece) => piece.stream === stream).map(({ data }) => data));
}

const writes = fc.array(
  fc.record({
    stream: fc.constantFrom('stdout' as const, 'stderr' as const),
    data: fc.array(fc.constantFrom(0x0a, 0x00, 0x20, 0x41, 0xff), { maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
  }),
  { maxLength: 20 },
);

test('ExecLogReader gives back what was written, however the log is cut', () => {
  fc.assert(
    fc.property(
      writes,
      fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 30 }),
      (written, sizes) => {
        const log = logOf(written);
        const reader = new ExecLogReader();
        const pieces: LogPiece[] = [];
        for (let offset = 0, index = 0; offset < log.length; index += 1) {
          const size = sizes[index % sizes.length] ?? 1;
          pieces.push(...reader.read(log.subarray(offset, offset + size)));
          offset += size;
        }
        for (const stream of ['stdout', 'stderr'] as const) {
          const expected = Buffer.concat(written.filter((write) => write.stream === stream).map(({ data }) => data));
          assert.ok(outputOf(pieces, stream).equals(expected));
        }
      },
    ),
  );
});

test('ExecLogReader can be taken up again after any piece', () => {
  fc.assert(
    fc.property(writes, (written) => {
      const log = logOf(written);
      const pieces = new ExecLogReader().read(log);
      for (const [index, { end }] of pieces.entries()) {
        const rest = new ExecLogReader(end).read(log.subarray(end));
        for (const stream of ['stdout', 'stderr'] as const) {
          assert.ok(outputOf(rest, stream).equals(outputOf(pieces.slice(index + 1), stream)));
        }
      }
    }),
  );
});

test('ExecLogReader leaves out lines that are none', () => {
  const reader = new ExecLogReader();
  const text =
    'torn\n\n2026-11-22T12:39:39.332187803+00:00 stdfoo F x\n2026-11-22 stdout F x\n2026-11-22T12:39:39.332187803+00:00 stdout X x\n' +
    '2026-11-22T12:39:39.332187803+00:00 stdout F kept\n';
  const pieces = reader.read(Buffer.from(text));
  assert.deepEqual(
    pieces.map(({ data, time, end }) => [data.toString(), time, end]),
    [['kept\n', '2026-11-22T12:39:39.332Z', text.length]],
  );
});
