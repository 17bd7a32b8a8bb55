import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import * as http2 from 'node:http2';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { connect } from 'node:tls';
import * as zlib from 'node:zlib';
import { createScene, eachCaller, findPresentCaller, listCallers } from './caller.ts';
import { assertNoCanary, findCanary, findSightings, newCanary } from './canary.ts';
import type { CertificateKind } from './certificates.ts';
import { createGitRepository } from './git-backend.ts';
import { watchProcesses } from './process-watch.ts';
import { deterministicBytes } from './recording.ts';
import { ENCODINGS, REFLECTIONS, reflect } from './reflection.ts';
import { assertRunKeptSecret, describeRun, sallyport } from './sallyport.ts';
import { startRawUpstream, startUpstream } from './upstream.ts';
import type { Upstream } from './upstream.ts';

const run = promisify(execFile);

interface Answer {
  readonly response: IncomingMessage;
  readonly body: Buffer;
}

async function ask(
  upstream: Upstream,
  path: string,
  headers: Record<string, string> = {},
  options: { readonly method?: string; readonly body?: string } = {},
): Promise<Answer> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = httpsRequest(
      {
        host: '127.0.0.1',
        port: upstream.httpsPort,
        servername: upstream.names[0]!,
        ca: upstream.authority.certificatePem,
        path,
        method: options.method ?? 'GET',
        headers: { host: upstream.names[0]!, ...headers },
        agent: false,
      },
      resolve,
    );
    request.once('error', reject);
    request.end(options.body);
  });
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return { response, body: Buffer.concat(chunks) };
}

test('startUpstream() speaks HTTP/2 beside HTTP/1 when asked to, and records which', async () => {
  await using upstream = await startUpstream({ http2: true });
  const session = http2.connect(`https://127.0.0.1:${upstream.httpsPort}`, {
    ca: upstream.authority.certificatePem,
    servername: upstream.names[0]!,
  });
  const stream = session.request({ ':path': '/echo', authorization: 'Bearer x' });
  let body = '';
  for await (const chunk of stream.setEncoding('utf8')) body += String(chunk);
  session.close();
  assert.equal((JSON.parse(body) as { target: string }).target, '/echo');
  await ask(upstream, '/echo');
  assert.deepEqual(
    upstream.requests.map(({ httpVersion, scheme }) => `${httpVersion} ${scheme}`),
    ['2 https', '1.1 https'],
  );
});

test('startUpstream() records raw headers, body and the bytes of the connection', async () => {
  await using upstream = await startUpstream({ names: ['api.github.com', '192.0.2.7'] });
  const { body } = await ask(upstream, '/echo?a=1', { 'X-Odd-Case': 'yes' }, { method: 'POST', body: 'hello' });
  const echoed = JSON.parse(body.toString()) as { method: string; target: string; body: string };
  assert.deepEqual([echoed.method, echoed.target, echoed.body], ['POST', '/echo?a=1', 'hello']);
  const request = upstream.requests[0]!;
  assert.ok(request.rawHeaders.some(([name, value]) => name === 'X-Odd-Case' && value === 'yes'));
  assert.equal(request.serverName, 'api.github.com');
  assert.match(request.connection.received().toString(), /^POST \/echo\?a=1 HTTP\/1\.1\r\n[^]*\r\n\r\n[^]*hello/);
  assert.deepEqual(
    upstream.flags().filter((flag) => flag.startsWith('[') || flag.startsWith('api')),
    [`api.github.com:443:127.0.0.1:${upstream.httpsPort}`, `api.github.com:80:127.0.0.1:${upstream.httpPort}`],
  );
});

