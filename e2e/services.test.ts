import assert from 'node:assert/strict';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { SERVICES, findService } from '../packages/runtime/src/services/catalogue.ts';
import { createScene, eachCaller, findPresentCaller } from './harness/caller.ts';
import type { Scene } from './harness/caller.ts';
import { newCanary } from './harness/canary.ts';
import type { Canary } from './harness/canary.ts';
import { createGitRepository } from './harness/git-backend.ts';
import { assertRunKeptSecret, describeRun, sallyport } from './harness/sallyport.ts';
import type { SallyportResult } from './harness/sallyport.ts';
import { findProgram, whyNotInside } from './harness/tools.ts';
import { listSdks } from './services/sdks.ts';
import type { SdkRow } from './services/sdks.ts';
import { SDK_OPTIONS } from './services/set-up.ts';
import { STAND_IN_HOSTS, credentialsOf, startStandIns } from './services/stand-ins.ts';
import type { StandIns } from './services/stand-ins.ts';

/** AWS's requests are signed: e2e/aws.test.ts. */
const TOKEN_SERVICES = SERVICES.filter(({ endpoints }) => endpoints.every(({ signer }) => signer === undefined));

/** A value for each of the services, and the host's environment that has them. */
function makeValues(names: readonly string[]): {
  readonly values: Readonly<Record<string, string>>;
  readonly canaries: readonly Canary[];
  readonly env: Readonly<Record<string, string>>;
  readonly flags: readonly string[];
} {
  const entries = names.map((name) => ({ name, canary: newCanary() }));
  return {
    values: Object.fromEntries(entries.map(({ name, canary }) => [name, canary.value])),
    canaries: entries.map(({ canary }) => canary),
    env: Object.fromEntries(entries.map(({ name, canary }) => [variablesOf(name)[0]!, canary.value])),
    flags: names.flatMap((name) => ['--service', name]),
  };
}

function variablesOf(service: string): string[] {
  return (findService(service)?.variables ?? []).map(({ name }) => name);
}

/** Fails when a run did not end well, when a value is somewhere, or when a stand-in was asked by somebody else. */
function assertServed(result: SallyportResult, scene: Scene, standIns: StandIns, canaries: readonly Canary[]): void {
  assert.equal(result.status, 0, `${describeRun(result)}\nrefused: ${standIns.refused.join(' | ')}`);
  assert.deepEqual(standIns.refused, []);
  for (const canary of canaries) assertRunKeptSecret(canary, result, scene);
}

/** What the vendors are asked: one thing at each host at least. */
const REQUESTS = [
  'api.anthropic.com/v1/models',
  'api.openai.com/v1/models',
  'api.groq.com/openai/v1/models',
  'api.mistral.ai/v1/models',
  'api.tokenfactory.nebius.com/v1/models',
  'api.studio.nebius.ai/v1/models',
  'api.x.ai/v1/models',
  'openrouter.ai/api/v1/models',
  'api.cursor.com/v1/me',
  'generativelanguage.googleapis.com/v1beta/models',
  'generativelanguage.googleapis.com/v1beta/openai/models',
  'api.github.com/user',
  'uploads.github.com/repos/o/r/releases/1/assets?name=thing.txt',
  'github.com/o/r.git/info/refs?service=git-upload-pack',
  'gitlab.com/api/v4/user',
  'huggingface.co/api/whoami-v2',
  'registry.npmjs.org/-/whoami',
  'upload.pypi.org/legacy/',
];

/** Somebody else's keys, in each place where one of the vendors takes them. */
const FOREIGN_FIELDS = [
  'Authorization: Bearer foreign',
  'authorization: Basic Zm9yZWlnbjpmb3JlaWdu',
  'X-Api-Key: foreign',
  'x_api_key: foreign',
  'api-key: foreign',
  'X-Goog-Api-Key: foreign',
  'Private-Token: foreign',
  'JOB-TOKEN: foreign',
  'Deploy-Token: foreign',
  'X-Auth-Token: foreign',
  'Cookie: session=foreign',
];
const FOREIGN_QUERY =
  'access_token=foreign&private_token=foreign&key=foreign&%6Bey=foreign&api_key=foreign&_authToken=foreign&client_secret=foreign&token=foreign' +
  '&%24httpHeaders=authorization%3Aforeign&x=1;private_token=foreign;access_token=foreign';

