// The suite of packages/gauntlet over the real command line: its client half runs in the sandbox, its servers and its judge outside.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { GauntletReport } from '../packages/gauntlet/src/index.ts';
import { createSallyportCommand } from '../tools/gauntlet/sallyport-command.ts';
import { CHECKOUT, createScene, eachCaller } from './harness/caller.ts';
import { SYSTEM_PATH } from './harness/tools.ts';

const SEED = 3;

/** What needs a sandbox to be true, and what the caller's rights change; the other caller runs everything. */
const SHORT = ['authority', 'sandbox', 'placement'];

eachCaller(
  'nothing leaks in the gauntlet',
  async (caller) => {
    using scene = createScene(caller);
    const json = join(scene.tmp, 'report.json');
    const command = createSallyportCommand({ checkout: CHECKOUT, assets: scene.assets, audit: scene.auditFile });
    const only = caller.kind === 'root' ? SHORT.flatMap((one) => ['--only', one]) : [];
    const main = join(CHECKOUT, 'packages/gauntlet/src/main.ts');
    const args = [main, ...command, ...only, '--seed', String(SEED), '--json', json, '--quiet'];
    const child = spawn(process.execPath, ['--conditions=sallyport-source', ...args], {
      cwd: scene.workspace,
      env: { PATH: SYSTEM_PATH, HOME: scene.home, USER: caller.name, LANG: 'C.UTF-8', TMPDIR: scene.tmp },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(process.getuid?.() === caller.uid ? {} : { uid: caller.uid, gid: caller.gid }),
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const status = await new Promise((resolve) => child.once('close', resolve));
    assert.equal(status, 0, output);
    const report = JSON.parse(readFileSync(json, 'utf8')) as GauntletReport;
    assert.equal(report.verdict, 'passed', output);
    // Each attack was really made: none was skipped for a feature that the gate should have.
    assert.equal(report.counts.unsupported, 0, output);
    assert.ok(report.results.some(({ id }) => id === 'look-around'));
    assert.ok(report.counts.pass > (caller.kind === 'root' ? 30 : 170), output);
  },
  { timeoutMs: 200_000 },
);
