import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { sandboxCreateSchema, secretUpdateSchema } from '../api/index.ts';
import { SallyportError } from '../errors.ts';
import { Connection, Sandbox, Secret, type ExecStreamEvent } from './index.ts';
import { daemonSocket } from './daemon-launch.ts';
import { eventText, SANDBOX, sendJson, sendProblem, startStandIn, type StandIn } from './stand-in.testing.ts';

const VALUE = 'a-value-that-must-not-show';

function code(expected: string, says = /./): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof SallyportError, inspect(error));
    assert.equal(error.code, expected, error.message);
    assert.match(error.message, says);
    return true;
  };
}

async function sandboxOf({ connection }: StandIn): Promise<Sandbox> {
  return await Sandbox.get('worker', { connection });
}

test('Sandbox.create() and the builder ask for the same, and for what the contract takes', async () => {
  await using daemon = await startStandIn((_asked, response) => sendJson(response, SANDBOX, 201));
  const call = { connection: daemon.connection };
  const limits = { memoryBytes: 1 << 28, cpus: 1.5 };
  const secrets = [
    Secret.env('A', { value: VALUE, allowHosts: ['a.example'], allowHostPatterns: ['*.a.example'], locations: ['header', 'query'], placeholder: 'ph_{rand}', onViolation: 'pass', name: 'first' }),
    Secret.env('B', { value: VALUE, allowHosts: ['b.example', 'c.example'] }),
    Secret.named('HF_TOKEN', { envVar: 'HF' }),
  ]; // prettier-ignore
  await Sandbox.create(
    {
      name: 'worker', image: 'host', env: { X: '1' }, labels: { l: 'm' }, workspace: 'w', workdir: '/d', limits, runtime: 'crun', lifetimeMs: 5, autoRemove: true,
      volumes: [{ source: 'v', destination: '/v', readOnly: true }], secrets, start: undefined,
      network: { allow: ['a', 'b'], deny: ['c'], tunnel: ['d'], resolve: { 'a:443': '127.0.0.1:1' }, upstreamCa: ['f', '/g'], clientCert: { 'a:8443': 'both.pem', b: { certificate: 'c.crt', key: '/c.key' } } },
    },
    call,
  ); // prettier-ignore
  await Sandbox.builder('worker')
    .image('host').env('X', '1').label('l', 'm').workspace('w').workdir('/d').limits({ memoryBytes: 1 << 28 }).limits({ cpus: 1.5 }).runtime('crun').lifetime(5).autoRemove()
    .volume('v', '/v', { readOnly: true })
    .secret((s) => s.env('A').value(VALUE).name('first').allowHost('a.example').allowHostPattern('*.a.example').locations('header', 'query').placeholder('ph_{rand}').onViolation('pass'))
    .secretEnv('B', VALUE, 'b.example', 'c.example')
    .secret(Secret.named('HF_TOKEN', { envVar: 'HF' }))
    .network({ allow: ['a'], upstreamCa: 'f', clientCert: { 'a:8443': 'both.pem' } })
    .network({ allow: ['b'], deny: ['c'], tunnel: ['d'], resolve: { 'a:443': '127.0.0.1:1' }, upstreamCa: ['/g'], clientCert: { b: { certificate: 'c.crt', key: '/c.key' } } })
    .create(call); // prettier-ignore
  const [first, second] = daemon.asked.map(({ body }) => sandboxCreateSchema.parse(JSON.parse(body)));
  // An empty list and none are the same.
  const plain = ({ secrets: list = [], ...rest }: NonNullable<typeof first>) => ({
    ...rest,
    secrets: list.map((secret) =>
      Object.fromEntries(Object.entries(secret).filter(([, value]) => JSON.stringify(value) !== '[]')),
    ),
  });
  assert.deepEqual(plain(second!), plain(first!));
  assert.equal(first?.workspace, resolve('w'));
  assert.deepEqual(first?.network?.upstreamCa, [resolve('f'), '/g']);
  assert.deepEqual(first?.network?.clientCertificates, [
    { host: 'a:8443', certificate: resolve('both.pem') },
    { host: 'b', certificate: resolve('c.crt'), key: '/c.key' },
  ]);
  assert.throws(
    () =>
      Sandbox.builder()
        .network({ clientCert: { a: 'b' } })
        .network({ clientCert: { a: 'c' } }),
    code('USAGE', /"a" is there twice in "clientCert"/),
  );
  assert.deepEqual(first?.secrets?.[2], { source: 'store', name: 'HF_TOKEN', env: 'HF' });
  await Sandbox.run({}, call);
  assert.deepEqual(JSON.parse(daemon.asked[2]?.body ?? ''), { autoRemove: true });
  assert.throws(
    () =>
      Sandbox.builder()
        .network({ resolve: { a: 'b' } })
        .network({ resolve: { a: 'c' } }),
    code('USAGE', /"a" is there twice/),
  );
  assert.throws(() => Sandbox.builder().secret((s) => s.value(VALUE)), code('USAGE', /no variable/));
  assert.throws(() => Sandbox.builder().secret((s) => s.env('A')), code('INVALID_SECRET_VALUE', /"A" has no value/));
  assert.throws(() => Sandbox.builder().secret('text' as never), code('USAGE'));
});

