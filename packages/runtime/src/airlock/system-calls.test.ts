import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MODULE = fileURLToPath(new URL('system-calls.ts', import.meta.url));

test('denyCoreDumps() keeps the memory of the process, and of what it starts, out of core dumps', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-core-'));
  try {
    const program = `
      import { spawnSync } from 'node:child_process';
      import { readFileSync, statSync } from 'node:fs';
      import { denyCoreDumps, loadKoffi } from ${JSON.stringify(MODULE)};
      denyCoreDumps();
      const dumpable = loadKoffi().load(null).func('prctl', 'int', ['int', 'ulong', 'ulong', 'ulong', 'ulong'])(3, 0, 0, 0, 0);
      const limit = (text) => /^Max core file size +(\\S+) +(\\S+)/m.exec(text)?.slice(1).join();
      const own = limit(readFileSync('/proc/self/limits', 'utf8'));
      const child = limit(spawnSync('cat', ['/proc/self/limits'], { encoding: 'utf8' }).stdout);
      process.stdout.write(JSON.stringify({ dumpable, own, child }), () => process.abort());`;
    const { stdout, signal } = spawnSync(
      'sh',
      [
        '-c',
        'ulimit -c unlimited 2> /dev/null; exec "$@"',
        'sh',
        process.execPath,
        '--conditions=sallyport-source',
        '--input-type=module',
        '-e',
        program,
      ],
      { cwd: directory, encoding: 'utf8' },
    );
    assert.deepEqual(JSON.parse(stdout), { dumpable: 0, own: '1,1', child: '1,1' });
    assert.equal(signal, 'SIGABRT');
    assert.deepEqual(readdirSync(directory), []);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