eachCaller('a service is written whatever the client sent, and foreign keys stay behind', async (caller) => {
  const hosts = new Set(REQUESTS.map((url) => url.slice(0, url.indexOf('/'))));
  assert.deepEqual([...hosts].toSorted(), STAND_IN_HOSTS.toSorted());
  const { values, canaries, env, flags } = makeValues(TOKEN_SERVICES.map(({ name }) => name));
  using scene = createScene(caller);
  using repository = createGitRepository({ user: 'x-access-token', password: values['github']!, path: '/o/r.git' });
  await using standIns = await startStandIns(values, [repository]);
  const lines = REQUESTS.flatMap((url) => {
    const host = url.slice(0, url.indexOf('/'));
    const service = TOKEN_SERVICES.find(({ endpoints }) => endpoints.some(({ hosts }) => hosts.includes(host)));
    const curl = (what: string, more: string, query = ''): string =>
      `curl -sS -o "$HOME/body" -w '${url} ${what} %{http_code}\\n' ${more} 'https://${url}${query}'`;
    const foreign = FOREIGN_FIELDS.map((field) => `-H '${field}'`).join(' ');
    return [
      curl('bare', ''),
      curl('sentinel, HTTP/1.1', `--http1.1 -H "Authorization: Bearer $${variablesOf(service!.name)[0]}"`),
      curl('foreign', foreign, `${url.includes('?') ? '&' : '?'}${FOREIGN_QUERY}`),
    ];
  });
  // A sentinel is worth nothing elsewhere, and nothing is put in there.
  lines.push(
    'curl -sS -H "Authorization: Bearer $OPENAI_API_KEY" -H "x-api-key: mine" "https://elsewhere.test.example/echo" >/dev/null',
    'env | grep -E "_(KEY|TOKEN|PASSWORD)=" | sort',
  );
  const result = await sallyport(
    [
      'run',
      ...standIns.upstream.flags(),
      ...flags,
      '--allow',
      'elsewhere.test.example',
      '--',
      'sh',
      '-c',
      lines.join('\n'),
    ],
    {
      scene,
      env,
      canary: canaries[0]!,
    },
  );
  assertServed(result, scene, standIns, canaries);
  const statuses = result.stdout.split('\n').filter((line) => / \d{3}$/.test(line));
  assert.equal(statuses.length, 3 * REQUESTS.length, describeRun(result));
  assert.deepEqual(
    statuses.filter((line) => !/ 20[01]$/.test(line)),
    [],
  );
  const elsewhere = standIns.upstream.requests.filter(({ serverName }) => serverName === 'elsewhere.test.example');
  assert.equal(elsewhere.length, 1);
  const held = Object.fromEntries(
    [...result.stdout.matchAll(/^([A-Z_]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
  );
  assert.deepEqual(credentialsOf(elsewhere[0]!), [
    `authorization: Bearer ${held['OPENAI_API_KEY']}`,
    'x-api-key: mine',
  ]);
  // Each variable of each service holds something of its own.
  const variables = TOKEN_SERVICES.flatMap(({ variables }) => variables.map(({ name }) => name));
  for (const name of variables) assert.ok((held[name] ?? '').length >= 20, `${name} holds ${held[name]}`);
  assert.equal(new Set(variables.map((name) => held[name])).size, variables.length);
});

test(
  'git clones and pushes over HTTPS with nothing set up, at three hosts',
  { skip: whyNotInside('git') ?? false },
  async () => {
    const { values, canaries, env, flags } = makeValues(['github', 'gitlab', 'huggingface']);
    using scene = createScene(findPresentCaller());
    using github = createGitRepository({ user: 'x-access-token', password: values['github']!, path: '/o/one.git' });
    using gitlab = createGitRepository({ user: 'oauth2', password: values['gitlab']!, path: '/o/two.git' });
    using huggingface = createGitRepository({
      user: 'hf_user',
      password: values['huggingface']!,
      path: '/o/three.git',
    });
    await using standIns = await startStandIns(values, [github, gitlab, huggingface]);
    const script = [
      'set -e',
      'export GIT_TERMINAL_PROMPT=0',
      'git config --global user.name Someone; git config --global user.email someone@test.example',
      ...['github.com/o/one', 'gitlab.com/o/two', 'huggingface.co/o/three'].flatMap((place, index) => [
        `git clone -q https://${place}.git work${index}; cat work${index}/hello.txt`,
        `cd work${index}; echo changed >hello.txt; git commit -qam Second; git push -q origin main; cd ..`,
      ]),
      'curl -sS https://gitlab.com/api/v4/user; curl -sS https://huggingface.co/api/whoami-v2',
      'curl -sS -H "Authorization: token $GH_TOKEN" https://api.github.com/user',
      ...(findProgram('gh') === undefined ? [] : ['gh api user']),
    ];
    const result = await sallyport(
      ['run', ...standIns.upstream.flags(), ...flags, '--', 'sh', '-c', script.join('\n')],
      { scene, env, canary: canaries[0]! },
    );
    assertServed(result, scene, standIns, canaries);
    assert.equal(result.stdout.split('hello from upstream').length - 1, 3, describeRun(result));
    assert.match(result.stdout, /before glpat-[0-9A-Za-z]{20} after.*before hf_[A-Za-z]{34} after/);
    assert.match(result.stdout, /before ghp_[0-9A-Za-z]{36} after/);
    for (const repository of [github, gitlab, huggingface]) {
      assert.equal(repository.git('log', '-1', '--format=%s', 'main').trim(), 'Second');
    }
  },
);

test(
  'npm publishes and a package is uploaded to PyPI, with nothing but the variables',
  { skip: whyNotInside('npm') ?? whyNotInside('node') ?? false },
  async () => {
    const { values, canaries, env, flags } = makeValues(['npm', 'pypi']);
    using scene = createScene(findPresentCaller());
    await using standIns = await startStandIns(values);
    const folder = join(scene.assets, 'thing');
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), '{ "name": "thing", "version": "1.0.0", "license": "MIT" }\n');
    writeFileSync(join(folder, '.npmrc'), '//registry.npmjs.org/:_authToken=${NPM_TOKEN}\n');
    cpSync(folder, join(scene.workspace, 'thing'), { recursive: true });
    const script = [
      'set -e',
      'cd thing; npm whoami; npm publish --ignore-scripts',
      'echo content >wheel; curl -sS -u "__token__:$TWINE_PASSWORD" -F :action=file_upload -F content=@wheel https://upload.pypi.org/legacy/',
    ];
    const result = await sallyport(
      ['run', ...standIns.upstream.flags(), ...flags, '--', 'sh', '-c', script.join('\n')],
      { scene, env, canary: canaries[0]! },
    );
    assertServed(result, scene, standIns, canaries);
    // By its format npm takes the sentinel for one of its tokens, which it does not print.
    assert.match(result.stdout, /before npm_(?:\*{3}|[0-9A-Za-z]{36}) after/);
    assert.match(result.stdout, /before pypi-AgEIcHlwaS5vcmc[\w-]+ after/);
    const published = standIns.upstream.requests.find(({ method }) => method === 'PUT');
    assert.match(published?.body.toString() ?? '', /"name":"thing"/);
  },
);

/** Runs an SDK's program with nothing of the vendor's in its environment but one variable. */
async function runSdk(sdk: SdkRow): Promise<void> {
  const { values, canaries, env, flags } = makeValues([sdk.service]);
  using scene = createScene(findPresentCaller());
  await using standIns = await startStandIns(values);
  const others = variablesOf(sdk.service).filter((name) => name !== sdk.variable);
  const unset = others.map((name) => `-u ${name}`).join(' ');
  const command = `env ${unset} sh -c ${JSON.stringify(sdk.command)}; echo "shown=$${variablesOf(sdk.service)[0]}"`;
  const result = await sallyport(
    ['run', ...standIns.upstream.flags(), ...SDK_OPTIONS, ...sdk.options, ...flags, '--', 'sh', '-ec', command],
    { scene, env, canary: canaries[0]!, timeoutMs: 90_000 },
  );
  assertServed(result, scene, standIns, canaries);
  const printed = Object.fromEntries(
    [...result.stdout.matchAll(/^([a-z]+)=(.*)$/gm)].map(([, name = '', value = '']) => [name, value]),
  );
  const { shown = '', held, ...answers } = printed;
  const expected = Object.entries(sdk.prints).map(([name, text]) => [name, text.replace('VALUE', shown)]);
  assert.deepEqual(answers, Object.fromEntries(expected), describeRun(result));
  assert.ok(held !== undefined && held !== values[sdk.service] && shown.length >= 20);
}

for (const sdk of listSdks()) {
  test(`${sdk.name} completes calls, streams included, with ${sdk.variable} alone`, { skip: sdk.skip ?? false }, () =>
    runSdk(sdk),
  );
}
