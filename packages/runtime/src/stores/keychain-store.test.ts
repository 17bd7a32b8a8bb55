import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { KeychainProcess, sessionBusAddress } from './keychain-process.ts';
import { KeychainStore } from './keychain-store.ts';
import { missingKeyringPrograms, startKeyringSession, type KeyringSession } from './keyring-session.testing.ts';
import { testSecretStore } from './secret-store-contract.testing.ts';

const missing = missingKeyringPrograms();
const skip = missing.length === 0 ? null : `there is no ${missing.join(', ')}`;
const needsKeyring = skip === null ? {} : { skip };

const directory = mkdtempSync(join(tmpdir(), 'sallyport-keychain-'));
let session: Promise<KeyringSession> | null = null;
const openSession = async (): Promise<KeyringSession> =>
  await (session ??= startKeyringSession(join(directory, 'run')));
const stores: KeychainStore[] = [];

after(async () => {
  await Promise.all(stores.map(async (store) => await store.close()));
  await (await session)?.stop();
  rmSync(directory, { recursive: true, force: true });
});

function openStore(
  environment: NodeJS.ProcessEnv,
  options: Partial<ConstructorParameters<typeof KeychainStore>[0]> = {},
) {
  const store = new KeychainStore({ service: `test-${randomBytes(4).toString('hex')}`, environment, ...options });
  stores.push(store);
  return store;
}

for (const [name, partLength, manyValues] of [
  // 40 ms for each of the first 500, 100 ms when there are 1,500: 5,000 would take a quarter of an hour.
  ['KeychainStore (gnome-keyring, which writes all values for each)', undefined, 250],
  ['KeychainStore (in parts of 1,200 characters, as on Windows)', 1_200, 10],
] as const) {
  testSecretStore({
    name,
    open: async () => {
      const { environment } = await openSession();
      const service = `test-${randomBytes(4).toString('hex')}`;
      return () => openStore(environment, { service, ...(partLength === undefined ? {} : { partLength }) });
    },
    manyValues,
    skip,
    isLasting: true,
  });
}

test('KeychainStore says that the keychain is locked, and never that there is nothing', needsKeyring, async () => {
  const keyring = await openSession();
  const { environment } = keyring;
  const store = openStore(environment);
  await store.write('k', randomBytes(20));
  keyring.lock();
  try {
    assert.equal(((await store.probe()) as { trouble: string }).trouble, 'locked');
    for (const work of [
      async () => await store.read('k'),
      async () => await store.read('unknown'),
      async () => await store.write('k', randomBytes(20)),
      async () => await store.remove('k'),
      async () => await store.keys(),
    ]) {
      // oxlint-disable-next-line no-await-in-loop
      await assert.rejects(work(), { code: 'STORE_LOCKED', message: /Unlock it/ });
    }
    // One that has never been used has nothing that it could miss.
    await assert.rejects(openStore(environment).read('unknown'), { code: 'STORE_LOCKED' });
  } finally {
    await keyring.unlock();
  }
  assert.equal((await store.read('k'))?.length, 20);
  assert.equal(await store.read('unknown'), null);
});

test('KeychainStore reads and removes parts of any length, and notices a missing one', needsKeyring, async () => {
  const { environment } = await openSession();
  const service = `test-${randomBytes(4).toString('hex')}`;
  const whole = openStore(environment, { service });
  const parts = openStore(environment, { service, partLength: 100 });
  await parts.write('k', randomBytes(300));
  assert.equal((await whole.read('k'))?.length, 300);
  const items = new KeychainProcess(environment);
  await items.ask({ kind: 'delete', service, account: 'k.2' });
  await assert.rejects(whole.read('k'), { code: 'STORE_CORRUPT' });
  await items.ask({ kind: 'set', service, account: 'k', text: 'of somebody else' });
  await assert.rejects(whole.read('k'), { code: 'STORE_CORRUPT' });
  await parts.write('k2', randomBytes(300));
  await whole.remove('k2');
  const left = await items.ask({ kind: 'list', service });
  assert.ok(left.kind === 'accounts' && !left.accounts.some((account) => account.startsWith('k2')));
  await whole.erase((key) => key === 'k');
  assert.deepEqual(await whole.keys(), ['k']);
  await whole.erase(() => false);
  await items.close();
});

test('KeychainStore keeps items that other programs of the user find by service and key', needsKeyring, async () => {
  const { environment } = await openSession();
  const service = `test-${randomBytes(4).toString('hex')}`;
  await openStore(environment, { service }).write('k', new TextEncoder().encode('canary-0a88d1'));
  const { stdout } = spawnSync('secret-tool', ['lookup', 'service', service, 'username', 'k'], {
    env: { ...environment, DBUS_SESSION_BUS_ADDRESS: sessionBusAddress(environment) ?? undefined },
    encoding: 'utf8',
  });
  assert.match(stdout, /^sallyport1 1 [0-9a-f]{32} /);
  assert.equal(Buffer.from(stdout.split(' ')[3] ?? '', 'base64').toString(), 'canary-0a88d1');
});

test('KeychainStore fails in time where nothing answers', async () => {
  const nowhere = openStore({ PATH: process.env['PATH'], XDG_RUNTIME_DIR: join(directory, 'nowhere') });
  const gone = openStore({ DBUS_SESSION_BUS_ADDRESS: `unix:path=${join(directory, 'gone')}` });
  for (const store of [nowhere, gone]) {
    // oxlint-disable-next-line no-await-in-loop
    assert.equal(((await store.probe()) as { trouble: string }).trouble, 'absent');
    // oxlint-disable-next-line no-await-in-loop
    await assert.rejects(store.read('k'), { code: 'STORE_FAILED', message: /DBUS_SESSION_BUS_ADDRESS/ });
  }
  // The library would wait for it for good, on the thread that asks.
  const deaf = createServer(() => {});
  const socket = join(directory, 'deaf');
  await new Promise<void>((resolve) => {
    deaf.listen(socket, resolve);
  });
  try {
    const environment = { DBUS_SESSION_BUS_ADDRESS: `unix:path=${socket}` };
    const store = openStore(environment, { limits: { connectMs: 1_000 } });
    let ticks = 0;
    const timer = setInterval(() => (ticks += 1), 20);
    await assert.rejects(store.read('k'), { code: 'STORE_FAILED', message: /did not answer within 1 s/ });
    clearInterval(timer);
    assert.ok(ticks > 5, 'the event loop went on');
    const controller = new AbortController();
    const reading = openStore(environment).read('k', controller.signal);
    await sleep(50);
    controller.abort(new Error('no longer wanted'));
    await assert.rejects(reading, /no longer wanted/);
  } finally {
    deaf.close();
  }
});
