import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DaemonClient } from '@sallyport/sdk/daemon-client';
import { daemonPaths } from '../daemon/paths.ts';
import { startDaemon } from './start-daemon.ts';

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

test('startDaemon() says where its state cannot be written', async () => {
  const directory = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-state-')));
  try {
    writeFileSync(join(directory, 'file'), '');
    const environment = { XDG_STATE_HOME: join(directory, 'file') };
    const paths = daemonPaths(environment);
    const program = { execPath: '/bin/false', execArgv: [], main: 'main' };
    await assert.rejects(startDaemon(paths, new DaemonClient(paths.socket), environment, program), {
      code: 'STATE_FAILED',
      message: /log of the daemon .* cannot be written \((?:ENOTDIR|EEXIST)\).*XDG_STATE_HOME/,
    });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
