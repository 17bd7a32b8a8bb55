import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createScene, eachCaller } from './harness/caller.ts';
import { newCanary } from './harness/canary.ts';
import { createGitRepository } from './harness/git-backend.ts';
import { headerValues } from './harness/recording.ts';
import { assertRunKeptSecret, describeRun, sallyport } from './harness/sallyport.ts';
import type { SallyportResult } from './harness/sallyport.ts';
import { findHostNode, findProgram, whyNotInside } from './harness/tools.ts';
import { startUpstream } from './harness/upstream.ts';
import { receivedCredential } from './harness/upstream-endpoints.ts';

/** One client of the matrix: a row is all that another client takes. */
interface ClientRow {
  readonly name: string;
  /** Why it cannot be tried on this machine. */
  readonly skip?: string | undefined;
  /** What it needs in the folder of built programs, made on the host at its first use. */
  readonly build?: () => void;
  /** Further options of `run`. */
  readonly options?: readonly string[];
  /** Shell text that sends `$API_TOKEN` to a URL, and prints status, header `x-reflected` and body. It may trust no CA by a flag. */
  readonly request: (url: URL) => string;
  /** How the upstream got the credential. */
  readonly scheme: 'Bearer' | 'Basic';
}

const ALLOWED = 'api.test.example';
const UNLISTED = 'unlisted.test.example';
// Go compiles its whole standard library the first time.
const BUILD_AND_RUN_TIMEOUT_MS = 300_000;
/** Where the sandbox sees the built programs. */
const INSIDE = '/clients';
const PLACEHOLDER = /^sp_API_TOKEN_[0-9A-Za-z]{22}$/;

const built = mkdtempSync(join(tmpdir(), 'sallyport-clients-'));
chmodSync(built, 0o755);
after(() => rmSync(built, { recursive: true, force: true }));

const source = (file: string): string => fileURLToPath(new URL(`clients/${file}`, import.meta.url));
const copied = (file: string) => (): void => copyFileSync(source(file), join(built, file));
const compiled = new Set<string>();

/** Runs a build step once for both callers. */
function once(name: string, step: () => void): () => void {
  return () => {
    if (compiled.has(name)) return;
    step();
    compiled.add(name);
  };
}

const go = findProgram('go', `${process.env['PATH']}:/usr/local/go/bin`);

function buildGo(): void {
  const env = { ...process.env, GOFLAGS: '', GO111MODULE: 'off', CGO_ENABLED: '0' };
  execFileSync(go!, ['build', '-o', join(built, 'go-client'), source('client.go')], { env, cwd: built });
}

