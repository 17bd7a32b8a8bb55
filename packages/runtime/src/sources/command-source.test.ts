import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { inspect } from 'node:util';
import { SallyportError } from '@sallyport/sdk';
import { CommandSource } from './command-source.ts';
import { MAX_VALUE_BYTES } from './fetched-value.ts';
import { createValueSource } from './value-source.ts';

const CANARY = 'canary-7f3a91c2e5d84b06';
const never = new AbortController().signal;

interface Settings {
  readonly environment?: NodeJS.ProcessEnv;
  readonly directory?: string;
  readonly showError?: boolean;
  readonly timeLimitMs?: number;
}

function command(text: string, settings: Settings = {}): CommandSource {
  const environment = { PATH: process.env['PATH'], CANARY };
  return new CommandSource(text, { environment, directory: '/', showError: false, timeLimitMs: 10_000, ...settings });
}

async function value(text: string, settings?: Settings): Promise<string> {
  return Buffer.from(await command(text, settings).fetch(never)).toString('utf8');
}

/** The failure of a command, which holds nothing that it printed. */
async function failure(text: string, settings?: Settings): Promise<SallyportError> {
  const error = await value(text, settings).then(
    () => assert.fail('there was a value'),
    (caught: unknown) => caught,
  );
  assert.ok(error instanceof SallyportError, inspect(error));
  assert.equal(error.code, 'SOURCE_FAILED');
  assert.ok(!inspect(error, { depth: 9 }).includes(CANARY), 'the failure holds the value');
  assert.ok(!error.message.includes(text), 'the failure quotes the command');
  return error;
}

const isAlive = (pid: number): boolean => {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
};

