import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readCompiledCode, writeCompiledCode } from './code-cache.ts';

const directory = mkdtempSync(join(tmpdir(), 'sallyport-code-cache-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const file = join(directory, 'run.code');
const code = Buffer.from('compiled code');

test('readCompiledCode() gives what writeCompiledCode() left, and only for the same program', () => {
  assert.equal(readCompiledCode(file, 'a'), undefined);
  writeCompiledCode(file, 'a', code);
  assert.deepEqual(readCompiledCode(file, 'a'), code);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(readCompiledCode(file, 'b'), undefined);
  assert.deepEqual(readdirSync(directory), ['run.code']);
});

test('readCompiledCode() gives nothing that is damaged', () => {
  writeCompiledCode(file, 'a', code);
  const whole = readFileSync(file);
  for (let length = 0; length < whole.length; length++) {
    writeFileSync(file, whole.subarray(0, length));
    assert.equal(readCompiledCode(file, 'a'), undefined, `${length} bytes`);
    const changed = Buffer.from(whole);
    changed.writeUInt8(changed.readUInt8(length) ^ 1, length);
    writeFileSync(file, changed);
    assert.equal(readCompiledCode(file, 'a'), undefined, `byte ${length}`);
  }
});

test('writeCompiledCode() leaves things as they are where it cannot write', () => {
  writeCompiledCode(join(directory, 'absent', 'run.code'), 'a', code);
  assert.deepEqual(readdirSync(directory), ['run.code']);
});
