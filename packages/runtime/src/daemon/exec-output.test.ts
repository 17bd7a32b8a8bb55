import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatPosition, parsePosition, readOutput, type OutputEvent, type OutputSource } from './exec-output.ts';

const line = (text: string): string => `2026-11-22T12:39:39.332187803+00:00 stdout F ${text}\n`;

/** A command whose log is written by the test. */
class Source implements OutputSource, Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), 'sallyport-output-'));
  readonly file = join(this.directory, 'log');
  logsBegun = 0;
  isOver = false;
  changes = 0;
  #wake: (() => void)[] = [];

  changed(seen: number, signal: AbortSignal): Promise<void> {
    if (this.changes !== seen || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake.push(resolve);
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  change(): void {
    this.changes += 1;
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** What the supervisor does when the log is full. */
  rotate(text: string): void {
    writeFileSync(`${this.file}.tmp`, text);
    renameSync(`${this.file}.tmp`, this.file);
    this.logsBegun += 1;
    this.change();
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const show = (event: OutputEvent): string => (event.kind === 'gap' ? 'gap' : event.piece.data.toString());

test('readOutput() follows a log through its replacement, and ends with the command', async () => {
  using source = new Source();
  const seen: string[] = [];
  const reading = (async () => {
    for await (const event of readOutput(source, null, true, new AbortController().signal)) seen.push(show(event));
  })();
  const settle = () => new Promise((resolve) => setTimeout(resolve, 30));
  await settle();
  writeFileSync(source.file, line('one'));
  source.change();
  await settle();
  appendFileSync(source.file, line('two'));
  source.rotate(line('three'));
  await settle();
  assert.deepEqual(seen, ['one\n', 'two\n', 'three\n']);
  source.rotate(line('lost'));
  source.rotate(line('last'));
  await settle();
  source.isOver = true;
  source.change();
  await reading;
  assert.deepEqual(seen.slice(3), ['gap', 'last\n'], 'what was replaced unseen is missing, and that is said');
});

test('readOutput() goes on after a position, and says when that is gone', async () => {
  using source = new Source();
  writeFileSync(source.file, line('one') + line('two').replace('stdout', 'stderr') + line('three'));
  source.isOver = true;
  const { signal } = new AbortController();
  const all: OutputEvent[] = [];
  for await (const event of readOutput(source, null, true, signal)) all.push(event);
  const [first] = all;
  assert.ok(first?.kind === 'piece');
  const position = parsePosition(formatPosition(first.position));
  assert.deepEqual(position, first.position);
  const rest: string[] = [];
  for await (const event of readOutput(source, position ?? null, true, signal)) rest.push(show(event));
  assert.deepEqual(rest, ['two\n', 'three\n']);
  const gone: string[] = [];
  const elsewhere = { ...first.position, log: first.position.log + 1 };
  for await (const event of readOutput(source, elsewhere, true, signal)) gone.push(show(event));
  assert.deepEqual(gone, ['gap', 'one\n', 'two\n', 'three\n']);
  for (const text of ['', '1', 'a-b', '1-2-3', '-1-2', '1-99999999999999999'])
    assert.equal(parsePosition(text), undefined);
});

test('readOutput() ends when nobody wants it any more', async () => {
  using source = new Source();
  const stop = new AbortController();
  const reading = (async () => {
    for await (const event of readOutput(source, null, true, stop.signal)) assert.fail(show(event));
  })();
  stop.abort();
  await reading;
});