test('a Secret and a builder show no value', () => {
  const secret = Secret.env('A', { value: VALUE, allowHosts: ['a.example'] });
  const builder = Sandbox.builder()
    .secret(secret)
    .secret((s) => s.env('B').value(VALUE));
  for (const shown of [secret, [secret], { secret }, builder]) {
    const text = `${inspect(shown, { depth: 9, showHidden: true })} ${JSON.stringify(shown)} ${String(secret)}`;
    assert.ok(!text.includes(VALUE), text);
  }
  assert.equal(JSON.stringify(secret), '{"name":"A","env":"A"}');
});

test('SandboxSecrets.set() sends what the contract takes', async () => {
  await using daemon = await startStandIn((_asked, response) => sendJson(response, SANDBOX));
  const { secrets } = await sandboxOf(daemon);
  await secrets.set(Secret.env('A', { value: VALUE, allowHosts: ['a.example'] }));
  await secrets.set('with.dots', { value: VALUE });
  await secrets.set('A', { allowHostPatterns: ['*.a.example'], env: 'C' });
  const sent = daemon.asked
    .slice(1)
    .map(({ method, url, body }) => [method, url, secretUpdateSchema.parse(JSON.parse(body))]);
  assert.deepEqual(sent, [
    ['PUT', '/v1/sandboxes/abc/secrets/A', { env: 'A', value: VALUE, allowHosts: ['a.example'] }],
    ['PUT', '/v1/sandboxes/abc/secrets/with.dots', { value: VALUE }],
    ['PUT', '/v1/sandboxes/abc/secrets/A', { allowHostPatterns: ['*.a.example'], env: 'C' }],
  ]);
  await assert.rejects(secrets.set(Secret.named('A')), code('USAGE', /Store it for the sandbox/));
});

test('failures of the daemon are errors with its code, or say that they are not understood', async () => {
  const answers: Record<string, (response: Parameters<typeof sendJson>[0]) => void> = {
    'a%2Fb': (response) => sendProblem(response, 'SANDBOX_NOT_FOUND', 'There is no sandbox "a/b".', 404),
    later: (response) => sendProblem(response, 'CODE_OF_NEXT_YEAR', 'It rains.'),
    html: (response) => void response.writeHead(500).end('<html>'),
    text: (response) => void response.end('so what'),
    cut: (response) => {
      response.writeHead(200, { 'content-length': 100 });
      response.write('{"na', () => response.destroy());
    },
    silent: () => undefined,
  };
  await using daemon = await startStandIn(({ url }, response) =>
    answers[url.slice('/v1/sandboxes/'.length)]?.(response),
  );
  const { connection } = daemon;
  const get = async (name: string, more = {}) => await Sandbox.get(name, { connection, ...more });
  await assert.rejects(get('a/b'), code('SANDBOX_NOT_FOUND', /"a\/b"/));
  await assert.rejects(get('later'), code('PROTOCOL_FAILED', /It rains\. .*CODE_OF_NEXT_YEAR/));
  await assert.rejects(get('html'), code('PROTOCOL_FAILED', /HTTP 500/));
  await assert.rejects(get('text'), code('PROTOCOL_FAILED', /else than JSON/));
  await assert.rejects(get('cut'), code('DAEMON_UNREACHABLE'));
  await assert.rejects(get(''), code('SANDBOX_NOT_FOUND'));
  await assert.rejects(get('silent', { timeoutMs: 50 }), code('TIMED_OUT', /50 ms/));
  await assert.rejects(get('silent', { signal: AbortSignal.timeout(50) }), code('TIMED_OUT'));
  await assert.rejects(get('silent', { timeoutMs: -1 }), code('USAGE'));
  const abort = new AbortController();
  setTimeout(() => abort.abort(new RangeError('enough')), 50);
  await assert.rejects(get('silent', { signal: abort.signal }), (error) => {
    assert.ok(error instanceof SallyportError && error.cause instanceof RangeError);
    return code('ABORTED')(error);
  });
  const nobody = new Connection({ socket: `${daemon.socket}.none` });
  await assert.rejects(nobody.status(), code('DAEMON_UNREACHABLE', /ENOENT.*sallyport daemon status/));
});

