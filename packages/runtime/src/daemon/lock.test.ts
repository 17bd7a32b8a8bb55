import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { takeDaemonLock } from './lock.ts';

const HOLDER = `
const { takeDaemonLock } = await import(process.argv[1]);
console.log(takeDaemonLock(process.argv[2]) === null ? 'refused' : 'taken');
setInterval(() => undefined, 1000);
`;

test('takeDaemonLock() goes to one process, and is free again when that is killed', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-lock-'));
  const file = join(directory, 'lock');
  try {
    const module = new URL('./lock.ts', import.meta.url).href;
    const holder = spawn(
      process.execPath,
      ['--conditions=sallyport-source', '--input-type=module', '-e', HOLDER, module, file],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const [said] = (await once(holder.stdout, 'data')) as [Buffer];
    assert.equal(said.toString(), 'taken\n');
    assert.equal(takeDaemonLock(file), null);
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    const lock = takeDaemonLock(file);
    assert.notEqual(lock, null);
    lock?.release();
    const again = takeDaemonLock(file);
    assert.notEqual(again, null);
    again?.release();
    assert.throws(() => takeDaemonLock(join(directory, 'nowhere', 'lock')), { code: 'STATE_FAILED' });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