async function until(condition: () => boolean): Promise<void> {
  for (const endMs = performance.now() + 10_000; !condition();) {
    assert.ok(performance.now() < endMs, 'it does not come about');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test('CommandSource.fetch() takes what a shell command prints, without the line breaks at its end', async () => {
  assert.equal(await value('echo "$CANARY"'), CANARY);
  assert.equal(await value('printf "%s" "$CANARY"'), CANARY);
  assert.equal(await value('printf "a\\nb \\r\\n\\n"'), 'a\nb ');
  assert.equal(await value('printf "gr\\303\\274n" | cat'), 'grün');
  assert.equal(await value('echo out; echo err >&2'), 'out');
  assert.equal(await value('cat; pwd', { directory: '/usr' }), '/usr', 'its input is empty');
  assert.equal((await value(`head -c ${MAX_VALUE_BYTES} /dev/zero | tr '\\0' x; echo`)).length, MAX_VALUE_BYTES);
});

test('CommandSource.fetch() gives the command the environment, but what is of Sallyport', async () => {
  const environment = { PATH: process.env['PATH'], KEPT: 'yes', SALLYPORT_SOCKET: '/s', SALLYPORT_WARM: '1' };
  const lines = (await value('env', { environment })).split('\n').map((line) => line.split('=')[0]);
  assert.ok(lines.includes('KEPT'));
  assert.deepEqual(
    lines.filter((name) => name?.startsWith('SALLYPORT')),
    [],
  );
});

test('CommandSource.fetch() gives the command no descriptor of ours, and a session of its own', async (t) => {
  const open = openSync(import.meta.filename, 'r');
  t.after(() => closeSync(open));
  const links = await value('ls -l /proc/self/fd/');
  assert.match(links, / 0 -> \/dev\/null$/m);
  assert.doesNotMatch(links, /command-source/);
  assert.equal(await value('readlink /proc/$$/fd/0'), '/dev/null');
  const [pid, group, session] = (await value(`echo $$; cut -d' ' -f 5,6 /proc/$$/stat`)).split(/\s/);
  assert.equal(group, pid);
  assert.equal(session, pid);
});

test('CommandSource.fetch() fails in words that hold nothing of the output', async () => {
  assert.match((await failure('echo "$CANARY"; echo "$CANARY" >&2; exit 3')).message, /status 3\b.*hidden/);
  assert.match((await failure('echo "$CANARY"; kill -TERM $$')).message, /SIGTERM/);
  assert.match((await failure('true')).message, /empty/);
  assert.match((await failure('printf "\\n\\n"')).message, /empty/);
  assert.match((await failure('printf "%s\\377" "$CANARY"')).message, /UTF-8/);
  assert.match((await failure('while :; do echo "$CANARY"; done')).message, /64 KiB/);
  assert.match((await failure(`head -c ${MAX_VALUE_BYTES + 1} /dev/zero`)).message, /64 KiB/);
  assert.match((await failure('no-such-program-here')).message, /status 127/);
  assert.match((await failure('true', { directory: '/no/such/directory' })).message, /"\/no\/such\/directory"/);
  assert.match((await failure(`echo ${CANARY}\0`)).message, /could not be started/);
  assert.match((await failure(`: ${'x'.repeat(200_000)}`)).message, /could not be started.*E2BIG/);
  assert.match((await failure('echo "$CANARY"; sleep 60', { timeLimitMs: 50 })).message, /within 0\.05 s/);
});

test('CommandSource.fetch() shows the standard error only when it is asked to, and nothing that steers a terminal', async () => {
  const text = 'echo "$CANARY"; printf "no \\033[31msession\\007, sign in\\n" >&2; exit 1';
  assert.doesNotMatch((await failure(text)).message, /sign in/);
  assert.match((await failure(text, { showError: true })).message, /It wrote:\nno \[31msession, sign in$/);
  const long = await failure('head -c 1000000 /dev/zero | tr "\\0" x >&2; exit 1', { showError: true });
  assert.ok(long.message.length < 5000);
});

test('CommandSource.fetch() ends every process that came of the command when its time is over or it is called off', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-command-'));
  t.after(() => rmSync(directory, { recursive: true }));
  // In the group; in a group of its own; orphaned; in a session of its own.
  const program = [
    'sleep 600 & echo $! > plain',
    'timeout 600 sh -c "echo \\$\\$ > grouped; sleep 600; true" &',
    '(sh -c "echo \\$\\$ > orphan; exec sleep 600" &)',
    'setsid sh -c "echo \\$\\$ > session; sleep 600; true" &',
    'trap "" TERM HUP INT; until [ -s plain ] && [ -s grouped ] && [ -s orphan ] && [ -s session ]; do sleep 0.01; done; : > ready; wait; sleep 600',
  ].join('\n');
  const names = ['plain', 'grouped', 'orphan', 'session'];
  for (const way of ['time', 'signal']) {
    const controller = new AbortController();
    const fetching = command(program, { directory, timeLimitMs: way === 'time' ? 1500 : 30_000 }).fetch(
      controller.signal,
    );
    const failed = assert.rejects(fetching, { code: 'SOURCE_FAILED' });
    await until(() => existsSync(join(directory, 'ready')));
    const pids = names.map((name) => Number(readFileSync(join(directory, name), 'utf8')));
    assert.deepEqual(pids.map(isAlive), [true, true, true, true]);
    if (way === 'signal') controller.abort();
    await failed;
    await until(() => !pids.some(isAlive));
    for (const name of [...names, 'ready']) rmSync(join(directory, name));
  }
});

test('CommandSource.fetch() does not wait for what a command leaves behind, and ends it', async () => {
  const [word, pid] = (await value('sleep 600 & echo value $!')).split(' ');
  assert.equal(word, 'value');
  await until(() => !isAlive(Number(pid)));
  assert.match(await value('setsid sh -c "sleep 2; echo late" & sleep 0.2; echo value'), /^value$/);
});

test('CommandSource.fetch() starts nothing when it was called off before', async () => {
  await assert.rejects(command('echo x').fetch(AbortSignal.abort()), { code: 'SOURCE_FAILED', message: /called off/ });
});

test('createValueSource() makes commands, which do not show themselves', async () => {
  const text = `printf ${CANARY}`;
  const source = createValueSource({ kind: 'command', command: text }, { environment: process.env, directory: '/' });
  assert.ok(!inspect(source, { showHidden: true, depth: 9 }).includes(CANARY));
  assert.equal(Buffer.from(await source.fetch(never)).toString(), CANARY);
});
