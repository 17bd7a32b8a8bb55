import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chownSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type tls from 'node:tls';
import { Connection, SallyportError, Sandbox } from 'sallyport';
import { assertNoCanary } from './harness/canary.ts';
import { createScene, eachCaller, findPresentCaller } from './harness/caller.ts';
import type { Scene } from './harness/caller.ts';
import { createAuthority } from './harness/certificates.ts';
import type { Identity, TestAuthority } from './harness/certificates.ts';
import { createDaemonScene } from './harness/daemon.ts';
import { assertRunKeptSecret, describeRun, sallyport } from './harness/sallyport.ts';
import { findProgram, whyNotInside } from './harness/tools.ts';
import { startRawUpstream } from './harness/upstream.ts';

const HOST = 'internal.test.example';

/** Writes what only the scene's caller may read. */
function writePrivate(scene: Scene, folder: string, name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content, { mode: 0o600 });
  chownSync(path, scene.caller.uid, scene.caller.gid);
  return path;
}

function writeIdentity(scene: Scene, identity: Identity, name = 'client'): { certificate: string; key: string } {
  return {
    certificate: writePrivate(scene, scene.assets, `${name}.crt`, identity.cert),
    key: writePrivate(scene, scene.assets, `${name}.key`, identity.key),
  };
}

