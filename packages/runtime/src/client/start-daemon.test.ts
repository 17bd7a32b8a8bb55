import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MODULE = fileURLToPath(new URL('start-daemon.ts', import.meta.url));

test('ownProgram() names modules so that they are found from another directory', () => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-own-')));
  try {
    writeFileSync(join(directory, 'first.cjs'), '');
    writeFileSync(
      join(directory, 'program.mjs'),
      `import { ownProgram } from ${JSON.stringify(MODULE)}; console.log(JSON.stringify(ownProgram()));`,
    );
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--conditions=sallyport-source', '--require', './first.cjs', 'program.mjs'],
      { cwd: directory, encoding: 'utf8' },
    );
    assert.equal(stderr, '');
    const { execArgv, main } = JSON.parse(stdout) as { execArgv: string[]; main: string };
    assert.deepEqual(execArgv, ['--conditions=sallyport-source', '--require', join(directory, 'first.cjs')]);
    assert.equal(main, join(directory, 'program.mjs'));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
