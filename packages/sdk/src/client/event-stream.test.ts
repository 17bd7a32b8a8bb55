import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readEvents, type StreamEvent } from './event-stream.ts';

async function collect(chunks: readonly Uint8Array[]): Promise<StreamEvent[]> {
  const events: StreamEvent[] = [];
  for await (const event of readEvents((async function* () { yield* chunks; })())) events.push(event); // prettier-ignore
  return events;
}

test('readEvents() gives the same events for any chunking', async () => {
  const written = [
    { id: '1-2', type: 'stdout', data: '{"data":"aGk=","text":"grüße 🚀"}' },
    { id: undefined, type: 'exit', data: '{"exitCode":0}' },
    { id: 'x', type: 'message', data: 'x'.repeat(500) },
  ];
  const text = written
    .map(({ id, type, data }) => `${id === undefined ? '' : `id: ${id}\n`}event: ${type}\ndata: ${data}\n\n`)
    .join(': a comment\n\n');
  const bytes = Buffer.from(text);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 20 }), async (sizes) => {
      const chunks: Buffer[] = [];
      for (let offset = 0, index = 0; offset < bytes.length; index += 1) {
        const size = sizes[index % sizes.length] ?? 1;
        chunks.push(bytes.subarray(offset, offset + size));
        offset += size;
      }
      assert.deepEqual(await collect(chunks), written);
    }),
  );
});

test('readEvents() drops what is cut off', async () => {
  assert.deepEqual(await collect([Buffer.from('event: a\ndata: 1\n\nevent: b\ndata: 2\n')]), [
    { id: undefined, type: 'a', data: '1' },
  ]);
});