test('startUpstream() reflects the credential in every form, and findCanary() sees each of them', async () => {
  await using upstream = await startUpstream();
  const canary = newCanary('awkward');
  for (const form of REFLECTIONS) {
    const { response, body } = await ask(upstream, `/reflect?as=${form}&split=1`, {
      authorization: `Bearer ${canary.value}`,
    });
    const expected = reflect(canary.value, form);
    assert.equal(body.toString(), `before ${expected} after\n`, form);
    assert.equal(response.headers['x-reflected'], expected, form);
    assert.notDeepEqual(findCanary(canary, body), [], form);
  }
  const basic = Buffer.from(`user:${canary.value}`).toString('base64');
  const answer = await ask(upstream, '/reflect', { authorization: `Basic ${basic}` });
  assert.equal(answer.body.toString(), `before ${canary.value} after\n`);
});

test('startUpstream() encodes, streams, redirects and breaks off as asked', async () => {
  await using upstream = await startUpstream();
  const headers = { authorization: 'Bearer the-credential' };
  const decoders: Record<string, (body: Buffer) => Buffer> = {
    gzip: zlib.gunzipSync,
    deflate: zlib.inflateSync,
    br: zlib.brotliDecompressSync,
    zstd: zlib.zstdDecompressSync,
  };
  for (const encoding of ENCODINGS) {
    const decode = decoders[encoding] ?? ((body) => body);
    const { response, body } = await ask(upstream, `/reflect?encoding=${encoding}&split=3,1`, headers);
    assert.equal(response.headers['content-encoding'] ?? 'identity', encoding);
    assert.equal(decode(body).toString(), 'before the-credential after\n');
  }
  assert.equal(
    (await ask(upstream, '/sse?count=2&delayMs=1&reflect', headers)).body.toString().match(/the-credential/g)?.length,
    2,
  );
  assert.deepEqual((await ask(upstream, '/bytes?n=100001&split=999')).body, deterministicBytes(100_001));
  assert.equal((await ask(upstream, '/trailers')).response.trailers['x-checksum'], 'abc');
  assert.equal(
    (await ask(upstream, '/reflect?where=trailer', headers)).response.trailers['x-reflected'],
    'the-credential',
  );
  assert.equal(
    (await ask(upstream, '/redirect?to=https://x.example/')).response.headers.location,
    'https://x.example/',
  );
  assert.equal((await ask(upstream, '/status?code=418')).response.statusCode, 418);
  assert.equal((await ask(upstream, '/until-close')).body.toString(), 'until the connection closes\n');
  await assert.rejects(ask(upstream, '/close-mid'), /aborted/);
});

