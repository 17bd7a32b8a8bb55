import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFileSync,
  chmodSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open as openFile, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import { pathToFileURL } from 'node:url';

import { SallyportError } from '@sallyport/sdk';
import { auditEventSchema } from '@sallyport/sdk/audit-event';
import type { AuditEvent } from '@sallyport/sdk/audit-event';

import { AuditLog } from './audit-log.ts';
import type { AuditRecord } from './audit-record.ts';
import { auditFileId, auditPaths, ensureAuditKey, createAuditDirectories } from './audit-state.ts';
import { verifyAudit } from './verify-audit.ts';

let base: string;
let stateDirectory: string;
let file: string;
let count = 0;

before(() => {
  base = mkdtempSync(join(tmpdir(), 'sallyport-audit-'));
});
after(() => rmSync(base, { recursive: true }));
beforeEach(() => {
  count += 1;
  stateDirectory = join(base, `state-${count}`);
  file = join(base, `log-${count}.jsonl`);
});

const RECORD: AuditRecord = {
  kind: 'request',
  decision: 'allow',
  rule: 'api.example.com',
  scheme: 'https',
  host: 'api.example.com',
  port: 443,
  method: 'GET',
  path: '/v1/things',
  status: 200,
  requestBytes: 0,
  responseBytes: 1234,
  durationMs: 12.345678,
  secrets: ['TOKEN'],
  redactions: 1,
};

function open(): Promise<AuditLog> {
  return AuditLog.open({ file, stateDirectory, sandbox: 'box' });
}

async function write(lines: number): Promise<void> {
  const log = await open();
  for (let index = 0; index < lines; index += 1) {
    log.record({ ...RECORD, path: `/${index}` });
  }
  await log.close();
}

function lines(): AuditEvent[] {
  const text = readFileSync(file, 'utf8');
  assert.ok(text.endsWith('\n'));
  return text
    .slice(0, -1)
    .split('\n')
    .map((line) => auditEventSchema.parse(JSON.parse(line)));
}

async function assertRefused(): Promise<void> {
  await assert.rejects(open(), (error) => error instanceof SallyportError && error.code === 'AUDIT_REFUSED');
}

/** Lets the event loop go round so many times. */
async function turns(wanted: number): Promise<void> {
  for (let turn = 0; turn < wanted; turn++) await new Promise((next) => setImmediate(next));
}

test('lines wait for more to be written with them, but not once there is enough', async (context) => {
  const log = await open();
  log.record(RECORD);
  await log.drain();
  const written = statSync(file).size;
  // Time stands still: what waits for a while waits for good.
  context.mock.timers.enable({ apis: ['setTimeout'] });
  log.record(RECORD);
  await turns(200);
  assert.equal(statSync(file).size, written);
  const recorded = 8000;
  for (let index = 0; index < recorded; index++) log.record(RECORD);
  for (let round = 0; round < 10_000 && statSync(file).size <= 1024 * 1024; round++) await turns(10);
  assert.ok(statSync(file).size > 1024 * 1024, `${statSync(file).size} bytes`);
  context.mock.timers.reset();
  await log.close();
  assert.equal(lines().length, 2 + recorded);
});

test('record() writes events that fit the contract', async () => {
  const log = await AuditLog.open({
    file,
    stateDirectory,
    sandbox: 'box',
    now: () => Date.UTC(2026, 10, 22, 9, 30, 0, 7),
  });
  log.record(RECORD);
  log.record({ kind: 'dns-capacity', decision: 'deny', code: 'CAPACITY', host: 'x.example' });
  log.record({
    kind: 'request',
    decision: 'error',
    method: 'M'.repeat(1000),
    path: `/"\\\n\u2028\ud800${'p'.repeat(100_000)}`,
    durationMs: Number.NaN,
    requestBytes: Infinity,
    stray: Array.from({ length: 1000 }, () => 'S'.repeat(1000)),
  });
  await log.close();
  const [first, second, third] = lines();
  assert.deepEqual(first, {
    time: '2026-11-22T09:30:00.007Z',
    seq: 1,
    sandbox: 'box',
    code: null,
    ...RECORD,
    durationMs: 12.346,
    stray: [],
    mac: first?.mac,
  });
  assert.equal(second?.host, 'x.example');
  assert.equal(second?.method, null);
  assert.ok(JSON.stringify(third).length < 16_000);
  assert.equal(third?.method?.length, 32);
  assert.equal(third?.stray.length, 64);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(await verifyAudit({ file, stateDirectory }), { ok: true, lines: 3, problems: [], problemCount: 0 });
});

test('drain() resolves when the lines are in the file', async () => {
  const log = await open();
  for (let index = 0; index < 1000; index += 1) {
    assert.ok(log.record(RECORD));
  }
  await log.drain();
  assert.equal(lines().length, 1000);
  log.record(RECORD);
  await Promise.all([log.drain(), log.drain()]);
  assert.equal(lines().length, 1001);
  await log.drain();
  await log.close();
  assert.equal(log.record(RECORD), false);
  assert.equal(lines().length, 1001);
});

