import assert from 'node:assert/strict';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Redactor } from '../secrets/redact.ts';
import { SecretValue } from '../secrets/secret-value.ts';
import type { BodyBlock } from './body-block.ts';
import { ResponseBody, type BodySink } from './response-body.ts';

const VALUE = 'ghp_Zx81bcQ7fK2mZx9L';
const PLACEHOLDER = 'sp_TOKEN_0q1w2e3r';
const SOURCE = { pause: () => undefined, resume: () => undefined };

function redactorOf(value: string): Redactor {
  return new Redactor([{ name: 'TOKEN', placeholder: PLACEHOLDER, values: [new SecretValue(value)] }]);
}

/** Takes what a socket would, some of it only later, and chunked where asked. */
class Sink implements BodySink {
  readonly #takes: () => boolean;
  readonly #isChunked: boolean;
  readonly #waiting: { readonly bytes: Buffer; readonly block: BodyBlock | null }[] = [];
  output = '';
  isFinished = false;
  failure = '';

  constructor(isChunked: boolean, takes: () => boolean) {
    this.#isChunked = isChunked;
    this.#takes = takes;
  }

  write(data: Buffer): boolean {
    return this.#queue(data, null);
  }

  writeBlock(data: Buffer, block: BodyBlock): boolean {
    return this.#queue(this.#isChunked ? block.frame(data) : data, block);
  }

  measured(body: Buffer): void {
    this.output = body.toString('latin1');
  }

  finish(): void {
    this.drain();
    this.isFinished = true;
  }

  fail(code: string, detail: string): void {
    this.failure = `${code}: ${detail}`;
  }

  drain(): void {
    for (const { bytes, block } of this.#waiting.splice(0)) {
      this.output += this.#isChunked && block !== null ? unframe(bytes) : bytes.toString('latin1');
      block?.release();
    }
  }

  #queue(bytes: Buffer, block: BodyBlock | null): boolean {
    this.#waiting.push({ bytes, block });
    if (this.#takes()) this.drain();
    return true;
  }
}

function unframe(bytes: Buffer): string {
  const chunk = bytes.toString('latin1');
  const [, size = '', data = ''] = /^([0-9a-f]+)\r\n(.*)\r\n$/s.exec(chunk) ?? [];
  assert.equal(data.length, Number.parseInt(size, 16));
  return data;
}

describe('ResponseBody.pushBorrowed()', () => {
  const part = fc.oneof(
    fc.constantFrom(VALUE, VALUE.slice(0, -1), encodeURIComponent(VALUE), 'Q', '%', 'Zx8', 'ghp_'),
    fc
      .record({ text: fc.constantFrom('a', 'ghp_', '\n', 'Zx', '%67'), times: fc.nat(30_000) })
      .map(({ text, times }) => text.repeat(times)),
  );
  const scene = fc.record({
    text: fc.array(part, { maxLength: 20 }).map((parts) => parts.join('')),
    sizes: fc.array(fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.constantFrom(16_384, 65_536)), {
      minLength: 1,
      maxLength: 8,
    }),
    turns: fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }),
    takes: fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }),
    isChunked: fc.boolean(),
    isRedacted: fc.boolean(),
    kind: fc.constantFrom('streamed' as const, 'verbatim' as const, 'measured' as const),
  });

  it('gives what the whole gives, although its memory is read over', async () => {
    await fc.assert(
      fc.asyncProperty(scene, async ({ text, sizes, turns, takes, isChunked, isRedacted, kind }) => {
        const redactor = isRedacted && kind !== 'verbatim' ? redactorOf(VALUE) : null;
        let asked = 0;
        const sink = new Sink(isChunked, () => takes[asked++ % takes.length] as boolean);
        const body = new ResponseBody(kind === 'streamed' ? { kind, codings: [] } : { kind }, redactor, SOURCE, sink);
        const input = Buffer.from(text, 'latin1');
        const memory = Buffer.alloc(65_536);
        for (let at = 0, i = 0; at < input.length; i++) {
          const length = input.copy(memory, 0, at, at + (sizes[i % sizes.length] as number));
          body.pushBorrowed(memory.subarray(0, length));
          body.keep();
          memory.fill(0x58);
          at += length;
          if (turns[i % turns.length] === true) await nextTurn();
        }
        body.end();
        assert.equal(sink.failure, '');
        assert.ok(sink.isFinished);
        const expected = redactor === null ? input : redactor.redactBytes(input);
        assert.ok(sink.output === expected.toString('latin1'));
      }),
      { numRuns: 150 },
    );
  });

  it('passes small pieces on at once and larger ones within a turn', async () => {
    const sink = new Sink(false, () => true);
    const body = new ResponseBody({ kind: 'streamed', codings: [] }, redactorOf(VALUE), SOURCE, sink);
    body.pushBorrowed(Buffer.from('event: x\n\n'));
    assert.equal(sink.output, 'event: x\n\n');
    body.pushBorrowed(Buffer.alloc(16_384, '\n'));
    assert.equal(sink.output.length, 10);
    await nextTurn();
    assert.equal(sink.output.length, 10 + 16_384);
    body.pushBorrowed(Buffer.alloc(16_384, '\n'));
    body.pushBorrowed(Buffer.from('end\n'));
    assert.equal(sink.output.length, 10 + 2 * 16_384 + 4);
  });

  it('writes nothing once disposed', async () => {
    const sink = new Sink(false, () => true);
    const body = new ResponseBody({ kind: 'verbatim' }, null, SOURCE, sink);
    body.pushBorrowed(Buffer.alloc(16_384));
    body.dispose();
    await nextTurn();
    assert.equal(sink.output, '');
  });
});
