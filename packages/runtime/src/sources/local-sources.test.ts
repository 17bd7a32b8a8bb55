import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { MAX_VALUE_BYTES } from './fetched-value.ts';
import { ACCESS_CANARY, CANARY, failureOf, fetchText } from './sources.testing.ts';
import { inspectSource } from './value-source.ts';

function makeDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-sources-'));
  t.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

test('FileSource.fetch() reads a regular file, without the line breaks at its end', async (t) => {
  const directory = makeDirectory(t);
  const write = (name: string, content: string | Buffer): void => writeFileSync(join(directory, name), content);
  write('key', `${CANARY}\r\n\n`);
  assert.equal(await fetchText('file:key', { directory }), CANARY);
  assert.equal(await fetchText('file:~/key', { environment: { HOME: directory } }), CANARY);
  write('long', `${'x'.repeat(MAX_VALUE_BYTES)}\n`);
  assert.equal((await fetchText('file:long', { directory })).length, MAX_VALUE_BYTES);

  write('longer', `${CANARY}${'x'.repeat(MAX_VALUE_BYTES)}`);
  write('empty', '\n');
  write('binary', Buffer.concat([Buffer.from(CANARY), Buffer.from([0xff])]));
  execFileSync('mkfifo', [join(directory, 'fifo')]);
  const failures: readonly [string, RegExp][] = [
    ['longer', /64 KiB/],
    ['empty', /empty/],
    ['binary', /UTF-8/],
    ['fifo', /not a regular file/],
    ['none', /cannot be read \(ENOENT\)/],
    ['.', /not a regular file/],
    ['key/x', /cannot be read \(ENOTDIR\)/],
  ];
  for (const [name, message] of failures)
    assert.match(await failureOf(fetchText(`file:${name}`, { directory })), message, name);
  assert.match(await failureOf(fetchText('file:/dev/zero')), /not a regular file/);
  assert.match(await failureOf(fetchText('file:key', { directory, signal: AbortSignal.abort() })), /called off/);
});

test('inspectSource() says who else may read a file, or listen', async (t) => {
  const directory = makeDirectory(t);
  const inspect = async (reference: string, environment = {}): Promise<readonly string[]> =>
    await inspectSource({ kind: 'reference', reference }, { environment, directory });
  writeFileSync(join(directory, 'key'), CANARY);
  for (const [mode, notice] of [
    [0o600, null],
    [0o640, /^Its group .*chmod 600/],
    [0o604, /^Every user /],
  ] as const) {
    chmodSync(join(directory, 'key'), mode);
    const notices = await inspect('file:key');
    assert.equal(notices.length, notice === null ? 0 : 1);
    if (notice !== null) assert.match(notices[0] ?? '', notice);
  }
  assert.deepEqual(await inspect('file:none'), []);
  assert.match((await inspect('vault://s/x#k', { VAULT_ADDR: 'http://vault.example:8200' }))[0] ?? '', /without TLS/);
  for (const address of ['http://127.0.0.1:8200', 'https://vault.example', 'nonsense']) {
    assert.deepEqual(await inspect('vault://s/x#k', { VAULT_ADDR: address }), []);
  }
});

test('EnvironmentSource.fetch() reads the variable at each fetch', async () => {
  const environment: NodeJS.ProcessEnv = { TOKEN: CANARY };
  assert.equal(await fetchText('env:TOKEN', { environment }), CANARY);
  environment['TOKEN'] = '';
  assert.match(await failureOf(fetchText('env:TOKEN', { environment })), /empty/);
  assert.match(await failureOf(fetchText('env:OTHER', { environment })), /OTHER is not set/);
});

/** Stands for 1Password's program, and writes down how it was called. */
const FAKE_OP = `#!/bin/sh
{ for word in "$@"; do printf '%s\\n' "$word"; done; } > "$RECORD"
env > "$RECORD.env"
[ "$OP_SERVICE_ACCOUNT_TOKEN" = ${ACCESS_CANARY} ] || { echo "[ERROR] not signed in: ${CANARY}" >&2; exit 1; }
case "$4" in
  op://Private/GitHub/token) printf %s ${CANARY} ;;
  op://Private/GitHub/slow) sleep 600 ;;
  *) echo "[ERROR] no such item" >&2; exit 1 ;;
esac
`;

test('OnePasswordSource.fetch() asks the program op in PATH, by words and not by a shell', async (t) => {
  const directory = makeDirectory(t);
  const record = join(directory, 'record');
  writeFileSync(join(directory, 'op'), FAKE_OP, { mode: 0o755 });
  const environment = {
    PATH: `relative:${directory}:${process.env['PATH'] ?? ''}`,
    RECORD: record,
    OP_SERVICE_ACCOUNT_TOKEN: ACCESS_CANARY,
    SALLYPORT_SOCKET: '/s',
  };
  assert.equal(await fetchText('op://Private/GitHub/token', { environment }), CANARY);
  assert.deepEqual(readFileSync(record, 'utf8').split('\n'), [
    'read',
    '--no-newline',
    '--',
    'op://Private/GitHub/token',
    '',
  ]);
  assert.doesNotMatch(readFileSync(`${record}.env`, 'utf8'), /SALLYPORT/);

  assert.match(
    await failureOf(fetchText('op://Private/GitHub/other', { environment })),
    /op:\/\/Private\/GitHub\/other, ended with status 1/,
  );
  const shown = await failureOf(fetchText('op://Private/GitHub/other', { environment, showError: true }));
  assert.match(shown, /no such item/);
  const signedOut = { ...environment, OP_SERVICE_ACCOUNT_TOKEN: 'none' };
  assert.match(await failureOf(fetchText('op://Private/GitHub/token', { environment: signedOut })), /hidden/);
  assert.match(
    await failureOf(fetchText('op://Private/GitHub/slow', { environment, timeLimitMs: 100 })),
    /within 0\.1 s/,
  );

  rmSync(record);
  chmodSync(join(directory, 'op'), 0o644);
  const missing = await failureOf(
    fetchText('op://Private/GitHub/token', { environment: { ...environment, PATH: `:.:${directory}` }, directory }),
  );
  assert.match(missing, /"op", which is not in PATH.*Install it/);
  assert.equal(existsSync(record), false);
});
