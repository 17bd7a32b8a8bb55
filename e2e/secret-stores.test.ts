// Where values lie, seen from the command line: a real keychain, files with a passphrase, damage.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { sessionBusAddress } from '../packages/runtime/src/stores/keychain-process.ts';
import { missingKeyringPrograms, startKeyringSession } from '../packages/runtime/src/stores/keyring-session.testing.ts';
import { findPresentCaller } from './harness/caller.ts';
import { assertNoCanary, newCanary } from './harness/canary.ts';
import { createDaemonScene, type DaemonScene } from './harness/daemon.ts';
import { headerValues } from './harness/recording.ts';
import { describeRun, type SallyportResult } from './harness/sallyport.ts';
import { startUpstream } from './harness/upstream.ts';

const PRESENT = findPresentCaller();
const HOST = 'api.example.com';
const SET = ['secret', 'set-custom', '-g', '--host', HOST, '--env', 'API_KEY'];
const TRY = ['secret', 'test', '-g', 'API_KEY'];
const missing = missingKeyringPrograms();

/** Runs a command with a daemon that has been started with these variables and has nothing in memory. */
async function withFreshDaemon(
  scene: DaemonScene,
  env: Readonly<Record<string, string>>,
  args: readonly string[],
  stdin?: string,
): Promise<SallyportResult> {
  await scene.killDaemon();
  const started = await scene.cli(['daemon', 'start'], { env });
  assert.equal(started.status, 0, describeRun(started));
  return await scene.cli(args, { env, ...(stdin === undefined ? {} : { stdin }) });
}

function assertStatus(result: SallyportResult, status: number, stderr: RegExp): void {
  assert.equal(result.status, status, describeRun(result));
  assert.match(result.stderr, stderr, describeRun(result));
}

test(
  'a keychain that is there is used, one that is locked is said to be, and files take its place when it is gone',
  missing.length === 0 ? {} : { skip: `there is no ${missing.join(', ')}` },
  async () => {
    const canary = newCanary();
    await using scene = await createDaemonScene(PRESENT);
    await using upstream = await startUpstream({ names: [HOST] });
    const env = { XDG_RUNTIME_DIR: join(scene.root, 'run') };
    const session = await startKeyringSession(env.XDG_RUNTIME_DIR);
    try {
      const stored = await withFreshDaemon(scene, env, SET, canary.value);
      assert.equal(stored.status, 0, describeRun(stored));
      assert.doesNotMatch(stored.stderr, /encrypted file/);
      assertNoCanary(canary, { files: [scene.root] });
      const database = new DatabaseSync(join(scene.stateDirectory, 'book.db'), { readOnly: true });
      const row = database.prepare('SELECT keychain_service, key FROM book, secrets').get();
      database.close();
      const item = ['service', String(row?.['keychain_service']), 'username', String(row?.['key'])];
      const found = spawnSync('secret-tool', ['lookup', ...item], {
        env: { ...session.environment, DBUS_SESSION_BUS_ADDRESS: sessionBusAddress(env) ?? '' },
        encoding: 'utf8',
      });
      assert.ok(found.stdout.includes(Buffer.from(canary.value).toString('base64')), 'it is in the keychain');

      const created = await withFreshDaemon(scene, env, [
        'create',
        '--name',
        'box',
        '--no-workspace',
        ...upstream.flags(),
      ]);
      assert.equal(created.status, 0, describeRun(created));
      const curl = `curl -sS -m 20 -H "Authorization: Bearer $API_KEY" https://${HOST}/`;
      const ran = await scene.cli(['exec', 'box', '--', 'sh', '-c', curl]);
      assert.equal(ran.status, 0, describeRun(ran));
      assert.deepEqual(upstream.requests.flatMap((request) => headerValues(request, 'authorization')), [`Bearer ${canary.value}`]); // prettier-ignore

      session.lock();
      assertStatus(await withFreshDaemon(scene, env, TRY), 125, /keychain is locked.*Unlock it.*\[STORE_LOCKED\]/);
      assertStatus(await scene.cli(SET, { env, stdin: newCanary().value }), 125, /\[STORE_LOCKED\]/);
      const listed = await scene.cli(['secret', 'ls'], { env });
      assert.match(listed.stdout, /API_KEY/);
      await session.unlock();
      assert.equal((await scene.cli(TRY, { env })).status, 0);
    } finally {
      await session.stop();
    }
    const other = [...SET.slice(0, -1), 'OTHER_KEY'];
    assertStatus(await withFreshDaemon(scene, env, other, canary.value), 0, /No keychain detected: this secret is stored in an encrypted file on disk/); // prettier-ignore
    assertStatus(await scene.cli(TRY, { env }), 125, /keychain cannot be used.*\[STORE_FAILED\]/);
    assertNoCanary(canary, { files: [scene.root] });
  },
);

