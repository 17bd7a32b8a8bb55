import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createStateDirectory } from './audit-file.ts';

test('createStateDirectory() makes what is missing for its owner alone, and says where none can be made', () => {
  const root = mkdtempSync(join(tmpdir(), 'sallyport-state-'));
  try {
    const directory = join(root, 'a', 'b', 'sallyport');
    createStateDirectory(directory);
    createStateDirectory(directory);
    assert.equal(statSync(join(directory, 'audit')).mode & 0o777, 0o700);
  } finally {
    rmSync(root, { recursive: true });
  }
  assert.throws(() => createStateDirectory('/proc/nowhere/sallyport'), { code: 'AUDIT_REFUSED' });
});