test('record() asks for a pause when the disk is behind', async () => {
  const log = await open();
  const large: AuditRecord = { ...RECORD, path: 'p'.repeat(2048) };
  let recorded = 1;
  while (log.record(large)) {
    recorded += 1;
  }
  await log.drain();
  assert.ok(log.record(large));
  await log.close();
  assert.equal(lines().length, recorded + 1);
});

test('open() continues the chain of its file', async () => {
  await write(3);
  await write(2);
  await write(0);
  assert.deepEqual(
    lines().map(({ seq }) => seq),
    [1, 2, 3, 4, 5],
  );
  assert.equal((await verifyAudit({ file, stateDirectory })).ok, true);
});

test('open() continues a file that was moved, and begins anew where one was taken away', async () => {
  await write(2);
  const moved = `${file}.moved`;
  renameSync(file, moved);
  await write(1);
  assert.deepEqual(
    lines().map(({ seq }) => seq),
    [1],
  );
  assert.equal((await verifyAudit({ file: moved, stateDirectory })).ok, true);
  truncateSync(moved, statSync(moved).size - readFileSync(moved, 'latin1').split('\n').at(-2)!.length - 1);
  assert.deepEqual(
    (await verifyAudit({ file: moved, stateDirectory })).problems.map(({ kind }) => kind),
    ['truncated'],
  );
});

