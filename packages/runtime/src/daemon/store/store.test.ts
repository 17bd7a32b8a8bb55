import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { defineSandbox } from '../definition.ts';
import { openDatabase, writeState } from './database.ts';
import { EventTable, MAX_KEPT_EVENTS } from './event-table.ts';
import { ExecTable } from './exec-table.ts';
import { MIGRATIONS } from './migrations.ts';
import { SandboxTable, type SandboxRow } from './sandbox-table.ts';

const row: SandboxRow = {
  id: 'a1',
  name: 'box',
  state: 'starting',
  reason: null,
  definition: defineSandbox({}, '/audit.jsonl', 0).definition,
  record: null,
  notices: ['one'],
  createdAt: 1,
  startedAt: null,
  stoppedAt: null,
  lifetimeEndsAt: null,
};

test('openDatabase() migrates a new file, opens it again, and refuses a newer one', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-state-'));
  const file = join(directory, 'state.db');
  try {
    const first = openDatabase(file);
    new SandboxTable(first).insert(row);
    first.close();
    assert.equal(statSync(file).mode & 0o777, 0o600);
    const second = openDatabase(file);
    assert.deepEqual(new SandboxTable(second).all(), [row]);
    second.exec(`PRAGMA user_version = ${MIGRATIONS.length + 1}`);
    second.close();
    assert.throws(() => openDatabase(file), { code: 'STATE_FAILED', message: /newer Sallyport/ });
    assert.throws(() => openDatabase(join(directory, 'nowhere', 'state.db')), { code: 'STATE_FAILED' });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('tables give back what they were given, and a sandbox takes its own along', () => {
  const database = openDatabase(':memory:');
  const sandboxes = new SandboxTable(database);
  const execs = new ExecTable(database);
  sandboxes.insert(row);
  assert.throws(() => sandboxes.insert({ ...row, id: 'a2' }), { code: 'STATE_FAILED' }, 'the name is taken');
  const running: SandboxRow = { ...row, state: 'running', startedAt: 5, lifetimeEndsAt: 77, notices: [] };
  sandboxes.update(running);
  assert.deepEqual(sandboxes.all(), [running]);
  for (const [position, name] of ['b.example', 'a.example'].entries()) sandboxes.addName('a1', position, name);
  assert.deepEqual(sandboxes.names('a1'), ['b.example', 'a.example'], 'in the order of their addresses');
  const exec = {
    id: 'e1', sandboxId: 'a1', state: 'starting', command: ['echo', 'a b'], terminal: true, createdAt: 2, deadlineAt: 9, endedAt: null,
    exitCode: null, timedOut: false, reason: null,
  } as const; // prettier-ignore
  execs.insert(exec);
  assert.deepEqual(execs.ofSandbox('a1'), [exec]);
  const ended = { ...exec, state: 'exited', endedAt: 3, exitCode: 0, timedOut: true } as const;
  execs.update(ended);
  assert.deepEqual(execs.ofSandbox('a1'), [ended]);
  sandboxes.remove('a1');
  assert.deepEqual([sandboxes.all(), sandboxes.names('a1'), execs.ofSandbox('a1')], [[], [], []]);
  database.close();
  assert.throws(() => writeState(() => sandboxes.remove('a1')), { code: 'STATE_FAILED' });
});

test('EventTable keeps the newest, and tells listeners', () => {
  const database = openDatabase(':memory:');
  const events = new EventTable(database, () => 0);
  const heard: number[] = [];
  const stop = events.listen(({ id }) => heard.push(id));
  const event = { type: 'sandbox.created', sandbox: 'box', sandboxId: 'a1', exec: null, detail: null } as const;
  database.exec('BEGIN');
  for (let count = 0; count < MAX_KEPT_EVENTS + 700; count += 1) events.add(event);
  database.exec('COMMIT');
  stop();
  events.add(event);
  assert.equal(heard.length, MAX_KEPT_EVENTS + 700);
  const kept = events.after(0);
  assert.ok(kept.length >= MAX_KEPT_EVENTS && kept.length < MAX_KEPT_EVENTS + 700, String(kept.length));
  const last = kept.at(-1);
  assert.deepEqual(last, { id: MAX_KEPT_EVENTS + 701, time: '1970-01-01T00:00:00.000Z', ...event });
  assert.deepEqual(events.after(last?.id ?? 0), []);
});