const requestsIsInstalled = ((): boolean => {
  try {
    execFileSync('/usr/bin/python3', ['-c', 'import requests'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

/** Folders of `requests` and what it imports, of whichever Python of this machine has it. */
const requestsPackages = ((): string[] => {
  const script =
    'import os, requests, urllib3, certifi, idna, charset_normalizer as c\n' +
    'for m in (requests, urllib3, certifi, idna, c): print(os.path.dirname(m.__file__))';
  try {
    return execFileSync('python3', ['-c', script], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .trim()
      .split('\n');
  } catch {
    return [];
  }
})();

function buildRequests(): void {
  copied('with_requests.py')();
  if (requestsIsInstalled) return;
  mkdirSync(join(built, 'python'), { recursive: true });
  for (const path of requestsPackages) cpSync(path, join(built, 'python', basename(path)), { recursive: true });
}

const node = findHostNode();
const nodeMount = node === undefined || node.startsWith('/usr/') ? [] : ['-v', `${join(node, '..')}:/node:ro`];
const nodeInside = nodeMount.length === 0 ? 'node' : '/node/node';

const ROWS: readonly ClientRow[] = [
  {
    name: 'curl with a header',
    skip: whyNotInside('curl'),
    scheme: 'Bearer',
    request: (url) => `curl -sS -i -H "Authorization: Bearer $API_TOKEN" '${url.href}'`,
  },
  {
    name: 'curl with Basic',
    skip: whyNotInside('curl'),
    scheme: 'Basic',
    request: (url) => `curl -sS -i -u "someone:$API_TOKEN" '${url.href}'`,
  },
  {
    name: 'wget with a header',
    skip: whyNotInside('wget'),
    scheme: 'Bearer',
    request: (url) =>
      `wget -q -S -O - --content-on-error --header="Authorization: Bearer $API_TOKEN" '${url.href}' 2>&1`,
  },
  {
    name: 'wget with Basic',
    skip: whyNotInside('wget'),
    scheme: 'Basic',
    request: (url) =>
      `wget -q -S -O - --content-on-error --auth-no-challenge --user=someone --password="$API_TOKEN" '${url.href}' 2>&1`,
  },
  {
    name: 'openssl s_client',
    skip: whyNotInside('openssl'),
    scheme: 'Bearer',
    request: (url) =>
      `printf 'GET %s HTTP/1.1\\r\\nHost: %s\\r\\nAuthorization: Bearer %s\\r\\nConnection: close\\r\\n\\r\\n' ` +
      `'${url.pathname}${url.search}' '${url.host}' "$API_TOKEN" | ` +
      `openssl s_client -quiet -verify_return_error -connect '${url.host}:443' -servername '${url.host}'`,
  },
  {
    name: "Node's fetch",
    skip: node === undefined ? 'no Node beside the one of the checkout' : undefined,
    build: copied('fetch.mjs'),
    options: nodeMount,
    scheme: 'Bearer',
    request: (url) => `${nodeInside} ${INSIDE}/fetch.mjs '${url.href}'`,
  },
  {
    name: "Python's urllib",
    skip: whyNotInside('python3'),
    build: copied('with_urllib.py'),
    scheme: 'Bearer',
    request: (url) => `/usr/bin/python3 ${INSIDE}/with_urllib.py '${url.href}'`,
  },
  {
    name: "Python's requests",
    skip:
      whyNotInside('python3') ??
      (requestsIsInstalled || requestsPackages.length > 0
        ? undefined
        : 'no Python of this machine has requests (apt-get install python3-requests)'),
    build: once('requests', buildRequests),
    options: requestsIsInstalled ? [] : ['-e', `PYTHONPATH=${INSIDE}/python`],
    scheme: 'Basic',
    request: (url) => `/usr/bin/python3 ${INSIDE}/with_requests.py '${url.href}'`,
  },
  {
    name: "Go's net/http",
    skip: go === undefined ? 'no Go toolchain (apt-get install golang)' : undefined,
    build: once('go', buildGo),
    scheme: 'Basic',
    request: (url) => `${INSIDE}/go-client '${url.href}'`,
  },
  {
    name: "Java's HttpClient",
    skip: whyNotInside('java') ?? whyNotInside('javac'),
    build: once('java', () => void execFileSync('javac', ['--release', '11', '-d', built, source('Client.java')])),
    scheme: 'Bearer',
    request: (url) => `java -cp ${INSIDE} Client '${url.href}'`,
  },
];

/** The parts of standard output between `@@NAME` lines. */
function sections(stdout: string): Map<string, string> {
  const parts = stdout.split(/^@@([a-z]+)\n/m).slice(1);
  return new Map(Array.from({ length: parts.length / 2 }, (_, index) => [parts[2 * index]!, parts[2 * index + 1]!]));
}

/** Checks what is the same for every client, and returns the placeholder and the sections. */
function checkRun(result: SallyportResult): { placeholder: string; section: (name: string) => string } {
  assert.equal(result.status, 0, describeRun(result));
  const found = sections(result.stdout);
  const section = (name: string): string => found.get(name) ?? assert.fail(`no ${name}: ${describeRun(result)}`);
  const placeholder = section('held').trim();
  assert.match(placeholder, PLACEHOLDER);
  assert.ok(section('environment').split('\n').includes(`API_TOKEN=${placeholder}`));
  assert.ok(result.watchedProcessCount > 0, 'no process inside was looked at');
  return { placeholder, section };
}

/**
 * Checks that the log names the release for the allowed host, and the denial of the unlisted one.
 *
 * @param sendsPlaceholder the client sent its placeholder to the unlisted host, which the denial then tells as well.
 */
function checkAudit({ audit }: SallyportResult, sendsPlaceholder: boolean): void {
  const about = (host: string) => audit.filter((event) => JSON.stringify(event).includes(host));
  const names = (list: unknown): readonly unknown[] => (Array.isArray(list) ? list : []);
  assert.ok(
    about(ALLOWED).some((event) => names(event['secrets']).includes('API_TOKEN')),
    `no release recorded: ${JSON.stringify(audit)}`,
  );
  const denied = about(UNLISTED);
  assert.ok(
    denied.some(
      (event) => event['decision'] === 'deny' && names(event['stray']).includes('API_TOKEN') === sendsPlaceholder,
    ),
    `the denial is not recorded as it was: ${JSON.stringify(audit)}`,
  );
  for (const event of denied)
    assert.deepEqual(names(event['secrets']), [], 'a release to the unlisted host is recorded');
}

for (const row of ROWS) {
  eachCaller(
    `run() lets ${row.name} use a credential that the sandbox never holds`,
    async (caller) => {
      const canary = newCanary('awkward');
      row.build?.();
      using scene = createScene(caller);
      await using upstream = await startUpstream({ names: [ALLOWED] });
      const script = [
        'exec 2>&1',
        'echo @@held; echo "$API_TOKEN"',
        'echo @@environment; env',
        `echo @@allowed; ${row.request(new URL(`https://${ALLOWED}/reflect?as=raw&where=both`))}`,
        `echo @@unlisted; ${row.request(new URL(`https://${UNLISTED}/reflect`))}`,
        'echo @@end; true',
      ].join('\n');
      const result = await sallyport(
        [
          'run',
          ...upstream.flags(),
          '-v',
          `${built}:${INSIDE}:ro`,
          ...(row.options ?? []),
          '--secret',
          `API_TOKEN@${ALLOWED}`,
          '--',
          'sh',
          '-c',
          script,
        ],
        { scene, env: { API_TOKEN: canary.value }, canary },
      );
      const { placeholder, section } = checkRun(result);

      assert.equal(upstream.requests.length, 1, describeRun(result));
      const received = upstream.requests[0]!;
      assert.equal(receivedCredential(received) === canary.value, true, 'the upstream got another credential');
      assert.match(headerValues(received, 'authorization')[0] ?? '', new RegExp(`^${row.scheme} `));

      assert.match(section('allowed'), /\b200\b/);
      assert.ok(section('allowed').includes(`before ${placeholder} after`), describeRun(result));
      assert.equal(section('allowed').split(placeholder).length - 1, 2, 'once in the header and once in the body');

      assert.match(section('unlisted'), /\b403\b/);
      assert.match(section('unlisted'), /HOST_DENIED/);
      assert.ok(section('unlisted').includes(UNLISTED), section('unlisted'));
      assert.ok(section('unlisted').includes('--allow'), 'the remedy is missing');

      checkAudit(result, true);
      assertRunKeptSecret(canary, result, scene);
    },
    { skip: row.skip, timeoutMs: BUILD_AND_RUN_TIMEOUT_MS },
  );
}

eachCaller(
  'run() lets git clone and push with a credential that the sandbox never holds',
  async (caller) => {
    const canary = newCanary();
    using scene = createScene(caller);
    using repository = createGitRepository({ user: 'x-access-token', password: canary.value });
    await using upstream = await startUpstream({
      names: [ALLOWED],
      git: repository,
      // A refusal whose text git shows, with the credential in it.
      handler: (request, response, recorded) => {
        if (request.url?.startsWith('/refuse/') !== true) return false;
        if (request.headers.authorization === undefined) response.writeHead(401, { 'www-authenticate': 'Basic' }).end();
        else {
          response.writeHead(403, { 'content-type': 'text/plain' });
          response.end(`before ${receivedCredential(recorded)} after\n`);
        }
        return true;
      },
    });
    const script = [
      'exec 2>&1',
      'echo @@held; echo "$API_TOKEN"',
      'echo @@environment; env',
      'echo @@allowed; set -e',
      `git clone "https://x-access-token:$API_TOKEN@${ALLOWED}${repository.path}" copy`,
      'cat copy/hello.txt',
      'cd copy; echo "from the sandbox" >pushed.txt; git add pushed.txt; git commit -q -m "Pushed from inside"',
      'git push origin HEAD:main',
      'cd ..; set +e',
      `echo @@reflected; git ls-remote "https://x-access-token:$API_TOKEN@${ALLOWED}/refuse/x.git"`,
      `echo @@unlisted; git ls-remote "https://x-access-token:$API_TOKEN@${UNLISTED}/x.git"`,
      'echo @@end; true',
    ].join('\n');
    const person = ['AUTHOR', 'COMMITTER'].flatMap((role) => [
      '-e',
      `GIT_${role}_NAME=Somebody`,
      '-e',
      `GIT_${role}_EMAIL=somebody@test.example`,
    ]);
    const result = await sallyport(
      ['run', ...upstream.flags(), ...person, '--secret', `API_TOKEN@${ALLOWED}`, '--', 'sh', '-c', script],
      { scene, env: { API_TOKEN: canary.value }, canary },
    );
    const { placeholder, section } = checkRun(result);
    assert.match(section('allowed'), /hello from upstream/);
    assert.equal(repository.git('log', '-1', '--format=%s', 'main').trim(), 'Pushed from inside');
    assert.equal(repository.git('show', 'main:pushed.txt'), 'from the sandbox\n');
    assert.ok(upstream.requests.some((request) => receivedCredential(request) === canary.value));
    assert.ok(section('reflected').includes(`before ${placeholder} after`), describeRun(result));
    assert.match(section('unlisted'), /\b403\b/);
    // git sends credentials to nobody who has not asked for them.
    checkAudit(result, false);
    assertRunKeptSecret(canary, result, scene);
  },
  { skip: whyNotInside('git') },
);