test('open() refuses a file whose end is not as it was left', async () => {
  await write(3);
  const whole = readFileSync(file, 'utf8');
  for (const text of [
    '',
    whole.slice(0, -1),
    whole.slice(0, whole.indexOf('\n') + 1),
    whole.replace(/"mac":"(.)(?=[^\n]*\n$)/, '"mac":"x'),
    `${whole}{}\n`,
  ]) {
    writeFileSync(file, text);
    await assertRefused();
  }
  writeFileSync(file, whole);
  await write(1);
  rmSync(join(auditPaths(stateDirectory).heads, `${auditFileId(file)}.json`));
  await assertRefused();
  assert.equal(lines().length, 4);
});

test('open() refuses a file of another state directory or of nobody, and takes an empty one', async () => {
  writeFileSync(file, 'my notes\n');
  await assertRefused();
  assert.equal(readFileSync(file, 'utf8'), 'my notes\n');
  writeFileSync(file, '');
  await write(1);
  stateDirectory = `${stateDirectory}-other`;
  await assertRefused();
});

test('open() takes up what a crash left: whole lines stay, half a line goes', async () => {
  await write(2);
  const headFile = join(auditPaths(stateDirectory).heads, `${auditFileId(file)}.json`);
  const oldHead = readFileSync(headFile);
  await write(2);
  writeFileSync(headFile, oldHead);
  appendFileSync(file, '{"time":"2026-');
  const verified = await verifyAudit({ file, stateDirectory });
  assert.deepEqual(
    verified.problems.map(({ kind, line }) => [kind, line]),
    [['truncated', 5]],
  );
  await write(1);
  assert.deepEqual(
    lines().map(({ seq }) => seq),
    [1, 2, 3, 4, 5],
  );
  assert.equal((await verifyAudit({ file, stateDirectory })).ok, true);
});

test('open() refuses what is no regular file, and does not wait for it', async () => {
  const target = join(base, `target-${count}`);
  writeFileSync(target, '');
  const fifo = join(base, `fifo-${count}`);
  assert.equal(spawnSync('mkfifo', [fifo]).status, 0);
  const link = join(base, `link-${count}`);
  symlinkSync(target, link);
  const dangling = join(base, `dangling-${count}`);
  symlinkSync(join(base, 'nowhere'), dangling);
  const directory = join(base, `directory-${count}`);
  mkdirSync(directory);
  for (const path of [
    fifo,
    link,
    dangling,
    directory,
    '/dev/null',
    '/dev/stdout',
    join(base, 'missing', 'log'),
    join(target, 'log'),
    'nul\0',
  ]) {
    file = path;
    await assertRefused();
  }
  assert.deepEqual(readdirSync(auditPaths(stateDirectory).locks), []);
});

test('open() refuses a file that is being written', async () => {
  const log = await open();
  await assertRefused();
  file = join(base, '.', `log-${count}.jsonl`);
  await assertRefused();
  await log.close();
  await write(1);
});

test('open() takes over the lock of a process that was killed, and keeps what it wrote', async () => {
  const program = `
    import { AuditLog } from ${JSON.stringify(pathToFileURL(join(import.meta.dirname, 'audit-log.ts')).href)};
    const log = await AuditLog.open(${JSON.stringify({ file, stateDirectory, sandbox: 'box' })});
    for (let index = 0; index < 100; index += 1) log.record({ kind: 'tcp', decision: 'allow' });
    await log.drain();
    process.stdout.write('ready');
    setInterval(() => log.record({ kind: 'tcp', decision: 'allow' }), 1);
  `;
  const child = spawn(process.execPath, ['--conditions=sallyport-source', '--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  await assertRefused();
  child.kill('SIGKILL');
  await once(child, 'exit');
  await write(1);
  assert.ok(lines().length >= 101);
  assert.equal((await verifyAudit({ file, stateDirectory })).ok, true);
  assert.deepEqual(readdirSync(auditPaths(stateDirectory).locks), []);
});

test('open() by many at once lets one in', async () => {
  const paths = auditPaths(stateDirectory);
  await createAuditDirectories(paths);
  // A stale lock, over which they fight.
  writeFileSync(join(paths.locks, `${auditFileId(file)}.7`), JSON.stringify({ pid: 1, start: 'another boot/1' }));
  const results = await Promise.allSettled(Array.from({ length: 8 }, open));
  const opened = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  assert.equal(opened.length, 1);
  await opened[0]?.close();
  assert.deepEqual(readdirSync(paths.locks), []);
});

test('ensureAuditKey() makes one key for all who ask, and none that others can read', async () => {
  const paths = auditPaths(stateDirectory);
  await createAuditDirectories(paths);
  const keys = await Promise.all(Array.from({ length: 8 }, () => ensureAuditKey(paths)));
  assert.equal(new Set(keys.map((key) => key.toString('hex'))).size, 1);
  assert.equal(statSync(paths.key).mode & 0o777, 0o600);
  assert.equal(statSync(paths.root).mode & 0o777, 0o700);
  assert.deepEqual(readdirSync(paths.root).toSorted(), ['heads', 'key', 'locks']);
  chmodSync(paths.key, 0o644);
  await assertRefused();
  chmodSync(paths.key, 0o600);
  writeFileSync(paths.key, 'short');
  await assertRefused();
});

test('failure is set once a write fails, and stays', async (t) => {
  const failures: SallyportError[] = [];
  const log = await AuditLog.open({
    file,
    stateDirectory,
    sandbox: 'box',
    onFailure: (failure) => failures.push(failure),
  });
  log.record(RECORD);
  await log.drain();
  assert.deepEqual(failures, []);
  const handle = await openFile(file);
  const full = Object.assign(new Error('no space left on the device'), { code: 'ENOSPC' });
  t.mock.method(Object.getPrototypeOf(handle) as FileHandle, 'write', () => Promise.reject(full));
  await handle.close();
  log.record(RECORD);
  await assert.rejects(log.drain(), { code: 'AUDIT_FAILED' });
  assert.equal(log.failure?.code, 'AUDIT_FAILED');
  assert.equal(log.record(RECORD), false);
  await assert.rejects(log.drain(), { code: 'AUDIT_FAILED' });
  await assert.rejects(log.close(), { code: 'AUDIT_FAILED' });
  assert.deepEqual(failures, [log.failure]);
});

test('failure is set when the head is taken away', async () => {
  const log = await AuditLog.open({ file, stateDirectory, sandbox: 'box' });
  log.record(RECORD);
  await log.drain();
  renameSync(auditPaths(stateDirectory).heads, `${auditPaths(stateDirectory).heads}.away`);
  log.record(RECORD);
  await assert.rejects(log.close(), { code: 'AUDIT_FAILED' });
});

test('open() finds the older head where a crash tore the write of the later one', async () => {
  await write(2);
  const log = await AuditLog.open({ file, stateDirectory, sandbox: 'box' });
  log.record(RECORD);
  await log.close();
  const headFile = join(auditPaths(stateDirectory).heads, `${auditFileId(file)}.json`);
  const slots = readFileSync(headFile, 'utf8').split('\n');
  assert.equal(slots.filter((slot) => slot.includes('"seq":')).length, 2);
  const torn = slots.map((slot) => (slot.includes('"seq":3,') ? slot.replace('"seq":3,', '"seq":4,') : slot));
  writeFileSync(headFile, torn.join('\n'));
  await write(1);
  assert.deepEqual(
    lines().map(({ seq }) => seq),
    [1, 2, 3, 4],
  );
  assert.equal((await verifyAudit({ file, stateDirectory })).ok, true);
});

test('record() keeps the chain over batches of any size', async () => {
  const log = await AuditLog.open({ file, stateDirectory, sandbox: 'box' });
  const path = `/${'\u20ac'.repeat(2000)}`;
  for (let index = 0; index < 5000; index++) log.record(index % 50 === 0 ? { ...RECORD, path } : RECORD);
  await log.close();
  const verified = await verifyAudit({ file, stateDirectory });
  assert.equal(verified.ok, true);
  assert.equal(lines().length, 5000);
});

test('open() follows a hard link to the same bytes', async () => {
  await write(1);
  const other = `${file}.link`;
  linkSync(file, other);
  file = other;
  await write(1);
  assert.equal((await verifyAudit({ file, stateDirectory })).ok, true);
});
