// The questions of "secret" at a real terminal: what is typed is not shown, and the terminal is as it was, whatever ends them.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { StoredSecretInfo } from '@sallyport/sdk';
import { CHECKOUT, findPresentCaller } from './harness/caller.ts';
import { assertNoCanary, newCanary } from './harness/canary.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { SYSTEM_PATH } from './harness/tools.ts';

const NO_SCRIPT = existsSync('/usr/bin/script') ? false : 'needs script(1)';

/** The command line in a terminal of its own; what the terminal is like afterwards is the last line of the screen. */
function atTerminal(scene: DaemonScene, args: readonly string[], redirection = '') {
  const words = args.map((word) => `'${word}'`).join(' ');
  const line = `'${join(CHECKOUT, 'sallyport')}' ${words} ${redirection}; status=$?; stty -a | grep -o -w -- '-\\?echo'; stty -a | grep -o -w -- '-\\?icanon'; exit $status`;
  const child = spawn('script', ['--quiet', '--return', '--command', line, '/dev/null'], {
    cwd: scene.workspace,
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { PATH: SYSTEM_PATH, HOME: scene.home, TERM: 'xterm', SHELL: '/bin/sh', SALLYPORT_WARM: '0' },
  });
  let screen = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (screen += text));
  const ended = once(child, 'exit').then(([status]) => status as number);
  return {
    /** Waits until something is on the screen, then types. */
    async answer(question: string, keys: string): Promise<void> {
      const endMs = performance.now() + 30_000;
      while (!screen.includes(question)) {
        assert.ok(performance.now() < endMs, `${question} is not asked: ${screen}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      child.stdin.write(keys);
    },
    /** The status, and what was on the screen; the terminal must be as it was. */
    async end(): Promise<{ status: number; screen: string }> {
      const status = await ended;
      assert.match(screen, /\becho\r?\n(?:.*\n)*icanon\r?\n$/, screen);
      assert.doesNotMatch(screen, /-echo|-icanon/);
      return { status, screen };
    },
  };
}

test('a value that is typed is not shown, and keys that edit are obeyed', { skip: NO_SCRIPT }, async () => {
  const [first, second] = [newCanary(), newCanary()];
  await using scene = await createDaemonScene(findPresentCaller());
  const ask = async (): Promise<StoredSecretInfo[]> =>
    (await scene.client.ask<{ secrets: StoredSecretInfo[] }>({ method: 'GET', path: '/v1/secrets' })).secrets;
  const typing = atTerminal(scene, ['secret', 'set', '-g', 'openai']);
  // A slip, taken back; then a paste as terminals bracket it.
  await typing.answer('openai for all sandboxes (not shown): ', `wrong\x15x\x7f\x1b[200~${first.value}\x1b[201~\r`);
  const typed = await typing.end();
  assert.equal(typed.status, 0, typed.screen);
  assertNoCanary(first, { outputs: { screen: typed.screen } });
  assert.doesNotMatch(typed.screen, /wrong/);
  const tested = await scene.cli(['secret', 'test', '-g', 'openai']);
  assert.match(tested.stdout, /works: 40 bytes/);

  const kept = atTerminal(scene, ['secret', 'set', '-g', 'openai']);
  await kept.answer('Replace it? [y/N] ', 'n\r');
  assert.equal((await kept.end()).status, 1);
  const replacing = atTerminal(scene, ['secret', 'set', '-g', 'openai']);
  await replacing.answer('Replace it? [y/N] ', 'y\r');
  await replacing.answer('(not shown): ', `${second.value}\r`);
  const replaced = await replacing.end();
  assert.match(replaced.screen, /replaced openai for all sandboxes: ghp_/);
  assertNoCanary(second, { outputs: { screen: replaced.screen } });
  assert.notEqual((await ask())[0]?.mask, null);

  const keys = atTerminal(scene, ['secret', 'set', 'worker', 'aws']);
  // Two answers at a time.
  await keys.answer('AWS access key ID for the sandbox worker (not shown): ', `AKIAIOSFODNN7EXAMPLE\r${first.value}\r`);
  await keys.answer('AWS session token (not shown; empty for none): ', '\r');
  const stored = await keys.end();
  assert.match(stored.screen, /stored aws for the sandbox worker: AKIA/);
  assertNoCanary(first, { outputs: { screen: stored.screen } });

  // Where nobody sees the question, what is typed is not shown either; the terminal shows what arrives before it is asked.
  const blind = atTerminal(scene, ['secret', 'set', 'worker', 'xai'], '2> questions');
  const questions = join(scene.workspace, 'questions');
  while (!existsSync(questions) || !readFileSync(questions, 'utf8').includes('not shown')) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await blind.answer('', `${second.value}\r`);
  const unseen = await blind.end();
  assert.match(unseen.screen, /stored xai for the sandbox worker/);
  assertNoCanary(second, { outputs: { screen: unseen.screen } });

  const removing = atTerminal(scene, ['secret', 'rm', '-g', 'openai']);
  await removing.answer('Remove openai of all sandboxes? [y/N] ', 'no\r');
  assert.equal((await removing.end()).status, 1);
  assert.equal((await ask()).length, 3);
});

test(
  'Ctrl-C, Ctrl-D, an empty answer and a paste of several lines store nothing, and leave the terminal as it was',
  { skip: NO_SCRIPT },
  async () => {
    await using scene = await createDaemonScene(findPresentCaller());
    for (const [keys, status, says] of [
      ['half of it\x03', 130, /not shown\): \r?\n/],
      ['\x04', 125, /Nothing was stored\. \[ABORTED\]/],
      ['\r', 2, /\[SECRET_VALUE_TOO_SHORT\]/],
      // Half of a key would be stored, and the rest be the shell's.
      ['half of a key\nand the rest\n', 2, /More than one line was pasted.*\[INVALID_SECRET_VALUE\]/],
      ['\x1b[200~half of a key\r\rand the rest\x1b[201~\r', 2, /More than one line.*\[INVALID_SECRET_VALUE\]/],
    ] as const) {
      const terminal = atTerminal(scene, ['secret', 'set-custom', '-g', '--host', 'a.example', '--env', 'API_KEY']);
      await terminal.answer('API_KEY for all sandboxes (not shown): ', keys);
      const ended = await terminal.end();
      assert.equal(ended.status, status, ended.screen);
      assert.match(ended.screen, says);
      assert.doesNotMatch(ended.screen, /half/);
    }
    assert.equal((await scene.cli(['secret', 'ls', '--json'])).stdout, '[]\n');
  },
);
