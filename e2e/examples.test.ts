// Every program in examples/ is run, and says what its own comment says.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { CHECKOUT, findPresentCaller } from './harness/caller.ts';
import { assertNoCanary, newCanary } from './harness/canary.ts';
import { createDaemonScene } from './harness/daemon.ts';
import { headerValues } from './harness/recording.ts';
import { runSdkProgram } from './harness/sdk-program.ts';
import { whyNotInside } from './harness/tools.ts';
import { startUpstream, type Upstream } from './harness/upstream.ts';

const HOSTS = ['api.github.com', 'api.example.com'];

interface Example {
  readonly says: RegExp;
  readonly tool?: string;
  readonly received?: (upstream: Upstream, value: string) => void;
}

const EXAMPLES: Readonly<Record<string, Example>> = {
  'hello.ts': { says: /^hello from box-[0-9a-f]{8}\n$/ },
  'credential.ts': {
    says: /^inside: sp_GITHUB_TOKEN_\w{22}\nanswer: .+\nelsewhere: 403\n$/,
    tool: 'curl',
    received: (upstream, value) =>
      assert.deepEqual(
        upstream.requests.flatMap((request) => headerValues(request, 'authorization')),
        [`Bearer ${value}`],
      ),
  },
  'generated-code.ts': { says: /^squares: \[1, 4, 9\]\nendless: ended after half a second\n$/, tool: 'python3' },
  'dialogue.ts': { says: /^ended with 137\nname\? hello Ada \| tick 1 \| tick 2 \| tick 3\n$/ },
  'rotation.ts': {
    says: /^nothing is allowed: 403\nwith a secret for that host: 200\nwith another value: 200\ndenied: 403\n- secret\.set API_KEY\n- secret\.set API_KEY\n- policy\.changed deny api\.example\.com\n$/,
    tool: 'curl',
    received: (upstream) =>
      assert.deepEqual(
        upstream.requests.flatMap((request) => headerValues(request, 'x-api-key')),
        ['the-first-api-key', 'the-second-api-key'],
      ),
  },
};

test('every example is run here, and named in examples/README.md', () => {
  const directory = join(CHECKOUT, 'examples');
  const programs = readdirSync(directory).filter((name) => name.endsWith('.ts'));
  assert.deepEqual(programs.toSorted(), Object.keys(EXAMPLES).toSorted());
  const readme = readFileSync(join(directory, 'README.md'), 'utf8');
  for (const name of programs) assert.ok(readme.includes(`[${name}](${name})`), name);
});

for (const [name, { says, tool, received }] of Object.entries(EXAMPLES)) {
  test(`examples/${name}`, { skip: tool === undefined ? undefined : whyNotInside(tool) }, async () => {
    const canary = newCanary();
    await using scene = await createDaemonScene(findPresentCaller());
    await using upstream = await startUpstream({ names: HOSTS });
    const env = { GITHUB_TOKEN: canary.value };
    const { status, output } = await runSdkProgram(join(CHECKOUT, 'examples', name), scene, upstream, HOSTS, env);
    assert.equal(status, 0, output);
    assert.match(output, says);
    received?.(upstream, canary.value);
    assertNoCanary(canary, { outputs: { output }, files: [scene.root] });
    const { sandboxes } = await scene.client.ask<{ sandboxes: unknown[] }>({ method: 'GET', path: '/v1/sandboxes' });
    assert.deepEqual(sandboxes, [], 'nothing is left behind');
  });
}
