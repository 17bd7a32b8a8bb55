import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ATTACKS } from '../../packages/gauntlet/src/index.ts';
import type { AttackResult, GauntletReport } from '../../packages/gauntlet/src/index.ts';
import { createSallyportCommand } from '../../tools/gauntlet/sallyport-command.ts';
import { CHECKOUT, createScene } from '../harness/caller.ts';
import type { Caller } from '../harness/caller.ts';
import { SYSTEM_PATH } from '../harness/tools.ts';
import type { Family } from './attack.ts';

const SEED = 3;

/** Runs part of the gauntlet over the real command line: its client half in the sandbox, its servers and its judge outside. */
async function runGauntlet(
  caller: Caller,
  only: readonly string[],
): Promise<{ results: readonly AttackResult[]; output: string }> {
  using scene = createScene(caller);
  const json = join(scene.tmp, 'report.json');
  const command = createSallyportCommand({ checkout: CHECKOUT, assets: scene.assets, audit: scene.auditFile });
  const main = join(CHECKOUT, 'packages/gauntlet/src/main.ts');
  const words = only.flatMap((one) => ['--only', one]);
  const args = [main, ...command, ...words, '--seed', String(SEED), '--json', json, '--quiet'];
  const child = spawn(process.execPath, ['--conditions=sallyport-source', ...args], {
    cwd: scene.workspace,
    env: { PATH: SYSTEM_PATH, HOME: scene.home, USER: caller.name, LANG: 'C.UTF-8', TMPDIR: scene.tmp },
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(process.getuid?.() === caller.uid ? {} : { uid: caller.uid, gid: caller.gid }),
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await new Promise((resolve) => child.once('close', resolve));
  assert.ok(existsSync(json), `the gauntlet wrote no report: ${output}`);
  return { results: (JSON.parse(readFileSync(json, 'utf8')) as GauntletReport).results, output };
}

/**
 * Registers attacks of packages/gauntlet as attacks of a family.
 *
 * @param only ids and categories.
 * @param callers `one` where the caller's rights change nothing.
 */
export function addGauntletAttacks(family: Family, only: readonly string[], callers: 'each' | 'one'): void {
  const chosen = ATTACKS.filter(({ id, category }) => only.includes(id) || only.includes(category));
  family.attacks(
    'the gauntlet',
    async (caller, judge) => {
      const { results, output } = await runGauntlet(caller, only);
      for (const { id, outcome } of results.filter(({ category }) => category === 'control')) {
        assert.equal(outcome, 'pass', `${id}: without it nothing else means anything: ${output}`);
      }
      for (const { id, title, leak } of chosen) {
        await judge({ name: `${id}: ${title}`, leaks: leak }, () => {
          const result = results.find((one) => one.id === id) ?? assert.fail(`was not made: ${output}`);
          // What is informational is a stated non-goal. Where it holds all of a sudden, SECURITY.md is to say so.
          assert.equal(result.outcome, result.informational ? 'fail' : 'pass', result.evidence.join('\n'));
        });
      }
    },
    { timeoutMs: 200_000, callers },
  );
}