/** An upstream that wants a certificate of `clients` and answers with whom it saw. */
async function startMutualUpstream(authority: TestAuthority, clients: TestAuthority) {
  return startRawUpstream(
    (socket) => {
      const secure = socket as tls.TLSSocket;
      socket.once('data', () => {
        const body = `${secure.getPeerX509Certificate()?.subject}\n`;
        socket.end(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`);
      });
    },
    { names: [HOST], authority, tls: { requestCert: true, rejectUnauthorized: true, ca: clients.certificatePem } },
  );
}

const curl = whyNotInside('curl');

eachCaller(
  'a client certificate of the operator opens its host, and the sandbox sees nothing of the key',
  async (caller) => {
    using scene = createScene(caller);
    // Not in the scene that is searched for the key.
    using elsewhere = createScene(caller);
    const [authority, clients] = await Promise.all([createAuthority(), createAuthority('Clients')]);
    const identity = await clients.issueClient('the-operator');
    const { certificate, key } = writeIdentity(elsewhere, identity);
    await using upstream = await startMutualUpstream(authority, clients);
    const canary = { value: identity.key.split('\n')[1] ?? '' };
    const url = `https://${HOST}/`;
    const run = async (flags: readonly string[], script: string) =>
      sallyport(['run', ...upstream.flags(), ...flags, '--', 'sh', '-c', script], { scene, canary, timeoutMs: 90_000 });

    const opened = await run(
      ['--client-cert', `${HOST}=${certificate},${key}`],
      `curl -sS ${url} && curl -sS --http2 ${url} && ls ${key} ${certificate} 2>&1 | grep -c 'No such file'`,
    );
    assert.equal(opened.stdout, 'CN=the-operator\nCN=the-operator\n2\n', describeRun(opened));
    assertRunKeptSecret(canary, opened, scene);
    assert.deepEqual(
      opened.audit.map((event) => [event['kind'], event['decision'], event['rule']]),
      [
        ['request', 'allow', `--client-cert ${HOST}`],
        ['request', 'allow', `--client-cert ${HOST}`],
      ],
    );

    // Without one, with a secret for the same host.
    const without = await run(['--secret', `TOKEN=canary-value-4711@${HOST}`], `curl -sS -w '%{http_code}' ${url}`);
    assert.match(without.stdout, /UPSTREAM_TLS_FAILED.*502$/s, describeRun(without));
    assert.match(without.stdout, /wants a client certificate; give the one for this host with --client-cert HOST=/);

    // A key in the workspace would be the sandbox's.
    const inWorkspace = writePrivate(scene, scene.workspace, 'my.key', identity.key);
    symlinkSync(scene.workspace, join(elsewhere.assets, 'link'));
    for (const path of [inWorkspace, 'my.key', join(elsewhere.assets, 'link', 'my.key')]) {
      const seen = await run(['--client-cert', `${HOST}=${certificate},${path}`], 'echo started');
      assert.deepEqual([seen.status, seen.stdout], [2, ''], describeRun(seen));
      assert.match(seen.stderr, /contains "[^"]*my\.key", which no sandbox may see.*\[WORKSPACE_REFUSED\]/);
    }
    const mounted = await run(
      ['--client-cert', `${HOST}=${certificate},${key}`, '-v', `${elsewhere.assets}:/assets:ro`],
      'echo started',
    );
    assert.match(mounted.stderr, /\[MOUNT_REFUSED\]/, describeRun(mounted));
    const forced = await run(
      ['--force-workspace', '--client-cert', `${HOST}=${certificate},my.key`],
      `wc -c < my.key; curl -sS ${url}`,
    );
    assert.equal(forced.stdout.replaceAll(' ', ''), '0\nCN=the-operator\n', describeRun(forced));
  },
  { timeoutMs: 180_000, skip: curl },
);

eachCaller(
  'a sandbox that lives on shows the certificate as well, through a daemon that is killed and without its files',
  async (caller) => {
    await using scene = await createDaemonScene(caller);
    using elsewhere = createScene(caller);
    const [authority, clients] = await Promise.all([createAuthority(), createAuthority('Clients')]);
    const identity = await clients.issueClient('the-operator');
    const { certificate, key } = writeIdentity(elsewhere, identity);
    const both = writePrivate(elsewhere, elsewhere.assets, 'both.pem', identity.cert + identity.key);
    await using upstream = await startMutualUpstream(authority, clients);
    const canary = { value: identity.key.split('\n')[1] ?? '' };
    const visit = ['curl', '-sS', '-m', '20', '-w', '%{http_code}', `https://${HOST}/`];
    const outputs: Record<string, string> = {};
    const seen = async (name: string): Promise<string> => {
      const { stdout, stderr } = await scene.exec(name, visit);
      outputs[`${name} ${Object.keys(outputs).length}`] = stdout + stderr;
      return stdout;
    };

    const cliFlags = [...upstream.flags(), '--no-workspace', '--client-cert', `${HOST}=${certificate},${key}`];
    const made = await scene.cli(['create', '--name', 'made', ...cliFlags]);
    assert.deepEqual([made.status, made.stdout], [0, 'made\n'], describeRun(made));
    const kept = await scene.cli(['run', '--keep', '--name', 'kept', ...cliFlags, '--', ...visit]);
    assert.equal(kept.stdout, 'CN=the-operator\n200', describeRun(kept));
    const connection = new Connection({ socket: scene.socket });
    const network = {
      resolve: { [`${HOST}:443`]: `127.0.0.1:${upstream.port}` },
      upstreamCa: upstream.caFile,
      clientCert: { [HOST]: both },
    };
    await Sandbox.builder('built').network(network).create({ connection });
    const plain = { ...network, clientCert: {}, allow: [HOST] };
    await Sandbox.create({ name: 'plain', network: plain }, { connection });
    for (const name of ['made', 'kept', 'built']) assert.equal(await seen(name), 'CN=the-operator\n200', name);
    assert.doesNotMatch(await seen('plain'), /200/, 'nobody else shows it');

    // A change of rules leaves it; so does a daemon that is killed, whatever has become of the files.
    await scene.client.ask({
      method: 'POST',
      path: '/v1/sandboxes/made/policy/rules',
      body: { action: 'allow', host: 'x.example' },
    });
    assert.equal(await seen('made'), 'CN=the-operator\n200');
    for (const file of [certificate, both]) rmSync(file);
    await scene.killDaemon();
    await scene.startDaemon();
    for (const name of ['made', 'kept', 'built']) assert.equal(await seen(name), 'CN=the-operator\n200', name);
    await scene.client.ask({ method: 'POST', path: '/v1/sandboxes/built/kill' });
    const gone = await scene.cli(['start', 'built']);
    assert.deepEqual([gone.status, gone.stdout], [2, ''], describeRun(gone));
    assert.match(gone.stderr, /both\.pem" cannot be read \(ENOENT\).*\[UNREADABLE_FILE\]/);
    assertNoCanary(canary, { outputs, files: [scene.root] });
  },
  { timeoutMs: 180_000, skip: curl },
);

test('a sandbox that lives on is refused a certificate that cannot work, or that it would see', async () => {
  await using scene = await createDaemonScene(findPresentCaller());
  const clients = await createAuthority();
  const good = writeIdentity(scene, await clients.issueClient('good'));
  const late = writeIdentity(scene, await clients.issueClient('late', 'expired'), 'late');
  const inside = writePrivate(scene, scene.workspace, 'my.key', readFileSync(good.key, 'utf8'));
  const pipe = join(scene.assets, 'pipe');
  assert.equal(spawnSync('mkfifo', [pipe]).status, 0);
  const cases: [
    more: object,
    certificate: { host?: string; certificate: string; key?: string },
    code: string,
    says: RegExp,
  ][] = [
    [{}, { certificate: '/nonexistent.pem' }, 'UNREADABLE_FILE', /cannot be read \(ENOENT\)/],
    [{}, { certificate: pipe }, 'UNREADABLE_FILE', /is not a file/],
    [{}, { certificate: '/dev/zero' }, 'UNREADABLE_FILE', /is not a file/],
    [{}, { certificate: good.certificate, key: late.key }, 'INVALID_CLIENT_CERTIFICATE', /does not belong/],
    [{}, { certificate: late.certificate, key: late.key }, 'INVALID_CLIENT_CERTIFICATE', /expired at/],
    [{}, { certificate: '/usr/bin/env' }, 'INVALID_CLIENT_CERTIFICATE', /lies in \/usr, which every sandbox sees/],
    [{}, { certificate: 'relative' }, 'INVALID_REQUEST', /clientCertificates\[0\]\.certificate/],
    [{}, { ...good, host: '*.example.com' }, 'INVALID_HOST_PATTERN', /one host/],
    [{ tunnel: [HOST] }, good, 'USAGE', /exempts a host that --client-cert/],
    [{ upstreamCa: [pipe] }, good, 'UNREADABLE_FILE', /upstream CA: .*is not a file/],
  ];
  for (const [more, certificate, code, says] of cases) {
    const network = { ...more, clientCertificates: [{ host: HOST, ...certificate }] };
    await assert.rejects(scene.create({ network }), (error) => {
      assert.ok(error instanceof SallyportError && error.code === code, String(error));
      assert.match(error.message, says);
      return true;
    });
  }
  const network = { clientCertificates: [{ host: HOST, certificate: good.certificate, key: inside }] };
  await assert.rejects(scene.create({ network, workspace: scene.workspace }), { code: 'WORKSPACE_REFUSED' });
  const volumes = [{ source: scene.workspace, destination: '/w' }];
  await assert.rejects(scene.create({ network, volumes }), { code: 'MOUNT_REFUSED' });
  assert.equal((await scene.cli(['ls', '-q'])).stdout, '', 'nothing that was refused is left');
});

test('a client certificate that cannot work is refused before anything starts', async () => {
  using scene = createScene(findPresentCaller());
  const clients = await createAuthority();
  const good = writeIdentity(scene, await clients.issueClient('good'));
  const late = writeIdentity(scene, await clients.issueClient('late', 'expired'), 'late');
  const usual = `${HOST}=${good.certificate},${good.key}`;
  const cases: [flags: string[], code: string, says: RegExp][] = [
    [['--client-cert', HOST], 'INVALID_CLIENT_CERTIFICATE', /HOST=CERT_FILE,KEY_FILE/],
    [['--client-cert', `*.example.com=${good.certificate}`], 'INVALID_HOST_PATTERN', /one host, not to a pattern/],
    [
      ['--client-cert', `${HOST}=/nonexistent.pem`],
      'UNREADABLE_FILE',
      /"\/nonexistent\.pem" cannot be read \(ENOENT\)/,
    ],
    [['--client-cert', `${HOST}=${good.certificate}`], 'INVALID_CLIENT_CERTIFICATE', /holds no private key in PEM/],
    [['--client-cert', `${HOST}=${good.certificate},${late.key}`], 'INVALID_CLIENT_CERTIFICATE', /does not belong/],
    [['--client-cert', `${HOST}=${late.certificate},${late.key}`], 'INVALID_CLIENT_CERTIFICATE', /expired at/],
    [
      ['--client-cert', `${HOST}=/usr/bin/env`],
      'INVALID_CLIENT_CERTIFICATE',
      /lies in \/usr, which every sandbox sees/,
    ],
    [['--client-cert', usual, '--client-cert', usual], 'INVALID_CLIENT_CERTIFICATE', /twice/],
    [['--client-cert', usual, '--tunnel', HOST], 'USAGE', /--tunnel .* exempts a host that --client-cert/],
    [['--client-cert', usual, '--tunnel', '**'], 'USAGE', /exempts a host that --client-cert/],
  ];
  for (const [flags, code, says] of cases) {
    const result = await sallyport(['run', ...flags, '--', 'touch', join(scene.workspace, 'started')], { scene });
    assert.deepEqual([result.status, result.stdout], [2, ''], describeRun(result));
    assert.match(result.stderr, new RegExp(`^sallyport: [^\\n]+ \\[${code}\\]\\n$`));
    assert.match(result.stderr, says);
  }
});

const openssl = findProgram('openssl');

/** Starts OpenSSL's own server, which says by an alert what it does not like. Resolves to its port. */
async function startOpenssl(words: readonly string[]): Promise<{ readonly port: number; stop(): void }> {
  const child = spawn(openssl ?? '', ['s_server', '-accept', '127.0.0.1:0', '-www', ...words], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  let text = '';
  for await (const chunk of child.stdout) {
    text += String(chunk);
    const port = /ACCEPT 127\.0\.0\.1:(\d+)/.exec(text)?.[1];
    if (port !== undefined) return { port: Number(port), stop: () => child.kill() };
  }
  throw new Error(`openssl s_server did not start: ${text}`);
}

test(
  "OpenSSL's server is content with the right certificate, and its alerts about others are told in words",
  { skip: curl ?? (openssl === undefined ? 'no openssl' : false) },
  async () => {
    using scene = createScene(findPresentCaller());
    const [authority, clients, strangers] = await Promise.all([
      createAuthority(),
      createAuthority('Clients'),
      createAuthority('Strangers'),
    ]);
    const server = await authority.issue([HOST]);
    const file = (name: string, content: string): string => writePrivate(scene, scene.assets, name, content);
    const right = writeIdentity(scene, await clients.issueClient('right'), 'right');
    const wrong = writeIdentity(scene, await strangers.issueClient('wrong'), 'wrong');
    const upstreamCa = file('ca.pem', authority.certificatePem);
    const common = [
      ...['-cert', file('server.crt', server.cert), '-key', file('server.key', server.key)],
      ...['-CAfile', file('clients.pem', clients.certificatePem), '-Verify', '1', '-verify_return_error'],
    ];
    for (const version of ['-tls1_2', '-tls1_3']) {
      const upstream = await startOpenssl([...common, version]);
      try {
        const visit = async (flags: readonly string[]): Promise<string> => {
          const result = await sallyport(
            [
              ...['run', '--upstream-ca', upstreamCa, '--resolve', `${HOST}:443:127.0.0.1:${upstream.port}`],
              ...flags,
              ...['--', 'curl', '-sS', '-w', '%{http_code}', `https://${HOST}/`],
            ],
            { scene },
          );
          return result.stdout;
        };
        assert.match(await visit(['--client-cert', `${HOST}=${right.certificate},${right.key}`]), /200$/, version);
        assert.match(
          await visit(['--client-cert', `${HOST}=${wrong.certificate},${wrong.key}`]),
          /did not accept the client certificate of --client-cert internal\.test\.example \([^)]*\).*502$/s,
          version,
        );
        assert.match(
          await visit(['--secret', `TOKEN=canary-value-4711@${HOST}`]),
          /wants a client certificate.*--client-cert HOST=CERT_FILE,KEY_FILE.*502$/s,
          version,
        );
      } finally {
        upstream.stop();
      }
    }
  },
);