const started = eventText({ type: 'started', exec: { id: 'e1' } } as { type: string });
const output = (type: string, text: string | Uint8Array) =>
  eventText(
    { type, data: Buffer.from(text).toString('base64'), time: 't' } as { type: string },
    text.toString().length.toString(),
  );
const exit = eventText({ type: 'exit', exitCode: 0, timedOut: false, outOfMemory: false } as { type: string });

test('execStream() reads events however they are cut, and takes them up again where a connection breaks', async () => {
  const text = `${started}${output('stdout', 'né\0')}${output('stderr', 'e')}${eventText({ type: 'gap' })}${exit}`;
  const bytes = Buffer.from(text);
  for (const size of [1, 7, 100, bytes.length]) {
    await using daemon = await startStandIn(({ method }, response) => {
      if (method === 'GET') return sendJson(response, SANDBOX);
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (let offset = 0; offset < bytes.length; offset += size) response.write(bytes.subarray(offset, offset + size));
      response.end();
    });
    const { stdout, stderr, stdoutBytes, truncated } = await (await sandboxOf(daemon)).exec('x');
    assert.deepEqual([stdout, stderr, stdoutBytes.length, truncated], ['né\0', 'e', 4, true]);
  }
  let tries = 0;
  await using daemon = await startStandIn(({ method, url }, response) => {
    if (url === '/v1/daemon' || !url.includes('execs')) return sendJson(response, SANDBOX);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    tries += 1;
    if (method === 'POST') response.write(started + output('stdout', 'a'), () => response.destroy());
    else if (tries === 2) response.end(output('stdout', 'bb'));
    else response.end(output('stdout', 'ccc') + exit);
  });
  const result = await (await sandboxOf(daemon)).exec('x');
  assert.equal(result.stdout, 'abbccc');
  assert.deepEqual(
    daemon.asked.filter(({ url }) => url.includes('execs')).map(({ method, url }) => `${method} ${url}`),
    [
      'POST /v1/sandboxes/abc/execs',
      'GET /v1/sandboxes/abc/execs/e1/events?after=1',
      'GET /v1/sandboxes/abc/execs/e1/events?after=2',
    ],
  );
});

test('execStream() passes on why a command failed, and does not wait for one that never started', async () => {
  const problem = eventText({ type: 'error', problem: { code: 'EXEC_FAILED', detail: 'No such place.' } } as {
    type: string;
  });
  let answer = started + problem;
  await using daemon = await startStandIn(({ method }, response) => {
    if (method === 'GET') return sendJson(response, SANDBOX);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end(answer);
  });
  const sandbox = await sandboxOf(daemon);
  await assert.rejects(sandbox.exec('x'), code('EXEC_FAILED', /No such place/));
  answer = '';
  await assert.rejects(sandbox.exec('x'), code('PROTOCOL_FAILED'));
  await assert.rejects(sandbox.exec('x', [], { stdin: true }), code('USAGE', /execStream/));
});

test('exec() and execStream() refuse a text in the place of a list of arguments', async () => {
  await using daemon = await startStandIn((_asked, response) => sendJson(response, SANDBOX));
  const sandbox = await sandboxOf(daemon);
  const asked = daemon.asked.length;
  await assert.rejects(sandbox.exec('sh', 'true' as never), code('USAGE', /list of texts/));
  assert.throws(() => sandbox.execStream('sh', [1] as never), code('USAGE', /list of texts/));
  assert.equal(daemon.asked.length, asked);
});

