import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { AuditTail } from './audit-tail.ts';
import { MAX_AUDIT_LINE_BYTES } from './verify-audit.ts';

function newFile(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-tail-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return join(directory, 'audit.jsonl');
}

const line = (host: string): string =>
  `${JSON.stringify({ time: '2026-01-02T03:04:05.678Z', sandbox: 'box', kind: 'request', decision: 'allow', host })}\n`;
const hosts = (tail: AuditTail): (string | null)[] => [...tail.read()].map(({ host }) => host);

test('AuditTail.read() gives whole events once, and leaves out what is none', (context) => {
  const file = newFile(context);
  const tail = new AuditTail(file);
  assert.deepEqual(hosts(tail), [], 'the file is not there yet');
  writeFileSync(file, line('one') + line('two').slice(0, 20));
  assert.deepEqual(hosts(tail), ['one']);
  appendFileSync(file, line('two').slice(20));
  assert.deepEqual(hosts(tail), ['two']);
  assert.deepEqual(hosts(tail), []);
  appendFileSync(file, `no json\n[]\nnull\n{"time":1}\n${'x'.repeat(MAX_AUDIT_LINE_BYTES + 10)}\n${line('three')}`);
  assert.deepEqual(hosts(tail), ['three']);
  const many = Array.from({ length: 5000 }, (_, index) => `host-${index}`);
  appendFileSync(file, many.map(line).join(''));
  assert.deepEqual(hosts(tail), many);
});

test('AuditTail.read() begins anew with a file that was replaced or cut', (context) => {
  const file = newFile(context);
  const tail = new AuditTail(file);
  writeFileSync(file, line('one') + line('two'));
  assert.deepEqual(hosts(tail), ['one', 'two']);
  renameSync(file, `${file}.1`);
  assert.deepEqual(hosts(tail), []);
  writeFileSync(file, line('three') + line('four') + line('five'));
  assert.deepEqual(hosts(tail), ['three', 'four', 'five']);
  truncateSync(file, 0);
  appendFileSync(file, line('six'));
  assert.deepEqual(hosts(tail), ['six']);
});
