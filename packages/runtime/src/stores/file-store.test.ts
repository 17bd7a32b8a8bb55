import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Decrypter } from 'age-encryption';
import { FileStore, type FileStoreOptions } from './file-store.ts';
import { testSecretStore } from './secret-store-contract.testing.ts';

function temporaryDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-files-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function openStore(context: TestContext, directory: string, options: Partial<FileStoreOptions> = {}): FileStore {
  const store = new FileStore({ directory: join(directory, 'secrets'), environment: {}, ...options });
  context.after(async () => await store.close());
  return store;
}

const VALUE = new TextEncoder().encode('canary-77b1f2 and more');

testSecretStore({
  name: 'FileStore',
  open: async (context) => {
    const directory = temporaryDirectory(context);
    return await Promise.resolve(() => openStore(context, directory));
  },
  manyValues: 5_000,
  skip: null,
  isLasting: true,
});

test('FileStore writes age files that only their owner can read, and any age program', async (context) => {
  const directory = temporaryDirectory(context);
  await openStore(context, directory).write('k', VALUE);
  const secrets = join(directory, 'secrets');
  assert.equal(statSync(secrets).mode & 0o777, 0o700);
  for (const name of readdirSync(secrets)) {
    assert.equal(statSync(join(secrets, name)).mode & 0o777, 0o600, name);
    assert.ok(!readFileSync(join(secrets, name)).includes('canary'), name);
  }
  const decrypter = new Decrypter();
  const identity = readFileSync(join(secrets, 'identity'), 'utf8')
    .split('\n')
    .find((line) => line.startsWith('AGE-'));
  decrypter.addIdentity(identity ?? '');
  const text = await decrypter.decrypt(readFileSync(join(secrets, 'k.age')), 'text');
  assert.equal(text, 'sallyport value k\ncanary-77b1f2 and more');
});

test('FileStore.read() puts a damaged file aside, and never takes it for a missing one', async (context) => {
  const damages: [string, (file: string) => void][] = [
    ['empty', (file) => truncateSync(file, 0)],
    ['cut in the head', (file) => truncateSync(file, 40)],
    ['cut in the body', (file) => truncateSync(file, statSync(file).size - 5)],
    ['longer', (file) => writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.from('x')]))],
    ['no age file', (file) => writeFileSync(file, 'canary-77b1f2')],
    ['that of another key', (file) => writeFileSync(file, readFileSync(join(file, '..', 'other.age')))],
    ...Array.from({ length: 12 }, (_, index): [string, (file: string) => void] => [
      `a bit of part ${index}`,
      (file) => {
        const content = readFileSync(file);
        const at = Math.floor((content.length * index) / 12);
        content[at] = (content[at] ?? 0) ^ 1;
        writeFileSync(file, content);
      },
    ]),
  ];
  const directory = temporaryDirectory(context);
  const store = openStore(context, directory);
  const secrets = join(directory, 'secrets');
  await store.write('other', new TextEncoder().encode('another value'));
  for (const [index, [name, damage]] of damages.entries()) {
    const key = `k${index}`;
    const file = join(secrets, `${key}.age`);
    // oxlint-disable no-await-in-loop
    await store.write(key, VALUE);
    damage(file);
    const content = readFileSync(file);
    for (const time of ['first', 'second']) {
      await assert.rejects(store.read(key), (error: Error & { code: string }) => {
        assert.equal(error.code, 'STORE_CORRUPT', `${name}, the ${time} time`);
        assert.ok(!error.message.includes('canary'));
        return /put aside as ".*\.age\.corrupt-.*"/.test(error.message);
      });
    }
    assert.ok(!existsSync(file), name);
    const aside = readdirSync(secrets).find((entry) => entry.startsWith(`${key}.age.corrupt-`));
    assert.deepEqual(readFileSync(join(secrets, aside ?? '')), content, name);
    await store.write(key, VALUE);
    assert.deepEqual(Buffer.from((await store.read(key)) ?? []), Buffer.from(VALUE), name);
    // oxlint-enable no-await-in-loop
  }
  assert.equal(new TextDecoder().decode((await store.read('other')) ?? undefined), 'another value');
});

