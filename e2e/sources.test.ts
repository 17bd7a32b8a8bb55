import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { eachCaller } from './harness/caller.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { describeRun } from './harness/sallyport.ts';

/** The names of the variables that the daemon has. */
async function daemonVariables(scene: DaemonScene): Promise<Set<string>> {
  const { pid } = await scene.status();
  const lines = readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  return new Set(lines.map((line) => line.slice(0, line.indexOf('='))));
}

eachCaller('the daemon gets the settings of sources, and of credentials what is named', async (caller) => {
  await using scene = await createDaemonScene(caller);
  const env = { VAULT_ADDR: 'https://vault.example', VAULT_TOKEN: 'first', OP_SERVICE_ACCOUNT_TOKEN: 'second' };
  const restart = async (...args: string[]): Promise<Set<string>> => {
    const result = await scene.cli(['daemon', 'restart', ...args], { env });
    assert.equal(result.status, 0, describeRun(result));
    return await daemonVariables(scene);
  };
  const plain = await restart();
  assert.deepEqual(
    Object.keys(env).map((name) => plain.has(name)),
    [true, false, false],
  );
  const named = await restart('--env', 'VAULT_TOKEN');
  assert.deepEqual(
    Object.keys(env).map((name) => named.has(name)),
    [true, true, false],
  );

  const running = await scene.cli(['daemon', 'start', '--env', 'VAULT_TOKEN'], { env });
  assert.equal(running.status, 2, describeRun(running));
  assert.match(running.stderr, /runs already.*daemon restart/);
  const { pid } = await scene.status();
  for (const word of ['UNSET_VARIABLE', 'VAULT_TOKEN=canary-of-a-command-line']) {
    const refused = await scene.cli(['daemon', 'restart', '--env', word], { env });
    assert.equal(refused.status, 2, describeRun(refused));
    assert.doesNotMatch(refused.stderr, /canary-of-a/);
  }
  assert.equal((await scene.status()).pid, pid, 'a daemon was stopped for nothing');
});