test('an aborted exec() signals its command before it leaves', async () => {
  await using daemon = await startStandIn(({ method, url }, response) => {
    if (method === 'GET') return sendJson(response, SANDBOX);
    if (url.endsWith('/signal')) return void response.writeHead(204).end();
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(started + output('stdout', 'x'));
  });
  const sandbox = await sandboxOf(daemon);
  const abort = new AbortController();
  const events: ExecStreamEvent['type'][] = [];
  const read = async () => {
    for await (const { type } of sandbox.execStream('x', [], { signal: abort.signal })) {
      events.push(type);
      if (type === 'stdout') abort.abort();
    }
  };
  await assert.rejects(read(), code('ABORTED'));
  assert.deepEqual(events, ['started', 'stdout']);
  assert.deepEqual(JSON.parse(daemon.asked.at(-1)?.body ?? ''), { signal: 'SIGKILL' });
});

test('content that is not wanted any more is not waited for', async () => {
  let returned = false;
  await using daemon = await startStandIn((asked, response) => {
    if (asked.method === 'GET') sendJson(response, SANDBOX);
    else sendProblem(response, 'FILE_FAILED', 'It is a directory.');
  }, true);
  const sandbox = await sandboxOf(daemon);
  const endless: AsyncIterable<string> = {
    [Symbol.asyncIterator]: () => {
      let isFirst = true;
      return {
        next: async () => {
          if (!isFirst) return await new Promise(() => undefined);
          isFirst = false;
          return { done: false as const, value: 'x' };
        },
        return: async () => {
          returned = true;
          return await Promise.resolve({ done: true as const, value: undefined });
        },
      };
    },
  };
  // By hand, because the generator around it cannot be interrupted either.
  await assert.rejects(sandbox.fs.write('/x', endless), code('FILE_FAILED', /a directory/));
  assert.equal(returned, false);
  await assert.rejects(sandbox.fs.write('/x', 7 as never), code('USAGE', /Content/));
});

test('Sandbox[Symbol.asyncDispose]() removes what was made here, and only that', async () => {
  let gone = false;
  await using daemon = await startStandIn(({ method }, response) => {
    if (method !== 'DELETE') return sendJson(response, SANDBOX);
    if (gone) sendProblem(response, 'SANDBOX_NOT_FOUND', 'x', 404);
    else response.writeHead(204).end();
  });
  const call = { connection: daemon.connection };
  await (await Sandbox.get('worker', call))[Symbol.asyncDispose]();
  const own = await Sandbox.create({}, call);
  await own[Symbol.asyncDispose]();
  gone = true;
  await own[Symbol.asyncDispose]();
  const deleted = daemon.asked.filter(({ method }) => method === 'DELETE').map(({ url }) => url);
  assert.deepEqual(deleted, ['/v1/sandboxes/abc?force=true', '/v1/sandboxes/abc?force=true']);
});

test('a Connection starts the daemon with the program that it is given, and says why that failed', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'sallyport-launch-'));
  const former = { ...process.env };
  try {
    process.env['XDG_STATE_HOME'] = directory;
    delete process.env['SALLYPORT_SOCKET'];
    const program = join(directory, 'program');
    writeFileSync(
      program,
      '#!/bin/sh\necho "$@" >> "$0.calls"; echo "first line" >&2; echo "sallyport: no runc [TOOL_MISSING]" >&2; exit 125\n',
    );
    chmodSync(program, 0o755);
    await assert.rejects(
      new Connection({ program }).status(),
      code('DAEMON_UNREACHABLE', /did not start: sallyport: no runc \[TOOL_MISSING\]$/),
    );
    const missing = new Connection({ program: join(directory, 'missing') });
    await assert.rejects(
      missing.status(),
      code('DAEMON_UNREACHABLE', /could not be run.*ENOENT.*Install the package "sallyport"/),
    );
    await assert.rejects(new Connection({ startsDaemon: false }).status(), code('DAEMON_UNREACHABLE', /ENOENT/));
    process.env['SALLYPORT_SOCKET'] = join(directory, 'other');
    await assert.rejects(new Connection({ program }).status(), code('DAEMON_UNREACHABLE', /cannot be reached/));
    assert.equal(daemonSocket(process.env), join(directory, 'other'));
    assert.throws(() => daemonSocket({ SALLYPORT_SOCKET: 'relative' }), code('USAGE', /absolute/));
    assert.equal(daemonSocket({ XDG_STATE_HOME: '/s' }), '/s/sallyport/daemon/socket');
  } finally {
    process.env = former;
    rmSync(directory, { recursive: true, force: true });
  }
});