test('createAuthority() issues certificates that fail as their kind says', async () => {
  const codes: Record<CertificateKind, string | undefined> = {
    valid: undefined,
    expired: 'CERT_HAS_EXPIRED',
    'not-yet-valid': 'CERT_NOT_YET_VALID',
    'self-signed': 'DEPTH_ZERO_SELF_SIGNED_CERT',
    'wrong-name': 'ERR_TLS_CERT_ALTNAME_INVALID',
    'foreign-authority': 'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  };
  for (const [kind, code] of Object.entries(codes)) {
    await using upstream = await startUpstream({ certificate: kind as CertificateKind });
    if (code === undefined) await ask(upstream, '/echo');
    else await assert.rejects(ask(upstream, '/echo'), { code }, kind);
  }
});

test('startRawUpstream() hands over the socket', async () => {
  await using upstream = await startRawUpstream((socket) => socket.end('garbage'));
  const text = await new Promise<string>((resolve, reject) => {
    const socket = connect({
      port: upstream.port,
      host: '127.0.0.1',
      servername: 'api.test.example',
      ca: upstream.authority.certificatePem,
    });
    let received = '';
    socket.on('data', (chunk: Buffer) => (received += chunk.toString()));
    socket.once('end', () => resolve(received));
    socket.once('error', reject);
  });
  assert.equal(text, 'garbage');
});

test('createGitRepository() is cloned and pushed to with the password, and only so', async () => {
  const canary = newCanary();
  using repository = createGitRepository({ user: 'x', password: canary.value });
  await using upstream = await startUpstream({ names: ['git.test.example'], git: repository });
  using scene = createScene(findPresentCaller());
  const env = {
    PATH: process.env['PATH'],
    HOME: scene.home,
    GIT_CONFIG_NOSYSTEM: '1',
    GIT_TERMINAL_PROMPT: '0',
    GIT_SSL_CAINFO: upstream.caFile,
    GIT_AUTHOR_NAME: 'a',
    GIT_AUTHOR_EMAIL: 'a@b.example',
    GIT_COMMITTER_NAME: 'a',
    GIT_COMMITTER_EMAIL: 'a@b.example',
  };
  const git = (...args: string[]): Promise<unknown> => run('git', args, { cwd: scene.workspace, env });
  const url = (password: string): string =>
    `https://x:${password}@git.test.example:${upstream.httpsPort}${repository.path}`;
  const options = ['-c', `http.curloptResolve=git.test.example:${upstream.httpsPort}:127.0.0.1`];
  await assert.rejects(git(...options, 'clone', '--quiet', url('wrong'), 'refused'));
  await git(...options, 'clone', '--quiet', url(canary.value), 'copy');
  await git('-C', 'copy', 'commit', '--quiet', '--allow-empty', '-m', 'Pushed');
  await git(...options, '-C', 'copy', 'push', '--quiet', 'origin', 'main');
  assert.equal(repository.git('log', '-1', '--format=%s', 'main').trim(), 'Pushed');
});

test('assertNoCanary() finds the value in files, names, links and encodings, and nothing where nothing is', () => {
  const canary = newCanary();
  using scene = createScene(findPresentCaller());
  const search = { outputs: { output: 'x' }, files: [scene.root] };
  assertNoCanary(canary, search);
  mkdirSync(join(scene.home, 'deep'));
  writeFileSync(join(scene.home, 'deep', 'file'), `a${Buffer.from(`:${canary.value}`).toString('base64')}`);
  symlinkSync(`/nowhere/${canary.value}`, join(scene.workspace, 'link'));
  writeFileSync(join(scene.tmp, canary.value), '');
  const sightings = findSightings(canary, search);
  assert.equal(sightings.length, 3);
  assert.throws(
    () => assertNoCanary(canary, search),
    (error: Error) => error.message.includes('deep/file: base64') && !error.message.includes(canary.value),
  );
});

test('watchProcesses() sees a value in the environment of a process in another user namespace', async (context) => {
  const canary = newCanary();
  using watch = watchProcesses(canary);
  const child = spawn('unshare', ['--user', 'sleep', '0.5'], {
    env: { PATH: process.env['PATH'], LEAK: canary.value },
    stdio: 'ignore',
  });
  const status = await new Promise((resolve) => child.once('close', resolve));
  if (status !== 0) return context.skip('user namespaces are forbidden on this machine');
  assert.ok(watch.watchedCount > 0);
  assert.ok(watch.sightings.some(({ where, form }) => where.startsWith('environ') && form === 'raw'));
});

eachCaller(
  'sallyport() sees a value that a sandbox holds, in its processes, its output and its files',
  async (caller) => {
    const canary = newCanary();
    using scene = createScene(caller);
    const leak = Buffer.from(`a${canary.value}`).toString('base64');
    const script = 'echo "$LEAK"; echo "$LEAK" >file; sleep 0.3';
    const result = await sallyport(['run', '-e', `LEAK=${leak}`, '--', 'sh', '-c', script], { scene, canary });
    assert.equal(result.status, 0, describeRun(result));
    assert.ok(result.watchedProcessCount > 0);
    assert.throws(
      () => assertRunKeptSecret(canary, result, scene),
      (error: Error) =>
        ['environ of process', 'standard output', 'workspace/file'].every((place) => error.message.includes(place)),
    );
  },
);

test('listCallers() gives a caller or a reason for root and for an ordinary user', () => {
  for (const { kind, caller, skip } of listCallers()) {
    assert.equal((caller === undefined) !== (skip === undefined), true, kind);
    if (caller !== undefined) assert.equal(caller.uid === 0, kind === 'root');
  }
});