test('FileStore removes what killed writers left half written, once nobody can be writing it', async (context) => {
  const directory = temporaryDirectory(context);
  await openStore(context, directory).write('k', VALUE);
  const [old, fresh] = ['.a.age.0011.partial', '.b.age.0011.partial'].map((name) => join(directory, 'secrets', name));
  for (const path of [old, fresh]) writeFileSync(path ?? '', '');
  const longAgo = Date.now() / 1_000 - 3_600;
  utimesSync(old ?? '', longAgo, longAgo);
  await openStore(context, directory).write('k', VALUE);
  assert.deepEqual(
    [old, fresh].map((path) => existsSync(path ?? '')),
    [false, true],
  );
});

test('FileStore refuses to work with a key that is missing, damaged, another one, or open to others', async (context) => {
  const spoil: [string, string, (identity: string, foreign: string) => void][] = [
    ['missing', 'STORE_CORRUPT', (identity) => rmSync(identity)],
    ['damaged', 'STORE_CORRUPT', (identity) => truncateSync(identity, 100)],
    ['another', 'STORE_CORRUPT', (identity, foreign) => writeFileSync(identity, readFileSync(foreign))],
    ['readable', 'STORE_FAILED', (identity) => chmodSync(identity, 0o644)],
  ];
  const elsewhere = temporaryDirectory(context);
  await openStore(context, elsewhere).write('k', VALUE);
  for (const [name, code, damage] of spoil) {
    const directory = temporaryDirectory(context);
    // oxlint-disable no-await-in-loop
    await openStore(context, directory).write('k', VALUE);
    damage(join(directory, 'secrets', 'identity'), join(elsewhere, 'secrets', 'identity'));
    const before = readdirSync(join(directory, 'secrets'));
    const store = openStore(context, directory);
    await assert.rejects(store.read('k'), { code }, name);
    await assert.rejects(store.write('k2', VALUE), { code }, name);
    assert.deepEqual(readdirSync(join(directory, 'secrets')), before, `${name}: nothing was changed`);
    // oxlint-enable no-await-in-loop
  }
});

test('FileStore closes its key with a passphrase, and says when it lacks it', async (context) => {
  const directory = temporaryDirectory(context);
  const passphraseFile = join(directory, 'passphrase');
  writeFileSync(passphraseFile, 'correct horse\n');
  const environment = { SALLYPORT_STORE_PASSPHRASE_FILE: passphraseFile };
  await openStore(context, directory, { environment }).write('k', VALUE);
  assert.ok(!existsSync(join(directory, 'secrets', 'identity')));
  const open = async (options: Partial<FileStoreOptions>): Promise<Buffer> =>
    Buffer.from((await openStore(context, directory, options).read('k')) ?? []);
  assert.deepEqual(await open({ environment }), Buffer.from(VALUE));
  assert.deepEqual(
    await open({ askPassphrase: async () => await Promise.resolve('correct horse') }),
    Buffer.from(VALUE),
  );
  await assert.rejects(open({}), { code: 'STORE_LOCKED', message: /needs its passphrase/ });
  await assert.rejects(open({ askPassphrase: async () => await Promise.resolve(null) }), { code: 'STORE_LOCKED' });
  await assert.rejects(open({ askPassphrase: async () => await Promise.resolve('wrong') }), {
    code: 'STORE_LOCKED',
    message: /another one/,
  });
  await assert.rejects(open({ environment: { SALLYPORT_STORE_PASSPHRASE_FILE: 'passphrase' } }), {
    code: 'STORE_FAILED',
    message: /absolute/,
  });
  writeFileSync(passphraseFile, '\n');
  await assert.rejects(open({ environment }), { code: 'STORE_FAILED', message: /is empty/ });
});

test('FileStore uses one key, however many open it at once', async (context) => {
  const directory = temporaryDirectory(context);
  const stores = Array.from({ length: 4 }, () => openStore(context, directory));
  await Promise.all(stores.map(async (store, index) => await store.write(`k${index}`, VALUE)));
  const last = openStore(context, directory);
  for (const key of await last.keys()) {
    // oxlint-disable-next-line no-await-in-loop
    assert.deepEqual(Buffer.from((await last.read(key)) ?? []), Buffer.from(VALUE), key);
  }
});

test('FileStore notices the key of another process after a reset', async (context) => {
  const directory = temporaryDirectory(context);
  const [one, two] = [openStore(context, directory), openStore(context, directory)];
  await one.write('k', VALUE);
  two.erase();
  await two.write('k2', VALUE);
  await one.write('k3', VALUE);
  assert.deepEqual(Buffer.from((await two.read('k3')) ?? []), Buffer.from(VALUE));
});