test('encrypted files need their passphrase, and damage is told of', async () => {
  const canary = newCanary();
  await using scene = await createDaemonScene(PRESENT);
  const passphraseFile = join(scene.root, 'passphrase');
  writeFileSync(passphraseFile, 'correct horse battery staple\n', { mode: 0o644 });
  const env = { SALLYPORT_STORE: 'file', SALLYPORT_STORE_PASSPHRASE_FILE: passphraseFile };
  const stored = await withFreshDaemon(scene, env, SET, canary.value);
  assert.equal(stored.status, 0, describeRun(stored));
  assertNoCanary(canary, { files: [scene.root] });
  assertStatus(await withFreshDaemon(scene, {}, TRY), 125, /needs its passphrase.*SALLYPORT_STORE_PASSPHRASE_FILE.*\[STORE_LOCKED\]/); // prettier-ignore
  assert.equal((await withFreshDaemon(scene, env, TRY)).status, 0);

  const secrets = join(scene.stateDirectory, 'secrets');
  const file = readdirSync(secrets).find((name) => /^[0-9a-f]{32}\.age$/.test(name));
  truncateSync(join(secrets, file ?? ''), 150);
  assertStatus(await withFreshDaemon(scene, env, TRY), 125, /is damaged; it was put aside.*\[STORE_CORRUPT\]/);
  assertStatus(await scene.cli(TRY, { env }), 125, /\[STORE_CORRUPT\]/);
  assert.equal((await scene.cli(SET, { env, stdin: canary.value })).status, 0);
  assert.equal((await scene.cli(TRY, { env })).status, 0);
});

test('reset leaves no secret, also where the book of them is damaged', async () => {
  const canary = newCanary();
  await using scene = await createDaemonScene(PRESENT);
  assert.equal((await scene.cli(SET, { stdin: canary.value })).status, 0);
  const reset = await scene.cli(['reset', '--force']);
  assertStatus(reset, 0, /^/);
  assert.match(reset.stdout, /^removed 0 sandboxes, 1 stored secret and the daemon's state/);
  assert.deepEqual(readdirSync(scene.stateDirectory).filter((name) => /^book|^secrets/.test(name)), []); // prettier-ignore
  const none = await scene.cli(['secret', 'ls', '--json']);
  assert.deepEqual(JSON.parse(none.stdout), []);

  assert.equal((await scene.cli(SET, { stdin: canary.value })).status, 0);
  await scene.killDaemon();
  // What is in the log of writes would make up for it.
  for (const suffix of ['-wal', '-shm']) rmSync(join(scene.stateDirectory, `book.db${suffix}`), { force: true });
  writeFileSync(join(scene.stateDirectory, 'book.db'), 'garbage '.repeat(1_000));
  assertStatus(await scene.cli(['secret', 'ls']), 125, /it is damaged, or no database at all.*\[STORE_CORRUPT\]/);
  assertStatus(await scene.cli(['reset', '--force']), 0, /is put aside as ".*book\.db\.corrupt-/);
  assert.equal((await scene.cli(SET, { stdin: canary.value })).status, 0);
});
